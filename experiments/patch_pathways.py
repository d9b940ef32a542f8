"""Images that show several classes, some of them new in every task: a pathway per task beside a frozen transformer."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes

from experiments import plots
from experiments.asset import asset
from experiments.assets import tiny_vit
from experiments.assets.tiny_vit import Mosaics, VitConfig
from experiments.claims import difference
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from experiments.training import fit
from jaxlab import continual, losses, metrics, nn
from jaxlab.numerics import normalize
from jaxlab.typing import Array, PyTree


@dataclasses.dataclass(frozen=True)
class Settings:
    """Mosaics that show several classes; each task names its own."""

    num_base: int = 4
    """Classes that the transformer has learned before, and the first task."""
    increments: int = 3
    """Later tasks; the other classes are dealt to them."""
    images: int = 600
    """Mosaics of each task, of which each shows a class of the task."""
    test_images: int = 400
    """Mosaics to test on, of all classes."""
    selectors: int = 4
    """Summaries of a task (an image has 16 patches)."""
    prompts: int = 4
    """Learned keys and values in front of those of every block."""
    steps: int = 200
    """Steps per task, batches of 64."""
    learning_rate: float = 0.03
    """Of Adam, as for the larger data set of the paper."""
    pretrain_share: float = 0.4
    """Share of the base classes' rows that the transformer learns from, and nothing else does."""
    pretrain_steps: int = 800
    """Steps of the transformer."""
    dim: int = 48
    """Width of the transformer."""


QUICK = Settings(images=100, test_images=100, steps=30, pretrain_steps=60, dim=16)


class Frozen(NamedTuple):
    """What the frozen transformer makes of mosaics: tokens before every block, features, and the targets."""

    layers: Array  # [B, L, 1 + N, D]
    features: Array  # [B, D]
    targets: Array  # [B, C]


class Seed(NamedTuple):
    """One seed: mosaics of every task [T, ...], and to test on."""

    key: Array
    tasks: Mosaics
    tests: Mosaics


class Setup(NamedTuple):
    """What all rows need: numbers of classes and tasks, the task of every class."""

    settings: Settings
    heads: int
    num_classes: int
    task_of_class: np.ndarray

    @property
    def num_tasks(self) -> int:
        """The first task and the increments."""
        return 1 + self.settings.increments


def _freeze(setup: Setup, vit: PyTree, shown: Mosaics) -> Frozen:
    layers, last = tiny_vit.frozen_layers(vit, shown.x, heads=setup.heads)
    return Frozen(layers.swapaxes(0, 1), tiny_vit.vit_features(vit, last[:, 0]), shown.targets)


def _new_pathway(setup: Setup, vit: PyTree, key: Array) -> PyTree:
    settings, dim = setup.settings, vit["cls"].shape[0]
    blocks = jax.tree.leaves(vit["blocks"])[0].shape[0]
    selector_key, prompt_key = jax.random.split(key)
    shape = (2, blocks, settings.prompts, setup.heads, dim // setup.heads)
    return {
        "selectors": jax.random.uniform(selector_key, (settings.selectors, dim), minval=-1.0),
        "prompts": jax.random.uniform(prompt_key, shape, minval=-1.0),
        "kernel": jnp.zeros((dim, setup.num_classes)),
        "bias": jnp.zeros(setup.num_classes),
    }


def _pathway_logits(setup: Setup, vit: PyTree, pathway: PyTree, layers: Array) -> Array:
    """Logits of one pathway for all classes: [B, C]."""
    cls = layers[:, 0, :1]
    selectors = jnp.broadcast_to(pathway["selectors"], (cls.shape[0], *pathway["selectors"].shape))

    def step(stream: Array, inputs: tuple[PyTree, Array, Array, Array]) -> tuple[Array, None]:
        block, tokens, keys, values = inputs
        return nn.pathway_block(block, tokens, stream, heads=setup.heads, prompts=(keys, values)), None

    inputs = (vit["blocks"], layers.swapaxes(0, 1), pathway["prompts"][0], pathway["prompts"][1])
    stream, _ = jax.lax.scan(step, jnp.concatenate([cls, selectors], axis=1), inputs)
    feature = normalize(tiny_vit.vit_features(vit, stream[:, 0]))
    return feature @ pathway["kernel"] + pathway["bias"]


def _probe_logits(setup: Setup, vit: PyTree, head: PyTree, features: Array) -> Array:
    return features @ head["kernel"] + head["bias"]


def _loss(
    logits_fn: Callable[[PyTree, PyTree, Array], Array], params: PyTree, state: Any, batch: dict[str, Array], key: Array
) -> tuple[Array, Any]:
    vit, classes = state
    logits = logits_fn(vit, params, batch["inputs"])
    asked = jnp.broadcast_to(classes, logits.shape)
    per_class = losses.weighted_binary_cross_entropy(logits, batch["targets"], where=asked)
    return jnp.sum(per_class) / jnp.maximum(jnp.sum(asked), 1), state


_OPTIMIZERS = functools.cache(lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)))


