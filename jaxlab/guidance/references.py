"""Rules that look at more predictions than the conditional and the unconditional one."""

from collections.abc import Sequence

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.guidance.rules import Context, Rule, per_sample, stateless
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["multi_condition"]


def multi_condition(scales: Sequence[ArrayLike]) -> Rule:
    r"""A guidance scale for every condition, where conditions are added one after the other; it stands for the cfg.

    .. math:: \hat p = p_0 + \sum_{m=1}^{M-1} w_m\,(p_m - p_{m-1})

    p_0 is the unconditional prediction and p_{M-1} the conditional one. Those between come from ``uncond_fn``, which
    returns ``(p_0, (p_1, ..., p_{M-2}))``; declare its ``uncond_cost`` as M - 1. What is skipped is skipped for all.

    Args:
      scales: w_1 ... w_{M-1}, M >= 2, each a float or an array [B]; all equal to w is ``cfg(w)``.
    Returns:
      A Rule without state. In a chain the rules before it act on the direction from p_0 to p_{M-1}, which the last
      scale multiplies.
    Raises:
      ValueError: no scales; in the sampler, another number of predictions than of scales.

    >>> from jaxlab.guidance import guide
    >>> zero = jnp.zeros((1, 1))
    >>> prediction, _ = guide(
    ...     multi_condition([4.0, 2.0]), (), zero + 3.0, zero, x=zero, t=0.5, extras=(zero + 1.0,)
    ... )
    >>> print(prediction)
    [[8.]]

    Reference: the three-way guidance of Meng et al., "EchoMimicV3" (2025), checked against the authors' code; the
    arithmetic is that of ``combine_nested``.
    """
    given = tuple(scales)
    if not given:
        raise ValueError("scales must hold at least one scale, got none")

    def update(direction: Array, state: PyTree, context: Context) -> tuple[Array, PyTree]:
        between = () if context.extras is None else tuple(context.extras)
        if len(between) != len(given) - 1:
            raise ValueError(
                f"uncond_fn must return {len(given) - 1} predictions between the unconditional and the conditional one "
                f"for {len(given)} scales, got {len(between)}"
            )
        last = per_sample(given[-1], "the last of scales", direction)
        total = (last - 1.0) * direction
        before = context.uncond
        for scale, prediction in zip(given[:-1], between, strict=True):
            now = checks.floating(prediction, "a prediction between").astype(direction.dtype)
            checks.same_shape(now, "a prediction between", direction, "cond")
            total = total + (per_sample(scale, "a scale", direction) - last) * (now - before)
            before = now
        return jnp.asarray(total), state

    return Rule(stateless, update, scales=1)
