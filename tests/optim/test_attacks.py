"""Projected gradient ascent: exact optima of linear losses, a numpy loop, balls, boxes, random starts, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.optim import projected_gradient_attack

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(4, 3)).astype(np.float32)
W = np.array([1.0, -2.0, 0.5], np.float32)


def linear(x):
    return x @ W


def wavy(x):
    return jnp.sum(jnp.sin(3.0 * x), axis=-1)


def attack(loss_fn=wavy, x=X, **options):
    return projected_gradient_attack(loss_fn, x, **{"eps": 0.3, "step": 0.1, "num_iters": 5, **options})


def distances(result, x, norm):
    delta = np.asarray(result, np.float64) - np.asarray(x)
    return np.abs(delta).max(-1) if norm == "linf" else np.linalg.norm(delta, axis=-1)


def test_a_linear_loss_has_a_known_worst_case():
    np.testing.assert_allclose(attack(linear), X + 0.3 * np.sign(W), rtol=1e-5)
    np.testing.assert_allclose(attack(linear, norm="l2"), X + 0.3 * W / np.linalg.norm(W), rtol=1e-5)


def by_numpy(x, norm, momentum, bounds, eps=0.3, step=0.1, num_iters=5):
    """The published order: unit gradient, momentum, step, clip, project."""
    start, z, velocity = x.astype(np.float64), x.astype(np.float64), np.zeros_like(x, np.float64)
    for _ in range(num_iters):
        gradient = 3 * np.cos(3 * z)
        order = 1 if norm == "linf" else 2
        velocity = momentum * velocity + gradient / np.linalg.norm(gradient, ord=order, axis=-1, keepdims=True)
        z = np.clip(z + step * (np.sign(velocity) if norm == "linf" else velocity), *bounds)
        delta = z - start
        if norm == "linf":
            delta = np.clip(delta, -eps, eps)
        else:
            delta = delta / np.maximum(1, np.linalg.norm(delta, axis=-1, keepdims=True) / eps)
        z = start + delta
    return z


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equals_the_numpy_loop(norm, momentum):
    ours = attack(norm=norm, momentum=momentum, bounds=(0.0, 1.0))
    np.testing.assert_allclose(ours, by_numpy(X, norm, momentum, (0.0, 1.0)), rtol=1e-4, atol=1e-5)


def test_momentum_changes_the_path():
    for norm in ("linf", "l2"):
        paths = [np.asarray(attack(norm=norm, momentum=m, step=0.2, eps=2.0)) for m in (0.0, 0.9)]
        assert np.abs(paths[0] - paths[1]).max() > 0.05


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("key", [None, jax.random.key(0)], ids=["from x", "random"])
def test_it_stays_in_the_ball_and_the_box_and_raises_the_loss(norm, key):
    def loss_fn(x):
        return jnp.sum(jnp.exp(W * x), axis=-1)

    result = attack(loss_fn, norm=norm, key=key, bounds=(0.0, 1.0), step=0.2)
    assert (distances(result, X, norm) <= 0.3 + 1e-6).all()
    assert np.asarray(result).min() >= 0
    assert np.asarray(result).max() <= 1
    assert (np.asarray(loss_fn(result)) > np.asarray(loss_fn(X))).all()


@pytest.mark.parametrize(("norm", "power"), [("linf", 1), ("l2", 3)])
def test_the_random_start_is_uniform_in_the_ball(norm, power):
    """Uniform in a ball of dimension 3: |d|^3 / eps^3 is uniform, and no direction is preferred."""
    x = jnp.zeros((2000, 3))
    start = np.asarray(attack(x=x, norm=norm, num_iters=0, key=jax.random.key(1), eps=0.5))
    radius = np.abs(start).ravel() if norm == "linf" else np.linalg.norm(start, axis=1)
    np.testing.assert_allclose(np.mean((radius / 0.5) ** power), 0.5, atol=0.03)
    assert radius.max() <= 0.5 + 1e-6
    np.testing.assert_allclose(start.mean(0), 0, atol=0.03)
    assert np.abs(start - attack(x=x, norm=norm, num_iters=0, key=jax.random.key(2), eps=0.5)).max() > 0.1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_eps_and_step_per_example(norm):
    eps = jnp.array([0.0, 0.1, 0.2, 0.3])
    result = attack(linear, norm=norm, eps=eps, step=eps)
    np.testing.assert_allclose(distances(result, X, norm), eps, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_gradient_no_move_and_a_nan_gradient_is_loud(norm):
    np.testing.assert_array_equal(attack(lambda x: 0.0 * jnp.sum(x, -1), norm=norm), X)
    np.testing.assert_array_equal(attack(norm=norm, num_iters=0), X)
    broken = attack(lambda x: jnp.sum(x, -1) * jnp.array([1.0, jnp.nan, 1.0, 1.0]), norm=norm)
    np.testing.assert_array_equal(np.isnan(broken).any(-1), [False, True, False, False])


def test_examples_do_not_know_each_other_and_images_are_fine():
    images = X.reshape(2, 2, 3)
    result = attack(lambda x: jnp.sum(jnp.sin(3.0 * x), axis=(1, 2)), images, norm="l2")
    alone = attack(lambda x: jnp.sum(jnp.sin(3.0 * x), axis=(1, 2)), images[:1], norm="l2")
    np.testing.assert_allclose(result[:1], alone, rtol=1e-5)
    delta = np.asarray(result) - images
    np.testing.assert_allclose(np.sqrt((delta**2).sum((1, 2))), 0.3, rtol=1e-4)


def test_the_perturbation_is_a_constant_of_differentiation():
    for norm in ("linf", "l2"):
        jacobian = jax.jacobian(lambda x, norm=norm: attack(x=x, norm=norm))(jnp.asarray(X))
        np.testing.assert_array_equal(np.asarray(jacobian).reshape(12, 12), np.eye(12))

    def loss_of_parameter(w):
        attacked = projected_gradient_attack(lambda x: x @ w, X, eps=0.3, step=0.1, num_iters=3, norm="l2")
        return jnp.sum(attacked @ w), attacked

    gradient, attacked = jax.grad(loss_of_parameter, has_aux=True)(jnp.asarray(W))
    np.testing.assert_allclose(gradient, np.asarray(attacked).sum(0), rtol=1e-5)


def test_traced_hyperparameters_and_bfloat16():
    sweep = jax.jit(jax.vmap(lambda eps: attack(linear, eps=eps, step=eps, num_iters=1)))(jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(sweep[1], X + 0.2 * np.sign(W), rtol=1e-5)
    narrow = attack(x=jnp.asarray(X, jnp.bfloat16), bounds=(0.0, 1.0))
    assert narrow.dtype == jnp.bfloat16
    assert (distances(narrow, jnp.asarray(X, jnp.bfloat16), "linf") <= 0.3 + 2**-8).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"loss_fn": lambda x: jnp.sum(x)}, ValueError, "loss_fn must return one loss per example"),
        ({"loss_fn": lambda x: jnp.argmax(x, -1)}, ValueError, "loss_fn must return one loss per example"),
        ({"loss_fn": lambda x: x}, ValueError, "loss_fn must return one loss per example"),
        ({"x": jnp.zeros((4, 3), int)}, TypeError, "x must be floating point"),
        ({"x": jnp.array(1.0)}, ValueError, "x must have shape"),
        ({"x": jnp.zeros((0, 3))}, ValueError, "x must have shape"),
        ({"eps": -0.1}, ValueError, "eps must be at least 0"),
        ({"step": -0.1}, ValueError, "step must be at least 0"),
        ({"momentum": -0.1}, ValueError, "momentum must be at least 0"),
        ({"eps": jnp.ones(3)}, ValueError, "eps must be a number or have shape"),
        ({"step": jnp.ones((4, 1))}, ValueError, "step must be a number or have shape"),
        ({"eps": None}, TypeError, "eps must be a number"),
        ({"norm": "l1"}, ValueError, "norm must be one of"),
        ({"num_iters": 1.5}, TypeError, "num_iters must be a static integer"),
        ({"num_iters": -1}, ValueError, "num_iters must be at least 0"),
        ({"bounds": (1.0, 0.0)}, ValueError, "bounds must be"),
        ({"bounds": 1.0}, ValueError, "bounds must be a pair"),
        ({"bounds": (0.0, 0.5, 1.0)}, ValueError, "bounds must be a pair"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        attack(**change)
