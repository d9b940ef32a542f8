"""Losses that know a partner of every example, and take the other examples for strangers."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.metric_learning import by_rows
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["clip_loss", "info_nce", "nt_xent", "pairwise_matching"]


def info_nce(
    queries: ArrayLike,
    keys: ArrayLike,
    negatives: ArrayLike | None = None,
    *,
    temperature: ArrayLike = 0.07,
    in_batch: bool = True,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Cross entropy of finding the own key among all others, a value per query (couples the batch).

    .. math:: \ell_i = -\log \frac{e^{q_i k_i / \tau}}
                                  {e^{q_i k_i / \tau} + \sum_{j \ne i} e^{q_i k_j / \tau} + \sum_m e^{q_i n_m / \tau}}

    Inner products are taken as they are: normalise the rows for cosines.

    Args:
      queries: float [B, D].
      keys: float [B, D], row i belongs to query i.
      negatives: float [M, D], nobody's keys, such as a queue; None for none.
      temperature: tau > 0.
      in_batch: True takes the other keys of the batch as negatives, static.
      where: bool [B], True where a pair counts; the others are nobody's negatives, give 0 and no gradient.
      axis_name: the mapped axis over which the pairs are split; the keys of all its members are negatives. The
        ``negatives`` are each member's own.
    Returns:
      float32 or wider [B], >= 0.
    Raises:
      ValueError: shapes do not agree, a static temperature <= 0, or neither negatives nor in_batch.
      TypeError: queries, keys or negatives are not floating point, or where is not boolean.

    >>> [f"{value:.4f}" for value in info_nce(jnp.eye(2), jnp.eye(2), temperature=1.0)]
    ['0.3133', '0.3133']

    Reference: van den Oord et al., "Representation Learning with Contrastive Predictive Coding" (2018), with a queue as
    in He et al., "Momentum Contrast for Unsupervised Visual Representation Learning" (2020). Standard.
    """
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 2, layout="[B, D]")
    keys = checks.rank(checks.floating(keys, "keys"), "keys", 2, layout="[B, D]")
    checks.same_shape(queries, "queries", keys, "keys")
    checks.positive(temperature, "temperature")
    if negatives is None and not in_batch:
        raise ValueError("negatives must be given where in_batch is False: there is nothing to tell the keys from")
    size, width = queries.shape
    mask = checks.mask(where, "where", (size,))
    counts = jnp.ones(size, bool) if mask is None else mask
    dtype = accumulation_dtype(queries, keys)
    queries, keys = (jnp.where(counts[:, None], rows.astype(dtype), 0.0) for rows in (queries, keys))
    own = jnp.sum(queries * keys, axis=1) / temperature
    # Entry 0 is the own key, relative to which all others are measured.
    scores, allowed = [jnp.zeros((size, 1), dtype)], [jnp.ones((size, 1), bool)]

    def against(rows: Array) -> Array:
        return jnp.matmul(queries, rows.T, precision="highest") / temperature - own[:, None]

    if in_batch:
        place = jnp.arange(size)
        others, exist = keys, counts
        if axis_name is not None:
            others, exist = (jax.lax.all_gather(rows, axis_name, tiled=True) for rows in (keys, counts))
            place += size * jax.lax.axis_index(axis_name)
        scores.append(against(others))
        allowed.append(exist & (jnp.arange(others.shape[0]) != place[:, None]))
    if negatives is not None:
        strangers = checks.rank(checks.floating(negatives, "negatives"), "negatives", 2, layout="[M, D]")
        if strangers.shape[1] != width:
            raise ValueError(f"negatives must have rows of width {width} as queries do, got {list(strangers.shape)}")
        scores.append(against(strangers.astype(dtype)))
        allowed.append(jnp.ones((size, strangers.shape[0]), bool))
    losses = jax.nn.logsumexp(jnp.concatenate(scores, axis=1), axis=1, where=jnp.concatenate(allowed, axis=1))
    return jnp.where(counts, losses, 0.0)


