"""How the members of an ensemble differ, and what that is worth."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, masked_mean
from jaxlab.typing import Array, ArrayLike

__all__ = ["pairwise_disagreement"]


def pairwise_disagreement(probs: ArrayLike, *, kind: str = "kl", where: ArrayLike | None = None) -> Array:
    r"""How far the predictions of every two members lie apart, averaged over examples (larger is more diverse).

    .. math:: d_{gh} = \frac1N \sum_n \tfrac12 \big[ \mathrm{KL}(p^g_n \| p^h_n) + \mathrm{KL}(p^h_n \| p^g_n) \big],
              \quad \tfrac1K \|p^g_n - p^h_n\|_1 \quad \text{or} \quad [\arg\max p^g_n \ne \arg\max p^h_n]

    Args:
      probs: float [M, N, K], the distributions of M members; rows sum to 1.
      kind: "kl" (nats), "l1" (mean over classes, in [0, 2 / K]) or "argmax" (a rate), static.
      where: bool [N], True where an example counts.
    Returns:
      float32 (wider if probs are) [M, M], symmetric with a diagonal of 0; 0 if nothing counts. For "kl" a class that
      one member rules out and the other does not makes the value infinite. "argmax" has no gradient.
    Raises:
      ValueError: probs are not [M, N, K], an unknown kind, or where is not [N].
      TypeError: probs are not floating point, or where is not boolean.

    >>> probs = jnp.array([[[0.9, 0.1]], [[0.2, 0.8]]])
    >>> print(pairwise_disagreement(probs, kind="l1"))
    [[0.  0.7]
     [0.7 0. ]]

    Reference: "l1" as in Lee, Yao and Finn, "Diversify and Disambiguate: Learning From Underspecified Data" (2023),
    checked against the authors' code; the others are standard.
    """
    probs = checks.rank(checks.floating(probs, "probs"), "probs", 3, layout="[M, N, K]")
    checks.one_of(kind, "kind", ("kl", "l1", "argmax"))
    mask = checks.mask(where, "where", probs.shape[1:2])
    wide = probs.astype(accumulation_dtype(probs))
    if mask is not None:
        wide = jnp.where(mask[:, None], wide, 1.0 / probs.shape[-1])
    if kind == "kl":
        # sum_k p_g (log p_g - log p_h) for all pairs, without an array [M, M, N, K].
        some = wide > 0
        logs = jnp.where(some, jnp.log(jnp.where(some, wide, 1.0)), 0.0)
        own = jnp.sum(wide * logs, axis=-1)
        cross = jnp.einsum("gnk,hnk->ghn", wide, logs, precision="highest")
        ruled_out = jnp.einsum("gnk,hnk->ghn", wide, (~some).astype(wide.dtype), precision="highest") > 0
        one_way = jnp.where(ruled_out, jnp.inf, own[:, None] - cross)
        apart = jnp.maximum(0.5 * (one_way + jnp.swapaxes(one_way, 0, 1)), 0.0)
    elif kind == "l1":
        apart = jax.lax.map(lambda one: jnp.mean(jnp.abs(wide - one), axis=-1), wide)
    else:
        choice = jnp.argmax(wide, axis=-1)
        apart = (choice[:, None] != choice[None, :]).astype(wide.dtype)
    pairs = masked_mean(apart, jnp.ones(probs.shape[1], bool) if mask is None else mask, axis=-1)
    return jnp.where(jnp.eye(probs.shape[0], dtype=bool), 0.0, pairs)
