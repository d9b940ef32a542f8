"""One of several processes that fold one stream together; the first prints as JSON what test_processes.py judges.

Arguments: address of the coordinator, number of processes, index of this process, a shared folder.
"""

import json
import pathlib
import sys
from functools import partial

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxlab import deploy
from tests.scale import _workload as work

CHUNKS = 3
KEY = 7


def my_rows(index):
    """This process's part of the index-th chunk; the parts are of different sizes."""
    return jax.tree.map(lambda x: np.array_split(x, jax.process_count())[jax.process_index()], work.chunk(index))


def main(address, count, index, folder):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=int(count), process_id=int(index))
    folder = pathlib.Path(folder)
    mesh = deploy.mesh(-1, "data")
    out = {"processes": jax.process_count(), "devices": mesh.size, "local": jax.local_device_count()}
    start = deploy.replicate(mesh, work.init())

    def shard(i):
        return deploy.shard_batch(mesh, my_rows(i), axis_name="data", rows=-(-work.ROWS // jax.process_count()))

    def step(state, chunk):
        return work.update(state, *chunk)

    # The compiler adds over devices and hosts; the run stops after two chunks and goes on.
    deploy.resumable_fold(step, start, [shard(i) for i in range(CHUNKS - 1)], folder / "fold")
    auto = deploy.resumable_fold(step, start, shard, folder / "fold", num_chunks=CHUNKS)
    whole = deploy.resumable_fold(step, start, shard, folder / "whole", num_chunks=CHUNKS)
    out["resumed"] = [work.digest(auto), work.digest(whole)]

    # Every device folds its own rows; the states are merged.
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P())
    def total(chunks):
        state = work.init()
        for chunk in chunks:
            state = step(state, chunk)
        return deploy.reduce_state(state, "data", work.merge)

    manual = total([shard(i) for i in range(CHUNKS)])

    # One checkpoint for all: replicated state, sharded rows, a key.
    tree = {"state": manual, "rows": shard(0)[0]["x"], "key": deploy.replicate(mesh, jax.random.key(KEY))}
    for _ in range(2):
        deploy.save(folder / "checkpoint", tree, overwrite=True)
    restored = deploy.restore(folder / "checkpoint", tree)
    out["restored"] = [work.digest(restored["state"]), work.digest(manual)]
    out["rows"] = all(
        np.array_equal(a.data, b.data)
        for a, b in zip(restored["rows"].addressable_shards, tree["rows"].addressable_shards, strict=True)
    )
    out["key"] = np.asarray(jax.random.key_data(restored["key"])).tolist()
    try:
        deploy.save(folder / "checkpoint", tree)
    except FileExistsError as error:
        out["exists"] = str(error)

    if jax.process_index() == 0:
        np.savez(folder / "auto.npz", **work.numbers(auto))
        np.savez(folder / "manual.npz", **work.numbers(manual))
        print(json.dumps(out))
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
