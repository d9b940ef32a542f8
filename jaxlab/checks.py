"""Argument checks: a ValueError or TypeError that names the argument, what was expected and what came.

Only what is known without values is checked (shapes, dtypes, static Python numbers), so every check works under
``jit``. A traced value passes ``positive`` and ``in_range`` unseen: what depends on values has a documented result.
"""

import numbers
import operator
from collections.abc import Iterable
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp

from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = [
    "at_least",
    "batch_match",
    "broadcast_mask",
    "broadcasts_to",
    "divisible",
    "floating",
    "in_range",
    "integer",
    "mask",
    "not_wider",
    "one_of",
    "positive",
    "rank",
    "same_fields",
    "same_shape",
    "size",
]


def _describe(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{jnp.dtype(value.dtype).name if not is_key(value) else value.dtype}{list(value.shape)}"
    return f"{type(value).__name__} {value!r}"


def is_key(value: Any) -> bool:
    """Whether the value is a typed PRNG key, or an array of them."""
    return hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def is_static(value: Any) -> TypeGuard[float]:
    """Whether the value is a number of Python or numpy, whose size is known before a program runs; no array is."""
    return isinstance(value, numbers.Real)


def _as_array(value: ArrayLike, name: str) -> Array:
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers, got {_describe(value)}") from error


def rank(value: ArrayLike, name: str, expected: int | Iterable[int], *, layout: str = "") -> Array:
    """The array, if its number of axes is one of ``expected``; ``layout`` (such as "[N, D]") goes into the message."""
    array = _as_array(value, name)
    allowed = (expected,) if isinstance(expected, int) else tuple(expected)
    if array.ndim not in allowed:
        wanted = layout or f"{' or '.join(map(str, allowed))} axes"
        raise ValueError(f"{name} must have shape {wanted}, got {_describe(array)}")
    return array


def floating(value: ArrayLike, name: str) -> Array:
    """The array, if it holds real floating-point numbers; integers and booleans are refused, not converted."""
    array = _as_array(value, name)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, got {_describe(array)}; convert it with .astype(jnp.float32)")
    return array


def integer(value: ArrayLike, name: str) -> Array:
    """The array, if it holds integers (booleans and floats are refused), at least 32 bits wide.

    Narrow integers are widened: int8 labels compared with 200 classes would wrap around.
    """
    array = _as_array(value, name)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must hold integers, got {_describe(array)}")
    return array.astype(jnp.promote_types(array.dtype, jnp.int32))


def mask(value: ArrayLike | None, name: str, shape: tuple[int, ...]) -> Array | None:
    """The boolean mask, if it is None or has exactly ``shape``."""
    if value is None:
        return None
    array = _as_array(value, name)
    if array.dtype != jnp.bool_:
        raise TypeError(f"{name} must be boolean (True = counts), got {_describe(array)}")
    if array.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {list(shape)}, got {_describe(array)}")
    return array


def broadcast_mask(value: ArrayLike | None, name: str, shape: tuple[int, ...]) -> Array:
    """The boolean mask at ``shape``, if it broadcasts to it; None counts everything."""
    if value is None:
        return jnp.ones(shape, bool)
    array = _as_array(value, name)
    if array.dtype != jnp.bool_:
        raise TypeError(f"{name} must be boolean (True = counts), got {_describe(array)}")
    return jnp.broadcast_to(broadcasts_to(array, name, shape), shape)


def broadcasts_to(array: Array, name: str, shape: tuple[int, ...]) -> Array:
    """The array as it came, if it broadcasts to ``shape``."""
    lengths = zip(array.shape[::-1], shape[::-1], strict=False)
    if array.ndim > len(shape) or any(own not in (1, wanted) for own, wanted in lengths):
        raise ValueError(f"{name} must broadcast to {list(shape)}, got {list(array.shape)}")
    return array


def same_shape(a: Array, name_a: str, b: Array, name_b: str) -> None:
    """Raises ValueError unless both arrays have the same shape."""
    if a.shape != b.shape:
        raise ValueError(f"{name_a} and {name_b} must have the same shape, got {_describe(a)} and {_describe(b)}")


def batch_match(a: Array, name_a: str, b: Array, name_b: str, *, axes: int = 1) -> None:
    """Raises ValueError unless the first ``axes`` axes agree."""
    if a.shape[:axes] != b.shape[:axes]:
        raise ValueError(
            f"{name_a} and {name_b} must agree in their first {axes} axes, got {_describe(a)} and {_describe(b)}"
        )


def size(value: Any, name: str, low: int = 1) -> int:
    """The static integer, if it is at least ``low``: a number of classes, features, steps, ..."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be a static integer, got {_describe(value)}") from error
    if isinstance(value, bool) or number < low:
        raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}")
    return number


def divisible(value: int, name: str, by: int) -> int:
    """The integer, if it is a multiple of ``by``."""
    if value % by:
        raise ValueError(f"{name} must be a multiple of {by}, got {value}")
    return value


def positive(value: Any, name: str) -> Any:
    """The value, if it is a Python number > 0 or not a Python number (an array may be traced)."""
    if is_static(value) and not value > 0:
        raise ValueError(f"{name} must be > 0, got {value!r}")
    if not is_static(value) and not hasattr(value, "dtype"):
        raise TypeError(f"{name} must be a number or an array, got {_describe(value)}")
    return value


def at_least(value: Any, name: str, low: float) -> Any:
    """The value, if it is a Python number >= ``low`` or not a Python number."""
    if is_static(value) and not value >= low:
        raise ValueError(f"{name} must be at least {low}, got {value!r}")
    if not is_static(value) and not hasattr(value, "dtype"):
        raise TypeError(f"{name} must be a number or an array, got {_describe(value)}")
    return value


def in_range(value: Any, name: str, low: float, high: float) -> Any:
    """The value, if it is a Python number in [low, high] or not a Python number."""
    if is_static(value) and not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low}, {high}], got {value!r}")
    if not is_static(value) and not hasattr(value, "dtype"):
        raise TypeError(f"{name} must be a number or an array, got {_describe(value)}")
    return value


def one_of(value: Any, name: str, allowed: Iterable[Any]) -> Any:
    """The value, if it is among ``allowed``."""
    choices = tuple(allowed)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def not_wider(value: Array, name: str, dtype: DTypeLike, *, state: str = "the state") -> Array:
    """The array, if adding it to a ``dtype`` state loses no width; TypeError otherwise, never a silent downcast."""
    if jnp.promote_types(value.dtype, dtype) != jnp.dtype(dtype):
        raise TypeError(
            f"{name} is {_describe(value)} but {state} holds {jnp.dtype(dtype).name}: convert the input, or make the "
            f"state with dtype={jnp.dtype(value.dtype).name}"
        )
    return value


def same_fields(a: Any, b: Any) -> None:
    """Raises unless two NamedTuple states hold the same fields, with the same shapes and dtypes."""
    if type(a) is not type(b):
        raise TypeError(f"both states must have one type, got {type(a).__name__} and {type(b).__name__}")
    for name, left, right in zip(a._fields, a, b, strict=True):
        if left is None and right is None:
            continue
        if left is None or right is None:
            raise ValueError(f"{name} is kept by one state and not by the other: make both with the same options")
        if left.shape != right.shape:
            raise ValueError(f"the states disagree in {name}: {_describe(left)} and {_describe(right)}")
        if left.dtype != right.dtype:
            raise TypeError(f"the states disagree in {name}: {_describe(left)} and {_describe(right)}")
