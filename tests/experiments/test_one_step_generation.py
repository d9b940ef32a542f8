"""The question of few steps: its claims, its networks, and a quick run from end to end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import one_step_generation as question
from experiments.assets import denoiser, few_steps, flows

FLOW = flows.MeanFlowConfig(dim=4, classes=3, hidden=8, flow_steps=3, mean_steps=3)


def test_the_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = quick_run(question)
    assert {claim["verdict"] for claim in result["claims"]} == {"not judged"}
    rows = {metric: {name: np.array(v) for name, v in row.items()} for metric, row in result["rows"].items()}
    names = {method.name for method in question.METHODS}
    assert {name for family in question.FAMILIES.values() for name in family} <= names
    assert set(rows) == {"frechet", "accuracy", "calls"}
    assert all(set(row) == names for row in rows.values())
    calls = {name: float(values[0]) for name, values in rows["calls"].items()}
    for name in names - {"guided_euler_50"}:
        ending = name.rpartition("_")[2]
        assert calls[name] == (1 if name.startswith("vsd") else int(ending))
    assert calls["guided_euler_50"] == 100
    for name in names - {"euler_1"}:  # every row draws from the same noise with a network or a step of its own
        assert (rows["frechet"][name] != rows["frechet"]["euler_1"]).all()


def test_the_random_scale_is_placed_among_the_fixed_ones():
    rows = {"frechet": {"vsd_1": [1.0, 9.0], "vsd_4": [2.0, 1.0], "vsd_7.5": [5.0, 2.0], "vsd_random": [2.0, 9.0]}}
    np.testing.assert_allclose(question._share_of_spread(rows), [0.25, 1.0])


def test_the_mean_flow_knows_both_ends():
    init, _ = flows._mean_network(FLOW)
    u_fn = flows.mean_velocity(FLOW, init(jax.random.key(0)), jnp.array([0, 1, 3]))
    z, r, t = jnp.ones((3, 4)), jnp.full(3, 0.2), jnp.full(3, 0.7)
    first = u_fn(z, r, t)
    assert first.shape == (3, 4)
    for other in (u_fn(z, t, t), u_fn(z, r, t + 0.1), u_fn(2.0 * z, r, t)):
        assert np.abs(other - first).max() > 1e-3
    assert np.abs(first[0] - first[2]).max() > 1e-3  # the class counts


def test_guidance_and_curriculum_change_what_is_trained():
    x = jax.random.normal(jax.random.key(1), (20, 4))
    y = jnp.arange(20) % 3
    trained = {
        name: jax.tree.leaves(flows._train_mean_flow(dataclasses.replace(FLOW, **change), x, y))
        for name, change in {
            "plain": {},
            "guided": {"w": 0.3, "k": 0.9},
            "direct": {"curriculum": False},
            "longer": {"flow_steps": 4},
        }.items()
    }
    leaves = {name: np.concatenate([np.ravel(leaf) for leaf in tree]) for name, tree in trained.items()}
    assert all(np.isfinite(leaf).all() for leaf in leaves.values())
    for a in leaves:
        for b in leaves:
            assert (a == b) == np.array_equal(leaves[a], leaves[b])


def test_variants_of_a_mean_flow_share_their_programs():
    guided, other = dataclasses.replace(FLOW, w=0.3, k=0.9, curriculum=False), dataclasses.replace(FLOW, hidden=9)
    assert question.by_mean_flow(flows.unstaged(guided), 1) is question.by_mean_flow(flows.unstaged(FLOW), 1)
    assert question.by_mean_flow(flows.unstaged(other), 1) is not question.by_mean_flow(flows.unstaged(FLOW), 1)


TEACHER = denoiser.DenoiserConfig(dim=4, sizes=(3,), hidden=8, form="linear")


def losses_of(loss_fn, params, state):
    batch = {"x": jax.random.normal(jax.random.key(1), (6, 4)), "y": jnp.arange(6) % 3}
    return jax.value_and_grad(lambda p: loss_fn(p, state, batch, jax.random.key(2))[0])(params)


def test_a_student_starts_at_its_teacher_and_has_something_to_learn():
    init, _ = denoiser.network(TEACHER)
    teacher, stranger = init(jax.random.key(0)), init(jax.random.key(3))
    segment = few_steps._segment_loss(few_steps.SegmentConfig(teacher=TEACHER))
    for loss_fn, state in (
        (few_steps._progressive_loss(TEACHER), {"teacher": teacher, "steps": jnp.int32(4)}),
        (segment, {"teacher": teacher, "past": teacher}),
    ):
        loss, gradient = losses_of(loss_fn, teacher, state)
        assert 0 < loss < losses_of(loss_fn, stranger, state)[0]
        assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_score_distillation_moves_generator_and_follower_each_by_its_own_loss():
    init, _ = denoiser.network(TEACHER)
    teacher, stranger = init(jax.random.key(0)), init(jax.random.key(3))
    loss_fn = few_steps._score_distillation_loss(few_steps.ScoreDistillationConfig(teacher=TEACHER))
    scales = {"low": jnp.float32(1.0), "high": jnp.float32(1.0)}
    state = scales | {"teacher": teacher}
    _, agreed = losses_of(loss_fn, {"generator": stranger, "follower": teacher}, state)
    _, apart = losses_of(loss_fn, {"generator": stranger, "follower": stranger}, state)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(agreed["generator"]))  # both networks say the same
    assert any(np.any(leaf) for leaf in jax.tree.leaves(apart["generator"]))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(agreed["follower"]))


@pytest.mark.parametrize(
    ("change", "message"), [({"samples": 5}, "samples"), ({"k": 1.0}, "k must lie"), ({"low": 5.0}, "low and high")]
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        question.Config(**change)
