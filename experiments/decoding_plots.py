"""The figure of the question about guided decoding."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets.captions import sentence
from experiments.guided_sequences import AR_SCALES, CAPTION_SCALES, FLOW_SCALES, name_of
from experiments.runner import Result

__all__ = ["draw"]

CFG = tuple(name_of("cfg", scale) for scale in AR_SCALES)
GRID = ("plain", *CFG, "cca", "cca_1000")
FLOWS = ("held_out", "linear_flow", "gumbel_flow")
GUIDED = ("stg_gumbel", "stg_linear", "soft_gumbel")


def draw(result: Result) -> Figure:
    """Six panels: images, what they cost, flows of text, their guidance, captions, and what they cost."""
    figure, axes = plots.new_figure(columns=3, rows=2, title=f"Guided decoding on {result.dataset}, text and captions")
    _images(axes[0], result.curves.get("images", {}))
    _calls(axes[1], result.rows)
    plots.method_bars(axes[2], result.rows.get("bigram_distance", {}), FLOWS, "bigram distance from the text")
    axes[2].tick_params(axis="x", labelsize=8)
    _captions(axes[3], result.curves)
    _trade(axes[4], result.curves, CAPTION_SCALES, ("caption_cfg", "caption_lm"), "word_log_prob", "recall")
    axes[4].set_xlabel("log likelihood of a word")
    axes[4].set_ylabel("recall of the image at 1")
    _trade(axes[5], result.curves, (0.0, *FLOW_SCALES), GUIDED, "fall", "rise")
    axes[5].set_xlabel("fall of the bigram log likelihood")
    axes[5].set_ylabel("rise of the score, in std")
    if axes[5].lines:
        axes[5].axvline(0.2, color="0.7", linewidth=1)
        axes[5].axhline(1.0, color="0.7", linewidth=1)
    for ax in axes:
        if not (ax.lines or ax.images or ax.patches or ax.collections):
            ax.set_axis_off()  # none of its rows was measured
    return figure


def _images(ax: Axes, images: Any) -> None:
    """A line of images per row, one of each of the first classes."""
    lines = {name: np.asarray(images[name], float)[0, :7] for name in GRID if name in images}
    plots.image_strips(ax, lines, limits=(0.0, max((line.max() for line in lines.values()), default=1.0)), fontsize=8)


def _calls(ax: Axes, rows: Any) -> None:
    """Accuracy against Frechet distance; the size of a dot is the number of calls per token."""
    accuracy, frechet, calls = (rows.get(name, {}) for name in ("accuracy", "frechet", "calls_per_token"))
    names = [name for name in ("plain", *CFG, "more_likelihood", "cca") if name in accuracy]
    for position, name in enumerate(names):
        x, y, size = (np.mean(np.asarray(table[name], float)) for table in (frechet, accuracy, calls))
        ax.scatter(x, y, s=50 * size**2, color=plots.PALETTE[position % len(plots.PALETTE)], alpha=0.8)
        below = -12 if name != "more_likelihood" else 8  # it lies next to the plain model
        ax.annotate(name, (x, y), (6, below), textcoords="offset points", fontsize=8)
    ax.margins(0.25)
    ax.set_xlabel("Frechet distance (large dots: two calls per token)", fontsize=9)
    ax.set_ylabel("accuracy of the wanted class")
    ax.spines[["top", "right"]].set_visible(False)


def _trade(ax: Axes, curves: Any, scales: Any, names: Any, across: str, up: str) -> None:
    """One measure against another along the scales, a line per method."""
    for position, name in enumerate(names):
        if name not in curves.get(across, {}):
            continue
        x, y = (np.mean(np.asarray(curves[key][name], float), axis=0) for key in (across, up))
        ax.plot(x, y, label=name, **plots.style(position))
        for scale, a, b in zip(scales, x, y, strict=True):
            if position == 0 and scale:
                ax.annotate(f"{scale:g}", (a, b), (4, 4), textcoords="offset points", fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.lines:
        ax.legend(fontsize=8, frameon=False)


def _captions(ax: Axes, curves: Any) -> None:
    """Images and what is said of them at every scale."""
    ax.set_axis_off()
    if "caption_cfg" not in curves.get("captions", {}):
        return
    tokens = np.asarray(curves["captions"]["caption_cfg"])[0].astype(int)  # [scales, images, words]
    pictures = np.asarray(curves["pictures"]["caption_cfg"], float)[0]
    side = math.isqrt(pictures.shape[-1])
    # Those of which most is said differently.
    changes = (tokens[1:] != tokens[:-1]).any(2).sum(0)
    chosen = np.argsort(-changes, kind="stable")[:3]
    count = len(chosen)
    for place, row in enumerate(chosen):
        top = 1.0 - place / count
        if side**2 == pictures.shape[-1]:
            box = ax.inset_axes((0.0, top - 0.8 / count, 0.25, 0.75 / count))
            box.imshow(pictures[row].reshape(side, side), cmap="gray_r")
            box.set_axis_off()
        lines = [f"{scale:g}: {sentence(tokens[i, row])}" for i, scale in enumerate(CAPTION_SCALES)]
        ax.text(0.28, top - 0.06, "\n".join(lines), fontsize=8, va="top", transform=ax.transAxes)
