"""Images and boxes: patches, frequency bands, box arithmetic."""

from jaxlab.vision.boxes import box_iou
from jaxlab.vision.frequency import HaarBands, haar_dwt, haar_idwt, high_frequency
from jaxlab.vision.patches import patchify, unpatchify

__all__ = [
    "HaarBands",
    "box_iou",
    "haar_dwt",
    "haar_idwt",
    "high_frequency",
    "patchify",
    "unpatchify",
]
