"""Long training of a network with linear layers at its end: how its features and classifier collapse."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.training import LossFn, fit
from jaxlab import analytic, losses, metrics
from jaxlab.typing import Array, PyTree

__all__ = ["Head", "Members", "Plan", "collapse_row", "forward", "plan_of"]

MEASURES = ("nc1", "nc2_w", "nc2_h", "nc3", "self_duality")


@dataclasses.dataclass(frozen=True)
class Head:
    """What differs from row to row.

    Attributes:
      depth: linear layers after the features.
      sizes: which of the configuration's class sizes: "balanced", "imbalanced" or "tiny".
      decay: which of its decays: "weak", "strong" or "none".
      bias: whether the last layer has a bias, which does not decay.
    """

    depth: int
    sizes: str = "balanced"
    decay: str = "weak"
    bias: bool = False


class Plan(NamedTuple):
    """The numbers of a row, which are arguments of its program: rows of one shape share it."""

    counts: Array  # float [K]
    decays: Array  # lambda_W and lambda_H, [2]
    theory_decays: Array  # those of the optimum that the row is held against


class Members(NamedTuple):
    """The rows of a few classes, renumbered, to train and to test on."""

    x: Array  # [N, D]
    y: Array  # int [N]
    x_test: Array  # [M, D]
    y_test: Array  # int [M]
    where_test: Array  # bool [M]


def plan_of(config: Any, head: Head) -> Plan:
    """Class sizes, and the decays that the configuration gives times the number of rows."""
    counts = jnp.array(getattr(config, head.sizes), jnp.float32)
    weak, strong = (jnp.array(pair) / jnp.sum(counts) for pair in (config.weak_decay, config.strong_decay))
    decays = {"weak": weak, "strong": strong, "none": jnp.zeros(2)}[head.decay]
    # Without decay there is no optimum: the shape of the weakly decayed one is what it is held against.
    return Plan(counts, decays, weak if head.decay == "none" else decays)


def first_weights(key: Array, inputs: int, config: Any, depth: int, num_classes: int) -> PyTree:
    """A ReLU network to the features, and the linear layers after them."""
    keys = jax.random.split(key, 2 + depth)
    widths = [inputs, config.hidden, config.features] + [config.features] * (depth - 1) + [num_classes]
    kernels = [
        jnp.sqrt((2.0 if i == 0 else 1.0) / widths[i]) * jax.random.normal(k, (widths[i], widths[i + 1]))
        for i, k in enumerate(keys)
    ]
    shifts = [jnp.zeros(config.hidden), jnp.zeros(config.features)]
    return {"body": kernels[:2], "shifts": shifts, "layers": kernels[2:], "bias": jnp.zeros(num_classes)}


def forward(params: PyTree, x: Array) -> tuple[Array, Array, Array]:
    """Features, what the last layer sees of them, and outputs."""
    hidden = jax.nn.relu(x @ params["body"][0] + params["shifts"][0])
    features = last = hidden @ params["body"][1] + params["shifts"][1]
    for layer in params["layers"][:-1]:
        last = last @ layer
    return features, last, last @ params["layers"][-1] + params["bias"]


def objective(bias: bool, number: int) -> LossFn:
    """The loss of ``fit``: squared error, with decay of the linear layers and of the features; decays are its state."""

    def loss_fn(params: PyTree, decays: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        features, _, outputs = forward(params, batch["x"])
        share = number / len(batch["x"])  # the objective sums over the features of all rows
        if not bias:
            loss = losses.unconstrained_feature_mse(
                features, params["layers"], batch["y"], weight_decay=decays[0], feature_decay=share * decays[1]
            )
            return loss, decays
        errors = outputs - jax.nn.one_hot(batch["y"], outputs.shape[1])
        of_weights = decays[0] * sum(jnp.sum(layer**2) for layer in params["layers"])
        of_features = share * decays[1] * jnp.sum(features**2)
        return 0.5 * (jnp.mean(jnp.sum(errors**2, axis=1)) + of_weights + of_features), decays

    return loss_fn


def geometry(head: Head, params: PyTree, rows: Members, theory: analytic.DeepLinearCollapse) -> dict[str, Array]:
    """How far the network is from collapse, with the targets that theory gives."""
    num_classes = params["bias"].shape[0]
    features, last, _ = forward(params, rows.x)
    means = metrics.class_scatter(features, rows.y, num_classes=num_classes).means
    seen = metrics.class_scatter(last, rows.y, num_classes=num_classes).means
    w = params["layers"][-1].T
    found = {
        "nc1": metrics.nc1(features, rows.y, num_classes=num_classes),
        "w_norms": jnp.linalg.norm(w, axis=1),
        "h_norms": jnp.linalg.norm(means, axis=1),
    }
    if head.bias:
        means, seen = means - jnp.mean(means, axis=0), seen - jnp.mean(seen, axis=0)
        return found | {
            "nc2_w": metrics.nc2_etf(w),
            "nc2_h": metrics.nc2_etf(means),
            "nc3": metrics.nc3(w, seen),
            "self_duality": metrics.self_duality(w, seen),
        }
    s, h, diagonal = theory
    # The last layer sees the features after M - 1 layers, of length h s^(M - 1); its own row has length s.
    scales = s / jnp.where(s > 0, h * s ** (head.depth - 1), 1.0)
    return found | {
        "nc2_w": metrics.nc2_orthogonal(w, diagonal=s**2),
        "nc2_h": metrics.nc2_orthogonal(means, diagonal=h**2),
        "nc3": metrics.nc3(w, seen, target="orthogonal", diagonal=diagonal),
        "self_duality": metrics.self_duality(w, seen, scales=scales),
    }


def collapse_row(
    head: Head, config: Any, rows: Members, plan: Plan, key: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Trains for long, and measures on the way; of ``head`` only the depth and the bias count here."""
    number, num_classes = rows.x.shape[0], plan.counts.shape[0]
    weights, features = plan.theory_decays
    theory = analytic.deep_linear_collapse_solution(
        plan.counts, depth=head.depth, weight_decay=weights, feature_decay=features
    )
    init_key, fit_key = jax.random.split(key)
    start = first_weights(init_key, rows.x.shape[1], config, head.depth, num_classes)
    steps = -(-config.train_steps // config.looks)
    optimizer = optax.adam(optax.cosine_decay_schedule(config.rate, steps * config.looks))
    loss_fn, sizes = objective(head.bias, number), {"num_steps": steps, "batch_size": config.batch_size}

    def stretch(carry: tuple[PyTree, PyTree], key: Array) -> tuple[Any, PyTree]:
        params, opt_state = carry
        data = {"x": rows.x, "y": rows.y}
        trained = fit(loss_fn, params, plan.decays, optimizer, data, key, opt_state=opt_state, **sizes)
        return (trained.params, trained.opt_state), trained.params

    (params, _), later = jax.lax.scan(stretch, (start, optimizer.init(start)), jax.random.split(fit_key, config.looks))
    snapshots = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, later)
    curves = jax.lax.map(lambda params: geometry(head, params, rows, theory), snapshots)
    at = {"step": jnp.arange(config.looks + 1) * steps, "w_theory": theory.singular_values}
    return summary(params, rows, curves, theory), curves | at


