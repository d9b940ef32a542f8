"""Guidance by a classifier: whom it confuses and how much, what its gradient climbs, and the exact Gaussian case."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from jaxlab import guidance

rng = np.random.default_rng(5)
LOGITS = (3 * rng.normal(size=(6, 4))).astype(np.float32)
LABELS = rng.integers(0, 4, 6)
PROBS = softmax(LOGITS.astype(np.float64), axis=1).astype(np.float32)
ROWS = np.arange(6)


def test_the_confusing_class_is_the_best_of_the_others():
    expected = [max((p, -k) for k, p in enumerate(row) if k != y) for row, y in zip(PROBS, LABELS, strict=True)]
    got = guidance.confusing_class(PROBS, LABELS)
    np.testing.assert_array_equal(got, [-k for _, k in expected])
    np.testing.assert_array_equal(guidance.confusing_class(LOGITS, LABELS), got)
    two = guidance.confusing_class(PROBS[:, :2], LABELS % 2)
    np.testing.assert_array_equal(two, 1 - LABELS % 2)


def test_the_confusing_class_is_never_the_label():
    certain = np.full((3, 3), -np.inf, np.float32)
    certain[ROWS[:3], ROWS[:3]] = 0.0
    assert (guidance.confusing_class(certain, ROWS[:3]) != ROWS[:3]).all()
    assert (guidance.confusing_class(np.full((3, 3), np.nan, np.float32), ROWS[:3]) != ROWS[:3]).all()


def test_the_scale_grows_with_doubt():
    own = PROBS[ROWS, LABELS]
    scale = guidance.confusion_scale(PROBS, LABELS, gamma=4.0)
    np.testing.assert_allclose(scale, 1 + 4.0 * (1 - own), rtol=1e-6)
    order = np.argsort(own)
    assert (np.diff(scale[order]) <= 0).all()
    assert ((scale >= 1) & (scale <= 5)).all()
    np.testing.assert_array_equal(guidance.confusion_scale(np.eye(3, dtype=np.float32), ROWS[:3], gamma=9.0), 1.0)
    middle = float(np.median(1 - own))
    limited = guidance.confusion_scale(PROBS, LABELS, gamma=4.0, threshold=middle)
    np.testing.assert_allclose(limited, np.where(1 - own < middle, 1.0, scale), rtol=1e-6)
    assert (limited == 1.0).sum() == 3
    assert np.isnan(guidance.confusion_scale(PROBS, np.full(6, 4), gamma=1.0)).all()


def test_no_gradient_goes_through_the_classifier_that_is_asked():
    weight = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)

    def scale(x):
        return jnp.sum(guidance.confusion_scale(jax.nn.softmax(x @ weight), LABELS, gamma=2.0))

    assert (jax.grad(scale)(jnp.ones((6, 3))) == 0).all()


def test_gradient_free_guidance_is_cfg_away_from_the_confusing_class():
    x = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    table = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    cond, reference = table[LABELS], table[guidance.confusing_class(PROBS, LABELS)]
    scale = guidance.confusion_scale(PROBS, LABELS, gamma=3.0)
    rule = guidance.cfg(lambda context: context.extras)
    guided, _ = guidance.guide(rule, rule.init(x), cond, reference, x=x, t=0.5, extras=scale)
    by_hand = cond + (np.asarray(scale)[:, None] - 1) * (cond - reference)
    np.testing.assert_allclose(guided, by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(guidance.combine(cond, reference, scale=scale), by_hand, rtol=1e-5, atol=1e-6)
    sure = jnp.ones(6)
    np.testing.assert_array_equal(guidance.guide(rule, (), cond, reference, x=x, t=0.5, extras=sure)[0], cond)


@pytest.mark.parametrize(("joint", "marginal"), [(1.0, 0.5), (1.0, 0.0), (1.0, 1.0), (2.0, 0.3)])
def test_the_objective_is_the_formula(joint, marginal):
    wide = LOGITS.astype(np.float64)
    expected = joint * wide[ROWS, LABELS] - logsumexp(marginal * wide, axis=1)
    options = {"joint_scale": joint, "marginal_scale": marginal}
    got = guidance.classifier_logit_objective(LOGITS, LABELS, **options)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    gradient = guidance.classifier_gradient(lambda x: x, LOGITS, LABELS, **options)
    by_hand = joint * np.eye(4)[LABELS] - marginal * softmax(marginal * wide, axis=1)
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-5, atol=1e-6)


def test_the_objective_at_its_ends_and_far_out():
    log_softmax = jax.nn.log_softmax(LOGITS)[ROWS, LABELS]
    got = guidance.classifier_logit_objective(LOGITS, LABELS, marginal_scale=1.0)
    np.testing.assert_allclose(got, log_softmax, rtol=1e-5, atol=1e-5)
    joint = guidance.classifier_logit_objective(LOGITS, LABELS, marginal_scale=0.0)
    np.testing.assert_allclose(joint, LOGITS[ROWS, LABELS] - np.log(4), rtol=1e-5, atol=1e-5)
    assert guidance.classifier_logit_objective(jnp.array([1e4, 0.0]), jnp.array(0)) == 5e3  # exp(1e4) overflows
    assert np.isnan(guidance.classifier_logit_objective(LOGITS, np.full(6, -1))).all()


def test_the_gradient_is_that_of_each_example_alone_and_stops():
    weight = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    classify = lambda x: jnp.tanh(x) @ weight  # noqa: E731
    got = guidance.classifier_gradient(classify, x, LABELS)
    alone = [guidance.classifier_gradient(classify, x[i : i + 1], LABELS[i : i + 1])[0] for i in range(6)]
    np.testing.assert_allclose(got, np.stack(alone), rtol=1e-5, atol=1e-6)
    through = jax.grad(lambda x: jnp.sum(guidance.classifier_gradient(classify, x, LABELS)))(x)
    assert (through == 0).all()


def test_the_exact_classifier_gives_the_exact_conditional_score():
    # Classes N(m_k, 1) with equal weights: the posterior is linear discriminant analysis.
    means = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    posterior = lambda x: x @ means.T - 0.5 * jnp.sum(means**2, axis=1)  # noqa: E731
    density = lambda x: jax.nn.logsumexp(-0.5 * jnp.sum((x - means) ** 2, axis=-1))  # noqa: E731
    score = jax.vmap(jax.grad(density))(x)
    guided = score + guidance.classifier_gradient(posterior, x, LABELS, marginal_scale=1.0)
    np.testing.assert_allclose(guided, means[LABELS] - x, rtol=1e-4, atol=1e-5)


def test_smooth_relu_is_close_to_relu():
    x = np.linspace(-4, 4, 41, dtype=np.float32)
    for sharpness in (1.0, 5.0, 100.0):
        y = np.asarray(guidance.smooth_relu(x, sharpness=sharpness))
        gap = y - np.maximum(x, 0)
        assert (gap >= -1e-6).all()
        np.testing.assert_allclose(gap.max(), np.log(2) / sharpness, rtol=1e-4)
    np.testing.assert_allclose(guidance.smooth_relu(x, sharpness=1.0), np.logaddexp(0, x), rtol=1e-5, atol=1e-6)
    slope = jax.grad(lambda x: guidance.smooth_relu(x, sharpness=5.0))(0.0)
    np.testing.assert_allclose(slope, 0.5)


def test_the_boost_is_a_half_sine():
    got = guidance.sine_guidance_boost(jnp.arange(11), 10, peak=2.0, factor=0.3)
    np.testing.assert_allclose(got, 0.6 * np.sin(np.pi * np.arange(11) / 10).clip(0), atol=1e-6)
    np.testing.assert_allclose(got[jnp.array([0, 5, 10])], [0.0, 0.6, 0.0], atol=1e-6)
    assert guidance.sine_guidance_boost(0.5, 1) > 0.299
    assert (guidance.sine_guidance_boost(jnp.array([-1, 12]), 10) == 0).all()


def test_the_gradient_takes_the_size_of_the_example():
    gradient, x = rng.normal(size=(2, 5, 3, 3)).astype(np.float32)
    rms = lambda a: np.sqrt(np.mean(np.asarray(a, np.float64) ** 2, axis=(1, 2)))  # noqa: E731
    scaled = guidance.rms_normalize(gradient, like=x)
    np.testing.assert_allclose(rms(scaled), rms(x), rtol=1e-5)
    np.testing.assert_allclose(scaled / gradient, (rms(x) / rms(gradient))[:, None, None] + 0 * x, rtol=1e-4)
    tiny = guidance.rms_normalize(gradient * np.float32(1e-30), like=x)  # squares would vanish
    np.testing.assert_allclose(tiny, scaled, rtol=1e-4, atol=1e-5)
    assert (guidance.rms_normalize(0 * gradient, like=x) == 0).all()
    slope = jax.grad(lambda g: jnp.sum(guidance.rms_normalize(g, like=jnp.asarray(x)) ** 2))(0 * jnp.asarray(gradient))
    assert jnp.isfinite(slope).all()


def test_the_mean_moves_by_variance_and_boost():
    mean, gradient = rng.normal(size=(2, 5, 3)).astype(np.float32)
    variance = rng.uniform(0.1, 1.0, (5, 1)).astype(np.float32)
    got = guidance.classifier_guided_mean(mean, variance, gradient, boost=0.2, scale=3.0)
    np.testing.assert_allclose(got, mean + 3.0 * (variance + 0.2) * gradient, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(guidance.classifier_guided_mean(mean, 0.7, gradient, scale=0.0), mean)


BAD = {
    "no others": (lambda: guidance.confusing_class(PROBS[:, :1], LABELS), ValueError, "[6, K] with K >= 2"),
    "labels": (lambda: guidance.confusing_class(PROBS, LABELS[:5]), ValueError, "probs must have shape [5, K]"),
    "float labels": (lambda: guidance.confusing_class(PROBS, PROBS[:, 0]), TypeError, "labels must hold integers"),
    "gamma": (lambda: guidance.confusion_scale(PROBS, LABELS, gamma=-1.0), ValueError, "gamma must be at least 0"),
    "threshold": (
        lambda: guidance.confusion_scale(PROBS, LABELS, gamma=1.0, threshold=2.0),
        ValueError,
        "threshold must lie in [0.0, 1.0]",
    ),
    "integers": (lambda: guidance.classifier_logit_objective(LABELS, LABELS), TypeError, "logits must be floating"),
    "classifier": (
        lambda: guidance.classifier_gradient(lambda x: x[:3], LOGITS, LABELS),
        ValueError,
        "logits must have shape [6, K]",
    ),
    "sharpness": (lambda: guidance.smooth_relu(LOGITS, sharpness=0.0), ValueError, "sharpness must be > 0"),
    "steps": (lambda: guidance.sine_guidance_boost(1, 0), ValueError, "num_steps must be > 0"),
    "like": (lambda: guidance.rms_normalize(LOGITS, like=LOGITS[:3]), ValueError, "same shape"),
    "scalar": (lambda: guidance.rms_normalize(1.0, like=1.0), ValueError, "gradient must have shape [B, ...]"),
    "variance": (
        lambda: guidance.classifier_guided_mean(LOGITS, jnp.ones(6), LOGITS),
        ValueError,
        "must broadcast to mean [6, 4], got [6]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
