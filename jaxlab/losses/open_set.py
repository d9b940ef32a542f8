"""Losses for classifiers that will meet what belongs to none of their classes."""

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["arpl", "arpl_logits", "energy_margin"]


def energy_margin(
    id_logits: ArrayLike,
    ood_logits: ArrayLike,
    *,
    id_threshold: ArrayLike = -15.0,
    ood_threshold: ArrayLike = -3.0,
    class_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
    ood_where: ArrayLike | None = None,
) -> tuple[Array, Array]:
    r"""Known examples shall have an energy below a threshold, outliers one above another; a value for each.

    .. math:: \ell = H(\max(0, E(z) - t)), \quad \ell^o = H(\max(0, t^o - E(z^o))),
              \qquad E(z) = -\log \sum_k e^{z_k}

    with the Huber function H (:math:`x^2 / 2` up to 1, :math:`x - 1/2` from there on). Adding a number to all logits
    lowers the energy by that number, so the thresholds fix the level of the logits, which a cross entropy leaves free:
    two classifiers trained apart become comparable.

    Args:
      id_logits: float [..., C] of known examples.
      ood_logits: float [..., C] of outliers; leading axes of their own.
      id_threshold: t, a float or an array that broadcasts to the first result. The default suits networks with large
        logits: read the energies of your own first.
      ood_threshold: t^o, the same for the second; above t.
      class_where: bool [C], True for the classes in the sum (those of the current task).
      where: bool, shape of the first result: True where an example counts; the others give 0 and no gradient.
      ood_where: bool, the same for the second.
    Returns:
      (float32 or wider [...], [...]), >= 0; 0 where no class exists.
    Raises:
      ValueError: shapes do not agree, or there is no class.
      TypeError: logits are not floating point, or a mask is not boolean.

    >>> known, outliers = energy_margin(jnp.array([[20.0, 0.0], [14.5, 0.0]]), jnp.array([[-9.0, 0.0]]))
    >>> print(known.round(3), outliers)
    [0.    0.125] [0.]

    Reference: Huang et al., "OVOR: OnePrompt with Virtual Outlier Regularization for Rehearsal-Free Class-Incremental
    Learning" (2024). Checked against the authors' code.
    """
    known, outliers = checks.floating(id_logits, "id_logits"), checks.floating(ood_logits, "ood_logits")
    for name, value in (("id_logits", known), ("ood_logits", outliers)):
        if value.ndim == 0 or value.shape[-1] == 0:
            raise ValueError(f"{name} must have shape [..., C] with C >= 1, got {list(value.shape)}")
    if known.shape[-1] != outliers.shape[-1]:
        raise ValueError(f"ood_logits must have {known.shape[-1]} classes as id_logits do, got {outliers.shape[-1]}")
    classes = checks.mask(class_where, "class_where", known.shape[-1:])
    masks = (
        checks.mask(where, "where", known.shape[:-1]),
        checks.mask(ood_where, "ood_where", outliers.shape[:-1]),
    )
    below = _energy(known, classes, masks[0]) - jnp.asarray(id_threshold)
    above = jnp.asarray(ood_threshold) - _energy(outliers, classes, masks[1])
    counted = []
    for excess, mask in zip((below, above), masks, strict=True):
        hinge = optax.losses.huber_loss(jax.nn.relu(excess), delta=1.0)
        if classes is not None:
            hinge = jnp.where(jnp.any(classes), hinge, 0.0)
        counted.append(hinge if mask is None else jnp.where(mask, hinge, 0.0))
    return counted[0], counted[1]


def _energy(logits: Array, classes: Array | None, where: Array | None) -> Array:
    """Minus the log of the sum of the exponentials; 0 for examples that do not count."""
    wide = logits.astype(accumulation_dtype(logits))
    if where is not None:
        wide = jnp.where(where[..., None], wide, 0.0)
    if classes is None:
        return -jax.nn.logsumexp(wide, axis=-1)
    # Where no class exists the sum is over zeros: its value is dropped, its gradient stays finite.
    wide = jnp.where(classes, wide, jnp.where(jnp.any(classes), -jnp.inf, 0.0))
    return -jax.nn.logsumexp(wide, axis=-1)


