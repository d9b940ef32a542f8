"""Rows of jaxlab.losses: scores between two views, and photographs."""

from jaxlab import losses
from tests.laws.row import C, N, Row, inputs, integers, mask, normal, prng, uniform

SQUARE = {"mask": "both axes of the scores are the batch; proofs in tests/losses"}
SCORES = {"diff": ("scores",), "bf16": ("scores",), "skip": SQUARE}
ANCHORED = {"diff": ("scores",), "bf16": ("scores", "anchor"), "skip": SQUARE}
PAIRS = {"scores": normal(N, N), "margin": uniform(low=0.1, high=0.5), "where": mask(N)}

ROWS = {
    "bidirectional_hinge": Row(losses.bidirectional_hinge, inputs(**PAIRS), **SCORES),
    "bidirectional_hinge/all": Row(losses.bidirectional_hinge, inputs(**PAIRS), static={"hard": False}, **SCORES),
    "boost_absolute": Row(losses.boost_absolute, inputs(anchor=normal(N, N), gamma=uniform(), **PAIRS), **ANCHORED),
    "boost_relative": Row(losses.boost_relative, inputs(anchor=normal(N, N), **PAIRS), **ANCHORED),
    "cross_modal_projection": Row(
        losses.cross_modal_projection,
        inputs(scores=normal(N, N), labels=integers(N, high=3), scale=uniform(low=1.0, high=3.0), where=mask(N)),
        tol=1e-4,
        **SCORES,
    ),
    "margin_schedule": Row(
        losses.margin_schedule,
        inputs(correspondence=uniform(N)),
        batch=("correspondence",),
        diff=("correspondence",),
        bf16=("correspondence",),
    ),
    "margin_schedule/sin": Row(
        losses.margin_schedule,
        inputs(correspondence=uniform(N)),
        static={"kind": "sin"},
        batch=("correspondence",),
        diff=("correspondence",),
        bf16=("correspondence",),
    ),
    "soft_margin_hinge": Row(
        losses.soft_margin_hinge,
        inputs(correspondence=uniform(N), **PAIRS),
        diff=("scores", "correspondence"),
        bf16=("scores", "correspondence"),
        skip=SQUARE,
    ),
    "soft_margin_hinge/mean": Row(
        losses.soft_margin_hinge,
        inputs(correspondence=uniform(N), **PAIRS),
        static={"hard": False, "margin_axis": "last", "kind": "linear"},
        diff=("scores", "correspondence"),
        bf16=("scores", "correspondence"),
        skip=SQUARE,
    ),
    "pseudo_classification": Row(
        losses.pseudo_classification,
        inputs(image_logits=normal(N, C), caption_logits=normal(N, C), entropy_weight=uniform(), where=mask(N)),
        batch=("image_logits", "caption_logits", "where"),
        diff=("image_logits",),
        bf16=("image_logits", "caption_logits"),
    ),
    "s3im": Row(
        losses.s3im,
        inputs(key=prng(), predictions=uniform(16, 3), targets=uniform(16, 3)),
        static={"patch": (4, 4), "repeats": 3},
        diff=("predictions",),
        bf16=("predictions", "targets"),
    ),
}
