"""Learning from bag averages: its splits, its rows, and a quick run from end to end."""

import jax
import numpy as np
import pytest

from experiments import bag_labels as question

CONFIG = question.Config(splits=2, descent_steps=20)


def test_splits_are_standardised_and_apart():
    tasks = question.prepare(CONFIG, [0, 1])
    assert tasks.x.shape == (2, 2, 340, 10)
    assert tasks.test_x.shape == (2, 2, 102, 10)
    np.testing.assert_allclose(np.mean(tasks.x, axis=2), 0, atol=1e-4)
    np.testing.assert_allclose(np.std(tasks.x, axis=2), 1, atol=1e-3)
    everybody = np.concatenate([tasks.y, tasks.test_y], axis=2)
    np.testing.assert_allclose(np.sort(everybody), np.broadcast_to(np.sort(everybody[0, 0]), everybody.shape))
    x, y = question.bags(jax.tree.map(lambda leaf: leaf[0, 0], tasks), 5)
    np.testing.assert_array_equal(x[3, 2], tasks.x[0, 0, 17])
    assert y[3, 2] == tasks.y[0, 0, 17]


def test_quick_run(quick_run):
    found = quick_run(question)
    rows = found["rows"]
    alone = [rows["error_1"][name] for name in question.WEIGHTS]
    np.testing.assert_allclose(alone, np.broadcast_to(alone[0], (7, 2)), rtol=1e-5)  # in bags of one nothing differs
    assert np.ptp([rows["error_10"][name] for name in question.WEIGHTS], axis=0).min() > 0.05
    assert min(rows["private_1"]["private"]) > max(rows["error_1"]["bag"])
    assert max(rows["gap"]["descent"]) < 0.05
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"splits": 0}, "must be positive"),
        ({"train_rows": 341}, "multiple of 20"),
        ({"train_rows": 460}, "multiple of 20"),
        ({"epsilon": 0.0}, "must be positive"),
        ({"private_rho": 1.5}, "private_rho in"),
    ],
)
def test_bad_settings(change, words):
    with pytest.raises(ValueError, match=words):
        question.Config(**change)
