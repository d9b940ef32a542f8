"""Layers trained one by one: the block by hand, physics that passes no gradient, labels in the input and swept over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses, nn

RNG = np.random.default_rng(0)
X, Z = RNG.normal(size=(5, 4)).astype(np.float32), RNG.normal(size=(5, 3)).astype(np.float32)
PARAMS = nn.noprop_block_init(jax.random.key(0), inputs=4, embedding=3, width=6, num_classes=2)
LAYER = nn.physical_layer_init(jax.random.key(1), 4, 6)


def test_block_by_hand():
    params = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.1, PARAMS)
    dense = lambda name, x: x @ params[name]["kernel"] + params[name]["bias"]  # noqa: E731
    relu = lambda x: np.maximum(x, 0)  # noqa: E731
    expected = dense("head", relu(dense("fused", np.concatenate([relu(dense("x", X)), relu(dense("z", Z))], 1))))
    np.testing.assert_allclose(nn.noprop_block(params, X, Z), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(nn.noprop_block(params, X, Z[0])[3], nn.noprop_block(params, X[3], Z[0]), rtol=1e-5)


@pytest.mark.parametrize("kind", ["intensity", "cavity", "tanh"])
def test_physics_by_hand_and_without_a_gradient(kind):
    real, imaginary, phase = map(np.asarray, LAYER)
    expected = {
        "intensity": np.abs(X @ (real + 1j * imaginary)) ** 2,
        "cavity": np.sin(np.sqrt(2) * X @ real + phase),
        "tanh": np.tanh(np.sqrt(2) * X @ real + np.cos(phase)),
    }[kind]
    np.testing.assert_allclose(nn.physical_response(LAYER, X, kind=kind), expected, rtol=1e-4, atol=1e-5)

    def total(layer, x, differentiable):
        return jnp.sum(nn.physical_response(layer, x, kind=kind, differentiable=differentiable) ** 2)

    frozen = jax.grad(total, argnums=(0, 1))(LAYER, X, False)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(frozen))
    twin = jax.grad(total, argnums=1)(LAYER, X, True)
    assert np.abs(twin).min() > 0


def test_medium_keeps_the_power_of_the_waves():
    layer = nn.physical_layer_init(jax.random.key(2), 400, 300)
    x = RNG.normal(size=400).astype(np.float32)
    assert float(nn.physical_response(layer, x).mean()) == pytest.approx((x**2).mean(), rel=0.2)


def test_local_training_of_physical_layers_crosses_none_of_them():
    """The loss of the second layer has no gradient by the weights of the first, whatever lies between them."""
    second = nn.physical_layer_init(jax.random.key(3), 5, 6)
    maps = [RNG.normal(size=(6, 5)).astype(np.float32) for _ in range(2)]

    def layer_losses(maps):
        def responses(x):
            first = nn.physical_response(LAYER, x) @ maps[0]
            return first, nn.physical_response(second, first) @ maps[1]

        return jnp.stack(
            [jnp.mean(losses.contrastive_cosine(*pair)) for pair in zip(responses(X), responses(1 - X), strict=True)]
        )

    size = np.array([[np.abs(leaf[i]).max() for leaf in jax.jacrev(layer_losses)(maps)] for i in range(2)])
    assert (size[~np.eye(2, dtype=bool)] == 0).all()
    assert (np.diag(size) > 0).all()


def test_labels_in_front_and_over_the_input():
    found = nn.embed_label(X, np.array([0, 1, 2, 0, 1]), num_classes=3, scale=2.0)
    np.testing.assert_array_equal(found, np.concatenate([2 * np.eye(3)[[0, 1, 2, 0, 1]], X], axis=1).astype(np.float32))
    over = nn.embed_label(X, np.array([0, 1, 2, 0, 1]), num_classes=3, replace=True)
    np.testing.assert_array_equal(over[:, 3:], X[:, 3:])
    np.testing.assert_array_equal(over[:, :3], np.eye(3)[[0, 1, 2, 0, 1]])
    loud = np.asarray(nn.embed_label(X[:2], np.array([3, 1]), num_classes=3))
    np.testing.assert_array_equal(np.isnan(loud).any(1), [True, False])
    assert nn.embed_label(jnp.asarray(X, jnp.bfloat16), jnp.zeros(5, int), num_classes=3).dtype == jnp.bfloat16


def test_sweep_takes_the_best_label_and_the_lower_of_two():
    table = np.float32([[1, 3, 2], [5, 5, 0], [0, 1, 1]])
    rows = np.concatenate([table, table], axis=1).astype(np.float32)
    found = nn.label_sweep_predict(lambda x, y: jnp.take_along_axis(x, y[:, None], 1)[:, 0], rows, num_classes=3)
    np.testing.assert_array_equal(found, [1, 0, 1])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.noprop_block(PARAMS, X[:, :3], Z), ValueError, r"x must have shape \[..., 4\]"),
        (lambda: nn.noprop_block(PARAMS, X, X), ValueError, r"z must have shape \[..., 3\]"),
        (lambda: nn.noprop_block(PARAMS, X, np.ones((5, 3), int)), TypeError, "z must be floating point"),
        (
            lambda: nn.noprop_block_init(jax.random.key(0), inputs=0, embedding=1, width=1, num_classes=1),
            ValueError,
            "inputs must be",
        ),
        (lambda: nn.physical_layer_init(jax.random.key(0), 3, 0), ValueError, "width must be"),
        (lambda: nn.physical_response(LAYER, X[:, :2]), ValueError, r"x must have shape \[..., 4\]"),
        (lambda: nn.physical_response(LAYER, X, kind="sound"), ValueError, "kind must be one of"),
        (lambda: nn.physical_response(LAYER, np.ones((5, 4), int)), TypeError, "x must be floating point"),
        (lambda: nn.embed_label(X, np.zeros(4, int), num_classes=2), ValueError, r"labels must have shape \[5\]"),
        (lambda: nn.embed_label(X, np.zeros(5, int), num_classes=9, replace=True), ValueError, "at least 9 entries"),
        (lambda: nn.embed_label(X, np.zeros(5), num_classes=2), TypeError, "labels must hold integers"),
        (lambda: nn.label_sweep_predict(lambda x, y: x, X, num_classes=2), ValueError, "goodness_fn must return"),
        (lambda: nn.label_sweep_predict(lambda x, y: x, jnp.array(1.0), num_classes=2), ValueError, r"\[B, ...\]"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
