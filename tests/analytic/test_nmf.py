"""Non-negative factorisations: errors that never rise, exact recovery from anchors, scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import NMF

from jaxlab import analytic

RNG = np.random.default_rng(0)
nmf = jax.jit(analytic.nmf, static_argnames=("rank", "num_iters", "num_restarts"))
anchor_rows = jax.jit(analytic.anchor_rows, static_argnames="rank")
KEY = jax.random.key(0)


def separable(seed, rows=12, rank=3, dim=5):
    """X = L R in which one row for every component holds that component alone; and where those rows are."""
    rng = np.random.default_rng(seed)
    right = rng.dirichlet(np.ones(dim), rank)
    left = rng.dirichlet(np.ones(rank), rows)
    anchors = rng.permutation(rows)[:rank]
    left[anchors] = np.eye(rank)
    return (left @ right).astype(np.float32), left, right, anchors


@pytest.mark.parametrize("seed", range(3))
def test_no_update_raises_the_error(seed):
    x = np.random.default_rng(seed).uniform(size=(10, 8)).astype(np.float32)
    found = nmf(x, rank=3, key=jax.random.key(seed), num_iters=200)
    errors = np.asarray(found.errors, np.float64)
    assert errors.shape == (201,)
    assert (np.diff(errors) <= 1e-6 * errors[:-1]).all()
    assert errors[-1] < 0.5 * errors[0]
    assert found.left.min() >= 0
    assert found.right.min() >= 0
    assert errors[-1] == pytest.approx(np.sum((x - np.asarray(found.left @ found.right)) ** 2), rel=1e-4)


def test_one_update_is_the_published_one():
    x = RNG.uniform(size=(6, 4)).astype(np.float32)
    right = RNG.uniform(size=(2, 4)).astype(np.float32)
    before = nmf(x, rank=2, key=KEY, num_iters=1, right=right)
    # The start of the left factor is drawn; after one update it solves its own formula with the right factor given.
    after = nmf(x, rank=2, key=KEY, num_iters=2, right=right)
    left, moved = np.float64(before.left), np.float64(before.right)
    left_next = left * (x @ moved.T) / (left @ moved @ moved.T)
    np.testing.assert_allclose(after.left, left_next, rtol=1e-4)
    np.testing.assert_allclose(after.right, moved * (left_next.T @ x) / (left_next.T @ left_next @ moved), rtol=1e-4)


def test_as_good_as_scikit_learn():
    x = RNG.uniform(size=(15, 10)).astype(np.float32)
    peer = NMF(3, init="random", random_state=0, solver="mu", max_iter=2000, tol=0).fit(x)
    found = nmf(x, rank=3, key=KEY, num_iters=2000, num_restarts=5)
    assert found.errors[-1] <= 1.05 * peer.reconstruction_err_**2


def test_restarts_keep_the_best():
    x = RNG.uniform(size=(10, 8)).astype(np.float32)
    found = nmf(x, rank=3, key=KEY, num_iters=20, num_restarts=4)
    alone = [nmf(x, rank=3, key=key, num_iters=20).errors[-1] for key in jax.random.split(KEY, 4)]
    assert found.errors[-1] == pytest.approx(min(map(float, alone)), rel=1e-5)


def test_a_product_of_that_rank_is_found():
    x = (RNG.uniform(size=(8, 2)) @ RNG.uniform(size=(2, 6))).astype(np.float32)
    found = nmf(x, rank=2, key=KEY, num_iters=2000, num_restarts=2)
    np.testing.assert_allclose(found.left @ found.right, x, atol=5e-3)


def test_zeros_and_negative_entries():
    found = nmf(np.zeros((3, 4), np.float32), rank=2, key=KEY, num_iters=3)
    assert all(np.isfinite(leaf).all() for leaf in found)
    assert found.errors[-1] == 0
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(
        nmf(x, rank=2, key=KEY, num_iters=5).left, nmf(np.maximum(x, 0), rank=2, key=KEY, num_iters=5).left
    )


@pytest.mark.parametrize("seed", range(5))
def test_anchors_are_found_exactly(seed):
    x, _, right, anchors = separable(seed)
    scale = np.random.default_rng(seed + 1).uniform(0.5, 2, (len(x), 1)).astype(np.float32)
    for rows in (x, scale * x):  # the length of a row says nothing
        index = np.asarray(anchor_rows(rows, rank=3, where=np.ones(len(x), bool)))
        assert sorted(index) == sorted(anchors)
    np.testing.assert_allclose(x[index[np.argsort(index)]], right[np.argsort(anchors)], atol=1e-6)


def test_a_free_factorisation_does_not_find_them():
    """Why anchors matter: the product can be exact, the factors wrong."""
    x, _, right, _ = separable(0)
    found = nmf(x, rank=3, key=KEY, num_iters=3000)
    unit = np.asarray(found.right) / np.asarray(found.right).sum(1, keepdims=True)
    gap = np.abs(unit[:, None] - right).sum(-1)
    assert found.errors[-1] < 1e-4
    assert gap.min(axis=1).max() > 0.1


def test_anchors_among_the_rows_that_may_be_chosen():
    x, _, _, anchors = separable(2)
    kept = np.ones(len(x), bool)
    kept[anchors[0]] = False
    dirty = np.where(kept[:, None], x, np.nan)
    index = np.asarray(anchor_rows(dirty, rank=3, where=kept))
    assert anchors[0] not in index
    assert {*anchors[1:]} <= {*index.tolist()}
    assert len({*np.asarray(anchor_rows(np.ones_like(x), rank=3, where=kept)).tolist()}) == 3  # rank 1: different rows


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda x: analytic.nmf(x[0], rank=1, key=KEY), r"x must have shape \[N, D\]"),
        (ValueError, lambda x: analytic.nmf(x, rank=0, key=KEY), "rank"),
        (ValueError, lambda x: analytic.nmf(x, rank=2, key=KEY, right=x), r"right must have shape \[2, 4\]"),
        (TypeError, lambda x: analytic.nmf(x.astype(int), rank=1, key=KEY), "x must be floating"),
        (ValueError, lambda x: analytic.anchor_rows(x, rank=4), "rank must be at most 3"),
    ],
)
def test_bad_input(error, call, message):
    with pytest.raises(error, match=message):
        call(jnp.ones((3, 4)))
