"""What the closed-form functions refuse, and in which words; results for odd VALUES stand beside the proofs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import analytic
from jaxlab.analytic import GaussianMixture, Head, RandomFeatures

N, D, C, K = 6, 3, 4, 2
KEY = jax.random.key(0)
X, Y = np.zeros((N, D), np.float32), np.zeros(N, int)
ONE_HOT, TARGETS = np.zeros((N, C), np.float32), np.zeros((N, K), np.float32)
WHERE = np.ones(N, bool)
SQUARE, ROW = np.eye(D, dtype=np.float32), np.zeros(D, np.float32)


def stats(**options):
    return analytic.class_stats_init(C, D, **options)


EVERYTHING = stats(second=("diag", "shared", "full"))
BARE = stats()
GRAM, WORDS = analytic.gram_init(D, K), analytic.gram_init(D, K, accumulate="compensated")
RLS = analytic.rls_init(D, K)
HEAD = Head(np.zeros((D, C), np.float32), np.zeros(C, np.float32))
RELU = RandomFeatures(projection=np.zeros((D, 5), np.float32))
GAUSSIAN = RandomFeatures(centers=np.zeros((5, D), np.float32), bandwidth=np.float32(1))
MIXTURE = GaussianMixture(np.zeros(K), np.zeros((K, D), np.float32), np.ones((K, D), np.float32))

# The call that is fine; every row below changes one argument of it.
GOOD = {
    "class_stats_init": {"num_classes": C, "dim": D},
    "class_stats_update": {"state": EVERYTHING, "x": X, "labels": Y, "where": WHERE},
    "class_stats_merge": {"a": EVERYTHING, "b": EVERYTHING},
    "class_stats_forget": {"a": EVERYTHING, "b": EVERYTHING},
    "class_stats_covariance": {"state": EVERYTHING},
    "class_stats_variance": {"state": EVERYTHING},
    "within_scatter": {"state": EVERYTHING},
    "class_means": {"features": X, "labels": Y, "num_classes": C, "where": WHERE},
    "gram_init": {"dim": D, "out": K},
    "gram_update": {"state": GRAM, "x": X, "targets": TARGETS, "weights": np.ones(N, np.float32), "where": WHERE},
    "gram_merge": {"a": GRAM, "b": GRAM},
    "gram_forget": {"a": GRAM, "b": GRAM},
    "gram_from_class_stats": {"stats": EVERYTHING},
    "gram_solve": {"state": GRAM, "ridge": 1.0},
    "ridge_solve": {"gram": SQUARE, "cross": np.zeros((D, K), np.float32), "ridge": 1.0},
    "class_balanced_ridge": {"stats": EVERYTHING},
    "rls_init": {"dim": D, "out": K},
    "rls_update": {"state": RLS, "x": X, "targets": TARGETS, "where": WHERE},
    "head_logits": {"head": HEAD, "x": X},
    "ks_precision": {"scatter": SQUARE, "count": 5},
    "lda": {"stats": EVERYTHING},
    "naive_bayes": {"stats": EVERYTHING},
    "mahalanobis": {"stats": EVERYTHING, "x": X},
    "logistic_regression": {"x": X, "targets": np.full((N, K), 0.5, np.float32), "where": WHERE, "num_iters": 1},
    "prototype_logits": {"x": X, "prototypes": np.ones((C, D), np.float32)},
    "calibrate_prototypes": {"new": X, "base": np.ones((C, D), np.float32)},
    "random_features_init": {"key": KEY, "dim": D, "width": 5},
    "random_features": {"params": RELU, "x": X},
    "gmm_log_prob": {"mixture": MIXTURE, "x": X},
    "gmm_em": {"x": X, "init": np.full((N, K), 0.5, np.float32), "num_iters": 1, "where": WHERE},
}

FLOATING = [
    ("class_stats_init", "shift"),
    ("class_stats_update", "x"),
    ("class_means", "features"),
    ("gram_update", "x"),
    ("gram_update", "targets"),
    ("gram_update", "weights"),
    ("rls_update", "x"),
    ("rls_update", "targets"),
    ("ridge_solve", "gram"),
    ("ridge_solve", "cross"),
    ("head_logits", "x"),
    ("ks_precision", "scatter"),
    ("mahalanobis", "x"),
    ("logistic_regression", "x"),
    ("logistic_regression", "targets"),
    ("prototype_logits", "x"),
    ("prototype_logits", "prototypes"),
    ("calibrate_prototypes", "new"),
    ("calibrate_prototypes", "base"),
    ("random_features", "x"),
    ("gmm_log_prob", "x"),
    ("gmm_em", "x"),
    ("gmm_em", "init"),
]
MASKED = ["class_stats_update", "class_means", "gram_update", "rls_update", "logistic_regression", "gmm_em"]

SHAPES = [
    ("class_stats_init", "shift", np.zeros(D + 1), r"shift must have shape \[3\], got \[4\]"),
    ("class_stats_update", "x", X[:, :2], r"x must have shape \[N, 3\] to match the state, got \[6, 2\]"),
    ("class_stats_update", "x", X[0], r"x must have shape \[N, D\]"),
    ("class_stats_update", "x", X[:4], "x and labels must agree in their first 1 axes"),
    ("class_stats_update", "labels", Y[:4], "x and labels must agree in their first 1 axes"),
    ("class_stats_update", "labels", Y[:, None], r"labels must have shape \[N\]"),
    ("class_stats_update", "labels", None, "labels may be None only for one class, but the state has 4"),
    ("class_means", "features", X[0], r"features must have shape \[N, D\]"),
    ("class_means", "labels", Y[:4], "features and labels must agree"),
    ("class_means", "labels", np.zeros((N, C, 1)), r"labels must have shape \[N\] \(int\) or \[N, C\] \(float\)"),
    ("class_means", "labels", np.zeros((N, C + 1)), "soft labels must have 4 columns, got 5"),
    ("gram_update", "x", X[0], r"x must have shape \[N, D\]"),
    ("gram_update", "x", X[:, :2], r"x and targets must have shapes \[N, 3\] and \[N, 2\]"),
    ("gram_update", "x", X[:4], "x and targets must agree"),
    ("gram_update", "targets", TARGETS[:, 0], r"targets must have shape \[N, K\]"),
    ("gram_update", "targets", ONE_HOT, r"x and targets must have shapes \[N, 3\] and \[N, 2\]"),
    ("gram_update", "weights", np.ones((N, 1)), r"weights must have shape \[6\], got \[6, 1\]"),
    ("gram_update", "weights", np.ones(4), r"weights must have shape \[6\], got \[4\]"),
    ("rls_update", "x", X[:, :2], r"x and targets must have shapes \[N, 3\] and \[N, 2\]"),
    ("rls_update", "targets", TARGETS[:4], "x and targets must agree"),
    ("ridge_solve", "gram", ROW, r"gram must have shape \[D, D\]"),
    ("ridge_solve", "cross", ROW, r"cross must have shape \[D, K\]"),
    ("ridge_solve", "gram", SQUARE[:2], r"gram must have shape \[D, D\]"),
    ("ridge_solve", "cross", np.zeros((2, K)), r"must have"),
    ("ridge_solve", "prior", np.zeros((D, K + 1)), "prior and cross must have the same shape"),
    ("gram_solve", "prior", np.zeros((D, K + 1)), "prior and cross must have the same shape"),
    ("head_logits", "x", X[:, :2], r"x must have shape \[..., 3\] to match the head, got \[6, 2\]"),
    ("head_logits", "x", np.float32(1.0), r"x must have shape \[..., 3\]"),
    ("ks_precision", "scatter", ROW, r"scatter must have shape \[D, D\]"),
    ("ks_precision", "scatter", SQUARE[:2], r"must have shape \[.*D, D\]"),
    ("lda", "prior", np.zeros(3), r"prior must hold log-probabilities \[4\], got \[3\]"),
    ("naive_bayes", "prior", np.zeros((4, 1)), r"prior must hold log-probabilities \[4\]"),
    ("mahalanobis", "x", X[:, :2], r"x must have shape \[..., 3\] to match the statistics"),
    ("mahalanobis", "x", np.float32(1.0), r"x must have shape \[..., 3\]"),
    ("logistic_regression", "x", X[0], r"x must have shape \[N, D\]"),
    ("logistic_regression", "targets", np.zeros(N), r"targets must have shape \[N, C\]"),
    ("logistic_regression", "targets", TARGETS[:4], "x and targets must agree"),
    ("logistic_regression", "targets", np.ones((N, 1)), "number of classes C in targets must be at least 2, got 1"),
    ("prototype_logits", "x", X[:, :2], r"x must have shape \[..., 3\] as prototypes do"),
    ("prototype_logits", "x", np.float32(1.0), r"x must have shape \[..., 3\]"),
    ("prototype_logits", "prototypes", ROW, r"prototypes must have shape \[C, D\]"),
    ("prototype_logits", "where", np.ones(N, bool), r"where must have shape \[4\]"),
    ("calibrate_prototypes", "new", ROW, r"new must have shape \[M, D\]"),
    ("calibrate_prototypes", "base", ROW, r"base must have shape \[B, D\]"),
    ("calibrate_prototypes", "new", X[:, :2], "new and base must have one width"),
    ("calibrate_prototypes", "where", np.ones(3, bool), r"where must have shape \[4\]"),
    ("random_features", "x", X[:, :2], r"x must have shape \[..., 3\] to match params"),
    ("random_features", "params", RandomFeatures(), "params must come from random_features_init"),
    ("random_features", "params", RandomFeatures(centers=X), "params must come from random_features_init"),
    ("gmm_log_prob", "x", ROW, r"x must have shape \[N, D\]"),
    ("gmm_log_prob", "x", X[:, :2], r"x must have shape \[N, 3\] to match the mixture"),
    ("gmm_em", "x", ROW, r"x must have shape \[N, D\]"),
    ("gmm_em", "init", np.ones(N), r"init must have shape \[N, K\]"),
    ("gmm_em", "init", np.ones((4, K)), "x and init must agree"),
]

VALUES = [
    ("class_stats_init", "num_classes", 0, "num_classes must be .*at least 1, got 0"),
    ("class_stats_init", "dim", -1, "dim must be .*at least 1, got -1"),
    ("class_stats_init", "second", "half", "second must be one of 'none', 'diag', 'shared', 'full', got 'half'"),
    ("class_stats_init", "second", ("diag", "half"), "second must be one of .* got 'half'"),
    ("class_means", "num_classes", 0, "num_classes must be .*at least 1, got 0"),
    ("gram_init", "dim", 0, "dim must be .*at least 1, got 0"),
    ("gram_init", "out", 0, "out must be .*at least 1, got 0"),
    ("gram_init", "accumulate", "exact", "accumulate must be one of 'plain', 'compensated', got 'exact'"),
    ("gram_solve", "ridge", 0.0, "ridge must be > 0, got 0.0"),
    ("gram_solve", "ridge", -1.0, "ridge must be > 0, got -1.0"),
    ("ridge_solve", "ridge", 0, "ridge must be > 0, got 0"),
    ("ridge_solve", "ridge", float("nan"), "ridge must be > 0, got nan"),
    ("class_balanced_ridge", "ridge", 0.0, "ridge must be > 0, got 0.0"),
    ("rls_init", "dim", 0, "dim must be .*at least 1, got 0"),
    ("rls_init", "out", 0, "out must be .*at least 1, got 0"),
    ("rls_init", "ridge", 0.0, "ridge must be > 0, got 0.0"),
    ("rls_init", "ridge", -0.1, "ridge must be > 0, got -0.1"),
    ("lda", "shrinkage", "none", "shrinkage must be one of 'ridge', 'ks', 'diag', got 'none'"),
    ("lda", "ridge", -1e-3, "ridge must be at least 0.0, got -0.001"),
    ("lda", "prior", "flat", "prior must be one of 'uniform', 'empirical', got 'flat'"),
    ("naive_bayes", "eps", -1e-9, "eps must be at least 0.0, got -1e-09"),
    ("naive_bayes", "prior", "flat", "prior must be one of 'uniform', 'empirical', got 'flat'"),
    ("mahalanobis", "ridge", -1.0, "ridge must be at least 0.0, got -1.0"),
    ("logistic_regression", "ridge", 0.0, "ridge must be > 0, got 0.0"),
    ("prototype_logits", "metric", "manhattan", "metric must be one of 'euclidean', 'cosine', 'dot', got 'manhattan'"),
    ("calibrate_prototypes", "shift", 1.5, r"shift must lie in \[0.0, 1.0\], got 1.5"),
    ("calibrate_prototypes", "shift", -0.1, r"shift must lie in \[0.0, 1.0\], got -0.1"),
    ("random_features_init", "dim", 0, "dim must be .*at least 1, got 0"),
    ("random_features_init", "width", 0, "width must be .*at least 1, got 0"),
    ("random_features_init", "kind", "sine", "kind must be one of 'relu', 'gaussian', got 'sine'"),
    ("random_features_init", "kind", "gaussian", r'kind="gaussian" needs centers, float \[N, D\]'),
    ("random_features_init", "centers", X, 'centers are for kind="gaussian"'),
    ("gmm_em", "covariance", "spherical", "covariance must be one of 'full', 'tied', 'diag', got 'spherical'"),
    ("gmm_em", "num_iters", 0, "num_iters must be .*at least 1, got 0"),
    ("gmm_em", "ridge", -1.0, "ridge must be at least 0.0, got -1.0"),
]

# Statistics that lack what a head needs: the message says how to make others.
LACKING = [
    ("class_stats_covariance", stats(second="shared"), 'second="full"\\)'),
    ("class_stats_variance", stats(second="shared"), 'second="diag"\\) or "full"'),
    ("within_scatter", stats(second="diag"), 'second="shared"\\) or "full"'),
    ("gram_from_class_stats", stats(second="diag"), 'second="shared"\\) or "full"'),
    ("class_balanced_ridge", stats(second="shared"), 'second="full"\\)'),
    ("lda", BARE, 'second="shared"\\) or "full"'),
    ("lda", stats(second="diag"), 'second="shared"\\) or "full"'),
    ("naive_bayes", BARE, "second="),
    ("mahalanobis", stats(second="diag"), 'second="shared"\\) or "full"'),
]


def call(name, **change):
    return getattr(analytic, name)(**{**GOOD[name], **change})


@pytest.mark.parametrize("name", GOOD)
def test_the_call_that_is_changed_below_is_fine(name):
    jax.eval_shape(lambda: call(name))


@pytest.mark.parametrize(("name", "argument"), FLOATING)
def test_integers_are_not_converted(name, argument):
    value = GOOD[name].get(argument, ROW)
    for dtype in (int, bool):
        with pytest.raises(TypeError, match=f"{argument} must be floating point"):
            call(name, **{argument: np.asarray(value).astype(dtype)})
    with pytest.raises(TypeError, match=f"{argument} must be an array of numbers"):
        call(name, **{argument: "rows"})


@pytest.mark.parametrize("name", MASKED)
def test_masks_are_boolean_and_of_one_length(name):
    with pytest.raises(TypeError, match=r"where must be boolean \(True = counts\)"):
        call(name, where=np.ones(N))
    for shape in ((N + 1,), (N, 1), ()):
        with pytest.raises(ValueError, match=r"where must have shape \[6\]"):
            call(name, where=np.ones(shape, bool))


@pytest.mark.parametrize("name", ["class_stats_update", "class_means"])
def test_labels_are_integers(name):
    for labels in (Y.astype(float), Y.astype(bool)):
        with pytest.raises(TypeError, match="labels must hold integers"):
            call(name, labels=labels)


def test_soft_labels_are_floats():
    with pytest.raises(TypeError, match="labels must be floating point"):
        call("class_means", labels=np.ones((N, C), int))


@pytest.mark.parametrize(("name", "argument", "value", "words"), SHAPES)
def test_shapes_that_do_not_agree(name, argument, value, words):
    with pytest.raises(ValueError, match=words):
        call(name, **{argument: value})


@pytest.mark.parametrize(("name", "argument", "value", "words"), VALUES)
def test_static_values_out_of_range(name, argument, value, words):
    with pytest.raises(ValueError, match=words):
        call(name, **{argument: value})


@pytest.mark.parametrize(("name", "state", "words"), LACKING)
def test_moments_that_were_not_kept(name, state, words):
    with pytest.raises(ValueError, match=words):
        call(name, **{next(iter(GOOD[name])): state})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"centers": X[:4]}, r"centers must have shape \[N >= 5, 3\], got \[4, 3\]"),
        ({"centers": X[:, :2]}, r"centers must have shape \[N >= 5, 3\], got \[6, 2\]"),
        ({"centers": ROW}, r"centers must have shape \[N, D\]"),
        ({"centers": X, "bandwidth": 0.0}, "bandwidth must be > 0, got 0.0"),
        ({"centers": X, "bandwidth": -1.0}, "bandwidth must be > 0, got -1.0"),
    ],
)
def test_bad_centers(change, words):
    with pytest.raises(ValueError, match=words):
        call("random_features_init", kind="gaussian", **change)
    with pytest.raises(TypeError, match="centers must be floating point"):
        call("random_features_init", kind="gaussian", centers=X.astype(int))


@pytest.mark.parametrize("name", ["class_stats_merge", "class_stats_forget"])
@pytest.mark.parametrize(
    ("other", "error", "words"),
    [
        (BARE, ValueError, "diag is kept by one state and not by the other"),
        (stats(second=("diag", "shared")), ValueError, "full is kept by one state and not by the other"),
        (analytic.class_stats_init(C + 1, D, second=("diag", "shared", "full")), ValueError, "disagree in count"),
        (analytic.class_stats_init(C, D + 1, second=("diag", "shared", "full")), ValueError, "disagree in sum"),
        (GRAM, TypeError, "both states must have one type, got ClassStats and GramState"),
    ],
)
def test_statistics_of_another_kind(name, other, error, words):
    with pytest.raises(error, match=words):
        call(name, b=other)


@pytest.mark.parametrize("name", ["gram_merge", "gram_forget"])
@pytest.mark.parametrize(
    ("other", "error", "words"),
    [
        (WORDS, ValueError, "gram_low is kept by one state and not by the other"),
        (analytic.gram_init(D + 1, K), ValueError, "disagree in gram"),
        (analytic.gram_init(D, K + 1), ValueError, "disagree in cross"),
        (EVERYTHING, TypeError, "both states must have one type, got GramState and ClassStats"),
    ],
)
def test_normal_equations_of_another_kind(name, other, error, words):
    with pytest.raises(error, match=words):
        call(name, b=other)


@pytest.mark.parametrize(
    "make", [stats, lambda **o: analytic.gram_init(D, K, **o), lambda **o: analytic.rls_init(D, K, **o)]
)
def test_dtypes_of_states(make):
    for narrow in (jnp.bfloat16, "float16", int):
        with pytest.raises(TypeError, match="dtype must be float32 or float64"):
            make(dtype=narrow)
    with pytest.raises(TypeError, match="dtype is float64 but 64-bit is off"):
        make(dtype="float64")


def test_float64_into_float32_is_refused_not_rounded():
    with jax.enable_x64(True):
        wide = {"class_stats_update": X, "gram_update": X, "rls_update": X}
        for name, x in wide.items():
            with pytest.raises(TypeError, match=r"x is float64\[6, 3\] but the state holds float32"):
                call(name, x=x.astype(np.float64))
        for name in ("gram_update", "rls_update"):
            with pytest.raises(TypeError, match=r"targets is float64\[6, 2\] but the state holds float32"):
                call(name, targets=TARGETS.astype(np.float64))
        with pytest.raises(TypeError, match='accumulate="compensated" works on float32 words, got dtype=float64'):
            analytic.gram_init(D, K, accumulate="compensated", dtype="float64")
        with pytest.raises(TypeError, match="disagree in gram"):
            call("gram_merge", b=analytic.gram_init(D, K, dtype="float64"))


def test_float64_weights_are_refused_as_well():
    with jax.enable_x64(True), pytest.raises(TypeError, match="weights"):
        call("gram_update", weights=np.ones(N))


@pytest.mark.parametrize(
    ("name", "argument"), [("gram_solve", "ridge"), ("lda", "ridge"), ("calibrate_prototypes", "shift")]
)
def test_a_hyperparameter_is_a_number(name, argument):
    for value in (None, "much"):
        with pytest.raises(TypeError, match=f"{argument} must be a number or an array"):
            call(name, **{argument: value})


def test_refinements_are_a_number_of_steps():
    with pytest.raises(ValueError, match="num_refinements"):
        call("gram_solve", state=WORDS, num_refinements=-1)


@pytest.mark.parametrize(("argument", "value"), [("gram", SQUARE[:2]), ("cross", np.zeros((2, K), np.float32))])
def test_ridge_solve_names_its_own_arguments(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must"):
        call("ridge_solve", **{argument: value})


def test_traced_values_pass_the_checks():
    """What cannot be known while tracing has a documented result instead: here NaN and zeros, not an error."""
    weight = jax.jit(lambda r: analytic.gram_solve(GRAM, ridge=r))(-1.0)
    assert np.isnan(weight).all()
    new = np.ones((1, D), np.float32)
    np.testing.assert_allclose(
        jax.jit(lambda s: analytic.calibrate_prototypes(new, new, shift=s))(1.5)[0], D**-0.5, rtol=1e-6
    )
