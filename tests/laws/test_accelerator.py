"""On an accelerator every row gives what it gives on the CPU. ``JAX_PLATFORMS=cuda,cpu`` before pytest asks for it."""

import jax
import numpy as np
import pytest

from tests.laws import laws, observe
from tests.laws.row import arguments, function
from tests.laws.tables import ROWS

if jax.default_backend() == "cpu":
    pytest.skip("there is no accelerator, or JAX_PLATFORMS does not name it", allow_module_level=True)

ROUNDING = 1e-4  # of the largest entry: other hardware adds up in another order
SIGN = "draws through eigenvectors, whose signs are free"
FREE = {
    "analytic.kmeans/init": "rows that do not count are as near to one centroid as to the other",
    "analytic.sample_class_gaussians": SIGN,
    "kernels.sample_errors": SIGN,
    "optim.gcrodr_sequence": "any basis of the recycled space will do",
}


@pytest.mark.parametrize("name", [name for name in ROWS if name not in FREE])
def test_row(name):
    row = ROWS[name]
    call = arguments(row, jax.random.key(1))
    fn = jax.jit(lambda call: function(row)(**call))
    results = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            results.append(_real(observe.host(fn(jax.device_put(call, device)))))
    laws.close_trees(*results, tol=max(10 * row.tol, ROUNDING), what="accelerator and CPU")


def _real(tree):
    """Complex leaves as two parts: what is not floating point is compared bit for bit."""
    return jax.tree.map(lambda leaf: np.stack([leaf.real, leaf.imag]) if np.iscomplexobj(leaf) else leaf, tree)
