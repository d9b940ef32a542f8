"""Prompts and text embeddings that are searched for."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks, optim
from jaxlab.kernels import cosine_similarity
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["PromptSearch", "greedy_prompt_search", "semantic_variations"]


def semantic_variations(
    text: ArrayLike,
    key: Array,
    *,
    k: int = 6,
    strength: ArrayLike | None = None,
    diversity: ArrayLike = 1.0,
    num_iters: int = 2000,
    learning_rate: float = 2e-3,
) -> Array:
    r"""Embeddings around that of a text that mean nearly the same and differ from each other.

    .. math:: v_i = T + \varepsilon \frac{z_i}{\|z_i\|}, \qquad
              \min_z\ \frac1k \sum_i \big(1 - \cos(T, v_i)\big) + \frac{\lambda}{\binom k2} \sum_{i<j} |\cos(z_i, z_j)|

    With k no larger than D and lambda = 1 the z_i end orthogonal to each other, T in their span: a cosine of
    :math:`1 / \sqrt k` to T each, where all share alike.

    Args:
      text: float [D], T, the embedding of the target text.
      key: of the start, normal numbers.
      k: how many, static, >= 1.
      strength: epsilon, the length of each step away from T; None is the length of T.
      diversity: lambda >= 0.
      num_iters: steps of Adam (beta 0 and 0.99), static, >= 0.
      learning_rate: of Adam.
    Returns:
      float32 or wider [k, D].
    Raises:
      ValueError: text is not [D], k < 1 or num_iters < 0.
      TypeError: text is not floating point, or a size is not an integer.

    >>> variations = semantic_variations(jnp.array([2.0, 0.0, 0.0]), jax.random.key(0), k=2, num_iters=5)
    >>> print(jnp.linalg.norm(variations - jnp.array([2.0, 0.0, 0.0]), axis=1).round(3))
    [2. 2.]

    Reference: Jeon et al., "Improving Diversity in Zero-Shot GAN Adaptation with Semantic Variations" (2023), paper
    text; how z starts is inferred.
    """
    text = checks.rank(checks.floating(text, "text"), "text", 1, layout="[D]")
    k = checks.size(k, "k")
    center = text.astype(accumulation_dtype(text))
    # The length as an inner product: its gradient at a text of zero is 0.
    length = normalize(center) @ center if strength is None else jnp.asarray(strength, center.dtype)

    def around(z: Array) -> Array:
        return center + length * normalize(z)

    def loss_fn(z: Array) -> Array:
        consistency = jnp.mean(1.0 - normalize(around(z)) @ normalize(center))
        pairs = jnp.sum(jnp.triu(jnp.abs(cosine_similarity(z)), 1))
        return consistency + diversity * pairs / max(k * (k - 1) // 2, 1)

    start = jax.random.normal(key, (k, center.shape[0]), center.dtype)
    optimizer = optax.adam(learning_rate, b1=0.0, b2=0.99)
    return around(optim.minimize(loss_fn, start, optimizer, num_steps=num_iters).params)


class PromptSearch(NamedTuple):
    """A prompt found word by word, and what it was worth."""

    tokens: Array  # int32 [L]
    errors: Array  # [L], of the prompt as long as it was
    log_priors: Array  # [L], of the same
    objective: Array  # the last error plus its penalty


def greedy_prompt_search(
    error_fn: Callable[[Array, Array], Array],
    log_prior_fn: Callable[[Array, Array], Array],
    *,
    vocabulary: int,
    length: int,
    beta: ArrayLike = 0.0,
    block: int = 1,
) -> PromptSearch:
    r"""A prompt that is grown by the word that serves best, one position after the other, in one compiled loop.

    .. math:: w_t = \arg\min_{v}\; \hat R(w_{<t}, v) - \beta \log P(w_{<t}, v)

    Equal objectives go to the likelier prompt, then to the lower token. With beta > 0 it minimises the structural risk:
    what ``metrics.occam_bound`` grows with. Several prompts, one per class, are one sequence of their words.

    Args:
      error_fn: ``error_fn(tokens [L], where [L]) -> scalar``, the training error of a prompt of which the words where
        ``where`` count.
      log_prior_fn: of the same arguments, the log-probability of the prompt; it must not have seen the examples.
      vocabulary: V, how many tokens there are, static.
      length: L, static.
      beta: >= 0, weight of the prior.
      block: how many candidates are evaluated at a time, static.
    Returns:
      PromptSearch, floats in float32 or wider. It evaluates V L prompts.
    Raises:
      ValueError: a size is below 1, or a static beta < 0.

    >>> target = jnp.array([2, 0])
    >>> found = greedy_prompt_search(
    ...     lambda tokens, where: jnp.mean(1.0 * ((tokens != target) | ~where)),
    ...     lambda tokens, where: -1.0 * jnp.sum(where), vocabulary=3, length=2)
    >>> print(found.tokens, found.errors)
    [2 0] [0.5 0. ]

    Reference: Akinwande et al., "Understanding prompt engineering may not require rethinking generalization" (2024).
    Recalled.
    """
    checks.size(vocabulary, "vocabulary")
    checks.size(length, "length")
    checks.size(block, "block")
    checks.at_least(beta, "beta", 0.0)
    candidates = jnp.arange(vocabulary, dtype=jnp.int32)

    def grow(tokens: Array, place: Array) -> tuple[Array, tuple[Array, ...]]:
        where = jnp.arange(length) <= place

        def measure(token: Array) -> tuple[Array, Array]:
            tried = tokens.at[place].set(token)
            error, prior = error_fn(tried, where), log_prior_fn(tried, where)
            return jnp.asarray(error, accumulation_dtype(error)), jnp.asarray(prior, accumulation_dtype(prior))

        errors, priors = jax.lax.map(measure, candidates, batch_size=block)
        # Where the prior has no weight, one of -inf must not make a NaN.
        objective = errors - jnp.where(beta == 0, 0.0, beta * jnp.where(beta == 0, 0.0, priors))
        best = jnp.argmax(jnp.where(objective <= jnp.min(objective), priors, -jnp.inf))
        return tokens.at[place].set(candidates[best]), (errors[best], priors[best], objective[best])

    start = jnp.zeros(length, jnp.int32)
    tokens, (errors, priors, objective) = jax.lax.scan(grow, start, jnp.arange(length))
    return PromptSearch(tokens, errors, priors, objective[-1])
