"""Linear systems that are known by their products alone: restarted GMRES, and the cycle that recycling shares."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["SolveInfo", "gmres"]

Operator = Callable[[Array], Array]


class SolveInfo(NamedTuple):
    """How a linear solve ended.

    Attributes:
      residual_norm: ||b - A x||, computed from the x that is returned.
      converged: bool, whether residual_norm is within the tolerance.
      matvecs: int, products with A of any kind, those of checks and of a recycled basis included.
      iterations: int, steps that made the search space larger, over all cycles.
      cycles: int.
      history: float [max_restarts * restart + 1], residual norm after so many iterations; the last one repeats.
    """

    residual_norm: Array
    converged: Array
    matvecs: Array
    iterations: Array
    cycles: Array
    history: Array


class System(NamedTuple):
    """A x = b in the unknown u of x = x0 + M u, and the static sizes of its solve."""

    operator: Operator  # u -> A M u
    residual: Callable[[Array], Array]  # u -> b - A (x0 + M u)
    restart: int
    max_restarts: int


class State(NamedTuple):
    """Where a solve stands between two cycles. Vectors are rows; ``image`` holds A M times ``basis``."""

    u: Array
    residual: Array
    norm: Array
    checked: Array  # the norm at the last check
    basis: Array  # [k, N], a zero row where there is no vector
    image: Array  # [k, N], orthonormal but for zero rows
    done: Array
    matvecs: Array
    iterations: Array
    cycles: Array
    history: Array


class Cycle(NamedTuple):
    """The search space of a finished cycle: A M directions' = space' relation."""

    space: Array  # [m + 1, N], orthonormal but for zero rows
    directions: Array  # [m, N]
    relation: Array  # [m + 1, m]; a column without direction holds a 1 in a row without vector
    factors: tuple[Array, Array]  # QR of the relation
    first: Array  # directions before this one are those of the basis
    end: Array  # directions from this one on are missing


Refresh = Callable[[Cycle, Array, Array], tuple[Array, Array]]


def norm(x: Array) -> Array:
    """Euclidean length of a vector."""
    return jnp.sqrt(jnp.sum(x * x))


def prepare(
    matvec: Operator, b: ArrayLike, x0: ArrayLike | None, precond: Operator | None, tol: ArrayLike, atol: ArrayLike
) -> tuple[Array, Array | None, Callable[[Array], Array], Array]:
    """Checked b and x0 in one dtype, x as a function of u, and the norm at which the residual is small enough."""
    b = checks.rank(checks.floating(b, "b"), "b", 1, layout="[N]")
    for name, value in (("tol", tol), ("atol", atol)):
        checks.at_least(value, name, 0.0)
    vector = jax.ShapeDtypeStruct(b.shape, accumulation_dtype(b))
    for name, function in (("matvec", matvec), ("precond", precond)):
        if function is None:
            continue
        if not callable(function):
            raise TypeError(f"{name} must be a function from [N] to [N], got {type(function).__name__}")
        out = jax.eval_shape(function, vector)
        if not hasattr(out, "shape") or out.shape != b.shape or not jnp.issubdtype(out.dtype, jnp.floating):
            raise ValueError(f"{name} must return floating-point numbers of shape {list(b.shape)}, got {out}")
        checks.not_wider(out, f"what {name} returns", vector.dtype, state="the solve of this b")
    b = b.astype(vector.dtype)
    size = norm(b)
    if x0 is not None:
        x0 = checks.floating(x0, "x0")
        checks.same_shape(x0, "x0", b, "b")
        x0 = jnp.where(size > 0, x0.astype(b.dtype), 0.0)  # A 0 = 0, whatever the start

    def solution(u: Array) -> Array:
        step = u if precond is None else precond(u).astype(u.dtype)
        return step if x0 is None else x0 + step

    return b, x0, solution, jnp.maximum(jnp.asarray(tol, b.dtype) * size, jnp.asarray(atol, b.dtype))


def begin(
    matvec: Operator,
    b: Array,
    x0: Array | None,
    solution: Callable[[Array], Array],
    precond: Operator | None,
    *,
    sizes: tuple[int, int, int],
) -> tuple[System, State]:
    """The system and its state before the first cycle, without a recycled basis; costs one product where x0 is given.

    ``sizes`` are restart, num_recycle and max_restarts.
    """
    restart, num_recycle, max_restarts = sizes

    def operator(u: Array) -> Array:
        return matvec(u if precond is None else precond(u).astype(u.dtype)).astype(u.dtype)

    def residual(u: Array) -> Array:
        return b - matvec(solution(u)).astype(u.dtype)

    start = b if x0 is None else b - matvec(x0).astype(b.dtype)
    size, rows = norm(start), jnp.zeros((num_recycle, b.shape[0]), b.dtype)
    zero = jnp.zeros((), jnp.int32)
    state = State(
        u=jnp.zeros_like(b),
        residual=start,
        norm=size,
        checked=size,
        basis=rows,
        image=rows,
        done=jnp.zeros((), bool),
        matvecs=zero + (x0 is not None),
        iterations=zero,
        cycles=zero,
        history=jnp.full(max_restarts * restart + 1, size),
    )
    return System(operator, residual, restart, max_restarts), state


def solve(system: System, state: State, target: Array, refresh: Refresh | None) -> tuple[State, SolveInfo]:
    """Cycles until the residual computed from the solution is at most ``target``, or it cannot be made smaller."""

    def go_on(state: State) -> Array:
        # Written so that a residual of NaN ends the loop.
        return (state.norm > target) & ~state.done & (state.cycles < system.max_restarts)

    with jax.default_matmul_precision("highest"):
        state = jax.lax.while_loop(go_on, lambda state: _cycle(system, state, target, refresh), state)
    taken = jnp.arange(state.history.shape[0]) < state.iterations
    return state, SolveInfo(
        state.norm,
        state.norm <= target,
        state.matvecs,
        state.iterations,
        state.cycles,
        jnp.where(taken, state.history, state.norm),
    )


def _cycle(system: System, state: State, target: Array, refresh: Refresh | None) -> State:
    """Removes what the basis can from the residual, searches a Krylov space, and refreshes the basis."""
    known = state.image @ state.residual
    u, residual = state.u + known @ state.basis, state.residual - known @ state.image
    size = norm(residual)
    first = jnp.where(jnp.any(state.image != 0), state.image.shape[0], 0)
    space, relation, steps, history = _arnoldi(system, state, residual, size, first, target)
    cycle = _close(state.basis, space, relation, first, first + steps)

    q, r = cycle.factors
    y = solve_upper(r, size * q[first])
    u = u + y @ cycle.directions
    left = jnp.zeros_like(q[:, 0]).at[first].set(size) - cycle.relation @ y
    residual = left @ cycle.space
    after = norm(residual)
    basis, image = (state.basis, state.image) if refresh is None else refresh(cycle, state.basis, state.image)

    # Without recycling a cycle that changes nothing would be repeated for ever.
    eps = jnp.finfo(after.dtype).eps
    stuck = after >= (1 - 10 * eps) * size if refresh is None else jnp.zeros((), bool)
    check = (after <= target) | stuck | (state.cycles + 1 >= system.max_restarts)
    residual = jax.lax.cond(check, system.residual, lambda _: residual, u)
    after = jnp.where(check, norm(residual), after)
    # A promise that the check breaks is rounding: the next cycle starts from the truth, as long as that helps.
    stalled = check & (after > 0.5 * state.checked)
    iterations = state.iterations + steps
    return State(
        u,
        residual,
        after,
        jnp.where(check, after, state.checked),
        basis,
        image,
        stuck | stalled,
        state.matvecs + steps + check,
        iterations,
        state.cycles + 1,
        history.at[iterations].set(after),
    )


def _arnoldi(
    system: System, state: State, residual: Array, size: Array, first: Array, target: Array
) -> tuple[Array, Array, Array, Array]:
    """Grows the Krylov space of the residual, orthogonal to the image of the basis, until it holds a solution.

    The residual norm of the least-squares problem needs no rotations: it is ``size / ||z||`` for the vector z with
    z' H = 0 and z[0] = 1 (H the Hessenberg matrix), which grows by one entry per step.
    """
    m, k = system.restart, state.image.shape[0]
    eps = jnp.finfo(residual.dtype).eps
    enough = jnp.maximum(target, eps * size)
    space = jnp.zeros((m + 1, residual.shape[0]), residual.dtype).at[:k].set(state.image)
    space = space.at[first].set(jnp.where(size > 0, residual / jnp.where(size > 0, size, 1.0), 0.0))
    z = jnp.zeros(m + 1, residual.dtype).at[first].set(1.0)
    Loop = tuple[Array, Array, Array, Array, Array, Array]

    def go_on(loop: Loop) -> Array:
        _, _, _, steps, left, _ = loop
        return (first + steps < m) & (left > enough)

    def step(loop: Loop) -> Loop:
        space, relation, z, steps, _, history = loop
        at = first + steps
        image = system.operator(space[at])
        once = space @ image
        rest = image - once @ space
        twice = space @ rest  # once is not enough in floating point
        rest = rest - twice @ space
        column, length = once + twice, norm(rest)
        ends = length <= 10 * eps * norm(image)  # the space is invariant: it holds the solution if any does
        length = jnp.where(ends, 1.0, length)
        space = space.at[at + 1].set(jnp.where(ends, 0.0, rest / length))
        relation = relation.at[:, at].set(column.at[at + 1].set(jnp.where(ends, 0.0, length)))
        z = z.at[at + 1].set(-(column @ z) / length)
        left = jnp.where(ends, 0.0, size / norm(z))
        return space, relation, z, steps + 1, left, history.at[state.iterations + steps + 1].set(left)

    start = (space, jnp.zeros((m + 1, m), residual.dtype), z, jnp.zeros((), jnp.int32), size, state.history)
    space, relation, _, steps, _, history = jax.lax.while_loop(go_on, step, start)
    return space, relation, steps, history


def _close(basis: Array, space: Array, relation: Array, first: Array, end: Array) -> Cycle:
    """The relation with the columns of the basis (scaled to unit vectors) and of the missing directions."""
    k, m = basis.shape[0], relation.shape[1]
    column = jnp.arange(m)
    directions = jnp.where((column < end)[:, None], space[:m], 0.0)
    relation = jnp.where(column >= end, jnp.eye(m + 1, m, -1, space.dtype), relation)
    if k:
        lengths = jnp.sqrt(jnp.sum(basis * basis, axis=1))
        inverse = jnp.where(lengths > 0, 1.0 / jnp.where(lengths > 0, lengths, 1.0), 1.0)
        recycled = first > 0
        directions = directions.at[:k].set(jnp.where(recycled, basis * inverse[:, None], directions[:k]))
        corner = jnp.eye(m + 1, k, dtype=space.dtype) * inverse
        relation = relation.at[:, :k].set(jnp.where(recycled, corner, relation[:, :k]))
    return Cycle(space, directions, relation, jnp.linalg.qr(relation), first, end)


def solve_upper(r: Array, rhs: Array, *, pivot: ArrayLike | None = None) -> Array:
    """R y = rhs by back substitution; a diagonal entry that is zero to rounding gives y = 0, or counts as ``pivot``.

    A loop over rows: LAPACK shares a solve with several right-hand sides among threads, and for matrices of this size
    waits for them longer than it works.
    """
    m, diagonal = r.shape[0], jnp.diagonal(r)
    largest, eps = jnp.max(jnp.abs(diagonal)), jnp.finfo(r.dtype).eps
    gone = jnp.abs(diagonal) <= 10 * eps * largest
    inverse = jnp.where(gone, 0.0 if pivot is None else 1.0 / pivot, 1.0 / jnp.where(gone, 1.0, diagonal))

    def row(step: Array, y: Array) -> Array:
        at = m - 1 - step
        return y.at[at].set((rhs[at] - r[at] @ y) * inverse[at])

    return jax.lax.fori_loop(0, m, row, jnp.zeros_like(rhs))


def gmres(
    matvec: Operator,
    b: ArrayLike,
    x0: ArrayLike | None = None,
    *,
    restart: int = 40,
    tol: ArrayLike = 1e-5,
    atol: ArrayLike = 0.0,
    max_restarts: int = 100,
    precond: Operator | None = None,
) -> tuple[Array, SolveInfo]:
    r"""Restarted GMRES: the solution of a square linear system known by its products, and how the solve ended.

    .. math:: x_{j} = \arg\min_{x \in x_0 + M K_j(AM, r_0)} \|b - A x\|, \quad r_0 = b - A x_0,
              \quad K_j(B, r) = \operatorname{span}(r, B r, \dots, B^{j-1} r)

    begun anew from x_j every ``restart`` steps. The residual norm is known at every step, so the solve ends at the
    first step that is good enough, and what it promises is checked against b - A x before ``converged`` is True.
    Where rounding breaks the promise the solve goes on from the true residual while a cycle at least halves that.
    For reverse-mode gradients, which no open-ended loop has, give it to ``jax.lax.custom_linear_solve`` as the solver.

    Args:
      matvec: the product with A, from [N] to [N]; linear.
      b: float [N]; 0 has the solution 0.
      x0: float [N], the start; None is 0 and saves a product.
      restart: m, static, 1 <= m: steps of a cycle, which keeps m + 1 vectors.
      tol: relative tolerance, >= 0: converged means ||b - A x|| <= max(tol ||b||, atol).
      atol: absolute tolerance, >= 0.
      max_restarts: static, >= 1: cycles at most.
      precond: M, from [N] to [N], linear, near the inverse of A, applied on the right: the residual stays that of A.
    Returns:
      (x [N] in float32 or wider, SolveInfo). ``matvecs`` counts a product for every step, one for x0 and one for every
      check (at least one). A solve that stagnates, stalls in rounding or meets a singular A ends with ``converged``
      False, a finite x and its true residual norm; NaN in b or in products ends it too.
    Raises:
      ValueError: b is not [N], matvec or precond changes the shape, x0 has another shape, restart or max_restarts < 1,
        or a static tolerance < 0.
      TypeError: b or x0 is not floating point, a size is not a static integer, matvec is no function, or what
        it returns is wider than b.

    >>> matrix = jnp.array([[2.0, 1.0], [0.0, 1.0]])
    >>> x, info = gmres(lambda v: matrix @ v, jnp.array([3.0, 1.0]))
    >>> print(x.round(4), info.converged, info.matvecs)
    [1. 1.] True 3

    Reference: standard (Saad & Schultz, "GMRES: A Generalized Minimal Residual Algorithm for Solving Nonsymmetric
    Linear Systems", 1986); the baseline of Wang et al., "Accelerating Data Generation for Neural Operators via Krylov
    Subspace Recycling" (2024).
    """
    sizes = checks.size(restart, "restart"), 0, checks.size(max_restarts, "max_restarts")
    b, x0, solution, target = prepare(matvec, b, x0, precond, tol, atol)
    system, state = begin(matvec, b, x0, solution, precond, sizes=sizes)
    state, info = solve(system, state, target, None)
    return solution(state.u), info
