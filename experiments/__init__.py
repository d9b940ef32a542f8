"""Questions put to real data, one module each: ``python -m experiments`` lists them."""

import os

# On few cores jaxlib's CPU runtime can wait for itself for ever: several batched factorisations at once fill its thread
# pool, and each waits for a free thread (seen with jaxlib 0.10.2 on two cores). A larger pool leaves one free.
WIDE_POOL = str(max(16, os.cpu_count() or 1))
os.environ.setdefault("NPROC", WIDE_POOL)
