"""Noise on purpose: inputs that are mixed, and the losses of what was mixed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["mixed_loss", "mixup"]


def mixup(
    key: Array, x: ArrayLike, *, alpha: ArrayLike, partner: ArrayLike | None = None
) -> tuple[Array, Array, Array]:
    r"""Every row mixed with another one, by one weight for the whole batch.

    .. math:: \tilde x_i = \lambda x_i + (1 - \lambda)\, x_{\pi(i)}, \quad \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    The loss of the mixed rows is ``mixed_loss(loss_fn, labels, labels[partner], lam)``, where loss_fn holds their
    outputs; soft targets may be mixed as the rows were.

    Args:
      key: typed PRNG key.
      x: float [B, ...], anything: images, features, embeddings.
      alpha: > 0; small values leave most batches nearly as they were, 1 draws the weight uniformly.
      partner: int [B] in [0, B), which row each is mixed with (of its own cluster, for instance); None draws a
        permutation.
    Returns:
      (mixed, partner, lam): mixed in the dtype and shape of x, int [B], and a float32 scalar in [0, 1].
    Raises:
      ValueError: x is a scalar, partner is not [B], or a static alpha <= 0.
      TypeError: x is not floating point, or partner does not hold integers.

    >>> x = jnp.array([[0.0], [1.0]])
    >>> mixed, partner, lam = mixup(jax.random.key(0), x, alpha=1.0, partner=jnp.array([1, 0]))
    >>> print(jnp.allclose(mixed[:, 0], jnp.array([1 - lam, lam])))
    True

    Reference: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018). Standard.
    """
    x = checks.floating(x, "x")
    if x.ndim < 1:
        raise ValueError("x must have shape [B, ...], got a scalar")
    checks.positive(alpha, "alpha")
    weight_key, order_key = jax.random.split(key)
    dtype = accumulation_dtype(x)
    alpha = jnp.asarray(alpha, jnp.float32)
    lam = jax.random.beta(weight_key, alpha, alpha)
    if partner is None:
        # By sorting: much quicker to compile than a permutation of its own.
        others = jnp.argsort(jax.random.uniform(order_key, x.shape[:1]))
    else:
        others = checks.integer(partner, "partner")
        if others.shape != x.shape[:1]:
            raise ValueError(f"partner must have shape [{x.shape[0]}], got {list(others.shape)}")
    wide = x.astype(dtype)
    share = lam.astype(dtype)
    return (share * wide + (1 - share) * wide[others]).astype(x.dtype), others, lam


def mixed_loss(loss_fn: Callable[[Any], Array], a: Any, b: Any, lam: ArrayLike) -> Array:
    r"""The loss of mixed rows: of the targets of both, by the weight of the mix.

    .. math:: \lambda\, \ell(a) + (1 - \lambda)\, \ell(b)

    Args:
      loss_fn: from targets to losses [B], with the outputs for the mixed rows inside.
      a: targets of the rows themselves, a pytree.
      b: targets of their partners, the same structure.
      lam: the weight of a, in [0, 1]; a float, or an array that broadcasts to [B].
    Returns:
      What loss_fn returns.
    Raises:
      ValueError: a static lam outside [0, 1].

    >>> squared = lambda target: (jnp.array([1.0]) - target) ** 2
    >>> print(mixed_loss(squared, jnp.array([1.0]), jnp.array([3.0]), 0.75))
    [1.]

    Reference: as ``mixup``. Standard; for cross entropy it is the loss of the mixed one-hot targets.
    """
    checks.in_range(lam, "lam", 0.0, 1.0)
    first, second = loss_fn(a), loss_fn(b)
    share = jnp.asarray(lam, first.dtype)
    return share * first + (1 - share) * second
