"""Rows of jaxlab.metrics."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform

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


def skewed(rng):
    """Per row twelve errors whose moments a noncentral chi-square can have."""
    return (rng.uniform(1.0, 1.2, (N, 12)) + np.array([0.0] * 10 + [6.0, 8.0])).astype(np.float32)


def likeness(rng):
    """A kernel with a diagonal of 1 and eigenvalues of at least 1/2."""
    x = rng.standard_normal((N, D))
    return (0.5 * np.eye(N) + 0.5 * np.exp(-0.5 * np.sum((x[:, None] - x) ** 2, -1))).astype(np.float32)


KERNEL = {
    "make": inputs(kernel=likeness, weights=uniform(N, low=0.5), where=mask(N)),
    "bf16": ("kernel",),
    "skip": {"mask": "both axes of the kernel are the batch; proofs in tests/metrics"},
}

BOUND = {
    "make": inputs(error=uniform(N, high=0.5), kl=uniform(N, high=9.0), num_examples=uniform(low=50.0, high=99.0)),
    "batch": ("error", "kl"),
    "bf16": ("error", "kl"),
}


def squared_distances(rng):
    """Between the rows of an array."""
    points = rng.standard_normal((N, D)).astype(np.float32)
    return np.sum((points[:, None] - points) ** 2, axis=-1)


ROWS = {
    "expected_calibration_error": Row(
        metrics.expected_calibration_error,
        inputs(probs=probabilities(N, C), labels=integers(N, high=C), where=mask(N)),
        static={"num_bins": 5},
        batch=("probs", "labels", "where"),
        couples=True,
        bf16=("probs",),
    ),
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
    "nc1": Row(
        metrics.nc1,
        inputs(features=normal(N, D), labels=lambda rng: rng.permutation([0, 0, 0, 1, 1, 3, 3]), where=mask(N)),
        static={"num_classes": C},
        batch=("features", "labels", "where"),
        couples=True,
        bf16=("features",),
        tol=1e-3,
    ),
    "nc2_etf": Row(metrics.nc2_etf, inputs(a=normal(C, D)), diff=("a",), bf16=("a",)),
    "nc2_orthogonal": Row(
        metrics.nc2_orthogonal,
        inputs(a=normal(C, D), diagonal=uniform(C, low=0.1)),
        diff=("a", "diagonal"),
        bf16=("a",),
    ),
    "nc3": Row(metrics.nc3, inputs(w=normal(C, D), means=normal(C, D)), diff=("w", "means"), bf16=("w", "means")),
    "nc3/orthogonal": Row(
        metrics.nc3,
        inputs(w=normal(C, D), means=normal(C, D), diagonal=uniform(C, low=0.1)),
        static={"target": "orthogonal"},
        diff=("w", "means", "diagonal"),
        bf16=("w", "means"),
    ),
    "self_duality": Row(
        metrics.self_duality,
        inputs(w=normal(C, D), means=normal(C, D), scales=uniform(C, low=0.1)),
        diff=("w", "means", "scales"),
        bf16=("w", "means"),
    ),
    "bezier": Row(
        metrics.bezier,
        inputs(stacked=lambda rng: {"w": normal(3, D)(rng), "b": normal(3)(rng)}, t=uniform()),
        diff=("stacked", "t"),
        bf16=("stacked",),
    ),
    "mode_connectivity": Row(
        metrics.mode_connectivity, inputs(values=normal(N, M)), batch=("values",), bf16=("values",)
    ),
    "classify_phase": Row(
        metrics.classify_phase,
        inputs(
            loss=uniform(N, high=0.2),
            sharpness=uniform(N, high=200.0),
            connectivity=normal(N, scale=0.1),
            similarity=uniform(N, low=0.8),
        ),
        batch=("loss", "sharpness", "connectivity", "similarity"),
        bf16=("loss",),
    ),
    "performance_profile": Row(
        metrics.performance_profile,
        inputs(times=uniform(C, N, low=0.1), taus=uniform(M, low=1.0, high=4.0)),
        bf16=("times",),
    ),
    "algoperf_score": Row(
        metrics.algoperf_score,
        inputs(times=uniform(C, N, low=0.1), tau_max=uniform(low=2.0, high=4.0)),
        bf16=("times",),
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
    "learning_improvement": Row(
        metrics.learning_improvement,
        inputs(correct=uniform(N, M), where=mask(N)),
        batch=("correct", "where"),
        couples=True,
        diff=("correct",),
        bf16=("correct",),
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
    "spearman": Row(
        metrics.spearman,
        inputs(a=normal(N), b=normal(N), where=mask(N)),
        batch=("a", "b", "where"),
        couples=True,
        bf16=("a", "b"),
    ),
    "kendall_tau": Row(
        metrics.kendall_tau,
        inputs(a=normal(N), b=normal(N), where=mask(N)),
        batch=("a", "b", "where"),
        couples=True,
        bf16=("a", "b"),
    ),
    "precision_at_t": Row(
        metrics.precision_at_t,
        inputs(scores=normal(N), values=normal(N), where=mask(N)),
        static={"t": 2},
        batch=("scores", "values", "where"),
        couples=True,
        bf16=("scores", "values"),
    ),
    "linear_cka": Row(
        metrics.linear_cka,
        inputs(x=normal(N, D), y=normal(N, C), where=mask(N)),
        batch=("x", "y", "where"),
        couples=True,
        diff=("x", "y"),
        bf16=("x", "y"),
    ),
    "linear_cka/unbiased": Row(
        metrics.linear_cka,
        inputs(x=normal(N, D), y=normal(N, C)),
        static={"unbiased": True},
        batch=("x", "y"),
        couples=True,
        diff=("x", "y"),
        skip={"mask": "the row above"},
    ),
    "class_scatter": Row(
        metrics.class_scatter,
        inputs(features=normal(N, D), labels=integers(N, high=C), where=mask(N)),
        static={"num_classes": C},
        batch=("features", "labels", "where"),
        couples=True,
        diff=("features",),
        bf16=("features",),
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
    "jensen_shannon_divergence": Row(
        metrics.jensen_shannon_divergence,
        inputs(log_probs=lambda rng: np.log(rng.dirichlet(np.ones(C), (M, N))).astype(np.float32), weights=uniform(M)),
        diff=("log_probs",),
        bf16=("log_probs",),
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

ROWS |= {
    f"ensemble_decomposition{variant}": Row(
        metrics.ensemble_decomposition,
        inputs(logits=normal(3, N, C), labels=integers(N, high=C), where=mask(N)),
        static={"score": score},
        diff=("logits",),
        bf16=("logits",),
        skip={"mask": "`where` is over the second axis; proofs in tests/metrics"},
    )
    for variant, score in (("", "nll"), ("/brier", "brier"))
} | {
    "false_false_true": Row(
        metrics.false_false_true,
        inputs(
            logits0=normal(N, C),
            logits1=normal(N, C),
            average=normal(N, C),
            labels=integers(N, high=C),
            where=mask(N),
        ),
        batch=("logits0", "logits1", "average", "labels", "where"),
        couples=True,
        bf16=("logits0", "logits1", "average"),
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
    "accuracy_disparity": Row(
        metrics.accuracy_disparity,
        inputs(predictions=integers(N, high=2), labels=integers(N, high=2), where=mask(N)),
        static={"num_classes": 2},
        batch=("predictions", "labels", "where"),
        couples=True,
    ),
    "class_errors_linear_gmm": Row(
        metrics.class_errors_linear_gmm,
        inputs(weight=normal(D), bias=normal(), mu=normal(D), sigma=uniform(low=0.5), eps=uniform(high=0.3)),
        static={"norm": "linf"},
        diff=("bias", "mu"),
        bf16=("weight", "mu"),
    ),
    "order_estimate_error": Row(
        metrics.order_estimate_error,
        inputs(estimate=normal(D), truth=normal(D), base=normal(D)),
        diff=("estimate", "truth", "base"),
        bf16=("estimate", "truth", "base"),
        skip={"zeros": "NaN where nothing has changed, as documented"},
    ),
    "effective_parameters": Row(
        metrics.effective_parameters,
        inputs(smoother=normal(N, M), where=mask(N)),
        batch=("smoother", "where"),
        couples=True,
        diff=("smoother",),
        bf16=("smoother",),
    ),
    "smoother_trace": Row(
        metrics.smoother_trace, inputs(smoother=normal(D, D)), diff=("smoother",), bf16=("smoother",)
    ),
    "smoother_from_leaves": Row(
        metrics.smoother_from_leaves,
        inputs(
            query_leaves=integers(N, M, high=3),
            train_leaves=integers(N, D, high=3),
            weights=uniform(N, D, low=0.1),
        ),
        batch=("query_leaves", "train_leaves", "weights"),
        couples=True,
        diff=("weights",),
        bf16=("weights",),
    ),
    "boosting_smoother": Row(
        metrics.boosting_smoother,
        inputs(
            query_leaves=integers(C, M, high=3),
            train_leaves=integers(C, D, high=3),
            learning_rate=uniform(low=0.1),
            weights=uniform(C, D, low=0.1),
        ),
        diff=("learning_rate", "weights"),
        bf16=("weights",),
    ),
    "scaled_ncx2_fit_moments": Row(
        metrics.scaled_ncx2_fit_moments,
        inputs(errors=skewed),
        batch=("errors",),
        diff=("errors",),
        bf16=("errors",),
        tol=1e-4,
    ),
    "ncx2_log_cdf_approx": Row(
        metrics.ncx2_log_cdf_approx,
        inputs(
            x=uniform(N, low=0.1, high=20.0),
            df=uniform(N, low=2.0, high=9.0),
            nc=uniform(N, low=0.5, high=9.0),
            scale=uniform(low=0.5, high=2.0),
        ),
        batch=("x", "df", "nc"),
        diff=("x", "df", "nc", "scale"),
        bf16=("x", "df", "nc", "scale"),
        skip={"zeros": "a distribution of scale 0 has no density"},
    ),
    "ncx2_log_cdf_approx/sankaran": Row(
        metrics.ncx2_log_cdf_approx,
        inputs(x=uniform(N, low=0.1, high=3.0), df=uniform(N, low=2.0, high=9.0), nc=uniform(N, low=0.5, high=9.0)),
        static={"method": "sankaran"},
        batch=("x", "df", "nc"),
        diff=("x",),
        bf16=("x", "df", "nc"),
    ),
    "inductive_bias_from_errors": Row(
        metrics.inductive_bias_from_errors,
        inputs(errors=skewed, target=uniform(low=0.3, high=0.9)),
        batch=("errors",),
        diff=("errors", "target"),
        bf16=("errors",),
        tol=1e-4,
    ),
    "pairwise_mutual_information": Row(
        metrics.pairwise_mutual_information,
        inputs(x=integers(N, D, high=C), where=mask(N)),
        static={"num_values": C},
        batch=("x", "where"),
        couples=True,
    ),
}

ROWS |= {
    "h0_deaths": Row(
        metrics.h0_deaths,
        inputs(distances=lambda rng: squared_distances(rng) ** 0.5, where=mask(N)),
        bf16=("distances",),
        skip={"mask": "a mask of rows and columns: in the proofs"},
    ),
    "persistence_statistics": Row(
        metrics.persistence_statistics,
        inputs(deaths=lambda rng: np.sort(uniform(N, low=0.1)(rng))),
        static={"quantile": 0.9, "num_classes": 3},
        bf16=("deaths",),
    ),
    "fisher_discriminant_ratio": Row(
        metrics.fisher_discriminant_ratio,
        inputs(features=normal(N, D), labels=integers(N, high=2), where=mask(N)),
        static={"num_classes": 2},
        batch=("features", "labels", "where"),
        couples=True,
        diff=("features",),
        bf16=("features",),
        tol=1e-4,
    ),
    "spearman_brown": Row(
        metrics.spearman_brown,
        inputs(r=uniform(N), factor=uniform(low=1.0, high=3.0)),
        batch=("r",),
        diff=("r",),
        bf16=("r",),
    ),
    "split_half_reliability": Row(
        metrics.split_half_reliability,
        inputs(key=prng(), ratings=normal(5, 6), where=lambda rng: np.arange(5)[:, None] < rng.integers(2, 6, 6)),
        static={"num_splits": 2},
        bf16=("ratings",),
        skip={"mask": "one mask per rating: in the proofs"},
    ),
    "binary_kl": Row(
        metrics.binary_kl,
        inputs(q=uniform(N, low=0.1, high=0.9), p=uniform(N, low=0.1, high=0.9)),
        batch=("q", "p"),
        diff=("q", "p"),
        bf16=("q", "p"),
    ),
    "kl_inverse": Row(
        metrics.kl_inverse, inputs(q=uniform(N, high=0.9), bound=uniform(N)), batch=("q", "bound"), bf16=("q", "bound")
    ),
    "mcallester_bound": Row(metrics.mcallester_bound, **BOUND, diff=("error", "kl")),
    "occam_bound": Row(metrics.occam_bound, **BOUND, diff=("error", "kl")),
    "seeger_bound": Row(metrics.seeger_bound, **BOUND),
}
