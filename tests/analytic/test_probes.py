"""The linear probe against scikit-learn, and the balanced average of two networks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier

from jaxlab import analytic

RNG = np.random.default_rng(0)
N, D, C = 40, 5, 3
LABELS = RNG.integers(0, C, N)
X = (RNG.normal(size=(N, D)) + 3.0 + LABELS[:, None] * np.arange(D)).astype(np.float32)
NEW = (RNG.normal(size=(7, D)) + 4.0).astype(np.float32)


@pytest.mark.parametrize("ridge", [0.1, 10.0])
def test_probe_is_ridge_regression_on_one_hot_labels(ridge):
    logits = analytic.linear_probe(X, LABELS, NEW, ridge=ridge, num_classes=C)
    np.testing.assert_allclose(logits, Ridge(alpha=ridge).fit(X, np.eye(C)[LABELS]).predict(NEW), atol=1e-4)
    # scikit-learn's classifier has targets of -1 and 1: the same decisions.
    np.testing.assert_array_equal(logits.argmax(1), RidgeClassifier(alpha=ridge).fit(X, LABELS).predict(NEW))


def test_the_intercept_is_not_penalised():
    moved = analytic.linear_probe(X + 100, LABELS, NEW + 100, ridge=5.0, num_classes=C)
    np.testing.assert_allclose(moved, analytic.linear_probe(X, LABELS, NEW, ridge=5.0, num_classes=C), atol=1e-3)


def test_rows_that_do_not_count_and_classes_that_are_not_there():
    plain = analytic.linear_probe(X, LABELS, NEW, ridge=1.0, num_classes=C)
    junk = np.concatenate([X, np.full((2, D), np.nan, np.float32)])
    where, labels = np.arange(N + 2) < N, np.append(LABELS, [0, 1])
    masked = analytic.linear_probe(junk, labels, NEW, ridge=1.0, num_classes=C, where=where)
    unlabelled = analytic.linear_probe(junk, np.append(LABELS, [-1, 9]), NEW, ridge=1.0, num_classes=C)
    more = analytic.linear_probe(X, LABELS, NEW, ridge=1.0, num_classes=C + 1)
    for other in (masked, unlabelled, more[:, :C]):
        np.testing.assert_allclose(other, plain, atol=1e-5)
    assert (more[:, C] == -jnp.inf).all()
    alone = analytic.linear_probe(X[:4], np.zeros(4, int), NEW, ridge=1.0, num_classes=2)
    np.testing.assert_allclose(alone[:, 0], 1.0, atol=1e-5)
    nothing = analytic.linear_probe(X, LABELS, NEW, ridge=1.0, num_classes=C, where=np.zeros(N, bool))
    assert (nothing == -jnp.inf).all()


def test_equal_columns_are_not_singular():
    twice = np.concatenate([X, X], axis=1)
    found = analytic.linear_probe(twice, LABELS, np.concatenate([NEW, NEW], axis=1), ridge=2.0, num_classes=C)
    np.testing.assert_allclose(found, analytic.linear_probe(X, LABELS, NEW, ridge=1.0, num_classes=C), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"train_labels": LABELS[:3]}, ValueError, "train_labels must have shape"),
        ({"features": NEW[:, :2]}, ValueError, "features must have shape"),
        ({"ridge": 0.0}, ValueError, "ridge must be > 0"),
        ({"train_labels": LABELS.astype(float)}, TypeError, "train_labels must hold integers"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"train_features": X, "train_labels": LABELS, "features": NEW, "ridge": 1.0} | change
    with pytest.raises(error, match=message):
        analytic.linear_probe(**arguments, num_classes=C)


def test_the_average_of_linear_networks_is_the_network_of_average_weights():
    a, b = ({"kernel": RNG.normal(size=(D, C)), "bias": RNG.normal(size=C)} for _ in range(2))
    mean = optax.incremental_update(b, a, 0.5)

    def logits(params):
        return jnp.asarray(NEW @ params["kernel"] + params["bias"], jnp.float32)

    np.testing.assert_allclose(analytic.balanced_logit_average(logits(a), logits(b)), logits(mean), atol=1e-4)
    for share, end in ((0.0, a), (1.0, b)):
        jax.tree.map(np.testing.assert_allclose, optax.incremental_update(b, a, share), end)
    swapped = optax.incremental_update(a, b, 0.3)
    np.testing.assert_allclose(logits(optax.incremental_update(b, a, 0.7)), logits(swapped), atol=1e-4)


def test_the_surer_network_wins_until_it_is_cooled():
    one, other = RNG.normal(size=(2, 50, 4)).astype(np.float32)
    loud = analytic.balanced_logit_average(one, 1e3 * other)
    np.testing.assert_array_equal(loud.argmax(1), other.argmax(1))
    balanced = analytic.balanced_logit_average(one, 1e3 * other, temperature1=1e3)
    np.testing.assert_allclose(balanced, (one + other) / 2, rtol=1e-4, atol=1e-5)
    assert (balanced.argmax(1) != other.argmax(1)).mean() > 0.1
    with pytest.raises(ValueError, match="temperature0 must be > 0"):
        analytic.balanced_logit_average(one, other, temperature0=0.0)
    with pytest.raises(ValueError, match="the same shape"):
        analytic.balanced_logit_average(one, other[:3])
