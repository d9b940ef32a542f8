"""Losses known by their gradient: their formulas, what bounds them, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.losses import adaptive_l2, vsd_surrogate

RNG = np.random.default_rng(0)
ERROR = (RNG.normal(size=(6, 2, 3)) * np.logspace(-3, 3, 6)[:, None, None]).astype(np.float32)
X0, TEACHER, STUDENT = RNG.normal(size=(3, 4, 2, 3)).astype(np.float32)
WEIGHT = np.array([1.0, 0.5, 0.0, 3.0], np.float32)
WHERE = np.array([True, False, True, True, False, True])


def length(gradient):
    return np.linalg.norm(np.asarray(gradient, np.float64).reshape(len(gradient), -1), axis=1)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_adaptive_l2_is_its_formula(power):
    square = np.mean(ERROR.astype(np.float64) ** 2, axis=(1, 2))
    np.testing.assert_allclose(adaptive_l2(ERROR, power=power, c=0.01), square / (square + 0.01) ** power, rtol=1e-5)


def test_adaptive_l2_weights_the_gradient_and_not_its_own_weight():
    """The gradient is that of the mean square, times the weight: the weight itself is not differentiated."""
    gradient = jax.grad(lambda e: adaptive_l2(e, c=0.01).sum())(ERROR)
    square = np.mean(ERROR.astype(np.float64) ** 2, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(gradient, 2 * ERROR / 6 / (square + 0.01), rtol=1e-5)
    # Differentiating the weight too would make large errors pull less and less.
    assert length(gradient)[-1] > 0.5 * 2 / np.sqrt(6 * square[-1, 0, 0])


def test_adaptive_l2_bounds_the_gradient():
    bound = 1 / np.sqrt(6 * 0.01)
    lengths = length(jax.grad(lambda e: adaptive_l2(e, c=0.01).sum())(ERROR))
    assert (lengths <= bound).all()
    at_bound = jnp.full((1, 2, 3), 0.1)  # the mean square is c
    np.testing.assert_allclose(length(jax.grad(lambda e: adaptive_l2(e, c=0.01).sum())(at_bound)), bound, rtol=1e-5)
    assert length(jax.grad(lambda e: adaptive_l2(e, power=0.0).sum())(ERROR)).max() > 10 * bound


def test_no_error_is_no_loss():
    value, gradient = jax.value_and_grad(lambda e: adaptive_l2(e).sum())(jnp.zeros((2, 3)))
    assert value == 0
    assert (np.asarray(gradient) == 0).all()


def test_vsd_has_the_gradient_it_is_made_for():
    gradient = jax.grad(lambda x: vsd_surrogate(x, TEACHER, STUDENT, weight=WEIGHT).sum())(X0)
    np.testing.assert_array_equal(gradient, WEIGHT[:, None, None] * (TEACHER - STUDENT))
    far = jax.grad(lambda x: vsd_surrogate(x, TEACHER, STUDENT, weight=0.25).sum())(1e6 * X0)
    np.testing.assert_array_equal(far, 0.25 * (TEACHER - STUDENT))  # exact for large x too


def test_vsd_is_half_the_squared_move():
    move = (WEIGHT[:, None, None] * (TEACHER - STUDENT)).astype(np.float64)
    np.testing.assert_allclose(
        vsd_surrogate(X0, TEACHER, STUDENT, weight=WEIGHT), 0.5 * np.sum(move**2, axis=(1, 2)), rtol=1e-5
    )
    assert (np.asarray(vsd_surrogate(X0, TEACHER, TEACHER)) == 0).all()


def test_vsd_moves_the_generator_alone():
    """Both networks may depend on what the generator made; nothing flows back through them."""

    def loss(theta):
        x = theta * jnp.asarray(X0)
        return vsd_surrogate(x, 3.0 * x, jnp.sin(x)).sum()

    x = 0.7 * X0
    np.testing.assert_allclose(jax.grad(loss)(0.7), np.sum(X0 * (3.0 * x - np.sin(x))), rtol=1e-4)


def test_vsd_pulls_samples_to_where_the_teacher_has_its_data():
    """A generator of one point, between two Gaussians that know theirs in closed form."""

    def step(x, key):
        noise = jax.random.normal(key, (64, 1))
        at = 0.6 * x + 0.8 * noise
        teacher, student = (at - 0.6 * 2.0) / 0.8, (at - 0.6 * x) / 0.8  # data at 2, generator at x
        gradient = jax.grad(lambda g: jnp.mean(vsd_surrogate(jnp.full((64, 1), g), teacher, student)))(x)
        return x - 0.2 * gradient, None

    last = jax.lax.scan(step, jnp.float32(-1.0), jax.random.split(jax.random.key(0), 60))[0]
    np.testing.assert_allclose(last, 2.0, atol=1e-3)


def call(name, **change):
    given = {
        "adaptive": {"error": ERROR},
        "vsd": {"x0": X0, "eps_teacher": TEACHER, "eps_student": STUDENT, "weight": WEIGHT},
    }[name]
    return {"adaptive": adaptive_l2, "vsd": vsd_surrogate}[name](**{**given, **change})


def test_where_hides_an_example():
    dirty = np.where(WHERE[:, None, None], ERROR, np.nan)
    np.testing.assert_allclose(adaptive_l2(dirty, where=WHERE), np.where(WHERE, adaptive_l2(ERROR), 0), rtol=1e-6)
    gradient = jax.grad(lambda e: adaptive_l2(e, where=WHERE).sum())(jnp.asarray(dirty))
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~WHERE] == 0).all()
    some = WHERE[:4]
    spoiled = np.where(some, WEIGHT, np.nan)
    gradient = jax.grad(lambda x: call("vsd", x0=x, weight=spoiled, where=some).sum())(jnp.asarray(X0))
    np.testing.assert_array_equal(gradient, np.where(some, WEIGHT, 0)[:, None, None] * (TEACHER - STUDENT))


@pytest.mark.parametrize(
    ("name", "change", "error", "words"),
    [
        ("adaptive", {"error": jnp.zeros(())}, ValueError, "error must have shape"),
        ("adaptive", {"error": jnp.zeros((3, 0))}, ValueError, "error must have shape"),
        ("adaptive", {"error": jnp.zeros((3, 2), int)}, TypeError, "error must be floating point"),
        ("adaptive", {"c": 0.0}, ValueError, "c must be > 0"),
        ("adaptive", {"where": jnp.ones(5, bool)}, ValueError, "where must have shape"),
        ("adaptive", {"where": jnp.ones(6)}, TypeError, "where must be boolean"),
        ("vsd", {"x0": jnp.zeros((4, 6))}, ValueError, "eps_teacher and x0"),
        ("vsd", {"eps_student": jnp.zeros((3, 2, 3))}, ValueError, "eps_student and x0"),
        ("vsd", {"eps_teacher": jnp.zeros((4, 2, 3), int)}, TypeError, "eps_teacher must be floating point"),
        ("vsd", {"weight": jnp.ones(3)}, ValueError, "weight must be a number or have shape"),
        ("vsd", {"where": jnp.ones(3, bool)}, ValueError, "where must have shape"),
    ],
)
def test_bad_input(name, change, error, words):
    with pytest.raises(error, match=words):
        call(name, **change)
