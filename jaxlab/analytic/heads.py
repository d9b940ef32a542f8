"""Classifiers read off class statistics: every one is a few small solves away from the same state.

All linear heads are ``Head(weight, bias)`` with logits x @ weight + bias; a class that has no rows has bias -inf, so it
is never predicted and takes no probability.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from jaxlab import checks
from jaxlab.analytic.statistics import (
    ClassStats,
    centered_means,
    class_stats_variance,
    second_moment,
    within_scatter,
)
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics import solve_spd
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "Head",
    "head_logits",
    "ks_precision",
    "lda",
    "logistic_regression",
    "mahalanobis",
    "naive_bayes",
    "nearest_mean",
]


class Head(NamedTuple):
    """A linear classifier: logits = x @ weight + bias."""

    weight: Array  # [D, C]
    bias: Array  # [C]; -inf for a class that was never seen


def head_logits(head: Head, x: ArrayLike) -> Array:
    """Logits of a linear head.

    Args:
      head: weight [D, C] and bias [C].
      x: float [..., D].
    Returns:
      float32 or wider [..., C]; -inf where the bias is.
    Raises:
      ValueError: the last axis of x is not D.
      TypeError: x is not floating point.

    >>> print(head_logits(Head(jnp.eye(2), jnp.array([0.0, -jnp.inf])), jnp.array([1.0, 2.0])))
    [  1. -inf]

    Reference: standard.
    """
    x = checks.floating(x, "x")
    if x.ndim < 1 or x.shape[-1] != head.weight.shape[0]:
        raise ValueError(f"x must have shape [..., {head.weight.shape[0]}] to match the head, got {list(x.shape)}")
    with jax.default_matmul_precision("highest"):
        return x.astype(accumulation_dtype(x)) @ head.weight + head.bias


def _log_prior(stats: ClassStats, prior: str | ArrayLike) -> Array:
    dtype = stats.sum.dtype
    seen = stats.count > 0
    if isinstance(prior, str):
        checks.one_of(prior, "prior", ("uniform", "empirical"))
        weight = seen.astype(dtype) if prior == "uniform" else stats.count.astype(dtype)
        log_prior = jnp.log(jnp.where(seen, weight, 1.0)) - jnp.log(jnp.maximum(jnp.sum(weight), 1.0))
    else:
        log_prior = checks.floating(prior, "prior").astype(dtype)
        if log_prior.shape != stats.count.shape:
            raise ValueError(f"prior must hold log-probabilities [{stats.count.shape[0]}], got {list(log_prior.shape)}")
    return jnp.where(seen, log_prior, -jnp.inf)


def _unshifted(weight: Array, offset: Array, shift: Array) -> Head:
    """The head on x of a head on z = x - shift."""
    with jax.default_matmul_precision("highest"):
        return Head(weight, offset - shift @ weight)


def nearest_mean(stats: ClassStats) -> Head:
    r"""Nearest class mean in Euclidean distance, as a linear head.

    .. math:: \arg\min_c \|x - \mu_c\| = \arg\max_c\; x^\top \mu_c - \tfrac12 \|\mu_c\|^2

    (Means are taken relative to the shift, which leaves the decision and keeps the digits.) The cosine form is
    ``prototype_logits(x, class_stats_means(stats), metric="cosine", where=stats.count > 0)``.

    Args:
      stats: class statistics, no second moments needed.
    Returns:
      Head in the dtype of the state; -inf for unseen classes.

    >>> from jaxlab.analytic import class_stats_init, class_stats_update
    >>> stats = class_stats_update(class_stats_init(2, 1), jnp.array([[0.0], [4.0]]), jnp.array([0, 1]))
    >>> print(jnp.argmax(head_logits(nearest_mean(stats), jnp.array([[1.0], [3.0]])), axis=-1))
    [0 1]

    Reference: Janson et al., "A Simple Baseline that Questions the Use of Pretrained-Models in Continual Learning"
    (2022). Recalled; Euclidean distance as the paper's default is inferred.
    """
    means = centered_means(stats)
    bias = jnp.where(stats.count > 0, -0.5 * jnp.sum(means**2, axis=1), -jnp.inf)
    return _unshifted(means.T, bias, stats.shift)


def ks_precision(scatter: ArrayLike, count: ArrayLike) -> Array:
    r"""Kubokawa-Srivastava estimate of a precision matrix, well conditioned with fewer rows than dimensions.

    .. math:: P = D \Big( S + \frac{\operatorname{tr} S}{N - 1} I \Big)^{-1}, \quad S = \sum_i z_i z_i^\top

    Args:
      scatter: float [D, D], S of centred rows (not divided by anything).
      count: N, number of rows; an int or a scalar array, read as at least 2.
    Returns:
      float32 or wider [D, D]; the identity where the scatter is zero (one example per class), which makes a
      discriminant the nearest mean.
    Raises:
      ValueError: scatter is not a square matrix.
      TypeError: scatter is not floating point.

    >>> print(jnp.round(ks_precision(jnp.diag(jnp.array([2.0, 6.0])), 3), 3))
    [[0.333 0.   ]
     [0.    0.2  ]]

    Reference: Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation" (2024), whose code takes
    the pseudo-inverse of the same full-rank matrix. Checked against the authors' code.
    """
    scatter = checks.rank(checks.floating(scatter, "scatter"), "scatter", 2, layout="[D, D]")
    scatter = scatter.astype(accumulation_dtype(scatter))
    dim = scatter.shape[0]
    trace = jnp.trace(scatter)
    rows = jnp.maximum(jnp.asarray(count), 2) - 1
    level = jnp.where(trace > 0, trace / rows.astype(scatter.dtype), jnp.asarray(dim, scatter.dtype))
    return dim * solve_spd(scatter, jnp.eye(dim, dtype=scatter.dtype), ridge=level)


def lda(
    stats: ClassStats,
    *,
    shrinkage: str = "ridge",
    ridge: ArrayLike = 1e-4,
    prior: str | ArrayLike = "uniform",
) -> Head:
    r"""Gaussian discriminant analysis with one covariance for all classes.

    .. math:: w_c = P \mu_c, \quad b_c = \log \pi_c - \tfrac12 \mu_c^\top P \mu_c

    with S the scatter about the class means, N rows and, by ``shrinkage``,

    - "ridge": P = (S / N + ridge I)^-1
    - "ks": P = D (S + tr(S) / (N - 1) I)^-1, for few examples in many dimensions (``ks_precision``)
    - "diag": P = (diag(S) / N + ridge)^-1, the only one that does without "shared" or "full" moments

    Args:
      stats: class statistics with "shared" or "full" ("diag" is enough for shrinkage="diag").
      shrinkage: one of the above, static.
      ridge: added to the covariance, >= 0, unused by "ks"; a float or a scalar array.
      prior: "uniform" over seen classes, "empirical", or log-probabilities float [C].
    Returns:
      Head in the dtype of the state; -inf for unseen classes. NaN where the covariance is singular and ridge is 0.
    Raises:
      ValueError: the statistics lack the moments, an unknown word, a static ridge < 0, or a prior of another shape.

    >>> from jaxlab.analytic import class_stats_init, class_stats_update
    >>> stats = class_stats_init(2, 1, second="shared")
    >>> stats = class_stats_update(stats, jnp.array([[-1.0], [1.0], [3.0], [5.0]]), jnp.array([0, 0, 1, 1]))
    >>> print(lda(stats, ridge=0.0).weight)
    [[0. 4.]]

    Reference: "ridge" is scikit-learn's LinearDiscriminantAnalysis(solver="lsqr"), and the covariance of Lee et al., "A
    Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks" (2018); "ks" is Wang et
    al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation" (2024). Checked against the authors' code.
    """
    checks.one_of(shrinkage, "shrinkage", ("ridge", "ks", "diag"))
    checks.at_least(ridge, "ridge", 0.0)
    log_prior = _log_prior(stats, prior)
    means = centered_means(stats)
    if shrinkage == "diag":
        weight = means / (_tied_variance(stats) + ridge)
    elif shrinkage == "ks":
        # With one row per class (or copies of one) the scatter is zero, but its rounding is not.
        scatter = within_scatter(stats)
        rounding = 16 * jnp.finfo(scatter.dtype).eps * jnp.trace(second_moment(stats))
        scatter = jnp.where(jnp.trace(scatter) > rounding, scatter, 0.0)
        with jax.default_matmul_precision("highest"):
            weight = means @ ks_precision(scatter, jnp.sum(stats.count))
    else:
        weight = solve_spd(_tied_covariance(stats), means.T, ridge=ridge).T
    bias = log_prior - 0.5 * jnp.sum(weight * means, axis=1)
    return _unshifted(weight.T, bias, stats.shift)


def _total(stats: ClassStats) -> Array:
    return jnp.maximum(jnp.sum(stats.count), 1).astype(stats.sum.dtype)


def _tied_covariance(stats: ClassStats) -> Array:
    return within_scatter(stats) / _total(stats)


def _tied_variance(stats: ClassStats) -> Array:
    """Within-class variance of every feature, averaged over rows [D]."""
    if stats.diag is None and stats.full is None and stats.shared is not None:
        return jnp.maximum(jnp.diagonal(_tied_covariance(stats)), 0.0)
    share = stats.count.astype(stats.sum.dtype) / _total(stats)
    return share @ class_stats_variance(stats)


def naive_bayes(stats: ClassStats, *, eps: ArrayLike = 1e-9, prior: str | ArrayLike = "empirical") -> Head:
    r"""Multiclass naive Bayes with one diagonal variance for all classes: linear in x.

    .. math:: \log \pi_c - \tfrac12 \sum_j \frac{(x_j - \mu_{cj})^2}{v_j},
              \quad v_j = \sum_c \pi_c (\operatorname{var}_{cj} + \varepsilon)

    (The term that no class changes is dropped.) scikit-learn's GaussianNB keeps a variance per class instead.

    Args:
      stats: class statistics with "diag", "shared" or "full".
      eps: variance floor, >= 0; on features that are often constant 1e-2 does better than the published 1e-9. A feature
        that is constant but not zero cancels at x^2 / eps: give the statistics a ``shift`` near the data.
      prior: "empirical", "uniform" over seen classes, or log-probabilities float [C].
    Returns:
      Head in the dtype of the state; -inf for unseen classes.
    Raises:
      ValueError: the statistics keep no second moments, a static eps < 0, or a prior of another shape.

    >>> from jaxlab.analytic import class_stats_init, class_stats_update
    >>> stats = class_stats_init(2, 1, second="diag")
    >>> stats = class_stats_update(stats, jnp.array([[-1.0], [1.0], [3.0], [5.0]]), jnp.array([0, 0, 1, 1]))
    >>> print(naive_bayes(stats).weight)
    [[0. 4.]]

    Reference: Zheng et al., "Revisiting Discriminative vs. Generative Classifiers: Theory and Implications" (2023).
    Checked against the authors' code.
    """
    return lda(stats, shrinkage="diag", ridge=checks.at_least(eps, "eps", 0.0), prior=prior)


def mahalanobis(stats: ClassStats, x: ArrayLike, *, ridge: ArrayLike = 1e-4) -> Array:
    r"""Class scores by Mahalanobis distance with the tied covariance (larger = nearer).

    .. math:: M_c(x) = -\tfrac12 (x - \mu_c)^\top (\Sigma + \rho I)^{-1} (x - \mu_c)

    Args:
      stats: class statistics with "shared" or "full".
      x: float [..., D].
      ridge: added to the covariance (divisor N), >= 0; features that are always zero need it.
    Returns:
      float32 or wider [..., C], <= 0, and 0 at a class mean; -inf for unseen classes.
    Raises:
      ValueError: the statistics lack the moments, x has another width, or a static ridge < 0.
      TypeError: x is not floating point.

    >>> from jaxlab.analytic import class_stats_init, class_stats_update
    >>> stats = class_stats_init(1, 1, second="shared")
    >>> stats = class_stats_update(stats, jnp.array([[-1.0], [1.0]]))
    >>> print(mahalanobis(stats, jnp.array([2.0]), ridge=0.0))
    [-2.]

    Reference: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
    Attacks" (2018). Checked against the authors' code, whose factor 1/2 the paper leaves out.
    """
    x = checks.floating(x, "x")
    dim = stats.shift.shape[0]
    if x.ndim < 1 or x.shape[-1] != dim:
        raise ValueError(f"x must have shape [..., {dim}] to match the statistics, got {list(x.shape)}")
    checks.at_least(ridge, "ridge", 0.0)
    covariance = _tied_covariance(stats)
    factor = jnp.linalg.cholesky(
        covariance + jnp.asarray(ridge, covariance.dtype) * jnp.eye(dim, dtype=covariance.dtype)
    )
    rows = x.astype(accumulation_dtype(x, covariance)).reshape(-1, dim) - stats.shift
    whiten = lambda z: jsl.solve_triangular(factor, z.T, lower=True).T  # noqa: E731
    scores = -0.5 * pairwise_sq_dists(whiten(rows), whiten(centered_means(stats)))
    return jnp.where(stats.count > 0, scores, -jnp.inf).reshape(*x.shape[:-1], stats.count.shape[0])


def logistic_regression(
    x: ArrayLike,
    targets: ArrayLike,
    *,
    ridge: ArrayLike = 1.0,
    num_iters: int = 20,
    where: ArrayLike | None = None,
) -> Head:
    r"""Binary or multiclass logistic regression by Newton's method with a fixed number of steps.

    .. math:: \min_{W, b} \sum_i -\sum_c y_{ic} \log \operatorname{softmax}(x_i W + b)_c + \tfrac{\rho}{2} \|W\|^2

    The intercept is not penalised. A step that would raise the objective is halved (up to ten times).

    Args:
      x: float [N, D].
      targets: float [N, C], C >= 2, probabilities (one-hot labels) that sum to 1; for the binary case use C = 2.
      ridge: rho > 0, scikit-learn's 1 / C; a float or a scalar array.
      num_iters: Newton steps, static; 20 are ample. Each solves a system of (D + 1) C unknowns.
      where: bool [N], True where a row counts.
    Returns:
      Head, float32 or wider; W is centred over classes (its columns sum to zero), as the penalty asks.
    Raises:
      ValueError: shapes do not agree, C < 2, or a static ridge <= 0.
      TypeError: x or targets are not floating point.

    >>> x, y = jnp.array([[-1.0], [1.0]]), jnp.eye(2)
    >>> print(jnp.round(logistic_regression(x, y, ridge=1.0).weight, 3))
    [[-0.521  0.521]]

    Reference: standard; equal to scikit-learn's LogisticRegression(C=1 / ridge) for three classes or more, and to
    C = 2 / ridge for two, where scikit-learn keeps one weight vector for both.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    targets = checks.rank(checks.floating(targets, "targets"), "targets", 2, layout="[N, C]")
    checks.batch_match(x, "x", targets, "targets")
    checks.at_least(targets.shape[1], "the number of classes C in targets", 2)
    checks.positive(ridge, "ridge")
    mask = checks.mask(where, "where", x.shape[:1])
    mask = jnp.ones(x.shape[0], bool) if mask is None else mask
    dtype = accumulation_dtype(x, targets)
    rows = jnp.where(mask[:, None], x.astype(dtype), 0.0)
    design = jnp.concatenate([rows, mask[:, None].astype(dtype)], axis=1)
    goal = jnp.where(mask[:, None], targets.astype(dtype), 0.0)
    penalty = jnp.asarray(ridge, dtype) * jnp.ones(design.shape[1], dtype).at[-1].set(0.0)
    with jax.default_matmul_precision("highest"):
        w = _newton(design, goal, mask, penalty, num_iters=num_iters)
    return Head(w[:-1], w[-1])


