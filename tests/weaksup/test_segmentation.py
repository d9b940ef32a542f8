"""weaksup.segmentation: RePRI against its formulas, what each term does, pixels that do not count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import vision, weaksup
from jaxlab.weaksup import PixelClassifier

RNG = np.random.default_rng(0)
SUPPORT = RNG.standard_normal((2, 4, 5, 6)).astype(np.float32)
MASK = RNG.random((2, 4, 5)) < 0.4
QUERY = RNG.standard_normal((4, 5, 6)).astype(np.float32)


def cosine(features, weight):
    return features @ weight / (np.linalg.norm(features, axis=-1) * np.linalg.norm(weight))


def test_start_is_the_mean_foreground_and_a_mean_logit_of_zero():
    start = weaksup.repri_init(SUPPORT, MASK, QUERY)
    np.testing.assert_allclose(start.weight, SUPPORT[MASK].mean(0), rtol=1e-5)
    np.testing.assert_allclose(start.bias, 20 * cosine(QUERY, SUPPORT[MASK].mean(0)).mean(), rtol=1e-4)
    # At a smaller scale no probability rounds to 0 or 1.
    small = weaksup.repri_init(SUPPORT, MASK, QUERY, scale=2.0)
    probs = np.asarray(weaksup.repri_probs(small, QUERY, scale=2.0), np.float64)
    np.testing.assert_allclose(np.log(probs / (1 - probs)).mean(), 0.0, atol=1e-5)


def test_length_of_the_weight_does_not_matter():
    start = weaksup.repri_init(SUPPORT, MASK, QUERY)
    longer = PixelClassifier(7 * start.weight, start.bias)
    np.testing.assert_allclose(weaksup.repri_probs(longer, QUERY), weaksup.repri_probs(start, QUERY), atol=1e-6)


def reference_loss(weight, bias, prior, kl, ent):
    def probs(x):
        return 1 / (1 + np.exp(-(3 * cosine(x, weight) - bias)))

    on_support, on_query = probs(SUPPORT), probs(QUERY)
    fit = -np.log(np.where(MASK, on_support, 1 - on_support)).mean()
    share = on_query.mean()
    divergence = share * np.log(share / prior) + (1 - share) * np.log((1 - share) / (1 - prior))
    doubt = -(on_query * np.log(on_query) + (1 - on_query) * np.log(1 - on_query)).mean()
    return fit + kl * divergence + ent * doubt


@pytest.mark.parametrize("weights", [(0.0, 0.0), (2.0, 0.0), (0.0, 3.0), (1.0, 1.0)])
def test_loss_is_the_formula(weights):
    weight, bias = RNG.standard_normal(6).astype(np.float32), np.float32(0.3)
    loss = weaksup.repri_loss(
        PixelClassifier(weight, bias),
        SUPPORT,
        MASK,
        QUERY,
        prior=0.3,
        kl_weight=weights[0],
        entropy_weight=weights[1],
        scale=3.0,
    )
    np.testing.assert_allclose(loss, reference_loss(weight.astype(float), 0.3, 0.3, *weights), rtol=1e-4)


def test_divergence_rests_where_the_share_is_the_prior():
    start = weaksup.repri_init(SUPPORT, MASK, QUERY)
    share = weaksup.repri_probs(start, QUERY).mean()

    def loss(classifier, weight):
        return weaksup.repri_loss(classifier, SUPPORT, MASK, QUERY, prior=share, kl_weight=weight, entropy_weight=0.0)

    with_it, without = (jax.grad(loss)(start, weight) for weight in (5.0, 0.0))
    np.testing.assert_allclose(with_it.weight, without.weight, atol=1e-4)
    np.testing.assert_allclose(with_it.bias, without.bias, atol=1e-4)


def by_hand(steps, update_at, shots=2):
    """The published loop: the share is estimated, and the divergence's weight raised, right before step update_at."""
    now = weaksup.repri_init(SUPPORT, MASK, QUERY)
    share, weight = weaksup.repri_probs(now, QUERY).mean(), 1 / shots
    for number in range(1, steps + 1):
        if number == update_at:
            share, weight = weaksup.repri_probs(now, QUERY).mean(), weight + 1
        gradient = jax.grad(weaksup.repri_loss)(
            now, SUPPORT, MASK, QUERY, prior=share, kl_weight=weight, entropy_weight=1 / shots
        )
        now = jax.tree.map(lambda p, g: p - 0.025 * g, now, gradient)
    return now


def test_adaptation_is_the_published_loop():
    fitted = weaksup.repri_adapt(SUPPORT, MASK, QUERY, num_steps=5, update_at=3)
    expected = by_hand(5, 3)
    np.testing.assert_allclose(fitted.weight, expected.weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fitted.bias, expected.bias, rtol=1e-4)
    never = weaksup.repri_adapt(SUPPORT, MASK, QUERY, num_steps=5, update_at=6)
    assert np.abs(never.bias - fitted.bias) > 1e-5


def test_a_known_share_is_held():
    share = {}
    for prior in (0.1, 0.5):
        fitted = weaksup.repri_adapt(
            SUPPORT, MASK, QUERY, num_steps=100, prior=prior, kl_weight=50.0, learning_rate=0.02
        )
        share[prior] = float(weaksup.repri_probs(fitted, QUERY).mean())
    assert share[0.1] < 0.2 < 0.4 < share[0.5]


