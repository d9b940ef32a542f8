"""Classifiers and encoders that experiments train once, and their frozen features.

Train on the base classes, then freeze, for five seeds at once::

    network = mlp((64, 128, 10))
    train = lambda key: train_classifier(network, x, y, key, num_classes=10, num_steps=500, class_where=base)
    params = jax.vmap(train)(jax.random.split(key, 5))
    features = jax.vmap(lambda p: penultimate(network, p, x))(params)
"""

import functools

import jax
import jax.numpy as jnp
import optax

from experiments.networks import Network, mlp
from experiments.training import fit
from jaxlab import checks, losses
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["episodic_encoder", "frozen_features", "penultimate", "train_classifier"]


@functools.partial(jax.jit, static_argnames=("network", "num_classes", "num_steps", "batch_size", "learning_rate"))
def train_classifier(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    key: Array,
    *,
    num_classes: int,
    num_steps: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    class_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> PyTree:
    """Parameters of a network trained by Adam on the cross entropy of the classes allowed.

    Args:
      network: its ``logits`` have ``num_classes`` columns.
      x: float [N, ...].
      y: int [N]; rows with a label outside [0, num_classes) are never drawn.
      key: PRNG key, of the initial weights and the batches.
      num_classes: static.
      num_steps: static.
      batch_size: static.
      learning_rate: of Adam, static.
      class_where: bool [num_classes], True for the classes to learn. Rows of the others are never drawn, and their
        logits take no part in the softmax. None is all of them.
      where: bool [N], True where a row may be drawn.
    Returns:
      The trained parameters, a plain dict.
    Raises:
      ValueError: shapes do not agree, or the network's logits are not num_classes wide.
      TypeError: labels are not integers, masks not boolean.
    """
    x, y, real = _training_rows(x, y, num_classes=num_classes, class_where=class_where, where=where)
    classes = None if class_where is None else jnp.asarray(class_where)
    init_key, fit_key = jax.random.split(key)
    params = network.init(init_key)
    width = jax.eval_shape(network.logits, params, x[:1]).shape[-1]
    if width != num_classes:
        raise ValueError(f"network must have num_classes={num_classes} logits, got {width}")

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        logits = network.logits(params, batch["x"])
        # optax wants this mask in the full shape of the logits.
        mask = None if classes is None else jnp.broadcast_to(classes, logits.shape)
        loss = optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"], where=mask)
        return jnp.mean(loss), state

    optimizer = optax.adam(learning_rate)
    data = {"x": x, "y": y}
    return fit(
        loss_fn, params, None, optimizer, data, fit_key, num_steps=num_steps, batch_size=batch_size, where=real
    ).params


@functools.partial(jax.jit, static_argnames=("network", "block"))
def penultimate(network: Network, params: PyTree, x: ArrayLike, *, block: int = 1024) -> Array:
    """Frozen features of every row: no gradient, and no more than ``block`` rows in the network at a time.

    Args:
      network: see ``Network``.
      params: its parameters.
      x: float [N, ...].
      block: rows at a time, static.
    Returns:
      float [N, D].
    """
    frozen = jax.lax.stop_gradient(params)
    return jax.lax.map(lambda row: network.features(frozen, row[None])[0], jnp.asarray(x), batch_size=block)


def frozen_features(
    x: ArrayLike,
    y: ArrayLike,
    keys: Array,
    train_rows: ArrayLike,
    *,
    kind: str,
    num_base: int,
    hidden: int,
    num_steps: int,
) -> Array:
    """Features of all rows for every seed: of a one-layer network that learned the base classes, or x itself.

    Args:
      x: float [N, ...].
      y: int [N], 0 to C - 1.
      keys: typed keys [S].
      train_rows: bool [S, N], the rows each network may learn from.
      kind: "images" trains networks; "features" are features already, and stay as they are.
      num_base: classes 0 to num_base - 1 are learned.
      hidden: width of the features.
      num_steps: steps of training.
    Returns:
      float32 [S, N, hidden], or [S, N, D] for kind="features".
    """
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y)
    x = x.reshape(x.shape[0], -1)
    if kind == "features":
        return jnp.broadcast_to(x, (keys.shape[0], *x.shape))
    num_classes = int(y.max()) + 1
    network = mlp((x.shape[1], hidden, num_classes))
    base = jnp.arange(num_classes) < num_base
    train = functools.partial(
        train_classifier, network, x, y, num_classes=num_classes, num_steps=num_steps, class_where=base
    )
    params = jax.vmap(lambda key, where: train(key, where=where))(keys, jnp.asarray(train_rows))
    return jax.lax.map(lambda one: penultimate(network, one, x), params)


