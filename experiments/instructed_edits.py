"""Edits by instruction: how editors are trained, and how well they do what they are told.

The editors of all seeds are trained at once, on pairs whose instructions may be wrong or written anew by a probe.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.assets import denoiser, editors
from experiments.assets.denoiser import ClassifierConfig
from experiments.assets.editors import INSTRUCTIONS, EditorConfig, Pairs
from experiments.runner import Measured, Run, over_seeds
from jaxlab import diffusion, metrics, selection
from jaxlab.typing import Array, PyTree

__all__ = ["SCALES", "SHOWN", "Bench", "Training", "bench", "instructions_of", "measure_editor", "name_of", "row"]

SCALES = ((1.0, 1.0), (1.5, 3.0), (1.5, 7.5))
"""Of the source image and of the instruction; the last pair is the paper's."""
SHOWN = 4
"""Images per instruction in the figure."""


class Bench(NamedTuple):
    """The judge of pairs, and images for every purpose."""

    judge: ClassifierConfig
    params: PyTree
    train: Array  # [N, dim]
    probe: Array  # [M, dim]
    tests: Array  # [K, dim]
    root: Any
    digest: str


@dataclasses.dataclass(frozen=True)
class Training:
    """How an editor is trained: with wrong instructions or not, corrected or not, with the triplet or not.

    ``best``: of its edits at all scales, the one with the best mark of the probe counts.
    """

    wrong: bool = False
    rectified: bool = False
    triplet: bool = False
    best: bool = False


def name_of(metric: str, scales: tuple[float, float]) -> str:
    """The name of a measure of editors at a scale of the instruction, such as follows_7.5."""
    return f"{metric}_{scales[1]:g}"


