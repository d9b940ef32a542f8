"""Images and boxes: patches, frequency bands, box arithmetic, anchors and who they answer for, depth."""

from jaxlab.vision.anchors import (
    centerness,
    decode_deltas,
    decode_tblr,
    effective_region,
    encode_deltas,
    encode_tblr,
    make_anchors,
    prior_bias,
)
from jaxlab.vision.assignment import (
    CenterRegion,
    Kept,
    assign_atss,
    assign_center_region,
    assign_iou,
    non_max_suppression,
    select_feature_level,
    selected_mask,
)
from jaxlab.vision.augment import color_permutations, rotations
from jaxlab.vision.boxes import box_center_distance, box_iou, giou_loss, iou_loss
from jaxlab.vision.frequency import HaarBands, haar_dwt, haar_idwt, high_frequency
from jaxlab.vision.geometry import expected_depth, unproject
from jaxlab.vision.patches import patchify, unpatchify
from jaxlab.vision.regions import masked_average_pool

__all__ = [
    "CenterRegion",
    "HaarBands",
    "Kept",
    "assign_atss",
    "assign_center_region",
    "assign_iou",
    "box_center_distance",
    "box_iou",
    "centerness",
    "color_permutations",
    "decode_deltas",
    "decode_tblr",
    "effective_region",
    "encode_deltas",
    "encode_tblr",
    "expected_depth",
    "giou_loss",
    "haar_dwt",
    "haar_idwt",
    "high_frequency",
    "iou_loss",
    "make_anchors",
    "masked_average_pool",
    "non_max_suppression",
    "patchify",
    "prior_bias",
    "rotations",
    "select_feature_level",
    "selected_mask",
    "unpatchify",
    "unproject",
]
