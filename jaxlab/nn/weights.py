"""Weights that are made from others: networks put together, and kernels as a bounded function of what is trained."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "Boosted",
    "CompanderScales",
    "SmallMLP",
    "assemble_boosted",
    "boosted_prefix",
    "compander_init",
    "small_mlp",
    "weight_compander",
    "weight_compander_inverse",
]


class SmallMLP(NamedTuple):
    """One hidden layer of J sigmoid units between D inputs and O outputs; stages have a leading axis [T]."""

    weight_in: Array  # [D, J]
    bias_in: Array  # [J]
    weight_out: Array  # [J, O]
    bias_out: Array  # [O]


class Boosted(NamedTuple):
    """A sum of small networks: a constant, and T stages, each with its step (learning rate included)."""

    stages: SmallMLP  # leaves [T, ...]
    steps: Array  # [T]
    intercept: Array  # [O]


def small_mlp(params: SmallMLP, x: ArrayLike) -> Array:
    r"""One hidden layer of sigmoid units.

    .. math:: V^\top \sigma(W^\top x + b) + c

    Args:
      params: SmallMLP of float arrays weight_in [D, J], bias_in [J], weight_out [J, O] and bias_out [O].
      x: float [..., D].
    Returns:
      float32 (wider if an input is) [..., O].
    Raises:
      ValueError: widths do not agree.
      TypeError: x is not floating point.

    >>> params = SmallMLP(jnp.zeros((2, 3)), jnp.zeros(3), jnp.ones((3, 1)), jnp.ones(1))
    >>> print(small_mlp(params, jnp.zeros(2)))
    [2.5]

    Reference: standard.
    """
    x = checks.floating(x, "x")
    weight_in, bias_in, weight_out, bias_out = params
    if x.ndim < 1 or x.shape[-1] != weight_in.shape[0]:
        raise ValueError(f"x must have shape [..., {weight_in.shape[0]}], got {list(x.shape)}")
    dtype = accumulation_dtype(x, *params)
    with jax.default_matmul_precision("highest"):
        hidden = jax.nn.sigmoid(x.astype(dtype) @ weight_in.astype(dtype) + bias_in)
        return hidden @ weight_out.astype(dtype) + bias_out


def boosted_prefix(model: Boosted, num_units: int) -> Boosted:
    r"""The model after its first stages: the hidden units trained last are switched off.

    .. math:: F_0 + \sum_{t \le n / J} \rho_t h_t

    The constants of the later stages go with their units. The bias of an assembled network holds them all, so cut first
    and assemble then.

    Args:
      model: Boosted of T stages with J hidden units each.
      num_units: n, static, in [0, T J] and a multiple of J.
    Returns:
      Boosted of n / J stages.
    Raises:
      ValueError: num_units is out of range or no multiple of J.
      TypeError: num_units is not a static integer.

    >>> stages = SmallMLP(jnp.zeros((4, 2, 3)), jnp.zeros((4, 3)), jnp.ones((4, 3, 1)), jnp.zeros((4, 1)))
    >>> print(boosted_prefix(Boosted(stages, jnp.ones(4), jnp.zeros(1)), 6).steps)
    [1. 1.]

    Reference: Emami and Martinez-Munoz, "Sequential Training of Neural Networks with Gradient Boosting" (2023). Checked
    against the staged predictions of the authors' code.
    """
    num_stages, _, width = model.stages.weight_in.shape
    checks.divisible(checks.size(num_units, "num_units", 0), "num_units", width)
    checks.in_range(num_units, "num_units", 0, num_stages * width)
    cut = num_units // width
    return Boosted(jax.tree.map(lambda leaf: leaf[:cut], model.stages), model.steps[:cut], model.intercept)


def assemble_boosted(model: Boosted, *, scale: ArrayLike = 1.0) -> SmallMLP:
    r"""The sum of stages as one network with all their hidden units.

    .. math:: W = [W_1 \dots W_T], \quad V = s\, [\rho_1 V_1; \dots; \rho_T V_T],
              \quad c = s\, \big(F_0 + \textstyle\sum_t \rho_t c_t\big)

    Args:
      model: Boosted of T stages with J hidden units each.
      scale: s, multiplies the output; 2 makes logits of a model of the "binary" loss, whose probability of label 1 is
        sigmoid(2 F).
    Returns:
      SmallMLP with T J hidden units, those of the first stage first.
    Raises:
      ValueError: the model's leaves disagree in T.

    >>> stages = SmallMLP(jnp.zeros((4, 2, 3)), jnp.zeros((4, 3)), jnp.ones((4, 3, 1)), jnp.ones((4, 1)))
    >>> print(assemble_boosted(Boosted(stages, jnp.full(4, 0.5), jnp.ones(1)), scale=2.0).bias_out)
    [6.]

    Reference: Emami and Martinez-Munoz, "Sequential Training of Neural Networks with Gradient Boosting" (2023). Checked
    against the authors' code.
    """
    weight_in, bias_in, weight_out, bias_out = model.stages
    checks.batch_match(weight_in, "stages", model.steps, "steps")
    width, outputs = weight_in.shape[1], weight_out.shape[2]
    steps = model.steps * jnp.asarray(scale, model.steps.dtype)
    return SmallMLP(
        jnp.moveaxis(weight_in, 0, 1).reshape(width, -1),
        bias_in.reshape(-1),
        (steps[:, None, None] * weight_out).reshape(-1, outputs),
        jnp.asarray(scale, steps.dtype) * model.intercept + jnp.sum(steps[:, None] * bias_out, axis=0),
    )


class CompanderScales(NamedTuple):
    """The bound and the width of one companded leaf; both > 0, scalars or broadcastable to the leaf."""

    a: Array
    b: Array


def weight_compander(v: ArrayLike, a: ArrayLike, b: ArrayLike) -> Array:
    r"""Weights as a bounded function of what is trained.

    .. math:: w = a \arctan(v / b), \qquad \frac{dw}{dv} = \frac{a b}{v^2 + b^2}

    No weight exceeds a pi / 2. A step of v moves w by up to a / b times as much near 0 and hardly at all for large v:
    so small weights leave 0 faster than large ones grow. Decay of v is not decay of w.

    Args:
      v: float [...].
      a: > 0, a float or an array that broadcasts to v; learned ones are kept positive by the caller, as by softplus.
      b: > 0, like a.
    Returns:
      The dtype of v, [...], strictly between -a pi / 2 and a pi / 2 up to rounding.
    Raises:
      ValueError: a static a or b <= 0, or one that does not broadcast.
      TypeError: v is not floating point.

    >>> [f"{w:.3f}" for w in weight_compander(jnp.array([0.0, 1.0, 100.0]), 1.0, 1.0)]
    ['0.000', '0.785', '1.561']

    Reference: Cakaj et al., "Weight Compander: A Simple Weight Reparameterization for Regularization" (2023). The form
    with arctan is recalled; there is no public code.
    """
    v, bound, width = _compander(v, "v", a, b)
    return (bound * jnp.arctan(v.astype(bound.dtype) / width)).astype(v.dtype)


def weight_compander_inverse(w: ArrayLike, a: ArrayLike, b: ArrayLike) -> Array:
    r"""What ``weight_compander`` turns into given weights.

    .. math:: v = b \tan(w / a)

    Args:
      w: float [...], with \|w\| < a pi / 2; a weight beyond that gives NaN.
      a: > 0, a float or an array that broadcasts to w.
      b: > 0, like a.
    Returns:
      The dtype of w, [...].
    Raises:
      ValueError: a static a or b <= 0, or one that does not broadcast.
      TypeError: w is not floating point.

    >>> [f"{v:.3f}" for v in weight_compander_inverse(jnp.array([0.0, 0.5, 2.0]), 1.0, 1.0)]
    ['0.000', '0.546', 'nan']

    Reference: as ``weight_compander``.
    """
    w, bound, width = _compander(w, "w", a, b)
    angle = w.astype(bound.dtype) / bound
    inside = jnp.abs(angle) < jnp.pi / 2
    return jnp.where(inside, width * jnp.tan(jnp.where(inside, angle, 0.0)), jnp.nan).astype(w.dtype)


def compander_init(params: PyTree, *, ratio: ArrayLike = 1.0, headroom: ArrayLike = 2.0) -> tuple[PyTree, PyTree]:
    r"""A network's kernels in companded form: the same weights, and for every kernel its scales.

    .. math:: a = h \max_{ij} |w_{ij}|, \quad b = a / r, \quad v = b \tan(w / a)

    Back to weights by ``jax.tree.map(lambda v, s: v if s is None else weight_compander(v, *s), v, scales)``: inside the
    loss to train v, and the scales too if they are to be learned.

    Args:
      params: pytree of floats. Leaves with fewer than two axes (biases, gains) stay as they are.
      ratio: r > 0, how much faster than v a weight moves near 0.
      headroom: h > 2 / pi, the bound of a kernel is h pi / 2 times its largest weight; at most 2 / pi gives NaN.
    Returns:
      (v, scales): a pytree like params, and one with ``CompanderScales`` of float32 (wider if the leaf is) scalars for
      every kernel and None for every other leaf. A kernel of zeros gets a = 1.
    Raises:
      ValueError: a static ratio or headroom <= 0.
      TypeError: a leaf is not floating point.

    >>> v, scales = compander_init({"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.zeros(2)})
    >>> print(f"{weight_compander(v['kernel'], *scales['kernel'])[0, 1]:.3f}", scales["kernel"].a, scales["bias"])
    -2.000 4.0 None

    Reference: Cakaj et al., "Weight Compander: A Simple Weight Reparameterization for Regularization" (2023). The start
    from a network's own weights is inferred.
    """
    checks.positive(ratio, "ratio")
    checks.positive(headroom, "headroom")

    def scales_of(leaf: ArrayLike) -> CompanderScales | None:
        leaf = checks.floating(leaf, "params")
        if leaf.ndim < 2:
            return None
        dtype = accumulation_dtype(leaf)
        largest = jnp.max(jnp.abs(leaf), initial=0).astype(dtype)
        a = jnp.where(largest == 0, 1.0, jnp.asarray(headroom, dtype) * largest)
        return CompanderScales(a, a / jnp.asarray(ratio, dtype))

    scales = jax.tree.map(scales_of, params)
    v = jax.tree.map(lambda leaf, s: leaf if s is None else weight_compander_inverse(leaf, *s), params, scales)
    return v, scales


def _compander(value: ArrayLike, name: str, a: ArrayLike, b: ArrayLike) -> tuple[Array, Array, Array]:
    checks.positive(a, "a")
    checks.positive(b, "b")
    array = checks.floating(value, name)
    for other, scale in (("a", a), ("b", b)):
        if jnp.broadcast_shapes(jnp.shape(scale), array.shape) != array.shape:
            raise ValueError(f"{other} must broadcast to {name} {list(array.shape)}, got {list(jnp.shape(scale))}")
    dtype = accumulation_dtype(array)
    return array, jnp.asarray(a, dtype), jnp.asarray(b, dtype)
