"""Losses of two networks that play against each other."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["gan_discriminator", "gan_generator"]


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


def _softplus(x: Array, mask: Array | None) -> Array:
    wide = x.astype(accumulation_dtype(x))
    return jax.nn.softplus(wide) if mask is None else jnp.where(mask, jax.nn.softplus(jnp.where(mask, wide, 0.0)), 0.0)
