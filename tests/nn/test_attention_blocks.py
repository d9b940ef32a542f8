"""Blocks that weigh channels and places, written out in numpy, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from jaxlab import nn

C = 5
INITS = {
    "squeeze_excitation": nn.squeeze_excitation_init,
    "coordinate_attention": nn.coordinate_attention_init,
    "fused_attention": nn.fused_attention_init,
}


def drawn(name):
    rng = np.random.default_rng(0)
    params = INITS[name](jax.random.key(0), C)
    params = jax.tree.map(lambda leaf: leaf + 0.5 * rng.normal(size=leaf.shape).astype(np.float32), params)
    return params, rng.normal(size=(2, 3, 4, C)).astype(np.float32)


def dense(params, x):
    return x @ np.asarray(params["kernel"], float) + np.asarray(params["bias"], float)


def squeeze(params, x):
    s = expit(dense(params["expand"], np.maximum(dense(params["reduce"], x.mean((1, 2))), 0)))
    return np.einsum("bijc,bc->bijc", x, s)


def coordinates(params, x):
    def swish(z):
        return z * np.clip(z + 3, 0, 6) / 6

    a = expit(dense(params["rows"], swish(dense(params["reduce"], x.mean(2)))))
    b = expit(dense(params["columns"], swish(dense(params["reduce"], x.mean(1)))))
    return np.einsum("bijc,bic,bjc->bijc", x, a, b)


def fused(params, x):
    alpha = expit(float(params["balance"]))
    return alpha * coordinates(params["coordinate"], x) + (1 - alpha) * squeeze(params["channel"], x)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("squeeze_excitation", squeeze), ("coordinate_attention", coordinates), ("fused_attention", fused)],
)
def test_equals_numpy(name, expected):
    params, x = drawn(name)
    found = getattr(nn, name)(params, x)
    np.testing.assert_allclose(found, expected(params, x.astype(float)), rtol=1e-4, atol=1e-6)
    share = np.asarray(found) / x
    assert share.min() > 0  # maps of attention lie strictly between 0 and 1
    assert share.max() < 1
    narrow = getattr(nn, name)(params, jnp.asarray(x, jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), found, rtol=0.02, atol=0.02)


def test_rows_and_columns_are_not_confused():
    """A map that depends on its rows alone gets the same weights in every column, and another one in each row."""
    params, _ = drawn("coordinate_attention")
    x = np.broadcast_to(np.linspace(1, 4, 3, dtype=np.float32)[:, None, None], (1, 3, 4, C))
    share = np.asarray(nn.coordinate_attention(params, x)) / x
    np.testing.assert_allclose(share, share[:, :, :1].repeat(4, 2), rtol=1e-5)
    assert np.abs(np.diff(share, axis=1)).max() > 1e-3
    np.testing.assert_allclose(  # turned with the roles of the two maps exchanged
        nn.coordinate_attention(
            params | {"rows": params["columns"], "columns": params["rows"]}, x.swapaxes(1, 2)
        ).swapaxes(1, 2),
        share * x,
        rtol=1e-5,
    )


def test_balance_goes_from_one_part_to_the_other():
    params, x = drawn("fused_attention")
    assert float(nn.fused_attention_init(jax.random.key(0), C)["balance"]) == 0
    for value, name, part in ((90.0, "coordinate_attention", "coordinate"), (-90.0, "squeeze_excitation", "channel")):
        found = nn.fused_attention(params | {"balance": jnp.float32(value)}, x)
        np.testing.assert_allclose(found, getattr(nn, name)(params[part], x), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("width", "inner"), [(64, (4, 8)), (512, (32, 16)), (4, (1, 8))])
def test_inner_widths(width, inner):
    params = jax.eval_shape(lambda: nn.fused_attention_init(jax.random.key(0), width))
    found = tuple(params[part]["reduce"]["kernel"].shape[1] for part in ("channel", "coordinate"))
    assert found == inner


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (jnp.zeros((2, 3, C)), ValueError, r"\[B, H, W, C\]"),
        (jnp.zeros((2, 3, 4, 4)), ValueError, "5 channels"),
        (jnp.zeros((2, 0, 4, C)), ValueError, "H, W >= 1"),
        (jnp.zeros((2, 3, 4, C), int), TypeError, "x must be floating"),
    ],
)
def test_bad_input(name, x, error, words):
    with pytest.raises(error, match=words):
        getattr(nn, name)(INITS[name](jax.random.key(0), C), x)


@pytest.mark.parametrize(
    ("init", "options", "words"),
    [
        (nn.squeeze_excitation_init, {"width": 0}, "width must be"),
        (nn.squeeze_excitation_init, {"width": 4, "reduction": 0}, "reduction must be"),
        (nn.coordinate_attention_init, {"width": 4, "smallest": 0}, "smallest must be"),
        (nn.fused_attention_init, {"width": 4, "ca_reduction": 0}, "reduction must be"),
    ],
)
def test_bad_sizes(init, options, words):
    with pytest.raises(ValueError, match=words):
        init(jax.random.key(0), **options)
