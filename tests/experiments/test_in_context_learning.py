"""The question of learning in context: its models, its sequences, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import in_context_learning
from experiments import in_context_models as models
from experiments.command_line import answer

SMALL = models.ModelConfig(length=7, width=8, heads=2)
rng = np.random.default_rng(0)
ROWS = models.Rows(rng.normal(size=(40, models.DIMS)).astype(np.float32), rng.integers(0, models.CLASSES, 40))


def test_no_position_sees_a_later_one():
    params = models.causal_init(jax.random.key(0), SMALL)
    tokens = rng.normal(size=(7, models.DIMS + models.CLASSES)).astype(np.float32)
    logits = jax.jit(lambda tokens: models.causal_logits(SMALL, params, tokens))
    plain = np.asarray(logits(tokens))
    for i in range(7):
        changed = logits(np.where(np.arange(7)[:, None] == i, tokens + 1, tokens))
        same = np.isclose(changed, plain, atol=1e-5).all(1)
        assert same.tolist() == [position < i for position in range(7)]


def test_a_list_of_tasks_does_not_depend_on_the_key():
    def maps(key, tasks):
        made = jax.jit(models.projected_sequences, static_argnums=(2, 3, 4))(key, ROWS, 12, 20, tasks)
        drawn = [jax.random.split(one)[0] for one in jax.random.split(key, 12)]
        rows = [np.asarray(jax.random.randint(jax.random.split(one)[0], (20,), 0, 40)) for one in drawn]
        inputs = np.asarray(made.tokens)[..., : models.DIMS]
        found = [np.linalg.lstsq(ROWS.x[r], x, rcond=None)[0] for r, x in zip(rows, inputs, strict=True)]
        return {tuple(np.round(one[0], 2).tolist()) for one in found}

    first, second = maps(jax.random.key(1), 2), maps(jax.random.key(2), 2)
    assert first == second
    assert len(first) == 2
    assert len(maps(jax.random.key(1), None)) == 12


def test_boolean_sequences_show_labels_one_step_late():
    made = models.boolean_sequences(jax.random.key(0), "parity", 3, 9)
    bits = np.asarray(made.tokens)[..., : models.DIMS] > 0
    odd = np.sum(bits & (np.asarray(made.w)[:, None] > 0), axis=-1) % 2
    np.testing.assert_array_equal(made.labels, odd)
    np.testing.assert_array_equal(np.asarray(made.tokens)[:, 1:, models.DIMS :].argmax(-1), odd[:, :-1])


def test_majority_counts_the_labels_before():
    labels = jnp.array([[2, 2, 0, 0, 0]])
    shown = jnp.concatenate([jnp.zeros((1, 1, 4)), jax.nn.one_hot(labels, 4)[:, :-1]], axis=1)
    tokens = jnp.concatenate([jnp.zeros((1, 5, models.DIMS)), shown], axis=-1)
    guessed = in_context_learning.majority(None, None, models.Sequences(tokens, labels))
    assert guessed.tolist() == [[0, 2, 2, 2, 0]]


def test_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = quick_run(in_context_learning, "--dataset", "digits")
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(in_context_learning.CLAIMS)
    rows = found["rows"]
    boolean = ["majority", "nearest_neighbor", "perceptron", "exact", "transformer"]
    trained = ["trained_on_4", "trained_on_64", "trained_on_new"]
    assert list(rows["conjunction_accuracy"]) == list(rows["parity_accuracy"]) == boolean
    assert list(rows["new_accuracy"]) == list(rows["improvement"]) == [*boolean[:2], *trained]
    # What is exact: elimination knows every function behind its teaching sequence, and 24 points span 8 bits.
    np.testing.assert_array_equal(rows["taught_conjunction_behind"]["exact"], 1)
    np.testing.assert_array_equal(rows["parity_accuracy"]["exact"], 1)
    np.testing.assert_allclose(rows["parity_accuracy"]["perceptron"], 0.5, atol=0.15)
    assert min(rows["new_accuracy"]["nearest_neighbor"]) > 0.5
    assert list(rows["gap"]) == list(rows["known_accuracy"]) == [*boolean[:2], *trained[:2]]  # the last knows no task


def test_bad_settings_and_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("rows.npz", x=np.ones((20, 9)), y=np.arange(20) % 3)
    assert answer(in_context_learning, ["--data", "rows.npz"]) == 2
    assert "Projected tasks need 8 classes in 8 dimensions, rows has fewer" in capsys.readouterr().err
    with pytest.raises(ValueError, match="length must leave room behind a teaching sequence"):
        in_context_learning.Config(length=10)
