"""Rules that change the guidance direction itself: momentum, norm, projection, contrast; and the geometry they use."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.guidance.rules import Context, Rule, freeze, per_sample, stateless
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["clip_norm", "cosine_agreement", "momentum", "noise_damped", "project", "project_onto", "rescale_std"]


def _rows(value: ArrayLike, name: str) -> Array:
    """[B, ...] as [B, D] in float32 or wider."""
    array = checks.floating(value, name)
    if array.ndim == 0:
        raise ValueError(f"{name} must have shape [B, ...], got a scalar")
    return array.reshape(array.shape[0], -1).astype(accumulation_dtype(array))


def _pair(a: ArrayLike, name_a: str, b: ArrayLike, name_b: str) -> tuple[Array, Array]:
    a, b = checks.floating(a, name_a), checks.floating(b, name_b)
    checks.same_shape(a, name_a, b, name_b)
    return a, b


# Geometry


def project_onto(v: ArrayLike, onto: ArrayLike) -> tuple[Array, Array]:
    r"""The part of v along another vector, and the rest, over all axes but the first.

    .. math:: v_\parallel = \frac{\langle v, o\rangle}{\langle o, o\rangle}\, o, \qquad v_\perp = v - v_\parallel

    Args:
      v: float [B, ...]; an array [D] is one vector.
      onto: float, same shape.
    Returns:
      (parallel, orthogonal) in the shape and dtype of v. Onto a zero vector the parallel part is 0.
    Raises:
      ValueError: shapes differ.
      TypeError: an array is not floating point.

    >>> parallel, orthogonal = project_onto(jnp.array([[3.0, 4.0]]), jnp.array([[2.0, 0.0]]))
    >>> print(parallel, orthogonal)
    [[3. 0.]] [[0. 4.]]

    Reference: standard.
    """
    v, onto = _pair(v, "v", onto, "onto")
    flat, target = (_rows(a[None] if a.ndim == 1 else a, name) for a, name in ((v, "v"), (onto, "onto")))
    unit = normalize(target, eps=0.0)
    parallel = jnp.sum(flat * unit, axis=-1, keepdims=True) * unit
    orthogonal = flat - parallel
    return parallel.reshape(v.shape).astype(v.dtype), orthogonal.reshape(v.shape).astype(v.dtype)


def cosine_agreement(a: ArrayLike, b: ArrayLike) -> Array:
    r"""Cosine of two predictions over all entries of a sample (larger = more alike).

    .. math:: \frac{\langle a, b\rangle}{\|a\|\,\|b\|}

    Args:
      a: float [B, ...].
      b: float, same shape.
    Returns:
      float32 or wider [B] in [-1, 1]; 1 where a prediction is zero (there is no direction to disagree on).
    Raises:
      ValueError: shapes differ.
      TypeError: an array is not floating point.

    >>> print(cosine_agreement(jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[2.0, 0.0], [0.0, 1.0]])))
    [1. 0.]

    Reference: the agreement of Castillo et al., "Adaptive Guidance: Training-free Acceleration of Conditional Diffusion
    Models" (2023), standard.
    """
    a, b = _pair(a, "a", b, "b")
    left, right = normalize(_rows(a, "a"), eps=0.0), normalize(_rows(b, "b"), eps=0.0)
    directionless = jnp.all(left == 0, axis=-1) | jnp.all(right == 0, axis=-1)
    return jnp.where(directionless, 1.0, jnp.clip(jnp.sum(left * right, axis=-1), -1.0, 1.0))


# Rules


def momentum(beta: ArrayLike) -> Rule:
    r"""A running sum of the directions; a negative beta pushes away from where guidance went before.

    .. math:: m \leftarrow d + \beta m, \qquad d \leftarrow m

    Args:
      beta: in (-1, 1), a float or an array [B]; 0 is neutral. The paper's values are -0.5 and -0.75.
    Returns:
      A Rule whose state is the sum, zeros at first. It moves once per step, also where a step calls the model twice.
    Raises:
      ValueError: a static beta outside (-1, 1).

    >>> from jaxlab import guidance
    >>> rule = guidance.chain(momentum(-0.5), guidance.cfg(3.0))
    >>> zero = jnp.zeros((1, 1))
    >>> _, state = guidance.guide(rule, rule.init(zero), zero + 1.0, zero, x=zero, t=0.5)
    >>> print(guidance.guide(rule, state, zero + 1.0, zero, x=zero, t=0.4)[0])
    [[2.]]

    Reference: Sadat et al., "Eliminating Oversaturation and Artifacts of High Guidance Scales in Diffusion Models"
    (2024); formula checked against the implementation in diffusers.
    """
    if checks.is_static(beta) and not -1 < beta < 1:
        raise ValueError(f"beta must lie in (-1, 1), got {beta!r}")

    def init(x: Array) -> Array:
        return jnp.zeros(x.shape, accumulation_dtype(x))

    def update(direction: Array, state: Array, context: Context) -> tuple[Array, PyTree]:
        total = direction + per_sample(beta, "beta", direction) * state
        return total, freeze(context.active, total, state)

    return Rule(init, update)


def clip_norm(threshold: ArrayLike, *, norm: str = "l2") -> Rule:
    r"""Shortens directions that are longer than the threshold.

    .. math:: d \leftarrow d \min(1, r / \|d\|)

    Args:
      threshold: r > 0, a float or an array [B]; infinity is neutral.
      norm: "l2" over all entries of a sample, as published: a threshold then depends on the resolution; "rms" divides
        the squares by their number, so that it does not.
    Returns:
      A Rule without state; a zero direction stays zero.
    Raises:
      ValueError: a static threshold <= 0, or an unknown norm.

    >>> from jaxlab import guidance
    >>> rule = guidance.chain(clip_norm(1.0), guidance.cfg(2.0))
    >>> zero = jnp.zeros((1, 2))
    >>> print(guidance.guide(rule, rule.init(zero), jnp.array([[3.0, 4.0]]), zero, x=zero, t=0.5)[0])
    [[3.6 4.8]]

    Reference: Sadat et al., as in ``momentum``; the rms form is standard.
    """
    checks.positive(threshold, "threshold")
    checks.one_of(norm, "norm", ("l2", "rms"))

    def update(direction: Array, state: PyTree, context: Context) -> tuple[Array, PyTree]:
        axes = tuple(range(1, direction.ndim))
        squares = jnp.sum(direction**2, axis=axes, keepdims=True)
        squares = squares / max(1, direction[0].size) if norm == "rms" else squares
        length = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
        limit = per_sample(threshold, "threshold", direction)
        # Not min(1, r / length): its gradient is NaN at r = inf. A NaN length passes through to the direction.
        factor = jnp.where(length > limit, limit, length) / length
        return jnp.where(squares == 0, direction, factor * direction), state

    return Rule(stateless, update)


def project(eta: ArrayLike = 0.0) -> Rule:
    r"""Keeps a share of the part of the direction that is parallel to the conditional prediction.

    .. math:: d \leftarrow d_\perp + \eta\, d_\parallel

    The parallel part is what oversaturates; the rule is meant for data predictions (x0).

    Args:
      eta: a float or an array [B]; 1 is neutral, 0 drops the parallel part.
    Returns:
      A Rule without state. Where the conditional prediction is zero nothing is parallel to it: the direction stays.

    >>> from jaxlab import guidance
    >>> rule = guidance.chain(project(0.0), guidance.cfg(2.0))
    >>> cond, uncond = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, -1.0]])
    >>> print(guidance.guide(rule, rule.init(cond), cond, uncond, x=cond, t=0.5)[0])
    [[1. 1.]]

    Reference: Sadat et al., as in ``momentum``. Formula checked; the library's default form starts from the
    unconditional prediction, the paper's, followed here, from the conditional one.
    """

    def update(direction: Array, state: PyTree, context: Context) -> tuple[Array, PyTree]:
        parallel, _ = project_onto(_rows(direction, "direction"), _rows(context.cond, "cond"))
        dropped = 1.0 - per_sample(eta, "eta", direction)
        return direction - dropped * parallel.reshape(direction.shape), state

    return Rule(stateless, update)


def rescale_std(mix: ArrayLike = 0.7) -> Rule:
    r"""Gives the guided prediction the standard deviation of the conditional one; stands after ``cfg``.

    .. math:: p = c + d, \qquad p' = p \left( \phi\, \frac{\sigma_c}{\sigma_p} + 1 - \phi \right),
              \qquad d \leftarrow p' - c

    Args:
      mix: phi in [0, 1], a float or an array [B]; 0 is neutral.
    Returns:
      A Rule without state; a constant guided prediction stays. Standard deviations are over the entries of a sample.
    Raises:
      ValueError: a static mix outside [0, 1].

    >>> from jaxlab import guidance
    >>> rule = guidance.chain(guidance.cfg(3.0), rescale_std(1.0))
    >>> zero = jnp.zeros((1, 2))
    >>> prediction, _ = guidance.guide(rule, rule.init(zero), jnp.array([[-1.0, 1.0]]), zero, x=zero, t=0.5)
    >>> print(jnp.round(prediction, 4))
    [[-1.  1.]]

    Reference: Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed" (2023), standard; checked
    against the rescaling in diffusers.
    """
    checks.in_range(mix, "mix", 0.0, 1.0)

    def update(direction: Array, state: PyTree, context: Context) -> tuple[Array, PyTree]:
        axes = tuple(range(1, direction.ndim))
        guided = context.cond + direction
        variances = jnp.var(context.cond, axis=axes, keepdims=True), jnp.var(guided, axis=axes, keepdims=True)
        flat = (variances[0] == 0) | (variances[1] == 0)
        ratio = jnp.sqrt(jnp.where(flat, 1.0, variances[0]) / jnp.where(flat, 1.0, variances[1]))
        ratio = jnp.where((variances[0] == 0) & (variances[1] > 0), 0.0, ratio)
        # Written as a change of the direction, so that mix = 0 leaves it exactly as it was.
        return direction + per_sample(mix, "mix", direction) * (ratio - 1.0) * guided, state

    return Rule(stateless, update)


def noise_damped(scale: ArrayLike) -> Rule:
    r"""Guidance whose base is the unconditional prediction of another, better denoiser; takes the place of ``cfg``.

    .. math:: d \leftarrow (w - 1)\,d + (u_\mathrm{base} - u), \qquad \hat p = u_\mathrm{base} + w\,(c - u)

    A network changed for another resolution (``nn.redilate_conv``) finds the right structure and leaves noise behind;
    the difference of its two predictions cancels that noise, and the base takes it from the network as it was trained.

    Args:
      scale: w, a float or an array [B]; 1 is not the conditional prediction here, but differs by u_base - u.
    Returns:
      A Rule without state that ends a chain. It reads u_base [B, ...] from ``context.extras``: ``uncond_fn`` returns
      (uncond, u_base), and declares the cost of both calls. Where the base is uncond itself (as after the first steps,
      in the paper) it is ``cfg(scale)``. A rule that stands in for the call (``linear_ag``) has no base to offer.
    Raises:
      ValueError: extras are no array of the shape of the prediction.

    >>> from jaxlab import guidance
    >>> zero = jnp.zeros((1, 1))
    >>> print(guidance.guide(noise_damped(3.0), (), zero + 2.0, zero + 1.0, x=zero, t=0.5, extras=zero + 0.5)[0])
    [[3.5]]

    Reference: He et al., "ScaleCrafter: Tuning-free Higher-Resolution Visual Generation with Diffusion Models" (2023);
    checked against the authors' code.
    """

    def update(direction: Array, state: PyTree, context: Context) -> tuple[Array, PyTree]:
        base = context.extras
        if getattr(base, "shape", None) != direction.shape:
            found = "no extras" if base is None else getattr(base, "shape", type(base).__name__)
            raise ValueError(
                f"noise_damped needs uncond_fn to return (uncond, base) with a base of shape {list(direction.shape)}, "
                f"got {found}"
            )
        guided = (per_sample(scale, "scale", direction) - 1.0) * direction
        return guided + (base.astype(direction.dtype) - context.uncond), state

    return Rule(stateless, update, scales=1)
