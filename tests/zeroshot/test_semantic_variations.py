"""Embeddings around that of a text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import zeroshot

TEXT = np.array([1.0, -2.0, 0.5, 0.0, 1.5, 0.5, -1.0, 2.0], np.float32)
KEY = jax.random.key(3)


def cosines(x, y):
    return x @ y.T / np.linalg.norm(x, axis=-1, keepdims=True) / np.linalg.norm(y, axis=-1)


def steps_from(variations):
    return np.asarray(variations) - TEXT


def test_they_end_orthogonal_and_equally_near():
    found = zeroshot.semantic_variations(TEXT, KEY, k=4, num_iters=1500, learning_rate=5e-3)
    steps = steps_from(found)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), np.linalg.norm(TEXT), rtol=1e-5)
    np.testing.assert_allclose(cosines(steps, steps), np.eye(4), atol=0.05)
    shares = cosines(steps, TEXT[None])[:, 0]
    np.testing.assert_allclose(np.sum(shares**2), 1.0, atol=0.05)  # the text lies in the span of the steps
    np.testing.assert_allclose(shares, 1 / np.sqrt(4), atol=0.15)  # where equal shares are best, by little
    # Steps orthogonal to the text would leave 1 / sqrt 2; these are nearer.
    expected = np.sqrt((1 + 1 / np.sqrt(4)) / 2)
    np.testing.assert_allclose(cosines(np.asarray(found), TEXT[None]).mean(), expected, atol=0.02)


def test_without_diversity_they_are_all_the_text():
    found = zeroshot.semantic_variations(TEXT, KEY, k=2, diversity=0.0, num_iters=1500, learning_rate=5e-3)
    np.testing.assert_allclose(cosines(np.asarray(found), TEXT[None]), 1.0, atol=1e-3)


def test_the_strength_is_the_length_of_the_step():
    found = zeroshot.semantic_variations(TEXT, KEY, k=3, strength=0.25, num_iters=0)
    np.testing.assert_allclose(np.linalg.norm(steps_from(found), axis=1), 0.25, rtol=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="text must have shape"):
        zeroshot.semantic_variations(jnp.ones((2, 3)), KEY)
    with pytest.raises(TypeError, match="text must be floating"):
        zeroshot.semantic_variations(jnp.ones(3, int), KEY)
    with pytest.raises(ValueError, match="k must be an integer"):
        zeroshot.semantic_variations(TEXT, KEY, k=0)
    with pytest.raises(ValueError, match="num_steps must be at least 0"):
        zeroshot.semantic_variations(TEXT, KEY, num_iters=-1)
