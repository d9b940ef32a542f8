"""Small trainable parts that are added to a frozen network."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.nn.embeddings import sinusoidal_embedding
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "affine_adaptor",
    "cross_attention_adapter",
    "cross_attention_adapter_init",
    "offset_adapter",
    "offset_adapter_init",
]


def offset_adapter_init(key: Array, *, dim: int, hidden: int = 256, condition_dims: Sequence[int] = ()) -> PyTree:
    """Parameters of ``offset_adapter``, whose last layer is zero: the network starts as it was.

    Args:
      key: PRNG key.
      dim: width of the layer that the offset is added to, static.
      hidden: width of the embeddings, even, static.
      condition_dims: widths of the further conditions, static.
    Returns:
      A dict of float32 arrays, about 9 hidden^2 + hidden (dim + sum(condition_dims)) numbers.
    Raises:
      ValueError: a size is below 1, or hidden is odd.

    >>> params = offset_adapter_init(jax.random.key(0), dim=6, hidden=4, condition_dims=(3,))
    >>> print({name: leaf["kernel"].shape for name, leaf in params.items() if "kernel" in leaf})
    {'hidden': (4, 4), 'out': (4, 6)}

    Reference: Jensen & Sadat, "Efficient Distillation of Classifier-Free Guidance using Adapters" (2025), checked
    against the authors' code; see ``offset_adapter`` for what differs.
    """
    checks.size(dim, "dim")
    embedding_key, hidden_key = jax.random.split(key)
    return {
        **_embedding_init(embedding_key, hidden, condition_dims),
        "hidden": _dense_init(hidden_key, hidden, hidden, gain=2.0),
        "out": _zeros(hidden, dim),
    }


def offset_adapter(
    params: PyTree, scale: ArrayLike, conditions: Sequence[ArrayLike] = (), *, multiplier: float = 1000.0
) -> Array:
    r"""What is added to every token of a layer: a function of the guidance scale and further conditions alone.

    .. math:: A(w, c) = W_2\, \mathrm{LN}\big(\mathrm{relu}(W_1 e)\big),
              \qquad e = E(w) + \sum_j P_j c_j, \quad E(w) = \mathrm{LN}(\mathrm{MLP}(\mathrm{sinusoid}(1000\, w)))

    One call with w then stands in for the two of classifier-free guidance.

    Args:
      params: of ``offset_adapter_init``.
      scale: w, a float or an array [B] (a float where there are no conditions either gives B = 1).
      conditions: float [B, D_j], an embedding of the time or the class; or [B, S, D_j], a prompt, which is averaged.
      multiplier: of w, before the sinusoids.
    Returns:
      float32 or wider [B, 1, dim], to be added to [B, T, dim] (or, with ``[:, 0]``, to [B, dim]).
    Raises:
      ValueError: the conditions are not those that the parameters were made for, or scale is not [] or [B].
      TypeError: scale or a condition is not floating point.

    >>> params = offset_adapter_init(jax.random.key(0), dim=6, hidden=4)
    >>> print(offset_adapter(params, jnp.array([1.0, 3.0])).shape)
    (2, 1, 6)

    Reference: Jensen & Sadat, as in ``offset_adapter_init``. The authors embed w by random frequencies, and their
    normalisations have a gain and an offset, which the linear maps around them hold here.
    """
    embedded, *others = _embedding(params, scale, conditions, multiplier)
    for other in others:
        embedded = embedded + (other if other.ndim == 2 else jnp.mean(other, axis=1))
    hidden = jax.nn.relu(_dense(params["hidden"], embedded))
    return _dense(params["out"], jax.nn.standardize(hidden))[:, None, :]


def cross_attention_adapter_init(
    key: Array, *, dim: int, hidden: int = 320, condition_dims: Sequence[int] = ()
) -> PyTree:
    """Parameters of ``cross_attention_adapter``, whose last layer is zero: the network starts as it was.

    Args:
      key: PRNG key.
      dim: width of the tokens, static.
      hidden: width of queries, keys and values, even, static.
      condition_dims: widths of the further conditions, static.
    Returns:
      A dict of float32 arrays, about 10 hidden^2 + hidden (2 dim + sum(condition_dims)) numbers.
    Raises:
      ValueError: a size is below 1, or hidden is odd.

    >>> params = cross_attention_adapter_init(jax.random.key(0), dim=6, hidden=4)
    >>> print({name: leaf["kernel"].shape for name, leaf in params.items() if "kernel" in leaf})
    {'query': (6, 4), 'key': (4, 4), 'value': (4, 4), 'out': (4, 6)}

    Reference: Jensen & Sadat, as in ``offset_adapter_init``, checked against the authors' code. Their flag
    ``zero_init=True`` draws the last layer at random and ``False`` zeroes it; here it is always zero.
    """
    checks.size(dim, "dim")
    embedding_key, *keys = jax.random.split(key, 4)
    return {
        **_embedding_init(embedding_key, hidden, condition_dims),
        "query": {"kernel": _dense_init(keys[0], dim, hidden)["kernel"]},
        "key": {"kernel": _dense_init(keys[1], hidden, hidden)["kernel"]},
        "value": {"kernel": _dense_init(keys[2], hidden, hidden)["kernel"]},
        "out": _zeros(hidden, dim),
    }


def cross_attention_adapter(
    params: PyTree,
    x: ArrayLike,
    scale: ArrayLike,
    conditions: Sequence[ArrayLike] = (),
    *,
    multiplier: float = 2.0 * math.pi,
) -> Array:
    r"""What is added to the output of a layer: every token asks the guidance scale and further conditions.

    .. math:: A(x, w, c) = \mathrm{softmax}\big(\tfrac{1}{\sqrt h}\, (x Q)(e K)^\top\big)\, e V\, W,
              \qquad e = \big[E(w), P_1 c_1, \dots\big] + \mathrm{positions}

    Args:
      params: of ``cross_attention_adapter_init``.
      x: float [B, T, dim], the input of the layer.
      scale: w, a float or an array [B].
      conditions: float [B, D_j], one token each, or [B, S, D_j], S tokens (a prompt).
      multiplier: of w, before the sinusoids.
    Returns:
      [B, T, dim] in the dtype of x.
    Raises:
      ValueError: x does not have the width of the parameters, the conditions are not those that they were made for, or
        scale is not [] or [B].
      TypeError: an array is not floating point.

    >>> params = cross_attention_adapter_init(jax.random.key(0), dim=6, hidden=4, condition_dims=(3,))
    >>> print(cross_attention_adapter(params, jnp.ones((2, 5, 6)), 3.0, [jnp.ones((2, 3))]).shape)
    (2, 5, 6)

    Reference: Jensen & Sadat, as in ``offset_adapter_init``, checked against the authors' code. They embed w by random
    frequencies of about one turn per unit; here the fastest wave makes one.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 3, layout="[B, T, dim]")
    dim = params["query"]["kernel"].shape[0]
    if x.shape[-1] != dim:
        raise ValueError(f"x must have shape [B, T, {dim}], the width of the parameters, got {list(x.shape)}")
    wide = x.astype(accumulation_dtype(x))
    scale = jnp.broadcast_to(checks.floating(scale, "scale"), x.shape[:1]) if jnp.ndim(scale) == 0 else scale
    parts = [part if part.ndim == 3 else part[:, None] for part in _embedding(params, scale, conditions, multiplier)]
    checks.batch_match(wide, "x", parts[0], "scale")
    tokens = jnp.concatenate(parts, axis=1)
    tokens = tokens + sinusoidal_embedding(jnp.arange(tokens.shape[1]), dim=tokens.shape[-1])
    wide, tokens = (array.astype(jnp.result_type(wide, tokens)) for array in (wide, tokens))
    query, key, value = (
        jnp.matmul(source, params[name]["kernel"])[:, :, None, :]
        for source, name in ((wide, "query"), (tokens, "key"), (tokens, "value"))
    )
    attended = jax.nn.dot_product_attention(query, key, value)[:, :, 0, :]
    return _dense(params["out"], attended).astype(x.dtype)


