"""Do diverse ensembles and weight averages survive spurious cues and attacks?

Four settings in which a network can lean on what happens to go with the label. Dominoes: an easy digit beside the one
that matters; two hypotheses differ on pictures without labels. Coloured patches: two networks
lean on patches of their own, and are averaged. Joint ensembles: diversity is rewarded or punished while four narrow
or four wide networks train together. Attacks: inputs changed a little to mislead one member of an ensemble, or other
networks, are shown to all of it; two of the ensembles are paths found in one super-network. Features brought by
``--data`` are used like pictures.
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
    plots,
    spurious_attacks,
    spurious_dominoes,
    spurious_ensembles,
    spurious_search,
    spurious_weights,
)
from experiments.claims import difference
from experiments.programs import Programs
from experiments.runner import Claim, Measured, Method, Result, Run
from experiments.streams import Split, split_by_seed

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "splits, pairs, colours, networks"


@dataclasses.dataclass(frozen=True)
class Config(
    spurious_dominoes.Settings, spurious_weights.Settings, spurious_ensembles.Settings, spurious_search.Settings
):
    """The science of this question."""

    def __post_init__(self) -> None:
        for name in ("patch_test_share", "ensemble_test_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        if self.members < 2:
            raise ValueError(f"members must be at least 2, got {self.members}")
        if self.attacked < 2:
            raise ValueError(f"attacked must be at least 2, got {self.attacked}")


QUICK = {
    "labelled": 200,
    "unlabelled": 200,
    "domino_tests": 200,
    "domino_hidden": 32,
    "domino_steps": 60,
    "patches": 8,
    "start_steps": 20,
    "first_steps": 40,
    "tuned_steps": 60,
    "wide": 32,
    "ensemble_steps": 60,
    "plain_steps": 40,
    "robust_steps": 10,
    "attack_steps": 3,
    "attack_hidden": 32,
    "attack_rows": 60,
    "phase_steps": 10,
    "shrinkings": 2,
    "generations": 2,
}


class Parts:
    """What rows of one kind share, made when the first of them asks for it."""

    def __init__(self, config: Config, run: Run) -> None:
        self.config, self.run, self.data = config, run, run.data()
        flat = self.data.x.reshape(len(self.data.x), -1)
        low, high = flat.min(), flat.max()
        self.x = jnp.asarray((flat - low) / (high - low if high > low else 1))
        self.num_classes, self.keys = self.data.num_classes, run.seed_keys()
        self.measured = Programs().measured

    @functools.cached_property
    def dominoes(self) -> spurious_dominoes.Seed:
        """Pairs of digits."""
        return spurious_dominoes.prepare(self.config, self.data, self.keys)

    @functools.cached_property
    def ensembles(self) -> Split:
        """Splits."""
        return split_by_seed(self.data.y, self.keys, test_fraction=self.config.ensemble_test_share)

    @functools.cached_property
    def weights(self) -> tuple[Split, spurious_weights.Networks]:
        """Splits, and the networks to be averaged."""
        self.run.progress("training the networks to be averaged")
        seeds = split_by_seed(self.data.y, self.keys, test_fraction=self.config.patch_test_share)
        train = functools.partial(spurious_weights.train, self.config, num_classes=self.num_classes)
        return seeds, jax.jit(jax.vmap(train, in_axes=(0, None)))(seeds, self.x)


def on_dominoes(learner: Callable[..., Any], weight: str | None = None) -> Callable[[Parts], Measured]:
    """A row of two hypotheses; ``weight`` names a setting, None is 0."""

    def measure(parts: Parts) -> Measured:
        fn = functools.partial(spurious_dominoes.measure, parts.config, learner=learner)
        value = getattr(parts.config, weight) if weight else 0.0
        return parts.measured(learner, fn, parts.dominoes, parts.x, jnp.float32(value))

    return measure


def averaged(tuning: str, how: str) -> Callable[[Parts], Measured]:
    """A row of one network, or of an average of two."""
    places = (spurious_weights.TUNINGS.index(tuning), spurious_weights.HOW.index(how))

    def measure(parts: Parts) -> Measured:
        fn = functools.partial(spurious_weights.measure, parts.config, num_classes=parts.num_classes)
        return parts.measured(averaged, fn, parts.weights, parts.x, *map(jnp.int32, places))

    return measure


def together(gamma: float, diversity: str = "jensen") -> Callable[[Parts], Measured]:
    """A row of an ensemble of narrow networks and one of wide ones."""
    kind = spurious_ensembles.KINDS.index(diversity)

    def measure(parts: Parts) -> Measured:
        fn = functools.partial(spurious_ensembles.measure, parts.config, num_classes=parts.num_classes)
        return parts.measured(together, fn, parts.ensembles, parts.x, jnp.float32(gamma), jnp.int32(kind))

    return measure


def under_attack(training: str) -> Callable[[Parts], Measured]:
    """A row of an ensemble that is attacked."""
    kind = spurious_attacks.TRAININGS.index(training)

    def measure(parts: Parts) -> Measured:
        fn = functools.partial(spurious_attacks.measure, parts.config, num_classes=parts.num_classes)
        return parts.measured(under_attack, fn, parts.ensembles, parts.x, jnp.int32(kind))

    return measure


def searched(diversity: float) -> Callable[[Parts], Measured]:
    """A row of two paths that were found in a super-network, under attack."""

    def measure(parts: Parts) -> Measured:
        fn = functools.partial(spurious_search.measure, parts.config, num_classes=parts.num_classes)
        return parts.measured(searched, fn, parts.ensembles, parts.x, jnp.float32(diversity))

    return measure


METHODS = (
    Method("erm", None, on_dominoes(spurious_dominoes.heads), note="two heads on labels alone"),
    Method("divdis", 205, on_dominoes(spurious_dominoes.heads, "divdis_weight"), note="two heads made independent"),
    Method("dbat", 205, on_dominoes(spurious_dominoes.networks, "dbat_weight"), note="a second network that disagrees"),
    Method("first", None, averaged("plain", "first"), note="the first network"),
    Method("tuned", None, averaged("plain", "tuned"), note="the tuned network"),
    Method("wise_ft", 199, averaged("plain", "weights"), note="the mean of both networks' weights"),
    Method("mean_logits", 199, averaged("plain", "logits"), note="the mean of both networks' logits"),
    Method("balanced_logits", 199, averaged("plain", "balanced"), note="logits scaled to one spread first"),
    Method("wise_smoothed", 199, averaged("smoothed", "weights"), note="mean weights, tuned with smoothed labels"),
    Method("wise_mixed", 199, averaged("mixed", "weights"), note="mean weights, tuned on mixed rows"),
    Method("bang", 199, averaged("both", "weights"), note="mean weights, tuned with both"),
    Method("independent", None, together(0.0), note="every member for itself"),
    Method("discouraged", 200, together(-0.5), note="gamma -0.5"),
    Method("encouraged", 200, together(0.5), note="gamma 0.5"),
    Method("pushed", 200, together(0.9), note="gamma 0.9"),
    Method("variance", 200, together(0.5, "variance"), note="gamma 0.5, variance of the members' probabilities"),
    Method("js", 200, together(0.5, "js"), note="gamma 0.5, Jensen-Shannon divergence"),
    Method("kl", 200, together(0.5, "kl"), note="gamma 0.5, divergence of pairs"),
    Method("apart", None, under_attack("apart"), note="three networks, each for itself"),
    Method("adversarial", None, under_attack("adversarial"), note="each trained on attacks on itself"),
    Method("dverge", 229, under_attack("dverge"), note="each trained on what the others are fooled by"),
    Method("searched", None, searched(0.0), note="two paths of a super-network shrunk by accuracy alone"),
    Method("neas", 211, searched(1.0), note="shrunk by accuracy and disagreement"),
)
ATTACKED = (*spurious_attacks.TRAININGS, "searched", "neas")
SWEEP = {"discouraged": -0.5, "independent": 0.0, "encouraged": 0.5, "pushed": 0.9}

CLAIMS = (
    Claim(
        205,
        "DivDis is better on unlabelled pairs whose digits are independent than where they always disagree",
        lambda rows: rows["best_50"]["divdis"] - rows["best_0"]["divdis"],
        ">",
        0.0,
    ),
    Claim(
        205,
        "D-BAT is better where the digits always disagree than where they are independent",
        lambda rows: rows["best_0"]["dbat"] - rows["best_50"]["dbat"],
        ">",
        0.0,
    ),
    Claim(
        205,
        "On independent digits DivDis finds a better hypothesis than labels alone, by .1",
        difference("best_50", "divdis", "erm"),
        ">",
        0.1,
    ),
    Claim(
        205,
        "Where the digits always agree D-BAT gains nothing on labels alone",
        difference("best_100", "dbat", "erm"),
        "within",
        0.1,
    ),
    Claim(
        199,
        "Mean weights beat the better of both networks where patches lie, by .02",
        lambda rows: rows["ood"]["wise_ft"] - np.maximum(rows["ood"]["first"], rows["ood"]["tuned"]),
        ">",
        0.02,
    ),
    Claim(
        199,
        "Rows that both networks get wrong and their average right outnumber the reverse",
        lambda rows: rows["false_false_true"]["wise_ft"] - rows["true_true_false"]["wise_ft"],
        ">",
        0.0,
    ),
    Claim(
        199,
        "Smoothed labels and mixed rows in tuning make the average better",
        difference("ood", "bang", "wise_ft"),
        ">",
        0.0,
    ),
    Claim(
        200,
        "Rewarding diversity (gamma 0.5) lowers the loss of an ensemble of narrow networks",
        difference("nll_narrow", "independent", "encouraged"),
        ">",
        0.0,
    ),
    Claim(
        200,
        "Rewarding diversity (gamma 0.5) does not make wide networks better, by .002 in accuracy or more",
        difference("accuracy_wide", "encouraged", "independent"),
        "<",
        0.002,
    ),
    Claim(
        200,
        "Punishing diversity (gamma -0.5) does no harm to wide networks (accuracy)",
        difference("accuracy_wide", "discouraged", "independent"),
        ">",
        -0.005,
    ),
    Claim(
        200,
        "The most diverse ensemble of narrow networks is worse than wide ones trained apart (loss)",
        lambda rows: rows["nll_narrow"]["pushed"] - rows["nll_wide"]["independent"],
        ">",
        0.0,
    ),
    Claim(
        229,
        "DVERGE halves how often an attack on one member misleads another",
        lambda rows: rows["transfer"]["dverge"] - 0.5 * rows["transfer"]["apart"],
        "<",
        0.0,
    ),
    Claim(
        229,
        "It costs less than .02 in clean accuracy",
        difference("clean", "dverge", "apart"),
        ">",
        -0.02,
    ),
    Claim(
        229,
        "Under attacks made on other networks its ensemble is more accurate",
        difference("black_box", "dverge", "apart"),
        ">",
        0.0,
    ),
    Claim(
        229,
        "Its members' weaknesses differ more (vulnerability diversity)",
        difference("vulnerability_diversity", "dverge", "apart"),
        ">",
        0.0,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    parts = Parts(config, run)
    run.rows(METHODS, lambda method: method.fn(parts))


def plot(result: Result) -> Figure:
    """Hypotheses by ratio, averages by how often patches lie, ensembles by weight of diversity, and under attack."""
    figure, axes = plots.new_figure(columns=3, rows=2, title=f"Spurious cues: {result.dataset}")
    percent = [100 * ratio for ratio in spurious_dominoes.RATIOS]
    best = result.curves.get("best_by_ratio", {})
    what = "pairs whose digits agree (%)"
    plots.curves_over_tasks(
        axes[0], best, ("erm", "divdis", "dbat"), ylabel="accuracy, better hypothesis", xlabel=what, x=percent
    )
    by_flip, names = result.curves.get("by_flip", {}), ("first", "tuned", "wise_ft", "bang")
    what, flips = "patches of a random class (%)", [100 * flip for flip in spurious_weights.FLIPS]
    plots.curves_over_tasks(axes[1], by_flip, names, ylabel="accuracy", xlabel=what, x=flips)
    by_strength, what = result.curves.get("by_strength", {}), "attack size (1 as in training)"
    sizes = spurious_attacks.STRENGTHS
    plots.curves_over_tasks(axes[2], by_strength, ATTACKED, ylabel="attacked from outside", xlabel=what, x=sizes)
    _sweep(axes[3], result, "narrow")
    _sweep(axes[4], result, "wide")
    plots.method_bars(axes[5], result.rows.get("transfer", {}), ATTACKED, "attacks that carry over")
    axes[5].tick_params(axis="x", labelsize=8)
    for ax in axes[:3]:
        if ax.get_legend():  # inside, as below three columns they are wider than the axes
            ax.legend(frameon=False, fontsize=8)
    return figure


def _sweep(ax: Axes, result: Result, width: str) -> None:
    """Loss of the ensemble, and the mean loss of its members, over the weight of diversity; a faint line per seed."""
    for position, (metric, what) in enumerate((("nll", "ensemble"), ("member_nll", "mean of its members"))):
        values = result.rows.get(f"{metric}_{width}", {})
        shown = [name for name in SWEEP if name in values]
        if shown:
            table, places = np.stack([np.asarray(values[name], float) for name in shown]), [SWEEP[n] for n in shown]
            look = plots.style(position)
            ax.plot(places, table, color=look["color"], linewidth=0.8, alpha=0.4)
            ax.plot(places, table.mean(1), label=what, linewidth=2, **look)
            ax.set_xticks(places)
    ax.set_xlabel("weight of diversity, gamma")
    ax.set_ylabel(f"test loss, {width} networks")
    ax.set_ylim(bottom=0)
    ax.grid(axis="y", color="0.88", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.lines:
        ax.legend(frameon=False, fontsize=8, loc="lower left")
