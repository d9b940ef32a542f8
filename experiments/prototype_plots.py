"""The figure of prototypes that reason, and of units that stand in line."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.runner import Result

__all__ = ["draw"]

FOR, AGAINST = plots.PALETTE[0], plots.PALETTE[5]
SLOTS = 4  # prototypes shown for a class
LEAST = 0.05  # share of the largest weight below which a prototype is left out


def draw(
    result: Result,
    *,
    shown: Sequence[str],
    units: Sequence[str],
    certified: Sequence[str],
    more: Callable[[Axes, Axes], None] | None = None,
) -> Figure:
    """Prototypes and their reasoning on the left, accuracy by units kept and by radius beside them.

    Args:
      result: of the question.
      shown: methods whose prototypes may be drawn; the first that was measured is, at its first seed.
      units: methods with an accuracy by units kept.
      certified: methods with an accuracy by radius.
      more: fills a third column, from the axes at its top and at its bottom.
    """
    columns = 2 if more is None else 3
    title = f"Models whose decisions can be read, on {result.dataset}"
    figure, every = plots.new_figure(columns=columns, rows=2, title=title)
    axes = [every[0], every[1], every[columns], every[columns + 1]]
    axes[2].remove()
    if more is not None:
        more(every[2], every[5])
    grid = axes[0].get_gridspec()
    assert grid is not None
    axes[0].set_subplotspec(grid[:, 0])
    grid.set_width_ratios([1.0 if more is None else 1.5, *(1.0,) * (columns - 1)])
    curves = {name: values for name, values in result.curves.items() if values}
    found = next((name for name in shown if name in curves.get("positive", {})), None)
    if found is None:
        axes[0].set_axis_off()
    else:
        picked = {name: np.asarray(curves[name][found][0], float) for name in ("prototypes", "positive", "negative")}
        reasoning(
            axes[0],
            picked,
            title=f"{found}:\nwhat a class is recognised by" if more else f"{found}: what a class is recognised by",
        )

    lines = {name: curve for name, curve in curves.get("by_units", {}).items() if name in units}
    longest = max((np.shape(curve)[-1] for curve in lines.values()), default=1)
    places = list(range(longest))
    plots.curves_over_tasks(axes[1], lines, units, ylabel="accuracy", xlabel="hidden units kept, in order", x=places)
    _tidy(axes[1], "lower right")
    held = curves.get("certified_accuracy", {})
    radii = np.asarray(next(iter(curves["radii"].values()))[0], float) if held else np.zeros(1)
    plots.curves_over_tasks(axes[3], held, certified, ylabel="certified accuracy", xlabel="radius", x=list(radii))
    _tidy(axes[3], "lower left")
    return figure


def _tidy(ax: Axes, legend: Literal["lower right", "lower left"]) -> None:
    """No markers on so many points, dashes for lines that lie on each other, the legend where there are none."""
    for line, dash in zip(ax.get_lines(), ("-", (0, (5, 4)), (4, (5, 4)), "-"), strict=False):
        line.set(marker="", linestyle=dash)
    if ax.get_legend():
        ax.legend(loc=legend, fontsize=9, frameon=False)


def reasoning(ax: Axes, parts: Mapping[str, np.ndarray], *, title: str) -> None:
    """Square images with a bar for their weight, class by class; for other inputs a map of all weights."""
    prototypes, positive, negative = parts["prototypes"], parts["positive"], parts["negative"]
    ax.set_title(title, fontsize=11)
    side = math.isqrt(prototypes.shape[1])
    if side**2 == prototypes.shape[1] and positive.shape[1] <= 12:
        _images(ax, prototypes.reshape(-1, side, side), positive, negative)
    else:
        _map(ax, positive - negative)


def _images(ax: Axes, images: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> None:
    count, num_classes = positive.shape
    weights = np.concatenate([positive, negative])
    slot = 2.1  # an image, and a bar of at most its size
    for label in range(num_classes):
        strongest = np.argsort(-weights[:, label], kind="stable")[:SLOTS]
        for place, k in enumerate(strongest[weights[strongest, label] > LEAST * weights.max()]):
            left = slot * place
            extent = (left, left + 0.92, label + 0.46, label - 0.46)
            ax.imshow(images[k % count], cmap="gray_r", vmin=0, vmax=1, extent=extent)
            share = weights[k, label] / weights.max()
            ax.barh(label, share, height=0.5, left=left + 0.98, color=FOR if k < count else AGAINST, alpha=0.85)
    ax.set(xlim=(-0.1, slot * SLOTS), ylim=(num_classes - 0.45, -0.95), aspect="equal")
    ax.text(0, -0.62, "because it is there", color=FOR, fontsize=10)
    if (negative > LEAST * weights.max()).any():
        ax.text(2 * slot, -0.62, "because it is not there", color=AGAINST, fontsize=10)
    ax.set_yticks(range(num_classes))
    ax.set_xticks([])
    ax.set_ylabel("class", fontsize=11)
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)


def _map(ax: Axes, weights: np.ndarray) -> None:
    largest = np.abs(weights).max() or 1.0
    picture = ax.imshow(weights, cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto")
    for (k, label), value in np.ndenumerate(weights):
        light = abs(value) > 0.6 * largest
        text = f"{value:+.2f}".replace("0.", ".")
        ax.text(label, k, text, ha="center", va="center", fontsize=9, color="white" if light else "0.2")
    ax.set_xticks(range(weights.shape[1]))
    ax.set_yticks(range(weights.shape[0]))
    ax.set_xlabel("class", fontsize=11)
    ax.set_ylabel("prototype", fontsize=11)
    assert ax.figure is not None
    ax.figure.colorbar(picture, ax=ax, label="reasoning for minus against", shrink=0.6)
