"""Summaries of the accuracy matrix of a stream of tasks, and the cost of federating it.

``R[t, i]`` is the accuracy on task i after learning tasks 0 to t. Only entries with i <= t are read, so the upper
triangle may hold anything (the accuracy on unseen tasks, zeros, NaN). Leading axes, such as seeds, are kept.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "StreamSummary",
    "average_accuracy",
    "average_incremental_accuracy",
    "backward_transfer",
    "communication_floats",
    "forgetting",
    "stream_summary",
]


class StreamSummary(NamedTuple):
    """A stream of tasks as one point: mean accuracy over tasks and over examples, and the FLOPs so far after each."""

    task_accuracy: Array
    example_accuracy: Array
    flops: Array  # [T], its last entry is the cost of the stream


def lower_triangle(matrix: ArrayLike, name: str) -> tuple[Array, Array]:
    """The matrix with its unread upper triangle set to 0, and the mask [T, T] of what is read."""
    matrix = checks.floating(matrix, name)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
        raise ValueError(f"{name} must have shape [..., T, T] with T >= 1, got {list(matrix.shape)}")
    lower = jnp.tri(matrix.shape[-1], dtype=bool)
    return jnp.where(lower, matrix.astype(accumulation_dtype(matrix)), 0.0), lower


def average_accuracy(R: ArrayLike) -> Array:
    r"""Mean accuracy over all tasks after the last one (larger is better).

    .. math:: A_T = \frac{1}{T} \sum_{i \le T} R_{T,i}

    Args:
      R: float [..., T, T], accuracy on task i after task t; entries with i > t are not read.
    Returns:
      float32 (wider if R is) [...]; for T = 1 the only entry.
    Raises:
      ValueError: R is not square, or empty.
      TypeError: R is not floating point.

    >>> print(average_accuracy(jnp.array([[1.0, 0.0], [0.5, 0.75]])))
    0.625

    Reference: Smith et al., "A Closer Look at Rehearsal-Free Continual Learning" (2023). Formula checked against the
    authors' code.
    """
    matrix, _ = lower_triangle(R, "R")
    return jnp.mean(matrix[..., -1, :], axis=-1)


def average_incremental_accuracy(R: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Mean over time of the accuracy over the tasks seen so far (larger is better).

    .. math:: \bar A = \frac{1}{T} \sum_{t \le T} A_t,
              \quad A_t = \sum_{i \le t} w_i R_{t,i} \Big/ \sum_{i \le t} w_i

    Weights equal to the number of test examples of each task make :math:`A_t` the plain accuracy over all test
    examples of the classes seen, which is what class-incremental papers report; without weights every task counts the
    same.

    Args:
      R: float [..., T, T], accuracy on task i after task t; entries with i > t are not read.
      weights: [T], >= 0, the first one > 0, or None; a negative weight gives NaN.
    Returns:
      float32 (wider if R is) [...]; for T = 1 the only entry.
    Raises:
      ValueError: R is not square, or empty, or weights do not have shape [T].
      TypeError: R is not floating point.

    >>> R = jnp.array([[1.0, 0.0], [0.5, 0.75]])
    >>> print(average_incremental_accuracy(R), average_incremental_accuracy(R, weights=jnp.array([30, 10])))
    0.8125 0.78125

    Reference: Petit et al., "FeTrIL: Feature Translation for Exemplar-Free Class-Incremental Learning" (2023);
    recalled.
    """
    matrix, lower = lower_triangle(R, "R")
    tasks = matrix.shape[-1]
    if weights is None:
        shares = jnp.ones(tasks, matrix.dtype)
    else:
        shares = jnp.asarray(weights)
        if shares.shape != (tasks,):
            raise ValueError(f"weights must have shape {[tasks]}, one per task, got {list(shares.shape)}")
        shares = jnp.where(shares >= 0, shares, jnp.nan).astype(matrix.dtype)
    shares = jnp.where(lower, shares, 0.0)
    return jnp.mean(jnp.sum(matrix * shares, axis=-1) / jnp.sum(shares, axis=-1), axis=-1)


def forgetting(R: ArrayLike, *, kind: str = "from_best") -> Array:
    r"""How much accuracy on earlier tasks was lost (LARGER IS WORSE; both published definitions).

    .. math:: F_{best} = \frac{1}{T-1} \sum_{i < T} \big( \max_{i \le t \le T} R_{t,i} - R_{T,i} \big),
              \quad F_{step} = \frac{1}{T-1} \sum_{t=2}^{T} \frac{1}{t-1} \sum_{i < t} \big( R_{t-1,i} - R_{t,i} \big)

    "from_best" compares the end with the best moment since the task was learned (the end included, so it is never
    negative). "stepwise" averages the drops from one task to the next: it may be negative, is smaller than the former
    in long streams, and takes tasks to be of equal size.

    Args:
      R: float [..., T, T], accuracy on task i after task t; entries with i > t are not read.
      kind: "from_best" or "stepwise".
    Returns:
      float32 (wider if R is) [...]; 0 for T = 1, where nothing can be forgotten.
    Raises:
      ValueError: R is not square, or empty, or kind is unknown.
      TypeError: R is not floating point.

    >>> R = jnp.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.75, 0.5, 1.0]])
    >>> print(forgetting(R), forgetting(R, kind="stepwise"))
    0.375 0.3125

    Reference: "stepwise" is the metric of Smith et al., "A Closer Look at Rehearsal-Free Continual Learning" (2023),
    checked against the authors' code; "from_best" is the usual one of class-incremental toolboxes, recalled.
    """
    matrix, lower = lower_triangle(R, "R")
    checks.one_of(kind, "kind", ("from_best", "stepwise"))
    tasks = matrix.shape[-1]
    if tasks == 1:
        return jnp.zeros(matrix.shape[:-2], matrix.dtype)
    if kind == "from_best":
        best = jnp.max(jnp.where(lower, matrix, -jnp.inf), axis=-2)
        return jnp.mean((best - matrix[..., -1, :])[..., :-1], axis=-1)
    drops = jnp.where(lower[:-1], matrix[..., :-1, :] - matrix[..., 1:, :], 0.0)
    return jnp.mean(jnp.sum(drops, axis=-1) / jnp.arange(1, tasks), axis=-1)


