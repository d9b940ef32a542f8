"""Random expansions of frozen features: drawn once, then a closed-form classifier on top."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import gaussian_kernel
from jaxlab.numerics.norms import accumulation_dtype, state_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = ["RandomFeatures", "random_features", "random_features_init"]


class RandomFeatures(NamedTuple):
    """Parameters of a random expansion: a projection (ReLU), or centers and their bandwidth (Gaussian)."""

    projection: Array | None = None  # [D, B]
    centers: Array | None = None  # [B, D]
    bandwidth: Array | None = None


def random_features_init(
    key: Array,
    dim: int,
    *,
    width: int,
    kind: str = "relu",
    centers: ArrayLike | None = None,
    bandwidth: ArrayLike = 10.0,
    dtype: DTypeLike | None = None,
) -> RandomFeatures:
    r"""Draws the parameters of a random expansion.

    - "relu": a matrix with entries uniform in :math:`\pm 1 / \sqrt{D}`, no bias
    - "gaussian": ``width`` different rows of ``centers``

    Args:
      key: PRNG key.
      dim: D >= 1, static.
      width: B >= 1, number of random features, static; the published sizes are 8192 and 16384.
      kind: "relu" or "gaussian", static.
      centers: float [N, D], rows to draw centres from (training features), N >= width; for "gaussian" only.
      bandwidth: sigma > 0 of exp(-d^2 / (2 sigma^2)), for "gaussian" only.
      dtype: of the projection: None is float32, float64 is allowed where it is enabled. Centres keep theirs.
    Returns:
      RandomFeatures.
    Raises:
      ValueError: sizes below 1, an unknown kind, missing or too few centers, centers given to "relu".

    >>> random_features_init(jax.random.key(0), 3, width=8).projection.shape
    (3, 8)

    Reference: Zhuang et al., "G-ACIL: Analytic Learning for Exemplar-Free Generalized Class Incremental Learning"
    (2024): the buffer of the repository, and its Gaussian-kernel variant (GKEAL). Checked against the authors' code.
    """
    checks.size(dim, "dim")
    checks.size(width, "width")
    checks.one_of(kind, "kind", ("relu", "gaussian"))
    if kind == "relu":
        if centers is not None:
            raise ValueError('centers are for kind="gaussian"')
        bound = dim**-0.5
        return RandomFeatures(projection=jax.random.uniform(key, (dim, width), state_dtype(dtype), -bound, bound))
    if centers is None:
        raise ValueError('kind="gaussian" needs centers, float [N, D]: rows of the training features')
    centers = checks.rank(checks.floating(centers, "centers"), "centers", 2, layout="[N, D]")
    if centers.shape[1] != dim or centers.shape[0] < width:
        raise ValueError(f"centers must have shape [N >= {width}, {dim}], got {list(centers.shape)}")
    checks.positive(bandwidth, "bandwidth")
    # The smallest of N uniform draws are a random subset: top_k compiles in a tenth of the time of a permutation.
    _, index = jax.lax.top_k(jax.random.uniform(key, centers.shape[:1], jnp.float32), width)
    return RandomFeatures(centers=centers[index], bandwidth=jnp.asarray(bandwidth, accumulation_dtype(centers)))


def random_features(params: RandomFeatures, x: ArrayLike) -> Array:
    r"""Random features of every row.

    .. math:: \operatorname{relu}(x W) \quad \text{or} \quad \exp(-\|x - c_j\|^2 / (2 \sigma^2))

    Args:
      params: from ``random_features_init``.
      x: float [..., D].
    Returns:
      float32 or wider [..., B], >= 0.
    Raises:
      ValueError: x has another width.
      TypeError: x is not floating point.

    >>> print(random_features(RandomFeatures(projection=jnp.array([[1.0, -1.0]])), jnp.array([[2.0]])))
    [[2. 0.]]

    Reference: as ``random_features_init``.
    """
    x = checks.floating(x, "x")
    projection, centers, bandwidth = params
    if projection is not None:
        dim = projection.shape[0]
    elif centers is not None and bandwidth is not None:
        dim = centers.shape[1]
    else:
        raise ValueError("params must come from random_features_init, got neither a projection nor centers")
    if x.ndim < 1 or x.shape[-1] != dim:
        raise ValueError(f"x must have shape [..., {dim}] to match params, got {list(x.shape)}")
    if projection is not None:
        wide = x.astype(accumulation_dtype(x, projection))
        return jax.nn.relu(jnp.matmul(wide, projection, precision="highest"))
    assert centers is not None  # checked above, by way of dim
    assert bandwidth is not None
    return gaussian_kernel(x.reshape(-1, dim), centers, bandwidth=bandwidth).reshape(*x.shape[:-1], centers.shape[0])
