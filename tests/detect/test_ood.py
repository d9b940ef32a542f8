"""Out-of-distribution scores against scipy and scikit-learn, classes that do not exist, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from jaxlab.analytic import class_stats_init, class_stats_update
from jaxlab.detect import energy, mahalanobis_score, max_logit, max_softmax
from jaxlab.optim import projected_gradient_attack

LOGITS = (3 * np.random.default_rng(0).normal(size=(6, 4))).astype(np.float32)
SCORES = {
    "max_softmax": (max_softmax, lambda z: special.softmax(z, -1).max(-1)),
    "max_logit": (max_logit, lambda z: z.max(-1)),
    "energy": (energy, lambda z: special.logsumexp(z, -1)),
}


@pytest.mark.parametrize("name", SCORES)
def test_equals_scipy(name):
    score, by_scipy = SCORES[name]
    np.testing.assert_allclose(score(LOGITS), by_scipy(LOGITS), rtol=1e-5)
    assert np.isfinite(score(1e4 * LOGITS)).all()


@pytest.mark.parametrize("name", SCORES)
def test_a_class_that_does_not_exist_might_as_well_be_left_out(name):
    score, _ = SCORES[name]
    exists = np.array([True, False, True, True])
    for junk in (np.nan, 1e30):
        dirty = np.where(exists, LOGITS, junk)
        np.testing.assert_allclose(score(dirty, class_where=exists), score(LOGITS[:, exists]), rtol=1e-6)
        per_row = np.broadcast_to(exists, LOGITS.shape)
        np.testing.assert_allclose(score(dirty, class_where=per_row), score(LOGITS[:, exists]), rtol=1e-6)
        gradient = jax.grad(lambda z: jnp.sum(score(z, class_where=exists)))(jnp.asarray(dirty))
        expected = jax.grad(lambda z: jnp.sum(score(z)))(jnp.asarray(LOGITS[:, exists]))
        np.testing.assert_allclose(np.asarray(gradient)[:, exists], expected, rtol=1e-5, atol=1e-7)
        assert (np.asarray(gradient)[:, 1] == 0).all()


@pytest.mark.parametrize("name", SCORES)
def test_no_class_gives_zero_with_zero_gradient(name):
    score, _ = SCORES[name]
    nothing = jnp.zeros(4, bool)
    assert (np.asarray(score(LOGITS, class_where=nothing)) == 0).all()
    assert (np.asarray(jax.grad(lambda z: jnp.sum(score(z, class_where=nothing)))(jnp.asarray(LOGITS))) == 0).all()


def test_a_common_shift_of_the_logits():
    np.testing.assert_allclose(max_softmax(LOGITS + 5), max_softmax(LOGITS), rtol=1e-5)
    np.testing.assert_allclose(max_logit(LOGITS + 5), max_logit(LOGITS) + 5, rtol=1e-5)
    np.testing.assert_allclose(energy(LOGITS + 5), energy(LOGITS) + 5, rtol=1e-5)


@pytest.mark.parametrize("name", SCORES)
def test_bfloat16_gives_float32(name):
    score, by_scipy = SCORES[name]
    narrow = jnp.asarray(LOGITS, jnp.bfloat16)
    assert score(narrow).dtype == jnp.float32
    np.testing.assert_allclose(score(narrow), by_scipy(np.asarray(narrow, np.float64)), rtol=1e-5)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("logits", "class_where", "error", "words"),
    [
        (jnp.zeros((2, 4), int), None, TypeError, "logits must be floating point"),
        (jnp.zeros((2, 0)), None, ValueError, "logits must have shape"),
        (jnp.array(1.0), None, ValueError, "logits must have shape"),
        (LOGITS, jnp.ones(3, bool), ValueError, "class_where must have shape"),
        (LOGITS, jnp.ones((3, 4), bool), ValueError, "class_where must have shape"),
        (LOGITS, jnp.ones(4), TypeError, "class_where must be boolean"),
    ],
)
def test_bad_input(name, logits, class_where, error, words):
    with pytest.raises(error, match=words):
        SCORES[name][0](logits, class_where=class_where)


# --- Mahalanobis ---

DIM, CLASSES = 3, 4
RNG = np.random.default_rng(1)
MEANS = 4 * RNG.normal(size=(CLASSES, DIM))
LABELS = np.arange(60) % (CLASSES - 1)  # the last class is never seen
MIXING = RNG.normal(size=(DIM, DIM)) + 2 * np.eye(DIM)
TRAIN = MEANS[LABELS] + RNG.normal(size=(60, DIM)) @ MIXING
QUERIES = 6 * RNG.normal(size=(20, DIM))


def statistics(x, labels=LABELS, classes=CLASSES):
    return class_stats_update(
        class_stats_init(classes, x.shape[1], second="shared", shift=np.float32(x.mean(0))), np.float32(x), labels
    )


def fitted():
    """Class means and the tied covariance, in float64."""
    means = np.stack([TRAIN[c == LABELS].mean(0) for c in range(CLASSES - 1)])
    residual = TRAIN - means[LABELS]
    return means, residual.T @ residual / len(TRAIN)


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_mahalanobis_equals_the_formula(ridge):
    means, covariance = fitted()
    precision = np.linalg.inv(covariance + ridge * np.eye(DIM))
    z = QUERIES[:, None] - means
    expected = -0.5 * np.einsum("ncd,de,nce->nc", z, precision, z).min(1)
    score = mahalanobis_score(statistics(TRAIN), np.float32(QUERIES), ridge=ridge)
    np.testing.assert_allclose(score, expected, rtol=1e-4)
    per_row = mahalanobis_score(statistics(TRAIN), np.float32(QUERIES.reshape(4, 5, DIM)), ridge=ridge)
    np.testing.assert_allclose(per_row.reshape(-1), score, rtol=1e-5)


def test_mahalanobis_does_not_see_invertible_affine_maps():
    linear, offset = RNG.normal(size=(DIM, DIM)) + 3 * np.eye(DIM), 5 * RNG.normal(size=DIM)
    before = mahalanobis_score(statistics(TRAIN), np.float32(QUERIES), ridge=0.0)
    moved = mahalanobis_score(statistics(TRAIN @ linear + offset), np.float32(QUERIES @ linear + offset), ridge=0.0)
    np.testing.assert_allclose(moved, before, rtol=1e-3)


def test_mahalanobis_is_largest_and_zero_at_a_class_mean():
    means, _ = fitted()
    np.testing.assert_allclose(mahalanobis_score(statistics(TRAIN), np.float32(means)), 0, atol=1e-5)
    assert (np.asarray(mahalanobis_score(statistics(TRAIN), np.float32(QUERIES))) < -1e-3).all()


def test_mean_squared_distance_to_the_own_class_is_the_dimension():
    x = TRAIN + 50 * np.eye(DIM)[LABELS]  # so far apart that every row is nearest to its own mean
    squared = -2 * mahalanobis_score(statistics(x), np.float32(x), ridge=0.0)
    np.testing.assert_allclose(np.mean(squared), DIM, rtol=1e-4)  # the trace of the covariance times its inverse


def test_mahalanobis_with_identity_covariance_is_the_nearest_mean():
    means, covariance = fitted()
    white = (TRAIN - means[LABELS]) @ np.linalg.inv(np.linalg.cholesky(covariance)).T + means[LABELS]
    nearest = np.square(QUERIES[:, None] - means).sum(-1).min(1)
    score = mahalanobis_score(statistics(white), np.float32(QUERIES), ridge=0.0)
    np.testing.assert_allclose(score, -0.5 * nearest, rtol=1e-4)


def test_the_class_that_gives_the_score_is_that_of_scikit_learn():
    means, covariance = fitted()
    uniform = np.full(CLASSES - 1, 1 / (CLASSES - 1))
    chosen = LinearDiscriminantAnalysis(solver="lsqr", priors=uniform).fit(TRAIN, LABELS).predict(QUERIES)
    assert len(set(chosen)) == CLASSES - 1
    z = QUERIES - means[chosen]
    expected = -0.5 * np.einsum("nd,de,ne->n", z, np.linalg.inv(covariance), z)
    score = mahalanobis_score(statistics(TRAIN), np.float32(QUERIES), ridge=0.0)
    np.testing.assert_allclose(score, expected, rtol=1e-4)


def test_a_class_without_rows_takes_no_part():
    without = mahalanobis_score(statistics(TRAIN, classes=CLASSES - 1), np.float32(QUERIES))
    np.testing.assert_array_equal(mahalanobis_score(statistics(TRAIN), np.float32(QUERIES)), without)
    nothing = class_stats_init(CLASSES, DIM, second="shared")
    assert (np.asarray(mahalanobis_score(nothing, np.float32(QUERIES))) == -np.inf).all()
    assert (np.asarray(jax.grad(lambda x: mahalanobis_score(nothing, x))(jnp.ones(DIM))) == 0).all()


def test_input_pre_processing_is_one_step_up_the_score():
    means, covariance = fitted()
    stats, x, eps = statistics(TRAIN), jnp.asarray(QUERIES, jnp.float32), 0.01

    def score(x):
        return mahalanobis_score(stats, x, ridge=0.0)

    def processed(eps):
        return projected_gradient_attack(score, x, eps=eps, step=eps, num_iters=1)

    nearest = means[LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / 3] * 3).fit(TRAIN, LABELS).predict(QUERIES)]
    uphill = np.sign((nearest - QUERIES) @ np.linalg.inv(covariance))
    np.testing.assert_allclose(processed(eps), QUERIES + eps * uphill, atol=1e-5)
    assert (np.asarray(score(processed(eps))) > np.asarray(score(x))).all()
    np.testing.assert_array_equal(processed(0.0), x)


@pytest.mark.parametrize(
    ("stats", "x", "ridge", "error", "words"),
    [
        (statistics(TRAIN), jnp.zeros((2, DIM), int), 0.0, TypeError, "x must be floating point"),
        (statistics(TRAIN), jnp.zeros((2, DIM + 1)), 0.0, ValueError, "x must have shape"),
        (statistics(TRAIN), jnp.array(1.0), 0.0, ValueError, "x must have shape"),
        (statistics(TRAIN), jnp.zeros((2, DIM)), -1.0, ValueError, "ridge must be at least 0"),
        (class_stats_init(CLASSES, DIM), jnp.zeros((2, DIM)), 0.0, ValueError, "second moments over all features"),
    ],
)
def test_bad_input_of_mahalanobis(stats, x, ridge, error, words):
    with pytest.raises(error, match=words):
        mahalanobis_score(stats, x, ridge=ridge)


def test_values_that_are_documented():
    same = class_stats_update(class_stats_init(1, DIM, second="shared"), jnp.ones((5, DIM)))
    assert np.isnan(mahalanobis_score(same, jnp.ones(DIM), ridge=0.0))  # a singular covariance
    assert np.isfinite(mahalanobis_score(same, jnp.zeros(DIM)))
    rows = mahalanobis_score(statistics(TRAIN), jnp.array([[jnp.nan, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert np.isnan(rows[0])
    assert np.isfinite(rows[1])
