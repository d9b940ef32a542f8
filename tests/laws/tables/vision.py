"""Rows of jaxlab.vision."""

import numpy as np

from jaxlab import vision
from tests.laws.row import D, M, N, Row, inputs, mask, normal


def boxes(*shape):
    """Boxes [..., 4] whose sides are positive."""

    def spec(rng):
        low = rng.uniform(0.0, 2.0, (*shape, 2))
        return np.concatenate([low, low + rng.uniform(0.5, 2.0, (*shape, 2))], axis=-1).astype(np.float32)

    return spec


ROWS = {
    "rotations": Row(vision.rotations, inputs(x=normal(N, 4, 4, 2)), batch=("x",), diff=("x",), bf16=("x",)),
    "color_permutations": Row(
        vision.color_permutations, inputs(x=normal(N, 2, 2, 3)), batch=("x",), diff=("x",), bf16=("x",)
    ),
    "box_iou": Row(
        vision.box_iou,
        inputs(a=boxes(N), b=boxes(M)),
        static={"kind": "giou"},
        batch=("a",),
        diff=("a", "b"),
        bf16=("a", "b"),
    ),
    "box_iou/inclusive": Row(
        vision.box_iou,
        inputs(a=boxes(N), b=boxes(N)),
        static={"pairwise": False, "inclusive": True},
        batch=("a", "b"),
        diff=("a", "b"),
        bf16=("a", "b"),
    ),
    "patchify": Row(
        vision.patchify, inputs(x=normal(N, 4, 6, 2)), static={"size": 2}, batch=("x",), diff=("x",), bf16=("x",)
    ),
    "unpatchify": Row(
        vision.unpatchify,
        inputs(patches=normal(N, 6, 8)),
        static={"size": 2, "shape": (4, 6)},
        batch=("patches",),
        diff=("patches",),
        bf16=("patches",),
    ),
    "haar_dwt": Row(vision.haar_dwt, inputs(x=normal(N, 4, 6, 2)), batch=("x",), diff=("x",), bf16=("x",)),
    "haar_idwt": Row(
        vision.haar_idwt,
        inputs(bands=lambda rng: vision.HaarBands(*normal(4, N, 2, 3, 2)(rng))),
        batch=("bands",),
        diff=("bands",),
        bf16=("bands",),
    ),
    "high_frequency": Row(vision.high_frequency, inputs(x=normal(N, 4, 6, 2)), batch=("x",), diff=("x",), bf16=("x",)),
    "masked_average_pool": Row(
        vision.masked_average_pool,
        inputs(features=normal(N, M, 2, D), mask=mask(N, M, 2)),
        batch=("features", "mask"),
        diff=("features",),
        bf16=("features",),
    ),
}
