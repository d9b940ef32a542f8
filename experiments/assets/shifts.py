"""Shifted digits: turned by several angles, or coloured by a label that is not always true."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import rotate  # type: ignore[import-untyped]

__all__ = ["misleading_colours", "rotated"]


def rotated(images: np.ndarray, angles: Sequence[float]) -> np.ndarray:
    """Images [N, H, W] turned by every angle (degrees, one way), float32 [A, N, H, W]; corners are filled with 0."""
    turned = [
        images if angle == 0 else rotate(images, angle, axes=(2, 1), reshape=False, order=1, mode="constant")
        for angle in angles
    ]
    return np.stack(turned).astype(np.float32)


def misleading_colours(
    labels: np.ndarray, agreement: float, rng: np.random.Generator, *, noise: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Two classes and two colours of rows with these classes, int32 [N] each.

    The first half of the classes is 0, the other 1, wrong for a share ``noise`` of the rows; the colour is that noisy
    label for a share ``agreement``, and the other one for the rest.
    """
    binary = labels > labels.max() // 2
    binary = binary ^ (rng.random(len(labels)) < noise)
    colour = binary ^ (rng.random(len(labels)) >= agreement)
    return binary.astype(np.int32), colour.astype(np.int32)