@functools.partial(jax.jit, static_argnames="num_iters")
def _newton(design: Array, goal: Array, mask: Array, penalty: Array, *, num_iters: int) -> Array:
    """Minimises the penalised multinomial loss; the last row of the weight [D + 1, C] is the intercept."""
    (size, num_classes), dtype = (design.shape[1], goal.shape[1]), design.dtype

    def objective(w: Array) -> Array:
        loss = -jnp.sum(goal * jax.nn.log_softmax(design @ w))
        return loss + 0.5 * jnp.sum(penalty[:, None] * w**2)

    def step(w: Array, _: None) -> tuple[Array, None]:
        probs = jax.nn.softmax(design @ w) * mask[:, None]
        gradient = design.T @ (probs - goal) + penalty[:, None] * w
        # Hessian blocks (c, k): X' diag(p_c [c = k] - p_c p_k) X. The softmax does not see a shift common to all
        # classes, so the intercepts' shared direction gets the unit curvature that the objective does not give it.
        curvature = probs[:, :, None] * jnp.eye(num_classes, dtype=dtype) - probs[:, :, None] * probs[:, None, :]
        hessian = jnp.einsum("nd,nck,ne->dcek", design, curvature, design)
        hessian = hessian.reshape(size * num_classes, -1) + jnp.diag(jnp.repeat(penalty, num_classes))
        shared = jnp.zeros((size, num_classes), dtype).at[-1].set(1.0).reshape(-1)
        # Relative to the Hessian, so that rows of any scale can be factored in float32; what cannot is no step.
        level = 1e-6 * jnp.max(jnp.diagonal(hessian))
        change = solve_spd(hessian + jnp.outer(shared, shared), gradient.reshape(-1), ridge=level).reshape(w.shape)
        change = jnp.where(jnp.all(jnp.isfinite(change)), change, 0.0)
        lengths = 0.5 ** jnp.arange(10, dtype=dtype)
        values = jax.vmap(lambda length: objective(w - length * change))(lengths)
        better = values <= objective(w)
        length = jnp.where(jnp.any(better), lengths[jnp.argmax(better)], 0.0)
        return w - length * change, None

    return jax.lax.scan(step, jnp.zeros((size, num_classes), dtype), length=num_iters)[0]