def nt_xent(
    z1: ArrayLike,
    z2: ArrayLike,
    *,
    temperature: ArrayLike = 0.1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Cross entropy of finding the other view of an example among all views, a value per example (couples the batch).

    .. math:: \ell_i = \frac12 \sum_{a \in \{z^1_i, z^2_i\}} -\log
                      \frac{e^{\cos(z^1_i, z^2_i) / \tau}}{\sum_{b \ne a} e^{\cos(a, b) / \tau}}

    over the 2 N views b of the batch, the other view of i included.

    Args:
      z1: float [N, D], one view of every example, of any length.
      z2: float [N, D], another one.
      temperature: tau > 0.
      where: bool [N], True where an example counts; the others are nobody's negatives, give 0 and no gradient.
      axis_name: the mapped axis over which the examples are split; the views of all its members are negatives.
    Returns:
      float32 or wider [N], >= 0.
    Raises:
      ValueError: shapes do not agree, or a static temperature <= 0.
      TypeError: z1 or z2 are not floating point, or where is not boolean.

    >>> [f"{value:.4f}" for value in nt_xent(jnp.eye(2), 3.0 * jnp.eye(2), temperature=1.0)]  # log(1 + 2 / e)
    ['0.5514', '0.5514']

    Reference: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations" (2020). Standard.
    """
    views, counts = _two_sides(z1, "z1", z2, "z2", where)
    checks.positive(temperature, "temperature")
    own = jnp.sum(views[0] * views[1], axis=1) / temperature
    others, exist, place = _everywhere(views, counts, axis_name)
    size = others.shape[1]
    anchors, keys = views.reshape(-1, views.shape[2]), others.reshape(-1, views.shape[2])
    exist = jnp.tile(exist, 2)

    def below(anchor: Array, count: Array, itself: Array) -> Array:
        # An anchor that does not count may be told from anything: its value is dropped.
        allowed = (jnp.arange(2 * size) != itself) & exist | ~count
        return jax.nn.logsumexp(jnp.matmul(keys, anchor, precision="highest"), where=allowed)

    total = by_rows(below, anchors / temperature, jnp.tile(counts, 2), jnp.concatenate([place, place + size]))
    return jnp.where(counts, jnp.mean(total.reshape(2, -1), axis=0) - own, 0.0)


def pairwise_matching(logits: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Cross entropy of matching rows and columns of a square table, its diagonal being right (couples the batch).

    .. math:: \ell_i = -\frac12 \Big(\log \frac{e^{z_{ii}}}{\sum_j e^{z_{ij}}}
                                   + \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ji}}}\Big)

    For a table of costs, pass ``logits=-costs``.

    Args:
      logits: float [N, N], how well row i fits column j.
      where: bool [N], True where an example counts; the others are in nobody's way, give 0 and no gradient.
    Returns:
      float32 or wider [N], >= 0.
    Raises:
      ValueError: logits are not square, or where is not [N].
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(pairwise_matching(jnp.array([[0.0, 0.0], [0.0, 100.0]])).round(4))
    [0.6931 0.    ]

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021). Standard.
    """
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[N, N]")
    if logits.shape[0] != logits.shape[1]:
        raise ValueError(f"logits must be square [N, N], got {list(logits.shape)}")
    mask = checks.mask(where, "where", logits.shape[:1])
    counts = jnp.ones(logits.shape[0], bool) if mask is None else mask
    clean = logits.astype(accumulation_dtype(logits))
    clean = clean if mask is None else jnp.where(counts[:, None] & counts, clean, 0.0)
    below = [
        jax.nn.logsumexp(clean, axis=axis, where=jnp.expand_dims(counts, 1 - axis) | ~jnp.any(counts))
        for axis in (0, 1)
    ]
    return jnp.where(counts, 0.5 * (below[0] + below[1]) - jnp.diagonal(clean), 0.0)


def clip_loss(
    image_embeddings: ArrayLike,
    text_embeddings: ArrayLike,
    *,
    scale: ArrayLike,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Cross entropy of finding the text of an image and the image of a text, a value per pair (couples the batch).

    .. math:: \ell = \texttt{pairwise\_matching}\big(s \cos(u_i, v_j)\big)

    Args:
      image_embeddings: float [N, D], u, of any length.
      text_embeddings: float [N, D], v; row i belongs to image i.
      scale: s > 0; CLIP learns its logarithm.
      where: bool [N], True where a pair counts; the others are nobody's negatives, give 0 and no gradient.
      axis_name: the mapped axis over which the pairs are split; the pairs of all its members are negatives.
    Returns:
      float32 or wider [N], >= 0.
    Raises:
      ValueError: shapes do not agree, or a static scale <= 0.
      TypeError: embeddings are not floating point, or where is not boolean.

    >>> [f"{value:.4f}" for value in clip_loss(jnp.eye(2), 2.0 * jnp.eye(2), scale=1.0)]
    ['0.3133', '0.3133']

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021). Standard.
    """
    sides, counts = _two_sides(image_embeddings, "image_embeddings", text_embeddings, "text_embeddings", where)
    checks.positive(scale, "scale")
    if axis_name is None:
        logits = jnp.matmul(jnp.asarray(scale, sides.dtype) * sides[0], sides[1].T, precision="highest")
        return pairwise_matching(logits, where=None if where is None else counts)
    others, exist, _ = _everywhere(sides, counts, axis_name)
    own = scale * jnp.sum(sides[0] * sides[1], axis=1)
    below = [
        jax.nn.logsumexp(scale * jnp.matmul(rows, keys.T, precision="highest"), axis=1, where=exist | ~jnp.any(exist))
        for rows, keys in ((sides[0], others[1]), (sides[1], others[0]))
    ]
    return jnp.where(counts, 0.5 * (below[0] + below[1]) - own, 0.0)


def _two_sides(
    first: ArrayLike, first_name: str, second: ArrayLike, second_name: str, where: ArrayLike | None
) -> tuple[Array, Array]:
    """Unit rows [2, N, D] of two sides, hidden ones 0, and which count."""
    one = checks.rank(checks.floating(first, first_name), first_name, 2, layout="[N, D]")
    two = checks.rank(checks.floating(second, second_name), second_name, 2, layout="[N, D]")
    checks.same_shape(one, first_name, two, second_name)
    mask = checks.mask(where, "where", one.shape[:1])
    counts = jnp.ones(one.shape[:1], bool) if mask is None else mask
    dtype = accumulation_dtype(one, two)
    both = jnp.stack([one.astype(dtype), two.astype(dtype)])
    return normalize(jnp.where(counts[:, None], both, 0.0)), counts


def _everywhere(sides: Array, counts: Array, axis_name: str | None) -> tuple[Array, Array, Array]:
    """Both sides [2, M, D] of all members of a mapped axis, which rows count, and the places of this member's rows."""
    place = jnp.arange(sides.shape[1])
    if axis_name is None:
        return sides, counts, place
    everywhere = jax.lax.all_gather(sides, axis_name, axis=1, tiled=True)
    exist = jax.lax.all_gather(counts, axis_name, tiled=True)
    return everywhere, exist, place + sides.shape[1] * jax.lax.axis_index(axis_name)