def backward_transfer(R: ArrayLike) -> Array:
    r"""Mean change of the accuracy on earlier tasks since they were learned (larger is better, negative = forgetting).

    .. math:: B = \frac{1}{T-1} \sum_{i < T} \big( R_{T,i} - R_{i,i} \big)

    Args:
      R: float [..., T, T], accuracy on task i after task t; entries with i > t are not read.
    Returns:
      float32 (wider if R is) [...]; 0 for T = 1, where there is no earlier task.
    Raises:
      ValueError: R is not square, or empty.
      TypeError: R is not floating point.

    >>> print(backward_transfer(jnp.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.75, 0.5, 1.0]])))
    -0.375

    Reference: Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning" (2017); recalled.
    """
    matrix, _ = lower_triangle(R, "R")
    if matrix.shape[-1] == 1:
        return jnp.zeros(matrix.shape[:-2], matrix.dtype)
    learned = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    return jnp.mean((matrix[..., -1, :] - learned)[..., :-1], axis=-1)


def _size(leaf: Any) -> int:
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.number):
        raise TypeError(f"message must hold arrays of numbers only, got {type(leaf).__name__} {leaf!r}")
    return math.prod(leaf.shape)


def communication_floats(message: PyTree) -> int:
    r"""How many numbers a client sends (smaller is cheaper).

    .. math:: \sum_{\text{leaves } a} |a|

    Everything in the tree counts, integers too, so pass exactly what crosses the network: (counts [C], means [C, D])
    is C (D + 1), a whole state of statistics is more. Multiply by the bytes of a number for bytes.

    Args:
      message: pytree of number arrays, or of ``jax.ShapeDtypeStruct`` (as ``jax.eval_shape`` gives it).
    Returns:
      A Python int: the sum of the sizes of all leaves, known from shapes alone.
    Raises:
      TypeError: a leaf is not an array of numbers.

    >>> communication_floats({"counts": jnp.zeros(10, jnp.int32), "means": jnp.zeros((10, 64))})
    650

    Reference: the cost of one client of Hendryx et al., "Federated Reconnaissance: Efficient, Distributed,
    Class-Incremental Learning" (2021); recalled.
    """
    return sum(_size(leaf) for leaf in jax.tree.leaves(message))


def stream_summary(accuracy: ArrayLike, num_examples: ArrayLike, flops: ArrayLike) -> StreamSummary:
    r"""The result of a stream of different tasks: how good (larger is better), and how costly (smaller is better).

    .. math:: A = \frac1T \sum_t a_t, \qquad A_n = \frac{\sum_t n_t a_t}{\sum_t n_t},
              \qquad F_t = \sum_{u \le t} \sum_r f_{ur}

    Args:
      accuracy: float [T], of each task on its own test set when it was learned; mean average precision where an
        example has several labels.
      num_examples: [T], test examples of each task, >= 0.
      flops: float [T], or [T, R] for R training runs per task: every run counts, those of the search for
        hyperparameters and the choice of a source too.
    Returns:
      StreamSummary in float32 or wider; example_accuracy is the accuracy of all test examples in one pool, 0 without
      examples.
    Raises:
      ValueError: shapes do not agree.
      TypeError: accuracy or flops are not floating point.

    >>> summary = stream_summary(jnp.array([1.0, 0.5]), jnp.array([1, 3]), jnp.array([[2.0, 2.0], [1.0, 0.0]]))
    >>> print(summary.task_accuracy, summary.example_accuracy, summary.flops)
    0.75 0.625 [4. 5.]

    Reference: Bornschein et al., "NEVIS'22: A Stream of 100 Tasks Sampled from 30 Years of Computer Vision Research"
    (2023). Checked against the authors' code.
    """
    accuracy = checks.rank(checks.floating(accuracy, "accuracy"), "accuracy", 1, layout="[T]")
    flops = checks.rank(checks.floating(flops, "flops"), "flops", (1, 2), layout="[T] or [T, R]")
    counts = jnp.asarray(num_examples)
    checks.same_shape(counts, "num_examples", accuracy, "accuracy")
    checks.batch_match(flops, "flops", accuracy, "accuracy")
    dtype = accumulation_dtype(accuracy)
    accuracy, counts = accuracy.astype(dtype), counts.astype(dtype)
    runs = flops.astype(accumulation_dtype(flops)).reshape(flops.shape[0], -1)
    return StreamSummary(
        jnp.mean(accuracy),
        jnp.sum(counts * accuracy) / jnp.maximum(jnp.sum(counts), jnp.finfo(dtype).tiny),
        jnp.cumsum(jnp.sum(runs, axis=1)),
    )
