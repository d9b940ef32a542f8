"""Rows of jaxlab.losses: one minus an overlap of predicted and true positives."""

from jaxlab import losses, metrics
from tests.laws.row import N, Row, inputs, integers, mask, normal, uniform

COUPLED = {"batch": ("probs", "targets", "where"), "couples": True, "diff": ("probs",), "bf16": ("probs",)}
FLAT = inputs(probs=uniform(N), targets=integers(N, high=2), where=mask(N))

ROWS = {
    "amplify": Row(
        losses.amplify,
        inputs(probs=uniform(N, low=0.4, high=0.6), scale=uniform(low=10.0, high=20.0)),
        batch=("probs",),
        diff=("probs",),
        bf16=("probs",),
    ),
    "any_loss": Row(
        losses.any_loss,
        inputs(logits=normal(N, scale=0.1), targets=integers(N, high=2), where=mask(N)),
        static={"metric": metrics.f_beta, "scale": 20.0},
        batch=("logits", "targets", "where"),
        couples=True,
        diff=("logits",),
        bf16=("logits",),
    ),
    "dice_loss": Row(losses.dice_loss, FLAT, **COUPLED),
    "dice_loss/focus": Row(
        losses.dice_loss,
        inputs(probs=uniform(N), targets=integers(N, high=2), focus=uniform(low=0.5), smooth=uniform(), where=mask(N)),
        **COUPLED,
        static={"square": True},
    ),
    "dice_loss/per_example": Row(
        losses.dice_loss,
        inputs(probs=uniform(N, 1), targets=integers(N, 1, high=2), where=mask(N, 1)),
        static={"focus": 1.0},
        batch=("probs", "targets", "where"),
        diff=("probs",),
        bf16=("probs",),
    ),
    "tversky": Row(
        losses.tversky,
        inputs(
            probs=uniform(N),
            targets=integers(N, high=2),
            alpha=uniform(low=0.2, high=0.4),
            beta=uniform(low=0.6, high=0.8),
            where=mask(N),
        ),
        **COUPLED,
    ),
    "hard_negative_mask": Row(
        losses.hard_negative_mask,
        inputs(scores=normal(N), targets=lambda rng: rng.permutation([1, 1, 0, 0, 0, 0, 0]), where=mask(N)),
        static={"ratio": 1.5},
        batch=("scores", "targets", "where"),
        couples=True,
        bf16=("scores",),
    ),
}
