"""Rows of jaxlab.nas."""

from jaxlab import nas
from tests.laws.row import C, D, M, N, Row, inputs, integers, normal, uniform

ROWS: dict = {
    "soft_guidance_policy": Row(
        nas.soft_guidance_policy,
        inputs(
            logits=normal(M, C),
            predictions=normal(C, N, D),
            step=integers(high=M),
            temperature=uniform(low=0.5, high=2.0),
        ),
        diff=("logits", "predictions", "temperature"),
        bf16=("predictions",),
        skip={"zeros": "a temperature of zero is outside its range"},
    ),
    "expected_policy_cost": Row(
        nas.expected_policy_cost,
        inputs(logits=normal(N, C), costs=uniform(C), temperature=uniform(low=0.5, high=2.0)),
        batch=("logits",),
        couples=True,
        diff=("logits", "costs"),
        bf16=("logits", "costs"),
    ),
    "discrete_policy": Row(nas.discrete_policy, inputs(logits=normal(N, C)), batch=("logits",), bf16=("logits",)),
}
