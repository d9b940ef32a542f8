"""Flows that see their own past: training sequences of one class, noisiest first, and a sampler with a memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.diffusion.processes import linear_flow
from jaxlab.diffusion.sampling import Sample, check_grid, check_keys
from jaxlab.diffusion.steps import Step, euler
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.numerics.random import folded
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["ar_flow_sample", "same_class_batch", "sorted_times"]


def sorted_times(key: Array, batch: int, length: int) -> Array:
    r"""Noise levels of sequences of images, the noisiest first.

    .. math:: t_{b1} \ge \dots \ge t_{bL}, \qquad \text{order statistics of } L \text{ uniforms on } [0, 1)

    Args:
      key: PRNG key.
      batch: B >= 1, static.
      length: L >= 1, static; 1 gives the times of ordinary flow matching.
    Returns:
      float32 [B, L], falling along every row; 1 is noise (the paper counts 1 - t, from noise to data).
    Raises:
      ValueError: a size below 1.

    >>> t = sorted_times(jax.random.key(0), 2, 3)
    >>> print(t.shape, bool(jnp.all(t[:, :-1] >= t[:, 1:])))
    (2, 3) True

    Reference: Hui et al., "ARFlow: Autoregressive Flow with Hybrid Linear Attention" (2025); checked against the
    authors' code.
    """
    checks.size(batch, "batch")
    checks.size(length, "length")
    return -jnp.sort(-jax.random.uniform(key, (batch, length)), axis=1)


def same_class_batch(
    key: Array, labels: ArrayLike, length: int, *, batch: int, where: ArrayLike | None = None
) -> tuple[Array, Array]:
    r"""Row numbers of sequences of different examples of one class, the classes drawn alike.

    .. math:: c_b \sim U\{c : n_c \ge L\}, \qquad (i_{b1}, \dots, i_{bL}) \sim \text{without replacement from } c_b

    Args:
      key: PRNG key.
      labels: int [N]; rows with a negative label are never drawn.
      length: L >= 1, static: examples in a sequence.
      batch: B >= 1, static: sequences.
      where: bool [N], True where a row may be drawn.
    Returns:
      (index int32 [B, L], label int32 [B]). A class with fewer than L rows is never drawn; where no class has as many,
      all indices are N, out of range, and all labels -1.
    Raises:
      ValueError: labels are not [N], where has another shape, or a size is below 1.
      TypeError: labels are not integers, or where is not boolean.

    >>> labels = jnp.array([0, 1, 1, 0, 2, 1])
    >>> index, label = same_class_batch(jax.random.key(0), labels, 3, batch=2)
    >>> print(label, jnp.sort(index))
    [1 1] [[1 2 5]
     [1 2 5]]

    Reference: Hui et al., as in ``sorted_times``; checked against the authors' code, which raises where a class it has
    drawn is too small.
    """
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.size(length, "length")
    checks.size(batch, "batch")
    mask = checks.mask(where, "where", labels.shape)
    rows = labels.shape[0]
    if length > rows:
        raise ValueError(f"length must be at most the number of rows ({rows}), got {length}")
    allowed = labels >= 0 if mask is None else mask & (labels >= 0)
    known = jnp.where(allowed, labels, -1).astype(jnp.int32)
    ordered = jnp.sort(known)
    count = jnp.searchsorted(ordered, known, side="right") - jnp.searchsorted(ordered, known, side="left")
    eligible = allowed & (count >= length)
    class_key, row_key = jax.random.split(key)

    def by_row(key: Array, draw: Callable[[Array, tuple[int, ...]], Array]) -> Array:
        """Numbers [B, N] of which a row's do not depend on how many rows there are, so that padding changes nothing."""
        return jax.vmap(lambda i: draw(jax.random.fold_in(key, i), (batch,)), out_axes=1)(jnp.arange(rows))

    # A row stands for its class; weights of one over the size of the class make the classes equally likely.
    weight = jnp.where(eligible, -jnp.log(jnp.maximum(count, 1)), -jnp.inf)
    anchor = jnp.argmax(weight + by_row(class_key, jax.random.gumbel), axis=1)
    label = known[anchor]
    order = by_row(row_key, jax.random.uniform)
    _, index = jax.lax.top_k(jnp.where(known == label[:, None], order, -1.0), length)
    some = jnp.any(eligible)
    return jnp.where(some, index, rows).astype(jnp.int32), jnp.where(some, label, -1)


