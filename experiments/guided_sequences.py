"""Three models of sequences and how they are guided: what a question prepares, and the rows that measure.

A ``prepare_*`` function gives the configurations of the networks and a dict of what every seed sees; a ``row_*``
function takes both, and the question's Config, and measures one seed.
"""

import functools
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.assets import captions as words
from experiments.assets import denoiser, sequences
from experiments.assets import text_windows as windows
from experiments.assets.denoiser import ClassifierConfig
from experiments.runner import Run, UserError
from jaxlab import diffusion, guidance, metrics, text
from jaxlab.typing import Array

__all__ = [
    "AR_SCALES",
    "CAPTION_SCALES",
    "FLOW_SCALES",
    "name_of",
    "prepare_captions",
    "prepare_images",
    "prepare_windows",
    "row_captions",
    "row_guided",
    "row_images",
    "row_windows",
]

AR_SCALES = (1.5, 2.0, 3.0)
FLOW_SCALES = (0.01, 0.02, 0.05, 0.1, 0.2)
CAPTION_SCALES = (1.0, 1.5, 2.0, 3.0)
SHOWN = 12  # captions that are kept

Row = tuple[dict[str, Array], dict[str, Array]]


def name_of(metric: str, scale: float) -> str:
    """The name of a metric at a scale, such as recall_1.5."""
    return f"{metric}_{scale:g}"


# Images


