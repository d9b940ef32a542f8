"""Products with the Hessian, its trace, its diagonal and its top eigenvalue against the Hessian itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import optim

rng = np.random.default_rng(5)
PARAMS = {"a": rng.normal(size=3).astype(np.float32), "b": rng.normal(size=(2, 2)).astype(np.float32)}
VECTOR = {"a": rng.normal(size=3).astype(np.float32), "b": rng.normal(size=(2, 2)).astype(np.float32)}
MIX = rng.normal(size=(7, 7)).astype(np.float32)


def loss_fn(params):
    flat = jnp.concatenate([params["a"], params["b"].ravel()])
    return jnp.sum(jnp.sin(MIX @ flat)) + flat[0] ** 2 * flat[6]


@pytest.fixture(scope="module")
def hessian():
    flat, unravel = jax.flatten_util.ravel_pytree(PARAMS)
    return np.asarray(jax.hessian(lambda x: loss_fn(unravel(x)))(flat))


def ravel(tree):
    return np.asarray(jax.flatten_util.ravel_pytree(tree)[0])


def test_product(hessian):
    got = ravel(optim.hessian_vector_product(loss_fn, PARAMS, VECTOR))
    np.testing.assert_allclose(got, hessian @ ravel(VECTOR), rtol=1e-4, atol=1e-4)


def test_the_top_eigenvalue_has_its_sign(hessian):
    top = jax.jit(
        lambda key, sign: optim.hessian_top_eigenvalue(key, lambda p: sign * loss_fn(p), PARAMS, num_iters=500)
    )
    values = np.linalg.eigvalsh(hessian)
    want = values[np.argmax(np.abs(values))]
    np.testing.assert_allclose([top(jax.random.key(3), s) for s in (1.0, -1.0)], [want, -want], rtol=1e-3)
    assert optim.hessian_top_eigenvalue(jax.random.key(0), lambda x: jnp.sum(3.0 * x), jnp.ones(2)) == 0


def test_random_signs_are_right_on_average(hessian):
    num = 4000
    mean, diagonal = jax.jit(
        lambda key: (
            optim.hutchinson_trace(key, loss_fn, PARAMS, num_probes=num),
            optim.hutchinson_diagonal(key, loss_fn, PARAMS, num_probes=num),
        )
    )(jax.random.key(0))
    off = hessian - np.diag(np.diag(hessian))
    assert abs(mean - np.trace(hessian)) < 5 * np.sqrt(2 * np.sum(off**2) / num)
    np.testing.assert_allclose(np.sum(ravel(diagonal)), mean, rtol=1e-3, atol=1e-3)
    assert np.all(np.abs(ravel(diagonal) - np.diag(hessian)) < 5 * np.sqrt(np.sum(off**2, axis=1) / num))


def test_one_probe_is_exact_for_a_diagonal_hessian():
    curves = np.float32([1.0, -4.0, 0.5])
    quadratic = lambda x: 0.5 * jnp.sum(curves * x**2)  # noqa: E731
    key = jax.random.key(1)
    assert optim.hutchinson_trace(key, quadratic, jnp.ones(3), num_probes=1) == curves.sum()
    np.testing.assert_array_equal(optim.hutchinson_diagonal(key, quadratic, jnp.ones(3), num_probes=1), curves)


def test_bad_input():
    with pytest.raises(ValueError, match="vector must have the structure"):
        optim.hessian_vector_product(loss_fn, PARAMS, {"a": VECTOR["a"]})
    with pytest.raises(TypeError, match="params"):
        optim.hessian_top_eigenvalue(jax.random.key(0), jnp.sum, np.arange(3))
    with pytest.raises(ValueError, match="num_probes"):
        optim.hutchinson_trace(jax.random.key(0), loss_fn, PARAMS, num_probes=0)
