"""Eight devices give the answer of one."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import deploy

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def eight():
    """What the program _devices.py finds with eight virtual devices."""
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-m", "tests.deploy._devices"]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.scale
@pytest.mark.parametrize("how", ["auto", "auto_grid", "auto_one_axis", "manual", "manual_grid", "manual_three"])
def test_devices_give_the_answer_of_one(eight, how):
    assert eight[how]["distance"] < 1e-6
    assert eight[how]["rows"] == 203 + 203 + 50
    assert eight[how]["count"] == 1  # compilations (auto), different copies of the result (manual)


@pytest.mark.scale
def test_a_fold_over_sharded_chunks_resumes(eight):
    expected = sum(sum(range(i, i + 10)) for i in range(4))
    assert eight["resumed"] == [expected, expected]


@pytest.mark.scale
def test_leaves_that_are_equal_everywhere_stay_as_they_are(eight):
    assert eight["unchanging"] == {"seen": True, "shift": -0.5, "sum": 28.0}


@pytest.mark.scale
def test_shard_batch_pads_with_rows_that_do_not_count(eight):
    padded = eight["padded"]
    assert padded["x"] == [*map(float, range(10)), *[0.0] * 6]
    assert padded["where"] == [i != 3 and i < 10 for i in range(16)]
    assert padded["shards"] == 8


@pytest.mark.scale
def test_mesh_of_the_rest_and_axis_types(eight):
    assert eight["grid"] == {"host": 2, "chip": 4}
    assert eight["types"] == ["Auto"]


@pytest.mark.scale
def test_mesh_says_how_to_get_virtual_devices(eight):
    assert "needs 9 devices, there are 8" in eight["too_many"]
    assert "--xla_force_host_platform_device_count=9" in eight["too_many"]


@pytest.mark.parametrize("count", range(1, 10))
def test_reduce_state_keeps_the_order(count):
    """Matrices do not commute: only first @ second @ ... is right."""
    matrices = np.random.default_rng(count).integers(-2, 3, (count, 2, 2)).astype(np.float32)
    expected = np.linalg.multi_dot([*matrices, np.eye(2)]) if count > 1 else matrices[0]
    merged = jax.vmap(lambda m: deploy.reduce_state(m, "i", jnp.matmul), axis_name="i")(jnp.asarray(matrices))
    np.testing.assert_array_equal(merged, np.broadcast_to(expected, matrices.shape))


def test_reduce_state_never_merges_with_an_empty_place():
    """A merge that divides by the count stays finite, and so does its gradient."""

    def merge(a, b):
        count = a["count"] + b["count"]
        return {"count": count, "mean": (a["count"] * a["mean"] + b["count"] * b["mean"]) / count}

    def mean(x):
        return deploy.reduce_state({"count": jnp.float32(1), "mean": x}, "i", merge)["mean"]

    x = jnp.array([1.0, 2.0, 6.0, 7.0, 9.0])
    np.testing.assert_allclose(jax.vmap(mean, axis_name="i")(x), np.full(5, 5.0), rtol=1e-6)
    assert np.all(np.isfinite(jax.grad(lambda x: jax.vmap(mean, axis_name="i")(x)[0])(x)))


def test_reduce_state_refuses_a_merge_of_another_shape():
    merge = lambda a, b: jnp.concatenate([a, b])  # noqa: E731
    with pytest.raises(
        ValueError, match=r"merge must return a state like its arguments, float32\[2\], got float32\[4\]"
    ):
        jax.vmap(lambda x: deploy.reduce_state(x, "i", merge), axis_name="i")(jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="merge must return"):
        jax.vmap(lambda x: deploy.reduce_state({"a": x}, "i", lambda a, b: {"b": a["a"]}), axis_name="i")(jnp.ones(2))


@pytest.mark.parametrize(
    ("shape", "names", "message"),
    [
        ((1, 1), ("a",), "one name for each axis"),
        ((), (), "one name for each axis"),
        (0, "a", "must be positive"),
        ((-1, -1), ("a", "b"), "at most one"),
        ((-1, 0), ("a", "b"), "must be positive"),
        (10**6, "a", "needs 1000000 devices"),
    ],
)
def test_mesh_bad_input(shape, names, message):
    with pytest.raises(ValueError, match=message):
        deploy.mesh(shape, names)


@pytest.mark.parametrize(
    ("tree", "options", "error", "message"),
    [
        ({"x": jnp.ones((3, 2)), "y": jnp.ones(4)}, {}, ValueError, r"same number of rows.*'y'.*4"),
        ({"x": jnp.ones(())}, {}, ValueError, r"tree\['x'\] must have a leading axis"),
        ({"x": 1.0}, {}, TypeError, r"tree\['x'\] must be an array of numbers, got float"),
        (jax.random.split(jax.random.key(0), 3), {}, TypeError, "must be an array of numbers"),
        ({}, {}, ValueError, "no leaves"),
        (jnp.ones(3), {"axis_name": "model"}, ValueError, "axis_name must be one of 'data', got 'model'"),
        (jnp.ones(3), {"rows": 2}, ValueError, "rows must be at least the 3 rows"),
        (jnp.ones(3), {"where": jnp.ones(2, bool)}, ValueError, r"where must have shape \[3\]"),
        (jnp.ones(3), {"where": jnp.ones(3)}, TypeError, "where must be boolean"),
    ],
)
def test_shard_batch_bad_input(tree, options, error, message):
    with pytest.raises(error, match=message):
        deploy.shard_batch(deploy.mesh(1, "data"), tree, **({"axis_name": "data"} | options))


def test_shard_batch_keeps_dtypes_and_host_arrays():
    tree = {"x": np.ones((3, 2), np.float32), "y": jnp.ones(3, jnp.bfloat16), "labels": np.arange(3, dtype=np.int32)}
    batch, where = deploy.shard_batch(deploy.mesh(1, "data"), tree, axis_name="data", rows=5)
    assert {name: (x.shape, x.dtype.name) for name, x in batch.items()} == {
        "x": ((5, 2), "float32"),
        "y": ((5,), "bfloat16"),
        "labels": ((5,), "int32"),
    }
    assert where.tolist() == [True, True, True, False, False]
    assert all(isinstance(x, jax.Array) for x in batch.values())
