"""Rows of jaxlab.losses: features that are brought to others, and weights that are held."""

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform

EWC = ("params", "anchor", "fisher")

ROWS = {
    "feature_alignment": Row(
        losses.feature_alignment,
        inputs(features=normal(N, M, D), targets=normal(N, M, D), where=mask(N)),
        batch=("features", "targets", "where"),
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
}
