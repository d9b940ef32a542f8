"""The race of optimisers: its branches, its targets and choices, and a quick run from end to end."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import lr_free_optimizers, lr_free_workloads
from experiments.command_line import answer
from experiments.training import batch_indices

NAMES = list(lr_free_workloads.OPTIMIZERS)


def test_every_optimiser_has_five_settings_and_a_published_first():
    table = np.array(list(lr_free_workloads.SETTINGS.values()))
    assert table.shape == (10, 5, 2)
    assert (table[:, 0] == [1.0, 0.0]).all()
    assert all(len({tuple(pair) for pair in row}) == 5 for row in table.tolist())


def test_the_schedule():
    steps = jnp.arange(40.0)
    np.testing.assert_array_equal(lr_free_workloads.shape_of(jnp.array(0.0), 40)(steps), np.ones(40))
    scheduled = np.asarray(lr_free_workloads.shape_of(jnp.array(1.0), 40)(steps))
    assert scheduled[0] == pytest.approx(0.5)
    assert np.argmax(scheduled) == 1
    assert scheduled[-1] < 0.01


@pytest.mark.parametrize("name", ["prodigy", "momo_adam", "schedule_free"])
def test_a_branch_is_the_optimiser_itself(name):
    """With its state as a padded vector it takes the steps that it takes alone."""
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
    setting = jnp.array([1.0, 0.0])
    branch = lr_free_workloads._branch(name, params, 10, 40)
    alone = optax.with_extra_args_support(
        lr_free_workloads.OPTIMIZERS[name](setting[0], lr_free_workloads.shape_of(setting[1], 10))
    )
    loss = lambda p: jnp.sum((p["a"] - 3.0) ** 2) + p["b"] ** 2  # noqa: E731

    def both(carry, _):
        (mine, flat), (theirs, state) = carry
        value, grads = jax.value_and_grad(loss)(mine)
        mine, flat = branch.update(flat, grads, mine, value, setting)
        value, grads = jax.value_and_grad(loss)(theirs)
        updates, state = alone.update(grads, state, theirs, value=value)
        return ((mine, flat), (optax.apply_updates(theirs, updates), state)), None

    start = ((params, branch.init(params, setting)), (params, alone.init(params)))
    (mine, flat), (theirs, _) = jax.jit(lambda start: jax.lax.scan(both, start, length=4)[0])(start)
    assert flat.shape == (40,)
    for leaf, want in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(leaf, want, rtol=1e-5)
    assert float(loss(mine)) < float(loss(params))
    shown, estimate = branch.read(flat, mine, setting)
    assert (estimate > 0) == (name == "prodigy")
    assert (name == "schedule_free") == bool(np.any(np.abs(shown["a"] - mine["a"]) > 0))


def test_targets_times_and_choices():
    losses = np.full((2, 10, 5, 2, 8), 5.0, np.float32)
    nadamw, dog = NAMES.index("nadamw"), NAMES.index("dog")
    losses[:, nadamw, 2] = np.linspace(4, 0.5, 8)  # its best setting: 1.5 after six of eight looks
    losses[:, dog, 3] = 1.0
    losses[:, dog, 4, 1] = 1.0  # on one seed only
    targets = np.array([lr_free_optimizers.target_of(part) for part in losses])
    np.testing.assert_allclose(targets, 1.5)
    times = lr_free_optimizers.times_to(losses[0], 1.5, 80)
    assert times[nadamw, 2].tolist() == [60, 60]
    assert times[dog, 3].tolist() == [10, 10]
    assert np.isinf(times[0]).all()
    chosen = lr_free_optimizers.choose(losses, targets, 80)
    assert chosen[nadamw] == 2
    assert chosen[dog] == 3
    assert chosen[0] == 0  # nothing reaches: the first of equals
    scores = lr_free_optimizers.scores_of(np.stack([times, times], axis=-1))
    assert scores[dog, 3].tolist() == [1, 1]
    assert scores[nadamw, 2].tolist() == [0, 0]  # six times slower


def test_workloads_start_finite():
    for name in lr_free_workloads.WORKLOADS:
        workload = lr_free_workloads.make_workload(name)
        rows = {key: value[:4] for key, value in workload.train.items()}
        value = jax.jit(lambda key, rows, w=workload: w.loss(w.init(key), rows))(jax.random.key(0), rows)
        assert 0 < float(value) < 10
        index = batch_indices(jax.random.key(0), len(workload.train["x"]), num_steps=2, batch_size=32)
        assert len(np.unique(index)) == 64


def test_the_equation_has_the_solution_it_says():
    """sin(2 pi x) leaves no residual: its own second derivative plus itself is the right-hand side."""
    x = np.linspace(0, 1, 11)
    u, second = np.sin(2 * np.pi * x), -(4 * np.pi**2) * np.sin(2 * np.pi * x)
    right = (1 / (2 * np.pi) ** 2 - 1) * np.sin(2 * np.pi * x)
    np.testing.assert_allclose((second + u) / (2 * np.pi) ** 2, right, atol=1e-12)


def test_bad_configuration():
    with pytest.raises(ValueError, match="workloads must be among"):
        lr_free_optimizers.Config(workloads=("imagenet",))
    with pytest.raises(ValueError, match="multiple of looks"):
        lr_free_optimizers.Config(num_steps=10, looks=4)


def test_quick_run(tmp_path):
    assert answer(lr_free_optimizers, ["--quick", "--seeds", "5", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["errors"] == {}
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * 4
    rows = found["rows"]
    assert list(rows["score"]) == [method.name for method in lr_free_optimizers.METHODS]
    scores = np.array(list(rows["score"].values()))
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert np.any(scores == 1)  # whoever is first
    sizes = np.array(found["curves"]["step_size"]["prodigy"])
    assert sizes.shape == (5, 1, 8)
    assert np.all(np.diff(sizes) >= 0)
