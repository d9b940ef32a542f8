"""Partners for what has lost its own: captions borrowed from pairs that belong together."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import cosine_similarity
from jaxlab.typing import Array, ArrayLike

__all__ = ["pseudo_caption"]


def pseudo_caption(
    noisy_probs: ArrayLike, clean_probs: ArrayLike, *, threshold: ArrayLike = 0.5, where: ArrayLike | None = None
) -> tuple[Array, Array]:
    r"""The clean example whose pseudo-class is most like that of a mismatched one, and how far to trust it.

    .. math:: j^*(i) = \arg\max_j \cos(p_i, q_j), \qquad l_i = \cos(p_i, q_{j^*})\, [\, \ge \theta \,]

    The mismatched example is then paired with the caption of that clean one, at correspondence l
    (``losses.soft_margin_hinge``).

    Args:
      noisy_probs: float [B, C], p, distributions over pseudo-classes.
      clean_probs: float [M, C], q, those of the examples that may lend their caption, M >= 1.
      threshold: theta; below it the label is 0.
      where: bool [M], True where an example may lend.
    Returns:
      (index int32 [B], label float32 or wider [B]); ties go to the lower index. Where none may lend, index and label
      are 0.
    Raises:
      ValueError: shapes do not agree, or M = 0.
      TypeError: an array is not floating point, or where is not boolean.

    >>> index, label = pseudo_caption(jnp.array([[0.9, 0.1]]), jnp.array([[0.0, 1.0], [0.9, 0.1]]))
    >>> print(index, label.round(4))
    [1] [1.]

    Reference: Duan et al., "PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in
    Cross-Modal Retrieval" (2024). Checked against the authors' code.
    """
    noisy = checks.rank(checks.floating(noisy_probs, "noisy_probs"), "noisy_probs", 2, layout="[B, C]")
    clean = checks.rank(checks.floating(clean_probs, "clean_probs"), "clean_probs", 2, layout="[M, C]")
    if clean.shape[0] == 0 or clean.shape[1] != noisy.shape[1]:
        raise ValueError(
            f"clean_probs must have shape [M, {noisy.shape[1]}] with M >= 1 to match noisy_probs, "
            f"got {list(clean.shape)}"
        )
    mask = checks.mask(where, "where", clean.shape[:1])
    lends = jnp.ones(clean.shape[0], bool) if mask is None else mask
    scores = jnp.where(lends, cosine_similarity(noisy, jnp.where(lends[:, None], clean, 0.0)), -jnp.inf)
    index = jnp.argmax(scores, axis=1).astype(jnp.int32)
    best = jnp.max(scores, axis=1)
    return index, jnp.where(jnp.any(lends) & (best >= threshold), best, 0.0)
