"""Segmenting images of a class known from a few masks, by inference on the image itself: RePRI."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics import masked_mean, normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike
from jaxlab.vision import masked_average_pool

__all__ = ["PixelClassifier", "repri_adapt", "repri_init", "repri_loss", "repri_probs"]

EPS = 1e-10  # keeps every logarithm finite, as published


class PixelClassifier(NamedTuple):
    """A foreground prototype w [D], and the bias b [] that its scaled cosine has to exceed."""

    weight: Array
    bias: Array


def _features(features: ArrayLike, name: str) -> Array:
    features = checks.floating(features, name)
    if features.ndim < 3:
        raise ValueError(f"{name} must have shape [..., H, W, D], got {list(features.shape)}")
    return features.astype(accumulation_dtype(features))


def _cosines(weight: Array, features: Array) -> Array:
    return jnp.einsum("...d,d->...", normalize(features), normalize(weight), precision="highest")


def repri_probs(classifier: PixelClassifier, features: ArrayLike, *, scale: ArrayLike = 20.0) -> Array:
    r"""Probability of the foreground at every pixel.

    .. math:: p = \sigma(\tau \cos(f, w) - b)

    Args:
      classifier: PixelClassifier of weight [D] and bias [].
      features: float [..., H, W, D]; their length does not matter, nor does that of the weight.
      scale: tau, multiplies the cosine.
    Returns:
      float32 or wider [..., H, W] in [0, 1].
    Raises:
      ValueError: features are not [..., H, W, D] of the classifier's width.
      TypeError: features are not floating point.

    >>> pixels = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> print(repri_probs(PixelClassifier(jnp.array([1.0, 0.0]), jnp.array(10.0)), pixels).round(3))
    [[1. 0.]]

    Reference: Boudiaf et al., "Few-Shot Segmentation Without Meta-Learning: A Good Transductive Inference Is All You
    Need?" (2021). Checked against the authors' code.
    """
    features = _features(features, "features")
    if features.shape[-1:] != jnp.shape(classifier.weight):
        raise ValueError(f"features must have width {list(jnp.shape(classifier.weight))}, got {list(features.shape)}")
    return _both_probs(classifier, features, scale)[0]


def _both_probs(classifier: PixelClassifier, features: Array, scale: ArrayLike) -> tuple[Array, Array]:
    """Of foreground and background, each by its own sigmoid: one minus the other may round to less than 0."""
    logits = jnp.asarray(scale) * _cosines(classifier.weight, features) - classifier.bias
    return jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)


def repri_init(
    support: ArrayLike,
    mask: ArrayLike,
    query: ArrayLike,
    *,
    scale: ArrayLike = 20.0,
    where: ArrayLike | None = None,
    query_where: ArrayLike | None = None,
) -> PixelClassifier:
    r"""The classifier to start from: the mean foreground feature, and the bias that makes the query's mean logit 0.

    .. math:: w = \overline{f_s : \text{foreground}}, \qquad b = \overline{\tau \cos(f_q, w)}

    Args:
      support: float [S, H, W, D], features of the images with masks.
      mask: bool [S, H, W], True on the foreground.
      query: float [H, W, D], features of the image to segment.
      scale: tau.
      where: bool [S, H, W], True where a support pixel is labelled (published masks mark the others 255).
      query_where: bool [H, W], True where a query pixel counts.
    Returns:
      PixelClassifier, float32 or wider. Without a foreground pixel the weight is 0 and every pixel scores alike: leave
      such episodes out.
    Raises:
      ValueError: shapes do not agree.
      TypeError: features are not floating point, or a mask is not boolean.

    >>> support = query = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> print(repri_init(support[None], jnp.array([[[True, False]]]), query))
    PixelClassifier(weight=Array([1., 0.], dtype=float32), bias=Array(10., dtype=float32))

    Reference: Boudiaf et al., "Few-Shot Segmentation Without Meta-Learning: A Good Transductive Inference Is All You
    Need?" (2021). Checked against the authors' code.
    """
    support, query, foreground, labelled, counts = _episode(support, mask, query, where, query_where)
    # All shots as one tall image: every foreground pixel counts the same, whichever image it is from.
    tall = support.reshape(-1, *support.shape[2:])
    pooled = masked_average_pool(tall, (foreground & labelled).reshape(tall.shape[:-1]))
    scores = jnp.asarray(scale, query.dtype) * _cosines(pooled, query)
    return PixelClassifier(pooled, masked_mean(scores, counts))


def _episode(
    support: ArrayLike, mask: ArrayLike, query: ArrayLike, where: ArrayLike | None, query_where: ArrayLike | None
) -> tuple[Array, Array, Array, Array, Array]:
    """Features and masks in one dtype; what does not count is 0."""
    support = checks.rank(_features(support, "support"), "support", 4, layout="[S, H, W, D]")
    query = checks.rank(_features(query, "query"), "query", 3, layout="[H, W, D]")
    if support.shape[-1] != query.shape[-1]:
        raise ValueError(f"query must have width {support.shape[-1]} as support has, got {list(query.shape)}")
    foreground = jnp.asarray(checks.mask(mask, "mask", support.shape[:-1]))
    labelled = checks.mask(where, "where", support.shape[:-1])
    counts = checks.mask(query_where, "query_where", query.shape[:-1])
    labelled = jnp.ones(support.shape[:-1], bool) if labelled is None else labelled
    counts = jnp.ones(query.shape[:-1], bool) if counts is None else counts
    dtype = accumulation_dtype(support, query)
    support = jnp.where(labelled[..., None], support, 0.0).astype(dtype)
    query = jnp.where(counts[..., None], query, 0.0).astype(dtype)
    return support, query, foreground, labelled, counts


def repri_loss(
    classifier: PixelClassifier,
    support: ArrayLike,
    mask: ArrayLike,
    query: ArrayLike,
    *,
    prior: ArrayLike,
    kl_weight: ArrayLike,
    entropy_weight: ArrayLike,
    scale: ArrayLike = 20.0,
    where: ArrayLike | None = None,
    query_where: ArrayLike | None = None,
) -> Array:
    r"""What RePRI minimises over the classifier of one image.

    .. math:: \mathcal L = CE(\text{support}) + \lambda_{KL}\, KL(\bar p \,\|\, \pi) + \lambda_H\, \overline{H(p)}

    The entropy of the query's pixels makes their predictions certain, and alone would call all of them background (or
    foreground); the divergence holds the predicted share of the foreground, p bar, at pi.

    Args:
      classifier: PixelClassifier of weight [D] and bias [].
      support: float [S, H, W, D].
      mask: bool [S, H, W], True on the foreground.
      query: float [H, W, D].
      prior: pi, the share of the foreground, in [0, 1]; it passes no gradient.
      kl_weight: weight of the divergence.
      entropy_weight: weight of the entropy.
      scale: tau.
      where: bool [S, H, W], True where a support pixel is labelled.
      query_where: bool [H, W], True where a query pixel counts.
    Returns:
      float32 or wider scalar. Logs are of p + 1e-10, those of the divergence of max(p, 1e-10) instead (published: the
      sum), which is finite at a prior of 0 or 1 too.
    Raises:
      ValueError: shapes do not agree, or a static prior outside [0, 1].
      TypeError: features are not floating point, or a mask is not boolean.

    >>> pixels, mask = jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.array([[True, False]])
    >>> loss = lambda w: repri_loss(PixelClassifier(w, jnp.array(10.0)), pixels[None], mask[None], pixels, prior=0.5,
    ...                             kl_weight=1.0, entropy_weight=1.0)
    >>> print(loss(jnp.array([1.0, 0.0])) < loss(jnp.array([0.0, 1.0])))
    True

    Reference: Boudiaf et al., "Few-Shot Segmentation Without Meta-Learning: A Good Transductive Inference Is All You
    Need?" (2021). Checked against the authors' code.
    """
    checks.in_range(prior, "prior", 0.0, 1.0)
    support, query, foreground, labelled, counts = _episode(support, mask, query, where, query_where)
    on_support, on_query = (_both_probs(classifier, features, scale) for features in (support, query))
    fit = masked_mean(-jnp.log(jnp.where(foreground, *on_support) + EPS), labelled)
    shares = [masked_mean(p, counts) for p in on_query]
    pi = jax.lax.stop_gradient(jnp.asarray(prior, shares[0].dtype))
    # Compiled, (1 - pi) + EPS becomes (1 + EPS) - pi, which is 0 in float32 where pi is 1.
    floored = ((p, jnp.maximum(p, EPS), jnp.maximum(q, EPS)) for p, q in zip(shares, (pi, 1.0 - pi), strict=True))
    divergence = sum(p * jnp.log(above / below) for p, above, below in floored)
    doubt = masked_mean(-sum(p * jnp.log(p + EPS) for p in on_query), counts)
    return fit + kl_weight * divergence + entropy_weight * doubt


def repri_adapt(
    support: ArrayLike,
    mask: ArrayLike,
    query: ArrayLike,
    *,
    num_steps: int = 49,
    learning_rate: ArrayLike = 0.025,
    update_at: int = 10,
    kl_weight: ArrayLike | None = None,
    entropy_weight: ArrayLike | None = None,
    kl_growth: ArrayLike = 1.0,
    prior: ArrayLike | None = None,
    scale: ArrayLike = 20.0,
    where: ArrayLike | None = None,
    query_where: ArrayLike | None = None,
) -> PixelClassifier:
    r"""Segments one image from S images with masks: the classifier of ``repri_init``, fitted by ``repri_loss``.

    Plain gradient descent on weight and bias. The share of the foreground is at first the one that the start predicts;
    before step ``update_at`` it is estimated anew, and the divergence counts more from there on.

    Args:
      support: float [S, H, W, D], features of the images with masks.
      mask: bool [S, H, W], True on the foreground.
      query: float [H, W, D], features of the image to segment.
      num_steps: static; the published 50 iterations take 49 steps.
      learning_rate: of the descent.
      update_at: the step (1 = first) before which the share is estimated anew, static; beyond num_steps, never.
      kl_weight: None means 1 / S.
      entropy_weight: None means 1 / S.
      kl_growth: added to kl_weight where the share is estimated anew; 0 beside kl_weight 0 leaves the divergence out.
      prior: a known share of the foreground (the oracle), which is then never estimated, and the weight of the
        divergence does not grow; None estimates it.
      scale: tau.
      where: bool [S, H, W], True where a support pixel is labelled.
      query_where: bool [H, W], True where a query pixel counts.
    Returns:
      PixelClassifier; ``repri_probs(...) > 0.5`` is the mask. Everything works under ``vmap`` over episodes.
    Raises:
      ValueError: shapes do not agree, num_steps < 0, or a static prior outside [0, 1].
      TypeError: features are not floating point, a mask is not boolean, or num_steps is not a static integer.

    >>> pixels, mask = jnp.array([[[1.0, 0.1], [0.1, 1.0]]]), jnp.array([[True, False]])
    >>> print(repri_probs(repri_adapt(pixels[None], mask[None], pixels), pixels) > 0.5)
    [[ True False]]

    Reference: Boudiaf et al., "Few-Shot Segmentation Without Meta-Learning: A Good Transductive Inference Is All You
    Need?" (2021). Checked against the authors' code.
    """
    checks.size(num_steps, "num_steps", 0)
    checks.size(update_at, "update_at")
    if prior is not None:
        checks.in_range(prior, "prior", 0.0, 1.0)
    episode: dict[str, Any] = {"scale": scale, "where": where, "query_where": query_where}
    start = repri_init(support, mask, query, **episode)
    shots = jnp.shape(support)[0]
    kl_start = 1.0 / shots if kl_weight is None else kl_weight
    certain = 1.0 / shots if entropy_weight is None else entropy_weight
    counts = None if query_where is None else jnp.asarray(query_where)

    def share(classifier: PixelClassifier) -> Array:
        clean = jnp.where(jnp.ones((), bool) if counts is None else counts[..., None], jnp.asarray(query), 0.0)
        return masked_mean(repri_probs(classifier, clean, scale=scale), counts)

    first = share(start) if prior is None else jnp.asarray(prior, start.weight.dtype)
    optimizer = optax.sgd(learning_rate)

    def step(
        carry: tuple[PixelClassifier, Array, optax.OptState], number: Array
    ) -> tuple[tuple[PixelClassifier, Array, optax.OptState], None]:
        classifier, pi, state = carry
        if prior is None:
            pi = jnp.where(number == update_at, share(classifier), pi)
        grown = kl_start + jnp.where((number >= update_at) & (prior is None), kl_growth, 0.0)
        gradient = jax.grad(repri_loss)(
            classifier, support, mask, query, prior=pi, kl_weight=grown, entropy_weight=certain, **episode
        )
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(classifier, updates), pi, state), None

    carry = (start, first, optimizer.init(start))
    return jax.lax.scan(step, carry, jnp.arange(1, num_steps + 1))[0][0]
