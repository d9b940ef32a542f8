"""Many methods at once: who is beaten by nobody. And one learner along its examples: how far it has come."""

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["algoperf_score", "learning_improvement", "order_estimate_error", "pareto_front", "performance_profile"]


def pareto_front(cost: ArrayLike, score: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Which of several points no other one beats in both cost (smaller) and score (larger).

    .. math:: i \text{ is out} \iff \exists j:\; c_j \le c_i,\; s_j \ge s_i,\; (c_j, s_j) \ne (c_i, s_i)

    Only the order of costs and of scores matters: the front is the same after any increasing map of either.

    Args:
      cost: float [M], smaller is better.
      score: float [M], larger is better.
      where: bool [M], True where a point counts.
    Returns:
      bool [M], True on the front; of equal points all or none are. A point with a NaN is never on it and beats nobody.
    Raises:
      ValueError: cost, score and where are not all [M].
      TypeError: cost or score is not floating point.

    >>> print(pareto_front(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.4, 0.9])))
    [ True False  True]

    Reference: the accuracy-compute plane of Bornschein et al., "NEVIS'22: A Stream of 100 Tasks Sampled from 30 Years
    of Computer Vision Research" (2023), standard.
    """
    cost = checks.rank(checks.floating(cost, "cost"), "cost", 1, layout="[M]")
    score = checks.floating(score, "score")
    checks.same_shape(cost, "cost", score, "score")
    mask = checks.mask(where, "where", cost.shape)
    real = ~jnp.isnan(cost) & ~jnp.isnan(score)
    real = real if mask is None else real & mask
    no_worse = (cost[:, None] <= cost) & (score[:, None] >= score)
    better = (cost[:, None] < cost) | (score[:, None] > score)
    return real & ~jnp.any(no_worse & better & real[:, None], axis=0)


def learning_improvement(correct: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""How much better a learner is at the end of a sequence than at its start (larger is better).

    .. math:: \frac1B \sum_b (c_{b, T} - c_{b, 1})

    A model that has memorised its tasks is good at the first position already; one that learns in context is not.

    Args:
      correct: float or bool [B, T], whether (or how probably) each of T predictions in a sequence was right.
      where: bool [B], True where a sequence counts.
    Returns:
      float32 or wider [], 0 if nothing counts.
    Raises:
      ValueError: correct is not [B, T] with T >= 1, or where is not [B].
      TypeError: where is not boolean.

    >>> print(learning_improvement(jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])))
    0.5

    Reference: Kirsch et al., "General-Purpose In-Context Learning by Meta-Learning Transformers" (2022), recalled.
    """
    correct = checks.rank(correct, "correct", 2, layout="[B, T]")
    checks.size(correct.shape[1], "the length T of correct")
    rows = correct.astype(jnp.promote_types(correct.dtype, jnp.float32))
    return masked_mean(rows[:, -1] - rows[:, 0], checks.mask(where, "where", correct.shape[:1]))


def order_estimate_error(estimate: PyTree, truth: PyTree, base: PyTree) -> Array:
    r"""How far an estimate of changed parameters is off, relative to the change itself (0 is exact, 1 is no use).

    .. math:: \|\hat\theta - \theta\| / \|\theta_0 - \theta\|

    Args:
      estimate: pytree of floats.
      truth: pytree of the same structure and shapes.
      base: likewise, what one would have without an estimate: the parameters before the change.
    Returns:
      float32 or wider scalar >= 0; NaN where truth and base are equal.
    Raises:
      ValueError: the trees or their shapes differ.

    >>> print(order_estimate_error(jnp.array([1.5]), jnp.array([2.0]), jnp.array([1.0])))
    0.5

    Reference: "Estimating the Effects of Sample Training Orders for Large Language Models without Retraining" (2025).
    Inferred.
    """
    trees = {"estimate": estimate, "truth": truth, "base": base}
    shapes = {name: jax.tree.map(jnp.shape, tree) for name, tree in trees.items()}
    for name, shape in shapes.items():
        if shape != shapes["truth"]:
            raise ValueError(f"{name} must have the structure and shapes of truth, got {shape} and {shapes['truth']}")

    def length(a: PyTree, b: PyTree) -> Array:
        wide = jax.tree.map(lambda x: jnp.asarray(x).astype(accumulation_dtype(jnp.asarray(x))), (a, b))
        return optax.tree.norm(optax.tree.sub(*wide))

    change = length(base, truth)
    return jnp.where(change > 0, length(estimate, truth) / jnp.where(change > 0, change, 1.0), jnp.nan)


