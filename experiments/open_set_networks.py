"""Networks that are trained to meet unknown classes, and many plain ones: does a better classifier see them better?"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.networks import mlp
from experiments.training import fit
from jaxlab import detect, losses, metrics, weaksup
from jaxlab.numerics import masked_mean, normalize
from jaxlab.typing import Array, PyTree

__all__ = [
    "SCORES",
    "Variant",
    "correlations",
    "hidden_layers",
    "make_outliers",
    "make_reciprocal",
    "many_networks",
    "train_reciprocal",
    "train_variant",
    "variants",
]

SCORES = {"max_logit": detect.max_logit, "max_softmax": detect.max_softmax}


def hidden_layers(params: PyTree, x: Array, units: Array | None = None) -> list[Array]:
    """Activations of the hidden layers; ``units`` bool [H] switches the others off."""
    layers = [x]
    for name in sorted(params["hidden"]):
        dense = params["hidden"][name]
        active = jax.nn.relu(layers[-1] @ dense["kernel"] + dense["bias"])
        layers.append(active if units is None else jnp.where(units, active, 0.0))
    return layers[1:]


def _start(key: Array, dims: tuple[int, ...]) -> PyTree:
    return mlp(dims).init(key)


# Reciprocal points


@functools.partial(jax.jit, static_argnames=("dims", "num_steps", "batch_size"))
def train_reciprocal(
    x: Array,
    y: Array,
    where: Array,
    classes: Array,
    key: Array,
    *,
    dims: tuple[int, ...],
    num_steps: int,
    batch_size: int = 128,
) -> PyTree:
    """A network whose head are reciprocal points, as in ``losses.arpl``: {"hidden", "points" [C, H], "radius"}.

    Points of classes outside ``classes`` are never drawn and take no part in the softmax.
    """
    init_key, point_key, fit_key = jax.random.split(key, 3)
    params = {
        "hidden": _start(init_key, dims)["hidden"],
        "points": 0.1 * jax.random.normal(point_key, (dims[-1], dims[-2])),
        "radius": jnp.zeros(()),
    }

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        features = hidden_layers(params, batch["x"])[-1]
        return jnp.mean(
            losses.arpl(features, params["points"], params["radius"], batch["y"], class_where=classes)
        ), state

    return fit(
        loss_fn,
        params,
        None,
        optax.adam(1e-3),
        {"x": x, "y": y},
        fit_key,
        num_steps=num_steps,
        batch_size=batch_size,
        where=where,
    ).params


# Many networks


class Variant(NamedTuple):
    """How one of many networks differs: the hidden units it has, the labels it is told, how many steps it takes."""

    units: Array  # bool [H]
    noise: Array  # share of its labels that are wrong
    steps: Array  # int


def variants(hidden: int, num_steps: int) -> Variant:
    """Twenty-five: five widths with five shares of wrong labels, the steps going round between them."""
    widths = jnp.array([max(2, hidden // d) for d in (32, 16, 8, 4, 1)])
    noise = jnp.array([0.0, 0.1, 0.2, 0.3, 0.4])
    share = jnp.array([0.1, 0.2, 0.4, 0.7, 1.0])
    i, j = (grid.reshape(-1) for grid in jnp.meshgrid(jnp.arange(5), jnp.arange(5), indexing="ij"))
    steps = jnp.maximum(1, (share[(i + 2 * j) % 5] * num_steps).astype(jnp.int32))
    return Variant(jnp.arange(hidden) < widths[i][:, None], noise[j], steps)


def train_variant(
    x: Array,
    y: Array,
    where: Array,
    classes: Array,
    key: Array,
    variant: Variant,
    *,
    dims: tuple[int, ...],
    num_steps: int,
    batch_size: int = 128,
) -> PyTree:
    """One network; all variants are one program, as what differs are masks."""
    init_key, noise_key, fit_key = jax.random.split(key, 3)
    num_classes = dims[-1]
    others = classes / jnp.maximum(jnp.sum(classes) - 1, 1)
    wrong = jnp.where(jnp.eye(num_classes, dtype=bool), 0.0, others)
    table = variant.noise * wrong + (1.0 - variant.noise) * jnp.eye(num_classes)
    told = weaksup.corrupt_labels(noise_key, y, table)

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        logits = _logits(params, batch["x"], variant.units)
        mask = jnp.broadcast_to(classes, logits.shape)
        loss = jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"], where=mask))
        return loss, state

    start = _start(init_key, dims)
    until = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(lambda n: -1e-3 * (n < variant.steps)))
    data = {"x": x, "y": told}
    sizes: dict[str, Any] = {"num_steps": num_steps, "batch_size": batch_size}
    return fit(loss_fn, start, None, until, data, fit_key, where=where, **sizes).params


def _logits(params: PyTree, x: Array, units: Array) -> Array:
    features = hidden_layers(params, x, units)[-1]
    return features @ params["head"]["kernel"] + params["head"]["bias"]


def correlations(
    train: Any, tests: Any, kind: Array, classes: Array, key: Array, *, hidden: int, num_steps: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Over many networks: how the AUROC of two scores goes with the accuracy on the known classes.

    Args:
      train: rows ``(x, y, where)`` of the known classes.
      tests: rows ``(x, y, where)`` of known (kind 0) and unknown (kind 1) classes; other kinds are left out.
      kind: int [M].
      classes: bool [C], the known classes.
      key: PRNG key.
      hidden: width of the widest network.
      num_steps: of the longest training.
    """
    dims = (train.x.shape[1], hidden, hidden, classes.shape[0])
    known, near = kind == 0, tests.where & (kind <= 1)

    def one(inputs: tuple[Array, Variant]) -> tuple[Array, Array, Array]:
        own, variant = inputs
        params = train_variant(train.x, train.y, train.where, classes, own, variant, dims=dims, num_steps=num_steps)
        logits = jnp.where(classes, _logits(params, tests.x, variant.units), -jnp.inf)
        accuracy = metrics.accuracy(logits, tests.y, where=tests.where & known)
        seen = [metrics.auroc(score(logits, class_where=classes), known, where=near) for score in SCORES.values()]
        return accuracy, *seen

    all_variants = variants(hidden, num_steps)
    keys = jax.random.split(key, len(all_variants.noise))
    accuracy, *seen = jax.lax.map(one, (keys, all_variants), batch_size=len(keys))
    found = {f"r_{name}": metrics.pearson(accuracy, values) for name, values in zip(SCORES, seen, strict=True)}
    curves = {"networks_accuracy": accuracy} | {f"networks_{n}": v for n, v in zip(SCORES, seen, strict=True)}
    return found, curves


