"""Tasks to be learned from examples alone, as functions of a key: Boolean functions, and projections of real data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.nn import in_context_tokens
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["BOOLEAN_KINDS", "BooleanTask", "boolean_task", "random_projection_task", "teaching_sequence"]

BOOLEAN_KINDS = (
    "conjunction",
    "disjunction",
    "monotone_conjunction",
    "taught_conjunction",
    "taught_monotone_conjunction",
    "dnf",
    "cnf",
    "majority",
    "sparse_parity",
    "parity",
    "nearest_neighbor",
)
_CLAUSES = 3


class BooleanTask(NamedTuple):
    """A Boolean function and labelled points."""

    x: Array  # float32 [N, D] of +1 and -1
    y: Array  # float32 [N] of +1 and -1
    w: Array  # float32 [D], or [3, D] with a row per clause: 1 and -1 for a literal and a negated one, else 0


def boolean_task(
    key: Array, kind: str, *, num_dims: int = 28, num_points: int = 70, num_given: int = 20
) -> BooleanTask:
    r"""A random function of a class, and points to learn it from.

    .. math:: \text{conjunction: } y = \mathrm{sign}\big(\langle x, w \rangle - \|w\|_1 + 1\big), \quad
              \text{disjunction: } \mathrm{sign}\big(\langle x, w \rangle + \|w\|_1 - 1\big)

    =========================== =============================================== =====================================
    kind                        w                                               points besides uniform ones
    =========================== =============================================== =====================================
    conjunction                 1 or -1 with probability .15 each               .3 made positive
    disjunction                 the same                                        .3 made negative
    monotone_conjunction        1 with probability .3                           .3 made positive
    taught_conjunction          as conjunction                                  begin with ``teaching_sequence``; .4
    taught_monotone_conjunction as monotone_conjunction                         begin with ``teaching_sequence``; .4
    dnf                         three conjunctions, .1 and .1; their maximum    .35 made positive by one of them
    cnf                         three disjunctions, .1 and .1; their minimum    .3 made negative by one of them
    majority                    1 with probability .3; sign(<x, w> - 1/2)       none
    sparse_parity               two coordinates; +1 if an odd number are +1     none
    parity                      any coordinates; the same                       none
    nearest_neighbor            none: labels of the first points are random,    none
                                then that of the nearest earlier point
    =========================== =============================================== =====================================

    An empty w gives a constant (a conjunction of nothing is true). Points that are made positive shift the base rate:
    compare with the majority class.

    Args:
      key: PRNG key.
      kind: one of BOOLEAN_KINDS, static.
      num_dims: D, static, >= 2.
      num_points: N, static, >= 1.
      num_given: for nearest_neighbor alone: how many points have labels of their own (equal points share one), static.
    Returns:
      BooleanTask(x, y, w). A teaching sequence longer than N is cut. w of nearest_neighbor is zero.
    Raises:
      ValueError: an unknown kind, or a size out of range.

    >>> task = boolean_task(jax.random.key(0), "conjunction", num_dims=4, num_points=6)
    >>> print(jnp.all(task.y == jnp.where(task.x @ task.w == jnp.abs(task.w).sum(), 1, -1)))
    True

    Reference: Bhattamishra et al., "Understanding In-Context Learning in Transformers and LLMs by Learning to Learn
    Discrete Functions" (2024), checked against the authors' code, where monotone_conjunction does not run (ours takes
    the shares of its neighbours) and the number of given points is an option.
    """
    checks.one_of(kind, "kind", BOOLEAN_KINDS)
    checks.size(num_dims, "num_dims", 2)
    checks.size(num_points, "num_points")
    w_key, x_key, forced_key, clause_key = jax.random.split(key, 4)
    x = jax.random.rademacher(x_key, (num_points, num_dims), jnp.float32)
    w = _weights(w_key, kind, num_dims)
    if kind == "nearest_neighbor":
        return BooleanTask(x, _nearest_labels(forced_key, x, checks.size(num_given, "num_given")), w)
    if kind in ("sparse_parity", "parity"):
        odd = jnp.sum((x > 0) & (w > 0), axis=1) % 2 == 1
        return BooleanTask(x, jnp.where(odd, 1.0, -1.0), w)
    if kind == "majority":
        return BooleanTask(x, jnp.where(jnp.sum(x * w, axis=1) > 0, 1.0, -1.0), w)
    clauses = w.reshape(-1, num_dims)
    some = clauses[jax.random.randint(clause_key, (), 0, clauses.shape[0])]
    share = 0.4 if kind.startswith("taught") else 0.35 if kind == "dnf" else 0.3
    forced = jax.random.bernoulli(forced_key, share, (num_points, 1)) & (some != 0)
    negative = kind in ("disjunction", "cnf")
    x = jnp.where(forced, -some if negative else some, x)
    if kind.startswith("taught"):
        taught, where = teaching_sequence(w, monotone="monotone" in kind)
        length = min(num_points, taught.shape[0])
        x = x.at[:length].set(jnp.where(where[:length, None], taught[:length], x[:length]))
    agree = jnp.sum(x[:, None] * clauses, axis=2)
    literals = jnp.sum(jnp.abs(clauses), axis=1)
    holds = jnp.all(agree > 1 - literals, axis=1) if negative else jnp.any(agree >= literals, axis=1)
    return BooleanTask(x, jnp.where(holds, 1.0, -1.0), w)


def teaching_sequence(w: ArrayLike, *, monotone: bool = False) -> tuple[Array, Array]:
    r"""The few points that tell a conjunction from every other one.

    Two positives, in which the irrelevant coordinates are all -1 and then all +1; then for every literal a negative
    that breaks it alone, with the irrelevant ones at -1 (literals first, negated ones behind). Among conjunctions
    without negation the first positive is enough.

    .. math:: m = \|w\|_1 + 2 \quad (\|w\|_1 + 1 \text{ if monotone})

    Args:
      w: float [D] of 1, -1 (negated) and 0 (irrelevant).
      monotone: True where no literal is known to be negated, static.
    Returns:
      (x float32 [D + 2, D], or [D + 1, D] if monotone; where bool [D + 2] or [D + 1]): the first m rows, then zeros.
    Raises:
      ValueError: w is not [D].
      TypeError: w is not floating point.

    >>> x, where = teaching_sequence(jnp.array([1.0, 0.0]))
    >>> print(x[where])
    [[ 1. -1.]
     [ 1.  1.]
     [-1. -1.]]

    Reference: Bhattamishra et al., as in ``boolean_task``, checked against the authors' code.
    """
    w = checks.rank(checks.floating(w, "w"), "w", 1, layout="[D]").astype(jnp.float32)
    size = w.shape[0]
    base = jnp.where(w == 0, -1.0, w)
    # Positive literals, then negated ones, then the rest; each in order.
    order = jnp.argsort(jnp.where(w > 0, 0, jnp.where(w < 0, 1, 2)), stable=True)
    negatives = jnp.where(jnp.arange(size) == order[:, None], -base, base)
    positives = [base] if monotone else [base, jnp.where(w == 0, 1.0, w)]
    count = len(positives) + jnp.sum(w != 0)
    where = jnp.arange(len(positives) + size) < count
    return jnp.where(where[:, None], jnp.concatenate([jnp.stack(positives), negatives]), 0.0), where


def random_projection_task(
    key: Array,
    x: ArrayLike,
    y: ArrayLike,
    *,
    num_classes: int,
    seq_len: int = 100,
    task_key: Array | None = None,
) -> tuple[Array, Array]:
    r"""A new classification task made from a data set: inputs through a random matrix, labels through a permutation.

    .. math:: t_i = \big(A x_i,\, \mathrm{onehot}(\rho(y_{i-1}))\big), \quad A_{jk} \sim N(0, 1 / D), \quad
              \text{predict } \rho(y_i)

    Args:
      key: PRNG key; it draws the rows (with replacement).
      x: float [N, D], a data set.
      y: int [N], in [0, num_classes); outside the label is -1 and the next token shows none.
      num_classes: K, static, >= 1.
      seq_len: T, static, >= 1.
      task_key: PRNG key of A and the permutation: a finite list of them is a finite list of tasks. None takes them from
        ``key``.
    Returns:
      (tokens float32 or wider [T, D + K], labels int32 [T]).
    Raises:
      ValueError: shapes do not agree, N is 0, or a size is below 1.
      TypeError: x is not floating point, or y are not integers.

    >>> tokens, labels = random_projection_task(
    ...     jax.random.key(0), jnp.eye(5), jnp.array([0, 1, 2, 0, 1]), num_classes=3, seq_len=4
    ... )
    >>> print(tokens.shape, labels.shape)
    (4, 8) (4,)

    Reference: Kirsch et al., "General-Purpose In-Context Learning by Meta-Learning Transformers" (2022), recalled.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    y = checks.rank(checks.integer(y, "y"), "y", 1, layout="[N]")
    checks.batch_match(x, "x", y, "y")
    checks.size(x.shape[0], "the number of rows of x")
    checks.size(num_classes, "num_classes")
    row_key, own_key = jax.random.split(key)
    map_key, label_key = jax.random.split(own_key if task_key is None else task_key)
    rows = jax.random.randint(row_key, (checks.size(seq_len, "seq_len"),), 0, x.shape[0])
    size, dtype = x.shape[1], accumulation_dtype(x)
    matrix = jax.random.normal(map_key, (size, size), dtype) / jnp.sqrt(size).astype(dtype)
    renamed = jax.random.permutation(label_key, num_classes)
    chosen = y[rows]
    labels = jnp.where((chosen >= 0) & (chosen < num_classes), renamed[jnp.clip(chosen, 0, num_classes - 1)], -1)
    projected = jnp.matmul(x[rows].astype(dtype), matrix.T, precision="highest")
    return in_context_tokens(projected, labels, num_classes=num_classes), labels.astype(jnp.int32)


