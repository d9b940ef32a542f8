"""Do known classes help to find the unknown ones?

Four settings. Disjoint (``ncd_``): some classes have labels, and every unlabelled row is of another one. Generalised
(``gcd_``): unlabelled rows are of novel classes or of known ones. Online (``online_``): a network has learned known
classes and goes on without any label, on rows of known and of novel classes. Shift (``shift_``): no labels at all, but
domains in which classes are not equally frequent. What a row found is matched to the true classes by the Hungarian
method, and it is told how many there are, but where it says that it counts (``ncd_count``).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import (
    discovered_clusters,
    discovery_disjoint,
    discovery_generalised,
    discovery_networks,
    discovery_online,
    latent_shift,
    plots,
)
from experiments.discovery_splits import Group
from experiments.runner import Measured, Method, Result, Run, over_seeds

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "which classes are novel, their rows, initial weights, batches, views"


@dataclasses.dataclass(frozen=True)
class Config(discovery_online.OnlineSettings, discovered_clusters.Settings, latent_shift.Settings):
    """The science of this question."""

    novel_share: float = 0.5
    """Share of the classes that nobody has labelled."""
    test_share: float = 0.2
    """Share of the rows to test on, in the online setting."""

    def __post_init__(self) -> None:
        for name in ("novel_share", "test_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        self.check_networks()
        self.check_online()
        self.check_clusters()
        self.check_shift()


GROUPS: tuple[Group, ...] = (
    discovered_clusters.GROUP,  # ncd_
    discovery_disjoint.GROUP,  # ncd_
    discovery_generalised.GROUP,  # gcd_
    discovery_online.GROUP,  # online_
    latent_shift.GROUP,  # shift_
)
QUICK = discovery_networks.QUICK | discovery_online.QUICK | discovered_clusters.QUICK | latent_shift.QUICK
METHODS = tuple(row for group in GROUPS for row in group.rows)
CLAIMS = tuple(claim for group in GROUPS for claim in group.claims)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows, setting by setting."""
    for group in GROUPS:
        prepared = functools.cache(functools.partial(group.prepare, config, run, run.data()))
        run.rows(group.rows, functools.partial(_measure, config, group, prepared, run.todo(group.rows), {}))


def _measure(
    config: Config,
    group: Group,
    prepared: Callable[[], tuple[Any, tuple[Any, ...]]],
    todo: list[Method],
    made: dict[Any, Measured],
    method: Method,
) -> Measured:
    """One row; rows that differ in their weights alone are made by one program."""
    seeds, shared = prepared()
    fn = functools.partial(method.fn, config)
    if method.name not in group.weights:
        return over_seeds(fn, seeds, shared=shared, mode=group.mode)
    together = [row.name for row in todo if row.fn is method.fn]
    if method.fn not in made:
        weights = jax.tree.map(lambda *each: jnp.asarray(each), *(group.weights[name] for name in together))

        def every(seed: Any, weights: Any, *shared: Any) -> Any:
            return jax.vmap(lambda own: fn(seed, *shared, own))(weights)

        made[method.fn] = over_seeds(every, seeds, shared=(weights, *shared), mode=group.mode)
    place, found = together.index(method.name), made[method.fn]
    metrics, curves = jax.tree.map(lambda leaf: leaf[:, place], (found.metrics, found.curves))
    return Measured(metrics, curves, {kind: seconds / len(together) for kind, seconds in found.timings.items()})


def plot(result: Result) -> Figure:
    """Novel classes found in every setting, what is left to them online, and which classes are taken for which."""
    figure, axes = plots.new_figure(columns=3, rows=2, title=f"Novel classes on {result.dataset}")
    _bars(axes[0], result, "ncd_novel", "every unlabelled row is novel", "accuracy on novel classes")
    _known_against_novel(axes[1], result)
    _mass(axes[2], result)
    for ax, method in zip(axes[3:5], ("online_plain", "happy"), strict=True):
        _confusion(ax, result.curves.get("confusion", {}).get(method), method)
    _bars(axes[5], result, "shift_composite", "no labels, shifted domains", "accuracy, composite classes")
    if handles := dict(zip(*reversed(axes[1].get_legend_handles_labels()), strict=True)):
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=5, frameon=False)
    return figure


MIXED = tuple(row.name for row in METHODS if row.name.startswith(("simgcd", "lego", "online", "happy")))
"""The rows that see known and novel classes without labels; each has one look in all panels."""


def _bars(ax: Axes, result: Result, metric: str, title: str, ylabel: str) -> None:
    if metric not in result.rows:
        ax.set_axis_off()
        return
    plots.method_bars(ax, result.rows[metric], [row.name for row in METHODS], ylabel)
    for label in ax.get_xticklabels():
        label.set(rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    ax.set_title(title, fontsize=11)


def _known_against_novel(ax: Axes, result: Result) -> None:
    """A dot per row and seed, and a large one for the mean: accuracy on known classes, and on novel ones."""
    for known, novel in (("gcd_known", "gcd_novel"), ("online_old", "online_new")):
        for name, values in result.rows.get(known, {}).items():
            x, y, look = np.array(values), np.array(result.rows[novel][name]), plots.style(MIXED.index(name))
            point = {"color": look["color"], "marker": look["marker"]}
            ax.scatter(x, y, s=10, alpha=0.4, linewidths=0, **point)
            ax.scatter(x.mean(), y.mean(), s=80, label=name, edgecolors="white", **point)
    ax.set_xlabel("accuracy on known classes", fontsize=11)
    ax.set_ylabel("accuracy on novel classes", fontsize=11)
    ax.set_title("unlabelled rows are of both", fontsize=11)
    ax.grid(color="0.88", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)


def _mass(ax: Axes, result: Result) -> None:
    """The share of the predicted mass that new classes keep during the online stage, and the true one."""
    curves = {name: np.array(values, float) for name, values in result.curves.get("new_mass", {}).items()}
    if not curves:
        ax.set_axis_off()
        return
    points = next(iter(curves.values())).shape[1]
    x = (np.arange(points) + 0.5) / points
    plots.curves_over_tasks(ax, curves, MIXED, ylabel="mass on new classes", xlabel="share of the online steps", x=x)
    if legend := ax.get_legend():
        legend.remove()
    for line in ax.lines:
        line.set_marker("")
    ax.axhline(float(np.mean(list(result.curves["new_share"].values()))), color="0.3", linewidth=0.8, linestyle="--")
    ax.set_title("online; dashed is the truth", fontsize=11)


def _confusion(ax: Axes, tables: Any, name: str) -> None:
    """Mean over seeds; the new classes come last."""
    if tables is None:
        ax.set_axis_off()
        return
    table = np.mean(np.array(tables, float), axis=0)
    ax.imshow(table, vmin=0, vmax=1, cmap="Blues")
    for (row, column), value in np.ndenumerate(table):
        if value >= 0.005:
            shade = "white" if value > 0.6 else "black"
            ax.text(column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center", fontsize=7, color=shade)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("predicted class, new ones last", fontsize=10)
    ax.set_ylabel("true class", fontsize=10)
    ax.set_title(f"{name}, after the online stage", fontsize=11)
