"""Rows of jaxlab.metrics: samples of a generator, their diversity, and what an image shows."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, probabilities, uniform


def likeness(rng):
    """A kernel with a diagonal of 1 and eigenvalues of at least 1/2."""
    x = rng.standard_normal((N, D))
    return (0.5 * np.eye(N) + 0.5 * np.exp(-0.5 * np.sum((x[:, None] - x) ** 2, -1))).astype(np.float32)


KERNEL = {
    "make": inputs(kernel=likeness, weights=uniform(N, low=0.5), where=mask(N)),
    "bf16": ("kernel",),
    "skip": {"mask": "both axes of the kernel are the batch; proofs in tests/metrics"},
}

ROWS = {
    "frechet_distance": Row(
        metrics.frechet_distance, inputs(x=normal(N, D), y=normal(N, D)), batch=("x",), couples=True, bf16=("x", "y")
    ),
    "precision_recall_knn": Row(
        metrics.precision_recall_knn,
        inputs(real=normal(N, D), fake=normal(M, D)),
        static={"k": 2},
        batch=("real",),
        couples=True,
        bf16=("real", "fake"),
    ),
    "recognizability": Row(
        metrics.recognizability,
        inputs(logits=normal(N, C), labels=integers(N, high=C), where=mask(N)),
        batch=("logits", "labels", "where"),
        couples=True,
        bf16=("logits",),
        skip={"empty": "the F1 of a class that occurs nowhere is not defined: documented as NaN"},
    ),
    "mean_pairwise_distance": Row(
        metrics.mean_pairwise_distance,
        inputs(x=normal(N, D), where=mask(N)),
        batch=("x", "where"),
        couples=True,
        diff=("x",),
        bf16=("x",),
    ),
    "mean_pairwise_distance/cosine": Row(
        metrics.mean_pairwise_distance,
        inputs(x=normal(N, D), where=mask(N)),
        static={"metric": "cosine"},
        batch=("x", "where"),
        couples=True,
        diff=("x",),
        bf16=("x",),
    ),
    "min_pairwise_distance": Row(
        metrics.min_pairwise_distance,
        inputs(distances=uniform(N, N, low=0.1), subset=lambda rng: rng.permutation(N)[:3]),
        diff=("distances",),
        bf16=("distances",),
    ),
    "renyi_entropy": Row(
        metrics.renyi_entropy,
        inputs(probs=probabilities(N, C)),
        static={"q": 0.5},
        batch=("probs",),
        diff=("probs",),
        bf16=("probs",),
    ),
    "renyi_entropy/shannon": Row(
        metrics.renyi_entropy, inputs(probs=probabilities(N, C)), batch=("probs",), diff=("probs",), bf16=("probs",)
    ),
    "effective_rank": Row(
        metrics.effective_rank,
        inputs(x=normal(N, D), where=mask(N)),
        batch=("x", "where"),
        couples=True,
        diff=("x",),
        bf16=("x",),
    ),
    "internal_diversity": Row(metrics.internal_diversity, diff=("kernel", "weights"), **KERNEL),
    "vendi_score": Row(metrics.vendi_score, diff=("kernel", "weights"), **KERNEL),
    "vendi_score/rare": Row(metrics.vendi_score, static={"q": 0.5, "normalize": True}, diff=("kernel",), **KERNEL),
    "vendi_score/two": Row(metrics.vendi_score, static={"q": 2}, diff=("kernel", "weights"), **KERNEL),
    "vendi_score/infinity": Row(metrics.vendi_score, static={"q": np.inf}, diff=("kernel",), **KERNEL),
    "vendi_score_from_embeddings": Row(
        metrics.vendi_score_from_embeddings,
        inputs(x=normal(N, D), weights=uniform(N, low=0.5), where=mask(N)),
        batch=("x", "weights", "where"),
        couples=True,
        diff=("x", "weights"),
        bf16=("x",),
    ),
    "vendi_score_from_embeddings/infinity": Row(
        metrics.vendi_score_from_embeddings,
        inputs(x=normal(N, D), where=mask(N)),
        static={"q": np.inf},
        batch=("x", "where"),
        couples=True,
        diff=("x",),
        bf16=("x",),
    ),
    "psnr": Row(
        metrics.psnr,
        inputs(a=normal(N, D), b=normal(N, D), data_range=uniform(low=1.0, high=2.0), where=mask(N)),
        batch=("a", "b", "where"),
        diff=("a", "b"),
        bf16=("a", "b"),
    ),
    "si_sdr": Row(
        metrics.si_sdr,
        inputs(estimate=normal(N, D), reference=normal(N, D)),
        batch=("estimate", "reference"),
        diff=("estimate", "reference"),
        bf16=("estimate", "reference"),
        tol=1e-4,
    ),
    "relative_position": Row(
        metrics.relative_position,
        inputs(box=uniform(N, 4), other=uniform(N, 4)),
        batch=("box", "other"),
        bf16=("box", "other"),
    ),
    "clause_correct": Row(
        metrics.clause_correct,
        inputs(counts=integers(N, high=4), required=integers(N, high=4)),
        batch=("counts", "required"),
    ),
    "detection_average_precision": Row(
        metrics.detection_average_precision,
        inputs(scores=uniform(N, M), overlaps=uniform(N, M, D), where=mask(N, M), target_where=mask(N, D)),
        bf16=("scores", "overlaps"),
        skip={"mask": "`where` hides detections, not images; proofs in tests/metrics"},
    ),
    "bottleneck_score": Row(
        metrics.bottleneck_score,
        inputs(fulfilment=normal(N), identity=normal(N), aesthetic=normal(N)),
        batch=("fulfilment", "identity", "aesthetic"),
        diff=("fulfilment", "identity", "aesthetic"),
        bf16=("fulfilment", "identity", "aesthetic"),
    ),
}
