"""Rows of jaxlab.losses: parts of a network that learn on their own."""

from jaxlab import losses
from tests.laws.row import C, D, N, Row, inputs, integers, mask, normal, uniform

ROWS = {
    "noprop_dt": Row(
        losses.noprop_dt,
        inputs(prediction=normal(N, D), targets=normal(N, D), snr_difference=uniform(N, low=0.5), where=mask(N)),
        static={"num_blocks": 3},
        batch=("prediction", "targets", "snr_difference", "where"),
        diff=("prediction", "targets"),
        bf16=("prediction", "targets"),
    ),
    "forward_forward": Row(
        losses.forward_forward,
        inputs(g_pos=normal(N), g_neg=normal(N), where=mask(N)),
        batch=("g_pos", "g_neg", "where"),
        diff=("g_pos", "g_neg"),
        bf16=("g_pos", "g_neg"),
    ),
    "contrastive_cosine": Row(
        losses.contrastive_cosine,
        inputs(y_pos=normal(N, D), y_neg=normal(N, D), where=mask(N)),
        batch=("y_pos", "y_neg", "where"),
        diff=("y_pos", "y_neg"),
        bf16=("y_pos", "y_neg"),
    ),
    "contrastive_cosine/direction": Row(
        losses.contrastive_cosine,
        inputs(
            y_pos=normal(N, D), y_neg=normal(N, D), direction=normal(D), scale=uniform(low=1.0, high=5.0), where=mask(N)
        ),
        batch=("y_pos", "y_neg", "where"),
        diff=("y_pos", "y_neg", "direction"),
        bf16=("y_pos", "y_neg"),
    ),
    "pseudo_residuals": Row(
        losses.pseudo_residuals,
        inputs(predictions=normal(N, C), targets=integers(N, high=C), where=mask(N)),
        static={"loss": "multiclass"},
        batch=("predictions", "targets", "where"),
        diff=("predictions",),
        bf16=("predictions",),
    ),
    "pseudo_residuals/binary": Row(
        losses.pseudo_residuals,
        inputs(predictions=normal(N), targets=integers(N, high=2), where=mask(N)),
        static={"loss": "binary"},
        batch=("predictions", "targets", "where"),
        diff=("predictions",),
        bf16=("predictions",),
    ),
    "pseudo_residuals/squared": Row(
        losses.pseudo_residuals,
        inputs(predictions=normal(N), targets=normal(N), where=mask(N)),
        static={"loss": "squared"},
        batch=("predictions", "targets", "where"),
        diff=("predictions", "targets"),
        bf16=("predictions", "targets"),
    ),
    "compound_supervision": Row(
        losses.compound_supervision,
        inputs(
            reconstructions=normal(2, N, D),
            images=uniform(N, D),
            logits=normal(3, N, C),
            labels=integers(N, high=C),
            where=mask(N),
        ),
        diff=("reconstructions", "logits"),
        bf16=("reconstructions", "images", "logits"),
        skip={"mask": "the batch is the second axis of two arguments: tests/losses"},
    ),
}
