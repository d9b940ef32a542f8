"""What denoisers are trained on."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.diffusion.conversions import KINDS, convert
from jaxlab.diffusion.processes import Process, centered, expand, uncentered
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["condition_dropout", "denoising_loss", "flow_matching", "joint_condition_dropout"]

ModelFn = Callable[[Array, Array], Array]


def _mean_square(difference: Array, where: Array | None) -> Array:
    """[B, ...] to the mean square of every sample, 0 where it does not count."""
    flat = difference.reshape(difference.shape[0], -1)
    losses = jnp.mean(flat**2, axis=1)
    return losses if where is None else jnp.where(where, losses, 0.0)


def _clean(x: Array, where: Array | None) -> Array:
    return x if where is None else jnp.where(expand(where, x, "where"), x, 0.0)


def denoising_loss(
    model_fn: ModelFn,
    x0: ArrayLike,
    key: Array,
    *,
    process: Process,
    kind: str = "eps",
    weighting: str = "std",
    t_min: float = 1e-5,
    where: ArrayLike | None = None,
) -> Array:
    r"""Denoising score matching at a random time (per example; larger is worse).

    .. math:: x_t = \mu + \alpha_t (x_0 - \mu) + \sigma_t \epsilon, \qquad
              \ell = \tfrac1D \|\hat\epsilon(x_t, t) - \epsilon\|^2 \, \lambda_t

    "std" has lambda = 1 (the score times std), "likelihood" lambda = g^2 / std^2, "uniform" compares the prediction
    with the target of its own kind instead.

    Args:
      model_fn: from (x_t [B, ...], t [B]) to a prediction [B, ...].
      x0: float [B, ...], data.
      key: draws the times and the noise.
      process: the noising process; one with a centre has that of this batch.
      kind: what the model predicts: "eps", "score", "x0", "v" or "rotation".
      weighting: "std", "likelihood" or "uniform".
      t_min: times are uniform on [t_min, 1); static, in [0, 1).
      where: bool [B], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [B]; the mean over entries, so times D / 2 is the authors' sum.
    Raises:
      ValueError: an unknown kind or weighting, t_min out of range, or a model that changes the shape.
      TypeError: x0 is not floating point.

    >>> from jaxlab import diffusion
    >>> model_fn = lambda x, t: jnp.zeros_like(x)
    >>> loss = denoising_loss(model_fn, jnp.zeros((2, 3)), jax.random.key(0), process=diffusion.vp())
    >>> print(loss.shape)
    (2,)

    Reference: Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations" (2021), checked
    against the authors' code.
    """
    x0 = checks.floating(x0, "x0")
    checks.one_of(kind, "kind", KINDS)
    checks.one_of(weighting, "weighting", ("std", "likelihood", "uniform"))
    if not 0 <= t_min < 1:
        raise ValueError(f"t_min must lie in [0, 1), got {t_min!r}")
    mask = checks.mask(where, "where", x0.shape[:1])
    dtype = accumulation_dtype(x0)
    clean = _clean(x0.astype(dtype), mask)
    key_time, key_noise = jax.random.split(key)
    t = jax.random.uniform(key_time, x0.shape[:1], dtype, t_min, 1.0)
    noise = jax.random.normal(key_noise, x0.shape, dtype)
    centre = process._replace(center=None if process.center is None else _clean(process.center, mask))
    data = centered(clean, centre)
    x = uncentered(expand(process.alpha(t), data) * data + expand(process.std(t), data) * noise, centre)
    prediction = model_fn(x.astype(x0.dtype), t)
    if jnp.shape(prediction) != x0.shape:
        raise ValueError(f"model_fn must return shape {list(x0.shape)}, got {list(jnp.shape(prediction))}")
    prediction = prediction.astype(dtype)
    if weighting == "uniform":
        # x0 gives the other kinds of target without a division by alpha.
        target = noise if kind == "eps" else convert(clean, x, t, process=centre, kind_in="x0", kind_out=kind)
        return _mean_square(prediction - target, mask)
    if kind != "eps":
        prediction = convert(prediction, x, t, process=centre, kind_in=kind, kind_out="eps")
    losses = _mean_square(prediction - noise, mask)
    return losses if weighting == "std" else losses * (process.diffusion(t) / process.std(t)) ** 2


def flow_matching(prediction: ArrayLike, x0: ArrayLike, noise: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Squared error of a velocity on the straight path from data to noise (per example; larger is worse).

    .. math:: \tfrac1D \|\hat v - (\epsilon - x_0)\|^2

    Args:
      prediction: float [B, ...], the velocity at (1 - t) x0 + t noise.
      x0: float [B, ...], data.
      noise: float [B, ...].
      where: bool [B], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [B].
    Raises:
      ValueError: shapes differ.
      TypeError: an array is not floating point.

    >>> print(flow_matching(jnp.array([[1.0, 1.0]]), jnp.zeros((1, 2)), jnp.array([[1.0, 3.0]])))
    [2.]

    Reference: Lipman et al., "Flow Matching for Generative Modeling" (2023), standard.
    """
    prediction, x0, noise = (
        checks.floating(value, name) for value, name in ((prediction, "prediction"), (x0, "x0"), (noise, "noise"))
    )
    checks.same_shape(prediction, "prediction", x0, "x0")
    checks.same_shape(noise, "noise", x0, "x0")
    mask = checks.mask(where, "where", x0.shape[:1])
    dtype = accumulation_dtype(prediction, x0, noise)
    clean = [_clean(value.astype(dtype), mask) for value in (prediction, x0, noise)]
    return _mean_square(clean[0] - (clean[2] - clean[1]), mask)


