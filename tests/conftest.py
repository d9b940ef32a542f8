"""Test session: the CPU, one persistent compile cache for all workers, and not too many programs at a time."""

import gc
import itertools
import os
import pathlib

_cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "jaxlab" / "compile"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Several batched factorisations at once can fill the thread pool of the CPU runtime and wait for each other for ever.
os.environ.setdefault("NPROC", "16")

MAPPINGS = pathlib.Path("/proc/self/maps")
MOST = 20_000
_tests = itertools.count(1)


def pytest_runtest_teardown(item):
    """Every compiled program holds three memory mappings; Linux allows 65,530, and XLA aborts where it gets none."""
    if next(_tests) % 100 == 0 and MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > MOST:
        import jax

        jax.clear_caches()
        gc.collect()
