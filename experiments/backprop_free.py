"""Can a deep network learn without gradients that run through it?

Blocks that each denoise the label, layers that judge whether an input and a label belong together, and linear maps
between random media of which nobody knows the equations. Rivals are backpropagation through the same blocks, and
through the media themselves or through a digital model that is somewhat off.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.claims import difference, ratio
from experiments.label_denoisers import (
    Seed,
    backprop,
    dt_gradients,
    forward_forward,
    linear,
    make_blocks,
    noprop_ct,
    noprop_dt,
    noprop_fm,
    noprop_learned,
    whole_loss,
)
from experiments.physical_networks import MISMATCHES, by_goodness, reservoir, through_model
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, over_seeds
from experiments.streams import stratified_split

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split into training and test rows, weights, media, batches, noise"


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    test_share: float = 0.25
    """Share of every class to test on."""
    train_steps: int = 1500
    """Steps of Adam for every method."""
    batch_size: int = 128
    """Rows a step."""
    learning_rate: float = 3e-3
    """At the start; it falls to zero as a cosine."""
    blocks: int = 10
    """Blocks that denoise in turn."""
    width: int = 64
    """Of their hidden layers."""
    eta: float = 0.1
    """Weight of the denoising term in discrete time."""
    timed_width: int = 256
    """Hidden width of the one block for all times."""
    timed_eta: float = 1.0
    """Weight of the denoising term in continuous time."""
    timed_steps: int = 50
    """Steps of inference in continuous time."""
    goodness_layers: int = 3
    """Layers of the forward-forward network."""
    goodness_width: int = 256
    """Their width."""
    physics: str = "intensity"
    """What a medium answers: intensity, cavity or tanh."""
    physical_layers: int = 2
    """Media in turn."""
    physical_width: int = 128
    """Detectors behind a medium."""
    map_width: int = 64
    """Outputs of the linear maps between media."""
    cosine_scale: float = 10.0
    """Sharpness of physical local learning."""
    mismatch: float = 0.2
    """How far the digital model's amplitudes are off, as a share."""

    def __post_init__(self) -> None:
        for name in ("test_share", "mismatch"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        for name in ("blocks", "goodness_layers"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")


QUICK = {"train_steps": 60, "blocks": 4, "width": 32, "timed_width": 32, "timed_steps": 10, "goodness_width": 64}


def working_memory(fn: Callable[..., Any], *args: Any) -> float:
    """Kilobytes that the compiled program needs beside its inputs and outputs."""
    analysis = jax.jit(fn).lower(*args).compile().memory_analysis()
    assert analysis is not None
    return float(analysis.temp_size_in_bytes) / 1024


def memory_by_depth(config: Config, num_classes: int, inputs: int, *, whole: bool) -> np.ndarray:
    """Of one update of a network of half, once, twice and four times as many blocks: as a whole, or one by one."""
    found = []
    for depth in depths(config):
        deep = dataclasses.replace(config, blocks=max(2, depth))
        key = jax.random.key(0)
        blocks = jax.eval_shape(functools.partial(make_blocks, deep, num_classes, inputs), key)
        x = jax.ShapeDtypeStruct((config.batch_size, inputs), jnp.float32)
        y = jax.ShapeDtypeStruct((config.batch_size,), jnp.int32)
        head = jax.ShapeDtypeStruct((num_classes, num_classes), jnp.float32)
        if whole:
            found.append(working_memory(jax.grad(whole_loss), {"blocks": blocks, "head": head}, x, y, key))
        else:
            found.append(working_memory(functools.partial(dt_gradients, deep), blocks, x, y, key))
    return np.array(found)


def depths(config: Config) -> tuple[int, ...]:
    """Numbers of blocks of which the memory is measured."""
    return config.blocks // 2, config.blocks, 2 * config.blocks, 4 * config.blocks


METHODS = (
    Method("linear", None, linear, note="softmax regression"),
    Method("backprop", None, backprop, note="the blocks as one network"),
    Method("noprop_dt", 29, noprop_dt, note="every block alone, one-hot embeddings"),
    Method("noprop_learned", 29, noprop_learned, note="the same, embeddings learned"),
    Method("noprop_ct", 29, noprop_ct, note="one block for all times, schedule learned"),
    Method("noprop_fm", 29, noprop_fm, note="one velocity for all times"),
    Method("forward_forward", None, forward_forward, note="layers with goodness"),
    Method("reservoir", None, reservoir, note="media with random maps, linear readout"),
    Method("backprop_media", None, functools.partial(through_model, forward="model", exact=True), note="exact model"),
    Method("backprop_model", None, functools.partial(through_model, forward="model"), note="model is off"),
    Method("physics_aware", None, functools.partial(through_model, forward="media"), note="model for gradients only"),
    Method("local_cosine", 81, functools.partial(by_goodness, cosine=True), note="maps one by one, by directions"),
    Method("local_power", 81, functools.partial(by_goodness, cosine=False), note="maps one by one, by power"),
)
DIGITAL = tuple(method.name for method in METHODS[:7])
PHYSICAL = tuple(method.name for method in METHODS[7:])
BY_DEPTH = ("backprop", "noprop_dt")


_above = functools.partial(difference, "accuracy")

CLAIMS = (
    Claim(
        29,
        "Blocks trained apart are as accurate as by backpropagation, but for 2 points",
        _above("noprop_dt", "backprop"),
        ">",
        -0.02,
    ),
    Claim(29, "They are more accurate than forward-forward", _above("noprop_dt", "forward_forward"), ">", 0.0),
    Claim(29, "They are more accurate than softmax regression", _above("noprop_dt", "linear"), ">", 0.0),
    Claim(
        29,
        "An update needs less working memory than backpropagation (ratio)",
        ratio("memory_kb", "noprop_dt", "backprop"),
        "<",
        1.0,
    ),
    Claim(
        29,
        "Twice as many blocks do not need more (ratio)",
        lambda rows: rows["memory_growth"]["noprop_dt"],
        "<",
        1.1,
    ),
    Claim(
        81,
        "Local training of the maps is more accurate than a linear readout of media of the same kind",
        _above("local_cosine", "reservoir"),
        ">",
        0.0,
    ),
    Claim(
        81,
        "It is as accurate as backpropagation through the media, but for 2 points",
        _above("local_cosine", "backprop_media"),
        ">",
        -0.02,
    ),
    Claim(
        81,
        "It is more accurate than backpropagation through a model whose amplitudes are 20 % off",
        _above("local_cosine", "backprop_model"),
        ">",
        0.0,
    ),
    Claim(
        81,
        "Backpropagation through that model loses accuracy, of which local training needs no part",
        _above("backprop_media", "backprop_model"),
        ">",
        0.0,
    ),
)


def prepare(config: Config, data: Dataset, keys: jax.Array) -> Seed:
    """The splits of all seeds, inputs in [0, 1], with a leading axis of seeds."""
    x = data.x.reshape(len(data.x), -1)
    x = (x - x.min()) / max(float(np.ptp(x)), 1e-12)
    parts = []
    for seed in range(len(keys)):
        train, test = stratified_split(data.y, test_fraction=config.test_share, rng=np.random.default_rng(seed))
        parts.append((x[train], data.y[train], x[test], data.y[test]))
    return Seed(keys, *(jnp.asarray(np.stack(part)) for part in zip(*parts, strict=True)))


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    seeds = run.shard(prepare(config, data, run.seed_keys()))
    inputs = seeds.x.shape[-1]

    def measure(method: Method) -> Measured:
        found, curves, timings = over_seeds(functools.partial(method.fn, config, data.num_classes), seeds)
        if method.name in BY_DEPTH:
            memory = memory_by_depth(config, data.num_classes, inputs, whole=method.name == "backprop")
            every = np.ones(run.seeds)
            found = {**found, "memory_kb": memory[1] * every, "memory_growth": memory[2] / memory[1] * every}
            curves = {**curves, "memory_by_depth": np.tile(memory, (run.seeds, 1))}
            curves["depth"] = np.tile(depths(config), (run.seeds, 1))
        return Measured(found, curves, timings)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Accuracy of both kinds of networks, memory by depth, accuracy by the fault of the digital model."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Learning without backpropagation on {result.dataset}")
    accuracy = result.rows["accuracy"]
    for ax, names, what in ((axes[0], DIGITAL, "accuracy, digital networks"), (axes[1], PHYSICAL, "accuracy, media")):
        plots.method_bars(ax, accuracy, names, what)
        shown = [min(accuracy[name]) for name in names if name in accuracy]
        ax.set_ylim(bottom=max(0.0, min(shown, default=0.0) - 0.05), top=1.01)
    curves = result.curves.get("memory_by_depth", {})
    deep = result.curves.get("depth", {})
    places = list(np.asarray(next(iter(deep.values())))[0]) if deep else [1.0]
    plots.curves_over_tasks(
        axes[2], curves, BY_DEPTH, ylabel="working memory of an update, kB", xlabel="blocks", x=places
    )
    axes[2].set_ylim(bottom=0)
    lines = dict(result.curves.get("by_mismatch", {}))
    for name in ("local_cosine", "reservoir"):  # they know no model
        if name in accuracy:
            lines[name] = np.tile(np.asarray(accuracy[name])[:, None], len(MISMATCHES))
    names = ("backprop_model", "physics_aware", "local_cosine", "reservoir")
    plots.curves_over_tasks(
        axes[3], lines, names, ylabel="accuracy", xlabel="share by which the digital model is off", x=MISMATCHES
    )
    return figure