def _train(
    setup: Setup, loss_fn: Any, vit: PyTree, params: PyTree, inputs: Array, targets: Array, classes: Array, key: Array
) -> PyTree:
    """Trains one set of parameters on the classes asked for; ``inputs`` [B, ...]."""
    settings = setup.settings
    data, state = {"inputs": inputs, "targets": targets}, (vit, classes)
    optimizer = _OPTIMIZERS(settings.learning_rate)
    return fit(loss_fn, params, state, optimizer, data, key, num_steps=settings.steps, batch_size=64).params


def _classes_of(setup: Setup, task: Array) -> Array:
    return jnp.asarray(setup.task_of_class) == task


def _class_precision(logits: Array, targets: Array) -> Array:
    """Average precision of every class: [C]; a class without a positive has 0."""
    return jax.vmap(metrics.mean_average_precision)(logits.T[:, None], targets.T[:, None])


def _measures(setup: Setup, logits: Array, targets: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """From the logits after every task [T, B, C]: how good at the end, what was lost, how far logits moved."""
    precision = jax.vmap(lambda one: _class_precision(one, targets))(logits)
    counts = jnp.any(targets, axis=0)
    tasks = [jnp.asarray(setup.task_of_class == task) & counts for task in range(setup.num_tasks)]
    matrix = jnp.stack([jnp.sum(precision * mask, axis=1) / jnp.maximum(jnp.sum(mask), 1) for mask in tasks], axis=1)
    order = jnp.asarray(setup.task_of_class)
    known = jnp.arange(setup.num_tasks)[:, None] >= order
    moved = jnp.where(known[:, None], jnp.abs(logits - logits[-1]), 0.0)
    now = jnp.sum(jnp.where(known & counts, precision, 0.0), axis=1) / jnp.sum(known & counts, axis=1)
    measured = {
        "mean_average_precision": now[-1],
        "new_classes": jnp.mean(matrix[-1, 1:]),
        "forgetting": metrics.forgetting(matrix),
        "logit_drift": jnp.max(moved),
    }
    return measured, {"seen_precision": now}


def pathways(setup: Setup, seed: Seed, vit: PyTree, *, one: bool = False) -> Any:
    """A pathway for every task, or (``one``) a single pathway that every task goes on training."""
    frozen, tests = jax.vmap(lambda shown: _freeze(setup, vit, shown))(seed.tasks), _freeze(setup, vit, seed.tests)
    logits_fn = functools.partial(_pathway_logits, setup)
    keys = jax.random.split(seed.key, setup.num_tasks + 1)
    first = _new_pathway(setup, vit, keys[0])
    count = 1 if one else setup.num_tasks
    stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), first)
    loss_fn = functools.partial(_loss, logits_fn)
    task_of_class = jnp.asarray(setup.task_of_class)

    def learn(paths: PyTree, inputs: tuple[Array, Frozen, Array]) -> tuple[PyTree, Array]:
        task, shown, key = inputs
        place = 0 * task if one else task
        # A new task starts from the selectors and prompts of the task before.
        start = jax.tree.map(lambda leaf: leaf[jnp.maximum(place - 1, 0)], paths)
        trained = _train(setup, loss_fn, vit, start, shown.layers, shown.targets, _classes_of(setup, task), key)
        paths = jax.tree.map(lambda all_, new: all_.at[place].set(new), paths, trained)
        each = jax.vmap(lambda path: logits_fn(vit, path, tests.layers))(paths)
        known = jnp.where(task_of_class <= task, 0 * task_of_class if one else task_of_class, -1)
        return paths, continual.block_diagonal_logits(each, known)

    _, logits = jax.lax.scan(learn, stacked, (jnp.arange(setup.num_tasks), frozen, keys[1:]))
    return _measures(setup, _unseen_zero(logits), tests.targets)


