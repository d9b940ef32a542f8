"""Test session: the CPU, and one persistent compile cache for all workers."""

import os
import pathlib

_cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "jaxlab" / "compile"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Several batched factorisations at once can fill the thread pool of the CPU runtime and wait for each other for ever.
os.environ.setdefault("NPROC", "16")
