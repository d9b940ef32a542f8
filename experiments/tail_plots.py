"""The figure of ``long_tail``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.runner import Result
from experiments.tail_training import EXPERTS

__all__ = ["draw"]


def draw(result: Result, shown: Sequence[str], priors: Sequence[str]) -> Figure:
    """Accuracy of the methods shown under every prior, from frequent to rare classes, of the experts, and weights."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Long tail: {result.dataset}")
    _by_prior(axes[0], result, shown, priors)
    names = ("ce", "balanced", "ldam", "batch_former", "sade", "mdcs", "recovered")
    by_place = result.curves.get("by_place", {})
    plots.curves_over_tasks(axes[1], by_place, names, ylabel="accuracy", xlabel="class, from frequent to rare")
    axes[1].set_ylim(0, 1.03)
    _experts(axes[2], by_place)
    _weights(axes[3], result, priors)
    return figure


def _by_prior(ax: Axes, result: Result, shown: Sequence[str], priors: Sequence[str]) -> None:
    """A row of three dots per method: forward, uniform and backward test rows."""
    names = [name for name in shown if name in result.rows.get("uniform", {})]
    for position, prior in enumerate(priors):
        means = [np.mean(np.asarray(result.rows[prior][name], float)) for name in names]
        look = plots.style(position)
        ax.scatter(means, range(len(names)), s=45, color=look["color"], marker=look["marker"], label=prior, zorder=3)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.invert_yaxis()
    ax.set_xlabel("accuracy on test rows with each prior")
    ax.grid(axis="both", color="0.9", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    if names:
        ax.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.14))


def _experts(ax: Axes, by_place: Mapping[str, Any]) -> None:
    """Means over seeds from frequent to rare classes; a colour per expert, whole lines for SADE, dashed for MDCS."""
    for family, dashes in (("sade", "-"), ("mdcs", "--")):
        for expert, name in enumerate(("first", "second", "third")):
            if (curve := by_place.get(f"{family}_{name}")) is not None:
                mean = np.mean(np.asarray(curve, float), axis=0)
                lines = ax.plot(range(1, len(mean) + 1), mean, label=f"{family}_{name}", marker="o", markersize=4)
                lines[0].set(color=plots.PALETTE[expert], linestyle=dashes)
    ax.set_ylim(0, 1.03)
    ax.set_ylabel("accuracy")
    ax.set_xlabel("class, from frequent to rare")
    ax.grid(axis="y", color="0.88", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.lines:
        ax.legend(frameon=False, fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.32))


def _weights(ax: Axes, result: Result, priors: Sequence[str]) -> None:
    """The learned weight of every expert under every prior, a dot per seed."""
    table = np.asarray(result.curves.get("weights", {}).get("sade", np.zeros((0, len(priors), EXPERTS))), float)
    left = np.zeros(len(priors))
    for expert, name in enumerate(("first", "second", "third")) if len(table) else ():
        share = table[:, :, expert].mean(0)
        ax.barh(range(len(priors)), share, left=left, height=0.6, color=plots.PALETTE[expert], alpha=0.8, label=name)
        for place, (start, width) in enumerate(zip(left, share, strict=True)):
            if width > 0.08:
                ax.text(start + width / 2, place, f"{width:.2f}", ha="center", va="center", color="white", fontsize=9)
        left += share
    ax.set_yticks(range(len(priors)), priors)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel("SADE's weights, learned on these test rows")
    ax.spines[["top", "right"]].set_visible(False)
    if len(table):
        ax.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.14))
