"""Dichotomy of control: the contrastive bound, its reversed sign for the posterior, and what training finds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import envs, losses
from jaxlab.losses import DocParams, conditional_mi_contrastive, doc_tabular

STEPS, TRAJECTORIES = 6000, 1000
MEANS = jnp.array([0.1, 0.9])
RNG = np.random.default_rng(0)


def tables(*sizes, seed=0):
    names = ("num_states", "num_actions", "num_returns", "num_latents")
    return losses.doc_tabular_init(jax.random.key(seed), **dict(zip(names, sizes, strict=True)))


def test_contrastive_is_bounded_by_the_prior():
    energies, prior = RNG.normal(size=(50, 4)).astype(np.float32) * 10, RNG.dirichlet(np.ones(4)).astype(np.float32)
    for outcome in range(4):
        found = conditional_mi_contrastive(energies[:, outcome], energies, np.log(prior))
        assert (found >= np.log(prior[outcome]) - 1e-5).all()
        expected = np.log((prior * np.exp(energies.astype(np.float64))).sum(1)) - energies[:, outcome]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_contrastive_of_energies_that_do_not_look_at_the_outcome_is_zero():
    same = jnp.full((3, 4), 2.5)
    np.testing.assert_allclose(conditional_mi_contrastive(same[:, 0], same, jnp.log(jnp.full(4, 0.25))), 0, atol=1e-6)
    never = jnp.array([-jnp.inf, 0.0])  # an outcome that never comes
    value, slope = jax.value_and_grad(lambda f: conditional_mi_contrastive(f[1], f, never))(jnp.array([5.0, 1.0]))
    assert (float(value), slope.tolist()) == (0.0, [0.0, 0.0])


def test_minimised_over_the_energies_it_is_minus_the_information():
    """For one (s, a): the best energies are log p(z | r), and -E = I(r; z)."""
    joint = RNG.dirichlet(np.ones(6)).reshape(2, 3)  # [r, z]
    prior, latent = joint.sum(1), joint.sum(0)
    energies = np.log(joint / prior[:, None]).astype(np.float32)
    each = [
        [conditional_mi_contrastive(energies[r, z], energies[:, z], jnp.log(jnp.asarray(prior))) for z in range(3)]
        for r in range(2)
    ]
    information = np.sum(joint * np.log(joint / np.outer(prior, latent)))
    assert np.sum(joint * np.array(each)) == pytest.approx(-information, abs=1e-5)


def by_hand(params, s, a, r, z, prior, weight):
    """The three terms of one step in numpy, for the latent z."""
    _, value, policy, energy = (np.asarray(table, np.float64) for table in params)
    cross = [np.log(np.exp(row).sum()) - row[i] for row, i in ((value[s, z], r), (policy[s, z], a))]
    bound = np.log((prior * np.exp(energy[s, a, :, z])).sum()) - energy[s, a, r, z]
    return sum(cross) + weight * bound


def test_terms_of_a_sampled_latent():
    params, prior = tables(3, 2, 4, 5), np.float32([0.1, 0.2, 0.3, 0.4])
    sharp = params._replace(posterior=params.posterior.at[..., 3].add(100.0))  # z is 3
    s, a, r = np.array([0, 2]), np.array([1, 0]), np.array([3, 1])
    found = doc_tabular(sharp, s, a, r, jax.random.key(0), reward_prior=prior, energy_weight=2.0)
    expected = [by_hand(sharp, s[i], a[i], r[i], 3, prior, 2.0) for i in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    code = doc_tabular(sharp, s, a, r, jax.random.key(0), reward_prior=prior, energy_weight=2.0, adversarial=False)
    np.testing.assert_allclose(code, found, rtol=1e-6)  # only gradients differ


def test_only_the_posterior_sees_the_last_term_reversed():
    params, prior, step = tables(1, 2, 2, 4), jnp.array([0.3, 0.7]), jnp.zeros(16, int)

    def grads(**options):
        loss = lambda p: doc_tabular(p, step, step, step, jax.random.key(1), reward_prior=prior, **options).sum()  # noqa: E731
        return jax.jit(jax.grad(loss))(params)

    none, paper, code = (
        grads(energy_weight=0.0),
        grads(energy_weight=2.0),
        grads(energy_weight=2.0, adversarial=False),
    )
    term = DocParams(*(b - a for a, b in zip(none, code, strict=True)))
    assert float(jnp.abs(term.posterior).max()) > 0.1
    np.testing.assert_allclose(paper.posterior, none.posterior - term.posterior, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(paper.energy, none.energy + term.energy, rtol=1e-4, atol=1e-5)
    for name in ("value", "policy"):
        np.testing.assert_allclose(getattr(paper, name), getattr(none, name), atol=1e-6)


def train(means, share_bad, weight, key, **options):
    """Trains on one pull per trajectory of a behaviour that plays arm 0 with this probability; its policy and data."""
    data_key, arm_key, init_key, train_key = jax.random.split(key, 4)
    actions = jax.random.bernoulli(arm_key, 1.0 - share_bad, (TRAJECTORIES,)).astype(int)
    returns = jax.random.bernoulli(data_key, means[actions]).astype(int)
    counts = jnp.zeros((1, 2, 2)).at[0, actions, returns].add(1.0)
    prior = counts.sum((0, 1)) / TRAJECTORIES
    params = losses.doc_tabular_init(init_key, num_states=1, num_actions=2, num_returns=2)
    adam = optax.adam(0.01)

    def step(carry, key):
        params, state = carry
        row_key, latent_key = jax.random.split(key)
        rows = jax.random.randint(row_key, (64,), 0, TRAJECTORIES)
        loss = lambda p: jnp.mean(  # noqa: E731
            doc_tabular(
                p,
                jnp.zeros(64, int),
                actions[rows],
                returns[rows],
                latent_key,
                reward_prior=prior,
                energy_weight=weight,
                **options,
            )
        )
        updates, state = adam.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), jax.random.split(train_key, STEPS))
    return envs.doc_policy(params, counts), envs.return_conditioned_policy(counts)[0, 1]


def test_the_last_term_takes_luck_out_of_the_latent():
    """Nine pulls in ten of the bad arm: with the term the good arm is found; without it the lucky one is repeated."""
    keys = jax.vmap(jax.random.key)(jnp.arange(100, 104))
    run = jax.jit(jax.vmap(train, (None, None, None, 0)))
    doc, conditioned = run(MEANS, 0.9, 3.0, keys)
    free, _ = run(MEANS, 0.9, 0.0, keys)
    assert float((doc.probs[:, 0] @ MEANS).min()) > 0.85
    assert float((conditioned @ MEANS).max()) < 0.6  # half, up to sampling
    assert float((free.probs[:, 0] @ MEANS).min()) < 0.3
    np.testing.assert_allclose(doc.promise[:, 0], 0.9, atol=0.06)  # it promises what it will get ...
    assert float(free.promise.min()) > 0.95  # ... and without the term promises what luck got

    doc, conditioned = run(jnp.array([0.0, 1.0]), 0.9, 3.0, keys)  # no luck: both find the good arm
    np.testing.assert_allclose(doc.probs[:, 0], conditioned, atol=0.03)
    np.testing.assert_allclose(conditioned[:, 1], 1.0)


def test_bad_input():
    params, step, prior = tables(2, 2, 3, 4), jnp.zeros(2, int), jnp.ones(3) / 3
    key = jax.random.key(0)
    for change in ({"s": 2}, {"s": -1}, {"a": 2}, {"r": 3}):
        given = {"s": 0, "a": 0, "r": 0} | change
        rows = [jnp.array([0, given[name]]) for name in "sar"]
        assert np.isnan(doc_tabular(params, *rows, key, reward_prior=prior)).tolist() == [False, True]
        hidden = doc_tabular(params, *rows, key, reward_prior=prior, where=jnp.array([True, False]))
        assert hidden[1] == 0
    with pytest.raises(ValueError, match=r"reward_prior must have shape \[3\]"):
        doc_tabular(params, step, step, step, key, reward_prior=jnp.ones(2))
    with pytest.raises(ValueError, match=r"value must have shape \[2, 4, 3\]"):
        doc_tabular(params._replace(value=jnp.zeros((2, 4, 2))), step, step, step, key, reward_prior=prior)
    with pytest.raises(TypeError, match="actions must hold integers"):
        doc_tabular(params, step, jnp.zeros(2), step, key, reward_prior=prior)
    with pytest.raises(ValueError, match="log_prior"):
        conditional_mi_contrastive(jnp.zeros(2), jnp.zeros((2, 3)), jnp.zeros(2))
    with pytest.raises(ValueError, match="num_actions"):
        losses.doc_tabular_init(key, num_states=1, num_actions=0, num_returns=2)
