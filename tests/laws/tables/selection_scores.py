"""Rows of jaxlab.selection: choosing by a score of each example."""

from jaxlab import selection
from tests.laws.row import M, N, Row, inputs, mask, prng, uniform

ROWS = {
    "personal_loss_probabilities": Row(
        selection.personal_loss_probabilities,
        inputs(losses=uniform(N, M, high=0.5), temperature=uniform(low=0.1), where=mask(N, M)),
        batch=("losses", "where"),
        bf16=("losses",),
    ),
    "personal_loss_sample": Row(
        selection.personal_loss_sample,
        inputs(key=prng(), losses=uniform(N, M, high=0.1), where=mask(N, M)),
        batch=("losses", "where"),
        bf16=("losses",),
        skip={"permute": "every place of the batch has its own random numbers"},
    ),
}
