"""Rows of jaxlab.unlearn."""

from jaxlab import unlearn
from tests.laws.row import N, Row, inputs, normal, uniform

ROWS = {
    "npo": Row(
        unlearn.npo,
        inputs(log_prob=normal(N), ref_log_prob=normal(N), beta=uniform(low=0.1)),
        batch=("log_prob", "ref_log_prob"),
        diff=("log_prob",),
        bf16=("log_prob", "ref_log_prob"),
    ),
}
