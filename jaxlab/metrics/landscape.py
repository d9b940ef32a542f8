"""The shape of a loss between trained networks: curves, barriers, and the phase of training they speak of."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks, trees
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["PhaseThresholds", "bezier", "classify_phase", "mode_connectivity"]


class PhaseThresholds(NamedTuple):
    """What counts as a high loss, a sharp minimum, a barrier, and alike; ``classify_phase`` says how they are used."""

    loss: ArrayLike = 0.1
    sharpness: ArrayLike = 100.0
    connectivity: ArrayLike = 0.05
    similarity: ArrayLike = 0.9


def bezier(stacked: PyTree, t: ArrayLike) -> PyTree:
    r"""A point of the Bezier curve through parameter space that the given parameters control.

    .. math:: \theta(t) = \sum_{i=0}^{n} \binom{n}{i} t^i (1 - t)^{n - i}\, \theta_i

    It begins at the first and ends at the last; the others bend it. Train those between at random t, and the curve
    finds a way around a barrier if there is one.

    Args:
      stacked: pytree of float arrays [n + 1, ...], the control points; n >= 1.
      t: float in [0, 1], a scalar; outside gives NaN.
    Returns:
      The tree without the leading axis, in float32 or wider.
    Raises:
      ValueError: leading axes differ, are missing or shorter than 2, or t is no scalar.
      TypeError: a leaf is not floating point.

    >>> print(bezier(jnp.array([0.0, 1.0, 0.0]), 0.5))
    0.5

    Reference: "A Model Zoo on Phase Transitions in Neural Networks" (2025), as in Garipov et al., "Loss Surfaces, Mode
    Connectivity, and Fast Ensembling of DNNs" (2018). Checked against the former's code.
    """
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(stacked)}
    if len(lengths) != 1 or lengths & {(), (0,), (1,)}:
        raise ValueError(f"stacked must hold arrays [n, ...] with one n >= 2, got leading axes {sorted(lengths)}")
    (number,) = lengths.pop()
    t = jnp.asarray(t)
    if t.ndim:
        raise ValueError(f"t must be a scalar, got an array {list(t.shape)}")
    weights = [math.comb(number - 1, i) * t**i * (1.0 - t) ** (number - 1 - i) for i in range(number)]
    return trees.average(stacked, weights=jnp.stack(jnp.broadcast_arrays(*map(jnp.asarray, weights))))


def mode_connectivity(values: ArrayLike, *, mode: str = "loss") -> Array:
    r"""How a curve between two networks fares against its ends: negative is a barrier, 0 is connected.

    .. math:: \tfrac12 (v_0 + v_T) - v_u, \qquad u = \arg\max_t |v_t - \tfrac12 (v_0 + v_T)|

    with the opposite sign for an accuracy. Positive means that the curve found something better than its ends, which
    were not trained to the end.

    Args:
      values: float [..., T], T >= 2, along the curve, its ends included.
      mode: "loss" (values that are better when smaller) or "accuracy", static.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: values have no axis of length >= 2, or an unknown mode.
      TypeError: values are not floating point.

    >>> print(mode_connectivity(jnp.array([1.0, 3.0, 1.0])), mode_connectivity(jnp.array([3.0, 1.0, 3.0])))
    -2.0 2.0

    Reference: "A Model Zoo on Phase Transitions in Neural Networks" (2025), as in Yang et al., "Taxonomizing local
    versus global structure in neural network loss landscapes" (2021). Checked against the former's code.
    """
    values = checks.floating(values, "values")
    checks.one_of(mode, "mode", ("loss", "accuracy"))
    if values.ndim < 1 or values.shape[-1] < 2:
        raise ValueError(f"values must have shape [..., T] with T >= 2, got {list(values.shape)}")
    wide = values.astype(accumulation_dtype(values))
    ends = 0.5 * (wide[..., 0] + wide[..., -1])
    off = ends[..., None] - wide
    extreme = jnp.argmax(jnp.abs(off), axis=-1)
    found = jnp.take_along_axis(off, extreme[..., None], axis=-1)[..., 0]
    return found if mode == "loss" else -found


def classify_phase(
    loss: ArrayLike,
    sharpness: ArrayLike,
    connectivity: ArrayLike,
    similarity: ArrayLike,
    *,
    thresholds: PhaseThresholds = PhaseThresholds(),  # noqa: B008 (immutable)
) -> Array:
    r"""The phase of training that networks of one configuration are in: 0 to 4 for I, II, III, IV-A and IV-B.

    ======  ========  ============================================  ==========
    phase   loss      connectivity, sharpness                       similarity
    ======  ========  ============================================  ==========
    I       high      barrier, or none of note at a sharp minimum   any
    II      high      positive, or none of note where it is flat    any
    III     small     barrier                                       any
    IV-A    small     no barrier                                    low
    IV-B    small     no barrier                                    high
    ======  ========  ============================================  ==========

    Args:
      loss: float [...], the training loss.
      sharpness: float [...], the largest eigenvalue of its Hessian.
      connectivity: float [...], of ``mode_connectivity``.
      similarity: float [...], of ``linear_cka`` between networks.
      thresholds: of the loss, of the sharpness, of the size of the connectivity (below it is none of note), and of
        the similarity; a value at the threshold is small, flat, none of note, low.
    Returns:
      int32, the arguments broadcast; -1 where one of them is NaN.
    Raises:
      ValueError: the arguments do not broadcast.
      TypeError: an argument is not floating point.

    >>> loss, barrier = jnp.array([1.0, 0.01, 0.01]), jnp.array([-0.5, -0.5, 0.0])
    >>> print(classify_phase(loss, jnp.array(500.0), barrier, jnp.array(0.95)))
    [0 2 4]

    Reference: "A Model Zoo on Phase Transitions in Neural Networks" (2025), paper text; what lies between the phases
    named there (a high loss without a barrier) is divided by sharpness here.
    """
    names = ("loss", "sharpness", "connectivity", "similarity")
    given = zip((loss, sharpness, connectivity, similarity), names, strict=True)
    arrays = [checks.floating(value, name) for value, name in given]
    try:
        loss, sharpness, connectivity, similarity = jnp.broadcast_arrays(*arrays)
    except ValueError as error:
        raise ValueError(f"{', '.join(names)} must broadcast, got {[list(a.shape) for a in arrays]}") from error
    barrier = connectivity < -jnp.asarray(thresholds.connectivity)
    gain = connectivity > jnp.asarray(thresholds.connectivity)
    high = jnp.where(barrier | (~gain & (sharpness > thresholds.sharpness)), 0, 1)
    small = jnp.where(barrier, 2, jnp.where(similarity > thresholds.similarity, 4, 3))
    unknown = jnp.isnan(loss) | jnp.isnan(sharpness) | jnp.isnan(connectivity) | jnp.isnan(similarity)
    return jnp.where(unknown, -1, jnp.where(loss > thresholds.loss, high, small)).astype(jnp.int32)
