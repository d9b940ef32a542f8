"""Noisy labels: how rows are made, what is dropped, and the quick run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import noisy_labels as question
from experiments import recalibration
from experiments.command_line import answer
from experiments.noisy_labels import Config


def test_the_quick_run(quick_run):
    names = {method.name for method in question.CLEANING}
    found = quick_run(question, "--dataset", "digits", "--methods", ",".join(names))
    assert {claim["verdict"] for claim in found["claims"] if claim["paper"] == 223} == {"not judged"}
    for metric in ("accuracy", "head", "tail"):
        assert set(found["rows"][metric]) == names
        assert min(map(min, found["rows"][metric].values())) >= 0
    assert min(found["rows"]["accuracy"]["ce"]) > 0.2
    assert set(found["rows"]["mean_error"]) == {"contrastive", "filtered", "recovered", "rcal"}


def test_outliers_of_a_class_are_dropped():
    rng = np.random.default_rng(0)
    centers = np.eye(3) * 20
    truth = np.repeat(np.arange(3), 40)
    features = jnp.asarray(centers[truth] + rng.standard_normal((120, 3)), jnp.float32)
    told = truth.copy()
    told[:8], told[40:48] = 1, 2  # wrong, far from the class they are told to be of
    wrong = told != truth
    seed = recalibration.Seed(None, None, jnp.asarray(told), jnp.asarray(truth), None, None, jnp.zeros(3, int))
    kept = np.asarray(recalibration.clean_rows(Config(noise=0.2, neighbors=15), seed, features))
    for label in range(3):
        own = told == label
        assert (~kept[own]).sum() == int(0.2 * own.sum())
    assert not kept[wrong].any()
    errors = []
    for where in (np.ones(120, bool), kept):
        _, means, _ = recalibration.gaussians(Config(), seed, features, jnp.asarray(where))
        errors.append(float(recalibration.mean_error(Config(), seed, features, means)))
    assert errors[1] < 0.2 < errors[0]


def test_classes_are_dealt_to_sizes():
    place, group = question._rare(np.random.default_rng(0), 10)
    assert sorted(place) == list(range(10))
    assert (group[np.argsort(place)] == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]).all()


def test_bad_settings():
    with pytest.raises(ValueError, match="noise must lie in"):
        Config(noise=1.0)
    with pytest.raises(ValueError, match="imbalance must lie in"):
        Config(imbalance=0.5)
    with pytest.raises(ValueError, match="loss_steps"):
        Config(loss_steps=0)
    with pytest.raises(ValueError, match="loss_pair must lie in"):
        Config(loss_pair=1.1)


def test_too_few_rows(tmp_path, capsys):
    path = tmp_path / "few.npz"
    np.savez(path, x=np.random.default_rng(0).random((60, 5)), y=np.arange(60) % 3)
    assert answer(question, ["--data", str(path)]) == 2
    assert "training rows" in capsys.readouterr().err


def test_wrong_labels_are_of_other_classes():
    told = question.weaksup.corrupt_labels(
        jax.random.key(0), jnp.zeros(2000, int), question.weaksup.transition_uniform(4, rate=0.2)
    )
    assert abs(float(jnp.mean(told != 0)) - 0.2) < 0.03
