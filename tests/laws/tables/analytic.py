"""Rows of jaxlab.analytic."""

import numpy as np

from jaxlab import analytic
from tests.laws.row import (
    C,
    D,
    M,
    N,
    Row,
    inputs,
    integers,
    mask,
    normal,
    positive_definite,
    prng,
    probabilities,
    uniform,
)

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


def mixture(*covariance):
    """A spec: a mixture of C Gaussians with this shape of covariance."""

    def spec(rng):
        spread = positive_definite(*covariance) if len(covariance) == 3 else uniform(*covariance, low=0.5)
        return analytic.GaussianMixture(np.log(probabilities(C)(rng)), normal(C, D)(rng), spread(rng))

    return spec


FEATURES = {"features": normal(N, D), "labels": integers(N, high=C), "where": mask(N)}
STATISTICS = {"diff": ("stats",)}
UPDATE_ROWS = inputs(state=gram(), x=normal(N, D), targets=normal(N, C), weights=uniform(N, low=0.5), where=mask(N))
ADD = {"x": normal(N, D), "targets": normal(N, C), "where": mask(N)}
EM_ROWS = inputs(x=normal(N, D), init=probabilities(N, C), ridge=uniform(low=0.1), where=mask(N))
EM = {
    "batch": ("x", "init", "where"),
    "couples": True,
    "diff": ("x",),
    "bf16": ("x", "init"),
    "skip": {"empty": "components without weight have log-weight -inf, as documented"},
}
PROTOTYPES = {"diff": ("x", "prototypes"), "bf16": ("x", "prototypes")}
SCALE = uniform(low=0.5, high=2.0)

# How the states of a family are compared, where not entry by entry.
MEANINGS = {"gram": normal_equations}


def hidden_tree(rng):
    """A hidden Chow-Liu tree of M variables; its shape is always the same."""
    parent = np.array([M, 0, 0, 1, 1][:M], np.int32)
    order = np.array([0, 1, 3, 4, 2][:M], np.int32)
    tables = (np.log(rng.dirichlet(np.ones(width), (M, 2))).astype(np.float32) for width in (2, C))
    return analytic.HiddenTree(parent, order, *tables)


def prefix(rng):
    """What is known after the root."""
    below, above = (np.zeros((N, M, 2), np.float32) for _ in range(2))
    below[:, 0], above[:, 0] = (np.log(rng.uniform(0.1, 1.0, (N, 2))) for _ in range(2))
    return analytic.PrefixState(np.int32(1), below, above)