def measure_editor(
    config: Any,
    judge: ClassifierConfig,
    editor: EditorConfig,
    key: Array,
    params: PyTree,
    judging: PyTree,
    tests: Array,
    marks: Callable[[Array, Pairs], Array] | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Which instruction was followed and how exactly, at every pair of scales; the first images under each.

    With ``marks``, a mark per edit, that of the best of every image's edits instead.
    """
    pick_key, noise_key = jax.random.split(key)
    count = len(INSTRUCTIONS)
    chosen = jnp.argsort(jax.random.uniform(pick_key, (tests.shape[0],)))[: config.tests]
    wanted = editors.pairs_of(tests[chosen])
    keys = jax.random.split(noise_key, count * config.tests)
    process = diffusion.linear_flow()

    def draw(scales: Array) -> Array:
        made = diffusion.sample(
            keys,
            process.prior_sample(keys, (wanted.source.shape[1],)),
            diffusion.time_grid(config.editor_sampling, low=0.0),
            cond_fn=editors.editor(editor, params, wanted.source, wanted.instruction, scales=scales),
            step=diffusion.euler(process, kind="v"),
            cond_cost=3,
        ).x
        return jnp.clip(made, -1.0, 1.0)

    def judged(made: Array) -> dict[str, Array]:
        seen = denoiser.judge(judge, judging, jnp.concatenate([wanted.source, made], axis=1))
        return {
            "follows": metrics.accuracy(seen.logits, wanted.instruction),
            "error": jnp.mean((made - wanted.edited) ** 2),
        }

    if marks is not None:
        candidates = jax.lax.map(draw, jnp.asarray(SCALES))  # [scales, B, dim]
        scores = jax.vmap(lambda made: marks(made, wanted))(candidates).T[..., None]
        best = selection.best_of_candidates(scores, thresholds=0.5, weights=1.0)
        made = jnp.take_along_axis(candidates, best.candidate[None, :, None], axis=0)[0]
        return {f"{name}_best": value for name, value in judged(made).items()} | {"kept": jnp.mean(best.keep)}, {}

    def at(scales: Array) -> tuple[dict[str, Array], Array]:
        made = draw(scales)
        return judged(made), made.reshape(count, config.tests, -1)[:, :SHOWN]

    table, images = jax.lax.map(at, jnp.asarray(SCALES))
    measured = {name_of(name, SCALES[i]): table[name][i] for name in ("follows", "error") for i in (0, -1)}
    shown = jnp.stack([wanted.source.reshape(count, config.tests, -1)[:, :SHOWN], images[0]])
    return measured, {"edits": shown, **{f"{name}_path": path for name, path in table.items()}}


def judged_pairs(x: Array) -> tuple[Array, Array]:
    """What the judge of instructions learns from: every exact edit, and the untouched image, with and without noise."""
    pairs = editors.pairs_of(x)
    untouched = len(INSTRUCTIONS)
    rows = jnp.concatenate([jnp.concatenate([pairs.source, pairs.edited], axis=1), jnp.tile(x, (1, 2))])
    answers = jnp.concatenate([pairs.instruction, jnp.full(len(x), untouched)])
    noise = 0.2 * jax.random.normal(jax.random.key(7), pairs.source.shape)
    blurred = rows.at[: len(noise), x.shape[1] :].add(noise)
    return jnp.concatenate([rows, blurred]), jnp.tile(answers, 2)


def instructions_of(config: Any, training: Training, bench: Bench, seeds: Sequence[int]) -> Array:
    """The instruction that every pair carries in training: int [seeds, pairs]."""
    right = np.asarray(editors.pairs_of(bench.train).instruction)
    if not training.wrong:
        return jnp.tile(jnp.asarray(right), (len(seeds), 1))
    if training.rectified:
        return jnp.tile(_reading(config, bench), (len(seeds), 1))
    rows = []
    for seed in seeds:
        rng = np.random.default_rng([9, seed])
        other = (right + rng.integers(1, len(INSTRUCTIONS), right.shape)) % len(INSTRUCTIONS)
        rows.append(np.where(rng.random(right.shape) < config.wrong, other, right))
    return jnp.asarray(np.stack(rows))


def _probe(config: Any, bench: Bench) -> Callable[[Array, Array], Array]:
    """The logits that the probe gives to the instructions of pairs: fn(source, edited)."""
    known = editors.pairs_of(bench.probe)
    net = ClassifierConfig(
        dims=(2 * known.source.shape[1], 64, len(INSTRUCTIONS)), num_steps=config.probe_steps, seed=5
    )
    digest = f"{bench.digest} probe {len(bench.train)} {len(bench.probe)}"
    shown = jnp.concatenate([known.source, known.edited], axis=1)
    params = denoiser.classifier_asset(net, shown, known.instruction, root=bench.root, digest=digest)
    return lambda source, edited: denoiser.classifier(net).logits(params, jnp.concatenate([source, edited], axis=1))


def _reading(config: Any, bench: Bench) -> Array:
    """What the probe takes the instruction of every training pair for."""
    pairs = editors.pairs_of(bench.train)
    return jnp.argmax(_probe(config, bench)(pairs.source, pairs.edited), axis=1)


def bench(config: Any, x: Array, *, root: Any, digest: str) -> Bench:
    """Splits the images by purpose and trains the judge of pairs, or finds it on disk."""
    order = np.random.default_rng(0).permutation(len(x))
    train, probe, tests = np.split(order, np.cumsum([config.editor_images, config.probe_images]))
    judge = ClassifierConfig(
        dims=(2 * x.shape[1], 128, 64, len(INSTRUCTIONS) + 1), num_steps=config.judge_steps, seed=4
    )
    params = denoiser.classifier_asset(judge, *judged_pairs(x), root=root, digest=f"{digest} edits")
    return Bench(judge, params, x[train], x[probe], x[tests], root, digest)


def row(training: Training, config: Any, bench: Bench, run: Run) -> Measured:
    """Trains the editors of all seeds, or finds them on disk, and measures them."""
    seeds = tuple(range(run.seeds))
    pairs = editors.pairs_of(bench.train)
    pairs = pairs._replace(instruction=instructions_of(config, training, bench, seeds))
    net = EditorConfig(
        dim=bench.train.shape[1],
        num_steps=config.editor_steps,
        triplet_weight=1.0 if training.triplet else 0.0,
        seeds=seeds,
    )
    numbers = hashlib.sha256(np.asarray(pairs.instruction, np.int8).tobytes()).hexdigest()
    params = editors.editor_asset(net, pairs, root=bench.root, digest=f"{bench.digest} {numbers}")
    marks = None
    if training.best:
        probe = _probe(config, bench)

        def marks(made: Array, wanted: Pairs) -> Array:
            probs = jax.nn.softmax(probe(wanted.source, made))
            return jnp.take_along_axis(probs, wanted.instruction[:, None], axis=1)[:, 0]

    measure = functools.partial(measure_editor, config, bench.judge, net, marks=marks)
    return over_seeds(measure, run.seed_keys(), params, mode="map", shared=(bench.params, bench.tests))
