"""Scores of untrained recurrent networks and transformers, by their hidden states, attention and gradients."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import checks, kernels
from jaxlab.nas.proxies import correlation_logdet
from jaxlab.nas.saliency import Select, selected
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["attention_confidence", "cosine_jacobian_score", "hidden_covariance", "synaptic_diversity"]


def hidden_covariance(
    hidden: ArrayLike,
    *,
    rows: str = "units",
    eps: float = 1e-5,
    unit_where: ArrayLike | None = None,
    allow_rank_deficient: bool = False,
) -> Array:
    r"""How little the hidden units of a recurrent layer say the same, over one batch (larger is better).

    ``correlation_logdet`` of the hidden states, without gradients or labels; the first layer does best.

    Args:
      hidden: float [B, T, H]; cut all networks to the same T.
      rows: static, what is correlated. "units": H rows of B T numbers, as the published code does; "examples": B rows
        of T H numbers, as the paper writes.
      eps: > 0.
      unit_where: bool [H], True for the units that exist.
      allow_rank_deficient: static; False refuses more rows than columns, whose score counts little but 1 / eps.
    Returns:
      float32 or wider []. A unit that does not vary counts as uncorrelated with all others.
    Raises:
      ValueError: hidden is not [B, T, H], rows is unknown, there are more rows than columns, unit_where is not [H],
        or eps <= 0.
      TypeError: hidden is not floating point, or unit_where is not boolean.

    >>> steps = jnp.array([[[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]])
    >>> print(hidden_covariance(steps).round(3), hidden_covariance(jnp.repeat(steps, 2, -1)) < -1e4)
    -2.0 True

    Reference: Serianni and Kalita, "Training-free Neural Architecture Search for RNNs and Transformers" (2023), checked
    against the authors' code.
    """
    hidden = checks.rank(checks.floating(hidden, "hidden"), "hidden", 3, layout="[B, T, H]")
    checks.one_of(rows, "rows", ("units", "examples"))
    batch, steps, units = hidden.shape
    matrix = jnp.moveaxis(hidden, -1, 0).reshape(units, -1) if rows == "units" else hidden.reshape(batch, -1)
    if matrix.shape[0] > matrix.shape[1] and not allow_rank_deficient:
        raise ValueError(
            f"hidden {list(hidden.shape)} gives {matrix.shape[0]} rows of {matrix.shape[1]} numbers, whose "
            "correlations are singular: take a longer batch, or allow_rank_deficient=True"
        )
    mask = checks.mask(unit_where, "unit_where", (units,))
    if rows == "units":
        return correlation_logdet(matrix, eps=eps, row_where=mask)
    return correlation_logdet(matrix, eps=eps, column_where=None if mask is None else jnp.tile(mask, steps))


def cosine_jacobian_score(jacobian: ArrayLike, *, power: float = 1 / 20) -> Array:
    r"""How far the gradients of the examples are from parallel (larger is better; couples the batch).

    .. math:: S = 1 - \frac{1}{N^2 - N} \sum_{n < m} |\cos(J_n, J_m)|^{p}

    Args:
      jacobian: float [N, P], a row per example, N >= 2, as from ``input_jacobian``.
      power: p > 0; a small one asks for angles that are right to the point.
    Returns:
      float32 or wider [] in [1/2, 1]: 1/2 where all are parallel. A zero row is at right angles to all others.
    Raises:
      ValueError: jacobian is not [N, P], fewer than two rows, or a static power <= 0.
      TypeError: jacobian is not floating point.

    >>> print(cosine_jacobian_score(jnp.eye(3)), cosine_jacobian_score(jnp.ones((3, 2))))
    1.0 0.5

    Reference: Serianni and Kalita, as in ``hidden_covariance``, checked against the authors' code, which halves the sum
    over ordered pairs.
    """
    jacobian = checks.rank(checks.floating(jacobian, "jacobian"), "jacobian", 2, layout="[N, P]")
    number = jacobian.shape[0]
    if number < 2:
        raise ValueError(f"jacobian must hold at least two rows, got {list(jacobian.shape)}")
    checks.positive(power, "power")
    wide = jacobian.astype(accumulation_dtype(jacobian))
    sizes = jnp.minimum(jnp.abs(kernels.cosine_similarity(wide)), 1.0)
    counts = ~jnp.eye(number, dtype=bool) & (sizes > 0)
    powers = jnp.where(counts, jnp.where(counts, sizes, 1.0) ** power, 0.0)
    return 1.0 - 0.5 * jnp.sum(powers) / (number * (number - 1))


def attention_confidence(attention: ArrayLike) -> Array:
    r"""How sure the attention heads of an untrained transformer are (larger is better).

    .. math:: \frac1{L H} \sum_{l, h} \frac1{B Q} \sum_{b, q} \max_k A_{lhbqk}

    Args:
      attention: float [L, H, B, Q, K], probabilities over the keys.
    Returns:
      float32 or wider [], in [1 / K, 1].
    Raises:
      ValueError: attention is not [L, H, B, Q, K] or holds nothing.
      TypeError: attention is not floating point.

    >>> print(attention_confidence(jnp.array([1.0, 0.0, 0.5, 0.5]).reshape(1, 1, 1, 2, 2)))
    0.75

    Reference: Serianni and Kalita, as in ``hidden_covariance``; name checked, the mean of the maxima recalled.
    """
    attention = checks.rank(checks.floating(attention, "attention"), "attention", 5, layout="[L, H, B, Q, K]")
    if attention.size == 0:
        raise ValueError(f"attention must hold at least one probability, got {list(attention.shape)}")
    return jnp.mean(jnp.max(attention.astype(accumulation_dtype(attention)), axis=-1))


def synaptic_diversity(params: PyTree, grads: PyTree, *, select: Select | None = None) -> Array:
    r"""Nuclear norms of the weights times those of their gradients (larger is better).

    .. math:: \sum_l \|W_l\|_* \, \|\partial L / \partial W_l\|_*

    Args:
      params: pytree of floats; leaves of more than two axes count as matrices of their last axis.
      grads: pytree like params.
      select: which leaves are weights, as in ``saliency_scores``.
    Returns:
      float32 or wider []. Divide by the number of layers to compare depths.
    Raises:
      ValueError: the trees do not agree, or no leaf is selected.
      TypeError: a selected leaf is not floating point.

    >>> print(synaptic_diversity({"w": jnp.diag(jnp.array([1.0, 2.0]))}, {"w": jnp.eye(2)}).round(4))
    6.0

    Reference: Serianni and Kalita, as in ``hidden_covariance``, checked; after Zhou et al., "Training-free Transformer
    Architecture Search" (2022).
    """
    if len({str(jax.tree.structure(tree)) for tree in (params, grads)}) > 1:
        raise ValueError("grads must be a tree like params, got another structure")
    chosen = selected(params, select)
    if not any(chosen):
        raise ValueError("select must choose at least one leaf of params")
    triples = zip(jax.tree.leaves(params), jax.tree.leaves(grads), chosen, strict=True)
    return jnp.sum(jnp.stack([_nuclear(w, "params") * _nuclear(g, "grads") for w, g, used in triples if used]))


def _nuclear(leaf: Any, name: str) -> Array:
    leaf = checks.floating(leaf, name)
    matrix = leaf.astype(accumulation_dtype(leaf)).reshape(-1, leaf.shape[-1])
    return jnp.sum(jnp.linalg.svd(matrix, compute_uv=False))
