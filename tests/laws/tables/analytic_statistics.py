"""Rows of jaxlab.analytic: statistics that add, and what is solved from Gram matrices."""

import numpy as np

from jaxlab import analytic
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, positive_definite, probabilities, uniform

ROWS_IN_A_STATE = 24  # enough for a scatter that is far from singular
SHIFT = np.array([0.5, -1.0, 2.0], np.float32)
MOMENTS = ("diag", "shared", "full")


def stats(*second, shift=SHIFT):
    """A spec: statistics of random rows in which the last class never appears."""

    def spec(rng):
        state = analytic.class_stats_init(C, D, second=second or "none", shift=shift)
        labels = rng.permutation(np.arange(ROWS_IN_A_STATE) % (C - 1))
        return analytic.class_stats_update(state, normal(ROWS_IN_A_STATE, D)(rng), labels)

    return spec


def gram(accumulate="plain"):
    """A spec: the normal equations of random rows."""

    def spec(rng):
        state = analytic.gram_init(D, C, accumulate=accumulate)
        return analytic.gram_update(state, normal(ROWS_IN_A_STATE, D)(rng), normal(ROWS_IN_A_STATE, C)(rng))

    return spec


def rls(rng):
    return analytic.rls_update(analytic.rls_init(D, C, ridge=1.0), normal(M, D)(rng), normal(M, C)(rng))


def normal_equations(state):
    """What a Gram state means: a compensated one is a half of X'X in two words, and the split is arbitrary."""
    if state.gram_low is None:
        return state
    half = state.gram.astype(np.float64) + state.gram_low
    return half + half.T, state.cross.astype(np.float64) + state.cross_low, state.count


FEATURES = {"features": normal(N, D), "labels": integers(N, high=C), "where": mask(N)}
STATISTICS = {"diff": ("stats",)}
UPDATE_ROWS = inputs(state=gram(), x=normal(N, D), targets=normal(N, C), weights=uniform(N, low=0.5), where=mask(N))
ADD = {"x": normal(N, D), "targets": normal(N, C), "where": mask(N)}

# How the states of a family are compared, where not entry by entry.
MEANINGS = {"gram": normal_equations}

ROWS = {
    "class_stats_init": Row(analytic.class_stats_init, inputs(), static={"num_classes": C, "dim": D}),
    "class_stats_init/moments": Row(
        analytic.class_stats_init,
        inputs(shift=normal(D)),
        static={"num_classes": C, "dim": D, "second": MOMENTS},
        diff=("shift",),
        bf16=("shift",),
    ),
    "class_stats_update": Row(
        analytic.class_stats_update,
        inputs(state=stats(*MOMENTS), x=normal(N, D), labels=integers(N, high=C), where=mask(N)),
        batch=("x", "labels", "where"),
        couples=True,
        diff=("state", "x"),
        bf16=("x",),
    ),
    "class_stats_update/one_class": Row(
        analytic.class_stats_update,
        inputs(
            state=lambda rng: analytic.ClassStats(np.ones(1, np.int32), normal(1, D)(rng), SHIFT),
            x=normal(N, D),
            where=mask(N),
        ),
        batch=("x", "where"),
        couples=True,
        diff=("x",),
    ),
    "class_stats_merge": Row(
        analytic.class_stats_merge, inputs(a=stats(*MOMENTS), b=stats(*MOMENTS, shift=-SHIFT)), diff=("a", "b")
    ),
    "class_stats_forget": Row(
        analytic.class_stats_forget, inputs(a=stats(*MOMENTS), b=stats(*MOMENTS, shift=-SHIFT)), diff=("a", "b")
    ),
    "class_stats_means": Row(analytic.class_stats_means, inputs(state=stats()), diff=("state",)),
    "class_stats_covariance": Row(analytic.class_stats_covariance, inputs(state=stats("full")), diff=("state",)),
    "class_stats_variance": Row(analytic.class_stats_variance, inputs(state=stats("diag")), diff=("state",)),
    "class_stats_variance/full": Row(analytic.class_stats_variance, inputs(state=stats("full")), diff=("state",)),
    "within_scatter": Row(analytic.within_scatter, inputs(state=stats("shared")), diff=("state",)),
    "within_scatter/full": Row(analytic.within_scatter, inputs(state=stats("full")), diff=("state",)),
    "class_means": Row(
        analytic.class_means,
        inputs(**FEATURES),
        static={"num_classes": C},
        batch=("features", "labels", "where"),
        couples=True,
        diff=("features",),
        bf16=("features",),
    ),
    "class_means/soft": Row(
        analytic.class_means,
        inputs(**FEATURES | {"labels": probabilities(N, C)}),
        static={"num_classes": C, "unit": True},
        batch=("features", "labels", "where"),
        couples=True,
        diff=("features", "labels"),
        bf16=("features",),
    ),
    "gram_init": Row(analytic.gram_init, inputs(), static={"dim": D, "out": C}),
    "gram_init/compensated": Row(
        analytic.gram_init, inputs(), static={"dim": D, "out": C, "accumulate": "compensated"}
    ),
    "gram_update": Row(
        analytic.gram_update,
        UPDATE_ROWS,
        batch=("x", "targets", "weights", "where"),
        couples=True,
        diff=("state", "x", "targets", "weights"),
        bf16=("x", "targets"),
    ),
    "gram_update/compensated": Row(
        analytic.gram_update,
        inputs(state=gram("compensated"), **ADD),
        batch=("x", "targets", "where"),
        couples=True,
        bf16=("x", "targets"),
    ),
    "gram_merge": Row(analytic.gram_merge, inputs(a=gram(), b=gram()), diff=("a", "b")),
    "gram_merge/compensated": Row(analytic.gram_merge, inputs(a=gram("compensated"), b=gram("compensated"))),
    "gram_forget": Row(analytic.gram_forget, inputs(a=gram(), b=gram()), diff=("a", "b")),
    "gram_forget/compensated": Row(analytic.gram_forget, inputs(a=gram("compensated"), b=gram("compensated"))),
    "gram_from_class_stats": Row(analytic.gram_from_class_stats, inputs(stats=stats("shared")), **STATISTICS),
    "gram_solve": Row(analytic.gram_solve, inputs(state=gram(), ridge=uniform(low=0.5)), diff=("state",)),
    "gram_solve/compensated": Row(
        analytic.gram_solve,
        inputs(state=gram("compensated"), ridge=uniform(low=0.5), prior=normal(D, C)),
        static={"num_refinements": 2},
    ),
    "ridge_solve": Row(
        analytic.ridge_solve,
        inputs(gram=positive_definite(D, D), cross=normal(D, C), ridge=uniform(low=0.5), prior=normal(D, C)),
        diff=("gram", "cross", "prior"),
        bf16=("gram", "cross", "prior"),
    ),
    "class_balanced_ridge": Row(
        analytic.class_balanced_ridge, inputs(stats=stats("full"), ridge=uniform(low=0.5)), **STATISTICS
    ),
    "rls_init": Row(analytic.rls_init, inputs(), static={"dim": D, "out": C, "ridge": 1.0}),
    "rls_update": Row(
        analytic.rls_update,
        inputs(state=rls, **ADD),
        batch=("x", "targets", "where"),
        couples=True,
        diff=("state", "x", "targets"),
        bf16=("x", "targets"),
    ),
}
