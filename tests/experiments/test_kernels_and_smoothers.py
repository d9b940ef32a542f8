"""The question of smoothers: its inputs, the plane, trees by their leaves, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

from experiments import kernels_and_smoothers as question
from experiments import smoother_kernels, smoother_tasks, smoother_trees
from experiments.benchmarks import ntk_contest
from experiments.command_line import answer
from experiments.data import Dataset


def test_inputs_have_length_one_and_no_negative_entry():
    x = np.float32([[[-1, 0], [0, 3]], [[1, 0], [0, 0]], [[-1, -1], [-1, -1]]])
    rows = smoother_kernels.unit_rows(x, images=True)
    assert rows.min() == 0
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(
        smoother_kernels.unit_rows(np.float32([[5, 1], [5, 2]]), images=False), [[0, 0], [0, 1]]
    )


def test_seeds_have_as_many_of_every_class_and_labels_that_lie():
    y = np.repeat(np.arange(4), (30, 40, 50, 60))
    data = Dataset(np.random.default_rng(0).random((180, 5)).astype(np.float32), y, "features", "", 4, np.arange(4), "")
    seeds = question.prepare(question.Config(rows=90, noise=0.3), 3, data)
    assert seeds.train_y.shape == (3, 60)
    assert seeds.test_y.shape == (3, 30)
    counts = {tuple(np.bincount(row).tolist()) for row in np.asarray(seeds.train_y)}
    assert counts == {(10, 13, 17, 20)}
    assert 0.15 < np.mean(np.asarray(seeds.train_y) != np.asarray(seeds.noisy_y)) < 0.45
    few = Dataset(data.x[:8], np.arange(8) % 2, "features", "few", 2, np.arange(2), "")
    with pytest.raises(question.UserError, match="few has one with 4"):
        question.prepare(question.Config(), 1, few)


def test_plane():
    points, labels = smoother_tasks.plane_points(jax.random.key(0), 4000)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    flat = np.asarray(points[:, :2] / points[:, 2:]) / 0.25
    for label in (0, 1):
        np.testing.assert_allclose(flat[np.asarray(labels) == label].mean(0), [0.7 * (2 * label - 1), 0], atol=0.08)

    @jax.jit
    def excess(side):
        # Votes for the training points on the query's own side (or the other) of the line that separates the means.
        def votes(rows, query):
            return (side * rows[:, 0] * jnp.sign(query[:, :1]) > 0.05).astype(jnp.float32)

        return smoother_tasks.on_plane(votes, jax.random.key(1), sizes=(600,))[0]["excess_many"]

    assert float(excess(1)) == pytest.approx(0.0, abs=1e-6)
    assert float(excess(-1)) == pytest.approx(1 - 2 * 0.242, abs=0.06)  # all wrong: 1 - 2 times the Bayes error


def test_trees_and_their_smoothers():
    split = smoother_trees.patients(0, 120)
    assert len(split.test_y) == 322
    assert abs(split.train_y.mean()) < 1e-9
    for kind, model in (
        ("forest", RandomForestRegressor(6, max_features=1 / 3, bootstrap=False, random_state=0)),
        ("bagging", RandomForestRegressor(6, max_features=1 / 3, random_state=0)),
        ("boosting", GradientBoostingRegressor(n_estimators=6, learning_rate=0.3, init="zero", random_state=0)),
    ):
        grown = smoother_trees.grow(kind, split, 0, 6, 0.3)
        boosted = 0.3 if kind == "boosting" else None
        measured, curves = smoother_trees.measure(grown, counts=(1, 6), boosted=boosted)
        peer = model.fit(split.train_x, split.train_y)
        error = np.mean((peer.predict(split.test_x) - split.test_y) ** 2)
        assert float(measured["error"]) == pytest.approx(error, rel=1e-4)
        assert curves["trees_error"].shape == (2,)
        if kind != "boosting":
            assert float(measured["parameters_test"]) < float(measured["one_tree_test"])


def test_tangent_kernel_contest():
    results, targets = ntk_contest.contest(24, widths=(4, 6, 5, 1), block=8, repeats=1)
    (result,) = results
    assert [timing.output.shape for timing in result.timings] == [(24, 24)] * 3
    assert max(timing.facts["error"] for timing in result.timings) < 1e-5
    assert targets[0].value is None


def test_quick_run(quick_run):
    found = quick_run(question, "--dataset", "digits")
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}
    rows = found["rows"]
    classifiers = [method.name for method in question.CLASSIFIERS]
    assert list(rows["accuracy_noisy"]) == classifiers
    assert set(rows["nats"]) == {"laplace", "relu_ntk", "gaussian", "networks"}
    assert min(map(min, rows["nats"].values())) >= 0
    assert min(rows["like_nearest"]["nearest"] + rows["like_majority"]["mean"]) == 1
    np.testing.assert_allclose(rows["parameters_train"]["nearest"], 1, rtol=1e-5)
    np.testing.assert_allclose(rows["parameters_test"]["ten_nearest"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(rows["parameters_test"]["mean"], np.array(rows["parameters_train"]["mean"]), rtol=1e-5)
    np.testing.assert_allclose(rows["parameters_train"]["singular"], 1, rtol=1e-4)
    assert max(rows["parameters_test"]["singular"]) < 0.5
    assert min(rows["parameters_train"]["forest"]) > max(rows["parameters_test"]["forest"])
    for name in ("singular", "nearest", "hilbert"):
        assert min(rows["excess_many"][name]) >= 0


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--noise", "1.5", "noise must lie in"),
        ("--exponent", "3", "exponent must be"),
        ("--patients", "1", "patients must"),
    ],
)
def test_bad_options(option, value, words, capsys):
    assert answer(question, [option, value]) == 2
    assert words in capsys.readouterr().err
