"""The question of recycling: its systems against sparse matrices, its counts, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import spsolve

from experiments import darcy, krylov_recycling
from experiments.command_line import answer
from jaxlab import optim

SIZE = 5


def sparse(field):
    """The matrix node by node, from the permeability of all nodes."""
    n = len(field) - 2
    rows, columns, values = [], [], []
    for i in range(1, n + 1):
        for j in range(1, n + 1):
            at = (i - 1) * n + j - 1
            for di, dj in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                a, b = field[i, j], field[i + di, j + dj]
                flow = 2 / (1 / a + 1 / b) * (n + 1) ** 2
                rows.append(at), columns.append(at), values.append(flow)
                if 1 <= i + di <= n and 1 <= j + dj <= n:
                    rows.append(at), columns.append((i + di - 1) * n + j + dj - 1), values.append(-flow)
    return scipy.sparse.csr_matrix((values, (rows, columns)), shape=(n * n, n * n))


def test_products_are_those_of_the_sparse_matrix():
    rng = np.random.default_rng(0)
    fields = np.exp(rng.normal(size=(2, SIZE + 2, SIZE + 2)))
    with jax.enable_x64(True):
        matrices = darcy.faces(jnp.asarray(fields))
        products = jax.vmap(jax.vmap(darcy.product, (None, 0)), (0, None))(matrices, jnp.eye(SIZE**2))
        diagonals = jax.vmap(darcy.diagonal)(matrices)
    for field, got, diagonal in zip(fields, products, diagonals, strict=True):
        expected = sparse(field)
        np.testing.assert_allclose(got, expected.toarray(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(diagonal, expected.diagonal(), rtol=1e-12)


def test_smooth_solution_of_the_equation():
    """a = exp(x) and u = sin(pi x) sin(pi y): the error falls with the square of the spacing."""

    def error(size):
        x = np.linspace(0, 1, size + 2)[:, None]
        y = x.T
        u = np.sin(np.pi * x) * np.sin(np.pi * y)
        f = np.exp(x) * (2 * np.pi**2 * u - np.pi * np.cos(np.pi * x) * np.sin(np.pi * y))
        with jax.enable_x64(True):
            matrix = darcy.faces(jnp.exp(jnp.asarray(x + 0 * y)))
            dense = jax.vmap(lambda e: darcy.product(matrix, e))(jnp.eye(size**2))
        return np.abs(np.linalg.solve(np.asarray(dense), f[1:-1, 1:-1].ravel()) - u[1:-1, 1:-1].ravel()).max()

    assert 3 < error(7) / error(15) < 5


def test_fields():
    logs = np.asarray(darcy.gaussian_fields(jax.random.key(0), 400, 14))
    assert logs.shape == (400, 16, 16)
    assert np.mean(logs.std(axis=0) ** 2) == pytest.approx(0.25, rel=0.15)
    assert np.abs(logs.mean(axis=0)).max() < 0.15
    near, far = (np.mean(logs[:, 4, 4] * logs[:, 4, 4 + d]) / np.mean(logs[:, 4, 4] ** 2) for d in (1, 9))
    assert near > 0.8 > 0.2 > far  # smooth
    assert np.abs(logs.mean(axis=(1, 2))).max() < 0.2 * logs.std()  # nothing constant
    params, logs = darcy.family(jax.random.key(1), 30, 9)
    assert np.linalg.matrix_rank(np.asarray(logs).reshape(30, -1), tol=1e-3) == 3
    assert np.max(np.abs(params)) <= 1


def test_counts_and_residuals_of_a_sequence():
    config = krylov_recycling.Config(size=8, systems=4, restart=10, num_recycle=4, tol=1e-6)
    with jax.enable_x64(True):
        both = krylov_recycling.make_sequences(config, jax.random.key(7))
        one = jax.tree.map(lambda leaf: leaf[1], both)
        options = {"recycles": True, "in_order": True, "jacobi": True, "ritz": "harmonic"}
        info, moved = jax.jit(lambda s: krylov_recycling.solve_all(config, s, **options))(one)
        x, _, same = jax.jit(
            lambda s: optim.gcrodr_sequence(
                darcy.product,
                s.matrices,
                jnp.ones((4, 64)),
                order=s.order,
                precond=lambda matrix, x: x / darcy.diagonal(matrix),
                restart=10,
                num_recycle=4,
                tol=1e-6,
            )
        )(one)
        fall = krylov_recycling.after_products(config, info)
        one, info, moved, x, same, fall = jax.tree.map(np.asarray, (one, info, moved, x, same, fall))
    np.testing.assert_array_equal(info.matvecs, same.matvecs[one.order])
    assert info.converged.all()
    assert np.all(info.matvecs[1:] == info.iterations[1:] + 4 + 1)  # the images of what was carried, and the check
    assert info.matvecs[0] == info.iterations[0] + 1
    assert moved[0] == pytest.approx(1)  # nothing was there
    assert np.all((moved[1:] > 0) & (moved[1:] < 1 + 1e-6))
    assert fall[0] == pytest.approx(0)
    assert fall[-1] < -6
    assert np.diff(fall).max() < 1e-9
    for at in (0, 3):
        with jax.enable_x64(True):
            matrix = jax.tree.map(lambda leaf, at=at: leaf[at], one.matrices)
            dense = np.asarray(jax.vmap(darcy.product, (None, 0))(matrix, jnp.eye(64)))
        np.testing.assert_allclose(x[at], spsolve(scipy.sparse.csc_matrix(dense), np.ones(64)), rtol=1e-4)


def test_quick_run(quick_run):
    found = quick_run(krylov_recycling)
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}
    rows, names = found["rows"], [method.name for method in krylov_recycling.METHODS]
    for kind in krylov_recycling.KINDS:
        assert list(rows[f"products_{kind}"]) == names
        for name in names:
            assert np.all(np.array(rows[f"products_{kind}"][name]) > rows[f"iterations_{kind}"][name])
        assert np.all(np.array(rows[f"iterations_{kind}"]["gcrodr"]) < rows[f"iterations_{kind}"]["gmres"])
    assert min(map(min, rows["converged"].values())) == 1
    assert max(map(max, rows["worst_residual"].values())) <= 1e-8  # float64: float32 would not get there
    assert jnp.zeros(1).dtype == jnp.float32  # and it is over with the run


@pytest.mark.parametrize(
    ("option", "words"),
    [(["--num-recycle", "40"], "num_recycle must lie in"), (["--systems", "1"], "size and systems must be at least 2")],
)
def test_options_that_make_no_sense(option, words, capsys):
    assert answer(krylov_recycling, option) == 2
    assert words in capsys.readouterr().err
