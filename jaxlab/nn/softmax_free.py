"""Attention without a softmax, linear in the number of tokens: a Gaussian kernel, landmarks, and a Newton inverse."""

import functools

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import gaussian_kernel
from jaxlab.nn.layers import dense, layer_norm
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["newton_inverse", "softmax_free_attention", "softmax_free_block", "softmax_free_block_init"]

EPSILON = 1e-5  # of the normal layers


def newton_inverse(matrix: ArrayLike, *, num_iters: int = 20, ridge: float = 0.01, line_search: bool = False) -> Array:
    r"""Inverse of a matrix by Newton's iteration: matrix products alone, and a backward pass that skips the iteration.

    .. math:: V_0 = \alpha B^\top, \quad V \leftarrow 2 V - V B V, \quad B = A + \rho I, \qquad
              \bar A = -V^\top \bar V V^\top

    The step :math:`\alpha = 1.8 / ((\|A\|_1 + \rho)(\|A\|_\infty + \rho))` is safe: the norms bound the largest
    singular value of B. The residual I - V B is squared by every iteration, so 20 of them reach condition numbers of
    about 1e5 in the square. A singular B gives its pseudo-inverse, as far as the iterations get.

    Args:
      matrix: float [..., M, M], A.
      num_iters: static, >= 1.
      ridge: added to the diagonal, >= 0, static.
      line_search: static; halve alpha, at most ten times, until no column of |I - A V_0| sums to more than 1.01. This
        is the beginning of the normalised attention.
    Returns:
      float32 (wider if matrix is) [..., M, M].
    Raises:
      ValueError: matrix is not square, ridge < 0, or num_iters < 1.
      TypeError: matrix is not floating point.

    >>> print(newton_inverse(jnp.array([[2.0, 0.0], [0.0, 4.0]]), ridge=0.0))
    [[0.5  0.  ]
     [0.   0.25]]

    Reference: Lu et al., "Softmax-free Linear Transformers" (2024); iteration, ridge and backward pass checked against
    the authors' code. There alpha has the norms of A alone, with which a large ridge diverges, and with the line search
    2 in place of 1.8, with which an eigenvalue that reaches the bound is never inverted (that of the identity, say);
    and the normalised form takes one alpha for a whole batch.
    """
    matrix = checks.floating(matrix, "matrix")
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"matrix must have shape [..., M, M], got {list(matrix.shape)}")
    checks.size(num_iters, "num_iters")
    checks.at_least(ridge, "ridge", 0.0)
    return _newton(matrix.astype(accumulation_dtype(matrix)), num_iters, float(ridge), bool(line_search))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _newton(matrix: Array, num_iters: int, ridge: float, line_search: bool) -> Array:
    product = functools.partial(jnp.matmul, precision="highest")
    eye = jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    size = jnp.abs(matrix)
    norms = (jnp.max(jnp.sum(size, axis, keepdims=True), (-1, -2), keepdims=True) for axis in (-1, -2))
    bound = functools.reduce(jnp.multiply, (norm + ridge for norm in norms))
    alpha = 1.8 / jnp.where(bound > 0, bound, 1.0)
    transposed = jnp.swapaxes(matrix, -1, -2)
    if line_search:
        square = product(matrix, transposed)

        def halve(_: int, alpha: Array) -> Array:
            columns = jnp.sum(jnp.abs(eye - alpha * square), axis=-2)
            return jnp.where(jnp.max(columns, axis=-1)[..., None, None] > 1.01, 0.5 * alpha, alpha)

        alpha = jax.lax.fori_loop(0, 10, halve, alpha)
    shifted = matrix + ridge * eye
    start = alpha * (transposed + ridge * eye)
    return jax.lax.fori_loop(0, num_iters, lambda _, v: 2.0 * v - product(v, product(shifted, v)), start)


