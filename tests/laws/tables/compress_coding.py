"""Rows of jaxlab.compress.coding."""

from jaxlab.compress import coding
from tests.laws.row import C, N, Row, inputs, probabilities

ROWS = {
    "quantize_cdf": Row(
        coding.quantize_cdf,
        inputs(probs=probabilities(N, C)),
        static={"precision": 8},
        batch=("probs",),
        bf16=("probs",),
    ),
}
