"""The one sampler: a loop of steps over a grid of times, with guidance, its skipped calls, and what they cost."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.diffusion.processes import Process, centered, expand, uncentered
from jaxlab.diffusion.steps import Predict, Project, Step
from jaxlab.guidance.rules import Rule, check_rule, guide, needs_uncond
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.numerics.random import folded, normal
from jaxlab.numerics.walls import apart
from jaxlab.typing import Array, ArrayLike, DTypeLike, PyTree

__all__ = ["Sample", "inpaint", "sample", "time_grid"]

PROJECT = 2**31 - 2  # folded into the step's key for the projection


class Sample(NamedTuple):
    """Samples and their cost: evaluations each sample needed, int32 [B], and calls the batch paid, int32 []."""

    x: Array  # [B, ...]
    evaluations: Array  # [B]
    calls: Array  # []
    trajectory: Array | None = None  # [len(ts), B, ...]


def time_grid(num_steps: int, *, high: float = 1.0, low: float = 1e-3, rho: float = 1.0) -> Array:
    r"""Times from noise to data, evenly spaced in the power 1 / rho.

    .. math:: t_i = \Big(h^{1/\rho} + \tfrac in \big(l^{1/\rho} - h^{1/\rho}\big)\Big)^\rho

    Args:
      num_steps: n >= 1, static.
      high: the first time, > low.
      low: the last time, >= 0; keep it above 0 where a prediction is divided by std.
      rho: > 0; 1 is linear, 7 crowds towards low.
    Returns:
      float32 [num_steps + 1], decreasing, both ends exact.
    Raises:
      ValueError: num_steps < 1, not 0 <= low < high, or rho <= 0.

    >>> print(time_grid(2, low=0.0))
    [1.  0.5 0. ]

    Reference: rho as in Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022),
    standard.
    """
    checks.at_least(num_steps, "num_steps", 1)
    checks.positive(rho, "rho")
    if not 0 <= low < high:
        raise ValueError(f"low and high must satisfy 0 <= low < high, got {low!r} and {high!r}")
    start, stop = high ** (1.0 / rho), low ** (1.0 / rho)
    inner = [(start + i / num_steps * (stop - start)) ** rho for i in range(1, num_steps)]
    return jnp.array([high, *inner, low], jnp.float32)


def check_grid(ts: ArrayLike, dtype: DTypeLike, *, order: str = "either") -> Array:
    """Times [n + 1], n >= 1, strictly monotone ("increasing", "decreasing" or "either"); a traced grid is trusted."""
    ts = checks.rank(checks.floating(ts, "ts"), "ts", 1, layout="[num_steps + 1]")
    if ts.shape[0] < 2:
        raise ValueError(f"ts must hold at least two times, got {ts.shape[0]}")
    if not isinstance(ts, jax.core.Tracer):
        times = ts.tolist()
        rises, falls = (all(sign * (b - a) > 0 for a, b in itertools.pairwise(times)) for sign in (1, -1))
        if not {"increasing": rises, "decreasing": falls, "either": rises or falls}[order]:
            wanted = "increasing or strictly decreasing" if order == "either" else order
            raise ValueError(f"ts must be strictly {wanted}, got {times[:8]}")
    return ts.astype(dtype)


def check_keys(keys: Array, batch: int) -> None:
    """Raises unless keys are typed PRNG keys, one per sample."""
    if jnp.shape(keys) != (batch,):
        raise ValueError(
            f"keys must have shape [{batch}], one typed key per sample (jax.random.split(jax.random.key(0), {batch})), "
            f"got {list(jnp.shape(keys))}"
        )
    if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        raise TypeError(f"keys must be typed keys as of jax.random.key, got {keys.dtype}")


class _Models(NamedTuple):
    """The model functions and what a call of each costs."""

    cond_fn: Callable[..., Array]
    uncond_fn: Callable[..., Any] | None
    cond_cost: int
    uncond_cost: int
    uncond_takes_cond: bool


def _predictor(models: _Models, rule: Rule | None, step: Array, num_steps: int, model_dtype: DTypeLike) -> Predict:
    """``predict`` of one step: the conditional call, the other one if any sample needs it, and the rule."""

    def predict(x: Array, t: Array, rule_state: PyTree) -> tuple[Array, PyTree, Array, Array]:
        batch, times = x.shape[0], jnp.broadcast_to(t, x.shape[:1])
        given = x.astype(model_dtype)
        cond = _checked(models.cond_fn(given, times), "cond_fn", x)
        evaluations, calls = jnp.full(batch, models.cond_cost, jnp.int32), jnp.int32(models.cond_cost)
        if rule is None or models.uncond_fn is None:
            return cond, rule_state, evaluations, calls
        need = needs_uncond(rule, rule_state, t, step, batch)
        uncond_fn, extra = models.uncond_fn, (cond,) if models.uncond_takes_cond else ()

        def call(_: None) -> tuple[Array, PyTree]:
            result = uncond_fn(given, times, *(part.astype(model_dtype) for part in extra))
            uncond, extras = result if isinstance(result, tuple) else (result, None)
            return _checked(uncond, "uncond_fn", x), extras

        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(call, None))
        any_need = jnp.any(need)
        uncond, extras = jax.lax.cond(any_need, call, lambda _: blank, None)
        prediction, rule_state = guide(
            rule, rule_state, cond, uncond, x=x, t=t, step=step, num_steps=num_steps, need=need, extras=extras
        )
        evaluations = evaluations + models.uncond_cost * need.astype(jnp.int32)
        return prediction, rule_state, evaluations, calls + models.uncond_cost * any_need.astype(jnp.int32)

    return predict


def _checked(prediction: Any, name: str, x: Array) -> Array:
    if not hasattr(prediction, "shape") or prediction.shape != x.shape:
        raise ValueError(f"{name} must return shape {list(x.shape)}, got {getattr(prediction, 'shape', prediction)!r}")
    return checks.not_wider(checks.floating(prediction, name), name, x.dtype, state="the sample").astype(x.dtype)


def sample(
    keys: Array,
    x_init: ArrayLike,
    ts: ArrayLike,
    *,
    cond_fn: Callable[..., Array],
    step: Step,
    uncond_fn: Callable[..., Any] | None = None,
    rule: Rule | None = None,
    project: Project | None = None,
    denoise: bool = False,
    trajectory: bool = False,
    cond_cost: int = 1,
    uncond_cost: int = 1,
    uncond_takes_cond: bool = False,
) -> Sample:
    r"""Moves samples along a grid of times: one compiled loop, one key per sample.

    .. math:: x_{i+1} = \mathrm{step}\big(x_i, t_i, t_{i+1};\; c + r(c - u)\big)

    A sample depends on its own key and start alone: neither its value nor its count of evaluations changes with the
    size or order of the batch (to rounding), as long as the models treat samples apart. The unconditional call is
    skipped at a step where no sample needs it; it is made for the whole batch where one does. Under ``vmap`` over
    rules whose need depends on the mapped values nothing is skipped: sweep those by ``lax.map``. Call it under
    ``jit``.

    Args:
      keys: typed keys [B]; ``process.prior_sample`` may have used the same.
      x_init: float [B, ...], B >= 1, samples at ts[0].
      ts: float [n + 1], strictly monotone; downwards samples, upwards encodes. A traced grid is not checked.
      cond_fn: ``cond_fn(x [B, ...], t [B]) -> [B, ...]``, the prediction of the kind that ``step`` names. Several
        conditions or models may be combined inside, with ``cond_cost`` calls declared.
      step: a Step.
      uncond_fn: ``uncond_fn(x, t)``, the unconditional, negative or weaker prediction; or (prediction, extras) with
        extras [B, ...] for rules that look at ``context.extras``.
      rule: a guidance Rule with exactly one ``cfg``; None gives the conditional prediction.
      project: ``project(x, t_next, keys [B]) -> x``, applied after every step, see ``inpaint``; with ``denoise`` also
        to its mean, with None for the keys, as there is no noise to add.
      denoise: returns the mean of the last step, without its noise.
      trajectory: also returns the samples at every time.
      cond_cost: evaluations that one call of cond_fn stands for, static.
      uncond_cost: the same for uncond_fn.
      uncond_takes_cond: calls ``uncond_fn(x, t, cond)``, for a reference that depends on the conditional prediction.
    Returns:
      Sample in the dtype of x_init; the loop itself runs in float32 or wider, models see the dtype of x_init. A
      prediction that is not finite spoils its own sample only.
    Raises:
      ValueError: keys are not [B], ts is not a monotone grid, a model changes the shape, a rule without uncond_fn or
        without exactly one cfg, or a scale array of a length other than B.
      TypeError: untyped keys, x_init or ts not floating point, step or rule of another type.

    >>> from jaxlab import diffusion, guidance
    >>> keys, ts = jax.random.split(jax.random.key(0), 2), diffusion.time_grid(10, low=0.0)
    >>> cond_fn, uncond_fn = lambda x, t: x - 3.0, lambda x, t: x + 0.0
    >>> rule = guidance.chain(guidance.interval(0.0, 0.55), guidance.cfg(2.0))
    >>> step = diffusion.euler(diffusion.linear_flow(), kind="v")
    >>> result = sample(keys, jnp.zeros((2, 1)), ts, cond_fn=cond_fn, uncond_fn=uncond_fn, rule=rule, step=step)
    >>> print(result.evaluations, result.calls)
    [15 15] 15

    Reference: standard; guidance after Ho & Salimans, "Classifier-Free Diffusion Guidance" (2022).
    """
    x_init = checks.floating(x_init, "x_init")
    if x_init.ndim == 0 or x_init.shape[0] == 0:
        raise ValueError(f"x_init must have shape [B, ...] with B >= 1, got {list(x_init.shape)}")
    check_keys(keys, x_init.shape[0])
    if not isinstance(step, Step):
        raise TypeError(f"step must be a diffusion.Step such as euler(process), got {type(step).__name__}")
    if rule is not None:
        check_rule(rule)
        if uncond_fn is None:
            raise ValueError("rule needs an uncond_fn to guide away from")
    for cost, name in ((cond_cost, "cond_cost"), (uncond_cost, "uncond_cost")):
        checks.at_least(cost, name, 0)
    dtype = accumulation_dtype(x_init)
    times = check_grid(ts, dtype)
    num_steps = times.shape[0] - 1
    models = _Models(cond_fn, uncond_fn, cond_cost, uncond_cost, uncond_takes_cond)
    x = x_init.astype(dtype)
    batch = x.shape[0]

    def advance(carry: tuple[PyTree, ...], now: tuple[Array, Array, Array]) -> tuple[tuple[PyTree, ...], Array | None]:
        x, _, rule_state, step_state, evaluations, calls = carry
        index, t, t_next = now
        predict = _predictor(models, rule, index, num_steps, x_init.dtype)
        own = _step_keys(keys, index)
        moved = step.update(predict, x, t, t_next, own, rule_state, step_state)
        x, mean = moved.x, moved.mean if denoise else None
        if project is not None:
            fresh = folded(own, PROJECT)
            x, mean = project(x, t_next, fresh), None if mean is None else project(mean, t_next, None)
        totals = evaluations + moved.evaluations, calls + moved.calls
        return (x, mean, moved.rule_state, moved.state, *totals), x.astype(x_init.dtype) if trajectory else None

    start = (
        x,
        x if denoise else None,
        () if rule is None else rule.init(x),
        step.init(x),
        jnp.zeros(batch, jnp.int32),
        jnp.zeros((), jnp.int32),
    )
    grid = (jnp.arange(num_steps, dtype=jnp.int32), times[:-1], times[1:])
    (x, mean, _, _, evaluations, calls), path = jax.lax.scan(advance, start, grid)
    path = None if path is None else jnp.concatenate([x_init[None], path])
    last = x if mean is None else mean
    return Sample(last.astype(x_init.dtype), evaluations, calls, path)


def _step_keys(keys: Array, index: Array) -> Array:
    """The keys of a step, computed once and not again for every number that is drawn from them."""
    impl = jax.random.key_impl(keys)

    def words(data: Array) -> Array:
        return jax.random.key_data(folded(jax.random.wrap_key_data(data, impl=impl), index))

    return jax.random.wrap_key_data(apart(words, jax.random.key_data(keys), index=index), impl=impl)


def inpaint(
    x: ArrayLike,
    t: ArrayLike,
    keys: Array | None,
    *,
    process: Process,
    data: ArrayLike,
    known: ArrayLike,
    basis: tuple[Callable[[Array], Array], Callable[[Array], Array]] | None = None,
) -> Array:
    r"""Replaces what is known of the data by a fresh draw of the forward kernel: a projection for ``sample``.

    .. math:: x \leftarrow (1 - m)\,x + m\,\big(\mu + \alpha_t (y - \mu) + \sigma_t z\big)

    Hand it on as ``project=functools.partial(inpaint, process=process, data=data, known=known)``.

    Args:
      x: float [B, ...], samples at time t.
      t: time, a float or an array [B].
      keys: typed keys [B]; None leaves the noise out (z = 0), as is right for a mean.
      process: the noising process of the sampler.
      data: float [B, ...], y; unknown entries may hold anything (with a basis: any finite number).
      known: bool, broadcastable to x, True where y is known (in the basis, if there is one).
      basis: (to, back), an orthogonal map of the data under which single coordinates are known: grey values, wavelet or
        Fourier coefficients. Noise stays white under it.
    Returns:
      [B, ...] in the dtype of x.
    Raises:
      ValueError: shapes do not agree.
      TypeError: x or data is not floating point, known is not boolean, or untyped keys.

    >>> from jaxlab import diffusion
    >>> keys, known = jax.random.split(jax.random.key(0), 1), jnp.array([True, False])
    >>> print(inpaint(jnp.ones((1, 2)), 0.0, keys, process=diffusion.vp(), data=jnp.array([[5.0, 0.0]]), known=known))
    [[5. 1.]]

    Reference: Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations" (2021), checked
    against the authors' code.
    """
    x, data = checks.floating(x, "x"), checks.floating(data, "data")
    checks.same_shape(x, "x", data, "data")
    if x.ndim == 0:
        raise ValueError("x must have shape [B, ...], got a scalar")
    if keys is not None:
        check_keys(keys, x.shape[0])
    mask = jnp.asarray(known)
    if mask.dtype != jnp.bool_:
        raise TypeError(f"known must be boolean, got {mask.dtype.name}")
    to, back = (lambda z: z, lambda z: z) if basis is None else basis
    turned = process if process.center is None else process._replace(center=to(process.center))
    wide = to(x.astype(accumulation_dtype(x)))
    checks.broadcasts_to(mask, "known", wide.shape)
    target = jnp.where(mask, centered(to(data.astype(wide.dtype)), turned), 0.0)
    drawn = expand(process.alpha(t), wide) * target
    if keys is not None:
        drawn += expand(process.std(t), wide) * normal(keys, wide)
    return back(jnp.where(mask, uncentered(drawn, turned), wide)).astype(x.dtype)
