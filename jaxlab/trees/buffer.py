"""A memory of fixed size for items of any shape: the latest ones, or a uniform sample of all there were."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["Buffer", "BufferSample", "buffer_add", "buffer_filled", "buffer_init", "buffer_sample"]


class Buffer(NamedTuple):
    """A pytree with leading axis [capacity], and how many items were ever offered."""

    items: PyTree
    seen: Array  # int32


class BufferSample(NamedTuple):
    """Items [n, ...], where they lie in the buffer int32 [n], and whether there was one bool [n]."""

    items: PyTree
    index: Array  # type: ignore[assignment]
    valid: Array


def buffer_init(capacity: int, example: PyTree) -> Buffer:
    """An empty buffer for items like ``example``.

    Args:
      capacity: slots, static, >= 1.
      example: pytree of arrays, one item; only shapes and dtypes matter.
    Returns:
      Buffer filled with zeros.
    Raises:
      ValueError: capacity < 1.

    >>> print(buffer_init(3, {"x": jnp.ones(2)}).items["x"].shape)
    (3, 2)

    Reference: standard.
    """
    checks.size(capacity, "capacity")
    items = jax.tree.map(lambda leaf: jnp.zeros((capacity, *jnp.shape(leaf)), jnp.result_type(leaf)), example)
    return Buffer(items, jnp.zeros((), jnp.int32))


def buffer_filled(state: Buffer) -> Array:
    """Which slots hold an item.

    Args:
      state: the buffer.
    Returns:
      bool [capacity].

    >>> print(buffer_filled(buffer_add(buffer_init(3, jnp.zeros(())), jnp.array([5.0]))))
    [ True False False]

    Reference: standard.
    """
    return jnp.arange(_capacity(state)) < state.seen


def _capacity(state: Buffer) -> int:
    return jax.tree.leaves(state.items)[0].shape[0]


def buffer_add(
    state: Buffer, items: PyTree, *, where: ArrayLike | None = None, mode: str = "ring", key: Array | None = None
) -> Buffer:
    r"""Offers items to the buffer.

    "ring" keeps the latest ones. "reservoir" keeps a uniform sample without replacement of all that were ever offered:

    .. math:: \text{item } t \text{ goes to slot } t \text{ if } t < M, \text{ else to slot } u \sim U\{0, \dots, t\}
              \text{ if } u < M

    so that after t items each is there with probability M / t. The draw of an item depends on the key and on its
    number t: with one key for the whole stream, items in chunks end as items one by one.

    Args:
      state: the buffer of M slots.
      items: pytree like the buffer's, leading axis [B]; a later item counts as newer.
      where: bool [B], True where an item is offered.
      mode: "ring" or "reservoir", static.
      key: PRNG key, for the reservoir.
    Returns:
      Buffer.
    Raises:
      ValueError: the trees or shapes do not agree, an unknown mode, or a reservoir without a key.
      TypeError: a leaf of items is wider than the buffer's.

    >>> print(buffer_add(buffer_init(2, jnp.zeros(())), jnp.array([1.0, 2.0, 3.0])).items)
    [3. 2.]

    Reference: Vitter, "Random Sampling with a Reservoir" (1985), standard.
    """
    checks.one_of(mode, "mode", ("ring", "reservoir"))
    capacity, count = _capacity(state), _check_items(state, items)
    mask = checks.mask(where, "where", (count,))
    offered = jnp.ones(count, bool) if mask is None else mask
    number = state.seen + jnp.cumsum(offered.astype(jnp.int32)) - 1
    if mode == "ring":
        slot = number % capacity
    elif key is None:
        raise ValueError("key must be given for mode='reservoir', got None")
    else:
        draw = jax.vmap(lambda t: jax.random.randint(jax.random.fold_in(key, t), (), 0, t + 1))(jnp.maximum(number, 0))
        slot = jnp.where(number < capacity, number, draw)
    slot = jnp.where(offered & (slot < capacity), slot, capacity)
    # Of several items for one slot the newest wins: the others are dropped, as a scatter knows no order.
    row = jnp.arange(count)
    newest = jnp.full(capacity + 1, -1).at[slot].max(row)
    slot = jnp.where(newest[slot] == row, slot, capacity)
    kept = jax.tree.map(lambda old, new: old.at[slot].set(new.astype(old.dtype), mode="drop"), state.items, items)
    return Buffer(kept, state.seen + jnp.sum(offered, dtype=jnp.int32))


def _check_items(state: Buffer, items: PyTree) -> int:
    wanted, got = jax.tree.structure(state.items), jax.tree.structure(items)
    if str(got) != str(wanted):
        raise ValueError(f"items must be a tree like the buffer's, {wanted}, got {got}")
    counts = set()
    for (path, old), new in zip(jax.tree.leaves_with_path(state.items), jax.tree.leaves(items), strict=True):
        name = "items" + jax.tree_util.keystr(path)
        if jnp.shape(new)[1:] != old.shape[1:] or jnp.ndim(new) != old.ndim:
            raise ValueError(f"{name} must have shape [B, ...] with items {list(old.shape[1:])}, got {jnp.shape(new)}")
        checks.not_wider(jnp.asarray(new), name, old.dtype, state="the buffer")
        counts.add(jnp.shape(new)[0])
    if len(counts) != 1:
        raise ValueError(f"items must share their leading axis, got lengths {sorted(counts)}")
    return counts.pop()


def buffer_sample(state: Buffer, key: Array, n: int, *, weights: ArrayLike | None = None) -> BufferSample:
    r"""Draws items that are there, with replacement.

    .. math:: P(i) = w_i \Big/ \sum_{j \text{ filled}} w_j

    Args:
      state: the buffer.
      key: PRNG key.
      n: number of draws, static, >= 1.
      weights: float [capacity], >= 0, of the slots; None is uniform. Weights of empty slots do not matter.
    Returns:
      BufferSample; from a buffer without items, or whose weights are all 0, zeros that are not valid.
    Raises:
      ValueError: n < 1, or weights are not [capacity].
      TypeError: weights are not floating point.

    >>> buffer = buffer_add(buffer_init(3, jnp.zeros(())), jnp.array([5.0, 6.0]))
    >>> print(buffer_sample(buffer, jax.random.key(0), 2, weights=jnp.array([0.0, 1.0, 1.0])).items)
    [6. 6.]

    Reference: standard.
    """
    capacity = _capacity(state)
    checks.size(n, "n")
    shares = jnp.ones(capacity) if weights is None else checks.floating(weights, "weights")
    if shares.shape != (capacity,):
        raise ValueError(f"weights must have shape {[capacity]}, one per slot, got {list(shares.shape)}")
    shares = shares.astype(accumulation_dtype(shares))
    possible = buffer_filled(state) & (shares > 0)
    logits = jnp.where(possible, jnp.log(jnp.where(possible, shares, 1.0)), -jnp.inf)
    index = jax.random.categorical(key, logits, shape=(n,)).astype(jnp.int32)
    valid = jnp.full(n, jnp.any(possible))
    index = jnp.where(valid, index, 0)

    def take(leaf: Array) -> Array:
        taken = leaf[index]
        return jnp.where(valid.reshape(-1, *(1,) * (taken.ndim - 1)), taken, jnp.zeros((), leaf.dtype))

    return BufferSample(jax.tree.map(take, state.items), index, valid)
