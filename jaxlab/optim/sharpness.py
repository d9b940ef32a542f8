"""Steps to where a loss is larger nearby: in parameters (sharpness-aware), and in inputs (an unknown domain)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean, normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.optim.curvature import wide
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "GradientMoments",
    "ascent_step",
    "head_gradient_variance",
    "input_sharpness_ascent",
    "perturbed_gradient",
    "udim_inconsistency",
]

STYLE_EPS = 1e-5  # added to the variance of a channel, as normalisation layers do


class GradientMoments(NamedTuple):
    """Mean and spread of the gradients of single examples, kernel above and bias in the last row: [D + 1, K]."""

    mean: Array
    variance: Array


def _length(tree: PyTree) -> tuple[Array, PyTree]:
    """The norm over all leaves and the unit tree; a tree of zeros has norm 0, no direction and no gradient."""
    leaves = jax.tree.leaves(tree)
    if not leaves:
        return jnp.zeros(()), tree
    dtype = jnp.result_type(*leaves)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf), initial=0).astype(dtype) for leaf in leaves]))
    largest = jax.lax.stop_gradient(largest)
    scale = jnp.where(largest == 0, 1.0, largest)  # squares of 1e30 overflow, of 1e-30 vanish
    scaled = jax.tree.map(lambda leaf: leaf / scale.astype(leaf.dtype), tree)
    squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(scaled))
    flat = squares == 0
    root = jnp.sqrt(jnp.where(flat, 1.0, squares))
    unit = jax.tree.map(lambda leaf: jnp.where(flat, 0.0, leaf / root.astype(leaf.dtype)), scaled)
    return jnp.where(flat, 0.0, scale * root), unit


def ascent_step(params: PyTree, grads: PyTree, *, rho: ArrayLike) -> PyTree:
    r"""Parameters moved uphill by a given distance: the first half of a sharpness-aware step.

    .. math:: \tilde\theta = \theta + \rho\, g / \|g\|_2

    with the norm over all leaves. A negative rho moves downhill.

    Args:
      params: pytree of floats.
      grads: pytree of floats with the structure and shapes of params.
      rho: the distance, a float or a scalar array.
    Returns:
      The tree of params, each leaf in its dtype; params where grads are 0, NaN where grads hold NaN or infinity.
    Raises:
      ValueError: structures or shapes differ.
      TypeError: a leaf is not floating point.

    >>> print(ascent_step(jnp.zeros(2), jnp.array([3.0, 4.0]), rho=0.5))
    [0.3 0.4]

    Reference: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization" (2021), standard.
    """
    params = jax.tree.map(lambda leaf: checks.floating(leaf, "params"), params)
    grads = wide(grads, "grads")
    shapes = [(jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]) for tree in (params, grads)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"grads must have the structure and shapes of params, {shapes[0]}, got {shapes[1]}")
    _, unit = _length(grads)

    def move(leaf: Array, direction: Array) -> Array:
        dtype = jnp.promote_types(accumulation_dtype(leaf), direction.dtype)
        return (leaf.astype(dtype) + jnp.asarray(rho, dtype) * direction.astype(dtype)).astype(leaf.dtype)

    return jax.tree.map(move, params, unit)


def perturbed_gradient(
    loss_fn: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    batch: PyTree,
    *,
    rho: ArrayLike,
    weight: ArrayLike = 1.0,
    shifted_batch: PyTree = None,
) -> PyTree:
    r"""Gradient of a loss mixed with that at the ascended parameters: sharpness-aware, or the gradient-norm penalty.

    .. math:: (1 - w)\, g(\theta) + w\, g\big(\theta + \rho\, g / \|g\|\big), \qquad g = \nabla_\theta \ell

    Weight 1 is the sharpness-aware gradient. Weight :math:`\lambda / \rho` is to first order in rho, and exactly where
    the loss is quadratic, the gradient of :math:`\ell + \lambda \|g\|`, without second derivatives.

    Args:
      loss_fn: ``loss_fn(params, batch) -> scalar``.
      params: pytree of floats.
      batch: pytree, what loss_fn takes.
      rho: the distance of the ascent, >= 0.
      weight: w; 0 is the plain gradient.
      shifted_batch: the batch of the second gradient, such as other views of the first; None takes ``batch`` again.
    Returns:
      A pytree like params, in float32 or wider; without a shifted batch the plain gradient where that is 0.
    Raises:
      ValueError: a static rho < 0.
      TypeError: a leaf of params is not floating point.

    >>> half_square = lambda x, _: 0.5 * jnp.sum(x**2)
    >>> print(perturbed_gradient(half_square, jnp.array([3.0, 4.0]), None, rho=0.5))
    [3.3 4.4]

    Reference: Zhao et al., "Penalizing Gradient Norm for Efficiently Improving Generalization in Deep Learning"
    (2022), recalled; weight 1 as in Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
    Generalization" (2021), standard. A second, augmented batch is our reading of Peng et al., "GLAD: Generalizable
    Tuning for Vision-Language Models" (2025), inferred.
    """
    checks.at_least(rho, "rho", 0.0)
    params = wide(params, "params")
    gradient = jax.grad(loss_fn)
    here = gradient(params, batch)
    there = gradient(ascent_step(params, here, rho=rho), batch if shifted_batch is None else shifted_batch)

    def mix(near: Array, far: Array) -> Array:
        share = jnp.asarray(weight, near.dtype)
        return (1.0 - share) * near + share * far

    return jax.tree.map(mix, here, there)


def input_sharpness_ascent(
    loss_fn: Callable[[PyTree, Array], Array],
    params: PyTree,
    x: ArrayLike,
    *,
    step: ArrayLike,
    rho: ArrayLike = 0.05,
    form: str = "example",
    where: ArrayLike | None = None,
) -> Array:
    r"""Inputs moved to where the loss, and its sharpness in the parameters, are larger: an unknown domain (a batch).

    .. math:: \tilde x = x + \alpha\, n\big(\nabla_x J\big),
              \qquad J(x) = \ell(\theta; x) + \rho\, \|\nabla_\theta\, \ell(\theta; x)\|_2

    with the mean loss of the batch. n makes unit vectors: of every example ("example"), or of every entry along the
    batch ("pixel", the published form). "style" takes the gradient as it is, and moves the mean and the standard
    deviation of every channel of every image in place of its pixels.

    Args:
      loss_fn: ``loss_fn(params, x) -> [B]``, the loss of every example, each of which depends on its own row only.
      params: pytree of floats.
      x: float [B, ...], B >= 1; for "style" [B, ..., C] with at least three axes.
      step: alpha >= 0.
      rho: >= 0, the weight of the sharpness.
      form: "example", "pixel" or "style".
      where: bool [B], True where an example counts.
    Returns:
      The dtype and shape of x. The move is a constant for differentiation: the gradient by x is that of the identity.
      An example without a gradient stays where it is, one that does not count becomes 0.
    Raises:
      ValueError: a static step or rho < 0, an unknown form, shapes do not fit, or loss_fn does not return [B].
      TypeError: x or a leaf of params is not floating point, or where is not boolean.

    >>> loss_fn = lambda w, x: x @ w
    >>> print(input_sharpness_ascent(loss_fn, jnp.array([3.0, 4.0]), jnp.zeros((1, 2)), step=0.5, rho=0.0))
    [[0.3 0.4]]

    Reference: Shin et al., "Unknown Domain Inconsistency Minimization for Domain Generalization" (2024). Checked
    against the authors' code, which normalises along the batch ("pixel"), and for "style" divides the variance of a
    channel by one less than the number of its pixels.
    """
    x = checks.floating(x, "x")
    checks.one_of(form, "form", ("example", "pixel", "style"))
    checks.at_least(step, "step", 0.0)
    checks.at_least(rho, "rho", 0.0)
    if x.ndim < (3 if form == "style" else 1) or x.shape[0] == 0:
        layout = "[B, ..., C] with an axis of pixels" if form == "style" else "[B, ...]"
        raise ValueError(f"x must have shape {layout} and B >= 1, got {list(x.shape)}")
    mask = checks.mask(where, "where", x.shape[:1])
    counts = (jnp.ones(x.shape[0], bool) if mask is None else mask).reshape(-1, *(1,) * (x.ndim - 1))
    params = jax.lax.stop_gradient(wide(params, "params"))
    start = jnp.where(counts, jax.lax.stop_gradient(x), 0).astype(accumulation_dtype(x))

    def mean_loss(params: PyTree, x: Array) -> Array:
        losses = loss_fn(params, x)
        if jnp.shape(losses) != x.shape[:1]:
            raise ValueError(f"loss_fn must return the losses {[x.shape[0]]}, got {list(jnp.shape(losses))}")
        return masked_mean(losses, counts.reshape(-1))

    def objective(x: Array) -> Array:
        loss, grads = jax.value_and_grad(mean_loss)(params, x)
        return loss + jnp.asarray(rho, loss.dtype) * _length(grads)[0]

    move = _moved(start, jnp.where(counts, jax.grad(objective)(start), 0.0), form)
    move = jax.lax.stop_gradient(jnp.asarray(step, start.dtype) * move)
    return jnp.where(counts, x.astype(start.dtype) + move, 0.0).astype(x.dtype)


def _moved(x: Array, grad: Array, form: str) -> Array:
    if form == "style":
        axes = tuple(range(1, x.ndim - 1))
        centered = x - jnp.mean(x, axis=axes, keepdims=True)
        unit = centered / jnp.sqrt(jnp.mean(centered**2, axis=axes, keepdims=True) + STYLE_EPS)
        by_mean, by_scale = (jnp.sum(part, axis=axes, keepdims=True) for part in (grad, grad * unit))
        return by_mean + by_scale * unit
    if form == "pixel":
        return normalize(grad, axis=0, eps=0.0)
    return normalize(grad.reshape(grad.shape[0], -1), eps=0.0).reshape(grad.shape)


def head_gradient_variance(
    features: ArrayLike,
    probs: ArrayLike,
    labels: ArrayLike,
    *,
    center: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> GradientMoments:
    r"""Mean and variance over examples of the gradient of cross entropy by a linear head (couples the batch).

    .. math:: G_b = (x_b, 1)\,(p_b - e_{y_b})^\top, \qquad m = \frac1B \sum_b G_b,
              \qquad v = \frac1B \sum_b (G_b - c)^2

    from two matrix products: the gradients of single examples are never held.

    Args:
      features: float [B, D], what the head sees.
      probs: float [B, K], the softmax of its logits.
      labels: int [B], in [0, K); a label outside gives NaN.
      center: c, float [D + 1, K]; None is the mean m.
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which examples are split; the means run over all its members.
    Returns:
      GradientMoments(mean [D + 1, K], variance [D + 1, K]) in float32 or wider, the variance >= 0; the last row is of
      the bias. Where nothing counts the mean is 0.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point, labels are not integers, or where is not boolean.

    >>> found = head_gradient_variance(jnp.array([[1.0], [3.0]]), jnp.full((2, 2), 0.5), jnp.array([0, 0]))
    >>> print(found.mean[0], found.variance[0])
    [-1.  1.] [0.25 0.25]

    Reference: the variance of Rame, Dancette and Cord, "Fishr: Invariant Gradient Variances for Out-of-Distribution
    Generalization" (2022), standard.
    """
    moments = _moments(features, probs, labels, where, axis_name, ("features", "probs"))
    if center is None:
        return moments
    center = checks.floating(center, "center")
    checks.same_shape(center, "center", moments.mean, "the gradient [D + 1, K]")
    return moments._replace(variance=moments.variance + (moments.mean - center.astype(moments.mean.dtype)) ** 2)


def _moments(
    features: ArrayLike,
    probs: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike | None,
    axis_name: str | None,
    names: tuple[str, str],
) -> GradientMoments:
    x = checks.rank(checks.floating(features, names[0]), names[0], 2, layout="[B, D]")
    p = checks.rank(checks.floating(probs, names[1]), names[1], 2, layout="[B, K]")
    y = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    checks.batch_match(x, names[0], y, "labels")
    checks.batch_match(p, names[1], y, "labels")
    mask = checks.mask(where, "where", y.shape)
    dtype = accumulation_dtype(x, p)
    x = jnp.concatenate([x.astype(dtype), jnp.ones((x.shape[0], 1), dtype)], axis=1)
    r = jnp.where(
        ((y >= 0) & (y < p.shape[1]))[:, None], p.astype(dtype) - (jnp.arange(p.shape[1]) == y[:, None]), jnp.nan
    )
    count = jnp.asarray(y.shape[0], dtype) if mask is None else jnp.sum(mask, dtype=dtype)
    if mask is not None:
        x, r = (jnp.where(mask[:, None], value, 0.0) for value in (x, r))
    sums = (jnp.matmul(x.T, r, precision="highest"), jnp.matmul((x**2).T, r**2, precision="highest"), count)
    first, second, count = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    mean, square = first / jnp.maximum(count, 1), second / jnp.maximum(count, 1)
    return GradientMoments(mean, jnp.maximum(square - mean**2, 0.0))


def udim_inconsistency(
    features: ArrayLike,
    logits: ArrayLike,
    shifted_features: ArrayLike,
    shifted_logits: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""How differently a linear head learns from known and from shifted inputs (one number; couples the batch).

    .. math:: \frac1P \Big\|\frac{v - \tilde v}{2}\Big\|^2
              + \sum_{\text{kernel, bias}} \frac{1}{B P_t} \sum_b \|\tilde G_b\|^2

    v is the variance of the gradients of single examples by the head, of all P = (D + 1) K numbers; both variances are
    about the mean of the KNOWN examples. The second term, of each tensor's P_t numbers, keeps the shifted gradients
    small.

    Args:
      features: float [B, D], of the known inputs.
      logits: float [B, K].
      shifted_features: float [B, D], of the same examples as ``input_sharpness_ascent`` moved them.
      shifted_logits: float [B, K].
      labels: int [B], in [0, K); a label outside gives NaN.
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which examples are split.
    Returns:
      float32 or wider scalar >= 0; the second term alone where nothing has moved, 0 where nothing counts.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point, labels are not integers, or where is not boolean.

    >>> x, z, y = jnp.array([[1.0], [3.0]]), jnp.zeros((2, 2)), jnp.array([0, 0])
    >>> print(udim_inconsistency(x, z, x, z, y))
    1.5

    Reference: Shin et al., "Unknown Domain Inconsistency Minimization for Domain Generalization" (2024). Checked
    against the authors' code.
    """
    shapes = [jnp.shape(value) for value in (features, shifted_features, logits, shifted_logits)]
    if shapes[0] != shapes[1] or shapes[2] != shapes[3]:
        raise ValueError(
            f"shifted_features and shifted_logits must have the shapes of features and logits, got {shapes}"
        )
    pairs = (
        (features, logits, "features", "logits"),
        (shifted_features, shifted_logits, "shifted_features", "shifted_logits"),
    )
    known, shifted = (
        _moments(x, jax.nn.softmax(wide(_clean(z, where, name), name)), labels, where, axis_name, (called, name))
        for x, z, called, name in pairs
    )
    about_known = shifted.variance + (shifted.mean - known.mean) ** 2
    square = shifted.variance + shifted.mean**2
    return jnp.mean(((known.variance - about_known) / 2) ** 2) + jnp.mean(square[:-1]) + jnp.mean(square[-1])


def _clean(logits: ArrayLike, where: ArrayLike | None, name: str) -> Array:
    z = checks.rank(checks.floating(logits, name), name, 2, layout="[B, K]")
    mask = checks.mask(where, "where", z.shape[:1])
    return z if mask is None else jnp.where(mask[:, None], z, 0.0)
