"""The neural tangent kernel of a finite network: inner products of its outputs' gradients by the parameters."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import ApplyFn, Array, ArrayLike, PyTree

__all__ = ["dense_ntk", "empirical_ntk", "ntk_vector_product"]

METHODS = ("jacobian", "products", "blockwise")

# Jacobian rows of B examples: a list with an array [B, K, size] per leaf of the parameters.
Rows = list[Array]


def empirical_ntk(
    apply_fn: ApplyFn,
    params: PyTree,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    output: str | int = "trace",
    method: str = "jacobian",
    block: int = 64,
) -> Array:
    r"""Neural tangent kernel of any network between two sets of inputs.

    .. math:: \Theta_{nm}^{kl} = \Big\langle \frac{\partial f_k(x_n)}{\partial \theta},\,
              \frac{\partial f_l(y_m)}{\partial \theta} \Big\rangle

    Three ways to the same numbers, for P parameters:

    - "jacobian": both Jacobians, then one matrix product; (N + M) K P numbers in memory.
    - "blockwise": the same for ``block`` x ``block`` pairs at a time, 2 ``block`` K P numbers in memory; the Jacobians
      of y are computed N / ``block`` times (for y = None half of that, as the kernel is symmetric).
    - "products": never a Jacobian, but a gradient of one example and its directional derivative at all of x, for
      ``block`` examples of y at a time; ``block`` P numbers and as many forward passes of x in memory.

    Args:
      apply_fn: ``apply_fn(params, x)`` -> [B] or [B, K]; every example on its own (no batch statistics).
      params: pytree of floating-point arrays.
      x: [N, ...], inputs.
      y: [M, ...], inputs; None means y = x.
      output: "trace" (the sum over k = l), "full" (all pairs of outputs), or the index of one output; static.
      method: see above; static.
      block: examples in a block, static, >= 1; "jacobian" has no blocks.
    Returns:
      float32 or wider [N, M]; [N, M, K, K] for "full" (K = 1 where apply_fn gives [B]).
    Raises:
      ValueError: an unknown output or method, an output out of range, block < 1, or apply_fn gives no [B] or [B, K].
      TypeError: params hold something else than floating-point numbers.

    >>> print(empirical_ntk(lambda w, x: x @ w, jnp.ones(2), jnp.array([[1.0, 2.0], [0.0, 3.0]])))
    [[5. 6.]
     [6. 9.]]

    Reference: Jacot et al., "Neural Tangent Kernel: Convergence and Generalization in Neural Networks" (2018); the
    forms are discussed in Novak, Sohl-Dickstein and Schoenholz, "Fast Finite Width Neural Tangent Kernel" (2022).
    Standard.
    """
    x, other = jnp.asarray(x), jnp.asarray(x if y is None else y)
    checks.one_of(method, "method", METHODS)
    checks.size(block, "block")
    single, num_outputs = _one_example(apply_fn, params, x, other, output)
    if method == "products":
        kernel = _products(single, num_outputs, params, x, other, output, block)
    elif method == "blockwise":
        kernel = _blockwise(single, params, x, None if y is None else other, output, block)
    else:
        left = _jacobian(single, params, x)
        kernel = _contract(left, left if y is None else _jacobian(single, params, other), output)
    return kernel


def _one_example(
    apply_fn: ApplyFn, params: PyTree, x: Array, y: Array, output: str | int
) -> tuple[Callable[[PyTree, Array], Array], int]:
    """``single(params, example)`` -> [K] (one output: [1]), and the number of its outputs."""
    for name, value in (("x", x), ("y", y)):
        if value.ndim < 1 or value.shape[1:] != x.shape[1:]:
            raise ValueError(f"{name} must hold examples of shape {list(x.shape[1:])}, got {list(value.shape)}")
    for leaf in jax.tree.leaves(params):
        checks.floating(leaf, "params")
    shape = jax.eval_shape(apply_fn, params, x[:1]).shape
    if len(shape) not in (1, 2) or shape[0] != 1:
        raise ValueError(f"apply_fn must give [B] or [B, K] for B examples, got {list(shape)} for one")
    outputs = math.prod(shape)
    chosen = slice(None)
    if isinstance(output, str):
        checks.one_of(output, "output", ("trace", "full"))
    else:
        index = checks.size(output, "output", 0)
        if index >= outputs:
            raise ValueError(f"output must be below {outputs}, the number of outputs, got {output}")
        chosen, outputs = slice(index, index + 1), 1
    return lambda params, example: apply_fn(params, example[None]).reshape(-1)[chosen], outputs


def _jacobian(single: Callable[[PyTree, Array], Array], params: PyTree, x: Array) -> Rows:
    jacobians = jax.vmap(jax.jacrev(single), in_axes=(None, 0))(params, x)
    return [leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(jacobians)]


def _contract(left: Rows, right: Rows, output: str | int) -> Array:
    """The sum over leaves of products of rows; every leaf for itself, so that nothing is copied together."""
    spec = "nkp,mlp->nmkl" if output == "full" else "nkp,mkp->nm"
    dtype = accumulation_dtype(*left, *right)
    parts = (
        jnp.einsum(spec, a.astype(dtype), b.astype(dtype), precision="highest")
        for a, b in zip(left, right, strict=True)
    )
    return sum(parts, start=jnp.zeros((), dtype))


def _blockwise(
    single: Callable[[PyTree, Array], Array], params: PyTree, x: Array, y: Array | None, output: str | int, block: int
) -> Array:
    rows = _blocks(x, block)
    columns = rows if y is None else _blocks(y, block)
    many, length = len(columns), x.shape[0] if y is None else y.shape[0]
    # Of a symmetric kernel, block i meets the next half of the others in a ring: every pair once.
    partners = many if y is not None else many // 2 + 1

    def row(start: tuple[Array, Array]) -> Array:
        index, some = start
        left = _jacobian(single, params, some)
        met = (index + jnp.arange(partners)) % many if y is None else jnp.arange(many)
        return jax.lax.map(lambda at: _contract(left, _jacobian(single, params, columns[at]), output), met)

    tiles = jax.lax.map(row, (jnp.arange(len(rows)), rows))  # [rows, partners, B, B, ...]
    if y is None:
        i, j = jnp.arange(many)[:, None], jnp.arange(many)
        ahead = (j - i) % many
        upper = tiles[i, jnp.minimum(ahead, partners - 1)]
        mirrored = tiles[j, jnp.minimum((i - j) % many, partners - 1)]
        swapped = jnp.swapaxes(mirrored, 2, 3)
        swapped = jnp.swapaxes(swapped, 4, 5) if output == "full" else swapped
        kept = (ahead < partners).reshape(many, many, *(1,) * (tiles.ndim - 2))
        tiles = jnp.where(kept, upper, swapped)
    whole = jnp.swapaxes(tiles, 1, 2)
    whole = whole.reshape(whole.shape[0] * whole.shape[1], -1, *whole.shape[4:])
    return whole[: x.shape[0], :length]


def _blocks(x: Array, block: int) -> Array:
    """[blocks, block, ...], the last one filled up with copies of the first example."""
    block = max(1, min(block, x.shape[0]))
    missing = -x.shape[0] % block
    filled = jnp.concatenate([x, jnp.broadcast_to(x[:1], (missing, *x.shape[1:]))]) if missing else x
    return filled.reshape(-1, block, *x.shape[1:])


def _products(
    single: Callable[[PyTree, Array], Array],
    num_outputs: int,
    params: PyTree,
    x: Array,
    y: Array,
    output: str | int,
    block: int,
) -> Array:
    def column(example: Array) -> Array:
        _, pull = jax.vjp(lambda p: single(p, example), params)

        def one_output(cotangent: Array) -> Array:
            return _push(single, params, x, pull(cotangent)[0])  # [N, K]

        seeds = jnp.eye(num_outputs, dtype=jax.eval_shape(single, params, example).dtype)
        columns = jax.lax.map(one_output, seeds)  # [K of y, N, K of x]
        return jnp.moveaxis(columns, 0, -1) if output == "full" else jnp.einsum("knk->n", columns)

    return jnp.moveaxis(jax.lax.map(column, y, batch_size=min(block, y.shape[0])), 0, 1)


def _push(single: Callable[[PyTree, Array], Array], params: PyTree, x: Array, tangent: PyTree) -> Array:
    """Derivatives of all outputs at x along a direction in the parameters, in the accumulation dtype."""
    forward = jax.vmap(single, in_axes=(None, 0))
    moved = jax.jvp(lambda p: forward(p, x), (params,), (tangent,))[1]
    return moved.astype(accumulation_dtype(moved))


def ntk_vector_product(
    apply_fn: ApplyFn, params: PyTree, vector: ArrayLike, x: ArrayLike, y: ArrayLike | None = None
) -> Array:
    r"""The neural tangent kernel times a vector, at the cost of a backward and a forward pass.

    .. math:: (\Theta v)_{nk} = \sum_{m, l} \Theta_{nm}^{kl} \, v_{ml} = J(x) \, \big( J(y)^\top v \big)

    Neither the kernel nor a Jacobian is formed: what iterative solvers need.

    Args:
      apply_fn: ``apply_fn(params, x)`` -> [B] or [B, K].
      params: pytree of floating-point arrays.
      vector: float, shaped like ``apply_fn(params, y)``.
      x: [N, ...], inputs.
      y: [M, ...], inputs; None means y = x.
    Returns:
      float32 or wider, shaped like ``apply_fn(params, x)``.
    Raises:
      ValueError: vector is not shaped like the outputs at y.
      TypeError: params or vector are not floating point.

    >>> print(ntk_vector_product(lambda w, x: x @ w, jnp.ones(2), jnp.ones(2), jnp.array([[1.0, 2.0], [0.0, 3.0]])))
    [11. 15.]

    Reference: as ``empirical_ntk``.
    """
    vector = checks.floating(vector, "vector")
    for leaf in jax.tree.leaves(params):
        checks.floating(leaf, "params")
    values, pull = jax.vjp(lambda p: apply_fn(p, jnp.asarray(x if y is None else y)), params)
    if vector.shape != values.shape:
        raise ValueError(f"vector must have the shape of the outputs, {list(values.shape)}, got {list(vector.shape)}")
    tangent = pull(vector.astype(values.dtype))[0]
    moved = jax.jvp(lambda p: apply_fn(p, jnp.asarray(x)), (params,), (tangent,))[1]
    return moved.astype(accumulation_dtype(moved))


def dense_ntk(
    layers: Sequence[tuple[ArrayLike, ArrayLike | None]],
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    activation: Callable[[Array], Array] = jax.nn.relu,
    output: str | int = "trace",
) -> Array:
    r"""Neural tangent kernel of a fully connected network, layer by layer.

    .. math:: \Theta_{nm}^{kl} = \sum_{i} \big( \langle a_i(x_n), a_i(y_m) \rangle + [\text{bias}] \big) \,
              \langle b_i^k(x_n), b_i^l(y_m) \rangle

    with a the input of a layer and b the derivative of an output by what the layer gives: the gradient of a kernel is
    the outer product of the two. No gradient is ever formed, so time and memory do not depend on the product of widths.

    Args:
      layers: a (kernel [in, out], bias [out] or None) per layer, from the input to the output.
      x: float [N, D].
      y: float [M, D]; None means y = x.
      activation: elementwise, after every layer but the last; static.
      output: "trace" (the sum over k = l), "full" (all pairs of outputs), or the index of one output; static.
    Returns:
      float32 or wider [N, M]; [N, M, K, K] for "full". What ``empirical_ntk`` gives for the same network.
    Raises:
      ValueError: no layer, widths that do not agree, an unknown output or one out of range.
      TypeError: a kernel, a bias, x or y is not floating point.

    >>> print(dense_ntk([(jnp.ones((2, 1)), None)], jnp.array([[1.0, 2.0], [0.0, 3.0]])))
    [[5. 6.]
     [6. 9.]]

    Reference: as ``empirical_ntk``; the outer product of inputs and signals is standard.
    """
    weights = _check_layers(layers)
    num_outputs = weights[-1][0].shape[1]
    if isinstance(output, str):
        checks.one_of(output, "output", ("trace", "full"))
    elif checks.size(output, "output", 0) >= num_outputs:
        raise ValueError(f"output must be below {num_outputs}, the number of outputs, got {output}")
    sides: list[list[tuple[Array, Array]]] = []
    for name, rows in (("x", x), ("y", y)):
        if rows is None:
            sides.append(sides[0])
            continue
        array = checks.rank(checks.floating(rows, name), name, 2, layout="[N, D]")
        if array.shape[1] != weights[0][0].shape[0]:
            raise ValueError(f"{name} must have width {weights[0][0].shape[0]}, got {list(array.shape)}")
        sides.append(_inputs_and_signals(weights, array, activation, output))
    kernel: Array = jnp.zeros(())
    for (_, bias), (a, b), (c, d) in zip(weights, *sides, strict=True):
        dtype = accumulation_dtype(a, b, c, d)
        a, b, c, d = (part.astype(dtype) for part in (a, b, c, d))
        inner = jnp.matmul(a, c.T, precision="highest") + (0.0 if bias is None else 1.0)
        if output == "full":
            kernel = kernel + inner[..., None, None] * jnp.einsum("knd,lmd->nmkl", b, d, precision="highest")
        else:
            kernel = kernel + inner * jnp.einsum("knd,kmd->nm", b, d, precision="highest")
    return kernel


def _check_layers(layers: Sequence[tuple[ArrayLike, ArrayLike | None]]) -> list[tuple[Array, Array | None]]:
    if not layers:
        raise ValueError("layers must hold at least one (kernel, bias)")
    checked: list[tuple[Array, Array | None]] = []
    for place, (kernel, bias) in enumerate(layers):
        name = f"layers[{place}]"
        kernel = checks.rank(checks.floating(kernel, f"{name} kernel"), f"{name} kernel", 2, layout="[in, out]")
        if checked and kernel.shape[0] != checked[-1][0].shape[1]:
            raise ValueError(f"{name} must have {checked[-1][0].shape[1]} inputs, got a kernel {list(kernel.shape)}")
        offset = None if bias is None else checks.floating(bias, f"{name} bias")
        if offset is not None and offset.shape != kernel.shape[1:]:
            raise ValueError(f"{name} must have a bias [{kernel.shape[1]}], got {list(offset.shape)}")
        checked.append((kernel, offset))
    return checked


def _inputs_and_signals(
    weights: list[tuple[Array, Array | None]], x: Array, activation: Callable[[Array], Array], output: str | int
) -> list[tuple[Array, Array]]:
    """Per layer its inputs [N, in], and the derivatives [K, N, out] of the outputs by what it gives."""

    def forward(shifts: list[Array]) -> tuple[Array, list[Array]]:
        inputs, value = [], x
        for place, ((kernel, bias), shift) in enumerate(zip(weights, shifts, strict=True)):
            inputs.append(value)
            value = jnp.matmul(value, kernel) + (0.0 if bias is None else bias) + shift
            value = activation(value) if place < len(weights) - 1 else value
        return value, inputs

    zeros = [jnp.zeros((x.shape[0], kernel.shape[1]), jnp.result_type(x, kernel)) for kernel, _ in weights]
    values, pull, inputs = jax.vjp(forward, zeros, has_aux=True)
    chosen = jnp.eye(values.shape[1], dtype=values.dtype)
    chosen = chosen if isinstance(output, str) else chosen[output : output + 1]
    signals = jax.vmap(lambda direction: pull(jnp.broadcast_to(direction, values.shape))[0])(chosen)
    return list(zip(inputs, signals, strict=True))
