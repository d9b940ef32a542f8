"""Rows of jaxlab.weaksup: heads combined by given or learned weights."""

from jaxlab import weaksup
from tests.laws.row import C, D, N, Row, inputs, mask, normal, probabilities

ROWS = {
    "aggregate_heads": Row(
        weaksup.aggregate_heads,
        inputs(logits=normal(D, N, C), weights=probabilities(D)),
        diff=("logits", "weights"),
        bf16=("logits",),
    ),
    "aggregate_heads/by_example": Row(
        weaksup.aggregate_heads,
        inputs(logits=normal(D, N, C), weights=probabilities(D, N)),
        diff=("logits", "weights"),
        bf16=("logits", "weights"),
    ),
    "expert_agreement": Row(
        weaksup.expert_agreement,
        inputs(weight_logits=normal(D), logits_a=normal(D, N, C), logits_b=normal(D, N, C), where=mask(N)),
        diff=("weight_logits", "logits_a", "logits_b"),
        bf16=("logits_a", "logits_b"),
        skip={"mask": "`where` is over an axis behind that of the experts; proofs in tests/weaksup"},
    ),
}