def performance_profile(times: ArrayLike, taus: ArrayLike) -> Array:
    r"""On what share of the workloads each method is at most tau times slower than the fastest (larger is better).

    .. math:: \rho_s(\tau) = \frac1W \, |\{w : t_{s,w} \le \tau \min_{s'} t_{s',w}\}|

    Args:
      times: float [A, W], time > 0 of method a to reach the target of workload w; inf (or NaN) if it never does.
      taus: float [T], >= 1.
    Returns:
      float32 or wider [A, T], rising in tau. A workload that nobody reaches counts for nobody.
    Raises:
      ValueError: times is not [A, W] with A, W >= 1, or taus is not [T].
      TypeError: times or taus is not floating point.

    >>> times = jnp.array([[10.0, 30.0], [20.0, 10.0], [jnp.inf, 10.0]])
    >>> print(performance_profile(times, jnp.array([1.0, 2.0, 3.0])))
    [[0.5 0.5 1. ]
     [0.5 1.  1. ]
     [0.5 0.5 0.5]]

    Reference: Dolan and More, "Benchmarking optimization software with performance profiles" (2002), as in Kasimbeg et
    al., "How far away are truly hyperparameter-free learning algorithms?" (2025), recalled.
    """
    ratio = _slowdown(times)
    taus = checks.rank(checks.floating(taus, "taus"), "taus", 1, layout="[T]")
    return jnp.mean(ratio[:, None, :] <= taus.astype(ratio.dtype)[:, None], axis=-1, dtype=ratio.dtype)


def algoperf_score(times: ArrayLike, *, tau_max: ArrayLike = 4.0) -> Array:
    r"""Area under the performance profile of each method: its score over many workloads (larger is better).

    .. math:: \frac{1}{\tau_m - 1} \int_1^{\tau_m} \rho_s(\tau)\, d\tau
              = \frac1W \sum_w \max\Big(0, \frac{\tau_m - t_{s,w} / \min_{s'} t_{s',w}}{\tau_m - 1}\Big)

    The integral is exact, as the profile is a step function. The score of a method depends on the other ones: a faster
    rival lowers it.

    Args:
      times: float [A, W], as in ``performance_profile``.
      tau_max: > 1, beyond which a method counts as if it never arrived.
    Returns:
      float32 or wider [A], in [0, 1]: 1 for the fastest on every workload.
    Raises:
      ValueError: times is not [A, W] with A, W >= 1, or a static tau_max <= 1.
      TypeError: times is not floating point.

    >>> print(algoperf_score(jnp.array([[10.0, 30.0], [20.0, 10.0]]), tau_max=5.0))
    [0.75  0.875]

    Reference: the score of the AlgoPerf benchmark in Kasimbeg et al., "How far away are truly hyperparameter-free
    learning algorithms?" (2025), recalled.
    """
    if checks.is_static(tau_max) and not tau_max > 1:
        raise ValueError(f"tau_max must be above 1, got {tau_max!r}")
    ratio = _slowdown(times)
    last = jnp.asarray(tau_max, ratio.dtype)
    return jnp.mean(jnp.maximum(0.0, (last - jnp.minimum(ratio, last)) / (last - 1.0)), axis=-1)


def _slowdown(times: ArrayLike) -> Array:
    """Time over that of the fastest, >= 1, in [A, W]; inf where the target is not reached."""
    times = checks.rank(checks.floating(times, "times"), "times", 2, layout="[A, W]")
    if 0 in times.shape:
        raise ValueError(f"times must have shape [A, W] with A, W >= 1, got {list(times.shape)}")
    wide = times.astype(accumulation_dtype(times))
    reached = jnp.isfinite(wide)
    best = jnp.min(jnp.where(reached, wide, jnp.inf), axis=0)
    ratio = jnp.where(reached, wide, 1.0) / jnp.where(jnp.isfinite(best), best, 1.0)
    return jnp.where(reached, ratio, jnp.inf)
