"""Classes that arrive two at a time, and what may hold a small network that is trained on them.

A row is a learner that sees the rows of one task, trains on them and keeps none. Its logits are compared over all
classes seen so far, without being told the task.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.claims import difference
from experiments.cosine_learners import by_cosines, local_loss
from experiments.data import Dataset
from experiments.networks import mlp
from experiments.runner import Claim, Measured, Method, Run, UserError, over_seeds
from experiments.shots import pixels_of, texts_of
from experiments.streams import Rows, class_stream, gather
from experiments.training import fit
from jaxlab import continual, distill, losses, metrics, numerics, optim, zeroshot
from jaxlab.continual import Learner
from jaxlab.typing import Array, PyTree

__all__ = [
    "CLAIMS",
    "QUICK",
    "ROWS",
    "Seed",
    "Settings",
    "follow",
    "prepare",
    "rows",
    "side_by_side",
]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Classes that arrive two at a time, and a network of two hidden layers."""

    base_classes: int = 4
    """Classes of the first task."""
    classes_per_task: int = 2
    """Classes of each later task."""
    hidden: int = 128
    """Width of both hidden layers."""
    steps: int = 200
    """Steps of Adam per task, batches of 128 at a rate of .001."""
    cosine_steps: int = 150
    """The same for the rows that learn by cosines."""
    weights: float = 1.0
    """Weight of the squared distance of the weights."""
    important_weights: float = 100.0
    """Weight of the same distance by importance."""
    distillation: float = 1.0
    """Weight of what is distilled, predictions or features."""
    temperature: float = 1.0
    """Temperature of the distilled predictions."""


QUICK = Settings(steps=60, cosine_steps=40)
BATCH = 128
OPTIMIZER = optax.adam(1e-3)


class Seed(NamedTuple):
    """What one seed works on."""

    key: Array
    tasks: Rows
    tests: Rows


Measurement = tuple[dict[str, Array], dict[str, Array]]


class Hold(NamedTuple):
    """What holds the network, as traced weights: so all rows that differ in them alone are one program."""

    everyone: float = 0.0  # 1: the softmax goes over all classes seen, not over those of the task
    weights: float = 0.0
    important_weights: float = 0.0
    predictions: float = 0.0
    features: float = 0.0


class Vectors(NamedTuple):
    """What the vectors of the classes are, traced as well."""

    learned: bool = False
    semantic: bool = False


class Memory(NamedTuple):
    """What goes from task to task."""

    params: PyTree
    fisher: PyTree  # summed over the tasks so far
    seen: Array  # bool [C]
    key: Array


def held(settings: Settings, num_classes: int, dim: int, hold: Hold) -> Learner:
    """A network of two hidden layers, trained on the rows of a task under the penalties of ``hold``."""
    network = mlp((dim, settings.hidden, settings.hidden, num_classes))

    def outputs(params: PyTree, x: Array) -> tuple[Array, Array]:
        features = network.features(params, x)
        return features, features @ params["head"]["kernel"] + params["head"]["bias"]

    def loss_fn(params: PyTree, state: Any, batch: dict[str, Array], key: Array) -> tuple[Array, Any]:
        old, present = state
        features, logits = outputs(params, batch["x"])
        old_features, old_logits = jax.lax.stop_gradient(outputs(old.params, batch["x"]))
        body, anchor = params["hidden"], old.params["hidden"]
        predictions = distill.kd(logits, old_logits, where=old.seen, temperature=settings.temperature)
        penalty = (
            hold.weights * optax.tree.norm(optax.tree.sub(body, anchor), squared=True)
            + hold.important_weights * losses.ewc_penalty(body, anchor, old.fisher)
            + hold.predictions * jnp.mean(predictions)
            + hold.features * jnp.mean(distill.feature_mse(features, old_features))
        )
        classes = present | (old.seen & (hold.everyone > 0))
        # The first task has nothing to hold on to.
        return jnp.mean(local_loss(logits, batch["y"], classes)) + jnp.any(old.seen) * penalty, state

    def init(key: Array) -> Memory:
        params = network.init(key)
        return Memory(params, jax.tree.map(jnp.zeros_like, params["hidden"]), jnp.zeros(num_classes, bool), key)

    def update(old: Memory, x: Array, y: Array, *, where: Array) -> Memory:
        key, fit_key = jax.random.split(old.key)
        present = continual.task_classes(y, num_classes=num_classes, where=where)
        data, sizes = {"x": x, "y": y}, {"num_steps": settings.steps, "batch_size": BATCH}
        params = fit(loss_fn, old.params, (old, present), OPTIMIZER, data, fit_key, where=where, **sizes).params

        def surprise(body: PyTree, batch: tuple[Array, Array]) -> Array:
            return local_loss(outputs(params | {"hidden": body}, batch[0])[1], batch[1], present)

        fisher = optim.fisher_diagonal(surprise, params["hidden"], (x, y), where=where)
        return Memory(params, optax.tree.add(old.fisher, fisher), old.seen | present, key)

    def predict(memory: Memory, x: Array) -> Array:
        return jnp.where(memory.seen, outputs(memory.params, x)[1], -jnp.inf)

    return Learner(init, update, lambda memory: memory, predict)


