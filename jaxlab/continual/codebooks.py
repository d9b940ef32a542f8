"""A discrete key-value bottleneck over a stream: frozen keys, and values that only their own rows move."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.continual.stream import Learner
from jaxlab.nn import (
    Codebook,
    codebook_init,
    codebook_replace_dead,
    codebook_update,
    kv_bottleneck_logits,
    kv_lookup,
    nearest_keys,
)
from jaxlab.nn.quantizers import head_queries
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["BottleneckState", "fit_keys", "key_value_bottleneck"]


class BottleneckState(NamedTuple):
    """Values [H, J, C] of the keys, which keys training has fetched bool [H, J], which classes it has seen bool [C]."""

    values: Array
    used: Array
    seen: Array


def fit_keys(
    key: Array,
    features: ArrayLike,
    projection: ArrayLike,
    *,
    num_keys: int,
    num_iters: int = 20,
    decay: ArrayLike = 0.95,
    threshold: ArrayLike = 0.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Keys of every head, put where features without labels lie: before the stream, and for good.

    .. math:: \kappa_h = \text{codebook\_update}^{n}\big( \text{rows of } f A_h;\; f A_h \big)

    Args:
      key: PRNG key.
      features: float [N, D], of base classes or unlabelled data.
      projection: float [H, D, d], as ``nn.random_projection_heads`` gives it.
      num_keys: J, static; with more keys than rows every row has a key of its own.
      num_iters: updates, each by all rows, static; 0 leaves the keys at random rows.
      decay: of the updates.
      threshold: after an update, a key that stands for fewer rows is moved to a random row; 0 moves none.
      where: bool [N], True where a row counts.
    Returns:
      float32 or wider [H, J, d].
    Raises:
      ValueError: shapes do not agree, or num_keys < 1.
      TypeError: features or projection are not floating point.

    >>> print(fit_keys(jax.random.key(0), jnp.ones((4, 3)), jnp.ones((2, 3, 1)), num_keys=1)[:, :, 0].round())
    [[3.]
     [3.]]

    Reference: Traeuble et al., "Discrete Key-Value Bottleneck" (2023). Checked against the authors' code.
    """
    features = checks.rank(checks.floating(features, "features"), "features", 2, layout="[N, D]")
    projection = _check_projection(projection, features.shape[1])
    checks.size(num_keys, "num_keys")
    checks.size(num_iters, "num_iters", 0)
    mask = checks.mask(where, "where", features.shape[:1])
    rows = head_queries(features if mask is None else jnp.where(mask[:, None], features, 0.0), projection)

    def one_head(key: Array, rows: Array) -> Array:
        start_key, key = jax.random.split(key)
        state = codebook_init(start_key, num_keys, rows.shape[1], samples=_draw(start_key, rows, num_keys, mask))

        def step(state: Codebook, key: Array) -> tuple[Codebook, None]:
            state = codebook_update(state, rows, decay=decay, where=mask)
            return codebook_replace_dead(key, state, rows, threshold=threshold, where=mask), None

        return jax.lax.scan(step, state, jax.random.split(key, num_iters))[0].codes

    return jax.vmap(one_head)(jax.random.split(key, projection.shape[0]), rows)


def _draw(key: Array, rows: Array, count: int, mask: Array | None) -> Array:
    """``count`` rows that count, none twice while there are enough."""
    draws = jax.random.uniform(key, rows.shape[:1])
    order = jnp.argsort(draws if mask is None else jnp.where(mask, draws, 2.0))
    available = rows.shape[0] if mask is None else jnp.maximum(jnp.sum(mask), 1)
    return rows[order[jnp.arange(count) % available]]


def _check_projection(projection: ArrayLike, dim: int) -> Array:
    array = checks.rank(checks.floating(projection, "projection"), "projection", 3, layout="[H, D, d]")
    if array.shape[1] != dim:
        raise ValueError(f"projection must have shape [H, {dim}, d], got {list(array.shape)}")
    return array


