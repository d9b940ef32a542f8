"""Losses of two networks that play against each other."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = ["adversarial_linear_margin", "gan_discriminator", "gan_generator"]


def gan_discriminator(real_logits: ArrayLike, fake_logits: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Logistic loss of a discriminator on pairs of a real and a fake example (per pair; larger is worse).

    .. math:: -\log \sigma(r) - \log(1 - \sigma(f))

    Args:
      real_logits: float [...], r, larger is more real.
      fake_logits: float [...], f, same shape.
      where: bool [...], True where a pair counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...] > 0; 2 log 2 at zero logits.
    Raises:
      ValueError: shapes differ.
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(f"{gan_discriminator(jnp.array(0.0), jnp.array(0.0)):.4f}")
    1.3863

    Reference: Goodfellow et al., "Generative Adversarial Nets" (2014), standard.
    """
    real, fake = checks.floating(real_logits, "real_logits"), checks.floating(fake_logits, "fake_logits")
    checks.same_shape(real, "real_logits", fake, "fake_logits")
    mask = checks.mask(where, "where", real.shape)
    return _softplus(-real, mask) + _softplus(fake, mask)


def gan_generator(fake_logits: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""The non-saturating loss of a generator (per example; larger is worse).

    .. math:: -\log \sigma(f)

    Its gradient does not vanish where the discriminator is sure, unlike that of log(1 - sigma(f)).

    Args:
      fake_logits: float [...], f, the discriminator's logits of generated examples.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...] > 0; log 2 at zero logits.
    Raises:
      ValueError: where has another shape.
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(f"{gan_generator(jnp.array(0.0)):.4f}")
    0.6931

    Reference: Goodfellow et al., "Generative Adversarial Nets" (2014), standard.
    """
    fake = checks.floating(fake_logits, "fake_logits")
    return _softplus(-fake, checks.mask(where, "where", fake.shape))


def adversarial_linear_margin(
    x: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    eps: ArrayLike,
    norm: str = "l2",
    where: ArrayLike | None = None,
) -> Array:
    r"""Logistic loss of a linear classifier under the worst attack within a radius (per example; larger is worse).

    .. math:: \max_{\|\delta\|_p \le \epsilon} \log\big(1 + e^{-y (w^\top (x + \delta) + b)}\big)
              = \log\big(1 + e^{-(y (w^\top x + b) - \epsilon \|w\|_q)}\big), \qquad \tfrac1p + \tfrac1q = 1

    No attack has to be run: against a linear classifier the worst one is known.

    Args:
      x: float [..., D].
      labels: int [...], 1 for y = 1 and 0 for y = -1; another gives NaN for that example.
      weight: float [D], w.
      bias: float scalar, b.
      eps: radius >= 0, a number or an array that broadcasts to [...].
      norm: "l2" or "linf", p of the attack, static.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if an input is) [...] > 0.
    Raises:
      ValueError: shapes do not agree, an unknown norm, or a static eps < 0.
      TypeError: x or weight is not floating point, labels are not integers, or where is not boolean.

    >>> x, weight = jnp.array([1.0, 0.0]), jnp.array([3.0, 4.0])
    >>> print(adversarial_linear_margin(x, jnp.array(1), weight, 0.0, eps=0.6).round(4))
    0.6931

    Reference: Hu et al., "Understanding the Impact of Adversarial Robustness on Accuracy Disparity" (2023); the inner
    maximum is inferred (the authors' code takes one gradient step, which reaches it).
    """
    x, labels = checks.floating(x, "x"), checks.integer(labels, "labels")
    weight = checks.rank(checks.floating(weight, "weight"), "weight", 1, layout="[D]")
    if x.shape != (*labels.shape, weight.shape[0]):
        raise ValueError(f"x must have shape {[*labels.shape, weight.shape[0]]}, got {list(x.shape)}")
    checks.one_of(norm, "norm", ("l2", "linf"))
    checks.at_least(eps, "eps", 0.0)
    mask = checks.mask(where, "where", labels.shape)
    dtype = accumulation_dtype(x, weight)
    rows = x.astype(dtype) if mask is None else jnp.where(mask[..., None], x.astype(dtype), 0.0)
    wide = weight.astype(dtype)
    if norm == "linf":
        length = jnp.sum(jnp.abs(wide))
    else:
        squares = jnp.sum(wide**2)
        length = safe_sqrt(squares)
    sign = jnp.where(labels == 1, 1.0, -1.0).astype(dtype)
    score = jnp.matmul(rows, wide, precision="highest") + jnp.asarray(bias, dtype)
    worst = _softplus(jnp.asarray(eps, dtype) * length - sign * score, mask)
    strange = (labels != 0) & (labels != 1)
    return jnp.where(strange if mask is None else strange & mask, jnp.nan, worst)


def _softplus(x: Array, mask: Array | None) -> Array:
    wide = x.astype(accumulation_dtype(x))
    return jax.nn.softplus(wide) if mask is None else jnp.where(mask, jax.nn.softplus(jnp.where(mask, wide, 0.0)), 0.0)
