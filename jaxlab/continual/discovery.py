"""Old classes replayed from their prototypes, the ones that are easily confused more often."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.analytic import ClassSamples, sample_class_gaussians
from jaxlab.kernels import cosine_similarity
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["prototype_hardness", "sample_prototypes"]


def prototype_hardness(prototypes: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""How like the other classes a class is: the mean cosine of its prototype with theirs (larger is harder).

    .. math:: h_c = \frac{1}{C - 1} \sum_{c' \ne c} \cos(\mu_c, \mu_{c'})

    Args:
      prototypes: float [C, D].
      where: bool [C], True where the class exists; the others give 0 and are nobody's neighbours.
    Returns:
      float32 or wider [C], in [-1, 1]; 0 for a class that is alone.
    Raises:
      ValueError: shapes do not agree.
      TypeError: prototypes are not floating point, or where is not boolean.

    >>> print(prototype_hardness(jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])))
    [0.5 0.5 0. ]

    Reference: Ma et al., "Happy: A Debiased Learning Framework for Continual Generalized Category Discovery" (2024).
    Checked against the authors' code.
    """
    rows = checks.rank(checks.floating(prototypes, "prototypes"), "prototypes", 2, layout="[C, D]")
    mask = checks.mask(where, "where", rows.shape[:1])
    exists = jnp.ones(rows.shape[:1], bool) if mask is None else mask
    rows = jnp.where(exists[:, None], rows.astype(accumulation_dtype(rows)), 0.0)
    pairs = exists[:, None] & exists & ~jnp.eye(rows.shape[0], dtype=bool)
    total = jnp.sum(jnp.where(pairs, cosine_similarity(rows), 0.0), axis=1)
    return total / jnp.maximum(jnp.sum(pairs, axis=1), 1)


def sample_prototypes(
    key: Array,
    prototypes: ArrayLike,
    radius: ArrayLike,
    *,
    num: int,
    temperature: ArrayLike = 0.1,
    where: ArrayLike | None = None,
) -> ClassSamples:
    r"""Features of old classes to rehearse, hard classes drawn more often.

    .. math:: c \sim \mathrm{softmax}(h / \tau), \quad z = \frac{\mu_c}{\|\mu_c\|} + r\, \varepsilon, \quad
              \varepsilon \sim N(0, I)

    with h from ``prototype_hardness``. The features are not normalised again. The radius that the paper keeps from its
    first stage is ``jnp.sqrt(jnp.mean(analytic.class_stats_variance(stats)))`` of unit features.

    Args:
      key: typed PRNG key.
      prototypes: float [C, D].
      radius: r >= 0, one for all classes or [C].
      num: samples, static, >= 1.
      temperature: tau > 0; large draws all classes alike.
      where: bool [C], True where the class exists; the others are never drawn.
    Returns:
      ``analytic.ClassSamples`` of ``num`` rows, sorted by class; no row counts where no class exists.
    Raises:
      ValueError: shapes do not agree, num < 1, or a static temperature <= 0.
      TypeError: prototypes are not floating point, or where is not boolean.

    >>> samples = sample_prototypes(jax.random.key(0), jnp.array([[2.0, 0.0], [0.0, 3.0]]), 0.0, num=3)
    >>> bool(jnp.all(samples.features == jnp.eye(2)[samples.labels]))
    True

    Reference: Ma et al., "Happy: A Debiased Learning Framework for Continual Generalized Category Discovery" (2024).
    Checked against the authors' code.
    """
    rows = checks.rank(checks.floating(prototypes, "prototypes"), "prototypes", 2, layout="[C, D]")
    num_classes = rows.shape[0]
    checks.size(num, "num")
    checks.positive(temperature, "temperature")
    if jnp.shape(radius) not in ((), (num_classes,)):
        raise ValueError(f"radius must be a number or have shape [{num_classes}], got {list(jnp.shape(radius))}")
    mask = checks.mask(where, "where", (num_classes,))
    exists = jnp.ones(num_classes, bool) if mask is None else mask
    rows = normalize(jnp.where(exists[:, None], rows.astype(accumulation_dtype(rows)), 0.0))
    class_key, noise_key = jax.random.split(key)
    hardness = prototype_hardness(rows, where=exists) / temperature
    some = exists | ~jnp.any(exists)
    upto = jnp.cumsum(jnp.where(exists, jax.nn.softmax(hardness, where=some), 0.0))
    level = jax.random.uniform(class_key, (num,), rows.dtype) * upto[-1]
    # Rounding must not reach beyond the last class; where there is none, no row is drawn.
    last = jnp.max(jnp.where(exists, jnp.arange(num_classes), -1))
    drawn = jnp.minimum(jnp.searchsorted(upto, level, side="right"), last)
    drawn = jnp.where(last >= 0, drawn, num_classes)
    counts = jnp.zeros(num_classes, jnp.int32).at[drawn].add(1, mode="drop")
    variances = jnp.broadcast_to(jnp.square(jnp.asarray(radius, rows.dtype)), (num_classes,))
    return sample_class_gaussians(noise_key, rows, variances, counts=counts, total=num)
