"""Rows of jaxlab.metrics."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform

T = 4  # tasks

SCORES = inputs(scores=normal(N), labels=lambda rng: rng.permutation([0, 0, 0, 1, 1, 1, 2]), where=mask(N))
TWO_CLASSES = {"empty": "the score is not defined without a positive and a negative: documented as NaN"}
BINARY = {"batch": ("scores", "labels", "where"), "couples": True, "bf16": ("scores",), "skip": TWO_CLASSES}
MATRIX = {"make": inputs(R=uniform(T, T)), "diff": ("R",), "bf16": ("R",)}
CURVE = inputs(
    steps=lambda rng: rng.uniform(0.1, 1.0, T).cumsum(), curve=normal(M, T), target=uniform(M, low=-0.5, high=0.5)
)
LAW = inputs(
    n=lambda rng: (rng.uniform(9.9, 10.1, N) * np.arange(1, N + 1)).astype(np.float32),
    values=lambda rng: (3.0 * np.arange(1, N + 1) ** -0.7 + rng.uniform(0.3, 0.31, N)).astype(np.float32),
    where=mask(N),
)
POINTS = {
    "batch": ("n", "values", "where"),
    "couples": True,
    "skip": {"empty": "there is no law without points: documented as NaN"},
}

ROWS = {
    "cbc_certified_radius": Row(
        metrics.cbc_certified_radius,
        inputs(
            detections=uniform(N, M, low=0.1),
            positive=uniform(M, C),
            negative=uniform(M, C),
            labels=integers(N, high=C),
            bandwidth=uniform(M, low=1.0, high=2.0),
            where=mask(N),
        ),
        batch=("detections", "labels", "where"),
        diff=("detections", "positive", "negative", "bandwidth"),
        bf16=("detections",),
    ),
    "accuracy": Row(
        metrics.accuracy,
        inputs(logits_or_predictions=normal(N, C), labels=integers(N, high=C), where=mask(N)),
        static={"k": 2},
        batch=("logits_or_predictions", "labels", "where"),
        couples=True,
        bf16=("logits_or_predictions",),
    ),
    "accuracy/predictions": Row(
        metrics.accuracy,
        inputs(logits_or_predictions=integers(N, high=C), labels=integers(N, high=C), where=mask(N)),
        batch=("logits_or_predictions", "labels", "where"),
        couples=True,
    ),
    "harmonic_mean": Row(
        metrics.harmonic_mean,
        inputs(values=uniform(N, D, low=0.1)),
        batch=("values",),
        diff=("values",),
        bf16=("values",),
    ),
    "auroc": Row(metrics.auroc, SCORES, **BINARY),
    "average_precision": Row(metrics.average_precision, SCORES, **BINARY),
    "tpr_at_fpr": Row(metrics.tpr_at_fpr, SCORES, static={"fpr": 0.4}, **BINARY),
    "average_accuracy": Row(metrics.average_accuracy, **MATRIX),
    "average_accuracy_lower": Row(
        metrics.average_accuracy_lower, inputs(matrix=uniform(T, T)), diff=("matrix",), bf16=("matrix",)
    ),
    "average_compatibility": Row(metrics.average_compatibility, inputs(matrix=uniform(T, T)), bf16=("matrix",)),
    "compatibility_matrix": Row(
        metrics.compatibility_matrix,
        inputs(
            queries=lambda rng: [normal(N, D)(rng), normal(N, D + 1)(rng)],
            labels=integers(N, high=C),
            galleries=lambda rng: [normal(M, D)(rng), normal(M, D + 1)(rng)],
            gallery_labels=integers(M, high=C),
            where=mask(N),
            gallery_where=mask(M),
        ),
        static={"num_classes": C},
        batch=("queries", "labels", "where"),
        couples=True,
        bf16=("queries", "galleries"),
    ),
    "average_incremental_accuracy": Row(
        metrics.average_incremental_accuracy,
        inputs(R=uniform(T, T), weights=uniform(T, low=0.5)),
        diff=("R",),
        bf16=("R",),
    ),
    "average_incremental_accuracy/unweighted": Row(metrics.average_incremental_accuracy, **MATRIX),
    "forgetting": Row(metrics.forgetting, **MATRIX),
    "forgetting/stepwise": Row(metrics.forgetting, static={"kind": "stepwise"}, **MATRIX),
    "backward_transfer": Row(metrics.backward_transfer, **MATRIX),
    "communication_floats": Row(metrics.communication_floats, inputs(message=lambda rng: {"a": rng.normal(size=3)})),
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
    "time_to_target": Row(metrics.time_to_target, CURVE, bf16=("curve",)),
    "time_to_target/log": Row(metrics.time_to_target, CURVE, static={"mode": "max", "interpolate": "log"}),
    "time_to_target/step": Row(metrics.time_to_target, CURVE, static={"interpolate": None}),
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
    "hits_at_k": Row(
        metrics.hits_at_k,
        inputs(scores=normal(N, M), relevant=mask(N, M)),
        static={"k": 2},
        batch=("scores", "relevant"),
        bf16=("scores",),
    ),
    "recall_at_k": Row(
        metrics.recall_at_k,
        inputs(scores=normal(N, M), relevant=mask(N, M)),
        static={"k": 2},
        batch=("scores", "relevant"),
        bf16=("scores",),
    ),
    "clip_score": Row(
        metrics.clip_score,
        inputs(image_embeddings=normal(N, D), text_embeddings=normal(N, D)),
        batch=("image_embeddings", "text_embeddings"),
        diff=("image_embeddings", "text_embeddings"),
        bf16=("image_embeddings", "text_embeddings"),
    ),
    "expected_squared_distance": Row(
        metrics.expected_squared_distance,
        inputs(predictions=integers(N, high=C), labels=integers(N, high=C), sq_dist=uniform(C, C), where=mask(N)),
        batch=("predictions", "labels", "where"),
        couples=True,
        diff=("sq_dist",),
        bf16=("sq_dist",),
    ),
    "feature_diversity": Row(
        metrics.feature_diversity,
        inputs(features=normal(N, D), labels=integers(N, high=C), where=mask(N)),
        static={"num_classes": C},
        batch=("features", "labels", "where"),
        couples=True,
        diff=("features",),
        bf16=("features",),
    ),
    "recognizability": Row(
        metrics.recognizability,
        inputs(logits=normal(N, C), labels=integers(N, high=C), where=mask(N)),
        batch=("logits", "labels", "where"),
        couples=True,
        bf16=("logits",),
        skip={"empty": "the F1 of a class that occurs nowhere is not defined: documented as NaN"},
    ),
    "fit_power_law": Row(metrics.fit_power_law, LAW, diff=("values",), bf16=("values",), **POINTS),
    "fit_power_law/offset": Row(metrics.fit_power_law, LAW, static={"offset": True}, **POINTS | {"tol": 1e-2}),
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
    "bottleneck_score": Row(
        metrics.bottleneck_score,
        inputs(fulfilment=normal(N), identity=normal(N), aesthetic=normal(N)),
        batch=("fulfilment", "identity", "aesthetic"),
        diff=("fulfilment", "identity", "aesthetic"),
        bf16=("fulfilment", "identity", "aesthetic"),
    ),
    "match_clusters": Row(
        metrics.match_clusters,
        inputs(labels=integers(N, high=C), clusters=integers(N, high=C), where=mask(N)),
        static={"num_clusters": C},
        batch=("labels", "clusters", "where"),
        couples=True,
    ),
    "normalized_mutual_info": Row(
        metrics.normalized_mutual_info,
        inputs(labels=integers(N, high=C), clusters=integers(N, high=C), where=mask(N)),
        static={"num_clusters": C},
        batch=("labels", "clusters", "where"),
        couples=True,
    ),
    "adjusted_rand_index": Row(
        metrics.adjusted_rand_index,
        inputs(labels=integers(N, high=C), clusters=integers(N, high=C), where=mask(N)),
        static={"num_clusters": C},
        batch=("labels", "clusters", "where"),
        couples=True,
    ),
    "silhouette": Row(
        metrics.silhouette,
        inputs(x=normal(N, D), clusters=integers(N, high=C), where=mask(N)),
        static={"num_clusters": C, "block": 4},
        batch=("x", "clusters", "where"),
        couples=True,
        diff=("x",),
        bf16=("x",),
    ),
    "clustering_accuracy": Row(
        metrics.clustering_accuracy,
        inputs(labels=integers(N, high=C), clusters=integers(N, high=C), where=mask(N)),
        static={"num_clusters": C},
        batch=("labels", "clusters", "where"),
        couples=True,
    ),
    "mean_average_precision": Row(
        metrics.mean_average_precision,
        inputs(scores=normal(N, M), relevant=mask(N, M), where=mask(N, M)),
        batch=("scores", "relevant", "where"),
        couples=True,
        bf16=("scores",),
    ),
    "stream_summary": Row(
        metrics.stream_summary,
        inputs(accuracy=uniform(N), num_examples=integers(N, high=9), flops=uniform(N, M)),
        diff=("accuracy", "flops"),
        bf16=("accuracy", "flops"),
    ),
    "pareto_front": Row(
        metrics.pareto_front,
        inputs(cost=uniform(N), score=uniform(N), where=mask(N)),
        batch=("cost", "score", "where"),
        couples=True,
        bf16=("cost", "score"),
    ),
    "knn_accuracy": Row(
        metrics.knn_accuracy,
        inputs(
            train_features=normal(M, D),
            train_labels=integers(M, high=C),
            features=normal(N, D),
            labels=integers(N, high=C),
            where=mask(N),
        ),
        static={"num_classes": C, "k": 3},
        batch=("features", "labels", "where"),
        couples=True,
        bf16=("features", "train_features"),
    ),
    "subspace_distance": Row(
        metrics.subspace_distance,
        inputs(a=normal(2, M), b=normal(2, M)),
        bf16=("a", "b"),
    ),
}

ROWS |= {
    "oscr": Row(
        metrics.oscr,
        inputs(
            scores=normal(N),
            correct=mask(N),
            known=lambda rng: rng.permutation([0, 0, 0, 1, 1, 1, 2]),
            where=lambda rng: np.array([True] * (N - 1) + [False]),
        ),
        batch=("scores", "correct", "known", "where"),
        couples=True,
        bf16=("scores",),
        skip={"empty": "the rate is not defined without known and unknown examples: documented as NaN"},
    ),
    "pearson": Row(
        metrics.pearson,
        inputs(a=normal(N), b=normal(N), where=mask(N)),
        batch=("a", "b", "where"),
        couples=True,
        diff=("a", "b"),
        bf16=("a", "b"),
    ),
    "confusion_matrix": Row(
        metrics.confusion_matrix,
        inputs(predictions=integers(N, high=C), labels=integers(N, high=C), where=mask(N)),
        static={"num_classes": C},
        batch=("predictions", "labels", "where"),
        couples=True,
    ),
    "mean_iou": Row(metrics.mean_iou, inputs(confusion=uniform(N, C, C)), batch=("confusion",), diff=("confusion",)),
    "local_outlier_factor": Row(
        metrics.local_outlier_factor,
        inputs(features=normal(N, D), where=mask(N)),
        static={"k": 2},
        batch=("features", "where"),
        couples=True,
        diff=("features",),
        bf16=("features",),
        tol=1e-4,
    ),
}
