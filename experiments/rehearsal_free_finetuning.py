"""The body is trained on task after task, and no row of an earlier task is kept: what limits forgetting?

A network learns some of the classes, then two more at a time, and is asked for all of them at once. Its rows differ in
what holds it: which logits take part in the loss, a penalty on weights, features or predictions, class vectors that
are fixed beforehand, one prompt in front of a frozen network, invented outliers. The other rows change what a task is
(a stream that never says when a task ends, images that show several classes, tasks of different kinds); each part has
measures of its own.
"""

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import expert_streams, patch_pathways, plots, prompted_streams, regularized_streams, task_transfer
from experiments.runner import Result, Run

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split into training and test rows, networks, order of the rows"

# A part of the question is a module with
#   Settings    frozen dataclass of its science, every field with a default,
#   QUICK       the Settings of a quick run,
#   ROWS        tuple of Method; names are unique in the whole question,
#   CLAIMS      tuple of Claim,
#   rows(settings, run)   prepares what its rows need from run.data(), run.seeds and run.seed_keys(), for all seeds at
#               once, and ends in run.rows(ROWS, measure), where measure(method) gives a Measured (metrics [S], curves
#               [S, ...]), as a rule of over_seeds. It is called only if at least one of its rows is wanted.
# Measures that a part shares with the others bear the same name: final_accuracy (all classes or tasks at the end),
# average_accuracy and the two forms of forgetting; others are its own.
# The keys are the names of the fields of Config.
PARTS = {
    "classes": regularized_streams,
    "prompts": prompted_streams,
    "shuffled": expert_streams,
    "mosaics": patch_pathways,
    "tasks": task_transfer,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question, part by part."""

    classes: regularized_streams.Settings = dataclasses.field(default_factory=regularized_streams.Settings)
    """Classes that arrive two at a time."""
    prompts: prompted_streams.Settings = dataclasses.field(default_factory=prompted_streams.Settings)
    """The same classes in front of a frozen transformer."""
    shuffled: expert_streams.Settings = dataclasses.field(default_factory=expert_streams.Settings)
    """Shuffled images without task boundaries."""
    mosaics: patch_pathways.Settings = dataclasses.field(default_factory=patch_pathways.Settings)
    """Images that show several classes."""
    tasks: task_transfer.Settings = dataclasses.field(default_factory=task_transfer.Settings)
    """Different small tasks."""


QUICK = {name: part.QUICK for name, part in PARTS.items()}
METHODS = tuple(method for part in PARTS.values() for method in part.ROWS)
CLAIMS = tuple(claim for part in PARTS.values() for claim in part.CLAIMS)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows, part by part."""
    for name, part in PARTS.items():
        if run.todo(part.ROWS):
            part.rows(getattr(config, name), run)


HELD = ("finetune", "local_softmax", "l2", "ewc", "prediction_kd", "feature_kd", "joint")
OTHERS = tuple(
    method.name for part in (regularized_streams, prompted_streams) for method in part.ROWS if method.name not in HELD
)
MATRICES = ("finetune", "local_softmax", "prediction_kd", "random_targets", "one_prompt", "ovor")


def plot(result: Result) -> Figure:
    """Who keeps what of classes that arrive in pairs, task by task, and a picture of each of the other parts."""
    figure, axes = plots.new_figure(3, 2, title=f"Trained task after task on {result.dataset}, no row kept")
    final = result.rows.get("final_accuracy", {})
    for ax, names, what in ((axes[0], HELD, "a network that is held"), (axes[1], OTHERS, "vectors, heads, prompts")):
        plots.method_bars(ax, final, names, "final accuracy")
        ax.set_title(what, fontsize=11)
        for label in ax.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor", fontsize=9)
        for number in ax.texts:
            number.set_fontsize(7)
    _matrices(axes[2], result)
    expert_streams.draw(axes[3], result)
    patch_pathways.draw(axes[4], result)
    task_transfer.draw(axes[5], result)
    for ax in axes[3:]:
        if ax.get_legend():  # in three columns of panels there is room for two names
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8, frameon=False)
    return figure


def _matrices(ax: Axes, result: Result) -> None:
    """The accuracy matrices of some rows: after task t (down) on task i (across), white is none."""
    found = result.curves.get("accuracy_matrix", {})
    shown = [name for name in MATRICES if name in found]
    if not shown:
        ax.set_axis_off()
        return
    means = [np.mean(np.asarray(found[name], float), axis=0) for name in shown]
    tasks = len(means[0])
    across = 2
    canvas = np.full((-(-len(shown) // across) * (tasks + 2), across * (tasks + 1)), np.nan)
    for place, (name, mean) in enumerate(zip(shown, means, strict=True)):
        top, left = place // across * (tasks + 2) + 1, place % across * (tasks + 1)
        canvas[top : top + tasks, left : left + tasks] = np.where(np.tri(tasks, dtype=bool), mean, np.nan)
        ax.text(left - 0.5, top - 0.7, name, fontsize=9, va="bottom")
    ax.imshow(canvas, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (down, right), value in np.ndenumerate(canvas):
        if np.isfinite(value):
            ax.text(
                right,
                down,
                f"{value:.2f}".removeprefix("0").removesuffix(".00"),
                ha="center",
                va="center",
                fontsize=6,
                color="white" if value > 0.6 else "black",
            )
    ax.set_axis_off()
    ax.set_title("accuracy after each task (down)", fontsize=11)
