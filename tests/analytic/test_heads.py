"""Classifiers read off class statistics against scikit-learn, and the identities that tie them to each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid

from jaxlab import analytic
from tests.analytic import formulas
from tests.analytic.formulas import COUNTS, DIM, NUM_CLASSES, blobs, close, twins

SHIFT = np.array([1.0, -2.0, 0.5, 3.0])
MOMENTS = ("diag", "shared", "full")
SEEN = np.array(COUNTS) > 0

lda = jax.jit(analytic.lda, static_argnames=("shrinkage", "prior"))
lda_with_prior = jax.jit(analytic.lda, static_argnames="shrinkage")
naive_bayes = jax.jit(analytic.naive_bayes, static_argnames="prior")
nearest_mean, logits = jax.jit(analytic.nearest_mean), jax.jit(analytic.head_logits)
mahalanobis = jax.jit(analytic.mahalanobis)
add = jax.jit(analytic.class_stats_update)


def fit(x, labels, num_classes=NUM_CLASSES, second=MOMENTS, shift=None):
    """Statistics in the dtype of x."""
    options = {"second": second, "shift": shift, "dtype": x.dtype}
    return add(analytic.class_stats_init(num_classes, x.shape[1], **options), x, labels)


def same_decision(actual, expected, tol=1e-5):
    """Logits that agree up to a constant per row, which no decision and no probability sees."""
    close(*(np.where(z == -np.inf, z, z - z[..., :1]) for z in map(np.asarray, (actual, expected))), tol)


# --- nearest mean -----------------------------------------------------------------------------------------------


def test_nearest_mean_equals_scikit_learn():
    x, labels = blobs(0)
    queries, _ = blobs(1)
    peer = NearestCentroid(metric="euclidean").fit(x, labels)
    for shift in (None, SHIFT.astype(np.float32)):
        head = nearest_mean(fit(x, labels, shift=shift))
        np.testing.assert_array_equal(logits(head, queries).argmax(-1), peer.predict(queries))


def test_nearest_mean_is_a_linear_classifier():
    x, labels = blobs(2)
    mean = formulas.means(x, labels)
    head = nearest_mean(fit(x, labels))
    close(head.weight, mean.T, 1e-6)
    close(head.bias, np.where(SEEN, -0.5 * (mean**2).sum(1), -np.inf), 1e-6)
    distances = -0.5 * ((x[:, None] - mean) ** 2).sum(-1)
    same_decision(logits(head, x), np.where(SEEN, distances, -np.inf))


def test_nearest_mean_keeps_its_digits_beside_a_shift():
    x, labels = blobs(3, offset=1000.0)
    distances = -0.5 * ((x[:, None].astype(np.float64) - formulas.means(x, labels)) ** 2).sum(-1)
    scores = logits(nearest_mean(fit(x, labels, shift=x[0])), x)
    same_decision(scores, np.where(SEEN, distances, -np.inf), 1e-2)


# --- tied covariance --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
def test_lda_equals_scikit_learn(solver):
    x, labels = blobs(4)
    x, queries = x.astype(np.float64), blobs(5)[0].astype(np.float64)
    peer = LinearDiscriminantAnalysis(solver=solver).fit(x, labels)  # empirical priors, divisor N
    with jax.enable_x64(True):
        for shift in (None, SHIFT):
            scores = np.asarray(logits(lda(fit(x, labels, shift=shift), ridge=0.0, prior="empirical"), queries))
            assert (scores[:, 3] == -np.inf).all()
            same_decision(scores[:, :3], peer.decision_function(queries), 1e-8)
            close(special.softmax(scores, -1)[:, :3], peer.predict_proba(queries), 1e-8)
    scores = logits(lda(fit(x.astype(np.float32), labels), ridge=0.0, prior="empirical"), queries.astype(np.float32))
    same_decision(scores[:, :3], peer.decision_function(queries), 1e-3)


@pytest.mark.parametrize("prior", ["uniform", "empirical", "given"])
def test_lda_equals_its_formula_under_every_prior(prior):
    x, labels = blobs(6)
    covariance = formulas.scatter(x, labels) / len(x)
    given = np.log([0.5, 0.2, 0.1, 0.2])
    log_prior = {"uniform": np.full(4, -np.log(3)), "empirical": np.log(np.maximum(COUNTS, 1) / len(x)), "given": given}
    expected = formulas.discriminant(
        x, formulas.means(x, labels), np.linalg.inv(covariance + 0.3 * np.eye(DIM)), log_prior[prior]
    )
    expected[:, 3] = -np.inf
    if prior == "given":
        head = lda_with_prior(fit(x, labels), ridge=0.3, prior=given.astype(np.float32))
    else:
        head = lda(fit(x, labels), ridge=0.3, prior=prior)
    close(logits(head, x), expected, 1e-5)


def test_moments_of_either_kind_give_the_same_head():
    x, labels = blobs(7)
    complete = fit(x, labels, shift=SHIFT.astype(np.float32))
    only = {kept: complete._replace(**{name: None for name in MOMENTS if name != kept}) for kept in MOMENTS}
    for shrinkage, kinds in (("ridge", ("shared", "full")), ("ks", ("shared", "full")), ("diag", MOMENTS)):
        heads = [lda(only[kind], shrinkage=shrinkage, ridge=0.1) for kind in kinds]
        for head in heads[1:]:
            close(head.weight, heads[0].weight, 1e-5)
            close(head.bias, heads[0].bias, 1e-5)


def test_one_pass_serves_every_head_in_any_order():
    x, labels = blobs(8)
    x = x.astype(np.float64)
    heads = {
        "nearest mean": nearest_mean,
        "ridge": lda,
        "ks": lambda s: lda(s, shrinkage="ks"),
        "naive Bayes": naive_bayes,
        "balanced": jax.jit(analytic.class_balanced_ridge),
    }
    with jax.enable_x64(True):
        joint = fit(x, labels, shift=SHIFT)
        stream = analytic.class_stats_init(NUM_CLASSES, DIM, second=MOMENTS, shift=SHIFT)
        for rows, names, where in formulas.padded(0, x, labels, 4, 24):
            stream = add(stream, rows, names, where=where)
        for head in heads.values():
            jax.tree.map(lambda a, b: close(a, b, 1e-10), head(stream), head(joint))


def test_rotations_change_no_prediction():
    x, labels = blobs(9)
    x = x.astype(np.float64)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0]
    with jax.enable_x64(True):
        for options in ({"shrinkage": "ridge", "ridge": 0.3}, {"shrinkage": "ks"}):
            plain, turned = (logits(lda(fit(rows, labels), **options), rows) for rows in (x, x @ turn))
            close(plain, turned, 1e-10)
        diagonal = [logits(lda(fit(rows, labels), shrinkage="diag"), rows) for rows in (x, x @ turn)]
        assert np.abs(diagonal[0] - diagonal[1])[:, :3].max() > 0.1  # which a diagonal covariance cannot promise


def test_a_singular_covariance_needs_a_ridge():
    x, labels = blobs(10)
    x[:, 2] = 0  # a feature that is always off
    stats = fit(x, labels)
    assert np.isnan(lda(stats, ridge=0.0).weight).any()
    assert np.isnan(mahalanobis(stats, x, ridge=0.0)[:, SEEN]).any()
    # With one it says nothing, and the others say what they say without it.
    kept = [0, 1, 3]
    without = logits(lda(fit(x[:, kept], labels), ridge=0.1), x[:, kept])
    close(logits(lda(stats, ridge=0.1), x), without, 1e-5)
    close(mahalanobis(stats, x, ridge=0.1), mahalanobis(fit(x[:, kept], labels), x[:, kept], ridge=0.1), 1e-5)


@pytest.mark.parametrize(
    "head",
    [nearest_mean, lda, lambda s: lda(s, shrinkage="ks"), naive_bayes, lambda s: naive_bayes(s, prior="uniform")],
)
def test_an_unseen_class_is_never_predicted(head):
    x, labels = blobs(11)
    labels = np.where(labels == 0, 3, labels)  # the FIRST class is the one without rows, its mean would be zero
    scores = np.asarray(logits(head(fit(x, labels)), np.concatenate([x, np.zeros((1, DIM), np.float32)])))
    assert (scores[:, 0] == -np.inf).all()
    assert np.isfinite(scores[:, 1:]).all()
    assert (np.asarray(jax.nn.softmax(scores))[:, 0] == 0).all()


# --- Kubokawa and Srivastava ------------------------------------------------------------------------------------

ks_precision = jax.jit(analytic.ks_precision)


def test_ks_precision_is_the_published_inverse():
    rng = np.random.default_rng(12)
    for rows in (3, 30):  # fewer rows than dimensions, and more
        z = rng.normal(size=(rows, 6))
        z -= z.mean(0)
        covariance = np.cov(z.T)
        system = (rows - 1) * covariance + np.trace(covariance) * np.eye(6)
        with jax.enable_x64(True):
            precision = np.asarray(ks_precision(z.T @ z, rows))
        close(precision @ system / 6, np.eye(6), 1e-10)
        close(precision, 6 * np.linalg.pinv(system), 1e-10)


def test_many_rows_make_ks_precision_a_precision():
    z = np.random.default_rng(13).normal(size=(40, DIM)) * [1, 2, 3, 0.5]
    z -= z.mean(0)
    for copies, tol in ((1, None), (10**6, 1e-5)):
        rows = copies * len(z)
        with jax.enable_x64(True):
            precision = (rows - 1) / DIM * np.asarray(ks_precision(copies * z.T @ z, rows))
        if tol:
            close(precision, np.linalg.inv(copies * z.T @ z / (rows - 1)), tol)


def test_ks_head_is_a_discriminant_with_that_precision():
    x, labels = blobs(14, (3, 2, 2, 0), dim=9)  # seven rows in nine dimensions
    covariance = formulas.scatter(x, labels) / (len(x) - 1)
    precision = 9 * np.linalg.inv((len(x) - 1) * covariance + np.trace(covariance) * np.eye(9))
    expected = formulas.discriminant(x, formulas.means(x, labels), precision, np.where(SEEN, -np.log(3), -np.inf))
    close(logits(lda(fit(x, labels), shrinkage="ks"), x), expected, 1e-5)


def test_one_example_per_class_makes_ks_the_nearest_mean():
    x = np.random.default_rng(15).integers(-9, 9, (NUM_CLASSES, DIM)).astype(np.float32)
    stats = fit(x, np.arange(NUM_CLASSES))
    ks, nearest = lda(stats, shrinkage="ks"), nearest_mean(stats)
    close(ks.weight, nearest.weight, 1e-6)
    close(ks.bias + np.log(NUM_CLASSES), nearest.bias, 1e-6)
    close(ks_precision(np.zeros((3, 3), np.float32), 1), np.eye(3), 1e-6)


@pytest.mark.parametrize(("num_classes", "dim"), [(4, 4), (10, 64)])
def test_one_example_per_class_makes_ks_the_nearest_mean_for_any_numbers(num_classes, dim):
    rng = np.random.default_rng(0)
    x = 1 + rng.normal(size=(num_classes, dim)).astype(np.float32)
    stats = fit(x, rng.permutation(num_classes), num_classes, second="shared")
    close(lda(stats, shrinkage="ks").weight, nearest_mean(stats).weight, 1e-5)


def test_copies_of_one_example_per_class_are_one_example():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = 1 + rng.normal(size=(10, 64)).astype(np.float32)
        stats = fit(np.repeat(x, 2, axis=0), np.repeat(rng.permutation(10), 2), 10, second="shared")
        close(lda(stats, shrinkage="ks").weight, nearest_mean(stats).weight, 1e-4)


def test_a_multiple_of_the_identity_makes_ks_the_nearest_mean():
    # Deviations plus and minus each axis: the scatter is 2 sigma^2 I per class.
    mean = np.random.default_rng(16).normal(size=(3, DIM))
    deviations = 1.7 * np.concatenate([np.eye(DIM), -np.eye(DIM)])
    x, labels = (mean[:, None] + deviations).reshape(-1, DIM), np.repeat(np.arange(3), 2 * DIM)
    queries = np.random.default_rng(17).normal(size=(50, DIM))
    with jax.enable_x64(True):
        stats = fit(x, labels, 3)
        nearest = logits(nearest_mean(stats), queries)
        for options in ({"shrinkage": "ks"}, {"shrinkage": "ridge", "ridge": 0.0}, {"shrinkage": "diag", "ridge": 0.0}):
            scores = logits(lda(stats, **options), queries)
            np.testing.assert_array_equal(scores.argmax(-1), nearest.argmax(-1))
            ratio = (scores - scores[:, :1])[:, 1:] / (nearest - nearest[:, :1])[:, 1:]
            np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)  # the same scores in another unit


# --- naive Bayes ------------------------------------------------------------------------------------------------


def test_naive_bayes_equals_its_formula():
    x, labels = blobs(18)
    share = np.array(COUNTS) / len(x)
    variance = sum(share[c] * (x[labels == c].astype(np.float64).var(0) + 0.01) for c in range(3))
    distance = ((x[:, None] - formulas.means(x, labels)) ** 2 / variance).sum(-1)
    for prior, log_prior in (("empirical", np.log(np.maximum(share, 1e-30))), ("uniform", -np.log(3))):
        expected = np.where(SEEN, log_prior - 0.5 * distance, -np.inf)
        scores = logits(naive_bayes(fit(x, labels), eps=0.01, prior=prior), x)
        same_decision(scores, expected, 1e-5)
        close(jax.nn.softmax(scores), special.softmax(expected, -1), 1e-4)


def test_naive_bayes_equals_scikit_learn_where_variances_are_equal():
    x, labels, _ = twins(19)
    x, labels = x[3:], labels[3:]  # unequal counts, so that the prior matters ...
    x, labels = np.concatenate([x, x[labels == 1]]), np.concatenate([labels, labels[labels == 1]])
    x = np.concatenate([x, 2 * x[labels == 0].mean(0) - x[labels == 0]])  # ... and class 0 mirrored about its mean
    labels = np.concatenate([labels, labels[labels == 0]])
    scale = np.stack([x[labels == c].std(0) for c in range(3)])
    x = formulas.means(x, labels, 3)[labels] + (x - formulas.means(x, labels, 3)[labels]) / scale[labels]
    assert len(set(np.bincount(labels))) > 1
    peer = GaussianNB(var_smoothing=0.0).fit(x, labels)
    np.testing.assert_allclose(peer.var_, 1.0, rtol=1e-9)
    queries = 2 * np.random.default_rng(20).normal(size=(30, DIM))
    with jax.enable_x64(True):
        scores = logits(naive_bayes(fit(x, labels, 3), eps=0.0), queries)
        close(jax.nn.log_softmax(scores), peer.predict_log_proba(queries), 1e-9)


def test_naive_bayes_is_lda_with_a_diagonal_covariance():
    x, labels = blobs(21)
    stats = fit(x, labels, second=("diag", "shared"))
    diagonal = stats.shared * np.eye(DIM)  # correlations removed; the mean's part must lose them as well
    means = formulas.means(x, labels)
    mean_part = (np.array(COUNTS) * means.T) @ means
    tied = stats._replace(diag=None, shared=jnp.asarray(diagonal + mean_part * (1 - np.eye(DIM)), jnp.float32))
    close(logits(naive_bayes(stats, eps=0.05), x), logits(lda(tied, ridge=0.05, prior="empirical"), x), 1e-4)


def test_equal_variances_make_naive_bayes_the_nearest_mean_of_whitened_rows():
    x, labels, mean = twins(22)
    scale = x[labels == 0].std(0)
    queries = 3 * np.random.default_rng(23).normal(size=(30, DIM))
    with jax.enable_x64(True):
        scores = logits(naive_bayes(fit(x, labels, 3), eps=0.0), queries)
        whitened = logits(nearest_mean(fit(x / scale, labels, 3)), queries / scale)
        same_decision(scores, whitened, 1e-10)  # equal counts: the prior is a constant
    assert not np.allclose(mean, 0)


@pytest.mark.parametrize("second", ["diag", "shared", "full"])
def test_a_constant_feature_gives_no_nan(second):
    x, labels = blobs(24)
    zeros = np.concatenate([x, np.zeros((len(x), 1), np.float32)], axis=1)
    scores = logits(naive_bayes(fit(zeros, labels, second=second)), zeros)
    assert np.isfinite(scores[:, :3]).all()
    close(scores, logits(naive_bayes(fit(x, labels, second=second)), x), 1e-5)  # a feature that is off says nothing
    head = naive_bayes(fit(zeros + 5, labels, second=second))
    assert not np.isnan(logits(head, zeros + 5)).any()


def test_a_constant_feature_that_is_not_zero_needs_a_shift():
    x, labels = blobs(24)
    constant = np.concatenate([x, np.full((len(x), 1), 5, np.float32)], axis=1)
    expected = logits(naive_bayes(fit(x, labels)), x)
    shifted = fit(constant, labels, shift=constant[0])
    same_decision(logits(naive_bayes(shifted), constant), expected, 1e-2)


# --- Mahalanobis ------------------------------------------------------------------------------------------------


def test_mahalanobis_equals_its_formula():
    x, labels = blobs(25)
    inverse = np.linalg.inv(formulas.scatter(x, labels) / len(x) + 0.2 * np.eye(DIM))
    difference = x[:, None].astype(np.float64) - formulas.means(x, labels)
    expected = np.where(SEEN, -0.5 * np.einsum("ncd,de,nce->nc", difference, inverse, difference), -np.inf)
    for shift in (None, SHIFT.astype(np.float32)):
        scores = mahalanobis(fit(x, labels, shift=shift), x, ridge=0.2)
        close(scores, expected, 1e-5)
    close(mahalanobis(fit(x, labels), x.reshape(1, *x.shape), ridge=0.2)[0], expected, 1e-5)
    close(mahalanobis(fit(x, labels), x[2], ridge=0.2), expected[2], 1e-5)


def test_mahalanobis_is_invariant_under_affine_maps():
    x, labels = blobs(26)
    x = x.astype(np.float64)
    rng = np.random.default_rng(27)
    matrix, offset = rng.normal(size=(DIM, DIM)) + 2 * np.eye(DIM), 10 * rng.normal(size=DIM)
    queries = 3 * rng.normal(size=(20, DIM))
    with jax.enable_x64(True):
        plain = mahalanobis(fit(x, labels), queries, ridge=0.0)
        moved = mahalanobis(fit(x @ matrix + offset, labels), queries @ matrix + offset, ridge=0.0)
        close(moved, plain, 1e-9)


def test_mahalanobis_averages_the_dimension():
    """The mean of (x - mu)' S^-1 (x - mu) over the rows that made S is tr(S^-1 S), exactly."""
    x, labels = blobs(28)
    with jax.enable_x64(True):
        scores = np.asarray(mahalanobis(fit(x.astype(np.float64), labels), x.astype(np.float64), ridge=0.0))
    np.testing.assert_allclose(-2 * scores[np.arange(len(x)), labels].mean(), DIM, rtol=1e-10)


