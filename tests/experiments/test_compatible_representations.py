"""The question of old indices: what its rows train, how they are measured, and a quick run from end to end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import compatible_models, compatible_representations
from experiments.command_line import answer
from experiments.compatible_models import Config, Seed, Shared
from jaxlab import analytic
from jaxlab.numerics import normalize

CONFIG = Config(hidden=6, width=4, extra=2)
rng = np.random.default_rng(0)
SHARED = Shared(jnp.float32(rng.uniform(size=(24, 5))), jnp.arange(24) % 4)
OLD = normalize(jnp.float32(rng.normal(size=(24, 4))))
PROTOTYPES = analytic.class_means(OLD, SHARED.y, num_classes=4)
BATCH = {"x": SHARED.x, "y": SHARED.y, "old": OLD, "new": normalize(jnp.roll(OLD, 1, axis=1))}


def test_classes_of_every_model():
    assert Config().num_old(10) == 5
    assert Config().num_learned(10) == (4, 7, 10)
    assert Config().num_learned(4) == (2, 3, 4)
    for bad in ({"stages": (0.7, 0.4)}, {"test_share": 1.0}, {"extra": 0}, {"width": 4, "extra": 5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Config(**bad)


@pytest.fixture(scope="module")
def objectives():
    makes = {
        "bct": compatible_models.bct,
        "bct_extra": functools.partial(compatible_models.bct, wider=True),
        "oca": compatible_models.oca,
        "bt2": compatible_models.bt2,
    }
    return {name: make(CONFIG, SHARED, jax.random.key(0), PROTOTYPES) for name, make in makes.items()}


def test_widths(objectives):
    widths = {name: [part.shape[1] for part in one.features(one.params, SHARED.x)] for name, one in objectives.items()}
    assert widths == {"bct": [4, 4], "bct_extra": [4, 6], "oca": [4, 6], "bt2": [4, 6]}


def smoothed(logits, labels, smoothing):
    logits = np.asarray(logits, np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = (1 - smoothing) * np.eye(logits.shape[1])[labels] + smoothing / logits.shape[1]
    return -(targets * log_probs).sum(1).mean()


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def terms(objective, name):
    """The published terms of every objective, written out."""
    compatible, full = (np.asarray(part, np.float64) for part in objective.features(objective.params, SHARED.x))
    old, y = unit(compatible), np.asarray(SHARED.y)
    prototypes, head = np.asarray(PROTOTYPES), np.asarray(objective.params["head"])
    smoothing = 0.0 if name == "bt2" else 0.1
    influence = smoothed(old @ prototypes.T, y, smoothing)
    if name == "oca":
        alignment = np.mean(1 - np.sum(old * unit(prototypes)[y], 1))
        return 5 * smoothed(full @ head, y, smoothing) + 10 * influence + 5 * alignment
    if name == "bt2":
        # Both rotations start as the identity: the new part stands behind the two kept coordinates of the old one.
        u = full[:, 2:] / 2
        to_old, to_new = (np.mean(1 - np.sum(a * np.asarray(BATCH[key]), 1)) for a, key in ((old, "old"), (u, "new")))
        return smoothed(u @ head, y, 0.0) + 10 * influence + 5 * to_old + to_new
    return smoothed(full @ head, y, smoothing) + 10 * influence


@pytest.mark.parametrize("name", ["bct", "bct_extra", "oca", "bt2"])
def test_losses_are_the_published_sums(objectives, name):
    assert float(objectives[name].loss(objectives[name].params, BATCH)) == pytest.approx(
        terms(objectives[name], name), rel=1e-5
    )


@pytest.mark.parametrize("mask", ["zero", "drop"])
def test_a_later_model_is_drawn_to_the_previous_one(mask):
    features = jnp.float32(rng.normal(size=(24, 4)))
    scores = 10 * np.asarray(OLD, np.float64) @ unit(np.asarray(features)).T
    differ = np.not_equal.outer(BATCH["y"], BATCH["y"])
    summed = np.where(differ, np.exp(scores), mask == "zero").sum(1)
    contrast = np.mean(np.log(summed) - np.diag(scores))
    for later, expected in ((True, 0.1 * 0.7 + 0.9 * contrast), (False, 0.7)):
        loss = compatible_representations.with_previous(jnp.array(0.7), features, BATCH, jnp.array(later), hoc=mask)
        assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_rotations_are_trained_and_keep_the_geometry(objectives):
    for name, parts in (("oca", ("layer",)), ("bt2", ("p", "b"))):
        params = dict(objectives[name].params)
        slope = jax.grad(objectives[name].loss)(params, BATCH)
        for part in parts:
            assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(slope[part]))
            params[part] = jax.tree.map(
                lambda leaf: leaf + rng.normal(size=leaf.shape).astype(np.float32), params[part]
            )
        assert objectives[name].geometry_error(params, SHARED.x) < 1e-5


def test_one_update_is_measured_against_the_old_index():
    """Features that copy the old model are as good as it in its index; the same after a rotation are useless there."""
    x = jnp.eye(4)[SHARED.y] + 0.1 * jnp.float32(rng.normal(size=(24, 4)))
    seed = Seed(jax.random.key(0), jnp.arange(24) < 16, jnp.arange(16, 24), x, x, jnp.eye(4)[:, :2])
    seeds = jax.tree.map(lambda leaf: leaf[None], seed)
    turned = jnp.roll(x, 1, axis=1)
    measure = functools.partial(compatible_representations.measure_updates, seeds, SHARED, num_classes=4)
    same, _ = measure(x[None], turned[None])
    assert same["cross_test"] == same["self_test"] == same["old_test"] == same["cross_nearest"] == 1
    assert same["average_compatibility"] == 0  # not better than the old model
    other, curves = measure(turned[None], turned[None])
    assert other["cross_test"] == other["cross_nearest"] == 0
    assert other["self_nearest"] == 1
    np.testing.assert_array_equal(curves["matrix"][0, :, 0], [1, 0])
    assert curves["map"].shape == (1, 8, 3)


def test_quick_run(quick_run):
    methods = "independent,procrustes,bct,bct_extra,oca,bt2,learnable,simplex,simplex_hoc,learnable_tuned"
    found = quick_run(compatible_representations, "--methods", methods)
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(compatible_representations.CLAIMS)
    rows = {metric: {name: np.mean(values) for name, values in row.items()} for metric, row in found["rows"].items()}
    assert set(rows["self_test"]) == set(methods.split(","))
    assert min(rows["self_test"].values()) > 0.8
    assert max(rows["cross_test"]["independent"], rows["cross_test"]["learnable"]) < 0.3
    assert min(rows["cross_test"][name] for name in ("procrustes", "bct", "oca", "bt2")) > 0.7
    assert rows["cross_test"]["simplex"] > rows["cross_test"]["learnable"] + 0.2
    assert max(rows["geometry_error"].values()) < 1e-5


def test_data_that_cannot_be_split(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("three.npz", x=np.ones((9, 3)), y=np.arange(9) % 3)
    assert answer(compatible_representations, ["--data", "three.npz"]) == 2
    assert "need 4 classes, three has 3" in capsys.readouterr().err
    np.savez("five.npz", x=np.ones((10, 3)), y=np.arange(10) % 5)
    assert answer(compatible_representations, ["--data", "five.npz", "--preallocated", "4"]) == 2
    assert "--preallocated 4 is too small" in capsys.readouterr().err
