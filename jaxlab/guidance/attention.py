"""Guidance inside a network, on the features of its attention layers instead of on its predictions."""

import math

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.guidance.rules import per_sample as _per_sample
from jaxlab.kernels import cosine_similarity
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = ["attention_away", "negative_away_attention", "negative_token_merge", "sun_attention"]


def attention_away(z_pos: ArrayLike, z_neg: ArrayLike, *, scale: ArrayLike) -> Array:
    r"""The output of an attention layer, moved away from what it would be under a negative condition.

    .. math:: Z = Z^+ - \alpha Z^-

    Apply it to the weighted values, before the output projection. The output shrinks as the scale grows: where both
    conditions agree, (1 - scale) of it is left.

    Args:
      z_pos: float [B, ...], of the wanted condition.
      z_neg: float, same shape; the same queries and projections with the unwanted condition.
      scale: alpha, a float or [B]; 0 is z_pos, the paper takes 0.1 to 0.5.
    Returns:
      The shape and dtype of z_pos.
    Raises:
      ValueError: shapes differ or the scale does not fit.
      TypeError: an array is not floating point.

    >>> print(attention_away(jnp.array([[1.0, 2.0]]), jnp.array([[2.0, 0.0]]), scale=0.5))
    [[0. 2.]]

    Reference: Nguyen et al., "SNOOPI: Supercharged One-step Diffusion Distillation with Proper Guidance" (2024), paper
    text.
    """
    z_pos, z_neg = checks.floating(z_pos, "z_pos"), checks.floating(z_neg, "z_neg")
    checks.same_shape(z_pos, "z_pos", z_neg, "z_neg")
    dtype = accumulation_dtype(z_pos, z_neg)
    wide = z_pos.astype(dtype)
    return (wide - _per_sample(scale, "scale", wide) * z_neg.astype(dtype)).astype(z_pos.dtype)


def negative_away_attention(
    q: ArrayLike,
    k_pos: ArrayLike,
    v_pos: ArrayLike,
    k_neg: ArrayLike,
    v_neg: ArrayLike,
    *,
    scale: ArrayLike = 0.1,
    where_pos: ArrayLike | None = None,
    where_neg: ArrayLike | None = None,
) -> Array:
    r"""Cross-attention that looks away from a negative condition (NASA).

    .. math:: Z = \mathrm{softmax}(Q K_+^\top / \sqrt d)\,V_+ - \alpha\,\mathrm{softmax}(Q K_-^\top / \sqrt d)\,V_-

    Each condition has a softmax of its own: attention to all keys together is something else. The layout is heads
    before tokens; that of ``jax.nn.dot_product_attention`` swaps the two.

    Args:
      q: float [B, H, N, d].
      k_pos: float [B, H, M, d], keys of the wanted condition.
      v_pos: float [B, H, M, d], its values.
      k_neg: float [B, H, M', d], keys of the unwanted condition, by the same projections.
      v_neg: float [B, H, M', d], its values.
      scale: alpha, a float or [B]; 0 is plain attention, the paper takes 0.1 to 0.5.
      where_pos: bool [B, M], True for the tokens of the wanted condition that count.
      where_neg: bool [B, M'], the same for the unwanted one. Where no token counts, that attention is zero.
    Returns:
      [B, H, N, d] in the dtype of q; apply the output projection to it.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point, or a mask not boolean.

    >>> one, two = jnp.ones((1, 1, 1, 1)), jnp.array([[[[2.0], [4.0]]]])
    >>> print(negative_away_attention(one, one, one, 0 * two, two, scale=0.5)[0, 0])
    [[-0.5]]

    Reference: Nguyen et al., "SNOOPI: Supercharged One-step Diffusion Distillation with Proper Guidance" (2024), paper
    text.
    """
    q = checks.rank(checks.floating(q, "q"), "q", 4, layout="[B, H, N, d]")
    z_pos = _attend(q, k_pos, v_pos, where_pos, "pos")
    z_neg = _attend(q, k_neg, v_neg, where_neg, "neg")
    return attention_away(z_pos, z_neg, scale=scale).astype(q.dtype)


