"""Rows of jaxlab.retrieval: borrowed captions."""

from jaxlab import retrieval
from tests.laws.row import C, M, N, Row, inputs, mask, probabilities, uniform

ROWS = {
    "pseudo_caption": Row(
        retrieval.pseudo_caption,
        inputs(
            noisy_probs=probabilities(N, C), clean_probs=probabilities(M, C), threshold=uniform(high=0.9), where=mask(M)
        ),
        bf16=("noisy_probs", "clean_probs"),
        skip={"mask": "`where` is over the lenders; proofs in tests/retrieval"},
    ),
}
