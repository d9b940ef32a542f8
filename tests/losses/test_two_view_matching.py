"""Losses on scores between two views: identities, numpy in loops, masks, splits, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxlab import losses

RNG = np.random.default_rng(0)
B = 6
S = RNG.standard_normal((B, B)).astype(np.float32)
A = RNG.standard_normal((B, B)).astype(np.float32)
LEVEL = RNG.random(B).astype(np.float32)
LABELS = np.array([0, 1, 0, 2, 3, 3])
WHERE = np.array([True, False, True, True, False, True])


def loops(row, column, reduce=max):
    """What pair i costs: over its row and over its column."""
    others = [[j for j in range(B) if j != i] for i in range(B)]
    return np.array(
        [
            reduce([max(row(i, j), 0) for j in others[i]]) + reduce([max(column(j, i), 0) for j in others[i]])
            for i in range(B)
        ]
    )


@pytest.mark.parametrize("hard", [True, False])
def test_hinge_in_loops(hard):
    expected = loops(lambda i, j: 0.2 + S[i, j] - S[i, i], lambda i, j: 0.2 + S[i, j] - S[j, j], max if hard else sum)
    np.testing.assert_allclose(losses.bidirectional_hinge(S, hard=hard), expected, rtol=1e-5)


def test_a_constant_changes_neither_hinge_nor_relative_boost():
    np.testing.assert_allclose(losses.bidirectional_hinge(S + 3), losses.bidirectional_hinge(S), rtol=1e-4)
    np.testing.assert_allclose(losses.boost_relative(S + 3, A), losses.boost_relative(S, A), rtol=1e-4)
    assert not np.allclose(losses.boost_absolute(S + 3, A), losses.boost_absolute(S, A))


def test_boosts_in_loops():
    positive = 2 * np.maximum(0.3 * 0.4 + np.diag(A) - np.diag(S), 0)
    negative = loops(lambda i, j: 0.7 * 0.4 + S[i, j] - A[i, j], lambda i, j: 0.7 * 0.4 + S[i, j] - A[i, j])
    np.testing.assert_allclose(losses.boost_absolute(S, A, margin=0.4, gamma=0.3), positive + negative, rtol=1e-5)
    relative = loops(
        lambda i, j: 0.2 + (A[i, i] - A[i, j]) - (S[i, i] - S[i, j]),
        lambda i, j: 0.2 + (A[j, j] - A[i, j]) - (S[j, j] - S[i, j]),
    )
    np.testing.assert_allclose(losses.boost_relative(S, A), relative, rtol=1e-5)


def test_boosts_where_nothing_has_been_gained():
    np.testing.assert_allclose(losses.boost_relative(S, S, margin=0.3).sum(), 2 * B * 0.3, rtol=1e-5)
    np.testing.assert_allclose(losses.boost_absolute(S, S, margin=0.3, gamma=0.2).sum(), 2 * B * 0.3, rtol=1e-5)


def test_absolute_boost_is_content_once_both_margins_are_kept():
    better = np.where(np.eye(B, dtype=bool), S + 0.5 * 0.2 + 1e-5, S - 0.5 * 0.2 - 1e-5)
    np.testing.assert_allclose(losses.boost_absolute(better, S), 0, atol=1e-6)


@pytest.mark.parametrize("loss", [losses.boost_absolute, losses.boost_relative])
def test_anchors_get_no_gradient(loss):
    of_scores, of_anchor = jax.grad(lambda s, a: jnp.sum(loss(s, a)), (0, 1))(S, A)
    assert np.any(of_scores)
    assert not np.any(of_anchor)


def test_projection_by_scipy():
    same = LABELS[:, None] == LABELS
    q = same / same.sum(1, keepdims=True)

    def one_way(scores):
        p = special.softmax(10.0 * scores.astype(np.float64), axis=1)
        return np.sum(p * np.log(1e-8 + p / (q + 1e-8)), axis=1)

    np.testing.assert_allclose(losses.cross_modal_projection(S, LABELS), one_way(S) + one_way(S.T), rtol=1e-4)


def test_projection_is_zero_where_the_softmax_is_the_label_distribution():
    same = LABELS[:, None] == LABELS
    found = losses.cross_modal_projection(np.where(same, 5.0, 0.0).astype(np.float32), LABELS, scale=20.0)
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_margin_schedules():
    ends = np.array([0.0, 0.5, 1.0], np.float32)
    np.testing.assert_allclose(losses.margin_schedule(ends), [0, (np.sqrt(10) - 1) / 9, 1], rtol=1e-6)
    np.testing.assert_allclose(losses.margin_schedule(ends, kind="linear"), ends)
    np.testing.assert_allclose(losses.margin_schedule(ends, kind="sin"), ends, atol=1e-6)
    sines = np.sin(np.pi * LEVEL - np.pi / 2) / 2 + 0.5
    np.testing.assert_allclose(losses.margin_schedule(LEVEL, kind="sin"), sines, rtol=1e-4)


@pytest.mark.parametrize("margin_axis", ["query", "last"])
@pytest.mark.parametrize("hard", [True, False])
def test_soft_margins_in_loops(margin_axis, hard):
    m = 0.5 * (10**LEVEL - 1) / 9
    expected = loops(
        lambda i, j: m[i if margin_axis == "query" else j] + S[i, j] - S[i, i],
        lambda i, j: m[j] + S[i, j] - S[j, j],
        max if hard else lambda values: sum(values) / B,
    )
    found = losses.soft_margin_hinge(S, LEVEL, margin=0.5, hard=hard, margin_axis=margin_axis)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_full_correspondence_is_the_plain_hinge_and_none_keeps_the_order():
    full = losses.soft_margin_hinge(S, np.ones(B, np.float32))
    np.testing.assert_allclose(full, losses.bidirectional_hinge(S), rtol=1e-5)
    none = losses.soft_margin_hinge(S, np.zeros(B, np.float32))
    np.testing.assert_allclose(none, losses.bidirectional_hinge(S, margin=0.0), rtol=1e-5)
    assert none.sum() > 0


CALLS = {
    "hinge": lambda s, n, **kw: losses.bidirectional_hinge(s, **kw),
    "sum": lambda s, n, **kw: losses.bidirectional_hinge(s, hard=False, **kw),
    "absolute": lambda s, n, **kw: losses.boost_absolute(s, n["a"], **kw),
    "relative": lambda s, n, **kw: losses.boost_relative(s, n["a"], **kw),
    "projection": lambda s, n, **kw: losses.cross_modal_projection(s, n["labels"], **kw),
    "soft": lambda s, n, **kw: losses.soft_margin_hinge(s, n["level"], margin_axis="last", **kw),
    "soft mean": lambda s, n, **kw: losses.soft_margin_hinge(s, n["level"], hard=False, **kw),
}
EXTRA = {"a": A, "labels": LABELS, "level": LEVEL}


@pytest.mark.parametrize("name", CALLS)
def test_hidden_pairs_are_nobodys_negatives(name):
    involved = WHERE[:, None] & WHERE
    dirty = np.where(involved, S, np.nan)
    extra = EXTRA | {"a": np.where(involved, A, np.inf), "level": np.where(WHERE, LEVEL, np.nan)}
    kept = {key: value[WHERE] if value.ndim == 1 else value[WHERE][:, WHERE] for key, value in EXTRA.items()}
    found = CALLS[name](dirty, extra, where=WHERE)
    np.testing.assert_allclose(found[WHERE], CALLS[name](S[WHERE][:, WHERE], kept), rtol=1e-4, atol=1e-6)
    assert (found[~WHERE] == 0).all()
    gradient = jax.grad(lambda s: jnp.sum(CALLS[name](s, extra, where=WHERE)))(dirty)
    assert np.isfinite(gradient).all()
    assert (gradient[~involved] == 0).all()


@pytest.mark.parametrize("name", CALLS)
def test_pairs_split_over_a_mapped_axis(name):
    def split(x):
        return x.reshape(2, B // 2, *x.shape[1:])

    call = jax.vmap(lambda s, n, w: CALLS[name](s, n, where=w, axis_name="i"), axis_name="i")
    found = call(split(S), jax.tree.map(split, EXTRA), split(WHERE))
    np.testing.assert_allclose(found.ravel(), CALLS[name](S, EXTRA, where=WHERE), rtol=1e-4, atol=1e-6)
    weights = LEVEL + 1  # pairs of both members, each by another weight
    extra, where = jax.tree.map(split, EXTRA), split(WHERE)
    of_split = jax.grad(lambda s: jnp.sum(weights * call(split(s), extra, where).ravel()))(S)
    of_whole = jax.grad(lambda s: jnp.sum(weights * CALLS[name](s, EXTRA, where=WHERE)))(S)
    np.testing.assert_allclose(of_split, of_whole, rtol=1e-4, atol=1e-6)


def test_a_single_pair_has_no_negatives():
    one = np.ones((1, 1), np.float32)
    for found in (losses.bidirectional_hinge(one), losses.boost_relative(one, one)):
        np.testing.assert_array_equal(found, [0])


def test_pseudo_classes():
    image, caption = S, A
    p = special.softmax(image.astype(np.float64), axis=1)
    named = caption.argmax(1)
    expected = -np.log(p[np.arange(B), named]) + 0.5 * np.sum(p * np.log(p), axis=1)
    found = losses.pseudo_classification(image, caption, entropy_weight=0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    of_caption = jax.grad(lambda c: jnp.sum(losses.pseudo_classification(image, c)))(caption)
    assert not np.any(of_caption)
    dirty = np.where(WHERE[:, None], image, np.nan)
    hidden = losses.pseudo_classification(dirty, caption, entropy_weight=0.5, where=WHERE)
    np.testing.assert_allclose(hidden, np.where(WHERE, expected, 0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.bidirectional_hinge(S[:, :3]), ValueError, "a column per pair"),
        (lambda: losses.bidirectional_hinge(S[0]), ValueError, r"scores must have shape \[B, B\]"),
        (lambda: losses.bidirectional_hinge(S.astype(int)), TypeError, "scores must be floating point"),
        (lambda: losses.bidirectional_hinge(S, margin=-1.0), ValueError, "margin must be at least 0"),
        (lambda: losses.bidirectional_hinge(S, where=WHERE[:2]), ValueError, "where must have shape"),
        (lambda: losses.boost_absolute(S, A[:2]), ValueError, "scores and anchor must have the same shape"),
        (lambda: losses.boost_absolute(S, A, gamma=2.0), ValueError, "gamma must lie in"),
        (lambda: losses.boost_relative(S, LABELS), TypeError, "anchor must be floating point"),
        (lambda: losses.cross_modal_projection(S, LABELS[:2]), ValueError, "labels must have shape"),
        (lambda: losses.cross_modal_projection(S, LEVEL), TypeError, "labels must hold integers"),
        (lambda: losses.cross_modal_projection(S, LABELS, scale=0.0), ValueError, "scale must be > 0"),
        (lambda: losses.margin_schedule(LEVEL, kind="cubic"), ValueError, "kind must be one of"),
        (lambda: losses.margin_schedule(LABELS), TypeError, "correspondence must be floating point"),
        (lambda: losses.soft_margin_hinge(S, LEVEL[:2]), ValueError, "correspondence must have shape"),
        (lambda: losses.soft_margin_hinge(S, LEVEL, margin_axis="first"), ValueError, "margin_axis must be one of"),
        (lambda: losses.pseudo_classification(S, A[:2]), ValueError, "must have the same shape"),
        (lambda: losses.pseudo_classification(S[:, :0], A[:, :0]), ValueError, "C >= 1"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
