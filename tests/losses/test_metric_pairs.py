"""Losses on pairs, mixed pairs and matched parts against loops in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses
from jaxlab.losses import metric_learning

RNG = np.random.default_rng(0)
B, D = 8, 3
X = RNG.normal(size=(B, D)).astype(np.float32)
Y = np.array([0, 0, 1, 1, 0, 2, 1, 3])
WHERE = np.array([True, True, False, True, True, True, False, True])
LOSSES = {"contrastive": losses.contrastive_pairs, "similarity": losses.multi_similarity, "tcm": losses.tcm}
MANY = RNG.normal(size=(150, D)).astype(np.float32)  # more rows than are held at a time
MANY_LABELS = RNG.integers(0, 9, size=150)


def unit(x):
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def mean_of_positive(values):
    values = np.array([v for v in values if v > 0])
    return values.mean() if values.size else 0.0


def by_pairs(name, x, y):
    """Over ordered pairs, as the names say."""
    s, n = unit(x) @ unit(x).T, len(y)
    d = np.sqrt(np.maximum(0, 2 - 2 * s))
    near = [(i, j) for i in range(n) for j in range(n) if i != j and y[i] == y[j]]
    far = [(i, j) for i in range(n) for j in range(n) if y[i] != y[j]]
    if name == "contrastive":
        return mean_of_positive([d[p] for p in near]) + mean_of_positive([0.5 - d[p] for p in far])
    if name == "tcm":
        return mean_of_positive([0.9 - s[p] for p in near]) + mean_of_positive([s[p] - 0.5 for p in far])
    rows = [[s[i, j] for i, j in group if i == a] for group in (near, far) for a in range(n)]
    low = [np.log1p(sum(np.exp(-2 * (v - 0.5)) for v in row)) / 2 for row in rows[:n]]
    return np.array(low) + [np.log1p(sum(np.exp(50 * (v - 0.5)) for v in row)) / 50 for row in rows[n:]]


def test_pair_masks():
    positive, negative = losses.pair_masks(Y, where=WHERE)
    for i in range(B):
        for j in range(B):
            both = WHERE[i] and WHERE[j]
            assert positive[i, j] == (both and i != j and Y[i] == Y[j])
            assert negative[i, j] == (both and Y[i] != Y[j])
    split = jax.vmap(lambda y, w: losses.pair_masks(y, where=w, axis_name="i"), axis_name="i")
    for found, whole in zip(split(Y.reshape(2, 4), WHERE.reshape(2, 4)), (positive, negative), strict=True):
        np.testing.assert_array_equal(found.reshape(B, B), whole)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_loops(name):
    np.testing.assert_allclose(LOSSES[name](X, Y), by_pairs(name, X, Y), rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_blocks_of_rows_change_nothing(name, monkeypatch):
    def both():
        return jax.jit(jax.value_and_grad(lambda x: LOSSES[name](x, MANY_LABELS).sum()))(MANY)

    in_blocks = both()
    np.testing.assert_allclose(in_blocks[0], by_pairs(name, MANY, MANY_LABELS).sum(), rtol=1e-4)
    monkeypatch.setattr(metric_learning, "BLOCK", len(MANY))
    for found, expected in zip(in_blocks, both(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_masks_and_splits(name):
    dirty = np.where(WHERE[:, None], X, np.nan)
    found = np.asarray(LOSSES[name](dirty, Y, where=WHERE))
    part = found[WHERE] if found.ndim else found
    np.testing.assert_allclose(part, LOSSES[name](X[WHERE], Y[WHERE]), rtol=1e-5)
    split = jax.vmap(lambda x, y: LOSSES[name](x, y, axis_name="i"), axis_name="i")(X.reshape(2, 4, D), Y.reshape(2, 4))
    whole = LOSSES[name](X, Y)
    np.testing.assert_allclose(np.ravel(split), np.ravel(whole) if whole.ndim else [whole] * 2, rtol=1e-5)


def test_a_split_batch_has_the_gradient_of_the_whole():
    """The sum of what all members give is the number of members times the whole under ``vmap``."""
    split = jax.vmap(lambda x, y: losses.tcm(x, y, axis_name="i"), axis_name="i")
    found = jax.grad(lambda x: split(x.reshape(2, 4, D), Y.reshape(2, 4)).mean())(X)
    np.testing.assert_allclose(found, jax.grad(lambda x: losses.tcm(x, Y))(X), rtol=1e-4, atol=1e-6)


def test_tcm_counts_pairs_at_the_margin_and_weighs_its_sides():
    x = np.float32([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])  # cosines 0, .6, .8
    found = losses.tcm(x, np.arange(3), negative_margin=0.0)
    np.testing.assert_allclose(found, (0 + 0.6 + 0.8) / 3, rtol=1e-6)
    labels = np.array([0, 0, 1])
    sides = [losses.tcm(x, labels, positive_weight=a, negative_weight=1 - a) for a in (1.0, 0.0)]
    np.testing.assert_allclose(sides, [0.9, (0.1 + 0.3) / 2], rtol=1e-5)
    both = losses.tcm(x, labels, positive_weight=2.0, negative_weight=3.0)
    np.testing.assert_allclose(both, 2 * sides[0] + 3 * sides[1], rtol=1e-6)


def test_nothing_to_mix():
    pairs = losses.metric_mixup_pairs(jax.random.key(0), np.zeros((0, 3), np.float32), np.zeros(0, int))
    assert pairs.mixed.shape == (0, 3)
    assert losses.metrix_contrastive(np.zeros((0, 3), np.float32), np.zeros(0, int), pairs) == 0


def test_tcm_by_hand():
    """Means are over the pairs that violate their margin, and over no others."""
    at = lambda *s: np.float32([[1, 0]] + [[v, np.sqrt(1 - v**2)] for v in s])  # noqa: E731
    np.testing.assert_allclose(losses.tcm(at(0.7), np.array([0, 0])), 0.2, rtol=1e-5)
    np.testing.assert_allclose(losses.tcm(at(0.8), np.array([0, 1])), 0.3, rtol=1e-5)
    # Cosines 0.95 and 0.7 with the first, 0.888 with each other.
    two = losses.tcm(at(0.95, 0.7), np.array([0, 0, 0]))
    np.testing.assert_allclose(two, (0.2 + 0.9 - (0.95 * 0.7 + np.sqrt((1 - 0.95**2) * (1 - 0.49)))) / 2, rtol=1e-4)
    far = np.repeat(np.eye(3, dtype=np.float32), 2, 0)
    value, slope = jax.value_and_grad(lambda x: losses.tcm(x, np.arange(6) // 2))(far)
    assert value == 0
    np.testing.assert_array_equal(slope, 0.0)


def test_generalized_loss_is_the_others():
    positive, negative = (np.asarray(mask, np.float32) for mask in losses.pair_masks(Y))
    s = np.float32(unit(X) @ unit(X).T)
    kept = (positive + negative) > 0
    found = losses.generalized_pair_loss(
        s,
        positive,
        positive=lambda s: jnp.exp(-2.0 * (s - 0.5)),
        negative=lambda s: jnp.exp(50.0 * (s - 0.5)),
        outer_positive=lambda t: jnp.log1p(t) / 2.0,
        outer_negative=lambda t: jnp.log1p(t) / 50.0,
        where=kept,
    )
    np.testing.assert_allclose(found, losses.multi_similarity(X, Y), rtol=1e-4)
    chord = lambda s: jnp.sqrt(jnp.maximum(2.0 - 2.0 * s, 1e-12))  # noqa: E731
    hinges = {"positive": chord, "negative": lambda s: jnp.maximum(0.0, 0.5 - chord(s))}
    sums = np.sum(losses.generalized_pair_loss(s, positive, **hinges, where=kept))
    d = np.sqrt(np.maximum(0, 2 - 2 * s))
    np.testing.assert_allclose(sums, np.sum(positive * d + negative * np.maximum(0, 0.5 - d)), rtol=1e-4)
    # A mix counts with each kind as far as it is of it.
    half = losses.generalized_pair_loss(s, np.full_like(s, 0.25), **hinges)
    np.testing.assert_allclose(half, np.sum(0.25 * d + 0.75 * np.maximum(0, 0.5 - d), 1), rtol=1e-3)


@pytest.mark.parametrize("kind", ["positive_negative", "anchor_negative"])
@pytest.mark.parametrize("negatives", ["hardest", "random"])
def test_mixes_are_made_of_what_they_say(kind, negatives):
    x, s = unit(X), unit(X) @ unit(X).T
    mix = jax.jit(lambda key: losses.metric_mixup_pairs(key, X, Y, kind=kind, negatives=negatives))
    drawn = [mix(jax.random.key(seed)) for seed in range(20)]
    for pairs in drawn:
        lam = float(pairs.lam)
        for a in range(B):
            own = [a] if kind == "anchor_negative" else [j for j in range(B) if j != a and Y[j] == Y[a]]
            other = [j for j in range(B) if Y[j] != Y[a]]
            if negatives == "hardest":
                other = [max(other, key=lambda j: s[a, j])]
            assert pairs.where[a] == bool(own)
            gaps = [np.abs(lam * x[p] + (1 - lam) * x[n] - pairs.mixed[a]).max() for p in own for n in other]
            assert min(gaps, default=np.abs(pairs.mixed[a]).max()) < 1e-5
    assert np.std([float(pairs.lam) for pairs in drawn]) == pytest.approx(0.05**0.5, rel=0.5)
    masked = losses.metric_mixup_pairs(jax.random.key(0), X, Y, where=WHERE)
    np.testing.assert_array_equal(
        masked.where, WHERE & np.array([any(losses.pair_masks(Y, where=WHERE)[0][a]) for a in range(B)])
    )


def test_mixed_terms_are_those_of_the_kind_they_are():
    anchors, mixed, used = np.arange(B), RNG.normal(size=(B, D)).astype(np.float32), np.arange(B) != 3
    d = np.linalg.norm(unit(X) - unit(mixed), axis=1)[used]
    clean = losses.contrastive_pairs(X, Y)
    for lam in (0.0, 0.3, 1.0):
        pairs = losses.MixedPairs(anchors, jnp.where(used[:, None], mixed, jnp.nan), jnp.float32(lam), used)
        expected = mean_of_positive(lam * d) + mean_of_positive((1 - lam) * (0.5 - d))
        found = losses.metrix_contrastive(X, Y, pairs, weight=0.7)
        np.testing.assert_allclose(found, clean + 0.7 * expected, rtol=1e-4)
    split = jax.vmap(lambda x, y, p: losses.metrix_contrastive(x, y, p, axis_name="i"), axis_name="i")
    halves = losses.MixedPairs(
        np.tile(np.arange(4), (2, 1)), mixed.reshape(2, 4, D), np.full(2, 0.3, np.float32), used.reshape(2, 4)
    )
    whole = losses.metrix_contrastive(X, Y, losses.MixedPairs(anchors, mixed, jnp.float32(0.3), used))
    np.testing.assert_allclose(split(X.reshape(2, 4, D), Y.reshape(2, 4), halves), [whole] * 2, rtol=1e-4)


def test_local_triplet_equals_a_loop():
    q, k, n = (RNG.normal(size=shape).astype(np.float32) for shape in ((6, 4), (5, 4), (3, 7, 4)))
    index, where = np.array([0, 5, 2, 2, 1]), np.array([True, True, False, True, True])
    total = 0.0
    for m in np.flatnonzero(where):
        a = unit(q)[index[m]]
        for image in unit(n):
            nearest = min(np.sum((a - part) ** 2) for part in image)
            total += max(0.0, np.sum((a - unit(k)[m]) ** 2) - nearest + 0.1)
    found = losses.local_triplet(q, np.where(where[:, None], k, np.nan), n, index, where)
    np.testing.assert_allclose(found, total, rtol=1e-4)
    assert losses.local_triplet(q, k, n, index, np.zeros(5, bool)) == 0


BAD = {
    "vectors": (lambda: losses.tcm(X[0], Y), ValueError, r"embeddings must have shape \[B, D\]"),
    "labels": (lambda: losses.contrastive_pairs(X, Y[:3]), ValueError, "embeddings and labels must agree"),
    "types": (lambda: losses.multi_similarity(X, Y.astype(float)), TypeError, "labels must hold integers"),
    "alpha": (lambda: losses.multi_similarity(X, Y, alpha=0.0), ValueError, "alpha must be > 0"),
    "where": (lambda: losses.pair_masks(Y, where=np.ones(B)), TypeError, "where must be boolean"),
    "targets": (
        lambda: losses.generalized_pair_loss(X, X[:2], positive=abs, negative=abs),
        ValueError,
        "scores and targets must have the same shape",
    ),
    "weight": (
        lambda: losses.metrix_contrastive(X, Y, losses.metric_mixup_pairs(jax.random.key(0), X, Y), weight=-1.0),
        ValueError,
        "weight must be at least 0",
    ),
    "kind": (lambda: losses.metric_mixup_pairs(jax.random.key(0), X, Y, kind="x"), ValueError, "kind must be one of"),
    "mix": (
        lambda: losses.metrix_contrastive(X, Y, losses.MixedPairs(Y, X[:, :2], 0.5, WHERE)),
        ValueError,
        "pairs must hold mixes of shape",
    ),
    "parts": (
        lambda: losses.local_triplet(X, X, X[None, :, :2], Y),
        ValueError,
        "queries, keys and negatives must have rows of one width",
    ),
    "no parts": (lambda: losses.local_triplet(X, X, X[None, :0], Y), ValueError, "at least one part"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
