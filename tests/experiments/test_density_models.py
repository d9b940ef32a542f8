"""The question of density models: its levels, its trees, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import density_models as question
from experiments.command_line import answer
from jaxlab import analytic


def test_levels_are_few_and_whole():
    small = np.arange(17.0).repeat(4)[:64].reshape(1, 8, 8)
    np.testing.assert_array_equal(question.levels(small), small.reshape(1, -1))
    large = np.zeros((1, 28, 28))
    large[0, :2, :2] = 255.0
    found = question.levels(large)
    assert found.shape == (1, 196)
    assert (found.max(), found.sum()) == (7, 7)


def test_chow_liu_tree_counts_pairs():
    x = np.array([[0, 0, 1], [0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1], [0, 0, 1]], np.int32)
    tree = question.fit_chow_liu(jnp.asarray(x), num_values=2, smoothing=jnp.asarray(1e-3))
    probs = np.exp(analytic.hclt_log_prob(tree, jnp.array([[0, 0, 1], [0, 1, 1]])))
    np.testing.assert_allclose(probs, [1 / 2 * 2 / 3, 0.0], atol=2e-3)


def test_drawn_images_follow_the_tree():
    x = jnp.asarray(np.tile([[0, 1, 1], [1, 0, 0]], (20, 1)))
    tree = question.fit_chow_liu(x, num_values=2, smoothing=jnp.asarray(1e-4))
    drawn = question.draw(tree, jax.random.key(0), 200)
    assert np.all(drawn[:, 1] == drawn[:, 2])
    assert np.all(drawn[:, 0] == 1 - drawn[:, 1])
    assert 60 < drawn[:, 0].sum() < 140


def test_quick_run(quick_run):
    names = "zlib,lzma,independent,chow_liu,hclt_4"
    found = quick_run(question, "--dataset", "digits", "--methods", names)
    rows = found["rows"]
    assert np.all(np.less(rows["bits"]["chow_liu"], rows["bits"]["independent"]))
    assert {value for row in rows["wrong"].values() for value in row} == {0.0}
    assert max(map(max, rows["overhead"].values())) < 0.15  # a few images share the 12 bytes of a stream's ends


def test_what_cannot_be_asked(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("flat.npz", x=np.eye(9), y=np.arange(9) % 3)
    assert answer(question, ["--data", "flat.npz"]) == 2
    assert "needs square grey images" in capsys.readouterr().err
    assert answer(question, ["--smoothing", "0"]) == 2
    assert "must be positive" in capsys.readouterr().err
