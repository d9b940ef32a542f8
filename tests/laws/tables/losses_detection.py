"""Rows of jaxlab.losses: detectors and their depths."""

from jaxlab import losses
from tests.laws.row import M, N, Row, inputs, integers, mask, normal, uniform

ROWS = {
    "guided_loss_scaling": Row(
        losses.guided_loss_scaling,
        inputs(cls_loss=uniform(N, low=0.1, high=2.0), reg_loss=uniform(N, low=0.1, high=2.0)),
        batch=("cls_loss", "reg_loss"),
        diff=("cls_loss",),
        bf16=("cls_loss", "reg_loss"),
    ),
    "distribution_focal": Row(
        losses.distribution_focal,
        inputs(logits=normal(N, M), targets=uniform(N, high=M - 1.0), where=mask(N)),
        batch=("logits", "targets", "where"),
        diff=("logits",),
        bf16=("logits", "targets"),
    ),
    "depth_quality_focal": Row(
        losses.depth_quality_focal,
        inputs(logits=normal(N), targets=uniform(N), where=mask(N)),
        batch=("logits", "targets", "where"),
        diff=("logits",),
        bf16=("logits", "targets"),
    ),
    "gradient_harmonized_weights": Row(
        losses.gradient_harmonized_weights,
        inputs(logits=normal(N), targets=integers(N, high=2), where=mask(N)),
        batch=("logits", "targets", "where"),
        couples=True,
        bf16=("logits",),
    ),
}
