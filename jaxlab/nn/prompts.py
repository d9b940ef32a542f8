"""What is put before or beside the tokens of a frozen transformer."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.nn.layers import dense, layer_norm
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "pathway_block",
    "prefix_attention",
    "soft_prompt",
    "summarize_tokens",
    "transformer_block",
    "transformer_block_init",
]


def summarize_tokens(selectors: ArrayLike, tokens: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""A few weighted means of many tokens: what each selector attends to.

    .. math:: P_s = \sum_n \operatorname{softmax}_n \big( s^\top x_n / \sqrt D \big)\, x_n

    A selector of zeros is mean pooling. The tokens get no gradient.

    Args:
      selectors: float [..., S, D].
      tokens: float [..., N, D]; leading axes broadcast with those of selectors.
      where: bool [..., N] (the shape of tokens without D), True where a token counts.
    Returns:
      float32 or wider [..., S, D]; zeros where no token counts.
    Raises:
      ValueError: shapes do not agree.
      TypeError: selectors or tokens are not floating point, or where is not boolean.

    >>> print(summarize_tokens(jnp.zeros((1, 1)), jnp.array([[1.0], [3.0]])))
    [[2.]]

    Reference: De Min et al., "Less is more: Summarizing Patch Tokens for efficient Multi-Label Class-Incremental
    Learning" (2024). Checked against the authors' code.
    """
    selectors, tokens = checks.floating(selectors, "selectors"), checks.floating(tokens, "tokens")
    if selectors.ndim < 2 or tokens.ndim < 2 or selectors.shape[-1] != tokens.shape[-1]:
        raise ValueError(f"selectors must be [..., S, D] and tokens [..., N, D], got {selectors.shape}, {tokens.shape}")
    mask = checks.mask(where, "where", tokens.shape[:-1])
    dtype = accumulation_dtype(selectors, tokens)
    x = jax.lax.stop_gradient(tokens.astype(dtype))
    if mask is not None:
        x = jnp.where(mask[..., None], x, 0.0)
    scores = jnp.matmul(selectors.astype(dtype) / jnp.sqrt(x.shape[-1]).astype(dtype), jnp.swapaxes(x, -1, -2))
    allowed = None if mask is None else jnp.broadcast_to(mask[..., None, :], scores.shape)
    return jnp.matmul(jax.nn.softmax(scores, axis=-1, where=allowed), x)


def transformer_block_init(key: Array, dim: int, *, hidden: int) -> PyTree:
    r"""Parameters of ``transformer_block``: normal kernels of variance 1 / inputs, biases 0, normal layers 1 and 0.

    .. math:: W_{ij} \sim N(0, 1 / D_{in})

    Args:
      key: PRNG key.
      dim: D, static.
      hidden: width of the perceptron inside, static.
    Returns:
      Nested dict of float32 arrays: "norm1", "norm2" (scale, bias), "qkv", "proj", "mlp_in", "mlp_out" (kernel, bias).
    Raises:
      ValueError: a size is below 1.

    >>> print(transformer_block_init(jax.random.key(0), 4, hidden=8)["qkv"]["kernel"].shape)
    (4, 12)

    Reference: standard.
    """
    checks.size(dim, "dim")
    checks.size(hidden, "hidden")
    shapes = {"qkv": (dim, 3 * dim), "proj": (dim, dim), "mlp_in": (dim, hidden), "mlp_out": (hidden, dim)}
    params: PyTree = {name: {"scale": jnp.ones(dim), "bias": jnp.zeros(dim)} for name in ("norm1", "norm2")}
    for (name, shape), one in zip(shapes.items(), jax.random.split(key, len(shapes)), strict=True):
        params[name] = {"kernel": jax.random.normal(one, shape) / shape[0] ** 0.5, "bias": jnp.zeros(shape[1])}
    return params


def transformer_block(
    params: PyTree,
    tokens: ArrayLike,
    *,
    heads: int,
    prompts: tuple[ArrayLike, ArrayLike] | None = None,
) -> Array:
    r"""A block of a vision transformer: normalise, attend, add; normalise, perceptron, add.

    .. math:: x' = x + \mathrm{MHA}(\mathrm{LN}_1 x), \qquad x'' = x' + W_2\, \mathrm{GELU}(W_1 \mathrm{LN}_2 x')

    Args:
      params: as ``transformer_block_init`` makes them.
      tokens: float [..., N, D].
      heads: static, divides D.
      prompts: (keys, values), float [P, heads, D / heads] each, put before the keys and values; None is none.
    Returns:
      float32 or wider [..., N, D].
    Raises:
      ValueError: heads do not divide D, or tokens or prompts have other widths than params.
      TypeError: tokens are not floating point.

    >>> params = transformer_block_init(jax.random.key(0), 4, hidden=8)
    >>> print(transformer_block(params, jnp.ones((3, 4)), heads=2).shape)
    (3, 4)

    Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), standard.
    """
    x = _wide_tokens(params, tokens, "tokens", heads)
    normed = layer_norm(params["norm1"], x)
    return _finish_block(params, x, _attend(params, normed, normed, heads, prompts))