def _newton_forward(matrix: Array, num_iters: int, ridge: float, line_search: bool) -> tuple[Array, Array]:
    inverse = _newton(matrix, num_iters, ridge, line_search)
    return inverse, inverse


def _newton_backward(num_iters: int, ridge: float, line_search: bool, inverse: Array, cotangent: Array) -> tuple[Array]:
    del num_iters, ridge, line_search
    turned = jnp.swapaxes(inverse, -1, -2)
    return (-jnp.matmul(turned, jnp.matmul(cotangent, turned, precision="highest"), precision="highest"),)


_newton.defvjp(_newton_forward, _newton_backward)


def softmax_free_attention(
    q: ArrayLike,
    v: ArrayLike,
    landmarks: ArrayLike,
    *,
    normalize: bool = False,
    num_iters: int = 20,
    ridge: float | None = None,
) -> Array:
    r"""Attention by a Gaussian kernel of rank M instead of a softmax: time and memory linear in the tokens (SOFT).

    .. math:: O = P_1 P_2^{+} (P_1^\top V), \qquad P_1 = k(Q, \tilde Q), \quad P_2 = k(\tilde Q, \tilde Q),
              \quad k(a, b) = e^{-\|a - b\|^2 / 2}

    Queries are keys: the full matrix k(Q, Q), of which this is Nystrom's approximation, is symmetric by design, and
    there is no causal form. Normalised, :math:`D^{-1/2} P_2^+ D^{-1/2}` stands in the middle, D the row sums of
    :math:`P_2`, which keeps the result in range at resolutions that were not trained. The exact form is
    ``kernels.gaussian_kernel(q, bandwidth=1.0) @ v``.

    Args:
      q: float [..., N, E], queries and keys in one, scaled: the paper multiplies by E^(-1/4).
      v: float [..., N, F].
      landmarks: float [..., M, E]; the paper pools the scaled q over windows of the grid by a convolution, then a
        normal layer and a GELU (``softmax_free_block``).
      normalize: static.
      num_iters: of ``newton_inverse``, static.
      ridge: of ``newton_inverse``; None is 0.01, and 0 where normalised. Landmarks that nearly coincide need it.
    Returns:
      [..., N, F] in the dtype of v; float32 or wider inside.
    Raises:
      ValueError: shapes do not agree, ridge < 0, or num_iters < 1.
      TypeError: an array is not floating point.

    >>> q, v = jnp.array([[0.0], [9.0]]), jnp.array([[1.0], [2.0]])
    >>> print(softmax_free_attention(q, v, q, ridge=0.0))
    [[1.]
     [2.]]

    Reference: Lu et al., "SOFT: Softmax-free Transformer with Linear Complexity" (2021) and "Softmax-free Linear
    Transformers" (2024). Checked against the authors' code.
    """
    q, v, landmarks = (checks.floating(x, name) for x, name in ((q, "q"), (v, "v"), (landmarks, "landmarks")))
    for x, name in ((q, "q"), (v, "v"), (landmarks, "landmarks")):
        if x.ndim < 2 or x.shape[:-2] != q.shape[:-2]:
            wanted = ", ".join(map(str, [*q.shape[:-2], "tokens", "width"]))
            raise ValueError(f"{name} must have shape [{wanted}], got {list(x.shape)}")
    if v.shape[-2] != q.shape[-2]:
        raise ValueError(f"v must have the {q.shape[-2]} tokens of q, got {list(v.shape)}")
    if landmarks.shape[-1] != q.shape[-1]:
        raise ValueError(f"landmarks must have the width {q.shape[-1]} of q, got {list(landmarks.shape)}")
    product = functools.partial(jnp.matmul, precision="highest")
    dtype = accumulation_dtype(q, v, landmarks)
    q, wide, landmarks = (x.astype(dtype) for x in (q, v, landmarks))
    outer, inner = gaussian_kernel(q, landmarks, bandwidth=1.0), gaussian_kernel(landmarks, bandwidth=1.0)
    shift = (0.0 if normalize else 0.01) if ridge is None else ridge
    inverse = newton_inverse(inner, num_iters=num_iters, ridge=shift, line_search=normalize)
    if normalize:
        root = jax.lax.rsqrt(jnp.sum(inner, axis=-1, keepdims=True))
        inverse = root * inverse * jnp.swapaxes(root, -1, -2)
    read = product(jnp.swapaxes(outer, -1, -2), wide)
    return product(outer, product(inverse, read)).astype(v.dtype)


