"""Rows of jaxlab.losses: recommenders and click models, and the covariance of embeddings."""

from jaxlab import losses
from tests.laws.row import D, M, N, Row, inputs, integers, mask, normal

CLICKS = inputs(
    fused_logits=normal(N, scale=0.1),
    deep_logits=normal(N, scale=3.0),  # both worse than the fused logits, or they would have no weight
    shallow_logits=normal(N, scale=3.0),
    targets=integers(N, high=2),
    where=mask(N),
)
LOGITS = ("fused_logits", "deep_logits", "shallow_logits")

ROWS = {
    "bayesian_personalized_ranking": Row(
        losses.bayesian_personalized_ranking,
        inputs(pos=normal(N), neg=normal(N), where=mask(N)),
        batch=("pos", "neg", "where"),
        diff=("pos", "neg"),
        bf16=("pos", "neg"),
    ),
    "collaborative_metric_hinge": Row(
        losses.collaborative_metric_hinge,
        inputs(
            user=normal(N, D, scale=0.3),
            positive=normal(N, D, scale=0.3),
            negatives=normal(N, M, D, scale=0.3),
            where=mask(N),
        ),
        batch=("user", "positive", "negatives", "where"),
        diff=("user", "positive", "negatives"),
        bf16=("user", "positive", "negatives"),
    ),
    "collaborative_metric_hinge/ranked": Row(
        losses.collaborative_metric_hinge,
        inputs(
            user=normal(N, D, scale=0.3),
            positive=normal(N, D, scale=0.3),
            negatives=normal(N, M, D, scale=0.3),
            where=mask(N),
            negative_where=mask(N, M),
        ),
        static={"num_items": 100, "margin": 3.0},
        batch=("user", "positive", "negatives", "where", "negative_where"),
        diff=("user", "positive", "negatives"),
        bf16=("user", "positive", "negatives"),
    ),
    "tri_bce": Row(
        losses.tri_bce,
        CLICKS,
        batch=(*LOGITS, "targets", "where"),
        couples=True,
        diff=LOGITS,
        bf16=LOGITS,
    ),
    "tri_bce/detached": Row(
        losses.tri_bce,
        CLICKS,
        static={"detach_weights": True},
        batch=(*LOGITS, "targets", "where"),
        couples=True,
        diff=LOGITS,
        bf16=LOGITS,
    ),
    "off_diagonal_covariance": Row(
        losses.off_diagonal_covariance,
        inputs(z=normal(N, D), where=mask(N)),
        batch=("z", "where"),
        couples=True,
        diff=("z",),
        bf16=("z",),
    ),
}