def _weights(key: Array, kind: str, num_dims: int) -> Array:
    if kind == "nearest_neighbor":
        return jnp.zeros(num_dims)
    if kind == "sparse_parity":
        chosen = jnp.argsort(jax.random.uniform(key, (num_dims,)))[:2]
        return jnp.zeros(num_dims).at[chosen].set(1.0)
    if kind == "parity":
        return jax.random.bernoulli(key, 0.5, (num_dims,)).astype(jnp.float32)
    if kind in ("majority", "monotone_conjunction", "taught_monotone_conjunction"):
        return jax.random.bernoulli(key, 0.3, (num_dims,)).astype(jnp.float32)
    clauses = kind in ("dnf", "cnf")
    share = 0.1 if clauses else 0.15
    u = jax.random.uniform(key, (_CLAUSES, num_dims) if clauses else (num_dims,))
    return jnp.where(u < share, 1.0, jnp.where(u < 2 * share, -1.0, 0.0))


def _nearest_labels(key: Array, x: Array, num_given: int) -> Array:
    """Labels one by one: random for new points among the given ones, else that of the nearest earlier point."""
    count, size = x.shape
    own = jax.random.rademacher(key, (count,), jnp.float32)
    products = jnp.where(jnp.tri(count, k=-1, dtype=bool), jnp.matmul(x, x.T, precision="highest"), -jnp.inf)

    def label(labels: Array, position: Array) -> tuple[Array, None]:
        nearest = jnp.argmax(products[position])
        alone = (position < num_given) & (products[position, nearest] < size)
        chosen = jnp.where(alone | (position == 0), own[position], labels[nearest])
        return labels.at[position].set(chosen), None

    return jax.lax.scan(label, jnp.zeros(count), jnp.arange(count))[0]
