"""Leaving the laboratory: export to one file, several devices and hosts, checkpoints, runs that can be killed."""

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
