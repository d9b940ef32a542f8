"""Networks with several heads, trained on classes of unequal size by one of several losses, in one program.

A row of ``long_tail`` is a ``Plan``: which loss, and its numbers. All are arguments of the program, so that rows share
its compilation.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import discovery_networks
from experiments.discovery_networks import SIDE
from experiments.networks import mlp
from experiments.training import cosine_adam, fit
from jaxlab import losses, nn, vision, weaksup
from jaxlab.numerics import masked_mean, normalize
from jaxlab.typing import Array, PyTree

EXPERTS = 3
POWERS = (-0.5, 1.0, 2.5)  # of the class sizes, for the experts of MDCS


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the networks are trained."""

    hidden: int = 128
    """Width of the first hidden layer."""
    width: int = 128
    """Width of the features."""
    steps: int = 900
    """Steps of Adam."""
    batch: int = 64
    """Rows per step."""
    learning_rate: float = 2e-3
    """It falls to zero as a cosine."""
    noise: float = 0.1
    """Standard deviation of the noise of a view."""
    hidden_pixels: float = 0.2
    """Share of the inputs that a strong view hides."""
    replicas: int = 2
    """Networks per seed that differ in their first weights and batches alone; what is measured is their mean."""
    tau: float = 2.0
    """How far SADE's third expert leans to rare classes."""
    consistency: float = 0.6
    """Weight of MDCS's consistency, reached after a tenth of the steps."""
    margin: float = 0.5
    """LDAM's margin of the rarest class, on cosines."""
    scale: float = 30.0
    """Multiplies LDAM's cosines."""
    ascent_steps: int = 100
    """Steps by which SADE's weights climb on test rows without labels."""
    ascent_rate: float = 3.0
    """Size of such a step; they stop when a weight falls below .05."""
    ascent_views: int = 4
    """Pairs of views of every test row."""


class Plan(NamedTuple):
    """What a row trains by."""

    loss: Any = "adjusted"  # key in BRANCHES; for the program, the place among those that it holds
    power: Any = 0.0  # "adjusted": of the class sizes
    weighted: Any = False  # "adjusted": rare classes weigh more
    margin: Any = False  # "adjusted": cosines with a margin
    consistent: Any = False  # "mdcs": with consistency
    confident: Any = False  # "mdcs": of what the weak view gets right alone
    shared: Any = True  # "batch_former": one classifier for both halves
    balanced: Any = False  # "batch_former": with a balanced softmax


class Batch(NamedTuple):
    """A weak and a strong view [2, B, D], labels, a key, and how far in the consistency has come, in [0, 1]."""

    views: Array
    labels: Array
    key: Array
    ramp: Array


class Views(NamedTuple):
    """Logits [EXPERTS + 1, N, C] on rows as they are (the last is SLA's), and [EXPERTS, V N, C] on pairs of views."""

    plain: Array
    first: Array
    second: Array


def turned(x: Array) -> Array:
    """Four turns [B, 4, D] of every picture; features stay as they are, [B, 1, D]."""
    if x.shape[-1] != SIDE**2:
        return x[:, None]
    return vision.rotations(x.reshape(-1, SIDE, SIDE, 1)).reshape(len(x), 4, -1)


def network_init(config: Settings, key: Array, dim: int, num_classes: int) -> PyTree:
    """Trunk, three heads, a head of classes and turns, and the layer over the batch."""
    keys = jax.random.split(key, 4)
    turns = turned(jnp.zeros((1, dim))).shape[1]
    heads = 0.05 * jax.random.normal(keys[1], (EXPERTS, config.width, num_classes))
    return {
        "trunk": _trunk(config, dim).init(keys[0]),
        "heads": {"kernel": heads, "bias": jnp.zeros((EXPERTS, 1, num_classes))},
        "joint": 0.05 * jax.random.normal(keys[2], (config.width, num_classes * turns)),
        "former": nn.batch_former_init(keys[3], config.width),
    }


def _trunk(config: Settings, dim: int) -> Any:
    return mlp((dim, config.hidden, config.width, 1))


def features(config: Settings, params: PyTree, x: Array) -> Array:
    """float [B, width]."""
    return _trunk(config, x.shape[-1]).features(params["trunk"], x)


def expert_logits(params: PyTree, hidden: Array) -> Array:
    """float [EXPERTS, B, C]."""
    return hidden @ params["heads"]["kernel"] + params["heads"]["bias"]


def cosines(config: Settings, params: PyTree, hidden: Array) -> Array:
    """LDAM's logits of the first head, [B, C]."""
    return config.scale * normalize(hidden) @ normalize(params["heads"]["kernel"][0], axis=0)


def joint_logits(config: Settings, params: PyTree, x: Array) -> Array:
    """SLA's logits of every turn, [B, M, C M]."""
    copies = turned(x)
    hidden = features(config, params, copies.reshape(-1, x.shape[-1]))
    return (hidden @ params["joint"]).reshape(*copies.shape[:2], -1)


def adjusted(config: Settings, plan: Plan, counts: Array, params: PyTree, batch: Batch) -> Array:
    """One head: plain, balanced, weighted, or with margins."""
    hidden = features(config, params, batch.views[0])
    logits = jnp.where(plan.margin, cosines(config, params, hidden), expert_logits(params, hidden)[0])
    margins = counts**-0.25
    margins = jnp.where(plan.margin, config.scale * config.margin * margins / jnp.max(margins), 0.0)
    own = jax.nn.one_hot(batch.labels, counts.shape[0])
    adjustment = plan.power * jnp.log(counts) - own * margins
    weights = jnp.where(plan.weighted, losses.class_balanced_weights(counts, beta=0.999), 1.0)
    return jnp.mean(weights[batch.labels] * losses.logit_adjusted_cross_entropy(logits, batch.labels, adjustment))


