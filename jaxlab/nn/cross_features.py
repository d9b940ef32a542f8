"""Networks that multiply fields with each other: cross networks for click probabilities.

A network is a dict: "layers", a tuple of dicts, and "head", a dense layer to one logit. A layer holds a "kernel", a
"bias" [D] and, where it masks itself, the "norm" of its half.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.nn.layers import dense, layer_norm
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "FusedLogits",
    "cross_network_init",
    "cross_network_v2",
    "exponential_cross_layer",
    "exponential_cross_network",
    "fusing_cross_network",
    "linear_cross_layer",
    "linear_cross_network",
    "self_mask",
    "split_heads",
]


class FusedLogits(NamedTuple):
    """What ``fusing_cross_network`` returns: the mean of both logits, and each of them, [...]."""

    fused: Array
    deep: Array
    shallow: Array


def self_mask(h: ArrayLike, *, norm: PyTree | None = None) -> Array:
    r"""A vector beside a copy of itself in which what is below its mean is hidden.

    .. math:: [h,\ h \cdot \max(0, \mathrm{LayerNorm}(h))]

    A layer that ends in it needs half the parameters for the same width.

    Args:
      h: float [..., H].
      norm: {"scale": [H], "bias": [H]} of the layer normalisation; None is 1 and 0.
    Returns:
      The dtype of h, [..., 2 H].
    Raises:
      ValueError: h is a scalar.
      TypeError: h is not floating point.

    >>> print(self_mask(jnp.array([1.0, 3.0])).round(2))
    [1. 3. 0. 3.]

    Reference: Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction" (2024),
    checked against the authors' code.
    """
    h = checks.floating(h, "h")
    if h.ndim == 0:
        raise ValueError("h must have shape [..., H], got a scalar")
    wide = h.astype(accumulation_dtype(h))
    normal = jax.nn.standardize(wide, epsilon=1e-5) if norm is None else layer_norm(norm, wide, epsilon=1e-5)
    return jnp.concatenate([h, (wide * jax.nn.relu(normal)).astype(h.dtype)], axis=-1)


def cross_network_init(key: Array, *, dim: int, depth: int, masked: bool = True) -> PyTree:
    r"""Parameters of a cross network.

    .. math:: W_{ij} \sim U(-1/\sqrt D,\, 1/\sqrt D), \quad b_i \sim U(0, 1)

    Args:
      key: PRNG key.
      dim: D of the input; even where masked.
      depth: number of layers, >= 1.
      masked: True for layers with a self mask, False for those of ``cross_network_v2``, whose biases start at 0.
    Returns:
      {"layers": a tuple of depth dicts, "head": {"kernel": [D, 1], "bias": [1]}}, float32.
    Raises:
      ValueError: dim or depth is below 1, or dim is odd for a masked network.

    >>> jax.tree.map(jnp.shape, cross_network_init(jax.random.key(0), dim=4, depth=1)["layers"])[0]["kernel"]
    (4, 2)

    Reference: Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction" (2024),
    checked against the authors' code.
    """
    checks.size(dim, "dim")
    checks.size(depth, "depth")
    width = checks.divisible(dim, "dim", 2) // 2 if masked else dim
    bound = dim**-0.5

    def uniform(key: Array, *shape: int) -> Array:
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    def layer(key: Array) -> dict[str, Any]:
        kernel_key, bias_key = jax.random.split(key)
        kernel = uniform(kernel_key, dim, width)
        if not masked:
            return {"kernel": kernel, "bias": jnp.zeros(dim)}
        norm = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
        return {"kernel": kernel, "bias": jax.random.uniform(bias_key, (dim,)), "norm": norm}

    head_key, bias_key, *keys = jax.random.split(key, depth + 2)
    head = {"kernel": uniform(head_key, dim, 1), "bias": uniform(bias_key, 1)}
    return {"layers": tuple(map(layer, keys)), "head": head}


def _gate(params: PyTree, x: Array) -> Array:
    """What a layer multiplies with: [h, h m] + b."""
    if x.shape[-1] % 2 or params["kernel"].shape != (x.shape[-1], x.shape[-1] // 2):
        raise ValueError(
            f"params must hold a kernel [D, D / 2] for an even D = {x.shape[-1]}, got {list(params['kernel'].shape)}"
        )
    return self_mask(x @ params["kernel"], norm=params["norm"]) + params["bias"]


def _features(x: ArrayLike, name: str = "x") -> Array:
    array = checks.floating(x, name)
    if array.ndim == 0:
        raise ValueError(f"{name} must have shape [..., D], got a scalar")
    return array


def exponential_cross_layer(params: PyTree, x: ArrayLike) -> Array:
    r"""A cross layer that multiplies its input by itself: the degree doubles.

    .. math:: x' = x \cdot \big([h, h\, m] + b\big) + x, \quad h = W x, \quad m = \max(0, \mathrm{LayerNorm}(h))

    Args:
      params: {"kernel": [D, D / 2], "bias": [D], "norm": {"scale": [D / 2], "bias": [D / 2]}}.
      x: float [..., D], D even.
    Returns:
      float [..., D]; x where kernel and bias are 0.
    Raises:
      ValueError: D is odd, or the kernel does not fit.
      TypeError: x is not floating point.

    >>> params = cross_network_init(jax.random.key(0), dim=4, depth=1)["layers"][0]
    >>> print(exponential_cross_layer(jax.tree.map(jnp.zeros_like, params), jnp.arange(4.0)))
    [0. 1. 2. 3.]

    Reference: Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction" (2024),
    checked against the authors' code.
    """
    x = _features(x)
    return x * _gate(params, x) + x


def linear_cross_layer(params: PyTree, x: ArrayLike, first: ArrayLike) -> Array:
    r"""A cross layer that multiplies by the first input: the degree grows by one.

    .. math:: x' = x_1 \cdot \big([h, h\, m] + b\big) + x, \quad h = W x, \quad m = \max(0, \mathrm{LayerNorm}(h))

    Args:
      params: as for ``exponential_cross_layer``.
      x: float [..., D], D even.
      first: x_1, float [..., D], the input of the network.
    Returns:
      float [..., D]; x where kernel and bias are 0.
    Raises:
      ValueError: D is odd, the kernel does not fit, or shapes differ.
      TypeError: x or first is not floating point.

    >>> params = cross_network_init(jax.random.key(0), dim=4, depth=1)["layers"][0]
    >>> print(linear_cross_layer(jax.tree.map(jnp.zeros_like, params), jnp.arange(4.0), jnp.ones(4)))
    [0. 1. 2. 3.]

    Reference: Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction" (2024),
    checked against the authors' code.
    """
    x, first = _features(x), checks.floating(first, "first")
    checks.same_shape(x, "x", first, "first")
    return first * _gate(params, x) + x


def _network(params: PyTree, x: ArrayLike, step: Callable[[PyTree, Array, Array], Array]) -> Array:
    first = _features(x)
    hidden = first
    for layer in params["layers"]:
        hidden = step(layer, hidden, first)
    return dense(params["head"], hidden)[..., 0]


def exponential_cross_network(params: PyTree, x: ArrayLike) -> Array:
    r"""Layers whose degree in the input doubles, and a head.

    .. math:: z = w^\top x_{L+1} + c, \quad x_{l+1} = x_l \cdot \big([h_l, h_l\, m_l] + b_l\big) + x_l

    Without its normalisation it is a polynomial of degree 2^L: it needs that normalisation to stay finite.

    Args:
      params: of ``cross_network_init``.
      x: float [..., D], D even, embedded fields side by side.
    Returns:
      float [...], logits; the mean over heads is the caller's, see ``split_heads``.
    Raises:
      ValueError: D is odd, or the parameters do not fit.
      TypeError: x is not floating point.

    >>> params = cross_network_init(jax.random.key(0), dim=4, depth=2)
    >>> exponential_cross_network(params, jnp.ones((3, 4))).shape
    (3,)

    Reference: Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction" (2024),
    checked against the authors' code, which drops units between the layers.
    """
    return _network(params, x, lambda layer, hidden, _: exponential_cross_layer(layer, hidden))


def linear_cross_network(params: PyTree, x: ArrayLike) -> Array:
    r"""Layers whose degree in the input grows by one, and a head.

    .. math:: z = w^\top x_{L+1} + c, \quad x_{l+1} = x_1 \cdot \big([h_l, h_l\, m_l] + b_l\big) + x_l

    Args:
      params: of ``cross_network_init``.
      x: float [..., D], D even, embedded fields side by side.
    Returns:
      float [...], logits; the mean over heads is the caller's, see ``split_heads``.
    Raises:
      ValueError: D is odd, or the parameters do not fit.
      TypeError: x is not floating point.

    >>> params = cross_network_init(jax.random.key(0), dim=4, depth=2)
    >>> linear_cross_network(params, jnp.ones((3, 4))).shape
    (3,)

    Reference: Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction" (2024),
    checked against the authors' code, which drops units between the layers.
    """
    return _network(params, x, linear_cross_layer)


def cross_network_v2(params: PyTree, x: ArrayLike) -> Array:
    r"""The cross network DCNv2, and a head.

    .. math:: z = w^\top x_{L+1} + c, \quad x_{l+1} = x_1 \cdot (W_l x_l + b_l) + x_l

    Args:
      params: of ``cross_network_init`` with ``masked=False``.
      x: float [..., D], embedded fields side by side.
    Returns:
      float [...], logits; a polynomial of degree L + 1 in x.
    Raises:
      ValueError: x is a scalar.
      TypeError: x is not floating point.

    >>> params = cross_network_init(jax.random.key(0), dim=3, depth=2, masked=False)
    >>> cross_network_v2(params, jnp.ones((5, 3))).shape
    (5,)

    Reference: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
    Systems" (2021), standard.
    """
    return _network(params, x, lambda layer, hidden, first: first * dense(layer, hidden) + hidden)


def fusing_cross_network(params: PyTree, x: ArrayLike) -> FusedLogits:
    r"""Exponential and linear cross networks side by side.

    .. math:: z = (z_{ECN} + z_{LCN}) / 2

    Args:
      params: {"deep": of ``cross_network_init``, "shallow": of ``cross_network_init``}.
      x: float [..., D], D even, embedded fields side by side.
    Returns:
      FusedLogits(fused, deep, shallow) of [...], for ``losses.tri_bce``.
    Raises:
      ValueError: D is odd, or the parameters do not fit.
      TypeError: x is not floating point.

    >>> deep, shallow = (cross_network_init(jax.random.key(i), dim=4, depth=2) for i in range(2))
    >>> fusing_cross_network({"deep": deep, "shallow": shallow}, jnp.ones((3, 4))).fused.shape
    (3,)

    Reference: Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction" (2024),
    checked against the authors' code.
    """
    deep, shallow = exponential_cross_network(params["deep"], x), linear_cross_network(params["shallow"], x)
    return FusedLogits((deep + shallow) * 0.5, deep, shallow)


def split_heads(embeddings: ArrayLike, *, num_heads: int) -> Array:
    r"""Embedded fields as the inputs of several heads: the first halves of all fields, then the second halves.

    .. math:: x_k = [e_{1k}^{(1)}, \dots, e_{Fk}^{(1)}, e_{1k}^{(2)}, \dots, e_{Fk}^{(2)}]

    where :math:`e_{fk}` is the k-th part of the embedding of field f. So one half of a head's input is masked by a view
    of all fields.

    Args:
      embeddings: float [..., F, E], E a multiple of twice ``num_heads``.
      num_heads: static, >= 1.
    Returns:
      The dtype of embeddings, [..., num_heads, F E / num_heads]; the networks give a logit for each head.
    Raises:
      ValueError: E is not a multiple, or embeddings have no two axes.
      TypeError: embeddings are not floating point.

    >>> print(split_heads(jnp.arange(8.0).reshape(2, 4), num_heads=1))
    [[0. 1. 4. 5. 2. 3. 6. 7.]]

    Reference: Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction" (2024),
    checked against the authors' code.
    """
    array = checks.floating(embeddings, "embeddings")
    checks.size(num_heads, "num_heads")
    if array.ndim < 2:
        raise ValueError(f"embeddings must have shape [..., F, E], got {list(array.shape)}")
    checks.divisible(array.shape[-1], "the width E of embeddings", 2 * num_heads)
    lead, (fields, width) = array.shape[:-2], array.shape[-2:]
    parts = array.reshape(*lead, fields, num_heads, 2, width // (2 * num_heads))
    ordered = jnp.moveaxis(parts, -4, -2)  # [..., heads, halves, F, E / (2 heads)]
    return ordered.reshape(*lead, num_heads, fields * width // num_heads)
