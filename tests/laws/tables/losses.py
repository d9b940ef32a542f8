"""Rows of jaxlab.losses."""

import numpy as np

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal

ROWS = {
    "prototypical": Row(
        losses.prototypical,
        inputs(support=normal(C, M, D), query=normal(N, D), labels=integers(N, high=C), where=mask(N)),
        batch=("query", "labels", "where"),
        diff=("support", "query"),
        bf16=("support", "query"),
    ),
    "squared_hinge_ovr": Row(
        losses.squared_hinge_ovr,
        inputs(
            logits=normal(N, C),
            labels=integers(N, high=C - 1),
            class_where=lambda rng: np.arange(C) < rng.integers(C - 1, C + 1),
            where=mask(N),
        ),
        batch=("logits", "labels", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
}
