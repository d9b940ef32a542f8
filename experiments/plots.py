"""Figures that all experiments share: object-oriented matplotlib, a colour-blind-safe palette, 1200 x 800 pixels.

``new_figure`` gives a figure and its axes; ``method_bars``, ``curves_over_tasks`` and ``image_strips`` fill one axes
each. What is absent from the results is left out of the picture.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import ScaledTranslation

__all__ = ["PALETTE", "curves_over_tasks", "image_strips", "method_bars", "new_figure", "style"]

# The colours of Okabe and Ito (2008), told apart with every common colour blindness; yellow is left out, as it
# vanishes on white.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#555555")
_DASHES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D")


def new_figure(columns: int = 1, rows: int = 1, *, title: str = "") -> tuple[Figure, list[Axes]]:
    """A figure of 1200 x 800 pixels and its axes, row by row; ``figure.savefig(path)`` writes it."""
    figure = Figure(figsize=(10, 20 / 3), dpi=120, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    if title:
        figure.suptitle(title, fontsize=13)
    return figure, list(axes.flat)


def style(position: int) -> dict[str, Any]:
    """Colour, dash and marker of the n-th method: no two of the first 28 look alike."""
    round_, colour = divmod(position, len(PALETTE))
    return {"color": PALETTE[colour], "linestyle": _DASHES[round_ % 4], "marker": _MARKERS[round_ % 4]}


def method_bars(ax: Axes, result_rows: Mapping[str, Any], methods: Sequence[str], ylabel: str) -> None:
    """One bar per method: its mean over seeds, written above it, and a dot for each seed.

    Args:
      ax: the axes to fill.
      result_rows: method -> values per seed; None and NaN are left out, and so is a method without values.
      methods: names in the order of the bars.
      ylabel: what the values are.
    """
    values = {name: _finite(result_rows.get(name)) for name in methods}
    shown = [name for name in methods if values[name].size]
    for place, name in enumerate(shown):
        seeds = values[name]
        # The colour follows the method's place in ``methods``, so a missing row does not recolour the others.
        ax.bar(place, seeds.mean(), width=0.7, color=PALETTE[methods.index(name) % len(PALETTE)], alpha=0.75)
        spread = np.linspace(-0.15, 0.15, seeds.size) if seeds.size > 1 else np.zeros(1)
        ax.scatter(place + spread, seeds, s=14, color="black", alpha=0.7, linewidths=0, zorder=3)
        top = max(seeds.max(), 0.0)
        ax.annotate(
            f"{seeds.mean():#.3g}".replace("0.", ".", 1),
            (place, top),
            (0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=_fit(shown),
        )
    slanted = len(shown) * max(map(len, shown), default=0) > 60
    ax.set_xticks(range(len(shown)), shown, fontsize=10)
    if slanted:
        for label in ax.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    ax.margins(y=0.08)
    _finish(ax, ylabel)


def curves_over_tasks(
    ax: Axes,
    curves: Mapping[str, Any],
    labels: Sequence[str],
    *,
    ylabel: str,
    xlabel: str = "task",
    x: Sequence[float] | None = None,
) -> None:
    """One line per method: the mean over seeds, in a band of one standard deviation.

    Args:
      ax: the axes to fill.
      curves: method -> array [seeds, T] (or [T]); seeds that hold a NaN are left out, and so is a method without any.
      labels: method names in the order of the legend.
      ylabel: what the values are.
      xlabel: what the positions are.
      x: T positions; None counts from 1.
    """
    longest = 0
    for position, name in enumerate(labels):
        table = _seed_rows(curves.get(name))
        if not table.size:
            continue
        places = np.arange(1, table.shape[1] + 1) if x is None else np.asarray(x, float)
        longest = max(longest, table.shape[1])
        mean, spread = table.mean(0), table.std(0, ddof=1) if len(table) > 1 else np.zeros(table.shape[1])
        look = style(position)
        ax.plot(places, mean, label=name, linewidth=2, markersize=6, **look)
        ax.fill_between(places, mean - spread, mean + spread, color=look["color"], alpha=0.15, linewidth=0)
    if x is None and 0 < longest <= 20:
        ax.set_xticks(range(1, longest + 1))
    ax.set_xlabel(xlabel, fontsize=11)
    _finish(ax, ylabel)
    if longest:
        # Below the axes: a legend inside would lie on the lines.
        columns = max(1, min(4, 48 // max(map(len, labels))))
        below = ax.transAxes + ScaledTranslation(0, -36 / 72, ax.figure.dpi_scale_trans)  # clear of the label
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            bbox_transform=below,
            ncols=columns,
            fontsize=9,
            frameon=False,
        )


def image_strips(
    ax: Axes,
    lines: Mapping[str, Any],
    *,
    xlabel: str = "",
    limits: tuple[float, float] = (-1.0, 1.0),
    fontsize: float = 9.0,
) -> None:
    """A line of square grey images per name.

    Args:
      ax: the axes to fill.
      lines: name -> images [K, D] (D a square number) or [K, side, side]. Shorter lines leave gaps, smaller images are
        enlarged; a line of other images is left out.
      xlabel: what the images of a line are.
      limits: the numbers for black and white.
      fontsize: of the names.
    """
    ax.set_xticks([])
    ax.set_xlabel(xlabel, fontsize=11)
    squares = {name: _squares(np.asarray(images, float)) for name, images in lines.items()}
    shown = {name: images for name, images in squares.items() if images.size}
    if not shown:
        ax.set_axis_off()
        return
    side = max(images.shape[1] for images in shown.values())
    columns = max(map(len, shown.values()))
    canvas = np.full((len(shown), columns, side + 1, side + 1), np.nan)
    for row, images in zip(canvas, shown.values(), strict=True):
        factor = side // images.shape[1]
        row[: len(images)] = np.mean(limits)  # the border
        row[: len(images), 1 : 1 + factor * images.shape[1], 1 : 1 + factor * images.shape[1]] = images.repeat(
            factor, axis=1
        ).repeat(factor, axis=2)
    picture = canvas.swapaxes(1, 2).reshape(len(shown) * (side + 1), -1)
    ax.imshow(picture, vmin=limits[0], vmax=limits[1], cmap="gray")
    ax.set_yticks((np.arange(len(shown)) + 0.5) * (side + 1), list(shown), fontsize=fontsize)


def _squares(images: np.ndarray) -> np.ndarray:
    """[K, side, side]; empty if the images are not square."""
    if images.ndim == 3 and images.shape[1] == images.shape[2]:
        return images
    side = math.isqrt(images.shape[-1]) if images.ndim == 2 else 0
    if not images.size or side**2 != images.shape[-1]:
        return np.zeros((0, 1, 1))
    return images.reshape(-1, side, side)


def _finish(ax: Axes, ylabel: str) -> None:
    ax.set_ylabel(ylabel, fontsize=11)
    ax.grid(axis="y", color="0.88", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _fit(shown: Sequence[str]) -> float:
    return 9.0 if len(shown) <= 8 else 7.0


def _finite(values: Any) -> np.ndarray:
    """The finite numbers among per-seed values, in which a failed seed is None or NaN."""
    if values is None:
        return np.zeros(0)
    flat = np.array([math.nan if value is None else value for value in np.ravel(np.asarray(values, object))], float)
    return flat[np.isfinite(flat)]


def _seed_rows(curve: Any) -> np.ndarray:
    """[seeds, T], without the seeds that hold anything not finite."""
    if curve is None:
        return np.zeros((0, 0))
    table = np.atleast_2d(np.array(curve, dtype=float))
    return table[np.isfinite(table).all(axis=1)]
