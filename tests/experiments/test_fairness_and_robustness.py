"""The question of what fairness and robust training cost: its patients, its images, and a quick run."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import fair_penalties, fairness_and_robustness, robust_classes
from experiments.command_line import answer
from experiments.data import Dataset
from experiments.errors import UserError


def test_patients():
    data = fair_penalties.load_patients(1.0, 0)
    for value in (data.x, data.y, data.attributes):
        np.testing.assert_allclose(np.mean(value, 0), 0, atol=1e-5)
        np.testing.assert_allclose(np.std(value, 0), 1, rtol=1e-4)
    assert np.bincount(data.fold).tolist() == [221, 221]
    product = np.prod(np.sign(data.attributes), axis=1)
    plain = fair_penalties.load_patients(0.0, 0)
    assert np.corrcoef(product, data.y)[0, 1] > 0.6 > 0.2 > abs(np.corrcoef(product, plain.y)[0, 1])
    for column in range(2):
        assert abs(np.corrcoef(np.asarray(data.attributes)[:, column], data.y)[0, 1]) < 0.2
    assert len(np.unique(data.groups)) == fair_penalties.GROUPS
    assert (fair_penalties.load_patients(1.0, 1).fold != data.fold).any()


def test_the_frontier_keeps_to_its_budget():
    data = fair_penalties.load_patients(1.0, 0)
    factors = jnp.linspace(1.0, 0.0, 5)[:, None]
    # The outcome itself, drawn towards its mean: errors 0, .25, ..., 1.
    measured, curves = fair_penalties.frontier(factors * data.y, data, 0.5)
    np.testing.assert_allclose(curves["error"], [0, 0.25, 0.5, 0.75, 1], atol=1e-4)
    np.testing.assert_allclose(curves["js_subgroups"][-1], 0, atol=1e-6)
    assert measured["rmse"] <= 0.5 + 1e-4
    assert measured["js_subgroups"] == np.min(curves["js_subgroups"][:3])
    assert measured["js_subgroups"] > 5 * max(measured["js_sex"], measured["js_age"])


def test_a_pair_of_classes():
    y = np.repeat(np.arange(3), [60, 50, 45])
    x = np.random.default_rng(0).normal(size=(155, 4)).astype(np.float32)
    data = Dataset(x, y.astype(np.int32), "features", "mine", 3, np.arange(3), "")
    pair = robust_classes.load_pair(data, 2, 0, 0)
    assert np.bincount(pair.labels).tolist() == [44, 44]
    assert np.sum(pair.train) == 44
    for ratio, kept in ((1.0, 22), (10.0, 3)):
        found = np.asarray(robust_classes._kept(pair, jnp.array(ratio)))
        assert [np.sum(found & (np.asarray(pair.labels) == label)) for label in (1, 0)] == [kept, 22]
    assert (np.min(pair.x), np.max(pair.x)) == (0, 1)
    errors = robust_classes.errors_of(jnp.ones(88), pair)
    np.testing.assert_array_equal(errors, [0, 1])
    for rare, frequent, message in ((3, 0, "rare must be a class of mine"), (1, 1, "two classes")):
        with pytest.raises(UserError, match=message):
            robust_classes.load_pair(data, rare, frequent, 0)


def test_summary():
    errors = jnp.zeros((4, 4, 2)).at[3, 3].set(jnp.array([0.5, 0.1])).at[0, 3].set(jnp.array([0.2, 0.3]))
    measured, _ = robust_classes.summary(errors)
    found = {name: round(float(value), 4) for name, value in measured.items()}
    assert found == {"gap_plain": 0.0, "gap_robust": 0.4, "gap_balanced": -0.1, "lost_by_both": 0.2}


def test_quick_run(quick_run):
    found = quick_run(fairness_and_robustness, "--dataset", "digits")
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(fairness_and_robustness.CLAIMS)
    rows = found["rows"]
    assert list(rows["js_subgroups"]) == list(fairness_and_robustness.FAIR)
    assert list(rows["gap_robust"]) == [m.name for m in fairness_and_robustness.METHODS if m.paper == 228]
    assert min(rows["gap_robust"]["theory_linf"]) > max(rows["gap_plain"]["theory_linf"])
    assert max(map(abs, rows["lost_by_both"]["theory_l2"])) < 1e-6


def test_bad_settings(capsys):
    assert answer(fairness_and_robustness, ["--budget", "1.5"]) == 2
    assert "budget must lie in (0, 1), got 1.5" in capsys.readouterr().err
    assert answer(fairness_and_robustness, ["--eps-linf", "-1"]) == 2
    assert "eps_linf must be > 0" in capsys.readouterr().err
