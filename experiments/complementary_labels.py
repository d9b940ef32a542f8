"""Which class is it, if all one is told is a class that it is NOT?

Every training row has one complementary label. They come uniformly from the wrong classes, or much more often from
some of them (bias), or name the true class now and then (noise), or both. Each row of the table is a loss, trained
under all four; the losses that want the transition matrix get the true one. SCL-NL is also trained on mixed rows, whose
partners are anybody, or rows of the same cluster. A validation set, labelled in the same way, chooses checkpoints.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import plots
from experiments.claims import difference, ratio
from experiments.complementary_losses import LOSSES, Labels, Side
from experiments.networks import mlp
from experiments.programs import Programs
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError
from experiments.streams import stratified_split
from experiments.training import fit
from jaxlab import analytic, losses, metrics, nn, weaksup
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split, transition matrices, labels, clusters, networks"
CONDITIONS = ("uniform", "biased", "noisy", "biased_noisy")
NO_MIX, MIXUP, INTRA_CLUSTER = 0, 1, 2
BY_LOGITS, BY_LABEL, BY_TRANSITION = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    noise: float = 0.3
    """Share of the labels that are drawn blindly where there is noise: a tenth of them names the true class."""
    test_share: float = 0.25
    """Share of the rows to test on."""
    validation_share: float = 0.15
    """Share of the others whose labels only choose checkpoints."""
    hidden: int = 128
    """Width of the hidden layer."""
    learning_rate: float = 1e-3
    """Of Adam."""
    batch_size: int = 128
    """Rows per step."""
    checkpoints: int = 8
    """How often test and validation rows are looked at."""
    steps: int = 64
    """Steps between two checkpoints."""
    clusters: int = 50
    """Clusters of k-means on principal components, inside which rows are mixed."""
    components: int = 32
    """Principal components that the clusters see."""
    alpha: float = 0.2
    """Parameter of the Beta distribution of the weight of a mix."""

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise must lie in [0, 1], got {self.noise}")
        for name in ("test_share", "validation_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")


QUICK = {"steps": 10, "checkpoints": 2, "hidden": 32, "clusters": 10, "components": 8}


class Seed(NamedTuple):
    """What one seed works on; a leading axis of conditions where [Q]."""

    key: Array
    train: Array  # int [N]
    validation: Array  # int [V]
    test: Array  # int [M]
    told: Array  # int [Q, N]
    validation_told: Array  # int [Q, V]
    transition: Array  # float [Q, K, K]
    inverse: Array  # float [Q, K, K]
    clusters: Array  # int [N]


class Row(NamedTuple):
    """Which loss, how it is decoded, and what is mixed."""

    loss: Array
    decode: Array
    mix: Array


def partners_of(row: Row, seed: Seed, key: Array, index: Array) -> Array:
    """Whom every row of a batch is mixed with: anybody, or a row of its own cluster; all training rows take part."""
    anybody = jax.random.randint(key, index.shape, 0, seed.train.shape[0])
    same_cluster = weaksup.intra_cluster_partners(key, seed.clusters)[index]
    return jnp.where(row.mix == INTRA_CLUSTER, same_cluster, anybody)


def train_and_test(
    config: Config, mixing: bool, seed: Seed, x: Array, y: Array, row: Row
) -> tuple[dict[str, Array], Any]:
    """One row under all conditions: accuracy after the last step, and at the checkpoints that the scores choose.

    Where rows are mixed the loss is SCL-NL; else the row says which.
    """
    num_classes = seed.transition.shape[-1]
    network = mlp((x.shape[1], config.hidden, num_classes))
    init_key, fit_key = jax.random.split(seed.key)
    rows, truth = x[seed.train], y[seed.train]

    def under(told: Array, validation_told: Array, transition: Array, inverse: Array) -> dict[str, Array]:
        prior = jnp.bincount(told, length=num_classes) / told.shape[0]

        def loss_fn(params: PyTree, state: Row, batch: dict[str, Array], key: Array) -> tuple[Array, Row]:
            if mixing:
                partner_key, weight_key = jax.random.split(key)
                partner = partners_of(state, seed, partner_key, batch["index"])
                lam = jax.random.beta(weight_key, config.alpha, config.alpha)
                z = network.logits(params["network"], lam * batch["x"] + (1 - lam) * rows[partner])
                denied = functools.partial(losses.negative_learning, z)
                return jnp.mean(nn.mixed_loss(denied, batch["told"], told[partner], lam)), state
            z = network.logits(params["network"], batch["x"])
            side = Side(transition, inverse, prior, params["transition"])
            labels = Labels(batch["told"], batch["truth"])
            return jax.lax.switch(state.loss, list(LOSSES.values()), z, labels, side), state

        optimizer = optax.adam(config.learning_rate)
        uniform = weaksup.transition_uniform(num_classes)
        params = {"network": network.init(init_key), "transition": jnp.log(uniform + 1e-2)}
        data = {"x": rows, "told": told, "truth": truth}
        sizes = {"num_steps": config.steps, "batch_size": min(config.batch_size, len(rows))}

        def phase(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], dict[str, Array]]:
            done = fit(loss_fn, carry[0], row, optimizer, data, key, opt_state=carry[1], **sizes)
            table = jnp.where(row.decode == BY_LABEL, uniform, transition)
            table = jnp.where(row.loss == list(LOSSES).index("cpe_t"), jax.nn.softmax(done.params["transition"]), table)
            predict = functools.partial(predictions, row.decode, table)
            z = network.logits(done.params["network"], x[seed.validation])
            seen = {
                "test": metrics.accuracy(predict(network.logits(done.params["network"], x[seed.test])), y[seed.test]),
                "validation": metrics.accuracy(predict(z), y[seed.validation]),
                "ure": metrics.complementary_unbiased_risk(z, validation_told, inverse),
                "scel": metrics.complementary_surrogate_score(z, validation_told, transition),
            }
            return (done.params, done.opt_state), seen

        start = (params, optimizer.init(params))
        return jax.lax.scan(phase, start, jax.random.split(fit_key, config.checkpoints))[1]

    seen = jax.vmap(under)(seed.told, seed.validation_told, seed.transition, seed.inverse)  # [Q, T] each
    test = seen["test"]

    def chosen(best: Array) -> Array:
        return jnp.take_along_axis(test, best[:, None], axis=1)[:, 0]

    oracle = chosen(jnp.argmax(seen["validation"], axis=1))
    regrets = {f"regret_{name}": jnp.mean(oracle - chosen(jnp.argmin(seen[name], axis=1))) for name in ("ure", "scel")}
    return {name: test[q, -1] for q, name in enumerate(CONDITIONS)} | regrets, {"accuracy": test}


def predictions(decode: Array, transition: Array, logits: Array) -> Array:
    """Classes from logits of classes, or of complementary labels (which a transition may have to make of them)."""
    probs = jax.nn.softmax(logits)
    label_probs = jnp.where(decode == BY_LABEL, probs, probs @ transition)
    decoded = weaksup.decode_complementary(label_probs, transition)
    return jnp.where(decode == BY_LOGITS, jnp.argmax(logits, axis=-1), decoded)


def row_of(loss: str, *, decode: int = BY_LOGITS, mix: int = NO_MIX) -> Callable[[], Row]:
    """What a method computes, as numbers that a program takes."""
    return lambda: Row(jnp.asarray(list(LOSSES).index(loss)), jnp.asarray(decode), jnp.asarray(mix))


METHODS = (
    Method("true_labels", None, row_of("true_labels"), note="cross entropy on the classes themselves: out of reach"),
    Method("scl_nl", 108, row_of("scl_nl"), note="-log(1 - p)"),
    Method("scl_exp", 108, row_of("scl_exp"), note="exp(p)"),
    Method("fwd", 108, row_of("fwd"), note="cross entropy through the transition matrix"),
    Method("cpe_i", 108, row_of("cpe_i", decode=BY_LABEL), note="predicts the label itself, decoded as if uniform"),
    Method("cpe_f", 108, row_of("fwd", decode=BY_TRANSITION), note="fwd, decoded by the nearest row"),
    Method("cpe_t", 108, row_of("cpe_t", decode=BY_TRANSITION), note="and with a transition that is learned"),
    Method("ure", 108, row_of("ure"), note="unbiased risk as it is"),
    Method("ure_nn", 108, row_of("ure_nn"), note="without its negative parts"),
    Method("ure_ga", 108, row_of("ure_ga"), note="climbing out of its negative parts"),
    Method("rob_mae", 108, row_of("rob_mae"), note="the same of the absolute error, by class"),
    Method("rob_gce", 108, row_of("rob_gce"), note="the same of generalised cross entropy"),
    Method("dm", 108, row_of("dm"), note="discriminative"),
    Method("op", 108, row_of("op"), note="order-preserving"),
    Method("pc", 108, row_of("pc"), note="pairwise comparison"),
    Method("mcl_exp", 108, row_of("mcl_exp"), note="exp(-u), u what is left for other classes"),
    Method("mcl_mae", 108, row_of("mcl_mae"), note="1 - u"),
    Method("scarce", 108, row_of("scarce"), note="a binary risk per class"),
    Method("scl_nl_mixup", None, row_of("scl_nl", mix=MIXUP), note="rows mixed with anybody"),
    Method("scl_nl_icm", 109, row_of("scl_nl", mix=INTRA_CLUSTER), note="rows mixed inside clusters"),
)
BENCHMARK = tuple(method.name for method in METHODS if method.paper == 108)
MIXED = {"scl_nl_mixup": "mixup", "scl_nl_icm": "intra_cluster"}


def _mean(rows: Any, metric: str, names: tuple[str, ...] = BENCHMARK) -> Any:
    return np.mean([rows[metric][name] for name in names], axis=0)


NOT_DECODED = tuple(name for name in BENCHMARK if not name.startswith("cpe"))

CLAIMS = (
    Claim(
        108,
        "Removing the noise recovers more than removing the bias, mean over all losses",
        lambda rows: _mean(rows, "biased") - _mean(rows, "noisy"),
        ">",
        0.0,
    ),
    Claim(
        108,
        "Noise costs SCL-NL at least .1 of accuracy",
        lambda rows: rows["uniform"]["scl_nl"] - rows["noisy"]["scl_nl"],
        ">",
        0.1,
    ),
    Claim(
        108,
        "Choosing checkpoints by the unbiased risk of complementary labels is worse than by accuracy, mean over losses",
        lambda rows: _mean(rows, "regret_ure", NOT_DECODED),
        ">",
        0.0,
    ),
    Claim(
        108,
        "Choosing them by the surrogate score is worse than by accuracy too",
        lambda rows: _mean(rows, "regret_scel", NOT_DECODED),
        ">",
        0.0,
    ),
    Claim(
        109,
        "Inside clusters fewer than a fifth as many mixes are noisy as among all rows",
        ratio("mix_noise", "scl_nl_icm", "scl_nl_mixup"),
        "<",
        0.2,
    ),
    Claim(
        109,
        "Mixing inside clusters beats mixing with anybody",
        difference("uniform", "scl_nl_icm", "scl_nl_mixup"),
        ">",
        0.0,
    ),
    Claim(
        109,
        "Mixing inside clusters beats no mixing",
        difference("uniform", "scl_nl_icm", "scl_nl"),
        ">",
        0.0,
    ),
)


@functools.partial(jax.jit, static_argnames=("num_components", "num_clusters"))
def cluster(keys: Array, rows: Array, *, num_components: int, num_clusters: int) -> Array:
    """Clusters of every seed's rows [S, N, D] by k-means on principal components."""

    def one(args: tuple[Array, Array]) -> Array:
        key, x = args
        z = analytic.pca_transform(analytic.pca(x, rank=num_components), x)
        return analytic.kmeans(key, z, k=num_clusters, num_iters=25).assignment

    return jax.lax.map(one, (keys, rows))


