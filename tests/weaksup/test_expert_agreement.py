"""Heads put together by weights, and how alike they then predict two views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy.spatial import distance

from jaxlab import weaksup


def drawn():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in ((3,), (3, 5, 4), (3, 5, 4))]


def test_weighted_sums():
    raw, logits, _ = drawn()
    np.testing.assert_allclose(weaksup.aggregate_heads(logits, raw), np.tensordot(raw, logits, 1), rtol=1e-5)
    by_example = np.random.default_rng(1).random((3, 5)).astype(np.float32)
    expected = (by_example[..., None] * logits).sum(0)
    np.testing.assert_allclose(weaksup.aggregate_heads(logits, by_example), expected, rtol=1e-5)
    chosen = np.eye(3, dtype=np.float32)[1]
    dirty = np.where(chosen[:, None, None] > 0, logits, np.nan)
    np.testing.assert_array_equal(weaksup.aggregate_heads(dirty, chosen), logits[1])


def test_a_mixture_by_entropy_is_a_distribution():
    _, logits, _ = drawn()
    mixed = weaksup.aggregate_heads(jax.nn.softmax(logits), weaksup.entropy_weights(logits))
    np.testing.assert_allclose(mixed.sum(-1), 1, rtol=1e-5)


def test_agreement_equals_scipy():
    raw, a, b = drawn()
    weights = special.softmax(raw.astype(float))
    first, second = (special.softmax(np.tensordot(weights, z, 1), axis=-1) for z in (a, b))
    expected = [1 - distance.cosine(p, q) for p, q in zip(first, second, strict=True)]
    np.testing.assert_allclose(weaksup.expert_agreement(raw, a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(weaksup.expert_agreement(raw, a, a), 1, rtol=1e-6)
    np.testing.assert_allclose(weaksup.expert_agreement(raw + 7, a, b), expected, rtol=1e-5)  # weights are a softmax


def test_ascent_finds_the_stable_expert():
    """Expert 1 says the same of both views, the others do not."""
    _, a, b = drawn()
    a, b = 3 * a, 3 * b
    b[1] = a[1]
    raw = jnp.full(3, 1 / 3)
    step = jax.jit(jax.grad(lambda u: jnp.mean(weaksup.expert_agreement(u, a, b))))
    for _ in range(30):
        raw = raw + 3.0 * step(raw)
    weights = jax.nn.softmax(raw)
    assert weights[1] > 0.6


def test_where():
    raw, a, b = drawn()
    where = np.array([True, False, True, True, False])
    dirty = np.where(where[:, None], a, np.nan)
    found = weaksup.expert_agreement(raw, dirty, b, where=where)
    np.testing.assert_allclose(found, np.where(where, weaksup.expert_agreement(raw, a, b), 0), rtol=1e-6)
    gradients = jax.grad(lambda *args: jnp.sum(weaksup.expert_agreement(*args, where=where)), (0, 1))(raw, dirty, b)
    assert all(np.isfinite(g).all() for g in gradients)
    assert (np.asarray(gradients[1])[:, ~where] == 0).all()


THREE = jnp.zeros((3, 5, 4))


@pytest.mark.parametrize(
    ("name", "args", "error", "words"),
    [
        ("aggregate_heads", (THREE, jnp.zeros(2)), ValueError, "weights must have shape"),
        ("aggregate_heads", (THREE, jnp.zeros((3, 4))), ValueError, "weights must have shape"),
        ("aggregate_heads", (jnp.zeros(3), jnp.zeros(3)), ValueError, "logits must have shape"),
        ("aggregate_heads", (THREE, jnp.zeros(3, int)), TypeError, "weights must be floating"),
        ("expert_agreement", (jnp.zeros(2), THREE, THREE), ValueError, r"weight_logits must have shape \[3\]"),
        ("expert_agreement", (jnp.zeros(3), THREE, THREE[:, :4]), ValueError, "same shape"),
        ("expert_agreement", (jnp.zeros(3), THREE[0], THREE[0]), ValueError, r"\[E, B, K\]"),
        ("expert_agreement", (jnp.zeros(3, int), THREE, THREE), TypeError, "weight_logits must be floating"),
    ],
)
def test_bad_input(name, args, error, words):
    with pytest.raises(error, match=words):
        getattr(weaksup, name)(*args)


def test_bad_mask():
    with pytest.raises(TypeError, match="where must be boolean"):
        weaksup.expert_agreement(jnp.zeros(3), THREE, THREE, where=jnp.ones(5))
