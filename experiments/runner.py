"""What every question is written against: methods, the run that measures them, and many seeds in one program.

A question module holds a docstring (its first line is the question), a frozen ``Config``, ``QUICK``, ``DATASETS``,
``METHODS``, ``CLAIMS``, ``run(config, run)``, where useful ``plot(result)`` and ``SEED_SCOPE``; see
``experiments.class_incremental``.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments import ledger
from experiments.claims import Claim
from experiments.data import Dataset
from experiments.errors import UserError
from experiments.ledger import Measured, Result
from jaxlab import deploy

__all__ = [
    "Claim",
    "Common",
    "Dataset",
    "Measured",
    "Method",
    "Result",
    "Run",
    "UserError",
    "make_mesh",
    "over_seeds",
    "select",
]


@dataclasses.dataclass(frozen=True)
class Common:
    """The options that every question takes."""

    QUICK: ClassVar[dict[str, Any]] = {"seeds": 2}  # what --quick changes here, as QUICK of a module does in its Config

    dataset: str | None = None
    """Name of a data set of this question; the first one unless given."""
    data: pathlib.Path | None = None
    """Your own data instead: a .npz file with x (features or images) and y (integers)."""
    methods: str | None = None
    """Which rows, separated by commas; all unless given."""
    first: int | None = None
    """Only the first so many of them."""
    seeds: int = 5
    """How many seeds; two in a quick run unless given. The claims need two or more."""
    quick: bool = False
    """A small run, to see that everything works; it judges no claim."""
    out: pathlib.Path | None = None
    """Folder of the results; out/NAME-DATASET unless given."""
    resume: bool = False
    """Keep the rows that an earlier run has finished in that folder."""
    mesh: int | None = None
    """Shard over this many devices."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A row: its name, the paper's id (None for a baseline), what computes it, and a remark for the table."""

    name: str
    paper: int | None
    fn: Callable[..., Any]
    note: str = ""


def select(methods: Sequence[Method], wanted: str | None, first: int | None = None) -> list[Method]:
    """The methods named in ``wanted``, in its order; all if it is None; at most ``first`` of them.

    Raises:
      UserError: a name is unknown, or there is none, or first < 1.
    """
    if first is not None:
        if first < 1:
            raise UserError(f"--first must be at least 1, got {first}.")
        return select(methods, wanted)[:first]
    if wanted is None:
        return list(methods)
    by_name = {method.name: method for method in methods}
    names = dict.fromkeys(name for part in wanted.split(",") if (name := part.strip()))
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        problem = f"Unknown method {', '.join(unknown)}" if unknown else "--methods names no method"
        raise UserError(f"{problem}: choose from {', '.join(by_name)}.")
    return [by_name[name] for name in names]


def make_mesh(devices: int | None) -> Mesh | None:
    """A mesh of that many devices on one axis ``data``; on the CPU they are made if jax has not started yet.

    Raises:
      UserError: there are not so many devices.
    """
    if devices is None:
        return None
    if devices < 1:
        raise UserError(f"--mesh must be at least 1, got {devices}.")
    with contextlib.suppress(RuntimeError):  # once jax has started, the devices are what they are
        jax.config.update("jax_num_cpu_devices", devices)
    found = jax.devices()
    if len(found) < devices:
        hint = f" Set JAX_NUM_CPU_DEVICES={devices} before Python starts." if found[0].platform == "cpu" else ""
        raise UserError(f"--mesh {devices} needs {devices} devices, but jax sees {len(found)}.{hint}")
    return deploy.mesh(devices, "data")


def over_seeds(
    fn: Callable[..., Any], *args: Any, mode: Literal["vmap", "map"] = "vmap", shared: tuple[Any, ...] = ()
) -> Measured:
    """``fn`` for every seed in one compiled program, compiled ahead of time so that both times are known.

    Args:
      fn: ``fn(*args of one seed, *shared)`` -> metrics (a dict of scalars) or (metrics, curves).
      *args: pytrees whose leaves all have a leading axis of seeds (typed keys too).
      mode: ``vmap`` (all seeds at once) or ``map`` (one after the other, in less memory).
      shared: pytrees that every seed sees whole, such as the data: as arguments they are not baked into the program.
    Returns:
      ``Measured`` with metrics [S], curves [S, ...] and the seconds of ``compile`` and ``run``.
    """
    if mode not in ("vmap", "map"):
        raise ValueError(f"mode must be 'vmap' or 'map', got {mode!r}")
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(args)}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(f"all leaves of args must share a leading axis of seeds, got {sorted(sizes)}")

    def all_seeds(args: Any, shared: Any) -> Any:
        one_seed = functools.partial(_pair, fn, shared)
        return jax.vmap(one_seed)(args) if mode == "vmap" else jax.lax.map(one_seed, args)

    start = time.perf_counter()
    program = jax.jit(all_seeds).lower(args, shared).compile()
    compiled = time.perf_counter()
    metrics, curves = jax.block_until_ready(program(args, shared))
    timings = {"compile": compiled - start, "run": time.perf_counter() - compiled}
    return Measured(jax.tree.map(np.asarray, metrics), jax.tree.map(np.asarray, curves), timings)


