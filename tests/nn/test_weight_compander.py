"""The weight compander: its shape, its inverse, kernels in companded form, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nn

V = np.linspace(-9, 9, 41).astype(np.float32)


def test_it_is_odd_increasing_and_bounded():
    w = np.asarray(nn.weight_compander(V, 1.5, 0.4))
    np.testing.assert_allclose(w, 1.5 * np.arctan(V.astype(np.float64) / 0.4), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(w, -w[::-1], atol=1e-6)
    assert (np.diff(w) > 0).all()
    far = nn.weight_compander(np.float32([1e30, -1e30]), 1.5, 0.4)
    np.testing.assert_allclose(far, [0.75 * np.pi, -0.75 * np.pi], rtol=1e-6)


def test_slope():
    slope = jax.vmap(jax.grad(lambda v: nn.weight_compander(v, 1.5, 0.4)))(V)
    np.testing.assert_allclose(slope, 1.5 * 0.4 / (V**2 + 0.4**2), rtol=1e-5)
    # A step moves a weight most near 0: by a / b.
    assert np.argmax(slope) == 20
    np.testing.assert_allclose(slope[20], 1.5 / 0.4, rtol=1e-6)


@pytest.mark.parametrize(("a", "b", "slope"), [(1e4, 1e4, 1.0), (3e4, 1e4, 3.0)])
def test_wide_scales_are_linear(a, b, slope):
    np.testing.assert_allclose(nn.weight_compander(V, a, b), slope * V, rtol=1e-5)


def test_inverse():
    a = np.linspace(0.5, 2, 41).astype(np.float32)
    w = nn.weight_compander(V, a, 0.4)
    np.testing.assert_allclose(nn.weight_compander_inverse(w, a, 0.4), V, rtol=1e-3, atol=1e-4)
    beyond = nn.weight_compander_inverse(np.float32([0.78, 0.79, -0.79, 3.0]), 0.5, 1.0)  # 0.785 is the bound
    np.testing.assert_array_equal(np.isnan(beyond), [False, True, True, True])
    gradient = jax.grad(lambda w: nn.weight_compander_inverse(w, 0.5, 1.0)[0])(jnp.array([0.1, 3.0]))
    assert np.isfinite(gradient).all()


def restored(v, scales):
    return jax.tree.map(lambda leaf, s: leaf if s is None else nn.weight_compander(leaf, *s), v, scales)


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_a_network_in_companded_form_is_the_same_network(ratio):
    rng = np.random.default_rng(0)
    params = {"dense": {"kernel": rng.standard_normal((5, 4)).astype(np.float32), "bias": np.ones(4, np.float32)}}
    params["empty"] = np.zeros((2, 2), np.float32)
    v, scales = nn.compander_init(params, ratio=ratio)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), restored(v, scales), params)
    kernel = scales["dense"]["kernel"]
    np.testing.assert_allclose(kernel.a, 2 * np.abs(params["dense"]["kernel"]).max(), rtol=1e-6)
    np.testing.assert_allclose(kernel.a / kernel.b, ratio, rtol=1e-6)
    np.testing.assert_array_equal(v["dense"]["bias"], params["dense"]["bias"])
    assert scales["dense"]["bias"] is None
    assert scales["empty"].a == 1
    # The scales can be trained as well.
    gradient = jax.grad(lambda s: jnp.sum(restored(v, s)["dense"]["kernel"] ** 2))(scales)
    assert gradient["dense"]["kernel"].a > 0
    assert gradient["dense"]["bias"] is None


def test_too_little_headroom_is_loud():
    v, _ = nn.compander_init({"kernel": jnp.array([[1.0, 0.1]])}, headroom=0.5)
    np.testing.assert_array_equal(np.isnan(v["kernel"]), [[True, False]])


@pytest.mark.parametrize("fn", [nn.weight_compander, nn.weight_compander_inverse])
@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ((np.arange(3), 1.0, 1.0), TypeError, "must be floating point"),
        ((V, 0.0, 1.0), ValueError, "a must be > 0"),
        ((V, 1.0, -1.0), ValueError, "b must be > 0"),
        ((V, np.ones((2, 1), np.float32), 1.0), ValueError, "a must broadcast to"),
    ],
)
def test_bad_input(fn, args, error, words):
    with pytest.raises(error, match=words):
        fn(*args)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"ratio": 0.0}, ValueError, "ratio must be > 0"),
        ({"headroom": -1.0}, ValueError, "headroom must be > 0"),
        ({"params": {"kernel": np.ones((2, 2), int)}}, TypeError, "params must be floating"),
    ],
)
def test_bad_networks(change, error, words):
    with pytest.raises(error, match=words):
        nn.compander_init(**{"params": {"kernel": jnp.ones((2, 2))}, **change})
