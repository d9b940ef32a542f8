"""The question of judging without labels: its captions, ratings and splits, and a quick run."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import data, label_free_evaluation, label_free_learning, label_free_scores
from experiments.assets import captions
from experiments.command_line import answer


@pytest.fixture(scope="module")
def seen():
    digits = data.load("digits")
    return label_free_scores.prepare(digits.x, digits.y, 50, 2, 0)


def test_what_is_judged_was_not_trained_on(seen):
    assert not np.any(np.asarray(seen.train)[np.asarray(seen.items)])
    assert np.sum(seen.train) + len(seen.items) == len(seen.y)
    np.testing.assert_allclose(np.diag(seen.truth), 1, atol=1e-6)
    np.testing.assert_array_equal(seen.truth, seen.truth.T)
    labels = np.asarray(seen.y)[np.asarray(seen.items)]
    same = labels[:, None] == labels
    assert np.min(np.asarray(seen.truth)[same]) >= 0.6 > 0.41 > np.max(np.asarray(seen.truth)[~same])


def test_words_of_the_captions_are_counted(seen):
    bag = np.asarray(seen.bag)
    assert np.all(bag[:, [captions.END, captions.START]] == 0)
    # Two captions, each names the image once.
    nouns = [captions.WORDS.index(word) for word in ("digit", "number", *captions.CLASSES)]
    np.testing.assert_array_equal(bag[:, nouns].sum(1), 2)
    labels = np.asarray(seen.y)[np.asarray(seen.items)]
    named = bag[:, nouns[2:]]
    assert named[np.arange(50), labels].sum() == named.sum() > 20


def test_ratings_scatter_around_the_truth(seen):
    ratings, _ = label_free_scores.rated(seen)
    np.testing.assert_allclose(ratings, np.swapaxes(ratings, 1, 2), atol=1e-6)
    upper = np.triu_indices(50, 1)
    noise = (np.asarray(ratings) - np.asarray(seen.truth))[:, upper[0], upper[1]]
    np.testing.assert_allclose(noise.std(), label_free_scores.NOISE, rtol=0.05)
    assert abs(noise.mean()) < 0.02


def test_measures_see_clusters():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    points = rng.normal(size=(40, 3)).astype(np.float32)
    near, far = (
        {
            k: float(v)
            for k, v in label_free_scores.measure(jnp.asarray(points + apart * labels[:, None]), labels, 2).items()
        }
        for apart in (np.float32(0), np.float32(20))
    )
    assert far["fisher"] > 10 * near["fisher"]
    assert far["neighbour"] == 1 > near["neighbour"]
    assert far["mean_death"] < near["mean_death"]


def test_splits():
    x, y = np.arange(500.0, dtype=np.float32)[:, None], np.arange(500) % 3
    rows = label_free_learning.split(x, y, 100, 0)
    assert rows.unlabelled.shape == (400, 1)
    assert not set(np.ravel(rows.test_x)) & set(np.ravel(rows.unlabelled))
    np.testing.assert_array_equal(rows.x, rows.unlabelled[:200])
    np.testing.assert_array_equal(np.ravel(rows.x) % 3, rows.y)


def test_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = quick_run(label_free_evaluation, "--dataset", "digits")
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(label_free_evaluation.CLAIMS)
    rows = found["rows"]
    assert list(rows["rho_blobs"]) == list(label_free_evaluation.TOPOLOGY)
    assert list(rows["r_similarity"]) == list(label_free_evaluation.LANGUAGE)
    assert list(rows["bound"]) == list(label_free_evaluation.BOUNDS)
    assert list(rows["accuracy_20"]) == list(label_free_evaluation.PRETRAINING)
    assert np.all(np.array(rows["bound"]["prompts"]) > rows["train_error"]["prompts"])
    assert min(rows["r_similarity"]["raters"]) > 0.5


def test_bad_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", x=np.ones((40, 3)), y=np.arange(40) % 3)
    assert answer(label_free_evaluation, ["--data", "mine.npz"]) == 2
    assert "needs grey images of at most ten classes" in capsys.readouterr().err
    assert answer(label_free_evaluation, ["--items", "10"]) == 2
    assert "items must be at least 40, got 10" in capsys.readouterr().err