def _unseen_zero(logits: Array) -> Array:
    """Classes that were not seen yet have no logit; they are never read, and -inf - -inf would be NaN."""
    return jnp.where(jnp.isfinite(logits), logits, 0.0)


def linear_probe(setup: Setup, seed: Seed, vit: PyTree) -> Any:
    """Linear heads on the frozen class token, the classes of each task learned with that task."""
    frozen, tests = jax.vmap(lambda shown: _freeze(setup, vit, shown))(seed.tasks), _freeze(setup, vit, seed.tests)
    loss_fn = functools.partial(_loss, functools.partial(_probe_logits, setup))
    head = {"kernel": jnp.zeros((vit["cls"].shape[0], setup.num_classes)), "bias": jnp.zeros(setup.num_classes)}

    def learn(head: PyTree, inputs: tuple[Array, Frozen, Array]) -> tuple[PyTree, Array]:
        task, shown, key = inputs
        head = _train(setup, loss_fn, vit, head, shown.features, shown.targets, _classes_of(setup, task), key)
        known = jnp.asarray(setup.task_of_class) <= task
        return head, jnp.where(known, _probe_logits(setup, vit, head, tests.features), 0.0)

    keys = jax.random.split(seed.key, setup.num_tasks)
    _, logits = jax.lax.scan(learn, head, (jnp.arange(setup.num_tasks), frozen, keys))
    return _measures(setup, logits, tests.targets)


def joint(setup: Setup, seed: Seed, vit: PyTree) -> Any:
    """One pathway trained on the mosaics of all tasks at once, with all labels: the upper bound."""
    settings = dataclasses.replace(setup.settings, steps=setup.settings.steps * setup.num_tasks)
    setup = setup._replace(settings=settings)
    flat = Mosaics(*(leaf.reshape(-1, *leaf.shape[2:]) for leaf in seed.tasks))
    frozen, tests = _freeze(setup, vit, flat), _freeze(setup, vit, seed.tests)
    logits_fn = functools.partial(_pathway_logits, setup)
    start_key, key = jax.random.split(seed.key)
    everything = jnp.ones(setup.num_classes, bool)
    loss_fn, start = functools.partial(_loss, logits_fn), _new_pathway(setup, vit, start_key)
    trained = _train(setup, loss_fn, vit, start, frozen.layers, frozen.targets, everything, key)
    precision = _class_precision(logits_fn(vit, trained, tests.layers), tests.targets)
    new = jnp.asarray(setup.task_of_class > 0) & jnp.any(tests.targets, axis=0)
    return {
        "mean_average_precision": jnp.sum(precision) / jnp.sum(jnp.any(tests.targets, axis=0)),
        "new_classes": jnp.sum(jnp.where(new, precision, 0.0)) / jnp.sum(new),
    }


