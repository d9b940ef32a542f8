"""Artifacts: what goes in comes out in another process, and every kind of bad file or argument has its own sentence."""

import json
import pathlib
import subprocess
import sys
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

from jaxlab import deploy

ROOT = pathlib.Path(__file__).parents[2]


class Stats(NamedTuple):
    count: jax.Array
    total: jax.Array
    low: jax.Array | None = None


def noisy_update(state, batch, key):
    """A step with a NamedTuple state, a nested batch and a typed key, which returns a new key too."""
    key, now = jax.random.split(key)
    x = batch["x"].astype(jnp.float32) + jax.random.normal(now, batch["x"].shape)
    state = Stats(state.count + x.shape[0], state.total + x.sum(0), None)
    return state, {"mean": [x.mean(0), None, (state.count,)]}, key


EXAMPLE = (Stats(jnp.int32(0), jnp.zeros(3)), {"x": jnp.ones((4, 3), jnp.bfloat16)}, jax.random.key(0))


@pytest.fixture(scope="module")
def artifact():
    return deploy.export_function(noisy_update, *EXAMPLE)


@pytest.fixture(scope="module")
def loaded(artifact):
    return deploy.load_function(artifact)


OTHER_PROCESS = """
import collections, json, pathlib, sys
import jax, jax.numpy as jnp
from jaxlab import deploy

step = deploy.load_function(pathlib.Path(sys.argv[1]).read_bytes())
Stats = collections.namedtuple("Stats", ["count", "total", "low"])
state, key = Stats(jnp.int32(0), jnp.zeros(3), None), jax.random.key(5)
for i in range(2):  # the returned state and key go in again
    state, out, key = step(state, {"x": jnp.full((4, 3), i, jnp.bfloat16)}, key)
print(json.dumps({"total": state.total.tolist(), "count": state.count.item(), "low": state.low,
                  "mean": out["mean"][0].tolist(), "none": out["mean"][1], "tuple": type(out["mean"][2]).__name__,
                  "key": jax.random.key_data(key).tolist(), "kind": str(jax.random.key_impl(key))}))
"""


