"""GMRES against scipy, GCRO-DR against a transcription in numpy, what is promised of both, and what goes wrong."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.sparse.linalg import gmres as scipy_gmres

from jaxlab import metrics
from jaxlab.optim import Recycle, gcrodr, gcrodr_sequence, gmres
from jaxlab.optim.recycling import dominant_subspace

N, M, K = 50, 12, 4


def slow_matrix(seed=0, *, angle=0.4):
    """Not symmetric; K eigenvalues near zero, two of them a complex pair, make restarted GMRES slow."""
    rng = np.random.default_rng(seed)
    blocks = scipy.linalg.block_diag(
        0.02, 0.05 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]), 0.09
    )
    basis = np.eye(N) + 0.3 * rng.normal(size=(N, N)) / np.sqrt(N)
    middle = scipy.linalg.block_diag(blocks, np.diag(np.linspace(1, 4, N - K)))
    return np.linalg.solve(basis, middle @ basis)


A = slow_matrix()
B = np.random.default_rng(1).normal(size=N)


def times(matrix):
    return lambda v: jnp.asarray(matrix) @ v


def in_float64(fn):
    @functools.wraps(fn)
    def wrapped(*args, **kwargs):
        with jax.enable_x64(True):
            return fn(*args, **kwargs)

    return wrapped


@pytest.fixture(scope="module")
def solved():
    """Solves of the same system in float64, compiled once each."""

    @functools.cache
    def solve(max_restarts, ritz="harmonic", num_recycle=K):
        with jax.enable_x64(True):
            options = {"restart": M, "num_recycle": num_recycle, "max_restarts": max_restarts, "tol": 1e-9}
            fn = jax.jit(lambda a, b: gcrodr(lambda v: a @ v, b, ritz=ritz, **options))
            return jax.tree.map(np.asarray, fn(A, B))

    return solve


# --- GMRES


@in_float64
def test_scipy_has_the_same_residual_at_every_step():
    expected = []
    x, _ = scipy_gmres(A, B, restart=M, rtol=1e-8, maxiter=40, callback=expected.append, callback_type="pr_norm")
    got, info = jax.jit(lambda b: gmres(times(A), b, restart=M, tol=1e-8, max_restarts=40))(B)
    steps = int(info.iterations)
    assert info.converged
    assert steps > 3 * M  # it did restart
    assert steps == len(expected)
    np.testing.assert_allclose(info.history[1 : steps + 1] / np.linalg.norm(B), expected, rtol=1e-5)
    np.testing.assert_allclose(got, x, atol=1e-9)
    assert info.matvecs == steps + 1
    assert info.cycles == -(-steps // M)


def test_nothing_to_recycle_is_gmres(solved):
    with jax.enable_x64(True):
        x, info = jax.jit(lambda b: gmres(times(A), b, restart=M, tol=1e-9, max_restarts=40))(B)
    other, recycle, again = solved(40, num_recycle=0)
    np.testing.assert_allclose(other, x, rtol=1e-10)
    np.testing.assert_array_equal(info.iterations, again.iterations)
    assert recycle.basis.shape == (0, N)


@in_float64
def test_preconditioner_start_and_tolerance():
    scale = np.linspace(1, 300, N)
    badly = np.diag(scale) @ (np.eye(N) + 0.01 * A)
    start = np.linalg.solve(badly, B) + 1e-3

    @jax.jit
    def both(b, x0):
        precond = lambda v: v / scale  # noqa: E731
        plain = gmres(times(badly), b, x0, restart=M, tol=0.0, atol=1e-5)
        return plain, gmres(times(badly), b, x0, restart=M, tol=0.0, atol=1e-5, precond=precond)

    (x, plain), (y, helped) = both(B, start)
    for solution, info in ((x, plain), (y, helped)):
        true = np.linalg.norm(B - badly @ solution)
        assert info.converged
        assert true < 1e-5
        np.testing.assert_allclose(info.residual_norm, true, rtol=1e-6)
        np.testing.assert_allclose(info.history[0], np.linalg.norm(B - badly @ start))
        assert info.matvecs >= info.iterations + 2  # the start and the check
    assert helped.iterations < plain.iterations / 2


@in_float64
def test_gradient_by_custom_linear_solve():
    solver = lambda product, b: gmres(product, b, restart=M, tol=1e-10)[0]  # noqa: E731

    def total(shift, b):
        product = lambda v: jnp.asarray(A) @ v + shift * v  # noqa: E731
        return jnp.sum(jax.lax.custom_linear_solve(product, b, solver, transpose_solve=solver) ** 2)

    by_shift, by_b = jax.jit(jax.grad(total, argnums=(0, 1)))(1.0, B)
    x = np.linalg.solve(A + np.eye(N), B)
    adjoint = np.linalg.solve(A.T + np.eye(N), 2 * x)
    np.testing.assert_allclose(by_b, adjoint, rtol=1e-6)
    np.testing.assert_allclose(by_shift, -adjoint @ x, rtol=1e-6)


# --- GCRO-DR against numpy


def reference(a, b, m, k, cycles, ritz):
    """Parks et al. as in the paper's appendix, by dense factorisations; residual norms and U, C after every cycle."""
    x, r, basis, image = np.zeros_like(b), b.copy(), None, np.zeros((len(b), 0))
    norms, spaces = [], []
    for _ in range(cycles):
        p = 0 if basis is None else k
        vectors, steps = [r / np.linalg.norm(r)], m - p
        h, c = np.zeros((steps + 1, steps)), np.zeros((p, steps))
        for j in range(steps):
            w = a @ vectors[j]
            c[:, j] = image.T @ w
            w = w - image @ c[:, j]
            for _ in range(2):
                for i, v in enumerate(vectors):
                    part = v @ w
                    h[i, j] += part
                    w = w - part * v
            h[j + 1, j] = np.linalg.norm(w)
            vectors.append(w / h[j + 1, j])
        v = np.stack(vectors, 1)
        lengths = np.ones(0) if basis is None else np.linalg.norm(basis, axis=0)
        g = np.block([[np.diag(1 / lengths), c], [np.zeros((steps + 1, p)), h]])
        left = np.concatenate([image, v], 1)
        right = v[:, :-1] if basis is None else np.concatenate([basis / lengths, v[:, :-1]], 1)
        y = np.linalg.lstsq(g, left.T @ r, rcond=None)[0]
        x, r = x + right @ y, r - left @ (g @ y)
        if ritz == "singular":
            z = np.linalg.svd(g)[2][-k:].T
        elif basis is None:  # the form of the paper for the first cycle
            last = np.linalg.solve(h[:-1].T, np.eye(m)[-1])
            z = smallest(*np.linalg.eig(h[:-1] + h[m, m - 1] ** 2 * np.outer(last, np.eye(m)[-1])), k)
        else:
            z = smallest(*scipy.linalg.eig(g.T @ g, g.T @ left.T @ right), k)
        q, upper = np.linalg.qr(g @ z)
        basis, image = right @ z @ np.linalg.inv(upper), left @ q
        norms.append(np.linalg.norm(r))
        spaces.append(basis.T)
    return norms, spaces


