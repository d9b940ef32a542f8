"""How fast is a sequence of linear systems solved by one compiled loop, against scipy's GMRES on the same systems?

Darcy flow on a grid in float64, all systems to the same relative residual. scipy gets sparse matrices that stand ready;
a jaxlab entry is one compiled program for the whole sequence, with products by stencils. GCRO-DR takes the systems in
the order of nearest neighbours, which is part of its work.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from scipy.sparse.linalg import gmres

from experiments import darcy
from experiments.benchmarks.harness import Entry, Race, Report, Result, Target, Timing, as_set, compare, race
from jaxlab import optim, selection

__all__ = ["QUICK", "Config", "run"]


@dataclasses.dataclass(frozen=True)
class Config:
    """What is raced."""

    sizes: tuple[int, ...] = (24, 48)
    """Interior nodes along each side of the grid."""
    systems: int = 40
    restart: int = 40
    num_recycle: int = 20
    tol: float = 1e-8
    max_restarts: int = 60
    repeats: int = 5
    """Runs of every entry."""

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 2 or self.systems < 2:
            raise ValueError(f"--sizes and --systems must be at least 2, got {self.sizes} and {self.systems}.")
        if not 0 < self.num_recycle < self.restart:
            raise ValueError(f"--num-recycle must lie in (0, restart), got {self.num_recycle} and {self.restart}.")
        if self.repeats < 1:
            raise ValueError(f"--repeats must be at least 1, got {self.repeats}.")


QUICK = {"sizes": (6, 8), "systems": 3, "restart": 12, "num_recycle": 5, "repeats": 2}

SCIPY, OURS, RECYCLED = "scipy gmres", "jaxlab gmres", "jaxlab gcrodr_sequence"
TARGET_SIZE = 24


class Sequence(NamedTuple):
    """The same systems in both forms; the right-hand sides are 1."""

    fields: np.ndarray  # logarithms of permeabilities
    faces: darcy.Faces
    matrices: list[scipy.sparse.csr_matrix]


class Solved(NamedTuple):
    """Solutions [T, N] and the products spent on each system."""

    x: Any
    products: Any


def run(config: Config, say: Callable[[str], None]) -> Report:
    """Races every size."""
    results = []
    with jax.enable_x64(True):
        for size in sorted(set(config.sizes)):
            say(f"{size}: making {config.systems} systems")
            sequence = make_sequence(config, size)
            work = f"{config.systems} systems of {size**2} unknowns, restart {config.restart}, to {config.tol:g}"
            contest = Race(size, work, _entries(config, sequence))
            timings = race(contest, repeats=config.repeats, say=say)
            results.append(Result(size, work, [t._replace(facts=_facts(sequence, t.output)) for t in timings]))
    notes = (
        "products: with the matrix, per system, everything counted; residual: the largest ||b - A x|| / ||b||",
        "scipy's products are its steps and one for every restart.",
    )
    return Report("size", results, _targets(config, results), notes)


def make_sequence(config: Config, size: int) -> Sequence:
    """Systems of random fields."""
    fields = darcy.gaussian_fields(jax.random.key(0), config.systems, size)
    faces = jax.jit(jax.vmap(darcy.faces))(jnp.exp(fields))
    return Sequence(np.asarray(fields), faces, [_sparse(*pair) for pair in zip(*map(np.asarray, faces), strict=True)])


def _sparse(rows: np.ndarray, columns: np.ndarray) -> scipy.sparse.csr_matrix:
    size = rows.shape[1]
    beside, below = columns[:, 1:-1], rows[1:-1].ravel()
    right = np.concatenate([beside, np.zeros((size, 1))], axis=1).ravel()[:-1]  # no neighbour across the border
    diagonal = (rows[:-1] + rows[1:] + columns[:, :-1] + columns[:, 1:]).ravel()
    bands = [-below, -right, diagonal, -right, -below]
    return scipy.sparse.diags(bands, [-size, -1, 0, 1, size], format="csr")


def _entries(config: Config, sequence: Sequence) -> list[Entry]:
    return [
        Entry(SCIPY, lambda: functools.partial(_scipy, config, sequence)),
        Entry(OURS, lambda: _compiled(config, sequence, 0)),
        Entry(RECYCLED, lambda: _compiled(config, sequence, config.num_recycle)),
    ]


def _scipy(config: Config, sequence: Sequence) -> Solved:
    b = np.ones(sequence.matrices[0].shape[0])
    found, products = [], []
    for matrix in sequence.matrices:
        norms: list[float] = []
        options = {"restart": config.restart, "maxiter": config.max_restarts, "rtol": config.tol}
        x, _ = gmres(matrix, b, callback=norms.append, callback_type="pr_norm", **options)
        found.append(x)
        products.append(len(norms) + -(-len(norms) // config.restart))
    return Solved(np.stack(found), np.array(products))


def _compiled(config: Config, sequence: Sequence, num_recycle: int) -> Callable[[], Solved]:
    def solve(fields: Any, faces: darcy.Faces) -> Solved:
        x, _, info = optim.gcrodr_sequence(
            darcy.product,
            faces,
            jnp.ones((fields.shape[0], faces.rows.shape[-1] ** 2)),
            order=selection.greedy_nearest_order(fields) if num_recycle else None,
            restart=config.restart,
            num_recycle=num_recycle,
            tol=config.tol,
            max_restarts=config.max_restarts,
        )
        return Solved(x, info.matvecs)

    arguments = sequence.fields, sequence.faces
    compiled = jax.jit(solve).lower(*arguments).compile()
    return lambda: compiled(*arguments)


def _facts(sequence: Sequence, solved: Solved) -> dict[str, float]:
    left = [matrix @ x - 1 for matrix, x in zip(sequence.matrices, np.asarray(solved.x), strict=True)]
    largest = max(np.linalg.norm(residual) / np.sqrt(len(residual)) for residual in left)
    return {"products": float(np.mean(solved.products)), "residual": float(largest)}


def _targets(config: Config, results: list[Result]) -> list[Target]:
    """Set for the smaller grid of the whole sequence; every other run leaves them open."""
    judged = as_set(config, "sizes", "repeats")
    result = next((result for result in results if judged and result.size == TARGET_SIZE), None)
    found: dict[str, Timing] = {} if result is None else {timing.name: timing for timing in result.timings}

    def faster(name: str) -> float | None:
        return compare(found[SCIPY], found[name]).median if found else None

    at = f"at size {TARGET_SIZE}"
    return [Target(f"times faster than scipy, {name}, {at}", faster(name), ">=", 1.0) for name in (OURS, RECYCLED)]
