"""The question of generated training data: its scenes, its claims' arithmetic, and a quick run of two rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import synthetic_images as question
from experiments.assets import scenes
from experiments.generated_training import SIZES
from jaxlab import metrics


def test_a_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    methods = "real,mixed,edits_filtered,scenes_clean"
    result = quick_run(question, "--methods", methods)
    assert set(result["rows"]["exponent"]) == {"real", "mixed"}
    assert set(result["rows"]["recognizability"]) == {"mixed"}
    assert set(result["rows"]["macro"]) == {"scenes_clean"}
    assert set(result["rows"]["follows_1"]) == {"edits_filtered"}


def wanted(relation):
    count = 12
    first = jnp.arange(count) % 10
    return scenes.Captions(first, (first + 3) % 10, jnp.full(count, relation))


@pytest.mark.parametrize("relation", range(len(scenes.RELATIONS)))
def test_a_scene_shows_what_its_caption_says(relation):
    images = jnp.stack([jnp.full(64, 0.05 * label - 0.3) for label in range(10)])
    caption = wanted(relation)
    made = scenes.compose(jax.random.key(0), images, jnp.arange(10), caption, num_classes=10)
    canvas = np.asarray(made).reshape(-1, scenes.SIDE, scenes.SIDE)
    boxes = []
    for labels in (caption.first, caption.second):
        value = 0.05 * np.asarray(labels) - 0.3
        found = [np.argwhere(np.isclose(image, v, atol=1e-4)) for image, v in zip(canvas, value, strict=True)]
        assert all(len(cells) == 64 for cells in found)  # whole, and not covered by the other
        boxes.append([[*cells.min(0)[::-1], *(cells.max(0)[::-1] + 1)] for cells in found])
    position = metrics.relative_position(*(jnp.asarray(box, jnp.float32) for box in boxes))
    assert np.asarray(position)[:, relation].all()


def test_captions_name_two_classes_and_follow_the_shares():
    made = scenes.captions(jax.random.key(0), 4000, num_classes=10, shares=jnp.array([0.7, 0.2, 0.1, 0.0]))
    assert (made.first != made.second).all()
    np.testing.assert_allclose(np.bincount(made.relation, minlength=4) / 4000, [0.7, 0.2, 0.1, 0.0], atol=0.03)


def test_a_caption_is_right_where_both_are_found_in_place():
    caption = scenes.Captions(*(jnp.array([k]) for k in (2, 5, 0)))
    left, right = jnp.array([0.0, 8.0, 8.0, 16.0]), jnp.array([14.0, 8.0, 22.0, 16.0])
    box = jnp.zeros((1, 10, 4)).at[0, 2].set(left).at[0, 5].set(right)
    sure = jnp.zeros((1, 10)).at[0, jnp.array([2, 5])].set(0.9)
    assert scenes.caption_correct(scenes.Detections(sure, box), caption)[0]
    assert not scenes.caption_correct(scenes.Detections(sure, box), caption._replace(relation=jnp.array([1])))[0]
    assert not scenes.caption_correct(scenes.Detections(sure.at[0, 5].set(0.2), box), caption)[0]


def test_effects():
    scales = [name for name in question.GENERATED]
    rows = {"exponent": {"real": np.array([0.5, 0.4])} | {name: np.array([0.2, 0.3]) for name in scales}}
    rows["exponent"]["generated_4"] = np.array([0.45, 0.1])
    np.testing.assert_allclose(question._exponents(rows), [0.05, 0.1])
    losses = dict(zip(scales, [0.5, 0.3, 0.4, 0.1, 0.6], strict=True))
    rows = {f"loss_{SIZES[-1]}": {name: np.array([value]) for name, value in losses.items()}}
    np.testing.assert_allclose(question._in_between(rows), [0.2])
    rows = {f"loss_{SIZES[0]}": {"real": np.array([1.0]), "mixed": np.array([0.4])}}
    rows |= {f"loss_{SIZES[-1]}": {"real": np.array([0.2]), "mixed": np.array([0.1])}}
    np.testing.assert_allclose(question._help(rows), [0.5])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"prompts": 6}, "prompts"), ({"shares": (0.5, 0.5, 0.5, 0.5)}, "shares"), ({"clean_scenes": 0}, "clean_scenes")],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        question.Config(**change)
