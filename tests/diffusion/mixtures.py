"""Gaussian mixtures with closed-form scores under any process."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Mixture(NamedTuple):
    """Isotropic components: weights [M], means [M, D], variances [M]."""

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray


TWO = Mixture(np.array([0.4, 0.6]), np.array([[-1.5, 0.5], [1.0, -0.5]]), np.array([0.2, 0.4]))
ONE = Mixture(np.array([1.0]), np.array([[0.7, -0.3]]), np.array([0.3]))


def parts(mixture, process, t, x):
    """Log-joint [B, M], centred x [B, M, D] and variances [B, M] at time t ([] or [B])."""
    t = jnp.broadcast_to(jnp.asarray(t, x.dtype), x.shape[:1])
    alpha, std = process.alpha(t)[:, None], process.std(t)[:, None]
    means = jnp.asarray(mixture.means, x.dtype)
    centre = 0.0 if process.center is None else process.center[:, None, :]
    variances = alpha**2 * jnp.asarray(mixture.variances, x.dtype) + std**2
    apart = x[:, None, :] - centre - alpha[..., None] * (means - centre)
    log_joint = jnp.log(jnp.asarray(mixture.weights, x.dtype)) - 0.5 * (
        jnp.sum(apart**2, axis=-1) / variances + x.shape[-1] * jnp.log(2 * jnp.pi * variances)
    )
    return log_joint, apart, variances


def log_density(mixture, process, x, t):
    return jax.nn.logsumexp(parts(mixture, process, t, x)[0], axis=1)


def score(mixture, process):
    def fn(x, t):
        log_joint, apart, variances = parts(mixture, process, t, x)
        weights = jax.nn.softmax(log_joint, axis=1)
        return -jnp.sum(weights[..., None] * apart / variances[..., None], axis=1)

    return fn


def predictor(mixture, process, kind):
    """The exact prediction of a kind, written out apart from the library's converter."""
    fn = score(mixture, process)

    def derivative(f, t):
        return jax.vmap(jax.grad(lambda s: f(s)))(t)

    def predict(x, t):
        alpha, std = process.alpha(t)[:, None], process.std(t)[:, None]
        s = fn(x, t)
        centre = 0.0 if process.center is None else process.center
        eps = -std * s
        data = centre + (x - centre - std * eps) / alpha
        velocity = derivative(process.alpha, t)[:, None] * (data - centre) + derivative(process.std, t)[:, None] * eps
        kinds = {"score": s, "eps": eps, "x0": data, "v": velocity, "rotation": alpha * eps - std * (data - centre)}
        return kinds[kind]

    return predict


def moments(mixture):
    """Mean [D] and covariance [D, D] of the data."""
    mean = mixture.weights @ mixture.means
    apart = mixture.means - mean
    spread = np.einsum("m,mi,mj->ij", mixture.weights, apart, apart)
    return mean, spread + np.eye(len(mean)) * (mixture.weights @ mixture.variances)


def draw(key, mixture, n):
    """Data [n, D]."""
    key_component, key_noise = jax.random.split(key)
    component = jax.random.choice(key_component, len(mixture.weights), (n,), p=jnp.asarray(mixture.weights))
    means, std = jnp.asarray(mixture.means, jnp.float32), jnp.sqrt(jnp.asarray(mixture.variances, jnp.float32))
    return means[component] + std[component][:, None] * jax.random.normal(key_noise, (n, means.shape[1]))
