"""The bandit, the lake, rollouts, and policies from counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import envs, losses

MEANS = np.array([0.1, 0.9], np.float32)
SHARES = np.array([0.1, 0.5, 0.7, 0.9, 0.99])


def exact_counts(share_bad):
    behaviour = np.array([share_bad, 1 - share_bad])
    return np.float32(behaviour[:, None] * np.stack([1 - MEANS, MEANS], axis=1))


def test_conditioning_on_luck_in_closed_form():
    """Behaviour plays the arm that pays .1 with probability q, the other pays .9."""
    policies = envs.return_conditioned_policy(jnp.array([exact_counts(q) for q in SHARES]))[:, 1]
    np.testing.assert_allclose(policies @ MEANS, [0.89, 0.82, 0.735, 0.5, 0.167], atol=6e-4)
    weights = np.stack([SHARES, 1 - SHARES], axis=1) * MEANS
    np.testing.assert_allclose(policies, weights / weights.sum(1, keepdims=True), rtol=1e-5)
    imitation = np.stack([SHARES, 1 - SHARES], axis=1) @ MEANS
    np.testing.assert_allclose(imitation, [0.82, 0.5, 0.34, 0.18, 0.108], atol=1e-6)


def test_returns_that_never_came():
    counts = jnp.array([[[3.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(
        envs.return_conditioned_policy(counts), [[[0.75, 0.25], [0.75, 0.25]], [[0.5, 0.5], [0.5, 0.5]]]
    )
    with pytest.raises(ValueError, match=r"\[..., A, R\]"):
        envs.return_conditioned_policy(jnp.ones(3))


def test_bandit_pays_as_often_as_it_should():
    bandit = envs.bernoulli_bandit(jnp.asarray(MEANS))
    policy = jnp.array([[0.5, 0.5]])
    keys = jax.random.split(jax.random.key(0), 4000)
    found = jax.jit(jax.vmap(lambda key: envs.rollout(key, bandit, policy, num_steps=2)))(keys)
    assert found.where[:, 0].all()
    assert not found.where[:, 1].any()
    assert not found.rewards[:, 1].any()  # the episode has ended
    for arm in (0, 1):
        pulled = found.actions[:, 0] == arm
        assert abs(float(pulled.mean()) - 0.5) < 0.03
        assert abs(float(found.rewards[pulled, 0].mean()) - MEANS[arm]) < 0.03
    last = bandit.step(bandit.reset(jax.random.key(1)), 7)  # no such arm: the nearest
    assert bool(last[2])


def lake_by_hand(slip, layout):
    rows, columns = len(layout), len(layout[0])
    table = np.zeros((rows * columns, 4, rows * columns))
    moves = [(0, -1), (1, 0), (0, 1), (-1, 0)]
    for row in range(rows):
        for column in range(columns):
            cell = row * columns + column
            for action in range(4):
                for turn, chance in ((0, 1 - slip), (1, slip / 2), (-1, slip / 2)):
                    down, right = moves[(action + turn) % 4]
                    y, x = np.clip(row + down, 0, rows - 1), np.clip(column + right, 0, columns - 1)
                    landing = cell if layout[row][column] in "HG" else y * columns + x
                    table[cell, action, landing] += chance
    return table


@pytest.mark.parametrize("slip", [0.0, 0.3, 2 / 3])
def test_lake_transitions(slip):
    layout = ("SFFF", "FHFH", "FFFH", "HFFG")
    found = envs.frozen_lake_transitions(slip)
    np.testing.assert_allclose(found, lake_by_hand(slip, layout), atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(
        envs.frozen_lake_transitions(slip, layout=("SFG",)), lake_by_hand(slip, ("SFG",)), atol=1e-6
    )


def test_lake_moves_as_its_transitions_say():
    lake, table = envs.frozen_lake(0.5), envs.frozen_lake_transitions(0.5)
    keys = jax.random.split(jax.random.key(2), 4000)
    walk = jax.jit(jax.vmap(lambda key: envs.rollout(key, lake, jnp.full((16, 4), 0.25), num_steps=20)))(keys)
    from_start = np.asarray((walk.observations[:, 0] == 0) & (walk.actions[:, 0] == 1))
    landed = np.bincount(np.asarray(walk.observations[:, 1])[from_start], minlength=16) / from_start.sum()
    np.testing.assert_allclose(landed, table[0, 1], atol=0.06)

    before, after = np.asarray(walk.observations[:, :-1]), np.asarray(walk.observations[:, 1:])
    ended = np.isin(before, [5, 7, 11, 12, 15])
    np.testing.assert_array_equal(before[ended], after[ended])  # never left
    np.testing.assert_array_equal(~np.asarray(walk.where[:, :-1]), ended)
    won = np.asarray(walk.rewards)
    assert won.sum(1).max() == 1  # once
    np.testing.assert_array_equal(won[:, :-1] > 0, (after == 15) & (before != 15))


def test_same_key_same_episode():
    lake, policy = envs.frozen_lake(0.5), jnp.full((16, 4), 0.25)
    one, same, other = (envs.rollout(jax.random.key(k), lake, policy, num_steps=30) for k in (0, 0, 1))
    assert all(np.array_equal(x, y) for x, y in zip(one, same, strict=True))
    assert not np.array_equal(one.actions, other.actions)


def test_acting_by_the_best_latent_that_was_used():
    params = losses.doc_tabular_init(jax.random.key(0), num_states=2, num_actions=2, num_returns=2, num_latents=3)
    posterior = jnp.log(jnp.array([0.5, 0.5, 1e-6])) * jnp.ones((2, 2, 2, 1))
    promise = jnp.log(jnp.array([[0.8, 0.2], [0.4, 0.6], [0.01, 0.99]])) * jnp.ones((2, 1, 1))
    policy = jnp.log(jnp.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])) * jnp.ones((2, 1, 1))
    params = params._replace(posterior=posterior, value=promise, policy=policy)
    counts = jnp.ones((2, 2, 2)).at[1].set(0.0)  # state 1 was never visited
    acted = envs.doc_policy(params, counts)
    np.testing.assert_allclose(acted.probs[0], [0.2, 0.8], rtol=1e-5)  # latent 1: latent 2 promises more, but is empty
    assert float(acted.promise[0]) == pytest.approx(0.6, rel=1e-5)
    np.testing.assert_allclose(acted.probs[1], [0.9, 0.1], rtol=1e-5)
    everything = envs.doc_policy(params, counts, min_count=0.0)
    np.testing.assert_allclose(everything.probs[0], [0.5, 0.5], rtol=1e-5)
    with pytest.raises(ValueError, match="counts must have shape"):
        envs.doc_policy(params, jnp.ones((2, 2, 3)))


def test_bad_input():
    with pytest.raises(ValueError, match="slip must lie in"):
        envs.frozen_lake(1.5)
    for layout in (("SF", "G"), ("SX",), ("FF",), ("SS",)):
        with pytest.raises(ValueError, match="layout must be rows"):
            envs.frozen_lake(0.1, layout=layout)
    with pytest.raises(ValueError, match=r"success must have shape \[A\]"):
        envs.bernoulli_bandit(jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="policy must have shape"):
        envs.rollout(jax.random.key(0), envs.frozen_lake(0.1), jnp.ones((16, 3)), num_steps=2)
    with pytest.raises(ValueError, match="num_steps"):
        envs.rollout(jax.random.key(0), envs.frozen_lake(0.1), jnp.ones((16, 4)), num_steps=0)
