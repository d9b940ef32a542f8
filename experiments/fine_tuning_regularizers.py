"""What helps on little data: the form of the weights, softer targets, noise, or teaching oneself?

A small convolutional network learns from 500 images: as they are, with a fifth of the labels wrong, with three tenths
of the images nearly empty, and from 200 of them. Every row changes one thing: what weights are made of, what they are
trained on, which examples count, or what the images are turned into. All rows see the same images for the same number
of steps.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import plots
from experiments.claims import difference
from experiments.programs import Programs
from experiments.runner import Claim, Measured, Method, Result, Run, UserError
from experiments.scarce_data import (
    CONDITIONS,
    DULL,
    FEW,
    NOISY,
    PLAIN,
    Flat,
    Form,
    Scarce,
    companded_form,
    draw,
    flat,
    initial,
    network,
    reliability,
    unflat,
    weights_of,
)
from experiments.training import fit
from jaxlab import distill, losses, metrics, optim, vision
from jaxlab.typing import Array, ArrayLike, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "training and test images, wrong labels, empty images, networks"
TURNS = 4
EDGES = np.linspace(-1.5, 1.5, 121)
SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    per_class: int = 50
    """Training images of every class."""
    few: int = 20
    """How many of them where there are few."""
    tests: int = 120
    """Test images of every class, or as many as the smallest class has."""
    noise: float = 0.2
    """Share of wrong labels where labels are noisy."""
    dullness: float = 0.3
    """Share of nearly empty images where images are dull."""
    hidden: int = 128
    """Width of the layer before the head."""
    epochs: int = 60
    """Passes over the training images."""
    batch: int = 50
    """Images per step."""
    learning_rate: float = 1e-2
    """Of Adam, falling to zero as a cosine; so large that cross entropy learns its wrong labels by heart."""
    decay: float = 0.05
    """Decoupled weight decay of the rows that have it, times the learning rate."""
    smoothing: float = 0.1
    """Share of the target that label smoothing spreads over all classes."""
    final_alpha: float = 0.8
    """Share of the target that past predictions make up at the end."""
    radius: float = 0.05
    """How far uphill the sharpness-aware row goes."""
    ratio: float = 2.0
    """How much faster a companded weight moves near zero."""

    def __post_init__(self) -> None:
        if not 1 <= self.few <= self.per_class:
            raise ValueError(f"few must lie in [1, per_class], got {self.few}")
        for name in ("noise", "dullness"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")


QUICK = {"per_class": 10, "few": 5, "tests": 20, "epochs": 6, "batch": 10, "hidden": 16}


class Recipe(NamedTuple):
    """How a row trains; numbers that are traced, so that rows share a program."""

    decay: float = 0.0
    smoothing: float = 0.0
    alpha: float = 0.0
    radius: float = 0.0  # how far uphill gradients are taken
    bias: float = 0.0  # 1: examples with varied features count more
    companded: float = 0.0
    learned: float = 0.0  # 1: the scales of companded weights are trained


class Turned(NamedTuple):
    """How a row that sees every image in all four turns trains; each is 0 or 1."""

    same: float = 0.0  # a turned image keeps its class
    turn: float = 0.0  # a second head names the turn
    joint: float = 0.0  # one head names class and turn
    distil: float = 0.0  # and teaches the first


class Part(NamedTuple):
    """One condition of one seed."""

    key: Array
    x: Array
    y: Array
    allowed: Array


class Memory(NamedTuple):
    """What training carries from step to step."""

    step: Array
    targets: distill.TargetsState
    minimum: Array


@functools.cache
def optimizer(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    """Adam whose decay of kernels is an argument; the same object for the same numbers."""
    rate = optax.cosine_decay_schedule(learning_rate, num_steps)
    make = optax.inject_hyperparams(optax.adamw, static_args=("mask",))
    return make(learning_rate=rate, weight_decay=0.0, mask=Form._make([Flat._make([True, False]), False]))


def trained(config: Config, loss_fn: Any, first: PyTree, memory: PyTree, part: Part, decay: ArrayLike) -> PyTree:
    """The parameters after all epochs."""
    num_steps = config.epochs * max(1, len(part.y) // config.batch)
    method = optimizer(config.learning_rate, num_steps)
    state = method.init(first)
    state = state._replace(hyperparams={**state.hyperparams, "weight_decay": decay})
    sizes = {"num_steps": num_steps, "batch_size": config.batch}
    data = {"x": part.x, "y": part.y}
    return fit(loss_fn, first, memory, method, data, part.key, where=part.allowed, opt_state=state, **sizes).params


def plain(config: Config, params: PyTree, part: Part, recipe: Recipe, *, num_classes: int) -> PyTree:
    """Trains on images as they are; gives the network."""
    like, (_, forward) = params, network(num_classes, config.hidden)
    per_epoch = max(1, len(part.y) // config.batch)

    def loss_fn(params: PyTree, memory: Memory, batch: dict[str, Array], _: Array) -> tuple[Array, Memory]:
        maps, logits = forward(weights_of(params, like, recipe.companded, recipe.learned), batch["x"])
        alpha = recipe.alpha * (memory.step // per_epoch + 1) / config.epochs
        targets = distill.progressive_targets(memory.targets, batch["index"], batch["y"], alpha=alpha)
        soft = (1 - recipe.smoothing) * targets + recipe.smoothing / num_classes
        weighed = losses.bias_loss(logits, batch["y"], maps, minimum=memory.minimum)
        each = jnp.where(recipe.bias > 0, weighed, optax.losses.softmax_cross_entropy(logits, soft))
        memory = Memory(
            memory.step + 1,
            distill.progressive_targets_update(memory.targets, batch["index"], logits),
            losses.bias_minimum(memory.minimum, maps),
        )
        return jnp.mean(each), memory

    def uphill(params: PyTree, memory: Memory, batch: dict[str, Array], key: Array) -> tuple[Array, Memory]:
        """The loss a step uphill, where its gradient is the one to follow."""

        def away(params: PyTree) -> PyTree:
            gradient = jax.grad(lambda p: loss_fn(p, memory, batch, key)[0])(params)
            return jax.tree.map(jnp.subtract, optim.ascent_step(params, gradient, rho=recipe.radius), params)

        stay = lambda params: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
        moved = jax.lax.cond(recipe.radius > 0, away, stay, jax.lax.stop_gradient(params))
        return loss_fn(jax.tree.map(jnp.add, params, moved), memory, batch, key)

    memory = Memory(jnp.int32(0), distill.progressive_targets_init(part.y, num_classes), jnp.float32(jnp.inf))
    first = companded_form(params, recipe.companded, ratio=config.ratio)
    done = trained(config, uphill, first, memory, part, recipe.decay)
    return weights_of(done, like, recipe.companded, recipe.learned)


def turned(config: Config, params: PyTree, part: Part, recipe: Turned, *, num_classes: int) -> PyTree:
    """Trains on every image in all four turns; gives a network whose outputs are those of three heads."""
    like = params
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels

    def loss_fn(form: Form, state: None, batch: dict[str, Array], _: Array) -> tuple[Array, None]:
        joint, single, turn = heads(config, unflat(like, form.net), batch["x"], num_classes)
        same = jnp.mean(entropy(single, jnp.broadcast_to(batch["y"][:, None], single.shape[:2])), axis=1)
        named = jnp.mean(entropy(turn, jnp.broadcast_to(jnp.arange(TURNS), turn.shape[:2])), axis=1)
        both = losses.sla(joint, batch["y"])
        taught = distill.sla_self_distillation(single[:, 0], joint, batch["y"])
        each = recipe.same * same + recipe.turn * named + recipe.joint * both + recipe.distil * taught
        return jnp.mean(each), state

    done = trained(config, loss_fn, Form(flat(params), jnp.zeros(0)), None, part, jnp.zeros(()))
    return unflat(like, done.net)


def outputs_of_turned(num_classes: int) -> int:
    """Joint labels, classes, turns."""
    return num_classes * (TURNS + 1) + TURNS


def heads(config: Config, params: PyTree, x: Array, num_classes: int) -> tuple[Array, Array, Array]:
    """Logits of an image in its four turns: of class and turn [B, 4, 4 K], of the class [B, 4, K], of the turn."""
    _, forward = network(outputs_of_turned(num_classes), config.hidden)
    copies = vision.rotations(x)
    logits = forward(params, copies.reshape(-1, *copies.shape[2:]))[1].reshape(*copies.shape[:2], -1)
    joint, single, turn = jnp.split(logits, (num_classes * TURNS, num_classes * (TURNS + 1)), axis=-1)
    return joint, single, turn


def _parts(seed: Scarce) -> Part:
    keys = jnp.broadcast_to(jax.random.fold_in(seed.key, 1), (len(CONDITIONS),))  # the same batches in all
    return Part(keys, seed.x, seed.labels, seed.allowed)


def on_images(config: Config, num_classes: int, given: tuple[Scarce, PyTree], recipe: Recipe) -> Any:
    """A row that trains on images as they are: logits of the test images, weights, and features of dull images."""
    seed, params = given
    _, forward = network(num_classes, config.hidden)
    params = jax.vmap(lambda part: plain(config, params, part, recipe, num_classes=num_classes))(_parts(seed))
    weights = flat(jax.tree.map(lambda leaf: leaf[PLAIN], params)).kernels
    maps, _ = forward(jax.tree.map(lambda leaf: leaf[DULL], params), seed.x[DULL])
    return {}, {"logits": jax.vmap(forward, in_axes=(0, None))(params, seed.test)[1], "weights": weights, "maps": maps}


def on_turns(config: Config, num_classes: int, given: tuple[Scarce, PyTree], recipe: Turned) -> Any:
    """A row that trains on all four turns: logits with joint labels by all four, else of the image as it is."""
    seed, params = given
    params = jax.vmap(lambda part: turned(config, params, part, recipe, num_classes=num_classes))(_parts(seed))
    joint, single, _ = jax.vmap(lambda p: heads(config, p, seed.test, num_classes))(params)
    logits = jnp.where(recipe.joint > 0, losses.aggregate_joint_logits(joint), single[:, :, 0])
    return {}, {"logits": logits, "alone": jnp.where(recipe.joint > 0, joint[:, :, 0, ::TURNS], single[:, :, 0])}


@jax.jit
def scores(logits: Array, truth: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Of logits [S, C, M, K]: what is measured, and how far confidence can be believed where labels were wrong."""

    def one(logits: Array, truth: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        accuracy = jax.vmap(lambda z: metrics.accuracy(z, truth))(logits)
        noisy = logits[NOISY]
        probs = jax.nn.softmax(noisy)
        entropy = optax.losses.softmax_cross_entropy_with_integer_labels(noisy, truth)
        found = {f"accuracy_{name}": accuracy[place] for place, name in enumerate(CONDITIONS)}
        found |= {"nll_noisy": jnp.mean(entropy), "ece_noisy": metrics.expected_calibration_error(probs, truth)}
        return found, reliability(probs, truth)

    return jax.vmap(one)(logits, truth)


counted = jax.jit(jax.vmap(losses.bias_weights))


def measured(made: Measured, seeds: Scarce) -> Measured:
    """The row of what a program made, and what a figure needs of it."""
    given = made.curves
    found, curves = (jax.tree.map(np.asarray, part) for part in scores(given["logits"], seeds.truth))
    if "alone" in given:
        right = given["alone"][:, FEW].argmax(-1) == np.asarray(seeds.truth)
        return Measured(found | {"accuracy_few_single": right.mean(-1)}, curves, made.timings)
    size = np.abs(given["weights"])
    found |= {"small_weights": (size < 0.01).mean(-1), "largest_weight": size.max(-1)}
    counts = np.asarray(counted(given["maps"]))
    dull = np.asarray(seeds.dull)
    found["weight_gap"] = np.array([w[~empty].mean() - w[empty].mean() for w, empty in zip(counts, dull, strict=True)])
    ends = np.argsort(counts, axis=1)[:, np.linspace(0, counts.shape[1] - 1, SHOWN).astype(int)]
    images = np.asarray(seeds.x[:, DULL]).reshape(*counts.shape, -1)
    curves["ranked"] = np.take_along_axis(images, ends[..., None], axis=1)
    curves["weights"] = np.stack([np.histogram(row, EDGES)[0] for row in given["weights"]])
    return Measured(found, curves, made.timings)


def _row(name: str, paper: int | None, note: str, **recipe: Any) -> Method:
    return Method(
        name, paper, lambda config: Recipe(**{k: v(config) if callable(v) else v for k, v in recipe.items()}), note
    )


METHODS = (
    _row("none", None, "cross entropy"),
    _row("weight_decay", None, "decoupled, of kernels", decay=lambda config: config.decay),
    _row("label_smoothing", None, "a tenth of the target on all classes", smoothing=lambda config: config.smoothing),
    _row("sam", None, "the gradient a step uphill", radius=lambda config: config.radius),
    _row("compander", 239, "bounded weights that leave zero fast", companded=1.0),
    _row("compander_learned", 239, "and trained scales", companded=1.0, learned=1.0),
    _row("compander_decay", 239, "and decay of what is trained", companded=1.0, decay=lambda config: config.decay),
    _row("ps_kd", 245, "targets mixed with past predictions", alpha=lambda config: config.final_alpha),
    _row("bias_loss", 201, "images with varied features count more", bias=1.0),
    Method("rotated", None, lambda config: Turned(same=1.0), note="all turns, the class stays"),
    Method("two_heads", None, lambda config: Turned(same=1.0, turn=1.0), note="a second head names the turn"),
    Method("sla", 157, lambda config: Turned(joint=1.0), note="class and turn in one label, four passes"),
    Method("sla_sd", 157, lambda config: Turned(distil=1.0), note="and a head that learns to do it in one"),
)


CLAIMS = (
    Claim(239, "Fewer weights stay below .01", difference("small_weights", "none", "compander"), ">", 0.0),
    Claim(239, "The largest weight is smaller", difference("largest_weight", "none", "compander"), ">", 0.0),
    Claim(
        239,
        "Beside weight decay it raises accuracy",
        difference("accuracy_plain", "compander_decay", "weight_decay"),
        ">",
        0.0,
    ),
    Claim(
        245,
        "Confidence is nearer to accuracy where labels are wrong",
        difference("ece_noisy", "none", "ps_kd"),
        ">",
        0.0,
    ),
    Claim(245, "So is the log-likelihood of test labels higher", difference("nll_noisy", "none", "ps_kd"), ">", 0.0),
    Claim(245, "At no cost of accuracy (.01)", difference("accuracy_noisy", "ps_kd", "none"), ">", -0.01),
    Claim(157, "Turned digits that keep their class do harm", difference("accuracy_few", "none", "rotated"), ">", 0.0),
    Claim(157, "Joint labels help with 20 images a class", difference("accuracy_few", "sla", "none"), ">", 0.0),
    Claim(
        157, "One pass after self-distillation is within .01", difference("accuracy_few", "sla_sd", "sla"), ">", -0.01
    ),
    Claim(201, "Nearly empty images weigh less", lambda rows: rows["weight_gap"]["bias_loss"], ">", 0.0),
    Claim(201, "Accuracy with them in training rises", difference("accuracy_dull", "bias_loss", "none"), ">", 0.0),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    num_classes = data.num_classes
    if config.batch > config.few * num_classes:
        raise UserError(f"A batch of {config.batch} would hold one of {config.few * num_classes} images twice.")
    sizes = {"per_class": config.per_class, "few": config.few, "tests": config.tests}
    seeds = draw(run.seed_keys(), data, noise=config.noise, dullness=config.dullness, **sizes)
    programs = Programs()

    @functools.cache
    def networks(num_outputs: int) -> PyTree:
        return initial(run.seed_keys(), num_outputs, config.hidden)

    def measure(method: Method) -> Measured:
        recipe = jax.tree.map(jnp.float32, method.fn(config))
        turns = isinstance(recipe, Turned)
        fn = functools.partial(on_turns if turns else on_images, config, num_classes)
        outputs = outputs_of_turned(num_classes) if turns else num_classes
        row = measured(programs.measured(turns, fn, (seeds, networks(outputs)), recipe), seeds)
        shown = {name: curve for name, curve in row.curves.items() if name != "ranked" or method.name == "bias_loss"}
        return row._replace(curves=shown)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Accuracy on few images, confidence against accuracy where labels were wrong, weights, and which images count."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Regularisers on little data: {result.dataset}")
    few = result.rows.get("accuracy_few", {})
    plots.method_bars(axes[0], few, [method.name for method in METHODS], "accuracy, few images")
    seen = [value for row in few.values() for value in np.asarray(row, float) if np.isfinite(value)] or [0.0]
    axes[0].set_ylim(max(0.0, min(seen) - 0.05), max(seen) + 0.02)
    parts = [result.curves.get(part, {}) for part in ("count", "confidence", "right")]
    for position, name in enumerate(("none", "label_smoothing", "ps_kd", "sam", "sla")):
        if all(name in part for part in parts):
            count, sure, right = (np.asarray(part[name], float).sum(0) for part in parts)
            some = count >= 0.005 * count.sum()
            look = plots.style(position)
            axes[1].plot(sure[some] / count[some], right[some] / count[some], label=name, markersize=4, **look)
    axes[1].plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=0)
    axes[1].set_xlabel("confidence, a fifth of the labels wrong")
    axes[1].set_ylabel("accuracy")
    weights = result.curves.get("weights", {})
    for position, name in enumerate(("none", "weight_decay", "compander", "compander_learned")):
        if name in weights:
            share = np.asarray(weights[name], float).sum(0)
            axes[2].stairs(share / share.sum(), EDGES, label=name, linewidth=1.6, color=plots.PALETTE[position])
    axes[2].set_yscale("log")
    axes[2].set_xlabel("weight")
    axes[2].set_ylabel("share of the weights")
    for ax in axes[1:3]:
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, fontsize=8)
    ranked = result.curves.get("ranked", {}).get("bias_loss")
    lines = {} if ranked is None else {f"seed {seed}": row for seed, row in enumerate(np.asarray(ranked, float)[:4])}
    plots.image_strips(axes[3], lines, limits=(0.0, 1.0), xlabel="what the bias loss weighs least (left) and most")
    return figure
