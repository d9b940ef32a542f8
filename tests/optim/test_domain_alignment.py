"""Aligned curvature against dense Hessians, the closed form of a linear head, and identities."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim

RNG = np.random.default_rng(1)
E, B, D, K = 3, 5, 2, 3
X = RNG.normal(size=(E, B, D)).astype(np.float32)
Y = RNG.integers(0, K, (E, B))
W = RNG.normal(size=(D, K)).astype(np.float32)
KEY = jax.random.key(0)


def loss_fn(weight, batch):
    x, y = batch
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(x @ weight, y))


def closed_forms(x, y):
    """Gradient and Hessian of the loss by the flattened kernel [D K], from probabilities."""
    p = np.asarray(jax.nn.softmax(x @ W), np.float64)
    gradient = np.mean([np.kron(a, q - np.eye(K)[c]) for a, q, c in zip(x, p, y, strict=True)], axis=0)
    curve = [np.kron(np.outer(a, a), np.diag(q) - np.outer(q, q)) for a, q in zip(x, p, strict=True)]
    return gradient, np.mean(curve, axis=0)


FORMS = [closed_forms(x, y) for x, y in zip(X, Y, strict=True)]
GRADIENT, HESSIAN = (np.mean([form[i] for form in FORMS], axis=0) for i in (0, 1))


def test_product_with_the_gradient():
    for batch, (gradient, hessian) in zip(zip(X, Y, strict=True), FORMS, strict=True):
        loss = lambda weight, batch=batch: loss_fn(weight, batch)  # noqa: E731
        found = np.asarray(optim.hessian_gradient_product(loss, W)).ravel()
        np.testing.assert_allclose(found, hessian @ gradient, atol=1e-5)
        half_square = lambda weight, loss=loss: 0.5 * jnp.sum(jax.grad(loss)(weight) ** 2)  # noqa: E731
        np.testing.assert_allclose(found, np.asarray(jax.grad(half_square)(W)).ravel(), atol=1e-5)
    flat = optim.hessian_gradient_product(lambda x: jnp.sum(x**2), jnp.zeros(2))
    np.testing.assert_array_equal(flat, 0)


def test_hgp_is_its_formula():
    curve = np.mean([np.sum((h @ g - HESSIAN @ GRADIENT) ** 2) for g, h in FORMS])
    slope = np.mean([np.sum((g - GRADIENT) ** 2) for g, _ in FORMS])
    penalty = jax.jit(lambda alpha, beta: optim.hgp_alignment(loss_fn, W, (X, Y), alpha=alpha, beta=beta))
    for alpha, beta in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0)):
        found = penalty(alpha, beta)
        np.testing.assert_allclose(found, alpha * curve + beta * slope, rtol=1e-4)


def test_many_probes_give_the_penalty_of_the_diagonals():
    curve = np.mean([np.sum((np.diag(h) - np.diag(HESSIAN)) ** 2) for _, h in FORMS])
    options = {"alpha": 1.0, "beta": 0.0}
    found = optim.hutchinson_alignment(KEY, loss_fn, W, (X, Y), num_probes=3000, **options)
    np.testing.assert_allclose(found, curve, rtol=0.1)
    quadratic = lambda w, x: 0.5 * jnp.sum(x * w**2)  # noqa: E731
    one = optim.hutchinson_alignment(
        KEY, quadratic, W[0], jnp.abs(jnp.asarray(X[:, 0, [0, 1, 0]])), num_probes=1, **options
    )
    diagonals = np.abs(X[:, 0, [0, 1, 0]])
    np.testing.assert_allclose(one, np.mean(np.sum((diagonals - diagonals.mean(0)) ** 2, axis=1)), rtol=1e-5)


@pytest.mark.parametrize("kind", ["hgp", "hutchinson"])
def test_equal_domains_hidden_domains_and_devices(kind):
    def penalty(x, y, where=None, axis_name=None):
        options = {"alpha": 1.0, "beta": 1.0, "where": where, "axis_name": axis_name}
        if kind == "hgp":
            return optim.hgp_alignment(loss_fn, W, (x, y), **options)
        return optim.hutchinson_alignment(KEY, loss_fn, W, (x, y), num_probes=2, **options)

    masked = jax.jit(jax.value_and_grad(penalty))
    every, where = np.ones(E, bool), np.array([True, False, True])
    assert masked(X, Y, np.arange(E) == 1)[0] == 0
    assert masked(X[[0, 0, 0]], Y[[0, 0, 0]], every)[0] < 1e-10
    spoiled = np.where(where[:, None, None], X, np.nan).astype(np.float32)
    value, gradient = masked(spoiled, Y, where)
    np.testing.assert_allclose(value, jax.jit(penalty)(X[where], Y[where]), rtol=1e-4)
    np.testing.assert_array_equal(gradient[1], 0)
    assert np.abs(gradient).max() > 1e-4
    one = lambda x, y: penalty(x[None], y[None], axis_name="d")  # noqa: E731
    found = jax.jit(jax.vmap(one, axis_name="d"))(X, Y)
    np.testing.assert_allclose(found, np.full(E, masked(X, Y, every)[0]), rtol=1e-4)


def test_the_common_value_pulls_only_one_way():
    """The gradient is that of the domains' own part: the means are constants."""
    target = HESSIAN @ GRADIENT

    def own_part(x):
        def one(x, y):
            product = optim.hessian_gradient_product(lambda w: loss_fn(w, (x, y)), W).ravel()
            return jnp.sum((product - target.astype(np.float32)) ** 2)

        return jnp.mean(jax.vmap(one)(x, Y))

    whole = lambda x: optim.hgp_alignment(loss_fn, W, (x, Y), alpha=1.0, beta=0.0)  # noqa: E731
    found, wanted = jax.jit(lambda x: (jax.grad(whole)(x), jax.grad(own_part)(x)))(X)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.hessian_gradient_product(jnp.sum, np.arange(3)), TypeError, "params"),
        (lambda: optim.hgp_alignment(loss_fn, W, (X, Y[:2])), ValueError, "batches"),
        (lambda: optim.hgp_alignment(loss_fn, W, (X[:0], Y[:0])), ValueError, "E >= 1"),
        (lambda: optim.hgp_alignment(loss_fn, W, (X, Y), where=np.ones(2, bool)), ValueError, "where"),
        (lambda: optim.hgp_alignment(loss_fn, W, (X, Y), alpha=-1.0), ValueError, "alpha"),
        (lambda: optim.hgp_alignment(loss_fn, Y, (X, Y)), TypeError, "params"),
        (lambda: optim.hutchinson_alignment(KEY, loss_fn, W, (X, Y), beta=-1.0), ValueError, "beta"),
        (lambda: optim.hutchinson_alignment(KEY, loss_fn, W, (X, Y), num_probes=0), ValueError, "num_probes"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
