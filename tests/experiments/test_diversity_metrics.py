"""The question of lost diversity: its samples, what a score of them says, and a quick run from end to end."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import diversity_metrics as question
from experiments.command_line import answer
from experiments.data import Dataset

LABELS = np.repeat(np.arange(4), 30)
CONFIG = question.Config(sample=20, chosen=2)


def test_samples_lose_what_they_should():
    index, factor = question.probes(CONFIG, LABELS, 0)
    assert index.shape == (4 + 5 + 5 + 2, 20)
    classes = [len(set(LABELS[rows])) for rows in index]
    assert classes[:4] == [1, 2, 3, 4]
    assert [len(set(rows.tolist())) for rows in index[4:9]] == [20, 15, 10, 5, 2]  # copies
    assert factor.tolist() == [1.0] * 9 + list(question.FACTORS) + [1.0] * 2
    assert (index[9:14] == index[4]).all()
    alone, mixed = index[14:]
    assert (alone == index[0]).all()
    assert np.sum(LABELS[mixed] != LABELS[alone[0]]) == 1  # 5 % of 20
    assert all(len(set(rows.tolist())) == 20 for rows in index[[0, 3, 15]])


def test_components_keep_distances():
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32) + 5
    data = Dataset(x, np.arange(30) % 2, "features", "", 2, np.arange(2), "")
    found = question.principal_components(data, 8)
    np.testing.assert_allclose(found @ found.T, (x - x.mean(0)) @ (x - x.mean(0)).T, atol=1e-4)
    assert (np.diff(found.var(0)) < 0).all()


def test_measures_of_a_score_that_counts_members():
    """A score that counts different members: copies take what they replace, and nothing else matters."""
    index, factor = (np.asarray(part) for part in question.probes(CONFIG, LABELS, 0))
    x = jnp.arange(120, dtype=jnp.float32)[:, None]
    means = jnp.array([[14.5], [44.5], [74.5], [104.5]])
    known = question.Reference(x, jnp.asarray(LABELS), means, jnp.float32(1), jnp.zeros((1, 1)))

    def different(config, reference, x):
        return 1.0 + jnp.sum(jnp.diff(jnp.sort(x[:, 0])) > 1e-3)

    measured, curves = question.row(different, CONFIG, question.Probes(jnp.asarray(index), jnp.asarray(factor)), known)
    assert measured["copies_loss"] == 0.5
    assert measured["drawn_loss"] == measured["late_gain"] == measured["rare_gain"] == 0
    np.testing.assert_allclose(curves["copies"], [1, 0.75, 0.5, 0.25, 0.1])
    np.testing.assert_allclose(curves["drawn"], [1, 1, 1, 1, 0.2])  # four means are left


def test_quick_run(quick_run):
    found = quick_run(question)
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * 4
    rows = found["rows"]
    names = [method.name for method in question.METHODS]
    for metric in ("class_correlation", "late_gain", "copies_loss", "drawn_loss", "rare_gain"):
        assert list(rows[metric]) == names
    losses = {name: np.mean(values) for name, values in rows["copies_loss"].items()}
    assert losses["vendi_0.1"] > losses["vendi"] > losses["vendi_2"] > losses["vendi_inf"]
    assert losses["vendi_0.1"] == pytest.approx(0.5, abs=0.05)
    assert losses["internal"] < 0.05


def test_data_that_does_not_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("few.npz", x=np.random.default_rng(0).normal(size=(40, 3)), y=np.arange(40) % 4)
    assert answer(question, ["--data", "few.npz"]) == 2
    assert "needs 170 rows, few has a class with 10" in capsys.readouterr().err
    assert answer(question, ["--data", "few.npz", "--chosen", "1"]) == 2
    assert "--chosen must lie in [2, sample], got 1" in capsys.readouterr().err