def test_a_known_share_does_not_weigh_more_later():
    known = {"prior": 0.3, "num_steps": 5, "update_at": 3}
    grown, same = (weaksup.repri_adapt(SUPPORT, MASK, QUERY, kl_growth=growth, **known) for growth in (1.0, 0.0))
    np.testing.assert_array_equal(grown.weight, same.weight)
    np.testing.assert_array_equal(grown.bias, same.bias)


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_a_share_of_nothing_or_all_is_finite(prior):
    start = weaksup.repri_init(SUPPORT, MASK, QUERY)
    terms = {"kl_weight": 1.0, "entropy_weight": 1.0}

    @jax.jit
    def loss(classifier):
        return weaksup.repri_loss(classifier, SUPPORT, MASK, QUERY, prior=prior, **terms)

    fitted = jax.jit(lambda: weaksup.repri_adapt(SUPPORT, MASK, QUERY, num_steps=5, prior=prior))()
    for tree in (loss(start), jax.grad(loss)(start), fitted):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
    traced = jax.jit(lambda p: weaksup.repri_loss(start, SUPPORT, MASK, QUERY, prior=p, **terms))(prior)
    np.testing.assert_allclose(traced, loss(start), rtol=1e-5)
    share = np.asarray(weaksup.repri_probs(start, QUERY), np.float64).mean()
    other = share if prior == 0 else 1 - share  # of the side whose prior is 0
    divergence = share * np.log(share) + (1 - share) * np.log(1 - share) - other * np.log(1e-10)
    without = weaksup.repri_loss(start, SUPPORT, MASK, QUERY, prior=prior, kl_weight=0.0, entropy_weight=1.0)
    np.testing.assert_allclose(loss(start) - without, divergence, rtol=1e-4)


def test_entropy_alone_empties_or_fills_the_mask():
    def doubt(**weights):
        fitted = weaksup.repri_adapt(SUPPORT, MASK, QUERY, num_steps=60, learning_rate=0.2, **weights)
        p = np.asarray(weaksup.repri_probs(fitted, QUERY), np.float64)
        return -(p * np.log(p + 1e-12) + (1 - p) * np.log(1 - p + 1e-12)).mean()

    without = doubt(kl_weight=0.0, kl_growth=0.0, entropy_weight=0.0)
    assert doubt(kl_weight=0.0, kl_growth=0.0, entropy_weight=5.0) < without - 0.05


def test_pixels_that_do_not_count_do_not_matter():
    where, query_where = np.ones((2, 4, 5), bool), np.ones((4, 5), bool)
    where[0, 0], query_where[:, 2] = False, False
    masks = {"where": where, "query_where": query_where, "num_steps": 4, "update_at": 2}
    clean = weaksup.repri_adapt(SUPPORT, MASK, QUERY, **masks)
    spoilt = weaksup.repri_adapt(
        np.where(where[..., None], SUPPORT, np.nan),
        MASK ^ ~where,
        np.where(query_where[..., None], QUERY, 1e30),
        **masks,
    )
    np.testing.assert_allclose(spoilt.weight, clean.weight, rtol=1e-5)
    np.testing.assert_allclose(spoilt.bias, clean.bias, rtol=1e-5)


def test_pooling():
    pooled = vision.masked_average_pool(SUPPORT, MASK)
    for image in range(2):
        np.testing.assert_allclose(pooled[image], SUPPORT[image][MASK[image]].mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(vision.masked_average_pool(SUPPORT, np.zeros_like(MASK)), 0)


def test_an_empty_mask_is_finite():
    fitted = weaksup.repri_adapt(SUPPORT, np.zeros_like(MASK), QUERY, num_steps=3)
    assert np.all(np.isfinite(fitted.weight))
    assert np.isfinite(fitted.bias)


def test_bad_input():
    with pytest.raises(ValueError, match="mask must have shape"):
        weaksup.repri_init(SUPPORT, MASK[:1], QUERY)
    with pytest.raises(ValueError, match="query must have width 6"):
        weaksup.repri_init(SUPPORT, MASK, QUERY[..., :5])
    with pytest.raises(ValueError, match="support must have shape"):
        weaksup.repri_init(SUPPORT[0], MASK[0], QUERY)
    with pytest.raises(TypeError, match="mask must be boolean"):
        weaksup.repri_init(SUPPORT, MASK.astype(int), QUERY)
    with pytest.raises(ValueError, match="features must have width"):
        weaksup.repri_probs(PixelClassifier(jnp.ones(3), jnp.array(0.0)), QUERY)
    with pytest.raises(ValueError, match="num_steps"):
        weaksup.repri_adapt(SUPPORT, MASK, QUERY, num_steps=-1)
    with pytest.raises(ValueError, match="prior must lie in"):
        weaksup.repri_adapt(SUPPORT, MASK, QUERY, prior=1.5)
    start = weaksup.repri_init(SUPPORT, MASK, QUERY)
    with pytest.raises(ValueError, match="prior must lie in"):
        weaksup.repri_loss(start, SUPPORT, MASK, QUERY, prior=1.5, kl_weight=1.0, entropy_weight=1.0)
