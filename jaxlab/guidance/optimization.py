"""Conditions and latents that are moved themselves: optimised through the last step of a sampler, or truncated."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks, optim
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["Optimized", "last_step_grad_sample", "optimize_condition", "truncate"]


def truncate(w: ArrayLike, mean: ArrayLike, *, psi: ArrayLike = 0.7) -> Array:
    r"""Moves latents towards their mean: less variety for less error, and a smaller domain to train on.

    .. math:: \bar w + \psi\,(w - \bar w)

    Args:
      w: float [..., D].
      mean: float [D], or any shape that broadcasts to w.
      psi: 1 is w, 0 the mean; the variance falls by psi^2.
    Returns:
      The shape and dtype of w; at psi 1 exactly w.
    Raises:
      ValueError: shapes do not broadcast.
      TypeError: w or mean is not floating point.

    >>> print(truncate(jnp.array([3.0, 1.0]), jnp.array([1.0, 1.0]), psi=0.5))
    [2. 1.]

    Reference: Brock et al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis" (2019); the constraint
    on diversity of Yang et al., "One-Shot Generative Domain Adaptation" (2021), recalled.
    """
    w, mean = checks.floating(w, "w"), checks.floating(mean, "mean")
    if jnp.broadcast_shapes(w.shape, mean.shape) != w.shape:
        raise ValueError(f"mean must broadcast to the shape of w {list(w.shape)}, got {list(mean.shape)}")
    dtype = accumulation_dtype(w, mean)
    wide = w.astype(dtype)
    # Around w, so that psi 1 gives it bit for bit.
    return (wide + (1.0 - jnp.asarray(psi, dtype)) * (mean.astype(dtype) - wide)).astype(w.dtype)


def last_step_grad_sample(
    sample_fn: Callable[[PyTree, Array, Array, Array], Array],
    condition: PyTree,
    keys: Array,
    x_init: ArrayLike,
    ts: ArrayLike,
) -> Array:
    r"""Samples whose gradient by the condition goes through the last step alone.

    .. math:: x = S_{t_{n-1} \to t_n}\big(\operatorname{stop}(x_{n-1});\, c\big),
              \qquad x_{n-1} = S_{t_0 \to t_{n-1}}(x_{\text{init}};\, c)

    With steps that draw nothing, and rules that do not ask for the number of the step, the value is that of the whole
    sampler; noise is another draw of the same distribution. The gradient costs the memory and the time of one step.
    With ``diffusion.sample`` it reads
    ``sample_fn = lambda c, keys, x, ts: sample(keys, x, ts, cond_fn=model(c), ...).x``.

    Args:
      sample_fn: ``sample_fn(condition, keys [B], x [B, ...], ts) -> x``, a whole run of a sampler over the times it is
        given. It is called twice, so rules and steps with a memory begin the last step without one, and to a rule that
        asks (``cosine_power_schedule``) the last step is number 0 of 1.
      condition: pytree, c: an embedding, for instance.
      keys: typed keys [B]; the last step gets them folded with its number.
      x_init: float [B, ...], samples at ts[0].
      ts: float [n + 1], n >= 1.
    Returns:
      [B, ...], the samples at the last time.
    Raises:
      ValueError: ts does not hold two times or more.
      TypeError: keys are untyped.

    >>> run = lambda c, keys, x, ts: x + c * (ts[-1] - ts[0])
    >>> keys, ts = jax.random.split(jax.random.key(0), 1), jnp.array([0.0, 0.5, 2.0])
    >>> print(jax.jacobian(lambda c: last_step_grad_sample(run, c, keys, jnp.zeros(1), ts))(1.0))
    [1.5]

    Reference: Schwartz et al., "Discriminative Class Tokens for Text-to-Image Diffusion Models" (2023), checked against
    the authors' code.
    """
    ts = checks.rank(ts, "ts", 1, layout="[num_steps + 1]")
    if ts.shape[0] < 2:
        raise ValueError(f"ts must hold at least two times, got {ts.shape[0]}")
    if not checks.is_key(keys):
        raise TypeError(f"keys must be typed keys as of jax.random.key, got {keys!r}")
    x = checks.floating(x_init, "x_init")
    num_steps = ts.shape[0] - 1
    if num_steps > 1:
        frozen = jax.tree.map(jax.lax.stop_gradient, condition)
        x = jax.lax.stop_gradient(sample_fn(frozen, keys, x, ts[:-1]))
    last = jax.vmap(lambda key: jax.random.fold_in(key, num_steps - 1))(keys)
    return sample_fn(condition, last, x, ts[-2:])


class Optimized(NamedTuple):
    """What ``optimize_condition`` returns."""

    condition: PyTree  # the best that was evaluated
    loss: Array  # of it, []
    losses: Array  # [num_steps], before each step; constant after the stop
    num_steps: Array  # steps taken before the stop, int32 []


class _Best(NamedTuple):
    params: PyTree
    value: Array
    waited: Array  # steps since then
    steps: Array
    stopped: Array


def optimize_condition(
    loss_fn: Callable[[PyTree], Array],
    condition: PyTree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int = 50,
    patience: int = 15,
    target: ArrayLike | None = None,
) -> Optimized:
    r"""Optimises a condition (an embedding) of a frozen generator, and returns the best it has seen.

    .. math:: c_{t+1} = c_t + u(\nabla \ell(c_t)), \qquad \hat c = c_{\arg\min_{t < T} \ell(c_t)}

    The loss is, for instance, the cross entropy of a classifier on ``last_step_grad_sample`` with the same noise at
    every step. Judge the result by another classifier: what pleases one may fool it.

    Args:
      loss_fn: from the condition to a scalar.
      condition: pytree of floats, the start.
      optimizer: an optax optimiser; None is AdamW at 1.25e-3 with weight decay 0.01 and gradients clipped to norm 1.
      num_steps: static, >= 1; the loop always runs so long, but nothing moves after the stop.
      patience: stops after more than so many steps without a new best, static, >= 0.
      target: stops at a loss at or below it; None never does.
    Returns:
      Optimized. A step with a loss that is NaN is never the best.
    Raises:
      ValueError: loss_fn does not return a scalar, num_steps < 1 or patience < 0.
      TypeError: num_steps is not an integer, or a leaf of the condition is not floating point.

    >>> import optax
    >>> result = optimize_condition(lambda c: (c - 1.0) ** 2, jnp.array(0.0), optimizer=optax.sgd(0.75), num_steps=3)
    >>> print(result.condition, result.losses)
    0.75 [1.     0.25   0.0625]

    Reference: Schwartz et al., "Discriminative Class Tokens for Text-to-Image Diffusion Models" (2023), checked against
    the authors' code, which also stops at a training accuracy above 0.7 (a ``target`` stands for it here) and draws new
    noise once the loss doubles.
    """
    checks.at_least(num_steps, "num_steps", 1)
    checks.at_least(patience, "patience", 0)
    if optimizer is None:
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1.25e-3, weight_decay=1e-2))
    watched = optax.chain(optimizer, _keep_best(patience, target))
    result = optim.minimize(loss_fn, condition, watched, num_steps=num_steps)
    best: _Best = result.opt_state[-1]
    return Optimized(best.params, best.value, result.losses, best.steps)


def _keep_best(patience: int, target: ArrayLike | None) -> optax.GradientTransformationExtraArgs:
    """Remembers the parameters with the lowest value; once it has stopped, the updates are 0."""

    def init(params: PyTree) -> _Best:
        zero = jnp.zeros((), jnp.int32)
        return _Best(params, jnp.array(jnp.inf), zero, zero, jnp.zeros((), bool))

    def update(updates: PyTree, state: _Best, params: PyTree = None, *, value: Array, **extra: Any) -> Any:
        better = (value < state.value) & ~state.stopped
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), params, state.params)
        lowest = jnp.where(better, value, state.value).astype(state.value.dtype)
        waited = jnp.where(better, 0, state.waited + 1)
        stopped = state.stopped | (waited > patience)
        if target is not None:
            stopped |= lowest <= target
        steps = state.steps + (~stopped).astype(jnp.int32)
        updates = jax.tree.map(lambda leaf: jnp.where(stopped, jnp.zeros_like(leaf), leaf), updates)
        return updates, _Best(kept, lowest, waited, steps, stopped)

    return optax.GradientTransformationExtraArgs(init, update)