def smallest(values, vectors, k):
    """A real basis for the k eigenvectors of smallest absolute value."""
    chosen = vectors[:, np.argsort(np.abs(values))[:k]]
    return np.linalg.svd(np.concatenate([chosen.real, chosen.imag], 1))[0][:, :k]


@pytest.mark.parametrize("ritz", ["harmonic", "singular"])
def test_cycles_are_those_of_the_reference(solved, ritz):
    norms, spaces = reference(A, B, M, K, 3, ritz)
    for cycles in (1, 3):
        x, recycle, info = solved(cycles, ritz)
        np.testing.assert_allclose(info.residual_norm, norms[cycles - 1], rtol=1e-2)
        np.testing.assert_allclose(info.residual_norm, np.linalg.norm(B - A @ x), rtol=1e-7)
        assert metrics.subspace_distance(recycle.basis, spaces[cycles - 1]) < 1e-2
        assert info.iterations == M + (cycles - 1) * (M - K)
        assert info.matvecs == info.iterations + 1
    np.testing.assert_allclose(info.history[[M, 2 * M - K, 3 * M - 2 * K]], norms, rtol=1e-2)


@pytest.mark.parametrize("ritz", ["harmonic", "singular"])
def test_images_are_exact_and_orthonormal(solved, ritz):
    for cycles in (1, 3, 40):
        _, recycle, info = solved(cycles, ritz)
        np.testing.assert_allclose(recycle.basis @ A.T, recycle.image, atol=1e-10)
        np.testing.assert_allclose(recycle.image @ recycle.image.T, np.eye(K), atol=1e-10)
        assert np.diff(info.history).max() < 1e-12
    assert info.converged


