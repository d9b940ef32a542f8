"""Scores by correlations, codes and tangents: limits in closed form, numpy, dead units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nas

RNG = np.random.default_rng(0)
EPS = 1e-5
logdet = jax.jit(nas.correlation_logdet)
codes_logdet = jax.jit(nas.activation_code_logdet)


def by_numpy(rows, eps=EPS):
    eigenvalues = np.clip(np.linalg.eigvalsh(np.corrcoef(np.asarray(rows, np.float64))), 0, None) + eps
    return -np.sum(np.log(eigenvalues) + 1 / eigenvalues)


# --- correlations


def test_equals_numpy():
    rows = RNG.standard_normal((5, 40)).astype(np.float32)
    np.testing.assert_allclose(logdet(rows), by_numpy(rows), rtol=1e-5)
    np.testing.assert_allclose(logdet(np.stack([rows, 2 * rows])), [by_numpy(rows)] * 2, rtol=1e-5)


def test_rows_that_are_all_alike():
    alike = np.tile(RNG.standard_normal(40).astype(np.float32), (5, 1))
    expected = -(np.log(5 + EPS) + 1 / (5 + EPS)) - 4 * (np.log(EPS) + 1 / EPS)
    np.testing.assert_allclose(logdet(alike), expected, rtol=0.2)  # 1 / eps magnifies rounding
    with jax.enable_x64(True):
        np.testing.assert_allclose(nas.correlation_logdet(alike.astype(np.float64)), expected, rtol=1e-6)


def test_uncorrelated_rows_reach_the_bound():
    rows = np.kron(np.array([[1, 1], [1, -1]]), np.array([[1, 1], [1, -1]])).astype(np.float32)[1:].repeat(10, 1)
    np.testing.assert_allclose(logdet(rows), -3 * (np.log(1 + EPS) + 1 / (1 + EPS)), rtol=1e-6)
    for shape in ((5, 40), (3, 40)):
        assert float(logdet(RNG.standard_normal(shape).astype(np.float32))) < -shape[0]


def test_shifts_scales_signs_and_orders_do_not_matter():
    rows = RNG.standard_normal((5, 40)).astype(np.float32)
    base = float(logdet(rows))
    scale, sign = RNG.uniform(0.5, 2, (5, 1)), np.array([[1], [-1], [1], [-1], [-1]])
    changed = (scale * sign * rows + RNG.standard_normal((5, 1)))[RNG.permutation(5)][:, RNG.permutation(40)]
    np.testing.assert_allclose(logdet(changed.astype(np.float32)), base, rtol=1e-4)


def test_a_dead_row_counts_as_uncorrelated():
    rows = RNG.standard_normal((5, 40)).astype(np.float32)
    rows[1], rows[3] = 0.0, 0.1  # 0.1 is no sum of powers of two: its mean is off by rounding
    one = np.log(1 + EPS) + 1 / (1 + EPS)
    np.testing.assert_allclose(logdet(rows), by_numpy(rows[[0, 2, 4]]) - 2 * one, rtol=1e-5)
    np.testing.assert_allclose(logdet(np.zeros((5, 40), np.float32)), -5 * one, rtol=1e-6)


def test_rows_and_columns_that_do_not_exist():
    rows = RNG.standard_normal((5, 40)).astype(np.float32)
    rows[2] = 3.0  # dead, but there
    row_where, column_where = np.array([True, False, True, True, True]), RNG.random(40) < 0.6
    hide = jax.jit(lambda rows: nas.correlation_logdet(rows, row_where=row_where, column_where=column_where))
    expected = by_numpy(rows[[0, 3, 4]][:, column_where]) - np.log(1 + EPS) - 1 / (1 + EPS)
    for junk in (9.0, np.nan):
        dirty = np.where(row_where[:, None] & column_where, rows, np.float32(junk))
        np.testing.assert_allclose(hide(dirty), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"row_where must have shape \[5\]"):
        nas.correlation_logdet(rows, row_where=column_where)


def test_more_rows_than_columns():
    rows = RNG.standard_normal((6, 4)).astype(np.float32)
    np.testing.assert_allclose(nas.correlation_logdet(rows, eps=0.1), by_numpy(rows, 0.1), rtol=1e-4)


@pytest.mark.parametrize(
    ("error", "match", "rows", "eps"),
    [
        (ValueError, r"rows must have shape \[..., R, C\]", np.ones(4, np.float32), EPS),
        (ValueError, "C >= 2", np.ones((4, 1), np.float32), EPS),
        (ValueError, "eps must be > 0", np.ones((4, 2), np.float32), 0.0),
        (TypeError, "rows must be floating point", np.ones((4, 2), int), EPS),
    ],
)
def test_bad_rows(error, match, rows, eps):
    with pytest.raises(error, match=match):
        nas.correlation_logdet(rows, eps=eps)


# --- codes


def test_codes_count_agreements():
    codes = RNG.random((5, 12)) < 0.5
    agree = (codes[:, None] == codes).sum(-1).astype(float)
    np.testing.assert_allclose(codes_logdet(codes), np.linalg.slogdet(agree)[1], rtol=1e-5)
    signed = np.where(codes, 0.3, -2.0).astype(np.float32)
    np.testing.assert_allclose(codes_logdet(signed), codes_logdet(codes), rtol=1e-6)


def test_twins_and_too_few_units_are_singular():
    codes = RNG.random((5, 12)) < 0.5
    codes[4] = codes[0]
    assert float(codes_logdet(codes)) == -np.inf
    few = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], bool)  # four different codes, rank three
    assert float(nas.activation_code_logdet(few)) == -np.inf
    assert float(nas.activation_code_logdet(codes[:1])) == pytest.approx(np.log(12))
    assert float(nas.activation_code_logdet(codes, unit_where=np.zeros(12, bool))) == -np.inf


def test_units_that_do_not_exist():
    codes = RNG.random((5, 12)) < 0.5
    exists = np.arange(12) < 9
    hidden = jax.jit(lambda codes: nas.activation_code_logdet(codes, unit_where=exists))(codes | ~exists)
    np.testing.assert_allclose(hidden, nas.activation_code_logdet(codes[:, :9]), rtol=1e-5)
    with pytest.raises(ValueError, match=r"unit_where must have shape \[12\]"):
        nas.activation_code_logdet(codes, unit_where=exists[:3])


def test_volume_of_relu_inputs():
    inputs = RNG.standard_normal((5, 12)).astype(np.float32)
    np.testing.assert_allclose(nas.relu_input_logdet(inputs), np.linalg.slogdet(inputs @ inputs.T)[1], rtol=1e-4)
    assert float(nas.relu_input_logdet(inputs[:, :4])) == -np.inf
    assert float(nas.relu_input_logdet(0 * inputs)) == -np.inf
    # Codes cannot tell these two networks apart, the volume can.
    assert float(nas.relu_input_logdet(2 * inputs)) == pytest.approx(
        float(nas.relu_input_logdet(inputs)) + 10 * np.log(2), rel=1e-4
    )


# --- gradients by the input and by the parameters


def network(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"] + params["c"]


PARAMS = {
    "a": RNG.standard_normal((3, 4)).astype(np.float32),
    "b": RNG.standard_normal((4, 2)).astype(np.float32),
    "c": np.zeros(2, np.float32),
}
X, LABELS = RNG.standard_normal((6, 3)).astype(np.float32), np.array([0, 1, 1, 0, 1, 0])


def test_input_jacobian_by_hand():
    slope = 1 - np.tanh(X @ PARAMS["a"]) ** 2
    expected = (slope * PARAMS["b"].sum(1)) @ PARAMS["a"].T
    found = jax.jit(lambda x: nas.input_jacobian(network, PARAMS, x))(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with jax.enable_x64(True):
        wide = {name: leaf.astype(np.float64) for name, leaf in PARAMS.items()}
        score = nas.jacobian_covariance(network, wide, X.astype(np.float64))
    np.testing.assert_allclose(score, by_numpy(expected), rtol=1e-3)
    with pytest.raises(ValueError, match="N >= 2"):
        nas.jacobian_covariance(network, PARAMS, X[:1])


def test_tangent_scores_by_jacobian():
    found = jax.jit(lambda x: nas.tangent_scores(network, PARAMS, x, LABELS))(X)
    jacobian = jax.jacrev(lambda params: network(params, X)[jnp.arange(6), LABELS])(PARAMS)
    flat = np.concatenate([np.asarray(leaf, np.float64).reshape(6, -1) for leaf in jax.tree.leaves(jacobian)], 1)
    eigenvalues = np.linalg.eigvalsh(flat @ flat.T)
    np.testing.assert_allclose(found.spectrum, eigenvalues[::-1], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.trace, np.sqrt(eigenvalues.mean()), rtol=1e-5)
    np.testing.assert_allclose(found.condition, eigenvalues[-1] / eigenvalues[0], rtol=0.05)


def test_tangent_kernel_of_twins_is_singular():
    found = nas.tangent_scores(network, PARAMS, X[[0, 0]], LABELS[[0, 0]], select=lambda path, leaf: path == "b")
    assert float(found.condition) == np.inf
    with pytest.raises(ValueError, match="select must choose"):
        nas.tangent_scores(network, PARAMS, X, LABELS, select=lambda path, leaf: False)
    with pytest.raises(ValueError, match="at least one example"):
        nas.tangent_scores(network, PARAMS, X[:0], LABELS[:0])
