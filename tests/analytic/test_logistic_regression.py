"""Logistic regression by Newton's method against scikit-learn, and at its optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from jaxlab import analytic
from tests.analytic import formulas
from tests.analytic.formulas import blobs, close

logits = jax.jit(analytic.head_logits)
newton = jax.jit(analytic.logistic_regression, static_argnames="num_iters")


def logistic(x, targets, ridge=1.0, where=None, num_iters=20):
    """Every argument given, so that calls of one shape are one program."""
    where = np.ones(len(x), bool) if where is None else where
    return newton(x, targets, ridge=ridge, where=where, num_iters=num_iters)


@pytest.mark.parametrize("ridge", [0.1, 1.0, 30.0])
def test_logistic_regression_equals_scikit_learn(ridge):
    x, labels = blobs(35, (9, 12, 8))
    head = logistic(x, formulas.one_hot(labels, 3).astype(np.float32), ridge=ridge)
    peer = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=5000).fit(x.astype(np.float64), labels)
    close(head.weight, peer.coef_.T, 1e-3)
    np.testing.assert_allclose(head.weight.sum(1), 0, atol=1e-4)
    close(jax.nn.softmax(logits(head, x)), peer.predict_proba(x), 1e-3)


def test_two_classes_share_the_penalty():
    """Two columns w / 2 and -w / 2 cost half of what one vector w costs: scikit-learn's binary C is 2 / ridge."""
    x, labels = blobs(36, (9, 12))
    head = logistic(x, formulas.one_hot(labels, 2).astype(np.float32), ridge=0.5)
    peer = LogisticRegression(C=2 / 0.5, tol=1e-10, max_iter=5000).fit(x.astype(np.float64), labels)
    close(head.weight[:, 1] - head.weight[:, 0], peer.coef_[0], 1e-3)
    close(head.bias[1] - head.bias[0], peer.intercept_[0], 1e-3)


def test_logistic_regression_stands_at_the_optimum():
    x, _ = blobs(37, (9, 12, 8))
    targets = np.random.default_rng(38).dirichlet(np.ones(3), len(x))  # soft targets
    with jax.enable_x64(True):
        head = logistic(x.astype(np.float64), targets, ridge=0.3)
        probs = special.softmax(logits(head, x.astype(np.float64)), -1)
    residual = probs - targets
    np.testing.assert_allclose(x.T @ residual + 0.3 * np.asarray(head.weight), 0, atol=1e-6)
    np.testing.assert_allclose(residual.sum(0), 0, atol=1e-6)  # the intercept is not penalised


def test_logistic_regression_of_rows_that_count():
    x, labels = blobs(39, (9, 12, 8))
    targets = formulas.one_hot(labels, 3).astype(np.float32)
    where = np.arange(len(x)) % 4 > 0
    dirty = [np.where(where[:, None], a, np.nan) for a in (x, targets)]
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(x[where].astype(np.float64), labels[where])
    close(logistic(*dirty, where=where).weight, peer.coef_.T, 1e-3)
    nothing = logistic(*dirty, where=np.zeros(len(x), bool))
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), nothing)


def test_separable_rows_stay_finite():
    x, labels = blobs(40, (9, 12, 8))
    rows = formulas.means(x, labels, 3)[labels].astype(np.float32)
    head = logistic(rows, formulas.one_hot(labels, 3).astype(np.float32), ridge=0.01)
    assert all(np.isfinite(leaf).all() for leaf in head)
    assert (logits(head, rows).argmax(-1) == labels).all()


def test_rows_that_nobody_scaled_stay_finite():
    x, labels = blobs(40, (9, 12, 8))
    head = logistic(255 * x, formulas.one_hot(labels, 3).astype(np.float32), ridge=0.1)
    assert all(np.isfinite(leaf).all() for leaf in head)
    assert (logits(head, 255 * x).argmax(-1) == labels).mean() > 0.8


def test_a_step_that_overshoots_is_halved():
    """On these rows the whole fifth step takes the objective from 1.2 to 35, and the sixth to 1600."""
    x = np.array([[0, -4, -4], [52, -5, -8], [2, 35, -400], [-431, 0, 409], [5, -5, 8], [-7, 9, 32]], np.float32) / 10
    labels = np.array([0, 1, 0, 0, 1, 0])
    targets = formulas.one_hot(labels, 2).astype(np.float32)

    def objective(head):
        log_probs = jax.nn.log_softmax(logits(head, x))
        return float(-jnp.sum(targets * log_probs) + 0.5 * 1e-2 * jnp.sum(head.weight**2))

    after = [logistic(x, targets, ridge=1e-2, num_iters=n) for n in (5, 20)]
    assert objective(after[1]) < objective(after[0]) < 1.3
    peer = LogisticRegression(C=2 / 1e-2, tol=1e-12, max_iter=10_000).fit(x.astype(np.float64), labels)
    close(jax.nn.softmax(logits(after[-1], x)), peer.predict_proba(x), 1e-3)
