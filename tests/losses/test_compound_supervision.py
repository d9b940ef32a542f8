"""losses.compound_supervision: the weights along the depth, soft labels, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)
PIXELS = RNG.standard_normal((3, 5, 2, 2)).astype(np.float32)
IMAGES = RNG.uniform(0, 1, (5, 2, 2)).astype(np.float32)
LOGITS = RNG.standard_normal((4, 5, 6)).astype(np.float32)
LABELS = RNG.integers(0, 6, 5)


def test_image_terms_fade_and_class_terms_grow():
    prob = 1 / (1 + np.exp(-PIXELS))
    clipped = np.clip(IMAGES, 0.01, 0.99)
    bits = -(clipped * np.log(prob) + (1 - clipped) * np.log(1 - prob)).mean((2, 3))
    classes = np.log(np.exp(LOGITS).sum(-1)) - LOGITS[:, np.arange(5), LABELS]
    wanted = 0.5 * (bits[0] + 2 / 3 * bits[1] + 1 / 3 * bits[2])
    wanted = wanted + 2.0 * (classes[0] / 4 + classes[1] / 2 + classes[2] * 3 / 4) + classes[3]
    ours = losses.compound_supervision(PIXELS, IMAGES, LOGITS, LABELS, reconstruction_weight=0.5, class_weight=2.0)
    np.testing.assert_allclose(ours, wanted, rtol=1e-5)
    soft = jax.nn.one_hot(LABELS, 6)
    again = losses.compound_supervision(PIXELS, IMAGES, LOGITS, soft, reconstruction_weight=0.5, class_weight=2.0)
    np.testing.assert_allclose(again, wanted, rtol=1e-5)


def test_black_and_white_pixels_are_not_to_be_reached():
    """At 0 and 1 the best logit is finite: that of 0.01 and 0.99."""
    best = jnp.log(0.99 / 0.01)
    slope = jax.grad(
        lambda z: losses.compound_supervision(z, jnp.ones((1, 1)), jnp.zeros((2, 1, 2)), jnp.array([0]))[0]
    )
    np.testing.assert_allclose(slope(jnp.full((1, 1, 1), best)), 0.0, atol=1e-6)


def test_no_reconstruction_is_deep_supervision_alone():
    plain = losses.compound_supervision(jnp.zeros((0, 5, 2)), jnp.zeros((5, 2)), LOGITS[:1], LABELS)
    wanted = optax.losses.softmax_cross_entropy_with_integer_labels(LOGITS[0], LABELS)
    np.testing.assert_allclose(plain, wanted, rtol=1e-6)


def test_masks_and_unknown_labels():
    where = jnp.arange(5) < 3
    spoiled = jnp.where(where[:, None], LOGITS, jnp.nan)
    loss = lambda z: losses.compound_supervision(PIXELS, IMAGES, z, LABELS, where=where)  # noqa: E731
    np.testing.assert_allclose(loss(spoiled), loss(LOGITS))
    np.testing.assert_array_equal(loss(LOGITS)[3:], 0.0)
    assert bool(jnp.all(jnp.isfinite(jax.grad(lambda z: loss(z).sum())(spoiled))))
    unknown = losses.compound_supervision(PIXELS, IMAGES, LOGITS, jnp.array([0, 6, -1, 1, 2]))
    np.testing.assert_array_equal(jnp.isnan(unknown), [False, True, True, False, False])


def test_bad_input():
    with pytest.raises(ValueError, match="more heads than the 3 of reconstructions, got 3"):
        losses.compound_supervision(PIXELS, IMAGES, LOGITS[:3], LABELS)
    with pytest.raises(ValueError, match="reconstructions must have shape"):
        losses.compound_supervision(PIXELS[:, :4], IMAGES, LOGITS, LABELS)
    with pytest.raises(ValueError, match="class_weight"):
        losses.compound_supervision(PIXELS, IMAGES, LOGITS, LABELS, class_weight=-1.0)
    with pytest.raises(ValueError, match=r"labels must have shape \[B\]"):
        losses.compound_supervision(PIXELS, IMAGES, LOGITS, LABELS[:4])
