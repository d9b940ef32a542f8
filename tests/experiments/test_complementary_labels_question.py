"""Complementary labels: what the four kinds of labels are, decoding, clusters, and a quick run of a few rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import complementary_labels as question
from experiments.command_line import answer
from experiments.complementary_losses import LOSSES, Labels, Side
from jaxlab import losses


def test_the_quick_run(quick_run):
    names = "true_labels,scl_nl,cpe_f"
    found = quick_run(question, "--dataset", "digits", "--methods", names)
    assert {claim["verdict"] for claim in found["claims"]} <= {"not judged", "not run"}
    for condition in question.CONDITIONS:
        assert set(found["rows"][condition]) == set(names.split(","))
    assert set(found["rows"]["regret_ure"]) == {"true_labels", "scl_nl"}
    assert np.asarray(found["curves"]["accuracy"]["scl_nl"]).shape == (2, 4, 2)
    # Labels of all kinds say the same of the classes themselves.
    truth = [found["rows"][condition]["true_labels"] for condition in question.CONDITIONS]
    np.testing.assert_allclose(truth, [truth[0]] * 4)


def test_four_kinds_of_labels():
    tables = np.asarray(question.transitions(question.Config(), jax.random.key(0), 10))
    np.testing.assert_allclose(tables.sum(-1), 1, rtol=1e-5)
    diagonals = np.diagonal(tables, axis1=1, axis2=2)
    np.testing.assert_allclose(diagonals, [[0.0] * 10, [0.0] * 10, [0.03] * 10, [0.03] * 10], atol=1e-6)
    assert tables[0].max() < 0.12 < 0.2 < tables[1].max()


def test_losses_are_those_of_their_names():
    rng = np.random.default_rng(0)
    z, told = jnp.asarray(rng.standard_normal((6, 4)), jnp.float32), jnp.asarray(rng.integers(0, 4, 6))
    table = (1 - jnp.eye(4)) / 3
    side = Side(table, jnp.linalg.inv(table), jnp.full(4, 0.25), jnp.log(table + 1e-6))
    labels = Labels(told, (told + 1) % 4)
    values = {name: float(loss(z, labels, side)) for name, loss in LOSSES.items()}
    np.testing.assert_allclose(values["fwd"], values["cpe_t"], rtol=1e-4)
    np.testing.assert_allclose(values["fwd"], values["scl_nl"] + np.log(3), rtol=1e-4)
    vector = losses.complementary_risk_vector(z, told, side.inverse, side.prior)
    np.testing.assert_allclose(values["ure"], vector.sum(), rtol=1e-5)
    assert values["ure_nn"] >= values["ure"]
    assert np.isfinite(list(values.values())).all()


def test_predictions_of_labels_are_decoded():
    table = question.transitions(question.Config(), jax.random.key(1), 5)[1]
    z = 20 * jnp.eye(5)
    by_logits, by_label, by_transition = (
        question.predictions(jnp.asarray(how), table, logits)
        for how, logits in ((0, z), (1, jnp.log(table + 1e-9)), (2, z))
    )
    for found in (by_logits, by_label, by_transition):
        np.testing.assert_array_equal(found, np.arange(5))


def test_what_cannot_be_asked(capsys, tmp_path):
    with pytest.raises(ValueError, match="noise must lie in"):
        question.Config(noise=2.0)
    with pytest.raises(ValueError, match="test_share must lie in"):
        question.Config(test_share=1.0)
    path = tmp_path / "two.npz"
    np.savez(path, x=np.random.default_rng(0).random((60, 5)), y=np.arange(60) % 2)
    assert answer(question, ["--data", str(path)]) == 2
    assert "three classes or more" in capsys.readouterr().err