def follow(learner: Learner, seed: Seed) -> tuple[dict[str, Array], dict[str, Array], PyTree]:
    """A learner on the stream: what is read off its accuracy matrix, that matrix, and the learner's last state."""
    tasks, tests = seed.tasks, seed.tests
    result = continual.run_stream(
        learner, seed.key, tasks.x, tasks.y, tests.x, tests.y, where=tasks.where, where_test=tests.where
    )
    sizes = jnp.sum(tests.where, axis=1)
    seen_accuracy = jnp.diagonal(jnp.cumsum(result.accuracy * sizes, axis=1) / jnp.cumsum(sizes))
    measured = {
        "final_accuracy": seen_accuracy[-1],
        "average_accuracy": metrics.average_accuracy(result.accuracy),
        "forgetting": metrics.forgetting(result.accuracy),
        "forgetting_stepwise": metrics.forgetting(result.accuracy, kind="stepwise"),
    }
    return measured, {"seen_accuracy": seen_accuracy, "accuracy_matrix": result.accuracy}, result.state


def held_row(settings: Settings, num_classes: int, hold: Hold, seed: Seed, texts: Array) -> Measurement:
    """One of the penalties."""
    return follow(held(settings, num_classes, seed.tasks.x.shape[-1], hold), seed)[:2]


def joint_row(settings: Settings, num_classes: int, hold: Hold, seed: Seed, texts: Array) -> Measurement:
    """All rows at once, for as many steps: the upper bound."""
    settings = dataclasses.replace(settings, steps=settings.steps * seed.tasks.x.shape[0])
    at_once = (Rows(*(part[None] for part in rows.flat())) for rows in (seed.tasks, seed.tests))
    measured, _ = follow(held(settings, num_classes, seed.tasks.x.shape[-1], hold), Seed(seed.key, *at_once))[:2]
    return {"final_accuracy": measured["final_accuracy"]}, {}


def cosine_row(settings: Settings, num_classes: int, vectors: Vectors, seed: Seed, texts: Array) -> Measurement:
    """A vector per class."""
    drawn = numerics.normalize(jax.random.normal(jax.random.fold_in(seed.key, 1), texts.shape))
    targets = jnp.where(vectors.semantic, texts, drawn)
    network = mlp((seed.tasks.x.shape[-1], settings.hidden, settings.hidden, texts.shape[1]))
    learner = by_cosines(network, targets, OPTIMIZER, learned=vectors.learned, num_steps=settings.cosine_steps)
    measured, curves, memory = follow(learner, seed)
    moved = jnp.max(jnp.abs(memory.vectors - targets))
    return measured | {"vectors_moved": moved}, curves


ROWS = (
    Method("finetune", None, held_row, note="softmax over all classes seen: lower bound"),
    Method("local_softmax", 191, held_row, note="softmax over the classes of the task, as in all rows below"),
    Method("l2", 191, held_row, note="+ squared distance of the weights"),
    Method("ewc", 191, held_row, note="+ the same by importance"),
    Method("prediction_kd", 191, held_row, note="+ the old network's predictions of the old classes"),
    Method("feature_kd", 191, held_row, note="+ the old network's features"),
    Method("joint", None, joint_row, note="all rows at once: upper bound"),
    Method("learned_vectors", None, cosine_row, note="cosines with vectors that learn"),
    Method("random_targets", 69, cosine_row, note="cosines with random vectors that stay"),
    Method("semantic_targets", 69, cosine_row, note="cosines with class means of another data set, which stay"),
)


