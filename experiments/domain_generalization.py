"""Which regulariser carries to an unseen domain?

Four settings. Turned digits: networks learn some angles, or one alone, and are asked about others. Coloured digits: in
two domains the colour tells more of the label than the shape does, in the third it lies. Adapted networks: one that
knows upright digits sees a few that are slightly turned. Two encoders, of images and of class names, that learned from
another data set: a few images of some classes tune them, and the other classes are asked for.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import adapted_domains, adapted_towers, coloured_domains, plots, rotated_domains
from experiments import data as datasets
from experiments.assets.shifts import rotated
from experiments.claims import difference
from experiments.programs import Programs
from experiments.runner import Claim, Measured, Method, Result, Run, UserError
from experiments.shots import TEXTS_FROM, pixels_of
from experiments.streams import Split, split_by_seed
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "splits, noisy labels and colours, networks"


@dataclasses.dataclass(frozen=True)
class Config(rotated_domains.Settings, coloured_domains.Settings, adapted_domains.Settings, adapted_towers.Settings):
    """The science of this question."""

    def __post_init__(self) -> None:
        for name in ("turned_test_share", "coloured_test_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")


QUICK = {
    "turned_hidden": 32,
    "turned_steps": 60,
    "coloured_hidden": 16,
    "coloured_steps": 40,
    "coloured_warmup": 20,
    "probes": 2,
    "known_hidden": 32,
    "known_steps": 60,
    "tuning_steps": 40,
    "tower_hidden": 32,
    "tower_steps": 80,
    "tower_tuning": 40,
}


COLOURED = ("erm", "coral", *("aligned" for _ in coloured_domains.SWEEP))


class Parts:
    """What rows of one setting share, made when the first of them asks for it."""

    def __init__(self, config: Config, run: Run) -> None:
        self.config, self.data, self.keys = config, run.data(), run.seed_keys()
        if self.data.kind != "images":
            raise UserError("Features cannot be turned or coloured: bring images [N, H, W].")
        self.rows = pixels_of(self.data)
        self.x, self.num_classes = jnp.asarray(self.rows), self.data.num_classes
        self.measured = Programs().measured

    @functools.cached_property
    def splits(self) -> Split:
        """Digits to learn from, and others to ask about."""
        return split_by_seed(self.data.y, self.keys, test_fraction=self.config.turned_test_share)

    @functools.cached_property
    def turned(self) -> Array:
        """All digits at all angles [A, N, D]."""
        images = rotated(self.rows.reshape(-1, 8, 8), rotated_domains.ANGLES)
        return jnp.asarray(images.reshape(*images.shape[:2], -1))

    @functools.cache  # noqa: B019
    def trained(self, *, sam: bool, coral: bool, own_heads: bool, udim: bool) -> Measured:
        """Networks on turned digits; both rows of heads per domain read the same ones."""
        weights = rotated_domains.Weights(
            jnp.float32(self.config.sam_rho if sam else 0.0),
            jnp.float32(self.config.coral_weight if coral else 0.0),
            jnp.float32(own_heads),
        )
        fn = functools.partial(rotated_domains.measure, self.config, num_classes=self.num_classes, udim=udim)
        return self.measured(("turned", udim), fn, self.splits, self.turned, weights)

    @functools.cached_property
    def colours(self) -> coloured_domains.Seed:
        """Colours and noisy labels."""
        return coloured_domains.prepare(self.config, self.data.y, self.keys)

    @functools.cache  # noqa: B019
    def painted(self, hutchinson: bool) -> Measured:
        """All trainings on coloured digits: without a penalty, with the same moments, and the sweep."""
        config, sweep = self.config, jnp.array(coloured_domains.SWEEP)
        none = jnp.zeros(0 if hutchinson else 2)  # the rows that align nothing, once for both
        aligned = jnp.concatenate([none, sweep])
        weights = coloured_domains.Penalty(
            config.curvature_weight * aligned,
            config.gradient_weight * aligned,
            jnp.array(
                [0.0 if hutchinson or name != "coral" else config.colour_coral for name in COLOURED[-len(aligned) :]]
            ),
        )
        fn = functools.partial(coloured_domains.measure, config, hutchinson=hutchinson)
        return self.measured(("coloured", hutchinson), fn, self.colours, self.x, weights)

    @functools.cached_property
    def shown(self) -> tuple[Split, adapted_domains.Shots]:
        """The few digits that adapt a network."""
        return self.splits, adapted_domains.draw(self.config, self.splits)

    @functools.cached_property
    def source(self) -> adapted_towers.Source:
        """The other data set with the same classes."""
        if self.data.name not in TEXTS_FROM:
            raise ValueError(f"two encoders need another data set with the classes of {self.data.name}")
        other = datasets.load(TEXTS_FROM[self.data.name])
        return adapted_towers.Source(jnp.asarray(pixels_of(other)), jnp.asarray(other.y))


def on_turned(
    *, sam: bool = False, coral: bool = False, heads: str = "global", udim: bool = False
) -> Callable[[Parts], Measured]:
    """A row on turned digits; ``heads`` says what predicts."""

    def measure(parts: Parts) -> Measured:
        found = parts.trained(sam=sam or udim, coral=coral, own_heads=heads != "global", udim=udim)
        values, curves = rotated_domains.read(found.curves["right"][:, rotated_domains.HEADS.index(heads)])
        return Measured(values, curves, _shared(found, 2 if heads != "global" else 1))

    return measure


def _shared(found: Measured, rows: int) -> dict[str, float]:
    """The seconds of a row of which others read the same training."""
    return {kind: seconds / rows for kind, seconds in found.timings.items()}


def on_colours(row: str, *, hutchinson: bool = False) -> Callable[[Parts], Measured]:
    """A row on coloured digits; "aligned" is a sweep over the weight of the alignment."""

    def measure(parts: Parts) -> Measured:
        found = parts.painted(hutchinson)
        lies, tells = (found.curves[name] for name in ("colour_lies", "colour_tells"))  # [S, P]
        names = COLOURED[-lies.shape[1] :]
        places = [place for place, name in enumerate(names) if name == row]
        own = places[coloured_domains.SWEEP.index(1.0) if len(places) > 1 else 0]
        curves = {"lies_by_weight": lies[:, places], "tells_by_weight": tells[:, places]} if len(places) > 1 else {}
        seconds = _shared(found, len(dict.fromkeys(names)))
        return Measured({"colour_lies": lies[:, own], "colour_tells": tells[:, own]}, curves, seconds)

    return measure


def adapted(*, low_rank: bool = True, orthogonal: bool = False) -> Callable[[Parts], Measured]:
    """A row of an adapted network."""

    def measure(parts: Parts) -> Measured:
        fn = functools.partial(adapted_domains.measure, parts.config, num_classes=parts.num_classes)
        weight = jnp.float32(parts.config.orthogonal_weight if orthogonal else 0.0)
        x = parts.turned[: len(adapted_domains.ANGLES)]
        return parts.measured("adapted", fn, parts.shown, x, jnp.bool_(low_rank), weight)

    return measure


def towers(*, kept: bool = True, augmented: bool = False, ascent: bool = False) -> Callable[[Parts], Measured]:
    """A row of two encoders."""

    def measure(parts: Parts) -> Measured:
        config = parts.config
        tuning = adapted_towers.Tuning(
            jnp.float32(kept),
            jnp.float32(config.mixing if augmented else 0.0),
            jnp.float32(config.look if ascent else 0.0),
        )
        fn = functools.partial(adapted_towers.measure, config)
        return parts.measured("towers", fn, parts.splits, parts.x, parts.source, tuning)

    return measure


def joined(*rows: Callable[[Parts], Measured]) -> Callable[[Parts], Measured]:
    """A row that is measured in several settings."""

    def measure(parts: Parts) -> Measured:
        found = [row(parts) for row in rows]
        metrics, curves = (
            {k: v for one in found for k, v in getattr(one, name).items()} for name in Measured._fields[:2]
        )
        return Measured(metrics, curves, {kind: sum(one.timings[kind] for one in found) for kind in ("compile", "run")})

    return measure


METHODS = (
    Method("erm", None, joined(on_turned(), on_colours("erm")), note="all domains as one"),
    Method("coral", None, joined(on_turned(coral=True), on_colours("coral")), note="features with the same moments"),
    Method("sam", None, on_turned(sam=True), note="sharpness-aware"),
    Method("udim", 244, on_turned(udim=True), note="and inconsistency with inputs moved uphill"),
    Method("drm_certain", 254, on_turned(heads="certain"), note="a head per domain, the most certain one answers"),
    Method("drm_mixed", 254, on_turned(heads="mixed"), note="a head per domain, mixed by their certainty"),
    Method("hgp", 222, on_colours("aligned"), note="Hessian times gradient, and gradient, aligned"),
    Method(
        "hutchinson",
        222,
        on_colours("aligned", hutchinson=True),
        note="diagonal of the Hessian, and gradient, aligned",
    ),
    Method("full_tuning", None, adapted(low_rank=False), note="all parameters of the known network"),
    Method("lora", None, adapted(), note="one low-rank change per kernel, of the rank of the whole group"),
    Method("pego", 197, adapted(orthogonal=True), note="a group of changes, orthogonal to the kernel and each other"),
    Method("towers", None, towers(kept=False), note="two encoders as they come"),
    Method("towers_lora", None, towers(), note="low-rank changes of both"),
    Method("towers_augmented", None, towers(augmented=True), note="a share of the gradient from augmented images"),
    Method("glad", 243, towers(augmented=True, ascent=True), note="that share at the ascended parameters"),
)


CLAIMS = (
    Claim(
        222,
        "Without a penalty the network follows the colour: below .3 where it lies",
        lambda rows: rows["colour_lies"]["erm"],
        "<",
        0.3,
    ),
    Claim(222, "Aligned Hessian-gradient products: above .5", lambda rows: rows["colour_lies"]["hgp"], ">", 0.5),
    Claim(222, "Aligned diagonals of the Hessian: above .5", lambda rows: rows["colour_lies"]["hutchinson"], ">", 0.5),
    Claim(244, "Sharpness-aware training beats ERM at 75 degrees", difference("turned_75", "sam", "erm"), ">", 0.0),
    Claim(244, "UDIM beats sharpness-aware training there", difference("turned_75", "udim", "sam"), ">", 0.0),
    Claim(
        244,
        "From upright digits alone UDIM beats sharpness-aware training by .01",
        difference("from_0", "udim", "sam"),
        ">",
        0.01,
    ),
    Claim(
        254,
        "Heads per domain, mixed, beat ERM by .005 on an angle left out",
        difference("left_out", "drm_mixed", "erm"),
        ">",
        0.005,
    ),
    Claim(254, "The most certain head does so too", difference("left_out", "drm_certain", "erm"), ">", 0.005),
    Claim(254, "They lose no .005 on angles that were learned", difference("learned", "drm_mixed", "erm"), ">", -0.005),
    Claim(
        197,
        "PEGO beats a low-rank change of the same size at 60 degrees",
        difference("adapted_60", "pego", "lora"),
        ">",
        0.0,
    ),
    Claim(
        197, "PEGO beats tuning all parameters at 60 degrees", difference("adapted_60", "pego", "full_tuning"), ">", 0.0
    ),
    Claim(
        197,
        "PEGO keeps more of upright digits than a low-rank change",
        difference("adapted_0", "pego", "lora"),
        ">",
        0.0,
    ),
    Claim(
        243,
        "A gradient at the ascended parameters raises novel classes over the same augmented images without it",
        difference("novel", "glad", "towers_augmented"),
        ">",
        0.0,
    ),
    Claim(
        243,
        "And the harmonic mean of shown and novel classes",
        difference("harmonic_mean", "glad", "towers_augmented"),
        ">",
        0.0,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    parts = Parts(config, run)
    run.rows(METHODS, lambda method: method.fn(parts))


def plot(result: Result) -> Figure:
    """Accuracy by angle, by the weight of a penalty where the colour lies, after adapting, and of the two encoders."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Unseen domains: {result.dataset}")
    plots.curves_over_tasks(
        axes[0],
        result.curves.get("by_angle", {}),
        ("erm", "coral", "sam", "udim", "drm_certain", "drm_mixed"),
        ylabel="accuracy, 0 to 45 learned",
        xlabel="degrees",
        x=rotated_domains.ANGLES,
    )
    lies = result.rows.get("colour_lies", {})
    shown = ("hgp", "hutchinson", "erm", "coral")
    flat = {
        name: np.repeat(np.asarray(lies[name], float)[:, None], len(coloured_domains.SWEEP), axis=1)
        for name in shown[2:]
        if name in lies
    }
    plots.curves_over_tasks(
        axes[1],
        result.curves.get("lies_by_weight", {}) | flat,
        shown,
        ylabel="accuracy where the colour lies",
        xlabel="weight of the alignment, times the row's own",
        x=coloured_domains.SWEEP,
    )
    axes[1].set_xscale("log")
    axes[1].axhline(0.5, color="0.6", linewidth=0.8, linestyle=":")
    plots.curves_over_tasks(
        axes[2],
        result.curves.get("adapted_by_angle", {}),
        ("full_tuning", "lora", "pego"),
        ylabel="accuracy, a few of 15 and 30 shown",
        xlabel="degrees",
        x=adapted_domains.ANGLES,
    )
    names = ("towers", "towers_lora", "towers_augmented", "glad")
    base, novel = (result.rows.get(metric, {}) for metric in ("base", "novel"))
    for position, name in enumerate(names):
        if name in base and name in novel:
            look = plots.style(position) | {"linestyle": "none"}
            axes[3].plot(np.asarray(base[name], float), np.asarray(novel[name], float), label=name, **look)
    axes[3].set_xlabel("accuracy among shown classes")
    axes[3].set_ylabel("accuracy among the others")
    if axes[3].lines:
        axes[3].legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0.0, -0.2), ncols=2)
    axes[3].spines[["top", "right"]].set_visible(False)
    return figure
