"""Networks put together from the weights of others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["Boosted", "SmallMLP", "assemble_boosted", "boosted_prefix", "small_mlp"]


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

    .. math:: W = [W_1 \dots W_T], \quad V = s\, [\rho_1 V_1; \dots; \rho_T V_T], \quad
              c = s\, \big(F_0 + \textstyle\sum_t \rho_t c_t\big)

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