def pathway_block(
    params: PyTree,
    tokens: ArrayLike,
    stream: ArrayLike,
    *,
    heads: int,
    prompts: tuple[ArrayLike, ArrayLike] | None = None,
) -> Array:
    r"""One task's own way through a frozen block: its class token attends to summaries of the image's tokens.

    .. math:: [c; s] = \mathrm{LN}_1(\text{stream}),
              \quad c' = \mathrm{MHA}\big(c;\, [\,\text{prompts};\, c;\, \mathrm{summarize}(s, \mathrm{LN}_1 x)\,]\big),
              \quad \text{stream}' = \text{stream} + [c'; s]

    and then the block's own perceptron. The summaries are dropped after use and the selectors put back in their place,
    so attention costs S + 1 tokens instead of N. The frozen way of the image's tokens is ``transformer_block`` with
    the same parameters; ``vmap`` over streams and prompts runs many tasks beside one such way.

    Args:
      params: of the frozen block, as ``transformer_block_init`` makes them.
      tokens: float [..., N, D], the image's tokens before the block; they get no gradient.
      stream: float [..., 1 + S, D]: the task's class token, then its selectors. Leading axes as those of tokens.
      heads: static, divides D.
      prompts: (keys, values), float [P, heads, D / heads] each, put before the keys and values; None is none.
    Returns:
      float32 or wider [..., 1 + S, D].
    Raises:
      ValueError: shapes do not agree, or heads do not divide D.
      TypeError: tokens or stream are not floating point.

    >>> params = transformer_block_init(jax.random.key(0), 4, hidden=8)
    >>> print(pathway_block(params, jnp.ones((9, 4)), jnp.ones((3, 4)), heads=2).shape)
    (3, 4)

    Reference: De Min et al., "Less is more: Summarizing Patch Tokens for efficient Multi-Label Class-Incremental
    Learning" (2024). Checked against the authors' code.
    """
    x = jax.lax.stop_gradient(_wide_tokens(params, tokens, "tokens", heads))
    stream = _wide_tokens(params, stream, "stream", heads)
    if stream.shape[:-2] != x.shape[:-2] or stream.shape[-2] < 2:
        raise ValueError(
            f"stream must have shape {[*x.shape[:-2], '1 + S', x.shape[-1]]} with S >= 1, got {list(stream.shape)}"
        )
    normed = layer_norm(params["norm1"], stream)
    cls, selectors = normed[..., :1, :], normed[..., 1:, :]
    summaries = summarize_tokens(selectors, layer_norm(params["norm1"], x))
    attended = _attend(params, cls, jnp.concatenate([cls, summaries], axis=-2), heads, prompts)
    return _finish_block(params, stream, jnp.concatenate([attended, selectors], axis=-2))


