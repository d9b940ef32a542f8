"""Divergences between distributions that two networks, or two versions of one, give to the same examples."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import cosine_similarity
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["kl_divergence", "relation_kl"]


def kl_divergence(
    logits: ArrayLike,
    target_logits: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Kullback-Leibler divergence from the model's distribution to the target's, a value per example.

    .. math:: KL(p \,\|\, q) = \sum_c p_c (\log p_c - \log q_c), \quad p = \mathrm{softmax}(t / \tau),\;
              q = \mathrm{softmax}(z / \tau)

    Both sides pass gradients; a target that must not is wrapped in ``jax.lax.stop_gradient`` (``distill.kd`` does it).

    Args:
      logits: float [..., C], z of the model.
      target_logits: float [..., C], t of the target.
      temperature: tau > 0, divides both.
      where: bool, broadcastable to [..., C], True where a class exists for both; the others may hold anything.
    Returns:
      float32 or wider [...], >= 0 to rounding; 0 where the distributions agree, or where no class exists.
    Raises:
      ValueError: shapes do not agree, where does not broadcast, or a static temperature <= 0.
      TypeError: logits or target_logits are not floating point, or where is not boolean.

    >>> print(kl_divergence(jnp.array([0.0, 0.0]), jnp.log(jnp.array([0.75, 0.25]))).round(4))
    0.1308

    Reference: standard.
    """
    logits, targets = checks.floating(logits, "logits"), checks.floating(target_logits, "target_logits")
    checks.same_shape(logits, "logits", targets, "target_logits")
    checks.positive(temperature, "temperature")
    if logits.ndim < 1:
        raise ValueError("logits must have shape [..., C], got a scalar")
    dtype = accumulation_dtype(logits, targets)
    kept = checks.broadcast_mask(where, "where", logits.shape)

    def log_probs(z: Array) -> Array:
        z = jnp.where(kept, z.astype(dtype), 0.0) / temperature
        # Without a class the softmax has nothing to sum over: it takes all of them, and the sum below none.
        some = kept | ~jnp.any(kept, axis=-1, keepdims=True)
        return jnp.where(kept, jax.nn.log_softmax(z, axis=-1, where=some), 0.0)

    q, p = log_probs(logits), log_probs(targets)
    return jnp.sum(jnp.where(kept, jnp.exp(p) * (p - q), 0.0), axis=-1)


def relation_kl(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    mode: str = "cosine",
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Divergence between how two networks relate the examples of a batch, a value per row (couples the batch).

    .. math:: \ell_i = KL\big(\mathrm{softmax}_j (s^t_{ij} / \tau) \,\big\|\, \mathrm{softmax}_j (s_{ij} / \tau)\big)

    "cosine" takes the cosines of row i with all OTHER rows, so that scaling a row changes nothing; two rows then leave
    one entry to a softmax and give 0: it takes three. "dot" takes inner products with all rows, itself included;
    "scaled_dot" divides them by the square root of each side's own width, as attention does. Distilling the relations
    of queries, keys or values is "scaled_dot" on [..., relation heads, tokens, width of a head] of both networks.

    Args:
      features: float [..., N, D], a row per example; leading axes (heads) stay apart.
      targets: float [..., N, E] of the network to be like; E may differ from D. They pass no gradient.
      mode: "cosine", "dot" or "scaled_dot", static.
      temperature: tau > 0.
      where: bool [..., N], True where a row counts; the others are nobody's neighbours, give 0 and no gradient.
    Returns:
      float32 or wider [..., N], >= 0 to rounding; 0 where features equal targets, or where no other row counts.
    Raises:
      ValueError: shapes do not agree, an unknown mode, or a static temperature <= 0.
      TypeError: features or targets are not floating point, or where is not boolean.

    >>> features = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> print(relation_kl(features, jnp.array([[5.0, 0.0], [0.0, 1.0], [3.0, 3.0]])).round(5) + 0.0)
    [0. 0. 0.]

    Reference: "cosine" is that of Zhu et al., "DomainStudio: Fine-Tuning Diffusion Models for Domain-Driven Image
    Generation using Limited Data" (2023), checked against the authors' code, which divides the mean of the rows by
    N - 1 once more; "dot" that of Jeon et al., "Improving Diversity in Zero-Shot GAN Adaptation with Semantic
    Variations" (2023), paper text; "scaled_dot" that of Wang et al., "MiniLMv2" (2021), recalled.
    """
    features, targets = checks.floating(features, "features"), checks.floating(targets, "targets")
    checks.one_of(mode, "mode", ("cosine", "dot", "scaled_dot"))
    checks.positive(temperature, "temperature")
    if features.ndim < 2 or features.shape[:-1] != targets.shape[:-1]:
        raise ValueError(
            "features and targets must have shapes [..., N, D] and [..., N, E] with the same leading axes, got "
            f"{list(features.shape)} and {list(targets.shape)}"
        )
    rows = features.shape[:-1]
    mask = checks.mask(where, "where", rows)
    counts = jnp.ones(rows, bool) if mask is None else mask
    dtype = accumulation_dtype(features, targets)
    student, teacher = (
        jnp.where(counts[..., None], value.astype(dtype), 0.0) for value in (features, jax.lax.stop_gradient(targets))
    )
    entries = counts[..., :, None] & counts[..., None, :]
    if mode == "cosine":
        entries &= ~jnp.eye(rows[-1], dtype=bool)
    # An empty row still needs one entry for its softmax; its divergence is dropped below.
    related = jnp.any(entries, axis=-1)
    kept = entries | ~related[..., None]

    def log_probs(x: Array) -> Array:
        if mode == "cosine":
            scores = cosine_similarity(x)
        else:
            scores = jnp.einsum("...nd,...md->...nm", x, x, precision="highest")
        if mode == "scaled_dot":
            scores /= x.shape[-1] ** 0.5
        return jax.nn.log_softmax(scores / temperature, axis=-1, where=kept)

    q, p = (jnp.where(kept, log_probs(value), 0.0) for value in (student, teacher))
    divergence = jnp.sum(jnp.where(kept, jnp.exp(p) * (p - q), 0.0), axis=-1)
    return jnp.where(related & counts, divergence, 0.0)