STATE_ROWS = {
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

READ_ROWS = {
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
    "nearest_mean": Row(analytic.nearest_mean, inputs(stats=stats()), **STATISTICS),
    "lda": Row(analytic.lda, inputs(stats=stats("shared"), ridge=uniform(low=0.1)), **STATISTICS),
    "lda/ks": Row(analytic.lda, inputs(stats=stats("full")), static={"shrinkage": "ks"}, **STATISTICS),
    "lda/diag": Row(
        analytic.lda,
        inputs(stats=stats("diag"), ridge=uniform(low=0.1), prior=lambda rng: np.log(probabilities(C)(rng))),
        static={"shrinkage": "diag"},
        **STATISTICS,
    ),
    "naive_bayes": Row(analytic.naive_bayes, inputs(stats=stats("diag"), eps=uniform(low=0.1)), **STATISTICS),
    "ks_precision": Row(
        analytic.ks_precision,
        inputs(scatter=positive_definite(D, D), count=integers(high=50)),
        diff=("scatter",),
        bf16=("scatter",),
    ),
    "head_logits": Row(
        analytic.head_logits,
        inputs(head=lambda rng: analytic.Head(normal(D, C)(rng), normal(C)(rng)), x=normal(N, D)),
        batch=("x",),
        diff=("head", "x"),
        bf16=("x",),
    ),
    "mahalanobis": Row(
        analytic.mahalanobis,
        inputs(stats=stats("shared"), x=normal(N, D), ridge=uniform(low=0.1)),
        batch=("x",),
        diff=("stats", "x"),
        bf16=("x",),
    ),
    "logistic_regression": Row(
        analytic.logistic_regression,
        inputs(x=normal(N, D), targets=probabilities(N, C), ridge=uniform(low=0.5), where=mask(N)),
        static={"num_iters": 3},
        batch=("x", "targets", "where"),
        couples=True,
        diff=("x", "targets"),
        bf16=("x", "targets"),
    ),
}

EXPANSION_ROWS = {
    "prototype_logits": Row(
        analytic.prototype_logits,
        inputs(x=normal(N, D), prototypes=normal(C, D), scale=SCALE),
        batch=("x",),
        skip={"mask": "`where` is over classes: the row prototype_logits/classes"},
        **PROTOTYPES,
    ),
    **{
        f"prototype_logits/classes_{metric}": Row(
            analytic.prototype_logits,
            inputs(x=normal(M, D), prototypes=normal(N, D), scale=SCALE, where=mask(N)),
            static={"metric": metric},
            batch=("prototypes", "where"),
            skip={"empty": "without classes all logits are -inf, as documented"},
            **PROTOTYPES,
        )
        for metric in ("euclidean", "cosine", "dot")
    },
    "calibrate_prototypes": Row(
        analytic.calibrate_prototypes,
        inputs(new=normal(N, D), base=normal(C, D), temperature=SCALE, shift=uniform()),
        batch=("new",),
        diff=("new", "base", "temperature", "shift"),
        bf16=("new", "base"),
        skip={"mask": "`where` is over the base classes: the row calibrate_prototypes/base"},
    ),
    "calibrate_prototypes/base": Row(
        analytic.calibrate_prototypes,
        inputs(new=normal(M, D), base=normal(N, D), where=mask(N)),
        batch=("base", "where"),
        couples=True,
        diff=("new", "base"),
    ),
    "procrustes": Row(
        analytic.procrustes,
        inputs(x=normal(N, D), y=normal(N, D), where=mask(N)),
        batch=("x", "y", "where"),
        couples=True,
        diff=("x", "y"),
        bf16=("x", "y"),
    ),
    "random_features_init": Row(
        analytic.random_features_init, inputs(key=prng()), static={"dim": D, "width": M, "kind": "relu"}
    ),
    "random_features_init/gaussian": Row(
        analytic.random_features_init,
        inputs(key=prng(), centers=normal(N, D), bandwidth=SCALE),
        static={"dim": D, "width": M, "kind": "gaussian"},
    ),
    "random_features": Row(
        analytic.random_features,
        inputs(params=lambda rng: analytic.RandomFeatures(projection=normal(D, M)(rng)), x=normal(N, D)),
        batch=("x",),
        diff=("params", "x"),
        bf16=("x",),
    ),
    "random_features/gaussian": Row(
        analytic.random_features,
        inputs(
            params=lambda rng: analytic.RandomFeatures(centers=normal(M, D)(rng), bandwidth=SCALE(rng)),
            x=normal(N, D),
        ),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "gmm_log_prob": Row(
        analytic.gmm_log_prob,
        inputs(mixture=mixture(C, D, D), x=normal(N, D)),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "gmm_log_prob/tied": Row(
        analytic.gmm_log_prob, inputs(mixture=mixture(1, D, D), x=normal(N, D)), batch=("x",), diff=("x",)
    ),
    "gmm_log_prob/diag": Row(
        analytic.gmm_log_prob, inputs(mixture=mixture(C, D), x=normal(N, D)), batch=("x",), diff=("x",)
    ),
    "gmm_em": Row(analytic.gmm_em, EM_ROWS, static={"num_iters": 3}, **EM | {"diff": ()}),
    "gmm_em/tied": Row(analytic.gmm_em, EM_ROWS, static={"num_iters": 3, "covariance": "tied"}, **EM | {"diff": ()}),
    "gmm_em/diag": Row(analytic.gmm_em, EM_ROWS, static={"num_iters": 3, "covariance": "diag"}, **EM),
}

DRAWN = {"permute": "which rows are drawn depends on their order"}
CLUSTER_ROWS = {
    "nmf": Row(
        analytic.nmf,
        inputs(x=uniform(N, D), key=prng()),
        static={"rank": 2, "num_iters": 3, "num_restarts": 2},
        bf16=("x",),
    ),
    "nmf/right": Row(
        analytic.nmf,
        inputs(x=uniform(N, D), key=prng(), right=uniform(2, D, low=0.1)),
        static={"rank": 2, "num_iters": 3},
        bf16=("x", "right"),
    ),
    "anchor_rows": Row(
        analytic.anchor_rows,
        inputs(x=uniform(N, D), where=mask(N)),
        static={"rank": 2},
        batch=("x", "where"),
        couples=True,
        skip={"permute": "the results are row numbers"},
    ),
    "kmeans_init": Row(
        analytic.kmeans_init,
        inputs(key=prng(), x=normal(N, D), fixed=normal(2, D), where=mask(N)),
        static={"k": 3},
        batch=("x", "where"),
        couples=True,
        skip=DRAWN,
        bf16=("x", "fixed"),
    ),
    "kmeans": Row(
        analytic.kmeans,
        inputs(key=prng(), x=normal(N, D), fixed=normal(2, D), where=mask(N)),
        static={"k": 3, "num_iters": 1},
        batch=("x", "where"),
        couples=True,
        skip=DRAWN,
    ),
    "kmeans/init": Row(
        analytic.kmeans,
        inputs(key=prng(), x=normal(N, D), init=normal(2, D), where=mask(N)),
        static={"k": 2, "num_iters": 4, "metric": "cosine"},
        batch=("x", "where"),
        couples=True,
        skip={"key": "there is nothing to draw"},
    ),
}

GAUSSIAN_ROWS = {
    "sample_class_gaussians": Row(
        analytic.sample_class_gaussians,
        inputs(key=prng(), means=normal(C, D), covariances=positive_definite(C, D, D), counts=integers(C, high=4)),
        static={"total": 6},
        diff=("means",),
        bf16=("means",),
    ),
    "sample_class_gaussians/radius": Row(
        analytic.sample_class_gaussians,
        inputs(key=prng(), means=normal(C, D), covariances=uniform(C, low=0.5), counts=integers(C, high=4)),
        static={"total": 6},
        diff=("means", "covariances"),
        bf16=("means", "covariances"),
    ),
}

ROWS = GAUSSIAN_ROWS | STATE_ROWS | READ_ROWS | EXPANSION_ROWS | CLUSTER_ROWS


def automata(rng):
    """A Tsetlin machine of 4 states a side."""
    return analytic.TsetlinState(rng.integers(1, 9, (C, M - 1, 2 * D)).astype(np.int16), np.asarray(4, np.int16))


TSETLIN = {
    "make": inputs(
        state=automata,
        x=lambda rng: rng.random((N, D)) < 0.5,
        labels=integers(N, high=C),
        key=prng(),
        threshold=uniform(low=2.0, high=4.0),
        s=uniform(low=1.5, high=4.0),
        where=mask(N),
    ),
    "batch": ("x", "labels", "where"),
    "couples": True,
    "skip": {"permute": "examples come in order, and draw by their place in the batch"},
}

ROWS |= {
    "tsetlin_clauses": Row(analytic.tsetlin_clauses, inputs(state=automata)),
    "tsetlin_init": Row(
        analytic.tsetlin_init,
        inputs(key=prng()),
        static={"num_classes": C, "clauses_per_class": M - 1, "num_features": D, "num_states": 4},
    ),
    "tsetlin_predict": Row(
        analytic.tsetlin_predict, inputs(state=automata, x=lambda rng: rng.random((N, D)) < 0.5), batch=("x",)
    ),
    "tsetlin_update": Row(analytic.tsetlin_update, **TSETLIN),
    "tsetlin_update/batched": Row(analytic.tsetlin_update, **TSETLIN, static={"batched": True, "boost": True}),
    "borrow_gaussian": Row(
        analytic.borrow_gaussian,
        inputs(
            means=normal(C, D),
            covariances=positive_definite(C, D, D),
            counts=uniform(C, low=1.0, high=9.0),
            tail=mask(C),
            alpha=uniform(),
            mix=uniform(),
        ),
        static={"num_neighbors": 2},
        diff=("means", "covariances", "mix"),
        bf16=("means", "covariances"),
    ),
}

ROWS |= {
    "linear_probe": Row(
        analytic.linear_probe,
        inputs(
            train_features=normal(N, D),
            train_labels=integers(N, high=C),
            features=normal(M, D),
            ridge=uniform(low=0.5),
            where=mask(N),
        ),
        static={"num_classes": C},
        batch=("train_features", "train_labels", "where"),
        couples=True,
        bf16=("train_features", "features"),
        skip={"empty": "a class without training rows has logit -inf"},
    ),
    "balanced_logit_average": Row(
        analytic.balanced_logit_average,
        inputs(
            logits0=normal(N, C),
            logits1=normal(N, C),
            temperature0=uniform(low=0.5),
            temperature1=uniform(low=0.5),
        ),
        batch=("logits0", "logits1"),
        diff=("logits0", "logits1"),
        bf16=("logits0", "logits1"),
    ),
    "robust_linear_gmm": Row(
        analytic.robust_linear_gmm,
        inputs(
            mu=normal(D, scale=2.0), ratio=uniform(low=0.5, high=4.0), eps=uniform(high=0.3), sigma=uniform(low=0.5)
        ),
        static={"norm": "linf"},
        bf16=("mu",),
    ),
    "deep_linear_collapse_solution": Row(
        analytic.deep_linear_collapse_solution,
        inputs(class_counts=integers(C, high=50), weight_decay=uniform(high=1e-3), feature_decay=uniform(high=1e-3)),
        static={"depth": 2},
    ),
    "hclt_init": Row(
        analytic.hclt_init,
        inputs(key=prng(), parent=lambda rng: np.array([-1, *(rng.integers(0, i) for i in range(1, M))], np.int32)),
        static={"num_states": 2, "num_values": C},
    ),
    "hclt_log_prob": Row(
        analytic.hclt_log_prob,
        inputs(tree=hidden_tree, x=integers(N, M, high=C), where=mask(N, M)),
        batch=("x", "where"),
    ),
    "hclt_em_step": Row(
        analytic.hclt_em_step,
        inputs(tree=hidden_tree, x=integers(N, M, high=C), where=mask(N, M), step_size=uniform(low=0.2, high=0.9)),
        batch=("x", "where"),
        couples=True,
    ),
    "hclt_prefix_init": Row(analytic.hclt_prefix_init, inputs(tree=hidden_tree), static={"num_examples": N}),
    "hclt_next_log_probs": Row(analytic.hclt_next_log_probs, inputs(tree=hidden_tree, state=prefix)),
    "hclt_observe": Row(analytic.hclt_observe, inputs(tree=hidden_tree, state=prefix, values=integers(N, high=C))),
    "hclt_prefix_log_marginals": Row(
        analytic.hclt_prefix_log_marginals, inputs(tree=hidden_tree, x=integers(N, M, high=C)), batch=("x",)
    ),
}


def factor_model(rng):
    """A Gaussian of two factors."""
    return analytic.PPCA(normal(D)(rng), normal(D, 2)(rng), np.asarray(rng.uniform(0.5, 1.0), np.float32))


ROWS |= {
    "pca": Row(
        analytic.pca,
        inputs(x=normal(N, D), where=mask(N)),
        static={"rank": 2},
        batch=("x", "where"),
        couples=True,
        bf16=("x",),
        tol=1e-3,
    ),
    "pca_transform": Row(
        analytic.pca_transform,
        inputs(
            model=lambda rng: analytic.PCA(normal(D)(rng), normal(2, D)(rng), uniform(2, low=0.5)(rng)), x=normal(N, D)
        ),
        static={"whiten": True},
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "ppca_fit": Row(
        analytic.ppca_fit,
        inputs(x=normal(N, D), where=mask(N)),
        static={"rank": 2},
        batch=("x", "where"),
        couples=True,
        bf16=("x",),
        tol=1e-3,
    ),
    "ppca_posterior_mean": Row(
        analytic.ppca_posterior_mean,
        inputs(model=factor_model, x=normal(N, D)),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "ppca_log_prob": Row(
        analytic.ppca_log_prob,
        inputs(model=factor_model, x=normal(N, D)),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
}
