"""Checkpoints come back bit for bit, and only into a tree like the one that was saved."""

import pathlib
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import deploy

ROOT = pathlib.Path(__file__).parents[2]


class State(NamedTuple):
    weight: jax.Array
    key: jax.Array
    extra: jax.Array | None = None


def make(seed=0):
    key = jax.random.key(seed)
    return {
        "state": State(jax.random.normal(key, (2, 3), jnp.bfloat16), key),
        "list": [jnp.arange(3), (jnp.float32(-0.0), jnp.array([jnp.nan, jnp.inf]))],
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), 2),
        "host": np.arange(4.0),
        "number": 2.5,
        "step": 7,
        "numbered": {5: jnp.ones(2, bool)},
    }


def bits(tree):
    def raw(leaf):
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return str(leaf.dtype), np.asarray(jax.random.key_data(leaf)).tobytes()
        return str(np.asarray(leaf).dtype), np.asarray(leaf).tobytes()

    return jax.tree.structure(tree), [raw(leaf) for leaf in jax.tree.leaves(tree)]


def test_every_kind_of_leaf_comes_back_bit_for_bit(tmp_path):
    tree = make()
    deploy.save(tmp_path / "a", tree)
    got = deploy.restore(tmp_path / "a", make(seed=1))
    assert bits(got) == bits(tree)
    assert isinstance(got["state"], State)
    assert isinstance(got["host"], np.ndarray)
    assert (type(got["number"]), type(got["step"])) == (float, int)


@pytest.mark.parametrize("tree", [jnp.ones(3), jax.random.key(3), (), None, {"a": None}, (State(jnp.ones(1), 2.0),)])
def test_bare_arrays_and_empty_trees(tmp_path, tree):
    deploy.save(tmp_path / "a", tree)
    assert bits(deploy.restore(tmp_path / "a", tree)) == bits(tree)


def test_like_may_be_shapes_only(tmp_path):
    tree = make()["state"]
    deploy.save(tmp_path / "a", tree)
    assert bits(deploy.restore(tmp_path / "a", jax.eval_shape(lambda: tree))) == bits(tree)


def test_restored_arrays_are_tied_to_a_device_only_if_like_is(tmp_path):
    """A free array may meet a sharded one in jit; a tied one raises there."""
    free = {"x": jnp.ones(2), "key": jax.random.key(0)}
    deploy.save(tmp_path / "a", free)
    tied = jax.device_put(free, jax.devices()[0])
    for like, committed in [(free, False), (tied, True), (jax.eval_shape(lambda: free), False)]:
        got = deploy.restore(tmp_path / "a", like)
        assert [leaf.committed for leaf in jax.tree.leaves(got)] == [committed, committed]
        assert bits(got) == bits(free)


def test_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deploy.save("folder/a", {"x": jnp.ones(2)})
    assert deploy.restore("folder/a", {"x": jnp.zeros(2)})["x"].tolist() == [1, 1]


