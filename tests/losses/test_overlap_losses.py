"""Dice, Tversky and AnyLoss against scikit-learn and numpy, and the traps of focus and amplification."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from jaxlab import losses, metrics

RNG = np.random.default_rng(0)
TARGETS = (RNG.uniform(size=30) < 0.3).astype(np.int32)
PROBS = RNG.uniform(size=30).astype(np.float32)
HARD = (RNG.uniform(size=30) < 0.4).astype(np.float32)
LOGITS = RNG.normal(size=30).astype(np.float32)


def by_numpy(p, t, smooth, focus=0.0, square=False):
    q = (1 - p) ** focus * p
    below = np.sum(q**2) + np.sum(t**2) if square else np.sum(q) + np.sum(t)
    return 1 - (2 * np.sum(q * t) + smooth) / (below + smooth)


@pytest.mark.parametrize(("smooth", "focus", "square"), [(1.0, 0.0, False), (1e-4, 0.5, True), (0.0, 2.0, False)])
def test_dice_equals_numpy(smooth, focus, square):
    found = losses.dice_loss(PROBS, TARGETS, smooth=smooth, focus=focus, square=square)
    np.testing.assert_allclose(found, by_numpy(PROBS, TARGETS, smooth, focus, square), rtol=1e-5)
    rows = losses.dice_loss(PROBS.reshape(2, 15), TARGETS.reshape(2, 15), smooth=smooth, focus=focus, square=square)
    assert rows.shape == (2,)
    np.testing.assert_allclose(rows[1], by_numpy(PROBS[15:], TARGETS[15:], smooth, focus, square), rtol=1e-5)


def test_hard_predictions_give_f1():
    expected = 1 - f1_score(TARGETS, HARD)
    np.testing.assert_allclose(losses.dice_loss(HARD, TARGETS, smooth=0.0), expected, rtol=1e-5)
    soft = 1 - metrics.f_beta(metrics.soft_confusion(PROBS, TARGETS))
    np.testing.assert_allclose(losses.dice_loss(PROBS, TARGETS, smooth=0.0), soft, rtol=1e-5)


def test_per_example_form():
    p, t = PROBS, TARGETS
    q = (1 - p) * p
    expected = 1 - (2 * q * t + 1) / (q + t + 1)
    found = losses.dice_loss(p[:, None], t[:, None], focus=1.0, smooth=1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # A confident negative is right, and teaches nothing.
    slope = jax.grad(lambda p: losses.dice_loss(p[None], jnp.zeros(1)))
    assert float(slope(jnp.array(0.0))) == pytest.approx(1.0)  # in the loss by p ...
    through = jax.grad(lambda z: losses.dice_loss(jax.nn.sigmoid(z)[None], jnp.zeros(1)))
    assert abs(float(through(jnp.array(-20.0)))) < 1e-8  # ... but not by the logit


def test_focus_turns_at_one_over_one_plus_a():
    def slope(p, focus):
        return jax.grad(lambda p: losses.dice_loss(p[None], jnp.ones(1), focus=focus))(jnp.array(p))

    for focus in (1.0, 3.0):
        peak = 1 / (1 + focus)
        assert float(slope(peak - 0.05, focus)) < 0 < float(slope(peak + 0.05, focus))
        assert abs(float(slope(peak, focus))) < 1e-6
    assert float(slope(0.9, 0.0)) < 0


@pytest.mark.parametrize("focus", [0.0, 0.5, 1.0, 2.0])
def test_focus_is_finite_at_the_ends(focus):
    for p in (0.0, 1.0):
        value, slope = jax.value_and_grad(lambda p: losses.dice_loss(p[None], jnp.ones(1), focus=focus))(jnp.array(p))
        assert np.isfinite(value)
        assert np.isfinite(slope)
    traced = jax.grad(lambda f: losses.dice_loss(jnp.array([0.0, 0.3, 1.0]), jnp.ones(3), focus=f))(jnp.array(focus))
    assert np.isfinite(traced)


def test_perfect_disjoint_and_empty():
    t = jnp.array([1, 1, 0, 0])
    assert float(losses.dice_loss(t.astype(float), t)) == 0
    assert float(losses.dice_loss(1.0 - t, t, smooth=0.5)) == pytest.approx(1 - 0.5 / 4.5)
    nothing = jnp.zeros(4)
    value, slope = jax.value_and_grad(lambda p: losses.dice_loss(p, nothing, smooth=0.0))(nothing)
    assert float(value) == 0
    assert (np.asarray(slope) == 0).all()


def test_tversky():
    counts = metrics.soft_confusion(PROBS, TARGETS)
    for smooth in (0.0, 1.0):
        np.testing.assert_allclose(
            losses.tversky(PROBS, TARGETS, smooth=smooth), losses.dice_loss(PROBS, TARGETS, smooth=smooth), rtol=1e-5
        )
    expected = 1 - counts.tp / (counts.tp + 0.3 * counts.fp + 0.7 * counts.fn)
    np.testing.assert_allclose(losses.tversky(PROBS, TARGETS, alpha=0.3, beta=0.7, smooth=0.0), expected, rtol=1e-5)


MEASURES = [(metrics.f_beta, f1_score), (metrics.balanced_accuracy, balanced_accuracy_score)]


@pytest.mark.parametrize(("ours", "theirs"), MEASURES)
def test_any_loss_of_sure_predictions_is_the_measure(ours, theirs):
    sure = np.where(HARD > 0, 4.0, -4.0).astype(np.float32)  # probabilities .018 and .982
    np.testing.assert_allclose(losses.any_loss(sure, TARGETS, ours), 1 - theirs(TARGETS, HARD), atol=1e-4)


def test_any_loss_equals_the_published_formulas():
    """Han, Moniz and Chawla's counts and losses, with their 1e-5 in the denominators."""
    a = 1 / (1 + np.exp(-73 * (1 / (1 + np.exp(-LOGITS.astype(float))) - 0.5)))
    t, n1, n0, s = TARGETS, TARGETS.sum(), len(TARGETS) - TARGETS.sum(), 1e-5
    tp = np.sum(t * a)
    tn = n0 - np.sum(a) + tp
    product = functools.partial(metrics.g_mean, root=False)
    for measure, value in (
        (metrics.accuracy_from_confusion, (tp + tn) / len(t)),
        (metrics.f_beta, 2 * tp / (n1 + np.sum(a) + s)),
        (product, tp * tn / (n1 * n0 + s)),
        (metrics.balanced_accuracy, (n0 * tp + n1 * tn) / (2 * n1 * n0 + s)),
    ):
        np.testing.assert_allclose(losses.any_loss(LOGITS, TARGETS, measure), 1 - value, atol=1e-4)


