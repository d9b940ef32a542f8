"""Losses against wrong labels: one network, one training, many losses, at three kinds of noise.

All classes are equally frequent. Labels are right, or mostly redrawn at random, or a third of them names the next
class. What a loss leaves open (a temperature, an exponent) is chosen on clean rows kept aside, for every kind of noise
by itself; accuracies are those of the last step.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes

from experiments.discovery_splits import inputs
from experiments.networks import mlp
from experiments.runner import Claim, Dataset, Measured, Method, Result
from experiments.streams import stratified_split
from experiments.training import cosine_adam, fit
from jaxlab import distill, losses, weaksup
from jaxlab.typing import Array, PyTree

__all__ = ["LOSS_CLAIMS", "LOSS_METHODS", "Setting", "Tasks", "measure_loss", "plot_losses", "plot_ranks", "tasks_of"]

NOISES = ("clean", "uniform", "pair")
BATCH = 50


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the losses are compared."""

    loss_rows: int = 500
    """Training rows of the comparison of losses, in which classes are equally frequent."""
    loss_validation: int = 200
    """Clean rows on which the comparison chooses what a loss leaves open."""
    loss_steps: int = 500
    """Steps of the comparison, of 50 rows: enough to learn wrong labels by heart."""
    loss_width: int = 256
    """Width of its network's hidden layer."""
    loss_rate: float = 3e-3
    """Its learning rate, of Adam."""
    loss_noise: float = 0.6
    """Share of wrong labels where they are redrawn at random."""
    loss_pair: float = 0.3
    """Share of wrong labels where they name the next class."""

    def __post_init__(self) -> None:
        if min(self.loss_rows, self.loss_validation, self.loss_steps, self.loss_width) < 1:
            raise ValueError(f"loss_rows, loss_validation, loss_steps and loss_width must be positive, got {self}")
        if not (0 <= self.loss_noise <= 1 and 0 <= self.loss_pair <= 1):
            raise ValueError(f"loss_noise and loss_pair must lie in [0, 1], got {self.loss_noise, self.loss_pair}")


class Rows(NamedTuple):
    """What the networks see of every seed and kind of noise: a leading axis [S L], kinds fastest."""

    key: Array
    x: Array  # [T, N, D]
    told: Array  # int [T, N]
    validation: Array  # [T, V, D]
    tests: Array  # [T, M, D]


class Tasks(NamedTuple):
    """The rows, and what their right labels are."""

    rows: Rows
    truth: np.ndarray  # int [T, V], of the validation rows
    test_truth: np.ndarray  # int [T, M]
    num_classes: int
    names: tuple[str, ...]  # of the losses that one program can train with


class Memory(NamedTuple):
    """What the losses that remember carry from step to step."""

    temperatures: losses.AldrState
    targets: distill.TargetsState
    step: Array


# branch(logits, labels, index, hyper, memory) -> losses [B] and the memory
Branch = Callable[[Array, Array, Array, Array, Memory], tuple[Array, Memory]]


class Loss(NamedTuple):
    """A row: its loss, the values to choose from, and how logits become scores of the classes."""

    branch: Branch
    choices: tuple[float, ...] = (0.0,)
    scores: Callable[[np.ndarray], np.ndarray] = np.asarray


def _plain(fn: Callable[..., Array], hyper: str | None = None) -> Branch:
    def branch(logits: Array, labels: Array, index: Array, value: Array, memory: Memory) -> tuple[Array, Memory]:
        return fn(logits, labels, **({} if hyper is None else {hyper: value})), memory

    return branch


def _aldr(logits: Array, labels: Array, index: Array, value: Array, memory: Memory) -> tuple[Array, Memory]:
    scores = losses.normalize_scores(logits, kind="l1")
    found, state = losses.aldr_kl(memory.temperatures, scores, labels, index, temperature=value)
    return found, memory._replace(temperatures=state)


def _ps_kd(steps: int) -> Branch:
    def branch(logits: Array, labels: Array, index: Array, value: Array, memory: Memory) -> tuple[Array, Memory]:
        alpha = 0.8 * (memory.step + 1) / steps
        targets = distill.progressive_targets(memory.targets, index, labels, alpha=alpha)
        after = distill.progressive_targets_update(memory.targets, index, logits)
        return optax.losses.softmax_cross_entropy(logits, targets), memory._replace(targets=after)

    return branch


