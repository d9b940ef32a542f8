"""What does fairness, or adversarial training, cost whom?

Fairness: networks predict the progress of 442 diabetes patients, to which the product of two attributes was added (sex,
and age above the median): each attribute alone says little, both together much. A penalty keeps the predictions
independent of the attributes; rows are compared at the same loss of accuracy, half of what is lost by predicting the
mean for everybody.

Robustness: two classes, of which one is up to ten times rarer in training, and classifiers trained against attacks
within a radius, tested without attack on as many examples of either class. In theory (two Gaussian classes in 100
dimensions, for which the best classifier is known), on samples of these, and on images of two digits. Features brought
by ``--data`` take the place of the images.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import fair_penalties, plots, robust_classes
from experiments.claims import difference
from experiments.fair_penalties import PENALTIES, REACH, SHOWN, load_patients, penalised, shrunk
from experiments.robust_classes import RADII, RATIOS, load_pair, summary
from experiments.runner import Claim, Measured, Method, Result, Run, over_seeds
from jaxlab import losses
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "folds of the patients, directions and samples of the Gaussians, training images, initial weights"


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    intersection: float = 1.0
    """How many standard deviations the product of both attributes moves a patient's progress."""
    budget: float = 0.5
    """Share of the way to the error of the mean prediction that fairness may cost."""
    train_steps: int = 300
    """Steps of Adam of every network and linear classifier."""
    batch_size: int = 128
    """Patients per step; the penalty sees a batch at a time."""
    rare: int = 3
    """Class that is made rare."""
    frequent: int = 8
    """Class that is not."""
    eps_linf: float = 0.15
    """Largest attack on images in the maximum norm; pixels lie in [0, 1]."""
    eps_l2: float = 0.75
    """Largest attack on images in the Euclidean norm."""
    distance: float = 1.5
    """Distance of either Gaussian class from the middle, in standard deviations."""
    dim: int = 100
    """Dimensions of the Gaussians."""
    sample_size: int = 5000
    """Size of a sample of the Gaussians."""
    gaussian_eps_linf: float = 0.1
    """Largest attack on Gaussians in the maximum norm."""
    gaussian_eps_l2: float = 0.9
    """Largest attack on Gaussians in the Euclidean norm."""

    def __post_init__(self) -> None:
        if not 0 < self.budget < 1:
            raise ValueError(f"budget must lie in (0, 1), got {self.budget}")
        for name in ("train_steps", "batch_size", "dim", "sample_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("eps_linf", "eps_l2", "gaussian_eps_linf", "gaussian_eps_l2", "distance"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")


QUICK = {"train_steps": 40, "sample_size": 500, "dim": 20}


def _patients(row: Callable[..., Any], config: Config, run: Run) -> Measured:
    """A row of the fairness half. All seeds share the patients, not the folds."""
    each = [load_patients(config.intersection, seed) for seed in range(run.seeds)]
    data = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    return over_seeds(functools.partial(row, config), data, run.seed_keys(), mode="map")


def _grid(fn: Callable[[Array, Array], Array], eps: float, *, corners: bool = False) -> Any:
    """The numbers of a row, from ``fn(ratio, radius) -> errors [2]``; of the extreme ratios and radii only, or all."""
    pick = slice(None, None, 3) if corners else slice(None)
    ratios, radii = jnp.array(RATIOS[pick]), eps * jnp.array(RADII[pick])
    pairs = jnp.repeat(ratios, len(radii)), jnp.tile(radii, len(ratios))
    errors = jax.lax.map(lambda pair: fn(*pair), pairs)
    return summary(errors.reshape(len(ratios), len(radii), 2))


def _direction(config: Config, key: Array) -> Array:
    mu = jax.random.normal(jax.random.fold_in(key, 1), (config.dim,))
    return config.distance * mu / jnp.linalg.norm(mu)


def _theory(config: Config, run: Run, *, norm: str) -> Measured:
    def row(key: Array) -> Any:
        fn = functools.partial(robust_classes.theory, _direction(config, key), norm=norm)
        return _grid(fn, _radius(config, "gaussian_", norm))

    return over_seeds(row, run.seed_keys())


