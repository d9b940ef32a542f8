"""Rows of jaxlab.weaksup: several heads at test time, and pseudo-labels."""

from jaxlab import weaksup
from tests.laws.row import C, M, N, Row, inputs, mask, normal, uniform

HEADS = {"mask": "examples lie on the second axis, where this law does not pad; proofs in tests/weaksup"}

ROWS = {
    "entropy_weights": Row(
        weaksup.entropy_weights,
        inputs(logits=normal(M, N, C), gamma=uniform(low=0.5, high=2.0), where=mask(N)),
        diff=("logits", "gamma"),
        bf16=("logits",),
        skip=HEADS,
    ),
    "select_head": Row(
        weaksup.select_head,
        inputs(logits=normal(M, N, C), where=mask(N)),
        diff=("logits",),
        bf16=("logits",),
        skip=HEADS,
    ),
    "pseudo_label": Row(
        weaksup.pseudo_label,
        inputs(logits=normal(N, M, C), threshold=uniform(low=0.3, high=0.6), where=mask(N, M)),
        batch=("logits", "where"),
        bf16=("logits",),
    ),
}
