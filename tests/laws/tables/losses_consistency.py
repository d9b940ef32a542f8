"""Rows of jaxlab.losses: labels that transformations are part of, and weights by the variance of features."""

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform

ROWS: dict = {
    "joint_labels": Row(
        losses.joint_labels, inputs(labels=integers(N, high=C)), static={"num_transforms": 3}, batch=("labels",)
    ),
    "aggregate_joint_logits": Row(
        losses.aggregate_joint_logits,
        inputs(logits=normal(N, 3, 3 * C)),
        batch=("logits",),
        diff=("logits",),
        bf16=("logits",),
    ),
    "sla": Row(
        losses.sla,
        inputs(logits=normal(N, 3, 3 * C), labels=integers(N, high=C), where=mask(N)),
        batch=("logits", "labels", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "bias_minimum": Row(
        losses.bias_minimum,
        inputs(minimum=uniform(low=0.5, high=3.0), features=normal(N, M, D), where=mask(N)),
        batch=("features", "where"),
        couples=True,
        bf16=("features",),
    ),
    "bias_weights": Row(
        losses.bias_weights,
        inputs(
            features=normal(N, M, D),
            alpha=uniform(low=0.1),
            beta=uniform(low=0.1),
            minimum=uniform(high=0.5),
            where=mask(N),
        ),
        batch=("features", "where"),
        couples=True,
        diff=("alpha", "beta"),
        bf16=("features",),
    ),
    "bias_loss": Row(
        losses.bias_loss,
        inputs(logits=normal(N, C), labels=integers(N, high=C), features=normal(N, M, D), where=mask(N)),
        batch=("logits", "labels", "features", "where"),
        couples=True,
        diff=("logits",),
        bf16=("logits", "features"),
    ),
}