def _attend(q: Array, k: ArrayLike, v: ArrayLike, where: ArrayLike | None, name: str) -> Array:
    """Softmax attention in float32 or wider; zero where no key counts."""
    k, v = checks.floating(k, f"k_{name}"), checks.floating(v, f"v_{name}")
    checks.same_shape(k, f"k_{name}", v, f"v_{name}")
    if k.ndim != 4 or k.shape[2] == 0 or (*k.shape[:2], k.shape[3]) != (*q.shape[:2], q.shape[3]):
        layout = f"[{q.shape[0]}, {q.shape[1]}, M >= 1, {q.shape[3]}]"
        raise ValueError(f"k_{name} must have shape {layout}, got {list(k.shape)}")
    mask = checks.mask(where, f"where_{name}", (k.shape[0], k.shape[2]))
    dtype = accumulation_dtype(q, k, v)
    q, k, v = q.astype(dtype), k.astype(dtype), v.astype(dtype)
    if mask is not None:
        counts = mask[:, None, :, None]
        k, v = jnp.where(counts, k, 0.0), jnp.where(counts, v, 0.0)
    logits = jnp.einsum("bhnd,bhmd->bhnm", q, k) / math.sqrt(max(q.shape[3], 1))
    if mask is not None:  # where no key counts, all do: their values are zero
        logits = jnp.where((mask | ~jnp.any(mask, axis=1, keepdims=True))[:, None, None, :], logits, -jnp.inf)
    return jnp.einsum("bhnm,bhmd->bhnd", jax.nn.softmax(logits, axis=-1), v)


def sun_attention(
    z: ArrayLike,
    z_neg: ArrayLike,
    *,
    gain: ArrayLike,
    bias: ArrayLike,
    z_pos: ArrayLike | None = None,
    gain_pos: ArrayLike | None = None,
    bias_pos: ArrayLike | None = None,
    per_sample: bool = True,
) -> Array:
    r"""The output of an attention layer less that of a negative branch, which is first brought to the same length.

    .. math:: Z - n(Z^-) + n(Z^+), \quad n(A) = a \odot \frac{\|Z\|_F}{\|A\|_F} A + b

    At gain 1 and bias 0, where training starts, it is NOT the plain attention.

    Args:
      z: float [B, ..., D], of the frozen layer.
      z_neg: float, same shape, attention to the negative condition by projections of its own; its length is of no
        account, and a zero one counts as zero.
      gain: a, a number or [D] (or whatever broadcasts to z); 0 with bias 0 is the plain attention.
      bias: b, likewise.
      z_pos: float, same shape, an extra branch for the wanted condition; the authors' layer cannot do without it.
      gain_pos: the gain of that branch; None is the same as gain.
      bias_pos: its bias; None is the same as bias.
      per_sample: lengths per sample, static. False takes them over the whole batch as the authors' code does, so that
        a sample depends on its batch.
    Returns:
      The shape and dtype of z.
    Raises:
      ValueError: shapes differ, or gain or bias does not broadcast to z.
      TypeError: an array is not floating point.

    >>> print(sun_attention(jnp.array([[3.0, 4.0]]), jnp.array([[0.0, 9.0]]), gain=0.2, bias=0.0))
    [[3. 3.]]

    Reference: Chai et al., "SpeedUpNet: A Plug-and-Play Hyper-Network for Accelerating Text-to-Image Diffusion
    Models" (2023), checked against the authors' code.
    """
    z = checks.floating(z, "z")
    if z.ndim < 2:
        raise ValueError(f"z must have shape [B, ..., D], got {list(z.shape)}")
    branches = [(-1.0, "neg", z_neg, ("gain", gain), ("bias", bias))]
    if z_pos is not None:
        own = ("gain_pos", gain if gain_pos is None else gain_pos), ("bias_pos", bias if bias_pos is None else bias_pos)
        branches.append((1.0, "pos", z_pos, *own))
    arrays = {name: checks.floating(branch, f"z_{name}") for _, name, branch, *_ in branches}
    dtype = accumulation_dtype(z, *arrays.values())

    def flat(array: Array) -> Array:
        return array.astype(dtype).reshape(z.shape[0] if per_sample else 1, -1)

    squares = jnp.sum(flat(z) ** 2, axis=1, keepdims=True)
    length = safe_sqrt(squares)
    result = z.astype(dtype)
    for sign, name, _, *affine in branches:
        checks.same_shape(z, "z", arrays[name], f"z_{name}")
        a, b = (checks.broadcasts_to(jnp.asarray(value, dtype), what, z.shape) for what, value in affine)
        result += sign * (a * (length * normalize(flat(arrays[name]))).reshape(z.shape) + b)
    return result.astype(z.dtype)