def test_mahalanobis_is_highest_at_the_means():
    x, labels = blobs(29)
    stats = fit(x, labels)
    at_means = np.asarray(mahalanobis(stats, formulas.means(x, labels)[:3].astype(np.float32)))
    np.testing.assert_allclose(np.diag(at_means), 0, atol=1e-5)
    assert (np.asarray(mahalanobis(stats, x)) <= 0).all()
    assert (np.asarray(mahalanobis(stats, x))[:, 3] == -np.inf).all()


def test_mahalanobis_decides_as_lda_under_a_uniform_prior():
    x, labels = blobs(30, (8, 8, 8, 0))
    queries = 3 * np.random.default_rng(31).normal(size=(60, DIM)).astype(np.float32)
    stats = fit(x, labels)
    decided = mahalanobis(stats, queries, ridge=0.0).argmax(-1)
    peer = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(3, 1 / 3)).fit(x, labels)
    np.testing.assert_array_equal(decided, peer.predict(queries))
    same_decision(mahalanobis(stats, queries, ridge=0.1), logits(lda(stats, ridge=0.1), queries), 1e-4)


def test_whitened_classes_make_mahalanobis_the_nearest_mean():
    mean = np.random.default_rng(32).normal(size=(3, DIM))
    deviations = np.sqrt(DIM) * np.concatenate([np.eye(DIM), -np.eye(DIM)])  # covariance I
    x = (mean[:, None] + deviations).reshape(-1, DIM).astype(np.float32)
    queries = np.random.default_rng(33).normal(size=(20, DIM)).astype(np.float32)
    scores = mahalanobis(fit(x, np.repeat(np.arange(3), 2 * DIM), 3), queries, ridge=0.0)
    close(scores, -0.5 * ((queries[:, None] - mean) ** 2).sum(-1), 1e-5)


def test_mahalanobis_far_from_the_origin():
    x, labels = blobs(34, offset=1000.0)
    near = mahalanobis(fit(x - 1000, labels), x - 1000, ridge=0.1)
    close(mahalanobis(fit(x, labels, shift=x[0]), x, ridge=0.1), near, 1e-4)
