"""Rows of jaxlab.losses: divergences and entropies, members that differ, and what is unknown."""

import numpy as np

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, probabilities, uniform

# Members or heads come first, the batch second.
MEMBERS = {"mask": "`where` is over the second axis; proofs in tests/losses"}
ENSEMBLE = {"diff": ("logits",), "bf16": ("logits",), "skip": MEMBERS}

ROWS = {
    "relation_kl": Row(
        losses.relation_kl,
        inputs(features=normal(N, D), targets=normal(N, C), temperature=uniform(low=0.5), where=mask(N)),
        batch=("features", "targets", "where"),
        couples=True,
        diff=("features",),
        bf16=("features", "targets"),
    ),
    "relation_kl/dot": Row(
        losses.relation_kl,
        inputs(features=normal(N, D), targets=normal(N, D), where=mask(N)),
        static={"mode": "dot"},
        batch=("features", "targets", "where"),
        couples=True,
        diff=("features",),
        bf16=("features", "targets"),
    ),
    "relation_kl/scaled_dot": Row(
        losses.relation_kl,
        inputs(features=normal(N, D), targets=normal(N, C), where=mask(N)),
        static={"mode": "scaled_dot"},
        batch=("features", "targets", "where"),
        couples=True,
        diff=("features",),
        bf16=("features", "targets"),
    ),
    "kl_divergence": Row(
        losses.kl_divergence,
        inputs(logits=normal(N, C), target_logits=normal(N, C), temperature=uniform(low=0.5), where=mask(N, C)),
        batch=("logits", "target_logits", "where"),
        diff=("logits", "target_logits"),
        bf16=("logits", "target_logits"),
    ),
    "mean_entropy": Row(
        losses.mean_entropy,
        inputs(logits=normal(N, C), temperature=uniform(low=0.5), where=mask(N)),
        batch=("logits", "where"),
        couples=True,
        diff=("logits",),
        bf16=("logits",),
    ),
    "mean_entropy/groups": Row(
        losses.mean_entropy,
        inputs(logits=normal(N, C), group_ids=lambda rng: np.array([0, 1, 0, 1], np.int32), where=mask(N)),
        static={"num_groups": 2},
        batch=("logits", "where"),
        couples=True,
        diff=("logits",),
        bf16=("logits",),
    ),
    "head_mutual_information": Row(
        losses.head_mutual_information,
        inputs(probs=probabilities(3, N, C), where=mask(N)),
        diff=("probs",),
        bf16=("probs",),
        skip=MEMBERS,
    ),
    "dbat_disagreement": Row(
        losses.dbat_disagreement,
        inputs(logits_new=normal(N, C), logits_old=normal(2, N, C), where=mask(N)),
        diff=("logits_new",),
        bf16=("logits_new", "logits_old"),
        skip=MEMBERS,
    ),
    "divdis_objective": Row(
        losses.divdis_objective,
        inputs(
            logits=normal(2, N, C),
            labels=integers(N, high=C),
            unlabelled_logits=normal(2, M, C),
            diversity_weight=uniform(),
            prior_weight=uniform(),
            where=mask(N),
            unlabelled_where=mask(M),
        ),
        diff=("logits", "unlabelled_logits"),
        bf16=("logits", "unlabelled_logits"),
        skip=MEMBERS,
    ),
    "jensen_gap": Row(
        losses.jensen_gap, inputs(logits=normal(3, N, C), labels=integers(N, high=C), where=mask(N)), **ENSEMBLE
    ),
    **{
        f"diversity_regularized_ensemble{variant}": Row(
            losses.diversity_regularized_ensemble,
            inputs(logits=normal(3, N, C), labels=integers(N, high=C), gamma=uniform(low=-1.0), where=mask(N)),
            static={"diversity": kind},
            **ENSEMBLE,
        )
        for variant, kind in (("", "jensen"), ("/variance", "variance"), ("/js", "js"), ("/kl", "kl"))
    },
    "energy_margin": Row(
        losses.energy_margin,
        inputs(
            id_logits=normal(N, C),
            ood_logits=normal(N, C),
            id_threshold=uniform(low=-3.0),
            ood_threshold=uniform(low=-1.0),
            class_where=mask(C),
            where=mask(N),
            ood_where=mask(N),
        ),
        batch=("id_logits", "ood_logits", "where", "ood_where"),
        diff=("id_logits", "ood_logits", "id_threshold", "ood_threshold"),
        bf16=("id_logits", "ood_logits"),
        skip=dict.fromkeys(("mask", "empty"), "outliers have a mask of their own; proofs in tests/losses"),
    ),
    "arpl_logits": Row(
        losses.arpl_logits,
        inputs(features=normal(N, D), points=normal(C, D)),
        batch=("features",),
        diff=("features", "points"),
        bf16=("features", "points"),
    ),
    "arpl": Row(
        losses.arpl,
        inputs(
            features=normal(N, D),
            points=normal(C, D),
            radius=uniform(),
            labels=integers(N, high=C),
            weight=uniform(low=0.1),
            temperature=uniform(low=0.5),
            where=mask(N),
        ),
        batch=("features", "labels", "where"),
        diff=("features", "points", "radius"),
        bf16=("features", "points"),
    ),
}
