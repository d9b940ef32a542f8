"""Images and boxes: patches, frequency bands, box arithmetic, anchors and who they answer for, depth.

Images are [..., H, W, C]; boxes are [..., 4] as (x0, y0, x1, y1), with a mask where some do not exist. For a detector,
read the items on boxes in their order: places, who answers for which box, level, targets, loss.

- **Places for a detector to predict at**: `make_anchors` (one square per cell, or the cells themselves); [273]
- **Which anchors or cells answer for which box**: `assign_iou` (fixed thresholds of overlap), `assign_atss` (each box
  sets its own), `assign_center_region` (no anchors: cells at the middle), `effective_region` (only whether points lie
  there); [61, 273]
- **Which pyramid level should learn an object**: `select_feature_level` (that of the smallest loss), `selected_mask`
  (its cells); [61]
- **Boxes as numbers a network can predict**: `encode_deltas` and `decode_deltas` (relative to anchors), `encode_tblr`
  and `decode_tblr` (relative to points), `centerness` (how near the middle a point is); [61, 273]
- **A loss of predicted boxes**: `iou_loss` (where they touch their targets), `giou_loss` (also where they are apart);
  [61, 273]
- **Positives so rare that training starts badly**: `prior_bias` (the bias that says so from the start); [39]
- **One box per object out of many**: `non_max_suppression`; [273]
- **How near boxes are to each other**: `box_iou` (overlap, also the generalised one), `box_center_distance` (between
  centres); [96, 273]
- **Points in space from one camera**: `expected_depth` (from logits over depths), `unproject` (from pixels and depths);
  [85]
- **The look of a region**: `masked_average_pool` (one mean feature, for prototypes); [274]
- **Edges and detail apart from what is smooth**: `haar_dwt` (four bands), `haar_idwt` (back to the image),
  `high_frequency` (the details in one); [249]
- **Copies of an image that make a task without labels**: `rotations` (quarter turns), `color_permutations` (orders of
  the colours); [157]
- **An image as tokens**: `patchify`, `unpatchify` (its inverse).

Types: `CenterRegion`, `HaarBands`, `Kept`.
"""

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
