"""Noise on purpose: inputs that are mixed, and the losses of what was mixed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["drop_block", "mixed_loss", "mixup"]


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


def drop_block(key: Array, x: ArrayLike, *, rate: ArrayLike, block_size: int) -> Array:
    r"""A feature map in which square blocks are set to 0, drawn apart for every example and channel.

    .. math:: y = x \odot m \cdot \frac{HWC}{\sum m}, \qquad
              \gamma = \frac{p}{s^2} \cdot \frac{H W}{(H - s + 1)(W - s + 1)}

    A block of side s starts with probability gamma at every place where it lies inside the map; m is 0 under a block.
    Blocks overlap, so that a share a little below p is dropped. What is kept is enlarged by the share of the example
    that was kept.

    Args:
      key: typed PRNG key.
      x: float [B, H, W, C].
      rate: p in [0, 1), a float or a scalar array.
      block_size: s, static; a smaller map takes its shorter side. 1 is dropout.
    Returns:
      dtype and shape of x; 0 for an example of which nothing is kept.
    Raises:
      ValueError: x is not [B, H, W, C] with H, W >= 1, block_size < 1, or a static rate outside [0, 1).
      TypeError: x is not floating point, or block_size is not a static integer.

    >>> y = drop_block(jax.random.key(8), jnp.ones((1, 4, 4, 1)), rate=0.3, block_size=2)
    >>> print((y[0, ..., 0] > 0).astype(int))
    [[1 0 0 1]
     [1 0 0 0]
     [1 1 0 0]
     [1 1 0 0]]

    Reference: Ghiasi et al., "DropBlock: A regularization method for convolutional networks" (2018). Recalled; the
    authors' code enlarges by the share of the whole batch that was kept.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 4, layout="[B, H, W, C]")
    batch, height, width, channels = x.shape
    if height < 1 or width < 1:
        raise ValueError(f"x must have shape [B, H, W, C] with H, W >= 1, got {list(x.shape)}")
    side = min(checks.size(block_size, "block_size"), height, width)
    if checks.is_static(rate) and not 0 <= rate < 1:
        raise ValueError(f"rate must lie in [0, 1), got {rate!r}")
    places = (height - side + 1, width - side + 1)
    gamma = jnp.asarray(rate, jnp.float32) * (height * width / (side**2 * places[0] * places[1]))
    starts = jax.random.bernoulli(key, jnp.minimum(gamma, 1.0), (batch, *places, channels))
    # A place is under a block that starts at most side - 1 before it, in both directions.
    padded = jnp.pad(starts, ((0, 0), (side - 1, side - 1), (side - 1, side - 1), (0, 0)))
    rows = jnp.any(jnp.stack([padded[:, a : a + height] for a in range(side)]), axis=0)
    under = jnp.any(jnp.stack([rows[:, :, a : a + width] for a in range(side)]), axis=0)
    dtype = accumulation_dtype(x)
    kept = jnp.sum(~under, axis=(1, 2, 3), keepdims=True)
    scaled = x.astype(dtype) * (height * width * channels / jnp.maximum(kept, 1).astype(dtype))
    return jnp.where(under, 0.0, scaled).astype(x.dtype)
