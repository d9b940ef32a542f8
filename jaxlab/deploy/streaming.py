"""A fold over a long stream that may be killed at any moment and goes on where it was."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from jaxlab import checks
from jaxlab.deploy.checkpoints import DamagedCheckpointError, check_saveable, on_disk, read
from jaxlab.deploy.sharding import check_like
from jaxlab.typing import PyTree

__all__ = ["resumable_fold"]

Chunks = Sequence[PyTree] | Callable[[int], PyTree]


def resumable_fold(
    step: Callable[[PyTree, PyTree], PyTree],
    state: PyTree,
    chunks: Chunks,
    directory: str | os.PathLike[str],
    *,
    num_chunks: int | None = None,
    every: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> PyTree:
    """The fold ``state = step(state, chunk)`` over all chunks, with its state on disk.

    Called again with the same directory, it goes on after the last chunk that was saved; the result is bit for bit that
    of a run without interruption, if the chunks are the same, on the same kind and number of devices. Called again when
    all is done, it returns the saved result.

    ``step`` is compiled here, once for each shape of a chunk, and its state is donated (updated in place): give it
    without ``jit``. The initial state is copied first, so the caller's stays valid. The two latest states stay in the
    directory; if the files of the latest are damaged, the one before is taken.

    Args:
      step: pure function ``(state, chunk) -> state`` that ``jax.jit`` can compile.
      state: the initial state, a pytree of arrays and typed PRNG keys; on a mesh, put there before (``replicate``).
      chunks: a sequence of pytrees of arrays, or a function of the index ``i`` that reads the i-th. An iterator will
        not do: it cannot start in the middle.
      directory: folder of this run, made if needed; one run only.
      num_chunks: how many, if chunks is a function.
      every: save after so many chunks (and after the last one).
      progress: called with ``(chunks done, num_chunks)`` at the start and after every chunk.
    Returns:
      The final state.
    Raises:
      ValueError: the directory holds the state of another tree (each difference is named) or of a longer stream, all
        its states are damaged, step changes a shape or dtype of the state, num_chunks is missing, or every < 1.
      TypeError: chunks is neither a sequence nor a function, or the state holds something else than arrays.

    >>> import tempfile
    >>> chunks = [jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]), jnp.array([5.0, 6.0])]
    >>> directory = tempfile.mkdtemp()
    >>> add = lambda total, chunk: total + chunk.sum()
    >>> print(resumable_fold(add, jnp.zeros(()), chunks[:2], directory))
    10.0
    >>> print(resumable_fold(add, jnp.zeros(()), chunks, directory, progress=print))
    2 3
    3 3
    21.0

    Reference: standard (engineering, no paper).
    """
    import orbax.checkpoint as ocp

    chunk, total = _reader(chunks, num_chunks)
    checks.at_least(every, "every", 1)
    check_saveable(state)
    state = jax.tree.map(jnp.copy, state)
    folder = pathlib.Path(directory).expanduser().resolve()
    # Not asynchronous: the next step overwrites the donated state.
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    # The state stays on the mesh as it is: a compiler that moved it would make a resumed run another program.
    placed = jax.tree.map(lambda x: x.sharding if isinstance(x.sharding, NamedSharding) else None, state)
    compiled = jax.jit(step, donate_argnums=0, out_shardings=placed)
    with ocp.CheckpointManager(folder, options=options) as manager:
        last, state = _latest(manager, folder, state)
        if last >= total:
            raise ValueError(f"{folder} holds a run over more chunks ({last + 1} done) than the {total} given now")
        if progress is not None:
            progress(last + 1, total)
        for index in range(last + 1, total):
            piece = chunk(index)
            if index == last + 1:
                check_like(compiled.eval_shape(state, piece), state, "step must return a state like its first argument")
            state = compiled(state, piece)
            if (index + 1) % every == 0 or index + 1 == total:
                manager.save(index, args=ocp.args.StandardSave(on_disk(state)))
            if progress is not None:
                progress(index + 1, total)
    return state


def _reader(chunks: Chunks, num_chunks: int | None) -> tuple[Callable[[int], PyTree], int]:
    if callable(chunks):
        if num_chunks is None:
            raise ValueError("num_chunks must be given when chunks is a function")
        return chunks, int(checks.at_least(num_chunks, "num_chunks", 0))
    if not (hasattr(chunks, "__len__") and hasattr(chunks, "__getitem__")):
        raise TypeError(
            f"chunks must be a sequence or a function of the index, got {type(chunks).__name__}: a run that resumes "
            "must be able to read the i-th chunk"
        )
    if num_chunks is not None and num_chunks != len(chunks):
        raise ValueError(f"num_chunks is {num_chunks}, but chunks has {len(chunks)}")
    return chunks.__getitem__, len(chunks)


def _latest(manager: Any, folder: pathlib.Path, state: PyTree) -> tuple[int, PyTree]:
    """Index and state of the last chunk that can be read; -1 and the given state at the start."""
    steps = sorted(manager.all_steps(), reverse=True)
    damage = None
    for step in steps:
        try:
            restored = read(folder / str(step) / "default", state)
        except DamagedCheckpointError as error:
            damage = error
            continue
        for broken in (later for later in steps if later > step):
            manager.delete(broken)
        return step, restored
    if damage is not None:
        raise ValueError(f"no state in {folder} can be read; delete it to start again. {damage}") from damage
    return -1, state
