"""Two embeddings of the same items as one."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import cosine_similarity
from jaxlab.metrics import pearson
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["stack_embeddings", "tune_stack_scale"]


def stack_embeddings(language: ArrayLike, vision: ArrayLike, *, scale: ArrayLike) -> Array:
    r"""One embedding of two: the first, times a scale, beside the second.

    .. math:: [\,c\, l \,|\, v\,], \qquad \cos = \frac{c^2 \langle l, l' \rangle + \langle v, v' \rangle}
              {\sqrt{c^2 \|l\|^2 + \|v\|^2} \sqrt{c^2 \|l'\|^2 + \|v'\|^2}}

    For parts of unit length the cosine is the mean of both cosines, of which the first weighs :math:`c^2`.

    Args:
      language: float [..., D].
      vision: float [..., E], the same leading axes.
      scale: c >= 0; 0 leaves the second, a large one the first.
    Returns:
      float32 or wider [..., D + E].
    Raises:
      ValueError: leading axes do not agree.
      TypeError: an embedding is not floating point.

    >>> print(stack_embeddings(jnp.array([1.0]), jnp.array([2.0, 3.0]), scale=10.0))
    [10.  2.  3.]

    Reference: Marjieh et al., "Words are all you need? Language as an approximation for human similarity judgments"
    (2023). Checked against the paper text.
    """
    language, vision = checks.floating(language, "language"), checks.floating(vision, "vision")
    if language.ndim < 1 or language.shape[:-1] != vision.shape[:-1]:
        raise ValueError(
            f"language and vision must agree in all axes but the last, got {list(language.shape)}, {list(vision.shape)}"
        )
    dtype = accumulation_dtype(language, vision)
    return jnp.concatenate([jnp.asarray(scale, dtype) * language.astype(dtype), vision.astype(dtype)], axis=-1)


def tune_stack_scale(
    language: ArrayLike, vision: ArrayLike, similarity: ArrayLike, grid: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""The scale of ``stack_embeddings`` whose cosines correlate most with given similarities.

    .. math:: \arg\max_{c \in \text{grid}}\; r\big(\cos(s_i, s_j), S_{ij}\big)_{i < j}

    Tune on a few items and judge on pairs of others: on the items it was tuned on, the stack is at least as good as
    either part wherever the grid reaches from 0 to large scales.

    Args:
      language: float [N, D].
      vision: float [N, E].
      similarity: float [N, N], symmetric, such as mean ratings of people.
      grid: float [G], scales to try.
      where: bool [N], True where an item may be used.
    Returns:
      float32 or wider scalar, the first of the best.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point, or where is not boolean.

    >>> noise, truth = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> print(tune_stack_scale(truth, noise, truth @ truth.T, jnp.array([0.0, 1.0, 100.0])))
    100.0

    Reference: Marjieh et al., "Words are all you need? Language as an approximation for human similarity judgments"
    (2023). Checked against the paper text.
    """
    language = checks.rank(checks.floating(language, "language"), "language", 2, layout="[N, D]")
    vision = checks.rank(checks.floating(vision, "vision"), "vision", 2, layout="[N, E]")
    target, grid = checks.floating(similarity, "similarity"), checks.rank(checks.floating(grid, "grid"), "grid", 1)
    checks.batch_match(language, "language", vision, "vision")
    num = language.shape[0]
    if target.shape != (num, num):
        raise ValueError(f"similarity must have shape {[num, num]}, got {list(target.shape)}")
    mask = checks.mask(where, "where", (num,))
    kept = jnp.ones(num, bool) if mask is None else mask
    pairs = jnp.triu(kept[:, None] & kept, 1)
    language, vision = (jnp.where(kept[:, None], part, 0) for part in (language, vision))

    def agreement(scale: Array) -> Array:
        return pearson(cosine_similarity(stack_embeddings(language, vision, scale=scale)), target, where=pairs)

    return grid.astype(accumulation_dtype(grid))[jnp.argmax(jax.lax.map(agreement, grid))]
