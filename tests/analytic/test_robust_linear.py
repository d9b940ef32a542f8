"""Two Gaussian classes under attack: the best linear classifier, its errors, and the loss that finds it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm as normal

from jaxlab import analytic, losses, metrics, optim

MU = np.float32([1.5, -0.8, 0.1, 0.0])


@pytest.mark.parametrize(
    ("eps", "threshold", "positive", "negative"),
    [
        (0.0, 0.804719, 0.422586, 0.035559),
        (0.3, 1.149599, 0.559459, 0.015793),
        (0.6, 2.011797, 0.844183, 0.001299),
    ],
)
def test_numbers_in_one_dimension(eps, threshold, positive, negative):
    mu = jnp.ones(1)
    rule = analytic.robust_linear_gmm(mu, ratio=5.0, eps=eps)
    np.testing.assert_allclose(rule.bias, -threshold, rtol=1e-5)
    errors = metrics.class_errors_linear_gmm(*rule, mu)
    np.testing.assert_allclose(errors, [positive, negative], atol=2e-6)


def risk(weight, bias, eps, ratio, sigma, q):
    """Under attack, from the definition."""
    dual = np.linalg.norm(weight, q)
    length = sigma * np.linalg.norm(weight)
    errors = [normal.cdf((eps * dual - weight @ MU - y * bias) / length) for y in (1, -1)]
    return (errors[0] + ratio * errors[1]) / (1 + ratio)


@pytest.mark.parametrize(("norm", "q"), [("l2", 2), ("linf", 1)])
def test_no_other_classifier_has_less_risk(norm, q):
    eps, ratio, sigma = 0.3, 3.0, 0.7
    rule = analytic.robust_linear_gmm(MU, ratio=ratio, eps=eps, sigma=sigma, norm=norm)
    weight, bias = np.float64(rule.weight), float(rule.bias)
    np.testing.assert_allclose(np.linalg.norm(weight), 1, rtol=1e-6)
    least = risk(weight, bias, eps, ratio, sigma, q)
    rng = np.random.default_rng(0)
    others = [weight + 0.1 * rng.normal(size=4) for _ in range(30)] + [weight]
    shifts = np.linspace(-0.5, 0.5, 21)
    assert min(risk(w, bias + s, eps, ratio, sigma, q) for w, s in itertools.product(others, shifts)) >= least - 1e-9
    errors = metrics.class_errors_linear_gmm(*rule, MU, sigma=sigma, eps=eps, norm=norm)
    np.testing.assert_allclose((errors.positive + ratio * errors.negative) / (1 + ratio), least, rtol=1e-5)


def test_errors_are_those_of_a_sample():
    rule = analytic.robust_linear_gmm(MU, ratio=2.0, eps=0.4, norm="linf")
    x = np.random.default_rng(1).normal(size=(200_000, 4)) + MU
    errors = metrics.class_errors_linear_gmm(*rule, MU)
    np.testing.assert_allclose(errors.positive, np.mean(x @ rule.weight + rule.bias < 0), atol=4e-3)
    np.testing.assert_allclose(errors.negative, np.mean((x - 2 * MU) @ rule.weight + rule.bias > 0), atol=4e-3)


def test_what_an_attack_changes():
    plain = analytic.robust_linear_gmm(MU, ratio=1.0, eps=0.0)
    np.testing.assert_allclose(plain.weight, MU / np.linalg.norm(MU), rtol=1e-6)
    robust = analytic.robust_linear_gmm(MU, ratio=1.0, eps=0.5)
    np.testing.assert_allclose(robust.weight, plain.weight)  # balanced: nothing changes against l2
    assert robust.bias == plain.bias == 0
    soft = analytic.robust_linear_gmm(MU, ratio=1.0, eps=0.5, norm="linf")
    expected = np.float32([1.0, -0.3, 0, 0])
    np.testing.assert_allclose(soft.weight, expected / np.linalg.norm(expected), rtol=1e-6)
    before, after = (metrics.class_errors_linear_gmm(*rule, MU) for rule in (plain, soft))
    assert after.positive > before.positive
    assert after.negative > before.negative
    gaps = [
        np.subtract(*metrics.class_errors_linear_gmm(*analytic.robust_linear_gmm(MU, ratio=5.0, eps=eps), MU))
        for eps in (0.0, 0.3, 0.6)
    ]
    assert gaps[0] < gaps[1] < gaps[2]


def test_no_margin_left():
    for ratio, expected in ((5.0, (1, 0)), (0.2, (0, 1)), (1.0, (1, 0))):
        for norm in ("l2", "linf"):
            rule = analytic.robust_linear_gmm(MU, ratio=ratio, eps=3.0, norm=norm)
            assert np.isinf(rule.bias)
            np.testing.assert_array_equal(metrics.class_errors_linear_gmm(*rule, MU), expected)
    np.testing.assert_array_equal(rule.weight, [1, 0, 0, 0])
    zero = analytic.robust_linear_gmm(jnp.zeros(3), ratio=2.0, eps=0.1)
    assert not np.any(zero.weight)
    assert zero.bias == -np.inf


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_inner_maximum_is_what_an_attack_reaches(norm):
    rng = np.random.default_rng(2)
    x, labels = rng.normal(size=(6, 4)).astype(np.float32), jnp.array([0, 1, 1, 0, 1, 0])
    weight, bias, eps = jnp.asarray(rng.normal(size=4), jnp.float32), 0.3, 0.25

    def plain(x):
        return jnp.logaddexp(0.0, -(2 * labels - 1) * (x @ weight + bias))

    attacked = optim.projected_gradient_attack(plain, x, eps=eps, step=eps, num_iters=1, norm=norm)
    worst = losses.adversarial_linear_margin(x, labels, weight, bias, eps=eps, norm=norm)
    np.testing.assert_allclose(worst, plain(attacked), rtol=1e-5)
    np.testing.assert_allclose(losses.adversarial_linear_margin(x, labels, weight, bias, eps=0.0), plain(x), rtol=1e-5)
    assert np.all(worst > plain(x))


def test_the_loss_finds_the_direction_that_theory_gives():
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], 2000)
    x = (rng.normal(size=(4000, 4)) + np.where(labels[:, None] == 1, MU, -MU)).astype(np.float32)

    @jax.jit
    def slope(weight):
        loss = lambda w: losses.adversarial_linear_margin(x, labels, w, 0.0, eps=0.5, norm="linf").mean()  # noqa: E731
        return jax.grad(loss)(weight)

    weight = jnp.ones(4)
    for _ in range(300):
        weight = weight - 0.3 * slope(weight)
    expected = analytic.robust_linear_gmm(MU, ratio=1.0, eps=0.5, norm="linf").weight
    np.testing.assert_allclose(weight / jnp.linalg.norm(weight), expected, atol=0.05)


def test_labels_and_masks_of_the_loss():
    x, weight = jnp.ones((3, 2)), jnp.ones(2)
    found = losses.adversarial_linear_margin(
        x.at[2].set(jnp.nan), jnp.array([1, 2, 0]), weight, 0.0, eps=0.1, where=jnp.array([True, True, False])
    )
    assert np.isfinite(found[0])
    assert np.isnan(found[1])
    assert found[2] == 0
    grad = jax.grad(lambda w: losses.adversarial_linear_margin(x, jnp.ones(3, int), w, 0.0, eps=0.1).sum())(
        jnp.zeros(2)
    )
    assert np.all(np.isfinite(grad))


def test_accuracy_disparity():
    labels = np.array([0, 0, 0, 0, 1, 1, 3, 3, 9])
    guess = np.array([0, 0, 0, 1, 1, 0, 3, 3, 0])
    assert metrics.accuracy_disparity(guess, labels, num_classes=5) == 0.5
    assert metrics.accuracy_disparity(guess, labels, num_classes=5, where=labels != 1) == 0.25
    assert metrics.accuracy_disparity(guess, labels, num_classes=5, where=labels == 3) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: analytic.robust_linear_gmm(MU, ratio=0.0, eps=0.1), ValueError, "ratio must be > 0"),
        (lambda: analytic.robust_linear_gmm(MU, ratio=1.0, eps=-0.1), ValueError, "eps must be at least"),
        (lambda: analytic.robust_linear_gmm(MU, ratio=1.0, eps=0.1, norm="l1"), ValueError, "norm must be one of"),
        (lambda: analytic.robust_linear_gmm(MU[None], ratio=1.0, eps=0.1), ValueError, "mu must have shape"),
        (lambda: metrics.class_errors_linear_gmm(MU, 0.0, MU[:2]), ValueError, "weight and mu"),
        (lambda: metrics.class_errors_linear_gmm(MU, 0.0, MU, sigma=0.0), ValueError, "sigma must be > 0"),
        (
            lambda: losses.adversarial_linear_margin(MU[None, :2], jnp.ones(1, int), MU, 0.0, eps=0.1),
            ValueError,
            "x must have shape",
        ),
        (lambda: losses.adversarial_linear_margin(MU, jnp.ones(()), MU, 0.0, eps=0.1), TypeError, "labels must hold"),
        (lambda: metrics.accuracy_disparity(MU, MU.astype(int), num_classes=2), TypeError, "predictions must hold"),
        (
            lambda: metrics.accuracy_disparity(np.zeros(3, int), np.zeros(2, int), num_classes=2),
            ValueError,
            "same shape",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