def test_recycling_beats_restarting(solved):
    plain, recycled = solved(40, num_recycle=0)[2], solved(40)[2]
    assert plain.converged
    assert recycled.matvecs < 0.7 * plain.matvecs


@in_float64
def test_harmonic_vectors_against_scipy():
    """The real subspace of complex and real eigenvalues, down to the gap below the k-th."""
    rng = np.random.default_rng(3)
    pair = np.array([[3.0, -4.0], [4.0, 3.0]])  # of absolute value 5
    middle = scipy.linalg.block_diag(200.0, pair, -4.0, np.diag(np.linspace(0.01, 1.5, 26)))
    basis = rng.normal(size=(30, 30))
    matrix = basis @ middle @ np.linalg.inv(basis)
    values, vectors = scipy.linalg.eig(matrix)
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(dominant_subspace, static_argnums=1)(matrix, 4))
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(matrix @ found, found @ (found.T @ matrix @ found), atol=1e-7)  # invariant
    expected = smallest(1 / values, vectors, 4)
    assert np.linalg.norm(found - expected @ (expected.T @ found)) < 1e-6


# --- from one system to the next


@in_float64
def test_deflation_by_an_exact_invariant_subspace():
    """With the slow eigenvectors known, the residuals are those of GMRES on what is left."""
    values, vectors = np.linalg.eig(A)
    slow = smallest(values, vectors, K).T

    @jax.jit
    def solve(b, slow):
        x, _, info = gcrodr(times(A), b, Recycle(slow, 0 * slow), restart=M, num_recycle=K, tol=1e-2)
        q = jnp.linalg.qr((slow @ A.T).T)[0]
        rest = lambda v: v - q @ (q.T @ v)  # noqa: E731
        _, deflated = gmres(lambda v: rest(A @ v), rest(b), restart=M - K, tol=0.0, max_restarts=1)
        return x, info, deflated

    x, info, deflated = solve(B, slow)
    assert info.converged
    steps = int(info.iterations)
    assert 2 < steps < M - K
    np.testing.assert_allclose(info.history[1 : steps + 1], deflated.history[1 : steps + 1], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(B - A @ x), info.residual_norm)
    assert info.matvecs == K + steps + 1


@in_float64
def test_a_known_solution_takes_no_step():
    answer = np.linalg.solve(A, B)
    given = np.stack([np.zeros(N), answer, 2 * answer, np.ones(N)])  # a gap, and a direction twice

    @jax.jit
    def solve(b, given):
        x, recycle, info = gcrodr(times(A), b, Recycle(given, 0 * given), restart=M, num_recycle=K, tol=1e-9)
        again = gcrodr(times(A), b + 1, recycle, restart=M, num_recycle=K, tol=1e-9)[2]
        known = gcrodr(times(A), b + 1, recycle, restart=M, num_recycle=K, tol=1e-9, same_matrix=True)[2]
        return x, recycle, info, again, known

    x, recycle, info, again, known = solve(B, given)
    assert (info.iterations, info.matvecs, bool(info.converged)) == (0, 3 + 1, True)
    np.testing.assert_allclose(x, answer, rtol=1e-7)
    np.testing.assert_allclose(recycle.basis @ A.T, recycle.image, atol=1e-10)
    alive = np.any(np.asarray(recycle.basis) != 0, axis=1)
    np.testing.assert_allclose(recycle.image @ recycle.image.T, np.diag(alive.astype(float)), atol=1e-10)
    assert alive.sum() == 2
    assert again.converged
    assert (known.iterations, known.matvecs + alive.sum()) == (again.iterations, again.matvecs)


@in_float64
def test_sequence_is_a_chain_of_solves_in_the_order_given():
    shifts, order = np.array([0.0, 0.3, 0.1, 0.2]), np.array([0, 2, 3, 1])
    bs = np.random.default_rng(2).normal(size=(4, N))
    options = {"restart": M, "num_recycle": K, "tol": 1e-6, "max_restarts": 20}
    product = lambda shift, v: jnp.asarray(A) @ v + shift * v  # noqa: E731
    precond = lambda shift, v: v / (1 + shift)  # noqa: E731
    x, last, info = jax.jit(lambda s, b, o: gcrodr_sequence(product, s, b, order=o, precond=precond, **options))(
        shifts, bs, order
    )

    @jax.jit
    def one(shift, b, recycle):
        return gcrodr(lambda v: product(shift, v), b, recycle, precond=lambda v: precond(shift, v), **options)

    recycle = Recycle(np.zeros((K, N)), np.zeros((K, N)))
    for at in order:
        single, recycle, alone = one(shifts[at], bs[at], recycle)
        np.testing.assert_allclose(x[at], single, rtol=1e-9)
        assert (info.matvecs[at], info.iterations[at]) == (alone.matvecs, alone.iterations)
        assert np.linalg.norm(bs[at] - A @ x[at] - shifts[at] * x[at]) < 1e-6 * np.linalg.norm(bs[at])
    np.testing.assert_allclose(last.basis, recycle.basis, rtol=1e-6, atol=1e-9)
    assert np.all(info.matvecs[order[1:]] < info.matvecs[order[0]])


