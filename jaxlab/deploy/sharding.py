"""States and streams on a mesh of devices, on one host or several.

The batch is split along its leading axis, the state is kept whole on every device. Under ``jit`` that is all: the
compiler adds the sums over devices. Inside ``jax.shard_map`` each device updates its own state and ``reduce_state``
merges them.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxlab import checks
from jaxlab.checks import is_key
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["mesh", "reduce_state", "replicate", "shard_batch"]


def mesh(shape: int | Sequence[int], names: str | Sequence[str]) -> Mesh:
    """A mesh of devices whose axes the compiler may use freely (``AxisType.Auto``).

    ``jax.make_mesh`` makes Explicit axes unless told otherwise, and code without sharding rules then fails.

    Args:
      shape: devices along each axis; an int for one axis. One entry may be -1: all devices that remain.
      names: a name for each axis.
    Returns:
      The mesh, over the devices of all hosts.
    Raises:
      ValueError: shape and names differ in length, a size is not positive, or there are not that many devices.

    >>> dict(mesh(1, "data").shape)
    {'data': 1}

    Reference: standard (engineering, no paper).
    """
    sizes = [shape] if isinstance(shape, int) else list(shape)
    axes = (names,) if isinstance(names, str) else tuple(names)
    if len(sizes) != len(axes) or not axes:
        raise ValueError(f"mesh needs one name for each axis, got shape {sizes} and names {axes}")
    available = jax.device_count()
    given = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and given > 0:
        sizes[sizes.index(-1)] = max(1, available // given)
    if any(not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(f"the sizes of a mesh must be positive, at most one of them -1 (the rest), got {shape}")
    if math.prod(sizes) > available:
        raise ValueError(
            f"a mesh of shape {sizes} needs {math.prod(sizes)} devices, there are {available} "
            f"({jax.default_backend()}); for virtual ones on the CPU set the environment variable "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={math.prod(sizes)} before jax is imported, or call "
            f"jax.config.update('jax_num_cpu_devices', {math.prod(sizes)}) before jax is used"
        )
    return jax.make_mesh(tuple(sizes), axes, axis_types=(AxisType.Auto,) * len(axes))


def replicate(mesh: Mesh, tree: PyTree) -> PyTree:
    """The tree with every leaf whole on every device of the mesh.

    Put the initial state of a fold there, or the first step is compiled once more than the others. The result is a
    copy, leaf by leaf, so it may be donated. With several hosts every process must call it with the same values.

    Args:
      mesh: from ``mesh``.
      tree: pytree of arrays (typed PRNG keys too) or numbers.
    Returns:
      The tree of arrays, sharded by ``PartitionSpec()``.

    >>> print(replicate(mesh(1, "data"), jnp.arange(3)))
    [0 1 2]

    Reference: standard (engineering, no paper).
    """
    sharding = NamedSharding(mesh, PartitionSpec())

    def place(leaf: Any) -> Array:
        if is_key(leaf):  # which device_put does not spread over hosts
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        # device_put shares memory with the original, and between leaves that are one array; donating that is a crash.
        return jnp.copy(jax.device_put(leaf, sharding))

    return jax.tree.map(place, tree)


def shard_batch(
    mesh: Mesh,
    tree: PyTree,
    *,
    axis_name: str | tuple[str, ...],
    where: ArrayLike | None = None,
    rows: int | None = None,
) -> tuple[PyTree, Array]:
    """A batch split over the devices along its leading axis, filled up with zero rows, and the mask of its true rows.

    On one host the batch is the whole batch. With several hosts (``jax.distributed``) every process gives the rows for
    its own devices, and all must give the same number: where they do not, give ``rows``, the same everywhere.

    Args:
      mesh: from ``mesh``.
      tree: pytree of arrays of numbers [N, ...] with one N.
      axis_name: the axis of the mesh (or several) over which the rows are split.
      where: bool [N], True for the rows that count; None means all.
      rows: fill up to this many rows (of this process), at least N; so a short last batch needs no new compilation.
    Returns:
      The tree of arrays [M, ...], and bool [M], True for the true rows that ``where`` marks. M is N, or rows, filled up
      to a multiple of this process's devices along axis_name; with several processes, the sum over them.
    Raises:
      ValueError: the mesh has no such axis or no device of this process, leading axes differ, there is no leaf,
        rows < N, or where is not [N].
      TypeError: a leaf is not an array of numbers, or where is not boolean.

    >>> batch, where = shard_batch(mesh(1, "data"), {"x": jnp.ones((3, 2))}, axis_name="data", rows=4)
    >>> batch["x"].shape, where.tolist()
    ((4, 2), [True, True, True, False])

    Reference: standard (engineering, no paper).
    """
    axes = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name)
    for axis in axes:
        checks.one_of(axis, "axis_name", mesh.axis_names)
    count = _leading_axis(tree)
    true_rows = checks.mask(where, "where", (count,))
    if rows is not None and rows < count:
        raise ValueError(f"rows must be at least the {count} rows of the batch, got {rows}")
    sharding = NamedSharding(mesh, PartitionSpec(axes))
    here = _local_parts(sharding, math.prod(mesh.shape[axis] for axis in axes))
    size = -(-max(count, rows or 0) // here) * here

    def place(leaf: Any) -> Array:
        padding = [(0, size - count)] + [(0, 0)] * (leaf.ndim - 1)
        # Host arrays stay on the host until they are cut into shards: one device need not hold the whole batch.
        padded = leaf if size == count else (np if isinstance(leaf, np.ndarray) else jnp).pad(leaf, padding)
        return jax.make_array_from_process_local_data(sharding, padded)

    counts = np.ones(count, bool) if true_rows is None else np.asarray(true_rows)
    return jax.tree.map(place, tree), place(counts)


def _local_parts(sharding: NamedSharding, parts: int) -> int:
    """Into how many of the parts along its axis a sharding cuts what this process holds."""
    slices = sharding.addressable_devices_indices_map((parts,)).values()
    here = len({part[0].indices(parts) for part in slices if part is not None})
    if here == 0:
        raise ValueError("mesh holds no device of this process: make it over the devices of all processes")
    return here


def _leading_axis(tree: PyTree) -> int:
    sizes = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = f"tree{jax.tree_util.keystr(path)}"
        if not isinstance(leaf, (np.ndarray, jax.Array)) or is_key(leaf):
            raise TypeError(f"{name} must be an array of numbers, got {type(leaf).__name__} {leaf!r}")
        if leaf.ndim == 0:
            raise ValueError(f"{name} must have a leading axis of rows, got a scalar")
        sizes[name] = leaf.shape[0]
    if len(set(sizes.values())) != 1:
        raise ValueError(f"the leaves of tree must have the same number of rows, got {sizes or 'no leaves'}")
    return next(iter(sizes.values()))


def reduce_state(state: PyTree, axis_name: str, merge: Callable[[PyTree, PyTree], PyTree]) -> PyTree:
    """The states of all devices along an axis, merged in the order of the devices; every device gets the same result.

    For use inside ``jax.shard_map`` (or ``vmap`` / ``pmap`` with an axis name). A plain ``psum`` is right for sums
    only: it would multiply a fixed shift by the number of devices, and lose the low words of two-float sums.

    The merges form a binary tree in ceil(log2 n) exchanges, then the first device's result goes to all: memory for a
    few states, whatever n is. The order is fixed, so the result is the same from run to run.

    Args:
      state: pytree of arrays of numbers, this device's.
      axis_name: the mapped axis.
      merge: associative, ``merge(earlier, later)``, with results shaped like the state; need not commute.
    Returns:
      The merged state, equal on all devices (under ``shard_map`` it may leave with ``out_specs=PartitionSpec()``).
    Raises:
      ValueError: merge returns another structure, shape or dtype.

    >>> from functools import partial
    >>> total = partial(reduce_state, axis_name="data", merge=jnp.add)
    >>> print(jax.vmap(total, axis_name="data")(jnp.array([1.0, 2.0, 3.0])))
    [6. 6. 6.]

    Reference: standard (binomial tree reduction).
    """
    count, index = jax.lax.axis_size(axis_name), jax.lax.axis_index(axis_name)
    check_like(jax.eval_shape(merge, state, state), state, "merge must return a state like its arguments")
    step = 1
    while step < count:
        receives = (index % (2 * step) == 0) & (index + step < count)
        # All devices send, though few results are kept: so merge never sees the zeros of a device that got nothing.
        later = jax.lax.ppermute(state, axis_name, [((i + step) % count, i) for i in range(count)])
        state = jax.tree.map(partial(jnp.where, receives), merge(state, later), state)
        step *= 2
    return jax.tree.map(lambda x: _from_first(x, index, axis_name), state)


def _from_first(x: Array, index: Array, axis_name: str) -> Array:
    """Device 0's value everywhere. A sum, because only its result counts as equal on all devices under shard_map."""
    summand = jnp.where(index == 0, x, jnp.zeros_like(x))
    if summand.dtype == jnp.bool_:
        return jax.lax.psum(summand.astype(jnp.int32), axis_name).astype(jnp.bool_)
    return jax.lax.psum(summand, axis_name)


def check_like(tree: PyTree, like: PyTree, what: str) -> None:
    """Raises ValueError unless both trees have the same structure, shapes and dtypes."""

    def describe(tree: PyTree) -> Any:
        return jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", tree)

    got, expected = describe(tree), describe(like)
    if got != expected:
        raise ValueError(f"{what}, {expected}, got {got}")
