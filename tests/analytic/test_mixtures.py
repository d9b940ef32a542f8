"""Gaussian mixtures against scipy and scikit-learn, step by step."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from sklearn import mixture as peers
from sklearn.exceptions import ConvergenceWarning

from jaxlab import analytic
from jaxlab.analytic import GaussianMixture
from tests.analytic import formulas
from tests.analytic.formulas import close

K, DIM, RIDGE, ITERS = 3, 2, 1e-3, 4
KINDS = ("full", "tied", "diag")

gmm_em = jax.jit(analytic.gmm_em, static_argnames=("covariance", "num_iters"))
gmm_log_prob = jax.jit(analytic.gmm_log_prob)


def data(seed, dim=DIM):
    """Rows of three overlapping components, and soft initial posteriors that know a little about them."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), (15, 10, 8))
    x = (
        2 * rng.normal(size=(K, dim))[labels]
        + rng.normal(size=(len(labels), dim)) * rng.uniform(0.3, 1.5, (K, 1))[labels]
    )
    init = special.softmax(np.eye(K)[labels] + 0.5 * rng.normal(size=(len(labels), K)), -1)
    return x, init


def maximise(x, r, kind):
    """The M step by its formulas."""
    weight = r.sum(0)
    mean = r.T @ x / weight[:, None]
    deviation = x[:, None] - mean
    scatter = np.einsum("nk,nkd,nke->kde", r, deviation, deviation)
    eye = RIDGE * np.eye(x.shape[1])
    if kind == "tied":
        covariance = scatter.sum(0) / weight.sum() + eye
    elif kind == "full":
        covariance = scatter / weight[:, None, None] + eye
    else:
        covariance = np.einsum("kdd->kd", scatter) / weight[:, None] + RIDGE
    return weight / weight.sum(), mean, covariance


def expect(x, mixture, kind):
    """The E step by scipy: log-densities of the weighted components."""
    weights, means, covariance = mixture
    if kind == "tied":
        covariance = np.broadcast_to(covariance, (len(means), *covariance.shape))
    # A covariance given as a vector is a diagonal one.
    parts = [stats.multivariate_normal(m, c).logpdf(x) for m, c in zip(means, covariance, strict=True)]
    return np.log(weights) + np.stack(parts, 1)


def by_numpy(x, r, kind, num_iters=ITERS):
    likelihood = []
    for _ in range(num_iters):
        log_prob = expect(x, maximise(x, r, kind), kind)
        likelihood.append(special.logsumexp(log_prob, -1).mean())
        r = special.softmax(log_prob, -1)
    return maximise(x, r, kind), r, likelihood


def fit(x, init, kind, where=None, ridge=RIDGE):
    """gmm_em with every argument given, so that all calls of a kind are one program."""
    where = np.ones(len(x), bool) if where is None else where
    return gmm_em(x, init, covariance=kind, num_iters=ITERS, ridge=ridge, where=where)


