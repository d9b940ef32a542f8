"""The question of positive anchors: canvases, assignments, losses, depth, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import anchor_assignment, anchor_depth, anchor_detectors
from experiments.assets import canvases
from experiments.assets.canvases import CanvasConfig
from experiments.command_line import answer
from experiments.data import load
from jaxlab import vision


@pytest.fixture(scope="module")
def drawn():
    """Crowded canvases, and such as mostly hold decoys alone."""
    digits = load("digits")
    x, y = jnp.asarray(digits.x[:50]), jnp.asarray(digits.y[:50])

    def draw(config, seed):
        numbers = jax.tree.map(jnp.float32, config)
        return jax.tree.map(np.asarray, canvases.compose(jax.random.key(seed), x, y, config=numbers, count=40))

    return draw(CanvasConfig(), 0), draw(anchor_assignment.RARE, 1), draw(CanvasConfig(), 0)


def test_boxes_hold_their_ink_and_no_more(drawn):
    made = drawn[0]
    assert made.where.sum(1).min() >= 1
    assert 2 < made.where.sum(1).mean() <= 5
    for boxes, masks, where in zip(made.boxes, made.masks, made.where, strict=True):
        for box, mask, there in zip(boxes, masks, where, strict=True):
            rows, columns = np.nonzero(mask)
            assert there == bool(len(rows))
            if there:
                assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    sides = (made.boxes[..., 2:] - made.boxes[..., :2])[made.where]
    assert (sides <= made.sizes[made.where][:, None] + 1).all()
    assert made.sizes.min() >= 10
    assert made.sizes.max() <= 40
    assert ((made.images > canvases.INK) >= made.masks.any(1)).all()


def test_objects_keep_apart(drawn):
    made = drawn[0]
    for masks, where in zip(made.masks, made.where, strict=True):
        flat = masks[where].reshape(where.sum(), -1).astype(int)
        shared = flat @ flat.T / np.minimum(flat.sum(1), flat.sum(1)[:, None])
        assert (shared[~np.eye(len(flat), dtype=bool)] < 0.3).all()


def test_decoys_are_drawn_and_are_no_objects(drawn):
    rare = drawn[1]
    counts = rare.where.sum(1)
    assert set(counts) == {0, 1}
    assert 0.15 < counts.mean() < 0.55
    assert (rare.images[counts == 0].max((1, 2)) > canvases.INK).all()


def test_one_key_one_set_of_canvases(drawn):
    for first, second in zip(drawn[0], drawn[2], strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.fixture(scope="module")
def owners(drawn):
    made = drawn[0]
    return {
        name: np.asarray(anchor_detectors.assign(made.boxes, made.where, name=name))
        for name in ("best_only", "all_levels", "level_by_size")
    }


def test_every_object_has_its_best_anchors_alone(drawn, owners):
    made, owner = drawn[0], owners["best_only"]
    overlaps = np.asarray(jax.vmap(lambda b: vision.box_iou(anchor_detectors.anchors(), b))(made.boxes))
    for image, (where, found) in enumerate(zip(made.where, owner, strict=True)):
        for anchor in np.nonzero(found >= 0)[0]:
            best = overlaps[image][:, where].max(0)
            assert (overlaps[image][anchor, where] == best).any()
    ignored, background = owner == anchor_detectors.IGNORED, owner == -1
    top = np.where(made.where[:, None], overlaps, 0).max(2)
    assert (top[ignored] >= 0.4).all()
    assert (top[background] < 0.4).all()


def test_a_level_by_size_keeps_one_level_of_every_object(owners):
    sizes = anchor_detectors.LEVEL_SIZES
    level = np.repeat(np.arange(len(sizes)), sizes)
    whole, one = owners["all_levels"], owners["level_by_size"]
    kept = one >= 0
    assert (one[kept] == whole[kept]).all()
    assert (one[(whole >= 0) & ~kept] == anchor_detectors.IGNORED).all()
    assert (one[whole < 0] == whole[whole < 0]).all()
    for image in range(len(one)):
        for box in range(5):
            assert len(set(level[one[image] == box])) <= 1
    assert max(len(set(level[whole[image] == box])) for image in range(len(one)) for box in range(5)) > 1


def test_class_losses_by_hand():
    logits, positive = jnp.array([[0.0, 2.0, -1.0, 3.0]]), jnp.array([[True, False, False, False]])
    valid = jnp.array([[True, True, True, False]])
    parts = anchor_detectors._class_losses(logits, positive, valid, jax.random.key(0))
    each = np.log1p(np.exp([-0.0, 2.0, -1.0]))
    p = 1 / (1 + np.exp([-0.0, -2.0, 1.0]))
    weights = np.array([0.25 * (1 - p[0]) ** 2, 0.75 * p[1] ** 2, 0.75 * p[2] ** 2])
    np.testing.assert_allclose(parts["plain"], each.sum(), rtol=1e-5)
    np.testing.assert_allclose(parts["guided"], each.sum() / 3, rtol=1e-5)
    np.testing.assert_allclose(parts["focal"], (weights * each).sum(), rtol=1e-4)
    np.testing.assert_allclose(parts["sampled"], each.sum() / 3, rtol=1e-5)  # fewer negatives than asked for
    np.testing.assert_allclose(parts["harmonized"], each.sum() / 3, rtol=1e-5)  # three bins of one


def test_a_depth_makes_a_size(drawn):
    depth = np.asarray(anchor_depth.depths(drawn[0]))
    np.testing.assert_allclose(depth * drawn[0].sizes[:, 0], anchor_depth.FOCUS, rtol=1e-6)
    assert anchor_depth.START < depth.min() < depth.max() < anchor_depth.STOP


def test_quick_run(quick_run):
    found = quick_run(anchor_assignment)
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}
    assert {claim["paper"] for claim in found["claims"]} == {273, 61, 39, 85}
    rows = found["rows"]
    detectors = [method.name for method in anchor_assignment.METHODS if "depth" not in method.name]
    assert list(rows["box_precision"]) == detectors
    assert list(rows["anchor_precision"]) == detectors[6:]
    assert set(rows["level_agreement"]) == {"level_by_size", "fsaf"}
    assert min(rows["unevenness"]["iou"]) > max(rows["unevenness"]["atss"])
    assert rows["unseen"]["iou"] == pytest.approx([1 / 7, 1 / 7])
    assert rows["unseen"]["atss"] == [0, 0]
    for metric in ("box_precision", "anchor_precision", "unseen"):
        assert all(0 <= value <= 1 for seeds in rows[metric].values() for value in seeds)
    assert set(rows["depth_error"]) == {"depth_number", "depth_bins", "depth_fused"}
    assert max(map(max, rows["depth_error"].values())) < 15


def test_images_are_needed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("flat.npz", x=np.ones((8, 3)), y=np.arange(8) % 2)
    assert answer(anchor_assignment, ["--data", "flat.npz"]) == 2
    assert "Canvases need grey images" in capsys.readouterr().err
    assert answer(anchor_assignment, ["--quick", "--test-share", "2"]) == 2
    assert "test_share must lie in (0, 1)" in capsys.readouterr().err
