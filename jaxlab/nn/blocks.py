"""Blocks that weigh the channels and places of a feature map."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.nn.layers import dense
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "coordinate_attention",
    "coordinate_attention_init",
    "fused_attention",
    "fused_attention_init",
    "squeeze_excitation",
    "squeeze_excitation_init",
]


def squeeze_excitation_init(key: Array, width: int, *, reduction: int = 16) -> PyTree:
    r"""Parameters of ``squeeze_excitation``.

    .. math:: W_1 \in \mathbb{R}^{C \times R},\; W_2 \in \mathbb{R}^{R \times C}, \quad R = \max(1, C / r)

    Args:
      key: PRNG key.
      width: C, static.
      reduction: r, static.
    Returns:
      Nested dict of float32 arrays: "reduce", "expand" (kernel, bias).
    Raises:
      ValueError: a size is below 1.
      TypeError: a size is not a static integer.

    >>> print(squeeze_excitation_init(jax.random.key(0), 32)["reduce"]["kernel"].shape)
    (32, 2)

    Reference: as ``squeeze_excitation``. Standard.
    """
    inner = max(1, checks.size(width, "width") // checks.size(reduction, "reduction"))
    first, second = jax.random.split(key)
    return {"reduce": _dense_init(first, width, inner), "expand": _dense_init(second, inner, width)}


def squeeze_excitation(params: PyTree, x: ArrayLike) -> Array:
    r"""A feature map whose channels are weighed by what the channels' means say.

    .. math:: x \odot s, \qquad s = \sigma\big(W_2\, \mathrm{ReLU}(W_1 \bar x)\big), \;\; \bar x = \text{mean of places}

    Args:
      params: as ``squeeze_excitation_init`` makes them.
      x: float [B, H, W, C].
    Returns:
      dtype and shape of x, no entry larger than it was.
    Raises:
      ValueError: x is not [B, H, W, C] of the width of params.
      TypeError: x is not floating point.

    >>> params = jax.tree.map(jnp.zeros_like, squeeze_excitation_init(jax.random.key(0), 4))
    >>> print(squeeze_excitation(params, jnp.ones((1, 2, 2, 4))).max())  # a sigmoid of 0
    0.5

    Reference: Hu et al., "Squeeze-and-Excitation Networks" (2018). Standard.
    """
    x, wide = _maps(params["reduce"], x)
    mean = jnp.mean(wide, axis=(1, 2))
    weights = jax.nn.sigmoid(dense(params["expand"], jax.nn.relu(dense(params["reduce"], mean))))
    return (wide * weights[:, None, None]).astype(x.dtype)


def coordinate_attention_init(key: Array, width: int, *, reduction: int = 32, smallest: int = 8) -> PyTree:
    r"""Parameters of ``coordinate_attention``.

    .. math:: W_1 \in \mathbb{R}^{C \times R},\; W_h, W_w \in \mathbb{R}^{R \times C}, \quad R = \max(8, C / r)

    Args:
      key: PRNG key.
      width: C, static.
      reduction: r, static.
      smallest: least inner width, static.
    Returns:
      Nested dict of float32 arrays: "reduce", "rows", "columns" (kernel, bias).
    Raises:
      ValueError: a size is below 1.
      TypeError: a size is not a static integer.

    >>> print(coordinate_attention_init(jax.random.key(0), 32)["reduce"]["kernel"].shape)
    (32, 8)

    Reference: as ``coordinate_attention``. Standard.
    """
    inner = max(checks.size(smallest, "smallest"), checks.size(width, "width") // checks.size(reduction, "reduction"))
    keys = jax.random.split(key, 3)
    return {
        "reduce": _dense_init(keys[0], width, inner),
        "rows": _dense_init(keys[1], inner, width),
        "columns": _dense_init(keys[2], inner, width),
    }


def coordinate_attention(params: PyTree, x: ArrayLike) -> Array:
    r"""A feature map weighed by its rows and by its columns, channel by channel.

    .. math:: x_{ijc}\, a_{ic}\, b_{jc}, \quad a = \sigma(W_h g_h), \; b = \sigma(W_w g_w),
              \quad g = \mathrm{hswish}(W_1 [\text{row means};\, \text{column means}])

    The batch normalisation between :math:`W_1` and its activation is left out: at inference it folds into
    :math:`W_1` and its bias, and without it no example depends on another.

    Args:
      params: as ``coordinate_attention_init`` makes them.
      x: float [B, H, W, C].
    Returns:
      dtype and shape of x, no entry larger than it was.
    Raises:
      ValueError: x is not [B, H, W, C] of the width of params.
      TypeError: x is not floating point.

    >>> params = jax.tree.map(jnp.zeros_like, coordinate_attention_init(jax.random.key(0), 4))
    >>> print(coordinate_attention(params, jnp.ones((1, 2, 3, 4))).max())  # a product of two sigmoids of 0
    0.25

    Reference: Hou et al., "Coordinate Attention for Efficient Mobile Network Design" (2021). Checked against copies of
    the authors' code, but for the batch normalisation.
    """
    x, wide = _maps(params["reduce"], x)
    height = x.shape[1]
    means = jnp.concatenate([jnp.mean(wide, axis=2), jnp.mean(wide, axis=1)], axis=1)  # [B, H + W, C]
    inner = jax.nn.hard_swish(dense(params["reduce"], means))
    rows = jax.nn.sigmoid(dense(params["rows"], inner[:, :height]))
    columns = jax.nn.sigmoid(dense(params["columns"], inner[:, height:]))
    return (wide * rows[:, :, None] * columns[:, None]).astype(x.dtype)


def fused_attention_init(key: Array, width: int, *, se_reduction: int = 16, ca_reduction: int = 32) -> PyTree:
    r"""Parameters of ``fused_attention``, both parts weighing alike at first.

    .. math:: a = 0, \quad \alpha = \sigma(a) = \tfrac12

    Args:
      key: PRNG key.
      width: C, static.
      se_reduction: of the squeeze-and-excitation, static.
      ca_reduction: of the coordinate attention, static.
    Returns:
      Nested dict of float32 arrays: "coordinate", "channel" (as their own init makes them), "balance" (a scalar).
    Raises:
      ValueError: a size is below 1.
      TypeError: a size is not a static integer.

    >>> print(sorted(fused_attention_init(jax.random.key(0), 8)))
    ['balance', 'channel', 'coordinate']

    Reference: as ``fused_attention``. Inferred.
    """
    first, second = jax.random.split(key)
    return {
        "coordinate": coordinate_attention_init(first, width, reduction=ca_reduction),
        "channel": squeeze_excitation_init(second, width, reduction=se_reduction),
        "balance": jnp.zeros(()),
    }


def fused_attention(params: PyTree, x: ArrayLike) -> Array:
    r"""Coordinate attention and squeeze-and-excitation in a mixture that is learned.

    .. math:: \alpha\, \mathrm{CA}(x) + (1 - \alpha)\, \mathrm{SE}(x), \qquad \alpha = \sigma(a)

    Args:
      params: as ``fused_attention_init`` makes them.
      x: float [B, H, W, C].
    Returns:
      dtype and shape of x, no entry larger than it was.
    Raises:
      ValueError: x is not [B, H, W, C] of the width of params.
      TypeError: x is not floating point.

    >>> params = jax.tree.map(jnp.zeros_like, fused_attention_init(jax.random.key(0), 4))
    >>> print(fused_attention(params, jnp.ones((1, 2, 3, 4))).max())
    0.375

    Reference: "Balanced multi-task attention for satellite images" (2025), after its abstract; the form of the mixture
    is inferred.
    """
    x, wide = _maps(params["coordinate"]["reduce"], x)
    alpha = jax.nn.sigmoid(params["balance"])
    mixed = alpha * coordinate_attention(params["coordinate"], wide)
    return (mixed + (1 - alpha) * squeeze_excitation(params["channel"], wide)).astype(x.dtype)


def _dense_init(key: Array, inputs: int, outputs: int) -> PyTree:
    return {"kernel": jax.random.normal(key, (inputs, outputs)) / inputs**0.5, "bias": jnp.zeros(outputs)}


def _maps(first: PyTree, x: ArrayLike) -> tuple[Array, Array]:
    """Feature maps as they came, and in the dtype of sums."""
    x = checks.rank(checks.floating(x, "x"), "x", 4, layout="[B, H, W, C]")
    width = first["kernel"].shape[0]
    if x.shape[-1] != width:
        raise ValueError(f"x must have {width} channels as params do, got {list(x.shape)}")
    if x.shape[1] < 1 or x.shape[2] < 1:
        raise ValueError(f"x must have shape [B, H, W, C] with H, W >= 1, got {list(x.shape)}")
    return x, x.astype(accumulation_dtype(x))
