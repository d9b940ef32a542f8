"""Hidden covariance and its companions: limits, numpy, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nas

RNG = np.random.default_rng(0)
HIDDEN = RNG.standard_normal((4, 6, 3)).astype(np.float32)
covariance = jax.jit(nas.hidden_covariance, static_argnames="rows")


def by_numpy(rows, eps=1e-5):
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(rows.astype(np.float64))) + eps
    return -np.sum(np.log(eigenvalues) + 1 / eigenvalues)


def test_rows_are_units_or_examples():
    by_unit = np.stack([HIDDEN[:, :, h].ravel() for h in range(3)])
    by_example = np.stack([HIDDEN[b].ravel() for b in range(4)])
    np.testing.assert_allclose(covariance(HIDDEN), by_numpy(by_unit), rtol=1e-5)
    np.testing.assert_allclose(covariance(HIDDEN, rows="examples"), by_numpy(by_example), rtol=1e-5)


def test_copies_of_units_cost_and_dead_units_do_not():
    copies = np.concatenate([HIDDEN, HIDDEN[..., :1]], -1)
    assert float(covariance(copies)) < -1e4
    dead = np.concatenate([HIDDEN, 0 * HIDDEN[..., :1]], -1)
    np.testing.assert_allclose(covariance(dead), covariance(HIDDEN) - 1.0, rtol=1e-3)


def test_units_that_do_not_exist():
    padded = np.concatenate([HIDDEN, np.full_like(HIDDEN[..., :2], np.nan)], -1)
    for rows in ("units", "examples"):
        found = nas.hidden_covariance(padded, rows=rows, unit_where=np.arange(5) < 3)
        np.testing.assert_allclose(found, covariance(HIDDEN, rows=rows), rtol=1e-5)


def test_order_and_affine_maps_of_units_do_not_matter():
    moved = (HIDDEN * np.array([2.0, -0.5, 3.0]) + 1.0)[:, :, [2, 0, 1]][RNG.permutation(4)]
    np.testing.assert_allclose(covariance(moved.astype(np.float32)), covariance(HIDDEN), rtol=1e-4)


def test_more_units_than_numbers():
    with pytest.raises(ValueError, match="3 rows of 2 numbers"):
        nas.hidden_covariance(HIDDEN[:1, :2])
    assert float(nas.hidden_covariance(HIDDEN[:1, :2], allow_rank_deficient=True)) < -1e4
    with pytest.raises(ValueError, match="rows must be one of 'units', 'examples'"):
        nas.hidden_covariance(HIDDEN, rows="time")
    with pytest.raises(ValueError, match=r"hidden must have shape \[B, T, H\]"):
        nas.hidden_covariance(HIDDEN[0])
    with pytest.raises(ValueError, match="eps must be > 0"):
        nas.hidden_covariance(HIDDEN, eps=-1.0)


def test_cosine_score_by_numpy():
    jacobian = RNG.standard_normal((5, 7))
    unit = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
    cosines = np.abs(unit @ unit.T - np.eye(5)) ** (1 / 20)
    expected = 1 - (cosines - np.diag(np.diag(cosines))).sum() / 2 / 20
    np.testing.assert_allclose(nas.cosine_jacobian_score(jacobian.astype(np.float32)), expected, rtol=1e-5)
    with_zero = np.zeros((2, 3), np.float32)
    assert float(nas.cosine_jacobian_score(with_zero)) == 1.0
    with pytest.raises(ValueError, match="at least two rows"):
        nas.cosine_jacobian_score(with_zero[:1])
    with pytest.raises(ValueError, match="power must be > 0"):
        nas.cosine_jacobian_score(with_zero, power=0.0)


def test_attention_between_uniform_and_certain():
    shape = (2, 3, 1, 4, 5)
    assert float(nas.attention_confidence(np.full(shape, 0.2, np.float32))) == pytest.approx(0.2)
    certain = np.eye(5, dtype=np.float32)[RNG.integers(0, 5, shape[:-1])]
    assert float(nas.attention_confidence(certain)) == 1.0
    with pytest.raises(ValueError, match="at least one probability"):
        nas.attention_confidence(np.ones((0, 3, 1, 4, 5), np.float32))


def test_synaptic_diversity_by_numpy():
    params = {"a": RNG.standard_normal((3, 4)).astype(np.float32), "b": np.ones(4, np.float32)}
    params["c"] = RNG.standard_normal((2, 2, 4)).astype(np.float32)
    grads = jax.tree.map(lambda leaf: 0.5 - leaf, params)
    expected = sum(
        np.linalg.norm(params[name].reshape(-1, 4), "nuc") * np.linalg.norm(grads[name].reshape(-1, 4), "nuc")
        for name in "ac"
    )
    np.testing.assert_allclose(nas.synaptic_diversity(params, grads), expected, rtol=1e-5)
    only = nas.synaptic_diversity(params, grads, select=lambda path, leaf: path == "a")
    assert 0 < float(only) < expected
    with pytest.raises(ValueError, match="another structure"):
        nas.synaptic_diversity(params, {"a": jnp.ones((3, 4))})
    with pytest.raises(ValueError, match="select must choose"):
        nas.synaptic_diversity(params, grads, select=lambda path, leaf: False)
