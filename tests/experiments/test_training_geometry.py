"""The geometry of training: matched units, masked widths, classes that are drawn, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import geometry_phases, training_geometry
from experiments.data import Dataset
from experiments.errors import UserError
from jaxlab import metrics

rng = np.random.default_rng(4)


def network(width=3, widest=5, key=0):
    return geometry_phases.first_weights(jax.random.key(key), jnp.array(width), inputs=4, widest=widest, outputs=2)


def test_units_beyond_the_width_are_zero_and_stay_zero():
    params, x, y = network(), rng.normal(size=(9, 4)).astype(np.float32), np.arange(9) % 2
    gradient = jax.grad(geometry_phases.loss_of)(params, x, y)
    for tree in (params, gradient):
        for leaf, axis in (("hidden", 1), ("head", 0)):
            assert not np.any(np.take(tree[leaf], [3, 4], axis))
            assert np.all(np.any(np.take(tree[leaf], [0, 1, 2], axis), axis=1 - axis))


def test_matching_undoes_a_permutation():
    params, order = network(), np.array([2, 4, 0, 3, 1])
    mixed = {"hidden": params["hidden"][:, order], "shift": params["shift"][order], "head": params["head"][order]}
    back = geometry_phases.match_units(params | mixed, params)
    for name, leaf in params.items():
        np.testing.assert_array_equal(back[name], leaf)
    x = rng.normal(size=(6, 4)).astype(np.float32)
    other = network(key=1)  # of another network it changes the order alone
    moved = geometry_phases.match_units(other, params)
    np.testing.assert_allclose(geometry_phases.logits(moved, x), geometry_phases.logits(other, x), rtol=1e-5)


def test_readings_of_the_phases():
    accuracy = jnp.array([[0.5, 0.8, 0.9, 0.99]])
    found = {"accuracy": accuracy, "averaging": 1 - accuracy, "averaging_matched": 0.1 * (1 - accuracy)}
    read = geometry_phases.read_phases(found | {"phase": jnp.array([[0.0, 3.0, 4.0, 4.0]])})
    assert read["lead"] == pytest.approx(0.945 - 0.8)
    assert read["cells_inside"] == 2
    assert read["averaging_inside"] == pytest.approx(0.055)
    assert read["averaging_matched_outside"] == pytest.approx(0.035)
    absent = geometry_phases.read_phases(found | {"phase": jnp.zeros((1, 4))})
    assert absent["lead"] < 0
    assert absent["averaging_inside"] == 1
    ranked = geometry_phases.read_measure("sharpness", {"accuracy": accuracy, "sharpness": jnp.array([[4.0, 3, 1, 2]])})
    assert ranked["rank_correlation"] == pytest.approx(0.8)
    assert ranked["picked_accuracy"] == pytest.approx(0.9)
    assert ranked["lost_to_best"] == pytest.approx(0.09)
    curve = {"accuracy": accuracy, "connectivity": jnp.array([[3.0, -2.0, 1.0, -0.1]])}  # best at 0, on either side
    assert geometry_phases.read_measure("connectivity", curve)["rank_correlation"] == pytest.approx(1.0)
    assert geometry_phases.read_measure("connectivity", curve)["picked_accuracy"] == pytest.approx(0.99)


def test_classes_are_drawn_with_their_sizes():
    y = np.repeat(np.arange(5), [30, 30, 12, 30, 8])
    x = (1000 * y + np.arange(110))[:, None].astype(np.float32)
    data = Dataset(x, y.astype(np.int32), "features", "made", 5, np.arange(5), "")
    x_train, y_train, x_test, y_test, where = training_geometry.draw_classes(data, (20, 10, 4), seed=0)
    assert np.bincount(y_train).tolist() == [20, 10, 4]
    labels = x_train[:, 0] // 1000
    assert [len(set(labels[y_train == k])) for k in range(3)] == [1, 1, 1]
    assert set(labels) <= {0, 1, 3}
    assert not set(x_train[:, 0]) & set(x_test[where, 0])
    assert np.bincount(y_test[where]).tolist() == [10, 14, 14]
    with pytest.raises(UserError, match="4 classes need more than 20 rows each, made has 3 such"):
        training_geometry.draw_classes(data, (20, 10, 4, 4), seed=0)


def test_a_bad_configuration():
    with pytest.raises(ValueError, match="must not increase"):
        training_geometry.Config(tiny=(3, 90))


def test_quick_run(quick_run):
    found = quick_run(training_geometry)
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(training_geometry.CLAIMS)
    rows, curves = found["rows"], found["curves"]
    assert min(min(values) for name, values in rows["fall"].items() if name != "no_decay") > 0
    assert min(map(min, rows["test_accuracy"].values())) > 0.5
    assert set(rows["rank_correlation"]) == set(geometry_phases.MEASURES)
    assert np.shape(curves["phase"]["phase"]) == (2, 1, 2)
    loss, phase = np.array(curves["train_loss"]["phase"]), np.array(curves["phase"]["phase"])
    assert set(np.unique(phase)) <= set(range(5))
    assert np.all((loss > metrics.PhaseThresholds(0.15).loss) == (phase < 2))
    assert min(rows["picked_accuracy"]["train_loss"]) > 0.7
