"""Codebooks: vector quantisation with keys that follow the data, and the discrete key-value bottleneck."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "Codebook",
    "codebook_init",
    "codebook_replace_dead",
    "codebook_update",
    "kv_bottleneck_logits",
    "kv_lookup",
    "nearest_keys",
    "random_projection_heads",
    "vector_quantize",
]


class Codebook(NamedTuple):
    """Codes [J, D], and the moving number [J] and sum [J, D] of the rows that each of them stands for."""

    codes: Array
    count: Array  # type: ignore[assignment]
    sum: Array


def vector_quantize(x: ArrayLike, codebook: ArrayLike) -> tuple[Array, Array]:
    r"""The nearest code of every vector.

    .. math:: j^* = \arg\min_j \|x - e_j\|^2, \quad q = e_{j^*}

    The gradient of the code flows into the codes that were taken; x gets none. Pass the code through
    ``numerics.straight_through(code, x)`` to train an encoder.

    Args:
      x: float [..., D].
      codebook: float [J, D].
    Returns:
      (code [..., D] in the dtype of codebook, index int32 [...]); a tie goes to the lower index.
    Raises:
      ValueError: widths differ, or the codebook is empty.
      TypeError: x or codebook is not floating point.

    >>> code, index = vector_quantize(jnp.array([[0.9], [-2.0]]), jnp.array([[0.0], [1.0]]))
    >>> print(code[:, 0], index)
    [1. 0.] [1 0]

    Reference: van den Oord et al., "Neural Discrete Representation Learning" (2017), standard.
    """
    x = checks.floating(x, "x")
    codebook = checks.rank(checks.floating(codebook, "codebook"), "codebook", 2, layout="[J, D]")
    if x.ndim < 1 or x.shape[-1] != codebook.shape[1] or codebook.shape[0] == 0:
        raise ValueError(f"x must be [..., D] and codebook [J, D] with J >= 1, got {x.shape} and {codebook.shape}")
    index = _nearest(x.reshape(-1, x.shape[-1]), codebook).reshape(x.shape[:-1])
    return codebook[index], index


def _nearest(x: Array, codes: Array) -> Array:
    return jnp.argmin(jax.lax.stop_gradient(pairwise_sq_dists(x, codes)), axis=-1).astype(jnp.int32)


def codebook_init(key: Array, num_codes: int, dim: int, *, samples: ArrayLike | None = None) -> Codebook:
    """Codes before any update: standard normal, or rows of a sample.

    Args:
      key: PRNG key.
      num_codes: J, static.
      dim: D, static.
      samples: float [N, D], N >= 1; each code is a random row, none taken twice while there are enough.
    Returns:
      Codebook in float32 (wider if samples are). Every code counts as one row: with no rows at all, as in the published
      code, the first update throws a code that nothing is near to far away.
    Raises:
      ValueError: a size is below 1, or samples are not [N, D] with N >= 1.
      TypeError: samples are not floating point.

    >>> print(codebook_init(jax.random.key(0), 2, 1, samples=jnp.array([[3.0], [5.0]])).count)
    [1. 1.]

    Reference: Traeuble et al., "Discrete Key-Value Bottleneck" (2023). Checked against the authors' code, which starts
    from counts of 0.
    """
    checks.size(num_codes, "num_codes")
    checks.size(dim, "dim")
    if samples is None:
        codes = jax.random.normal(key, (num_codes, dim))
    else:
        rows = checks.rank(checks.floating(samples, "samples"), "samples", 2, layout="[N, D]")
        if rows.shape[0] == 0 or rows.shape[1] != dim:
            raise ValueError(f"samples must have shape [N, {dim}] with N >= 1, got {list(rows.shape)}")
        order = jax.random.permutation(key, rows.shape[0])
        codes = rows[order[jnp.arange(num_codes) % rows.shape[0]]].astype(accumulation_dtype(rows))
    return Codebook(codes, jnp.ones(num_codes, codes.dtype), codes)


def codebook_update(
    state: Codebook,
    x: ArrayLike,
    *,
    decay: ArrayLike = 0.95,
    eps: ArrayLike = 1e-5,
    where: ArrayLike | None = None,
) -> Codebook:
    r"""Moves every code towards the mean of the rows that are nearest to it.

    .. math:: n_j \leftarrow g n_j + (1 - g) |A_j|, \quad m_j \leftarrow g m_j + (1 - g) \sum_{i \in A_j} x_i,
              \quad e_j = m_j \Big/ \frac{(n_j + \epsilon) \sum_l n_l}{\sum_l n_l + J \epsilon}

    Args:
      state: the codebook.
      x: float [..., D], rows that are assigned to the codes as they are before the update.
      decay: g in [0, 1], weight of the past; 0 gives the means of this batch.
      eps: Laplace smoothing of the counts.
      where: bool [...], True where a row counts.
    Returns:
      Codebook. A code that no row is nearest to keeps its place (number and sum shrink together); a batch in which
      nothing counts changes nothing.
    Raises:
      ValueError: widths differ, or a static decay outside [0, 1].
      TypeError: x is not floating point, or wider than the state.

    >>> state = codebook_init(jax.random.key(0), 2, 1, samples=jnp.array([[0.0], [4.0]]))
    >>> print(sorted(codebook_update(state, jnp.array([[1.0], [1.0], [8.0]]), decay=0.0).codes[:, 0].round(2).tolist()))
    [1.0, 8.0]

    Reference: Traeuble et al., "Discrete Key-Value Bottleneck" (2023). Checked against the authors' code, in which a
    code without rows is divided by its smoothed count alone, and leaves the data.
    """
    x = checks.floating(x, "x")
    checks.in_range(decay, "decay", 0.0, 1.0)
    rows, mask = _rows(state, x, where)
    near = _nearest(rows, state.codes)[:, None] == jnp.arange(state.codes.shape[0])
    taken = (near & mask[:, None]).astype(state.codes.dtype)
    arrived = jnp.sum(taken, axis=0)
    old = jnp.asarray(decay, state.codes.dtype)
    count = old * state.count + (1 - old) * arrived
    total = old * state.sum + (1 - old) * jnp.matmul(taken.T, rows, precision="highest")
    mass = jnp.sum(count)
    smoothed = (count + eps) / (mass + count.shape[0] * eps) * mass
    used = arrived > 0
    codes = jnp.where(used[:, None], total / jnp.where(used, smoothed, 1.0)[:, None], state.codes)
    any_row = jnp.any(mask)
    return Codebook(codes, jnp.where(any_row, count, state.count), jnp.where(any_row, total, state.sum))


def _rows(state: Codebook, x: Array, where: ArrayLike | None) -> tuple[Array, Array]:
    """The rows [N, D] in the dtype of the state, hidden ones zero, and their mask [N]."""
    if x.ndim < 1 or x.shape[-1] != state.codes.shape[1]:
        raise ValueError(f"x must have shape [..., {state.codes.shape[1]}] as the codes do, got {list(x.shape)}")
    checks.not_wider(x, "x", state.codes.dtype)
    mask = checks.mask(where, "where", x.shape[:-1])
    flat = jnp.ones(x.shape[:-1], bool).reshape(-1) if mask is None else mask.reshape(-1)
    return jnp.where(flat[:, None], x.reshape(-1, x.shape[-1]).astype(state.codes.dtype), 0.0), flat


def codebook_replace_dead(
    key: Array, state: Codebook, x: ArrayLike, *, threshold: ArrayLike, where: ArrayLike | None = None
) -> Codebook:
    r"""Puts random rows in the place of codes that stand for too few.

    .. math:: n_j < \tau \;\Rightarrow\; e_j = x_i, \; n_j = 1, \; m_j = x_i, \quad i \text{ uniform}

    Args:
      key: PRNG key.
      state: the codebook.
      x: float [..., D], the rows to choose from; two codes may get the same one.
      threshold: tau; 0 replaces nothing.
      where: bool [...], True where a row may be chosen; with none, nothing is replaced.
    Returns:
      Codebook.
    Raises:
      ValueError: widths differ.
      TypeError: x is not floating point, or wider than the state.

    >>> state = Codebook(jnp.zeros((2, 1)), jnp.array([0.1, 5.0]), jnp.zeros((2, 1)))
    >>> print(codebook_replace_dead(jax.random.key(0), state, jnp.array([[7.0]]), threshold=1.0).codes[:, 0])
    [7. 0.]

    Reference: Traeuble et al., "Discrete Key-Value Bottleneck" (2023). Checked against the authors' code, which leaves
    number and sum of a replaced code as they were, so that the next update undoes it.
    """
    rows, mask = _rows(state, checks.floating(x, "x"), where)
    # Each row's own random number decides, so that hidden rows do not change who is drawn.
    draws = jax.random.gumbel(key, (rows.shape[0], state.codes.shape[0]))
    drawn = rows[jnp.argmax(jnp.where(mask[:, None], draws, -jnp.inf), axis=0)]
    dead = (state.count < threshold) & jnp.any(mask)
    return Codebook(
        jnp.where(dead[:, None], drawn, state.codes),
        jnp.where(dead, 1.0, state.count),
        jnp.where(dead[:, None], drawn, state.sum),
    )


def random_projection_heads(key: Array, dim: int, *, heads: int, key_dim: int) -> Array:
    r"""Random views of a feature vector: ``einsum("nd,hdk->hnk", z, A)`` are the queries of every head.

    .. math:: A_{h, :, k} = g / \|g\|, \quad g \sim N(0, I_D)

    Args:
      key: PRNG key.
      dim: D, static.
      heads: number of views, static.
      key_dim: width of a view, static.
    Returns:
      float32 [heads, D, key_dim]; every column has length 1.
    Raises:
      ValueError: a size is below 1.

    >>> print(jnp.sum(random_projection_heads(jax.random.key(0), 9, heads=2, key_dim=3)**2, axis=1).round(3)[0])
    [1. 1. 1.]

    Reference: Traeuble et al., "Discrete Key-Value Bottleneck" (2023). Checked against the authors' code.
    """
    shape = tuple(checks.size(size, name) for size, name in ((heads, "heads"), (dim, "dim"), (key_dim, "key_dim")))
    return normalize(jax.random.normal(key, shape), axis=1)


def head_queries(features: Array, projection: Array) -> Array:
    """What every head looks for, float32 or wider [H, N, d], from rows [N, D] and ``random_projection_heads``."""
    dtype = accumulation_dtype(features, projection)
    return jnp.einsum("nd,hdk->hnk", features.astype(dtype), projection.astype(dtype), precision="highest")


def nearest_keys(queries: ArrayLike, keys: ArrayLike, *, k: int = 1, key_where: ArrayLike | None = None) -> Array:
    r"""The k keys nearest to every query, head by head.

    .. math:: \operatorname{top}_k \big( -\|q_{hn} - \kappa_{hj}\|^2 \big)_j

    Args:
      queries: float [H, N, D].
      keys: float [H, J, D].
      k: static, 1 <= k <= J.
      key_where: bool [H, J], True where a key may be found: those that training has used.
    Returns:
      int32 [H, N, k], nearest first, ties to the lower index; J where fewer than k keys may be found. No gradient.
    Raises:
      ValueError: shapes do not agree, or k is out of range.
      TypeError: queries or keys are not floating point, or key_where is not boolean.

    >>> print(nearest_keys(jnp.array([[[0.2], [0.9]]]), jnp.array([[[0.0], [1.0], [5.0]]]), k=2))
    [[[0 1]
      [1 0]]]

    Reference: Traeuble et al., "Discrete Key-Value Bottleneck" (2023). Checked against the authors' code, at
    temperature 0.
    """
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 3, layout="[H, N, D]")
    keys = checks.rank(checks.floating(keys, "keys"), "keys", 3, layout="[H, J, D]")
    if queries.shape[0] != keys.shape[0] or queries.shape[2] != keys.shape[2]:
        raise ValueError(f"queries and keys must agree in heads and width, got {queries.shape} and {keys.shape}")
    if checks.size(k, "k") > keys.shape[1]:
        raise ValueError(f"k must be at most {keys.shape[1]}, the number of keys, got {k}")
    mask = checks.mask(key_where, "key_where", keys.shape[:2])
    if mask is not None:
        keys = jnp.where(mask[..., None], keys, 0.0)
    scores = -jax.vmap(pairwise_sq_dists)(*jax.lax.stop_gradient((queries, keys)))
    if mask is not None:
        scores = jnp.where(mask[:, None], scores, -jnp.inf)
    best, index = jax.lax.top_k(scores, k)
    return jnp.where(best > -jnp.inf, index, keys.shape[1]).astype(jnp.int32)


def kv_lookup(index: ArrayLike, values: ArrayLike) -> Array:
    r"""The values that keys stand for: the gradient reaches those that were fetched, and no other.

    .. math:: v_{h,\, i_{hnk}}

    Args:
      index: int [H, N, k], as ``nearest_keys`` gives it; an index outside [0, J) fetches zeros.
      values: float [H, J, V].
    Returns:
      [H, N, k, V] in the dtype of values.
    Raises:
      ValueError: shapes do not agree.
      TypeError: index is not integer, or values are not floating point.

    >>> print(kv_lookup(jnp.array([[[1, 2]]]), jnp.array([[[3.0], [4.0]]]))[0, 0, :, 0])
    [4. 0.]

    Reference: Traeuble et al., "Discrete Key-Value Bottleneck" (2023). Checked against the authors' code.
    """
    index = checks.rank(checks.integer(index, "index"), "index", 3, layout="[H, N, k]")
    values = checks.rank(checks.floating(values, "values"), "values", 3, layout="[H, J, V]")
    checks.batch_match(index, "index", values, "values")
    inside = (index >= 0) & (index < values.shape[1])
    fetched = jax.vmap(lambda table, at: table[at])(values, jnp.where(inside, index, 0))
    return jnp.where(inside[..., None], fetched, 0.0)


def kv_bottleneck_logits(
    features: ArrayLike,
    projection: ArrayLike,
    keys: ArrayLike,
    values: ArrayLike,
    *,
    k: int = 1,
    key_where: ArrayLike | None = None,
) -> Array:
    r"""Logits of the discrete key-value bottleneck: the mean of the values that the heads fetch.

    .. math:: z = \frac{1}{H k} \sum_h \sum_{j \in \operatorname{top}_k(f A_h)} v_{hj}

    Values are all that is trained. A step of plain gradient descent moves those that its rows fetched, so inputs that
    fetch others keep their logits to the bit; momentum and Adam move all of them.

    Args:
      features: float [..., D], of a frozen encoder; they get no gradient.
      projection: float [H, D, d], as ``random_projection_heads`` gives it.
      keys: float [H, J, d], frozen.
      values: float [H, J, V], V the number of classes.
      k: keys per head, static; all J of them make the logits independent of the input.
      key_where: bool [H, J], True where a key may be found.
    Returns:
      float32 or wider [..., V]; a head that finds no key adds 0.
    Raises:
      ValueError: shapes do not agree, or k is out of range.
      TypeError: an array is not floating point.

    >>> values = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> print(kv_bottleneck_logits(jnp.array([2.0]), jnp.ones((1, 1, 1)), jnp.array([[[0.0], [3.0]]]), values))
    [0. 1.]

    Reference: Traeuble et al., "Discrete Key-Value Bottleneck" (2023). Checked against the authors' code.
    """
    features = checks.floating(features, "features")
    projection = checks.rank(checks.floating(projection, "projection"), "projection", 3, layout="[H, D, d]")
    if features.ndim < 1 or features.shape[-1] != projection.shape[1]:
        raise ValueError(f"features must have shape [..., {projection.shape[1]}], got {list(features.shape)}")
    queries = head_queries(features.reshape(-1, features.shape[-1]), projection)
    fetched = kv_lookup(nearest_keys(queries, keys, k=k, key_where=key_where), values)
    logits = jnp.mean(fetched.astype(accumulation_dtype(fetched)), axis=(0, 2))
    return logits.reshape(*features.shape[:-1], logits.shape[-1])
