"""States on disk, by orbax: saved whole or not at all, restored only where they fit.

orbax alone restores a checkpoint of another tree as None, casts another dtype, and gives keys of another PRNG, all
without a word; so ``restore`` compares before it reads.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.checks import is_key
from jaxlab.typing import PyTree

__all__ = ["restore", "save"]

Path = str | os.PathLike[str]


class DamagedCheckpointError(ValueError):
    """The files of a checkpoint cannot be read (as opposed to: they hold another tree)."""


def save(path: Path, tree: PyTree, *, overwrite: bool = False) -> None:
    """Writes a pytree to a new folder and returns when it is there.

    A crash at any moment leaves either no folder or a whole one; with ``overwrite``, the old tree or the new one. With
    several hosts every process calls it, with the same path on a shared file system and a tree on a mesh of all hosts
    (``replicate``, ``shard_batch``).

    Args:
      path: the folder to make.
      tree: pytree of arrays (any dtype, sharded or not), typed PRNG keys, numbers and None.
      overwrite: replace an existing checkpoint.
    Returns:
      None, when the files are complete.
    Raises:
      FileExistsError: path exists and overwrite is False.
      ValueError: a leaf has no elements, or two leaves have the same name on disk.
      TypeError: a leaf is not an array or a number.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "state"
    >>> save(folder, {"weight": jnp.ones(3), "bias": None})
    >>> restore(folder, {"weight": jnp.zeros(3), "bias": None})
    {'bias': None, 'weight': Array([1., 1., 1.], dtype=float32)}

    Reference: standard (engineering, no paper).
    """
    import orbax.checkpoint as ocp

    check_saveable(tree)
    target = _absolute(path)
    beside, old = _sibling(target, "new"), _sibling(target, "old")
    if _first_process():
        _finish_swap(target)
    _barrier(f"save {target}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists: choose another path, or save(..., overwrite=True) to replace it")
    replacing = target.exists()
    if replacing and _first_process():
        shutil.rmtree(beside, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(beside if replacing else target, on_disk(tree))
        checkpointer.wait_until_finished()
    if replacing and _first_process():
        target.rename(old)
        beside.rename(target)
        shutil.rmtree(old)
    _barrier(f"saved {target}")


def restore(path: Path, like: PyTree) -> PyTree:
    """The pytree in a checkpoint, bit for bit, if it is a tree like the one given.

    Args:
      path: the folder that ``save`` made.
      like: a pytree of the same structure, with arrays, numbers or ``jax.ShapeDtypeStruct`` as leaves: what a fresh
        state looks like. Arrays come back with the sharding of the array in ``like``; without one, on one device, from
        which ``jit`` moves them to the others it gets.
    Returns:
      The saved pytree.
    Raises:
      FileNotFoundError: there is nothing at path.
      ValueError: the saved tree differs (each missing or unexpected leaf, shape, dtype and PRNG is named), or its files
        are damaged.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "state"
    >>> save(folder, {"weight": jnp.ones(3)})
    >>> restore(folder, {"weight": jax.ShapeDtypeStruct((3,), jnp.float32)})["weight"].sum()
    Array(3., dtype=float32)

    Reference: standard (engineering, no paper).
    """
    target = _absolute(path)
    # A replacement that was killed between its two renames left the old tree under its other name.
    for folder in (target, _sibling(target, "old")):
        if folder.is_dir():
            return read(folder, like)
    raise FileNotFoundError(f"there is no checkpoint at {target}")


# --- one layout and one check, shared with the checkpoints of a running fold


def on_disk(tree: PyTree) -> dict[str, PyTree]:
    """What is handed to orbax, which takes no bare array: the tree under one name."""
    return {"tree": tree}


def check_saveable(tree: PyTree) -> None:
    """Raises TypeError or ValueError for what orbax would refuse late, or mix up."""
    seen: dict[str, str] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        where = f"tree{jax.tree_util.keystr(path)}"
        if not isinstance(leaf, (bool, int, float, np.ndarray, np.generic, jax.Array)):
            raise TypeError(f"{where} must be an array or a number, got {type(leaf).__name__} {leaf!r}")
        if np.size(leaf) == 0:
            raise ValueError(f"{where} has no elements (shape {list(np.shape(leaf))}), which orbax cannot save")
        # orbax names the file of a leaf by its keys joined with dots, and does not notice when two are the same.
        other = seen.setdefault(_name(path), where)
        if other != where:
            raise ValueError(f"{other} and {where} have the same name on disk, {_name(path)!r}: rename a key")


def read(folder: pathlib.Path, like: PyTree) -> PyTree:
    """The tree in a folder that orbax wrote; ValueError if it is another tree, DamagedCheckpointError if unreadable."""
    import orbax.checkpoint as ocp

    handler = ocp.StandardCheckpointHandler()
    try:
        with _damage(folder):
            metadata = handler.metadata(folder).tree["tree"]
        _check(folder, _described(like), {_name(p): _saved(x) for p, x in _leaves(metadata)})
        target = ocp.args.StandardRestore(on_disk(_target(like)))
        with _damage(folder):
            tree = handler.restore(folder, args=target)["tree"]
    finally:
        handler.close()
    # The metadata call a typed key uint32; only the restored array says of which kind it is.
    _check(folder, _described(like, keys=True), _described(tree, keys=True))
    return jax.tree.map(_free, tree, like)


def _check(folder: pathlib.Path, expected: dict[str, tuple], found: dict[str, tuple]) -> None:
    lines = [f"{name}: missing in the checkpoint" for name in sorted(expected.keys() - found.keys())]
    lines += [f"{name}: only in the checkpoint" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        for what, want, got in zip(("shape", "dtype"), expected[name], found[name], strict=True):
            if want != got:
                lines.append(f"{name}: {what} {got} in the checkpoint, {want} expected")
    if lines:
        raise ValueError(f"the checkpoint {folder} holds another tree:\n  " + "\n  ".join(lines))


def _described(tree: PyTree, *, keys: bool = False) -> dict[str, tuple[list[int], str]]:
    """Shape and dtype of every leaf by name; typed keys as themselves, or as the integers they are saved as."""
    return {_name(path): _leaf(leaf, keys) for path, leaf in _leaves(tree)}


def _leaf(leaf: Any, keys: bool) -> tuple[list[int], str]:
    if is_key(leaf):
        if keys:
            return list(leaf.shape), str(leaf.dtype)
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return list(np.shape(leaf)), str(getattr(leaf, "dtype", None) or np.asarray(leaf).dtype)


def _saved(metadata: Any) -> tuple[list[int], str]:
    return list(metadata.shape), str(np.dtype(metadata.dtype))


def _target(like: PyTree) -> PyTree:
    """The tree with shapes, dtypes and shardings for leaves, as orbax wants it."""

    def abstract(leaf: Any) -> Any:
        if isinstance(leaf, (bool, int, float, np.ndarray, np.generic)):
            return leaf
        # Without a sharding orbax takes that of the process which saved, whose devices may not exist here.
        sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(abstract, like)


def _free(leaf: Any, like: Any) -> Any:
    """The leaf, tied to its devices only if ``like`` is: jit moves free arrays to where the others are."""
    tied = like.committed if isinstance(like, jax.Array) else getattr(like, "sharding", None) is not None
    if tied or not isinstance(leaf, jax.Array):
        return leaf
    if is_key(leaf):
        return jax.random.wrap_key_data(_free(jax.random.key_data(leaf), None), impl=jax.random.key_impl(leaf))
    return jnp.asarray(np.asarray(leaf))


def _leaves(tree: PyTree) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


@contextlib.contextmanager
def _damage(folder: pathlib.Path) -> Iterator[None]:
    """One name for what orbax raises about unreadable files: JSONDecodeError, KeyError, ..., there is no list of it."""
    try:
        yield
    except (MemoryError, PermissionError, jax.errors.JaxRuntimeError):  # not the fault of the files
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DamagedCheckpointError(
            f"the checkpoint {folder} is damaged and cannot be read ({type(error).__name__}: {reason})"
        ) from error


# --- replacing a folder


def _absolute(path: Path) -> pathlib.Path:
    return pathlib.Path(path).expanduser().resolve()


def _sibling(target: pathlib.Path, what: str) -> pathlib.Path:
    return target.with_name(f".{target.name}.{what}")


def _finish_swap(target: pathlib.Path) -> None:
    """Undoes or completes a replacement that was killed at its renames."""
    old = _sibling(target, "old")
    if old.exists() and not target.exists():
        old.rename(target)
    elif old.exists():
        shutil.rmtree(old)


def _first_process() -> bool:
    return jax.process_index() == 0


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
