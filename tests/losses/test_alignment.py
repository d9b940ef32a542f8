"""Feature alignment against numpy and optax, its invariances, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab.losses import feature_alignment

RNG = np.random.default_rng(0)
H, Z = (RNG.normal(size=(4, 5, 3)).astype(np.float32) for _ in range(2))


def by_loop(h, z):
    cosines = [
        [a @ b / np.sqrt(a @ a) / np.sqrt(b @ b) for a, b in zip(u, v, strict=True)] for u, v in zip(h, z, strict=True)
    ]
    return 1 - np.mean(cosines, axis=1)


def test_equals_the_loop_and_optax():
    got = feature_alignment(H, Z)
    np.testing.assert_allclose(got, by_loop(H.astype(np.float64), Z.astype(np.float64)), rtol=1e-5)
    np.testing.assert_allclose(got, jnp.mean(optax.losses.cosine_distance(H, Z), axis=1), rtol=1e-5)
    np.testing.assert_allclose(feature_alignment(H[:, 0], Z[:, 0]), by_loop(H[:, :1], Z[:, :1]), rtol=1e-5)


def test_only_the_direction_of_each_token_counts():
    length = RNG.uniform(0.1, 9.0, (4, 5, 1)).astype(np.float32)
    np.testing.assert_allclose(feature_alignment(length * Z, Z), 0.0, atol=1e-6)
    np.testing.assert_allclose(feature_alignment(-length * Z, Z), 2.0, atol=1e-6)
    np.testing.assert_allclose(feature_alignment(length * H, Z), feature_alignment(H, Z), rtol=1e-5)
    # One long token does not outweigh the others, as it would in a cosine of whole images.
    long = H.copy()
    long[:, 0] *= 100
    np.testing.assert_allclose(feature_alignment(long, Z), feature_alignment(H, Z), rtol=1e-5)


def test_the_gradient_turns_tokens_and_leaves_targets_alone():
    to_features, to_targets = jax.grad(lambda h, z: jnp.sum(feature_alignment(h, z)), argnums=(0, 1))(H, Z)
    np.testing.assert_allclose(np.sum(to_features * H, axis=-1), 0.0, atol=1e-6)
    assert np.abs(to_features).max() > 1e-2
    assert (np.asarray(to_targets) == 0).all()


def test_a_zero_token_counts_as_orthogonal_without_gradient():
    zero = H.copy()
    zero[0, 0] = 0
    value, gradient = jax.value_and_grad(lambda h: feature_alignment(h, Z)[0])(jnp.asarray(zero))
    cosines = 1 - by_loop(H[:1, 1:], Z[:1, 1:])[0]
    np.testing.assert_allclose(value, 1 - cosines * 4 / 5, rtol=1e-5)
    assert (np.asarray(gradient)[0, 0] == 0).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("junk", [np.nan, 1e30])
def test_masked_tokens_and_examples_might_as_well_not_be_there(junk):
    spoiled = H.copy()
    spoiled[:, 3:] = junk
    spoiled[3] = junk
    tokens = np.tile(np.arange(5) < 3, (4, 1)) & (np.arange(4) < 3)[:, None]
    value, pull = jax.vjp(lambda h: feature_alignment(h, Z, where=tokens), spoiled)
    np.testing.assert_allclose(value, np.append(by_loop(H[:3, :3], Z[:3, :3]), 0.0), rtol=1e-5)
    (gradient,) = pull(jnp.ones(4))
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[:, 3:] == 0).all()
    examples = np.array([True, False, True, True])
    expected = np.where(examples, by_loop(H, Z), 0.0)
    np.testing.assert_allclose(feature_alignment(H, Z, where=examples), expected, rtol=1e-5)


BAD = {
    "token counts": (
        lambda: feature_alignment(H, Z[:, :4]),
        ValueError,
        "features and targets must have the same shape",
    ),
    "one vector": (lambda: feature_alignment(H[0, 0], Z[0, 0]), ValueError, r"features must have shape \[B, ..., D\]"),
    "integers": (
        lambda: feature_alignment(np.ones((2, 3), int), np.ones((2, 3))),
        TypeError,
        "features must be floating",
    ),
    "mask shape": (lambda: feature_alignment(H, Z, where=np.ones((5, 4), bool)), ValueError, r"where must have .*4, 5"),
    "mask type": (lambda: feature_alignment(H, Z, where=np.ones(4)), TypeError, "where must be boolean"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
