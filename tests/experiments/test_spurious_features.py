"""Spurious cues: pairs and patches are what they say, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import data, spurious_attacks, spurious_dominoes, spurious_features, spurious_weights
from experiments.command_line import answer
from experiments.networks import mlp


def test_pairs_agree_as_often_as_asked():
    digits = data.load("digits")
    config = spurious_features.Config(labelled=300, unlabelled=2000, domino_tests=2000)
    seed = spurious_dominoes.prepare(config, digits, jax.vmap(jax.random.key)(jnp.arange(2)))
    rows = {}
    for name, pairs in (("labelled", seed.labelled), ("unlabelled", seed.unlabelled), ("tests", seed.tests)):
        cue, core = (digits.y[np.asarray(index)] for index in (pairs.cue, pairs.core))
        assert set(np.unique(cue)) == {0, 1}
        np.testing.assert_array_equal(core, 8 + np.asarray(pairs.label))
        agree = (cue == np.asarray(pairs.label)).mean(-1)
        wanted = {"labelled": 1.0, "unlabelled": spurious_dominoes.RATIOS, "tests": 0.5}[name]
        np.testing.assert_allclose(agree, np.broadcast_to(wanted, agree.shape), atol=0.04)
        rows[name] = set(np.ravel(pairs.cue[0])) | set(np.ravel(pairs.core[0]))
    assert not rows["labelled"] & rows["unlabelled"]
    assert not rows["tests"] & (rows["labelled"] | rows["unlabelled"])
    assert (seed.tests.label[0] != seed.tests.label[1]).any()


def test_patches_lie_as_often_as_asked():
    x, labels = np.zeros((4000, 2), np.float32), np.arange(4000) % 5
    flips = jnp.array([0.0, 0.5, 1.0])
    rows = spurious_weights.coloured(jax.random.key(0), x, labels, flips, 5)
    shown = np.asarray(rows[:, 2:].reshape(4000, 3, 5))
    assert (shown.sum(-1) == 1).all()
    right = (shown.argmax(-1) == labels[:, None]).mean(0)
    np.testing.assert_allclose(right, 1 - 0.8 * np.asarray(flips), atol=0.03)  # a random class is right at times


def test_the_quick_run(quick_run):
    found = quick_run(spurious_features, "--dataset", "digits")
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}
    rows = found["rows"]
    assert set(rows["best_50"]) == {"erm", "divdis", "dbat"}
    assert len(set(rows["best_0"]["erm"] + rows["best_100"]["erm"])) <= 4  # unlabelled pairs are not looked at
    assert rows["best_0"]["erm"] == rows["best_100"]["erm"]
    assert rows["best_0"]["divdis"] != rows["best_50"]["divdis"]
    assert set(rows["ood"]) == {
        "first",
        "tuned",
        "wise_ft",
        "mean_logits",
        "balanced_logits",
        "wise_smoothed",
        "wise_mixed",
        "bang",
    }
    assert set(rows["nll_wide"]) == {"independent", "discouraged", "encouraged", "pushed", "variance", "js", "kl"}
    for name, values in rows["nll_wide"].items():
        gap = np.array(rows["member_nll_wide"][name]) - values
        np.testing.assert_allclose(gap, rows["gap_wide"][name], rtol=1e-3, atol=1e-5)
    assert np.mean(rows["gap_narrow"]["pushed"]) > np.mean(rows["gap_narrow"]["discouraged"])
    assert set(rows["vulnerability_diversity"]) == {"apart", "adversarial", "dverge"}
    assert set(rows["transfer"]) == set(rows["fooled"]) == {"apart", "adversarial", "dverge", "searched", "neas"}
    assert min(rows["clean"]["searched"] + rows["clean"]["neas"]) > 0.3
    assert len({tuple(values) for values in rows["clean"].values()}) > 1
    for name, curve in found["curves"]["by_strength"].items():
        assert np.mean(curve, axis=0)[0] > np.mean(curve, axis=0)[-1], name  # attacks do harm


def test_hidden_layers_are_those_of_the_network():
    network, key = mlp((5, 4, 4, 3)), jax.random.key(0)
    params, x = network.init(key), jax.random.normal(key, (6, 5))
    first, second, logits = spurious_attacks.hidden_layers(params, x)
    np.testing.assert_allclose(logits, network.logits(params, x), rtol=1e-5)
    np.testing.assert_allclose(jax.nn.relu(second), network.features(params, x), rtol=1e-5)
    assert np.min(first) < 0  # before their activation


def test_who_says_what_of_whom():
    keys = jax.random.split(jax.random.key(0), 3)
    members = jax.vmap(mlp((5, 4, 4, 3)).init)(keys)
    inputs = jax.random.normal(keys[0], (2, 6, 5))
    found = spurious_attacks.crossed(members, inputs)
    assert found.shape == (3, 2, 6, 3)
    one = jax.tree.map(lambda leaf: leaf[2], members)
    np.testing.assert_allclose(found[2, 1], spurious_attacks.logits(one, inputs[1]), rtol=1e-5)


def test_bad_settings(tmp_path, capsys):
    with pytest.raises(ValueError, match="members must be at least 2"):
        spurious_features.Config(members=1)
    with pytest.raises(ValueError, match="attacked must be at least 2"):
        spurious_features.Config(attacked=1)
    with pytest.raises(ValueError, match="patch_test_share must lie in"):
        spurious_features.Config(patch_test_share=1.0)
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(0).random((60, 5)), y=np.arange(60) % 3)
    assert answer(spurious_features, ["--data", str(tmp_path / "few.npz"), "--methods", "erm"]) == 2
    assert "at least 4 classes" in capsys.readouterr().err