def sade(config: Settings, plan: Plan, counts: Array, params: PyTree, batch: Batch) -> Array:
    """Three experts for three test priors."""
    logits = expert_logits(params, features(config, params, batch.views[0]))
    return jnp.mean(losses.sade(logits, batch.labels, losses.class_prior(counts), tau=config.tau))


def mdcs(config: Settings, plan: Plan, counts: Array, params: PyTree, batch: Batch) -> Array:
    """Three experts by powers of the class sizes; the strong view follows the weak one."""
    weak, strong = (expert_logits(params, features(config, params, view)) for view in batch.views)
    diversity = 0.5 * sum(
        jnp.mean(losses.mdcs_diversity(z, batch.labels, counts, powers=POWERS)) for z in (weak, strong)
    )
    following = jnp.zeros(())
    for power, student, teacher in zip(POWERS, strong, weak, strict=True):
        student, teacher = (z + power * jnp.log(counts) for z in (student, teacher))
        asked = jnp.where(plan.confident, batch.labels, jnp.argmax(teacher, axis=-1))
        following += masked_mean(*losses.confident_consistency(student, teacher, asked))
    return diversity + jnp.where(plan.consistent, batch.ramp * config.consistency * following, 0.0)


def batch_former(config: Settings, plan: Plan, counts: Array, params: PyTree, batch: Batch) -> Array:
    """A classifier of features and of what attention over the batch makes of them."""
    hidden = features(config, params, batch.views[0])
    both, labels = nn.batch_former_pair(params["former"], hidden, batch.labels, key=batch.key)
    logits = expert_logits(params, both)
    first = jnp.arange(len(labels)) < len(batch.labels)
    chosen = jnp.where((first | plan.shared)[:, None], logits[0], logits[1])
    adjustment = jnp.where(plan.balanced, jnp.log(counts), 0.0)
    return jnp.mean(losses.logit_adjusted_cross_entropy(chosen, labels, adjustment))


def sla(config: Settings, plan: Plan, counts: Array, params: PyTree, batch: Batch) -> Array:
    """Class and turn together."""
    return jnp.mean(losses.sla(joint_logits(config, params, batch.views[0]), batch.labels))


BRANCHES: dict[str, Callable[..., Array]] = {
    "adjusted": adjusted,
    "sade": sade,
    "mdcs": mdcs,
    "batch_former": batch_former,
    "sla": sla,
}


def make_views(config: Settings, key: Array, x: Array, image: Array) -> Array:
    """A weak and a strong view, [2, B, D]: moved by at most a pixel, noisy; the strong one with holes."""
    view_key, hole_key = jax.random.split(key)
    both = discovery_networks.views(discovery_networks.Settings(view_noise=config.noise), view_key, x, image)
    seen = jax.random.bernoulli(hole_key, 1 - config.hidden_pixels, x.shape)
    return both.at[1].set(jnp.where(seen, both[1], 0.0))


def train(
    config: Settings,
    held: Sequence[str],
    plan: Plan,
    key: Array,
    x: Array,
    y: Array,
    tests: Array,
    counts: Array,
    image: Array,
) -> Views:
    """One network on training rows x [N, D] of classes y, and its logits on the test rows; held names BRANCHES."""
    init_key, fit_key, view_key = jax.random.split(key, 3)
    num_classes = counts.shape[0]

    def loss_fn(params: PyTree, state: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        view_key, loss_key = jax.random.split(key)
        # The consistency comes in over the first tenth of the steps.
        ramp = jnp.minimum(state / (0.1 * config.steps), 1.0)
        shown = Batch(make_views(config, view_key, batch["x"], image), batch["y"], loss_key, ramp)
        branches = [functools.partial(branch, config, plan, counts) for branch in map(BRANCHES.__getitem__, held)]
        return jax.lax.switch(plan.loss, branches, params, shown), state + 1

    found = fit(
        loss_fn,
        network_init(config, init_key, x.shape[1], num_classes),
        jnp.zeros(()),
        cosine_adam(config.learning_rate, config.steps),
        {"x": x, "y": y},
        fit_key,
        num_steps=config.steps,
        batch_size=min(config.batch, len(x)),
    ).params
    hidden = features(config, found, tests)
    heads = expert_logits(found, hidden)
    heads = heads.at[0].set(jnp.where(plan.margin, cosines(config, found, hidden), heads[0]))
    turns = losses.aggregate_joint_logits(joint_logits(config, found, tests))
    settings = discovery_networks.Settings(view_noise=config.noise)
    repeated = jnp.tile(tests, (config.ascent_views, 1))
    pair = discovery_networks.views(settings, view_key, repeated, image)
    first, second = (expert_logits(found, features(config, found, view)) for view in pair)
    return Views(jnp.concatenate([heads, turns[None]]), first, second)


def learned_weights(config: Settings, views: Views, where: Array) -> Array:
    """SADE's weights [EXPERTS + 1] for the test rows that count, found without their labels."""
    counts = jnp.tile(where, config.ascent_views)

    def agreement(raw: Array) -> Array:
        return masked_mean(weaksup.expert_agreement(raw, views.first, views.second, where=counts), counts)

    def climb(raw: Array, _: None) -> tuple[Array, None]:
        on = jnp.min(jax.nn.softmax(raw)) >= 0.05
        return jnp.where(on, raw + config.ascent_rate * jax.grad(agreement)(raw), raw), None

    raw, _ = jax.lax.scan(climb, jnp.full(EXPERTS, 1 / EXPERTS), length=config.ascent_steps)
    return jnp.append(jax.nn.softmax(raw), 0.0)
