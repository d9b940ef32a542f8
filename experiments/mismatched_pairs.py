"""Pairs are partly wrong: which loss, or which filter, still learns what belongs together?

A pair is the left and the right half of a digit; two encoders must find the right half of a left one among those of all
test digits, and the reverse. In the training pairs none, a fifth, two or three fifths of the right halves have been
shuffled among each other. Two networks have as many parameters as the single one of the plain rows: together without
and with boosting, or each telling the other which pairs to trust.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.claims import difference
from experiments.networks import mlp
from experiments.pair_filters import co_train
from experiments.programs import Programs
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError
from experiments.streams import split_by_seed
from experiments.training import cosine_adam, fit
from jaxlab import losses, metrics
from jaxlab.kernels import cosine_similarity
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split, which pairs are wrong, networks"
NOISE = (0.0, 0.2, 0.4, 0.6)


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    test_pairs: int = 300
    """Digits to find each other's halves among."""
    hidden: int = 64
    """Width of the hidden layer of each encoder; a single network is so much wider that it has as many parameters."""
    width: int = 32
    """Width of the embeddings."""
    pseudo_classes: int = 32
    """Classes that PC2 makes up."""
    head: int = 64
    """Width of the hidden layer before them."""
    margin: float = 0.2
    """Of all hinges."""
    batch_size: int = 128
    """Pairs per step."""
    steps: int = 600
    """Steps."""
    rounds: int = 8
    """How often the filters look at all pairs; the first half of the rounds trusts every pair."""
    learning_rate: float = 2e-3
    """Of Adam, at the start; it falls to 0."""

    def __post_init__(self) -> None:
        if self.rounds < 2 or self.steps < self.rounds:
            raise ValueError(f"rounds must lie in [2, steps], got {self.rounds} and {self.steps} steps")
        if self.test_pairs < 2:
            raise ValueError(f"test_pairs must be at least 2, got {self.test_pairs}")


QUICK = {"test_pairs": 50, "hidden": 16, "width": 8, "pseudo_classes": 8, "head": 16, "steps": 16, "rounds": 4}


class Seed(NamedTuple):
    """What one seed works on; [Q] is the amount of noise."""

    key: Array
    left: Array  # [N, D]
    right: Array  # [Q, N, D], partly of other digits
    wrong: Array  # bool [Q, N]
    test_left: Array  # [M, D]
    test_right: Array  # [M, D]


def recall(scores: Array) -> Array:
    """Recall at 1, mean of both directions."""
    own = jnp.eye(scores.shape[0], dtype=bool)
    found = [metrics.recall_at_k(way, own, k=1) for way in (scores, scores.T)]
    return jnp.mean(jnp.stack(found))


def encoders(config: Config, dim: int, hidden: int) -> tuple[Any, Any]:
    """``init(key)`` and ``scores(params, left, right)``: cosines between two encoders' embeddings."""
    network = mlp((dim, hidden, config.width))

    def init(key: Array) -> PyTree:
        return [network.init(one) for one in jax.random.split(key)]

    def scores(params: PyTree, left: Array, right: Array) -> Array:
        return cosine_similarity(network.logits(params[0], left), network.logits(params[1], right))

    return init, scores


