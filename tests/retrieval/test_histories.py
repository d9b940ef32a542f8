"""Users as means of what they chose, and how likely a purchase is at a distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxlab import retrieval

RNG = np.random.default_rng(0)
ITEMS = RNG.normal(size=(6, 3)).astype(np.float32)
HISTORY = RNG.random((4, 6)) < 0.5
HISTORY[3] = False


def test_mean_of_the_chosen():
    found = retrieval.history_embedding(ITEMS, HISTORY)
    for row in range(3):
        np.testing.assert_allclose(found[row], ITEMS[HISTORY[row]].mean(0), rtol=1e-5)
    assert (np.asarray(found[3]) == 0).all()
    unit = ITEMS / np.linalg.norm(ITEMS, axis=1, keepdims=True)
    assert np.linalg.norm(retrieval.history_embedding(unit, HISTORY), axis=1).max() <= 1 + 1e-6


def test_items_that_nobody_chose_may_hold_anything():
    history = HISTORY & (np.arange(6) != 2)
    dirty = np.where(np.arange(6)[:, None] == 2, np.nan, ITEMS)
    found, slope = jax.value_and_grad(lambda v: jnp.sum(retrieval.history_embedding(v, history)))(dirty)
    assert np.isfinite(found)
    assert (np.asarray(slope)[2] == 0).all()
    np.testing.assert_allclose(found, jnp.sum(retrieval.history_embedding(ITEMS, history)), rtol=1e-5)


def test_probability_is_that_of_a_logistic_regression_on_squares():
    distance = RNG.uniform(0, 2, 200).astype(np.float32)
    bought = (RNG.random(200) < 1 / (1 + np.exp(2 * distance**2 - 1))).astype(int)
    fitted = LogisticRegression(C=1e6).fit(distance[:, None] ** 2, bought)
    found = retrieval.purchase_probability(distance, -fitted.coef_[0, 0], fitted.intercept_[0])
    np.testing.assert_allclose(found, fitted.predict_proba(distance[:, None] ** 2)[:, 1], rtol=1e-4)
    assert float(retrieval.purchase_probability(jnp.array(0.0), 3.0, 0.0)) == 0.5
    assert np.isfinite(jax.grad(lambda d: retrieval.purchase_probability(d, 1.0, 0.0))(0.0))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: retrieval.history_embedding(ITEMS, HISTORY[:, :5]), ValueError, "history_mask must have shape"),
        (lambda: retrieval.history_embedding(ITEMS, HISTORY[0]), ValueError, r"history_mask must have shape \[B, J\]"),
        (lambda: retrieval.history_embedding(ITEMS[0], HISTORY), ValueError, r"item_vectors must have shape \[J, D\]"),
        (lambda: retrieval.history_embedding(ITEMS, HISTORY.astype(int)), TypeError, "history_mask must be boolean"),
        (lambda: retrieval.history_embedding(HISTORY, HISTORY), TypeError, "item_vectors must be floating point"),
        (lambda: retrieval.purchase_probability(jnp.arange(3), 1.0, 0.0), TypeError, "distance must be floating point"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