def ar_flow_sample(
    keys: Array,
    x_init: ArrayLike,
    ts: ArrayLike,
    *,
    velocity_fn: Callable[[Array, Array, PyTree], tuple[Array, PyTree]],
    state: PyTree,
    step: Step | None = None,
) -> Sample:
    r"""Samples with a model that remembers the noisy images it has seen on the way.

    .. math:: (v_i, S_{i+1}) = f(x_i, t_i, S_i), \qquad x_{i+1} = \mathrm{step}(x_i, t_i, t_{i+1}; v_i)

    Each step is one image of the sequence that the model was trained on, from noise to data. A model whose state does
    not change is sampled as ``sample`` would. Call it under ``jit``.

    Args:
      keys: typed keys [B], one per sample.
      x_init: float [B, ...], noise.
      ts: float [n + 1], strictly monotone, from 1 (noise) towards 0.
      velocity_fn: ``velocity_fn(x [B, ...], t [B], state) -> (prediction [B, ...], state)``, a velocity unless step
        wants another kind. With guidance it calls the model once per branch and keeps the state of each.
      state: the memory at the start, a pytree (zeros for ``nn.hybrid_chunk_attention``), fresh for every batch.
      step: a diffusion.Step; None is Euler on the linear flow. ``euler_maruyama`` with a ``diffusion`` gives the
        paper's stochastic sampler. A step with two calls keeps the state of one, see ``Step``.
    Returns:
      Sample in the dtype of x_init (trajectory None); the loop runs in float32 or wider.
    Raises:
      ValueError: keys are not [B], ts is not a monotone grid, or velocity_fn changes the shape.
      TypeError: untyped keys, x_init or ts not floating point, or step of another type.

    >>> keys, ts = jax.random.split(jax.random.key(0), 1), jnp.array([1.0, 0.5, 0.0])
    >>> count = lambda x, t, state: (jnp.full_like(x, state), state + 1.0)
    >>> result = ar_flow_sample(keys, jnp.zeros((1, 2)), ts, velocity_fn=count, state=jnp.float32(1.0))
    >>> print(result.x, result.calls)
    [[-1.5 -1.5]] 2

    Reference: Hui et al., as in ``sorted_times``; checked against the authors' code.
    """
    x_init = checks.floating(x_init, "x_init")
    if x_init.ndim == 0 or x_init.shape[0] == 0:
        raise ValueError(f"x_init must have shape [B, ...] with B >= 1, got {list(x_init.shape)}")
    batch = x_init.shape[0]
    check_keys(keys, batch)
    step = euler(linear_flow(), kind="v") if step is None else step
    if not isinstance(step, Step):
        raise TypeError(f"step must be a diffusion.Step such as euler(process), got {type(step).__name__}")
    dtype = accumulation_dtype(x_init)
    times = check_grid(ts, dtype)

    def predict(x: Array, t: Array, memory: PyTree) -> tuple[Array, PyTree, Array, Array]:
        prediction, memory = velocity_fn(x.astype(x_init.dtype), jnp.broadcast_to(t, (batch,)), memory)
        if jnp.shape(prediction) != x.shape:
            raise ValueError(f"velocity_fn must return shape {list(x.shape)}, got {list(jnp.shape(prediction))}")
        return prediction.astype(dtype), memory, jnp.ones(batch, jnp.int32), jnp.int32(1)

    def advance(carry: tuple[PyTree, ...], now: tuple[Array, Array, Array]) -> tuple[tuple[PyTree, ...], None]:
        x, memory, step_state, evaluations, calls = carry
        index, t, t_next = now
        own = folded(keys, index)
        # The memory travels where a guidance rule's state would.
        moved = step.update(predict, x, t, t_next, own, memory, step_state)
        return (moved.x, moved.rule_state, moved.state, evaluations + moved.evaluations, calls + moved.calls), None

    x = x_init.astype(dtype)
    memory = jax.tree.map(jnp.asarray, state)
    start = (x, memory, step.init(x), jnp.zeros(batch, jnp.int32), jnp.zeros((), jnp.int32))
    grid = (jnp.arange(times.shape[0] - 1, dtype=jnp.int32), times[:-1], times[1:])
    (x, _, _, evaluations, calls), _ = jax.lax.scan(advance, start, grid)
    return Sample(x.astype(x_init.dtype), evaluations, calls)
