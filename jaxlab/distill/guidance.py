"""Students of guided diffusion: one call instead of two, half the steps, jumps to the end of a segment."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks, diffusion, guidance
from jaxlab.diffusion.processes import Process, centered, expand, uncentered
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "GuidedTrajectory",
    "cosine_gap_weight",
    "guided_trajectory",
    "progressive_target",
    "segment_consistency",
    "truncated_snr_weight",
]

ModelFn = Callable[[Array, Array], Array]


class GuidedTrajectory(NamedTuple):
    """What a guided sampler saw: the inputs of every step, and what it made of them."""

    x: Array  # [S, B, ...]
    t: Array  # [S]
    cond: Array  # [S, B, ...], the conditional prediction
    guided: Array  # [S, B, ...], the prediction that was followed


def truncated_snr_weight(alpha: ArrayLike, std: ArrayLike) -> Array:
    r"""The weight of a data prediction's error: its signal-to-noise ratio, never less than 1.

    .. math:: \omega = \max(\alpha^2 / \sigma^2, 1)

    Args:
      alpha: float [...], share of the data in x_t.
      std: float [...], share of the noise, broadcastable with alpha; 0 gives infinity, so keep t away from the data.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: shapes do not broadcast.
      TypeError: an array is not floating point.

    >>> print(truncated_snr_weight(jnp.array([0.8, 0.5]), jnp.array([0.4, 0.5])))
    [4. 1.]

    Reference: Salimans & Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (2022), recalled; also
    that of Meng et al., "On Distillation of Guided Diffusion Models" (2022).
    """
    alpha, std = checks.floating(alpha, "alpha"), checks.floating(std, "std")
    try:
        jnp.broadcast_shapes(alpha.shape, std.shape)
    except ValueError as error:
        raise ValueError(f"alpha {list(alpha.shape)} and std {list(std.shape)} must broadcast") from error
    dtype = accumulation_dtype(alpha, std)
    return jnp.maximum((alpha.astype(dtype) / std.astype(dtype)) ** 2, 1.0)


def progressive_target(
    z: ArrayLike, t: ArrayLike, *, x0_fn: ModelFn, process: Process, dt: ArrayLike, share: ArrayLike = 0.5
) -> Array:
    r"""The data prediction with which one DDIM step goes as far as two steps of a teacher.

    .. math:: \tilde x = \frac{z'' - (\sigma''/\sigma)\, z}{\alpha'' - (\sigma''/\sigma)\, \alpha}
              = \frac{(\sigma''/\sigma')\, g'\, x + g''\, x'}{(\sigma''/\sigma')\, g' + g''},
              \quad g' = \alpha' - \tfrac{\sigma'}{\sigma} \alpha,
              \quad g'' = \alpha'' - \tfrac{\sigma''}{\sigma'} \alpha'

    with x and x' the teacher's predictions at z (time t) and at z' (time t' between), z'' where the second step ends.
    The second form, a weighted mean of both, is the one computed: it does not subtract nearly equal numbers.

    Args:
      z: float [B, ...], noisy samples.
      t: their time, a float or an array [B], in (0, 1].
      x0_fn: ``x0_fn(z [B, ...], t [B]) -> [B, ...]``, the teacher's data prediction; for a guided one see
        ``guidance.combine``.
      process: the noising process, with or without a centre.
      dt: length of the student's step, > 0, a float or an array [B]; a step beyond the data ends at t = 0.
      share: of dt that the teacher's first step takes, in (0, 1), a float or an array [B].
    Returns:
      [B, ...] in the dtype of z, without gradient. A teacher that says the same twice is returned; a step to std = 0
      gives its second prediction.
    Raises:
      ValueError: a static dt <= 0, a static share outside (0, 1), t, dt or share that are not [] or [B], or a teacher
        that changes the shape.
      TypeError: z is not floating point, or process is not a Process.

    >>> from jaxlab import diffusion
    >>> process = diffusion.linear_flow()
    >>> target = progressive_target(jnp.ones((1, 2)), 1.0, x0_fn=lambda z, t: 0.0 * z + 3.0, process=process, dt=0.25)
    >>> print(target)
    [[3. 3.]]

    Reference: Salimans & Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (2022), recalled; used
    with a guided teacher by Meng et al., "On Distillation of Guided Diffusion Models" (2022).
    """
    z = _samples(z, "z")
    _check_process(process)
    checks.positive(dt, "dt")
    if checks.is_static(share) and not 0 < share < 1:
        raise ValueError(f"share must lie in (0, 1), got {share!r}")
    wide = z.astype(accumulation_dtype(z))
    start, length, part = (_times(value, name, wide) for value, name in ((t, "t"), (dt, "dt"), (share, "share")))
    end = jnp.maximum(start - length, 0.0)
    middle = start + part * (end - start)
    first = _predict(x0_fn, z, start, "x0_fn")
    second = _predict(x0_fn, _ddim(wide, first, start, middle, process).astype(z.dtype), middle, "x0_fn")
    shrink = process.std(end) / process.std(middle)
    gain_first = shrink * (process.alpha(middle) - process.std(middle) / process.std(start) * process.alpha(start))
    gain_second = process.alpha(end) - shrink * process.alpha(middle)
    total = gain_first + gain_second
    weight = expand(jnp.where(total > 0, gain_second / jnp.where(total > 0, total, 1.0), 0.5), wide)
    return jax.lax.stop_gradient(first + weight * (second - first)).astype(z.dtype)


def guided_trajectory(
    keys: Array,
    x_init: ArrayLike,
    scale: ArrayLike,
    *,
    ts: ArrayLike,
    cond_fn: ModelFn,
    uncond_fn: ModelFn,
    step: diffusion.Step,
) -> GuidedTrajectory:
    r"""The states that classifier-free guidance passes through, and its predictions there: data for a student.

    .. math:: \big(x_{t_i},\; u_i + w\,(c_i - u_i)\big), \quad i = 0, \dots, S - 1

    Args:
      keys: typed keys [B], one per sample.
      x_init: float [B, ...], samples at ts[0].
      scale: w, a float or an array [B]; 1 follows the conditional prediction.
      ts: float [S + 1], strictly monotone.
      cond_fn: ``cond_fn(x [B, ...], t [B]) -> [B, ...]``, a prediction of the kind that ``step`` names.
      uncond_fn: the unconditional or negative prediction, in the same way.
      step: a ``diffusion.Step``.
    Returns:
      GuidedTrajectory of S B inputs and targets, without gradient; x in the dtype of x_init. Every prediction is made
      twice, by the sampler and for the record.
    Raises:
      ValueError: what ``diffusion.sample`` refuses, or a scale that is not [] or [B].
      TypeError: untyped keys, x_init or ts not floating point, or step is not a Step.

    >>> from jaxlab import diffusion
    >>> keys, ts = jax.random.split(jax.random.key(0), 1), jnp.array([1.0, 0.5, 0.0])
    >>> models = {"cond_fn": lambda x, t: x + 1.0, "uncond_fn": lambda x, t: x}
    >>> step = diffusion.euler(diffusion.linear_flow(), kind="v")
    >>> path = guided_trajectory(keys, jnp.zeros((1, 1)), 2.0, ts=ts, step=step, **models)
    >>> print(path.x.ravel(), path.guided.ravel())
    [ 0. -1.] [2. 1.]

    Reference: Jensen & Sadat, "Efficient Distillation of Classifier-Free Guidance using Adapters" (2025), checked
    against the authors' code (there w is uniform on [1, 6]).
    """
    x_init, ts = checks.floating(x_init, "x_init"), checks.floating(ts, "ts")
    rule = guidance.cfg(scale)
    result = diffusion.sample(
        keys, x_init, ts, cond_fn=cond_fn, uncond_fn=uncond_fn, rule=rule, step=step, trajectory=True
    )
    assert result.trajectory is not None
    x, t = result.trajectory[:-1], ts[:-1].astype(accumulation_dtype(x_init))

    def record(now: tuple[Array, Array]) -> tuple[Array, Array]:
        x, t = now
        times = jnp.broadcast_to(t, x.shape[:1])
        cond = cond_fn(x, times)
        return cond, guidance.guide(rule, (), cond, uncond_fn(x, times), x=x, t=t)[0]

    cond, guided = jax.lax.map(record, (x, t))
    return jax.lax.stop_gradient(GuidedTrajectory(x, t, cond, guided))


def cosine_gap_weight(cond: ArrayLike, guided: ArrayLike) -> Array:
    r"""How far guidance turns a prediction: a weight for the states where a student has most to learn.

    .. math:: \omega = \tfrac12 (1 - \cos(c, \hat p))

    Args:
      cond: float [B, ...], conditional predictions.
      guided: float, same shape.
    Returns:
      float32 or wider [B] in [0, 1], without gradient; 0 where both agree in direction or one is zero.
    Raises:
      ValueError: shapes differ.
      TypeError: an array is not floating point.

    >>> print(cosine_gap_weight(jnp.array([[1.0, 0.0]]), jnp.array([[-2.0, 0.0]])))
    [1.]

    Reference: Jensen & Sadat, as in ``guided_trajectory``, checked against the authors' code.
    """
    return jax.lax.stop_gradient(0.5 * (1.0 - guidance.cosine_agreement(cond, guided)))


def segment_consistency(
    x: ArrayLike,
    x_next: ArrayLike,
    t: ArrayLike,
    t_next: ArrayLike,
    *,
    student_fn: ModelFn,
    process: Process,
    edges: ArrayLike,
    target_fn: ModelFn | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""A student's jump to the end of its segment, from two neighbouring states (per example; larger is worse).

    .. math:: \ell = \tfrac1D \big\| f(x_t, t \to e) - \mathrm{sg}\, f^-(x_s, s \to e) \big\|^2,
              \qquad e = \max\{\text{edges} < t\}

    f is one DDIM step with the student's data prediction, x_s the state that one solver step of the (guided) teacher
    makes of x_t. At s = e the jump does nothing, so there the student is tied to the teacher itself. A student that
    is consistent samples in as many steps as there are segments.

    Args:
      x: float [B, ...], x_t.
      x_next: float [B, ...], x_s.
      t: time of x, a float or an array [B].
      t_next: s, a float or an array [B], e <= s < t.
      student_fn: ``student_fn(x [B, ...], t [B]) -> [B, ...]``, the data prediction that is trained.
      process: the noising process.
      edges: float [K], where the segments end, in any order.
      target_fn: the student that the target asks, such as an average of its past; None is ``student_fn``.
      where: bool [B], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [B]. NaN where no edge lies below t, or where the teacher's step crossed one.
    Raises:
      ValueError: shapes differ, times are not [] or [B], edges are not [K], or a student that changes the shape.
      TypeError: an array is not floating point, where is not boolean, or process is not a Process.

    >>> from jaxlab import diffusion
    >>> one, exact = jnp.ones((1, 2)), lambda x, t: jnp.zeros_like(x)
    >>> model = {"student_fn": exact, "process": diffusion.linear_flow(), "edges": jnp.array([0.0, 0.5])}
    >>> print(segment_consistency(one, 0.75 * one, 1.0, 0.75, **model))  # both jumps end at 0.5
    [0.]

    Reference: the multi-step consistency of Chai et al., "SpeedUpNet: A Plug-and-Play Hyper-Network for Accelerating
    Text-to-Image Diffusion Models" (2023), inferred.
    """
    x, x_next = _samples(x, "x"), _samples(x_next, "x_next")
    checks.same_shape(x, "x", x_next, "x_next")
    _check_process(process)
    edges = checks.rank(checks.floating(edges, "edges"), "edges", 1, layout="[K]")
    mask = checks.mask(where, "where", x.shape[:1])
    dtype = accumulation_dtype(x, x_next)
    here, there = (_times(value, name, x.astype(dtype)) for value, name in ((t, "t"), (t_next, "t_next")))
    clean = [x, x_next]
    if mask is not None:
        clean = [jnp.where(expand(mask, a, "where"), a, 0.0) for a in clean]
        here, there = jnp.where(mask, here, 1.0), jnp.where(mask, there, 1.0)
    below = edges.astype(dtype) < here[:, None]
    end = jnp.max(jnp.where(below, edges.astype(dtype), -jnp.inf), axis=1, initial=-jnp.inf)
    valid = jnp.isfinite(end) & (there >= end) & (there < here)
    end = jnp.where(valid, end, 0.0)

    def jump(fn: ModelFn, x: Array, t: Array, name: str) -> Array:
        moved = _ddim(x.astype(dtype), _predict(fn, x, t, name), t, end, process)
        return jnp.where(expand(t > end, moved), moved, x.astype(dtype))

    own = jump(student_fn, clean[0], here, "student_fn")
    target = jax.lax.stop_gradient(jump(target_fn or student_fn, clean[1], there, "target_fn"))
    losses = jnp.mean((own - target).reshape(x.shape[0], -1) ** 2, axis=1)
    losses = jnp.where(valid, losses, jnp.nan)
    return losses if mask is None else jnp.where(mask, losses, 0.0)


def _samples(x: ArrayLike, name: str) -> Array:
    x = checks.floating(x, name)
    if x.ndim == 0:
        raise ValueError(f"{name} must have shape [B, ...], got a scalar")
    return x


def _check_process(process: Process) -> None:
    if not isinstance(process, Process):
        raise TypeError(f"process must be a diffusion.Process, got {type(process).__name__}")


def _times(value: ArrayLike, name: str, like: Array) -> Array:
    """A number or an array [B], as an array [B]."""
    array = jnp.asarray(value, like.dtype)
    if array.shape not in ((), like.shape[:1]):
        raise ValueError(f"{name} must be a number or have shape {list(like.shape[:1])}, got {list(array.shape)}")
    return jnp.broadcast_to(array, like.shape[:1])


def _predict(fn: ModelFn, x: Array, t: Array, name: str) -> Array:
    prediction = fn(x, t)
    if jnp.shape(prediction) != x.shape:
        raise ValueError(f"{name} must return shape {list(x.shape)}, got {list(jnp.shape(prediction))}")
    return checks.floating(prediction, name).astype(jnp.promote_types(t.dtype, prediction.dtype))


def _ddim(z: Array, x0: Array, t: Array, t_next: Array, process: Process) -> Array:
    """One deterministic step of every sample between its own times [B]."""
    ratio = expand(process.std(t_next) / process.std(t), z)
    gain = expand(process.alpha(t_next), z) - ratio * expand(process.alpha(t), z)
    return uncentered(ratio * centered(z, process) + gain * centered(x0, process), process)
