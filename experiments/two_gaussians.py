"""Simulated samples of two Gaussian classes, of which the Bayes error and the error of every linear head are known."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from experiments.shots import Examples
from jaxlab.analytic import Head
from jaxlab.typing import Array

__all__ = ["DIMENSIONS", "SAMPLES", "excess_error"]

DIMENSIONS = (32, 128)
SAMPLES = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def excess_error(fit: Callable[[Examples], Head], keys: Array, dim: Array | int) -> Array:
    """Error above the Bayes error at every number of samples, exact for each head, mean over the keys.

    The means are -1 and +1 in every coordinate; half of them have variance ``dim``, the others 1. Coordinates beyond
    ``dim`` are zero, so that one program serves all dimensions.
    """
    place = jnp.arange(max(DIMENSIONS))
    mean = (place < dim).astype(jnp.float32)
    deviation = mean * jnp.where(place < dim // 2, jnp.sqrt(jnp.asarray(dim, jnp.float32)), 1.0)
    labels = jnp.arange(SAMPLES[-1]) % 2
    noise = jax.vmap(lambda key: jax.random.normal(key, (len(labels), len(place))))(keys)
    samples = (2.0 * labels - 1.0)[:, None] * mean + deviation * noise

    def error(x: Array, size: Array) -> Array:
        head = fit(Examples(x, labels, jnp.arange(len(labels)) < size))
        direction, offset = head.weight[:, 1] - head.weight[:, 0], head.bias[1] - head.bias[0]
        spread = jnp.linalg.norm(deviation * direction)
        reach = jnp.sum(mean * direction)
        return 0.5 * (norm.cdf((-reach - offset) / spread) + norm.cdf((-reach + offset) / spread))

    errors = jax.lax.map(lambda size: jnp.mean(jax.vmap(error, in_axes=(0, None))(samples, size)), jnp.array(SAMPLES))
    return errors - norm.cdf(-jnp.linalg.norm(mean / jnp.where(mean > 0, deviation, 1.0)))
