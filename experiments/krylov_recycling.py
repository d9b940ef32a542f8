"""A sequence of similar linear systems: does recycling the search space pay, and does sorting them first?

Darcy flow through random ground on a grid, in float64: permeabilities that are exponentials of Gaussian fields, and a
family of three parameters. Every system is solved to the same relative residual by restarted GMRES or by GCRO-DR, which
hands a part of its search space on; sorted means that each system is followed by the one most like it. Two counts are
given: iterations, as published, and all products with the matrix, those for the images of what is carried over and for
the final check included.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import darcy, plots
from experiments.claims import difference, ratio
from experiments.runner import Claim, Measured, Method, Result, Run, over_seeds
from jaxlab import metrics, optim, selection
from jaxlab.optim import Recycle, SolveInfo
from jaxlab.typing import Array

SEED_SCOPE = "the systems"
KINDS = ("fields", "family")


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    size: int = 24
    """Interior nodes along each side: size^2 unknowns."""
    systems: int = 40
    """Length of the sequence."""
    restart: int = 40
    """Directions of a cycle."""
    num_recycle: int = 20
    """Directions that are carried over."""
    tol: float = 1e-8
    """Relative residual at which a system is solved."""
    max_restarts: int = 30
    """Cycles at most."""

    def __post_init__(self) -> None:
        if self.size < 2 or self.systems < 2:
            raise ValueError(f"size and systems must be at least 2, got {self.size} and {self.systems}")
        if not 0 < self.num_recycle < self.restart:
            raise ValueError(f"num_recycle must lie in (0, restart), got {self.num_recycle} and {self.restart}")


QUICK = {"size": 10, "systems": 6, "restart": 16, "num_recycle": 6}


class Systems(NamedTuple):
    """Systems with right-hand side 1, and an order in which neighbours are alike."""

    matrices: darcy.Faces  # leaves [T, ...]
    order: Array  # [T]


def make_sequences(config: Config, key: jax.Array) -> Systems:
    """Both kinds, leaves [2, T, ...]."""
    ours, theirs = jax.random.split(key)
    fields = darcy.gaussian_fields(ours, config.systems, config.size)
    params, family = darcy.family(theirs, config.systems, config.size)
    orders = [selection.greedy_nearest_order(values) for values in (fields, params)]
    return Systems(jax.vmap(darcy.faces)(jnp.exp(jnp.stack([fields, family]))), jnp.stack(orders))


def solve_all(
    config: Config, sequence: Systems, *, recycles: bool, in_order: bool, jacobi: bool, ritz: Any
) -> tuple[SolveInfo, Array]:
    """How each system ended, in the order of the solves, and how far its recycled space is from the one before."""
    unknowns = config.size**2
    matrices = jax.tree.map(lambda leaf: leaf[sequence.order], sequence.matrices) if in_order else sequence.matrices
    k = config.num_recycle if recycles else 0

    def solve_next(carried: Recycle, matrix: darcy.Faces) -> tuple[Recycle, tuple[SolveInfo, Array]]:
        diagonal = darcy.diagonal(matrix)
        _, recycle, info = optim.gcrodr(
            lambda x: darcy.product(matrix, x),
            jnp.ones(unknowns),
            carried,
            restart=config.restart,
            num_recycle=k,
            tol=config.tol,
            max_restarts=config.max_restarts,
            precond=(lambda x: x / diagonal) if jacobi else None,
            ritz=ritz,
        )
        moved = metrics.subspace_distance(recycle.basis, carried.basis) if k else jnp.zeros(())
        return recycle, (info, moved)

    nothing = jnp.zeros((k, unknowns))
    _, solved = jax.lax.scan(solve_next, Recycle(nothing, nothing), matrices)
    return solved


def after_products(config: Config, info: SolveInfo) -> Array:
    """Mean log10 of the relative residual after 0, 1, ... products; those for carried images come first."""
    carried = info.matvecs - info.iterations - 1  # one is the check at the end
    steps = jnp.arange(6 * config.restart) - carried[:, None]
    norms = jnp.take_along_axis(info.history, jnp.clip(steps, 0, info.history.shape[1] - 1), axis=1)
    return jnp.mean(jnp.log10(norms / config.size), axis=0)  # size is the norm of the right-hand side


def row(config: Config, sequences: Systems, **options: Any) -> tuple[dict[str, Array], dict[str, Array]]:
    """Counts per system of one seed, for both kinds."""
    info, moved = jax.lax.map(functools.partial(solve_all, config, **options), sequences)
    measured, curves = {"converged": jnp.mean(info.converged)}, {}
    measured["worst_residual"] = jnp.max(info.residual_norm) / config.size
    for at, kind in enumerate(KINDS):
        measured[f"iterations_{kind}"] = jnp.mean(info.iterations[at].astype(float))
        measured[f"products_{kind}"] = jnp.mean(info.matvecs[at].astype(float))
        if options["recycles"]:
            measured[f"distance_{kind}"] = jnp.mean(moved[at, 1:])
        curves[f"products_{kind}"] = info.matvecs[at]
        curves[f"residual_{kind}"] = after_products(config, jax.tree.map(lambda leaf, at=at: leaf[at], info))
    return measured, curves


def _row(
    *, recycles: bool = True, in_order: bool = False, jacobi: bool = False, ritz: str = "harmonic"
) -> Callable[..., Any]:
    return functools.partial(row, recycles=recycles, in_order=in_order, jacobi=jacobi, ritz=ritz)


METHODS = (
    Method("gmres", None, _row(recycles=False), note="restarted, nothing kept"),
    Method("gcrodr", 287, _row(), note="as the systems come"),
    Method("gcrodr_sorted", 287, _row(in_order=True), note="nearest next"),
    Method("gcrodr_singular", 287, _row(in_order=True, ritz="singular"), note="sorted, smallest singular directions"),
    Method("gmres_jacobi", None, _row(recycles=False, jacobi=True), note="preconditioned by the diagonal"),
    Method("gcrodr_jacobi", 287, _row(jacobi=True)),
    Method("gcrodr_sorted_jacobi", 287, _row(in_order=True, jacobi=True)),
)


CLAIMS = (
    Claim(
        287,
        "GCRO-DR needs less than .45 of the iterations of GMRES (random fields)",
        ratio("iterations_fields", "gcrodr", "gmres"),
        "<",
        0.45,
    ),
    Claim(
        287,
        "GCRO-DR needs less than .6 of the products of GMRES, all counted (random fields)",
        ratio("products_fields", "gcrodr", "gmres"),
        "<",
        0.6,
    ),
    Claim(
        287,
        "With a Jacobi preconditioner it needs less than .6 of the iterations (random fields)",
        ratio("iterations_fields", "gcrodr_jacobi", "gmres_jacobi"),
        "<",
        0.6,
    ),
    Claim(
        287,
        "Sorting costs at most 2 % of the iterations (random fields)",
        ratio("iterations_fields", "gcrodr_sorted", "gcrodr"),
        "<",
        1.02,
    ),
    Claim(
        287,
        "Sorting saves at least 3 % of the iterations (three parameters)",
        ratio("iterations_family", "gcrodr_sorted", "gcrodr"),
        "<",
        0.97,
    ),
    Claim(
        287,
        "Sorting brings the recycled spaces of neighbours nearer (three parameters)",
        difference("distance_family", "gcrodr", "gcrodr_sorted"),
        ">",
        0.0,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    with jax.enable_x64(True):
        sequences = jax.jit(jax.vmap(functools.partial(make_sequences, config)))(run.seed_keys())
        sequences = run.shard(sequences)

        def measure(method: Method) -> Measured:
            # One seed after the other: batched factorisations at the same time can wait for each other for ever on a
            # CPU with few cores (jaxlib 0.10).
            return over_seeds(functools.partial(method.fn, config), sequences, mode="map")

        run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Products per system along the sequence, how the residual falls, and what each row costs on average."""
    figure, axes = plots.new_figure(columns=2, rows=2, title="Sequences of Darcy systems: products with the matrix")
    plain = ("gmres", "gcrodr", "gcrodr_sorted")
    titles = ("random fields", "three parameters")
    for ax, kind, title in zip(axes, KINDS, titles, strict=False):
        _lines(ax, result.curves[f"products_{kind}"], plain, first=1)
        ax.set(title=title, xlabel="place in the sequence", ylabel="products for the system")
        ax.set_ylim(bottom=0)
    _lines(axes[2], result.curves["residual_fields"], (*plain, "gmres_jacobi", "gcrodr_sorted_jacobi"), first=0)
    axes[2].set(title="random fields", xlabel="products", ylabel="relative residual, mean log10")
    names = [method.name for method in METHODS]
    plots.method_bars(axes[3], result.rows["products_fields"], names, "products per system")
    axes[3].set_title("random fields")
    return figure


def _lines(ax: Axes, curves: Mapping[str, Any], names: Sequence[str], *, first: int) -> None:
    """A line per method: the mean over seeds, in a band from the lowest to the highest seed."""
    for place, name in enumerate(names):
        if name not in curves:
            continue
        values = np.asarray(curves[name], float)
        x = first + np.arange(values.shape[1])
        color = plots.PALETTE[place]
        ax.plot(x, values.mean(axis=0), label=name, linewidth=2, color=color)
        ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=color, alpha=0.12, linewidth=0)
    ax.legend(fontsize=8, frameon=False, loc="upper right")
    ax.grid(color="0.88", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
