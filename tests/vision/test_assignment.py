"""Assigners against loops written from the papers, padding, and suppression against a list."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import vision

SHAPES, STRIDES = ((8, 8), (4, 4), (2, 2)), (4, 8, 16)
SIZES = tuple(h * w for h, w in SHAPES)
ANCHORS = np.asarray(vision.make_anchors(SHAPES, STRIDES, size=4.0))
CELLS = np.asarray(vision.make_anchors(SHAPES, STRIDES, size=1.0))
LEVELS = np.repeat(np.arange(3), SIZES)


def scene(seed, count=5):
    """Boxes with corners on quarters, so that every distance is exact."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 80, (count, 2)) / 4
    return np.concatenate([low, low + rng.integers(12, 100, (count, 2)) / 4], axis=1).astype(np.float32)


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def atss_by_loops(anchors, levels, boxes, k):
    anchors, boxes = anchors.astype(np.float64), boxes.astype(np.float64)
    centers, best, owner = (anchors[:, :2] + anchors[:, 2:]) / 2, np.full(len(anchors), -1.0), np.full(len(anchors), -1)
    for g, box in enumerate(boxes):
        distances, candidates = ((centers - (box[:2] + box[2:]) / 2) ** 2).sum(1), []
        for level in range(levels.max() + 1):
            (places,) = np.nonzero(levels == level)
            candidates += list(places[np.argsort(distances[places], kind="stable")[:k]])
        ious = np.array([overlap(anchors[n], box) for n in candidates])
        for n, iou in zip(candidates, ious, strict=True):
            inside = min(*(centers[n] - box[:2]), *(box[2:] - centers[n])) > 0.01
            if iou >= ious.mean() + ious.std(ddof=1) and inside and iou > best[n]:
                best[n], owner[n] = iou, g
    return owner


atss = jax.jit(functools.partial(vision.assign_atss, level_sizes=SIZES), static_argnames="k")


@pytest.mark.parametrize("k", [3, 9])
def test_atss_equals_the_loops(k):
    for seed in range(6):
        wanted = atss_by_loops(ANCHORS, LEVELS, scene(seed), k)
        np.testing.assert_array_equal(atss(ANCHORS, scene(seed), k=k), wanted)
        assert len(set(wanted)) > 3


def test_atss_moves_with_the_scene_and_grows_with_it():
    boxes = scene(1)
    wanted = atss(ANCHORS, boxes)
    np.testing.assert_array_equal(atss(ANCHORS + 16, boxes + 16), wanted)
    np.testing.assert_array_equal(atss(2 * ANCHORS, 2 * boxes), wanted)


def test_equal_overlaps_are_all_enough():
    """Two anchors that share as much of a box: no spread, so the threshold is the overlap of both."""
    anchors = jnp.array([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0]])
    box = jnp.array([[0.0, 0.0, 6.0, 4.0]])
    np.testing.assert_array_equal(vision.assign_atss(anchors, box, level_sizes=[2]), [0, 0])
    np.testing.assert_array_equal(vision.assign_atss(anchors[:1], box, level_sizes=[1]), [0])


def test_nine_equal_overlaps_are_all_enough():
    """Their mean, rounded, can lie above each of them."""
    starts = jnp.stack(jnp.meshgrid(jnp.arange(16), jnp.arange(16)), axis=-1).reshape(-1, 2) * 8.0
    anchors = jnp.concatenate([starts, starts + 8.0], axis=1)
    corners = np.random.default_rng(0).uniform(5, 30, (40, 2))
    boxes = jnp.asarray(np.concatenate([corners, corners + np.random.default_rng(1).uniform(50, 90, (40, 2))], 1))
    for box in boxes.astype(jnp.float32):
        assert (vision.assign_atss(anchors, box[None], level_sizes=[256], k=9) == 0).sum() == 9


def test_atss_serves_small_boxes_as_well_as_large_ones():
    """The overlap threshold leaves small boxes without an anchor, whatever their place."""
    counts = {}
    for size in (5.0, 24.0):
        at = np.random.default_rng(0).uniform(4, 28, (40, 2)).astype(np.float32)
        each = jnp.concatenate([at - size / 2, at + size / 2], axis=1)[:, None]
        fixed = jax.vmap(functools.partial(vision.assign_iou, ANCHORS, low_quality=False))(each)
        counts[size] = [
            np.mean(np.sum(np.asarray(a) >= 0, 1)) for a in (jax.vmap(atss, (None, 0))(ANCHORS, each), fixed)
        ]
    assert counts[5.0][1] == 0 < counts[24.0][1]
    assert counts[5.0][0] > 1.5


def iou_by_loops(anchors, boxes, positive, negative, low_quality):
    table = np.array([[overlap(a, b) for b in boxes] for a in anchors])
    owner, best = table.argmax(1), table.max(1)
    assigned = np.where(best >= positive, owner, np.where(best < negative, -1, -2))
    if low_quality:
        for g in range(len(boxes)):
            for n in np.nonzero(table[:, g] == table[:, g].max())[0]:
                assigned[n] = owner[n]
    return assigned