ROWS = (
    Method("linear_probe", None, linear_probe, note="mosaics: linear heads on the frozen class token"),
    Method("pathways", 188, pathways, note="mosaics: selectors and prompts of its own for every task"),
    Method("one_pathway", None, pathways, note="mosaics: one pathway that all tasks train"),
    Method("joint_pathway", None, joint, note="mosaics: one pathway, all tasks at once: upper bound"),
)

CLAIMS = (
    Claim(
        188,
        "A new task moves no logit of an earlier class (largest change)",
        lambda rows: rows["logit_drift"]["pathways"],
        "within",
        0.0,
    ),
    Claim(
        188,
        "Pathways reach at least the mean average precision of a linear probe",
        difference("mean_average_precision", "pathways", "linear_probe"),
        ">",
        0.0,
    ),
)


def _digits(run: Run) -> tuple[np.ndarray, np.ndarray, str]:
    data = run.data()
    if data.kind != "images" or data.x.ndim != 3:
        raise UserError(f"Mosaics need grey images [N, H, W], {data.name} has {list(data.x.shape)}.")
    cell = tiny_vit.SIDE // 2
    x = data.x if data.x.shape[1:] == (cell, cell) else jax.image.resize(data.x, (len(data.x), cell, cell), "linear")
    return np.asarray(x), data.y, data.digest


def rows(settings: Settings, run: Run) -> None:
    """Measures the rows of this part."""
    digits, labels, digest = _digits(run)
    num_classes = run.data().num_classes
    later = np.array_split(np.arange(settings.num_base, num_classes), settings.increments)
    task_of_class = np.zeros(num_classes, int)
    for task, classes in enumerate(later, 1):
        task_of_class[classes] = task
    vit_config = VitConfig(num_base=settings.num_base, dim=settings.dim, steps=settings.pretrain_steps)
    setup = Setup(settings, vit_config.heads, num_classes, task_of_class)
    # The transformer is one and the same for all seeds, and its rows are in no other mosaic.
    rng = np.random.default_rng(188)
    base = rng.permutation(np.flatnonzero(labels < settings.num_base))
    learned = base[: round(settings.pretrain_share * len(base))]
    shown = tiny_vit.mosaics(rng, digits, labels, learned, vit_config.images, num_classes=num_classes)
    run.progress("training the transformer on mosaics")
    build = functools.partial(tiny_vit.train_vit, shown=shown)
    vit = asset(vit_config, build, run.asset_root, data_digest=f"{digest}-{settings.pretrain_share}")
    others = np.setdiff1d(np.arange(len(labels)), learned)
    seeds = [_prepare(setup, digits, labels, others, seed) for seed in range(run.seeds)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)

    def measure(method: Method) -> Measured:
        options = {"one": True} if method.name == "one_pathway" else {}
        return over_seeds(functools.partial(method.fn, setup, **options), stacked, mode="map", shared=(vit,))

    run.rows(ROWS, measure)


def _prepare(setup: Setup, digits: np.ndarray, labels: np.ndarray, allowed: np.ndarray, seed: int) -> Seed:
    rng, settings = np.random.default_rng([seed, 188]), setup.settings
    train, test = (allowed[part] for part in stratified_split(labels[allowed], test_fraction=0.3, rng=rng))
    make = functools.partial(tiny_vit.mosaics, rng, digits, labels, num_classes=setup.num_classes)
    tasks = [
        make(train, settings.images, must_show=np.flatnonzero(setup.task_of_class == task))
        for task in range(setup.num_tasks)
    ]
    stacked = Mosaics(*map(np.stack, zip(*tasks, strict=True)))
    return Seed(jax.random.key(seed), stacked, make(test, settings.test_images))


def draw(ax: Axes, result: Result) -> None:
    """Mean average precision over the classes seen so far, as tasks arrive."""
    names = [method.name for method in ROWS]
    curves = result.curves.get("seen_precision", {})
    plots.curves_over_tasks(ax, curves, names, ylabel="precision on the classes seen", xlabel="")
    ax.set_title("mosaics, task by task", fontsize=11)
