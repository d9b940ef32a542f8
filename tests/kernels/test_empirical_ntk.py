"""Every form of the empirical tangent kernel against a plain autodiff Jacobian, and its infinite-width limit."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxlab import kernels

RNG = np.random.default_rng(0)
WIDTHS = (4, 6, 5, 3)
LAYERS = [
    (RNG.normal(size=(a, b)).astype(np.float32), RNG.normal(size=b).astype(np.float32))
    for a, b in itertools.pairwise(WIDTHS)
]
X, Y = (RNG.normal(size=(n, 4)).astype(np.float32) for n in (7, 5))


def network(params, x):
    for kernel, bias in params[:-1]:
        x = jnp.tanh(x @ kernel + bias)
    return x @ params[-1][0] + params[-1][1]


def plain(x, y):
    """[N, M, K, K] by the whole Jacobian of the flattened parameters."""
    flat, unravel = ravel_pytree(LAYERS)
    jacobian = jax.jacobian(lambda p, x: network(unravel(p), x))
    return np.einsum("nkp,mlp->nmkl", *(np.asarray(jacobian(flat, rows), np.float64) for rows in (x, y)))


WANTED, OWN = plain(X, Y), plain(X, X)


def reduced(full, output):
    if output == "full":
        return full
    return np.einsum("nmkk->nm", full) if output == "trace" else full[:, :, output, output]


@pytest.mark.parametrize("output", ["trace", "full", 0, 2])
@pytest.mark.parametrize("method", ["jacobian", "products", "blockwise", "dense"])
def test_all_forms_equal_the_jacobian(method, output):
    if method == "dense":
        ntk = functools.partial(kernels.dense_ntk, LAYERS, activation=jnp.tanh, output=output)
    else:
        ntk = functools.partial(kernels.empirical_ntk, network, LAYERS, output=output, method=method, block=3)
    between, own = jax.jit(lambda x, y: (ntk(x, y), ntk(x)))(X, Y)
    np.testing.assert_allclose(between, reduced(WANTED, output), rtol=2e-5, atol=2e-4)
    np.testing.assert_allclose(own, reduced(OWN, output), rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("block", [1, 2, 4, 7, 100])
def test_blocks_of_every_size(block):
    """Even and odd numbers of blocks, a last one that is not full, one larger than the data."""
    found = jax.jit(lambda x: kernels.empirical_ntk(network, LAYERS, x, method="blockwise", output="full", block=block))
    np.testing.assert_allclose(found(X), OWN, rtol=2e-5, atol=2e-4)


def test_vector_product():
    vector = RNG.normal(size=(5, 3)).astype(np.float32)
    wanted = np.einsum("nmkl,ml->nk", WANTED, vector)
    found = kernels.ntk_vector_product(network, LAYERS, vector, X, Y)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_one_output_without_an_axis_and_inputs_of_any_shape():
    def image_network(params, x):
        return jnp.sum(jnp.sin(params["w"] * x), axis=(1, 2)) + params["b"]

    params = {"w": jnp.ones((2, 3)) * 0.5, "b": jnp.zeros(())}
    x = jnp.asarray(RNG.normal(size=(4, 2, 3)), jnp.float32)
    slope = np.asarray(np.cos(0.5 * x) * x).reshape(4, -1)
    for method in ("jacobian", "products", "blockwise"):
        found = jax.jit(functools.partial(kernels.empirical_ntk, image_network, method=method, block=3))(params, x)
        np.testing.assert_allclose(found, slope @ slope.T + 1, rtol=1e-4, atol=1e-5)
    assert kernels.empirical_ntk(image_network, params, x, output="full").shape == (4, 4, 1, 1)


def test_layers_without_bias():
    layers = [(kernel, None) for kernel, _ in LAYERS]
    wanted = kernels.empirical_ntk(lambda p, x: jax.nn.relu(x @ p[0]) @ p[1], [LAYERS[0][0], LAYERS[1][0]], X)
    np.testing.assert_allclose(kernels.dense_ntk(layers[:2], X), wanted, rtol=1e-4, atol=1e-4)


def test_wide_networks_reach_the_infinite_width_kernel():
    """Two hidden layers with weights of unit variance, and what the width asks for outside of them."""
    width, x = 1000, jnp.asarray(X / np.linalg.norm(X, axis=1, keepdims=True))
    shapes = ((4, width), (width, width), (width, 1))
    keys = jax.random.split(jax.random.key(0), 3)
    params = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]

    def wide(params, x):
        for kernel in params[:-1]:
            x = jnp.sqrt(2 / width) * jax.nn.relu(x @ kernel)
        return x @ params[-1]

    found = np.asarray(kernels.empirical_ntk(wide, params, x, method="blockwise", block=2))
    gram = jnp.fill_diagonal(x @ x.T, 1.0, inplace=False)
    wanted = np.asarray(kernels.infinite_width_kernels(gram, kernels.relu_dual, depth=2).ntk)
    np.testing.assert_allclose(found, wanted, atol=0.6)  # a layer more or less would be 1
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99


def test_bfloat16_parameters_are_summed_in_float32():
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), LAYERS)
    found = kernels.empirical_ntk(network, params, X.astype(jnp.bfloat16))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, reduced(OWN, "trace"), rtol=0.1, atol=2.0)


def test_kernels_are_differentiable():
    def total(w, method):
        return jnp.sum(kernels.empirical_ntk(lambda w, x: jnp.tanh(x @ w), w, X, method=method, block=3) ** 2)

    @jax.jit
    def gradients(w):
        return [jax.grad(total)(w, method) for method in ("jacobian", "blockwise", "products")]

    wanted, *others = gradients(LAYERS[0][0][:, 0])
    assert np.abs(wanted).max() > 0.1
    for found in others:
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


W = jnp.ones((4, 2))
BAD = [
    (lambda: kernels.empirical_ntk(network, LAYERS, X, method="fast"), ValueError, "method must be one of"),
    (lambda: kernels.empirical_ntk(network, LAYERS, X, output="mean"), ValueError, "output must be one of"),
    (lambda: kernels.empirical_ntk(network, LAYERS, X, output=3), ValueError, "output must be below 3"),
    (lambda: kernels.empirical_ntk(network, LAYERS, X, block=0), ValueError, "block"),
    (lambda: kernels.empirical_ntk(network, LAYERS, X, Y[:, :3]), ValueError, "y must hold examples of shape"),
    (lambda: kernels.empirical_ntk(lambda p, x: jnp.sum(x @ p), W, X), ValueError, "apply_fn must give"),
    (lambda: kernels.empirical_ntk(lambda p, x: x @ p[0], [W, 3], X), TypeError, "params must be floating"),
    (lambda: kernels.ntk_vector_product(network, LAYERS, Y[:, :2], X, Y), ValueError, "vector must have the shape"),
    (lambda: kernels.ntk_vector_product(network, LAYERS, np.arange(3), X), TypeError, "vector must be floating"),
    (lambda: kernels.dense_ntk([], X), ValueError, "layers must hold"),
    (lambda: kernels.dense_ntk([(W, None), (W, None)], X), ValueError, r"layers\[1\] must have 2 inputs"),
    (lambda: kernels.dense_ntk([(W, jnp.ones(3))], X), ValueError, r"layers\[0\] must have a bias \[2\]"),
    (lambda: kernels.dense_ntk([(W, None)], X[:, :3]), ValueError, "x must have width 4"),
    (lambda: kernels.dense_ntk([(W, None)], X, output=2), ValueError, "output must be below 2"),
    (lambda: kernels.dense_ntk([(W, None)], X, output="mean"), ValueError, "output must be one of"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
