"""The question of rare positives: its splits, its losses, and a quick run from end to end."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import rare_positives
from experiments.command_line import answer

CONFIG = rare_positives.Config()


def test_rare_rows_hold_the_wanted_share_on_both_sides():
    positive = np.arange(1000) < 200
    train, test = rare_positives._rare_rows(positive, CONFIG, np.random.default_rng(0))
    assert len(np.intersect1d(train, test)) == 0
    assert len(train) + len(test) == 800 + 42
    for rows in (train, test):
        assert positive[rows].mean() == pytest.approx(0.05, abs=0.003)
    again, _ = rare_positives._rare_rows(positive, CONFIG, np.random.default_rng(1))
    assert set(again[positive[again]]) != set(train[positive[train]])


def test_every_loss_falls_as_the_logits_tell_the_classes_apart():
    targets = jnp.asarray(np.arange(40) < 4, jnp.float32)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(40, 3)), jnp.float32)
    good = jnp.where(targets > 0, 0.05, -2.0)  # the self-adjusting losses are best at 1/2 for positives
    for method in rare_positives.METHODS:
        better, worse = (
            float(method.fn(CONFIG, rare_positives.Batch(logits, targets, jnp.ones(40, bool), x)))
            for logits in (good, -1.95 - good)
        )
        assert better < worse, method.name


def test_padding_changes_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), np.arange(50) % 5 == 0
    splits = [[(rng.permutation(50)[:40], np.arange(10))]]
    tasks = [
        rare_positives._task(x, y, splits, size, lengths)
        for size, lengths in (((50, 3), [40, 10]), ((60, 5), [48, 15]))
    ]
    config = rare_positives.Config(steps=3)
    for index in (1, len(rare_positives.LOSSES) - 1):
        found = []
        for task in tasks:
            train, where = task.train[0, 0], task.train_where[0, 0]
            found.append(rare_positives.learn(config, index, False, task.x[train], task.y[train], where))
        np.testing.assert_allclose(found[1]["kernel"][:3], found[0]["kernel"], rtol=1e-4)
        np.testing.assert_allclose(found[1]["bias"], found[0]["bias"], rtol=1e-4)


def test_quick_run(quick_run):
    found = quick_run(rare_positives, "--dataset", "digits")
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(rare_positives.CLAIMS)
    rows = found["rows"]
    for task in rare_positives.TASKS:
        for metric in ("f1", "balanced_accuracy", "g_mean", "precision", "recall", "auroc"):
            assert list(rows[metric + task]) == rare_positives.NAMES
        # One model, two thresholds; and the prior only moves the start.
        assert rows["auroc" + task]["dsc"] == rows["auroc" + task]["dsc_low"]
        assert rows["recall" + task]["dsc"] < rows["recall" + task]["dsc_low"]
        precision, recall = (np.array(rows[metric + task]["weighted_bce"]) for metric in ("precision", "recall"))
        np.testing.assert_allclose(rows["f1" + task]["weighted_bce"], 2 * precision * recall / (precision + recall))
    curves = np.array(found["curves"]["positives"]["dice"])
    np.testing.assert_allclose(curves.sum(-1), 1, rtol=1e-5)
    # After the few steps of a quick run the self-adjusting losses are still near the prior that they started at.
    for name in ("dsc", "dsc_low", "dsc_each_low", "bce_prior"):
        assert np.array(found["curves"]["negatives"][name])[:, :4].sum(-1).min() > 0.9
    assert min(rows["auroc"]["any_f1"]) > 0.7


def test_a_share_that_the_data_does_not_have(tmp_path, capsys):
    arguments = ["--share", "0.5", "--dataset", "digits", "--out", str(tmp_path)]
    assert answer(rare_positives, arguments) == 2
    assert "there are 174" in capsys.readouterr().err
    assert answer(rare_positives, ["--worst", "2.0"]) == 2
    assert "worst must lie in (0, 1), got 2.0" in capsys.readouterr().err
