"""Balanced assignment against numpy's plain loops, linear programming and its limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxlab import numerics

SCORES = np.random.default_rng(0).uniform(-1, 1, (6, 3)).astype(np.float32)
ROWS = np.array([0.5, 1.0, 2.0, 0.1, 0.4, 1.0], np.float32)
COLUMNS = np.array([1.0, 3.0, 1.0], np.float32)

sinkhorn = jax.jit(numerics.sinkhorn, static_argnames="num_iters")


def by_numpy(scores, epsilon, num_iters, rows=None, columns=None):
    """Columns, then rows, scaled by turns, as the published code does it."""
    plan = np.exp(np.asarray(scores, np.float64) / epsilon)
    rows = np.ones(len(plan)) if rows is None else rows
    columns = np.ones(plan.shape[1]) if columns is None else columns
    for _ in range(num_iters):
        plan *= (columns / columns.sum() * rows.sum()) / plan.sum(0)
        plan *= (rows / plan.sum(1))[:, None]
    return plan


@pytest.mark.parametrize("num_iters", [1, 2, 3])
def test_iterations_equal_the_plain_loops(num_iters):
    plan = sinkhorn(SCORES, epsilon=0.2, num_iters=num_iters)
    np.testing.assert_allclose(plan, by_numpy(SCORES, 0.2, num_iters), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(plan.sum(1), 1, rtol=1e-6)


def test_marginals():
    plan = sinkhorn(SCORES, epsilon=0.5, num_iters=200, row_marginal=ROWS, column_marginal=COLUMNS)
    np.testing.assert_allclose(plan.sum(1), ROWS, rtol=1e-5)
    np.testing.assert_allclose(plan.sum(0), COLUMNS, rtol=1e-4)  # both have the mass 5
    np.testing.assert_allclose(plan, by_numpy(SCORES, 0.5, 200, ROWS, COLUMNS), rtol=1e-3, atol=1e-6)
    scaled = sinkhorn(SCORES, epsilon=0.5, num_iters=200, row_marginal=ROWS, column_marginal=7 * COLUMNS)
    np.testing.assert_allclose(scaled, plan, rtol=1e-4, atol=1e-7)
    uneven = sinkhorn(SCORES, epsilon=0.2, num_iters=1)
    assert np.abs(uneven.sum(0) - 2).max() > 0.01  # after few iterations the columns are approximate


def test_a_cold_plan_is_that_of_the_linear_program():
    rows, columns = np.kron(np.eye(6), np.ones(3)), np.tile(np.eye(3), 6)
    best = linprog(-SCORES.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([np.ones(6), 2 * np.ones(3)]))
    plan = sinkhorn(SCORES, epsilon=0.005, num_iters=500)
    assert float(jnp.sum(plan * SCORES)) == pytest.approx(-best.fun, abs=1e-3)
    np.testing.assert_allclose(plan, best.x.reshape(6, 3), atol=0.02)


def test_constant_scores_share_equally():
    np.testing.assert_allclose(sinkhorn(np.full((6, 3), 8.0, np.float32)), 1 / 3, rtol=1e-6)


def test_scores_that_would_overflow():
    """exp(30 / 0.05) is infinite; a constant added to the scores changes nothing."""
    plan, shifted = (sinkhorn(SCORES + add) for add in (0, 32))
    np.testing.assert_allclose(shifted, plan, rtol=1e-3, atol=1e-5)


def test_rows_without_mass_take_part_in_nothing():
    kept = np.array([True, False, True, True, False, True])
    for junk in (np.nan, 1e30):
        plan = sinkhorn(np.where(kept[:, None], SCORES, np.float32(junk)), epsilon=0.2, where=kept)
        np.testing.assert_allclose(plan[kept], by_numpy(SCORES[kept], 0.2, 3), rtol=1e-4)
        assert (plan[~kept] == 0).all()
    by_mass = sinkhorn(SCORES, epsilon=0.2, row_marginal=kept.astype(np.float32))
    np.testing.assert_allclose(by_mass[kept], by_numpy(SCORES[kept], 0.2, 3), rtol=1e-4)
    assert (sinkhorn(SCORES, where=np.zeros(6, bool)) == 0).all()


def test_fewer_rows_than_columns():
    plan = sinkhorn(SCORES[:2], epsilon=0.2, num_iters=100)
    np.testing.assert_allclose(plan.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(plan.sum(0), 2 / 3, rtol=1e-3)


def test_rows_split_over_a_mapped_axis():
    split = jax.vmap(functools.partial(numerics.sinkhorn, epsilon=0.2, axis_name="i"), axis_name="i")
    np.testing.assert_allclose(split(SCORES.reshape(2, 3, 3)).reshape(6, 3), by_numpy(SCORES, 0.2, 3), rtol=1e-4)


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, r"scores must have shape \[N, K\]", {"scores": SCORES[0]}),
        (TypeError, "scores must be floating point", {"scores": np.ones((2, 2), int)}),
        (ValueError, "epsilon must be > 0", {"epsilon": 0.0}),
        (ValueError, "num_iters must be an integer of at least 1", {"num_iters": 0}),
        (ValueError, r"row_marginal must have shape \[6\]", {"row_marginal": COLUMNS}),
        (ValueError, r"column_marginal must have shape \[3\]", {"column_marginal": ROWS}),
        (TypeError, "where must be boolean", {"where": ROWS}),
    ],
)
def test_bad_input(error, match, arguments):
    with pytest.raises(error, match=match):
        numerics.sinkhorn(**{"scores": SCORES} | arguments)