def _samples(config: Config, run: Run, *, norm: str) -> Measured:
    def row(key: Array) -> Any:
        fn = functools.partial(
            robust_classes.train_gaussian,
            key,
            _direction(config, key),
            norm=norm,
            num_steps=config.train_steps,
            size=config.sample_size,
        )
        return _grid(fn, _radius(config, "gaussian_", norm))

    return over_seeds(row, run.seed_keys(), mode="map")


def _radius(config: Config, prefix: str, norm: str) -> float:
    return float(getattr(config, f"{prefix}eps_{norm}"))


def _images(config: Config, run: Run, *, norm: str = "linf", network: bool = False) -> Measured:
    """A row on images. The network is trained at the extreme ratios and radii only."""
    each = [load_pair(run.data(), config.rare, config.frequent, seed) for seed in range(run.seeds)]
    pairs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    def row(pair: robust_classes.Pair, key: Array) -> Any:
        if network:
            fn = functools.partial(robust_classes.train_network, pair, key=key, num_steps=config.train_steps)
        else:
            fn = functools.partial(robust_classes.train_linear, pair, norm=norm, num_steps=config.train_steps)
        return _grid(fn, _radius(config, "", norm), corners=network)

    return over_seeds(row, pairs, run.seed_keys(), mode="map")


def _penalised(penalty: fair_penalties.Penalty | None) -> Callable[..., Measured]:
    return functools.partial(_patients, functools.partial(penalised, penalty))


FAIR = ("no_penalty", "shrunk", "covariance", "marginal_dcov", "jdcov", "ccdcov")
METHODS = (
    Method("no_penalty", None, _penalised(None)),
    Method("shrunk", None, functools.partial(_patients, shrunk), note="the same, drawn towards the mean"),
    Method("covariance", None, _penalised(fair_penalties.linear), note="squared covariance with each attribute"),
    Method("marginal_dcov", 237, _penalised(fair_penalties.marginal), note="distance covariance with each attribute"),
    Method("jdcov", 237, _penalised(fair_penalties.joint), note="joint distance covariance"),
    Method("ccdcov", 237, _penalised(losses.concatenated_distance_covariance), note="with all attributes at once"),
    Method("theory_linf", 228, functools.partial(_theory, norm="linf"), note="Gaussians, closed form"),
    Method("theory_l2", 228, functools.partial(_theory, norm="l2"), note="Gaussians, closed form"),
    Method("samples_linf", 228, functools.partial(_samples, norm="linf"), note="Gaussians, trained"),
    Method("samples_l2", 228, functools.partial(_samples, norm="l2"), note="Gaussians, trained"),
    Method("images_linf", 228, _images, note="linear"),
    Method("images_l2", 228, functools.partial(_images, norm="l2"), note="linear"),
    Method("images_network", 228, functools.partial(_images, network=True), note="one hidden layer"),
)


def _drop(method: str) -> Callable[[Any], np.ndarray]:
    return lambda rows: 1 - rows["js_subgroups"][method] / rows["js_subgroups"]["no_penalty"]