# --- what goes wrong, and each system for itself


def test_each_system_of_a_batch_stops_on_its_own():
    easy, hard = np.eye(N) + 0.01 * A, A
    matrices, bs = np.stack([easy, hard, easy]).astype(np.float32), np.stack([B, B, 0 * B]).astype(np.float32)
    solve = lambda a, b: gcrodr(lambda v: a @ v, b, restart=M, num_recycle=K, tol=1e-4)  # noqa: E731
    x, _, info = jax.jit(jax.vmap(solve))(matrices, bs)
    alone = jax.jit(solve)
    for at in range(3):
        single, _, one = alone(matrices[at], bs[at])
        np.testing.assert_allclose(x[at], single, rtol=2e-3, atol=1e-4)
        assert abs(int(info.iterations[at]) - int(one.iterations)) <= 1
        assert info.converged[at]
    assert info.iterations[0] < info.iterations[1] / 3
    assert info.matvecs[2] == 0
    assert (np.asarray(x[2]) == 0).all()


def test_rounding_is_reported():
    """float32 cannot reach 1e-9: the truth is told, and no cycle is spent after the first that does not help."""
    b = B.astype(np.float32)
    solve = jax.jit(lambda b, tol: gcrodr(times(A.astype(np.float32)), b, restart=M, num_recycle=K, tol=tol))
    x, _, info = solve(b, 1e-9)
    true = np.linalg.norm(B - A @ np.asarray(x, np.float64)) / np.linalg.norm(B)
    assert not info.converged
    assert 1e-9 < true < 1e-4
    assert info.residual_norm / np.linalg.norm(B) == pytest.approx(true, rel=1)
    assert info.cycles < 30
    x, _, info = solve(b, 1e-4)
    assert info.converged
    assert np.linalg.norm(B - A @ np.asarray(x, np.float64)) < 1.01e-4 * np.linalg.norm(B)


SMALL = {"restart": 6, "max_restarts": 5, "tol": 1e-5}


@functools.cache
def small_solvers():
    """GMRES and GCRO-DR of a dense float32 system with 8 unknowns."""
    plain = jax.jit(lambda a, b: gmres(lambda v: a @ v, b, **SMALL))
    recycled = jax.jit(lambda a, b: gcrodr(lambda v: a @ v, b, num_recycle=3, **SMALL)[::2])
    return plain, recycled