def affine_adaptor(params: PyTree, w: ArrayLike) -> Array:
    r"""An affine map of every coordinate of a latent: the adaptor that moves a frozen generator to a new attribute.

    .. math:: w' = a \odot w + b

    At a = 1, b = 0 the generator is unchanged. Entries of a driven to 0 take the diversity away: watch them.

    Args:
      params: a dict of "scale" a and "bias" b, float [D] (or any shape that broadcasts to w without adding axes).
      w: float [..., D], latents.
    Returns:
      The shape of w, in its dtype.
    Raises:
      ValueError: params holds other names, or shapes do not broadcast.
      TypeError: an array is not floating point.

    >>> print(affine_adaptor({"scale": jnp.array([1.0, 2.0]), "bias": jnp.array([0.0, -1.0])}, jnp.array([3.0, 3.0])))
    [3. 5.]

    Reference: the attribute adaptor of Yang et al., "One-Shot Generative Domain Adaptation" (2021), recalled.
    """
    if set(params) != {"scale", "bias"}:
        raise ValueError(f"params must hold 'scale' and 'bias', got {sorted(params)}")
    w = checks.floating(w, "w")
    scale, bias = checks.floating(params["scale"], "scale"), checks.floating(params["bias"], "bias")
    for array, name in ((scale, "scale"), (bias, "bias")):
        checks.broadcasts_to(array, name, w.shape)
    dtype = accumulation_dtype(w, scale, bias)
    return (scale.astype(dtype) * w.astype(dtype) + bias.astype(dtype)).astype(w.dtype)


