"""Cross networks: degrees, identities, a numpy forward pass, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nn

KEY = jax.random.key(0)
PARAMS = nn.cross_network_init(KEY, dim=6, depth=3)
X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def numpy_mask(h, norm):
    standard = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
    return np.concatenate([h, h * np.maximum(standard * norm["scale"] + norm["bias"], 0)], -1)


def numpy_network(params, x, multiplier):
    hidden = x.astype(float)
    for layer in params["layers"]:
        gate = numpy_mask(hidden @ np.asarray(layer["kernel"], float), layer["norm"]) + layer["bias"]
        hidden = multiplier(hidden, x) * gate + hidden
    return (hidden @ params["head"]["kernel"] + params["head"]["bias"])[:, 0]


def test_networks_equal_numpy():
    np.testing.assert_allclose(
        nn.exponential_cross_network(PARAMS, X), numpy_network(PARAMS, X, lambda h, x: h), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(
        nn.linear_cross_network(PARAMS, X), numpy_network(PARAMS, X, lambda h, x: x), rtol=1e-4, atol=1e-4
    )


def test_fused_is_the_mean_of_both():
    both = {"deep": PARAMS, "shallow": nn.cross_network_init(jax.random.key(1), dim=6, depth=2)}
    out = nn.fusing_cross_network(both, X)
    np.testing.assert_allclose(out.deep, nn.exponential_cross_network(both["deep"], X))
    np.testing.assert_allclose(out.shallow, nn.linear_cross_network(both["shallow"], X))
    np.testing.assert_allclose(out.fused, (out.deep + out.shallow) / 2)
    assert np.abs(np.asarray(out.deep - out.shallow)).max() > 0.1


def test_zero_parameters_are_the_identity():
    zero = jax.tree.map(jnp.zeros_like, PARAMS["layers"][0])
    np.testing.assert_array_equal(nn.exponential_cross_layer(zero, X), X)
    np.testing.assert_array_equal(nn.linear_cross_layer(zero, X, X), X)


def polynomial_degree(fn):
    """The smallest degree whose polynomial in t goes through fn(t), at 12 points."""
    points = np.cos(np.linspace(0, np.pi, 12))
    values = np.array([float(fn(t)) for t in points])
    for degree in range(11):
        fit = np.polynomial.chebyshev.Chebyshev.fit(points, values, degree)
        if np.abs(fit(points) - values).max() < 1e-5 * np.abs(values).max():
            return degree
    return None


def test_degrees():
    """With the mask gone, the degree of the exponential layers doubles, that of the linear ones grows by one."""
    rng = np.random.default_rng(1)
    gates = [rng.normal(size=(4, 4)) for _ in range(2)]
    x, head = rng.normal(size=4), rng.normal(size=4)

    def exponential(t):
        h = t * x
        for gate in gates:
            h = h * (gate @ h + 0.3) + h
        return head @ h

    assert polynomial_degree(exponential) == 4
    layers = tuple({"kernel": jnp.asarray(gate.T, jnp.float32), "bias": jnp.full(4, 0.3)} for gate in gates)
    params = {"layers": layers, "head": {"kernel": jnp.asarray(head, jnp.float32)[:, None], "bias": jnp.zeros(1)}}
    network = jax.jit(lambda t: nn.cross_network_v2(params, t * jnp.asarray(x, jnp.float32)))
    assert polynomial_degree(network) == 3


def test_masked_layers_double_and_step():
    """The norm's scale 0 and bias 1 make the mask 1, so [h, h] is linear in x: pure polynomials remain."""
    open_norm = {"scale": jnp.zeros(3), "bias": jnp.ones(3)}
    layers = tuple({**layer, "norm": open_norm} for layer in PARAMS["layers"][:2])
    params = {"layers": layers, "head": PARAMS["head"]}
    direction = 4.0 * jnp.asarray(X[0])  # so that the highest power shows
    assert polynomial_degree(jax.jit(lambda t: nn.exponential_cross_network(params, t * direction))) == 4
    assert polynomial_degree(jax.jit(lambda t: nn.linear_cross_network(params, t * direction))) == 3


def test_self_mask_hides_what_is_below_the_mean():
    h = jnp.array([[1.0, 2.0, 3.0, 6.0]])
    out = np.asarray(nn.self_mask(h))[0]
    np.testing.assert_array_equal(out[:4], h[0])
    assert (out[4:7] == 0).all()
    np.testing.assert_allclose(out[7], 6.0 * 3.0 / np.sqrt(3.5), rtol=1e-4)
    assert nn.self_mask(h.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_init():
    assert jax.tree.map(jnp.shape, PARAMS["layers"][0]) == {
        "kernel": (6, 3),
        "bias": (6,),
        "norm": {"scale": (3,), "bias": (3,)},
    }
    biases = np.concatenate([layer["bias"] for layer in PARAMS["layers"]])
    assert 0 <= biases.min() < biases.max() <= 1
    assert np.abs(PARAMS["layers"][0]["kernel"]).max() <= 6**-0.5
    plain = nn.cross_network_init(KEY, dim=5, depth=1, masked=False)["layers"][0]
    assert plain["kernel"].shape == (5, 5)
    assert set(plain) == {"kernel", "bias"}


def test_heads():
    embeddings = np.arange(2 * 3 * 8.0, dtype=np.float32).reshape(2, 3, 8)
    found = nn.split_heads(embeddings, num_heads=2)
    for head in range(2):
        part = embeddings[..., 4 * head : 4 * head + 4]
        expected = np.concatenate([part[..., :2].reshape(2, 6), part[..., 2:].reshape(2, 6)], -1)
        np.testing.assert_array_equal(found[:, head], expected)
    assert nn.exponential_cross_network(nn.cross_network_init(KEY, dim=12, depth=1), found).shape == (2, 2)


LAYER = PARAMS["layers"][0]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.cross_network_init(KEY, dim=5, depth=1), ValueError, "dim must be a multiple of 2"),
        (lambda: nn.cross_network_init(KEY, dim=4, depth=0), ValueError, "depth must be an integer of at least 1"),
        (lambda: nn.cross_network_init(KEY, dim=0, depth=1), ValueError, "dim must be an integer of at least 1"),
        (lambda: nn.exponential_cross_layer(LAYER, X[:, :5]), ValueError, "params must hold a kernel"),
        (lambda: nn.exponential_cross_network(PARAMS, X[:, :4]), ValueError, "params must hold a kernel"),
        (lambda: nn.linear_cross_layer(LAYER, X, X[:2]), ValueError, "x and first"),
        (lambda: nn.linear_cross_network(PARAMS, jnp.zeros(())), ValueError, "got a scalar"),
        (lambda: nn.cross_network_v2(PARAMS, jnp.zeros((2, 6), int)), TypeError, "x must be floating point"),
        (lambda: nn.self_mask(jnp.zeros(())), ValueError, "got a scalar"),
        (lambda: nn.self_mask(jnp.zeros(3, int)), TypeError, "h must be floating point"),
        (lambda: nn.split_heads(jnp.zeros((2, 6)), num_heads=2), ValueError, "the width E of embeddings"),
        (lambda: nn.split_heads(jnp.zeros(6), num_heads=1), ValueError, r"embeddings must have shape \[..., F, E\]"),
        (lambda: nn.split_heads(jnp.zeros((2, 6)), num_heads=0), ValueError, "num_heads must be an integer"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