def warm_hinge(config: Config, scores: Array, step: Array) -> Array:
    """The hinge of all negatives for a quarter of the steps, then of the hardest: from the start it would collapse."""
    kinds = [functools.partial(losses.bidirectional_hinge, margin=config.margin, hard=hard) for hard in (False, True)]
    return jax.lax.cond(step < config.steps // 4, *kinds, scores)


SINGLE = {
    "hinge": warm_hinge,
    "hinge_sum": lambda config, s, step: losses.bidirectional_hinge(s, margin=config.margin, hard=False),
    "projection": lambda config, s, step: losses.cross_modal_projection(s, jnp.arange(s.shape[0])),
}

TWO = {
    "ensemble": lambda config, s, anchor: jnp.zeros(s.shape[0]),
    "dbl_absolute": lambda config, s, anchor: losses.boost_absolute(s, anchor, margin=config.margin),
    "dbl_relative": lambda config, s, anchor: losses.boost_relative(s, anchor, margin=config.margin),
}


class Progress(NamedTuple):
    """Which loss, and how many steps have been made."""

    choice: Array
    step: Array


def single(config: Config, seed: Seed, choice: Array) -> tuple[dict[str, Array], Any]:
    """One wide network, by the loss of that number."""
    # Twice the parameters of a narrow one: both layers grow with the hidden width.
    init, scores = encoders(config, seed.left.shape[1], 2 * config.hidden)
    init_key, fit_key = jax.random.split(seed.key)

    def loss_fn(params: PyTree, state: Progress, batch: dict[str, Array], key: Array) -> tuple[Array, Progress]:
        s = scores(params, batch["left"], batch["right"])
        kinds = [functools.partial(fn, config) for fn in SINGLE.values()]
        return jnp.mean(jax.lax.switch(state.choice, kinds, s, state.step)), state._replace(step=state.step + 1)

    def under(right: Array) -> Array:
        params = train(config, loss_fn, init(init_key), choice, seed.left, right, fit_key)
        return recall(scores(params, seed.test_left, seed.test_right))

    return by_noise(jax.vmap(under)(seed.right)), {}


def two_branches(config: Config, seed: Seed, choice: Array) -> tuple[dict[str, Array], Any]:
    """An anchor branch by the hinge, and a target branch by the hinge and, after a start, the boost of that number."""
    init, scores = encoders(config, seed.left.shape[1], config.hidden)
    init_key, fit_key = jax.random.split(seed.key)

    def loss_fn(params: PyTree, state: Progress, batch: dict[str, Array], key: Array) -> tuple[Array, Progress]:
        anchor, target = (scores(one, batch["left"], batch["right"]) for one in params)
        base = warm_hinge(config, anchor, state.step) + warm_hinge(config, target, state.step)
        boost = jax.lax.switch(state.choice, [functools.partial(fn, config) for fn in TWO.values()], target, anchor)
        boost = jnp.where(state.step < config.steps // 4, 0.0, boost)
        return jnp.mean(base + boost), state._replace(step=state.step + 1)

    def under(right: Array) -> tuple[Array, Array, Array]:
        start = [init(key) for key in jax.random.split(init_key)]
        params = train(config, loss_fn, start, choice, seed.left, right, fit_key)
        anchor, target = (scores(one, seed.test_left, seed.test_right) for one in params)
        return recall(target), recall(anchor), recall(anchor + target)

    target, anchor, both = jax.vmap(under)(seed.right)
    return by_noise(both) | by_noise(target, "target") | {"anchor_0": anchor[0]}, {}


def train(config: Config, loss_fn: Any, start: PyTree, choice: Array, left: Array, right: Array, key: Array) -> PyTree:
    """All steps on all pairs."""
    optimizer = cosine_adam(config.learning_rate, config.steps)
    sizes = {"num_steps": config.steps, "batch_size": min(config.batch_size, len(left))}
    progress = Progress(choice, jnp.zeros((), jnp.int32))
    return fit(loss_fn, start, progress, optimizer, {"left": left, "right": right}, key, **sizes).params


def filtered(config: Config, seed: Seed, pseudo: Array) -> tuple[dict[str, Array], Any]:
    """Two networks that tell each other which pairs to trust; with PC2's pseudo-classes where pseudo is 1."""
    _, scores = encoders(config, seed.left.shape[1], config.hidden)

    def under(right: Array, wrong: Array) -> tuple[Array, Array, Array, Array]:
        found = co_train(config, seed.key, seed.left, right, pseudo)
        each = [scores(params["encoders"], seed.test_left, seed.test_right) for params in found.params]
        by_loss = metrics.auroc(1 - found.clean, wrong)
        by_oscillation = metrics.auroc(1 - found.steady, wrong)
        return recall(each[0] + each[1]), by_loss, by_oscillation, jnp.mean(found.clean > 0.5)

    both, by_loss, by_oscillation, share = jax.vmap(under)(seed.right, seed.wrong)
    measured = by_noise(both)
    for level, name in enumerate(names()):
        if NOISE[level]:
            measured |= {f"auroc_loss_{name}": by_loss[level], f"auroc_change_{name}": by_oscillation[level]}
        measured |= {f"trusted_{name}": share[level]}
    return measured, {}


def names() -> list[str]:
    """The amounts of noise in percent."""
    return [f"{100 * noise:.0f}" for noise in NOISE]


def by_noise(values: Array, prefix: str = "recall") -> dict[str, Array]:
    """A metric for every amount of noise."""
    return {f"{prefix}_{name}": values[level] for level, name in enumerate(names())}


METHODS = (
    Method("hinge", None, single, note="the hardest negative of a batch"),
    Method("hinge_sum", None, single, note="all negatives"),
    Method("projection", None, single, note="softmax over rows and columns (CMPM)"),
    Method("ensemble", None, two_branches, note="two branches, their scores added"),
    Method("dbl_absolute", 105, two_branches, note="the second branch boosted in its distances"),
    Method("dbl_relative", 105, two_branches, note="the second branch boosted in its gaps"),
    Method("hinge_split", None, filtered, note="pairs that two Gaussians call clean"),
    Method("pc2", 104, filtered, note="and borrowed captions for the others"),
)
CHOICE = {name: place for group in (SINGLE, TWO, {"hinge_split": 0, "pc2": 1}) for place, name in enumerate(group)}


def _gap(rows: Any, noise: str) -> Any:
    return rows[f"recall_{noise}"]["pc2"] - rows[f"recall_{noise}"]["hinge"]


CLAIMS = (
    Claim(
        105,
        "With absolute boosting the target branch beats a single one of twice its size",
        lambda rows: rows["target_0"]["dbl_absolute"] - rows["recall_0"]["hinge"],
        ">",
        0.0,
    ),
    Claim(
        105,
        "With relative boosting too",
        lambda rows: rows["target_0"]["dbl_relative"] - rows["recall_0"]["hinge"],
        ">",
        0.0,
    ),
    Claim(
        105,
        "Relative boosting beats two branches without it, scores added",
        difference("recall_0", "dbl_relative", "ensemble"),
        ">",
        0.0,
    ),
    Claim(104, "At 40 % wrong pairs PC2 beats the hinge by .05", lambda rows: _gap(rows, "40"), ">", 0.05),
    Claim(
        104,
        "Its lead over the hinge grows from clean pairs to 60 % wrong ones",
        lambda rows: _gap(rows, "60") - _gap(rows, "0"),
        ">",
        0.0,
    ),
    Claim(
        104,
        "The loss tells wrong pairs from right ones at 40 % (area under the curve)",
        lambda rows: rows["auroc_loss_40"]["pc2"],
        ">",
        0.8,
    ),
)


def prepare(config: Config, run: Run, data: Dataset) -> Seed:
    """Halves, shuffled in part; a leading axis of seeds."""
    if data.kind != "images" or data.x.ndim != 3 or data.x.shape[2] % 2:
        raise UserError(f"This question needs grey images of even width [N, H, W], {data.name} has another kind.")
    if len(data.x) < 4 * config.test_pairs:
        raise UserError(f"There are {len(data.x)} images: {4 * config.test_pairs} are needed (--test-pairs).")
    keys = run.seed_keys()
    split = split_by_seed(data.y, keys, test_fraction=0.25)
    train, test = split.train, split.test[:, : config.test_pairs]
    middle = data.x.shape[2] // 2
    left, right = (
        jnp.asarray(half.reshape(len(data.x), -1)) for half in (data.x[:, :, :middle], data.x[:, :, middle:])
    )

    def spoil(key: Array, rows: Array, share: float) -> tuple[Array, Array]:
        number = round(share * rows.shape[0])
        chosen = jnp.argsort(jax.random.uniform(key, rows.shape))[:number]
        # The next in a random circle: nobody keeps its own.
        partner = jnp.arange(rows.shape[0]).at[chosen].set(jnp.roll(chosen, 1))
        return right[rows[partner]], partner != jnp.arange(rows.shape[0])

    def one(key: Array, rows: Array) -> tuple[Array, Array]:
        parts = [spoil(jax.random.fold_in(key, 10 + level), rows, share) for level, share in enumerate(NOISE)]
        spoiled, wrong = (jnp.stack(part) for part in zip(*parts, strict=True))
        return spoiled, wrong

    spoiled, wrong = jax.jit(jax.vmap(one))(keys, train)
    return Seed(keys, left[train], spoiled, wrong, left[test], right[test])


def run(config: Config, run: Run) -> None:
    """Measures the selected rows: one program for single networks, one for two branches, one for the filters."""
    seeds = prepare(config, run, run.data())
    programs = Programs()

    def measure(method: Method) -> Measured:
        choice = jnp.asarray(CHOICE[method.name])
        return programs.measured(method.fn, functools.partial(method.fn, config), seeds, choice)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Recall against the share of wrong pairs, and how well the filters see them."""
    figure, axes = plots.new_figure(columns=2, title=f"Which halves belong together: {result.dataset}")
    percent = [100 * noise for noise in NOISE]

    def over_noise(metric: str, levels: list[str]) -> dict[str, np.ndarray]:
        tables = [result.rows.get(f"{metric}_{name}", {}) for name in levels]
        shared = [name for name in tables[0] if all(name in table for table in tables)]
        return {name: np.stack([np.asarray(table[name], float) for table in tables], axis=1) for name in shared}

    lines = over_noise("recall", names())
    plots.curves_over_tasks(
        axes[0], lines, list(lines), ylabel="recall at 1, both ways", xlabel="% of the pairs wrong", x=percent
    )
    seen = {
        f"{name}, by {how}": values
        for metric, how in (("auroc_loss", "loss"), ("auroc_change", "change"))
        for name, values in over_noise(metric, names()[1:]).items()
    }
    plots.curves_over_tasks(
        axes[1], seen, list(seen), ylabel="AUROC of wrong pairs", xlabel="% of the pairs wrong", x=percent[1:]
    )
    return figure
