"""Leaving the laboratory: export to one file, several devices and hosts, checkpoints, runs that can be killed.

- **A function on a machine that lacks its code**: `export_function` (to bytes, for several platforms), `load_function`
  (back to a function, checked)
- **A batch over several devices or hosts**: `mesh` (the devices, with named axes), `shard_batch` (rows split, and their
  mask), `replicate` (a state whole on each), `reduce_state` (merges states inside `jax.shard_map`)
- **A state on disk**: `save` (whole or not at all), `restore` (only where it fits)
- **A long run that may be killed**: `resumable_fold` (goes on after the saved chunk)
"""

from jaxlab.deploy.checkpoints import restore, save
from jaxlab.deploy.export import export_function, load_function
from jaxlab.deploy.sharding import mesh, reduce_state, replicate, shard_batch
from jaxlab.deploy.streaming import resumable_fold

__all__ = [
    "export_function",
    "load_function",
    "mesh",
    "reduce_state",
    "replicate",
    "restore",
    "resumable_fold",
    "save",
    "shard_batch",
]
