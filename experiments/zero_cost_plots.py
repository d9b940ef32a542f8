"""The figure of the training-free scores."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.runner import Result

__all__ = ["draw_figure"]


def draw_figure(result: Result, scores: Sequence[str], sizes: Sequence[str]) -> Figure:
    """How well every score ranks, what the searches find, and the recurrent cells one by one.

    Args:
      result: of a run.
      scores: names from top to bottom.
      sizes: those of them that are no scores but sizes.
    """
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Architectures scored before training, {result.dataset}")
    feed_forward = {"trained": "tau", "distilled": "tau_distilled"}
    _taus(axes[0], result, feed_forward, sizes, [name for name in scores if name in result.rows.get("tau", {})])
    looks = result.curves.get("accuracy_by_looks", {})
    shown = ("random", "params", "average_rank", "snip", "jacobian_covariance", "robot")
    curves = {name: looks[name] for name in shown if name in looks}
    plots.curves_over_tasks(
        axes[1], curves, list(curves), ylabel="test accuracy", xlabel="looks at an accuracy (mean of three tasks)"
    )
    recurrent = [name for name in scores if name in result.rows.get("tau_recurrent", {})]
    _taus(axes[2], result, {"recurrent cells": "tau_recurrent"}, sizes, recurrent)
    _scatter(axes[3], result)
    return figure


def _taus(ax: Axes, result: Result, kinds: dict[str, str], sizes: Sequence[str], names: list[str]) -> None:
    """A line per score, a dot per pool: the mean over seeds with its spread."""
    for place, (label, metric) in enumerate(kinds.items()):
        row = result.rows.get(metric, {})
        values = [(i, np.array(row[name], float)) for i, name in enumerate(names) if name in row]
        if not values:
            continue
        at = [len(names) - 1 - i + 0.15 * (1 - 2 * place) * (len(kinds) > 1) for i, _ in values]
        mean, spread = (np.array([of(value) for _, value in values]) for of in (np.nanmean, np.nanstd))
        ax.errorbar(mean, at, xerr=spread, fmt="o", markersize=4, color=plots.PALETTE[place], label=label)
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.set_yticks(range(len(names)), names[::-1], fontsize=7)
    for text in ax.get_yticklabels():
        text.set_fontweight("bold" if text.get_text() in sizes else "normal")
    ax.grid(axis="x", color="0.9")
    ax.set_xlabel("Kendall's tau with what training reaches")
    ax.legend(frameon=False, fontsize=8)


def _scatter(ax: Axes, result: Result) -> None:
    """Every recurrent cell by its hidden covariance."""
    scores = result.curves.get("cell_score", {}).get("hidden_covariance")
    if scores is None:
        ax.set_axis_off()
        return
    losses = np.asarray(result.curves["cell_loss"]["hidden_covariance"], float)
    for seed, (x, y) in enumerate(zip(np.asarray(scores, float), losses, strict=True)):
        ax.scatter(-x, y, s=16, alpha=0.7, color=plots.PALETTE[seed % len(plots.PALETTE)])
    ax.set_xscale("log")
    ax.invert_xaxis()
    ax.set_xlabel("minus hidden covariance, better to the right")
    ax.set_ylabel("loss of the trained cell")
    ax.grid(color="0.9")
