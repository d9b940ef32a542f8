"""Rows of jaxlab.weaksup."""

import numpy as np

from jaxlab import weaksup
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform


def prior(rng):
    return weaksup.ClassPrior(probabilities(C)(rng))


ROWS: dict[str, Row] = {
    "class_prior_init": Row(weaksup.class_prior_init, inputs(), static={"num_classes": C}),
    "class_prior_update": Row(
        weaksup.class_prior_update,
        inputs(state=prior, probs=probabilities(N, C), momentum=uniform(), where=mask(N)),
        batch=("probs", "where"),
        couples=True,
        diff=("state",),
        bf16=("probs",),
    ),
    "local_entropy_regularization": Row(
        weaksup.local_entropy_regularization,
        inputs(
            logits=normal(N, C),
            prior=prior,
            known=lambda rng: np.array([True, True, True, False]),
            temperature=uniform(low=0.5),
            where=mask(N),
        ),
        batch=("logits", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "swapped_prediction": Row(
        weaksup.swapped_prediction,
        inputs(logits=normal(2, N, C), targets=probabilities(2, N, C), temperature=uniform(low=0.5)),
        diff=("logits",),
        bf16=("logits", "targets"),
        skip={"mask": "`where` is over the second axis; proofs in tests/weaksup"},
    ),
    "init_novel_heads": Row(
        weaksup.init_novel_heads,
        inputs(centroids=normal(M, D), old_head=normal(C, D)),
        static={"num_new": 2},
        diff=("centroids", "old_head"),
        bf16=("centroids", "old_head"),
    ),
}

DRAWN = {"permute": "which rows are drawn depends on their order"}


def sq_dists(rng):
    x = normal(N, D)(rng)
    return np.sum((x[:, None] - x) ** 2, axis=-1)


TABULAR_ROWS = {
    "ncd_kmeans": Row(
        weaksup.ncd_kmeans,
        inputs(key=prng(), x=normal(N, D), known_centroids=normal(2, D), where=mask(N)),
        static={"num_new": 2, "num_restarts": 2, "num_iters": 3},
        batch=("x", "where"),
        couples=True,
        skip=DRAWN,
    ),
    "mst_bandwidth": Row(
        weaksup.mst_bandwidth,
        inputs(sq_dists=sq_dists, min_dist=uniform(low=0.2, high=0.8), where=mask(N)),
        diff=("sq_dists",),
        bf16=("sq_dists",),
        skip={"mask": "hides rows and columns of a square matrix: proofs in tests/weaksup"},
    ),
    "spectral_embedding": Row(
        weaksup.spectral_embedding,
        inputs(x=normal(N, D), min_dist=uniform(low=0.2, high=0.8), where=mask(N)),
        static={"num_components": 2},
        batch=("x", "where"),
        couples=True,
        tol=1e-4,
    ),
    "pbn_loss": Row(
        weaksup.pbn_loss,
        inputs(
            reconstruction=normal(N, D),
            x=normal(N, D),
            logits=normal(N, C),
            labels=integers(N, high=C),
            weight=uniform(),
            known=mask(N),
            where=mask(N),
        ),
        batch=("reconstruction", "x", "logits", "labels", "known", "where"),
        couples=True,
        diff=("reconstruction", "x", "logits", "weight"),
        bf16=("reconstruction", "x", "logits"),
    ),
    "estimate_num_classes": Row(
        weaksup.estimate_num_classes,
        inputs(key=prng(), x=normal(N, D), where=mask(N)),
        static={"max_classes": 5, "num_restarts": 1, "num_iters": 1},
        batch=("x", "where"),
        couples=True,
        skip=DRAWN,
    ),
}

SHIFT_ROWS = {
    "domain_cluster_matrix": Row(
        weaksup.domain_cluster_matrix,
        inputs(clusters=integers(N, high=M), domains=integers(N, high=C), where=mask(N)),
        static={"num_clusters": M, "num_domains": C},
        batch=("clusters", "domains", "where"),
        couples=True,
    ),
    "normalize_nmf": Row(
        weaksup.normalize_nmf,
        inputs(left=uniform(M, D), right=uniform(D, C)),
        diff=("left", "right"),
        bf16=("left", "right"),
    ),
    "label_posterior_from_domains": Row(
        weaksup.label_posterior_from_domains,
        inputs(domain_probs=probabilities(N, C), class_given_domain=uniform(D, C, low=0.1)),
        batch=("domain_probs",),
        diff=("domain_probs",),
        bf16=("domain_probs",),
        tol=1e-4,
    ),
    "domain_adjusted_posterior": Row(
        weaksup.domain_adjusted_posterior,
        inputs(label_probs=normal(N, D), class_given_domain=uniform(D, C, low=0.1), domains=integers(N, high=C)),
        batch=("label_probs", "domains"),
        diff=("label_probs", "class_given_domain"),
        bf16=("label_probs",),
    ),
}


def affinity(rng):
    half = uniform(N, N)(rng)
    return half + half.T


TRANSDUCTION_ROWS = {
    "knn_affinity": Row(
        weaksup.knn_affinity,
        inputs(x=normal(N, D), where=mask(N)),
        static={"k": 2},
        batch=("x", "where"),
        couples=True,
    ),
    "laplacian_energy": Row(
        weaksup.laplacian_energy,
        inputs(assignments=probabilities(N, C), unary=uniform(N, C), affinity=affinity, strength=uniform()),
        diff=("assignments", "unary", "affinity"),
        bf16=("assignments", "unary"),
    ),
    "laplacian_assignments": Row(
        weaksup.laplacian_assignments,
        inputs(unary=normal(N, C), affinity=affinity, strength=uniform(), labels=integers(N, high=2 * C)),
        static={"num_iters": 3},
        bf16=("unary",),
    ),
    "transductive_clustering": Row(
        weaksup.transductive_clustering,
        inputs(
            support=normal(M, D), labels=integers(M, high=C), queries=normal(N, D), strength=uniform(), where=mask(N)
        ),
        static={"num_classes": C, "num_outer": 2, "num_inner": 2},
        batch=("queries", "where"),
        couples=True,
    ),
}


def pixels(rng):
    return weaksup.PixelClassifier(normal(D)(rng), normal()(rng))


EPISODE = {"support": normal(2, M, N, D), "mask": lambda rng: rng.random((2, M, N)) < 0.5, "query": normal(M, N, D)}
PIXEL_MASKS = {"where": mask(2, M, N), "query_where": mask(M, N)}
IMAGES = {"mask": "`where` is over pixels: proofs in tests/weaksup"}
REPRI = {"diff": ("support", "query"), "bf16": ("support", "query"), "skip": IMAGES}
SEGMENTATION_ROWS = {
    "repri_probs": Row(
        weaksup.repri_probs,
        inputs(classifier=pixels, features=normal(N, M, 2, D)),
        batch=("features",),
        diff=("classifier", "features"),
        bf16=("features",),
    ),
    "repri_init": Row(weaksup.repri_init, inputs(**EPISODE, **PIXEL_MASKS), **REPRI),
    "repri_loss": Row(
        weaksup.repri_loss,
        inputs(classifier=pixels, **EPISODE, **PIXEL_MASKS, prior=uniform(low=0.2, high=0.8)),
        static={"kl_weight": 1.0, "entropy_weight": 0.5},
        diff=("classifier", "support", "query"),
        bf16=("support", "query"),
        skip=IMAGES,
    ),
    "repri_adapt": Row(
        weaksup.repri_adapt, inputs(**EPISODE, **PIXEL_MASKS), static={"num_steps": 3, "update_at": 2}, **REPRI
    ),
}

ROWS |= TABULAR_ROWS | SHIFT_ROWS | TRANSDUCTION_ROWS | SEGMENTATION_ROWS

ROWS |= {
    "transition_uniform": Row(
        weaksup.transition_uniform, inputs(rate=uniform()), static={"num_classes": C}, diff=("rate",)
    ),
    "corrupt_labels": Row(
        weaksup.corrupt_labels,
        inputs(key=prng(), labels=integers(N, high=C), transition=probabilities(C, C)),
        bf16=("transition",),
    ),
}
