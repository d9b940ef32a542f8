"""FeTrIL: the features of new classes, moved to the means of past ones, stand in for the data that is gone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.analytic import (
    ClassStats,
    Head,
    class_stats_init,
    class_stats_means,
    class_stats_merge,
    class_stats_update,
    head_logits,
    prototype_logits,
)
from jaxlab.continual.stream import Learner
from jaxlab.losses import squared_hinge_ovr
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.optim import minimize
from jaxlab.typing import Array, ArrayLike

__all__ = ["FetrilState", "fetril", "fetril_assign", "translate_features"]


class FetrilState(NamedTuple):
    """Counts and means of every class so far, and the head fitted at the last update."""

    stats: ClassStats
    head: Head


class _Rows(NamedTuple):
    """The training rows of one class: the rows of class ``source``, moved from mean to mean; a leading axis [C]."""

    label: Array
    source: Array
    source_mean: Array
    target_mean: Array
    used: Array


def translate_features(features: ArrayLike, source_mean: ArrayLike, target_mean: ArrayLike) -> Array:
    r"""Pseudo-features of a past class: features of a present class, moved from mean to mean.

    .. math:: \tilde f = f - \mu_{source} + \mu_{target}

    Their mean is exactly the target's, their covariance exactly the source's.

    Args:
      features: float [..., D], features of the source class.
      source_mean: float [D], their mean.
      target_mean: float [D], stored mean of the past class.
    Returns:
      The shape of features, in the wider dtype of the three.
    Raises:
      ValueError: widths differ.
      TypeError: an argument is not floating point.

    >>> print(translate_features(jnp.array([[1.0], [3.0]]), jnp.array([2.0]), jnp.array([10.0]))[:, 0])
    [ 9. 11.]

    Reference: Petit et al., "FeTrIL: Feature Translation for Exemplar-Free Class-Incremental Learning" (2023). Checked
    against the authors' code.
    """
    features = checks.floating(features, "features")
    source_mean, target_mean = checks.floating(source_mean, "source_mean"), checks.floating(target_mean, "target_mean")
    checks.same_shape(source_mean, "source_mean", target_mean, "target_mean")
    if features.ndim < 1 or source_mean.shape != features.shape[-1:]:
        raise ValueError(f"features must have shape [..., {source_mean.shape[-1]}], got {list(features.shape)}")
    return features + (target_mean - source_mean)


def fetril_assign(
    past_means: ArrayLike, new_means: ArrayLike, *, similarity: str = "cosine", where: ArrayLike | None = None
) -> Array:
    """For every past class the new class most similar to it, whose features will be translated.

    Args:
      past_means: float [P, D].
      new_means: float [M, D].
      similarity: "cosine" (the paper speaks of the most similar class), or "euclidean" as the authors' feature script
        has it.
      where: bool [M], True where the new class exists; with none, every past class gets 0.
    Returns:
      int32 [P], in [0, M); ties go to the lower index.
    Raises:
      ValueError: widths differ or an unknown similarity.
      TypeError: means are not floating point.

    >>> print(fetril_assign(jnp.array([[0.0, 2.0]]), jnp.eye(2)))
    [1]

    Reference: Petit et al., "FeTrIL: Feature Translation for Exemplar-Free Class-Incremental Learning" (2023). Checked
    against the authors' code and a class-incremental toolbox.
    """
    checks.one_of(similarity, "similarity", ("cosine", "euclidean"))
    checks.rank(past_means, "past_means", 2, layout="[P, D]")
    scores = prototype_logits(past_means, new_means, metric=similarity, where=where)
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def fetril(
    num_classes: int,
    dim: int,
    *,
    classifier: str = "svm",
    cost: float = 1.0,
    weight_decay: float = 5e-4,
    similarity: str = "cosine",
    num_iters: int = 60,
) -> Learner:
    r"""FeTrIL over a stream: at every update a linear classifier is fitted on the new rows and on translated ones.

    Classes in the chunk are new; for every other class p seen before, the chunk's features of the most similar new
    class n(p), moved to p's mean, are its rows. The classifier is, on features x~ of unit length with a constant
    appended,

    .. math:: \min_W \tfrac12 \|W\|^2 + a \sum_i \sum_c \max(0, 1 - s_{ic} \tilde x_i^\top w_c)^2 \quad \text{("svm")}

    or softmax cross entropy on the features as they are, with weight decay ("softmax", the paper's FeTrIL-fc).

    Args:
      num_classes: C, static.
      dim: D, static.
      classifier: "svm" or "softmax".
      cost: a > 0, weight of the errors of the SVM (the authors tune it).
      weight_decay: of the softmax classifier, on the mean loss; > 0.
      similarity: as in ``fetril_assign``.
      num_iters: L-BFGS steps per update, static (the authors use liblinear, and SGD for the softmax).
    Returns:
      Learner without merge and forget: it fits at every update, and its state is means, counts and the current head.
      A new class with one row gives the past classes that copy it no spread.
    Raises:
      ValueError: sizes below 1, an unknown word, or a cost or weight decay <= 0.

    >>> learner = fetril(2, 1, classifier="softmax")
    >>> state = learner.update(learner.init(jax.random.key(0)), jnp.array([[0.0], [1.0]]), jnp.array([0, 0]))
    >>> state = learner.update(state, jnp.array([[5.0], [6.0]]), jnp.array([1, 1]))
    >>> print(jnp.argmax(learner.predict(learner.solve(state), jnp.array([[0.5], [5.5]])), axis=-1))
    [0 1]

    Reference: Petit et al., "FeTrIL: Feature Translation for Exemplar-Free Class-Incremental Learning" (2023). Checked
    against the authors' code, whose trainer leaves its first 512 rows un-normalised; here all are normalised.
    """
    checks.one_of(classifier, "classifier", ("svm", "softmax"))
    checks.one_of(similarity, "similarity", ("cosine", "euclidean"))
    checks.positive(cost, "cost")
    checks.positive(weight_decay, "weight_decay")
    checks.size(num_iters, "num_iters")

    def extend(x: Array) -> Array:
        return jnp.concatenate([normalize(x) if classifier == "svm" else x, jnp.ones_like(x[..., :1])], axis=-1)

    def set_loss(weight: Array, rows: _Rows, x: Array, labels: Array, seen: Array) -> tuple[Array, Array]:
        """Summed loss of one class's rows, real or translated, and how many they are."""
        counts = (labels == rows.source) & rows.used
        logits = extend(translate_features(x, rows.source_mean, rows.target_mean)) @ weight
        wanted = jnp.full(labels.shape, rows.label)
        if classifier == "svm":
            per_row = squared_hinge_ovr(logits, wanted, class_where=seen, where=counts) * jnp.sum(seen)
        else:
            exists = jnp.broadcast_to(seen, logits.shape)
            per_row = optax.losses.softmax_cross_entropy_with_integer_labels(logits, wanted, where=exists)
        return jnp.sum(jnp.where(counts, per_row, 0.0)), jnp.sum(counts)

    def fit(sets: _Rows, x: Array, labels: Array, seen: Array, start: Array) -> Array:
        def objective(weight: Array) -> Array:
            # One class at a time, and again for the gradient: the rows of all classes never exist together.
            one = jax.checkpoint(lambda rows: set_loss(weight, rows, x, labels, seen))
            losses, counts = jax.lax.map(one, sets)
            if classifier == "svm":
                return 0.5 * jnp.sum(weight**2) + cost * jnp.sum(losses)
            return 0.5 * weight_decay * jnp.sum(weight**2) + jnp.sum(losses) / jnp.maximum(jnp.sum(counts), 1)

        return minimize(objective, start, optax.lbfgs(), num_steps=num_iters).params

    def update(state: FetrilState, x: Array, labels: Array, *, where: Array | None = None) -> FetrilState:
        chunk = class_stats_update(class_stats_init(num_classes, dim), x, labels, where=where)
        stats = class_stats_merge(state.stats, chunk)
        seen, is_new = stats.count > 0, chunk.count > 0
        means, chunk_means = class_stats_means(stats), class_stats_means(chunk)
        classes = jnp.arange(num_classes)
        source = jnp.where(is_new, classes, fetril_assign(means, chunk_means, similarity=similarity, where=is_new))
        # A class of the chunk is its own source, and stays where it is: its rows are real.
        target = jnp.where(is_new[:, None], chunk_means, means)
        valid = (labels >= 0) & (labels < num_classes)
        valid = valid if where is None else valid & where
        rows = jnp.where(valid[:, None], jnp.asarray(x, stats.sum.dtype), 0.0)
        sets = _Rows(classes, source, chunk_means[source], target, seen & jnp.any(is_new))
        start = jnp.concatenate(
            [state.head.weight, jnp.where(jnp.isfinite(state.head.bias), state.head.bias, 0.0)[None]]
        )
        with jax.default_matmul_precision("highest"):
            weight = fit(sets, rows, jnp.where(valid, labels, -1), seen, start)
        weight = jnp.where(jnp.any(is_new), weight, start)  # a chunk without rows changes nothing
        return FetrilState(stats, Head(weight[:-1], jnp.where(seen, weight[-1], -jnp.inf)))

    def init(key: Array) -> FetrilState:
        del key
        head = Head(jnp.zeros((dim, num_classes)), jnp.full(num_classes, -jnp.inf, jnp.float32))
        return FetrilState(class_stats_init(num_classes, dim), head)

    def predict(head: Head, x: Array) -> Array:
        x = checks.floating(x, "x")
        x = x.astype(accumulation_dtype(x))
        return head_logits(head, normalize(x) if classifier == "svm" else x)

    jax.eval_shape(init, jax.random.key(0))
    return Learner(
        init=init,
        update=update,
        solve=lambda state: state.head,
        predict=predict,
    )