def close_to(found, expected, kind, tol=1e-10):
    (weights, means, covariance), posterior, likelihood = expected
    close(np.exp(found.mixture.log_weight), weights, tol)
    close(found.mixture.mean, means, tol)
    close(found.mixture.covariance[0] if kind == "tied" else found.mixture.covariance, covariance, tol)
    close(found.posterior, posterior, tol)
    close(found.log_likelihood, likelihood, tol)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_scikit_learn_step_by_step(kind):
    x, init = data(0)
    weights, means, covariance = maximise(x, init, kind)
    peer = peers.GaussianMixture(
        K,
        covariance_type=kind,
        max_iter=ITERS,
        tol=0.0,
        reg_covar=RIDGE,
        weights_init=weights,
        means_init=means,
        precisions_init=1 / covariance if kind == "diag" else np.linalg.inv(covariance),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(x)
    with jax.enable_x64(True):
        found = fit(x, init, kind)
        assert found.log_likelihood.shape == (ITERS,)
        close(np.exp(found.mixture.log_weight), peer.weights_, 1e-10)
        close(found.mixture.mean, peer.means_, 1e-10)
        close(found.mixture.covariance[0] if kind == "tied" else found.mixture.covariance, peer.covariances_, 1e-10)
        close(found.log_likelihood[-1], peer.lower_bound_, 1e-10)
        log_prob = gmm_log_prob(found.mixture, x)
        close(special.softmax(log_prob, -1), peer.predict_proba(x), 1e-10)
        close(special.logsumexp(log_prob, -1), peer.score_samples(x), 1e-10)
        # And with every intermediate result of a loop in numpy.
        expected = by_numpy(x, init, kind)
        close_to(found, expected, kind)
        close(log_prob, expect(x, expected[0], kind), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_likelihood_never_falls(kind):
    x, init = data(2)
    with jax.enable_x64(True):
        values = []
        for _ in range(6):
            found = fit(x, init, kind, ridge=0.0)
            init, values = np.asarray(found.posterior), [*values, *np.asarray(found.log_likelihood)]
    assert (np.diff(values) >= -1e-12).all()
    assert values[-1] > values[0] + 1e-3


def test_bfloat16_rows_are_fitted_in_float32():
    x, init = data(1)
    narrow = jnp.asarray(x, jnp.bfloat16)
    found = fit(narrow, init.astype(np.float32), "tied")
    assert found.mixture.mean.dtype == jnp.float32
    close_to(found, by_numpy(np.asarray(narrow, np.float64), init, "tied"), "tied", 1e-4)


def test_the_tied_mixture_is_the_linear_discriminant():
    x, labels = formulas.blobs(4, (9, 12, 7))
    mean, share = formulas.means(x, labels, 3), np.bincount(labels) / len(x)
    covariance = formulas.scatter(x, labels, 3) / len(x) + 0.1 * np.eye(4)
    mixture = GaussianMixture(np.log(share), mean, covariance[None])
    linear = formulas.discriminant(x, mean, np.linalg.inv(covariance), np.log(share))
    with jax.enable_x64(True):
        scores = np.asarray(gmm_log_prob(mixture, x.astype(np.float64)))
    close(scores - scores[:, :1], linear - linear[:, :1], 1e-10)


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_in_one_dimension_components_are_sorted(kind):
    x, init = data(5, dim=1)
    with jax.enable_x64(True):
        ways = [fit(x, init[:, order], kind) for order in ([0, 1, 2], [2, 0, 1])]
        for a, b in zip(*map(jax.tree.leaves, ways), strict=True):
            close(a, b, 1e-10)
        (weights, means, covariance), posterior, likelihood = by_numpy(x, init, kind)
        order = np.argsort(means[:, 0])
        spread = covariance if kind == "tied" else covariance[order]
        close_to(ways[0], ((weights[order], means[order], spread), posterior[:, order], likelihood), kind)
        assert (np.diff(ways[0].mixture.mean[:, 0]) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_do_not_count(kind):
    x, init = data(6)
    where = np.arange(len(x)) % 4 > 0
    dirty = np.where(where[:, None], x, np.nan), np.where(where[:, None], init, np.nan)
    with jax.enable_x64(True):
        masked = fit(*dirty, kind, where)
        assert (np.asarray(masked.posterior)[~where] == 0).all()
        close_to(masked._replace(posterior=masked.posterior[where]), by_numpy(x[where], init[where], kind), kind)


def test_initial_posteriors_are_weights():
    x, init = data(7)
    with jax.enable_x64(True):
        once, scaled = (fit(x, s * init, "tied") for s in (1.0, 7.0))
        jax.tree.map(lambda a, b: close(a, b, 1e-10), once, scaled)


@pytest.mark.parametrize("kind", KINDS)
def test_a_component_that_lost_all_weight(kind):
    x, init = data(8)
    init = np.where(np.arange(K) == 1, 0, init)
    alive = np.array([0, 2])
    with jax.enable_x64(True):
        found = fit(x, init, kind)
        (weights, means, covariance), posterior, likelihood = by_numpy(x, init[:, alive], kind)
        assert found.mixture.log_weight[1] == -np.inf
        np.testing.assert_array_equal(found.mixture.mean[1], 0)
        assert (np.asarray(found.posterior)[:, 1] == 0).all()
        close(np.exp(found.mixture.log_weight)[alive], weights, 1e-10)
        close(found.mixture.mean[alive], means, 1e-10)
        close(found.posterior[:, alive], posterior, 1e-10)
        close(found.log_likelihood, likelihood, 1e-10)
        if kind == "tied":
            close(found.mixture.covariance[0], covariance, 1e-10)
        else:
            floor = RIDGE * (np.eye(DIM) if kind == "full" else np.ones(DIM))
            np.testing.assert_array_equal(found.mixture.covariance[1], floor)
            close(found.mixture.covariance[alive], covariance, 1e-10)


def test_zero_shot_posteriors_are_improved_by_unlabelled_rows():
    """The unsupervised use: a wrong classifier's posteriors, then EM with a tied covariance."""
    rng = np.random.default_rng(10)
    labels = np.repeat(np.arange(K), 200)
    mixing = np.array([[1.0, 0.9], [0.0, 0.5]])
    x = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])[labels] + rng.normal(size=(600, DIM)) @ mixing
    guess = np.array([[0.8, 0.5], [2.5, 1.0], [0.3, 2.2]])
    init = special.softmax(-((x[:, None] - guess) ** 2).sum(-1), -1).astype(np.float32)
    found = gmm_em(x.astype(np.float32), init, covariance="tied", num_iters=30)
    before, after = ((p.argmax(1) == labels).mean() for p in (init, np.asarray(found.posterior)))
    assert after > before + 0.03
