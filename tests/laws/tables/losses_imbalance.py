"""Rows of jaxlab.losses: classes of unequal size, and ensembles whose weaknesses differ."""

from jaxlab import losses
from tests.laws.row import C, N, Row, inputs, integers, mask, normal, probabilities, uniform

MEMBERS = {"mask": "`where` is over an axis behind that of the experts; proofs in tests/losses"}

ROWS = {
    "logit_adjusted_cross_entropy": Row(
        losses.logit_adjusted_cross_entropy,
        inputs(logits=normal(N, C), labels=integers(N, high=C), adjustment=normal(C), where=mask(N)),
        batch=("logits", "labels", "where"),
        diff=("logits", "adjustment"),
        bf16=("logits", "adjustment"),
    ),
    "logit_adjusted_cross_entropy/by_example": Row(
        losses.logit_adjusted_cross_entropy,
        inputs(logits=normal(N, C), labels=integers(N, high=C), adjustment=normal(N, C), where=mask(N)),
        batch=("logits", "labels", "adjustment", "where"),
        diff=("logits", "adjustment"),
        bf16=("logits",),
    ),
    "class_prior": Row(losses.class_prior, inputs(counts=integers(N, C, high=50)), batch=("counts",)),
    "reverse_prior": Row(losses.reverse_prior, inputs(prior=probabilities(N, C)), batch=("prior",), diff=("prior",)),
    "class_balanced_weights": Row(
        losses.class_balanced_weights,
        inputs(counts=integers(N, C, high=50), beta=uniform(low=0.9, high=0.99)),
        batch=("counts",),
    ),
    "class_balanced_weights/inverse": Row(
        losses.class_balanced_weights,
        inputs(counts=integers(N, C, high=50)),
        static={"kind": "inverse"},
        batch=("counts",),
    ),
    "sade": Row(
        losses.sade,
        inputs(
            expert_logits=normal(3, N, C),
            labels=integers(N, high=C),
            prior=probabilities(C),
            tau=uniform(low=1.0, high=3.0),
            where=mask(N),
        ),
        diff=("expert_logits", "tau"),
        bf16=("expert_logits",),
        skip=MEMBERS,
    ),
    "mdcs_diversity": Row(
        losses.mdcs_diversity,
        inputs(expert_logits=normal(3, N, C), labels=integers(N, high=C), counts=integers(C, high=50), where=mask(N)),
        diff=("expert_logits",),
        bf16=("expert_logits",),
        skip=MEMBERS,
    ),
    "confident_consistency": Row(
        losses.confident_consistency,
        inputs(
            student_logits=normal(N, 2),
            teacher_logits=normal(N, 2),
            labels=integers(N, high=2),
            temperature=uniform(low=0.5, high=2.0),
            where=mask(N),
        ),
        batch=("student_logits", "teacher_logits", "labels", "where"),
        diff=("student_logits",),
        bf16=("student_logits", "teacher_logits"),
    ),
    "dverge": Row(
        losses.dverge,
        inputs(logits=normal(2, 2, N, C), labels=integers(N, high=C), where=mask(N)),
        diff=("logits",),
        bf16=("logits",),
        skip=MEMBERS,
    ),
    "weighted_binary_cross_entropy": Row(
        losses.weighted_binary_cross_entropy,
        inputs(logits=normal(N, C), targets=uniform(N, C), pos_weight=uniform(C, low=0.5, high=2.0), where=mask(N, C)),
        batch=("logits", "targets", "where"),
        diff=("logits", "pos_weight"),
        bf16=("logits", "targets"),
    ),
}
