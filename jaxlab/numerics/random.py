"""Random numbers where every example has its own key: those of ``jax.random``, hashed in one pass.

On a CPU JAX compiles the threefry hash as a loop over its rounds, which passes over memory at each of them; with a key
per example and few numbers per key that was most of the time of a sampler. Written out, all rounds are one pass. The
numbers are the same bit by bit.
"""

import math

import jax
import jax.numpy as jnp

from jaxlab.typing import Array, ArrayLike

__all__ = ["folded", "normal"]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
ONE = 0x3F800000  # the bits of 1.0
LEAST = -(1.0 - 2.0**-24)  # the number after -1.0


def _plain(keys: Array) -> bool:
    """Whether these are threefry keys whose bits do not depend on how many are drawn (JAX's default)."""
    partitionable = bool(jax.config.jax_threefry_partitionable)  # type: ignore[attr-defined]
    return "fry" in str(keys.dtype) and partitionable


def _hash(keys: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds: key data [..., 2] and a counter of two words, broadcast together."""
    first, second = keys[..., 0], keys[..., 1]
    schedule = first, second, first ^ second ^ PARITY
    a, b = high + first, low + second
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << rotation) | (b >> (32 - rotation)))
        a, b = a + schedule[(group + 1) % 3], b + schedule[(group + 2) % 3] + (group + 1)
    return a, b


def folded(keys: Array, data: ArrayLike) -> Array:
    """Typed keys [B], each with the same number folded in: ``vmap(jax.random.fold_in)``."""
    if not _plain(keys):
        return jax.vmap(lambda key: jax.random.fold_in(key, data))(keys)
    number = jnp.asarray(data).astype(jnp.uint32)
    words = _hash(jax.random.key_data(keys), jnp.zeros_like(number), number)
    return jax.random.wrap_key_data(jnp.stack(words, axis=-1), impl=jax.random.key_impl(keys))


def normal(keys: Array, x: Array) -> Array:
    """Standard normal numbers shaped like x [B, ...], each row by its own key: ``vmap(jax.random.normal)``."""
    size = math.prod(x.shape[1:])
    if not _plain(keys) or x.dtype != jnp.float32 or size >= 2**32:
        return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)
    counter = jnp.arange(size, dtype=jnp.uint32)
    high, low = _hash(jax.random.key_data(keys)[:, None, :], jnp.zeros_like(counter), counter)
    # Uniform in (-1, 1) from the upper bits as a mantissa, then the quantile function.
    fraction = jax.lax.bitcast_convert_type(((high ^ low) >> 9) | ONE, jnp.float32) - 1.0
    uniform = jnp.maximum(LEAST, fraction * (1.0 - LEAST) + LEAST)
    return (math.sqrt(2.0) * jax.lax.erf_inv(uniform)).reshape(x.shape)