def summary(
    params: PyTree, rows: Members, curves: dict[str, Array], theory: analytic.DeepLinearCollapse
) -> dict[str, Array]:
    """Numbers at the end. Of no meaning: theory for a row with a bias, and its logarithms for a class given up."""
    last = {name: values[-1] for name, values in curves.items()}
    measured = {name: last[name] for name in MEASURES}
    falls = [jnp.log10(curves[name][0] / curves[name][-1]) for name in ("nc1", "nc2_w", "nc2_h", "nc3")]
    measured["fall"] = jnp.min(jnp.stack(falls))
    measured["test_accuracy"] = metrics.accuracy(forward(params, rows.x_test)[-1], rows.y_test, where=rows.where_test)
    measured["small_to_large"] = last["w_norms"][-1] / last["w_norms"][0]
    s, h, _ = theory
    measured["small_to_large_theory"] = s[-1] / s[0]
    pairs = ((last["w_norms"], s), (last["h_norms"], h))
    off = [jnp.log(seen[1:] / seen[0]) - jnp.log(norms[1:] / norms[0]) for seen, norms in pairs]
    measured["off_theory"] = jnp.max(jnp.abs(jnp.concatenate(off)))
    measured["off_equality"] = jnp.min(jnp.stack([jnp.abs(jnp.log(seen[-1] / seen[0])) for seen, _ in pairs]))
    return measured
