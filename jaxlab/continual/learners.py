"""Learners on additive statistics: whatever the order of the stream, the result is that of joint training."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.analytic import (
    ClassStats,
    GramState,
    Head,
    RandomFeatures,
    RLSState,
    calibrate_prototypes,
    class_balanced_ridge,
    class_stats_forget,
    class_stats_init,
    class_stats_means,
    class_stats_merge,
    class_stats_update,
    gram_forget,
    gram_init,
    gram_merge,
    gram_solve,
    gram_update,
    head_logits,
    prototype_logits,
    random_features,
    random_features_init,
    rls_init,
    rls_update,
)
from jaxlab.continual.stream import Learner
from jaxlab.typing import Array, ArrayLike, DTypeLike, PyTree

__all__ = [
    "AnalyticHead",
    "AnalyticState",
    "MahalanobisState",
    "PrototypeHead",
    "analytic_class_incremental",
    "class_stats_learner",
    "mahalanobis_add_class",
    "nearest_class_mean",
    "teen",
]


class PrototypeHead(NamedTuple):
    """One vector per class [C, D], and which classes exist, bool [C]."""

    prototypes: Array
    seen: Array


class AnalyticState(NamedTuple):
    """A random expansion drawn once, the statistics of the expanded rows, and rows per class."""

    features: RandomFeatures
    statistics: GramState | RLSState | ClassStats
    count: Array  # type: ignore[assignment]  # int32 [C]


class AnalyticHead(NamedTuple):
    """A random expansion and the linear head on it."""

    features: RandomFeatures
    head: Head


def class_stats_learner(
    head: Callable[[ClassStats], Any],
    *,
    num_classes: int,
    dim: int,
    second: str | Sequence[str] = "none",
    predict: Callable[[Any, Array], Array] = head_logits,
) -> Learner:
    """The learner of any head that is read off class statistics.

    ``class_stats_learner(partial(lda, shrinkage="ks"), second="shared", ...)`` is a streaming Gaussian classifier;
    merging the states of clients is federated learning, and forgetting is exact.

    Args:
      head: from ClassStats to a head, such as ``analytic.nearest_mean``, ``lda`` or ``naive_bayes``.
      num_classes: C, static.
      dim: D, static.
      second: the second moments that the head needs, as in ``analytic.class_stats_init``.
      predict: from (head, x) to logits.
    Returns:
      Learner with merge and forget.
    Raises:
      ValueError: sizes below 1 or an unknown moment.

    >>> from jaxlab import analytic
    >>> learner = class_stats_learner(analytic.nearest_mean, num_classes=2, dim=1)
    >>> state = learner.update(learner.init(jax.random.key(0)), jnp.array([[0.0], [4.0]]), jnp.array([0, 1]))
    >>> print(jnp.argmax(learner.predict(learner.solve(state), jnp.array([[1.0]])), axis=-1))
    [0]

    Reference: the merge is the server of Hendryx et al., "Federated Reconnaissance: Efficient, Distributed,
    Class-Incremental Learning" (2021), recalled; the heads name theirs.
    """
    start = partial(class_stats_init, num_classes, dim, second=second)
    jax.eval_shape(start)  # bad arguments are reported here, not at the first update
    return Learner(
        init=lambda key: start(),
        update=class_stats_update,
        solve=head,
        predict=predict,
        merge=class_stats_merge,
        forget=class_stats_forget,
    )


def nearest_class_mean(num_classes: int, dim: int, *, metric: str = "euclidean") -> Learner:
    r"""Nearest class mean over a stream.

    .. math:: \arg\min_c \operatorname{dist}(x, \mu_c)

    Args:
      num_classes: C, static.
      dim: D, static.
      metric: "euclidean" or "cosine".
    Returns:
      Learner with merge and forget; its logits are those of ``analytic.prototype_logits``.
    Raises:
      ValueError: sizes below 1 or an unknown metric.

    >>> learner = nearest_class_mean(2, 2, metric="cosine")
    >>> state = learner.update(learner.init(jax.random.key(0)), 3 * jnp.eye(2), jnp.array([0, 1]))
    >>> print(learner.predict(learner.solve(state), jnp.array([[2.0, 0.0]])))
    [[1. 0.]]

    Reference: Janson et al., "A Simple Baseline that Questions the Use of Pretrained-Models in Continual Learning"
    (2022), recalled; the cosine form is a class-incremental toolbox's, checked.
    """
    checks.one_of(metric, "metric", ("euclidean", "cosine"))
    return class_stats_learner(
        lambda stats: PrototypeHead(class_stats_means(stats), stats.count > 0),
        num_classes=num_classes,
        dim=dim,
        predict=lambda head, x: prototype_logits(x, head.prototypes, metric=metric, where=head.seen),
    )


def teen(
    num_classes: int,
    dim: int,
    *,
    base: ArrayLike,
    temperature: float = 16.0,
    shift: float = 0.5,
    scale: float = 16.0,
) -> Learner:
    r"""TEEN: few-shot classes as cosine prototypes, moved towards the base classes they resemble.

    Prototypes of base classes are the unit class means; those of the others go through
    ``analytic.calibrate_prototypes``, at every solve anew from their own means, so nothing is calibrated twice and no
    novel class is mixed into another.

    Args:
      num_classes: C, static.
      dim: D, static.
      base: bool [C], True for the classes of the base session.
      temperature: of the attention over base classes (it multiplies).
      shift: weight of the base mixture, in [0, 1]; 0 is the cosine nearest mean.
      scale: multiplies the cosine.
    Returns:
      Learner with merge and forget.
    Raises:
      ValueError: sizes below 1, base is not [C], or a shift outside [0, 1].
      TypeError: base is not boolean.

    >>> learner = teen(2, 2, base=jnp.array([True, False]))
    >>> state = learner.update(learner.init(jax.random.key(0)), 3 * jnp.eye(2), jnp.array([0, 1]))
    >>> print(learner.solve(state).prototypes)
    [[1.  0. ]
     [0.5 0.5]]

    Reference: Wang et al., "Few-Shot Class-Incremental Learning via Training-Free Prototype Calibration" (2023).
    Checked against the authors' code.
    """
    is_base = jnp.asarray(checks.mask(base, "base", (num_classes,)))
    checks.in_range(shift, "shift", 0.0, 1.0)

    def solve(stats: ClassStats) -> PrototypeHead:
        means, seen = class_stats_means(stats), stats.count > 0
        moved = partial(calibrate_prototypes, means, means, temperature=temperature, where=is_base & seen)
        return PrototypeHead(jnp.where(is_base[:, None], moved(shift=0.0), moved(shift=shift)), seen)

    return class_stats_learner(
        solve,
        num_classes=num_classes,
        dim=dim,
        predict=lambda head, x: prototype_logits(x, head.prototypes, metric="cosine", scale=scale, where=head.seen),
    )


def analytic_class_incremental(
    num_classes: int,
    dim: int,
    *,
    width: int,
    ridge: float = 0.1,
    kind: str = "relu",
    centers: ArrayLike | None = None,
    bandwidth: ArrayLike = 10.0,
    form: str = "gram",
    accumulate: str = "plain",
    dtype: DTypeLike | None = None,
) -> Learner:
    r"""G-ACIL: ridge regression on a random expansion, updated class by class or in any mixture of classes.

    .. math:: W = (Z^\top Z + \gamma I)^{-1} Z^\top Y, \quad Z = \operatorname{relu}(X B)

    Incremental equals joint: tasks may share classes, come in any order and from several hosts.

    Args:
      num_classes: C, static.
      dim: D, static.
      width: B, number of random features; the published sizes are 8192 and 16384.
      ridge: gamma > 0, absolute.
      kind: "relu" or "gaussian" (GKEAL), as in ``analytic.random_features_init``.
      centers: float [N, D], rows to draw Gaussian centres from.
      bandwidth: of the Gaussian kernel.
      form: "gram" (default), "recursive" (as published; in float32 only for ridge >= 1; no merge, no forget) or
        "balanced" (every seen class weighs the same; keeps a [B, B] matrix per class).
      accumulate: "plain" or "compensated", for form="gram".
      dtype: of features and statistics: None is float32, float64 (as published) is allowed where it is enabled.
    Returns:
      Learner; its head is an AnalyticHead.
    Raises:
      ValueError: an unknown word, sizes below 1, ridge <= 0, or centers that do not fit ``kind``.

    >>> learner = analytic_class_incremental(2, 1, width=16)
    >>> x, y = jnp.array([[-1.0], [1.0]]), jnp.array([0, 1])
    >>> state = learner.update(learner.init(jax.random.key(0)), x, y)
    >>> print(jnp.argmax(learner.predict(learner.solve(state), x), axis=-1))
    [0 1]

    Reference: Zhuang et al., "G-ACIL: Analytic Learning for Exemplar-Free Generalized Class Incremental Learning"
    (2024). Checked against the authors' code; the paper's split into exposed and unexposed classes is recalled and
    equals this.
    """
    checks.one_of(form, "form", ("gram", "recursive", "balanced"))
    if accumulate != "plain" and form != "gram":
        raise ValueError(f'accumulate={accumulate!r} is for form="gram", got form={form!r}')
    checks.positive(ridge, "ridge")

    def init(key: Array) -> AnalyticState:
        features = random_features_init(
            key, dim, width=width, kind=kind, centers=centers, bandwidth=bandwidth, dtype=dtype
        )
        statistics: GramState | RLSState | ClassStats
        if form == "gram":
            statistics = gram_init(width, num_classes, accumulate=accumulate, dtype=dtype)
        elif form == "recursive":
            statistics = rls_init(width, num_classes, ridge=ridge, dtype=dtype)
        else:
            statistics = class_stats_init(num_classes, width, second="full", dtype=dtype)
        return AnalyticState(features, statistics, jnp.zeros(num_classes, jnp.int32))

    def update(state: AnalyticState, x: Array, labels: Array, *, where: Array | None = None) -> AnalyticState:
        x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
        labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
        checks.batch_match(x, "x", labels, "labels")
        known = (labels >= 0) & (labels < num_classes)
        counts = known if where is None else known & jnp.asarray(checks.mask(where, "where", labels.shape))
        rows = random_features(state.features, jnp.where(counts[:, None], x, 0))
        one_hot = jax.nn.one_hot(labels, num_classes, dtype=rows.dtype)
        statistics = state.statistics
        if isinstance(statistics, GramState):
            statistics = gram_update(statistics, rows, one_hot, where=counts)
        elif isinstance(statistics, RLSState):
            statistics = rls_update(statistics, rows, one_hot, where=counts)
        else:
            statistics = class_stats_update(statistics, rows, labels, where=counts)
        new = jnp.sum((labels[:, None] == jnp.arange(num_classes)) & counts[:, None], axis=0, dtype=jnp.int32)
        return AnalyticState(state.features, statistics, state.count + new)

    def solve(state: AnalyticState) -> AnalyticHead:
        statistics = state.statistics
        if isinstance(statistics, GramState):
            weight = gram_solve(statistics, ridge=ridge)
        elif isinstance(statistics, RLSState):
            weight = statistics.weight
        else:
            weight = class_balanced_ridge(statistics, ridge=ridge)
        return AnalyticHead(state.features, Head(weight, jnp.where(state.count > 0, 0.0, -jnp.inf)))

    def combine(operation: Callable[..., PyTree], sign: int) -> Callable[[AnalyticState, AnalyticState], AnalyticState]:
        return lambda a, b: AnalyticState(a.features, operation(a.statistics, b.statistics), a.count + sign * b.count)

    merge, forget = None, None
    if form != "recursive":
        merge = combine(gram_merge if form == "gram" else class_stats_merge, 1)
        forget = combine(gram_forget if form == "gram" else class_stats_forget, -1)
    jax.eval_shape(init, jax.random.key(0))  # bad arguments are reported here, not at the first update
    return Learner(
        init=init,
        update=update,
        solve=solve,
        predict=lambda head, x: head_logits(head.head, random_features(head.features, x)),
        merge=merge,
        forget=forget,
    )


class MahalanobisState(NamedTuple):
    """Class means [C, D], one covariance [D, D], and which classes exist, bool [C]."""

    mean: Array
    covariance: Array
    seen: Array


def mahalanobis_add_class(
    state: MahalanobisState, label: ArrayLike, mean: ArrayLike, covariance: ArrayLike
) -> MahalanobisState:
    r"""Adds one class to a Mahalanobis classifier whose covariance averages over CLASSES, not over rows.

    .. math:: \Sigma \leftarrow \frac{C}{C + 1} \Sigma + \frac{1}{C + 1} \Sigma', \quad C = \text{classes so far}

    With equal counts it is the tied covariance that ``analytic.mahalanobis`` reads off class statistics; with unequal
    counts a rare class weighs as much as a frequent one.

    Args:
      state: means, covariance and seen classes so far (all zero and False at the start).
      label: int scalar in [0, C), the new class; a class that exists already, or one outside, changes nothing.
      mean: float [D], its mean.
      covariance: float [D, D], its covariance.
    Returns:
      MahalanobisState.
    Raises:
      ValueError: shapes do not agree.
      TypeError: label is not an integer, mean or covariance not floating point.

    >>> state = MahalanobisState(jnp.zeros((2, 1)), jnp.zeros((1, 1)), jnp.zeros(2, bool))
    >>> state = mahalanobis_add_class(state, 0, jnp.array([1.0]), jnp.array([[2.0]]))
    >>> print(mahalanobis_add_class(state, 1, jnp.array([5.0]), jnp.array([[4.0]])).covariance)
    [[3.]]

    Reference: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
    Attacks" (2018), its class-incremental use; recalled.
    """
    label = checks.rank(checks.integer(label, "label"), "label", 0)
    mean, covariance = checks.floating(mean, "mean"), checks.floating(covariance, "covariance")
    num_classes, dim = state.mean.shape
    if mean.shape != (dim,) or covariance.shape != (dim, dim):
        raise ValueError(
            f"mean and covariance must have shapes [{dim}] and [{dim}, {dim}], "
            f"got {list(mean.shape)} and {list(covariance.shape)}"
        )
    row = jnp.arange(num_classes) == label
    is_new = jnp.any(row & ~state.seen)
    share = 1.0 / (jnp.sum(state.seen) + 1).astype(state.covariance.dtype)
    mixed = (1.0 - share) * state.covariance + share * covariance
    return MahalanobisState(
        mean=jnp.where((row & is_new)[:, None], mean, state.mean),
        covariance=jnp.where(is_new, mixed, state.covariance),
        seen=state.seen | row,
    )
