"""What the weights of an untrained network matter to a loss, or to the flow from its input to its output."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks, trees
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import ApplyFn, Array, ArrayLike, PyTree

__all__ = ["log_synflow", "saliency_scores"]

KINDS = ("grad_norm", "plain", "snip", "grasp", "fisher")
Select = Callable[[str, Any], bool]


def _is_weight(path: str, leaf: Any) -> bool:
    return leaf.ndim >= 2


def selected(params: PyTree, select: Select | None) -> list[bool]:
    """Which leaves of params count, in order."""
    return jax.tree.leaves(trees.path_mask(params, _is_weight if select is None else select))


def saliency_scores(
    apply_fn: ApplyFn,
    params: PyTree,
    x: ArrayLike,
    labels: ArrayLike,
    *,
    kinds: Sequence[str] = ("grad_norm", "plain", "snip", "grasp"),
    tap_fn: Callable[..., tuple[Array, PyTree]] | None = None,
    select: Select | None = None,
) -> dict[str, Array]:
    r"""How much the weights matter to the loss of one batch, from one gradient and one product with the Hessian.

    .. math::
        \text{grad\_norm} = \sum_l \|g_l\|, \quad \text{plain} = \sum W \circ g, \quad
        \text{snip} = \sum |W \circ g|, \quad \text{grasp} = -\sum W \circ H g

    .. math:: \text{fisher} = \tfrac12 \sum_{l, c} \frac1N \sum_n \Big(\sum_{\text{places}} a_{nc} \,
              \frac{\partial L}{\partial a_{nc}}\Big)^2

    with g and H the gradient and the Hessian of the mean cross entropy L, and a the outputs of the layers. Larger is
    better, though not for every search space: compare the signs.

    Args:
      apply_fn: ``apply_fn(params, x) -> logits [N, K]``.
      params: pytree of floats.
      x: float [N, ...].
      labels: int [N] in [0, K); outside gives NaN.
      kinds: static, of grad_norm, plain, snip, grasp, fisher.
      tap_fn: for "fisher": ``tap_fn(params, x, offsets) -> (logits, outputs)`` with a pytree of layer outputs
        [N, ..., C] before their activation, to each of which its leaf of ``offsets`` has been added; None adds nothing.
      select: ``select(path, leaf) -> bool``, which leaves are weights, as in ``trees.path_mask``; None takes those of
        two or more axes. A leaf counts as a layer.
    Returns:
      A dict of float32 or wider [] by kind.
    Raises:
      ValueError: an unknown kind or none, "fisher" without tap_fn, no leaf is selected, or x and labels do not agree.
      TypeError: x or a selected leaf is not floating point, or labels are not integers.

    >>> x, labels = jnp.array([[1.0], [2.0]]), jnp.array([0, 1])
    >>> found = saliency_scores(lambda w, x: x @ w, jnp.array([[2.0, -2.0]]), x, labels)
    >>> {name: round(float(value), 3) for name, value in found.items()}
    {'grad_norm': 1.401, 'plain': 3.963, 'snip': 3.963, 'grasp': -0.075}

    Reference: Lee et al., "SNIP" (2019); Wang et al., "Picking Winning Tickets Before Training by Preserving Gradient
    Flow" (2020), with the opposite sign; Turner et al., "BlockSwap: Fisher-guided Block Substitution" (2020). Checked
    against the code of He et al., "Robustifying and Boosting Training-Free Neural Architecture Search" (2024).
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds must name some of {', '.join(KINDS)}, got {', '.join(unknown) or 'none'}")
    if "fisher" in kinds and tap_fn is None:
        raise ValueError("kinds holds 'fisher', which needs tap_fn")
    x, labels = checks.floating(x, "x"), checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.batch_match(x, "x", labels, "labels")
    chosen = selected(params, select)
    if not any(chosen):
        raise ValueError("select must choose at least one leaf of params")
    leaves, tree = jax.tree.flatten(params)
    weights = [checks.floating(leaf, "params") for leaf, is_weight in zip(leaves, chosen, strict=True) if is_weight]

    def rebuilt(weights: list[Array]) -> PyTree:
        new = iter(weights)
        return jax.tree.unflatten(tree, [next(new) if c else leaf for leaf, c in zip(leaves, chosen, strict=True)])

    def loss(logits: Array) -> Array:
        known = (labels >= 0) & (labels < logits.shape[-1])
        wide = logits.astype(accumulation_dtype(logits))
        rows = optax.losses.softmax_cross_entropy_with_integer_labels(wide, jnp.where(known, labels, 0))
        return jnp.mean(rows * jnp.where(known, 1.0, jnp.nan))

    plain_gradient = jax.grad(lambda weights: loss(apply_fn(rebuilt(weights), x)))
    found: dict[str, Array] = {}
    if "fisher" in kinds:
        assert tap_fn is not None
        found["fisher"], gradient = _fisher(tap_fn, rebuilt, weights, x, loss)
    else:
        gradient = plain_gradient(weights)
    wide_weights, wide_gradient = (_wide(some) for some in (weights, gradient))
    products = [w * g for w, g in zip(wide_weights, wide_gradient, strict=True)]
    if "grad_norm" in kinds:
        found["grad_norm"] = _total(safe_sqrt(jnp.sum(g**2)) for g in wide_gradient)
    if "plain" in kinds:
        found["plain"] = _total(map(jnp.sum, products))
    if "snip" in kinds:
        found["snip"] = _total(jnp.sum(jnp.abs(product)) for product in products)
    if "grasp" in kinds:
        _, curved = jax.jvp(plain_gradient, (weights,), (gradient,))
        found["grasp"] = -_total(jnp.sum(w * h) for w, h in zip(wide_weights, _wide(curved), strict=True))
    return {kind: found[kind] for kind in kinds}