def _squared_error(logits: Array, labels: Array) -> Array:
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.sum(logits**2, axis=1) - 2.0 * own + 1.0


def _active_passive(passive: Callable[..., Array], shift: float) -> Callable[..., Array]:
    return lambda z, y: losses.normalized_cross_entropy(z, y) + passive(z, y, shift=shift, q=1.5)


TEMPERATURES = (0.1, 0.3, 1.0, 3.0, 10.0)


@functools.cache
def rows_of(steps: int) -> dict[str, Loss]:
    """All losses by the names of their rows; one of them counts the steps."""
    return {
        "cross_entropy": Loss(_plain(optax.losses.softmax_cross_entropy_with_integer_labels)),
        "mae": Loss(_plain(losses.mean_absolute_error_label)),
        "gce": Loss(_plain(losses.generalized_cross_entropy, "q"), (0.05, 0.7, 0.95)),
        "sce": Loss(_plain(losses.symmetric_cross_entropy, "balance"), (0.05, 0.5, 0.95)),
        "js": Loss(_plain(losses.jensen_shannon_label, "weight"), (0.1, 0.5, 0.9)),
        "crammer_singer": Loss(_plain(losses.crammer_singer)),
        "weston_watkins": Loss(_plain(losses.weston_watkins)),
        "nce_agce": Loss(_plain(_active_passive(losses.asymmetric_generalized_cross_entropy, 3.0))),
        "nce_aul": Loss(_plain(_active_passive(losses.asymmetric_unhinged, 6.0))),
        "ldr_kl": Loss(_plain(losses.ldr_kl, "temperature"), TEMPERATURES),
        "aldr_kl": Loss(_aldr, TEMPERATURES),
        "z_loss": Loss(_plain(losses.z_loss, "b"), (0.5, 1.5, 2.5)),
        "squared_error": Loss(_plain(_squared_error)),
        "log_taylor": Loss(_plain(losses.log_taylor_softmax), scores=lambda o: 1 + o + o**2 / 2),
        "log_spherical": Loss(_plain(losses.log_spherical_softmax), scores=np.abs),
        "ps_kd": Loss(_ps_kd(steps)),
    }


@functools.partial(jax.jit, static_argnames=("setting", "names", "num_classes"))
def trained(
    setting: Setting, names: tuple[str, ...], num_classes: int, rows: Rows, number: Array, hyper: Array
) -> tuple[Array, Array]:
    """Logits of the validation rows [T, V, C] and of the test rows [T, M, C]; ``number`` counts in ``names``."""
    branches = [rows_of(setting.loss_steps)[name].branch for name in names]
    num_rows = rows.x.shape[1]
    network = mlp((rows.x.shape[2], setting.loss_width, num_classes))

    def loss_fn(params: PyTree, state: Any, batch: dict[str, Array], key: Array) -> tuple[Array, Any]:
        number, hyper, memory = state
        logits = network.logits(params, batch["x"])
        values, memory = jax.lax.switch(number, branches, logits, batch["y"], batch["index"], hyper, memory)
        return jnp.mean(values), (number, hyper, memory._replace(step=memory.step + 1))

    def one(key: Array, x: Array, told: Array, validation: Array, tests: Array) -> tuple[Array, Array]:
        init_key, key = jax.random.split(key)
        temperatures = losses.aldr_init(num_rows, temperature=hyper)
        start = Memory(temperatures, distill.progressive_targets_init(told, num_classes), jnp.int32(0))
        optimizer = cosine_adam(setting.loss_rate, setting.loss_steps)
        sizes = {"num_steps": setting.loss_steps, "batch_size": min(BATCH, num_rows)}
        state = (number, hyper, start)
        params = fit(loss_fn, network.init(init_key), state, optimizer, {"x": x, "y": told}, key, **sizes).params
        return network.logits(params, validation), network.logits(params, tests)

    return jax.vmap(one)(*rows)