@jax.jit
def mix_noise(seed: Seed, truth: Array) -> dict[str, Array]:
    """Share of the mixes that deny a class in them, uniform labels; the mean of some draws."""
    told, size = seed.told[0], seed.train.shape[0]

    def draw(key: Array) -> dict[str, Array]:
        partners = {
            "mixup": jax.random.randint(key, (size,), 0, size),
            "intra_cluster": weaksup.intra_cluster_partners(key, seed.clusters),
        }
        return {name: metrics.complementary_mixup_noise(truth, told, other) for name, other in partners.items()}

    return jax.tree.map(jnp.mean, jax.vmap(draw)(jax.random.split(jax.random.fold_in(seed.key, 7), 20)))


def transitions(config: Config, key: Array, num_classes: int) -> Array:
    """[Q, K, K], in the order of CONDITIONS."""
    clean = jnp.stack([weaksup.transition_uniform(num_classes), weaksup.transition_biased(key, num_classes)])
    noisy = [weaksup.transition_noisy(table, noise=config.noise) for table in clean]
    return jnp.concatenate([clean, jnp.stack(noisy)])


def prepare(config: Config, run: Run, data: Dataset) -> Seed:
    """Splits, labels under all conditions, and clusters; a leading axis of seeds."""
    keys = run.seed_keys()
    shares, tables, inverses = [], [], []
    for seed in range(run.seeds):
        rng = np.random.default_rng(np.asarray(jax.random.key_data(keys[seed])))
        others, last = stratified_split(data.y, test_fraction=config.test_share, rng=rng)
        parts = stratified_split(data.y[others], test_fraction=config.validation_share, rng=rng)
        shares.append((*(others[part] for part in parts), last))
        tables.append(np.asarray(transitions(config, jax.random.fold_in(keys[seed], 1), data.num_classes)))
        inverses.append(np.linalg.pinv(tables[-1].astype(np.float64)).astype(np.float32))
    if data.num_classes < 3:
        raise UserError("This question needs three classes or more: of two, a complementary label says which it is.")
    train, validation, test = [jnp.asarray(np.stack(part)) for part in zip(*shares, strict=True)]
    if train.shape[1] < config.clusters:
        raise UserError(f"There are {train.shape[1]} training rows for {config.clusters} clusters (--clusters).")
    table = jnp.asarray(np.stack(tables))

    def told(key: Array, rows: Array, table: Array) -> Array:
        draw = lambda key, one: weaksup.corrupt_labels(key, jnp.asarray(data.y)[rows], one)  # noqa: E731
        return jax.vmap(draw)(jax.random.split(key, len(CONDITIONS)), table)

    fold = jax.vmap(jax.random.fold_in, (0, None))
    x = jnp.asarray(data.x.reshape(len(data.x), -1))
    clusters = cluster(
        fold(keys, 4), x[train], num_components=min(config.components, x.shape[1]), num_clusters=config.clusters
    )
    labels = jax.vmap(told)(fold(keys, 2), train, table), jax.vmap(told)(fold(keys, 3), validation, table)
    return Seed(keys, train, validation, test, *labels, table, jnp.asarray(np.stack(inverses)), clusters)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows: one compiled program for all losses, one for mixed rows."""
    data = run.data()
    seeds = prepare(config, run, data)
    x, y = jnp.asarray(data.x.reshape(len(data.x), -1)), jnp.asarray(data.y)
    programs = Programs()
    noise = jax.vmap(mix_noise)(seeds, y[seeds.train])

    def measure(method: Method) -> Measured:
        mixing = method.name in MIXED
        fn = functools.partial(train_and_test, config, mixing)
        found = programs.measured(mixing, fn, seeds, x, y, method.fn())
        values = dict(found.metrics)
        if method.name.startswith("cpe"):  # their logits are of labels, which the scores do not read
            values = {name: value for name, value in values.items() if not name.startswith("regret")}
        if mixing:
            values["mix_noise"] = np.asarray(noise[MIXED[method.name]])
        return found._replace(metrics=values)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Accuracy of every loss under the four kinds of labels, and of SCL-NL as it trains."""
    figure, axes = plots.new_figure(columns=2, title=f"Learning from what it is not: {result.dataset}")
    names = [method.name for method in METHODS if method.name in result.rows.get("uniform", {})]
    looks = {name: plots.style(place) for place, name in enumerate(CONDITIONS)}
    for name, look in looks.items():
        means = [np.nanmean(np.asarray(result.rows.get(name, {}).get(method), float)) for method in names]
        axes[0].plot(means, range(len(names)), label=name.replace("_", " and "), **(look | {"linestyle": "none"}))
    axes[0].set_yticks(range(len(names)), names, fontsize=9)
    axes[0].invert_yaxis()
    axes[0].grid(axis="x", color="0.88", linewidth=0.8)
    axes[0].set_xlabel("accuracy of test rows, mean over seeds")
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=2, frameon=False, fontsize=9)
    curves = {name: np.asarray(curve, float) for name, curve in result.curves.get("accuracy", {}).items()}
    shown = {name: curves[name] for name in ("scl_nl", "scl_nl_mixup", "scl_nl_icm") if name in curves}
    lines = {
        f"{name}, {condition}": curve[:, CONDITIONS.index(condition)]
        for name, curve in shown.items()
        for condition in ("uniform", "noisy")
    }
    plots.curves_over_tasks(axes[1], lines, list(lines), ylabel="accuracy of test rows", xlabel="checkpoint")
    return figure