def _embedding_init(key: Array, hidden: int, condition_dims: Sequence[int]) -> PyTree:
    checks.divisible(checks.size(hidden, "hidden", 2), "hidden", 2)
    first, second, *others = jax.random.split(key, 2 + len(condition_dims))
    projections = {
        f"condition{i}": _dense_init(others[i], checks.size(width, f"condition_dims[{i}]"), hidden)
        for i, width in enumerate(condition_dims)
    }
    return {
        "scale": {
            "first": _dense_init(first, hidden, 4 * hidden, gain=2.0),
            "second": _dense_init(second, 4 * hidden, hidden, gain=2.0),
        },
        "conditions": projections,
    }


def _embedding(params: PyTree, scale: ArrayLike, conditions: Sequence[ArrayLike], multiplier: float) -> list[Array]:
    """The scale [B, hidden] and every condition [B, hidden] or [B, S, hidden]."""
    projections = params["conditions"]
    if len(conditions) != len(projections):
        raise ValueError(f"{len(projections)} conditions expected, as the parameters say, got {len(conditions)}")
    given = []
    for i, condition in enumerate(conditions):
        array, width = checks.floating(condition, f"conditions[{i}]"), projections[f"condition{i}"]["kernel"].shape[0]
        if array.ndim not in (2, 3) or array.shape[-1] != width:
            raise ValueError(
                f"conditions[{i}] must have shape [B, {width}] or [B, S, {width}], got {list(array.shape)}"
            )
        given.append(array.astype(accumulation_dtype(array)))
    scale = checks.rank(checks.floating(scale, "scale"), "scale", (0, 1), layout="[] or [B]")
    batch = given[0].shape[:1] if given else scale.shape or (1,)
    if (scale.ndim == 1 and scale.shape != batch) or any(array.shape[:1] != batch for array in given):
        raise ValueError(f"scale and conditions must share their first axis, got {list(scale.shape)} and {list(batch)}")
    w = jnp.broadcast_to(scale.astype(accumulation_dtype(scale)), batch)
    waves = sinusoidal_embedding(multiplier * w, dim=params["scale"]["first"]["kernel"].shape[0])
    hidden = jax.nn.relu(_dense(params["scale"]["first"], waves))
    embedded = jax.nn.standardize(_dense(params["scale"]["second"], hidden))
    return [embedded, *(_dense(projections[f"condition{i}"], array) for i, array in enumerate(given))]


def _dense_init(key: Array, inputs: int, outputs: int, *, gain: float = 1.0) -> PyTree:
    """A kernel [in, out] of variance 2 gain / (in + out), and a zero bias."""
    draw = jax.nn.initializers.variance_scaling(gain, "fan_avg", "uniform")
    return {"kernel": draw(key, (inputs, outputs), jnp.float32), "bias": jnp.zeros(outputs)}


def _zeros(inputs: int, outputs: int) -> PyTree:
    return {"kernel": jnp.zeros((inputs, outputs)), "bias": jnp.zeros(outputs)}


def _dense(params: PyTree, x: Array) -> Array:
    return jnp.matmul(x, params["kernel"]) + params["bias"]
