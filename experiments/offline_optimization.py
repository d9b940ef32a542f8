"""Ascent on a surrogate that must not be fooled: does a flat surrogate keep its promises?

A surrogate learns from measured cases alone, here the 442 diabetes patients without those who fared worst; then inputs
are moved uphill on it from the best cases it has seen. What is found is judged by oracles that know all patients: the
mean of the ten nearest, and a forest. "Higher" is the progress of the disease, in standard deviations; to the search it
is a number to raise.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import plots
from experiments.claims import difference
from experiments.errors import missing_package
from experiments.networks import Network, mlp
from experiments.programs import Programs
from experiments.runner import Claim, Measured, Method, Result, Run
from experiments.training import fit
from jaxlab import kernels, optim
from jaxlab.typing import Array, PyTree

DATASETS = ()
SEED_SCOPE = "which of the measured cases are known, surrogates, noise on inputs"
NEIGHBORS = 10


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    known: float = 0.6
    """Share of the cases, those with the lowest values, that could have been measured."""
    kept: float = 0.8
    """Share of those that a seed knows."""
    hidden: int = 64
    """Width of both hidden layers."""
    members: int = 5
    """Surrogates of a seed; each is searched by itself, or all by their mean."""
    steps: int = 1000
    """Steps of training."""
    batch: int = 64
    """Cases per step."""
    learning_rate: float = 1e-3
    """Of Adam."""
    input_noise: float = 0.1
    """Deviation of the noise on the inputs that a surrogate is fitted to."""
    decay: float = 1.0
    """Decoupled weight decay of the row that has it, times the learning rate."""
    starts: int = 32
    """Best known cases that the search starts from."""
    search_steps: int = 100
    """Steps uphill, a multiple of ten."""
    search_rate: float = 0.1
    """Of a step uphill, times the gradient."""

    def __post_init__(self) -> None:
        for name in ("known", "kept"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in (0, 1], got {getattr(self, name)}")
        if self.search_steps < 10 or self.search_steps % 10:
            raise ValueError(f"search_steps must be a multiple of ten, got {self.search_steps}")


QUICK = {"members": 2, "steps": 60, "starts": 8, "search_steps": 20, "hidden": 16}


class Recipe(NamedTuple):
    """How a surrogate is trained; numbers that are traced, so that all rows share a program."""

    decay: float = 0.0
    multiplier: float = 0.0
    multiplier_rate: float = 0.0
    radius: float = 0.05  # of both the bound and the finite difference
    together: float = 0.0  # 1: the search climbs the mean of the surrogates


class Cases(NamedTuple):
    """All cases, standardised: what the oracle knows."""

    x: Array  # [N, D]
    y: Array  # [N]


class Seed(NamedTuple):
    """What one seed knows."""

    key: Array
    rows: Array  # int [K]


def load_cases() -> Cases:
    """The diabetes patients; every input and the progress with mean 0 and variance 1."""
    try:
        from sklearn.datasets import load_diabetes
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    x, y = load_diabetes(return_X_y=True)
    scaled = [(part - part.mean(0)) / part.std(0) for part in (x, y)]
    return Cases(*(jnp.asarray(part, jnp.float32) for part in scaled))


def nearest(cases: Cases, x: Array) -> Array:
    """The oracle: mean value of the nearest cases, [...]."""
    distances = kernels.pairwise_sq_dists(x.reshape(-1, x.shape[-1]), cases.x)
    return jnp.mean(cases.y[jax.lax.top_k(-distances, NEIGHBORS)[1]], axis=1).reshape(x.shape[:-1])


def forest(cases: Cases) -> Any:
    """The second oracle: a forest of all cases."""
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    judge = RandomForestRegressor(200, min_samples_leaf=5, random_state=0)
    return judge.fit(np.asarray(cases.x), np.asarray(cases.y))


@functools.cache
def optimizer(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    """Adam whose decay is an argument; the same object for the same numbers."""
    rate = optax.cosine_decay_schedule(learning_rate, num_steps)
    make = optax.inject_hyperparams(optax.adamw, static_args=("mask",))
    return make(learning_rate=rate, weight_decay=0.0, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim >= 2, tree))


def value(network: Network, params: PyTree, x: Array) -> Array:
    """What a surrogate predicts, [...]."""
    return network.logits(params, x)[..., 0]


def surrogate(config: Config, network: Network, key: Array, cases: Cases, recipe: Recipe) -> PyTree:
    """A network fitted to the cases, flatter where the recipe has a multiplier."""
    init_key, fit_key = jax.random.split(key)

    def loss_fn(params: PyTree, state: optim.IgniteState, batch: dict[str, Array], key: Array) -> tuple[Array, Any]:
        noisy = batch["x"] + config.input_noise * jax.random.normal(key, batch["x"].shape)
        error = jnp.mean((value(network, params, noisy) - batch["y"]) ** 2)
        here = jax.lax.stop_gradient(params)
        mean = lambda p: jnp.mean(value(network, p, batch["x"]))  # noqa: E731
        sizes = {"rho": recipe.radius, "step": recipe.radius, "multiplier_rate": recipe.multiplier_rate}
        extra, state = optim.ignite_gradient(state, jax.tree.map(jnp.zeros_like, here), mean, here, **sizes)
        # Adds to the gradient what is not the gradient of a loss.
        pull = optax.tree.vdot(extra, jax.tree.map(jnp.subtract, params, here))
        return error + pull, state

    first = network.init(init_key)
    method = optimizer(config.learning_rate, config.steps)
    opt_state = method.init(first)
    opt_state = opt_state._replace(hyperparams={**opt_state.hyperparams, "weight_decay": recipe.decay})
    state = optim.ignite_init(multiplier=recipe.multiplier)
    data, sizes = cases._asdict(), {"num_steps": config.steps, "batch_size": config.batch}
    return fit(loss_fn, first, state, method, data, fit_key, opt_state=opt_state, **sizes).params


def climb(config: Config, fn: Any, start: Array, low: Array, high: Array) -> Array:
    """The inputs after every tenth step uphill inside a box, the start first: [11 or so, ...]."""

    def ten(x: Array, _: None) -> tuple[Array, Array]:
        loss = lambda x: -jnp.sum(fn(x))  # noqa: E731
        inside = lambda x: jnp.clip(x, low, high)  # noqa: E731
        found = optim.minimize(loss, x, optax.sgd(config.search_rate), num_steps=10, project=inside).params
        return found, found

    return jnp.concatenate([start[None], jax.lax.scan(ten, start, length=config.search_steps // 10)[1]])


def searched(config: Config, seed: Seed, cases: Cases, recipe: Recipe) -> Any:
    """One row: surrogates, the climb on each or on their mean, and what the oracle thinks of it."""
    network = mlp((cases.x.shape[1], config.hidden, config.hidden, 1))
    known = Cases(cases.x[seed.rows], cases.y[seed.rows])
    keys = jax.random.split(seed.key, config.members)
    params = jax.vmap(lambda key: surrogate(config, network, key, known, recipe))(keys)
    start = known.x[jax.lax.top_k(known.y, config.starts)[1]]
    low, high = jnp.min(cases.x, axis=0), jnp.max(cases.x, axis=0)
    each = lambda x: jax.vmap(lambda p, x: value(network, p, x))(params, x)  # noqa: E731

    def goal(x: Array) -> Array:
        """[members, starts]: of each surrogate, or of all for each, at its own inputs."""
        crossed = jax.vmap(lambda p: value(network, p, x))(params)  # [members, members, starts]
        return jnp.where(recipe.together > 0, jnp.mean(crossed, axis=0), each(x))

    path = climb(config, goal, jnp.broadcast_to(start, (config.members, *start.shape)), low, high)
    promised, found = jax.lax.map(goal, path), nearest(cases, path)
    norms = jax.vmap(lambda p: optim.norm_gradient(lambda p: jnp.mean(value(network, p, known.x)), p).norm)(params)
    rest = jnp.all(jnp.arange(len(cases.y))[:, None] != seed.rows, axis=1)
    errors = (each(jnp.broadcast_to(cases.x, (config.members, *cases.x.shape))) - cases.y) ** 2
    means = jnp.mean(found[-1], axis=1)  # of each search
    metrics = {
        "value": jnp.mean(means),
        "spread": jnp.std(means, ddof=1),
        "broken_promise": jnp.mean(promised[-1] - found[-1]),
        "gradient_norm": jnp.mean(norms),
        "error_unseen": jnp.sqrt(jnp.mean(errors, where=rest)),
    }
    curves = {"promised": jnp.mean(promised, axis=(1, 2)), "found": jnp.mean(found, axis=(1, 2)), "inputs": path[-1]}
    return metrics, curves


def _row(name: str, paper: int | None, note: str, **recipe: float) -> Method:
    return Method(name, paper, lambda config: Recipe(**recipe), note=note)


METHODS = (
    _row("ascent", None, "one surrogate as it is"),
    Method("decay", None, lambda config: Recipe(decay=config.decay), note="weight decay"),
    _row("ensemble", None, "the mean of all", together=1.0),
    _row("ignite", 102, "the multiplier follows the bound", multiplier=1e-3, multiplier_rate=1e-3),
    _row("ignite_2", 102, "a multiplier that stays, as published", multiplier=0.01, radius=0.2),
    _row("ignite_2_tenfold", 102, "ten times as large", multiplier=0.1, radius=0.2),
)


CLAIMS = (
    Claim(
        102,
        "The mean prediction depends less sharply on parameters",
        difference("gradient_norm", "ascent", "ignite_2"),
        ">",
        0.0,
    ),
    Claim(102, "The search is fooled less", difference("broken_promise", "ascent", "ignite_2"), ">", 0.0),
    Claim(102, "What it finds is better", difference("value", "ignite_2", "ascent"), ">", 0.0),
    Claim(102, "With ten times the weight too", difference("value", "ignite_2_tenfold", "ascent"), ">", 0.0),
    Claim(102, "With a multiplier that follows a bound too", difference("value", "ignite", "ascent"), ">", 0.0),
    Claim(102, "Surrogates differ less in what they lead to", difference("spread", "ascent", "ignite_2"), ">", 0.0),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    cases = load_cases()
    order = np.argsort(np.asarray(cases.y), kind="stable")[: round(config.known * len(cases.y))]
    kept = round(config.kept * len(order))
    rows = np.stack([np.random.default_rng(seed).permutation(order)[:kept] for seed in range(run.seeds)])
    seeds = Seed(run.seed_keys(), jnp.asarray(rows))
    programs = Programs()
    judge = functools.cache(lambda: forest(cases))

    def measure(method: Method) -> Measured:
        recipe = jax.tree.map(jnp.float32, method.fn(config))
        made = programs.measured("search", functools.partial(searched, config), seeds, cases, recipe)
        curves = dict(made.curves)
        inputs = curves.pop("inputs")
        judged = judge().predict(inputs.reshape(-1, inputs.shape[-1])).reshape(len(inputs), -1).mean(1)
        return made._replace(metrics={**made.metrics, "value_forest": judged}, curves=curves)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """What surrogates promise on the way up and what the oracle finds there; and what the search ends with."""
    figure, axes = plots.new_figure(columns=2, title="Uphill on a surrogate: diabetes")
    promised, found = (result.curves.get(name, {}) for name in ("promised", "found"))
    for position, method in enumerate(METHODS):
        if method.name in promised and method.name in found:
            colour = plots.style(position)["color"]
            lines = [np.asarray(part[method.name], float).mean(0) for part in (promised, found)]
            steps = 10 * np.arange(len(lines[0]))
            axes[0].plot(steps, lines[0], color=colour, linestyle=":", linewidth=1.8)
            axes[0].plot(steps, lines[1], color=colour, linewidth=2, label=method.name)
    axes[0].set_xlabel("steps uphill")
    axes[0].set_ylabel("value: promised (dotted) and found")
    axes[0].legend(frameon=False, fontsize=9)
    plots.method_bars(
        axes[1], result.rows.get("value", {}), [m.name for m in METHODS], "value found, by the nearest cases"
    )
    return figure