def key_value_bottleneck(
    num_classes: int,
    projection: ArrayLike,
    keys: ArrayLike,
    *,
    learning_rate: float = 3.0,
    num_passes: int = 1,
    batch_size: int = 32,
    k: int = 1,
    used_only: bool = False,
) -> Learner:
    r"""The discrete key-value bottleneck over a stream, without task boundaries: descent on the values, keys frozen.

    .. math:: v \leftarrow v - \eta\, \nabla_v \frac1B \sum_i
              CE\Big( \frac{1}{H k} \sum_h \sum_{j \in \operatorname{top}_k} v_{hj},\; y_i \Big)

    Plain gradient descent: momentum or Adam would move values that no row of the batch has fetched, and with them what
    was learned of other inputs. The softmax is over all classes.

    Args:
      num_classes: C, static.
      projection: float [H, D, d], of ``nn.random_projection_heads``.
      keys: float [H, J, d], of ``fit_keys``.
      learning_rate: eta; a value sees few gradients, each divided by H k, so it is large.
      num_passes: over the rows of an update, in their order, static.
      batch_size: B, static.
      k: keys per head, static.
      used_only: whether ``predict`` leaves out keys that training has never fetched.
    Returns:
      Learner without merge and forget. Its state and head are a BottleneckState; ``predict`` gives logits [..., C].
    Raises:
      ValueError: shapes do not agree, a size below 1, or learning_rate <= 0.

    >>> keys = jnp.array([[[0.0], [5.0]]])
    >>> learner = key_value_bottleneck(2, jnp.ones((1, 1, 1)), keys, num_passes=5)
    >>> state = learner.init(jax.random.key(0))
    >>> state = learner.update(state, jnp.array([[0.1], [4.9]]), jnp.array([0, 1]))
    >>> print(jnp.argmax(learner.predict(learner.solve(state), jnp.array([[0.3], [6.0]])), axis=-1))
    [0 1]

    Reference: Traeuble et al., "Discrete Key-Value Bottleneck" (2023). Checked against the authors' code; values start
    at 0 instead of normal noise, and passes over a chunk are ours.
    """
    keys = checks.rank(checks.floating(keys, "keys"), "keys", 3, layout="[H, J, d]")
    projection = _check_projection(projection, jnp.shape(projection)[1] if jnp.ndim(projection) == 3 else 0)
    if projection.shape[0] != keys.shape[0] or projection.shape[2] != keys.shape[2]:
        raise ValueError(f"projection and keys must agree in H and d, got {projection.shape} and {keys.shape}")
    for size, name in ((num_classes, "num_classes"), (num_passes, "num_passes"), (batch_size, "batch_size"), (k, "k")):
        checks.size(size, name)
    checks.in_range(k, "k", 1, keys.shape[1])
    checks.positive(learning_rate, "learning_rate")
    heads, num_keys = keys.shape[:2]

    def init(key: Array) -> BottleneckState:
        values = jnp.zeros((heads, num_keys, num_classes), accumulation_dtype(keys))
        return BottleneckState(values, jnp.zeros((heads, num_keys), bool), jnp.zeros(num_classes, bool))

    def loss(values: Array, index: Array, labels: Array, counts: Array) -> Array:
        logits = jnp.mean(kv_lookup(index, values), axis=(0, 2))
        per_row = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.sum(jnp.where(counts, per_row, 0.0)) / jnp.maximum(jnp.sum(counts), 1)

    def update(state: BottleneckState, x: Array, labels: Array, *, where: Array | None = None) -> BottleneckState:
        x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
        if x.shape[1] != projection.shape[1]:
            raise ValueError(f"x must have shape [N, {projection.shape[1]}], got {list(x.shape)}")
        labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
        checks.batch_match(x, "x", labels, "labels")
        known = (labels >= 0) & (labels < num_classes)
        counts = known if where is None else known & jnp.asarray(checks.mask(where, "where", labels.shape))
        index = nearest_keys(head_queries(jnp.where(counts[:, None], x, 0.0), projection), keys, k=k)
        labels = jnp.where(counts, labels, 0)
        batches = -(-x.shape[0] // batch_size)
        fill = batches * batch_size - x.shape[0]
        # Batches are rows of the chunk in their order; the last one is filled up with rows that do not count.
        at, y, real = (
            jnp.pad(array, ((0, fill),) + ((0, 0),) * (array.ndim - 1)).reshape(batches, batch_size, *array.shape[1:])
            for array in (jnp.moveaxis(index, 0, 1), labels, counts)
        )

        def step(values: Array, batch: tuple[Array, Array, Array]) -> tuple[Array, None]:
            index, labels, counts = batch
            return values - learning_rate * jax.grad(loss)(values, jnp.moveaxis(index, 1, 0), labels, counts), None

        def one_pass(values: Array, _: None) -> tuple[Array, None]:
            return jax.lax.scan(step, values, (at, y, real))[0], None

        values, _ = jax.lax.scan(one_pass, state.values, None, length=num_passes)
        fetched = jnp.where(counts[None, :, None], index, num_keys).reshape(heads, -1)
        used = jax.vmap(lambda used, at: used.at[at].set(True, mode="drop"))(state.used, fetched)
        seen = state.seen | jnp.any(counts[:, None] & (labels[:, None] == jnp.arange(num_classes)), axis=0)
        return BottleneckState(values, used, seen)

    def predict(head: BottleneckState, x: Array) -> Array:
        found = head.used if used_only else None
        logits = kv_bottleneck_logits(x, projection, keys, head.values, k=k, key_where=found)
        return jnp.where(head.seen, logits, -jnp.inf)

    return Learner(init=init, update=update, solve=lambda state: state, predict=predict)
