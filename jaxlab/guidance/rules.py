"""Guidance as a transformation of the direction ``cond - uncond``: the rule, the chain, and the scale that ends it.

A guided prediction is ``cond + direction``. The direction starts as ``cond - uncond``, every rule of a chain changes
it in turn, and ``cfg(scale)`` multiplies it by ``scale - 1``. At scale 1 the prediction is the conditional one, and
``cfg`` alone gives ``uncond + scale * (cond - uncond)``.

    apg = chain(momentum(-0.5), clip_norm(2.5), project(0.0), cfg(7.5))

To write a rule, give ``Rule`` an ``init`` and an ``update``. Two promises let rules compose and let a sample not depend
on the batch it is in: a rule at its neutral setting returns the direction it was given; where ``context.active`` is
False the direction is 0 and the state of that sample stays what it was (``freeze``).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["Context", "Rule", "cfg", "chain", "guide", "interval", "schedule"]


class Context(NamedTuple):
    """What a rule may look at besides the direction. Predictions are in the caller's space, in float32 or wider.

    Where a sample is not active, its unconditional prediction was not needed and ``uncond`` holds ``cond``.
    """

    cond: Array  # [B, ...]
    uncond: Array  # [B, ...]
    x: Array  # [B, ...]
    t: Array  # [] in the sampler, or [B]
    step: Array  # int32 [], from 0
    num_steps: int
    active: Array  # bool [B]
    extras: PyTree = None  # what uncond_fn returned beside its prediction; zeros where the call was skipped


class Rule(NamedTuple):
    """A transformation of the guidance direction, in the manner of an optax gradient transformation.

    ``init(x [B, ...]) -> state``; ``update(direction, state, context) -> (direction, state)``.
    ``needs_uncond(state, t, step) -> bool [] or [B]``: whether the unconditional prediction is needed, asked before it
    is made; None always needs it. ``predict_uncond(state, cond, t, step) -> (uncond, valid [] or [B])`` stands in for a
    call that was skipped; None never does. ``scales`` counts the guidance scales (``cfg``) inside: a rule that ends a
    chain with a scale of its own says 1.
    """

    init: Callable[[Array], PyTree]
    update: Callable[[Array, PyTree, Context], tuple[Array, PyTree]]
    needs_uncond: Callable[[PyTree, Array, Array], Array] | None = None
    predict_uncond: Callable[[PyTree, Array, Array, Array], tuple[Array, Array]] | None = None
    scales: int = 0


# For writers of rules


def stateless(x: Array) -> tuple[()]:
    """The ``init`` of a rule without state."""
    return ()


def per_sample(value: ArrayLike, name: str, like: Array) -> Array:
    """A number, or one number per sample shaped to broadcast against ``like`` [B, ...]; ValueError otherwise."""
    array = jnp.asarray(value)
    array = array if array.dtype == jnp.bool_ else array.astype(like.dtype)
    if array.shape not in ((), like.shape[:1]):
        raise ValueError(
            f"{name} must be a number or have shape {[like.shape[0]]}, one per sample, got {list(array.shape)}"
        )
    return array if array.ndim == 0 else array.reshape(array.shape + (1,) * (like.ndim - 1))


def freeze(active: Array, new: PyTree, old: PyTree) -> PyTree:
    """The new state [B, ...] of the samples that are active, the old one of the others."""
    return jax.tree.map(lambda n, o: jnp.where(per_sample(active, "active", n), n, o), new, old)


def needs_uncond(rule: Rule, state: PyTree, t: Array, step: Array, batch: int) -> Array:
    """Which samples need the unconditional prediction, bool [batch]."""
    if rule.needs_uncond is None:
        return jnp.ones(batch, bool)
    return _flags(rule.needs_uncond(state, t, step), "needs_uncond", batch)


def check_rule(rule: Rule, name: str = "rule") -> None:
    """Raises unless the rule can be applied: it is a Rule with exactly one guidance scale."""
    if not isinstance(rule, Rule):
        raise TypeError(f"{name} must be a guidance.Rule, got {type(rule).__name__}")
    if rule.scales != 1:
        raise ValueError(f"{name} must hold exactly one cfg, such as chain(..., cfg(scale)); it holds {rule.scales}")


def _flags(value: ArrayLike, name: str, batch: int) -> Array:
    array = jnp.asarray(value)
    if array.dtype != jnp.bool_ or array.shape not in ((), (batch,)):
        raise ValueError(f"{name} must return bool [] or [{batch}], got {array.dtype.name}{list(array.shape)}")
    return jnp.broadcast_to(array, (batch,))


# The algebra


def chain(*rules: Rule) -> Rule:
    """Rules applied one after the other, exactly one of which is a ``cfg``.

    The unconditional prediction is needed where all members need it, so an interval or a latched rule saves the call
    for the whole chain.

    Args:
      *rules: from first to last; a chain may be a member.
    Returns:
      A Rule whose state is the tuple of the states. Neutrality: ``chain(r, cfg(1.0))`` gives the conditional
      prediction, ``chain(r, cfg(w))`` with r at its neutral setting gives ``cfg(w)``.
    Raises:
      ValueError: no cfg, more than one, or more than one member that predicts the unconditional prediction.
      TypeError: a member is not a Rule.

    >>> rule = chain(interval(0.2, 0.8), cfg(3.0))
    >>> x, t = jnp.zeros((1, 2)), jnp.float32(0.5)
    >>> prediction, _ = guide(rule, rule.init(x), jnp.ones((1, 2)), jnp.zeros((1, 2)), x=x, t=t)
    >>> print(prediction)
    [[3. 3.]]

    Reference: standard; the manner is that of ``optax.chain``.
    """
    for position, rule in enumerate(rules):
        if not isinstance(rule, Rule):
            raise TypeError(f"rule {position} of the chain must be a guidance.Rule, got {type(rule).__name__}")
    scales = sum(rule.scales for rule in rules)
    if scales != 1:
        raise ValueError(f"a chain must hold exactly one cfg, got {scales} among {len(rules)} rules")
    predictors = [position for position, rule in enumerate(rules) if rule.predict_uncond is not None]
    if len(predictors) > 1:
        raise ValueError(f"at most one rule of a chain may predict the unconditional prediction, got {len(predictors)}")

    def init(x: Array) -> PyTree:
        return tuple(rule.init(x) for rule in rules)

    def update(direction: Array, state: PyTree, context: Context) -> tuple[Array, PyTree]:
        new = []
        for rule, part in zip(rules, state, strict=True):
            direction, part = rule.update(direction, part, context)
            new.append(part)
        return direction, tuple(new)

    def allowed(state: PyTree, t: Array, step: Array, except_for: int | None = None) -> Array:
        need = jnp.asarray(True)
        for position, (rule, part) in enumerate(zip(rules, state, strict=True)):
            if rule.needs_uncond is not None and position != except_for:
                need = need & rule.needs_uncond(part, t, step)
        return need

    def predict(state: PyTree, cond: Array, t: Array, step: Array) -> tuple[Array, Array]:
        at = predictors[0]
        predict_uncond = rules[at].predict_uncond
        assert predict_uncond is not None
        uncond, valid = predict_uncond(state[at], cond, t, step)
        # A prediction counts only where the other members want guidance at all.
        return uncond, valid & allowed(state, t, step, except_for=at)

    return Rule(
        init,
        update,
        allowed if any(rule.needs_uncond is not None for rule in rules) else None,
        predict if predictors else None,
        scales=1,
    )


def guide(
    rule: Rule | None,
    state: PyTree,
    cond: ArrayLike,
    uncond: ArrayLike,
    *,
    x: ArrayLike,
    t: ArrayLike,
    step: ArrayLike = 0,
    num_steps: int = 1,
    need: ArrayLike | None = None,
    extras: PyTree = None,
) -> tuple[Array, PyTree]:
    r"""The guided prediction of one step, from both predictions: what the sampler does after its two calls.

    .. math:: \hat p = c + r(c - u)

    Args:
      rule: with exactly one ``cfg``; None gives cond.
      state: ``rule.init(x)``, or what the step before returned. States belong to one trajectory.
      cond: float [B, ...], conditional prediction (noise, data, velocity, score or logits: rules act in this space).
      uncond: float [B, ...], unconditional (or negative) prediction; ignored where ``need`` is False.
      x: float [B, ...], the noisy samples.
      t: time, a float or an array [B].
      step: index of the step, an int.
      num_steps: how many steps the trajectory has, static.
      need: bool [B], which samples have an unconditional prediction; None asks the rule.
      extras: anything that rules may find in their context, such as further references.
    Returns:
      (prediction, state): the prediction in the dtype of cond, computed in float32 or wider. Where guidance is off the
      prediction is cond, bit for bit.
    Raises:
      ValueError: shapes differ, the rule holds no cfg or several, or a scale array has a length other than B.
      TypeError: predictions are not floating point or wider than float32 while x is not.

    >>> one, zero = jnp.ones((1, 2)), jnp.zeros((1, 2))
    >>> print(guide(cfg(3.0), (), one, zero, x=zero, t=0.5)[0])
    [[3. 3.]]

    Reference: Ho & Salimans, "Classifier-Free Diffusion Guidance" (2022) for cfg; standard.
    """
    cond = checks.floating(cond, "cond")
    if rule is None:
        return cond, state
    check_rule(rule)
    uncond, x = checks.floating(uncond, "uncond"), checks.floating(x, "x")
    checks.same_shape(cond, "cond", uncond, "uncond")
    if cond.ndim == 0:
        raise ValueError("cond must have shape [B, ...], got a scalar")
    checks.batch_match(cond, "cond", x, "x")
    dtype = accumulation_dtype(x)
    for value, name in ((cond, "cond"), (uncond, "uncond")):
        checks.not_wider(value, name, dtype, state="the sample")
    times, index = jnp.asarray(t, dtype), jnp.asarray(step, jnp.int32)
    batch = cond.shape[0]
    active = needs_uncond(rule, state, times, index, batch) if need is None else _flags(need, "need", batch)
    wide = cond.astype(dtype)
    if rule.predict_uncond is None:
        stand_in = wide
    else:
        stand_in, valid = rule.predict_uncond(state, wide, times, index)
        valid = _flags(valid, "the second result of predict_uncond", batch)
        stand_in = jnp.where(per_sample(valid, "valid", wide), stand_in, wide)
    reference = jnp.where(per_sample(active, "need", wide), uncond.astype(dtype), stand_in)
    active = active if rule.predict_uncond is None else active | valid
    context = Context(wide, reference, x.astype(dtype), times, index, num_steps, active, extras)
    direction, state = rule.update(wide - reference, state, context)
    direction = jnp.where(per_sample(active, "need", wide), direction, 0.0)
    return (wide + direction).astype(cond.dtype), state


# Rules that say how much and when


def cfg(scale: ArrayLike | Callable[[Context], ArrayLike]) -> Rule:
    r"""The guidance scale: multiplies the direction by ``scale - 1``; the one rule that every chain holds.

    .. math:: \hat p = c + (w - 1)\,(c - u) = u + w\,(c - u)

    Args:
      scale: w, a float, an array [B], or a function from Context to either; 1 is the conditional prediction, 0 the
        unconditional one, negative guides away. Papers whose w is 0 for the conditional prediction add 1.
    Returns:
      A Rule without state.

    >>> zero = jnp.zeros((2, 1))
    >>> print(guide(cfg(jnp.array([1.0, 5.0])), (), zero + 1.0, zero, x=zero, t=0.5)[0][:, 0])
    [1. 5.]

    Reference: Ho & Salimans, "Classifier-Free Diffusion Guidance" (2022), standard.
    """

    def update(direction: Array, state: PyTree, context: Context) -> tuple[Array, PyTree]:
        value: Any = scale(context) if callable(scale) else scale
        return (per_sample(value, "scale", direction) - 1.0) * direction, state

    return Rule(stateless, update, scales=1)


def schedule(fn: Callable[[Context], ArrayLike]) -> Rule:
    """A factor on the direction that depends on time, step or predictions; neutral where it is 1.

    A scale that changes is ``cfg(fn)`` instead: a factor f on a scale w gives the scale ``1 + f (w - 1)``.

    Args:
      fn: from Context to a number or an array [B].
    Returns:
      A Rule without state. A factor of 0 gives no guidance but makes the call all the same: see ``interval``.

    >>> rule = chain(schedule(lambda context: context.step / context.num_steps), cfg(3.0))
    >>> zero = jnp.zeros((1, 1))
    >>> print(guide(rule, rule.init(zero), zero + 1.0, zero, x=zero, t=0.5, step=1, num_steps=4)[0])
    [[1.5]]

    Reference: standard.
    """

    def update(direction: Array, state: PyTree, context: Context) -> tuple[Array, PyTree]:
        return per_sample(fn(context), "the factor of schedule", direction) * direction, state

    return Rule(stateless, update)


def interval(low: ArrayLike, high: ArrayLike) -> Rule:
    """Guidance only while ``low <= t <= high``; outside the unconditional call is skipped.

    Args:
      low: smallest time with guidance, a float or a scalar array.
      high: largest time with guidance; (-inf, inf) is neutral.
    Returns:
      A Rule without state.
    Raises:
      ValueError: static bounds with low > high.

    >>> rule = chain(interval(0.0, 0.7), cfg(1.8))
    >>> print(rule.needs_uncond(rule.init(jnp.zeros((1, 1))), jnp.array([0.5, 0.9]), 0))
    [ True False]

    Reference: the sampler of Yu et al., "Representation Alignment for Generation" (2024), scale 1.8 on [0, 0.7];
    checked against the authors' code (both ends count).
    """
    if checks.is_static(low) and checks.is_static(high) and not low <= high:
        raise ValueError(f"interval needs low <= high, got {low!r} and {high!r}")

    def inside(state: PyTree, t: Array, step: Array) -> Array:
        return (t >= low) & (t <= high)

    def update(direction: Array, state: PyTree, context: Context) -> tuple[Array, PyTree]:
        keep = per_sample(inside(state, context.t, context.step), "t", direction)
        return jnp.where(keep, direction, 0.0), state

    return Rule(stateless, update, inside)
