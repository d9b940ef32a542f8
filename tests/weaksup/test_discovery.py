"""Discovery of classes: views that teach each other, the class prior, rows that look known, heads for what is not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from jaxlab import numerics, weaksup

RNG = np.random.default_rng(0)
LOGITS = RNG.uniform(-1, 1, (8, 4)).astype(np.float32)
KNOWN = np.array([True, True, False, False])
PRIOR = weaksup.ClassPrior(jnp.array([0.4, 0.1, 0.2, 0.3]))
UNIFORM = weaksup.class_prior_init(4)

ler = jax.jit(weaksup.local_entropy_regularization)
swapped = jax.jit(weaksup.swapped_prediction)
update = jax.jit(weaksup.class_prior_update)


def chosen(logits, threshold=0.7, temperature=0.1):
    p = special.softmax(logits / temperature, -1)
    return (p.max(-1) >= threshold) & KNOWN[p.argmax(-1)]


def test_regulariser_equals_numpy():
    z = LOGITS.astype(np.float64) / 0.05
    expected = -(special.softmax(z, -1) * special.log_softmax(z + 0.4 * np.log(PRIOR.probs), -1)).sum(-1)
    picked = chosen(LOGITS)
    assert 1 < picked.sum() < 7
    np.testing.assert_allclose(ler(LOGITS, PRIOR, KNOWN), np.where(picked, expected, 0), rtol=1e-4, atol=1e-6)


def test_with_a_uniform_prior_it_is_the_entropy():
    expected = np.where(chosen(LOGITS), numerics.entropy(LOGITS / 0.05), 0)
    np.testing.assert_allclose(ler(LOGITS, UNIFORM, KNOWN), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ler(LOGITS, PRIOR, KNOWN, tau=0.0), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(ler(LOGITS, PRIOR, KNOWN) - expected).max() > 1e-3


def test_the_prior_is_a_margin_on_rare_classes():
    """A row of a class that is predicted rarely is pushed harder than one of a frequent class."""
    rare, frequent = (
        jax.grad(lambda z: weaksup.local_entropy_regularization(z, PRIOR, KNOWN).sum())(row[None])[0]
        for row in (np.array([0.6, 0.8, 0, 0], np.float32), np.array([0.8, 0.6, 0, 0], np.float32))
    )
    assert rare[1] < 0
    assert rare[1] < frequent[0]


def test_which_rows_count():
    assert (ler(LOGITS, PRIOR, KNOWN, threshold=1.1) == 0).all()
    assert (ler(LOGITS, PRIOR, np.zeros(4, bool)) == 0).all()
    unlabelled = np.arange(8) % 2 == 0
    dirty = np.where(unlabelled[:, None], LOGITS, np.nan)
    expected = np.where(unlabelled, ler(LOGITS, PRIOR, KNOWN), 0)
    np.testing.assert_allclose(ler(dirty, PRIOR, KNOWN, where=unlabelled), expected, rtol=1e-6)
    every = ler(LOGITS, PRIOR, np.ones(4, bool), threshold=0.0)
    assert (every > 0).all()


def test_a_class_that_was_never_predicted():
    prior = weaksup.ClassPrior(jnp.array([1.0, 0.0, 0.0, 0.0]))
    value, gradient = jax.value_and_grad(lambda z: weaksup.local_entropy_regularization(z, prior, KNOWN).sum())(LOGITS)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert (jax.grad(lambda p: ler(LOGITS, weaksup.ClassPrior(p), KNOWN).sum())(PRIOR.probs) == 0).all()


def test_prior():
    probs = special.softmax(LOGITS, -1)
    state = update(UNIFORM, probs, momentum=0.9)
    np.testing.assert_allclose(state.probs, 0.9 * 0.25 + 0.1 * probs.mean(0), rtol=1e-6)
    views = update(UNIFORM, np.stack([probs, probs[::-1]]), momentum=0.9)
    np.testing.assert_allclose(views.probs, state.probs, rtol=1e-6)
    kept = np.arange(8) < 3
    masked = update(UNIFORM, np.where(kept[:, None], probs, np.nan), momentum=0.0, where=kept)
    np.testing.assert_allclose(masked.probs, probs[:3].mean(0), rtol=1e-6)
    nothing = update(PRIOR, probs, momentum=0.0, where=np.zeros(8, bool))
    np.testing.assert_allclose(nothing.probs, PRIOR.probs)
    split = jax.vmap(functools.partial(weaksup.class_prior_update, UNIFORM, momentum=0.9, axis_name="i"), axis_name="i")
    np.testing.assert_allclose(split(probs.reshape(2, 4, 4)).probs[1], state.probs, rtol=1e-6)


def test_swapped_prediction_equals_optax():
    views = RNG.uniform(-1, 1, (2, 8, 4)).astype(np.float32)
    targets = special.softmax(views / 0.05, -1)
    pairs = [optax.losses.softmax_cross_entropy(views[w] / 0.1, targets[v]) for v, w in ((0, 1), (1, 0))]
    np.testing.assert_allclose(swapped(views, targets), np.mean(pairs, 0), rtol=1e-4)
    third = np.concatenate([views, RNG.uniform(-1, 1, (1, 8, 4)).astype(np.float32)])
    targets = special.softmax(third / 0.05, -1)
    pairs = [
        optax.losses.softmax_cross_entropy(third[w] / 0.1, targets[v]) for v in range(3) for w in range(3) if v != w
    ]
    np.testing.assert_allclose(swapped(third, targets), np.mean(pairs, 0), rtol=1e-4)


def test_a_view_does_not_teach_itself():
    views = np.stack([LOGITS, LOGITS[::-1]])
    targets = jax.nn.softmax(views / 0.04)
    own = swapped(np.stack([LOGITS, LOGITS]), np.stack([targets[0], targets[0]]))
    assert np.abs(swapped(views, targets) - own).max() > 1
    assert (jax.grad(lambda t: swapped(views, t).sum())(targets) == 0).all()
    where = np.arange(8) < 5
    found = swapped(np.where(where[:, None], views, np.nan), targets, where=where)
    np.testing.assert_allclose(found, np.where(where, swapped(views, targets), 0), rtol=1e-6)


def test_new_heads_are_the_centres_that_no_old_class_claims():
    old = np.array([[2.0, 0, 0, 0], [0, 4, 0, 0]], np.float32)
    centroids = np.array([[5, 0.1, 0, 0], [0, 0, 1, 1], [0.2, 3, 0, 0], [0, 1, 0, 9]], np.float32)
    heads = weaksup.init_novel_heads(centroids, old, num_new=2)
    expected = centroids[[1, 3]] / np.linalg.norm(centroids[[1, 3]], axis=1, keepdims=True)
    np.testing.assert_allclose(heads, 3 * expected, rtol=1e-5)  # the mean length of the old vectors
    longer = weaksup.init_novel_heads(centroids * np.array([[9], [0.1], [1], [4]], np.float32), old, num_new=2)
    np.testing.assert_allclose(longer, heads, rtol=1e-5)
    assert weaksup.init_novel_heads(centroids, old, num_new=4).shape == (4, 4)


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (ValueError, r"prior must have shape \[4\]", lambda: ler(LOGITS, weaksup.class_prior_init(3), KNOWN)),
        (ValueError, r"known must have shape \[4\]", lambda: ler(LOGITS, UNIFORM, KNOWN[:2])),
        (TypeError, "known must be boolean", lambda: ler(LOGITS, UNIFORM, np.ones(4))),
        (
            ValueError,
            "temperature must be > 0",
            lambda: weaksup.local_entropy_regularization(LOGITS, UNIFORM, KNOWN, temperature=0.0),
        ),
        (ValueError, "num_classes must be an integer of at least 1", lambda: weaksup.class_prior_init(0)),
        (ValueError, r"probs must have shape \[..., 4\]", lambda: update(UNIFORM, LOGITS[:, :3])),
        (ValueError, "momentum must lie in", lambda: weaksup.class_prior_update(UNIFORM, LOGITS, momentum=1.5)),
        (ValueError, "at least two views", lambda: swapped(LOGITS[None], LOGITS[None])),
        (ValueError, "logits and targets must have the same shape", lambda: swapped(LOGITS[None], LOGITS)),
        (ValueError, "num_new must be at most 8", lambda: weaksup.init_novel_heads(LOGITS, LOGITS, num_new=9)),
        (ValueError, "must have one width", lambda: weaksup.init_novel_heads(LOGITS, LOGITS[:, :2], num_new=1)),
    ],
)
def test_bad_input(error, match, call):
    with pytest.raises(error, match=match):
        call()
