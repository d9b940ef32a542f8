"""Curvature of a loss at given parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "fisher_diagonal",
    "hessian_gradient_product",
    "hessian_top_eigenvalue",
    "hessian_vector_product",
    "hutchinson_diagonal",
    "hutchinson_trace",
]


def fisher_diagonal(
    loss_fn: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    batch: PyTree,
    *,
    per: str = "example",
    where: ArrayLike | None = None,
    block: int = 32,
) -> PyTree:
    r"""Diagonal of the empirical Fisher information: how much the loss minds a change of each parameter.

    .. math:: F_i = \frac1B \sum_b \Big(\frac{\partial \ell_b}{\partial \theta_i}\Big)^2 \quad\text{or}\quad
              \Big(\frac{\partial}{\partial \theta_i} \frac1B \sum_b \ell_b\Big)^2

    "example" is the first. "batch" is the second, in which gradients of different sign cancel; the average of it over
    batches is what some published code takes. It is the Fisher information proper where the labels in the batch are
    drawn from the model.

    Args:
      loss_fn: ``loss_fn(params, batch) -> [B]``, the loss of every example (a negative log-likelihood), each of which
        depends on its own row only; for "example" also the mean over the batch as a scalar.
      params: pytree of floats.
      batch: pytree of arrays [B, ...], B >= 1.
      per: "example" or "batch".
      where: bool [B], True where an example counts.
      block: examples whose gradients are held at a time (for "example"), static, >= 1.
    Returns:
      A pytree like params in float32 or wider, >= 0; 0 where nothing counts.
    Raises:
      ValueError: an unknown ``per``, arrays of different length or none, block < 1, where is not [B], or losses that
        are not [B].
      TypeError: a leaf of params is not floating point, or where is not boolean.

    >>> loss_fn = lambda w, x: 0.5 * (w - x) ** 2
    >>> x = jnp.array([1.0, -1.0])
    >>> print(fisher_diagonal(loss_fn, jnp.array(0.0), x), fisher_diagonal(loss_fn, jnp.array(0.0), x, per="batch"))
    1.0 0.0

    Reference: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks" (2017), standard; "batch" as
    in the code of Foster et al., "Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening"
    (2023), recalled.
    """
    checks.one_of(per, "per", ("example", "batch"))
    block = checks.size(block, "block")
    params = jax.tree.map(lambda leaf: checks.floating(leaf, "params"), params)
    arrays = [jnp.asarray(leaf) for leaf in jax.tree.leaves(batch)]
    lengths = {array.shape[:1] for array in arrays}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(f"batch must hold arrays [B, ...] with one B >= 1, got {[list(a.shape) for a in arrays]}")
    (size,) = lengths.pop()
    mask = checks.mask(where, "where", (size,))
    counts = jnp.ones(size, bool) if mask is None else mask
    rows = jax.tree.map(lambda leaf: _clean(jnp.asarray(leaf), counts), batch)
    if per == "batch":
        return _squared(jax.grad(_mean_loss(loss_fn, rows, counts))(params))

    def one(row: PyTree) -> PyTree:
        loss = lambda params: jnp.mean(loss_fn(params, jax.tree.map(lambda leaf: leaf[None], row)))  # noqa: E731
        return _squared(jax.grad(loss)(params))

    short = -size % block if size > block else 0
    steps = max(1, (size + short) // block)

    def cut(leaf: Array) -> Array:
        # The last block is filled up with the first rows, which then do not count.
        return jnp.concatenate([leaf, leaf[:short]]).reshape(steps, -1, *leaf.shape[1:])

    def add(total: PyTree, now: tuple[PyTree, Array]) -> tuple[PyTree, None]:
        row, weight = now
        return jax.tree.map(lambda t, g: t + jnp.sum(_clean(g, weight), axis=0), total, jax.vmap(one)(row)), None

    weights = jnp.concatenate([counts, jnp.zeros(short, bool)]).reshape(steps, -1)
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, accumulation_dtype(leaf)), params)
    total, _ = jax.lax.scan(add, zero, (jax.tree.map(cut, rows), weights))
    return jax.tree.map(lambda leaf: leaf / jnp.maximum(jnp.sum(counts), 1), total)


def _mean_loss(loss_fn: Callable[[PyTree, PyTree], Array], rows: PyTree, counts: Array) -> Callable[[PyTree], Array]:
    def loss(params: PyTree) -> Array:
        losses = loss_fn(params, rows)
        if jnp.shape(losses) != counts.shape:
            raise ValueError(f"loss_fn must return the losses {list(counts.shape)}, got {list(jnp.shape(losses))}")
        return jnp.sum(jnp.where(counts, losses, 0.0)) / jnp.maximum(jnp.sum(counts), 1)

    return loss


def _clean(leaf: Array, counts: Array) -> Array:
    return jnp.where(counts.reshape(counts.shape + (1,) * (leaf.ndim - 1)), leaf, jnp.zeros((), leaf.dtype))


def _squared(grads: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.astype(accumulation_dtype(leaf)) ** 2, grads)


def hessian_vector_product(loss_fn: Callable[[PyTree], Array], params: PyTree, vector: PyTree) -> PyTree:
    r"""Product of the Hessian of a loss with a vector, at the cost of two gradients.

    .. math:: \nabla^2 \ell(\theta)\, v

    Args:
      loss_fn: from params to a scalar; the data are inside it.
      params: pytree of floats.
      vector: pytree of the same structure and shapes.
    Returns:
      A pytree like params, in float32 or wider.
    Raises:
      ValueError: structures or shapes differ.
      TypeError: a leaf is not floating point.

    >>> print(hessian_vector_product(lambda x: x[0] ** 2 * x[1], jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0])))
    [6. 2.]

    Reference: Pearlmutter, "Fast Exact Multiplication by the Hessian" (1994), standard.
    """
    params, vector = wide(params, "params"), wide(vector, "vector")
    shapes = [(jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]) for tree in (params, vector)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"vector must have the structure and shapes of params, {shapes[0]}, got {shapes[1]}")
    vector = jax.tree.map(lambda v, p: v.astype(p.dtype), vector, params)
    return jax.jvp(jax.grad(loss_fn), (params,), (vector,))[1]


def hessian_gradient_product(loss_fn: Callable[[PyTree], Array], params: PyTree) -> PyTree:
    r"""Product of the Hessian of a loss with its own gradient, at the cost of three gradients.

    .. math:: \nabla^2 \ell(\theta)\, \nabla \ell(\theta) = \tfrac12 \nabla \|\nabla \ell(\theta)\|^2

    Args:
      loss_fn: from params to a scalar; the data are inside it.
      params: pytree of floats.
    Returns:
      A pytree like params, in float32 or wider; 0 at a stationary point.
    Raises:
      TypeError: a leaf is not floating point.

    >>> print(hessian_gradient_product(lambda x: x[0] ** 2 * x[1], jnp.array([1.0, 3.0])))
    [38. 12.]

    Reference: Hemati et al., "Understanding Hessian Alignment for Domain Generalization" (2023). Checked against the
    authors' code, which takes the norm of the gradient times the gradient of that norm, and adds 1e-16 to it.
    """
    params = wide(params, "params")
    return hessian_vector_product(loss_fn, params, jax.grad(loss_fn)(params))


def hutchinson_diagonal(
    key: Array, loss_fn: Callable[[PyTree], Array], params: PyTree, *, num_probes: int = 32
) -> PyTree:
    r"""Estimate of the diagonal of the Hessian of a loss, from products with random signs.

    .. math:: \frac1S \sum_s z_s \odot \nabla^2 \ell(\theta)\, z_s, \qquad z_s \in \{-1, 1\}^P

    Without bias, and exact where the Hessian is diagonal; the variance of an entry is the sum of the squares of the
    others in its row, divided by S.

    Args:
      key: PRNG key.
      loss_fn: from params to a scalar.
      params: pytree of floats.
      num_probes: S >= 1, static.
    Returns:
      A pytree like params, in float32 or wider.
    Raises:
      ValueError: num_probes < 1.
      TypeError: a leaf of params is not floating point.

    >>> print(hutchinson_diagonal(jax.random.key(0), lambda x: jnp.sum(x**4), jnp.array([0.5, 1.0]), num_probes=1))
    [ 3. 12.]

    Reference: Hutchinson (1989) and Bekas et al., "An estimator for the diagonal of a matrix" (2007), standard.
    """
    return _probe(key, loss_fn, params, num_probes, lambda z, product: jax.tree.map(jnp.multiply, z, product))


def hutchinson_trace(key: Array, loss_fn: Callable[[PyTree], Array], params: PyTree, *, num_probes: int = 32) -> Array:
    r"""Estimate of the trace of the Hessian of a loss, from products with random signs.

    .. math:: \frac1S \sum_s z_s^\top \nabla^2 \ell(\theta)\, z_s, \qquad z_s \in \{-1, 1\}^P

    Without bias, and exact where the Hessian is diagonal.

    Args:
      key: PRNG key.
      loss_fn: from params to a scalar.
      params: pytree of floats.
      num_probes: S >= 1, static.
    Returns:
      float32 or wider scalar.
    Raises:
      ValueError: num_probes < 1.
      TypeError: a leaf of params is not floating point.

    >>> print(hutchinson_trace(jax.random.key(0), lambda x: jnp.sum(x**4), jnp.array([0.5, 1.0]), num_probes=1))
    15.0

    Reference: Hutchinson, "A stochastic estimator of the trace of the influence matrix" (1989), standard.
    """
    return _probe(key, loss_fn, params, num_probes, optax.tree.vdot)


def hessian_top_eigenvalue(
    key: Array, loss_fn: Callable[[PyTree], Array], params: PyTree, *, num_iters: int = 50
) -> Array:
    r"""The eigenvalue of the Hessian of a loss that is largest in size, with its sign: how sharp a minimum is.

    .. math:: v \leftarrow H v / \|H v\|, \qquad \lambda = v^\top H v

    by ``optax.power_iteration``, which stops early where the estimate no longer changes by 1e-6 of itself.

    Args:
      key: PRNG key of the first vector.
      loss_fn: from params to a scalar.
      params: pytree of floats.
      num_iters: products at most, static, >= 1. Close eigenvalues need many; the estimate comes from below.
    Returns:
      float32 or wider scalar; 0 for a Hessian of zeros. No gradient passes.
    Raises:
      ValueError: num_iters < 1.
      TypeError: a leaf of params is not floating point.

    >>> saddle = lambda x: x[0] ** 2 - 3.0 * x[1] ** 2
    >>> print(f"{hessian_top_eigenvalue(jax.random.key(0), saddle, jnp.zeros(2)):.3f}")
    -6.000

    Reference: standard.
    """
    num_iters = checks.size(num_iters, "num_iters")
    params = jax.lax.stop_gradient(wide(params, "params"))

    def product(vector: PyTree) -> PyTree:
        return hessian_vector_product(loss_fn, params, vector)

    start = optax.tree.random_like(key, params)
    value, _ = optax.power_iteration(product, v0=start, num_iters=num_iters)
    flat = optax.tree.norm(product(start)) == 0  # there the iteration divides by 0
    return jax.lax.stop_gradient(jnp.where(flat, 0.0, value))


def wide(tree: PyTree, name: str) -> PyTree:
    """The tree with every leaf in float32 or wider."""

    def widen(leaf: ArrayLike) -> Array:
        leaf = checks.floating(leaf, name)
        return leaf.astype(accumulation_dtype(leaf))

    return jax.tree.map(widen, tree)


def _probe(
    key: Array,
    loss_fn: Callable[[PyTree], Array],
    params: PyTree,
    num_probes: int,
    read: Callable[[PyTree, PyTree], PyTree],
) -> PyTree:
    """Mean over random signs z of ``read(z, H z)``, one probe after the other."""
    num_probes = checks.size(num_probes, "num_probes")
    params = wide(params, "params")

    def one(key: Array) -> PyTree:
        signs = optax.tree.random_like(key, params, sampler=jax.random.rademacher)
        return read(signs, hessian_vector_product(loss_fn, params, signs))

    def add(total: PyTree, key: Array) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, one(key)), None

    keys = jax.random.split(key, num_probes)
    total, _ = jax.lax.scan(add, one(keys[0]), keys[1:])
    return jax.tree.map(lambda leaf: leaf / num_probes, total)