def measure_loss(setting: Setting, tasks: Tasks, method: Method) -> Measured:
    """Trains with every choice, and keeps of every seed and kind of noise what was best on the validation rows."""
    row, number = rows_of(setting.loss_steps)[method.name], jnp.int32(tasks.names.index(method.name))
    right, found = [], []
    for choice in row.choices:
        logits = trained(setting, tasks.names, tasks.num_classes, tasks.rows, number, jnp.float32(choice))
        validation, tests = (row.scores(np.asarray(part)) for part in logits)
        right.append(np.mean(np.argmax(validation, -1) == tasks.truth, axis=1))
        found.append(top_shares(tests, tasks.test_truth))
    best = np.argmax(np.stack(right), axis=0)  # the first of equals
    shares = np.take_along_axis(np.stack(found), best[None, :, None], axis=0)[0].reshape(-1, len(NOISES), 2)
    metrics = {f"accuracy_{noise}": shares[:, i, 0] for i, noise in enumerate(NOISES)}
    metrics["top3_clean"] = shares[:, 0, 1]
    chosen = np.asarray(row.choices)[best].reshape(-1, len(NOISES))
    return Measured(metrics, {"chosen": chosen} if len(row.choices) > 1 else {}, {})


def top_shares(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often the label is the first, and how often among the first three, [T, 2]; ties and NaN count against it."""
    own = np.take_along_axis(scores, labels[..., None], axis=-1)
    ahead = np.sum(~(scores < own), axis=-1) - 1  # the label itself is not below itself, NaN or not
    return np.stack([np.mean(ahead < 1, axis=1), np.mean(ahead < 3, axis=1)], axis=1)


def tasks_of(setting: Setting, seeds: Sequence[int], data: Dataset, names: Sequence[str]) -> Tasks:
    """Rows to train, to validate and to test on, and the labels as they are told."""
    x, num_classes = np.asarray(inputs(data), np.float32), data.num_classes
    next_class = np.roll(np.eye(num_classes), 1, axis=1)
    tables = {
        "clean": np.eye(num_classes),
        "uniform": np.asarray(weaksup.transition_uniform(num_classes, rate=setting.loss_noise)),
        "pair": (1 - setting.loss_pair) * np.eye(num_classes) + setting.loss_pair * next_class,
    }
    found = []
    for seed in seeds:
        rng, key = np.random.default_rng(seed), jax.random.key(seed)
        train, test = stratified_split(data.y, test_fraction=0.3, rng=rng)
        train = rng.permutation(train)
        kept = min(setting.loss_validation, len(train) // 4)
        aside, train = train[:kept], train[kept : kept + setting.loss_rows]
        for place, table in enumerate(tables.values()):
            told = weaksup.corrupt_labels(
                jax.random.fold_in(key, 10 + place), jnp.asarray(data.y[train]), jnp.asarray(table, jnp.float32)
            )
            found.append((key, x[train], told, x[aside], x[test], data.y[aside], data.y[test]))
    keys, *columns = zip(*found, strict=True)
    arrays = [jnp.asarray(np.stack([np.asarray(part) for part in column])) for column in columns[:4]]
    truths = [np.stack(column) for column in columns[4:]]
    return Tasks(Rows(jnp.stack(keys), *arrays), truths[0], truths[1], num_classes, tuple(names))


LOSS_METHODS = (
    Method("cross_entropy", None, measure_loss, note="equally frequent classes, as all losses below"),
    Method("mae", None, measure_loss),
    Method("gce", None, measure_loss, note="exponent chosen"),
    Method("sce", None, measure_loss, note="balance chosen"),
    Method("js", None, measure_loss, note="weight chosen"),
    Method("crammer_singer", None, measure_loss),
    Method("weston_watkins", None, measure_loss),
    Method("nce_agce", None, measure_loss, note="normalised cross entropy and an asymmetric loss"),
    Method("nce_aul", None, measure_loss),
    Method("ldr_kl", 256, measure_loss, note="temperature chosen"),
    Method("aldr_kl", 256, measure_loss, note="first temperature chosen, scores normalised"),
    Method("z_loss", 227, measure_loss, note="location chosen"),
    Method("squared_error", None, measure_loss, note="spherical"),
    Method("log_taylor", 227, measure_loss),
    Method("log_spherical", 227, measure_loss),
    Method("ps_kd", 245, measure_loss, note="targets refined by the model's own of an epoch ago"),
)
RANKED = tuple(method.name for method in LOSS_METHODS)


def mean_ranks(rows: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Rank by accuracy among the named losses, 1 is best, mean over the kinds of noise; [seeds] each."""
    tables = [np.stack([np.asarray(rows[f"accuracy_{noise}"][name], float) for name in names]) for noise in NOISES]
    return dict(zip(names, np.mean([_ranks(table) for table in tables], axis=0), strict=True))


def _ranks(table: np.ndarray) -> np.ndarray:
    """Places down every column, largest first; equals share theirs."""
    ahead, equal = table[None] > table[:, None], table[None] == table[:, None]
    return 0.5 + np.sum(ahead, axis=1) + 0.5 * np.sum(equal, axis=1)


def _lead_in_rank(rows: Any) -> Any:
    ranks = mean_ranks(rows, RANKED)
    others = [ranks[name] for name in RANKED if name != "aldr_kl"]
    return np.min(others, axis=0) - ranks["aldr_kl"]


def _over(name: str, metric: str, *others: str) -> Callable[[Any], Any]:
    return lambda rows: rows[metric][name] - np.maximum.reduce([rows[metric][other] for other in others])


LOSS_CLAIMS = (
    Claim(
        256,
        "With three fifths of the labels wrong ALDR-KL beats cross entropy",
        _over("aldr_kl", "accuracy_uniform", "cross_entropy"),
        ">",
        0.0,
    ),
    Claim(
        256,
        "With right labels it is at most .01 below cross entropy",
        _over("aldr_kl", "accuracy_clean", "cross_entropy"),
        ">",
        -0.01,
    ),
    Claim(256, "Its mean rank over kinds of noise is ahead of every other loss", _lead_in_rank, ">", 0.0),
    Claim(
        256,
        "With three fifths of the labels wrong LDR-KL beats cross entropy",
        _over("ldr_kl", "accuracy_uniform", "cross_entropy"),
        ">",
        0.0,
    ),
    Claim(
        227,
        "With right labels the Z-loss is the best of the spherical losses",
        _over("z_loss", "accuracy_clean", "squared_error", "log_taylor", "log_spherical"),
        ">",
        0.0,
    ),
    Claim(
        227,
        "Its label is among the first three as often as that of cross entropy, to .005",
        _over("z_loss", "top3_clean", "cross_entropy"),
        ">",
        -0.005,
    ),
)


def plot_losses(ax: Axes, result: Result) -> None:
    """A line of numbers per loss: accuracy at every kind of noise, the darker the better in its column."""
    names = [method.name for method in LOSS_METHODS if method.name in result.rows.get("accuracy_clean", {})]
    if not names:
        ax.set_axis_off()
        return
    table = np.array([[np.mean(result.rows[f"accuracy_{noise}"][name]) for noise in NOISES] for name in names])
    spread = np.ptp(table, axis=0)
    shade = (table - table.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    ax.imshow(shade**2, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    for place, line in enumerate(table):
        for column, value in enumerate(line):
            ax.text(column, place, f"{value:.3f}".replace("0.", ".", 1), ha="center", va="center", fontsize=8)
    ax.set_xticks(range(len(NOISES)), ("right labels", "redrawn", "next class"), fontsize=9)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.tick_params(length=0)
    ax.set_title("accuracy by loss", fontsize=10)


def plot_ranks(ax: Axes, result: Result) -> None:
    """Mean rank over the kinds of noise, a dot per seed; the best is on top."""
    rows = result.rows
    names = [m.name for m in LOSS_METHODS if all(m.name in rows.get(f"accuracy_{noise}", {}) for noise in NOISES)]
    if not names:
        ax.set_axis_off()
        return
    ranks = mean_ranks(rows, names)
    order = sorted(names, key=lambda name: -np.mean(ranks[name]))
    for place, name in enumerate(order):
        ours = name in ("ldr_kl", "aldr_kl", "z_loss", "ps_kd")
        ax.barh(place, np.mean(ranks[name]), color="#0072B2" if ours else "0.75", height=0.7)
        ax.scatter(ranks[name], [place] * len(ranks[name]), s=10, color="black", alpha=0.6, linewidths=0, zorder=3)
    ax.set_yticks(range(len(order)), order, fontsize=8)
    ax.set_xlabel("mean rank over kinds of noise (1 is best)", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
