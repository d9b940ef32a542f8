"""Assets: built once, read back bit for bit, built again where anything that decides them changed."""

import concurrent.futures
import dataclasses
import functools
import time
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.asset import asset, key


@dataclasses.dataclass(frozen=True)
class Net:
    name: ClassVar[str] = "net"
    version: ClassVar[int] = 1
    width: int = 3


@dataclasses.dataclass(frozen=True)
class NewerNet(Net):
    version: ClassVar[int] = 2


pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax, on damage


class State(NamedTuple):
    weight: jax.Array
    bias: jax.Array


class Builder:
    """``build`` that counts its eager calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, config):
        weight = jax.random.normal(jax.random.key(7), (config.width, 2))
        self.calls += not isinstance(weight, jax.core.Tracer)
        return {"state": State(weight, jnp.zeros(2, jnp.bfloat16)), "seed": jax.random.key(3)}


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def test_built_once(tmp_path):
    build = Builder()
    first = asset(Net(), build, tmp_path)
    second = asset(Net(), build, tmp_path)
    assert build.calls == 1
    same(first, second)
    assert isinstance(second["state"], State)


def test_what_decides_an_asset(tmp_path, monkeypatch):
    keys = {key(Net()), key(Net(4)), key(NewerNet()), key(Net(), data_digest="abc")}
    assert len(keys) == 4
    assert key(Net()) == key(Net(3))
    major, minor, *_ = jax.__version__.split(".")
    monkeypatch.setattr(jax, "__version__", f"{major}.{int(minor) + 1}.0")
    assert key(Net()) not in keys
    monkeypatch.setattr(jax, "__version__", f"{major}.{minor}.77")
    assert key(Net()) in keys


@pytest.mark.parametrize("damage", ["truncate", "empty", "half", "flip"])
def test_a_damaged_asset_is_built_again(tmp_path, damage):
    build = Builder()
    first = asset(Net(), build, tmp_path)
    folder = tmp_path / "net" / key(Net())
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if damage == "truncate":
            path.write_bytes(path.read_bytes()[:-3])
        elif damage == "flip":
            blob = bytearray(path.read_bytes())
            blob[len(blob) // 2] ^= 1
            path.write_bytes(blob)
        elif damage == "empty":
            path.write_bytes(b"")
        elif "metadata" in path.name.lower():
            path.unlink()
    same(asset(Net(), build, tmp_path), first)
    assert build.calls == 2
    same(asset(Net(), build, tmp_path), first)
    assert build.calls == 2


def test_a_flipped_bit_of_an_array_is_seen(tmp_path):
    def build(config):
        return {"w": jax.random.normal(jax.random.key(0), (64, 64))}

    first = asset(Net(), build, tmp_path)
    for part in np.linspace(0.05, 0.95, 5):  # compressed, the array fills nearly all of the largest file
        largest = max((path for path in tmp_path.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        blob = bytearray(largest.read_bytes())
        blob[int(part * len(blob))] ^= 4
        largest.write_bytes(blob)
        same(asset(Net(), build, tmp_path), first)


def test_two_at_once_build_once(tmp_path):
    calls = []

    def build(config):
        calls.append(time.sleep(0.2))
        return {"w": jnp.ones(3)}

    like = functools.partial(dict, w=jnp.zeros(3))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = [pool.submit(asset, Net(), build, tmp_path, like=like) for _ in range(2)]
        same(both[0].result(), both[1].result())
    assert len(calls) == 1


def test_what_a_killed_process_left_is_removed(tmp_path):
    part = tmp_path / "net" / f"{key(Net())}.part"
    part.mkdir(parents=True)
    (part / "junk").write_text("half")
    asset(Net(), Builder(), tmp_path)
    assert not part.exists()


def test_a_build_that_cannot_be_traced_brings_its_shape(tmp_path):
    def build(config):
        return {"rows": np.arange(float(jnp.sum(jnp.ones(config.width)))).astype(np.float32)}

    asset(Net(), build, tmp_path)
    again = asset(Net(), build, tmp_path, like=lambda: {"rows": jax.ShapeDtypeStruct((3,), jnp.float32)})
    np.testing.assert_array_equal(again["rows"], [0, 1, 2])


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fails(config):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        asset(Net(), fails, tmp_path)
    build = Builder()
    asset(Net(), build, tmp_path)
    assert build.calls == 1


@pytest.mark.parametrize("config", [object(), {"name": "net", "version": 1}])
def test_a_config_without_name(tmp_path, config):
    with pytest.raises(TypeError, match="frozen dataclass with a name and a version"):
        key(config)
