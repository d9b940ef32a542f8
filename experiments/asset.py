"""What several questions share and takes long to make (a trained network) is made once and kept on disk.

An asset is described by a frozen dataclass with a ``name`` and a ``version`` (class attributes or fields). Raise the
version when the code that builds the asset changes.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from experiments.ledger import plain

try:
    import fcntl
except ImportError:  # Windows: two processes may build the same asset twice, the rename still keeps it whole
    fcntl = None  # type: ignore[assignment]

__all__ = ["asset", "key"]


def key(config: Any, *, data_digest: str = "") -> str:
    """What an asset is stored under: a hash of name, version, configuration, data and the minor version of jax."""
    if not dataclasses.is_dataclass(config) or not hasattr(config, "name") or not hasattr(config, "version"):
        raise TypeError(f"config must be a frozen dataclass with a name and a version, got {type(config).__name__}")
    parts = [config.name, config.version, plain(config), data_digest, jax.__version__.split(".")[:2]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:20]


def asset(
    config: Any,
    build: Callable[[Any], Any],
    root: str | os.PathLike[str],
    *,
    data_digest: str = "",
    like: Callable[[], Any] | None = None,
) -> Any:
    """The pytree ``build(config)``, from disk if it has been built before.

    Args:
      config: frozen dataclass with ``name`` and ``version``; its fields must decide the result, together with the data.
      build: makes the asset, a pytree of arrays.
      root: the folder of the cache, ``run.asset_root``.
      data_digest: ``Dataset.digest`` of the data that ``build`` sees, if it sees any.
      like: returns a pytree of the same structure, shapes and dtypes (``jax.ShapeDtypeStruct`` will do); tracing
        ``build`` gives it unless told, so it is needed only where ``build`` cannot be traced.
    Returns:
      The pytree. One that cannot be read back is built again.
    """
    from jaxlab import deploy

    folder = pathlib.Path(root).expanduser().resolve() / config.name
    target = folder / key(config, data_digest=data_digest)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        if target.exists():
            shape = like() if like is not None else jax.eval_shape(lambda: build(config))
            with contextlib.suppress(Exception):  # whatever reading a damaged asset raises, the cure is the same
                stored = deploy.restore(target, {"asset": shape, "digest": _digest(())})
                if np.array_equal(stored["digest"], _digest(stored["asset"])):
                    return stored["asset"]
            shutil.rmtree(target)
        tree = build(config)
        part = target.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
        deploy.save(part, {"asset": tree, "digest": _digest(tree)})
        os.rename(part, target)
    return tree


def _digest(tree: Any) -> np.ndarray:
    """sha256 of the values, uint8 [32]: the checkpoint's own checks let a flipped bit of an array pass."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        digest.update(np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    with open(path, "a") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, and so does the end of the process