SHIFT = np.roll(np.eye(8), 1, axis=0)  # GMRES makes no progress before step 8
SINGULAR = np.diag([0.0, 1, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize(
    ("matrix", "b", "converged", "steps"),
    [
        pytest.param(np.eye(8), np.ones(8), True, 1, id="identity"),
        pytest.param(np.diag([1.0, 2, 3] * 2 + [1, 2]), np.ones(8), True, 3, id="three eigenvalues"),
        pytest.param(np.diag(np.arange(1.0, 9)), np.zeros(8), True, 0, id="b is zero"),
        pytest.param(SHIFT, np.eye(8)[0], False, None, id="stagnation"),
        pytest.param(SINGULAR, np.ones(8), False, None, id="singular, no solution"),
        pytest.param(SINGULAR, 1 - np.eye(8)[0], True, None, id="singular, with a solution"),
        pytest.param(np.diag(np.ones(7), 1), np.eye(8)[7], False, None, id="nilpotent"),
        pytest.param(np.zeros((8, 8)), np.ones(8), False, None, id="zero matrix"),
    ],
)
def test_hard_cases(matrix, b, converged, steps):
    matrix, b = matrix.astype(np.float32), b.astype(np.float32)
    for solve in small_solvers():
        x, info = solve(matrix, b)
        assert np.isfinite(x).all()
        assert np.isfinite(info.history).all()
        assert bool(info.converged) == converged
        np.testing.assert_allclose(info.residual_norm, np.linalg.norm(b - matrix @ x), atol=1e-5)
        if steps is not None:
            assert info.iterations == steps
            assert info.matvecs == steps + (steps > 0)


def test_stagnation_of_gmres_ends_after_one_cycle():
    _, info = small_solvers()[0](SHIFT.astype(np.float32), np.eye(8, dtype=np.float32)[0])
    assert (info.cycles, info.residual_norm) == (1, 1.0)


def test_numbers_that_are_none_end_the_solve():
    for matrix, b in ((np.full((8, 8), np.nan), np.ones(8)), (np.eye(8), np.full(8, np.nan))):
        for solve in small_solvers():
            _, info = solve(matrix.astype(np.float32), b.astype(np.float32))
            assert not info.converged
            assert np.isnan(info.residual_norm)
            assert info.cycles <= 1


def test_bfloat16_and_zero_with_a_start():
    x, info = gmres(lambda v: 2 * v, jnp.ones(4, jnp.bfloat16), **SMALL)
    assert x.dtype == info.residual_norm.dtype == jnp.float32
    np.testing.assert_allclose(x, 0.5, rtol=1e-6)
    x, info = gmres(lambda v: 2 * v, jnp.zeros(4), jnp.ones(4), **SMALL)
    assert (np.asarray(x) == 0).all()
    assert info.converged


GOOD = {"matvec": lambda v: v, "b": jnp.ones(4), "restart": 3}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"matvec": lambda v: v[:2]}, ValueError, r"matvec must return floating-point numbers of shape \[4\]"),
        ({"precond": lambda v: v > 0}, ValueError, "precond must return floating-point"),
        ({"matvec": jnp.eye(4)}, TypeError, "matvec must be a function"),
        ({"b": jnp.ones((4, 1))}, ValueError, r"b must have shape \[N\]"),
        ({"b": jnp.arange(4)}, TypeError, "b must be floating point"),
        ({"x0": jnp.ones(3)}, ValueError, "x0 and b must have the same shape"),
        ({"restart": 0}, ValueError, "restart must be an integer of at least 1"),
        ({"restart": 2.5}, TypeError, "restart must be a static integer"),
        ({"max_restarts": 0}, ValueError, "max_restarts"),
        ({"tol": -1e-3}, ValueError, "tol must be at least 0"),
        ({"atol": -1e-3}, ValueError, "atol must be at least 0"),
        ({"num_recycle": 3}, ValueError, "num_recycle must be less than restart, got 3 and 3"),
        ({"num_recycle": -1}, ValueError, "num_recycle must be an integer of at least 0"),
        ({"ritz": "ordinary"}, ValueError, "ritz must be one of"),
        ({"same_matrix": True}, ValueError, "same_matrix needs recycle"),
        ({"recycle": Recycle(jnp.ones((1, 4)), jnp.ones((1, 4)))}, ValueError, "recycle must hold arrays"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        gcrodr(**{**GOOD, "num_recycle": 2, **change})
    if change.keys() <= {"matvec", "b", "x0", "restart", "max_restarts", "tol", "atol", "precond"}:
        with pytest.raises(error, match=words):
            gmres(**{**GOOD, **change})


def test_bad_sequences():
    product = lambda p, v: p * v  # noqa: E731
    solve = functools.partial(gcrodr_sequence, product, restart=3, num_recycle=1)
    with pytest.raises(ValueError, match="params and bs"):
        solve(jnp.ones(2), jnp.ones((3, 4)))
    with pytest.raises(ValueError, match=r"bs must have shape \[T, N\]"):
        solve(jnp.ones(3), jnp.ones(3))
    with pytest.raises(ValueError, match="order and bs"):
        solve(jnp.ones(3), jnp.ones((3, 4)), order=jnp.arange(2))
    with pytest.raises(TypeError, match="order must hold integers"):
        solve(jnp.ones(3), jnp.ones((3, 4)), order=jnp.ones(3))
    with jax.enable_x64(True):
        wide = jnp.ones((1, 4))
        with pytest.raises(TypeError, match="recycle is float64"):
            solve(jnp.ones(3, jnp.float32), jnp.ones((3, 4), jnp.float32), recycle=Recycle(wide, wide))
        with pytest.raises(TypeError, match="what matvec returns is float64"):
            solve(jnp.ones(3), jnp.ones((3, 4), jnp.float32))
