"""The question of efficient blocks: what the rows share, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import block_columns, block_tokens
from experiments import efficient_blocks as question
from experiments.command_line import answer
from jaxlab import nn

CONFIG = question.Config()


def test_full_block_is_the_soft_block_but_for_its_attention():
    """Where all queries are the same, so are their landmarks, and SOFT is exact."""
    params = nn.softmax_free_block_init(jax.random.key(0), 8, heads=2, ratio=2)
    tokens = jax.random.normal(jax.random.key(1), (3, 24, 8))
    alike = params | {"q": jax.tree.map(jnp.zeros_like, params["q"])}
    whole = nn.softmax_free_block(alike, tokens, grid=(4, 6))
    full = block_tokens.full_block(block_tokens.attend_gaussian, alike, tokens, (4, 6))
    np.testing.assert_allclose(whole, full, rtol=0, atol=5e-3)  # the ridge of the inverse
    without = alike | {"conv": jnp.zeros_like(params["conv"])}
    assert np.abs(block_tokens.full_block(block_tokens.attend_gaussian, without, tokens, (4, 6)) - full).max() > 0.1


def test_positions_follow_the_resolution():
    key = jax.random.key(0)
    params = {"patch": jnp.zeros((1, 4)), "position": jax.random.normal(key, (8, 8, 4))}
    same, grid = question.tokens_of(params, jnp.zeros((2, 8, 8)), 1)
    np.testing.assert_allclose(same[0], params["position"].reshape(64, 4), atol=1e-6)
    finer, twice = question.tokens_of(params, jnp.zeros((2, 16, 16)), 1)
    assert (grid, twice, finer.shape) == ((8, 8), (16, 16), (2, 256, 4))


def test_columns_agree_with_and_without_stored_features():
    stack = block_columns.stack_init(jax.random.key(0), 10, 4)
    x = jax.random.normal(jax.random.key(1), (5, 10))

    def loss(stack, reversible):
        return sum(jnp.sum(c**2) for c in block_columns.run_columns(stack, x, reversible=reversible))

    stored, computed = (jax.tree.leaves(jax.grad(loss)(stack, reversible)) for reversible in (False, True))
    for a, b in zip(stored, computed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2 * np.abs(a).max())


def test_residual_network_has_the_size_of_the_columns():
    size = block_columns.num_params(block_columns.stack_init(jax.random.key(0), 64, 4))
    assert block_columns.num_params(block_columns.residual_init(jax.random.key(0), 64, size)) == pytest.approx(
        size, rel=0.05
    )


def test_quick_run(quick_run):
    names = "softmax,soft,soft_normalized,residual,reversible_columns,convolutions,fused_attention,batch_former"
    found = quick_run(question, "--dataset", "digits", "--methods", names)
    rows = found["rows"]
    assert max(rows["memory_exponent"]["soft"]) < 1.3 < min(rows["memory_exponent"]["softmax"])
    assert max(rows["gradient_error"]["reversible_columns"]) < 0.05
    assert set(rows["accuracy_finer"]) == {"softmax", "soft", "soft_normalized"}
    assert set(rows["alpha"]) == {"fused_attention"}
    assert 0 < max(rows["alpha_off"]["fused_attention"]) < 0.1  # it moves, slowly
    loss = {name: found["curves"]["loss"][name] for name in ("convolutions", "fused_attention", "batch_former")}
    starts = {curve[0][0] for curve in loss.values()}
    assert len(starts) == 3  # the same network, with three kinds of block


def test_what_cannot_be_asked(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("flat.npz", x=np.eye(9), y=np.arange(9) % 3)
    assert answer(question, ["--data", "flat.npz"]) == 2
    assert "needs grey images" in capsys.readouterr().err
    assert answer(question, ["--dim", "25"]) == 2
    assert "heads must divide dim" in capsys.readouterr().err
