"""Photographs: what is cut out, what is corrupt, and the quick run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import photo_fitting as question
from experiments.errors import UserError


def test_the_quick_run(quick_run):
    found = quick_run(question, "--methods", "square,square_s3im")
    rows = found["rows"]
    assert np.all(np.isfinite(rows["ssim_clean"]["square_s3im"]))
    assert rows["ssim_clean"]["square"] != rows["ssim_clean"]["square_s3im"]
    assert min(rows["psnr_clean"]["square"]) > 8  # a grey image has about 10 dB
    assert np.asarray(found["curves"]["image"]["square"]).shape == (2, 3, 16, 16, 3)


def test_the_photograph():
    image = question.photograph("china.jpg", 32)
    assert image.shape == (32, 32, 3)
    assert 0 <= image.min() < 0.2 < 0.8 < image.max() <= 1
    assert not np.allclose(image, question.photograph("flower.jpg", 32))
    with pytest.raises(UserError, match="There is no photograph"):
        question.photograph("moon.jpg", 32)
    with pytest.raises(UserError, match="--side 9000"):
        question.photograph("china.jpg", 9000)


def test_a_share_of_the_pixels_is_corrupt():
    image = jnp.full((64, 64, 3), 2.0)
    changed = np.asarray(question.corrupted(jax.random.key(0), image, 0.1) != image)
    assert (changed.all(-1) == changed.any(-1)).all()
    assert 0.07 < changed.any(-1).mean() < 0.13


def test_the_middle_of_images():
    images = np.zeros((2, 60, 60, 3))
    images[:, 6:54, 6:54] = 0.5
    found = question.middle(images)
    assert found.shape == (2, 48, 48, 3)
    assert (found == 128).all()
    assert question.middle(images[:, :8, :8]).shape == (2, 8, 8, 3)


def test_bad_settings():
    with pytest.raises(ValueError, match="patch must lie between"):
        question.Config(side=8)
    with pytest.raises(ValueError, match="corrupt must lie in"):
        question.Config(corrupt=1.0)
