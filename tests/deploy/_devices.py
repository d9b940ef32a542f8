"""Run with eight virtual devices; prints as JSON what test_sharding.py judges."""

import json
import tempfile
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxlab import deploy
from tests.scale import _workload as work

CHUNKS = [work.chunk(0), work.chunk(1), work.chunk(2, rows=50)]


def one_device():
    state = work.init()
    for chunk in CHUNKS:
        state = jax.jit(work.update)(state, chunk)
    return work.numbers(state)


def auto(mesh, axis_name):
    """The batch is sharded, the compiler does the rest. Also: how many programs were compiled."""
    step = jax.jit(lambda *args: work.update(*args), donate_argnums=0)  # a function of its own: jit shares its cache
    state = deploy.replicate(mesh, work.init())
    for chunk in CHUNKS:
        batch, where = deploy.shard_batch(mesh, chunk, axis_name=axis_name, rows=work.ROWS)
        state = step(state, batch, where)
    return work.numbers(state), step._cache_size()


def manual(mesh, axis_name):
    """Each device has its own state; they are merged at the end. Also: how many devices disagree."""

    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=P(axis_name), out_specs=P())
    def total(batch, where):
        return deploy.reduce_state(work.update(work.init(), batch, where), axis_name, work.merge)

    rows = jax.tree.map(lambda *pieces: np.concatenate(pieces), *CHUNKS)
    state = total(*deploy.shard_batch(mesh, rows, axis_name=axis_name))
    copies = [
        {np.asarray(shard.data).tobytes() for shard in leaf.addressable_shards} for leaf in jax.tree.leaves(state)
    ]
    return work.numbers(state), max(map(len, copies))


def unchanging_leaves(mesh):
    """A state whose leaves are equal on all devices, some boolean, and a leaf that is not sharded."""

    def merge(a, b):
        return {"seen": a["seen"] | b["seen"], "shift": a["shift"], "sum": a["sum"] + b["sum"]}

    @partial(jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P())
    def total(x):
        state = {"seen": jnp.any(x == 6), "shift": jnp.float32(-0.5), "sum": jnp.sum(x)}
        return deploy.reduce_state(state, "data", merge)

    return jax.tree.map(lambda x: x.item(), total(jnp.arange(8.0)))


def resumed(mesh):
    """A fold over sharded chunks goes on after a stop, whether its state was put on the mesh or not."""
    chunks = [deploy.shard_batch(mesh, jnp.arange(10.0) + i, axis_name="data") for i in range(4)]

    def step(state, chunk):
        return {"sum": state["sum"] + jnp.vdot(*chunk), "key": jax.random.split(state["key"])[0]}

    start = {"sum": jnp.zeros(()), "key": jax.random.key(0)}
    sums = []
    for state in (start, deploy.replicate(mesh, start)):
        with tempfile.TemporaryDirectory() as folder:
            deploy.resumable_fold(step, state, chunks[:2], folder)
            state = deploy.resumable_fold(step, state, chunks, folder)
        sums.append(state["sum"].item())
    return sums


def message(fn):
    try:
        fn()
    except ValueError as error:
        return str(error)
    return None


def main():
    line, grid = deploy.mesh(8, "data"), deploy.mesh((2, -1), ("host", "chip"))
    expected = one_device()
    out = {"grid": dict(grid.shape), "types": sorted({kind.name for kind in grid.axis_types})}
    for name, fn, mesh, axis in [
        ("auto", auto, line, "data"),
        ("auto_grid", auto, grid, ("host", "chip")),
        ("auto_one_axis", auto, grid, "host"),
        ("manual", manual, line, "data"),
        ("manual_grid", manual, grid, ("host", "chip")),
        ("manual_three", manual, deploy.mesh(3, "data"), "data"),
    ]:
        numbers, count = fn(mesh, axis)
        out[name] = {"distance": work.distance(numbers, expected), "count": count, "rows": int(numbers["count"].sum())}
    out["resumed"] = resumed(line)
    out["unchanging"] = unchanging_leaves(line)
    x = jnp.arange(10.0)
    batch, where = deploy.shard_batch(line, x, axis_name="data", where=x != 3)
    out["padded"] = {"x": batch.tolist(), "where": where.tolist(), "shards": len(batch.sharding.device_set)}
    out["too_many"] = message(lambda: deploy.mesh((3, 3), ("a", "b")))
    print(json.dumps(out))


if __name__ == "__main__":
    main()
