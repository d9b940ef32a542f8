"""Rows of jaxlab.losses: several domains, features without dependence, and changes of a weight that keep apart."""

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform

ROWS = {
    "alignment_penalty": Row(
        losses.alignment_penalty,
        inputs(values=normal(N, D), mean=normal(D), where=mask(N)),
        batch=("values", "where"),
        diff=("values",),
        bf16=("values", "mean"),
    ),
    "drm": Row(
        losses.drm,
        inputs(
            domain_logits=normal(N, M, C),
            global_logits=normal(N, M, C),
            labels=integers(N, M, high=C),
            where=mask(N, M),
        ),
        batch=("domain_logits", "global_logits", "labels", "where"),
        diff=("domain_logits", "global_logits"),
        bf16=("domain_logits", "global_logits"),
    ),
    "cross_orthogonality": Row(
        losses.cross_orthogonality,
        inputs(u=normal(N, M, D), v=normal(N, C, D)),
        batch=("u", "v"),
        diff=("u", "v"),
        bf16=("u", "v"),
    ),
    "pego": Row(
        losses.pego,
        inputs(
            a=normal(N, D, 2),
            b=normal(N, 2, C),
            weight=normal(D, C),
            preserve=uniform(low=0.5),
            diversify=uniform(low=0.5),
            where=mask(N),
        ),
        batch=("a", "b", "where"),
        couples=True,
        diff=("a", "b", "preserve", "diversify"),
        bf16=("a", "b", "weight"),
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
}
