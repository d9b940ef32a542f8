"""The figure of compatible representations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.runner import Result

__all__ = ["figure"]


def figure(result: Result, updates: Sequence[str], sequences: Sequence[str], maps: Sequence[str]) -> Figure:
    """Four maps of an old index above the trade-off of ``updates`` and the matrices of ``sequences``."""
    picture, axes = plots.new_figure(columns=4, rows=2, title=f"New queries, old index: {result.dataset}")
    limits = map_limits(result.curves, maps)
    for ax, name in zip(axes[:4], maps, strict=True):
        index_map(ax, result.curves, name, limits, accuracy=_mean(result.rows.get("cross_test", {}).get(name)))
    trade_off(axes[4], result.rows, updates)
    for ax, name in zip(axes[5:], sequences, strict=True):
        matrix(ax, result.curves.get("matrix", {}).get(name), name)
    return picture


def map_limits(curves: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """[2, 2], the lowest and the highest coordinates in the maps."""
    points = [np.asarray(curves[kind][name][0], float)[:, :2] for kind in ("map", "index") for name in names
              if name in curves.get(kind, {})]  # fmt: skip
    every = np.concatenate([*points, np.zeros((1, 2)), np.ones((1, 2)) * 1e-3])
    low, high = every.min(0), every.max(0)
    return np.stack([low - 0.08 * (high - low), high + 0.08 * (high - low)])


def index_map(ax: Axes, curves: Mapping[str, Any], name: str, limits: np.ndarray, *, accuracy: float | None) -> None:
    """The classes in the old index as digits, the queries of a new model as dots, one colour per class."""
    ax.set_axis_off()
    if (drawn := curves.get("map", {}).get(name)) is None:
        return
    queries, index = np.asarray(drawn[0], float), np.asarray(curves["index"][name][0], float)
    colours = [f"C{label % 10}" for label in range(len(index))]
    ax.scatter(queries[:, 0], queries[:, 1], s=9, c=[colours[int(label)] for label in queries[:, 2]], alpha=0.55, lw=0)
    for label, (x, y) in enumerate(index):
        ax.text(x, y, str(label), color=colours[label], fontsize=13, weight="bold", ha="center", va="center")
    ax.set_xlim(*limits[:, 0])
    ax.set_ylim(*limits[:, 1])
    ax.set_title(name if accuracy is None else f"{name}: {accuracy:.2f} found", fontsize=10)


def trade_off(ax: Axes, rows: Mapping[str, Any], names: Sequence[str]) -> None:
    """Accuracy in the new index over accuracy in the old one: a dot per seed, a marker per mean."""
    cross, home = rows.get("cross_test", {}), rows.get("self_test", {})
    for position, name in enumerate(names):
        if name not in cross or name not in home:
            continue
        look = plots.style(position)
        x, y = np.asarray(cross[name], float), np.asarray(home[name], float)
        ax.scatter(x, y, s=10, color=look["color"], alpha=0.4, lw=0)
        ax.scatter(x.mean(), y.mean(), s=60, color=look["color"], marker=look["marker"], label=name)
    old = [value for name in names for value in rows.get("old_test", {}).get(name, [])]
    if old:
        ax.axvline(np.mean(old), color="0.4", linewidth=0.9, linestyle="--")
    ax.set_xlabel("old index (dashed: old queries)", fontsize=9)
    ax.set_ylabel("new index", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.has_data():
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), fontsize=8, ncols=2, frameon=False)


def matrix(ax: Axes, values: Any, name: str) -> None:
    """Model by row, index by column; in how many seeds the new model finds more than the index's own did."""
    ax.set_title(name, fontsize=10)
    if values is None:
        ax.set_axis_off()
        return
    seeds = np.asarray(values, float)
    mean = seeds.mean(0)
    models = len(mean)
    shown = np.where(np.tri(models, dtype=bool), mean, np.nan)
    ax.imshow(shown, vmin=0, vmax=1, cmap="Blues")
    for i in range(models):
        for j in range(i + 1):
            better = np.sum(seeds[:, i, j] > seeds[:, j, j])
            text = f"{mean[i, j]:.2f}" + (f"\n{better}/{len(seeds)} better" if i > j else "")
            dark = mean[i, j] > 0.6
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    labels = [str(model + 1) for model in range(models)]
    ax.set_xticks(range(models), labels, fontsize=8)
    ax.set_yticks(range(models), labels, fontsize=8)
    ax.set_xlabel("index of model", fontsize=9)
    ax.set_ylabel("queries of model", fontsize=9)
    ax.spines[:].set_visible(False)


def _mean(values: Any) -> float | None:
    return None if values is None else float(np.mean(np.asarray(values, float)))
