"""Learning from the examples in a sequence: what a sequence model is given, and learners that are exact.

Every learner predicts each label from the earlier examples alone, as a causal model does. Boolean points and labels
are +1 and -1; a score of 0 is no opinion.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import knn_vote, pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import ApplyFn, Array, ArrayLike, PyTree

__all__ = [
    "GF2Solution",
    "averaged_perceptron",
    "conjunction_elimination",
    "gf2_solve",
    "in_context_logits",
    "in_context_tokens",
    "nearest_neighbor_icl",
    "parity_elimination",
]


class GF2Solution(NamedTuple):
    """A system of equations over two elements, solved."""

    x: Array  # bool [D], free unknowns are False
    rank: Array  # int32 scalar; x is the only solution if it is D
    consistent: Array  # bool scalar, False where no solution exists: x then solves the equations that came first


def in_context_tokens(x: ArrayLike, labels: ArrayLike, *, num_classes: int) -> Array:
    r"""What a model sees of a sequence of labelled examples: each input beside the label of the one before.

    .. math:: t_i = (x_i, \mathrm{onehot}(y_{i - 1})), \quad \mathrm{onehot}(y_0) = 0

    So a causal model that predicts y_i at position i has seen all earlier labels and not this one.

    Args:
      x: float [..., T, D].
      labels: int [..., T]; outside [0, num_classes) the next token shows no label.
      num_classes: K, static, >= 1.
    Returns:
      [..., T, D + K] in the dtype of x.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: x is not floating point, or labels are not integers.

    >>> print(in_context_tokens(jnp.array([[0.5], [0.7]]), jnp.array([1, 0]), num_classes=2))
    [[0.5 0.  0. ]
     [0.7 0.  1. ]]

    Reference: Kirsch et al., "General-Purpose In-Context Learning by Meta-Learning Transformers" (2022), recalled.
    """
    x, labels = checks.floating(x, "x"), checks.integer(labels, "labels")
    if x.ndim < 2 or labels.shape != x.shape[:-1]:
        raise ValueError(f"labels must have shape {list(x.shape[:-1])}, one per example, got {list(labels.shape)}")
    shown = jax.nn.one_hot(labels, checks.size(num_classes, "num_classes"), dtype=x.dtype)
    before = jnp.concatenate([jnp.zeros_like(shown[..., :1, :]), shown[..., :-1, :]], axis=-2)
    return jnp.concatenate([x, before], axis=-1)


def in_context_logits(apply_fn: ApplyFn, params: PyTree, tokens: ArrayLike) -> Array:
    """What a sequence model predicts at every position, for sequences in any arrangement.

    Args:
      apply_fn: ``apply_fn(params, tokens [T, E]) -> logits [T, K]``, causal.
      params: its parameters; nothing in them changes while it learns.
      tokens: float [..., T, E], as ``in_context_tokens`` makes them.
    Returns:
      [..., T, K] as apply_fn gives it.
    Raises:
      ValueError: tokens are not [..., T, E].
      TypeError: tokens are not floating point.

    >>> mean = lambda params, t: jnp.cumsum(t, axis=0) / (1 + jnp.arange(len(t)))[:, None]
    >>> print(in_context_logits(mean, None, jnp.ones((2, 5, 3, 4))).shape)
    (2, 5, 3, 4)

    Reference: Kirsch et al., as in ``in_context_tokens``, recalled.
    """
    tokens = checks.floating(tokens, "tokens")
    if tokens.ndim < 2:
        raise ValueError(f"tokens must have shape [..., T, E], got {list(tokens.shape)}")
    lead = tokens.shape[:-2]
    flat = jax.vmap(lambda one: apply_fn(params, one))(tokens.reshape(-1, *tokens.shape[-2:]))
    return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]), flat)


def conjunction_elimination(x: ArrayLike, y: ArrayLike) -> Array:
    r"""Learns a conjunction by keeping the literals that every positive example satisfies.

    .. math:: \hat y_i = +1 \iff x_{ij} = s \text{ for every literal } (j, s) \text{ with } x_{kj} = s
              \text{ at all earlier } k \text{ with } y_k = +1

    It starts from all 2 D literals, which nothing satisfies, and never calls a negative positive: its literals always
    include those of the target. Errors are on positives, at most D + 1 of them.

    Args:
      x: float [T, D] of +1 and -1.
      y: float [T] of +1 and -1. A disjunction is learned by negating x, y and the result.
    Returns:
      float32 [T] of +1 and -1.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> x = jnp.array([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    >>> print(conjunction_elimination(x, jnp.array([1.0, 1.0, 1.0, -1.0])))
    [-1. -1.  1. -1.]

    Reference: Bhattamishra et al., "Understanding In-Context Learning in Transformers and LLMs by Learning to Learn
    Discrete Functions" (2024), recalled; the learner is standard.
    """
    x, y = _boolean_sequence(x, y)
    literals = jnp.concatenate([x > 0, x < 0], axis=1)
    broken = (y > 0)[:, None] & ~literals
    alive = jnp.cumsum(broken, axis=0) - broken == 0  # by the examples before
    return jnp.where(jnp.all(literals | ~alive, axis=1), 1.0, -1.0).astype(jnp.float32)


def nearest_neighbor_icl(x: ArrayLike, labels: ArrayLike, *, num_classes: int, k: int = 1) -> Array:
    r"""Votes of the nearest earlier examples of a sequence, by Euclidean distance.

    .. math:: v_{ic} = \sum_{j \in N_k(i)} [y_j = c], \quad N_k(i) \subseteq \{1, \dots, i - 1\}

    Args:
      x: float [T, D].
      labels: int [T]; outside [0, num_classes) no vote.
      num_classes: K, static, >= 1.
      k: neighbours, static, >= 1; fewer where fewer came before. Of equally near ones the earlier.
    Returns:
      float32 [T, K]; zero at the first position.
    Raises:
      ValueError: shapes do not agree, or num_classes or k is below 1.
      TypeError: x is not floating point, or labels are not integers.

    >>> x = jnp.array([[0.0], [4.0], [1.0]])
    >>> print(nearest_neighbor_icl(x, jnp.array([1, 0, 1]), num_classes=2))
    [[0. 0.]
     [0. 1.]
     [0. 1.]]

    Reference: Bhattamishra et al., as in ``conjunction_elimination``, standard.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[T, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[T]")
    checks.batch_match(x, "x", labels, "labels")
    length = x.shape[0]
    scores = jnp.where(jnp.tri(length, k=-1, dtype=bool), -pairwise_sq_dists(x), -jnp.inf)
    nearest, index = jax.lax.top_k(scores, min(checks.size(k, "k"), length))
    return knn_vote(index, labels, num_classes, weights=(nearest > -jnp.inf).astype(jnp.float32))


def averaged_perceptron(x: ArrayLike, y: ArrayLike) -> Array:
    r"""The perceptron in one pass, predicting by the average of all its weight vectors so far.

    .. math:: w_{i + 1} = w_i + y_i x_i\, [\,y_i \langle w_i, x_i \rangle \le 0\,],
              \qquad s_i = \Big\langle \tfrac1{i} \sum_{j \le i} w_j, x_i \Big\rangle, \quad w_1 = 0

    Inputs carry one more coordinate, 1, for the bias.

    Args:
      x: float [T, D].
      y: float [T] of +1 and -1.
    Returns:
      float32 or wider [T], s; 0 at the first position.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> print(averaged_perceptron(jnp.array([[1.0], [1.0], [-1.0]]), jnp.array([1.0, 1.0, -1.0])))
    [0. 1. 0.]

    Reference: Freund and Schapire, "Large Margin Classification Using the Perceptron Algorithm" (1999), standard.
    """
    x, y = _boolean_sequence(x, y)
    dtype = accumulation_dtype(x, y)
    rows = jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1).astype(dtype)

    def step(carry: tuple[Array, Array], inputs: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        weight, total = carry
        row, label, count = inputs
        total = total + weight
        moved = jnp.where(label * (weight @ row) <= 0, weight + label * row, weight)
        return (moved, total), total @ row / count

    start = jnp.zeros(rows.shape[1], dtype)
    counts = 1 + jnp.arange(rows.shape[0], dtype=dtype)
    return jax.lax.scan(step, (start, start), (rows, y.astype(dtype), counts))[1]


def gf2_solve(matrix: ArrayLike, rhs: ArrayLike, *, where: ArrayLike | None = None) -> GF2Solution:
    r"""Solves linear equations over the field of two elements, by Gauss-Jordan elimination, an equation at a time.

    .. math:: \bigoplus_j A_{nj} x_j = b_n

    Args:
      matrix: bool [N, D], A.
      rhs: bool [N], b.
      where: bool [N], True where an equation counts.
    Returns:
      GF2Solution(x bool [D], rank int32, consistent bool). Free unknowns are False; where the equations contradict
      each other, those count that came first.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not boolean.

    >>> found = gf2_solve(jnp.array([[True, True], [False, True]]), jnp.array([True, True]))
    >>> print(found.x, found.rank, found.consistent)
    [False  True] 2 True

    Reference: standard.
    """
    matrix = jnp.asarray(matrix)
    if matrix.ndim != 2:
        raise ValueError(f"matrix must have shape [N, D], got {list(matrix.shape)}")
    rows = checks.mask(matrix, "matrix", matrix.shape)
    sides = checks.mask(rhs, "rhs", matrix.shape[:1])
    if rows is None or sides is None:
        raise TypeError("matrix and rhs must be boolean arrays, got None")
    mask = checks.mask(where, "where", matrix.shape[:1])
    equations = jnp.concatenate([rows, sides[:, None]], axis=1)
    if mask is not None:
        equations &= mask[:, None]
    basis, left = _eliminate(equations)
    contradiction = left[:, -1] & ~jnp.any(left[:, :-1], axis=1)
    pivots = jnp.diagonal(basis)
    return GF2Solution(basis[:, -1], jnp.sum(pivots, dtype=jnp.int32), ~jnp.any(contradiction))


def parity_elimination(x: ArrayLike, y: ArrayLike) -> Array:
    r"""Learns a parity: predicts where the earlier examples, added modulo 2, give the new one.

    .. math:: \hat y_i = \bigoplus_{k \in S} y_k \text{ if } x_i = \bigoplus_{k \in S} x_k \text{ for some }
              S \subseteq \{1, \dots, i - 1\}, \text{ else } 0

    The label of a point is the parity of the number of +1 among unknown coordinates. After D independent points every
    later label is known.

    Args:
      x: float [T, D] of +1 and -1.
      y: float [T] of +1 (odd) and -1 (even).
    Returns:
      float32 [T] of +1, -1, and 0 where the examples do not say.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> x = jnp.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    >>> print(parity_elimination(x, jnp.array([1.0, -1.0, 1.0])))
    [0. 0. 1.]

    Reference: Bhattamishra et al., as in ``conjunction_elimination``, recalled; the learner is standard.
    """
    x, y = _boolean_sequence(x, y)
    _, left = _eliminate(jnp.concatenate([x > 0, (y > 0)[:, None]], axis=1))
    known = ~jnp.any(left[:, :-1], axis=1)
    # What is left of a known point on the right is the sum of its label and the predicted one.
    return jnp.where(known, jnp.where(left[:, -1], -y, y), 0.0).astype(jnp.float32)


def _eliminate(equations: Array) -> tuple[Array, Array]:
    """Reduced equations by pivot [D, D + 1], and what the earlier ones left of each [N, D + 1]."""
    size = equations.shape[1] - 1

    def insert(basis: Array, row: Array) -> tuple[Array, Array]:
        # Pivot columns hold a single True, so that one sum removes all pivots from the row at once.
        row ^= jnp.sum(row[:size, None] & basis, axis=0) % 2 == 1
        new = jnp.any(row[:size])
        pivot = jnp.argmax(row[:size])
        cleared = basis ^ (basis[:, pivot, None] & row)
        return jnp.where(new, cleared.at[pivot].set(row), basis), row

    return jax.lax.scan(insert, jnp.zeros((size, size + 1), bool), equations)


def _boolean_sequence(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[T, D]")
    y = checks.rank(checks.floating(y, "y"), "y", 1, layout="[T]")
    checks.batch_match(x, "x", y, "y")
    return x, y
