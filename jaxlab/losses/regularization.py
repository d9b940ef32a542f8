"""Penalties that keep parameters, or what a network makes of its input, near where they were."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["ewc_penalty", "unconstrained_feature_mse"]


def ewc_penalty(params: PyTree, anchor: PyTree, fisher: PyTree) -> Array:
    r"""Elastic weight consolidation: squared distance from old parameters, each weighted by its importance.

    .. math:: \sum_i F_i\, (\theta_i - \theta^*_i)^2

    There is no factor 1/2: the Hessian is 2 F.

    Args:
      params: pytree of floats, theta.
      anchor: pytree of the same structure and shapes, the parameters to stay near; no gradient.
      fisher: pytree of the same structure and shapes (or leaves that broadcast), >= 0, for instance of
        ``optim.fisher_diagonal``; no gradient.
    Returns:
      float32 or wider scalar; 0 at the anchor.
    Raises:
      ValueError: structures or shapes differ.
      TypeError: a leaf is not floating point.

    >>> params, anchor, fisher = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.zeros(2)}, {"w": jnp.array([3.0, 0.5])}
    >>> print(ewc_penalty(params, anchor, fisher))
    5.0

    Reference: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks" (2017), with 1/2; without it
    as in Jeon et al., "Improving Diversity in Zero-Shot GAN Adaptation with Semantic Variations" (2023), paper text.
    """
    for tree, name in ((anchor, "anchor"), (fisher, "fisher")):
        if str(jax.tree.structure(tree)) != str(jax.tree.structure(params)):
            raise ValueError(f"{name} must have the structure of params, got {jax.tree.structure(tree)}")
    total = jnp.zeros(())
    leaves = zip(jax.tree.leaves_with_path(params), jax.tree.leaves(anchor), jax.tree.leaves(fisher), strict=True)
    for (path, value), old, weight in leaves:
        where = jax.tree_util.keystr(path)
        value, old, weight = (
            checks.floating(leaf, f"{name}{where}")
            for leaf, name in ((value, "params"), (old, "anchor"), (weight, "fisher"))
        )
        checks.same_shape(value, f"params{where}", old, f"anchor{where}")
        checks.broadcasts_to(weight, f"fisher{where}", value.shape)
        dtype = accumulation_dtype(value, old, weight)
        weight, old = (jax.lax.stop_gradient(leaf.astype(dtype)) for leaf in (weight, old))
        total = total + jnp.sum(weight * (value.astype(dtype) - old) ** 2)
    return total


def unconstrained_feature_mse(
    features: ArrayLike,
    weights: Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    weight_decay: ArrayLike,
    feature_decay: ArrayLike,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Squared error of linear layers on features that are parameters themselves, with decay of both (an objective).

    .. math:: \frac{1}{2N} \|H W_1 \cdots W_M - Y\|_F^2 + \frac{\lambda_W}{2} \sum_j \|W_j\|_F^2
              + \frac{\lambda_H}{2} \|H\|_F^2

    with one-hot Y: the model of what the last layers of a network do that can fit anything. Its minimum is
    ``analytic.deep_linear_collapse_solution``.

    Args:
      features: float [N, D], H, a row per example.
      weights: the kernels [in, out] of the layers in order of use, from D to K; one or more.
      labels: int [N], in [0, K); outside gives NaN.
      weight_decay: lambda_W >= 0.
      feature_decay: lambda_H >= 0. The features are summed, not averaged: a batch of a network's features takes
        lambda_H times the number of all examples, divided by that of the batch.
      where: bool [N], True where an example counts, in N too.
      axis_name: the mapped axis over which the examples are split.
    Returns:
      float32 or wider scalar; the decay of the weights alone where nothing counts.
    Raises:
      ValueError: shapes do not agree, or no weights.
      TypeError: features or weights are not floating point, labels not integers, or where not boolean.

    >>> features, labels = jnp.eye(2), jnp.array([0, 1])
    >>> print(unconstrained_feature_mse(features, [jnp.eye(2)], labels, weight_decay=0.25, feature_decay=0.5))
    0.75

    Reference: Dang et al., "Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data" (2023), paper
    text; the paper's matrices are the transposes of these.
    """
    features = checks.rank(checks.floating(features, "features"), "features", 2, layout="[N, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.batch_match(features, "features", labels, "labels")
    layers = [checks.rank(checks.floating(w, "weights"), "weights", 2, layout="[in, out]") for w in weights]
    widths = [features.shape[1], *(size for layer in layers for size in layer.shape)]
    if not layers or widths[:-1:2] != widths[1::2]:
        raise ValueError(f"weights must be kernels [in, out] that lead on from {features.shape[1]}, got {widths[1:]}")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(features, *layers)
    wide = jnp.where(counts[:, None], features.astype(dtype), 0.0)
    layers = [layer.astype(dtype) for layer in layers]
    outputs = wide
    for layer in layers:
        outputs = jnp.matmul(outputs, layer, precision="highest")
    known = (labels >= 0) & (labels < outputs.shape[1])
    errors = outputs - jnp.where(known[:, None], jax.nn.one_hot(labels, outputs.shape[1], dtype=dtype), jnp.nan)
    squared = jnp.sum(jnp.where(counts[:, None], errors, 0.0) ** 2)
    sums = jnp.stack([squared, jnp.sum(wide**2), jnp.sum(counts).astype(dtype)])
    squared, size, number = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    decay = sum(jnp.sum(layer**2) for layer in layers)
    return 0.5 * (squared / jnp.maximum(number, 1) + weight_decay * decay + feature_decay * size)