def choices(settings: Settings) -> dict[str, Hold | Vectors]:
    """What each row is, as numbers."""
    return {
        "finetune": Hold(everyone=1.0),
        "local_softmax": Hold(),
        "l2": Hold(weights=settings.weights),
        "ewc": Hold(important_weights=settings.important_weights),
        "prediction_kd": Hold(predictions=settings.distillation),
        "feature_kd": Hold(features=settings.distillation),
        "joint": Hold(),
        "learned_vectors": Vectors(learned=True),
        "random_targets": Vectors(),
        "semantic_targets": Vectors(semantic=True),
    }


_above = functools.partial(difference, "final_accuracy")

CLAIMS = (
    Claim(
        191,
        "A softmax over the task's own classes ends above one over all classes seen, by .15",
        _above("local_softmax", "finetune"),
        ">",
        0.15,
    ),
    Claim(
        191,
        "Distilled predictions end above the local softmax alone, by .05",
        _above("prediction_kd", "local_softmax"),
        ">",
        0.05,
    ),
    Claim(
        69,
        "Class vectors that are random and fixed end within .03 of learned ones",
        _above("random_targets", "learned_vectors"),
        "within",
        0.03,
    ),
)


def prepare(base_classes: int, classes_per_task: int, run: Run, data: Dataset) -> Seed:
    """The stream of every seed, with a leading axis of seeds; images are shrunk to 8 x 8 pixels."""
    if data.num_classes <= base_classes:
        raise UserError(f"The tasks need more than {base_classes} classes, {data.name} has {data.num_classes}.")
    multiple = run.mesh.size if run.mesh else 1
    stream = class_stream(
        data.y, seeds=run.seeds, base_classes=base_classes, classes_per_task=classes_per_task, multiple=multiple
    )
    pixels = pixels_of(data)
    pixels = jnp.broadcast_to(pixels, (run.seeds, *pixels.shape))
    parts = (run.shard(gather(pixels, jnp.asarray(data.y), part), axis=2) for part in (stream.tasks, stream.tests))
    return Seed(run.seed_keys(), *parts)


def side_by_side(
    fn: Callable[..., Any], choices: Mapping[str, PyTree], seeds: PyTree, *, shared: tuple[Any, ...] = ()
) -> dict[str, Measured]:
    """Rows that differ in traced numbers alone: ``fn(choice, seed, *shared)`` for all rows and seeds in one program."""
    number, count = len(jax.tree.leaves(seeds)[0]), len(choices)
    repeated = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * count), seeds)
    stacked = jax.tree.map(lambda *leaves: jnp.repeat(jnp.asarray(leaves), number), *choices.values())
    found, curves, timings = over_seeds(fn, stacked, repeated, shared=shared)

    def part(place: int) -> Measured:
        cut = slice(place * number, (place + 1) * number)
        numbers, lines = ({name: values[cut] for name, values in table.items()} for table in (found, curves))
        return Measured(numbers, lines, {name: seconds / count for name, seconds in timings.items()})

    return {name: part(place) for place, name in enumerate(choices)}


def rows(settings: Settings, run: Run) -> None:
    """Measures the rows of this part."""
    data, wanted = run.data(), run.todo(ROWS)
    seeds = prepare(settings.base_classes, settings.classes_per_task, run, data)
    own = run.common.data is None  # a user's file may bear the name of one of ours
    texts = texts_of(data) if own else None
    targets = jnp.eye(data.num_classes, 64) if texts is None else zeroshot.semantic_targets(texts)

    @functools.cache
    def group(fn: Callable[..., Any]) -> dict[str, Measured]:
        numbers = {method.name: choices(settings)[method.name] for method in wanted if method.fn is fn}
        return side_by_side(functools.partial(fn, settings, data.num_classes), numbers, seeds, shared=(targets,))

    def measure(method: Method) -> Measured:
        if method.name == "semantic_targets" and texts is None:
            raise ValueError("needs a vector per class from another data set: only digits and mnist5k have one")
        return group(method.fn)[method.name]

    run.rows(ROWS, measure)
