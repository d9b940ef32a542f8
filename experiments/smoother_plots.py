"""The figure of ``experiments.kernels_and_smoothers``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.runner import Method, Result

__all__ = ["draw"]


def draw(
    result: Result,
    methods: Sequence[Method],
    *,
    depths: Sequence[int],
    dims: Sequence[int],
    trees: Sequence[int],
    sizes: Sequence[int],
) -> Figure:
    """Six panels: depth, labels that lie, the plane, parameters of classifiers, parameters of trees, nats."""
    figure, axes = plots.new_figure(columns=3, rows=2, title=f"Smoothers on {result.dataset}, and trees on diabetes")
    names = [method.name for method in methods]
    _lines(axes[0], result, "depth_accuracy", depths, "hidden layers", "accuracy, labels that lie", log=2)
    told = [name for name in names if name not in ("mean", "deep_with_mean")]
    _pairs(axes[1], result, told, ("accuracy_clean", "accuracy_noisy"), ("true labels", "labels that lie"))
    _frame(axes[1], "accuracy", "")
    _lines(axes[2], result, "excess", sizes, "points in the plane", "error above the Bayes error", log=10)
    grown = ("forest", "bagging", "boosting")
    spent = ("parameters_train", "parameters_test")
    _pairs(axes[3], result, [*names, *grown], spent, ("training inputs", "new inputs"))
    axes[3].set_xscale("log")
    _frame(axes[3], "parameters per training row", "")
    _trees(axes[4], result, trees)
    _nats(axes[5], result, dims)
    return figure


def _lines(ax: Axes, result: Result, curve: str, places: Sequence[int], xlabel: str, ylabel: str, *, log: int) -> None:
    for position, (name, values) in enumerate(result.curves.get(curve, {}).items()):
        table = np.atleast_2d(np.asarray(values, float))
        at = np.asarray(places[: table.shape[1]])
        look = plots.style(position)
        ax.plot(at, table.mean(0), label=name, linewidth=2, markersize=5, **look)
        ax.fill_between(at, table.min(0), table.max(0), color=look["color"], alpha=0.15, linewidth=0)
        ax.set_xscale("log", base=log)
        ax.set_xticks(at, [str(place) for place in at])
        ax.minorticks_off()
    _frame(ax, xlabel, ylabel)


def _pairs(ax: Axes, result: Result, names: Sequence[str], metrics: tuple[str, str], words: tuple[str, str]) -> None:
    """A line per method from the first number (hollow) to the second (full), the largest second number on top."""
    first, second = (result.rows.get(metric, {}) for metric in metrics)
    shown = [name for name in names if name in first and name in second]
    shown.sort(key=lambda name: -float(np.mean(second[name])))
    for place, name in enumerate(shown):
        ends = [float(np.mean(rows[name])) for rows in (first, second)]
        ax.plot(ends, [place, place], color="0.75", linewidth=2, zorder=1)
        for end, face, word in zip(ends, ("white", plots.PALETTE[0]), words, strict=True):
            label = word if place == 0 else None
            ax.scatter(end, place, s=30, facecolors=face, edgecolors=plots.PALETTE[0], label=label, zorder=2)
    ax.set_yticks(range(len(shown)), shown, fontsize=8)
    ax.invert_yaxis()


def _trees(ax: Axes, result: Result, trees: Sequence[int]) -> None:
    for position, kind in enumerate(("forest", "bagging", "boosting")):
        for where, dash in (("train", "--"), ("test", "-")):
            values = result.curves.get(f"trees_parameters_{where}", {}).get(kind)
            if values is None:
                continue
            table = np.atleast_2d(np.asarray(values, float))
            color = plots.style(position)["color"]
            ax.plot(trees, table.mean(0), dash, color=color, linewidth=2, label=f"{kind}, {where}")
            ax.fill_between(trees, table.min(0), table.max(0), color=color, alpha=0.15, linewidth=0)
    ax.set_xscale("log")
    ax.set_xticks(trees, [str(count) for count in trees])
    ax.minorticks_off()
    _frame(ax, "trees", "parameters per training row", legend=(0.42, 0.42))


def _nats(ax: Axes, result: Result, dims: Sequence[int]) -> None:
    rows = result.rows.get("nats", {})
    for place, name in enumerate(rows):
        values = np.asarray(rows[name], float)
        ax.barh(place, values.mean(), color=plots.style(place)["color"], alpha=0.75)
        ax.scatter(values, np.full(len(values), place), s=10, color="black", zorder=3, linewidths=0)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(0, None)
    ax.invert_yaxis()
    _frame(ax, "nats of inductive bias still needed", "", legend=None)


def _frame(ax: Axes, xlabel: str, ylabel: str, *, legend: Any = "best") -> None:
    ax.set_xlabel(xlabel, fontsize=10)
    ax.set_ylabel(ylabel, fontsize=10)
    ax.grid(color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if legend and ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8, loc=legend)