def make_reciprocal(config: Any, seed: Any) -> tuple[Callable[[Array], tuple[Array, Array]], dict[str, Array]]:
    """The largest logit of a network that was trained with reciprocal points."""
    x, y, where = seed.train
    dims = (x.shape[1], config.hidden, config.hidden, seed.classes.shape[0])
    params = train_reciprocal(x, y, where, seed.classes, seed.key, dims=dims, num_steps=config.train_steps)

    def detector(x: Array) -> tuple[Array, Array]:
        logits = losses.arpl_logits(hidden_layers(params, x)[-1], params["points"])
        return detect.max_logit(logits, class_where=seed.classes), jnp.where(seed.classes, logits, -jnp.inf)

    return detector, {}


def make_outliers(config: Any, seed: Any) -> tuple[Callable[[Array], tuple[Array, Array]], dict[str, Array]]:
    """The energy after the head alone went on learning, with outliers invented at the border of its features [20].

    The thresholds of the energies stand to one another as the published -15 and -3; the lower one is the mean energy of
    the training rows, as a small network has small logits.
    """
    x, y, where = seed.train
    features = hidden_layers(seed.params, x)[-1]
    length = masked_mean(jnp.linalg.norm(features, axis=-1), where)
    noise_key, fit_key = jax.random.split(jax.random.fold_in(seed.key, 20))
    kept = 40 * seed.classes.shape[0]
    sizes = {"num_keep": kept, "k": min(50, len(x)), "num_boundary": min(50, len(x)), "samples_per_point": 100}
    outliers = length * detect.virtual_outliers(noise_key, normalize(features), where=where, **sizes)
    logits_of = lambda head, features: features @ head["kernel"] + head["bias"]  # noqa: E731
    start = seed.params["head"]
    threshold = -masked_mean(detect.energy(logits_of(start, features), class_where=seed.classes), where)

    def loss_fn(head: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        logits = logits_of(head, batch["features"])
        sides = {"id_threshold": threshold, "ood_threshold": 0.2 * threshold, "class_where": seed.classes}
        known, invented = losses.energy_margin(logits, logits_of(head, outliers), **sides)
        exists = jnp.broadcast_to(seed.classes, logits.shape)
        named = optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"], where=exists)
        return jnp.mean(named) + config.outlier_penalty * (jnp.mean(known) + jnp.mean(invented)), state

    rows = {"features": features, "y": y}
    steps: dict[str, Any] = {"num_steps": config.outlier_steps, "batch_size": 128}
    head = fit(loss_fn, start, None, optax.adam(1e-3), rows, fit_key, where=where, **steps).params

    def detector(x: Array) -> tuple[Array, Array]:
        logits = logits_of(head, hidden_layers(seed.params, x)[-1])
        return detect.energy(logits, class_where=seed.classes), jnp.where(seed.classes, logits, -jnp.inf)

    return detector, {}


def many_networks(config: Any, seed: Any) -> tuple[dict[str, Array], dict[str, Array]]:
    """Correlation of accuracy and AUROC over 25 networks."""
    sizes = {"hidden": config.hidden, "num_steps": config.train_steps}
    return correlations(seed.train, seed.tests, seed.kind, seed.classes, seed.key, **sizes)
