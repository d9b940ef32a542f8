"""The linear predictor of self-supervised learning without contrast, set from the correlation of its inputs.

A step of training: features of one view, ``correlation_ema_update``, a predictor by ``direct_pred_update`` or
``direct_copy``, ``losses.feature_alignment`` of the predictions with a slow copy's features of the other view.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = [
    "Correlation",
    "LinearDynamics",
    "byol_linear_dynamics",
    "correlation_ema_init",
    "correlation_ema_update",
    "direct_copy",
    "direct_pred_update",
]


class Correlation(NamedTuple):
    """The running correlation of features, and how many batches it has seen."""

    corr: Array  # [D, D]
    count: Array  # type: ignore[assignment]  # int32 []


def correlation_ema_init(dim: int, *, dtype: DTypeLike = jnp.float32) -> Correlation:
    """A correlation that has seen nothing; the first batch sets it.

    Args:
      dim: D, static.
      dtype: float32 or wider.
    Returns:
      Correlation of zeros [D, D].
    Raises:
      ValueError: dim < 1.
      TypeError: dim is not a static integer.

    >>> print(correlation_ema_init(2).corr.shape)
    (2, 2)

    Reference: as ``correlation_ema_update``. Checked.
    """
    size = checks.size(dim, "dim")
    return Correlation(jnp.zeros((size, size), dtype), jnp.zeros((), jnp.int32))


def correlation_ema_update(
    state: Correlation,
    features: ArrayLike,
    *,
    decay: ArrayLike = 0.3,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Correlation:
    r"""The correlation after one more batch: a running mean of outer products, not centred.

    .. math:: C \leftarrow \rho\, C + (1 - \rho)\, \frac1B \sum_b f_b f_b^\top

    Args:
      state: the correlation so far.
      features: float [B, D], before the predictor (both views, stacked); they pass no gradient.
      decay: rho in [0, 1], the weight of the old value.
      where: bool [B], True where a row counts.
      axis_name: the mapped axis over which rows are split; the mean runs over all its members.
    Returns:
      Correlation; the state as it was if no row counts. The first batch sets it.
    Raises:
      ValueError: shapes do not agree, or a static decay outside [0, 1].
      TypeError: features are not floating point or wider than the state, or where is not boolean.

    >>> state = correlation_ema_update(correlation_ema_init(2), jnp.array([[2.0, 0.0], [0.0, 2.0]]))
    >>> print(correlation_ema_update(state, jnp.array([[1.0, 1.0]]), decay=0.5).corr)
    [[1.5 0.5]
     [0.5 1.5]]

    Reference: Tian, Chen and Ganguli, "Understanding Self-Supervised Learning Dynamics without Contrastive Pairs"
    (2021). Checked against the authors' code.
    """
    rows = checks.rank(checks.floating(features, "features"), "features", 2, layout="[B, D]")
    if rows.shape[1:] != state.corr.shape[1:]:
        raise ValueError(f"features must have shape [B, {state.corr.shape[1]}], got {list(rows.shape)}")
    checks.not_wider(rows, "features", state.corr.dtype)
    checks.in_range(decay, "decay", 0.0, 1.0)
    mask = checks.mask(where, "where", rows.shape[:1])
    wide = jax.lax.stop_gradient(rows.astype(state.corr.dtype))
    number = jnp.asarray(rows.shape[0], wide.dtype)
    if mask is not None:
        wide, number = jnp.where(mask[:, None], wide, 0.0), jnp.sum(mask, dtype=wide.dtype)
    total = jnp.matmul(wide.T, wide, precision="highest")
    if axis_name is not None:
        total, number = jax.lax.psum((total, number), axis_name)
    batch = total / jnp.maximum(number, 1)
    weight = jnp.where(state.count > 0, jnp.asarray(decay, batch.dtype), 0.0)
    some = number > 0
    corr = jnp.where(some, weight * state.corr + (1 - weight) * batch, state.corr)
    return Correlation(corr, state.count + some.astype(state.count.dtype))


def direct_pred_update(
    corr: ArrayLike,
    *,
    eps: ArrayLike = 0.1,
    power: ArrayLike = 0.5,
    eps_inside: bool = False,
    floor: ArrayLike = 1e-4,
) -> Array:
    r"""DirectPred: the linear predictor that shares the eigenvectors of the correlation of its inputs.

    .. math:: W = U \operatorname{diag}(\max(\tilde\lambda^\alpha + \varepsilon, \kappa))\, U^\top,
              \quad C = U \Lambda U^\top, \; \tilde\lambda = \max(\lambda, 0) / \lambda_{\max}

    Args:
      corr: float [D, D], symmetric (of ``correlation_ema_update``); it passes no gradient.
      eps: added to every eigenvalue of W; 0.1 is the authors' default, and it may be negative.
      power: alpha > 0; 0.5 raises small eigenvalues.
      eps_inside: static; True adds eps before the power instead: max(lambda + eps, floor) ^ alpha.
      floor: kappa > 0, the smallest eigenvalue (before the power where eps is inside).
    Returns:
      float32 or wider [D, D], symmetric and positive definite; it commutes with C, and scaling C does not change it.
      C = 0 gives max(eps, floor) on the diagonal (to the power where eps is inside).
    Raises:
      ValueError: corr is not square, or a static power or floor <= 0.
      TypeError: corr is not floating point.

    >>> print(direct_pred_update(jnp.diag(jnp.array([4.0, 1.0, 0.0]))).round(3))
    [[1.1 0.  0. ]
     [0.  0.6 0. ]
     [0.  0.  0.1]]

    Reference: Tian, Chen and Ganguli, "Understanding Self-Supervised Learning Dynamics without Contrastive Pairs"
    (2021). Checked against the authors' code ("boost_scale"), which takes a general eigendecomposition.
    """
    matrix = _square(corr)
    checks.positive(power, "power")
    checks.positive(floor, "floor")
    values, vectors = jnp.linalg.eigh(matrix)
    positive = jnp.maximum(values, 0.0)
    largest = jnp.max(positive)
    scaled = jnp.where(largest > 0, positive / jnp.where(largest > 0, largest, 1.0), 0.0)
    power, eps = jnp.asarray(power, matrix.dtype), jnp.asarray(eps, matrix.dtype)
    if eps_inside:
        own = jnp.maximum(scaled + eps, floor) ** power
    else:
        own = jnp.maximum(scaled**power + eps, floor)
    return jnp.matmul(vectors * own, vectors.T, precision="highest")


def direct_copy(corr: ArrayLike, *, eps: ArrayLike = 0.3) -> Array:
    r"""DirectCopy: the correlation itself as predictor, without an eigendecomposition.

    .. math:: W = C + \varepsilon I

    Args:
      corr: float [D, D], symmetric; it passes no gradient. Its scale against eps matters here.
      eps: added to the diagonal.
    Returns:
      float32 or wider [D, D].
    Raises:
      ValueError: corr is not square.
      TypeError: corr is not floating point.

    >>> print(direct_copy(jnp.array([[2.0, 1.0], [1.0, 2.0]]), eps=0.5))
    [[2.5 1. ]
     [1.  2.5]]

    Reference: Wang et al., "Towards Demystifying Representation Learning with Non-contrastive Self-supervision"
    (2021). Checked against the code of the authors of DirectPred; the default eps is recalled.
    """
    matrix = _square(corr)
    return matrix + jnp.asarray(eps, matrix.dtype) * jnp.eye(matrix.shape[0], dtype=matrix.dtype)


class LinearDynamics(NamedTuple):
    """One number per eigenvector that the predictor and the features of a linear network share."""

    predictor: Array  # p [D], eigenvalues of the predictor
    features: Array  # s [D], eigenvalues of the correlation of the features
    target: Array  # tau [D] in [0, 1], how far the slow copy has followed


def byol_linear_dynamics(
    state: LinearDynamics,
    *,
    weight_decay: ArrayLike = 0.0,
    predictor_rate: ArrayLike = 1.0,
    target_rate: ArrayLike = 1.0,
    noise: ArrayLike = 0.0,
    stop_gradient: bool = True,
) -> LinearDynamics:
    r"""Time derivatives of a linear network and its linear predictor that learn without contrast, by eigenvalue.

    .. math:: \dot p = \alpha s [\tau - (1 + \sigma^2) p] - \eta p, \qquad
              \dot s = 2 p s [\tau - (1 + \sigma^2) p] - 2 \eta s, \qquad
              \dot \tau = \beta (1 - \tau) - \tau \dot s / (2 s)

    :math:`s - p^2 / \alpha` decays as :math:`e^{-2 \eta t}`. Without the stop-gradient both branches move:
    :math:`\dot s = -2 s [(1 + \sigma^2)(1 + p^2) - 2 p] - 2 \eta s \le 0`, so that all features vanish; tau is 1 then.
    No predictor at all is p = 1 and predictor_rate = 0, weight decay apart.

    Args:
      state: LinearDynamics of float arrays [D], s > 0.
      weight_decay: eta >= 0.
      predictor_rate: alpha >= 0, learning rate of the predictor over that of the network.
      target_rate: beta >= 0, how quickly the slow copy follows.
      noise: sigma^2 >= 0, variance of the augmentation over that of the data.
      stop_gradient: static; False differentiates the target as well.
    Returns:
      LinearDynamics of derivatives, float32 or wider [D].
    Raises:
      ValueError: the three arrays differ in shape, or a static rate is negative.
      TypeError: an array is not floating point.

    >>> now = LinearDynamics(jnp.array([0.5]), jnp.array([1.0]), jnp.array([1.0]))
    >>> print(*byol_linear_dynamics(now), byol_linear_dynamics(now, stop_gradient=False).features)
    [0.5] [0.5] [-0.25] [-0.5]

    Reference: Tian, Chen and Ganguli, "Understanding Self-Supervised Learning Dynamics without Contrastive Pairs"
    (2021). Recalled; the rates without the stop-gradient are inferred from the same loss.
    """
    rates = {
        "weight_decay": weight_decay,
        "predictor_rate": predictor_rate,
        "target_rate": target_rate,
        "noise": noise,
    }
    for name, rate in rates.items():
        checks.at_least(rate, name, 0.0)
    arrays = [checks.floating(value, f"state.{name}") for name, value in zip(state._fields, state, strict=True)]
    checks.same_shape(arrays[0], "state.predictor", arrays[1], "state.features")
    checks.same_shape(arrays[0], "state.predictor", arrays[2], "state.target")
    p, s, tau = (value.astype(accumulation_dtype(*arrays)) for value in arrays)
    eta, alpha, beta, variance = (jnp.asarray(rate, p.dtype) for rate in rates.values())
    spread = 1.0 + variance
    drive = (tau if stop_gradient else 1.0) - spread * p
    d_p = alpha * s * drive - eta * p
    # Halves of the relative growth of s, so that tau needs no division by s.
    growth = (p * drive if stop_gradient else 2.0 * p - spread * (1.0 + p**2)) - eta
    d_tau = beta * (1.0 - tau) - tau * growth if stop_gradient else jnp.zeros_like(tau)
    return LinearDynamics(d_p, 2.0 * s * growth, d_tau)


def _square(corr: ArrayLike) -> Array:
    matrix = checks.rank(checks.floating(corr, "corr"), "corr", 2, layout="[D, D]")
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"corr must have shape [D, D], got {list(matrix.shape)}")
    return jax.lax.stop_gradient(matrix.astype(accumulation_dtype(matrix)))
