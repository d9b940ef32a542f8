"""Sequences of linear systems that are alike: GCRO-DR keeps a part of the search space from one to the next."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.optim.krylov import (
    Cycle,
    Operator,
    Refresh,
    SolveInfo,
    State,
    System,
    begin,
    norm,
    prepare,
    solve,
    solve_upper,
)
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["Recycle", "gcrodr", "gcrodr_sequence"]

Ritz = Literal["harmonic", "singular"]
POWER_SQUARINGS, POWER_STEPS = 2, 8  # of the iteration for harmonic Ritz vectors: 8 steps with the fourth power


class Recycle(NamedTuple):
    """What GCRO-DR hands on: search directions and their images, rows, zero where there is none.

    Attributes:
      basis: U, float [k, N].
      image: C = A M U of the system just solved, float [k, N]; the rows that are not zero are orthonormal.
    """

    basis: Array
    image: Array


def _with_image(rows: Array, images: Array) -> Recycle:
    """Combinations of rows whose images are orthonormal; a row whose image depends on those before becomes zero."""
    eps = jnp.finfo(rows.dtype).eps

    def add(found: Recycle, item: tuple[Array, Array, Array]) -> tuple[Recycle, None]:
        at, row, image = item
        once = found.image @ image
        rest = image - once @ found.image
        twice = found.image @ rest
        rest = rest - twice @ found.image
        length = norm(rest)
        keep = length > jnp.sqrt(eps) * norm(image)
        scale = jnp.where(keep, 1.0 / jnp.where(keep, length, 1.0), 0.0)
        basis = found.basis.at[at].set(scale * (row - (once + twice) @ found.basis))
        return Recycle(basis, found.image.at[at].set(scale * rest)), None

    empty = Recycle(jnp.zeros_like(rows), jnp.zeros_like(images))
    found, _ = jax.lax.scan(add, empty, (jnp.arange(rows.shape[0]), rows, images))
    return found


def _harmonic(cycle: Cycle, basis: Array) -> Array:
    """Coefficients [m, k] that span the harmonic Ritz vectors of smallest absolute value.

    With the relation G and S = space directions', harmonic Ritz pairs solve G'G z = theta G'S z, so the smallest theta
    are the dominant eigenvalues of G^+ S. Orthogonal iteration finds their invariant subspace in real numbers: it needs
    no eigenvectors, and it does not matter which of them are complex.
    """
    (q, r), k, m = cycle.factors, basis.shape[0], cycle.relation.shape[1]
    column = jnp.arange(m)
    present = (column >= cycle.first) & (column < cycle.end)
    overlap = jnp.where(present, jnp.eye(m + 1, m, dtype=q.dtype), 0.0)
    known = cycle.space @ cycle.directions[:k].T
    overlap = overlap.at[:, :k].set(jnp.where(cycle.first > 0, known, overlap[:, :k]))
    # A singular relation has an infinite eigenvalue: a large one keeps its direction, which is the best to keep.
    pivot = jnp.finfo(r.dtype).eps * jnp.max(jnp.abs(jnp.diagonal(r)))
    inverse = solve_upper(r, q.T @ overlap, pivot=pivot)
    return dominant_subspace(inverse, k)


def dominant_subspace(matrix: Array, k: int) -> Array:
    """Orthonormal [m, k] that spans nearly the invariant subspace of the k eigenvalues of largest absolute value."""

    def scaled(x: Array) -> Array:
        return x / jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(x.dtype).tiny)

    power = scaled(matrix)
    for _ in range(POWER_SQUARINGS):
        power = scaled(power @ power)

    def step(_: int, columns: Array) -> Array:
        return jnp.linalg.qr(power @ columns)[0]

    return jax.lax.fori_loop(0, POWER_STEPS, step, jnp.eye(matrix.shape[0], k, dtype=matrix.dtype))


def _singular(cycle: Cycle, basis: Array) -> Array:
    """Coefficients [m, k] of the directions that A shrinks most: right singular vectors of the relation."""
    m = cycle.relation.shape[1]
    column = jnp.arange(m)
    gram = cycle.relation.T @ cycle.relation
    lengths = jnp.sum(basis * basis, axis=1)
    none = (column >= cycle.end) | jnp.zeros(m, bool).at[: basis.shape[0]].set((cycle.first > 0) & (lengths == 0))
    gram = gram + jnp.diag(jnp.where(none, jnp.trace(gram), 0.0))  # missing directions come last
    return jnp.linalg.eigh(gram)[1][:, : basis.shape[0]]


def _refresh(coefficients: Callable[[Cycle, Array], Array]) -> Refresh:
    def refresh(cycle: Cycle, basis: Array, image: Array) -> tuple[Array, Array]:
        rows = coefficients(cycle, basis).T
        kept = _with_image(rows, rows @ cycle.relation.T)
        return kept.basis @ cycle.directions, kept.image @ cycle.space

    return refresh


def _refresh_by(ritz: Ritz, num_recycle: int) -> Refresh | None:
    checks.one_of(ritz, "ritz", ("harmonic", "singular"))
    return _refresh(_harmonic if ritz == "harmonic" else _singular) if num_recycle else None


def _sizes(restart: int, num_recycle: int, max_restarts: int) -> tuple[int, int, int]:
    restart = checks.size(restart, "restart")
    if checks.size(num_recycle, "num_recycle", 0) >= restart:
        raise ValueError(f"num_recycle must be less than restart, got {num_recycle} and {restart}")
    return restart, num_recycle, checks.size(max_restarts, "max_restarts")


def _checked(recycle: Recycle, like: Array) -> Recycle:
    parts = []
    for part in recycle:
        part = checks.not_wider(checks.floating(part, "recycle"), "recycle", like.dtype, state="the solve of this b")
        if part.shape != like.shape:
            raise ValueError(f"recycle must hold arrays {list(like.shape)}, got {list(part.shape)}")
        parts.append(part.astype(like.dtype))
    return Recycle(*parts)


def _take_over(system: System, state: State, recycle: Recycle, target: Array, same_matrix: bool) -> State:
    """Puts a recycled basis into the state; a product for each of its vectors unless their images are known."""
    if same_matrix:
        return state._replace(basis=recycle.basis, image=recycle.image)
    count = jnp.sum(jnp.any(recycle.basis != 0, axis=1), dtype=jnp.int32)

    def taken() -> tuple[Recycle, Array]:
        return _with_image(recycle.basis, jax.vmap(system.operator)(recycle.basis)), state.matvecs + count

    def left() -> tuple[Recycle, Array]:
        return Recycle(recycle.basis, jnp.zeros_like(recycle.basis)), state.matvecs

    with jax.default_matmul_precision("highest"):
        kept, matvecs = jax.lax.cond((count > 0) & (state.norm > target), taken, left)
    return state._replace(basis=kept.basis, image=kept.image, matvecs=matvecs)


def gcrodr(
    matvec: Operator,
    b: ArrayLike,
    recycle: Recycle | None = None,
    x0: ArrayLike | None = None,
    *,
    restart: int = 40,
    num_recycle: int = 20,
    tol: ArrayLike = 1e-5,
    atol: ArrayLike = 0.0,
    max_restarts: int = 100,
    precond: Operator | None = None,
    ritz: Ritz = "harmonic",
    same_matrix: bool = False,
) -> tuple[Array, Recycle, SolveInfo]:
    r"""GCRO-DR: GMRES that keeps a part of its search space over restarts, and for the next system.

    .. math:: A M U = C,\; C^T C = I; \qquad x \leftarrow x + M U C^T r,\; r \leftarrow (I - C C^T)\, r; \qquad
              (I - C C^T) A M V_{m-k} = V_{m-k+1} \bar H

    A cycle takes from the residual what U can, extends U to m directions by m - k Arnoldi steps (m steps where there is
    no U yet), minimises the residual over all of them, and keeps k: the harmonic Ritz vectors of smallest absolute
    value, which converge to the eigenvectors that make GMRES slow. Handed to a similar system, U is good from the
    start. See ``gmres`` for what is promised, checked and counted; ``num_recycle=0`` is ``gmres``.

    Args:
      matvec: the product with A, from [N] to [N]; linear.
      b: float [N].
      recycle: what an earlier call returned; None or zeros begin with a cycle of GMRES.
      x0: float [N], the start; None is 0.
      restart: m, static: directions of a cycle.
      num_recycle: k, static, 0 <= k < m: directions that are kept.
      tol: relative tolerance, >= 0; 1e-5 is what float32 reaches, published 1e-8.
      atol: absolute tolerance, >= 0.
      max_restarts: static, >= 1: cycles at most.
      precond: M, from [N] to [N], linear, near the inverse of A, applied on the right.
      ritz: "harmonic" as published, its real invariant subspace found by orthogonal iteration; "singular" keeps the
        directions that A shrinks most instead, by a symmetric eigenproblem.
      same_matrix: static; True says that recycle comes from this very A and M, and saves the products of its images.
    Returns:
      (x [N], Recycle of [k, N], SolveInfo). ``matvecs`` counts as in ``gmres``, and k products more for the images of a
      recycled U under the new A. The rows of Recycle satisfy A M basis = image; fewer than k are not zero where the
      searched space was smaller. Where x0 is already good enough, basis comes back as it was and image is zero.
    Raises:
      ValueError: as ``gmres``; num_recycle >= restart; ritz is unknown; recycle is not [num_recycle, N]; or same_matrix
        without recycle.
      TypeError: as ``gmres``.

    >>> product = lambda v: jnp.arange(1.0, 9.0) * v
    >>> x, recycle, info = gcrodr(product, jnp.ones(8), restart=4, num_recycle=2)
    >>> x, recycle, again = gcrodr(product, jnp.arange(8.0), recycle, restart=4, num_recycle=2)
    >>> print(info.converged, again.converged, again.iterations < info.iterations)
    True True True

    Reference: Wang et al., "Accelerating Data Generation for Neural Operators via Krylov Subspace Recycling" (2024),
    paper text; the solver is that of Parks et al., "Recycling Krylov Subspaces for Sequences of Linear Systems" (2006).
    The published runs count iterations by PETSc, which leaves the products of carried images out.
    """
    sizes = _sizes(restart, num_recycle, max_restarts)
    refresh = _refresh_by(ritz, num_recycle)
    b, x0, solution, target = prepare(matvec, b, x0, precond, tol, atol)
    system, state = begin(matvec, b, x0, solution, precond, sizes=sizes)
    if recycle is not None:
        kept = _checked(recycle, state.basis)
        state = _take_over(system, state, kept, target, same_matrix) if num_recycle else state
    elif same_matrix:
        raise ValueError("same_matrix needs recycle, got None")
    state, info = solve(system, state, target, refresh)
    return solution(state.u), Recycle(state.basis, state.image), info


def gcrodr_sequence(
    matvec: Callable[[PyTree, Array], Array],
    params: PyTree,
    bs: ArrayLike,
    *,
    order: ArrayLike | None = None,
    recycle: Recycle | None = None,
    restart: int = 40,
    num_recycle: int = 20,
    tol: ArrayLike = 1e-5,
    atol: ArrayLike = 0.0,
    max_restarts: int = 100,
    precond: Callable[[PyTree, Array], Array] | None = None,
    ritz: Ritz = "harmonic",
) -> tuple[Array, Recycle, SolveInfo]:
    r"""Solves a sequence of systems in one compiled loop, each with the search space that the one before left.

    .. math:: A(p_t)\, x_t = b_t, \quad t = \pi_1, \pi_2, \dots, \pi_T

    The nearer neighbours in the order are, the better the space fits: ``selection.greedy_nearest_order`` finds such an
    order. All starts are zero. ``num_recycle=0`` solves every system by ``gmres``.

    Args:
      matvec: ``matvec(params[t], x)`` is the product of the t-th matrix, from [N] to [N].
      params: pytree of arrays [T, ...].
      bs: float [T, N], right-hand sides.
      order: int [T], a permutation; None takes the systems as they come.
      recycle: for the first system, from an earlier sequence; None begins with a cycle of GMRES.
      restart: as in ``gcrodr``.
      num_recycle: as in ``gcrodr``.
      tol: as in ``gcrodr``: 1e-5 is what float32 reaches, published 1e-8.
      atol: as in ``gcrodr``.
      max_restarts: as in ``gcrodr``.
      precond: ``precond(params[t], x)``, as in ``gcrodr``.
      ritz: as in ``gcrodr``.
    Returns:
      (x [T, N], Recycle after the last system, SolveInfo with a leading axis [T]); rows are in the order of bs, not in
      that of the solves.
    Raises:
      ValueError: as ``gcrodr``; leaves of params, bs and order do not share their first axis.
      TypeError: as ``gcrodr``; order does not hold integers.

    >>> scales = jnp.array([1.0, 1.1, 0.9])
    >>> product = lambda scale, x: scale * jnp.arange(1.0, 9.0) * x
    >>> x, _, info = gcrodr_sequence(product, scales, jnp.ones((3, 8)), restart=4, num_recycle=2)
    >>> print(x.shape, info.converged)
    (3, 8) [ True  True  True]

    Reference: Wang et al., "Accelerating Data Generation for Neural Operators via Krylov Subspace Recycling" (2024),
    paper text.
    """
    rows = checks.rank(checks.floating(bs, "bs"), "bs", 2, layout="[T, N]")
    params = jax.tree.map(jnp.asarray, params)
    for leaf in jax.tree.leaves(params):
        checks.batch_match(leaf, "params", rows, "bs")
    _sizes(restart, num_recycle, max_restarts)
    if order is not None:
        order = checks.rank(checks.integer(order, "order"), "order", 1, layout="[T]")
        checks.batch_match(order, "order", rows, "bs")
        params, rows = jax.tree.map(lambda leaf: leaf[order], (params, rows))

    def solve_next(recycle: Recycle, item: tuple[PyTree, Array]) -> tuple[Recycle, tuple[Array, SolveInfo]]:
        param, b = item
        x, recycle, info = gcrodr(
            lambda v: matvec(param, v),
            b,
            recycle,
            restart=restart,
            num_recycle=num_recycle,
            tol=tol,
            atol=atol,
            max_restarts=max_restarts,
            precond=None if precond is None else lambda v: precond(param, v),
            ritz=ritz,
        )
        return recycle, (x, info)

    zeros = jnp.zeros((num_recycle, rows.shape[1]), accumulation_dtype(rows))
    first = Recycle(zeros, zeros) if recycle is None else _checked(recycle, zeros)
    last, solved = jax.lax.scan(solve_next, first, (params, rows))
    if order is not None:
        solved = jax.tree.map(lambda leaf: jnp.zeros_like(leaf).at[order].set(leaf), solved)
    return solved[0], last, solved[1]
