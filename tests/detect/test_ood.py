"""Out-of-distribution scores against scipy, classes that do not exist, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxlab.detect import energy, max_logit, max_softmax

LOGITS = (3 * np.random.default_rng(0).normal(size=(6, 4))).astype(np.float32)
SCORES = {
    "max_softmax": (max_softmax, lambda z: special.softmax(z, -1).max(-1)),
    "max_logit": (max_logit, lambda z: z.max(-1)),
    "energy": (energy, lambda z: special.logsumexp(z, -1)),
}


@pytest.mark.parametrize("name", SCORES)
def test_equals_scipy(name):
    score, by_scipy = SCORES[name]
    np.testing.assert_allclose(score(LOGITS), by_scipy(LOGITS), rtol=1e-5)
    assert np.isfinite(score(1e4 * LOGITS)).all()


@pytest.mark.parametrize("name", SCORES)
def test_a_class_that_does_not_exist_might_as_well_be_left_out(name):
    score, _ = SCORES[name]
    exists = np.array([True, False, True, True])
    for junk in (np.nan, 1e30):
        dirty = np.where(exists, LOGITS, junk)
        np.testing.assert_allclose(score(dirty, class_where=exists), score(LOGITS[:, exists]), rtol=1e-6)
        per_row = np.broadcast_to(exists, LOGITS.shape)
        np.testing.assert_allclose(score(dirty, class_where=per_row), score(LOGITS[:, exists]), rtol=1e-6)
        gradient = jax.grad(lambda z: jnp.sum(score(z, class_where=exists)))(jnp.asarray(dirty))
        expected = jax.grad(lambda z: jnp.sum(score(z)))(jnp.asarray(LOGITS[:, exists]))
        np.testing.assert_allclose(np.asarray(gradient)[:, exists], expected, rtol=1e-5, atol=1e-7)
        assert (np.asarray(gradient)[:, 1] == 0).all()


@pytest.mark.parametrize("name", SCORES)
def test_no_class_gives_zero_with_zero_gradient(name):
    score, _ = SCORES[name]
    nothing = jnp.zeros(4, bool)
    assert (np.asarray(score(LOGITS, class_where=nothing)) == 0).all()
    assert (np.asarray(jax.grad(lambda z: jnp.sum(score(z, class_where=nothing)))(jnp.asarray(LOGITS))) == 0).all()


def test_a_common_shift_of_the_logits():
    np.testing.assert_allclose(max_softmax(LOGITS + 5), max_softmax(LOGITS), rtol=1e-5)
    np.testing.assert_allclose(max_logit(LOGITS + 5), max_logit(LOGITS) + 5, rtol=1e-5)
    np.testing.assert_allclose(energy(LOGITS + 5), energy(LOGITS) + 5, rtol=1e-5)


@pytest.mark.parametrize("name", SCORES)
def test_bfloat16_gives_float32(name):
    score, by_scipy = SCORES[name]
    narrow = jnp.asarray(LOGITS, jnp.bfloat16)
    assert score(narrow).dtype == jnp.float32
    np.testing.assert_allclose(score(narrow), by_scipy(np.asarray(narrow, np.float64)), rtol=1e-5)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("logits", "class_where", "error", "words"),
    [
        (jnp.zeros((2, 4), int), None, TypeError, "logits must be floating point"),
        (jnp.zeros((2, 0)), None, ValueError, "logits must have shape"),
        (jnp.array(1.0), None, ValueError, "logits must have shape"),
        (LOGITS, jnp.ones(3, bool), ValueError, "class_where must have shape"),
        (LOGITS, jnp.ones((3, 4), bool), ValueError, "class_where must have shape"),
        (LOGITS, jnp.ones(4), TypeError, "class_where must be boolean"),
    ],
)
def test_bad_input(name, logits, class_where, error, words):
    with pytest.raises(error, match=words):
        SCORES[name][0](logits, class_where=class_where)