@pytest.mark.parametrize("low_quality", [False, True])
def test_overlap_matcher_equals_the_loops(low_quality):
    assign = jax.jit(functools.partial(vision.assign_iou, low_quality=low_quality))
    seen = set()
    for seed in range(4):
        wanted = iou_by_loops(ANCHORS, scene(seed), 0.5, 0.4, low_quality)
        np.testing.assert_array_equal(assign(ANCHORS, scene(seed)), wanted)
        seen |= set(np.sign(wanted).tolist()) | {int(wanted.min())}
    assert seen.issuperset({-2, -1})


def test_a_box_that_overlaps_nothing_makes_no_anchor_positive():
    boxes = jnp.array([[200.0, 200.0, 210.0, 210.0]])
    np.testing.assert_array_equal(vision.assign_iou(ANCHORS, boxes), -1)


def center_by_loops(cells, boxes, positive_scale, ignore_scale):
    def inside(cell, box, scale):
        middle, half = (box[:2] + box[2:]) / 2, scale * (box[2:] - box[:2]) / 2
        shrunk = np.concatenate([middle - half, middle + half])
        w, h = np.minimum(cell[2:], shrunk[2:]) - np.maximum(cell[:2], shrunk[:2])
        return max(w, 0) * max(h, 0) / np.prod(cell[2:] - cell[:2]) > 0.01

    order = sorted(range(len(boxes)), key=lambda m: (np.prod(boxes[m][2:] - boxes[m][:2]), m))
    owner, ignore = np.full(len(cells), -1), np.zeros((len(cells), len(boxes)), bool)
    for n, cell in enumerate(cells):
        at = (cell[:2] + cell[2:]) / 2
        for m in order:
            wants = (at > boxes[m][:2]).all() and (at < boxes[m][2:]).all() and inside(cell, boxes[m], positive_scale)
            if wants and owner[n] < 0:
                owner[n] = m
            else:
                ignore[n, m] = wants or inside(cell, boxes[m], ignore_scale)
    return owner, ignore


@pytest.mark.parametrize("scales", [(0.2, 0.5), (0.5, 0.5)])
def test_center_region_equals_the_loops(scales):
    rings = 0
    for seed in range(4):
        found = vision.assign_center_region(CELLS, scene(seed), positive_scale=scales[0], ignore_scale=scales[1])
        owner, ignore = center_by_loops(CELLS.astype(float), scene(seed).astype(float), *scales)
        np.testing.assert_array_equal(found.owner, owner)
        np.testing.assert_array_equal(found.ignore, ignore)
        rings += ignore.sum()
    assert rings > 0


def test_level_of_the_smallest_mean_loss():
    owner = vision.assign_center_region(CELLS, scene(2)).owner
    loss = np.random.default_rng(0).uniform(size=len(CELLS)).astype(np.float32)
    table = np.full((5, 3), np.inf)
    for m in range(5):
        for level in range(3):
            if (mine := (np.asarray(owner) == m) & (level == LEVELS)).any():
                table[m, level] = loss[mine].mean()
    level = vision.select_feature_level(loss, owner, level_sizes=SIZES, num_boxes=6)
    np.testing.assert_array_equal(level, [*table.argmin(1), -1])  # nobody answers for a sixth box
    chosen = np.asarray(vision.selected_mask(owner, level, level_sizes=SIZES))
    for m in range(5):
        assert set(LEVELS[chosen & (np.asarray(owner) == m)]) == {int(level[m])}
    assert not chosen[np.asarray(owner) < 0].any()


def test_equal_losses_select_the_lowest_level_and_a_lower_one_its_own():
    owner, sizes = jnp.array([0, 0, 0, -1]), (2, 2)
    select = functools.partial(vision.select_feature_level, level_sizes=sizes, num_boxes=1)
    assert select(jnp.ones(4), owner)[0] == 0
    assert select(jnp.array([1.0, 1.0, 0.999, jnp.nan]), owner)[0] == 1
    gradient = jax.grad(lambda loss: loss.sum() * (1.0 + select(loss, owner)[0]))(jnp.ones(4))
    np.testing.assert_array_equal(gradient, 1.0)


def test_padding_changes_nothing():
    boxes, where = scene(3, 4), np.array([True, False, True, True, False])
    padded = np.full((5, 4), np.nan, np.float32)
    padded[where] = boxes[:3]
    places = np.append(np.nonzero(where)[0], -1)  # -1 stays -1
    assigners = (
        vision.assign_iou,
        functools.partial(vision.assign_atss, level_sizes=SIZES),
        lambda *args, **options: vision.assign_center_region(*args, **options).owner,
    )
    for assign in assigners:
        alone, found = assign(ANCHORS, boxes[:3]), np.asarray(assign(ANCHORS, padded, box_where=where))
        np.testing.assert_array_equal(found, np.where(np.asarray(alone) >= 0, places[np.asarray(alone)], alone))
        empty = np.asarray(assign(ANCHORS, padded, box_where=np.zeros(5, bool)))
        np.testing.assert_array_equal(empty, -1)
        np.testing.assert_array_equal(assign(ANCHORS, jnp.zeros((0, 4))), -1)
    assert not vision.assign_center_region(CELLS, padded, box_where=where).ignore[:, ~where].any()


