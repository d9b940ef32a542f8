"""What an optimiser believes about its own step size, and how a budget is split between size and steps."""

import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.optim.adaptation import DistanceState
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["lr_free_state", "size_iteration_adjustment"]


def lr_free_state(opt_state: PyTree) -> dict[str, Array]:
    r"""The estimates in the state of an optimiser without a learning rate, wherever in a chain it stands.

    .. math:: \text{DoG: } \frac{\bar r}{\sqrt{G}}, \qquad \text{DoWG: } \frac{\bar r^2}{\sqrt{W}}, \qquad
              \text{Mechanic: } \sum_i s_i

    Args:
      opt_state: of ``prodigy`` or ``dadapt_adamw`` (ours or ``optax.contrib``'s), ``optax.contrib.dog``, ``dowg`` or
        ``mechanize``, alone or inside chains and wrappers; the first one found counts.
    Returns:
      dict of scalars: "d", the distance to the solution (not for Mechanic), and "step_size", the last factor of the
      gradient or of the base optimiser's update (for Prodigy and D-Adaptation d is that of Adam). 0 before the first
      step of DoG and DoWG.
    Raises:
      ValueError: no such state is found.

    >>> optimizer = optax.chain(optax.clip(1.0), optax.contrib.prodigy(estim_lr0=1e-4))
    >>> print(lr_free_state(optimizer.init(jnp.zeros(2)))["d"])
    1e-04

    Reference: Kasimbeg et al., "How far away are truly hyperparameter-free learning algorithms?" (2025), inferred: the
    trajectories that one looks at.
    """
    found = _find(opt_state)
    if found is None:
        raise ValueError(f"opt_state must hold the state of a method without a learning rate, got {type(opt_state)}")
    return found


def _find(state: PyTree) -> dict[str, Array] | None:
    if isinstance(state, DistanceState):
        return {"d": state.distance, "step_size": state.distance}
    if isinstance(state, optax.contrib.ProdigyState | optax.contrib.DAdaptAdamWState):
        return {"d": jnp.asarray(state.estim_lr), "step_size": jnp.asarray(state.estim_lr)}
    if isinstance(state, optax.contrib.DoGState):
        return {"d": state.max_dist, "step_size": _over_root(state.max_dist, state.sum_sq_norm_grads)}
    if isinstance(state, optax.contrib.DoWGState):
        step = _over_root(state.estim_sq_dist, state.weighted_sq_norm_grads)
        return {"d": jnp.sqrt(state.estim_sq_dist), "step_size": step}
    if isinstance(state, optax.contrib.MechanicState):
        return {"step_size": jnp.sum(state.s)}
    children = state.values() if isinstance(state, dict) else state if isinstance(state, tuple | list) else ()
    return next((found for child in children if (found := _find(child)) is not None), None)


def _over_root(x: Array, square: Array) -> Array:
    return jnp.where(square > 0, x / jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def size_iteration_adjustment(budget: ArrayLike, *, ratio: ArrayLike = 5.0) -> tuple[Array, Array]:
    r"""Numbers of parameters and of training tokens that share a budget when every token is seen once.

    .. math:: P = \sqrt{C / r}, \qquad T = \sqrt{r C}

    so that P T = C and T / P = r.

    Args:
      budget: float [...], C > 0: parameters times tokens, to which the cost of training is proportional.
      ratio: r > 0, tokens per parameter.
    Returns:
      (parameters, tokens), float32 or wider [...], to be rounded.
    Raises:
      ValueError: budget and ratio do not broadcast, or a static number that is not positive.
      TypeError: budget is not floating point.

    >>> params, tokens = size_iteration_adjustment(jnp.array(2e7))
    >>> print(params, tokens)
    2000.0 10000.0

    Reference: Komatsuzaki, "One Epoch Is All You Need" (2019); the ratio of about 5 is checked in a summary, the rest
    recalled.
    """
    checks.positive(budget, "budget")
    checks.positive(ratio, "ratio")
    total, per = checks.floating(budget, "budget"), jnp.asarray(ratio)
    dtype = accumulation_dtype(total)
    try:
        total, per = jnp.broadcast_arrays(total.astype(dtype), per.astype(dtype))
    except ValueError as error:
        raise ValueError(f"budget and ratio must broadcast, got {list(total.shape)} and {list(per.shape)}") from error
    return jnp.sqrt(total / per), jnp.sqrt(total) * jnp.sqrt(per)
