"""The question of luck and skill: its worlds, its exact values, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import return_conditioning as question
from jaxlab import envs

SMALL = question.Config(pulls=400, walks=200, length=30)


@pytest.fixture(scope="module")
def made():
    return jax.jit(lambda key: question.worlds(SMALL, key))(jax.random.key(100))


def test_bandits_hold_the_share_of_the_bad_arm(made):
    counts = np.asarray(made["bandit"].data.counts)[:, 0]  # [world, arm, return]
    assert counts.sum((1, 2)).tolist() == [400] * len(question.BANDITS)
    shares = np.array([share for share, _ in question.BANDITS])
    np.testing.assert_allclose(counts[:, 0].sum(-1) / 400, shares, atol=0.08)
    assert counts[-1, 0, 1] == counts[-1, 1, 0] == 0  # the last world has no luck
    np.testing.assert_allclose(made["bandit"].data.expected.sum((1, 2, 3)), 1.0, rtol=1e-6)


def test_lake_returns_are_those_of_the_walks(made):
    data = made["lake"].data
    walks = [np.asarray(part)[1].reshape(200, 30) for part in data[:4]]
    states, _, returns, where = walks
    for walk in range(200):
        last = where[walk].sum() - 1
        assert len(set(returns[walk, : last + 1])) == 1  # one reward, at the end or never
        assert not where[walk, last + 1 :].any()
        assert states[walk, 0] == 0
    assert 0 < returns[:, 0].sum() < 200


def test_exact_values_are_those_of_many_walks():
    key = jax.random.key(101)
    slip = jnp.float32(1 / 3)
    world = jax.jit(lambda key: question.lake(SMALL, slip, key))(key)
    policy = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(4), 16), jnp.float32).at[:, 1:3].add(1.0)
    policy /= policy.sum(-1, keepdims=True)
    values = jnp.sum(policy * question.action_values(world.transitions, policy, length=30), axis=-1)
    walk = jax.jit(jax.vmap(lambda key: envs.rollout(key, envs.frozen_lake(slip), policy, num_steps=30).rewards.sum()))
    found = walk(jax.random.split(jax.random.key(1), 4000)).mean()
    assert float(found) == pytest.approx(float(values[0]), abs=0.03)
    assert float(values[0]) > 0.03


def test_values_of_conditioning_on_infinite_data(made):
    row = question.METHODS[3].fn
    measured, curves = jax.jit(lambda made: row(SMALL, jax.random.key(0), made))(made)
    values = [float(measured[f"bandit_{share:g}"]) for share in question.SHARES]
    np.testing.assert_allclose(values, [0.89, 0.82, 0.735, 0.5, 0.167], atol=6e-4)
    assert float(measured["bandit_sure"]) == pytest.approx(1.0)
    assert float(measured["broken_promise"]) == pytest.approx(0.5, abs=1e-5)
    assert curves["lake_policy"].shape == (3, 16, 4)


def test_quick_run(quick_run):
    found = quick_run(question)
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(question.CLAIMS)
    names = [method.name for method in question.METHODS]
    rows = found["rows"]
    for metric in ("bandit_0.1", "bandit_0.9", "bandit_sure", "lake_0", "lake_0.67"):
        assert list(rows[metric]) == names
    assert list(rows["broken_promise"]) == names[2:]
    assert max(rows["bandit_0.9"]["imitation"]) < 0.25
    assert min(rows["bandit_sure"]["conditioned"]) == pytest.approx(1.0)
