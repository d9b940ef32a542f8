"""Rows of jaxlab.zeroshot."""

from jaxlab import zeroshot
from tests.laws.row import C, D, M, N, Row, inputs, mask, normal, prng, uniform

ROWS = {
    "ensemble_logits": Row(
        zeroshot.ensemble_logits,
        inputs(a=normal(N, C), b=normal(N, C), alpha=uniform(low=0.5)),
        batch=("a", "b"),
        diff=("a", "b", "alpha"),
        bf16=("a", "b"),
    ),
    "gda_new_class_classifier": Row(
        zeroshot.gda_new_class_classifier,
        inputs(features=normal(N, D), text=normal(M, D), where=mask(N)),
        static={"k": 3, "copies": 2},
        batch=("features", "where"),
        couples=True,
        diff=("features", "text"),
        bf16=("features", "text"),
    ),
    "semantic_variations": Row(
        zeroshot.semantic_variations,
        inputs(text=normal(D), key=prng(), diversity=uniform()),
        static={"k": 3, "num_iters": 3},
        diff=("text",),
        bf16=("text",),
    ),
}
