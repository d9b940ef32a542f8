"""Models for an old index: their objectives, and what a question about them works on."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.networks import Network, mlp
from experiments.training import cosine_adam, fit
from jaxlab import losses, nn, retrieval
from jaxlab.numerics import normalize
from jaxlab.retrieval import CompatibleFeatures
from jaxlab.typing import Array, PyTree

__all__ = [
    "Config",
    "Objective",
    "Seed",
    "Shared",
    "bct",
    "bt2",
    "embedder",
    "independent",
    "oca",
    "start",
    "train",
]
SCALE = 2.0  # how much the new part of BT^2 dominates the old one


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    test_share: float = 0.3
    """Share of the rows to query with; the others train and fill the index."""
    old_share: float = 0.5
    """One update: share of the classes that the old model learns."""
    stages: tuple[float, float] = (0.4, 0.7)
    """Two updates: shares of the classes that the first and the second of the three models learn."""
    hidden: int = 128
    """Width of the hidden layer."""
    width: int = 16
    """One update: width of the old features."""
    extra: int = 8
    """One update: coordinates that some new models have more."""
    preallocated: int = 64
    """Two updates: classes of the fixed classifier; the features have one coordinate less."""
    train_steps: int = 1000
    """Steps of Adam for every model, batches of 128: about 100 rounds through the digits."""
    learning_rate: float = 1e-3
    """Falls to zero as a cosine."""
    smoothing: float = 0.1
    """Label smoothing of the rows whose papers have it."""

    def __post_init__(self) -> None:
        for name in ("test_share", "old_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        if not 0 < self.stages[0] < self.stages[1] < 1:
            raise ValueError(f"stages must grow and lie in (0, 1), got {self.stages}")
        if not 1 <= self.extra <= self.width:
            raise ValueError(f"extra must lie in [1, width], got {self.extra}")

    def num_old(self, num_classes: int) -> int:
        """How many classes the old model of one update learns."""
        return int(np.clip(round(self.old_share * num_classes), 2, num_classes - 1))

    def num_learned(self, num_classes: int) -> tuple[int, int, int]:
        """How many classes each of the three models learns."""
        first = int(np.clip(round(self.stages[0] * num_classes), 2, num_classes - 2))
        return first, int(np.clip(round(self.stages[1] * num_classes), first + 1, num_classes - 1)), num_classes


class Shared(NamedTuple):
    """All rows."""

    x: Array  # [N, D]
    y: Array  # [N]


class Seed(NamedTuple):
    """What one seed works on."""

    key: Array
    train: Array  # bool [N]
    test: Array  # int [Q]
    old: Array  # [N, width], unit features of the old model of one update
    new: Array  # [N, width], those of a new model that knows nothing of the old one
    plane: Array  # [width, 2], the plane of the old features that is drawn


Features = Callable[[PyTree, Array], CompatibleFeatures]


class Objective(NamedTuple):
    """A model to train.

    Attributes:
      params: where it starts.
      loss: of parameters and a batch of x, y, old (features of the old model) and new (of an independent new one).
      features: of parameters and rows [N, D].
      geometry_error: how far its rotations are from keeping what they should, on rows; None where it has none.
    """

    params: PyTree
    loss: Callable[[PyTree, dict[str, Array]], Array]
    features: Features | None = None
    geometry_error: Callable[[PyTree, Array], Array] | None = None


def embedder(config: Config, x: Array, width: int) -> Network:
    """A network whose outputs are the features."""
    return mlp((x.shape[1], config.hidden, width))


def start(network: Network, key: Array, width: int, num_classes: int) -> dict[str, PyTree]:
    """Parameters of a network and of a linear head without bias."""
    body, head = jax.random.split(key)
    return {
        "body": network.init(body),
        "head": jax.random.normal(head, (width, num_classes)) / jnp.sqrt(width),
    }


def _cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> Array:
    """Of every row."""
    targets = optax.losses.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.losses.softmax_cross_entropy(logits, targets)


def train(config: Config, objective: Objective, key: Array, data: dict[str, Array], where: Array) -> PyTree:
    """Trained parameters."""
    return fit(
        lambda params, state, batch, key: (objective.loss(params, batch), state),
        objective.params,
        None,
        cosine_adam(config.learning_rate, config.train_steps),
        data,
        key,
        num_steps=config.train_steps,
        batch_size=128,
        where=where,
    ).params


def independent(config: Config, shared: Shared, key: Array, num_classes: int) -> Objective:
    """Unit features and a linear head, trained by cross entropy alone."""
    network = embedder(config, shared.x, config.width)

    def features(params: PyTree, x: Array) -> CompatibleFeatures:
        h = normalize(network.logits(params["body"], x))
        return CompatibleFeatures(h, h)

    def loss(params: PyTree, batch: dict[str, Array]) -> Array:
        logits = features(params, batch["x"]).full @ params["head"]
        return jnp.mean(_cross_entropy(logits, batch["y"], config.smoothing))

    return Objective(start(network, key, config.width, num_classes), loss, features)


def bct(config: Config, shared: Shared, key: Array, prototypes: Array, *, wider: bool = False) -> Objective:
    """The mean old features [C, width] are a classifier that must also work on the first new coordinates."""
    width = config.width + (config.extra if wider else 0)
    network = embedder(config, shared.x, width)

    def features(params: PyTree, x: Array) -> CompatibleFeatures:
        h = normalize(network.logits(params["body"], x))
        return CompatibleFeatures(h[..., : config.width], h)

    def loss(params: PyTree, batch: dict[str, Array]) -> Array:
        compatible, full = features(params, batch["x"])
        own = _cross_entropy(full @ params["head"], batch["y"], config.smoothing)
        old = retrieval.bct_influence(normalize(compatible), prototypes, batch["y"], smoothing=config.smoothing)
        return jnp.mean(own + 10.0 * old)

    return Objective(start(network, key, width, len(prototypes)), loss, features)


def oca(config: Config, shared: Shared, key: Array, prototypes: Array) -> Objective:
    """The same with an orthogonal layer in front of the classifier, and features drawn to their old prototype."""
    width = config.width + config.extra
    network = embedder(config, shared.x, width)
    layer = {"a": jnp.zeros((width, width)), "bias": jnp.zeros(width)}

    def hidden(params: PyTree, x: Array) -> Array:
        return normalize(network.logits(params["body"], x))

    def features(params: PyTree, x: Array) -> CompatibleFeatures:
        q, bias = nn.cayley(params["layer"]["a"]), params["layer"]["bias"]
        return retrieval.orthogonal_align(hidden(params, x), q, old_dim=config.width, bias=bias)

    def geometry_error(params: PyTree, x: Array) -> Array:
        before, after = (
            jnp.linalg.norm(rows[:, None] - rows, axis=-1) for rows in (hidden(params, x), features(params, x).full)
        )
        return jnp.max(jnp.abs(after - before))

    def loss(params: PyTree, batch: dict[str, Array]) -> Array:
        compatible, full = features(params, batch["x"])
        compatible, y = normalize(compatible), batch["y"]
        own = _cross_entropy(full @ params["head"], y, config.smoothing)
        old = retrieval.bct_influence(compatible, prototypes, y, smoothing=config.smoothing)
        return jnp.mean(5.0 * own + 10.0 * old + 5.0 * losses.feature_alignment(compatible, prototypes[y]))

    params = start(network, key, width, len(prototypes)) | {"layer": layer}
    return Objective(params, loss, features, geometry_error)


def bt2(config: Config, shared: Shared, key: Array, prototypes: Array) -> Objective:
    """One part learns what an independent new model knows, one what the old model knows; both are turned together."""
    width, extra = config.width, config.extra
    network = embedder(config, shared.x, 2 * width)
    start_key, old_key = jax.random.split(key)
    params = start(network, start_key, width, len(prototypes)) | {
        "old": {
            "kernel": jax.random.normal(old_key, (2 * width, width)) / jnp.sqrt(2 * width),
            "bias": jnp.zeros(width),
        },
        "p": jnp.zeros((width, width)),
        "b": jnp.zeros((width, width)),
    }

    def parts(params: PyTree, x: Array) -> tuple[Array, Array]:
        h = network.logits(params["body"], x)
        old = jax.nn.relu(h) @ params["old"]["kernel"] + params["old"]["bias"]
        return normalize(h[..., :width]), normalize(old)

    def features(params: PyTree, x: Array) -> CompatibleFeatures:
        p, b = nn.cayley(params["p"]), nn.cayley(params["b"])
        return retrieval.basis_transform(*parts(params, x), p, b, extra=extra, scale=SCALE)

    def geometry_error(params: PyTree, x: Array) -> Array:
        u, o = parts(params, x)
        full, o = features(params, x).full, normalize(o[:, :extra])
        inner = lambda rows: jnp.matmul(rows, rows.T, precision="highest")  # noqa: E731
        return jnp.max(jnp.abs(inner(full) - inner(o) - SCALE**2 * inner(u))) / (1 + SCALE**2)

    def loss(params: PyTree, batch: dict[str, Array]) -> Array:
        u, _ = parts(params, batch["x"])
        compatible, y = normalize(features(params, batch["x"]).compatible), batch["y"]
        own = _cross_entropy(u @ params["head"], y) + losses.feature_alignment(u, batch["new"])
        old = 10.0 * retrieval.bct_influence(compatible, prototypes, y)
        return jnp.mean(own + old + 5.0 * losses.feature_alignment(compatible, batch["old"]))

    return Objective(params, loss, features, geometry_error)
