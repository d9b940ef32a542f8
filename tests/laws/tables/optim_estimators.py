"""Rows of jaxlab.optim: gradient estimators."""

import numpy as np

from jaxlab import optim
from tests.laws.row import M, N, Row, inputs, mask, normal, uniform


def some_steps(rng):
    """A spec: an estimate after three steps."""
    return optim.MecoState(normal()(rng), np.int32(3))


ROWS = {
    "meco_init": Row(optim.meco_init, inputs()),
    "meco_surrogate": Row(
        optim.meco_surrogate,
        inputs(
            state=some_steps,
            data_energy=normal(N),
            noise_energy=normal(M),
            noise_log_q=normal(M),
            beta=uniform(low=0.1, high=0.5),
            where=mask(N),
            noise_where=mask(M),
        ),
        batch=("data_energy", "where"),
        couples=True,
        diff=("data_energy", "noise_energy", "noise_log_q"),
        bf16=("data_energy", "noise_energy"),
    ),
}
