"""What a part of a network is trained towards when it does not see the loss of the whole."""

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["compound_supervision", "contrastive_cosine", "forward_forward", "noprop_dt", "pseudo_residuals"]


def pseudo_residuals(predictions: ArrayLike, targets: ArrayLike, *, loss: str, where: ArrayLike | None = None) -> Array:
    r"""Minus the gradient of a loss by the predictions: what the next stage of gradient boosting fits.

    .. math:: r = y - F, \qquad r = \frac{2 s}{1 + e^{2 s F}}, \qquad r_c = [c = y] - \operatorname{softmax}(F)_c

    for the losses "squared", :math:`(y - F)^2 / 2`, "binary", :math:`\log(1 + e^{-2 s F})` with s = -1 for label 0 and
    +1 for label 1 (so 2 F is a logit), and "multiclass", the cross entropy of softmax(F).

    Args:
      predictions: F, float [...], or [..., C] where loss is "multiclass".
      targets: float [...] where loss is "squared", else int [...]: 0 or 1, or a class in [0, C). Other labels give NaN
        for that example.
      loss: "squared", "binary" or "multiclass", static.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if an input is), the shape of predictions.
    Raises:
      ValueError: shapes do not agree, or loss is unknown.
      TypeError: predictions or targets are not of the types above.

    >>> print(pseudo_residuals(jnp.zeros(2), jnp.array([0, 1]), loss="binary"))
    [-1.  1.]

    Reference: Emami and Martinez-Munoz, "Sequential Training of Neural Networks with Gradient Boosting" (2023). Checked
    against the authors' code, which writes the two labels as -1 and +1.
    """
    checks.one_of(loss, "loss", ("squared", "binary", "multiclass"))
    scores = checks.floating(predictions, "predictions")
    y = checks.floating(targets, "targets") if loss == "squared" else checks.integer(targets, "targets")
    if scores.ndim != y.ndim + (loss == "multiclass") or scores.shape[: y.ndim] != y.shape:
        wanted = [*y.shape, "C"] if loss == "multiclass" else list(y.shape)
        raise ValueError(f"predictions must have shape {wanted} to match targets, got {list(scores.shape)}")
    mask = checks.mask(where, "where", y.shape)
    counts = jnp.ones(y.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(scores, y)
    scores = jnp.where(counts[..., None] if loss == "multiclass" else counts, scores.astype(dtype), 0.0)
    if loss == "squared":
        return jnp.where(counts, y, 0.0) - scores
    num_classes = scores.shape[-1] if loss == "multiclass" else 2
    known = (y >= 0) & (y < num_classes)
    if loss == "binary":
        signs = jnp.where(y == 1, 1.0, -1.0).astype(dtype)
        residuals = 2 * signs * jax.nn.sigmoid(-2 * signs * scores)
    else:
        residuals = jax.nn.one_hot(y, num_classes, dtype=dtype) - jax.nn.softmax(scores, axis=-1)
        known, counts = known[..., None], counts[..., None]
    return jnp.where(counts, jnp.where(known, residuals, jnp.nan), 0.0)


def noprop_dt(
    prediction: ArrayLike,
    targets: ArrayLike,
    snr_difference: ArrayLike,
    *,
    num_blocks: int,
    eta: ArrayLike = 0.1,
    where: ArrayLike | None = None,
) -> Array:
    r"""What one block of NoProp is trained on: the label's embedding, guessed from noise (per example).

    .. math:: \ell = \frac T2\, \eta\, \big(\mathrm{SNR}(t) - \mathrm{SNR}(t - 1)\big)\, \|\hat u_t - u_y\|^2

    The block sees the input and a draw of :math:`z_{t-1}`, never the output of another block, so no gradient crosses
    blocks. In continuous time, call it with the slope of the signal-to-noise ratio and one block. The other two terms
    of the bound train the embeddings and the last layer alone: cross entropy of :math:`z_T`, and ``gaussian_kl`` of
    :math:`\sqrt{\bar\alpha_0} u_y` and :math:`\log(1 - \bar\alpha_0)`.

    Args:
      prediction: u-hat, float [..., D].
      targets: u_y, float [..., D]; learned embeddings get a gradient through them.
      snr_difference: float, broadcasts to [...], > 0: how much the block raises the signal-to-noise ratio.
      num_blocks: T, static, >= 1.
      eta: a float or an array that broadcasts to [...].
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: shapes differ, or num_blocks < 1.
      TypeError: an array is not floating point, or num_blocks is no static integer.

    >>> print(noprop_dt(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]]), 2.0, num_blocks=10, eta=1.0))
    [20.]

    Reference: Li et al., "NoProp: Training Neural Networks without Back-propagation or Forward-propagation" (2025),
    paper text; its Algorithm 1 draws z_t where its loss has z_{t-1}, which is followed here.
    """
    prediction, targets = checks.floating(prediction, "prediction"), checks.floating(targets, "targets")
    checks.same_shape(prediction, "prediction", targets, "targets")
    if prediction.ndim < 1:
        raise ValueError("prediction must have shape [..., D], got []")
    blocks = checks.size(num_blocks, "num_blocks")
    mask = checks.mask(where, "where", prediction.shape[:-1])
    dtype = accumulation_dtype(prediction, targets)
    gap = prediction.astype(dtype) - targets.astype(dtype)
    weight = 0.5 * blocks * jnp.asarray(eta, dtype) * jnp.asarray(snr_difference, dtype)
    if mask is not None:
        gap = jnp.where(mask[..., None], gap, 0.0)
        weight = jnp.where(mask, weight, 0.0)
    return weight * jnp.sum(gap**2, axis=-1)


def forward_forward(
    g_pos: ArrayLike, g_neg: ArrayLike, *, threshold: ArrayLike = 2.0, where: ArrayLike | None = None
) -> Array:
    r"""Goodness of a layer above a threshold for real inputs, below it for wrong ones (per example).

    .. math:: \ell = \log(1 + e^{\theta - G_+}) + \log(1 + e^{G_- - \theta})

    Goodness is the mean square of the layer's outputs; normalise them before the next layer, which must not see it.

    Args:
      g_pos: float [...], goodness of the input with its own label.
      g_neg: float [...], with another label.
      threshold: theta, a float or an array that broadcasts to [...].
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: shapes differ.
      TypeError: an array is not floating point.

    >>> print(forward_forward(jnp.array([2.0]), jnp.array([2.0])).round(4))  # twice log 2
    [1.3863]

    Reference: Hinton, "The Forward-Forward Algorithm: Some Preliminary Investigations" (2022), standard.
    """
    g_pos, g_neg = checks.floating(g_pos, "g_pos"), checks.floating(g_neg, "g_neg")
    checks.same_shape(g_pos, "g_pos", g_neg, "g_neg")
    mask = checks.mask(where, "where", g_pos.shape)
    dtype = accumulation_dtype(g_pos, g_neg)
    above, below = g_pos.astype(dtype) - threshold, g_neg.astype(dtype) - threshold
    if mask is not None:
        above, below = jnp.where(mask, above, 0.0), jnp.where(mask, below, 0.0)
    loss = jax.nn.softplus(-above) + jax.nn.softplus(below)
    return loss if mask is None else jnp.where(mask, loss, 0.0)


def contrastive_cosine(
    y_pos: ArrayLike,
    y_neg: ArrayLike,
    direction: ArrayLike | None = None,
    *,
    scale: ArrayLike = 5.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Physical local learning: a layer answers right and wrong labels in different directions (per example).

    .. math:: \ell = \log\big(1 + e^{-\theta (\cos(y_+, p) - \cos(y_-, p))}\big) \quad\text{or}\quad
              \ell = \log\big(1 + e^{\theta \cos(y_+, y_-)}\big)

    With a direction p, drawn once for the layer, the cosine with it is the layer's goodness, and the goodness summed
    over layers tells labels apart. Without one the two responses are only turned away from each other. Neither asks
    for the derivative of what lies between layers.

    Args:
      y_pos: float [..., D], the layer's response to the input with its own label.
      y_neg: float [..., D], with another label.
      direction: p, float [D]; or None.
      scale: theta, multiplies; a float or an array that broadcasts to [...].
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...]; a zero vector has cosine 0 and no gradient.
    Raises:
      ValueError: shapes differ.
      TypeError: an array is not floating point.

    >>> print(contrastive_cosine(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])).round(4))  # log 2
    [0.6931]

    Reference: Momeni et al., "Backpropagation-free Training of Deep Physical Neural Networks" (2023). The form with a
    direction is checked against the authors' code, where theta is 4 or 5; the form without is recalled.
    """
    y_pos, y_neg = checks.floating(y_pos, "y_pos"), checks.floating(y_neg, "y_neg")
    checks.same_shape(y_pos, "y_pos", y_neg, "y_neg")
    if y_pos.ndim < 1:
        raise ValueError("y_pos must have shape [..., D], got []")
    mask = checks.mask(where, "where", y_pos.shape[:-1])
    dtype = accumulation_dtype(y_pos, y_neg)
    pos, neg = y_pos.astype(dtype), y_neg.astype(dtype)
    if mask is not None:
        pos, neg = jnp.where(mask[..., None], pos, 0.0), jnp.where(mask[..., None], neg, 0.0)
    pos, neg = normalize(pos), normalize(neg)
    if direction is None:
        likeness = jnp.sum(pos * neg, axis=-1)
    else:
        axis = checks.floating(direction, "direction")
        if axis.shape != y_pos.shape[-1:]:
            raise ValueError(
                f"direction must have shape [{y_pos.shape[-1]}] as the responses do, got {list(axis.shape)}"
            )
        likeness = jnp.sum((neg - pos) * normalize(axis.astype(dtype)), axis=-1)
    loss = jax.nn.softplus(jnp.asarray(scale, dtype) * likeness)
    return loss if mask is None else jnp.where(mask, loss, 0.0)


def compound_supervision(
    reconstructions: ArrayLike,
    images: ArrayLike,
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    reconstruction_weight: float = 1.0,
    class_weight: float = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Supervision along the depth of a network: early heads shall keep the image, later ones know the class.

    .. math:: \ell = \sum_{i=0}^{I-1} \Big[ \big(1 - \tfrac iI\big) w_r\, \mathrm{BCE}(\hat x_i, x)
              + \tfrac{i+1}{J} w_c\, \mathrm{CE}(z_i, y) \Big] + \mathrm{CE}(z_{J-1}, y)

    BCE is the mean over pixels, whose values are clipped to [0.01, 0.99].

    Args:
      reconstructions: float [I, B, ...], logits of pixels from I heads along the depth.
      images: float [B, ...] in [0, 1].
      logits: float [J, B, K] of J > I class heads; the last stands at the end. (J = I + 1 in the paper; others in
        between are ignored, as there.)
      labels: int [B], or float [B, K] for soft targets.
      reconstruction_weight: w_r >= 0.
      class_weight: w_c >= 0.
      where: bool [B], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if an input is) [B]; NaN for a label outside [0, K).
    Raises:
      ValueError: shapes do not agree, J <= I, or a weight is negative.
      TypeError: arrays are not of the types above.

    >>> images, labels = jnp.full((1, 4), 0.5), jnp.array([0])
    >>> print(compound_supervision(jnp.zeros((1, 1, 4)), images, jnp.zeros((2, 1, 2)), labels).round(3))  # 2.5 log 2
    [1.733]

    Reference: Cai et al., "Reversible Column Networks" (2023). Checked against the authors' code.
    """
    pixels = checks.floating(reconstructions, "reconstructions")
    images, logits = checks.floating(images, "images"), checks.rank(logits, "logits", 3, layout="[J, B, K]")
    checks.floating(logits, "logits")
    for weight, name in ((reconstruction_weight, "reconstruction_weight"), (class_weight, "class_weight")):
        checks.at_least(weight, name, 0.0)
    num, heads = pixels.shape[0] if pixels.ndim else 0, logits.shape[0]
    if pixels.shape[1:] != images.shape or images.shape[:1] != logits.shape[1:2]:
        raise ValueError(
            f"reconstructions must have shape [I, *images.shape] and images the B of logits [J, B, K], got "
            f"{list(pixels.shape)}, {list(images.shape)} and {list(logits.shape)}"
        )
    if heads <= num:
        raise ValueError(f"logits must have more heads than the {num} of reconstructions, got {heads}")
    labels = jnp.asarray(labels)
    soft = jnp.issubdtype(labels.dtype, jnp.floating)
    labels = labels if soft else checks.integer(labels, "labels")
    if labels.shape != (logits.shape[1:] if soft else logits.shape[1:2]):
        raise ValueError(f"labels must have shape [B] or, if soft, [B, K] of logits, got {list(labels.shape)}")
    mask = checks.mask(where, "where", logits.shape[1:2])
    counts = jnp.ones(logits.shape[1:2], bool) if mask is None else mask
    dtype = accumulation_dtype(pixels, images, logits)
    over = counts.reshape((-1,) + (1,) * (images.ndim - 1))
    pixels, images = jnp.where(over, pixels.astype(dtype), 0.0), jnp.where(over, images.astype(dtype), 0.5)
    logits = jnp.where(counts[:, None], logits.astype(dtype), 0.0)
    if soft:
        targets = jnp.where(counts[:, None], labels.astype(dtype), 0.0)
        classes = optax.losses.softmax_cross_entropy(logits, jnp.broadcast_to(targets, logits.shape))
    else:
        known = (labels >= 0) & (labels < logits.shape[-1])
        index = jnp.broadcast_to(jnp.where(known, labels, 0), logits.shape[:2])
        classes = optax.losses.softmax_cross_entropy_with_integer_labels(logits, index)
        classes = jnp.where(known, classes, jnp.nan)
    bits = optax.losses.sigmoid_binary_cross_entropy(pixels, jnp.clip(images, 0.01, 0.99))
    kept = jnp.mean(bits, axis=tuple(range(2, bits.ndim)))
    along = jnp.arange(num, dtype=dtype)
    early = reconstruction_weight * jnp.tensordot(1.0 - along / max(num, 1), kept, 1)
    late = class_weight * jnp.tensordot((along + 1.0) / heads, classes[:num], 1)
    return jnp.where(counts, early + late + classes[-1], 0.0)
