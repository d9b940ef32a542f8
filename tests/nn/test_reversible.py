"""Reversible columns: the inverse, the gradient without stored features, and the memory it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nn

LEVELS, BATCH = (3, 4, 5), 2


def fn(params, below, above):
    total = jnp.tanh(below @ params["down"])
    if above is not None:
        total = total + jnp.sin(above @ params["up"])
    return total


def make(columns, *, batch=BATCH, levels=LEVELS):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    below, above = (3, *levels[:-1]), (*levels[1:], 1)
    params = [
        {"down": 0.5 * draw(columns, d, width), "up": 0.5 * draw(columns, u, width)}
        for d, u, width in zip(below, above, levels, strict=True)
    ]
    alphas = [0.5 + 0.1 * draw(columns, width) for width in levels]
    return params, alphas, draw(batch, 3), [draw(batch, width) for width in levels]


FNS = [fn] * len(LEVELS)


def stacked(params, alphas, x, features):
    """Plain autodiff through the same columns."""
    for column in range(len(alphas[0])):
        one = jax.tree.map(lambda leaf, column=column: leaf[column], (params, alphas))
        features = nn.reversible_column_forward(FNS, *one, x, features)
    return features


def test_levels_take_from_the_new_below_and_the_old_above():
    params, alphas, x, (a, b, c) = make(1)
    p, s = jax.tree.map(lambda leaf: leaf[0], (params, alphas))
    a2 = s[0] * a + fn(p[0], x, b)
    b2 = s[1] * b + fn(p[1], a2, c)
    c2 = s[2] * c + fn(p[2], b2, None)
    for got, wanted in zip(nn.reversible_column_forward(FNS, p, s, x, (a, b, c)), (a2, b2, c2), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
    first = nn.reversible_column_forward(FNS, p, s, x)
    np.testing.assert_allclose(first[1], fn(p[1], fn(p[0], x, None), None), rtol=1e-6)


def test_inverse_brings_the_features_back():
    params, alphas, x, features = make(1)
    one = jax.tree.map(lambda leaf: leaf[0], (params, alphas))
    back = nn.reversible_column_inverse(FNS, *one, x, nn.reversible_column_forward(FNS, *one, x, features))
    for got, wanted in zip(back, features, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_gradient_equals_plain_autodiff():
    inputs = make(4)
    loss = lambda run: lambda *args: sum(jnp.sum(jnp.cos(c)) for c in run(*args))  # noqa: E731
    reversed_run = lambda params, alphas, x, features: nn.reversible_columns(FNS, params, alphas, x, features)  # noqa: E731
    ours = jax.value_and_grad(loss(reversed_run), argnums=(0, 1, 2, 3))(*inputs)
    wanted = jax.value_and_grad(loss(stacked), argnums=(0, 1, 2, 3))(*inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), ours, wanted)


def test_memory_for_activations_does_not_grow_with_the_columns():
    levels, batch = (8, 8, 8), 4096

    def scratch(columns, run):
        inputs = make(columns, batch=batch, levels=levels)
        loss = lambda *args: sum(jnp.sum(c) for c in run(*args))  # noqa: E731
        return jax.jit(jax.grad(loss)).lower(*inputs).compile().memory_analysis().temp_size_in_bytes

    def scanned(params, alphas, x, features):
        column = lambda c, one: (nn.reversible_column_forward(FNS, *one, x, c), None)  # noqa: E731
        return jax.lax.scan(column, tuple(features), (params, alphas))[0]

    ours = [scratch(c, lambda *args: nn.reversible_columns(FNS, *args)) for c in (4, 32)]
    plain = [scratch(c, scanned) for c in (4, 32)]
    assert ours[1] < 1.1 * ours[0]
    assert plain[1] > 4 * plain[0]


def test_clamp_keeps_signs_and_gradients():
    x = jnp.array([-2.0, -1e-5, 0.0, 1e-5, 2.0])
    np.testing.assert_allclose(nn.clamp_magnitude(x), [-2.0, -1e-3, 1e-3, 1e-3, 2.0], rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(lambda x: nn.clamp_magnitude(x).sum())(x), 1.0)


def test_bad_input():
    with pytest.raises(ValueError, match="alphas must have an entry for each of the 2 levels, got 1"):
        nn.reversible_column_forward([fn, fn], [None, None], [0.5], jnp.ones(2))
    with pytest.raises(ValueError, match="at least one level"):
        nn.reversible_columns([], [], [], jnp.ones(2), [])
    with pytest.raises(ValueError, match="floor"):
        nn.clamp_magnitude(jnp.ones(2), 0.0)
