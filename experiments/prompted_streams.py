"""Classes that arrive two at a time in front of a frozen transformer: one prompt for all tasks, and invented outliers.

The transformer learns the classes of the first task from their rows and is frozen. A task then trains a linear head on
its own classes alone and, in some rows, the prompt; last come steps of the head alone, in which outliers may take part.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.claims import difference
from experiments.cosine_learners import local_loss
from experiments.regularized_streams import Measurement, Seed, follow, prepare, side_by_side
from experiments.runner import Claim, Measured, Method, Run
from experiments.training import fit
from jaxlab import continual, detect, losses, nn, numerics, vision
from jaxlab.continual import Learner
from jaxlab.typing import Array, PyTree

__all__ = ["CLAIMS", "QUICK", "ROWS", "Settings", "rows"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """One prompt in front of a frozen transformer."""

    base_classes: int = 4
    """Classes of the first task."""
    classes_per_task: int = 2
    """Classes of each later task."""
    width: int = 32
    """Width of the transformer's tokens."""
    heads: int = 4
    """Heads of its attention."""
    pretraining: int = 400
    """Steps of Adam on the first task's classes, batches of 64 at a rate of .002."""
    prompt_lengths: tuple[int, ...] = (4, 16)
    """Length of the prompt in each block, half of it keys and half values; also the number of blocks."""
    steps: int = 120
    """Steps of Adam per task, batches of 64."""
    head_rate: float = 0.01
    """Its rate for the heads."""
    prompt_rate: float = 0.001
    """Its rate for the prompt."""
    last_steps: int = 30
    """Steps of the head alone that follow, a fifth of all."""
    neighbors: int = 50
    """The neighbour whose distance says how remote a row is."""
    border: int = 50
    """Rows around which outliers are drawn."""
    samples: int = 100
    """Candidates around each."""
    outliers: int = 80
    """Outliers kept for a task: 40 for each of two classes."""
    noise: float = 0.1
    """Standard deviation of the noise, features having unit length."""
    penalty: float = 0.1
    """Weight of the energy margin."""
    threshold_ratio: float = 0.2
    """Threshold of the outliers' energies, relative to that of the task's own rows: -3 / -15."""


QUICK = Settings(pretraining=60, steps=20, last_steps=10, samples=20)
BATCH = 64
PRETRAINING = optax.adam(2e-3)
TOKENS = 16


class Choice(NamedTuple):
    """What a row is, as traced numbers."""

    penalty: float = 0.0
    origin: bool = False


class Memory(NamedTuple):
    """What goes from task to task: nothing of the rows, and one prompt."""

    params: PyTree  # head and prompts
    threshold: Array  # energy of the first task's rows
    seen: Array
    key: Array


