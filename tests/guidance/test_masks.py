"""Masks from maps, against scipy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxlab.guidance import attention_mask, soften_mask

rng = np.random.default_rng(0)
MAPS = rng.gamma(0.5, size=(3, 12, 9)).astype(np.float32)


@pytest.mark.parametrize("window", [1, 3, 5, 11])
def test_the_mask_is_the_window_mean_above_the_mean(window):
    for got, image in zip(attention_mask(MAPS, window=window), MAPS, strict=True):
        pooled = ndimage.uniform_filter(image.astype(np.float64), window, mode="constant")
        np.testing.assert_array_equal(got, pooled > image.mean())
    assert attention_mask(MAPS, window=window).dtype == jnp.bool_


def test_the_window_moves_the_border_of_the_mask():
    spot = jnp.zeros((9, 9)).at[4, 4].set(1.0)
    assert int(attention_mask(spot, window=1).sum()) == 1
    assert int(attention_mask(spot, window=3).sum()) == 9
    assert int(attention_mask(jnp.zeros((9, 9))).sum()) == 0


@pytest.mark.parametrize(("shape", "window"), [((60, 104), 11), ((16, 16), 3), ((5, 5), 1)])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 3e5])
def test_a_constant_map_points_nowhere(shape, window, value):
    """The rounding of its mean must not make a region of it."""
    assert not attention_mask(jnp.full(shape, value), window=window).any()


def test_one_threshold_per_image_or_one_for_all():
    scaled = MAPS * np.array([1.0, 10.0, 100.0], np.float32)[:, None, None]
    own = attention_mask(scaled, window=3)
    np.testing.assert_array_equal(own, attention_mask(MAPS, window=3))
    video = np.asarray(attention_mask(scaled, window=3, over=(-3, -2, -1)))
    pooled = np.stack([ndimage.uniform_filter(image.astype(np.float64), 3, mode="constant") for image in scaled])
    np.testing.assert_array_equal(video, pooled > scaled.mean())
    assert not video[0].any()


@pytest.mark.parametrize("decay", [0.1, 0.75])
def test_the_edge_falls_with_the_exact_distance(decay):
    masks = rng.random((4, 11, 7)) < 0.06
    masks[0], masks[1, 2, 3] = False, True
    got = np.asarray(jax.jit(soften_mask)(masks, decay=decay))
    assert (got[0] == 0).all()
    for soft, mask in zip(got[1:], masks[1:], strict=True):
        np.testing.assert_allclose(soft, np.exp(-decay * ndimage.distance_transform_edt(~mask)), rtol=1e-5)
        np.testing.assert_array_equal(soft[mask], 1.0)


def test_full_and_neutral_masks():
    full = jnp.ones((3, 4), bool)
    np.testing.assert_array_equal(soften_mask(full), 1.0)
    np.testing.assert_array_equal(soften_mask(full.at[1:].set(False), decay=0.0), 1.0)
    slope = jax.grad(lambda decay: soften_mask(jnp.array([[True, False, False]]), decay=decay).sum())(0.0)
    np.testing.assert_allclose(slope, -(1 + 2), rtol=1e-6)


BAD = {
    "even": (lambda: attention_mask(MAPS, window=4), ValueError, "window must be odd"),
    "none": (lambda: attention_mask(MAPS, window=0), ValueError, "window must be at least 1"),
    "flat": (lambda: attention_mask(MAPS[0, 0]), ValueError, "[..., H, W]"),
    "axes": (lambda: attention_mask(MAPS[0], over=(-3,)), ValueError, "over must name axes"),
    "integers": (lambda: attention_mask(MAPS.astype(int)), TypeError, "attention must be floating"),
    "soft": (lambda: soften_mask(MAPS), TypeError, "mask must be boolean"),
    "line": (lambda: soften_mask(jnp.ones(3, bool)), ValueError, "[..., H, W]"),
    "decay": (lambda: soften_mask(MAPS > 0, decay=-1.0), ValueError, "decay must be at least"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
