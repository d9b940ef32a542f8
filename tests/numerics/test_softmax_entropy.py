"""Entropy of a softmax against scipy, and classes that do not exist."""

import jax
import numpy as np
import pytest
from scipy import special, stats

from jaxlab import numerics

LOGITS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 3
entropy = jax.jit(numerics.entropy, static_argnames="axis")


def test_equals_scipy():
    np.testing.assert_allclose(entropy(LOGITS), stats.entropy(special.softmax(LOGITS, -1), axis=-1), rtol=1e-5)
    np.testing.assert_allclose(entropy(LOGITS, axis=0), stats.entropy(special.softmax(LOGITS, 0), axis=0), rtol=1e-5)


def test_limits():
    np.testing.assert_allclose(entropy(np.zeros((5, 4), np.float32)), np.log(4), rtol=1e-6)
    np.testing.assert_allclose(entropy(1e4 * LOGITS), 0, atol=1e-6)
    assert np.isnan(entropy(np.full((5, 4), np.nan, np.float32))).all()


def test_absent_classes():
    exists = np.array([True, False, True, True])
    expected = stats.entropy(special.softmax(LOGITS[:, exists], -1), axis=-1)
    for junk in (np.nan, 1e30, -np.inf):
        dirty = np.where(exists, LOGITS, np.float32(junk))
        np.testing.assert_allclose(entropy(dirty, where=exists), expected, rtol=1e-5)
    impossible = np.where(exists, LOGITS, -np.inf)
    np.testing.assert_allclose(entropy(impossible), expected, rtol=1e-5)
    assert np.isfinite(jax.grad(lambda z: numerics.entropy(z).sum())(impossible)).all()
    assert (entropy(LOGITS, where=np.zeros(4, bool)) == 0).all()


def test_bad_input():
    with pytest.raises(TypeError, match="where must be boolean"):
        numerics.entropy(LOGITS, where=np.ones(4))
    with pytest.raises(ValueError, match="where must broadcast"):
        numerics.entropy(LOGITS, where=np.ones(3, bool))
    with pytest.raises(ValueError, match="got a scalar"):
        numerics.entropy(np.float32(1))
