"""Reversible columns: levels of features that a column refines and that can be computed back from its output."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import straight_through
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "clamp_magnitude",
    "reversible_column_forward",
    "reversible_column_inverse",
    "reversible_columns",
]

# fn(params, below, above) -> an array like the level's features; above is None at the top level.
LevelFn = Callable[[PyTree, Array, Array | None], Array]


def clamp_magnitude(x: ArrayLike, floor: float = 1e-3) -> Array:
    r"""Keeps numbers away from 0, sign included, with the gradient of the identity.

    .. math:: \operatorname{sgn}(x) \max(|x|, \epsilon)

    Args:
      x: float [...].
      floor: > 0, static.
    Returns:
      The shape and dtype of x; +floor for 0.
    Raises:
      ValueError: floor <= 0.
      TypeError: x is not floating point.

    >>> print(clamp_magnitude(jnp.array([-0.5, -1e-9, 0.0]), 0.1))
    [-0.5 -0.1  0.1]

    Reference: the factors of Cai et al., "Reversible Column Networks" (2023). Checked against the authors' code, whose
    sign(0) = 0 lets a factor of 0 through, and with it a division by 0.
    """
    x = checks.floating(x, "x")
    checks.positive(floor, "floor")
    return straight_through(jnp.where(x < 0, jnp.minimum(x, -floor), jnp.maximum(x, floor)), x)


def reversible_column_forward(
    fns: Sequence[LevelFn],
    params: Sequence[PyTree],
    alphas: Sequence[ArrayLike],
    x: ArrayLike,
    features: Sequence[ArrayLike] | None = None,
) -> tuple[Array, ...]:
    r"""One column: every level takes from the new level below and the old level above.

    .. math:: c_l \leftarrow \alpha_l \odot c_l + F_l\big(c_{l-1}^{\text{new}},\, c_{l+1}^{\text{old}}\big),
              \qquad l = 0, \ldots, L - 1, \quad c_{-1} = x

    Args:
      fns: F_l as ``fn(params, below, above)``, a callable per level; it fuses what comes from below and above (to its
        own shape) and applies the level's blocks. ``above`` is None at the top, and in a first column everywhere.
      params: a pytree per level, for ``fns``.
      alphas: float per level, broadcastable to the level's features; far from 0, see ``clamp_magnitude``.
      x: float, what the stem has made of the input; the same for all columns.
      features: an array per level, the output of the column before; None in the first column.
    Returns:
      An array per level, in the dtypes that the sums give.
    Raises:
      ValueError: fns, params, alphas and features disagree in their number, or there is none.

    >>> add = lambda params, below, above: below + (0.0 if above is None else above)
    >>> [float(c) for c in reversible_column_forward([add, add], [None, None], [0.5, 0.5], 1.0, [2.0, 4.0])]
    [6.0, 8.0]

    Reference: Cai et al., "Reversible Column Networks" (2023). Checked against the authors' code.
    """
    _check_levels(fns, params, alphas, features)
    below = jnp.asarray(x)
    old = None if features is None else [jnp.asarray(c) for c in features]
    new: list[Array] = []
    for level, fn in enumerate(fns):
        above = None if old is None or level + 1 == len(fns) else old[level + 1]
        update = fn(params[level], below, above)
        below = update if old is None else jnp.asarray(alphas[level]) * old[level] + update
        new.append(below)
    return tuple(new)


def reversible_column_inverse(
    fns: Sequence[LevelFn],
    params: Sequence[PyTree],
    alphas: Sequence[ArrayLike],
    x: ArrayLike,
    features: Sequence[ArrayLike],
) -> tuple[Array, ...]:
    r"""The features before a column, from those after it, from the top level down.

    .. math:: c_l^{\text{old}} = \big(c_l - F_l(c_{l-1},\, c_{l+1}^{\text{old}})\big) / \alpha_l

    Args:
      fns: as in ``reversible_column_forward``; they must be deterministic: random ones need the same key again.
      params: as there.
      alphas: as there; rounding errors grow by 1 / alpha in every column.
      x: as there.
      features: an array per level, the output of a column that was not the first.
    Returns:
      An array per level.
    Raises:
      ValueError: fns, params, alphas and features disagree in their number, or there is none.

    >>> add = lambda params, below, above: below + (0.0 if above is None else above)
    >>> [float(c) for c in reversible_column_inverse([add, add], [None, None], [0.5, 0.5], 1.0, [6.0, 8.0])]
    [2.0, 4.0]

    Reference: Cai et al. (2023), as in ``reversible_column_forward``. Checked against the authors' code.
    """
    _check_levels(fns, params, alphas, features)
    new = [jnp.asarray(x), *(jnp.asarray(c) for c in features)]
    above: Array | None = None
    old: list[Array] = []
    for level in reversed(range(len(fns))):
        above = (new[level + 1] - fns[level](params[level], new[level], above)) / jnp.asarray(alphas[level])
        old.append(above)
    return tuple(reversed(old))


def reversible_columns(
    fns: Sequence[LevelFn],
    params: Sequence[PyTree],
    alphas: Sequence[ArrayLike],
    x: ArrayLike,
    features: Sequence[ArrayLike],
) -> tuple[Array, ...]:
    r"""Many columns after the first in one scan, whose backward pass computes features back instead of storing them.

    .. math:: c^{(i)} = \mathrm{column}_i\big(x, c^{(i-1)}\big), \quad i = 1, \ldots, C

    The memory for activations does not grow with C, the work of the backward pass by one evaluation of every F. In
    float32 the recomputed features drift by a factor 1 / alpha per column: check the gradient for deep stacks of small
    alphas, or run them in float64.

    Args:
      fns: as in ``reversible_column_forward``, the same for all columns; nothing they close over gets a gradient.
      params: a pytree per level with a leading axis [C].
      alphas: float [C, ...] per level.
      x: float, input of the lowest level in every column.
      features: an array per level, what the first column (``reversible_column_forward`` without features) returned.
    Returns:
      An array per level, the output of the last column.
    Raises:
      ValueError: fns, params, alphas and features disagree in their number, or there is none.

    >>> add = lambda params, below, above: params * below
    >>> columns = reversible_columns([add], [jnp.array([1.0, 2.0])], [jnp.array([0.5, 0.5])], 1.0, [4.0])
    >>> print(columns[0])
    3.5

    Reference: Cai et al. (2023), as in ``reversible_column_forward``. Checked against the authors' code, which sums
    over columns by hooks; here it is one scan.
    """
    _check_levels(fns, params, alphas, features)
    wide = tuple(jnp.asarray(alpha) for alpha in alphas)
    return _columns(tuple(fns), tuple(params), wide, jnp.asarray(x), tuple(jnp.asarray(c) for c in features))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _columns(
    fns: tuple[LevelFn, ...], params: PyTree, alphas: tuple[Array, ...], x: Array, features: tuple[Array, ...]
) -> tuple[Array, ...]:
    def column(features: tuple[Array, ...], one: tuple[PyTree, tuple[Array, ...]]) -> tuple[tuple[Array, ...], None]:
        return reversible_column_forward(fns, one[0], one[1], x, features), None

    return jax.lax.scan(column, features, (params, alphas))[0]


def _columns_forward(
    fns: tuple[LevelFn, ...], params: PyTree, alphas: tuple[Array, ...], x: Array, features: tuple[Array, ...]
) -> tuple[tuple[Array, ...], PyTree]:
    last = _columns(fns, params, alphas, x, features)
    return last, (params, alphas, x, last)


def _columns_backward(fns: tuple[LevelFn, ...], kept: PyTree, cotangents: tuple[Array, ...]) -> tuple[PyTree, ...]:
    params, alphas, x, last = kept

    def column(carry: PyTree, one: tuple[PyTree, tuple[Array, ...]]) -> tuple[PyTree, PyTree]:
        features, cotangents, x_bar = carry
        old, *bars = _column_backward(fns, *one, x, features, cotangents)
        old_bar, below_bar, params_bar, alphas_bar = bars
        return (old, old_bar, x_bar + below_bar), (params_bar, alphas_bar)

    start = (last, cotangents, jnp.zeros_like(x))
    (_, first_bar, x_bar), (params_bar, alphas_bar) = jax.lax.scan(column, start, (params, alphas), reverse=True)
    return params_bar, alphas_bar, x_bar, first_bar


def _column_backward(
    fns: tuple[LevelFn, ...],
    params: PyTree,
    alphas: tuple[Array, ...],
    x: Array,
    features: tuple[Array, ...],
    cotangents: tuple[Array, ...],
) -> tuple[PyTree, ...]:
    """The features before a column and all cotangents, with one evaluation of every F: inverse and vjp share it."""
    new, new_bar = [x, *features], [jnp.zeros_like(x), *cotangents]
    above: Array | None = None
    above_bar: Array | None = None
    old: list[Array] = []
    old_bars: list[Array] = []
    params_bars: list[PyTree] = []
    alpha_bars: list[Array] = []
    for level in reversed(range(len(fns))):
        update, pull = jax.vjp(fns[level], params[level], new[level], above)
        before = (new[level + 1] - update) / alphas[level]
        bar = new_bar[level + 1]
        alpha_bar, before_bar = jax.vjp(jnp.multiply, alphas[level], before)[1](bar)
        params_bar, below_bar, to_above = pull(bar)
        new_bar[level] = new_bar[level] + below_bar
        if above_bar is not None:
            old_bars[-1] = above_bar + to_above
        above, above_bar = before, before_bar
        for kept, value in ((old, before), (old_bars, before_bar), (params_bars, params_bar), (alpha_bars, alpha_bar)):
            kept.append(value)
    outputs = [tuple(reversed(kept)) for kept in (old, old_bars, params_bars, alpha_bars)]
    return outputs[0], outputs[1], new_bar[0], outputs[2], outputs[3]


_columns.defvjp(_columns_forward, _columns_backward)


def _check_levels(
    fns: Sequence[LevelFn],
    params: Sequence[PyTree],
    alphas: Sequence[ArrayLike],
    features: Sequence[ArrayLike] | None,
) -> None:
    if not fns:
        raise ValueError("fns must hold at least one level, got none")
    for values, name in ((params, "params"), (alphas, "alphas"), (features, "features")):
        if values is not None and len(values) != len(fns):
            raise ValueError(f"{name} must have an entry for each of the {len(fns)} levels, got {len(values)}")