def suppressed_by_list(boxes, scores, labels, threshold):
    left, kept = list(np.argsort(-scores, kind="stable")), []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [n for n in left if labels[n] != labels[best] or overlap(boxes[n], boxes[best]) <= threshold]
    return kept


@pytest.mark.parametrize("kinds", [1, 3])
def test_suppression_equals_a_list(kinds):
    rng = np.random.default_rng(0)
    boxes, scores, labels = scene(0, 40), rng.uniform(size=40).astype(np.float32), rng.integers(kinds, size=40)
    wanted = suppressed_by_list(boxes, scores, labels, 0.3)
    assert len(wanted) < 38
    options = {"threshold": 0.3, "labels": None if kinds == 1 else labels}
    kept = vision.non_max_suppression(boxes, scores, max_outputs=40, **options)
    assert kept.indices[kept.valid].tolist() == wanted
    assert not kept.valid[len(wanted) :].any()
    assert not np.any(kept.indices[len(wanted) :])
    few = vision.non_max_suppression(boxes, scores, max_outputs=3, **options)
    assert few.indices.tolist() == wanted[:3]


def test_boxes_that_are_hidden_or_without_a_score_are_not_taken():
    boxes = jnp.asarray(scene(0, 4)).at[2].set(jnp.nan)
    scores = jnp.array([0.1, jnp.nan, 0.9, 0.1])
    where = jnp.array([True, True, False, True])
    kept = vision.non_max_suppression(boxes, scores, max_outputs=4, threshold=1.0, where=where)
    assert kept.indices.tolist() == [0, 3, 0, 0]  # equal scores: the lower place first
    assert kept.valid.tolist() == [True, True, False, False]


A, G, I5 = jnp.ones((5, 4)), jnp.ones((2, 4)), jnp.zeros(5, int)
atss5 = functools.partial(vision.assign_atss, level_sizes=[5])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: vision.assign_iou(A[0], G), ValueError, "anchors must have shape"),
        (lambda: vision.assign_iou(A, G.astype(int)), TypeError, "boxes must be floating"),
        (lambda: vision.assign_iou(A, G, box_where=jnp.ones(3, bool)), ValueError, "box_where must have shape"),
        (lambda: vision.assign_iou(A, G, box_where=jnp.ones(2)), TypeError, "box_where must be boolean"),
        (lambda: vision.assign_iou(A, G, positive=1.5), ValueError, "positive must lie in"),
        (lambda: vision.assign_iou(A, G, negative=0.6), ValueError, "negative must be at most"),
        (lambda: atss5(A, G[:, :3]), ValueError, "boxes must have shape"),
        (lambda: atss5(A, G, k=0), ValueError, "k must be"),
        (lambda: vision.assign_atss(A, G, level_sizes=[4]), ValueError, "level_sizes must add up to the 5"),
        (lambda: vision.assign_atss(A, G, level_sizes=[6, -1]), ValueError, "level_sizes must be"),
        (lambda: vision.assign_center_region(A[0], G), ValueError, "cells must have shape"),
        (lambda: vision.assign_center_region(A, G, ignore_scale=0.1), ValueError, "ignore_scale must be at least"),
        (lambda: vision.assign_center_region(A, G, positive_scale=-1.0), ValueError, "positive_scale must be at least"),
        (
            lambda: vision.select_feature_level(jnp.ones(5), I5, level_sizes=[5], num_boxes=0),
            ValueError,
            "num_boxes must be",
        ),
        (
            lambda: vision.select_feature_level(jnp.ones(4), I5, level_sizes=[4], num_boxes=1),
            ValueError,
            "index and loss",
        ),
        (
            lambda: vision.select_feature_level(jnp.ones(5), A[:, 0], level_sizes=[5], num_boxes=1),
            TypeError,
            "index must hold integers",
        ),
        (lambda: vision.selected_mask(I5, I5, level_sizes=[4]), ValueError, "level_sizes must add up"),
        (lambda: vision.selected_mask(I5, jnp.ones(5), level_sizes=[5]), TypeError, "level must hold integers"),
        (lambda: vision.non_max_suppression(A, jnp.ones(4), max_outputs=1), ValueError, "boxes and scores"),
        (lambda: vision.non_max_suppression(A, jnp.ones(5), max_outputs=0), ValueError, "max_outputs must be"),
        (lambda: vision.non_max_suppression(A[:0], jnp.ones(0), max_outputs=1), ValueError, "boxes and scores"),
        (
            lambda: vision.non_max_suppression(A, jnp.ones(5), max_outputs=1, threshold=2.0),
            ValueError,
            "threshold must lie in",
        ),
        (
            lambda: vision.non_max_suppression(A, jnp.ones(5), max_outputs=1, labels=jnp.ones(5)),
            TypeError,
            "labels must hold integers",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
