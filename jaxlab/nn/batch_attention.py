"""Attention between the examples of a batch."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.nn.layers import dense, layer_norm
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["batch_former", "batch_former_init", "batch_former_pair", "batch_former_tokens"]


def batch_former_init(key: Array, width: int, *, ff_width: int | None = None) -> PyTree:
    r"""Parameters of ``batch_former``, with normal weights of variance one over their inputs.

    .. math:: W_{ij} \sim N(0, 1 / C_{in})

    Args:
      key: PRNG key.
      width: C, static.
      ff_width: width of the perceptron inside, static; None is C.
    Returns:
      Nested dict of float32 arrays: "norm1", "norm2" (scale, bias), "qkv", "proj", "mlp_in", "mlp_out" (kernel, bias).
    Raises:
      ValueError: a size is below 1.
      TypeError: a size is not a static integer.

    >>> print(batch_former_init(jax.random.key(0), 8)["qkv"]["kernel"].shape)
    (8, 24)

    Reference: as ``batch_former``; its weights are drawn uniformly there. Standard.
    """
    width = checks.size(width, "width")
    inner = width if ff_width is None else checks.size(ff_width, "ff_width")
    shapes = {"qkv": (width, 3 * width), "proj": (width, width), "mlp_in": (width, inner), "mlp_out": (inner, width)}
    params: PyTree = {name: {"scale": jnp.ones(width), "bias": jnp.zeros(width)} for name in ("norm1", "norm2")}
    for (name, shape), one in zip(shapes.items(), jax.random.split(key, len(shapes)), strict=True):
        params[name] = {"kernel": jax.random.normal(one, shape) / shape[0] ** 0.5, "bias": jnp.zeros(shape[1])}
    return params


def batch_former(
    params: PyTree,
    x: ArrayLike,
    *,
    heads: int = 4,
    key: Array | None = None,
    dropout: ArrayLike = 0.5,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""A transformer layer whose sequence is the batch: every example attends to all (couples the batch).

    .. math:: h = \mathrm{LN}(x + \mathrm{MHA}(x)), \qquad z = \mathrm{LN}(h + W_2\, \mathrm{ReLU}(W_1 h))

    There is no position: a permuted batch gives permuted results. For training alone, see ``batch_former_pair``: what
    an example becomes depends on who is in its batch, and on how many.

    Args:
      params: as ``batch_former_init`` makes them.
      x: float [B, C], features.
      heads: static, divides C.
      key: typed PRNG key of the dropout; None drops nothing.
      dropout: share in [0, 1) that is dropped of the attention weights, of what attention and perceptron give, and
        inside the perceptron; read where there is a key.
      where: bool [B], True where an example counts: the others are not attended to.
      axis_name: the mapped axis over which the batch is split: every example attends to those of all members. Members
        need keys of their own.
    Returns:
      dtype and shape of x; 0 and without gradient for examples that do not count.
    Raises:
      ValueError: x is not [B, C] of the width of params, heads do not divide C, or a static dropout outside [0, 1).
      TypeError: x is not floating point, or where is not boolean.

    >>> params = batch_former_init(jax.random.key(0), 4)
    >>> print(batch_former(params, jnp.ones((3, 4)), heads=2).shape)
    (3, 4)

    Reference: Hou et al., "BatchFormer: Learning to Explore Sample Relationships for Robust Representation Learning"
    (2022). Checked against the authors' code, PyTorch's post-norm encoder layer with ReLU.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[B, C]")
    return _layer(params, x, heads=heads, key=key, dropout=dropout, where=where, axis_name=axis_name)


def batch_former_tokens(
    params: PyTree,
    x: ArrayLike,
    *,
    heads: int = 4,
    key: Array | None = None,
    dropout: ArrayLike = 0.5,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""``batch_former`` at every place of dense tokens: token n attends to all tokens n (couples the batch).

    .. math:: z_{\cdot n} = \mathrm{BatchFormer}(x_{\cdot n})

    Args:
      params: as ``batch_former_init`` makes them, the same for all positions.
      x: float [B, N, C], tokens.
      heads: static, divides C.
      key: typed PRNG key of the dropout, drawn apart for every position; None drops nothing.
      dropout: share in [0, 1).
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which the batch is split.
    Returns:
      dtype and shape of x; 0 and without gradient for examples that do not count.
    Raises:
      ValueError: x is not [B, N, C] of the width of params, heads do not divide C, or a static dropout outside [0, 1).
      TypeError: x is not floating point, or where is not boolean.

    >>> params = batch_former_init(jax.random.key(0), 4)
    >>> print(batch_former_tokens(params, jnp.ones((3, 6, 4)), heads=2).shape)
    (3, 6, 4)

    Reference: Hou et al., "BatchFormerV2: Exploring Sample Relationships for Dense Representation Learning" (2022).
    Checked against the authors' code.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 3, layout="[B, N, C]")
    turned = jnp.swapaxes(x, 0, 1)
    out = _layer(params, turned, heads=heads, key=key, dropout=dropout, where=where, axis_name=axis_name)
    return jnp.swapaxes(out, 0, 1)


def batch_former_pair(
    params: PyTree,
    x: ArrayLike,
    labels: ArrayLike,
    *,
    heads: int = 4,
    key: Array | None = None,
    dropout: ArrayLike = 0.5,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    r"""The features and, below them, what ``batch_former`` makes of them, with the labels of both (couples the batch).

    .. math:: (\,[x;\, z],\; [y;\, y]\,)

    One classifier learns from both halves, so that at test time it takes x as it is and the layer is left away.

    Args:
      params: as ``batch_former_init`` makes them.
      x: float [B, C].
      labels: [B, ...], of any dtype.
      heads: static, divides C.
      key: typed PRNG key of the dropout; None drops nothing.
      dropout: share in [0, 1).
      where: bool [B], True where an example counts; hide the same rows of both halves from the loss.
      axis_name: the mapped axis over which the batch is split.
    Returns:
      (features [2B, C], labels [2B, ...]).
    Raises:
      ValueError: as ``batch_former``, or x and labels differ in B.
      TypeError: x is not floating point, or where is not boolean.

    >>> params = batch_former_init(jax.random.key(0), 4)
    >>> features, labels = batch_former_pair(params, jnp.ones((2, 4)), jnp.array([3, 5]), heads=2)
    >>> print(features.shape, labels)
    (4, 4) [3 5 3 5]

    Reference: as ``batch_former``. Checked against the authors' code.
    """
    x, labels = checks.rank(checks.floating(x, "x"), "x", 2, layout="[B, C]"), jnp.asarray(labels)
    if labels.shape[:1] != x.shape[:1]:
        raise ValueError(f"labels must have shape [{x.shape[0]}, ...] to match x, got {list(labels.shape)}")
    z = _layer(params, x, heads=heads, key=key, dropout=dropout, where=where, axis_name=axis_name)
    return jnp.concatenate([x, z]), jnp.concatenate([labels, labels])


def _layer(
    params: PyTree,
    x: Array,
    *,
    heads: int,
    key: Array | None,
    dropout: ArrayLike,
    where: ArrayLike | None,
    axis_name: str | None,
) -> Array:
    """The encoder layer over the last axis but one, [..., B, C]."""
    size, width = x.shape[-2:]
    if params["qkv"]["kernel"].shape != (width, 3 * width):
        wanted = params["qkv"]["kernel"].shape[0]
        raise ValueError(f"x must have rows of width {wanted} as params do, got {list(x.shape)}")
    heads = checks.size(heads, "heads")
    if width % heads:
        raise ValueError(f"heads must divide the width {width} of x, got {heads}")
    if checks.is_static(dropout) and not 0 <= dropout < 1:
        raise ValueError(f"dropout must lie in [0, 1), got {dropout!r}")
    mask = checks.mask(where, "where", (size,))
    counts = jnp.ones(size, bool) if mask is None else mask
    wide = jnp.where(counts[:, None], x.astype(accumulation_dtype(x)), 0.0)
    keys = [None] * 4 if key is None else list(jax.random.split(key, 4))
    out = _attend(params, wide, counts, heads, keys[0], dropout, axis_name)
    hidden = layer_norm(params["norm1"], wide + _drop(keys[1], out, dropout), epsilon=1e-5)
    inner = _drop(keys[2], jax.nn.relu(dense(params["mlp_in"], hidden)), dropout)
    out = _drop(keys[3], dense(params["mlp_out"], inner), dropout)
    z = layer_norm(params["norm2"], hidden + out, epsilon=1e-5)
    return jnp.where(counts[:, None], z, 0.0).astype(x.dtype)


def _attend(
    params: PyTree, x: Array, counts: Array, heads: int, key: Array | None, dropout: ArrayLike, axis_name: str | None
) -> Array:
    """Multi-head attention of every row to the rows that count, here and at the other members of the axis."""
    width = x.shape[-1] // heads
    split = dense(params["qkv"], x).reshape(*x.shape[:-1], 3, heads, width)
    q, k, v = (split[..., part, :, :] for part in range(3))  # [..., B, heads, width]
    if axis_name is not None:
        axis = k.ndim - 3
        k, v = (jax.lax.all_gather(part, axis_name, axis=axis, tiled=True) for part in (k, v))
        counts = jax.lax.all_gather(counts, axis_name, tiled=True)
    scores = jnp.einsum("...bhw,...mhw->...hbm", q, k) / width**0.5
    # Where nobody counts the softmax has nothing to sum over: it takes all, and the caller drops every row.
    weights = jax.nn.softmax(scores, axis=-1, where=counts | ~jnp.any(counts))
    mixed = jnp.einsum("...hbm,...mhw->...bhw", _drop(key, weights, dropout), v)
    return dense(params["proj"], mixed.reshape(x.shape))


def _drop(key: Array | None, x: Array, rate: ArrayLike) -> Array:
    """Entries set to 0 with probability ``rate``, the others enlarged so that the mean stays."""
    if key is None:
        return x
    kept = 1.0 - jnp.asarray(rate, x.dtype)
    return jnp.where(jax.random.bernoulli(key, kept, x.shape), x / kept, 0.0)
