"""Rows of jaxlab.losses."""

import numpy as np

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform

SEQUENCES = {
    "make": inputs(logits=normal(N, M, C), labels=integers(N, M, high=C), where=mask(N, M)),
    "batch": ("logits", "labels", "where"),
    "diff": ("logits",),
    "bf16": ("logits",),
}

EWC = ("params", "anchor", "fisher")


def doc_tables(rng):
    """A spec: tables of D states, C actions, 2 returns and 2 C latents."""
    happened = (D, C, 2, 2 * C)
    shapes = (happened, (D, 2 * C, 2), (D, 2 * C, C), happened)
    return losses.DocParams(*(normal(*shape, scale=0.5)(rng) for shape in shapes))


ROWS = {
    "noprop_dt": Row(
        losses.noprop_dt,
        inputs(prediction=normal(N, D), targets=normal(N, D), snr_difference=uniform(N, low=0.5), where=mask(N)),
        static={"num_blocks": 3},
        batch=("prediction", "targets", "snr_difference", "where"),
        diff=("prediction", "targets"),
        bf16=("prediction", "targets"),
    ),
    "forward_forward": Row(
        losses.forward_forward,
        inputs(g_pos=normal(N), g_neg=normal(N), where=mask(N)),
        batch=("g_pos", "g_neg", "where"),
        diff=("g_pos", "g_neg"),
        bf16=("g_pos", "g_neg"),
    ),
    "contrastive_cosine": Row(
        losses.contrastive_cosine,
        inputs(y_pos=normal(N, D), y_neg=normal(N, D), where=mask(N)),
        batch=("y_pos", "y_neg", "where"),
        diff=("y_pos", "y_neg"),
        bf16=("y_pos", "y_neg"),
    ),
    "contrastive_cosine/direction": Row(
        losses.contrastive_cosine,
        inputs(
            y_pos=normal(N, D), y_neg=normal(N, D), direction=normal(D), scale=uniform(low=1.0, high=5.0), where=mask(N)
        ),
        batch=("y_pos", "y_neg", "where"),
        diff=("y_pos", "y_neg", "direction"),
        bf16=("y_pos", "y_neg"),
    ),
    "gaussian_kl": Row(
        losses.gaussian_kl,
        inputs(mean=normal(N, D), log_var=normal(N, D), where=mask(N)),
        batch=("mean", "log_var", "where"),
        diff=("mean", "log_var"),
        bf16=("mean", "log_var"),
    ),
    "pseudo_residuals": Row(
        losses.pseudo_residuals,
        inputs(predictions=normal(N, C), targets=integers(N, high=C), where=mask(N)),
        static={"loss": "multiclass"},
        batch=("predictions", "targets", "where"),
        diff=("predictions",),
        bf16=("predictions",),
    ),
    "pseudo_residuals/binary": Row(
        losses.pseudo_residuals,
        inputs(predictions=normal(N), targets=integers(N, high=2), where=mask(N)),
        static={"loss": "binary"},
        batch=("predictions", "targets", "where"),
        diff=("predictions",),
        bf16=("predictions",),
    ),
    "pseudo_residuals/squared": Row(
        losses.pseudo_residuals,
        inputs(predictions=normal(N), targets=normal(N), where=mask(N)),
        static={"loss": "squared"},
        batch=("predictions", "targets", "where"),
        diff=("predictions", "targets"),
        bf16=("predictions", "targets"),
    ),
    "template_margin": Row(
        losses.template_margin,
        inputs(
            scores=normal(N, M),
            template_labels=lambda rng: rng.permutation([0, 1, 2, 2, 1]),
            labels=integers(N, high=3),
            margin=uniform(low=1.0, high=2.0),
            where=mask(N),
        ),
        batch=("scores", "labels", "where"),
        diff=("scores", "margin"),
        bf16=("scores",),
    ),
    "template_margin/distances": Row(
        losses.template_margin,
        inputs(
            scores=uniform(N, M),
            template_labels=lambda rng: rng.permutation([0, 1, 2, 2, 1]),
            labels=integers(N, high=3),
            where=mask(N),
        ),
        static={"similarity": False},
        batch=("scores", "labels", "where"),
        diff=("scores",),
        bf16=("scores",),
    ),
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
    "denoising_triplet": Row(
        losses.denoising_triplet,
        inputs(err_pos=uniform(N), err_neg=uniform(N), margin=uniform(), where=mask(N)),
        batch=("err_pos", "err_neg", "where"),
        diff=("err_pos", "err_neg", "margin"),
        bf16=("err_pos", "err_neg"),
    ),
    "adaptive_l2": Row(
        losses.adaptive_l2,
        inputs(error=normal(N, D), power=uniform(), where=mask(N)),
        batch=("error", "where"),
        diff=("error",),
        bf16=("error",),
    ),
    "vsd_surrogate": Row(
        losses.vsd_surrogate,
        inputs(x0=normal(N, D), eps_teacher=normal(N, D), eps_student=normal(N, D), weight=uniform(N), where=mask(N)),
        batch=("x0", "eps_teacher", "eps_student", "weight", "where"),
        diff=("x0",),
        bf16=("x0", "eps_teacher", "eps_student"),
    ),
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
    "token_log_probs": Row(
        losses.token_log_probs,
        inputs(logits=normal(N, C), labels=integers(N, high=C), where=mask(N)),
        batch=("logits", "labels", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "sequence_log_prob": Row(losses.sequence_log_prob, **SEQUENCES),
    "sequence_log_prob/mean": Row(losses.sequence_log_prob, static={"mean": True}, **SEQUENCES),
    "simplex_flow": Row(losses.simplex_flow, **SEQUENCES),
    "dpo": Row(
        losses.dpo,
        inputs(
            log_prob_win=normal(N),
            ref_win=normal(N),
            log_prob_lose=normal(N),
            ref_lose=normal(N),
            beta=uniform(low=0.1),
        ),
        batch=("log_prob_win", "ref_win", "log_prob_lose", "ref_lose"),
        diff=("log_prob_win", "log_prob_lose", "beta"),
        bf16=("log_prob_win", "ref_win", "log_prob_lose", "ref_lose"),
    ),
    "cca": Row(
        losses.cca,
        inputs(
            log_prob_pos=normal(N),
            ref_pos=normal(N),
            log_prob_neg=normal(N),
            ref_neg=normal(N),
            beta=uniform(low=0.1),
            scale=uniform(low=1.0, high=5.0),
            negative_is_positive=mask(N),
        ),
        batch=("log_prob_pos", "ref_pos", "log_prob_neg", "ref_neg", "negative_is_positive"),
        diff=("log_prob_pos", "log_prob_neg", "beta", "scale"),
        bf16=("log_prob_pos", "ref_pos", "log_prob_neg", "ref_neg"),
    ),
    "feature_alignment": Row(
        losses.feature_alignment,
        inputs(features=normal(N, M, D), targets=normal(N, M, D), where=mask(N)),
        batch=("features", "targets", "where"),
        diff=("features",),
        bf16=("features", "targets"),
    ),
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
    "clip_directional": Row(
        losses.clip_directional,
        inputs(directions=normal(N, D), targets=normal(D), where=mask(N)),
        batch=("directions", "where"),
        diff=("directions",),
        bf16=("directions", "targets"),
    ),
    "directional_moment": Row(
        losses.directional_moment,
        inputs(directions=normal(N, D), targets=normal(M, D), weight=uniform(), where=mask(N)),
        batch=("directions", "where"),
        couples=True,
        diff=("directions", "weight"),
        bf16=("directions", "targets"),
    ),
    "ewc_penalty": Row(
        losses.ewc_penalty,
        inputs(**{name: lambda rng: {"w": uniform(D, C)(rng), "b": uniform(C)(rng)} for name in EWC}),
        diff=("params",),
        bf16=("params", "anchor", "fisher"),
    ),
    "unconstrained_feature_mse": Row(
        losses.unconstrained_feature_mse,
        inputs(
            features=normal(N, D),
            weights=lambda rng: [normal(D, M)(rng), normal(M, C)(rng)],
            labels=integers(N, high=C),
            weight_decay=uniform(),
            feature_decay=uniform(),
            where=mask(N),
        ),
        batch=("features", "labels", "where"),
        couples=True,
        diff=("features", "weights"),
        bf16=("features", "weights"),
    ),
    "gan_discriminator": Row(
        losses.gan_discriminator,
        inputs(real_logits=normal(N), fake_logits=normal(N), where=mask(N)),
        batch=("real_logits", "fake_logits", "where"),
        diff=("real_logits", "fake_logits"),
        bf16=("real_logits", "fake_logits"),
    ),
    "gan_generator": Row(
        losses.gan_generator,
        inputs(fake_logits=normal(N), where=mask(N)),
        batch=("fake_logits", "where"),
        diff=("fake_logits",),
        bf16=("fake_logits",),
    ),
    **{
        f"higher_order_compatibility/{kind}": Row(
            losses.higher_order_compatibility,
            inputs(
                features=normal(N, D),
                old_features=normal(N, D),
                labels=integers(N, high=2),
                scale=uniform(low=0.5),
                where=mask(N),
            ),
            static={"mask": kind},
            batch=("features", "old_features", "labels", "where"),
            couples=True,
            diff=("features", "scale"),
            bf16=("features", "old_features"),
        )
        for kind in ("zero", "drop")
    },
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
    "info_nce": Row(
        losses.info_nce,
        inputs(
            queries=normal(N, D), keys=normal(N, D), negatives=normal(M, D), temperature=uniform(low=0.5), where=mask(N)
        ),
        batch=("queries", "keys", "where"),
        couples=True,
        diff=("queries", "keys", "negatives"),
        bf16=("queries", "keys", "negatives"),
    ),
    "supervised_contrastive": Row(
        losses.supervised_contrastive,
        inputs(queries=normal(N, D), keys=normal(M, D), positives=mask(N, M), temperature=uniform(low=0.5)),
        batch=("queries", "positives"),
        diff=("queries", "keys"),
        bf16=("queries", "keys"),
    ),
    "doc_tabular_init": Row(
        losses.doc_tabular_init, inputs(key=prng()), static={"num_states": M, "num_actions": C, "num_returns": 2}
    ),
    "conditional_mi_contrastive": Row(
        losses.conditional_mi_contrastive,
        inputs(pos_energy=normal(N), all_energies=normal(N, D), log_prior=lambda rng: np.log(probabilities(D)(rng))),
        batch=("pos_energy", "all_energies"),
        diff=("pos_energy", "all_energies"),
        bf16=("pos_energy", "all_energies"),
    ),
    "doc_tabular": Row(
        losses.doc_tabular,
        inputs(
            params=doc_tables,
            states=integers(N, high=D),
            actions=integers(N, high=C),
            returns=integers(N, high=2),
            key=prng(),
            reward_prior=probabilities(2),
            where=mask(N),
        ),
        batch=("states", "actions", "returns", "where"),
        diff=("params",),
        bf16=("params",),
        skip={"permute": "the latents are drawn by place"},
    ),
    "weighted_binary_cross_entropy": Row(
        losses.weighted_binary_cross_entropy,
        inputs(logits=normal(N, C), targets=uniform(N, C), pos_weight=uniform(C, low=0.5, high=2.0), where=mask(N, C)),
        batch=("logits", "targets", "where"),
        diff=("logits", "pos_weight"),
        bf16=("logits", "targets"),
    ),
}

ROWS |= {
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

# Members or heads come first, the batch second.
MEMBERS = {"mask": "`where` is over the second axis; proofs in tests/losses"}
ENSEMBLE = {"diff": ("logits",), "bf16": ("logits",), "skip": MEMBERS}

ROWS |= {
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
} | {
    f"diversity_regularized_ensemble{variant}": Row(
        losses.diversity_regularized_ensemble,
        inputs(logits=normal(3, N, C), labels=integers(N, high=C), gamma=uniform(low=-1.0), where=mask(N)),
        static={"diversity": kind},
        **ENSEMBLE,
    )
    for variant, kind in (("", "jensen"), ("/variance", "variance"), ("/js", "js"), ("/kl", "kl"))
}

ROWS |= {
    "adversarial_linear_margin": Row(
        losses.adversarial_linear_margin,
        inputs(
            x=normal(N, D),
            labels=integers(N, high=2),
            weight=normal(D),
            bias=normal(),
            eps=uniform(high=0.3),
            where=mask(N),
        ),
        batch=("x", "labels", "where"),
        diff=("x", "weight", "bias"),
        bf16=("x", "weight"),
    ),
    "joint_distance_covariance": Row(
        losses.joint_distance_covariance,
        inputs(
            xs=lambda rng: [normal(N, D)(rng), normal(N, 1)(rng), normal(N, 2)(rng)],
            c=uniform(low=0.5, high=1.5),
            where=mask(N),
        ),
        batch=("xs", "where"),
        couples=True,
        diff=("xs",),
        bf16=("xs",),
        tol=1e-4,
    ),
    "concatenated_distance_covariance": Row(
        losses.concatenated_distance_covariance,
        inputs(
            predictions=normal(N, 1),
            attributes=lambda rng: [normal(N, D)(rng), normal(N, 2)(rng)],
            where=mask(N),
        ),
        batch=("predictions", "attributes", "where"),
        couples=True,
        diff=("predictions",),
        bf16=("predictions",),
        tol=1e-4,
    ),
    "compound_supervision": Row(
        losses.compound_supervision,
        inputs(
            reconstructions=normal(2, N, D),
            images=uniform(N, D),
            logits=normal(3, N, C),
            labels=integers(N, high=C),
            where=mask(N),
        ),
        diff=("reconstructions", "logits"),
        bf16=("reconstructions", "images", "logits"),
        skip={"mask": "the batch is the second axis of two arguments: tests/losses"},
    ),
}
