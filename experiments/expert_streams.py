"""A stream that never says when a task ends: phases of images whose pixels are shuffled each in its own way."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes

from experiments import plots
from experiments.claims import difference
from experiments.networks import Network, mlp
from experiments.runner import Claim, Measured, Method, Result, Run, over_seeds
from experiments.streams import stratified_split
from jaxlab import continual, metrics, trees
from jaxlab.typing import Array, PyTree

ORDER = (0, 1, 0, 2, 1)
"""The task of each phase: two of them return."""
NUM_TASKS = max(ORDER) + 1
CAPACITY = 4
"""Room for one expert more than there are tasks: a false alarm would fill it."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """A stream of shuffled images without task boundaries."""

    batches: int = 150
    """Batches of each of the five phases."""
    batch_size: int = 32
    """Images of a batch."""
    hidden: int = 64
    """Width of an expert, and of the selector."""
    learning_rate: float = 3e-3
    """Of Adam."""
    decay: float = 0.9
    """Weight of the past in the moving mean and variance of an expert's loss."""
    num_std: float = 6.0
    """Standard deviations above its mean that make a loss a change of task."""
    margin: float = 0.3
    """Added to that bound."""
    warmup: int = 60
    """Batches of a new expert without alarm."""
    memory: int = 500
    """Images kept, a uniform sample of the stream, to train the selector on."""
    selector_steps: int = 600
    """Steps of the selector."""
    sparsity: float = 0.5
    """Share of the weights of experts and selector that pruning removes."""


QUICK = Settings(batches=100, selector_steps=150)


class Stream(NamedTuple):
    """One seed: which rows each batch holds, how each task shuffles pixels, and the rows to test on."""

    key: Array
    batches: Array  # [steps, batch]
    pixels: Array  # [tasks, D]
    tests: Array  # [M]


