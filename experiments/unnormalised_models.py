"""Densities known up to a constant: four ways to fit them, on a Gaussian whose answer is known and on wines.

The mean of a Gaussian is sought from far away with a few draws of data and of noise per step; the noise is wide or
narrow. Of wines two measurements are modelled by an energy of three wells, and held-out wines are judged by their
likelihood, its constant by quadrature.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes

from experiments import plots
from experiments.claims import difference, ratio
from experiments.runner import Claim, Method, Result
from jaxlab import losses, optim
from jaxlab.typing import Array, PyTree

__all__ = ["ESTIMATES", "ESTIMATE_CLAIMS", "plot_approach", "plot_wines"]

BATCH = 16  # draws of data, and as many of noise, per step
TARGET, RATE, LARGEST = 4.0, 0.05, 5.0  # the mean that is sought; step size, and what gradients are cut off at
WIDTHS = {"wide": 5.0, "narrow": 2.0}  # of the noise
FAR = 16.0  # where the slope is taken: data around 16, the model two away
EARLY = 100  # steps


class Draws(NamedTuple):
    """What an objective sees of a step: energies of data and noise, and log-densities of the noise at both."""

    data_energy: Array
    data_log_q: Array
    noise_energy: Array
    noise_log_q: Array


def objective(
    kind: str, draws: Draws, log_z: Array, memory: optim.MecoState, exact: Array
) -> tuple[Array, optim.MecoState]:
    """The loss of a step: ``log_z`` is what noise contrast learns beside the model, ``exact`` the true constant."""
    if kind == "nce":
        return losses.nce(*draws, log_z), memory
    if kind == "meco":
        return optim.meco_surrogate(memory, draws.data_energy, draws.noise_energy, draws.noise_log_q)
    if kind == "mc_mle":
        return losses.monte_carlo_nll(draws.data_energy, draws.noise_energy, draws.noise_log_q), memory
    return jnp.mean(draws.data_energy) + exact, memory


def normal_log_density(x: Array, width: Array) -> Array:
    """Of independent normal numbers of mean 0, over the last axis."""
    return jnp.sum(-((x / width) ** 2) / 2 - jnp.log(width) - 0.5 * jnp.log(2 * jnp.pi), axis=-1)


def gaussian_draws(theta: Array, x: Array, z: Array, width: Array) -> Draws:
    """For the energy of a unit Gaussian around theta."""
    energy = lambda points: (points - theta) ** 2 / 2  # noqa: E731
    return Draws(energy(x), normal_log_density(x[:, None], width), energy(z), normal_log_density(z[:, None], width))


@functools.partial(jax.jit, static_argnames=("kind", "steps", "repeats"))
def approach(key: Array, width: Array, *, kind: str, steps: int, repeats: int) -> Array:
    """Distance from the mean after every step, averaged over repeats; the step size falls to 0 along a line."""

    def one(key: Array) -> Array:
        def step(carry: Any, inputs: tuple[Array, Array]) -> tuple[Any, Array]:
            (params, memory), (key, rate) = carry, inputs
            data_key, noise_key = jax.random.split(key)
            x = TARGET + jax.random.normal(data_key, (BATCH,))
            z = width * jax.random.normal(noise_key, (BATCH,))

            def loss_fn(params: dict[str, Array]) -> tuple[Array, optim.MecoState]:
                draws = gaussian_draws(params["theta"], x, z, width)
                return objective(kind, draws, params["log_z"], memory, jnp.float32(0.0))

            grad, memory = jax.grad(loss_fn, has_aux=True)(params)
            params = jax.tree.map(lambda p, g: p - rate * jnp.clip(g, -LARGEST, LARGEST), params, grad)
            return (params, memory), jnp.abs(params["theta"] - TARGET)

        start = ({"theta": jnp.float32(0.0), "log_z": jnp.float32(0.0)}, optim.meco_init())
        rates = RATE * (1 - jnp.arange(steps) / steps)
        return jax.lax.scan(step, start, (jax.random.split(key, steps), rates))[1]

    return jnp.mean(jax.vmap(one)(jax.random.split(key, repeats)), axis=0)


@functools.partial(jax.jit, static_argnames="kind")
def slope(key: Array, *, kind: str) -> Array:
    """Size of the gradient by the mean two away from the optimum, relative to that of the likelihood, from many draws.

    The constant is right, where it is a parameter.
    """
    data_key, noise_key = jax.random.split(key)
    width = jnp.float32(WIDTHS["wide"])
    x = FAR + jax.random.normal(data_key, (1 << 14,))
    z = width * jax.random.normal(noise_key, (1 << 14,))
    log_z = jnp.float32(0.5 * np.log(2 * np.pi))

    def loss_fn(theta: Array) -> Array:
        draws = gaussian_draws(theta, x, z, width)
        return objective(kind, draws, log_z, optim.meco_init(), log_z)[0]

    return jnp.abs(jax.grad(loss_fn)(jnp.float32(FAR - 2.0))) / 2.0


def wells(params: PyTree, x: Array) -> Array:
    """Energy of three round wells of their own depths and widths: [N, 2] -> [N]."""
    distances = jnp.sum((x[:, None] - params["centers"]) ** 2, axis=-1)
    return -jax.nn.logsumexp(params["depths"] - distances * jnp.exp(-2 * params["log_widths"]) / 2, axis=-1)


def log_constant(params: PyTree, side: int) -> Array:
    """log of the integral of exp(-energy) over a square of half side 8, by a grid of points."""
    points = jnp.linspace(-8.0, 8.0, side)
    grid = jnp.stack(jnp.meshgrid(points, points), axis=-1).reshape(-1, 2)
    return jax.nn.logsumexp(-wells(params, grid)) + 2 * jnp.log(points[1] - points[0])


@functools.partial(jax.jit, static_argnames=("kind", "steps"))
def wine_fit(key: Array, train: Array, tests: Array, *, kind: str, steps: int) -> Array:
    """Negative log-likelihood of the held-out wines, nats each."""
    init_key, key = jax.random.split(key)
    width, size = jnp.float32(2.0), 64
    model = {
        "centers": jax.random.normal(init_key, (3, 2)),
        "depths": jnp.zeros(3),
        "log_widths": jnp.zeros(3),
    }
    optimizer = optax.adam(optax.linear_schedule(0.02, 0.0, steps))

    def step(carry: Any, key: Array) -> tuple[Any, None]:
        params, memory, state = carry
        data_key, noise_key = jax.random.split(key)
        x = train[jax.random.randint(data_key, (size,), 0, train.shape[0])]
        z = width * jax.random.normal(noise_key, (size, 2))

        def loss_fn(params: PyTree) -> tuple[Array, optim.MecoState]:
            model = params["model"]
            draws = Draws(wells(model, x), normal_log_density(x, width), wells(model, z), normal_log_density(z, width))
            exact = log_constant(model, 33) if kind == "exact_mle" else jnp.float32(0.0)
            return objective(kind, draws, params["log_z"], memory, exact)

        grad, memory = jax.grad(loss_fn, has_aux=True)(params)
        updates, state = optimizer.update(grad, state)
        return (optax.apply_updates(params, updates), memory, state), None

    params = {"model": model, "log_z": jnp.float32(0.0)}
    start = (params, optim.meco_init(), optimizer.init(params))
    (params, _, _), _ = jax.lax.scan(step, start, jax.random.split(key, steps))
    return jnp.mean(wells(params["model"], tests)) + log_constant(params["model"], 321)


def wines(rng: np.random.Generator) -> tuple[Array, Array]:
    """Alcohol and flavanoids of wines, standardised by the training rows: a 30 % split for tests."""
    from sklearn.datasets import load_wine

    x = rng.permutation(load_wine().data[:, [0, 6]])
    tests, train = np.split(x, [len(x) * 3 // 10])
    center, scale = train.mean(axis=0), train.std(axis=0)
    return jnp.asarray((train - center) / scale, jnp.float32), jnp.asarray((tests - center) / scale, jnp.float32)


def estimate_row(kind: str, config: Any, split: Any, num_values: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Distances on the Gaussian, the slope far away, and the likelihood of wines; of the split only its key is used."""
    keys = jax.random.split(split.key, 4)
    steps, early = config.estimate_steps, min(EARLY, config.estimate_steps)
    options = {"kind": kind, "steps": steps, "repeats": config.estimate_repeats}
    measured, curves = {}, {}
    places = np.unique(np.geomspace(1, steps, 60).astype(int))
    for key, (name, width) in zip(keys, WIDTHS.items(), strict=False):
        path = np.asarray(approach(key, jnp.float32(width), **options))
        measured[f"early_{name}"] = path[early - 1]
        measured[f"final_{name}"] = path[-max(1, steps // 10) :].mean()
        curves[f"path_{name}"] = np.stack([places, path[places - 1]])
    measured["slope"] = slope(keys[2], kind=kind)
    train, tests = wines(np.random.default_rng(np.asarray(jax.random.key_data(split.key))))
    measured["wine_nll"] = wine_fit(keys[3], train, tests, kind=kind, steps=config.wine_steps)
    return measured, curves


def _row(kind: str) -> Callable[..., Any]:
    return functools.partial(estimate_row, kind)


ESTIMATES = (
    Method("exact_mle", None, _row("exact_mle"), note="the constant is known"),
    Method("nce", None, _row("nce"), note="the constant is learned by telling data from noise"),
    Method("mc_mle", None, _row("mc_mle"), note="the constant from the noise of the step"),
    Method("meco", 234, _row("meco"), note="and from that of steps before"),
)

ESTIMATE_CLAIMS = (
    Claim(
        234,
        "After 100 steps with wide noise it is at most half as far from the mean as noise contrast",
        ratio("early_wide", "meco", "nce"),
        "<",
        0.5,
    ),
    Claim(
        234,
        "With narrow noise it ends nearer than the constant of single steps does",
        difference("final_narrow", "mc_mle", "meco"),
        ">",
        0.0,
    ),
    Claim(
        234,
        "Two from an optimum far from the noise the slope of noise contrast is below a tenth of its",
        ratio("slope", "nce", "meco"),
        "<",
        0.1,
    ),
    Claim(
        234,
        "With wide noise it ends nearer than noise contrast",
        difference("final_wide", "nce", "meco"),
        ">",
        0.0,
    ),
    Claim(
        234,
        "It gives held-out wines a higher likelihood than noise contrast after as many steps",
        difference("wine_nll", "nce", "meco"),
        ">",
        0.0,
    ),
)


def plot_approach(ax: Axes, result: Result) -> None:
    """Distance from the mean over steps: lines for wide noise, dashes for narrow."""
    for position, method in enumerate(ESTIMATES):
        for name, line in (("wide", "-"), ("narrow", "--")):
            paths = result.curves.get(f"path_{name}", {}).get(method.name)
            if paths is None or (method.name == "exact_mle" and name == "narrow"):
                continue
            steps, distances = np.nanmean(np.asarray(paths, float), axis=0)
            label = method.name if name == "wide" else None
            ax.plot(steps, distances, line, color=plots.PALETTE[position], label=label, linewidth=2)
    ax.set_yscale("log")
    ax.set_xscale("log")
    ax.set_xlabel("steps; lines: wide noise, dashes: narrow")
    ax.set_ylabel("distance from the mean")
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=9)
    else:
        ax.set_axis_off()


def plot_wines(ax: Axes, result: Result) -> None:
    """Nats per held-out wine."""
    found = result.rows.get("wine_nll", {})
    if not found:
        ax.set_axis_off()
        return
    plots.method_bars(ax, found, [method.name for method in ESTIMATES], "nats per held-out wine")
    values = np.concatenate([np.ravel(np.asarray(row, float)) for row in found.values()])
    ax.set_ylim(bottom=0.9 * np.nanmin(values))