def _pair(fn: Callable[..., Any], shared: tuple[Any, ...], args: tuple[Any, ...]) -> tuple[Any, Any]:
    measured = fn(*args, *shared)
    return measured if isinstance(measured, tuple) else (measured, {})


class Run:
    """One run of one question: the data, the keys, the rows as they finish.

    Attributes:
      common: the options.
      result: what has been measured so far.
      mesh: the mesh of ``--mesh``, or None.
      asset_root: the folder where ``experiments.asset`` keeps what is trained once.
    """

    def __init__(
        self,
        common: Common,
        result: Result,
        todo: Sequence[Method],
        *,
        data: Dataset | None = None,
        mesh: Mesh | None = None,
        progress: Any = None,
        write: Callable[[], None] = lambda: None,
    ) -> None:
        self.common, self.result, self.mesh = common, result, mesh
        self._todo, self._data, self._progress, self._write = list(todo), data, progress, write
        cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        self.asset_root = pathlib.Path(cache) / "jaxlab" / "assets"

    @property
    def seeds(self) -> int:
        """How many seeds."""
        return self.common.seeds

    @property
    def quick(self) -> bool:
        """True in a quick run."""
        return self.common.quick

    def data(self) -> Dataset:
        """The data set, checked."""
        if self._data is None:
            raise ValueError("this question names no DATASETS")
        return self._data

    def seed_keys(self) -> jax.Array:
        """Typed keys [S]: seed i has ``jax.random.key(i)``, however many seeds there are."""
        return jax.vmap(jax.random.key)(jnp.arange(self.seeds))

    def progress(self, description: str) -> None:
        """Says what is going on now."""
        if self._progress:
            self._progress.say(description)

    def todo(self, methods: Iterable[Method]) -> list[Method]:
        """Those of ``methods`` that ``rows`` will measure: selected, and not finished by the run that is resumed."""
        known = {method.name: method for method in methods}
        return [known[method.name] for method in self._todo if method.name in known]

    def rows(self, methods: Iterable[Method], measure: Callable[[Method], Measured]) -> None:
        """Measures each method and writes its row to disk at once.

        An exception or a value that is not finite is recorded as the row's error, and the others go on.
        """
        for method in self.todo(methods):
            self._todo.remove(method)
            self.progress(method.name)
            try:
                ledger.record(self.result, method.name, measure(method))
            except UserError:
                raise
            except Exception as error:  # a row that breaks must not cost the other rows
                ledger.drop(self.result, method.name)
                ledger.record_error(self.result, method.name, error)
            self._write()
            if self._progress:
                self._progress.advance(self.result, method.name)

    def shard(self, tree: Any, axis: int = 0) -> Any:
        """The arrays with ``axis`` spread over the mesh; unchanged without ``--mesh``.

        Raises:
          UserError: the mesh does not divide the axis.
          ValueError: an array has no such axis.
        """
        mesh = self.mesh
        if mesh is None:
            return tree
        size = mesh.size

        def put(leaf: Any) -> jax.Array:
            shape = jnp.shape(leaf)
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"axis must be an axis of every array, got axis {axis} and an array {list(shape)}")
            place = axis % len(shape)
            if shape[place] % size:
                padded = -(-shape[place] // size) * size
                raise UserError(
                    f"--mesh {size} does not divide axis {place} of an array {list(shape)}: choose a number of devices "
                    f"that divides {shape[place]}, or pad it to {padded} and mask, as jaxlab.deploy.shard_batch does."
                )
            spec = PartitionSpec(*(None,) * place, "data")
            return jax.device_put(leaf, NamedSharding(mesh, spec))

        return jax.tree.map(put, tree)
