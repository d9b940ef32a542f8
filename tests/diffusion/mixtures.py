"""Two fixed mixtures, and every kind of exact prediction."""

import jax
import numpy as np

from experiments.assets.mixtures import Mixture, draw, log_density, parts, score

__all__ = ["ONE", "TWO", "Mixture", "draw", "log_density", "moments", "parts", "predictor", "score"]

TWO = Mixture(np.array([0.4, 0.6]), np.array([[-1.5, 0.5], [1.0, -0.5]]), np.array([0.2, 0.4]))
ONE = Mixture(np.array([1.0]), np.array([[0.7, -0.3]]), np.array([0.3]))


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
        rotation = alpha * process.unit * eps - std / process.unit * (data - centre)
        kinds = {"score": s, "eps": eps, "x0": data, "v": velocity, "rotation": rotation}
        return kinds[kind]

    return predict


def moments(mixture):
    """Mean [D] and covariance [D, D] of the data."""
    mean = mixture.weights @ mixture.means
    apart = mixture.means - mean
    spread = np.einsum("m,mi,mj->ij", mixture.weights, apart, apart)
    return mean, spread + np.eye(len(mean)) * (mixture.weights @ mixture.variances)
