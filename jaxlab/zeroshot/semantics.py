"""Class vectors that come from the names of the classes and not from their examples."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import cosine_similarity
from jaxlab.numerics import masked_mean, normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["semantic_targets"]


def semantic_targets(
    texts: ArrayLike, *, center: bool = False, max_cosine: float = 0.999, where: ArrayLike | None = None
) -> Array:
    r"""Unit vectors of classes, for a classifier whose weights are fixed before it sees an example.

    .. math:: w_c = \frac{t_c - a}{\|t_c - a\|}, \quad a = 0 \text{ or the mean of all } t_c

    The classifier is ``analytic.prototype_logits(features, targets, metric="cosine", scale=16.0, where=classes)``. As
    no target learns and none depends on the others (but by the mean), new classes leave the logits of earlier ones as
    they were. Random and simplex vectors serve in the same way.

    Args:
      texts: float [C, D], an embedding of each class name, or any vector that means the class.
      center: whether their mean is taken away, static. Embeddings of texts are alike (cosines of .7 between all pairs);
        centring spreads them, but the mean must then be that of a fixed set of classes.
      max_cosine: two classes with targets nearer than this are refused: no example could tell them apart.
      where: bool [C], True where a class exists; the others are left out of the mean and give zeros.
    Returns:
      float32 or wider [C, D], unit rows without gradient; a zero row (after centring) stays zero.
    Raises:
      ValueError: texts are not [C, D], max_cosine does not lie in [-1, 1], or two classes are nearly the same (known
        where texts are not traced; under ``jit`` such targets pass).
      TypeError: texts are not floating point, or where is not boolean.

    >>> print(semantic_targets(jnp.array([[3.0, 4.0], [0.0, 2.0]])))
    [[0.6 0.8]
     [0.  1. ]]

    Reference: Ni et al., "Enhancing Visual Continual Learning with Language-Guided Supervision" (2024). Recalled;
    centring is inferred.
    """
    vectors = checks.rank(checks.floating(texts, "texts"), "texts", 2, layout="[C, D]")
    checks.in_range(max_cosine, "max_cosine", -1.0, 1.0)
    mask = checks.mask(where, "where", vectors.shape[:1])
    exists = jnp.ones(vectors.shape[0], bool) if mask is None else mask
    vectors = jnp.where(exists[:, None], vectors.astype(accumulation_dtype(vectors)), 0.0)
    if center:
        mean = masked_mean(vectors, jnp.broadcast_to(exists[:, None], vectors.shape), axis=0)
        vectors = jnp.where(exists[:, None], vectors - mean, 0.0)
    targets = jax.lax.stop_gradient(normalize(vectors))
    if not isinstance(targets, jax.core.Tracer):
        _refuse_twins(targets, max_cosine)
    return targets


def _refuse_twins(targets: Array, max_cosine: float) -> None:
    near = jnp.argwhere(jnp.triu(cosine_similarity(targets) > max_cosine, 1)).tolist()
    if near:
        pairs = ", ".join(f"{a} and {b}" for a, b in near[:3])
        raise ValueError(f"texts must tell the classes apart (cosines up to {max_cosine}), got twins: classes {pairs}")
