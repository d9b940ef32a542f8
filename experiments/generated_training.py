"""What a generated training set, a filtered one, and one with rare scenes are worth: the rows of ``synthetic_images``.

A maker of a row is called with the configuration, the bench and the run, and measures it for every seed.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import instructed_edits
from experiments.assets import denoiser, editors, scenes
from experiments.assets.denoiser import PROCESS, ClassifierConfig, DenoiserConfig
from experiments.assets.editors import INSTRUCTIONS, EditorConfig, Pairs
from experiments.assets.scenes import RELATIONS, Captions
from experiments.networks import mlp
from experiments.runner import Measured, Run, over_seeds
from experiments.training import fit
from jaxlab import diffusion, guidance, kernels, metrics, selection
from jaxlab.typing import Array, PyTree

__all__ = ["FEW", "SCALES", "SIZES", "Bench", "classes_row", "edits_row", "make_images", "scenes_row"]

SCALES = (1.0, 1.5, 2.0, 4.0, 7.5)
"""Guidance scales of the generated training sets."""
SIZES = (50, 100, 200, 400, 800)
"""Numbers of training images."""
FEW = SIZES[0]
EDIT_SCALES = ([1.0, 1.5], [1.0, 3.0, 7.5])
"""Of the source image and of the instruction: every combination makes a candidate."""


class Bench(NamedTuple):
    """Trained networks and real images, the same for every seed."""

    generator: DenoiserConfig
    params: PyTree
    judge: ClassifierConfig
    judging: PyTree
    train: Array  # [N, dim]
    labels: Array
    test: Array
    test_labels: Array
    root: Any
    digest: str


# --- a classifier that learns from generated images


def make_images(bench: Bench, key: Array, labels: Array, scale: Array, *, steps: int) -> Array:
    """Images [B, dim] of the given classes at a guidance scale."""
    keys = jax.random.split(key, labels.shape[0])
    none = jnp.full_like(labels, bench.generator.sizes[0])
    cond_fn, uncond_fn = (denoiser.model(bench.generator, bench.params, given, kind="x0") for given in (labels, none))
    made = diffusion.sample(
        keys,
        PROCESS.prior_sample(keys, (bench.generator.dim,)),
        denoiser.even_times(steps),
        cond_fn=cond_fn,
        uncond_fn=uncond_fn,
        rule=guidance.cfg(scale),
        step=diffusion.ddim(PROCESS, kind="x0"),
    )
    return jnp.clip(made.x, -1.0, 1.0)


def _losses_by_size(config: Any, bench: Bench, key: Array, x: Array, labels: Array, always: Array) -> dict[str, Array]:
    """Test loss and accuracy of classifiers trained on the first n rows in random order, and on those of ``always``."""
    num_classes = bench.generator.sizes[0]
    network = mlp((x.shape[1], config.hidden, num_classes))
    order_key, init_key, fit_key = jax.random.split(key, 3)
    rank = jnp.argsort(jax.random.permutation(order_key, x.shape[0]))

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        logits = network.logits(params, batch["x"])
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"])), None

    optimizer = optax.adamw(config.learning_rate, weight_decay=config.weight_decay)

    def at(size: Array) -> tuple[Array, Array]:
        where = (rank < size) | always
        trained = fit(
            loss_fn,
            network.init(init_key),
            None,
            optimizer,
            {"x": x, "y": labels},
            fit_key,
            num_steps=config.classifier_steps,
            batch_size=config.batch_size,
            where=where,
        )
        logits = network.logits(trained.params, bench.test)
        loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, bench.test_labels)
        return jnp.mean(loss), metrics.accuracy(logits, bench.test_labels)

    loss, accuracy = jax.lax.map(at, jnp.asarray(SIZES))
    law = metrics.fit_power_law(jnp.asarray(SIZES, jnp.float32), loss)
    measured = {"exponent": law.b, "law_r2": law.r2}
    measured |= {f"loss_{n}": loss[i] for i, n in enumerate(SIZES)}
    return measured | {f"accuracy_{n}": accuracy[i] for i, n in enumerate(SIZES)}


def classes_row(config: Any, bench: Bench, run: Run, *, scale: float | None, real: bool) -> Measured:
    """Classifiers trained on real images, on images generated at a scale, or on few real and all generated ones."""
    num_classes, largest = bench.generator.sizes[0], SIZES[-1]

    def one(key: Array, bench: Bench) -> tuple[dict[str, Array], dict[str, Array]]:
        draw_key, make_key, train_key = jax.random.split(key, 3)
        sets, always, facts, shown = [], [], {}, {}
        if real:
            rows = jax.random.permutation(draw_key, bench.train.shape[0])[:largest]
            sets.append((bench.train[rows], bench.labels[rows]))
            always.append(jnp.zeros(largest, bool))
        if scale is not None:
            count = config.added if real else largest
            labels = jnp.arange(count) % num_classes
            images = make_images(bench, make_key, labels, jnp.float32(scale), steps=config.steps)
            sets.append((images, labels))
            always.append(jnp.full(count, real))
            seen = denoiser.judge(bench.judge, bench.judging, images)
            facts = {
                "recognizability": metrics.recognizability(seen.logits, labels).macro_f1,
                "diversity": metrics.feature_diversity(seen.features, labels, num_classes=num_classes),
            }
            shown = {"images": images[:num_classes]}
        x, labels = (jnp.concatenate(parts) for parts in zip(*sets, strict=True))
        measured = _losses_by_size(config, bench, train_key, x, labels, jnp.concatenate(always))
        losses = jnp.stack([measured[f"loss_{n}"] for n in SIZES])
        return measured | facts, {"loss_by_size": losses, **shown}

    return over_seeds(functools.partial(_with, one, bench), run.seed_keys(), mode="map", shared=(_arrays(bench),))


def _arrays(bench: Bench) -> dict[str, Any]:
    """The parts of a bench that are arrays, to be passed as arguments."""
    return {name: getattr(bench, name) for name in ("params", "judging", "train", "labels", "test", "test_labels")}


def _with(fn: Callable[..., Any], bench: Bench, key: Array, arrays: dict[str, Any]) -> Any:
    return fn(key, bench._replace(**arrays))


# --- an editor that learns from generated pairs


def edits_row(config: Any, bench: Bench, run: Run, *, filtered: bool) -> Measured:
    """Editors trained on pairs that another editor has made: the best candidate that passes, or any candidate."""
    judged = instructed_edits.bench(config, bench.train, root=bench.root, digest=f"{bench.digest} train")
    maker = EditorConfig(dim=bench.train.shape[1], num_steps=config.maker_steps)
    known = editors.pairs_of(judged.probe[: config.maker_images])
    lessons = known._replace(instruction=known.instruction[None])
    digest = f"{judged.digest} maker {len(judged.probe)} {config.maker_images}"
    made_by = editors.editor_asset(maker, lessons, root=bench.root, digest=digest)
    made_by = jax.tree.map(lambda leaf: leaf[0], made_by)
    probe, probing = _probe(config, judged)
    pairs, kept = [], []
    for seed in range(run.seeds):
        found = _candidates(config, maker, made_by, judged, probe, probing, jax.random.key(1000 + seed))
        index, keep = selection.best_of_candidates(found.scores, thresholds=found.thresholds, weights=jnp.ones(2))
        if filtered:
            order = jnp.argsort(~keep, stable=True)
        else:
            order = jnp.arange(len(keep))
            index = jax.random.randint(jax.random.key(seed), index.shape, 0, found.edited.shape[1])
        rows = order[: config.pairs]
        pairs.append(Pairs(found.source[rows], found.edited[rows, index[rows]], found.instruction[rows]))
        kept.append(np.asarray(jnp.mean(keep)))
        if filtered and int(jnp.sum(keep)) < config.pairs:
            raise ValueError(f"only {int(jnp.sum(keep))} of {len(keep)} sources have a candidate that passes")
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs)
    net = EditorConfig(dim=maker.dim, num_steps=config.editor_steps, seeds=tuple(range(run.seeds)))
    params = editors.train_editor(net, stacked)
    measure = functools.partial(instructed_edits.measure_editor, config, judged.judge, net)
    measured = over_seeds(measure, run.seed_keys(), params, mode="map", shared=(judged.params, judged.tests))
    metrics_of = dict(measured.metrics) | {"kept": np.asarray(kept)}
    return measured._replace(metrics=metrics_of)


def _probe(config: Any, judged: instructed_edits.Bench) -> tuple[ClassifierConfig, PyTree]:
    """A classifier of pairs that is not the judge: it gives the marks."""
    known = editors.pairs_of(judged.probe)
    net = ClassifierConfig(
        dims=(2 * known.source.shape[1], 64, len(INSTRUCTIONS)), num_steps=config.probe_steps, seed=6
    )
    shown = jnp.concatenate([known.source, known.edited], axis=1)
    digest = f"{judged.digest} marks {len(judged.probe)}"
    return net, denoiser.classifier_asset(net, shown, known.instruction, root=judged.root, digest=digest)


class Candidates(NamedTuple):
    """Edits of every source at every pair of scales, with their marks."""

    source: Array  # [N, dim]
    instruction: Array  # [N]
    edited: Array  # [N, M, dim]
    scores: Array  # [N, M, 2]: instruction followed, likeness to true edits
    thresholds: Array  # [2]


def _candidates(
    config: Any,
    maker: EditorConfig,
    params: PyTree,
    judged: instructed_edits.Bench,
    probe: ClassifierConfig,
    probing: PyTree,
    key: Array,
) -> Candidates:
    """Edits of the training images by the maker, each at every pair of scales, and their marks."""
    instruction_key, noise_key = jax.random.split(key)
    source = judged.train
    instruction = jax.random.randint(instruction_key, (len(source),), 0, len(INSTRUCTIONS))
    keys = jax.random.split(noise_key, len(source))
    process = diffusion.linear_flow()
    held = len(judged.probe) // 4
    reference = editors.exact_edits(judged.probe[held:])  # [instructions, P, dim]

    @jax.jit
    def at(scales: Array) -> tuple[Array, Array]:
        made = diffusion.sample(
            keys,
            process.prior_sample(keys, (source.shape[1],)),
            diffusion.time_grid(config.editor_sampling, low=0.0),
            cond_fn=editors.editor(maker, params, source, instruction, scales=scales),
            step=diffusion.euler(process, kind="v"),
            cond_cost=3,
        ).x
        made = jnp.clip(made, -1.0, 1.0)
        logits = denoiser.classifier(probe).logits(probing, jnp.concatenate([source, made], axis=1))
        followed = jnp.take_along_axis(jax.nn.softmax(logits), instruction[:, None], axis=1)[:, 0]
        return made, jnp.stack([followed, -_nearest(made, reference, instruction)], axis=1)

    made, scores = jax.lax.map(at, guidance.scale_grid([jnp.asarray(axis) for axis in EDIT_SCALES]))
    # What lies no farther from true edits than most true edits of other images do passes.
    other = editors.exact_edits(judged.probe[:held]).reshape(-1, source.shape[1])
    usual = _nearest(other, reference, jnp.repeat(jnp.arange(len(INSTRUCTIONS)), held))
    thresholds = jnp.stack([jnp.float32(config.followed), -jnp.quantile(usual, config.usual)])
    return Candidates(source, instruction, made.swapaxes(0, 1), scores.swapaxes(0, 1), thresholds)


def _nearest(x: Array, reference: Array, instruction: Array) -> Array:
    """Root mean square to the nearest true edit under the same instruction: [N]."""
    squared = jax.lax.map(lambda edits: jnp.min(kernels.pairwise_sq_dists(x, edits), axis=1), reference)
    chosen = jnp.take_along_axis(squared, instruction[None], axis=0)[0]
    return jnp.sqrt(jnp.maximum(chosen, 0.0) / x.shape[1])


# --- a generator of scenes that learns from clean scenes of rare relations


def _scene_set(config: Any, bench: Bench, *, clean: bool) -> tuple[Array, Captions]:
    """Training scenes with a long tail of relations and wrong captions; with ``clean`` a part is clean and rare."""
    num_classes = bench.generator.sizes[0]
    compose = functools.partial(scenes.compose, num_classes=num_classes)
    common_key, wrong_key, rare_key, scene_key = jax.random.split(jax.random.key(11), 4)
    count = config.scenes - (config.clean_scenes if clean else 0)
    shares = jnp.asarray(config.shares)
    true = scenes.captions(common_key, count, num_classes=num_classes, shares=shares)
    images = [compose(scene_key, bench.train, bench.labels, true)]
    flip_key, other_key = jax.random.split(wrong_key)
    other = scenes.captions(other_key, count, num_classes=num_classes, shares=shares)
    wrong = jax.random.bernoulli(flip_key, config.wrong_captions, (count,))
    said = [jax.tree.map(lambda good, bad: jnp.where(wrong, bad, good), true, other)]
    if clean:
        rare = jnp.where(shares < 1 / len(RELATIONS), 1.0, 0.0)
        more = scenes.captions(rare_key, config.clean_scenes, num_classes=num_classes, shares=rare / rare.sum())
        images.append(compose(jax.random.fold_in(scene_key, 1), bench.train, bench.labels, more))
        said.append(more)
    return jnp.concatenate(images), jax.tree.map(lambda *parts: jnp.concatenate(parts), *said)


def scenes_row(config: Any, bench: Bench, run: Run, *, clean: bool | None) -> Measured:
    """Scenes generated for captions of every relation; ``clean=None`` scores true scenes, the detector's limit."""
    num_classes = bench.generator.sizes[0]
    detector = ClassifierConfig(
        dims=(bench.train.shape[1], 128, 64, num_classes + 1), num_steps=config.detector_steps, seed=12
    )
    rows = scenes.detector_rows(jax.random.key(12), bench.train, bench.labels, num_classes=num_classes)
    detecting = denoiser.classifier_asset(detector, *rows, root=bench.root, digest=f"{bench.digest} detector")
    net = DenoiserConfig(
        dim=scenes.SIDE**2,
        sizes=(num_classes, num_classes, len(RELATIONS)),
        hidden=config.scene_hidden,
        num_steps=config.scene_steps,
        learning_rate=1e-3,
    )
    params: PyTree = ()
    if clean is not None:
        run.progress("training a generator of scenes")
        images, said = _scene_set(config, bench, clean=clean)
        numbers = [config.scenes, config.clean_scenes, config.shares, config.wrong_captions]
        digest = f"{bench.digest} scenes {clean} {numbers}"
        params = denoiser.denoiser_asset(net, images, said.columns(), root=bench.root, digest=digest)
    common = jnp.asarray(config.shares)

    def one(key: Array, params: PyTree, detecting: PyTree, real: tuple[Array, Array]) -> Any:
        caption_key, draw_key = jax.random.split(key)
        even = jnp.full(len(RELATIONS), 1 / len(RELATIONS))
        wanted = scenes.captions(caption_key, config.prompts, num_classes=num_classes, shares=even)
        wanted = wanted._replace(relation=jnp.arange(config.prompts) % len(RELATIONS))  # equally often, in turn
        if clean is None:
            made = scenes.compose(draw_key, *real, wanted, num_classes=num_classes)
        else:
            made = _draw_scenes(config, net, params, draw_key, wanted)
        right = scenes.caption_correct(scenes.detect(detector, detecting, made), wanted)
        by_relation = jnp.mean(right.reshape(-1, len(RELATIONS)), axis=0)
        measured = {"macro": jnp.mean(by_relation), "micro": jnp.sum(common * by_relation)}
        measured |= {f"correct_{name.split()[0]}": by_relation[i] for i, name in enumerate(RELATIONS)}
        return measured, {"scenes": made[: 2 * len(RELATIONS)]}

    shared = (params, detecting, (bench.test, bench.test_labels))
    return over_seeds(one, run.seed_keys(), mode="map", shared=shared)


def _draw_scenes(config: Any, net: DenoiserConfig, params: PyTree, key: Array, wanted: Captions) -> Array:
    keys = jax.random.split(key, wanted.first.shape[0])
    made = diffusion.sample(
        keys,
        PROCESS.prior_sample(keys, (net.dim,)),
        denoiser.even_times(config.steps),
        cond_fn=denoiser.model(net, params, wanted.columns(), kind="x0"),
        uncond_fn=denoiser.model(net, params, denoiser.null(net, len(keys)), kind="x0"),
        rule=guidance.cfg(config.scene_scale),
        step=diffusion.ddim(PROCESS, kind="x0"),
    )
    return jnp.clip(made.x, -1.0, 1.0)