@functools.partial(
    jax.jit,
    static_argnames=("network", "num_classes", "num_steps", "ways", "shots", "queries", "learning_rate"),
)
def episodic_encoder(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    key: Array,
    *,
    num_classes: int,
    num_steps: int,
    ways: int = 5,
    shots: int = 5,
    queries: int = 10,
    learning_rate: float = 1e-3,
    class_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> PyTree:
    """Parameters whose features tell classes apart by their nearest prototype: prototypical training on episodes.

    An episode draws ``ways`` classes, then ``shots`` support rows and ``queries`` query rows of each; the loss is
    ``losses.prototypical`` of the queries. The classes go round as rows do in ``experiments.training.fit``.

    Args:
      network: only its ``features`` are trained; the head stays as it was drawn.
      x: float [N, ...].
      y: int [N]; rows with a label outside [0, num_classes) are never drawn.
      key: PRNG key.
      num_classes: static.
      num_steps: episodes, static.
      ways: classes per episode, static; where fewer classes have rows, an episode holds some twice.
      shots: support rows per class, static.
      queries: query rows per class, static. A class with fewer than shots + queries rows gives some of them twice.
      learning_rate: of Adam, static.
      class_where: bool [num_classes], True for the classes to learn; None is all of them.
      where: bool [N], True where a row may be drawn.
    Returns:
      The trained parameters, a plain dict.
    Raises:
      ValueError: shapes do not agree, ways > num_classes, or a size is below 1.
      TypeError: labels are not integers, masks not boolean.
    """
    checks.in_range(ways, "ways", 1, num_classes)
    checks.at_least(shots, "shots", 1)
    checks.at_least(queries, "queries", 1)
    x, y, real = _training_rows(x, y, num_classes=num_classes, class_where=class_where, where=where)
    classes = jnp.arange(num_classes)
    has_rows = jnp.any((y == classes[:, None]) & real, axis=1)
    init_key, fit_key = jax.random.split(key)
    targets = jnp.repeat(jnp.arange(ways), queries)

    def loss_fn(
        params: PyTree, state: tuple[Array, Array, Array], batch: dict[str, Array], key: Array
    ) -> tuple[Array, tuple[Array, Array, Array]]:
        x, y, real = state
        rows = _draw_per_class(key, y, batch["class"], shots + queries, real)
        embeddings = network.features(params, jnp.take(x, rows.reshape(-1), axis=0, mode="fill")).reshape(
            ways, shots + queries, -1
        )
        query = embeddings[:, shots:].reshape(ways * queries, -1)
        return jnp.mean(losses.prototypical(embeddings[:, :shots], query, targets)), state

    return fit(
        loss_fn,
        network.init(init_key),
        (x, y, real),
        optax.adam(learning_rate),
        {"class": classes},
        fit_key,
        num_steps=num_steps,
        batch_size=ways,
        where=has_rows,
    ).params


def _draw_per_class(key: Array, y: Array, labels: Array, num: int, where: Array) -> Array:
    """int [K, num]: rows of each class in random order, none twice while there are enough; N where there is none."""
    mine = (y == labels[:, None]) & where
    _, order = jax.lax.top_k(jnp.where(mine, jax.random.uniform(key, mine.shape), -1.0), min(num, y.shape[0]))
    count = jnp.clip(jnp.sum(mine, axis=1, keepdims=True), 1, order.shape[1])
    rows = jnp.take_along_axis(order, jnp.arange(num) % count, axis=1)
    return jnp.where(jnp.any(mine, axis=1, keepdims=True), rows, y.shape[0])


def _training_rows(
    x: ArrayLike, y: ArrayLike, *, num_classes: int, class_where: ArrayLike | None, where: ArrayLike | None
) -> tuple[Array, Array, Array]:
    """The arrays, and a mask [N] of the rows that count and whose class is to be learned."""
    x, y = checks.floating(x, "x"), checks.integer(y, "y")
    checks.rank(y, "y", 1, layout="[N]")
    checks.batch_match(x, "x", y, "y")
    checks.at_least(num_classes, "num_classes", 2)
    classes = checks.mask(class_where, "class_where", (num_classes,))
    mask = checks.mask(where, "where", y.shape)
    real = (y >= 0) & (y < num_classes)
    if mask is not None:
        real &= mask
    if classes is not None:
        real &= classes[jnp.clip(y, 0, num_classes - 1)]
    return x, y, real
