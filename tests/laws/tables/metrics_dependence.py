"""Rows of jaxlab.metrics: dependence, and members of an ensemble."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, probabilities, uniform

ROWS = {
    "jensen_shannon_divergence": Row(
        metrics.jensen_shannon_divergence,
        inputs(log_probs=lambda rng: np.log(rng.dirichlet(np.ones(C), (M, N))).astype(np.float32), weights=uniform(M)),
        diff=("log_probs",),
        bf16=("log_probs",),
    ),
    "distance_covariance": Row(
        metrics.distance_covariance,
        inputs(x=normal(N, D), y=normal(N, 5), where=mask(N), exponent=uniform(low=0.5, high=1.5)),
        batch=("x", "y", "where"),
        couples=True,
        diff=("x", "y"),
        bf16=("x", "y"),
        tol=1e-4,
    ),
    "distance_covariance/blocks": Row(
        metrics.distance_covariance,
        inputs(x=normal(N, 5), y=normal(N, D), weights=uniform(N, low=0.2), where=mask(N)),
        static={"block": 3},
        batch=("x", "y", "weights", "where"),
        couples=True,
        diff=("x", "y"),
        bf16=("x", "y"),
        tol=1e-4,
        skip={"empty": "weights that sum to 0: documented as NaN"},
    ),
    "distance_correlation": Row(
        metrics.distance_correlation,
        inputs(x=normal(N, D), y=normal(N, 2), where=mask(N)),
        static={"unbiased": True},
        batch=("x", "y", "where"),
        couples=True,
        diff=("x", "y"),
        bf16=("x", "y"),
        tol=1e-4,
    ),
    "group_histogram": Row(
        metrics.group_histogram,
        inputs(predictions=uniform(N), groups=integers(N, high=C), where=mask(N)),
        static={"num_groups": C, "bins": 3},
        batch=("predictions", "groups", "where"),
        couples=True,
        bf16=("predictions",),
    ),
    "pairwise_mutual_information": Row(
        metrics.pairwise_mutual_information,
        inputs(x=integers(N, D, high=C), where=mask(N)),
        static={"num_values": C},
        batch=("x", "where"),
        couples=True,
    ),
    "pairwise_disagreement": Row(
        metrics.pairwise_disagreement,
        inputs(probs=probabilities(M, N, C), where=mask(N)),
        diff=("probs",),
        bf16=("probs",),
        skip={"mask": "the examples are the second axis: tests/metrics/test_similarity.py"},
    ),
    "pairwise_disagreement/l1": Row(
        metrics.pairwise_disagreement,
        inputs(probs=probabilities(M, N, C)),
        static={"kind": "l1"},
        bf16=("probs",),
        skip={"mask": "as in the row above"},
    ),
    **{
        f"ensemble_decomposition{variant}": Row(
            metrics.ensemble_decomposition,
            inputs(logits=normal(3, N, C), labels=integers(N, high=C), where=mask(N)),
            static={"score": score},
            diff=("logits",),
            bf16=("logits",),
            skip={"mask": "`where` is over the second axis; proofs in tests/metrics"},
        )
        for variant, score in (("", "nll"), ("/brier", "brier"))
    },
}
