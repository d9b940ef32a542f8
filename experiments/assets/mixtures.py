"""Gaussian mixtures, of which everything is known at every time of a noising process: score, density, samples.

Where a model has to be exact, so that only the sampler can be wrong. A key makes a mixture::

    mixture = four_modes(key)                          # in the plane
    cond_fn = score(mixture, process)                  # for diffusion.sample(..., kind="score")
    log_density(mixture, process, x, t)                # of the data noised until t
    draw(key, mixture, 1000)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.diffusion import Process
from jaxlab.typing import Array, ArrayLike

__all__ = ["Mixture", "characteristic", "draw", "four_modes", "log_density", "narrow_and_broad", "parts", "score"]


class Mixture(NamedTuple):
    """Isotropic components: weights [M] that sum to 1, means [M, D], variances [M]; numpy arrays will do."""

    weights: Array
    means: Array
    variances: Array


def parts(mixture: Mixture, process: Process, t: ArrayLike, x: Array) -> tuple[Array, Array, Array]:
    """Log of weight times density [B, M], x minus mean [B, M, D] and variance [B, M] of each component at time t.

    The process may have a centre that broadcasts to x.
    """
    t = jnp.broadcast_to(jnp.asarray(t, x.dtype), x.shape[:1])
    alpha, std = process.alpha(t)[:, None], process.std(t)[:, None]
    means = jnp.asarray(mixture.means, x.dtype)
    center = jnp.zeros((), x.dtype) if process.center is None else process.center[..., None, :]
    variances = alpha**2 * jnp.asarray(mixture.variances, x.dtype) + std**2
    apart = x[:, None, :] - center - alpha[..., None] * (means - center)
    log_joint = jnp.log(jnp.asarray(mixture.weights, x.dtype)) - 0.5 * (
        jnp.sum(apart**2, axis=-1) / variances + x.shape[-1] * jnp.log(2 * jnp.pi * variances)
    )
    return log_joint, apart, variances


def log_density(mixture: Mixture, process: Process, x: Array, t: ArrayLike) -> Array:
    """Log density [B] of x [B, D] at time t ([] or [B])."""
    return jax.nn.logsumexp(parts(mixture, process, t, x)[0], axis=1)


def score(mixture: Mixture, process: Process) -> Callable[[Array, ArrayLike], Array]:
    """The gradient of the log density, a function of (x [B, D], t)."""

    def fn(x: Array, t: ArrayLike) -> Array:
        log_joint, apart, variances = parts(mixture, process, t, x)
        weights = jax.nn.softmax(log_joint, axis=1)
        return -jnp.sum(weights[..., None] * apart / variances[..., None], axis=1)

    return fn


def characteristic(mixture: Mixture, frequencies: Array) -> tuple[Array, Array]:
    """The means of cos and sin of every frequency [F, D] over the data, [F] each."""
    means, variances = jnp.asarray(mixture.means), jnp.asarray(mixture.variances)
    phase = jnp.matmul(frequencies, means.T, precision="highest")
    size = jnp.asarray(mixture.weights) * jnp.exp(-0.5 * jnp.sum(frequencies**2, axis=1)[:, None] * variances)
    return jnp.sum(size * jnp.cos(phase), axis=1), jnp.sum(size * jnp.sin(phase), axis=1)


def draw(key: Array, mixture: Mixture, n: int) -> Array:
    """Data float32 [n, D]."""
    key_component, key_noise = jax.random.split(key)
    weights = jnp.asarray(mixture.weights, jnp.float32)
    component = jax.random.choice(key_component, weights.shape[0], (n,), p=weights)
    means, std = jnp.asarray(mixture.means, jnp.float32), jnp.sqrt(jnp.asarray(mixture.variances, jnp.float32))
    return means[component] + std[component][:, None] * jax.random.normal(key_noise, (n, means.shape[1]))


def four_modes(key: Array) -> Mixture:
    """Four modes in the plane around the origin, at distance 1.5 to 2.5, of unequal weights and widths."""
    keys = jax.random.split(key, 4)
    angles = jnp.pi / 2 * (jnp.arange(4) + 0.5 * jax.random.uniform(keys[0], (4,)))
    radii = jax.random.uniform(keys[1], (4, 1), minval=1.5, maxval=2.5)
    means = radii * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
    variances = jax.random.uniform(keys[2], (4,), minval=0.05, maxval=0.25)
    return Mixture(jax.nn.softmax(0.5 * jax.random.normal(keys[3], (4,))), means, variances)


def narrow_and_broad(key: Array) -> tuple[Mixture, Mixture]:
    """On the line: two narrow modes (a condition), and two broad ones that overlap (all data).

    narrow^w broad^(1 - w) can be normalised for every w >= 0: each narrow variance is below each broad one.
    """
    keys = jax.random.split(key, 3)
    shift = 0.3 * jax.random.normal(keys[0], (4, 1))
    scale = jnp.exp(0.2 * jax.random.normal(keys[1], (4,)))
    weights = jax.nn.softmax(0.3 * jax.random.normal(keys[2], (2, 2)), axis=1)
    narrow = Mixture(weights[0], jnp.array([[-1.0], [1.5]]) + shift[:2], jnp.array([0.15, 0.1]) * scale[:2])
    broad = Mixture(weights[1], jnp.array([[-0.5], [1.0]]) + shift[2:], jnp.array([1.0, 0.8]) * scale[2:])
    return narrow, broad