def negative_token_merge(
    h: ArrayLike,
    ref: ArrayLike,
    *,
    alpha: ArrayLike = 0.9,
    threshold: ArrayLike = 0.65,
    where: ArrayLike | None = None,
    match: str = "paper",
) -> Array:
    r"""Tokens pushed away from the most similar token of a reference image (NegToMe).

    .. math:: h_i \leftarrow (1 + \alpha)\,h_i - \alpha\,r_{j^*(i)} \;\text{ where } \max_j \cos(h_i, r_j) > \tau

    Args:
      h: float [B, N, D], tokens after an attention layer.
      ref: float [M, D], tokens of the reference at the same place; or [B, M, D], one reference per image. An image that
        is its own reference keeps its tokens, provided that they point in distinct directions.
      alpha: how far, a float or [B]; 0 changes nothing.
      threshold: tau, a float or [B]; tokens without a reference token of a larger cosine stay as they are, and at 1 all
        do.
      where: bool [M] (or [B, M]), True for the reference tokens that count. If none does, nothing changes.
      match: "paper" takes for each token its best reference token. "released" does what the authors' code does (M must
        be N): it takes for each REFERENCE token j its best token i, and moves token j away from reference token i.
    Returns:
      [B, N, D] in the dtype of h. The choice of tokens has no gradient, the tokens chosen do.
    Raises:
      ValueError: shapes do not agree, or an unknown match.
      TypeError: h or ref is not floating point, or where is not boolean.

    >>> h, ref = jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.array([[2.0, 1.0]])
    >>> print(negative_token_merge(h, ref, alpha=0.5)[0])
    [[ 0.5 -0.5]
     [ 0.   1. ]]

    Reference: Singh et al., "Negative Token Merging: Image-based Adversarial Feature Guidance" (2024), checked against
    the authors' code, whose choice of tokens differs from the paper's: see ``match``.
    """
    h = checks.rank(checks.floating(h, "h"), "h", 3, layout="[B, N, D]")
    ref = checks.rank(checks.floating(ref, "ref"), "ref", (2, 3), layout="[M, D] or [B, M, D]")
    checks.one_of(match, "match", ("paper", "released"))
    mask = checks.mask(where, "where", ref.shape[:-1])
    num, tokens = h.shape[0], ref.shape[-2]
    if ref.shape[-1] != h.shape[2] or ref.shape[:-2] not in ((), (num,)) or tokens == 0:
        raise ValueError(f"ref must hold tokens like those of h {list(h.shape)}, got {list(ref.shape)}")
    if match == "released" and tokens != h.shape[1]:
        raise ValueError(f"match='released' needs as many tokens in ref as in h, got {tokens} and {h.shape[1]}")
    dtype = accumulation_dtype(h, ref)
    counts = jnp.ones(ref.shape[:-1], bool) if mask is None else mask
    counts = jnp.broadcast_to(counts, (num, tokens))
    wide = h.astype(dtype)
    refs = jnp.where(counts[..., None], jnp.broadcast_to(ref.astype(dtype), (num, *ref.shape[-2:])), 0.0)
    similarity = jnp.where(counts[:, None, :], cosine_similarity(*jax.lax.stop_gradient((wide, refs))), -jnp.inf)
    over = 2 if match == "paper" else 1
    chosen = jnp.argmax(similarity, axis=over)
    close = jnp.max(similarity, axis=over) > _per_sample(threshold, "threshold", wide[..., 0])
    close &= jnp.take_along_axis(counts, chosen, axis=1)
    away = wide - jnp.take_along_axis(refs, chosen[..., None], axis=1)
    moved = wide + _per_sample(alpha, "alpha", wide) * jnp.where(close[..., None], away, 0.0)
    return moved.astype(h.dtype)
