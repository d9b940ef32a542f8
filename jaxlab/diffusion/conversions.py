"""One converter between noise, score, data and velocity predictions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.diffusion.processes import Process, centered, expand, uncentered
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["KINDS", "convert"]

KINDS = ("eps", "score", "x0", "v", "rotation")


def slope(fn: Callable[[ArrayLike], Array], t: Array) -> Array:
    """The derivative of alpha or std by time, shaped like t."""
    return jax.jvp(fn, (t,), (jnp.ones_like(t),))[1]


def convert(
    prediction: ArrayLike, x: ArrayLike, t: ArrayLike, *, process: Process, kind_in: str, kind_out: str
) -> Array:
    r"""The same prediction, said another way.

    .. math:: x_t = \mu + \alpha d + \sigma \epsilon, \quad x_0 = \mu + d, \quad s = -\epsilon / \sigma,
              \quad v = \dot\alpha\, d + \dot\sigma\, \epsilon,
              \quad r = \alpha \lambda\, \epsilon - \tfrac{\sigma}{\lambda}\, d

    "eps" is the noise, "score" the gradient of the log density, "x0" the data, "v" the velocity of the
    probability-flow ODE (noise minus data on the linear flow), "rotation" the v-prediction of progressive distillation
    (v without the speed of the path; on the cosine flow v = (pi / 2) r). There lambda is ``process.unit``: 1, and for
    ``mean_reverting`` its max_sigma, which makes "rotation" what MRS calls velocity. Every kind is an affine function
    of every other, so guidance in one kind is guidance in another as long as it is linear.

    Args:
      prediction: float [B, ...].
      x: float [B, ...], the noisy samples the prediction was made for.
      t: time, a float or an array [B].
      process: gives alpha, std and the centre mu.
      kind_in: of the prediction: "eps", "score", "x0", "v" or "rotation".
      kind_out: of the result.
    Returns:
      [B, ...] in the dtype of the prediction, computed in float32 or wider. Not finite where the formula divides by
      zero: from "x0" to "eps" or "score", and from "eps" to "score", at std = 0; from "eps" or "score" to "x0", "v" or
      "rotation" at alpha = 0.
    Raises:
      ValueError: shapes differ, or an unknown kind.
      TypeError: an array is not floating point.

    >>> from jaxlab import diffusion
    >>> x0, noise = jnp.array([[2.0]]), jnp.array([[1.0]])
    >>> x = 0.75 * x0 + 0.25 * noise
    >>> print(convert(noise - x0, x, 0.25, process=diffusion.linear_flow(), kind_in="v", kind_out="x0"))
    [[2.]]

    Reference: standard; the velocity to score formula is that of Yu et al., "Representation Alignment for Generation"
    (2024), and the velocity of mean-reverting processes that of Li et al., "MRS" (2025), both checked against the
    authors' code.
    """
    prediction, x = checks.floating(prediction, "prediction"), checks.floating(x, "x")
    checks.same_shape(prediction, "prediction", x, "x")
    checks.one_of(kind_in, "kind_in", KINDS)
    checks.one_of(kind_out, "kind_out", KINDS)
    if kind_in == kind_out:
        return prediction
    dtype = accumulation_dtype(prediction, x)
    t = jnp.asarray(t, dtype)
    p, z = prediction.astype(dtype), centered(x.astype(dtype), process)
    alpha, std = expand(process.alpha(t), z), expand(process.std(t), z)

    def speeds() -> tuple[Array, Array]:
        return expand(slope(process.alpha, t), z), expand(slope(process.std, t), z)

    def parts() -> tuple[Array, Array]:
        """(data minus centre, noise). Under jit the one that the result does not need costs nothing."""
        if kind_in in ("eps", "score"):
            noise = p if kind_in == "eps" else -std * p
            return (z - std * noise) / alpha, noise
        if kind_in == "x0":
            data = centered(p, process)
            return data, (z - alpha * data) / std
        if kind_in == "rotation":
            turn = std / process.unit
            size = alpha**2 + turn**2
            return (alpha * z - turn * p) / size, (turn * z + alpha * p) / (size * process.unit)
        d_alpha, d_std = speeds()
        determinant = alpha * d_std - std * d_alpha
        return (d_std * z - std * p) / determinant, (alpha * p - d_alpha * z) / determinant

    data, noise = parts()
    if kind_out == "eps":
        result = noise
    elif kind_out == "score":
        result = -noise / std
    elif kind_out == "x0":
        result = uncentered(data, process)
    elif kind_out == "rotation":
        result = alpha * process.unit * noise - std / process.unit * data
    else:
        d_alpha, d_std = speeds()
        result = d_alpha * data + d_std * noise
    return result.astype(prediction.dtype)
