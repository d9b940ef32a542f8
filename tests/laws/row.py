"""A row of the law table: one public function, how to make valid calls to it, and what to expect of it.

    "normalize": Row(numerics.normalize, inputs(x=normal(N, D)), batch=("x",), diff=("x",), bf16=("x",))

Rows live in ``tables/<namespace>.py``, in a dict ``ROWS`` whose keys are public names. A second way to call the same
function is a row of its own, named ``"name/variant"``. ``laws.py`` says what is checked.

All rows use the same few small shapes, so that compiled single operations are shared between rows.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

# N is the batch and nothing else: the laws recognise the batch axes of a result by this length.
N, M, D, C = 7, 5, 3, 4


class Row(NamedTuple):
    """What the laws need to know about one public function.

    fn: the function.
    make: ``make(key)`` gives the arguments of a valid call (dict by name, or a tuple in order); every key gives the
      same shapes and dtypes, with other values. Every leaf is traced.
    static: arguments that stay out of the trace: functions, rules, strings, sizes.
    batch: arguments that share their leading axis. ``where`` belongs here where it masks that axis.
    couples: True where the result of one row depends on the other rows.
    diff: arguments with a gradient.
    bf16: arguments that may come in bfloat16.
    tol: relative to the largest entry of a result.
    skip: law -> the reason why it does not hold here.
    """

    fn: Callable[..., Any]
    make: Callable[[jax.Array], Any]
    static: Mapping[str, Any] = {}
    batch: tuple[str, ...] = ()
    couples: bool = False
    diff: tuple[str, ...] = ()
    bf16: tuple[str, ...] = ()
    tol: float = 1e-5
    skip: Mapping[str, str] = {}


def function(row: Row) -> Callable[..., Any]:
    """The function of the row with its static arguments filled in; it takes the rest by name."""
    return functools.partial(row.fn, **row.static)


def parameters(row: Row) -> tuple[str, ...]:
    """The names of the arguments that ``row.fn`` accepts."""
    return tuple(inspect.signature(row.fn).parameters)


def arguments(row: Row, key: jax.Array) -> dict[str, Any]:
    """The arguments of one call, by name, as numpy arrays (and JAX keys)."""
    made = row.make(key)
    if not isinstance(made, Mapping):
        free = [name for name in parameters(row) if name not in row.static]
        made = dict(zip(free, made, strict=False))
    return {name: jax.tree.map(as_host, value) for name, value in made.items()}


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed PRNG key (or an array of them)."""
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def is_float(leaf: Any) -> bool:
    """Whether a leaf holds floating-point numbers."""
    return not is_key(leaf) and jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)


def as_host(leaf: Any) -> Any:
    """A leaf as a numpy array in the dtype that JAX would give it; keys stay keys."""
    if is_key(leaf):
        return leaf
    leaf = np.asarray(leaf)
    return leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype))


# Specs: each takes a numpy generator and gives one argument. numpy, because jax.random compiles for every new shape.


def generator(key: jax.Array) -> np.random.Generator:
    """A numpy generator seeded by a JAX key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def inputs(**specs: Callable[[np.random.Generator], Any]) -> Callable[[jax.Array], dict[str, Any]]:
    """A ``make`` that draws every named argument by its spec, in the order given."""

    def make(key: jax.Array) -> dict[str, Any]:
        rng = generator(key)
        return {name: spec(rng) for name, spec in specs.items()}

    return make


def normal(*shape: int, scale: float = 1.0) -> Callable[[np.random.Generator], np.ndarray]:
    """Standard normal float32 numbers, times ``scale``."""
    return lambda rng: (scale * rng.standard_normal(shape)).astype(np.float32)


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Callable[[np.random.Generator], np.ndarray]:
    """Uniform float32 numbers; with no shape a traced hyperparameter."""
    return lambda rng: np.asarray(rng.uniform(low, high, shape), np.float32)


def integers(*shape: int, high: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Integers in [0, high): labels, groups, indices."""
    return lambda rng: np.asarray(rng.integers(0, high, shape), np.int32)


def mask(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """A boolean mask with both values along its first axis."""

    def spec(rng: np.random.Generator) -> np.ndarray:
        drawn = rng.random(shape) < 0.7
        drawn[0], drawn[-1] = True, False
        return drawn

    return spec


def probabilities(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Distributions over the last axis."""
    return lambda rng: rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


def positive_definite(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Symmetric matrices [..., D, D] with eigenvalues of at least 1."""

    def spec(rng: np.random.Generator) -> np.ndarray:
        half = rng.standard_normal(shape)
        return (half @ half.swapaxes(-1, -2) + np.eye(shape[-1])).astype(np.float32)

    return spec


def prng(*shape: int) -> Callable[[np.random.Generator], jax.Array]:
    """A typed PRNG key, or an array of keys."""
    return lambda rng: jax.random.wrap_key_data(rng.integers(0, 2**32, (*shape, 2), dtype=np.uint32))
