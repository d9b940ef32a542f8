"""Rows of jaxlab.vision: losses of boxes, anchors, who they answer for, depth."""

import numpy as np

from jaxlab import vision
from tests.laws.row import M, N, Row, inputs, integers, mask, normal, uniform
from tests.laws.tables.vision import boxes

PAIR = {
    "make": inputs(prediction=boxes(N), target=boxes(N), where=mask(N)),
    "batch": ("prediction", "target", "where"),
    "diff": ("prediction", "target"),
    "bf16": ("prediction", "target"),
}
SCENE = inputs(anchors=boxes(N), boxes=boxes(M), box_where=mask(M))
ASSIGNS = {"batch": ("anchors",), "couples": True, "bf16": ("anchors", "boxes")}
LEVELS = {"level_sizes": (3, N - 3)}


def camera(rng):
    """A spec: the inverse of a projection."""
    top = np.eye(4)[:3] + 0.1 * rng.standard_normal((3, 4))
    return np.vstack([top, [0, 0, 0, 1]]).astype(np.float32)


ROWS = {
    "iou_loss": Row(vision.iou_loss, **PAIR),
    "giou_loss": Row(vision.giou_loss, **PAIR),
    "box_center_distance": Row(
        vision.box_center_distance,
        inputs(a=boxes(N), b=boxes(M)),
        batch=("a",),
        diff=("a", "b"),
        bf16=("a", "b"),
    ),
    "make_anchors": Row(vision.make_anchors, inputs(), static={"shapes": ((2, 3), (1, 2)), "strides": (4, 8)}),
    "encode_deltas": Row(
        vision.encode_deltas,
        inputs(anchors=boxes(N), boxes=boxes(N)),
        batch=("anchors", "boxes"),
        diff=("boxes",),
        bf16=("anchors", "boxes"),
        skip={"zeros": "an empty box has no logarithm: documented as not finite"},
    ),
    "decode_deltas": Row(
        vision.decode_deltas,
        inputs(anchors=boxes(N), deltas=normal(N, 4)),
        batch=("anchors", "deltas"),
        diff=("anchors", "deltas"),
        bf16=("anchors", "deltas"),
    ),
    "encode_tblr": Row(
        vision.encode_tblr,
        inputs(points=normal(N, 2), boxes=boxes(N), normalizer=uniform(N, low=1.0, high=2.0)),
        batch=("points", "boxes", "normalizer"),
        diff=("points", "boxes"),
        bf16=("points", "boxes"),
    ),
    "decode_tblr": Row(
        vision.decode_tblr,
        inputs(points=normal(N, 2), distances=uniform(N, 4), normalizer=uniform(N, low=1.0, high=2.0)),
        batch=("points", "distances", "normalizer"),
        diff=("points", "distances"),
        bf16=("points", "distances"),
    ),
    "centerness": Row(
        vision.centerness,
        inputs(points=uniform(N, 2, high=2.0), boxes=boxes(N)),
        batch=("points", "boxes"),
        diff=("points", "boxes"),
        bf16=("points", "boxes"),
    ),
    "effective_region": Row(
        vision.effective_region,
        inputs(points=uniform(N, 2, high=3.0), boxes=boxes(M)),
        static={"scale": 0.8},
        batch=("points",),
        bf16=("points", "boxes"),
    ),
    "prior_bias": Row(
        vision.prior_bias,
        inputs(num_positive=uniform(N, low=1.0, high=5.0), num_valid=uniform(N, low=10.0, high=20.0)),
        static={"num_classes": 2},
        batch=("num_positive", "num_valid"),
    ),
    "assign_iou": Row(vision.assign_iou, SCENE, **ASSIGNS),
    "assign_iou/thresholds": Row(
        vision.assign_iou, SCENE, static={"positive": 0.3, "negative": 0.2, "low_quality": False}, **ASSIGNS
    ),
    "assign_atss": Row(vision.assign_atss, SCENE, static={"level_sizes": (N,), "k": 3}, **ASSIGNS),
    "assign_center_region": Row(
        vision.assign_center_region,
        inputs(cells=boxes(N), boxes=boxes(M), box_where=mask(M)),
        batch=("cells",),
        bf16=("cells", "boxes"),
    ),
    "select_feature_level": Row(
        vision.select_feature_level,
        inputs(loss=uniform(N), index=integers(N, high=M)),
        static={**LEVELS, "num_boxes": M},
        bf16=("loss",),
    ),
    "selected_mask": Row(
        vision.selected_mask, inputs(index=integers(N, high=M), level=integers(M, high=2)), static=LEVELS
    ),
    "non_max_suppression": Row(
        vision.non_max_suppression,
        inputs(boxes=boxes(N), scores=uniform(N), where=mask(N)),
        static={"max_outputs": 3, "threshold": 0.2},
        bf16=("boxes", "scores"),
        skip={"mask": "the result holds places among all boxes; proofs in tests/vision"},
    ),
    "expected_depth": Row(
        vision.expected_depth, inputs(logits=normal(N, M)), batch=("logits",), diff=("logits",), bf16=("logits",)
    ),
    "unproject": Row(
        vision.unproject,
        inputs(uv=normal(N, 2), depth=uniform(N, low=1.0, high=5.0), inverse_projection=camera),
        batch=("uv", "depth"),
        diff=("uv", "depth", "inverse_projection"),
        bf16=("uv", "depth", "inverse_projection"),
        skip={"zeros": "a matrix of zeros sees no point: documented as not finite"},
    ),
}
