"""Scores against one vector per class, and few-shot prototypes pulled towards known ones."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import cosine_similarity, pairwise_sq_dists
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["calibrate_prototypes", "prototype_logits"]


def prototype_logits(
    x: ArrayLike,
    prototypes: ArrayLike,
    *,
    metric: str = "euclidean",
    scale: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Logits of a prototype classifier.

    .. math:: s \cdot \{-\|x - p_c\|^2,\; \cos(x, p_c),\; \langle x, p_c \rangle\}

    Args:
      x: float [..., D].
      prototypes: float [C, D].
      metric: "euclidean" (minus the squared distance), "cosine" or "dot", static.
      scale: multiplies; a float or an array that broadcasts to [..., C].
      where: bool [C], True where the class exists; the others get -inf (never compare with a zero mean).
    Returns:
      float32 or wider [..., C].
    Raises:
      ValueError: widths differ, or an unknown metric.
      TypeError: x or prototypes are not floating point.

    >>> print(prototype_logits(jnp.array([1.0, 0.0]), jnp.array([[2.0, 0.0], [0.0, 3.0]]), metric="cosine"))
    [1. 0.]

    Reference: standard; "euclidean" is the prototypical network's, "cosine" with scale 16 TEEN's.
    """
    x = checks.floating(x, "x")
    prototypes = checks.rank(checks.floating(prototypes, "prototypes"), "prototypes", 2, layout="[C, D]")
    checks.one_of(metric, "metric", ("euclidean", "cosine", "dot"))
    if x.ndim < 1 or x.shape[-1] != prototypes.shape[1]:
        raise ValueError(f"x must have shape [..., {prototypes.shape[1]}] as prototypes do, got {list(x.shape)}")
    mask = checks.mask(where, "where", prototypes.shape[:1])
    if mask is not None:
        prototypes = jnp.where(mask[:, None], prototypes, 0)
    rows = x.reshape(-1, x.shape[-1])
    if metric == "euclidean":
        logits = -pairwise_sq_dists(rows, prototypes)
    elif metric == "cosine":
        logits = cosine_similarity(rows, prototypes)
    else:
        dtype = accumulation_dtype(x, prototypes)
        logits = jnp.matmul(rows.astype(dtype), prototypes.T.astype(dtype), precision="highest")
    logits = jnp.asarray(scale, logits.dtype) * logits.reshape(*x.shape[:-1], prototypes.shape[0])
    return logits if mask is None else jnp.where(mask, logits, -jnp.inf)


def calibrate_prototypes(
    new: ArrayLike,
    base: ArrayLike,
    *,
    temperature: ArrayLike = 16.0,
    shift: ArrayLike = 0.5,
    where: ArrayLike | None = None,
) -> Array:
    r"""TEEN: prototypes of few-shot classes moved towards the base prototypes they resemble.

    .. math:: p_n = (1 - s)\, \bar m_n + s\, \overline{\sum_c a_{nc}\, \bar b_c},
              \quad a_n = \operatorname{softmax}_c(\tau \langle \bar m_n, \bar b_c \rangle)

    where a bar is normalisation to unit length. Calibrate every class once, against the base classes alone, and compare
    by cosine: the result is for cosine classifiers only.

    Args:
      new: float [M, D], means of the few shots.
      base: float [B, D], means of the base classes.
      temperature: tau, multiplies the similarity (the paper's name for it); larger means fewer base classes.
      shift: s in [0, 1], weight of the base mixture (the paper's alpha is 1 - s).
      where: bool [B], True where the base class exists.
    Returns:
      float32 or wider [M, D]; shift 0 gives the unit means. A zero mean stays a zero direction plus the mixture.
    Raises:
      ValueError: widths differ, or a static shift outside [0, 1].
      TypeError: new or base is not floating point.

    >>> print(calibrate_prototypes(jnp.array([[0.0, 2.0]]), jnp.array([[3.0, 0.0]]), shift=0.5))
    [[0.5 0.5]]

    Reference: Wang et al., "Few-Shot Class-Incremental Learning via Training-Free Prototype Calibration" (2023).
    Checked against the authors' code.
    """
    new = checks.rank(checks.floating(new, "new"), "new", 2, layout="[M, D]")
    base = checks.rank(checks.floating(base, "base"), "base", 2, layout="[B, D]")
    if new.shape[1] != base.shape[1]:
        raise ValueError(f"new and base must have one width, got {list(new.shape)} and {list(base.shape)}")
    checks.in_range(shift, "shift", 0.0, 1.0)
    mask = checks.mask(where, "where", base.shape[:1])
    dtype = accumulation_dtype(new, base)
    base = base.astype(dtype) if mask is None else jnp.where(mask[:, None], base.astype(dtype), 0.0)
    means, anchors = normalize(new.astype(dtype)), normalize(base)
    with jax.default_matmul_precision("highest"):
        attention = jax.nn.softmax(temperature * (means @ anchors.T), axis=-1, where=mask)
        mixture = normalize(attention @ anchors)
    weight = jnp.asarray(shift, dtype)
    return (1.0 - weight) * means + weight * mixture