def softmax_free_block_init(
    key: Array, dim: int, *, heads: int, ratio: int, hidden: int | None = None, conv_size: int = 3
) -> PyTree:
    r"""Parameters of ``softmax_free_block``: normal kernels of variance 1 / inputs, biases 0, normal layers 1 and 0.

    .. math:: W_{ij} \sim N(0, 1 / D_{in})

    Args:
      key: PRNG key.
      dim: D, static.
      heads: static, divides D.
      ratio: side of the window that becomes one landmark, static, >= 2 to save anything.
      hidden: width of the perceptron inside, static; None is 4 D.
      conv_size: side of the depthwise convolution of the values, odd, static.
    Returns:
      Nested dict of float32 arrays: "q", "v", "proj", "mlp_in", "mlp_out" (kernel, bias), "landmarks" (kernel
      [ratio, ratio, D / heads, D / heads], scale, bias), "conv" [conv_size, conv_size, heads], "norm1", "norm2".
    Raises:
      ValueError: a size is below 1, heads do not divide dim, or conv_size is even.

    >>> print(softmax_free_block_init(jax.random.key(0), 8, heads=2, ratio=2)["landmarks"]["kernel"].shape)
    (2, 2, 4, 4)

    Reference: the layers of Lu et al. (2024), as in ``softmax_free_block``; this initialisation is standard.
    """
    for size, name in ((dim, "dim"), (heads, "heads"), (ratio, "ratio"), (conv_size, "conv_size")):
        checks.size(size, name)
    width = checks.divisible(dim, "dim", heads) // heads
    if conv_size % 2 == 0:
        raise ValueError(f"conv_size must be odd, got {conv_size}")
    hidden = 4 * dim if hidden is None else checks.size(hidden, "hidden")
    shapes = {"q": (dim, dim), "v": (dim, dim), "proj": (dim, dim), "mlp_in": (dim, hidden), "mlp_out": (hidden, dim)}
    keys = jax.random.split(key, len(shapes) + 2)
    params: PyTree = {name: {"scale": jnp.ones(dim), "bias": jnp.zeros(dim)} for name in ("norm1", "norm2")}
    for (name, shape), one in zip(shapes.items(), keys[2:], strict=True):
        params[name] = {"kernel": jax.random.normal(one, shape) / shape[0] ** 0.5, "bias": jnp.zeros(shape[1])}
    window = jax.random.normal(keys[0], (ratio, ratio, width, width)) / (ratio * width**0.5)
    params["landmarks"] = {"kernel": window, "scale": jnp.ones(width), "bias": jnp.zeros(width)}
    params["conv"] = jax.random.normal(keys[1], (conv_size, conv_size, heads)) / conv_size
    return params


