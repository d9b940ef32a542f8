"""The pools of architectures that training-free scores are judged on: tasks, trained accuracies, scores."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.assets import architectures
from experiments.assets.architectures import Task
from experiments.assets.classifiers import train_classifier
from experiments.assets.text_windows import windows
from experiments.networks import Network, mlp
from experiments.runner import Dataset, Run, UserError, over_seeds
from experiments.zero_cost_scores import cell_scores, network_scores
from jaxlab.typing import Array, PyTree

__all__ = ["TASKS", "Pool", "make_tasks", "make_teacher", "prepare", "training"]

TASKS = ("classes", "turns", "parity")  # and after them the distilled classes
WINDOW = 16


class Pool(NamedTuple):
    """Everything that is known of the architectures, with a leading axis of seeds."""

    scores: dict[str, Array]  # [S, T, A] by name
    validation: Array  # [S, T, A]
    test: Array  # [S, T, A]
    distilled: Array  # [S, A], test accuracy
    cell_scores: dict[str, Array]  # [S, C] by name
    cell_losses: Array  # [S, C]
    task: Task  # [S, ...], the distilled one, for what is trained later
    seen: Task  # [S, ...], the rows of the classes that scores see
    teacher: PyTree  # [S, ...], untrained
    keys: Array


def training(config: Any) -> dict[str, Any]:
    """How the networks are trained."""
    return {"num_steps": config.train_steps, "batch_size": 32, "learning_rate": config.learning_rate}


def make_teacher(config: Any, num_classes: int) -> Network:
    """What students are distilled from."""
    return mlp((architectures.SIDE**2, config.teacher_hidden, config.teacher_hidden, num_classes))


def _images(data: Dataset) -> np.ndarray:
    """[N, 8, 8] in [0, 1]."""
    if data.kind != "images":
        raise UserError(f"This question needs images, {data.name} holds features.")
    grey = data.x if data.x.ndim == 3 else data.x.mean(-1)
    small = jax.image.resize(grey, (len(grey), architectures.SIDE, architectures.SIDE), "linear")
    low, high = float(small.min()), float(small.max())
    return np.asarray((small - low) / max(high - low, 1e-6))


def make_tasks(images: np.ndarray, labels: np.ndarray, num_classes: int, seed: int) -> Task:
    """The three tasks of one seed and the distilled one, [4, ...], before there is a teacher."""
    rng, number = np.random.default_rng(seed), len(images)
    part = rng.permutation(number) * 4 // number  # quarters: two to train, one to choose, one to test
    turns = rng.integers(0, 4, number).astype(np.int32)
    turned = np.stack([np.rot90(image, turn) for image, turn in zip(images, turns, strict=True)])
    width = max(num_classes, 4)
    upright = images.reshape(number, -1)
    counts = (num_classes, 4, 2, num_classes)
    rows = [np.tile(mask, (4, 1)) for mask in (part < 2, part == 2, part == 3)]
    return Task(
        np.stack([upright, turned.reshape(number, -1), upright, upright]),
        np.stack([labels, turns, labels % 2, labels]),
        np.arange(width) < np.array(counts)[:, None],
        np.zeros((4, number, width), np.float32),
        np.array([0.0, 0.0, 0.0, 1.0], np.float32),
        *rows,
    )


def prepare(config: Any, run: Run, data: Dataset, seeds: tuple[int, ...]) -> Pool:
    """Trains both pools, unless they are known, and scores them."""
    images = _images(data)
    keys = jax.vmap(jax.random.key)(jnp.array(seeds))
    each = [make_tasks(images, data.y, data.num_classes, seed) for seed in seeds]
    tasks: Task = jax.tree.map(lambda *parts: jnp.stack(parts), *each)
    genes = jnp.array([architectures.draw(architectures.SPACE, config.networks, seed) for seed in seeds])

    run.progress("training the teachers")
    teacher, width = make_teacher(config, tasks.classes.shape[-1]), tasks.classes.shape[-1]
    untrained = jax.vmap(lambda key: teacher.init(jax.random.fold_in(key, 4)))(keys)
    train = functools.partial(train_classifier, teacher, num_classes=width, num_steps=config.teacher_steps)
    inputs = (tasks.x[:, 0], tasks.y[:, 0], keys, tasks.classes[:, 0], tasks.train[:, 0])
    trained = jax.vmap(lambda x, y, key, known, where: train(x, y, key, class_where=known, where=where))(*inputs)
    soft = jax.vmap(teacher.logits)(trained, tasks.x[:, 3])
    tasks = tasks._replace(soft=tasks.soft.at[:, 3].set(soft))

    run.progress(f"training {4 * genes.shape[0] * genes.shape[1]} networks")
    teachers = {"teacher_hidden": config.teacher_hidden, "teacher_steps": config.teacher_steps}
    networks = architectures.NetworksConfig(seeds=seeds, number=config.networks, **training(config), **teachers)
    found = architectures.trained_networks(networks, genes, tasks, keys, root=run.asset_root, digest=data.digest)
    accuracy = jnp.asarray(found)

    run.progress("scoring the networks")
    seen = _first_rows(tasks, config.rows)

    def scores(genes: Array, key: Array, seen: Task, teacher_params: PyTree) -> tuple[Any, Any]:
        def on(task: Task) -> dict[str, Array]:
            score = lambda genes: network_scores(genes, key, task, teacher, teacher_params)  # noqa: E731
            return jax.lax.map(score, genes, batch_size=min(50, len(genes)))

        return {}, jax.lax.map(on, jax.tree.map(lambda leaf: leaf[: len(TASKS)], seen))

    scored = over_seeds(scores, genes, keys, seen, untrained, mode="map")
    cells = _cells(config, run, seeds, keys)
    last = jax.tree.map(lambda leaf: leaf[:, 3], tasks)
    first = jax.tree.map(lambda leaf: leaf[:, 0], seen)
    validation, test = accuracy[..., 0], accuracy[..., 1]
    three = len(TASKS)
    known = (jax.tree.map(jnp.asarray, scored.curves), validation[:, :three], test[:, :three], test[:, 3])
    return Pool(*known, *cells, last, first, untrained, keys)


def _first_rows(tasks: Task, number: int) -> Task:
    """The first training rows of every task, [S, 4, number, ...]."""
    order = jnp.argsort(~tasks.train, axis=-1, stable=True)[..., :number]
    pick = jax.vmap(jax.vmap(lambda leaf, order: leaf[order]))
    names = ("x", "y", "soft", "train", "validation", "test")
    return tasks._replace(**{name: pick(getattr(tasks, name), order) for name in names})


def _cells(config: Any, run: Run, seeds: tuple[int, ...], keys: Array) -> tuple[dict[str, Array], Array]:
    """Scores and losses of the recurrent cells, [S, C]."""
    text = windows(WINDOW, 4096)
    genes = jnp.array([architectures.draw(architectures.CELLS, config.cells, seed) for seed in seeds])
    run.progress(f"training {genes.shape[0] * genes.shape[1]} recurrent cells")
    sizes = {"num_steps": config.cell_steps, "batch_size": 32, "learning_rate": config.learning_rate}
    settings = architectures.CellsConfig(seeds=seeds, number=config.cells, **sizes)
    losses = architectures.trained_cells(settings, genes, text, keys, root=run.asset_root)
    tokens = jnp.asarray(text.tokens[: config.rows])

    def scores(genes: Array, key: Array) -> tuple[Any, Any]:
        score = lambda genes: cell_scores(genes, key, tokens)  # noqa: E731
        return {}, jax.lax.map(score, genes, batch_size=min(50, len(genes)))

    run.progress("scoring the recurrent cells")
    scored = over_seeds(scores, genes, keys, mode="map")
    return jax.tree.map(jnp.asarray, scored.curves), jnp.asarray(losses)
