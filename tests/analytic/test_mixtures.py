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

K, DIM, RIDGE = 3, 2, 1e-3
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


def matrices(fit, kind):
    """Covariance matrices [K, D, D] of a mixture of any kind."""
    covariance = np.asarray(fit.mixture.covariance)
    if kind == "diag":
        return covariance[:, :, None] * np.eye(covariance.shape[1])
    return np.broadcast_to(covariance, (K, *covariance.shape[1:]))


@pytest.mark.parametrize("num_iters", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_scikit_learn_step_by_step(kind, num_iters):
    x, init = data(0)
    weights, means, covariance = maximise(x, init, kind)
    precisions = 1 / covariance if kind == "diag" else np.linalg.inv(covariance)
    peer = peers.GaussianMixture(
        K,
        covariance_type=kind,
        max_iter=num_iters,
        tol=0.0,
        reg_covar=RIDGE,
        weights_init=weights,
        means_init=means,
        precisions_init=precisions,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(x)
    with jax.enable_x64(True):
        fit = gmm_em(x, init, covariance=kind, num_iters=num_iters, ridge=RIDGE)
        assert fit.log_likelihood.shape == (num_iters,)
        close(np.exp(fit.mixture.log_weight), peer.weights_, 1e-10)
        close(fit.mixture.mean, peer.means_, 1e-10)
        found = fit.mixture.covariance[0] if kind == "tied" else fit.mixture.covariance
        close(found, peer.covariances_, 1e-10)
        close(fit.log_likelihood[-1], peer.lower_bound_, 1e-10)
        log_prob = gmm_log_prob(fit.mixture, x)
        close(special.softmax(log_prob, -1), peer.predict_proba(x), 1e-10)
        close(special.logsumexp(log_prob, -1), peer.score_samples(x), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_finds_the_same_mixture(kind):
    x, init = data(1)
    with jax.enable_x64(True):
        expected = gmm_em(x, init, covariance=kind, num_iters=4, ridge=RIDGE)
    fit = gmm_em(x.astype(np.float32), init.astype(np.float32), covariance=kind, num_iters=4, ridge=RIDGE)
    assert fit.mixture.mean.dtype == jnp.float32
    jax.tree.map(lambda a, b: close(a, b, 1e-4), fit, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_likelihood_never_falls(kind):
    x, init = data(2)
    with jax.enable_x64(True):
        values = np.asarray(gmm_em(x, init, covariance=kind, num_iters=30, ridge=0.0).log_likelihood)
    assert (np.diff(values) >= -1e-12).all()
    assert values[-1] > values[0] + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_equals_scipy(kind):
    x, init = data(3, dim=3)
    with jax.enable_x64(True):
        fit = gmm_em(x, init, covariance=kind, num_iters=1, ridge=RIDGE)
        expected = [
            w + stats.multivariate_normal(m, c).logpdf(x)
            for w, m, c in zip(np.asarray(fit.mixture.log_weight), fit.mixture.mean, matrices(fit, kind), strict=True)
        ]
        close(gmm_log_prob(fit.mixture, x), np.stack(expected, 1), 1e-10)


def test_the_tied_mixture_is_the_linear_discriminant():
    x, labels = formulas.blobs(4, (9, 12, 7))
    state = analytic.class_stats_update(analytic.class_stats_init(3, 4, second="shared"), x, labels)
    covariance = analytic.within_scatter(state)[None] / len(x) + 0.1 * np.eye(4, dtype=np.float32)
    log_weight = np.log(np.bincount(labels) / len(x)).astype(np.float32)
    mixture = GaussianMixture(log_weight, analytic.class_stats_means(state), covariance)
    head = jax.jit(lambda s: analytic.lda(s, ridge=0.1, prior="empirical"))(state)
    scores, linear = gmm_log_prob(mixture, x), analytic.head_logits(head, x)
    close(scores - scores[:, :1], linear - linear[:, :1], 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_in_one_dimension_components_are_sorted(kind):
    x, init = data(5, dim=1)
    with jax.enable_x64(True):
        fits = [
            gmm_em(x, init[:, order], covariance=kind, num_iters=4, ridge=RIDGE) for order in ([0, 1, 2], [2, 0, 1])
        ]
        for a, b in zip(*map(jax.tree.leaves, fits), strict=True):
            close(a, b, 1e-10)
        fit = fits[0]
        assert (np.diff(fit.mixture.mean[:, 0]) > 0).all()
        # Everything was sorted along: the mixture is the one that these posteriors make.
        for part, expected in zip(fit.mixture, maximise(x, np.asarray(fit.posterior), kind), strict=True):
            value = np.exp(part) if part is fit.mixture.log_weight else np.asarray(part)
            close(value.reshape(expected.shape), expected, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_do_not_count(kind):
    x, init = data(6)
    where = np.arange(len(x)) % 4 > 0
    dirty = np.where(where[:, None], x, np.nan), np.where(where[:, None], init, np.nan)
    with jax.enable_x64(True):
        masked = gmm_em(*dirty, covariance=kind, num_iters=4, ridge=RIDGE, where=where)
        alone = gmm_em(x[where], init[where], covariance=kind, num_iters=4, ridge=RIDGE)
        jax.tree.map(lambda a, b: close(a, b, 1e-10), masked.mixture, alone.mixture)
        close(masked.log_likelihood, alone.log_likelihood, 1e-10)
        close(masked.posterior[where], alone.posterior, 1e-10)
        assert (np.asarray(masked.posterior)[~where] == 0).all()


def test_initial_posteriors_are_weights():
    x, init = data(7)
    with jax.enable_x64(True):
        once, scaled = (gmm_em(x, s * init, covariance="tied", num_iters=4, ridge=RIDGE) for s in (1.0, 7.0))
        jax.tree.map(lambda a, b: close(a, b, 1e-10), once, scaled)


@pytest.mark.parametrize("kind", KINDS)
def test_a_component_that_lost_all_weight(kind):
    x, init = data(8)
    init = np.where(np.arange(K) == 1, 0, init)
    with jax.enable_x64(True):
        fit = gmm_em(x, init, covariance=kind, num_iters=4, ridge=RIDGE)
        assert fit.mixture.log_weight[1] == -np.inf
        np.testing.assert_array_equal(fit.mixture.mean[1], 0)
        if kind != "tied":
            np.testing.assert_array_equal(matrices(fit, kind)[1], RIDGE * np.eye(DIM))
        assert (np.asarray(fit.posterior)[:, 1] == 0).all()
        two = gmm_em(x, init[:, [0, 2]], covariance=kind, num_iters=4, ridge=RIDGE)
        close(fit.log_likelihood, two.log_likelihood, 1e-10)
        close(fit.mixture.mean[np.array([0, 2])], two.mixture.mean, 1e-10)


def test_bfloat16_rows_are_fitted_in_float32():
    x, init = data(9)
    narrow = jnp.asarray(x, jnp.bfloat16)
    fit = gmm_em(narrow, init.astype(np.float32), covariance="tied", num_iters=4, ridge=RIDGE)
    wide = gmm_em(narrow.astype(jnp.float32), init.astype(np.float32), covariance="tied", num_iters=4, ridge=RIDGE)
    jax.tree.map(np.testing.assert_array_equal, fit, wide)
    assert gmm_log_prob(fit.mixture, narrow).dtype == jnp.float32


def test_zero_shot_posteriors_are_improved_by_unlabelled_rows():
    """The unsupervised use: a wrong classifier's posteriors, then EM with a tied covariance."""
    rng = np.random.default_rng(10)
    labels = np.repeat(np.arange(K), 200)
    mixing = np.array([[1.0, 0.9], [0.0, 0.5]])
    x = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])[labels] + rng.normal(size=(600, DIM)) @ mixing
    guess = np.array([[0.8, 0.5], [2.5, 1.0], [0.3, 2.2]])
    init = special.softmax(-((x[:, None] - guess) ** 2).sum(-1), -1).astype(np.float32)
    fit = gmm_em(x.astype(np.float32), init, covariance="tied", num_iters=30)
    before, after = ((p.argmax(1) == labels).mean() for p in (init, np.asarray(fit.posterior)))
    assert after > before + 0.03
