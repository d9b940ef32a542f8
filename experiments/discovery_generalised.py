"""The generalised setting: half of the known rows have labels, all other rows are of known or of novel classes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.claims import difference
from experiments.data import Dataset
from experiments.discovery_networks import (
    CLASSIFIER,
    DISTILLED,
    Shared,
    contrast,
    cosines,
    init,
    projected,
    shared_of,
    simgcd,
    teacher_temperature,
    train,
)
from experiments.discovery_splits import Group, Split, accuracies, gather, num_known, split
from experiments.runner import Claim, Method, Run
from jaxlab import losses, weaksup
from jaxlab.typing import Array, PyTree

__all__ = ["GROUP"]


class Generalised(NamedTuple):
    """What one seed works on: its rows, and a network that has seen them all without labels."""

    split: Split
    params: PyTree


class Lego(NamedTuple):
    """Weights of what LegoGCD adds to SimGCD."""

    entropy: float = 0.0
    dual: float = 0.0


WARM = 0.15
"""Share of the steps in which the teacher's temperature falls, as published: 30 of 200 epochs."""


def lego(
    config: Any,
    params: PyTree,
    prior: weaksup.ClassPrior,
    views: Array,
    labels: Array,
    *,
    weights: Lego,
    is_known: Array,
    temperature: Array,
) -> tuple[Array, Array]:
    """The loss of LegoGCD, and the cosines [2, B, C] of the views."""
    value, logits = simgcd(config, params, views, labels, temperature)
    gap = losses.kl_divergence(logits[1], logits[0], temperature=CLASSIFIER)
    sharp = weaksup.local_entropy_regularization(
        logits.reshape(-1, logits.shape[-1]), prior, is_known, where=jnp.tile(labels < 0, 2)
    )
    return value + (weights.dual * jnp.mean(gap) + weights.entropy * jnp.mean(sharp)), logits


def generalised(config: Any, seed: Generalised, shared: Shared, weights: Lego) -> dict[str, Array]:
    """SimGCD with the additions of LegoGCD; the teacher's temperature falls in the first 15 % of the steps."""
    train_rows = seed.split.train
    total, known = train_rows.shape[0], num_known(config.novel_share, train_rows.shape[0])
    cut = max(1, round(config.labelled_share * train_rows.shape[1]))
    x_named, y_named = gather(shared.x, train_rows[:known, :cut])
    parts = [gather(shared.x, train_rows[:known, cut:]), gather(shared.x, train_rows[known:], first=known)]
    x_free, y_free = (jnp.concatenate(part) for part in zip(*parts, strict=True))
    rows = (jnp.concatenate([x_named, x_free]), jnp.concatenate([y_named, jnp.full(len(y_free), -1)]))
    is_known = jnp.arange(total) < known
    num_steps = config.generalised_steps

    def loss(
        params: PyTree, state: tuple[Array, weaksup.ClassPrior], views: Array, labels: Array, key: Array
    ) -> tuple[Array, tuple[Array, weaksup.ClassPrior]]:
        step, prior = state
        warm = teacher_temperature(step, num_steps, share=WARM)
        value, logits = lego(config, params, prior, views, labels, weights=weights, is_known=is_known, temperature=warm)
        return value, (step + 1, weaksup.class_prior_update(prior, jax.nn.softmax(logits)))

    state, key = (jnp.zeros(()), weaksup.class_prior_init(total)), jax.random.fold_in(seed.split.key, 4)
    params, _ = train(config, loss, seed.params, state, rows, key, image=shared.image, num_steps=num_steps)
    predicted = jnp.argmax(cosines(config, params, x_free), axis=-1)
    measured = accuracies(predicted, y_free, num_classes=total, num_known=known)
    return {f"gcd_{name}": value for name, value in measured.items()}


def prepare(config: Any, run: Run, data: Dataset) -> tuple[Generalised, tuple[Shared]]:
    """Splits, and networks trained on all rows without labels, in place of the published pretrained ones."""
    rows = split(data, run, test_share=config.test_share)
    shared = shared_of(data)
    run.progress("training networks without labels")

    def loss(params: PyTree, state: None, views: Array, labels: Array, key: Array) -> tuple[Array, None]:
        return contrast(projected(config, params, views), temperature=0.2), state

    @jax.jit
    @jax.vmap
    def learn(rows: Split) -> PyTree:
        init_key, fit_key = jax.random.split(jax.random.fold_in(rows.key, 8))
        x, y = gather(shared.x, rows.train)
        start = init(config, init_key, x.shape[1], data.num_classes)
        steps = config.contrast_steps
        return train(config, loss, start, None, (x, y), fit_key, image=shared.image, num_steps=steps)[0]

    return Generalised(rows, learn(rows)), (shared,)


GROUP = Group(
    (
        Method("simgcd", None, generalised),
        Method("simgcd_ler", 257, generalised, note="and local entropy"),
        Method("simgcd_dkl", 257, generalised, note="and divergence of the views"),
        Method("lego_gcd", 257, generalised, note="both"),
    ),
    (
        Claim(
            257,
            "Known classes are not forgotten: accuracy of LegoGCD on them less SimGCD's, to .01",
            difference("gcd_known", "lego_gcd", "simgcd"),
            ">",
            -0.01,
        ),
    ),
    prepare,
    "vmap",
    {
        "simgcd": Lego(),
        "simgcd_ler": Lego(entropy=2.0),
        "simgcd_dkl": Lego(dual=1 - DISTILLED),
        "lego_gcd": Lego(2.0, 1 - DISTILLED),
    },
)