def test_namedtuple_and_key_in_another_process(artifact, tmp_path):
    path = tmp_path / "step.bin"
    path.write_bytes(artifact)
    command = [sys.executable, "-c", OTHER_PROCESS, str(path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    got = json.loads(run.stdout)
    state, key = EXAMPLE[0], jax.random.key(5)
    for i in range(2):
        state, out, key = noisy_update(state, {"x": jnp.full((4, 3), i, jnp.bfloat16)}, key)
    np.testing.assert_allclose(got["total"], state.total, atol=1e-5)
    np.testing.assert_allclose(got["mean"], out["mean"][0], atol=1e-5)
    assert (got["count"], got["low"], got["none"], got["tuple"]) == (8, None, None, "tuple")
    assert got["key"] == jax.random.key_data(key).tolist()
    assert got["kind"] == "threefry2x32"


def test_results_of_two_calls_are_one_type(loaded):
    one, two = (loaded(*EXAMPLE)[0] for _ in range(2))
    both = jax.tree.map(jnp.add, one, two)
    assert type(both) is type(one)
    assert type(both).__name__ == "Stats"
    assert both.count == 8


def test_metadata_and_help(loaded):
    assert loaded.__name__ == "noisy_update"
    assert loaded.metadata["platforms"] == ["cpu", "cuda", "tpu"]
    assert loaded.metadata["jax"] == jax.__version__
    inputs = "(Stats(count=int32[], total=float32[3], low=None), {'x': bfloat16[4, 3]}, key<threefry2x32>[])"
    outputs = (
        "(Stats(count=int32[], total=float32[3], low=None), {'mean': [float32[3], None, (int32[],)]}, "
        "key<threefry2x32>[])"
    )
    assert inputs in loaded.__doc__
    assert outputs in loaded.__doc__


def test_three_platforms_for_matrix_products_and_factorisations():
    def whiten(x):
        gram = x.T @ x + jnp.eye(x.shape[1])
        return jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(gram), x.T, lower=True)

    data = deploy.export_function(whiten, jax.ShapeDtypeStruct((5, 3), jnp.float32))
    x = jax.random.normal(jax.random.key(0), (5, 3))
    np.testing.assert_allclose(deploy.load_function(data)(x), whiten(x), atol=1e-6)
    payload = data[60 + int.from_bytes(data[12:20], "little") :]
    assert jax_export.deserialize(bytearray(payload)).platforms == ("cpu", "cuda", "tpu")


def test_operation_missing_on_a_platform_is_named():
    with pytest.raises(NotImplementedError, match="eig"):
        deploy.export_function(jnp.linalg.eigvals, jnp.eye(2))


def test_runs_under_jit(loaded):
    inside = jax.jit(lambda *args: loaded(*args)[0].total * 2)(*EXAMPLE)
    np.testing.assert_allclose(inside, 2 * loaded(*EXAMPLE)[0].total, rtol=1e-6)


def test_gradient_needs_vjp_order():
    x = jnp.arange(3.0)
    for order in (0, 1):
        cubes = deploy.load_function(deploy.export_function(lambda x: jnp.sum(x**3), x, vjp_order=order))
        assert cubes(x) == 9
        if order:
            np.testing.assert_allclose(jax.grad(cubes)(x), 3 * x**2)
        else:
            with pytest.raises(ValueError, match="export it again with vjp_order=1"):
                jax.grad(cubes)(x)


def test_symbolic_batch_size():
    (batch,) = jax_export.symbolic_shape("batch")
    shapes = jax.ShapeDtypeStruct((batch, 3), jnp.float32), jax.ShapeDtypeStruct((batch,), jnp.bool_)
    total = deploy.load_function(deploy.export_function(lambda x, where: (x * where[:, None]).sum(0), *shapes))
    assert total.metadata["inputs"]["leaves"][0]["shape"] == ["batch", 3]
    for size in (2, 5):
        assert total(jnp.ones((size, 3)), jnp.ones(size, bool)).tolist() == [size] * 3
    with pytest.raises(ValueError, match=r"args\[0\] must be float32\[batch, 3\], got float32\[2, 4\]"):
        total(jnp.ones((2, 4)), jnp.ones(2, bool))
    with pytest.raises(ValueError, match=r"takes arguments \(float32\[batch, 3\], bool\[batch\]\): .*batch"):
        total(jnp.ones((2, 3)), jnp.ones(4, bool))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_batches_of_keys(impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 4)
    draw = deploy.load_function(deploy.export_function(jax.vmap(jax.random.normal), keys))
    assert draw.metadata["inputs"]["leaves"] == [{"shape": [4], "key": impl}]
    np.testing.assert_array_equal(draw(keys), jax.vmap(jax.random.normal)(keys))


def test_python_numbers_take_the_dtype_as_in_jax():
    scaled = deploy.load_function(deploy.export_function(lambda x, a, n: (x * a, n + 1), jnp.ones(2), 0.5, 3))
    y, n = scaled(jnp.ones(2), 2, 4)
    assert (y.tolist(), n) == ([2.0, 2.0], 5)
    with pytest.raises(ValueError, match=r"args\[2\] must be int32\[\], got float32\[\]"):
        scaled(jnp.ones(2), 2, 4.5)


# --- bad files


def test_flipped_byte_anywhere(artifact):
    metadata_starts, payload_starts = 60, 60 + int.from_bytes(artifact[12:20], "little")
    assert artifact[metadata_starts:][:1] == b"{"
    rng = np.random.default_rng(0)
    places = [
        *range(metadata_starts),
        *rng.integers(metadata_starts, payload_starts, 40).tolist(),
        *rng.integers(payload_starts, len(artifact), 40).tolist(),
        len(artifact) - 1,
    ]
    for place in places:
        changed = bytearray(artifact)
        changed[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(ValueError, match=r"damaged|truncated|longer than|not an artifact|format version"):
            deploy.load_function(bytes(changed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-10], r"the artifact is truncated: it has \d+ bytes, its header says \d+; copy it again"),
        (lambda data: data[:30], "truncated: it has 30 bytes, its header alone"),
        (lambda data: b"", "truncated: it has 0 bytes"),
        (lambda data: data + b"\n", "longer than it says"),
        (lambda data: b"PK\x03\x04" + data[4:], "not an artifact of export_function: it starts with b'PK"),
        (
            lambda data: data[:8] + (2).to_bytes(4, "little") + data[12:],
            "format version 2, this jaxlab reads version 1",
        ),
    ],
)
def test_bad_files(artifact, change, message):
    with pytest.raises(ValueError, match=message):
        deploy.load_function(change(artifact))


def test_path_instead_of_bytes():
    with pytest.raises(TypeError, match="data must be the bytes of an artifact, got str"):
        deploy.load_function("step.bin")


def test_other_platform():
    data = deploy.export_function(jnp.sin, jnp.ones(2), platforms=["tpu", "cuda"])
    with pytest.raises(ValueError, match="exported for tpu, cuda, this process runs on cpu: export it again"):
        deploy.load_function(data)