def _fisher(
    tap_fn: Callable[..., tuple[Array, PyTree]],
    rebuilt: Callable[[list[Array]], PyTree],
    weights: list[Array],
    x: Array,
    loss: Callable[[Array], Array],
) -> tuple[Array, list[Array]]:
    """The Fisher score, and the gradient by the weights from the same backward pass."""
    shapes = jax.eval_shape(lambda: tap_fn(rebuilt(weights), x, None)[1])
    offsets = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def tapped(weights: list[Array], offsets: PyTree) -> tuple[Array, PyTree]:
        logits, outputs = tap_fn(rebuilt(weights), x, offsets)
        return loss(logits), outputs

    (gradient, by_output), outputs = jax.grad(tapped, argnums=(0, 1), has_aux=True)(weights, offsets)

    def layer(output: Array, slope: Array) -> Array:
        effect = jnp.sum(output * slope, axis=tuple(range(1, output.ndim - 1)))  # [N, C]
        return 0.5 * jnp.sum(jnp.mean(effect**2, axis=0))

    pairs = zip(*(_wide(jax.tree.leaves(some)) for some in (outputs, by_output)), strict=True)
    return _total(layer(*pair) for pair in pairs), gradient


def _wide(leaves: Sequence[Array]) -> list[Array]:
    return [leaf.astype(accumulation_dtype(leaf)) for leaf in leaves]


def _total(numbers: Any) -> Array:
    return jnp.sum(jnp.stack(list(numbers)))


def log_synflow(
    apply_fn: ApplyFn | Sequence[ApplyFn],
    params: PyTree,
    input_shape: Sequence[int],
    *,
    select: Select | None = None,
) -> Array:
    r"""Logarithm of SynFlow: all paths from the input to the output, each by the product of its weights' sizes.

    .. math:: S = \log \sum |W \circ \partial R / \partial W|, \quad R = \sum_c f_c(1; |\theta|)

    Larger is better. No data, no labels. SynFlow itself reaches 1e38 in networks of usual depth, so give a deep network
    by its stages: between them the values are divided by their largest and its logarithm is kept.

    Args:
      apply_fn: ``apply_fn(params, x) -> [1, ...]``, or a sequence of stages ``stage(params, state) -> state`` from x to
        the outputs, where a state is an array or a pytree of them. All stages but the first must scale with their
        state (no biases but zeros; normal layers left out), or the result is not that of the single function.
      params: pytree of floats; their absolute values are taken.
      input_shape: static, of one example.
      select: which leaves are weights, as in ``saliency_scores``.
    Returns:
      float32 or wider []; -inf where no path is open.
    Raises:
      ValueError: no stage, or no leaf is selected.

    >>> layers = [lambda p, x: x @ p["a"], lambda p, x: jax.nn.relu(x) @ p["b"]]
    >>> params = {"a": -jnp.ones((3, 4)), "b": jnp.ones((4, 2))}  # 24 paths, each seen by two layers
    >>> print(jnp.exp(log_synflow(layers, params, (3,))).round(1))
    48.0

    Reference: Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow" (2020);
    checked against the code of He et al., "Robustifying and Boosting Training-Free Neural Architecture Search" (2024),
    which works in float64 instead.
    """
    stages = [apply_fn] if callable(apply_fn) else list(apply_fn)
    if not stages:
        raise ValueError("apply_fn must be a function or a sequence of at least one stage, got none")
    chosen = selected(params, select)
    if not any(chosen):
        raise ValueError("select must choose at least one leaf of params")
    sizes = jax.tree.map(lambda leaf: jnp.abs(leaf.astype(accumulation_dtype(jnp.asarray(leaf)))), params)
    dtype = accumulation_dtype(*jax.tree.leaves(sizes))

    def flow(sizes: PyTree) -> tuple[Array, Array]:
        """The summed output divided by exp of the second number."""
        state, log_scale = jnp.ones((1, *input_shape), dtype), jnp.zeros((), dtype)
        for stage in stages:
            state = stage(sizes, state)
            largest = jax.lax.stop_gradient(_total([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(state)]))
            largest = jnp.where(largest > 0, largest, 1.0)
            state, log_scale = jax.tree.map(lambda leaf: leaf / largest, state), log_scale + jnp.log(largest)  # noqa: B023
        return _total([jnp.sum(leaf) for leaf in jax.tree.leaves(state)]), log_scale

    gradient, log_scale = jax.grad(flow, has_aux=True)(sizes)
    pairs = zip(jax.tree.leaves(sizes), jax.tree.leaves(gradient), chosen, strict=True)
    return (
        jnp.log(_total([jnp.sum(jnp.abs(size * slope)) for size, slope, is_weight in pairs if is_weight])) + log_scale
    )
