"""The question of tokens to drop: its choices, its attention, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from experiments import token_selection as question
from experiments.command_line import answer
from jaxlab import nn

TOKENS = jnp.array([[1.0, 0.0], [1.1, 0.0], [0.0, 0.5], [-3.0, 0.1], [0.9, 0.05]])
SCENE = question.Scene(jnp.zeros(2), TOKENS, jnp.array([0.1, 0.2, 0.05, 0.25, 0.4]), jax.random.key(0))


def test_choices():
    assert sorted(question.choose_longest(SCENE, 2).tolist()) == [1, 3]
    assert sorted(question.choose_attended(SCENE, 2).tolist()) == [3, 4]
    assert question.choose_diverse(SCENE, 3).tolist() == [0, 2, 3]
    assert len(set(question.choose_random(SCENE, 4).tolist())) == 4
    seeds = question.choose_seeds(SCENE, 3).tolist()
    assert len(set(seeds)) == 3


def test_covering_radius():
    assert question.covering_radius(TOKENS, jnp.arange(5)) == pytest.approx(0, abs=1e-6)
    cosines = TOKENS @ TOKENS[0] / jnp.linalg.norm(TOKENS, axis=1)
    assert question.covering_radius(TOKENS, jnp.array([0])) == pytest.approx(float(1 - cosines.min()), rel=1e-5)


def test_attention_is_that_of_the_block():
    """With values that say who they are, the block's own attention puts out its weights."""
    dim, count, heads = 8, 6, 1
    block = nn.transformer_block_init(jax.random.key(0), dim, hidden=4)
    tokens = jax.random.normal(jax.random.key(1), (2, 1 + count, dim))
    found = question.class_attention(block, tokens, heads)
    normed = jax.nn.standardize(tokens, axis=-1, epsilon=1e-6)
    q, k, _ = jnp.split(normed @ block["qkv"]["kernel"], 3, axis=-1)
    expected = jax.nn.softmax(q[:, 0, None] @ k.swapaxes(1, 2) / dim**0.5, axis=-1)[:, 0, 1:]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    block["proj"]["kernel"] = jnp.eye(dim)
    block["qkv"]["kernel"] = block["qkv"]["kernel"].at[:, 2 * dim :].set(jnp.eye(dim))
    block["mlp_out"]["kernel"] = jnp.zeros_like(block["mlp_out"]["kernel"])
    attended = nn.transformer_block(block, tokens, heads=heads)[:, 0] - tokens[:, 0]
    first = 1 - found.sum(1, keepdims=True)
    np.testing.assert_allclose(
        attended, jnp.einsum("bn,bnd->bd", jnp.concatenate([first, found], 1), normed), rtol=1e-3, atol=1e-4
    )


def test_merged_tokens_take_in_what_is_dropped():
    tokens = np.random.default_rng(0).normal(size=(3, 16, 5)).astype(np.float32)
    scene = question.Scene(None, jnp.asarray(tokens), None, None)
    _, merged = question.merge(scene)
    _, kept = question.drop(question.choose_diverse, scene)
    for keep in question.KEEP:
        for left, before, every in zip(merged[f"left_{keep}"], kept[f"left_{keep}"], tokens, strict=True):
            dropped = every[[not (row == before).all(1).any() for row in every]]
            nearest = dropped[np.argmax(cosine_similarity(before, dropped), axis=1)]
            np.testing.assert_allclose(left, (before + nearest) / 2, rtol=1e-4, atol=1e-5)


def test_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    methods = "all,none,divprune,random,merged,summaries"
    found = quick_run(question, "--methods", methods)
    rows = found["rows"]
    for keep in question.KEEP:
        assert list(rows[f"precision_at_{keep}"]) == methods.split(",")
        assert list(rows[f"radius_at_{keep}"]) == ["divprune", "random"]
    assert rows["precision_at_2"]["all"] == rows["precision_at_8"]["all"]
    assert min(rows["precision_at_8"]["all"]) > max(rows["precision_at_8"]["none"])
    assert max(rows["radius_at_8"]["divprune"]) < min(rows["radius_at_8"]["random"])
    assert [claim["verdict"] for claim in found["claims"][2:]] == ["not judged"] * 2


def test_data_that_does_not_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("flat.npz", x=np.ones((8, 3)), y=np.arange(8) % 2)
    assert answer(question, ["--data", "flat.npz"]) == 2
    assert "Mosaics need grey images" in capsys.readouterr().err
    assert answer(question, ["--after", "3"]) == 2
    assert "--after must lie in [1, 2], got 3" in capsys.readouterr().err
