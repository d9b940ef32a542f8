"""Mixed rows and their losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 2, 3)).astype(np.float32)
mix = jax.jit(nn.mixup)


def test_rows_are_mixed_with_their_partners():
    mixed, partner, lam = mix(jax.random.key(0), X, alpha=1.0)
    assert sorted(np.asarray(partner)) == list(range(6))
    assert 0 < lam < 1
    np.testing.assert_allclose(mixed, lam * X + (1 - lam) * X[np.asarray(partner)], rtol=1e-5)
    given = np.array([1, 0, 3, 2, 4, 4])
    mixed, partner, lam = mix(jax.random.key(1), X, alpha=0.3, partner=given)
    np.testing.assert_array_equal(partner, given)
    np.testing.assert_allclose(mixed, lam * X + (1 - lam) * X[given], rtol=1e-5)
    np.testing.assert_allclose(mixed[4], X[4], rtol=1e-5)  # with itself


def test_weights_are_beta():
    keys = jax.random.split(jax.random.key(2), 2000)
    for alpha in (0.2, 1.0, 5.0):
        lam = np.asarray(jax.vmap(lambda key, a=alpha: nn.mixup(key, X[:2, 0], alpha=a)[2])(keys))
        assert abs(lam.mean() - 0.5) < 0.03
        np.testing.assert_allclose(lam.var(), 0.25 / (2 * alpha + 1), rtol=0.1)  # the variance of Beta(a, a)
        assert np.isfinite(lam).all()


def test_integers_and_bfloat16():
    mixed, _, _ = mix(jax.random.key(0), X.astype(jnp.bfloat16), alpha=1.0)
    assert mixed.dtype == jnp.bfloat16
    with pytest.raises(TypeError, match="x must be floating point"):
        nn.mixup(jax.random.key(0), np.ones((2, 2), int), alpha=1.0)


def test_loss_of_the_mix_is_that_of_mixed_targets():
    logits, labels = X[:, 0], RNG.integers(0, 3, 6)
    partner, lam = np.array([5, 4, 3, 2, 1, 0]), 0.3

    def loss(targets):
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets)

    found = nn.mixed_loss(loss, labels, labels[partner], lam)
    soft = lam * np.eye(3)[labels] + (1 - lam) * np.eye(3)[labels[partner]]
    np.testing.assert_allclose(found, optax.losses.softmax_cross_entropy(logits, soft), rtol=1e-5)
    np.testing.assert_allclose(nn.mixed_loss(loss, labels, labels[partner], 1.0), loss(labels), rtol=1e-6)
    each = np.linspace(0, 1, 6, dtype=np.float32)
    by_row = nn.mixed_loss(loss, labels, labels[partner], each)
    np.testing.assert_allclose(by_row, each * loss(labels) + (1 - each) * loss(labels[partner]), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.mixup(jax.random.key(0), X, alpha=0.0), "alpha must be > 0"),
        (lambda: nn.mixup(jax.random.key(0), X, alpha=1.0, partner=np.arange(3)), "partner must have shape"),
        (lambda: nn.mixup(jax.random.key(0), np.float32(1), alpha=1.0), "x must have shape"),
        (lambda: nn.mixed_loss(abs, X, X, 1.5), "lam must lie in"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
