"""From next-token logits to tokens."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["Decoded", "greedy_decode", "sample_logits"]


class Decoded(NamedTuple):
    """Decoded sequences: after the end token come end tokens that do not count."""

    tokens: Array  # int32 [B, length]
    where: Array  # bool [B, length], True up to and including the first end token


def greedy_decode(
    step_fn: Callable[[PyTree, Array], tuple[Array, PyTree]], init: tuple[PyTree, ArrayLike], *, length: int, eos: int
) -> Decoded:
    r"""The most probable next token again and again, in one compiled loop.

    .. math:: y_t = \arg\max_v z_v(y_{<t})

    Guided decoding is a ``step_fn`` that asks both models with the SAME token, keeps both states, and returns
    ``guidance.combine(cond, uncond, scale=gamma)``.

    Args:
      step_fn: ``step_fn(state, tokens int32 [B]) -> (logits [B, V], state)``: reads one token, scores the next.
      init: (state, tokens [B]): the state before, and the tokens to begin with (start tokens, usually).
      length: tokens to decode, static, >= 1.
      eos: the token that ends a sequence, static; -1 for none, then every sequence runs to the end.
    Returns:
      Decoded(tokens int32 [B, length], where bool [B, length]). Ties go to the lower token; a NaN logit is never taken
      unless all are.
    Raises:
      ValueError: length < 1, eos < -1 or not below V, tokens are not [B], or logits not [B, V].
      TypeError: tokens are not integers, or logits not floating point.

    >>> table = jnp.array([[0.0, 2.0, 1.0], [0.0, 1.0, 2.0], [1.0, 0.0, 0.0]])
    >>> decoded = greedy_decode(lambda state, tokens: (table[tokens], state), ((), jnp.array([0])), length=4, eos=2)
    >>> print(decoded.tokens, decoded.where)
    [[1 2 2 2]] [[ True  True False False]]

    Reference: standard.
    """
    length = checks.size(length, "length")
    eos = checks.size(eos, "eos", -1)
    state, first = init
    first = checks.rank(checks.integer(first, "tokens"), "tokens", 1, layout="[B]").astype(jnp.int32)

    def step(carry: tuple[PyTree, Array, Array], _: None) -> tuple[tuple[PyTree, Array, Array], tuple[Array, Array]]:
        state, tokens, going = carry
        logits, state = step_fn(state, tokens)
        logits = checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[B, V]")
        if logits.shape[0] != tokens.shape[0] or eos >= logits.shape[1]:
            raise ValueError(
                f"logits must have shape [{tokens.shape[0]}, V] with V > eos = {eos}, got {list(logits.shape)}"
            )
        scores = jnp.where(jnp.isnan(logits), -jnp.inf, logits)
        chosen = jnp.where(going, jnp.argmax(scores, axis=-1).astype(jnp.int32), eos)
        return (state, chosen, going & (chosen != eos)), (chosen, going)

    start = (state, first, jnp.ones(first.shape, bool))
    _, (tokens, where) = jax.lax.scan(step, start, length=length)
    return Decoded(tokens.T, where.T)


def sample_logits(
    key: Array,
    logits: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    top_k: int | None = None,
    top_p: ArrayLike | None = None,
) -> Array:
    r"""Draws tokens from the softmax of logits, of all tokens or of the likely ones alone.

    .. math:: y \sim p_v \propto [v \in S]\, e^{z_v / T}

    S are the ``top_k`` tokens of largest logit, and of these the fewest whose probabilities (renormalised) sum to
    ``top_p`` or more; the most probable token always remains.

    Args:
      key: one draw for all leading axes.
      logits: float [..., V]; -inf excludes a token, NaN too. Where all are excluded the token drawn is 0.
      temperature: T > 0, a float or an array that broadcasts to [...]; it acts before the cuts.
      top_k: how many tokens may be drawn, static, >= 1; None for all, and so is any k >= V. Ties go to the lower token.
      top_p: in (0, 1], a float or an array that broadcasts to [...]; None or 1 for no cut.
    Returns:
      int32 [...].
    Raises:
      ValueError: V = 0, a static temperature <= 0, top_k < 1, or a static top_p outside (0, 1].
      TypeError: logits are not floating point.

    >>> logits = jnp.log(jnp.array([0.5, 0.3, 0.2]))
    >>> tokens = jax.vmap(lambda key: sample_logits(key, logits, top_p=0.6))(jax.random.split(jax.random.key(0), 1000))
    >>> print(jnp.bincount(tokens, length=3) > 0)
    [ True  True False]

    Reference: Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020), standard.
    """
    logits = checks.floating(logits, "logits")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits must have shape [..., V] with V >= 1, got {list(logits.shape)}")
    checks.positive(temperature, "temperature")
    wide = logits.astype(accumulation_dtype(logits))
    wide = jnp.where(jnp.isnan(wide), -jnp.inf, wide) / jnp.asarray(temperature, wide.dtype)[..., None]
    if top_k is None and top_p is None:
        return _draw(key, wide)
    rank = jnp.argsort(jnp.argsort(-wide, axis=-1, stable=True), axis=-1, stable=True)
    if top_k is not None:
        wide = jnp.where(rank < checks.size(top_k, "top_k"), wide, -jnp.inf)
    if top_p is not None:
        checks.positive(checks.in_range(top_p, "top_p", 0.0, 1.0), "top_p")
        share = jax.nn.softmax(wide, axis=-1)
        ordered = -jnp.sort(-share, axis=-1)
        before = jnp.take_along_axis(jnp.cumsum(ordered, axis=-1) - ordered, rank, axis=-1)
        limit = jnp.asarray(top_p, wide.dtype)[..., None]
        # 1 is no cut, whatever the rounding of the sum.
        wide = jnp.where((before < limit) | (limit >= 1.0) | (rank == 0), wide, -jnp.inf)
    return _draw(key, wide)


def _draw(key: Array, logits: Array) -> Array:
    none_left = jnp.all(jnp.isneginf(logits), axis=-1)
    tokens = jax.random.categorical(key, logits, axis=-1)
    return jnp.where(none_left, 0, tokens).astype(jnp.int32)
