"""Losses of recommenders against numpy and optax: ranks, weights, masks, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)
POS, NEG = RNG.normal(size=(2, 6)).astype(np.float32)
USER, ITEM = 0.3 * RNG.normal(size=(2, 4, 3)).astype(np.float32)
OTHERS = 0.5 * RNG.normal(size=(4, 5, 3)).astype(np.float32)
FUSED, DEEP, SHALLOW = RNG.normal(size=(3, 8)).astype(np.float32)
CLICKED = RNG.integers(0, 2, 8)


def test_ranking_is_minus_log_sigmoid_of_the_gap():
    expected = np.log(1 + np.exp(NEG - POS))
    np.testing.assert_allclose(losses.bayesian_personalized_ranking(POS, NEG), expected, rtol=1e-5)
    assert float(losses.bayesian_personalized_ranking(jnp.array(-500.0), jnp.array(500.0))) == 1000.0
    slope = jax.grad(losses.bayesian_personalized_ranking)(0.0, 0.0)
    assert float(slope) == -0.5


def hinge_by_loop(user, item, others, margin, num_items=None):
    values = []
    for u, v, rest in zip(user.astype(float), item.astype(float), others.astype(float), strict=True):
        gaps = [margin + np.sum((u - v) ** 2) - np.sum((u - n) ** 2) for n in rest]
        intruders = sum(gap > 0 for gap in gaps)
        weight = 1.0 if num_items is None else np.log(1 + num_items * intruders // len(rest))
        values.append(weight * sum(max(gap, 0) for gap in gaps))
    return values


@pytest.mark.parametrize("num_items", [None, 100, 7])
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_hinge_equals_a_loop(margin, num_items):
    found = losses.collaborative_metric_hinge(USER, ITEM, OTHERS, margin=margin, num_items=num_items)
    np.testing.assert_allclose(found, hinge_by_loop(USER, ITEM, OTHERS, margin, num_items), rtol=1e-5, atol=1e-6)


def test_one_negative_is_a_triplet_loss():
    found = losses.collaborative_metric_hinge(USER, ITEM, OTHERS[:, :1], margin=0.7)
    squares = [np.sum((USER - other) ** 2, axis=1) for other in (ITEM, OTHERS[:, 0])]
    np.testing.assert_allclose(found, np.maximum(0.7 + squares[0] - squares[1], 0), rtol=1e-5)


def test_no_loss_once_all_are_further_by_the_margin():
    far = USER[:, None] + 5.0 * np.eye(3, dtype=np.float32)
    value, slope = jax.value_and_grad(lambda u: jnp.sum(losses.collaborative_metric_hinge(u, u, far)))(USER)
    assert float(value) == 0
    assert (np.asarray(slope) == 0).all()
    there = jax.grad(lambda v: jnp.sum(losses.collaborative_metric_hinge(USER, v, OTHERS)))(USER)  # at distance 0
    assert np.isfinite(there).all()


def test_padded_negatives_and_users_do_not_count():
    known = np.arange(5) < np.array([[5], [3], [1], [0]])
    dirty = np.where(known[..., None], OTHERS, np.nan)
    found = losses.collaborative_metric_hinge(USER, ITEM, dirty, num_items=50, negative_where=known)
    for row in range(4):
        cut = OTHERS[row : row + 1, known[row]]
        expected = hinge_by_loop(USER[row : row + 1], ITEM[row : row + 1], cut, 0.5, 50) if cut.size else [0.0]
        np.testing.assert_allclose(found[row], expected[0], rtol=1e-5)
    where = np.array([True, False, True, True])
    bad = np.where(where[:, None], USER, np.nan)
    slope = jax.grad(lambda u: jnp.sum(losses.collaborative_metric_hinge(u, ITEM, OTHERS, where=where)))(bad)
    assert np.isfinite(slope).all()
    assert (np.asarray(slope)[1] == 0).all()


def tri_by_numpy(fused, deep, shallow, targets):
    entropy = [np.mean(optax.losses.sigmoid_binary_cross_entropy(z, targets)) for z in (fused, deep, shallow)]
    return entropy[0] + sum(max(part - entropy[0], 0) * part for part in entropy[1:])


def test_tri_bce_equals_the_published_formula():
    found = losses.tri_bce(FUSED, DEEP, SHALLOW, CLICKED)
    np.testing.assert_allclose(found, tri_by_numpy(FUSED, DEEP, SHALLOW, CLICKED), rtol=1e-5)
    np.testing.assert_allclose(losses.tri_bce(FUSED, DEEP, SHALLOW, CLICKED, detach_weights=True), found, rtol=1e-6)
    worse = losses.tri_bce(FUSED, 3.0 * jnp.sign(0.5 - CLICKED), SHALLOW, CLICKED)
    assert float(worse) > float(tri_by_numpy(FUSED, FUSED, SHALLOW, CLICKED))


def test_equal_logits_are_plain_cross_entropy():
    plain = jnp.mean(optax.losses.sigmoid_binary_cross_entropy(jnp.asarray(FUSED), CLICKED))
    np.testing.assert_allclose(losses.tri_bce(FUSED, FUSED, FUSED, CLICKED), plain, rtol=1e-6)


def test_one_of_the_parts_is_always_pressed():
    """The fused logit is the mean of both, and cross entropy is convex: not both parts can be better."""
    mean = (DEEP + SHALLOW) / 2
    plain = jnp.mean(optax.losses.sigmoid_binary_cross_entropy(mean, CLICKED))
    assert float(losses.tri_bce(mean, DEEP, SHALLOW, CLICKED)) > float(plain)


def test_gradient_through_the_weights():
    def entropy(z):
        return jnp.mean(optax.losses.sigmoid_binary_cross_entropy(z, CLICKED))

    wrong = 2.0 * jnp.sign(0.5 - CLICKED)
    attached, detached = (
        jax.grad(lambda z, cut=cut: losses.tri_bce(FUSED, z, FUSED, CLICKED, detach_weights=cut))(wrong)
        for cut in (False, True)
    )
    weight, slope = entropy(wrong) - entropy(jnp.asarray(FUSED)), jax.grad(entropy)(wrong)
    np.testing.assert_allclose(detached, weight * slope, rtol=1e-5)
    np.testing.assert_allclose(attached, (weight + entropy(wrong)) * slope, rtol=1e-5)


def test_covariance_equals_numpy():
    z = RNG.normal(size=(12, 4)).astype(np.float32) + 100.0
    covariance = np.cov(z.astype(float).T)
    expected = (np.sum(covariance**2) - np.sum(np.diag(covariance) ** 2)) / 4
    np.testing.assert_allclose(losses.off_diagonal_covariance(z), expected, rtol=1e-3)
    np.testing.assert_allclose(losses.off_diagonal_covariance(z + 5.0), expected, rtol=1e-3)
    values, axes = np.linalg.eigh(covariance)
    white = ((z - z.mean(0)) @ axes / np.sqrt(values)).astype(np.float32)
    assert float(losses.off_diagonal_covariance(white)) < 1e-6
    assert float(losses.off_diagonal_covariance(z[:1])) == 0
    where = np.arange(12) < 9
    dirty = np.where(where[:, None], z, np.nan)
    cut = np.cov(z[:9].astype(float).T)
    np.testing.assert_allclose(
        losses.off_diagonal_covariance(dirty, where=where),
        (np.sum(cut**2) - np.sum(np.diag(cut) ** 2)) / 4,
        rtol=1e-3,
    )


def test_devices_share_their_sums():
    z = RNG.normal(size=(12, 4)).astype(np.float32)
    split = jax.vmap(functools.partial(losses.off_diagonal_covariance, axis_name="i"), axis_name="i")
    np.testing.assert_allclose(split(z.reshape(3, 4, 4)), np.full(3, losses.off_diagonal_covariance(z)), rtol=1e-5)
    parts = [a.reshape(2, 4) for a in (FUSED, DEEP, SHALLOW, CLICKED)]
    found = jax.vmap(functools.partial(losses.tri_bce, axis_name="i"), axis_name="i")(*parts)
    np.testing.assert_allclose(found, np.full(2, losses.tri_bce(FUSED, DEEP, SHALLOW, CLICKED)), rtol=1e-5)


V, W = jnp.zeros((4, 3)), jnp.zeros((4, 5, 3))
Z = jnp.zeros(8)
HINGE = losses.collaborative_metric_hinge


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.bayesian_personalized_ranking(Z, Z[:2]), ValueError, "pos and neg"),
        (lambda: losses.bayesian_personalized_ranking(Z, Z.astype(int)), TypeError, "neg must be floating point"),
        (lambda: losses.bayesian_personalized_ranking(Z, Z, where=Z), TypeError, "where must be boolean"),
        (lambda: HINGE(Z, Z, W), ValueError, r"user must have shape \[B, D\]"),
        (lambda: HINGE(V, V[:2], W), ValueError, "user and positive"),
        (lambda: HINGE(V, V, W[..., :2]), ValueError, r"negatives must be \[B, M, D\]"),
        (lambda: HINGE(V, V, V), ValueError, r"negatives must have shape \[B, M, D\]"),
        (lambda: HINGE(V, V, W, margin=-1.0), ValueError, "margin must be at least 0"),
        (lambda: HINGE(V, V, W, num_items=0), ValueError, "num_items must be at least 1"),
        (lambda: HINGE(V, V, W, negative_where=jnp.ones(4, bool)), ValueError, "negative_where must have shape"),
        (lambda: HINGE(V.astype(int), V, W), TypeError, "user must be floating point"),
        (lambda: losses.tri_bce(Z, Z, Z[:2], Z), ValueError, "fused_logits and shallow_logits"),
        (lambda: losses.tri_bce(V, V, V, V), ValueError, r"fused_logits must have shape \[B\]"),
        (lambda: losses.tri_bce(Z, Z, Z, Z[:3]), ValueError, "fused_logits and targets"),
        (lambda: losses.tri_bce(Z, Z.astype(int), Z, Z), TypeError, "deep_logits must be floating point"),
        (lambda: losses.off_diagonal_covariance(Z), ValueError, r"z must have shape \[N, D\]"),
        (lambda: losses.off_diagonal_covariance(V, where=jnp.ones(3, bool)), ValueError, "where must have shape"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