def tokens_of(x: Array) -> Array:
    """Sixteen tokens of a row: the patches of an image of 8 x 8, or slices of anything else."""
    if x.shape[-1] == 64:
        return vision.patchify(x.reshape(*x.shape[:-1], 8, 8, 1), size=2)
    size = -(-x.shape[-1] // TOKENS)
    return jnp.pad(x, ((0, 0), (0, TOKENS * size - x.shape[-1]))).reshape(-1, TOKENS, size)


def body_init(settings: Settings, key: Array, dim: int) -> PyTree:
    """Parameters of the transformer: patches to tokens, a class token, blocks."""
    keys = jax.random.split(key, 2 + len(settings.prompt_lengths))
    size, width = -(-dim // TOKENS), settings.width
    blocks = {f"block{i}": nn.transformer_block_init(one, width, hidden=2 * width) for i, one in enumerate(keys[2:])}
    embed = jax.random.normal(keys[0], (size, width)) / math.sqrt(size)
    return {"embed": embed, "place": 0.1 * jax.random.normal(keys[1], (TOKENS + 1, width)), "blocks": blocks}


def features_of(settings: Settings, body: PyTree, prompts: PyTree, x: Array) -> Array:
    """The class token after the last block [B, width], standardised: of length sqrt(width)."""
    tokens = jnp.pad(tokens_of(x) @ body["embed"], ((0, 0), (1, 0), (0, 0))) + body["place"]
    for name, block in body["blocks"].items():
        halves = None
        if prompts:
            cut = prompts[name].reshape(2, -1, settings.heads, settings.width // settings.heads)
            halves = (cut[0], cut[1])
        tokens = nn.transformer_block(block, tokens, heads=settings.heads, prompts=halves)
    return jax.nn.standardize(tokens[:, 0], axis=-1)


def head_init(width: int, num_classes: int) -> PyTree:
    return {"kernel": jnp.zeros((width, num_classes)), "bias": jnp.zeros(num_classes)}


def head_logits(head: PyTree, features: Array) -> Array:
    return features @ head["kernel"] + head["bias"]


def pretrain(settings: Settings, num_classes: int, seed: Seed) -> PyTree:
    """The transformer after the classes of the first task."""
    x, y, where = (part[0] for part in seed.tasks)
    body_key, fit_key = jax.random.split(jax.random.fold_in(seed.key, 1))
    params = {
        "body": body_init(settings, body_key, x.shape[-1]),
        "head": head_init(settings.width, num_classes),
    }
    present = continual.task_classes(y, num_classes=num_classes, where=where)

    def loss_fn(params: PyTree, state: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        logits = head_logits(params["head"], features_of(settings, params["body"], {}, batch["x"]))
        return jnp.mean(local_loss(logits, batch["y"], state)), state

    sizes = {"num_steps": settings.pretraining, "batch_size": BATCH}
    return fit(loss_fn, params, present, PRETRAINING, {"x": x, "y": y}, fit_key, where=where, **sizes).params["body"]


def outliers_of(settings: Settings, choice: Choice, key: Array, features: Array, where: Array) -> Array:
    """Outliers drawn around the features of a task, or around the origin, and as long as features are."""
    length = math.sqrt(settings.width)
    draw = functools.partial(
        detect.virtual_outliers,
        key,
        features / length,
        num_keep=settings.outliers,
        k=settings.neighbors,
        num_boundary=settings.border,
        samples_per_point=settings.samples,
        scale=settings.noise,
        where=where,
    )
    return length * jnp.where(choice.origin, draw(center="origin"), draw(center="boundary"))


def prompted(settings: Settings, num_classes: int, body: PyTree, choice: Choice, *, prompt: bool) -> Learner:
    """Heads of tasks trained apart on a frozen transformer, with a prompt that all tasks share or without."""
    for_head, for_prompts = optax.adam(settings.head_rate), optax.adam(settings.prompt_rate)
    for_both = optax.partition({"head": for_head, "prompts": for_prompts}, {"head": "head", "prompts": "prompts"})

    def plain_loss(params: PyTree, present: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        features = features_of(settings, body, params["prompts"], batch["x"])
        return jnp.mean(local_loss(head_logits(params["head"], features), batch["y"], present)), present

    def last_loss(head: PyTree, state: Any, batch: dict[str, Array], key: Array) -> tuple[Array, Any]:
        present, outliers, threshold = state
        logits = head_logits(head, batch["features"])
        own, invented = losses.energy_margin(
            logits,
            head_logits(head, outliers),
            id_threshold=threshold,
            ood_threshold=settings.threshold_ratio * threshold,
            class_where=present,
        )
        margin = jnp.mean(own) + jnp.mean(invented)
        return jnp.mean(local_loss(logits, batch["y"], present)) + choice.penalty * margin, state

    def init(key: Array) -> Memory:
        keys = jax.random.split(key, len(settings.prompt_lengths))
        prompts = {
            f"block{i}": jax.random.uniform(one, (size, settings.width))
            for i, (one, size) in enumerate(zip(keys, settings.prompt_lengths, strict=True))
        }
        params = {"head": head_init(settings.width, num_classes), "prompts": prompts if prompt else {}}
        return Memory(params, jnp.zeros(()), jnp.zeros(num_classes, bool), key)

    def update(old: Memory, x: Array, y: Array, *, where: Array) -> Memory:
        key, plain_key, noise_key, last_key = jax.random.split(old.key, 4)
        present = continual.task_classes(y, num_classes=num_classes, where=where)
        sizes = {"num_steps": settings.steps, "batch_size": BATCH}
        params = fit(
            plain_loss, old.params, present, for_both, {"x": x, "y": y}, plain_key, where=where, **sizes
        ).params

        features = features_of(settings, body, params["prompts"], x)
        energies = -detect.energy(head_logits(params["head"], features), class_where=present)
        # The thresholds of all tasks hang on the energies that the first one reaches by itself.
        threshold = jnp.where(jnp.any(old.seen), old.threshold, numerics.masked_mean(energies, where))
        outliers = outliers_of(settings, choice, noise_key, features, where)
        data, state = {"features": features, "y": y}, (present, outliers, threshold)
        sizes = {"num_steps": settings.last_steps, "batch_size": BATCH}
        head = fit(last_loss, params["head"], state, for_head, data, last_key, where=where, **sizes).params
        return Memory({"head": head, "prompts": params["prompts"]}, threshold, old.seen | present, key)

    def predict(memory: Memory, x: Array) -> Array:
        features = features_of(settings, body, memory.params["prompts"], x)
        return jnp.where(memory.seen, head_logits(memory.params["head"], features), -jnp.inf)

    return Learner(init, update, lambda memory: memory, predict)


def stream_row(
    prompt: bool, settings: Settings, num_classes: int, choice: Choice, task: tuple[Seed, PyTree]
) -> Measurement:
    """Frozen features, or a prompt in front of them."""
    seed, body = task
    measured, curves, memory = follow(prompted(settings, num_classes, body, choice, prompt=prompt), seed)
    return measured | {"energy_of_first_task": memory.threshold}, curves


with_heads = functools.partial(stream_row, False)
with_prompt = functools.partial(stream_row, True)

ROWS = (
    Method("linear_heads", None, with_heads, note="frozen transformer, a linear head per task"),
    Method("outlier_heads", 20, with_heads, note="+ outliers in the last steps of each head"),
    Method("one_prompt", 20, with_prompt, note="linear heads and one prompt for all tasks"),
    Method("ovor", 20, with_prompt, note="+ outliers in the last steps of each head"),
    Method("ovor_origin", 20, with_prompt, note="the same with outliers around the origin, as in the published code"),
)


def choices(settings: Settings) -> dict[str, Choice]:
    """What each row is, as numbers."""
    regularized = Choice(penalty=settings.penalty)
    return {
        "linear_heads": Choice(),
        "outlier_heads": regularized,
        "one_prompt": Choice(),
        "ovor": regularized,
        "ovor_origin": Choice(penalty=settings.penalty, origin=True),
    }


_above = functools.partial(difference, "final_accuracy")

CLAIMS = (
    Claim(20, "One prompt with outliers ends above one prompt", _above("ovor", "one_prompt"), ">", 0.0),
    Claim(20, "Heads with outliers end above heads without", _above("outlier_heads", "linear_heads"), ">", 0.0),
)


def rows(settings: Settings, run: Run) -> None:
    """Measures the rows of this part."""
    data, wanted = run.data(), run.todo(ROWS)
    seeds = prepare(settings.base_classes, settings.classes_per_task, run, data)
    run.progress("training the transformers")
    bodies = jax.jit(jax.vmap(functools.partial(pretrain, settings, data.num_classes)))(seeds)

    @functools.cache
    def group(fn: Callable[..., Any]) -> dict[str, Measured]:
        numbers = {method.name: choices(settings)[method.name] for method in wanted if method.fn is fn}
        return side_by_side(functools.partial(fn, settings, data.num_classes), numbers, (seeds, bodies))

    run.rows(ROWS, lambda method: group(method.fn)[method.name])
