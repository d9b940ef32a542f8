"""The question of guided editing: its edits, its editors, and a quick run from end to end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import class_edits, instructed_edits
from experiments import guided_editing as question
from experiments.assets import editors
from experiments.instructed_edits import Bench, Training
from jaxlab import diffusion


def test_the_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = quick_run(question)
    # So short a training may never bring 90 % of the images into the target class.
    assert {claim["verdict"] for claim in result["claims"]} <= {"not judged", "not run"}
    assert [claim["verdict"] for claim in result["claims"]].count("not run") <= 1
    rows = {metric: {name: np.array(v) for name, v in row.items()} for metric, row in result["rows"].items()}
    for start in class_edits.STARTS:
        background = rows[f"background_{start:g}"]
        assert set(background) == {method.name for method in question.CLASS_EDITS}
        np.testing.assert_array_equal(background["source"], 0.0)
        assert (background["flow_director"] < background["flow_director_free"]).all()
        assert (background["inversion"] < background["noising"]).all()
    for name in ("inversion", "noising", "flow_edit", "flow_director_free", "flow_director"):
        assert (rows["target_0.8"][name] > rows["target_0.8"]["source"]).all()
    at_scales = {method.name for method in question.INSTRUCTED} - {"editor_wrong_best"}
    for scale in ("1", "7.5"):
        assert set(rows[f"follows_{scale}"]) == at_scales
    assert set(rows["follows_best"]) == set(rows["kept"]) == {"editor_wrong_best"}
    assert (rows["follows_7.5"]["editor"] > rows["follows_7.5"]["editor_wrong"]).all()


def velocity(shift):
    """The flow from N(shift, 1), exactly; guidance changes nothing."""

    def at(scale):
        def fn(x, t):
            t = t[:, None]
            return (2 * t - 1) / ((1 - t) ** 2 + t**2) * (x - (1 - t) * shift) - shift

        return fn

    return at


CONFIG = question.Config(steps=6)
X = jax.random.normal(jax.random.key(0), (3, 16))


def edited(fn, start=1.0, target=2.0, **options):
    keys = jax.random.split(jax.random.key(1), 3)
    make = lambda start: fn(class_edits.Edit(CONFIG, keys, X, start, velocity(0.0), velocity(target)), **options)  # noqa: E731
    return np.asarray(jax.jit(make)(jnp.float32(start)))


def test_every_edit_reaches_the_other_gaussian_from_the_noise():
    np.testing.assert_allclose(edited(class_edits.along_velocities), X + 2.0, atol=1e-4)
    np.testing.assert_allclose(edited(class_edits.inversion), X + 2.0, atol=0.3)  # to the order of Euler's method
    assert np.abs(edited(class_edits.noising) - (X + 2.0)).max() > 0.5
    np.testing.assert_allclose(edited(class_edits.along_velocities, target=0.0), X, atol=1e-5)


def test_the_mask_holds_back_what_hardly_differs():
    target = jnp.zeros((4, 4)).at[:2, :2].set(2.0).reshape(-1)  # the velocities differ in one corner alone
    free, held = (edited(class_edits.along_velocities, target=target, masked=masked) for masked in (False, True))
    corner = np.asarray(target) > 0
    np.testing.assert_allclose(held[:, corner], free[:, corner], atol=1e-5)
    np.testing.assert_allclose(held[:, ~corner], X[:, ~corner], atol=1e-5)
    partly = jnp.where(corner, 2.0, 0.1)
    free, held = (edited(class_edits.along_velocities, target=partly, masked=masked) for masked in (False, True))
    moved = [np.abs(made - np.asarray(X))[:, -1] for made in (free, held)]
    assert (moved[1] < 0.5 * moved[0]).all()


def test_the_exact_edits():
    x = jax.random.normal(jax.random.key(2), (2, 9))
    thick, turned, inverted = np.asarray(editors.exact_edits(x))
    images = np.asarray(x).reshape(2, 3, 3)
    np.testing.assert_array_equal(turned.reshape(2, 3, 3), [np.rot90(image) for image in images])
    np.testing.assert_array_equal(inverted, -x)
    np.testing.assert_array_equal(thick[:, 4], images[:, [0, 1, 1, 1, 2], [1, 0, 1, 2, 1]].max(axis=1))
    np.testing.assert_array_equal(thick[:, 0], images[:, [0, 0, 1], [0, 1, 0]].max(axis=1))
    pairs = editors.pairs_of(x)
    np.testing.assert_array_equal(pairs.edited[pairs.instruction == 1], turned)
    np.testing.assert_array_equal(pairs.source[pairs.instruction == 1], x)
    with pytest.raises(ValueError, match="square"):
        editors.exact_edits(x[:, :6])


SMALL = editors.EditorConfig(dim=9, hidden=8, num_steps=3, batch_size=4, seeds=(0, 1))


def test_scales_of_one_are_the_conditional_prediction():
    params = editors._network(SMALL)[0](jax.random.key(3))
    source, x = jax.random.normal(jax.random.key(4), (2, 2, 9))
    instruction, t = jnp.array([0, 2]), jnp.array([0.3, 0.8])
    apply = editors._network(SMALL)[1]
    none = jnp.full(2, editors.NONE)
    free, image = apply(params, x, t, 0 * source, none), apply(params, x, t, source, none)
    whole = apply(params, x, t, source, instruction)
    got = [editors.editor(SMALL, params, source, instruction, scales=jnp.array(s))(x, t) for s in ((1, 1), (1.5, 7.5))]
    np.testing.assert_allclose(got[0], whole, atol=1e-6)
    np.testing.assert_allclose(got[1], free + 1.5 * (image - free) + 7.5 * (whole - image), rtol=1e-4, atol=1e-4)


def test_the_triplet_counts_from_its_step_on_and_only_with_both_conditions():
    params = editors._network(SMALL)[0](jax.random.key(5))
    pairs = editors.pairs_of(jax.random.normal(jax.random.key(6), (40, 9)))
    batch, key = pairs._asdict(), jax.random.key(7)
    config = dataclasses.replace(SMALL, triplet_weight=2.0, triplet_start=0.5, num_steps=10, margin=0.1)

    def loss(config, step):
        return float(editors._loss(config)(params, jnp.int32(step), batch, key)[0])

    plain = loss(dataclasses.replace(config, triplet_weight=0.0), 9)
    assert loss(config, 4) == pytest.approx(plain, abs=1e-6)
    assert loss(config, 5) > plain + 0.01
    always = dataclasses.replace(config, drop_rate=1 / 3)  # no pair keeps both
    assert loss(always, 9) == pytest.approx(loss(dataclasses.replace(always, triplet_weight=0.0), 9), abs=1e-6)


def test_wrong_instructions_come_at_their_rate_and_the_probe_mends_them(monkeypatch):
    config = question.Config(wrong=0.3)
    bench = Bench(None, None, jnp.zeros((400, 9)), jnp.zeros((5, 9)), jnp.zeros((2, 9)), None, "")
    right = np.repeat(np.arange(3), 400)
    clean = instructed_edits.instructions_of(config, Training(), bench, (0, 1))
    np.testing.assert_array_equal(clean, [right, right])
    wrong = np.asarray(instructed_edits.instructions_of(config, Training(wrong=True), bench, (0, 1)))
    np.testing.assert_allclose((wrong != right).mean(axis=1), 0.3, atol=0.05)
    assert (wrong[0] != wrong[1]).any()
    assert set(np.unique(wrong)) == {0, 1, 2}
    monkeypatch.setattr(instructed_edits, "_reading", lambda config, bench: jnp.asarray(right))
    mended = instructed_edits.instructions_of(config, Training(wrong=True, rectified=True), bench, (0, 1))
    np.testing.assert_array_equal(mended, clean)


def test_changes_are_compared_where_an_edit_gets_there():
    starts = class_edits.STARTS
    reached = {"mine": [(0.0, 0.8, 1.0, 1.0), (0.0, 0.0, 0.95, 0.5)], "other": [(0.4, 0.6, 0.8, 0.9), (0.95, 1, 1, 1)]}
    rows = {"target_0.8": {"source": np.zeros(2)}}
    for i, start in enumerate(starts):
        table = rows.setdefault(f"target_{start:g}", {})
        table |= {name: np.array([seed[i] for seed in seeds]) for name, seeds in reached.items()}
        rows[f"background_{start:g}"] = dict.fromkeys(reached, np.full(2, 0.1 * (i + 1)))
    np.testing.assert_allclose(question._change_at("mine")(rows), [0.25, 0.2 + 0.1 * 0.9 / 0.95], rtol=1e-6)
    np.testing.assert_allclose(question._change_at("other")(rows), [0.4, 0.1 * 0.9 / 0.95], rtol=1e-6)
    np.testing.assert_allclose(question._ratio_at_level("mine", "other")(rows)[0], 0.25 / 0.4, rtol=1e-6)
    rows["target_0.8"]["other"][0] = 0.89
    assert np.isnan(question._change_at("other")(rows)[0])
    rows["target_0.8"]["other"][0] = 0.9
    np.testing.assert_allclose(
        question._mean_difference("mine", "other")(rows)[0], np.mean([-0.4, 0.2, 0.2, 0.1]), rtol=1e-6
    )


@pytest.mark.parametrize(("change", "message"), [({"sources": 1}, "sources"), ({"wrong": 1.5}, "wrong")])
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        question.Config(**change)


def test_the_grid_of_an_edit_ends_at_the_data():
    ts = class_edits._down(class_edits.Edit(CONFIG, None, X, jnp.float32(0.8), None, None), 1)
    np.testing.assert_allclose(ts, diffusion.time_grid(6, high=0.8, low=0.0), atol=1e-6)
