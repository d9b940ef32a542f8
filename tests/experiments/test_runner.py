"""Many seeds in one program, and the run that goes from row to row."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.errors import UserError
from experiments.ledger import Measured, Result
from experiments.runner import Common, Method, Run, make_mesh, over_seeds, select

METHODS = tuple(Method(name, None, None) for name in ("a", "b", "c"))


def make_run(seeds=3, methods=METHODS, **options):
    return Run(Common(seeds=seeds), Result("question", "data", seeds), methods, **options)


# --- over_seeds


def one_seed(key, sample, scale):
    noisy = sample["x"] + scale * jax.random.normal(key, sample["x"].shape)
    return {"mean": noisy.mean(), "count": jnp.sum(noisy > 0)}, {"sorted": jnp.sort(noisy)}


def test_vmap_equals_map_equals_a_loop():
    keys = make_run().seed_keys()
    samples = {"x": np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)}
    scale = jnp.array([0.1, 1.0, 10.0])
    loop = [one_seed(keys[i], {"x": samples["x"][i]}, scale[i]) for i in range(3)]
    for mode in ("vmap", "map"):
        metrics, curves, timings = over_seeds(one_seed, keys, samples, scale, mode=mode)
        assert metrics.keys() == {"mean", "count"}
        for name, values in metrics.items():
            assert isinstance(values, np.ndarray)
            np.testing.assert_allclose(values, [row[0][name] for row in loop], rtol=1e-6)
        np.testing.assert_allclose(curves["sorted"], np.stack([row[1]["sorted"] for row in loop]), rtol=1e-6, atol=1e-6)
        assert timings.keys() == {"compile", "run"}
        assert min(timings.values()) > 0


def test_shared_arguments_are_seen_whole():
    data = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    for mode in ("vmap", "map"):
        measured = over_seeds(
            lambda i, x: {"first": x[i, 0], "rows": x.shape[0]}, np.arange(2), shared=(data,), mode=mode
        )
        np.testing.assert_array_equal(measured.metrics["first"], [0, 3])
        np.testing.assert_array_equal(measured.metrics["rows"], [4, 4])
        assert measured.curves == {}


def test_compiled_once_and_traced_once():
    traces = []
    over_seeds(lambda x: traces.append(0) or {"x": x}, np.arange(4.0))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("args", "options", "sentence"),
    [
        ((np.ones(3), np.ones(4)), {}, "must share a leading axis"),
        ((np.ones(3), 1.0), {}, "must share a leading axis"),
        ((), {}, "must share a leading axis"),
        ((np.ones(3),), {"mode": "pmap"}, "mode must be"),
    ],
)
def test_over_seeds_refuses(args, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        over_seeds(lambda *a: {"x": 0.0}, *args, **options)


# --- Run


def test_seed_keys_do_not_depend_on_how_many():
    few, many = make_run(2).seed_keys(), make_run(5).seed_keys()
    assert jnp.issubdtype(few.dtype, jax.dtypes.prng_key)
    np.testing.assert_array_equal(jax.random.key_data(few), jax.random.key_data(many[:2]))
    np.testing.assert_array_equal(jax.random.key_data(many[3]), jax.random.key_data(jax.random.key(3)))


def test_rows_are_written_one_by_one():
    seen = []
    run = make_run(write=lambda: seen.append(list(run.result.finished)))
    run.rows(METHODS, lambda method: Measured({"score": [1.0, 2.0, 3.0]}))
    assert seen == [["a"], ["a", "b"], ["a", "b", "c"]]


def test_only_selected_methods_are_measured_in_their_order():
    measured = []
    run = make_run(methods=[METHODS[2], METHODS[0]])
    assert [method.name for method in run.todo(METHODS)] == ["c", "a"]
    run.rows(METHODS, lambda method: measured.append(method.name) or Measured({"score": np.zeros(3)}))
    assert measured == ["c", "a"]
    assert run.todo(METHODS) == []
    run.rows(METHODS, lambda method: pytest.fail("measured twice"))


def test_a_question_may_measure_in_groups():
    run = make_run()
    run.rows(METHODS[:2], lambda method: Measured({"score": np.zeros(3)}))
    assert [method.name for method in run.todo(METHODS)] == ["c"]
    run.rows(METHODS[2:], lambda method: Measured({"other": np.ones(3)}))
    assert run.result.finished == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("measured", "kind", "message"),
    [
        (Measured({"score": np.zeros(2)}), "ValueError", r"metric score must have shape \[3\]"),
        (Measured({"score": 1.0}), "ValueError", r"metric score must have shape \[3\]"),
        (Measured({}), "ValueError", "no metrics"),
        (
            Measured({"score": np.zeros(3)}, {"curve": np.zeros((2, 3))}),
            "ValueError",
            r"curve curve must .* \[3, ...\]",
        ),
        (Measured({"score": [0.0, np.nan, np.nan]}), "NotFinite", r"score \(seeds 1, 2\)"),
        (Measured({"score": [np.inf, 0.0, 0.0]}), "NotFinite", r"score \(seeds 0\)"),
        (None, "AttributeError", "metrics"),
    ],
)
def test_rows_that_break(measured, kind, message):
    run = make_run()
    run.rows(METHODS, lambda method: measured if method.name == "b" else Measured({"score": np.zeros(3)}))
    assert run.result.finished == ["a", "c"]
    assert run.result.errors.keys() == {"b"}
    assert run.result.errors["b"]["type"] == kind
    assert re.search(message, run.result.errors["b"]["message"])


def test_an_exception_leaves_its_traceback():
    def measure(method):
        raise OverflowError("too much")

    run = make_run()
    run.rows(METHODS[:1], measure)
    error = run.result.errors["a"]
    assert (error["type"], error["message"]) == ("OverflowError", "too much")
    assert "in measure" in error["traceback"]


def test_curves_may_hold_nan():
    run = make_run()
    run.rows(METHODS[:1], lambda method: Measured({"score": np.zeros(3)}, {"matrix": np.full((3, 2, 2), np.nan)}))
    assert run.result.finished == ["a"]


@pytest.mark.parametrize("stop", [UserError("pad it"), KeyboardInterrupt()])
def test_what_is_no_row_error_ends_the_run(stop):
    def measure(method):
        raise stop

    run = make_run()
    with pytest.raises(type(stop)):
        run.rows(METHODS, measure)
    assert run.result.errors == {}


def test_data_without_data():
    with pytest.raises(ValueError, match="names no DATASETS"):
        make_run().data()


# --- choosing


def test_select():
    assert select(METHODS, None) == list(METHODS)
    assert [method.name for method in select(METHODS, " c,a ,c,")] == ["c", "a"]
    with pytest.raises(UserError, match="Unknown method x, z: choose from a, b, c"):
        select(METHODS, "x,a,z")
    with pytest.raises(UserError, match="names no method: choose from a, b, c"):
        select(METHODS, ",")


# --- the mesh (several devices: test_command_line)


def test_no_mesh_changes_nothing():
    tree = {"x": np.zeros((5, 2))}
    assert make_mesh(None) is None
    assert make_run().shard(tree) is tree


def test_mesh_of_one_device():
    run = make_run(mesh=make_mesh(1))
    sharded = run.shard({"x": np.ones((5, 2)), "keys": run.seed_keys()})
    assert sharded["x"].sharding.mesh.axis_names == ("data",)
    assert sharded["keys"].shape == (3,)
    assert run.shard(np.ones((2, 5)), axis=-1).sharding.spec == jax.sharding.PartitionSpec(None, "data")
    with pytest.raises(ValueError, match=r"got axis 1 and an array \[5\]"):
        run.shard(np.ones(5), axis=1)


def test_mesh_that_cannot_be():
    there = len(jax.devices())
    with pytest.raises(UserError, match=f"needs {there + 1} devices, but jax sees {there}"):
        make_mesh(there + 1)
    with pytest.raises(UserError, match="at least 1"):
        make_mesh(0)