def _prepare(settings: Settings, labels: np.ndarray, dim: int, seed: int) -> Stream:
    rng = np.random.default_rng([seed, 152])
    train, tests = stratified_split(labels, test_fraction=0.2, rng=rng)
    wanted = len(ORDER) * settings.batches * settings.batch_size
    rounds = np.concatenate([rng.permutation(train) for _ in range(-(-wanted // len(train)))])
    index = rounds[:wanted].reshape(-1, settings.batch_size)
    pixels = np.stack([rng.permutation(dim) for _ in range(NUM_TASKS)])
    return Stream(jax.random.key(seed), jnp.asarray(index), jnp.asarray(pixels), jnp.asarray(tests))


def _phases(settings: Settings) -> Array:
    """The task of every batch."""
    return jnp.repeat(jnp.array(ORDER), settings.batches)


@functools.cache
def _network(dim: int, hidden: int, outputs: int) -> Network:
    return mlp((dim, hidden, outputs))


def _mean_loss(network: Network, params: PyTree, batch: tuple[Array, Array]) -> Array:
    logits = network.logits(params, batch[0])
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch[1]))


def _test_logits(network: Network, params: PyTree, stream: Stream, x: Array) -> Array:
    """Of every expert for the test rows of every task: [K, tasks, M, C]."""
    rows = x[stream.tests][:, stream.pixels].swapaxes(0, 1)
    return jax.vmap(lambda one: network.logits(one, rows))(params)


def _sparsity(target: float, count: Array, length: int) -> Array:
    """Rises from nothing to the target over ``length`` batches, fast at first."""
    return target * (1 - (1 - jnp.clip(count / length, 0.0, 1.0)) ** 3)


def _prune(pool: continual.ExpertPool, target: float, length: int) -> continual.ExpertPool:
    count = pool.monitors.count[pool.current]
    due = (count % 10 == 0) & (target > 0)
    prune = lambda pool: continual.experts_prune(pool, _sparsity(target, count, length))  # noqa: E731
    return jax.lax.cond(due, prune, lambda pool: pool, pool)


def _remaining(pool: continual.ExpertPool, experts: Array) -> Array:
    """Share of the weights of the given experts that are left."""
    kept = [jnp.sum(mask.reshape(mask.shape[0], -1), axis=1) for mask in jax.tree.leaves(pool.mask)]
    sizes = [mask[0].size for mask in jax.tree.leaves(pool.mask)]
    return jnp.sum(jnp.where(experts, sum(kept), 0)) / (jnp.sum(experts) * sum(sizes))


def experts(settings: Settings, num_classes: int, stream: Stream, x: Array, y: Array, *, sparsity: float) -> Any:
    """Experts by loss; then a selector, trained on a sample of the stream, sends every test image to one of them."""
    network = _network(x.shape[1], settings.hidden, num_classes)
    optimizer = optax.adam(settings.learning_rate)
    loss_fn = functools.partial(_mean_loss, network)
    init_key, memory_key, selector_key = jax.random.split(stream.key, 3)
    bounds = {"decay": settings.decay, "num_std": settings.num_std, "margin": settings.margin}

    def step(carry: tuple[continual.ExpertPool, trees.Buffer], inputs: tuple[Array, Array]) -> Any:
        pool, memory = carry
        index, task = inputs
        rows, labels = x[index][:, stream.pixels[task]], y[index]
        pool = continual.experts_update(
            pool, (rows, labels), loss_fn=loss_fn, optimizer=optimizer, warmup=settings.warmup, **bounds
        )
        pool = _prune(pool, sparsity, settings.batches)
        kept = {"x": rows, "expert": jnp.broadcast_to(pool.current, labels.shape)}
        memory = trees.buffer_add(memory, kept, mode="reservoir", key=memory_key)
        return (pool, memory), (pool.current, pool.is_shift, pool.monitors.mean[pool.current])

    tasks = _phases(settings)
    start = (
        continual.experts_init(init_key, network.init, optimizer, capacity=CAPACITY),
        trees.buffer_init(settings.memory, {"x": x[0], "expert": jnp.zeros((), jnp.int32)}),
    )
    (pool, memory), (current, is_shift, level) = jax.lax.scan(step, start, (stream.batches, tasks))
    selector, selector_pool = _train_selector(settings, memory, pool.active, selector_key, sparsity)
    logits = _test_logits(network, pool.params, stream, x)
    rows = x[stream.tests][:, stream.pixels].swapaxes(0, 1)
    routed = jnp.argmax(jnp.where(pool.active, selector(rows), -jnp.inf), axis=-1)
    chosen = jnp.take_along_axis(logits, routed[None, ..., None], axis=0)[0]
    labels = jnp.broadcast_to(y[stream.tests], routed.shape)
    # A task belongs to the expert that saw most of its batches; a batch with another expert is routed wrong.
    owner = jnp.argmax(jnp.zeros((NUM_TASKS, CAPACITY)).at[tasks, current].add(1), axis=1)
    shared = NUM_TASKS - jnp.sum(jnp.any(owner[:, None] == jnp.arange(CAPACITY), axis=0))
    boundary = jnp.append(False, tasks[1:] != tasks[:-1])
    all_experts = jnp.arange(CAPACITY) == owner[:, None]
    measured = {
        "final_accuracy": metrics.accuracy(chosen, labels),
        "switches": jnp.sum(is_shift).astype(jnp.float32),
        "switch_errors": jnp.sum(is_shift != boundary).astype(jnp.float32),
        "num_experts": jnp.sum(pool.active).astype(jnp.float32),
        "routing_errors": (jnp.sum(current != owner[tasks]) + shared).astype(jnp.float32),
        "selector_accuracy": metrics.accuracy(routed, jnp.broadcast_to(owner[:, None], routed.shape)),
        "oracle_accuracy": metrics.accuracy(logits[owner, jnp.arange(NUM_TASKS)], labels),
        "weights_left": _remaining(pool, jnp.any(all_experts, axis=0)),
        "selector_weights_left": _remaining(selector_pool, jnp.ones(1, bool)),
    }
    return measured, {"expert_of_batch": current.astype(jnp.float32), "expert_loss": level}


def _train_selector(settings: Settings, memory: trees.Buffer, active: Array, key: Array, sparsity: float) -> Any:
    """A network that tells from an image which expert learned it: (its logits, itself as a pool of one)."""
    network = _network(memory.items["x"].shape[1], settings.hidden, CAPACITY)
    optimizer = optax.adam(settings.learning_rate)
    init_key, key = jax.random.split(key)

    def step(pool: continual.ExpertPool, key: Array) -> tuple[continual.ExpertPool, None]:
        batch = trees.buffer_sample(memory, key, 2 * settings.batch_size).items
        # A pool of one that never raises an alarm is a network trained as the experts are, pruned as they are.
        pool = continual.experts_update(
            pool,
            (batch["x"], batch["expert"]),
            loss_fn=functools.partial(_mean_loss, network),
            optimizer=optimizer,
            warmup=jnp.inf,
        )
        return _prune(pool, sparsity, settings.selector_steps // 2), None

    pool = continual.experts_init(init_key, network.init, optimizer, capacity=1)
    pool, _ = jax.lax.scan(step, pool, jax.random.split(key, settings.selector_steps))
    params = jax.tree.map(lambda leaf: leaf[0], pool.params)
    return (lambda rows: network.logits(params, rows)), pool


def told(settings: Settings, num_classes: int, stream: Stream, x: Array, y: Array, *, networks: tuple[int, ...]) -> Any:
    """Networks that are told the task of every batch and every test image, or one network that gets them all."""
    network = _network(x.shape[1], settings.hidden, num_classes)
    optimizer = optax.adam(settings.learning_rate)
    of_task = jnp.array(networks)

    def step(carry: PyTree, inputs: tuple[Array, Array]) -> tuple[PyTree, None]:
        index, task = inputs
        mine = jax.tree.map(lambda leaf: leaf[of_task[task]], carry)
        batch = (x[index][:, stream.pixels[task]], y[index])
        gradient = jax.grad(lambda params: _mean_loss(network, params, batch))(mine[0])
        updates, opt_state = optimizer.update(gradient, mine[1], mine[0])
        new = (optax.apply_updates(mine[0], updates), opt_state)
        return jax.tree.map(lambda all_, one: all_.at[of_task[task]].set(one), carry, new), None

    params = jax.vmap(network.init)(jax.random.split(stream.key, max(networks) + 1))
    (params, _), _ = jax.lax.scan(step, (params, jax.vmap(optimizer.init)(params)), (stream.batches, _phases(settings)))
    logits = _test_logits(network, params, stream, x)[of_task, jnp.arange(NUM_TASKS)]
    return {"final_accuracy": metrics.accuracy(logits, jnp.broadcast_to(y[stream.tests], logits.shape[:2]))}


ROWS = (
    Method("experts", 152, experts, note="shuffled pixels: experts by loss, a selector, both pruned to half"),
    Method("experts_dense", 152, experts, note="shuffled pixels: the same without pruning"),
    Method("one_network", None, told, note="shuffled pixels: one network on the same stream"),
    Method("known_tasks", None, told, note="shuffled pixels: a network per task, told which it is: upper bound"),
)
_OPTIONS: dict[str, dict[str, Any]] = {
    "experts_dense": {"sparsity": 0.0},
    "one_network": {"networks": (0,) * NUM_TASKS},
    "known_tasks": {"networks": tuple(range(NUM_TASKS))},
}

CLAIMS = (
    Claim(
        152,
        "The loss tells the four boundaries at once and nothing else, three experts, old tasks find theirs (errors)",
        lambda rows: (
            rows["switch_errors"]["experts"]
            + rows["routing_errors"]["experts"]
            + abs(rows["num_experts"]["experts"] - NUM_TASKS)
        ),
        "within",
        0.0,
    ),
    Claim(
        152,
        "Experts end above one network on the same stream by .1",
        difference("final_accuracy", "experts", "one_network"),
        ">",
        0.1,
    ),
    Claim(
        152,
        "Not being told the task, in training or at test, costs at most .05",
        difference("final_accuracy", "known_tasks", "experts"),
        "<",
        0.05,
    ),
    Claim(
        152,
        "Without half of the weights of experts and selector at most .03 is lost",
        difference("final_accuracy", "experts_dense", "experts"),
        "<",
        0.03,
    ),
)


def rows(settings: Settings, run: Run) -> None:
    """Measures the rows of this part."""
    data = run.data()
    x, y = jnp.asarray(data.x.reshape(len(data.x), -1)), jnp.asarray(data.y)
    prepared = [_prepare(settings, data.y, x.shape[1], seed) for seed in range(run.seeds)]
    streams = jax.tree.map(lambda *leaves: jnp.stack(leaves), *prepared)

    def measure(method: Method) -> Measured:
        options = _OPTIONS.get(method.name, {"sparsity": settings.sparsity})
        fn = functools.partial(method.fn, settings, data.num_classes, **options)
        # One seed after the other, so that a batch that prunes nothing sorts nothing.
        return over_seeds(fn, streams, mode="map", shared=(x, y))

    run.rows(ROWS, measure)


def draw(ax: Axes, result: Result) -> None:
    """The loss of the expert at work over the stream of the first seed, in the colour of the expert."""
    level = result.curves.get("expert_loss", {}).get("experts")
    if level is None:
        ax.set_axis_off()
        return
    level, expert = (np.asarray(result.curves[name]["experts"])[0] for name in ("expert_loss", "expert_of_batch"))
    steps = np.arange(len(level))
    for number in range(CAPACITY):
        mine = expert == number
        if mine.any():
            colour = plots.PALETTE[number]
            ax.plot(steps, np.where(mine, level, np.nan), color=colour, linewidth=2, label=f"expert {number + 1}")
    phase = len(level) / len(ORDER)
    for place, task in enumerate(ORDER):
        ax.axvline(place * phase, color="0.8", linewidth=0.8, zorder=0)
        ax.text((place + 0.5) * phase, ax.get_ylim()[1], "ABC"[task], ha="center", va="top")
    ax.set_title("tasks A B A C B, batch by batch", fontsize=11)
    ax.set_ylabel("mean loss of the expert", fontsize=11)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, fontsize=9, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
