"""The figure of rule learners: accuracy on three tasks, and rules in words."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from experiments import plots
from experiments.rule_learners import TOPICS, text_task
from experiments.runner import Result, UserError

__all__ = ["draw_rules", "in_words"]

METRICS = {"accuracy": "as booleans", "xor_accuracy": "noisy xor", "text_accuracy": "manual"}
WIDEST = 34  # letters of a line


def draw_rules(result: Result, names: Sequence[str], top: Axes, bottom: Axes) -> None:
    """Bars of every method and task at the top; at the bottom the best rules of the first seed."""
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        for group, metric in enumerate(METRICS):
            values = np.asarray(result.rows.get(metric, {}).get(name, []), float)
            if values.size and np.isfinite(values).all():
                left = group + (place - (len(names) - 1) / 2) * width
                label = name if group == 0 else None
                top.bar(left, values.mean(), width, color=plots.PALETTE[place], alpha=0.8, label=label)
                top.scatter(np.full(values.size, left), values, s=6, color="black", alpha=0.6, linewidths=0, zorder=3)
    top.set_xticks(range(len(METRICS)), METRICS.values(), fontsize=8)
    top.set_ylim(0.4, 1.0)
    top.set_ylabel("accuracy", fontsize=11)
    top.spines[["top", "right"]].set_visible(False)
    top.legend(fontsize=7, frameon=False, ncols=3, columnspacing=1.0, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    bottom.set_axis_off()
    lines = _lines(result)
    for place, (words, size, color) in enumerate(lines):
        bottom.text(0, 1 - (place + 0.5) / max(len(lines), 16), words, color=color, fontsize=size, va="center")


def _lines(result: Result) -> list[tuple[str, float, str]]:
    """The text of the lower axes: words, size, colour."""
    lines = []
    tables = {name: result.curves.get(f"{name}_rules", {}).get("tsetlin") for name in ("xor", "text")}
    if tables["xor"] is not None:
        features = tuple(f"x{number}" for number in range(1, 13))
        for label, rules in enumerate(np.asarray(tables["xor"][0], int)):
            lines.append((f"x1 xor x2 is {bool(label)!s:.5}, if".lower(), 9.0, plots.PALETTE[5]))
            lines += [(in_words(rule, features), 8.0, "0.15") for rule in rules[:2] if rule[0] > 0]
    if tables["text"] is not None:
        table = np.asarray(tables["text"][0], int)
        try:
            vocabulary = text_task(int(np.ravel(result.curves["words"]["tsetlin"])[0]), 0)[1]
        except UserError:
            return lines
        for topic, rules in zip(TOPICS.values(), table, strict=True):
            lines.append((f"on {topic}, if", 9.0, plots.PALETTE[0]))
            lines += [(in_words(rule, vocabulary), 8.0, "0.15") for rule in rules[:4] if rule[0] > 0]
    return lines


def in_words(rule: np.ndarray, names: Sequence[str]) -> str:
    """A rule [1 + L]: its number of literals, then the first of them (-1 for none), as one line."""
    shown, said = [literal for literal in rule[1:] if literal >= 0], list[str]()
    for literal in shown:
        word = names[literal] if literal < len(names) else f"not {names[literal - len(names)]}"
        if said and len(" and ".join([*said, word])) > WIDEST:
            break
        said.append(word)
    left = int(rule[0]) - len(said)
    return "  " + " and ".join(said) + (f" (+{left} more)" if left else "")
