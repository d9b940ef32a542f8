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


def test_the_loss_is_the_published_sum():
    """Cross entropy of mixed rows, and for rows that are not drawn the distance from where they were."""
    config = Config(hidden=8, width=6, keep_features=3.0, mixup=0.8)
    keys = jax.random.split(jax.random.key(0), 5)
    z = jax.random.normal(keys[0], (10, 6))
    z /= jnp.linalg.norm(z, axis=1, keepdims=True)
    batch = {"x": jax.random.normal(keys[1], (10, 4)), "z": z, "y": jnp.arange(10) % 3, "real": jnp.arange(10) < 7}
    head = {"kernel": jax.random.normal(keys[2], (6, 3)), "bias": jnp.arange(3.0)}
    params = {"head": head, "body": recalibration._network(config, 4).init(keys[3])}
    own = np.asarray(recalibration._features(config, params["body"], batch["x"]))
    near, real, y = np.asarray(z), np.asarray(batch["real"]), np.asarray(batch["y"])

    def entropies(features, labels):
        logits = 10.0 * features @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
        return (np.log(np.exp(logits).sum(1)) - logits[np.arange(10), labels]).astype(np.float64)

    features = np.where(real[:, None], own, near)
    share = float(jax.random.beta(keys[4], 0.8, 0.8))
    mixed = share * features + (1 - share) * features[::-1]
    named = np.mean(share * entropies(mixed, y) + (1 - share) * entropies(mixed, y[::-1]))
    away = np.mean(np.sum((own - near) ** 2, axis=1)[real])
    assert 0.05 < share < 0.95
    assert away > 0.1
    loss = recalibration.recalibrated(config, params, batch, keys[4])
    np.testing.assert_allclose(loss, named + 3.0 * away, rtol=1e-4)
    alone = recalibration.recalibrated(config, {"head": head}, batch, keys[4])
    np.testing.assert_allclose(alone, np.mean(entropies(near, y)), rtol=1e-4)


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
