"""The diagonal of the Fisher information."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim

rng = np.random.default_rng(11)
X, Y = rng.normal(size=(10, 3)).astype(np.float32), rng.integers(0, 4, 10)
PARAMS = {"w": rng.normal(size=(3, 4)).astype(np.float32), "b": rng.normal(size=4).astype(np.float32)}


def loss_fn(params, batch):
    return optax.losses.softmax_cross_entropy_with_integer_labels(batch["x"] @ params["w"] + params["b"], batch["y"])


def gradients():
    """Of softmax regression in closed form: x (p - onehot)."""
    logits = X @ PARAMS["w"] + PARAMS["b"]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    errors = probs - np.eye(4)[Y]
    return X[:, :, None] * errors[:, None, :], errors


@pytest.mark.parametrize("block", [1, 4, 32])
def test_per_example_it_is_the_mean_of_squares(block):
    got = optim.fisher_diagonal(loss_fn, PARAMS, {"x": X, "y": Y}, block=block)
    for name, gradient in zip(("w", "b"), gradients(), strict=True):
        np.testing.assert_allclose(got[name], np.mean(gradient**2, axis=0), rtol=1e-4, atol=1e-6)


def test_per_batch_it_is_the_square_of_the_mean():
    got = optim.fisher_diagonal(loss_fn, PARAMS, {"x": X, "y": Y}, per="batch")
    for name, gradient in zip(("w", "b"), gradients(), strict=True):
        np.testing.assert_allclose(got[name], np.mean(gradient, axis=0) ** 2, rtol=1e-4, atol=1e-6)


def test_labels_of_the_model_give_the_curvature():
    """With every label weighted by the model's probability it is the diagonal of the Hessian of softmax regression."""
    x = jnp.asarray(X[:2])
    log_probs = jax.nn.log_softmax(x @ PARAMS["w"] + PARAMS["b"])

    def weighted(params, batch):  # the square of the factor is the probability
        return batch["weight"] * loss_fn(params, batch)

    batch = {
        "x": jnp.repeat(x, 4, axis=0),
        "y": jnp.tile(jnp.arange(4), 2),
        "weight": jnp.exp(0.5 * log_probs).ravel(),
    }
    got = optim.fisher_diagonal(weighted, PARAMS, batch)["b"] * 4
    hessian = jax.hessian(lambda b: jnp.mean(loss_fn({"w": PARAMS["w"], "b": b}, {"x": x, "y": jnp.zeros(2, int)})))
    np.testing.assert_allclose(got, np.diag(hessian(PARAMS["b"])), rtol=1e-4)


@pytest.mark.parametrize("per", ["example", "batch"])
def test_hidden_examples_do_not_count(per):
    spoiled = {"x": np.concatenate([X, np.full((3, 3), np.nan, np.float32)]), "y": np.concatenate([Y, [0, 1, 2]])}
    got = optim.fisher_diagonal(loss_fn, PARAMS, spoiled, per=per, where=jnp.arange(13) < 10, block=4)
    expected = optim.fisher_diagonal(loss_fn, PARAMS, {"x": X, "y": Y}, per=per)
    for name in PARAMS:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-7)


DATA = {"x": X, "y": Y}
BAD = {
    "per": (lambda: optim.fisher_diagonal(loss_fn, PARAMS, DATA, per="row"), ValueError, "per must be one of"),
    "lengths": (lambda: optim.fisher_diagonal(loss_fn, PARAMS, {"x": X, "y": Y[:4]}), ValueError, "one B >= 1"),
    "empty": (lambda: optim.fisher_diagonal(loss_fn, PARAMS, {"x": X[:0], "y": Y[:0]}), ValueError, "one B >= 1"),
    "block": (lambda: optim.fisher_diagonal(loss_fn, PARAMS, DATA, block=0), ValueError, "block must be"),
    "params": (lambda: optim.fisher_diagonal(loss_fn, {"w": jnp.ones(3, int)}, DATA), TypeError, "params must be"),
    "where": (
        lambda: optim.fisher_diagonal(loss_fn, PARAMS, DATA, where=jnp.ones(3, bool)),
        ValueError,
        "where must have shape [10]",
    ),
    "scalar": (
        lambda: optim.fisher_diagonal(lambda p, b: loss_fn(p, b).mean(), PARAMS, DATA, per="batch"),
        ValueError,
        "loss_fn must return the losses [10]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