def condition_dropout(key: Array, condition: PyTree, null: PyTree, *, rate: ArrayLike) -> tuple[PyTree, Array]:
    r"""Replaces whole conditions by the null condition at random: the training of classifier-free guidance.

    .. math:: c_b \leftarrow \varnothing \ \text{with probability } p

    Args:
      key: one draw per example. Two conditions that are dropped independently take two calls with two keys.
      condition: array [B, ...] or a pytree of them (labels, embeddings, masks), dropped together.
      null: the null condition, a pytree of the same structure whose leaves broadcast to one example.
      rate: p in [0, 1], a float or a scalar array.
    Returns:
      (condition, dropped): the same pytree and dtypes, and bool [B], True where the condition was replaced.
    Raises:
      ValueError: a static rate outside [0, 1], leaves of different length, or null does not fit.

    >>> labels, dropped = condition_dropout(jax.random.key(0), jnp.arange(4), 10, rate=1.0)
    >>> print(labels, dropped)
    [10 10 10 10] [ True  True  True  True]

    Reference: Ho & Salimans, "Classifier-Free Diffusion Guidance" (2022), standard.
    """
    checks.in_range(rate, "rate", 0.0, 1.0)
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(condition)]
    if not leaves or any(leaf.ndim == 0 or leaf.shape[0] != leaves[0].shape[0] for leaf in leaves):
        raise ValueError(f"condition must hold arrays [B, ...], got shapes {[list(leaf.shape) for leaf in leaves]}")
    structures = {str(jax.tree.structure(tree)) for tree in (condition, null)}
    if len(structures) > 1:
        raise ValueError("null must have the structure of condition, one null per leaf")
    dropped = jax.random.bernoulli(key, rate, (leaves[0].shape[0],))

    def replace(leaf: Array, nothing: ArrayLike) -> Array:
        leaf, empty = jnp.asarray(leaf), jnp.asarray(nothing)
        if jnp.broadcast_shapes(empty.shape, leaf.shape[1:]) != leaf.shape[1:]:
            raise ValueError(f"null has shape {list(empty.shape)}, one example of condition {list(leaf.shape[1:])}")
        return jnp.where(dropped.reshape(dropped.shape + (1,) * (leaf.ndim - 1)), empty.astype(leaf.dtype), leaf)

    return jax.tree.map(replace, condition, null), dropped


def joint_condition_dropout(key: Array, batch: int, *, rate: ArrayLike = 0.05) -> tuple[Array, Array]:
    r"""Which examples of an editor lose their text, their image, or both: one draw decides, for guidance by two scales.

    .. math:: u \sim U[0, 1): \quad \text{no text where } u < 2r, \qquad \text{no image where } r \le u < 3r

    So r of the examples lose the text alone, r both, r the image alone, and 1 - 3r keep both. Independent draws are two
    calls of ``condition_dropout``.

    Args:
      key: PRNG key.
      batch: B, static.
      rate: r in [0, 1/3], a float or a scalar array.
    Returns:
      (drop_text, drop_image): bool [B] each, True where the condition is to be replaced by its null.
    Raises:
      ValueError: a static rate outside [0, 1/3], or batch below 0.

    >>> drop_text, drop_image = joint_condition_dropout(jax.random.key(0), 2, rate=0.0)
    >>> print(drop_text, drop_image)
    [False False] [False False]

    Reference: Brooks et al., "InstructPix2Pix" (2023), as in Li et al., "SuperEdit: Rectifying and Facilitating
    Supervision for Instruction-Based Image Editing" (2025); checked against the authors' code.
    """
    checks.in_range(rate, "rate", 0.0, 1.0 / 3.0)
    u = jax.random.uniform(key, (checks.size(batch, "batch", 0),))
    return u < 2.0 * rate, (u >= rate) & (u < 3.0 * rate)
