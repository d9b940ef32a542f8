"""Gradient boosting of hidden units: a network that is trained a few units at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.losses import pseudo_residuals
from jaxlab.nn import Boosted, SmallMLP, small_mlp
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.optim.inner import minimize
from jaxlab.typing import Array, ArrayLike

__all__ = ["BoostedFit", "boosting_init", "boosting_newton_step", "fit_small_mlp", "gradient_boosted_network"]

_LOSSES = ("squared", "binary", "multiclass")


class BoostedFit(NamedTuple):
    """A boosted model, its scores of the training rows [N, O], and their mean loss after every stage [T]."""

    model: Boosted
    scores: Array
    losses: Array


def boosting_init(
    targets: ArrayLike, *, loss: str, num_classes: int | None = None, where: ArrayLike | None = None
) -> Array:
    r"""The constant that gradient boosting starts from.

    .. math:: F_0 = \bar y, \qquad F_0 = \tfrac12 \log \frac{1 + \bar s}{1 - \bar s}, \qquad F_0 = 0 \in \mathbb R^C

    for the losses of ``losses.pseudo_residuals``. The first two minimise the loss over constants; zeros, the authors'
    start for many classes, do so where the classes are equally frequent.

    Args:
      targets: float [N] where loss is "squared", else int [N]: 0 or 1, or a class in [0, num_classes).
      loss: "squared", "binary" or "multiclass", static.
      num_classes: C, static; needed where loss is "multiclass".
      where: bool [N], True where a row counts.
    Returns:
      float32 or wider, a scalar, or [C] where loss is "multiclass". NaN where the rows of a "binary" loss are all of
      one class, as no finite constant fits them, or hold a label that is neither 0 nor 1; 0 where no row counts.
    Raises:
      ValueError: loss is unknown, targets are not [N], or num_classes is missing where loss is "multiclass".
      TypeError: targets are not of the type above.

    >>> print(f"{boosting_init(jnp.array([0, 1, 1, 1]), loss='binary'):.4f}")  # half the log-odds
    0.5493

    Reference: Emami and Martinez-Munoz, "Sequential Training of Neural Networks with Gradient Boosting" (2023). Checked
    against the authors' code.
    """
    checks.one_of(loss, "loss", _LOSSES)
    y = checks.floating(targets, "targets") if loss == "squared" else checks.integer(targets, "targets")
    checks.rank(y, "targets", 1, layout="[N]")
    mask = checks.mask(where, "where", y.shape)
    if loss == "multiclass":
        if num_classes is None:
            raise ValueError("num_classes must be given where loss is 'multiclass', got None")
        return jnp.zeros(checks.size(num_classes, "num_classes", 2))
    if loss == "squared":
        return masked_mean(y, mask)
    counts = jnp.ones(y.shape, bool) if mask is None else mask
    known = jnp.all((y == 0) | (y == 1) | ~counts)
    ones, zeros = jnp.sum(counts & (y == 1)), jnp.sum(counts & (y == 0))
    fits = known & (ones > 0) & (zeros > 0)
    odds = jnp.where(fits, ones, 1) / jnp.where(fits, zeros, 1)
    return jnp.where(fits | ~jnp.any(counts), 0.5 * jnp.log(odds), jnp.nan)


def boosting_newton_step(
    direction: ArrayLike,
    residuals: ArrayLike,
    *,
    loss: str,
    max_step: ArrayLike = 100.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""How far to go along a stage's predictions: one Newton step of the loss along them.

    .. math:: \rho = \frac{\sum_n h_n r_n}{\sum_n h_n^2 \kappa_n}, \qquad
              \kappa = |r| (2 - |r|) \text{ (binary)}, \quad \kappa = |r| (1 - |r|) \text{ (multiclass)}

    where kappa is the second derivative of the loss, written by its residual; for many classes the sums run over them
    too, and the terms between classes are left out. The step for the squared loss is 1. The better the rows are fitted,
    the less a stage predicts and the further the step goes: it ends at ``max_step``.

    Args:
      direction: h, float [N], or [N, C] where loss is "multiclass": what a stage predicts.
      residuals: r, same shape, from ``losses.pseudo_residuals``.
      loss: "squared", "binary" or "multiclass", static.
      max_step: the largest |rho|, > 0.
      where: bool [N], True where a row counts.
    Returns:
      float32 or wider scalar in [-max_step, max_step]; 0 where no row counts or the direction is 0 (1 for the squared
      loss).
    Raises:
      ValueError: loss is unknown, shapes do not agree, or a static max_step <= 0.
      TypeError: an input is not floating point.

    >>> print(boosting_newton_step(jnp.array([1.0, -1.0]), jnp.array([1.5, -0.5]), loss="binary"))
    1.3333334

    Reference: Emami and Martinez-Munoz, "Sequential Training of Neural Networks with Gradient Boosting" (2023). Checked
    against the authors' code, which does not bound the step.
    """
    checks.one_of(loss, "loss", _LOSSES)
    h, r = checks.floating(direction, "direction"), checks.floating(residuals, "residuals")
    checks.rank(h, "direction", 2 if loss == "multiclass" else 1, layout="[N, C]" if loss == "multiclass" else "[N]")
    checks.same_shape(h, "direction", r, "residuals")
    checks.positive(max_step, "max_step")
    mask = checks.mask(where, "where", h.shape[:1])
    dtype = accumulation_dtype(h, r)
    limit = jnp.asarray(max_step, dtype)
    if loss == "squared":
        return jnp.minimum(jnp.ones((), dtype), limit)
    counts = jnp.ones(h.shape[:1], bool) if mask is None else mask
    counts = counts.reshape(-1, *(1,) * (h.ndim - 1))
    h, r = jnp.where(counts, h.astype(dtype), 0.0), jnp.where(counts, r.astype(dtype), 0.0)
    curvature = jnp.abs(r) * ((2.0 if loss == "binary" else 1.0) - jnp.abs(r))
    slope, bend = jnp.sum(h * r), jnp.maximum(jnp.sum(h**2 * curvature), 0.0)
    # Compared as a product: the quotient may not exist.
    inside = jnp.abs(slope) < limit * bend
    newton = slope / jnp.where(inside, bend, 1.0)
    return jnp.where(inside, newton, limit * jnp.sign(slope))


