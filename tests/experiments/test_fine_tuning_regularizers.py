"""Little data: the conditions, companded networks as vectors, confidence, and the quick run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import fine_tuning_regularizers as question
from experiments import scarce_data
from experiments.command_line import answer
from experiments.data import load
from experiments.scarce_data import DULL, FEW, NOISY, PLAIN


def test_the_quick_run(quick_run):
    found = quick_run(question)
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}
    rows, names = found["rows"], {method.name for method in question.METHODS}
    for metric in ("accuracy_few", "accuracy_plain", "accuracy_noisy", "accuracy_dull", "nll_noisy", "ece_noisy"):
        assert set(rows[metric]) == names
    assert min(rows["accuracy_plain"]["none"]) > 0.2
    # Every row is another network, whatever it shares with others.
    assert len({tuple(row) for row in rows["nll_noisy"].values()}) == len(names)
    assert np.shape(found["curves"]["ranked"]["bias_loss"]) == (2, question.SHOWN, 64)


def drawn(**changes):
    sizes = {"per_class": 6, "few": 2, "tests": 5, "noise": 0.5, "dullness": 0.5, **changes}
    return scarce_data.draw(jax.vmap(jax.random.key)(jnp.arange(2)), load("digits"), **sizes)


def test_conditions_share_their_images():
    seeds = drawn()
    assert seeds.x.shape == (2, 4, 60, 8, 8, 1)
    np.testing.assert_array_equal(seeds.allowed.sum(-1), [[20, 60, 60, 60]] * 2)
    for x, labels, allowed, dull, truth in zip(*seeds[1:5], seeds.truth, strict=True):
        np.testing.assert_array_equal(np.bincount(labels[FEW][allowed[FEW]]), [2] * 10)
        np.testing.assert_array_equal(np.bincount(truth), [5] * 10)
        np.testing.assert_array_equal(x[FEW], x[NOISY])
        np.testing.assert_array_equal(x[PLAIN][~dull], x[DULL][~dull])
        assert dull.sum() == 30
        emptied = np.asarray(x[DULL])[np.asarray(dull)]
        assert 0 < (np.ptp(emptied, axis=(1, 2, 3)) == 0).sum() < 30  # some are blank, the others blurred
        assert (emptied.var((1, 2)) < 0.5 * np.asarray(x[PLAIN])[np.asarray(dull)].var((1, 2))).all()
        np.testing.assert_array_equal(labels[PLAIN], labels[DULL])
        assert 0.2 < (labels[PLAIN] != labels[NOISY]).mean() < 0.8
    assert not np.array_equal(seeds.x[0], seeds.x[1])


def test_companded_networks_start_as_they_are():
    params = jax.tree.map(lambda leaf: leaf[0], scarce_data.initial(jax.vmap(jax.random.key)(jnp.arange(2)), 10, 8))
    for companded in (0.0, 1.0):
        form = scarce_data.companded_form(params, companded, ratio=2.0)
        restored = scarce_data.weights_of(form, params, companded, 0.0)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), restored, params)
    # Moved far, every kernel keeps its own bound: pi times its largest weight at the start.
    far = form._replace(net=form.net._replace(kernels=form.net.kernels * 1e6))
    for found, begun in zip(
        *map(jax.tree.leaves, (scarce_data.weights_of(far, params, 1.0, 0.0), params)), strict=True
    ):
        if found.ndim >= 2:
            np.testing.assert_allclose(jnp.abs(found).max(), np.pi * jnp.abs(begun).max(), rtol=1e-3)

    @jax.jit
    @jax.grad
    def gradient(form, learned):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(scarce_data.weights_of(form, params, 1.0, learned)))

    assert (np.asarray(gradient(form, 0.0).scales) == 0).all()
    assert (np.asarray(gradient(form, 1.0).scales) != 0).all()


def test_reliability_counts():
    probs = np.float32([[0.55, 0.45], [0.52, 0.48], [0.05, 0.95], [1.0, 0.0]])
    found = scarce_data.reliability(jnp.asarray(probs), jnp.array([0, 1, 1, 1]))
    np.testing.assert_allclose(found["count"], [0, 0, 0, 0, 0, 2, 0, 0, 0, 2])
    np.testing.assert_allclose(found["confidence"][5], 1.07, rtol=1e-6)
    np.testing.assert_allclose(found["right"], [0, 0, 0, 0, 0, 1, 0, 0, 0, 1])


def test_bad_settings(tmp_path, capsys):
    with pytest.raises(ValueError, match="few must lie in"):
        question.Config(few=60)
    with pytest.raises(ValueError, match="noise must lie in"):
        question.Config(noise=1.0)
    features, few = tmp_path / "features.npz", tmp_path / "few.npz"
    y = np.arange(120) % 2
    np.savez(features, x=np.eye(120), y=y)
    assert answer(question, ["--quick", "--data", str(features)]) == 2
    assert "bring images" in capsys.readouterr().err
    np.savez(few, x=np.random.default_rng(0).random((16, 8, 8)), y=y[:16])
    assert answer(question, ["--quick", "--data", str(few)]) == 2
    assert "the smallest has 8" in capsys.readouterr().err
    np.savez(few, x=np.random.default_rng(0).random((120, 8, 8)), y=y)
    assert answer(question, ["--quick", "--data", str(few), "--batch", "11"]) == 2
    assert "twice" in capsys.readouterr().err
