"""Rows of jaxlab.metrics: where classes, clusters and outliers lie in a space of features."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform


def squared_distances(rng):
    """Between the rows of an array."""
    points = rng.standard_normal((N, D)).astype(np.float32)
    return np.sum((points[:, None] - points) ** 2, axis=-1)


ROWS = {
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
    "subspace_distance": Row(
        metrics.subspace_distance,
        inputs(a=normal(2, M), b=normal(2, M)),
        bf16=("a", "b"),
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
}