def test_code_that_this_jax_cannot_read(artifact, monkeypatch):
    def refuse(data):
        raise ValueError("unsupported calling convention")

    monkeypatch.setattr(jax_export, "deserialize", refuse)
    with pytest.raises(RuntimeError, match=r"cannot read this artifact, which jax .* wrote.*calling convention"):
        deploy.load_function(artifact)


def test_without_flatbuffers(artifact, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    message = r"need the package flatbuffers: pip install 'jaxlab\[deploy\]'"
    with pytest.raises(ImportError, match=message):
        deploy.load_function(artifact)
    with pytest.raises(ImportError, match=message):
        deploy.export_function(jnp.sin, jnp.ones(2))


def test_the_rest_of_deploy_needs_no_flatbuffers():
    code = "import sys; sys.modules['flatbuffers'] = None; from jaxlab import deploy; print(deploy.mesh(1, 'a').shape)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr


# --- bad arguments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, b, k: (s, b), r"noisy_update takes arguments \(Stats.*key<threefry2x32>\[\]\), got \(Stats.*\]\}\)"),
        (lambda s, b, k: (tuple(s), b, k), r"got \(\(int32\[\], float32\[3\], None\)"),
        (lambda s, b, k: (s._replace(low=s.total), b, k), r"got \(Stats\(.*low=float32\[3\]"),
        (lambda s, b, k: (s, {"y": b["x"]}, k), r"got \(Stats.*'y': bfloat16"),
        (lambda s, b, k: (s, {"x": b["x"][:2]}, k), r"args\[1\]\['x'\] must be bfloat16\[4, 3\], got bfloat16\[2, 3\]"),
        (lambda s, b, k: (s, {"x": b["x"][0]}, k), r"must be bfloat16\[4, 3\], got bfloat16\[3\]"),
        (lambda s, b, k: (s._replace(count=1.0), b, k), r"args\[0\]\.count must be int32\[\], got float32\[\]"),
        (
            lambda s, b, k: (s, {"x": np.ones((4, 3))}, k),
            r"args\[1\]\['x'\] must be bfloat16\[4, 3\], got float(32|64)\[4, 3\]",
        ),
        (lambda s, b, k: (s, b, jax.random.PRNGKey(0)), r"args\[2\] must be key<threefry2x32>\[\], got uint32\[2\]"),
        (lambda s, b, k: (s, b, jax.random.key(0, impl="rbg")), r"must be key<threefry2x32>\[\], got key<rbg>\[\]"),
        (lambda s, b, k: (s, b, jax.random.split(k, 2)), r"must be key<threefry2x32>\[\], got key<threefry2x32>\[2\]"),
    ],
)
def test_arguments_that_do_not_fit(loaded, change, message):
    with pytest.raises(ValueError, match=message):
        loaded(*change(*EXAMPLE))


class Unknown:
    pass


jax.tree_util.register_pytree_node(Unknown, lambda node: ((jnp.ones(2),), None), lambda aux, children: Unknown())


@pytest.mark.parametrize(
    ("fn", "args", "message"),
    [
        (jnp.sin, ("mean",), r"args\[0\] must be an array or a number, got str 'mean'; bind it with functools.partial"),
        (lambda x: {"a": [object()]}, (jnp.ones(2),), r"result\['a'\]\[0\] must be an array or a number, got object"),
        (lambda x: (x, Unknown()), (jnp.ones(2),), r"result\[1\] is a Unknown: an artifact holds tuples, lists"),
        (lambda x: jnp.ones(2), (Unknown(),), r"args\[0\] is a Unknown"),
        (lambda x: {(1, 2): x}, (jnp.ones(2),), "result is a dict: .*string or integer keys"),
    ],
)
def test_what_an_artifact_cannot_hold(fn, args, message):
    with pytest.raises(TypeError, match=message):
        deploy.export_function(fn, *args)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"platforms": ()}, "platforms must be one or more"),
        ({"platforms": ("cpu", "gpu")}, r"platforms must be one or more of 'cpu', 'cuda', 'rocm', 'tpu', got .*'gpu'"),
        ({"vjp_order": -1}, "vjp_order must be at least 0, got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        deploy.export_function(jnp.sin, jnp.ones(2), **options)


def test_partial_has_the_name_of_its_function():
    data = deploy.export_function(partial(noisy_update, EXAMPLE[0]), *EXAMPLE[1:], platforms="cpu")
    assert deploy.load_function(data).__name__ == "noisy_update"
