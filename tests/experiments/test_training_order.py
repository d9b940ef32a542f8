"""The question of training order: its text, its budget, its speed-up, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import training_order as question
from experiments.command_line import answer

CONFIG = question.Config()


def test_characters_are_numbers():
    codes = question.encoded("a B~\n\u00e9")
    assert codes.tolist() == [65, 0, 34, 94, 96, 31]  # a question mark stands for what is not ASCII


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_sizes_share_the_budget(factor):
    params, steps = CONFIG.size(factor)
    assert params * steps * question.BATCH == pytest.approx(CONFIG.budget, rel=0.04)
    assert steps % question.PIECES == 0
    built = question.text_init(jax.random.key(0), CONFIG.width(factor))
    assert sum(leaf.size for leaf in built.values()) == pytest.approx(params, rel=0.05)


def test_rows_hold_what_came_before():
    rows = question.rows_of_text(jnp.arange(40), jnp.array([8, 30]))
    assert rows["context"].tolist() == [list(range(8)), list(range(22, 30))]
    assert rows["next"].tolist() == [8, 30]


def test_speedup_counts_steps_to_the_target():
    curve = np.linspace(2.5, 0.1, question.PIECES)[None].repeat(3, 0)
    found = question.speedups(curve, np.array([curve[0, -1], 1.3, 0.0]))
    np.testing.assert_allclose(found, [1.0, 25 / 13, 0.0], rtol=1e-3)


def test_quick_run(quick_run):
    names = "no_expansion,first_order,one_epoch,epochs_16,one_epoch_dropout"
    found = quick_run(question, "--dataset", "digits", "--methods", names)
    rows = found["rows"]
    assert np.all(np.less(rows["error_sgd"]["first_order"], 2.0))
    assert set(rows["speedup"]) == {"epochs_16"}
    assert np.all(np.less(rows["test_loss"]["one_epoch"], np.log(question.VOCABULARY)))


def test_what_cannot_be_asked(capsys):
    assert answer(question, ["--batches", "60"]) == 2
    assert "--batches asks for 1920 rows, digits trains on" in capsys.readouterr().err
    assert answer(question, ["--orders", "2"]) == 2
    assert "orders 3" in capsys.readouterr().err
    assert answer(question, ["--budget", "1e10"]) == 2
    assert "but Python's manual has" in capsys.readouterr().err