def prepare_images(config: Any, run: Run, names: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configurations, and what every seed sees: the models of these rows, the judge, the classes, features of data."""
    data = run.data()
    tokens = sequences.grey_levels(data.x, config.levels)
    digest, made = f"{data.digest}-{config.levels}", {"root": run.asset_root}
    base = sequences.PixelConfig(tokens.shape[1], config.levels, data.num_classes, num_steps=config.pixel_steps)
    align = functools.partial(sequences.AlignConfig, base, beta=config.beta)
    further = {
        "more_likelihood": align(kind="likelihood"),
        "dpo": align(kind="dpo"),
        "cca": align(),
        "cca_1000": align(scale=1000.0),
    }
    run.progress("training the model of images")
    params = {"base": sequences.pixel_asset(base, tokens, data.y, digest=digest, **made)}
    for name in sorted(further.keys() & names):
        setting = further[name]
        params[name] = sequences.aligned_asset(setting, params["base"], tokens, data.y, digest=digest, **made)
    judge = ClassifierConfig(dims=(tokens.shape[1], 128, 64, data.num_classes), num_steps=config.judge_steps)
    x = sequences.as_images(jnp.asarray(tokens), config.levels)
    weights = denoiser.classifier_asset(judge, x, jnp.asarray(data.y), digest=digest, **made)
    shared = {
        "params": params,
        "judge": weights,
        "labels": jnp.arange(config.samples) % data.num_classes,
        "real": denoiser.judge(judge, weights, x).features,
    }
    return {"base": base, "judge": judge}, shared


def row_images(
    model: str, scale: float | None, config: Any, nets: dict[str, Any], key: Array, shared: dict[str, Any]
) -> Row:
    """Accuracy of the wanted class and Frechet distance, for a model with or without guidance."""
    labels = shared["labels"]
    drawn = sequences.draw(nets["base"], shared["params"][model], labels, key, scale=scale)
    seen = denoiser.judge(nets["judge"], shared["judge"], sequences.as_images(drawn, config.levels))
    measured = {
        "accuracy": metrics.accuracy(seen.logits, labels),
        "frechet": metrics.frechet_distance(seen.features, shared["real"]),
        "calls_per_token": jnp.float32(1 if scale is None else 2),
    }
    return measured, {"images": drawn[: 2 * nets["base"].classes]}


# Windows of text


def prepare_windows(config: Any, run: Run, names: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configurations, and what every seed sees: the flows, the scorers, what they make of the data."""
    data = windows.windows(config.length, config.text_windows)
    count = 3 * config.text_windows // 4
    train = windows.Windows(data.tokens[:count], data.is_code[:count], f"{data.digest}-{count}")
    nets: dict[str, Any] = {
        path: windows.FlowConfig(path, config.length, num_steps=config.denoiser_steps) for path in ("gumbel", "linear")
    }
    nets["scorer"] = windows.ScorerConfig(config.length, num_steps=config.scorer_steps)
    nets["judge"] = windows.ScorerConfig(config.length, hidden=48, num_steps=config.scorer_steps, seed=2)
    del names  # all rows need all of it
    run.progress("training the flows of text")
    made = {"root": run.asset_root}
    shared: dict[str, Any] = {
        path: windows.flow_asset(nets[path], train.tokens, digest=train.digest, **made) for path in ("gumbel", "linear")
    }
    for name in ("scorer", "judge"):
        shared[name] = windows.scorer_asset(nets[name], train, **made)
    shared["tokens"] = jnp.asarray(data.tokens[count:])
    shared["bigrams"] = windows.bigrams(jnp.asarray(train.tokens))
    one_hot = jax.nn.one_hot(shared["tokens"], len(windows.KINDS))
    shared["spread"] = {name: jnp.std(windows.score(nets[name], shared[name], one_hot)) for name in ("scorer", "judge")}
    return nets, shared


def flow(
    path: str,
    count: int,
    config: Any,
    nets: dict[str, Any],
    key: Array,
    shared: dict[str, Any],
    **options: Any,
) -> Array:
    """Windows int32 [count, T] of a flow."""
    keys, shape = jax.random.split(key, count), (config.length, len(windows.KINDS))
    if path == "linear":
        start = jax.vmap(lambda k: windows.linear_start(jax.random.fold_in(k, config.flow_steps), shape))(keys)
        options |= {"velocity_fn": windows.linear_velocity, "x_init": start}
    fn = windows.denoiser(nets[path], shared[path])
    return diffusion.simplex_euler_sample(keys, shape, denoiser=fn, num_steps=config.flow_steps, **options).tokens


def row_windows(path: str | None, config: Any, nets: dict[str, Any], key: Array, shared: dict[str, Any]) -> Row:
    """Total variation of the bigrams from those of the text; path None is other windows of the text itself."""
    if path is None:
        drawn = jax.random.choice(key, shared["tokens"], (config.sequences,), replace=False)
    else:
        drawn = flow(path, config.sequences, config, nets, key, shared)
    apart = 0.5 * jnp.sum(jnp.abs(windows.bigrams(drawn) - shared["bigrams"]))
    return {"bigram_distance": apart}, {}


def row_guided(path: str, hard: bool, config: Any, nets: dict[str, Any], key: Array, shared: dict[str, Any]) -> Row:
    """Rise of the judge's score in standard deviations of the data, fall of the bigram log likelihood, by scale."""

    def score_fn(one_hot: Array) -> Array:
        return windows.score(nets["scorer"], shared["scorer"], one_hot) / shared["spread"]["scorer"]

    def soft(key: Array, logits: Array) -> Array:
        gradient = jax.grad(score_fn)(jax.nn.softmax(logits))
        return gradient - jnp.mean(gradient, axis=-1, keepdims=True)

    straight = functools.partial(guidance.straight_through_guide, score_fn=score_fn, num_samples=config.guide_samples)

    def at(scale: Array) -> tuple[Array, Array]:
        guide = straight if hard else soft
        drawn = flow(path, config.guided, config, nets, key, shared, guide_fn=guide, scale=scale)
        judged = windows.score(nets["judge"], shared["judge"], jax.nn.one_hot(drawn, len(windows.KINDS)))
        table = jnp.log(shared["bigrams"] + 1e-6)
        return jnp.mean(judged) / shared["spread"]["judge"], jnp.mean(table[drawn[:, :-1], drawn[:, 1:]])

    scores, likelihoods = jax.lax.map(at, jnp.array((0.0, *FLOW_SCALES)))
    rise, fall = scores[1:] - scores[0], likelihoods[1:] / likelihoods[0] - 1.0
    measured = {name_of("rise", scale): rise[i] for i, scale in enumerate(FLOW_SCALES)}
    measured |= {name_of("fall", scale): fall[i] for i, scale in enumerate(FLOW_SCALES)}
    zero = jnp.zeros(1)
    return measured, {"rise": jnp.concatenate([zero, rise]), "fall": jnp.concatenate([zero, fall])}


# Captions


def prepare_captions(config: Any, run: Run, names: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configurations, and what every seed sees: captioner, encoders, the images that none of them has seen."""
    data = run.data()
    count, seen = len(data.x), 3 * len(data.x) // 4
    if count - seen < config.gallery:
        raise UserError(f"gallery must be at most {count - seen} for {data.name}, got {config.gallery}.")
    rows = np.random.default_rng(0).permutation(count)
    many = np.tile(np.arange(count), config.captions_per_image)
    written = words.write(data.x[many], data.y[many], 0)
    train = np.isin(many, rows[:seen])
    captions = words.Captions(written.tokens[train], written.where[train])
    x = jnp.asarray(data.x.reshape(count, -1))
    digest = f"{data.digest}-{hashlib.sha256(captions.tokens.tobytes()).hexdigest()}"
    made: dict[str, Any] = {"root": run.asset_root, "digest": digest}
    captioner = words.CaptionerConfig(dim=x.shape[1], num_steps=config.caption_steps)
    retriever = words.RetrieverConfig(dim=x.shape[1], num_steps=config.caption_steps)
    del names  # all rows need all of it
    run.progress("training the captioner")
    shared = {
        "captioner": words.captioner_asset(captioner, x[many[train]], captions, **made),
        "retriever": words.retriever_asset(retriever, x[many[train]], captions, **made),
        "prior": jnp.asarray(words.word_bigrams(captions.tokens)),
        "x": x[rows[seen:]],
        "tokens": jnp.asarray(written.tokens[rows[seen:]]),
        "where": jnp.asarray(written.where[rows[seen:]]),
    }
    return {"captioner": captioner, "retriever": retriever}, shared


def decode(kind: str, x: Array, scale: Array, config: Any, nets: dict[str, Any], shared: dict[str, Any]) -> Any:
    """Greedy captions of images x [N, D]: guided by the condition, or with the prior of a language model."""
    params, size = shared["captioner"], x.shape[0]

    def step_fn(state: Any, tokens: Array) -> tuple[Array, Any]:
        cond, with_image = words.step(params, state[0], tokens)
        uncond, without = words.step(params, state[1], tokens)
        if kind == "cfg":
            logits = guidance.combine(cond, uncond, scale=scale)
        else:
            share = config.prior_share * scale
            logits = guidance.lm_guidance(shared["prior"][tokens], cond, uncond, alpha=scale, beta=share)
        return logits, (with_image, without)

    states = tuple(words.initial_state(nets["captioner"], params, x, jnp.full(size, seen)) for seen in (True, False))
    start = jnp.full(size, words.START)
    return text.greedy_decode(step_fn, (states, start), length=words.LENGTH, eos=words.END)


def shared_words(tokens: Array, where: Array, written: Array, counts: Array) -> Array:
    """Mean F1 of ROUGE-L of captions and the written ones; all end, so that the end is no word of either."""
    own, theirs = where & (tokens != words.END), counts & (written != words.END)
    return jnp.mean(text.rouge_l(tokens, written, where_a=own, where_b=theirs).f1)


def row_captions(kind: str | None, config: Any, nets: dict[str, Any], key: Array, shared: dict[str, Any]) -> Row:
    """Recall of the image, score of the pair, log likelihood per word and what is shared with the written caption.

    By scale; kind None: as people write, which has nothing to be held against.
    """
    # Every image is searched for, in galleries that change with the seed.
    total = shared["x"].shape[0]
    chosen = jax.random.permutation(key, total)[: total // config.gallery * config.gallery]
    x = shared["x"][chosen]
    images = words.embed_images(nets["retriever"], shared["retriever"], x)

    def galleries(rows: Array) -> Array:
        return rows.reshape(-1, config.gallery, rows.shape[-1])

    def at(scale: Array) -> tuple[dict[str, Array], Array]:
        if kind is None:
            tokens, where = shared["tokens"][chosen], shared["where"][chosen]
        else:
            tokens, where = decode(kind, x, scale, config, nets, shared)
        told = words.log_probs(nets["captioner"], shared["captioner"], x, jnp.ones(len(x), bool), tokens)
        spoken = words.embed_captions(nets["retriever"], shared["retriever"], tokens)
        scores = jnp.einsum("gqd,gmd->gqm", galleries(spoken), galleries(images))
        own = jnp.tile(jnp.eye(config.gallery, dtype=bool), (scores.shape[0], 1))
        measured = {
            "recall": jnp.mean(metrics.recall_at_k(scores.reshape(own.shape), own, k=1)),
            "clip_score": jnp.mean(metrics.clip_score(images, spoken)),
            "word_log_prob": jnp.sum(jnp.where(where, told, 0.0)) / jnp.sum(where),
        }
        if kind is not None:
            measured["rouge"] = shared_words(tokens, where, shared["tokens"][chosen], shared["where"][chosen])
        return measured, tokens[:SHOWN]

    table, tokens = jax.lax.map(at, jnp.array(CAPTION_SCALES))
    measured = {name_of(name, s): values[i] for name, values in table.items() for i, s in enumerate(CAPTION_SCALES)}
    return measured, table | {"captions": tokens, "pictures": x[:SHOWN]}