def test_existing_path_and_overwrite(tmp_path):
    path = tmp_path / "a"
    deploy.save(path, {"x": jnp.ones(2)})
    with pytest.raises(FileExistsError, match=rf"{path} exists: .*overwrite=True"):
        deploy.save(path, {"x": jnp.zeros(2)})
    deploy.save(path, {"y": jnp.zeros(3)}, overwrite=True)
    assert deploy.restore(path, {"y": jnp.ones(3)})["y"].tolist() == [0, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


KILLED = """
import os, pathlib, shutil, signal, sys
import jax.numpy as jnp
from jaxlab import deploy

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

path, moment = pathlib.Path(sys.argv[1]), sys.argv[2]
if moment == "swapping":  # between the two renames
    rename = pathlib.Path.rename
    pathlib.Path.rename = lambda self, other: die() if self.name.endswith(".new") else rename(self, other)
elif moment == "clearing":  # the new one is there, the old one not yet gone
    shutil.rmtree = lambda folder, **options: die() if str(folder).endswith(".old") else None
elif moment == "writing":
    pathlib.Path.rename = die
    import orbax.checkpoint as ocp
    ocp.StandardCheckpointer.wait_until_finished = die
deploy.save(path, {"x": jnp.ones(2)}, overwrite=True)
"""


@pytest.mark.parametrize(("moment", "kept"), [("writing", 0.0), ("swapping", 0.0), ("clearing", 1.0)])
def test_killed_while_overwriting(tmp_path, moment, kept):
    path = tmp_path / "a"
    deploy.save(path, {"x": jnp.zeros(2)})
    run = subprocess.run([sys.executable, "-c", KILLED, str(path), moment], cwd=ROOT, timeout=120, check=False)
    assert run.returncode == -9
    assert deploy.restore(path, {"x": jnp.zeros(2)})["x"].tolist() == [kept, kept]
    deploy.save(path, {"x": jnp.full(2, 5.0)}, overwrite=True)
    assert deploy.restore(path, {"x": jnp.zeros(2)})["x"].tolist() == [5, 5]
    # What orbax was writing when it was killed may be left beside; nothing else.
    assert all(p.name == "a" or p.name.startswith(".a.new.orbax-checkpoint-tmp") for p in tmp_path.iterdir())


SAVED = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3, jnp.int32), "key": jax.random.key(0, impl="rbg"), "none": None}


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({"w": jnp.ones((3, 2))}, [r"w: shape \[2, 3\] in the checkpoint, \[3, 2\] expected"]),
        ({"b": jnp.zeros(3)}, ["b: dtype int32 in the checkpoint, float32 expected"]),
        ({"b": jnp.zeros(3, jnp.bfloat16)}, ["b: dtype int32 in the checkpoint, bfloat16 expected"]),
        ({"b": None}, ["b: only in the checkpoint"]),
        ({"none": jnp.ones(2)}, ["none: missing in the checkpoint"]),
        ({"w": {"x": jnp.ones((2, 3))}}, [r"w\.x: missing in the checkpoint", "w: only in the checkpoint"]),
        (
            {"key": jnp.zeros(4, jnp.uint32)},
            [r"key: shape \[\] in the checkpoint, \[4\] expected", "key: dtype key<rbg> in the .*, uint32 expected"],
        ),
        ({"key": jax.random.key(0, impl="unsafe_rbg")}, ["key: dtype key<rbg> in the checkpoint, key<urbg> expected"]),
        ({"key": jax.random.key(0)}, [r"key: shape \[4\] in the checkpoint, \[2\] expected"]),
        (
            {"w": jnp.ones(2), "b": jnp.zeros(3, bool), "more": 1},
            ["more: missing", r"b: dtype int32 .* bool expected", r"w: shape \[2, 3\] .* \[2\] expected"],
        ),
    ],
)
def test_every_difference_is_named(tmp_path, change, lines):
    deploy.save(tmp_path / "a", SAVED)
    with pytest.raises(ValueError, match="holds another tree") as caught:
        deploy.restore(tmp_path / "a", SAVED | change)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 + len(lines)
    for line in lines:
        assert caught.match(line)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"there is no checkpoint at {tmp_path / 'nothing'}"):
        deploy.restore(tmp_path / "nothing", {"x": jnp.ones(2)})


def test_folder_that_is_no_checkpoint(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="damaged and cannot be read"):
        deploy.restore(tmp_path, {"x": jnp.ones(2)})


@pytest.mark.parametrize("how", ["cut", "empty", "gone"])
@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt"])
def test_damaged_files(tmp_path, name, how):
    deploy.save(tmp_path / "a", {"x": jnp.ones(2)})
    file = tmp_path / "a" / name
    data = file.read_bytes()
    file.write_bytes(data[:-10] if how == "cut" else b"")
    if how == "gone":
        file.unlink()
    with pytest.raises(ValueError, match=rf"the checkpoint {tmp_path / 'a'} is damaged and cannot be read"):
        deploy.restore(tmp_path / "a", {"x": jnp.zeros(2)})


def test_missing_array_files(tmp_path):
    deploy.save(tmp_path / "a", {"x": jnp.arange(10000.0)})
    for file in (tmp_path / "a").rglob("d/*"):
        file.unlink()
    with pytest.raises(ValueError, match="damaged"):
        deploy.restore(tmp_path / "a", {"x": jnp.zeros(10000)})


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ({"a": "text"}, TypeError, r"tree\['a'\] must be an array or a number, got str 'text'"),
        ({"a": jax.ShapeDtypeStruct((2,), jnp.float32)}, TypeError, "got ShapeDtypeStruct"),
        ({"a": jnp.ones((0, 3))}, ValueError, r"tree\['a'\] has no elements \(shape \[0, 3\]\)"),
        ({"a.b": jnp.ones(2), "a": {"b": jnp.zeros(2)}}, ValueError, "have the same name on disk, 'a.b'"),
    ],
)
def test_what_cannot_be_saved(tmp_path, tree, error, message):
    with pytest.raises(error, match=message):
        deploy.save(tmp_path / "a", tree)
    assert not (tmp_path / "a").exists()
