"""Classes from domains: the identities of the mixture, exact recovery, and what estimates do to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import analytic, weaksup

K, R, N = 3, 4, 50
RNG = np.random.default_rng(0)
MARGINALS = RNG.dirichlet(np.ones(K), R).T.astype(np.float32)  # [K, R], columns sum to 1
POSTERIOR = RNG.dirichlet(np.ones(K), N).astype(np.float32)
DOMAINS = RNG.integers(0, R, N)


def domain_given_class(marginals):
    return (marginals / marginals.sum(1, keepdims=True)).T  # [R, K], columns sum to 1


def test_the_matrix_counts():
    clusters, domains = RNG.integers(0, 5, N), RNG.integers(0, R, N)
    expected = np.zeros((5, R))
    np.add.at(expected, (clusters, domains), 1)
    matrix = weaksup.domain_cluster_matrix(clusters, domains, num_clusters=5, num_domains=R)
    np.testing.assert_allclose(matrix, expected / expected.sum(0), rtol=1e-6)
    kept = np.arange(N) % 3 > 0
    dirty = np.where(kept, clusters, -1)
    by_label = weaksup.domain_cluster_matrix(dirty, domains, num_clusters=5, num_domains=R)
    by_mask = weaksup.domain_cluster_matrix(clusters, domains, num_clusters=5, num_domains=R, where=kept)
    np.testing.assert_array_equal(by_label, by_mask)
    alone = weaksup.domain_cluster_matrix(clusters, 0 * domains, num_clusters=5, num_domains=R)
    np.testing.assert_allclose(np.asarray(alone).sum(0), [1, 0, 0, 0], rtol=1e-6)


def test_scales_between_the_factors_say_nothing():
    mixture = RNG.dirichlet(np.ones(6), K).T.astype(np.float32)  # [6, K], columns sum to 1
    scale = np.float32([0.1, 3.0, 7.0])
    found = weaksup.normalize_nmf(mixture * scale, MARGINALS / scale[:, None])
    np.testing.assert_allclose(found.cluster_given_class, mixture, rtol=1e-5)
    np.testing.assert_allclose(found.class_given_domain, MARGINALS, rtol=1e-5)
    product = found.cluster_given_class @ found.class_given_domain
    np.testing.assert_allclose(product, mixture @ MARGINALS, rtol=1e-5)


def test_estimates_are_brought_to_sums_of_one():
    left, right = RNG.uniform(size=(6, K)).astype(np.float32), RNG.uniform(size=(K, R)).astype(np.float32)
    found = weaksup.normalize_nmf(left, right)
    np.testing.assert_allclose(found.cluster_given_class.sum(0), 1, rtol=1e-5)
    np.testing.assert_allclose(found.class_given_domain.sum(0), 1, rtol=1e-5)
    dead = weaksup.normalize_nmf(left * np.float32([1, 0, 1]), right)
    assert (np.asarray(dead.class_given_domain)[1] == 0).all()
    assert all(np.isfinite(leaf).all() for leaf in weaksup.normalize_nmf(0 * left, right))


def test_the_pseudo_inverse_is_exact():
    probs = POSTERIOR @ domain_given_class(MARGINALS).T
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(weaksup.label_posterior_from_domains(probs, MARGINALS), POSTERIOR, atol=1e-5)


def test_a_domain_of_its_own_for_every_class():
    probs = RNG.dirichlet(np.ones(K), N).astype(np.float32)
    np.testing.assert_allclose(
        weaksup.label_posterior_from_domains(probs, np.eye(K, dtype=np.float32)), probs, atol=1e-6
    )


def test_bayes_in_the_domain():
    adjusted = weaksup.domain_adjusted_posterior(POSTERIOR, MARGINALS, DOMAINS)
    expected = POSTERIOR * domain_given_class(MARGINALS)[DOMAINS]
    np.testing.assert_allclose(adjusted, expected / expected.sum(1, keepdims=True), rtol=1e-5)


def test_negative_entries_count_as_zero():
    """Without it, -.4 and .3 of equal domains would be divided by a negative sum, and the classes change places."""
    even = np.full((2, 2), 0.5, np.float32)
    estimate = np.float32([[-0.4, 0.3], [1.3, -0.3], [-1.0, -0.1]])
    adjusted = weaksup.domain_adjusted_posterior(estimate, even, np.zeros(3, int))
    np.testing.assert_allclose(adjusted, [[0, 1], [1, 0], [0.5, 0.5]], atol=1e-6)


def test_domains_out_of_range_and_impossible_rows():
    marginals = np.float32([[1, 0], [0, 1]])
    adjusted = weaksup.domain_adjusted_posterior(np.float32([[1, 0], [1, 0], [1, 0]]), marginals, np.array([0, 1, 2]))
    np.testing.assert_array_equal(adjusted, [[1, 0], [0.5, 0.5], [np.nan, np.nan]])


@pytest.mark.parametrize("seed", range(3))
def test_everything_is_recovered_from_anchor_clusters(seed):
    """Clusters that each hold one class alone: anchors of the factorisation, and with them everything is exact."""
    rng = np.random.default_rng(seed)
    marginals = rng.dirichlet(np.ones(K), R).T
    mixture = np.concatenate([0.4 * np.eye(K), 0.6 * rng.dirichlet(np.ones(3), K).T])  # [6, K]
    matrix = (mixture @ marginals).astype(np.float32)
    order = rng.permutation(len(matrix))
    anchors = analytic.anchor_rows(matrix[order], rank=K)
    right = matrix[order][np.asarray(anchors)]
    left = np.linalg.lstsq(right.T.astype(np.float64), matrix[order].T.astype(np.float64), rcond=None)[0].T
    found = weaksup.normalize_nmf(np.maximum(left, 0).astype(np.float32), right).class_given_domain
    classes = np.argsort(order)[:K].tolist()
    match = [classes.index(int(anchor)) for anchor in anchors]
    np.testing.assert_allclose(found, marginals[match], atol=1e-4)

    posterior = rng.dirichlet(np.full(K, 0.3), N)
    probs = (posterior @ domain_given_class(marginals).T).astype(np.float32)
    domains = rng.integers(0, R, N)
    step = weaksup.label_posterior_from_domains(probs, found)
    np.testing.assert_allclose(step, posterior[:, match], atol=2e-3)
    final = weaksup.domain_adjusted_posterior(step, found, domains)
    expected = posterior * domain_given_class(marginals)[domains]
    np.testing.assert_allclose(final, (expected / expected.sum(1, keepdims=True))[:, match], atol=5e-3)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (
            ValueError,
            lambda: weaksup.label_posterior_from_domains(jnp.ones((2, 3)), jnp.ones((4, 3))),
            "at least 4 col",
        ),
        (ValueError, lambda: weaksup.label_posterior_from_domains(jnp.ones((2, 3)), jnp.ones((2, 4))), r"\[N, 4\]"),
        (ValueError, lambda: weaksup.normalize_nmf(jnp.ones((2, 3)), jnp.ones((2, 4))), "right must have 3 rows"),
        (
            TypeError,
            lambda: weaksup.domain_adjusted_posterior(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(2)),
            "domains",
        ),
        (
            ValueError,
            lambda: weaksup.domain_cluster_matrix(jnp.zeros(3, int), jnp.zeros(2, int), num_clusters=2, num_domains=2),
            "same shape",
        ),
    ],
)
def test_bad_input(error, call, message):
    with pytest.raises(error, match=message):
        call()


def test_under_vmap():
    many = jax.vmap(lambda p: weaksup.domain_adjusted_posterior(p, MARGINALS, DOMAINS))(np.stack([POSTERIOR] * 2))
    np.testing.assert_allclose(many[1], weaksup.domain_adjusted_posterior(POSTERIOR, MARGINALS, DOMAINS), rtol=1e-6)
