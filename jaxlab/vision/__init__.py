"""Images and boxes: patches, frequency bands, box arithmetic."""

from jaxlab.vision.boxes import box_iou
from jaxlab.vision.frequency import HaarBands, haar_dwt, haar_idwt, high_frequency
from jaxlab.vision.patches import patchify, unpatchify
from jaxlab.vision.regions import masked_average_pool

__all__ = [
    "HaarBands",
    "box_iou",
    "haar_dwt",
    "haar_idwt",
    "high_frequency",
    "masked_average_pool",
    "patchify",
    "unpatchify",
]
