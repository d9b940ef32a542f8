"""Scores before training: masks are smaller networks, searches ask for what they say, and a quick run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import zero_cost_nas, zero_cost_pools
from experiments.assets import architectures
from experiments.command_line import answer
from experiments.networks import mlp
from experiments.zero_cost_scores import diswot, signed_log
from jaxlab import nas

X = np.random.default_rng(0).uniform(size=(5, 64)).astype(np.float32)


@jax.jit
def both(genes, params, x):
    return architectures.network_parts(genes, params, x)


def start(*genes):
    genes = jnp.array(genes, jnp.int32)
    return genes, architectures.network_init(jax.random.key(1), genes, jnp.array(3), 4)


def test_a_masked_network_is_the_small_network():
    genes, params = start(1, 2, 0, 1, 0)  # eight units, three hidden layers, ReLU, skips, no convolution
    logits, features, outputs, exists = both(genes, params, X)
    h = np.maximum(X @ params["dense"]["kernel"][:, :8], 0)
    for i in range(2):
        h = h + np.maximum(h @ params[f"layer{i}"]["kernel"][:8, :8], 0)
    np.testing.assert_allclose(logits[:, :3], h @ params["head"]["kernel"][:8, :3], rtol=1e-4)
    assert (np.asarray(logits)[:, 3] == 0).all()
    assert (np.asarray(features)[:, 8:] == 0).all()
    assert int(architectures.count(params)) == 64 * 8 + 2 * 64 + 8 * 3
    assert {name: int(mask.sum()) for name, mask in exists.items()} == {
        "convolution": 0,
        "dense": 8,
        "layer0": 8,
        "layer1": 8,
        "layer2": 0,
        "layer3": 0,
    }
    assert set(outputs) == {*exists, "head"}


@pytest.mark.parametrize("genes", [(0, 0, 1, 0, 1), (2, 4, 2, 0, 0)])
def test_what_does_not_exist_gets_no_gradient(genes):
    genes, params = start(*genes)
    loss = lambda params: jnp.sum(jnp.sin(both(genes, params, X)[0][:, :3]))  # noqa: E731
    gradient = jax.grad(loss)(params)
    for name, layer in params.items():
        if "kernel" in layer:
            there = np.asarray(layer["kernel"]) != 0
            assert (np.asarray(gradient[name]["kernel"])[~there] == 0).all(), name
    assert np.abs(gradient["convolution" if genes[4] else "dense"]["kernel"]).max() > 0
    shift = {name: jnp.zeros_like(output) for name, output in both(genes, params, X)[2].items()}
    np.testing.assert_allclose(architectures.network_parts(genes, params, X, shift)[0], both(genes, params, X)[0])


def test_cells_are_what_their_genes_say():
    genes = jnp.array([0, 0, 0, 0, 0])  # tanh, no gates
    params = architectures.cell_init(jax.random.key(0), genes)
    x = np.eye(8, dtype=np.float32)[np.arange(12).reshape(3, 4) % 8]
    states, before = architectures.cell_states(genes, params, x)
    own, h = params["candidate"], np.zeros((3, 32))
    for t in range(4):
        h = np.tanh(x[:, t] @ own["input"] + h @ own["state"])
        np.testing.assert_allclose(states[:, t], h, atol=1e-5)
    np.testing.assert_allclose(jnp.tanh(before), states, atol=1e-6)
    assert (np.asarray(params["update"]["input"]) == 0).all()
    gated = architectures.cell_init(jax.random.key(0), genes.at[1].set(1))
    assert int(architectures.count(gated) - architectures.count(params)) == 8 * 32 + 32 * 32


def test_pools_hold_different_architectures():
    genes = architectures.draw(architectures.SPACE, 40, 3)
    assert len(np.unique(genes, axis=0)) == 40
    assert (genes < np.array(architectures.SPACE)).all()
    assert (architectures.draw(architectures.SPACE, 40, 4) != genes).any()


def test_tasks_share_their_images():
    images = np.arange(24 * 64, dtype=np.float32).reshape(24, 8, 8)
    labels = np.arange(24, dtype=np.int32) % 3
    tasks = zero_cost_pools.make_tasks(images, labels, 3, 0)
    assert [mask.sum() for mask in (tasks.train[0], tasks.validation[0], tasks.test[0])] == [12, 6, 6]
    assert (tasks.train[0] ^ tasks.validation[0] ^ tasks.test[0]).all()
    for image, turned, turn in zip(images, tasks.x[1], tasks.y[1], strict=True):
        np.testing.assert_array_equal(np.rot90(image, turn).ravel(), turned)
    np.testing.assert_array_equal(tasks.y[2], labels % 2)
    assert tasks.classes.sum(1).tolist() == [3, 4, 2, 3]


def test_likeness_to_a_teacher_does_not_follow_the_width():
    """Of students that have nothing to do with the teacher, all widths are compared by as many channels."""
    teacher = mlp((64, 128, 128, 4))
    task = architectures.Task(X, np.arange(5) % 3, np.arange(4) < 3, *[None] * 5)

    def semantic(key, genes):
        own, other = jax.random.split(key)
        params = architectures.network_init(own, genes, jnp.array(3), 4)
        return diswot(genes, params, task, teacher, teacher.init(other)).semantic

    keys = jax.random.split(jax.random.key(0), 40)
    genes = jnp.array([(width, 1, 0, 0, 0) for width in range(len(architectures.WIDTHS))])
    found = jax.jit(jax.vmap(jax.vmap(semantic, (0, None)), (None, 0)))(keys, genes)
    assert np.all((found >= -2) & (found < -1))
    assert np.ptp(np.mean(found, axis=1)) < 0.06


def test_budget_curve_reads_the_test_accuracy_of_the_best_by_validation():
    validation, test = jnp.array([0.5, 0.9, 0.7, 0.1]), jnp.array([0.4, 0.8, 0.95, 0.2])
    curve = zero_cost_nas.budget_curve(jnp.array([3, 2, 1, 0]), validation, test, 3)
    np.testing.assert_allclose(curve, [0.2, 0.95, 0.8])


def test_robot_asks_for_different_architectures_and_finds_the_best():
    rng = np.random.default_rng(0)
    scores = jnp.asarray(rng.standard_normal((3, 12)), jnp.float32)
    order = jax.jit(functools.partial(zero_cost_nas.robot_order, budget=5, candidates=200))
    picks = [np.asarray(order(jax.random.key(seed), scores, -scores[1])) for seed in range(4)]
    best = int(jnp.argmin(scores[1]))
    assert all(len(set(pick.tolist())) == 5 for pick in picks)
    assert sum(best in pick for pick in picks) >= 3
    # The order is that of the proposals.
    state = nas.robot_init(3, budget=4, key=jax.random.key(0))
    _, _, first = nas.robot_propose(state, scores, num_candidates=200)
    assert int(picks[0][0]) == int(first)


def test_signed_log_keeps_order_and_sign():
    scores = jnp.array([-1e6, -3.0, 0.0, 2.0, 1e9])
    found = np.asarray(signed_log(scores))
    assert (np.diff(found) > 0).all()
    assert found[2] == 0
    assert np.abs(found).max() < 25


def test_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = ["--networks", "6", "--cells", "4", "--train-steps", "5", "--cell-steps", "3", "--teacher-steps", "5"]
    found = quick_run(zero_cost_nas, "--dataset", "digits", *small)
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(zero_cost_nas.CLAIMS)
    rows = found["rows"]
    assert {"params", "depth", "snip", "diswot"} <= set(rows["tau"])
    assert {"params", "hidden_covariance"} <= set(rows["tau_recurrent"])
    assert "hidden_covariance" not in rows["tau"]
    assert set(rows["found"]) >= {"random", "average_rank", "robot", "params"}
    for metric in ("tau", "tau_distilled", "tau_recurrent"):
        assert all(-1 <= value <= 1 for row in rows[metric].values() for value in row)
    for row in rows["found"].values():
        assert all(0 < value <= 1 for value in row)


def test_features_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("rows.npz", x=np.ones((8, 3)), y=np.arange(8) % 2)
    assert answer(zero_cost_nas, ["--data", "rows.npz"]) == 2
    assert "needs images" in capsys.readouterr().err
    assert answer(zero_cost_nas, ["--budget", "1"]) == 2
    assert "budget must lie in [2, networks], got 1 and 40" in capsys.readouterr().err
