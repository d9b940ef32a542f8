"""Dense prediction: canvases and their labels, and the quick run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from experiments import dense_prediction as question
from experiments.assets import digit_grids
from experiments.command_line import answer


@pytest.fixture(scope="module")
def digits():
    raw = load_digits()
    return digit_grids.pool((raw.images / 16).astype(np.float32), raw.target, np.arange(500)), raw


def test_canvases_show_what_is_allowed_and_label_its_ink(digits):
    pool, _ = digits
    allowed = jnp.arange(10) < 4
    grids = digit_grids.compose(jax.random.key(0), pool, allowed, count=40, must_show=jnp.array(7))
    images, labels = np.asarray(grids.images), np.asarray(grids.labels)
    assert images.shape == labels.shape == (40, 24, 24)
    np.testing.assert_array_equal(labels >= 0, images > digit_grids.INK)
    assert set(np.unique(labels)) == {-1, 0, 1, 2, 3, 7}
    assert (labels == 7).any(axis=(1, 2)).all()
    # A cell holds one digit, with its own pixels.
    cell = labels[0, :8, :8]
    assert len(np.unique(cell[cell >= 0])) <= 1
    without = digit_grids.compose(jax.random.key(0), pool, allowed, count=40)
    assert set(np.unique(without.labels)) == {-1, 0, 1, 2, 3}


def test_a_pool_holds_rows_of_each_class(digits):
    pool, raw = digits
    for label, rows in enumerate(np.asarray(pool.rows)):
        assert (raw.target[rows] == label).all()
        assert set(rows) == set(np.flatnonzero(raw.target[:500] == label))


def test_the_quick_run(quick_run, capsys):
    found = quick_run(question)
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}
    for metric in ("miou_1", "miou_5"):
        assert set(found["rows"][metric]) == {method.name for method in question.METHODS}
        assert all(0 <= value <= 1 for row in found["rows"][metric].values() for value in row)


def test_data_of_another_size(tmp_path, capsys):
    path = tmp_path / "small.npz"
    np.savez(path, x=np.random.default_rng(0).random((40, 5, 5)), y=np.arange(40) % 10)
    assert answer(question, ["--data", str(path)]) == 2
    assert "images of 8 x 8 pixels" in capsys.readouterr().err
