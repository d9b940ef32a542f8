"""The squared hinge loss against its formula and LinearSVC, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.svm import LinearSVC

from jaxlab.losses import squared_hinge_ovr
from jaxlab.optim import minimize

RNG = np.random.default_rng(0)
LOGITS, LABELS = (2 * RNG.normal(size=(6, 4))).astype(np.float32), RNG.integers(0, 4, 6)


def by_loop(logits, labels):
    return [
        np.mean([max(0.0, 1 - (1 if c == y else -1) * z[c]) ** 2 for c in range(len(z))])
        for z, y in zip(logits.astype(np.float64), labels, strict=True)
    ]


def test_equals_the_loop_over_the_formula():
    np.testing.assert_allclose(squared_hinge_ovr(LOGITS, LABELS), by_loop(LOGITS, LABELS), rtol=1e-5)
    assert squared_hinge_ovr(LOGITS.reshape(2, 3, 4), LABELS.reshape(2, 3)).shape == (2, 3)


def test_no_loss_and_no_gradient_beyond_the_margin():
    logits = jnp.array([[1.5, -1.5, -2.0]])
    value, gradient = jax.value_and_grad(lambda z: jnp.sum(squared_hinge_ovr(z, jnp.array([0]))))(logits)
    assert value == 0
    assert (np.asarray(gradient) == 0).all()


def test_its_minimum_is_that_of_linear_svc():
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 3
    x = (rng.normal(size=(60, 5)) + rng.normal(size=(3, 5))[labels]).astype(np.float32)
    svc = LinearSVC(C=0.5, dual=False, fit_intercept=False, tol=1e-10, loss="squared_hinge").fit(x, labels)

    def objective(w):
        return 0.5 * jnp.sum(w**2) + 0.5 * 3 * jnp.sum(squared_hinge_ovr(x @ w, labels))

    ours = jax.jit(lambda w: minimize(objective, w, optax.lbfgs(), num_steps=40).params)(jnp.zeros((5, 3)))
    np.testing.assert_allclose(ours, svc.coef_.T, atol=2e-4)


@pytest.mark.parametrize("junk", [np.nan, 1e30])
def test_classes_that_do_not_exist_might_as_well_be_left_out(junk):
    exists = np.array([True, True, False, True])
    labels = np.array([0, 1, 3, 0, 1, 3])
    dirty = np.where(exists, LOGITS, junk)
    expected = squared_hinge_ovr(LOGITS[:, exists], np.array([0, 1, 2, 0, 1, 2]))
    np.testing.assert_allclose(squared_hinge_ovr(dirty, labels, class_where=exists), expected, rtol=1e-6)
    per_row = np.broadcast_to(exists, LOGITS.shape)
    np.testing.assert_allclose(squared_hinge_ovr(dirty, labels, class_where=per_row), expected, rtol=1e-6)
    gradient = jax.grad(lambda z: jnp.sum(squared_hinge_ovr(z, labels, class_where=exists)))(jnp.asarray(dirty))
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[:, 2] == 0).all()


def test_where_hides_an_example_from_values_and_gradients():
    where = np.array([True, False, True, True, False, True])
    dirty, unknown = np.where(where[:, None], LOGITS, np.nan), np.where(where, LABELS, -1)
    value = squared_hinge_ovr(dirty, unknown, where=where)
    np.testing.assert_allclose(value, np.where(where, squared_hinge_ovr(LOGITS, LABELS), 0), rtol=1e-6)
    gradient = jax.grad(lambda z: jnp.sum(squared_hinge_ovr(z, unknown, where=where)))(jnp.asarray(dirty))
    expected = jax.grad(lambda z: jnp.sum(squared_hinge_ovr(z, LABELS)))(jnp.asarray(LOGITS))
    np.testing.assert_allclose(gradient, np.where(where[:, None], expected, 0), rtol=1e-5, atol=1e-7)


def test_labels_of_no_existing_class_give_nan():
    exists = jnp.array([True, True, False, True])
    losses = squared_hinge_ovr(LOGITS, jnp.array([0, 1, 2, 3, 4, -1]), class_where=exists)
    np.testing.assert_array_equal(np.isnan(losses), [False, False, True, False, True, True])


def test_bfloat16_gives_float32():
    narrow = jnp.asarray(LOGITS, jnp.bfloat16)
    result = squared_hinge_ovr(narrow, LABELS)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, by_loop(np.asarray(narrow, np.float32), LABELS), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"logits": jnp.zeros((5, 4))}, ValueError, "logits must have shape"),
        ({"logits": jnp.zeros(6)}, ValueError, "logits must have shape"),
        ({"logits": jnp.zeros((6, 0))}, ValueError, "logits must have shape"),
        ({"logits": jnp.zeros((6, 4), int)}, TypeError, "logits must be floating point"),
        ({"labels": jnp.zeros(6)}, TypeError, "labels must hold integers"),
        ({"class_where": jnp.ones(3, bool)}, ValueError, "class_where must have shape"),
        ({"class_where": jnp.ones(4)}, TypeError, "class_where must be boolean"),
        ({"where": jnp.ones(5, bool)}, ValueError, "where must have shape"),
        ({"where": jnp.ones(6)}, TypeError, "where must be boolean"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        squared_hinge_ovr(**{"logits": LOGITS, "labels": LABELS, **change})