def arpl_logits(features: ArrayLike, points: ArrayLike) -> Array:
    r"""Logits of reciprocal points: the farther from what a class is NOT, the more it is of that class.

    .. math:: z_k = \frac1D \|f - c_k\|^2 - \langle f, c_k \rangle

    Args:
      features: float [..., D].
      points: float [C, D], a reciprocal point per class; the authors start them at 0.1 times standard normal numbers.
    Returns:
      float32 or wider [..., C].
    Raises:
      ValueError: widths differ.
      TypeError: features or points are not floating point.

    >>> print(arpl_logits(jnp.array([2.0, 0.0]), jnp.array([[0.0, 0.0], [1.0, 0.0]])))
    [ 2.  -1.5]

    Reference: as ``arpl``.
    """
    features = checks.floating(features, "features")
    points = checks.rank(checks.floating(points, "points"), "points", 2, layout="[C, D]")
    if features.ndim < 1 or features.shape[-1] != points.shape[1]:
        raise ValueError(f"features must have shape [..., {points.shape[1]}] as points do, got {list(features.shape)}")
    dtype = accumulation_dtype(features, points)
    rows, points = features.reshape(-1, points.shape[1]).astype(dtype), points.astype(dtype)
    inner = jnp.matmul(rows, points.T, precision="highest")
    logits = pairwise_sq_dists(rows, points) / points.shape[1] - inner
    return logits.reshape(*features.shape[:-1], points.shape[0])


def arpl(
    features: ArrayLike,
    points: ArrayLike,
    radius: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike = 0.1,
    temperature: ArrayLike = 1.0,
    class_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""Adversarial reciprocal point learning: cross entropy, and known features kept near enough (per example).

    .. math:: \ell = -\log \operatorname{softmax}(z / \tau)_y + w \max\big(0, \tfrac1D \|f - c_y\|^2 - R + 1\big)

    with the logits z of ``arpl_logits``. The second term bounds the space that known classes take up, so that what is
    unknown stays inside it, with small logits.

    Args:
      features: float [..., D].
      points: float [C, D].
      radius: R, a learnable float, 0 at the start.
      labels: int [...]; a label outside [0, C), or of a class that does not exist, gives NaN for that example.
      weight: w.
      temperature: tau > 0.
      class_where: bool [C], True for the classes in the softmax.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], >= 0.
    Raises:
      ValueError: shapes do not agree, or a static temperature <= 0.
      TypeError: features or points are not floating point, labels are not integers, or where is not boolean.

    >>> points = jnp.array([[0.0, 0.0], [1.0, 0.0]])
    >>> print(arpl(jnp.array([2.0, 0.0]), points, jnp.array(0.0), jnp.array(0), weight=1.0).round(4))
    3.0298

    Reference: Chen et al., "Adversarial Reciprocal Points Learning for Open Set Recognition" (2021), a row of Vaze et
    al., "Open-Set Recognition: a Good Closed-Set Classifier is All You Need?" (2022). Checked in the code of
    the latter.
    """
    features, labels = checks.floating(features, "features"), checks.integer(labels, "labels")
    checks.positive(temperature, "temperature")
    if features.shape[:-1] != labels.shape:
        raise ValueError(f"labels must have shape {list(features.shape[:-1])}, got {list(labels.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    clean = features if mask is None else jnp.where(mask[..., None], features, 0)
    logits = arpl_logits(clean, points)
    known = (labels >= 0) & (labels < logits.shape[-1])
    own = jnp.where(known, labels, 0)
    classes = checks.mask(class_where, "class_where", logits.shape[-1:])
    known &= True if classes is None else classes[own]
    shown = None if classes is None else jnp.broadcast_to(classes, logits.shape)
    fit = optax.losses.softmax_cross_entropy_with_integer_labels(logits / temperature, own, where=shown)
    apart = jnp.mean(jnp.square(clean.astype(logits.dtype) - jnp.asarray(points).astype(logits.dtype)[own]), axis=-1)
    losses = fit + jnp.asarray(weight, logits.dtype) * jax.nn.relu(apart - radius + 1.0)
    losses = jnp.where(known, losses, jnp.nan)
    return losses if mask is None else jnp.where(mask, losses, 0.0)