def test_amplification():
    assert float(losses.amplify(jnp.array(0.5))) == 0.5
    assert float(jax.grad(losses.amplify)(0.5)) == pytest.approx(73 / 4)
    ends = losses.amplify(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [np.exp(-36.5), 1.0], rtol=1e-5)
    assert float(jax.grad(losses.amplify)(0.7)) < 1e-3  # vanishes away from 1/2
    soft, sharp = (losses.any_loss(LOGITS, TARGETS, metrics.f_beta, scale=scale) for scale in (1.0, 73.0))
    assert abs(float(soft - sharp)) > 0.02


def test_without_positives_the_f_loss_is_one_and_flat():
    value, slope = jax.value_and_grad(lambda z: losses.any_loss(z, jnp.zeros(30), metrics.f_beta))(LOGITS)
    assert float(value) == 1
    assert (np.asarray(slope) == 0).all()


def test_order_does_not_matter():
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_allclose(
        losses.any_loss(LOGITS[order], TARGETS[order], metrics.f_beta),
        losses.any_loss(LOGITS, TARGETS, metrics.f_beta),
        rtol=1e-5,
    )


SPLIT = [
    functools.partial(losses.any_loss, metric=metrics.f_beta),
    functools.partial(losses.dice_loss, focus=0.5),
    functools.partial(losses.tversky, alpha=0.2, beta=0.8),
]