CLAIMS = (
    Claim(
        237,
        "At half the loss of accuracy CCdCov takes more than half of the divergence between the four subgroups",
        _drop("ccdcov"),
        ">",
        0.5,
    ),
    Claim(237, "So does JdCov", _drop("jdcov"), ">", 0.5),
    Claim(
        237,
        "Distance covariance with each attribute alone leaves more than half of it at the same accuracy",
        _drop("marginal_dcov"),
        "<",
        0.5,
    ),
    Claim(237, "So does the linear covariance", _drop("covariance"), "<", 0.5),
    Claim(
        228,
        "With ten times fewer images of one class, robust training widens the gap between the classes' errors",
        lambda rows: rows["gap_robust"]["images_linf"] - rows["gap_plain"]["images_linf"],
        ">",
        0.0,
    ),
    Claim(
        228,
        "At the same radius the gap is wider for the rarer class than for balanced classes",
        lambda rows: rows["gap_robust"]["images_linf"] - rows["gap_balanced"]["images_linf"],
        ">",
        0.0,
    ),
    Claim(
        228,
        "With balanced classes of images, robust training in the maximum norm costs both",
        lambda rows: rows["lost_by_both"]["images_linf"],
        ">",
        0.0,
    ),
    Claim(
        228,
        "With balanced Gaussians it costs both too, in the maximum norm",
        lambda rows: rows["lost_by_both"]["samples_linf"],
        ">",
        0.0,
    ),
    Claim(
        228,
        "In the Euclidean norm it costs balanced Gaussians nothing",
        lambda rows: rows["lost_by_both"]["samples_l2"],
        "within",
        0.01,
    ),
    Claim(
        228,
        "A classifier trained on a sample has the gap of the closed form",
        difference("gap_robust", "samples_linf", "theory_linf"),
        "within",
        0.05,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    run.rows(METHODS, lambda method: method.fn(config, run))


def plot(result: Result) -> Figure:
    """What fairness costs, how subgroups are predicted, and what robustness costs the rare and the frequent class."""
    figure, axes = plots.new_figure(columns=2, rows=2, title="What fairness and robust training cost, and whom")
    _plot_frontier(axes[0], result)
    _plot_subgroups(axes[1], result)
    _plot_gap(axes[2], result)
    _plot_errors(axes[3], result)
    return figure


def _mean(result: Result, curve: str, method: str) -> np.ndarray | None:
    found = result.curves.get(curve, {}).get(method)
    return None if found is None else np.mean(np.asarray(found, float), axis=0)


def _plot_frontier(ax: Axes, result: Result) -> None:
    for place, name in enumerate(FAIR):
        error, left = (_mean(result, curve, name) for curve in ("error", "js_subgroups"))
        if error is None or left is None:
            continue
        look = plots.style(place) | ({"linestyle": "none", "markersize": 9} if len(error) < len(PENALTIES) else {})
        ax.plot(error, left, label=name, **look)
    budget = result.rows.get("rmse", {}).get("ccdcov")
    if budget is not None:
        ax.axvline(float(np.mean(np.asarray(budget, float))), color="0.6", linestyle=":", linewidth=1)
    ax.set_xlabel("error, in standard deviations of the outcome")
    ax.set_ylabel("divergence between subgroups (nats)")
    ax.legend(frameon=False, fontsize=8)


def _plot_subgroups(ax: Axes, result: Result) -> None:
    centres = (np.arange(SHOWN) + 0.5) / SHOWN * 2 * REACH - REACH
    names = ("women, younger", "women, older", "men, younger", "men, older")
    for method, line in (("no_penalty", "--"), ("ccdcov", "-")):
        shares = _mean(result, "shares", method)
        if shares is None:
            continue
        for group, name in enumerate(names):
            label = name if method == "ccdcov" else None
            ax.plot(centres, shares[group], line, color=plots.PALETTE[group], label=label, linewidth=1.8)
    ax.set_xlabel("prediction (dashed: no penalty, solid: ccdcov)")
    ax.set_ylabel("share of the subgroup")
    ax.legend(frameon=False, fontsize=8)


def _plot_gap(ax: Axes, result: Result) -> None:
    theory, samples = (_mean(result, "errors", f"{kind}_linf") for kind in ("theory", "samples"))
    for place, ratio in enumerate(RATIOS):
        if theory is not None:
            gap = theory[place, :, 0] - theory[place, :, 1]
            ax.plot(RADII, gap, color=plots.PALETTE[place], label=f"1 : {ratio:g}")
        if samples is not None:
            ax.plot(RADII, samples[place, :, 0] - samples[place, :, 1], "o", color=plots.PALETTE[place])
    ax.set_xlabel("radius, share of the largest (lines: theory)")
    ax.set_ylabel("rare class's error less the other's")
    ax.legend(frameon=False, fontsize=8, title="Gaussians")


def _plot_errors(ax: Axes, result: Result) -> None:
    errors = _mean(result, "errors", "images_linf")
    if errors is not None:
        for place, ratio in enumerate(RATIOS):
            ax.plot(RADII, errors[place, :, 0], "-o", color=plots.PALETTE[place], label=f"1 : {ratio:g}")
            ax.plot(RADII, errors[place, :, 1], ":s", color=plots.PALETTE[place], markersize=4)
        ax.legend(frameon=False, fontsize=8, title=f"images of {result.dataset}")
    ax.set_xlabel("radius, share of the largest")
    ax.set_ylabel("error (dotted: frequent class)")
