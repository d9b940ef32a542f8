"""Representations, ensembles and distributions compared: CKA, scatter of classes, disagreement, Jensen-Shannon."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special

from jaxlab import kernels, metrics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(30, 4), (6, 20)])
def test_cka_is_the_ratio_of_centred_products(shape):
    x, y = RNG.standard_normal((2, *shape)).astype(np.float32) + 5.0
    xc, yc = x - x.mean(0), y - y.mean(0)
    wanted = np.sum((yc.T @ xc) ** 2) / np.linalg.norm(xc.T @ xc) / np.linalg.norm(yc.T @ yc)
    np.testing.assert_allclose(metrics.linear_cka(x, y), wanted, rtol=1e-4)
    rotation = np.linalg.qr(RNG.standard_normal((shape[1],) * 2))[0].astype(np.float32)
    np.testing.assert_allclose(metrics.linear_cka(x, 3e10 * (x @ rotation) + 1.0), 1.0, rtol=1e-4)
    np.testing.assert_allclose(metrics.linear_cka(x, y), metrics.linear_cka(y, x), rtol=1e-5)
    for count, value in ((7, 0.3), (10, 0.7)):  # the means of these round
        assert metrics.linear_cka(np.full((count, 2), 0.1, np.float32), np.full((count, 2), value, np.float32)) == 0


def test_cka_sees_nothing_in_orthogonal_features_and_in_constants():
    x = jnp.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert metrics.linear_cka(x, jnp.array([[1.0], [1.0], [-1.0], [-1.0]])) == 0.0
    assert metrics.linear_cka(x, jnp.ones((4, 2))) == 0.0
    where = jnp.array([True, True, True, True, False])
    assert metrics.linear_cka(jnp.append(x, jnp.array([[jnp.nan]]), 0), jnp.ones((5, 1)), where=where) == 0.0


def test_unbiased_cka_of_noise_is_near_zero_where_the_plain_one_is_near_one():
    x, y = RNG.standard_normal((2, 20, 400)).astype(np.float32)
    assert metrics.linear_cka(x, y) > 0.9
    assert abs(metrics.linear_cka(x, y, unbiased=True)) < 0.1
    assert metrics.linear_cka(x, x, unbiased=True) == pytest.approx(1.0, abs=1e-5)


def test_unbiased_centring_gives_an_unbiased_product():
    """E<A, B> = n (n - 3) times the population value, which is 0 for independent samples."""
    samples = RNG.standard_normal((2, 4000, 5, 1)).astype(np.float32)
    a, b = (jnp.abs(s - jnp.swapaxes(s, -1, -2)) for s in samples)

    def product(unbiased):
        centered = [kernels.double_center(d, unbiased=unbiased) for d in (a, b)]
        return jnp.mean(jnp.sum(centered[0] * centered[1], axis=(-1, -2)))

    assert abs(product(True)) < 0.1 < 1.0 < product(False)


def test_double_centering_by_hand_and_with_a_mask():
    d = np.abs(np.arange(4.0)[:, None] - np.array([0.0, 1.0, 2.0, 3.0])).astype(np.float32)
    j = np.eye(4) - 0.25
    np.testing.assert_allclose(kernels.double_center(d), j @ d @ j, atol=1e-6)
    u = np.asarray(kernels.double_center(d, unbiased=True))
    np.testing.assert_allclose(u.sum(0), 0.0, atol=1e-6)
    np.testing.assert_array_equal(np.diagonal(u), 0.0)
    bigger = np.pad(d, ((0, 2), (0, 2)), constant_values=np.nan)
    for unbiased in (False, True):
        masked = kernels.double_center(bigger, unbiased=unbiased, where=jnp.arange(6) < 4)
        np.testing.assert_allclose(masked[:4, :4], kernels.double_center(d, unbiased=unbiased), atol=1e-6)
        np.testing.assert_array_equal(masked[4:], 0.0)
    np.testing.assert_array_equal(kernels.double_center(d[:2, :2], unbiased=True), 0.0)


def test_row_normalized_gram_forgets_rotation_and_scale_but_not_order():
    x = RNG.standard_normal((5, 3)).astype(np.float32)
    rotation = np.linalg.qr(RNG.standard_normal((3, 3)))[0].astype(np.float32)
    gram = kernels.row_normalized_gram(x)
    np.testing.assert_allclose(kernels.row_normalized_gram(4.0 * x @ rotation), gram, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(gram, axis=-1), 1.0, rtol=1e-5)
    assert np.abs(kernels.row_normalized_gram(x[::-1]) - gram).max() > 0.1
    np.testing.assert_array_equal(kernels.row_normalized_gram(jnp.zeros((1, 3))), 0.0)


def test_scatter_adds_up_to_the_covariance_of_balanced_classes():
    features, labels = RNG.standard_normal((12, 3)).astype(np.float32) + 2.0, np.arange(12) % 3
    scatter = metrics.class_scatter(features, labels, num_classes=4)
    np.testing.assert_allclose(scatter.within + scatter.between, np.cov(features.T, bias=True), atol=1e-5)
    np.testing.assert_array_equal(scatter.count, [4, 4, 4, 0])
    np.testing.assert_array_equal(scatter.means[3], 0.0)
    spoiled = np.vstack([features, np.full((2, 3), np.nan, np.float32)])
    again = metrics.class_scatter(spoiled, np.append(labels, [-1, 7]), num_classes=4)
    np.testing.assert_allclose(again.within, scatter.within, atol=1e-6)


def test_disagreement_by_definition():
    probs = RNG.dirichlet(np.ones(4), (3, 6)).astype(np.float32)
    pair = probs[:, None], probs[None]
    one_way = scipy.special.rel_entr(*pair).sum(-1).mean(-1)
    np.testing.assert_allclose(metrics.pairwise_disagreement(probs), (one_way + one_way.T) / 2, atol=1e-5)
    l1 = np.abs(pair[0] - pair[1]).mean((-1, -2))
    np.testing.assert_allclose(metrics.pairwise_disagreement(probs, kind="l1"), l1, atol=1e-6)
    rate = (pair[0].argmax(-1) != pair[1].argmax(-1)).mean(-1)
    np.testing.assert_allclose(metrics.pairwise_disagreement(probs, kind="argmax"), rate, atol=1e-6)
    where = np.arange(6) < 4
    spoiled = np.where(where[:, None], probs, np.nan).astype(np.float32)
    for kind in ("kl", "l1", "argmax"):
        masked = metrics.pairwise_disagreement(spoiled, kind=kind, where=where)
        np.testing.assert_allclose(masked, metrics.pairwise_disagreement(probs[:, :4], kind=kind), atol=1e-6)
        np.testing.assert_allclose(metrics.pairwise_disagreement(probs[:1].repeat(2, 0), kind=kind), 0.0, atol=1e-7)
    sure = jnp.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    assert metrics.pairwise_disagreement(sure)[0, 1] == jnp.inf
    assert jnp.all(jnp.isfinite(jax.grad(lambda p: metrics.pairwise_disagreement(p)[0, 1])(probs)))


def test_jensen_shannon_equals_scipy_for_two_and_its_definition_for_many():
    p = RNG.dirichlet(np.ones(5), 3).astype(np.float32)
    p[0, 0] = 0.0
    p[0] /= p[0].sum()
    with np.errstate(divide="ignore"):
        logs = np.log(p)
    two = metrics.jensen_shannon_divergence(logs[:2])
    np.testing.assert_allclose(two, scipy.spatial.distance.jensenshannon(p[0], p[1]) ** 2, rtol=1e-4)
    weights = np.array([0.5, 0.3, 0.2], np.float32)
    entropy = scipy.special.entr
    wanted = entropy(weights @ p).sum() - weights @ entropy(p).sum(-1)
    np.testing.assert_allclose(metrics.jensen_shannon_divergence(logs, weights=5 * weights), wanted, rtol=1e-4)
    apart = metrics.jensen_shannon_divergence(jnp.log(jnp.eye(4)))
    np.testing.assert_allclose(apart, np.log(4), rtol=1e-6)
    spoiled = np.vstack([logs[:2], np.full((1, 5), np.nan, np.float32)])
    ignored = metrics.jensen_shannon_divergence(spoiled, weights=jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(ignored, two, rtol=1e-5)
    gradient = jax.grad(lambda z: metrics.jensen_shannon_divergence(jax.nn.log_softmax(z)))(jnp.zeros((2, 3)))
    np.testing.assert_array_equal(gradient, 0.0)


def test_bad_input():
    with pytest.raises(ValueError, match=r"matrix must have shape \[\.\.\., N, N\], got \[2, 3\]"):
        kernels.double_center(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="kind"):
        metrics.pairwise_disagreement(jnp.ones((2, 2, 2)), kind="cosine")
    with pytest.raises(ValueError, match=r"weights must have shape \[2\]"):
        metrics.jensen_shannon_divergence(jnp.zeros((2, 3)), weights=jnp.ones(3))
    with pytest.raises(ValueError, match="y"):
        metrics.linear_cka(jnp.ones((4, 2)), jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="num_classes"):
        metrics.class_scatter(jnp.ones((4, 2)), jnp.zeros(4, jnp.int32), num_classes=0)
