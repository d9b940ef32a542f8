"""Networks that share the weights of one super-network: taking them out, sampling them, narrowing the space."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import segment_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "mask_subnetwork",
    "operator_scores",
    "partition_space",
    "sandwich_sample",
    "shared_stem_ensemble",
    "shrink",
    "slice_subnetwork",
]


def slice_subnetwork(params: PyTree, dims: PyTree) -> PyTree:
    r"""The sub-network that owns the leading part of every weight, as smaller arrays.

    .. math:: W' = W[:d_1, :d_2, \dots]

    Slices are nested: slicing to a and then to b is slicing to the smaller of the two. Every choice of sizes is
    another set of shapes, so under ``jit`` another program; ``mask_subnetwork`` serves all of them with one.

    Args:
      params: pytree of arrays.
      dims: the same tree with a tuple for every array: sizes of its leading axes, static integers >= 0. None keeps an
        axis whole, as do axes that the tuple does not reach; so does a size beyond the axis.
    Returns:
      params with every array cut.
    Raises:
      ValueError: dims has another structure, a size below 0, or more sizes than an array has axes.
      TypeError: a size is not a static integer.

    >>> params = {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)}
    >>> small = slice_subnetwork(params, {"kernel": (2, 3), "bias": (3,)})
    >>> print(small["kernel"].shape, small["bias"].shape)
    (2, 3) (3,)

    Reference: Xu et al., "Few-shot Task-agnostic Neural Architecture Search for Distilling Large Language Models"
    (2022), recalled; the leading slice is that of Cai et al., "Once-for-All" (2020).
    """

    def cut(leaf: ArrayLike, sizes: Any) -> Array:
        array, sizes = _leaf(leaf, sizes)
        bounds = (None if size is None else checks.size(size, "dims", 0) for size in sizes)
        return array[tuple(slice(bound) for bound in bounds)]

    return _with_dims(cut, params, dims)


def mask_subnetwork(params: PyTree, dims: PyTree) -> PyTree:
    r"""The same sub-network in the shapes of the whole: what it does not own is 0.

    .. math:: W' = W \odot [i_1 < d_1]\,[i_2 < d_2] \cdots

    With units of zero weight in and out a masked network computes what the sliced one does, as long as its normal
    layers average over the units that exist (``jax.nn.standardize(x, where=jnp.arange(D) < d)``) and a layer that is
    left out adds nothing. Gradients of what is masked are exactly 0.

    Args:
      params: pytree of arrays.
      dims: as in ``slice_subnetwork``; a size may be a traced integer, and ``vmap`` over sizes gives many sub-networks.
    Returns:
      params with the same shapes and dtypes.
    Raises:
      ValueError: dims has another structure, more sizes than an array has axes, or a static size below 0.
      TypeError: a size is not an integer.

    >>> print(mask_subnetwork({"bias": jnp.ones(4)}, {"bias": (3,)})["bias"])
    [1. 1. 1. 0.]

    Reference: as in ``slice_subnetwork``, recalled.
    """

    def hide(leaf: ArrayLike, sizes: Any) -> Array:
        array, sizes = _leaf(leaf, sizes)
        owned = jnp.ones((), bool)
        for axis, size in enumerate(sizes):
            if size is not None:
                if checks.is_static(size):
                    checks.size(size, "dims", 0)
                inside = jnp.arange(array.shape[axis]) < checks.rank(checks.integer(size, "dims"), "dims", 0)
                owned &= inside.reshape(-1, *(1,) * (array.ndim - axis - 1))
        # A product would turn what is not finite outside the sub-network into NaN inside.
        return jnp.where(owned, array, jnp.zeros((), array.dtype))

    return _with_dims(hide, params, dims)


def partition_space(costs: ArrayLike, k: int) -> Array:
    r"""Sub-spaces of similar cost: architectures sorted by cost, in contiguous groups of equal size (to within one).

    .. math:: g_i = \lfloor k \cdot \mathrm{rank}(c_i) / n \rfloor

    Args:
      costs: float or int [n], such as numbers of parameters; equal costs are taken in order.
      k: number of groups, static, 1 <= k <= n.
    Returns:
      int32 [n] in [0, k), 0 for the cheapest. NaN counts as the highest cost.
    Raises:
      ValueError: costs are not [n], or k is out of range.

    >>> print(partition_space(jnp.array([9.0, 1.0, 5.0, 2.0]), 2))
    [1 0 1 0]

    Reference: Xu et al., "Few-shot Task-agnostic Neural Architecture Search for Distilling Large Language Models"
    (2022), recalled; the ranges of their three sub-spaces are the user's to choose.
    """
    costs = checks.rank(costs, "costs", 1, layout="[n]")
    count = costs.shape[0]
    if checks.size(k, "k") > count:
        raise ValueError(f"k must be at most the {count} architectures in costs, got {k}")
    order = jnp.argsort(costs, stable=True)
    return jnp.zeros(count, jnp.int32).at[order].set(jnp.arange(count, dtype=jnp.int32) * k // count)


def sandwich_sample(key: Array, costs: ArrayLike, *, num_random: int = 2, where: ArrayLike | None = None) -> Array:
    r"""Architectures for one step of a super-network: the largest, the smallest, and random ones.

    .. math:: (\arg\max_i c_i,\; \arg\min_i c_i,\; i_1, \dots, i_r), \quad i_j \sim U

    Their gradients are added. The random ones are independent, so one may come twice.

    Args:
      key: PRNG key.
      costs: float or int [n], of every architecture of the space.
      num_random: r, static, >= 0.
      where: bool [n], True for the architectures of a sub-space, such as ``partition_space(costs, 3) == 0``.
    Returns:
      int32 [2 + num_random], numbers of architectures; n (out of range) everywhere if the sub-space is empty.
    Raises:
      ValueError: shapes do not agree, n is 0, or num_random is below 0.
      TypeError: where is not boolean.

    >>> print(sandwich_sample(jax.random.key(0), jnp.array([3.0, 1.0, 2.0]), num_random=0))
    [0 1]

    Reference: Xu et al., as in ``partition_space``, recalled; the rule is that of Yu and Huang, "Universally Slimmable
    Networks and Improved Training Techniques" (2019).
    """
    costs = checks.rank(costs, "costs", 1, layout="[n]")
    count = checks.size(costs.shape[0], "the number of architectures in costs")
    mask = checks.mask(where, "where", costs.shape)
    mask = jnp.ones(count, bool) if mask is None else mask
    checks.size(num_random, "num_random", 0)
    wide = costs.astype(jnp.promote_types(costs.dtype, jnp.float32))
    ends = jnp.stack([jnp.argmax(jnp.where(mask, wide, -jnp.inf)), jnp.argmin(jnp.where(mask, wide, jnp.inf))])
    drawn = jax.random.categorical(key, jnp.where(mask, 0.0, -jnp.inf), shape=(num_random,))
    return jnp.where(jnp.any(mask), jnp.concatenate([ends, drawn]), count).astype(jnp.int32)


def operator_scores(
    path_ops: ArrayLike,
    values: ArrayLike,
    pair_div: ArrayLike,
    *,
    num_ops: int,
    weight: ArrayLike = 1.0,
    min_count: int = 1,
) -> Array:
    r"""What every operator of a super-network is worth: how good, and how unlike the others, the paths through it are.

    .. math:: s_{lo} = \mathop{\mathrm{mean}}_{p:\, o_{pl} = o} \Big( v_p + \frac{w}{P - 1} \sum_{q \ne p} d_{pq} \Big)

    Args:
      path_ops: int [P, L], the operator that each sampled path takes in each layer; outside [0, num_ops) no operator.
      values: float [P], how good a path is, such as its accuracy on validation rows.
      pair_div: float [P, P], how far two paths lie apart, such as ``metrics.pairwise_disagreement``; its diagonal is
        not read.
      num_ops: operators per layer, static.
      weight: w >= 0, of diversity against value; 0 is potential alone.
      min_count: paths that an operator needs to be judged, static, >= 1.
    Returns:
      float32 or wider [L, num_ops], larger is better; -inf for an operator with fewer paths. ``shrink`` drops those
      first: sample every operator that is alive.
    Raises:
      ValueError: shapes do not agree, or num_ops, min_count or a static weight is out of range.
      TypeError: path_ops are not integers, or values or pair_div are not floating point.

    >>> paths, apart = jnp.array([[0], [0], [1]]), jnp.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]])
    >>> print(operator_scores(paths, jnp.array([0.5, 0.7, 0.6]), apart, num_ops=3, weight=0.1))
    [[0.775 0.85   -inf]]

    Reference: Chen et al., "One-Shot Neural Ensemble Architecture Search by Diversity-Guided Search Space Shrinking"
    (2021), inferred: their search code is not public, and weight and minimum count are ours.
    """
    path_ops = checks.rank(checks.integer(path_ops, "path_ops"), "path_ops", 2, layout="[P, L]")
    values = checks.rank(checks.floating(values, "values"), "values", 1, layout="[P]")
    pair_div = checks.floating(pair_div, "pair_div")
    count = path_ops.shape[0]
    if values.shape != (count,) or pair_div.shape != (count, count):
        raise ValueError(
            f"values and pair_div must have shapes [{count}] and [{count}, {count}] for the paths in path_ops, got "
            f"{list(values.shape)} and {list(pair_div.shape)}"
        )
    checks.size(num_ops, "num_ops")
    checks.size(min_count, "min_count")
    checks.at_least(weight, "weight", 0.0)
    dtype = accumulation_dtype(values, pair_div)
    others = jnp.where(jnp.eye(count, dtype=bool), 0.0, pair_div.astype(dtype))
    merit = values.astype(dtype) + weight * jnp.sum(others, axis=1) / max(count - 1, 1)

    def layer(ops: Array) -> Array:
        mean, members = segment_mean(merit, ops, num_ops)
        return jnp.where(members >= min_count, mean, -jnp.inf)

    return jax.vmap(layer, in_axes=1)(path_ops)


def shrink(scores: ArrayLike, alive: ArrayLike, *, drop: int) -> Array:
    r"""The search space without its worst operators, of which every layer keeps at least one.

    .. math:: \text{repeat: drop } \arg\min \{ s_{lo} : (l, o) \text{ alive}, \text{ not the last of its layer} \}

    Args:
      scores: float [L, O], larger is better; -inf goes first, NaN last.
      alive: bool [L, O], the operators there are.
      drop: how many operators go, static, >= 0.
    Returns:
      bool [L, O]: ``drop`` fewer are alive, or one per layer if there are not so many. Of equal scores the lower layer
      goes first, then the lower operator. A layer that is empty stays empty.
    Raises:
      ValueError: shapes differ, or drop is below 0.
      TypeError: scores are not floating point, or alive is not boolean.

    >>> print(shrink(jnp.array([[0.1, 0.9], [0.2, 0.3]]), jnp.ones((2, 2), bool), drop=2))
    [[False  True]
     [False  True]]

    Reference: Chen et al., as in ``operator_scores``, inferred.
    """
    scores = checks.rank(checks.floating(scores, "scores"), "scores", 2, layout="[L, O]")
    living = checks.mask(alive, "alive", scores.shape)
    if living is None:
        raise TypeError("alive must be a boolean array, got None")
    checks.size(drop, "drop", 0)
    # Ranks are finite, so that whoever may not go can stand behind all of them.
    order = jnp.argsort(scores.reshape(-1), stable=True)
    rank = jnp.zeros(order.size, jnp.int32).at[order].set(jnp.arange(order.size, dtype=jnp.int32)).reshape(scores.shape)

    def one(_: int, living: Array) -> Array:
        may_go = living & (jnp.sum(living, axis=1, keepdims=True) > 1)
        worst = jnp.min(jnp.where(may_go, rank, rank.size))
        return living & (rank != worst)

    return jax.lax.fori_loop(0, drop, one, living)


def shared_stem_ensemble(
    apply_stem: Callable[[Array, Array, Array], Array],
    apply_branch: Callable[[Array, Array, Array], Array],
    paths: ArrayLike,
    x: ArrayLike,
    *,
    split: ArrayLike,
) -> Array:
    r"""An ensemble of paths that share their first layers: log of the mean probabilities of its members.

    .. math:: \log \frac1M \sum_m \mathrm{softmax}\big(b_m(h)\big), \qquad h = \mathrm{stem}(x)

    The stem runs once, along the first path. By Jensen's inequality the negative log-likelihood of the ensemble is at
    most the mean of its members'.

    Args:
      apply_stem: ``apply_stem(path, x, split) -> h``, the layers before ``split``.
      apply_branch: ``apply_branch(path, h, split) -> logits [..., K]``, the layers from ``split`` on.
      paths: int [M, L], the operator of every member in every layer.
      x: [...], the input.
      split: int scalar in [0, L]; it may be traced if the two functions mask layers instead of skipping them.
    Returns:
      float32 or wider [..., K], log-probabilities.
    Raises:
      ValueError: paths are not [M, L] with M >= 1, or split is no scalar.
      TypeError: paths or split are not integers.

    >>> branch = lambda path, h, split: h[:, None] * jnp.array([0.0, 1.0]) * path[0]
    >>> out = shared_stem_ensemble(lambda path, x, split: x, branch, jnp.array([[0], [1]]), jnp.array([0.0]), split=0)
    >>> print(jnp.exp(out))
    [[0.5 0.5]]

    Reference: Chen et al., as in ``operator_scores``, recalled.
    """
    paths = checks.rank(checks.integer(paths, "paths"), "paths", 2, layout="[M, L]")
    checks.size(paths.shape[0], "the number of members in paths")
    split = checks.rank(checks.integer(split, "split"), "split", 0, layout="[]")
    hidden = apply_stem(paths[0], jnp.asarray(x), split)
    logits = checks.floating(jax.vmap(lambda path: apply_branch(path, hidden, split))(paths), "logits")
    log_probs = jax.nn.log_softmax(logits.astype(accumulation_dtype(logits)), axis=-1)
    return jax.nn.logmeanexp(log_probs, axis=0)


def _leaf(leaf: ArrayLike, sizes: Any) -> tuple[Array, tuple[Any, ...]]:
    array = jnp.asarray(leaf)
    if not isinstance(sizes, tuple) or len(sizes) > array.ndim:
        raise ValueError(
            f"dims must hold a tuple of at most {array.ndim} sizes for an array of shape {list(array.shape)}, got "
            f"{sizes!r}"
        )
    return array, sizes


def _with_dims(fn: Callable[[ArrayLike, Any], Array], params: PyTree, dims: PyTree) -> PyTree:
    leaves, treedef = jax.tree.flatten(params)
    structure: Any = treedef
    try:
        sizes = structure.flatten_up_to(dims)
    except (ValueError, TypeError) as error:
        raise ValueError(f"dims must have the structure of params, {structure}: {error}") from error
    return structure.unflatten([fn(leaf, size) for leaf, size in zip(leaves, sizes, strict=True)])