def _glorot(key: Array, dim: int, width: int, outputs: int, dtype: jnp.dtype) -> SmallMLP:
    """Uniform weights and biases, as scikit-learn starts networks of logistic units."""
    bounds = [(2.0 / (dim + width)) ** 0.5] * 2 + [(2.0 / (width + outputs)) ** 0.5] * 2
    shapes = [(dim, width), (width,), (width, outputs), (outputs,)]
    keys = jax.random.split(key, 4)
    drawn = (jax.random.uniform(k, s, dtype, -b, b) for k, s, b in zip(keys, shapes, bounds, strict=True))
    return SmallMLP(*drawn)


def fit_small_mlp(
    key: Array,
    x: ArrayLike,
    targets: ArrayLike,
    *,
    width: int = 1,
    num_steps: int = 200,
    ridge: ArrayLike = 1e-4,
    where: ArrayLike | None = None,
) -> SmallMLP:
    r"""A small network fitted to numbers by least squares, by L-BFGS from a random start.

    .. math:: \frac{1}{2 N O} \sum_n \|V^\top \sigma(W^\top x_n + b) + c - y_n\|^2
              + \frac{\lambda}{2 N} (\|W\|^2 + \|V\|^2)

    Call it inside ``jit``: outside, every call compiles anew. ``vmap`` over keys gives restarts.

    Args:
      key: PRNG key; it decides the start.
      x: float [N, D].
      targets: float [N, O].
      width: J >= 1 hidden units, static.
      num_steps: of L-BFGS, static, >= 0.
      ridge: lambda >= 0.
      where: bool [N], True where a row counts.
    Returns:
      SmallMLP, float32 or wider.
    Raises:
      ValueError: shapes do not agree, a size is too small, or a static ridge < 0.
      TypeError: x or targets are not floating point, or a size is not a static integer.

    >>> x = jnp.linspace(-1.0, 1.0, 9)[:, None]
    >>> fit = fit_small_mlp(jax.random.key(0), x, jnp.tanh(x), num_steps=50, ridge=0.0)
    >>> print(jnp.max(jnp.abs(small_mlp(fit, x) - jnp.tanh(x))) < 1e-2)
    True

    Reference: Emami and Martinez-Munoz, "Sequential Training of Neural Networks with Gradient Boosting" (2023); checked
    against scikit-learn's MLPRegressor, by which the authors fit a stage. It stops early, this takes all its steps.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    y = checks.rank(checks.floating(targets, "targets"), "targets", 2, layout="[N, O]")
    checks.batch_match(x, "x", y, "targets")
    width = checks.size(width, "width")
    checks.at_least(ridge, "ridge", 0.0)
    mask = checks.mask(where, "where", x.shape[:1])
    dtype = accumulation_dtype(x, y)
    counts = jnp.ones(x.shape[0], bool) if mask is None else mask
    x, y = (jnp.where(counts[:, None], rows.astype(dtype), 0.0) for rows in (x, y))
    size = jnp.maximum(jnp.sum(counts), 1)

    def loss(params: SmallMLP) -> Array:
        errors = jnp.where(counts[:, None], small_mlp(params, x) - y, 0.0)
        penalty = jnp.sum(params.weight_in**2) + jnp.sum(params.weight_out**2)
        return 0.5 * (jnp.sum(errors**2) / max(y.shape[1], 1) + jnp.asarray(ridge, dtype) * penalty) / size

    start = _glorot(key, x.shape[1], width, y.shape[1], dtype)
    return minimize(loss, start, optax.lbfgs(), num_steps=num_steps).params


def _subsample(key: Array, counts: Array, share: float) -> tuple[Array, Array]:
    """Row numbers [floor(share N)] drawn without replacement, counting rows first, and which of them to use.

    As many are used as the share of the rows that count, rounded down, but at least one.
    """
    size = max(1, int(share * counts.shape[0]))
    order = jnp.where(counts, jax.random.uniform(key, counts.shape), -1.0)
    index = jax.lax.top_k(order, size)[1]
    used = jnp.maximum(jnp.floor(share * jnp.sum(counts)), 1)
    return index, (jnp.arange(size) < used) & counts[index]


def _loss(scores: Array, y: Array, name: str) -> Array:
    if name == "squared":
        return 0.5 * (y - scores[:, 0]) ** 2
    if name == "binary":
        return jax.nn.softplus(jnp.where(y == 1, -2.0, 2.0) * scores[:, 0])
    return optax.losses.softmax_cross_entropy_with_integer_labels(scores, y)


def gradient_boosted_network(
    key: Array,
    x: ArrayLike,
    targets: ArrayLike,
    *,
    loss: str,
    num_stages: int,
    num_classes: int | None = None,
    width: int = 1,
    learning_rate: ArrayLike = 1.0,
    subsample: float = 0.5,
    num_steps: int = 200,
    ridge: ArrayLike = 1e-4,
    max_step: ArrayLike = 100.0,
    where: ArrayLike | None = None,
) -> BoostedFit:
    r"""A network with one hidden layer, trained a few units at a time by gradient boosting.

    .. math:: F_t = F_{t-1} + \eta\, \rho_t h_t, \qquad h_t \approx -\nabla_F \ell(F_{t-1})

    Every stage fits a small network to the pseudo-residuals of some of the rows and takes a Newton step along it on all
    of them. The sum is one network (``nn.assemble_boosted``) whose last units can be switched off
    (``nn.boosted_prefix``). All stages are one ``lax.scan``; call it inside ``jit``.

    Args:
      key: PRNG key; it decides the rows of every stage and the starts.
      x: float [N, D]; standardise it.
      targets: float [N] where loss is "squared", else int [N]: 0 or 1, or a class in [0, num_classes).
      loss: "squared", "binary" or "multiclass", static.
      num_stages: T >= 1, static.
      num_classes: C, static; needed where loss is "multiclass".
      width: J >= 1 hidden units per stage, static.
      learning_rate: eta, shrinks every step.
      subsample: share of the rows that a stage is fitted to, in (0, 1], static; drawn without replacement.
      num_steps: of L-BFGS per stage, static.
      ridge: penalty of every stage, see ``fit_small_mlp``.
      max_step: the largest Newton step, see ``boosting_newton_step``.
      where: bool [N], True where a row counts.
    Returns:
      BoostedFit(model, scores [N, O], losses [T]): O is C where loss is "multiclass", else 1; losses are means over the
      rows that count. All NaN where a label is out of range or, with "binary", only one class occurs.
    Raises:
      ValueError: shapes do not agree, loss is unknown, num_classes is missing, a size or subsample is out of range.
      TypeError: x or targets are not of the types above, or a size is not a static integer.

    >>> x, y = jnp.array([[-1.0], [-0.5], [0.5], [1.0]]), jnp.array([0, 0, 1, 1])
    >>> fit = gradient_boosted_network(jax.random.key(0), x, y, loss="binary", num_stages=3, num_steps=20)
    >>> print(fit.scores[:, 0] > 0)
    [False False  True  True]

    Reference: Emami and Martinez-Munoz, "Sequential Training of Neural Networks with Gradient Boosting" (2023). Checked
    against the authors' code; under scikit-learn 1.6 and later their class mistakes itself for a regressor.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    y = jnp.asarray(targets)
    num_stages = checks.size(num_stages, "num_stages")
    if not 0 < subsample <= 1:
        raise ValueError(f"subsample must lie in (0, 1], got {subsample!r}")
    intercept = jnp.atleast_1d(boosting_init(y, loss=loss, num_classes=num_classes, where=where))
    checks.batch_match(x, "x", y, "targets")
    mask = checks.mask(where, "where", y.shape)
    counts = jnp.ones(y.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(x, y)
    x = jnp.where(counts[:, None], x.astype(dtype), 0.0)
    rate = jnp.asarray(learning_rate, dtype)

    def predictions(scores: Array) -> Array:
        return scores if loss == "multiclass" else scores[:, 0]

    def stage(scores: Array, key: Array) -> tuple[Array, tuple[SmallMLP, Array, Array]]:
        draw_key, fit_key = jax.random.split(key)
        residuals = pseudo_residuals(predictions(scores), y, loss=loss, where=counts)
        index, used = _subsample(draw_key, counts, subsample)
        chosen = residuals.reshape(scores.shape)[index]
        net = fit_small_mlp(fit_key, x[index], chosen, width=width, num_steps=num_steps, ridge=ridge, where=used)
        fitted = small_mlp(net, x)
        newton = boosting_newton_step(predictions(fitted), residuals, loss=loss, max_step=max_step, where=counts)
        step = rate * newton
        scores = scores + step * fitted
        return scores, (net, step, masked_mean(_loss(scores, y, loss), counts))

    start = jnp.broadcast_to(intercept.astype(dtype), (x.shape[0], intercept.shape[0]))
    scores, (stages, steps, losses) = jax.lax.scan(stage, start, jax.random.split(key, num_stages))
    return BoostedFit(Boosted(stages, steps, intercept.astype(dtype)), scores, losses)