@pytest.mark.parametrize("loss", SPLIT)
def test_devices_share_their_sums(loss):
    whole = loss(PROBS, TARGETS)
    parts = PROBS.reshape(3, 10), TARGETS.reshape(3, 10)
    found = jax.vmap(functools.partial(loss, axis_name="i"), axis_name="i")(*parts)
    np.testing.assert_allclose(found, np.full(3, whole), rtol=1e-5)
    assert abs(float(jnp.mean(loss(*parts)) - whole)) > 1e-4  # the mean of the parts is another number


@pytest.mark.parametrize("loss", SPLIT)
def test_where_hides_examples_from_values_and_gradients(loss):
    where = np.arange(30) % 4 > 0
    dirty = np.where(where, PROBS, np.nan)
    value, slope = jax.value_and_grad(lambda p: loss(p, TARGETS, where=where))(dirty)
    np.testing.assert_allclose(value, loss(PROBS[where], TARGETS[where]), rtol=1e-5)
    assert np.isfinite(slope).all()
    assert (np.asarray(slope)[~where] == 0).all()


def test_hard_negatives():
    scores = np.array([0.2, 0.9, 0.3, 0.8, 0.9, np.nan, 0.1], np.float32)
    targets = np.array([1, 0, 0, 0, 0, 0, 1])
    assert losses.hard_negative_mask(scores, targets, ratio=1.2).nonzero()[0].tolist() == [0, 1, 4, 6]
    where = np.arange(7) != 1
    kept = losses.hard_negative_mask(scores, targets, ratio=1.5, where=where)
    assert kept.nonzero()[0].tolist() == [0, 2, 3, 4, 6]
    assert losses.hard_negative_mask(scores, targets, ratio=100.0).all()
    assert not losses.hard_negative_mask(scores, np.zeros(7), ratio=3.0).any()
    lowest = losses.hard_negative_mask(np.float32([0.1, -np.inf, 0.2]), np.array([1, 0, 0]), ratio=2.0)
    assert lowest.all()  # a negative of -inf still comes before a positive
    unknown = losses.hard_negative_mask(np.float32([0.1, -np.inf, np.nan]), np.array([1, 0, 0]), ratio=1.0)
    assert unknown.tolist() == [True, True, False]
    rows = losses.hard_negative_mask(np.stack([scores, -scores]), np.stack([targets, targets]), ratio=0.5)
    assert rows.sum(1).tolist() == [3, 3]


P, T = jnp.zeros(3), jnp.zeros(3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.dice_loss(P, T[:2]), ValueError, "probs and targets must have the same shape"),
        (lambda: losses.dice_loss(jnp.zeros(()), jnp.zeros(())), ValueError, "got a scalar"),
        (lambda: losses.dice_loss(jnp.zeros(3, int), T), TypeError, "probs must be floating point"),
        (lambda: losses.dice_loss(P, T, smooth=-1.0), ValueError, "smooth must be at least 0"),
        (lambda: losses.dice_loss(P, T, focus=-1.0), ValueError, "focus must be at least 0"),
        (lambda: losses.dice_loss(P, T, where=jnp.ones(2, bool)), ValueError, "where must have shape"),
        (lambda: losses.dice_loss(P, T, where=P), TypeError, "where must be boolean"),
        (lambda: losses.tversky(P, T, alpha=-1.0), ValueError, "alpha must be at least 0"),
        (lambda: losses.tversky(P, T, beta=-1.0), ValueError, "beta must be at least 0"),
        (lambda: losses.amplify(P, scale=0.0), ValueError, "scale must be > 0"),
        (lambda: losses.amplify(jnp.zeros(3, int)), TypeError, "probs must be floating point"),
        (lambda: losses.any_loss(P, T[:2], metrics.f_beta), ValueError, "must share a shape"),
        (lambda: losses.any_loss(P.astype(int), T, metrics.f_beta), TypeError, "logits must be floating point"),
        (lambda: losses.any_loss(P, T, metrics.f_beta, scale=-1.0), ValueError, "scale must be > 0"),
        (lambda: losses.hard_negative_mask(P, T, ratio=-1.0), ValueError, "ratio must be at least 0"),
        (lambda: losses.hard_negative_mask(P, T[:2], ratio=1.0), ValueError, "scores and targets"),
        (lambda: losses.hard_negative_mask(jnp.zeros(()), jnp.zeros(()), ratio=1.0), ValueError, "got a scalar"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
