"""The experiments' networks: the convolution is jax's, parameters are plain dicts, seeds go through vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import networks


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((8, 8), (3, 3), 2, "SAME"),
        ((7, 9), (3, 2), (2, 3), "VALID"),
        ((7, 5), (2, 4), 1, "SAME"),
        ((5, 6), (3, 3), (1, 2), ((2, 0), (1, 3))),
    ],
)
def test_conv2d_is_the_convolution_of_jax(size, kernel, stride, padding):
    strides = (stride, stride) if isinstance(stride, int) else stride

    def ours(weights, x):
        return networks.conv2d(weights, x, stride=stride, padding=padding)

    def theirs(weights, x):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, weights, strides, padding, dimension_numbers=layout, precision="highest")

    @jax.jit
    def both(weights, x):
        def value_and_gradients(convolve):
            y, pull = jax.vjp(convolve, weights, x)
            return y, pull(jnp.cos(jnp.arange(y.size)).reshape(y.shape))

        return value_and_gradients(ours), value_and_gradients(theirs)

    rng = np.random.default_rng(0)
    weights, x = (rng.normal(size=s).astype(np.float32) for s in ((*kernel, 3, 4), (2, *size, 3)))
    got, want = both(weights, x)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


def test_conv2d_sums_bfloat16_in_float32():
    # Read off the program: the CPU sums in float32 whatever it is told, accelerators do not.
    kernel, x = jnp.ones((1, 1, 8, 1), jnp.bfloat16), jnp.ones((1, 2, 2, 8), jnp.bfloat16)
    program = jax.make_jaxpr(networks.conv2d)(kernel, x)
    products = [e for e in program.jaxpr.eqns if e.primitive.name == "dot_general"]
    assert [e.params["preferred_element_type"] for e in products] == [jnp.float32]
    assert [v.aval.dtype for v in program.jaxpr.outvars] == [jnp.bfloat16]


@pytest.mark.parametrize(
    ("kernel", "x", "options", "message"),
    [
        ((3, 3, 1), (1, 8, 8, 1), {}, "kernel must have shape"),
        ((3, 3, 1, 2), (8, 8, 1), {}, "x must have shape"),
        ((3, 3, 2, 4), (1, 8, 8, 1), {}, "as many channels"),
        ((5, 5, 1, 1), (1, 4, 4, 1), {"padding": "VALID"}, "larger than the padded image"),
        ((3, 3, 1, 1), (1, 4, 4, 1), {"padding": "same"}, "padding must be one of"),
    ],
)
def test_conv2d_names_what_is_wrong(kernel, x, options, message):
    with pytest.raises(ValueError, match=message):
        networks.conv2d(jnp.ones(kernel), jnp.ones(x), **options)


def test_mlp_is_the_formula():
    network = networks.mlp((4, 5, 6, 3), jnp.tanh)
    params = jax.jit(network.init)(jax.random.key(1))
    x = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    hidden = x
    for name in ("dense0", "dense1"):
        layer = params["hidden"][name]
        hidden = np.tanh(hidden @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
    np.testing.assert_allclose(network.features(params, x), hidden, atol=1e-6)
    head = hidden @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"])
    np.testing.assert_allclose(network.logits(params, x), head, atol=1e-6)


def test_a_linear_model_has_its_input_as_features():
    network = networks.mlp((4, 3))
    x = jnp.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(network.features(network.init(jax.random.key(0)), x), x)


def test_cnn_takes_images_of_any_layout():
    shape = (7, 5, 3)
    network = networks.cnn(shape, 10, channels=(4, 8), hidden=16)
    params = jax.jit(network.init)(jax.random.key(0))
    logits = jax.jit(network.logits)
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    assert logits(params, x).shape == (3, 10)
    assert jax.eval_shape(network.features, params, x).shape == (3, 16)
    np.testing.assert_allclose(logits(params, x.reshape(3, -1)), logits(params, x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="images of shape"):
        logits(params, x[:, 1:])


@pytest.mark.parametrize("network", [networks.mlp((64, 5, 3)), networks.cnn((8, 8, 1), 3, channels=(2,), hidden=4)])
def test_seeds_through_vmap_are_the_seeds_one_by_one(network):
    keys = jax.random.split(jax.random.key(2), 3)
    x = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)

    def run(key):
        params = network.init(key)
        return params, network.logits(params, x)

    together, run = jax.jit(jax.vmap(run))(keys), jax.jit(run)
    for i, key in enumerate(keys):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6), together, run(key))  # noqa: B023
    assert not np.allclose(together[1][0], together[1][1])


def test_parameters_are_plain_dicts_with_string_keys():
    def plain(tree):
        if not isinstance(tree, dict):
            return isinstance(tree, jax.ShapeDtypeStruct)
        return type(tree) is dict and all(isinstance(k, str) and plain(v) for k, v in tree.items())

    for network in (networks.mlp((4, 5, 6, 3)), networks.cnn((8, 8, 1), 3)):
        assert plain(jax.eval_shape(network.init, jax.random.key(0)))


def test_modules_that_keep_more_than_parameters_are_refused():
    class Normed(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(3, rngs=rngs)

    with pytest.raises(TypeError, match="BatchStat"):
        networks.functional(Normed)


def test_wrong_widths_are_named():
    with pytest.raises(ValueError, match="dims must hold"):
        networks.mlp((4,))
    network = networks.mlp((64, 3))
    with pytest.raises(ValueError, match="flatten images first"):
        network.logits(network.init(jax.random.key(0)), jnp.ones((2, 8, 8)))