def prefix_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    prefix_k: ArrayLike,
    prefix_v: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Softmax attention to the tokens and, before them, to a prompt of learned keys and values.

    .. math:: \mathrm{softmax}\big(\tfrac{1}{\sqrt d}\, Q\, [P_k; K]^\top\big)\, [P_v; V]

    No query comes from the prompt, so the number of tokens stays as it was. A prompt of length L, float [L, D], is
    ``prefix_k, prefix_v = jnp.split(prompt, 2)``, each cut into heads; every layer has its own, of its own length.

    Args:
      q: float [..., T, H, d], queries.
      k: float [..., S, H, d].
      v: float [..., S, H, d].
      prefix_k: float [P, H, d], or [..., P, H, d] for a prompt per sequence. P = 0 is attention without a prompt.
      prefix_v: float of the same shape.
      where: bool [..., S], True where a token may be attended to; the prompt always may.
    Returns:
      [..., T, H, d] in the dtype of q.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point, or where is not boolean.

    >>> q = k = jnp.zeros((2, 1, 1))
    >>> v = jnp.ones((2, 1, 1))
    >>> print(prefix_attention(q, k, v, jnp.zeros((2, 1, 1)), jnp.full((2, 1, 1), 3.0))[:, 0, 0])
    [2. 2.]

    Reference: prefix tuning, standard. The prompt in front of each frozen layer is that of Huang et al., "OVOR:
    OnePrompt with Virtual Outlier Regularization for Rehearsal-Free Class-Incremental Learning" (2024), checked against
    the authors' code: one for all tasks, 10 long in the first two layers and 40 in the next three, halved as above.
    """
    names = ("q", "k", "v", "prefix_k", "prefix_v")
    arrays = [checks.floating(array, name) for array, name in zip((q, k, v, prefix_k, prefix_v), names, strict=True)]
    query, keys, values, before_k, before_v = arrays
    if query.ndim < 3:
        raise ValueError(f"q must have shape [..., T, H, d], got {list(query.shape)}")
    checks.same_shape(keys, "k", values, "v")
    checks.same_shape(before_k, "prefix_k", before_v, "prefix_v")
    if keys.ndim != query.ndim or keys.shape[:-3] != query.shape[:-3] or keys.shape[-2:] != query.shape[-2:]:
        raise ValueError(
            f"k must have the shape of q but for its tokens, got {list(keys.shape)} and {list(query.shape)}"
        )
    lead, heads = query.shape[:-3], query.shape[-2:]
    if before_k.ndim < 3 or before_k.shape[-2:] != heads or before_k.shape[:-3] not in ((), lead):
        raise ValueError(
            f"prefix_k must have shape [P, {heads[0]}, {heads[1]}], or with the leading axes {list(lead)} of q before "
            f"it, got {list(before_k.shape)}"
        )
    length = before_k.shape[-3]
    mask = checks.mask(where, "where", keys.shape[:-2])
    if mask is not None:
        keys, values = (jnp.where(mask[..., None, None], array, 0) for array in (keys, values))
        mask = jnp.concatenate([jnp.ones((*lead, length), bool), mask], axis=-1)
        mask = mask.reshape(-1, 1, 1, mask.shape[-1])
    keys, values = (
        jnp.concatenate([jnp.broadcast_to(before, (*lead, *before.shape[-3:])), own], axis=-3).astype(query.dtype)
        for before, own in ((before_k, keys), (before_v, values))
    )
    flat_q, flat_k, flat_v = (array.reshape(-1, *array.shape[-3:]) for array in (query, keys, values))
    return jax.nn.dot_product_attention(flat_q, flat_k, flat_v, mask=mask).reshape(query.shape)


def soft_prompt(embeddings: ArrayLike, prompt: ArrayLike) -> Array:
    r"""Learned vectors in front of the embeddings of a sequence.

    .. math:: [P;\, E]

    Args:
      embeddings: float [..., T, D].
      prompt: float [P, D], or [..., P, D] for a prompt per sequence.
    Returns:
      [..., P + T, D] in the dtype of embeddings. Masks and positions of the sequence need P entries in front as well.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> print(soft_prompt(jnp.ones((2, 2, 1)), jnp.zeros((1, 1)))[:, :, 0])
    [[0. 1. 1.]
     [0. 1. 1.]]

    Reference: Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning" (2021); standard.
    """
    tokens, vectors = checks.floating(embeddings, "embeddings"), checks.floating(prompt, "prompt")
    if tokens.ndim < 2:
        raise ValueError(f"embeddings must have shape [..., T, D], got {list(tokens.shape)}")
    lead, width = tokens.shape[:-2], tokens.shape[-1]
    if vectors.ndim < 2 or vectors.shape[-1] != width or vectors.shape[:-2] not in ((), lead):
        raise ValueError(
            f"prompt must have shape [P, {width}], or with the leading axes {list(lead)} of embeddings before it, got "
            f"{list(vectors.shape)}"
        )
    vectors = jnp.broadcast_to(vectors, (*lead, *vectors.shape[-2:])).astype(tokens.dtype)
    return jnp.concatenate([vectors, tokens], axis=-2)


def _wide_tokens(params: PyTree, tokens: ArrayLike, name: str, heads: int) -> Array:
    tokens, dim = checks.floating(tokens, name), params["proj"]["bias"].shape[0]
    checks.divisible(dim, "the width of params", checks.size(heads, "heads"))
    if tokens.ndim < 2 or tokens.shape[-1] != dim:
        raise ValueError(f"{name} must have shape [..., N, {dim}] as params have it, got {list(tokens.shape)}")
    return tokens.astype(accumulation_dtype(tokens))


def _attend(
    params: PyTree,
    queries: Array,
    context: Array,
    heads: int,
    prompts: tuple[ArrayLike, ArrayLike] | None = None,
) -> Array:
    """Attention of ``queries`` to ``context`` [..., M, D] and the prompts, through the block's own projections."""
    dim = context.shape[-1]
    kernels, biases = jnp.split(params["qkv"]["kernel"], 3, axis=1), jnp.split(params["qkv"]["bias"], 3)
    q, k, v = (
        (x @ kernel + bias).reshape(*x.shape[:-1], heads, dim // heads)
        for x, kernel, bias in zip((queries, context, context), kernels, biases, strict=True)
    )
    none = jnp.zeros((0, *q.shape[-2:]), q.dtype)
    before = (none, none) if prompts is None else [_fitting(prompt, q) for prompt in prompts]
    return dense(params["proj"], prefix_attention(q, k, v, *before).reshape(*queries.shape[:-1], dim))


def _fitting(prompt: ArrayLike, q: Array) -> Array:
    prompt = checks.floating(prompt, "prompts")
    if prompt.ndim != 3 or prompt.shape[1:] != q.shape[-2:]:
        raise ValueError(f"prompts must have shape [P, {q.shape[-2]}, {q.shape[-1]}], got {list(prompt.shape)}")
    return prompt


def _finish_block(params: PyTree, x: Array, attended: Array) -> Array:
    x = x + attended
    inner = jax.nn.gelu(dense(params["mlp_in"], layer_norm(params["norm2"], x)), approximate=False)
    return x + dense(params["mlp_out"], inner)