def softmax_free_block(
    params: PyTree, tokens: ArrayLike, *, grid: tuple[int, int], normalize: bool = False, num_iters: int = 20
) -> Array:
    r"""A transformer block whose attention is ``softmax_free_attention``, normalised after each half.

    .. math:: \tilde Q = \mathrm{GELU}(\mathrm{LN}(\mathrm{conv}(Q))),
              x' = \mathrm{LN}_1\big(x + W_o [\mathrm{SOFT}(Q, V, \tilde Q) + \mathrm{dwconv}(V)]\big),
              \quad x'' = \mathrm{LN}_2(x' + W_2\, \mathrm{GELU}(W_1 x'))

    with :math:`Q = W_q x / E^{1/4}` per head. One convolution makes the landmarks of all heads, and every head has one
    depthwise filter for its values.

    Args:
      params: as ``softmax_free_block_init`` makes them.
      tokens: float [..., H W, D], the grid row by row, without a class token.
      grid: (H, W), static; the landmark window divides both.
      normalize: of ``softmax_free_attention``.
      num_iters: of ``newton_inverse``, static.
    Returns:
      float32 or wider [..., H W, D].
    Raises:
      ValueError: tokens do not fill the grid or have another width than params, or the window does not divide the grid.
      TypeError: tokens are not floating point.

    >>> params = softmax_free_block_init(jax.random.key(0), 8, heads=2, ratio=2)
    >>> print(softmax_free_block(params, jnp.ones((3, 16, 8)), grid=(4, 4)).shape)
    (3, 16, 8)

    Reference: Lu et al., "Softmax-free Linear Transformers" (2024). Checked against the authors' code; without drop
    path, and its perceptron's GELU is the tanh form.
    """
    tokens = checks.floating(tokens, "tokens")
    dim, heads = params["q"]["kernel"].shape[0], params["conv"].shape[-1]
    if tokens.ndim < 2 or tokens.shape[-2:] != (grid[0] * grid[1], dim):
        raise ValueError(f"tokens must have shape [..., {grid[0]} * {grid[1]}, {dim}], got {list(tokens.shape)}")
    x = tokens.astype(accumulation_dtype(tokens))
    lead, width = x.shape[:-2], dim // heads

    def split(name: str) -> Array:
        return jnp.moveaxis(dense(params[name], x).reshape(*lead, grid[0] * grid[1], heads, width), -2, -3)

    q, v = split("q") / width**0.25, split("v")
    attended = softmax_free_attention(
        q, v, _landmarks(params["landmarks"], q, grid), normalize=normalize, num_iters=num_iters
    )
    attended = attended + _depthwise(params["conv"], v, grid)
    x = layer_norm(
        params["norm1"], x + dense(params["proj"], jnp.moveaxis(attended, -3, -2).reshape(x.shape)), epsilon=EPSILON
    )
    inner = jax.nn.gelu(dense(params["mlp_in"], x), approximate=True)
    return layer_norm(params["norm2"], x + dense(params["mlp_out"], inner), epsilon=EPSILON)


def _landmarks(params: PyTree, q: Array, grid: tuple[int, int]) -> Array:
    """Windows of queries [..., H W, E] through one convolution that does not overlap."""
    ratio = params["kernel"].shape[0]
    for size, name in zip(grid, ("the height of grid", "the width of grid"), strict=True):
        checks.divisible(size, name, ratio)
    rows, columns = grid[0] // ratio, grid[1] // ratio
    windows = q.reshape(*q.shape[:-2], rows, ratio, columns, ratio, q.shape[-1])
    pooled = jnp.einsum("...risje,ijef->...rsf", windows, params["kernel"])
    return jax.nn.gelu(
        layer_norm(params, pooled.reshape(*q.shape[:-2], rows * columns, -1), epsilon=EPSILON), approximate=False
    )


def _depthwise(kernel: Array, v: Array, grid: tuple[int, int]) -> Array:
    """One filter per head over the grid, on values [..., heads, H W, E], as a sum of shifted copies."""
    size = kernel.shape[0]
    image = v.reshape(*v.shape[:-2], *grid, v.shape[-1])
    half = size // 2
    padded = jnp.pad(image, [(0, 0)] * (image.ndim - 3) + [(half, half), (half, half), (0, 0)])
    total = jnp.zeros_like(image)
    for i in range(size):
        for j in range(size):
            shifted = padded[..., i : i + grid[0], j : j + grid[1], :]
            total = total + kernel[i, j][:, None, None, None] * shifted
    return total.reshape(v.shape)
