"""Everything the laws look at, computed once per row and compiled as ONE program.

A law as a program of its own costs about half a second of compiling. So all calls that share shapes are stacked and
go through one ``lax.map`` (whose body is compiled once, and not batched), next to one ``vmap``, one map over the padded
calls and one bfloat16 call.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.laws.row import Row, arguments, as_host, function, is_float, is_key

Call = dict[str, Any]

PADDING = 2
POISONS = {"nan": (np.nan, -1), "1e30": (1e30, 2**30)}  # what the padded rows hold: floats, integers


class Observed(NamedTuple):
    """What happened to one row.

    calls: variant -> its arguments. "a" and "b" come from two keys; "permuted", "other", "mixed" rearrange the batch;
      "zeros" has all-zero ``diff`` arguments; "all" and "none" have constant masks; "rounded" holds float32 numbers
      that bfloat16 can represent; "rekeyed" is "a" with the key of "b".
    values, grads: variant -> result under jit, gradient of a fixed weighted sum of it.
    eager: "a", "b", "again" (a second call of "a"), "unmasked" ("a" without ``where``).
    compiles: how many programs the eager calls "again" and "b" compiled after a first call of "a".
    stacked: the result of vmap over "a" and "b".
    padded, padded_grads: poison -> result and gradient with rows appended that ``where`` hides.
    padded_where: the mask of the padded calls.
    bf16: the result for bfloat16 arguments.
    order, chosen: the permutation, and the rows of "mixed" that come from "a".
    errors: part -> the exception it raised.
    """

    row: Row
    calls: Mapping[str, Call]
    eager: Mapping[str, Any]
    compiles: Mapping[str, int]
    values: Mapping[str, Any] = {}
    grads: Mapping[str, Any] = {}
    stacked: Any = None
    padded: Mapping[str, Any] = {}
    padded_grads: Mapping[str, Any] = {}
    padded_where: Any = None
    bf16: Any = None
    order: Any = None
    chosen: Any = None
    errors: Mapping[str, Exception] = {}


def observe(row: Row) -> Observed:
    """Makes the calls of a row and collects what the laws need."""
    calls, order, chosen = _variants(row)
    eager, compiles = _eager(row, calls["a"], calls["b"])
    seen = Observed(row, calls, eager, compiles, order=order, chosen=chosen)
    parts, given = _parts(row, calls)
    results, errors = _run(parts, given)
    if errors and row.diff:
        plainer, _ = _parts(row._replace(diff=()), calls)
        without, left = _run(plainer, given)
        if cured := errors.keys() - left.keys():
            results, errors = without, left | {"grad": errors[min(cured)]}
    seen = seen._replace(errors=errors)
    if "plain" in results:
        values, grads = results["plain"]
        seen = seen._replace(values=_named(values, calls), grads=_named(grads, calls))
    if "padded" in results:
        values, grads = results["padded"]
        seen = seen._replace(padded=_named(values, POISONS), padded_grads=_named(grads, POISONS))
        seen = seen._replace(padded_where=given["padded"]["where"][0])
    return seen._replace(stacked=results.get("vmap"), bf16=results.get("bf16"))


# Calls


def _variants(row: Row) -> tuple[dict[str, Call], Any, Any]:
    a, b = (arguments(row, jax.random.key(seed)) for seed in (1, 2))
    check_row(row, a, b)
    calls, order, chosen = {"a": a, "b": b}, None, None
    if row.batch:
        n = batch_length(row, a)
        order = np.roll(np.arange(n)[::-1], 2)
        calls["permuted"] = _on(a, row.batch, lambda leaf: take(leaf, order))
        if not row.couples:
            chosen = np.arange(n) % 2 == 0
            calls["other"] = a | {name: b[name] for name in row.batch}
            calls["mixed"] = a | {
                name: jax.tree.map(lambda x, y: take2(x, y, chosen), a[name], b[name]) for name in row.batch
            }
    if row.diff:
        calls["zeros"] = _on_floats(a, row.diff, np.zeros_like)
    if "where" in row.batch:
        calls["all"] = a | {"where": np.ones_like(a["where"])}
        calls["none"] = a | {"where": np.zeros_like(a["where"])}
    if row.bf16:
        calls["rounded"] = _on_floats(a, row.bf16, lambda leaf: leaf.astype(jnp.bfloat16).astype(leaf.dtype))
    if "key" in a:
        calls["rekeyed"] = a | {"key": b["key"]}
    return calls, order, chosen


def check_row(row: Row, a: Call, b: Call) -> None:
    """Raises ValueError where the row itself, rather than its function, is wrong."""
    for field in ("batch", "diff", "bf16"):
        for name in getattr(row, field):
            if name not in a:
                raise ValueError(f"{field} names {name!r}, but make gives {', '.join(a) or 'nothing'}")
    for name in (*row.diff, *row.bf16):
        if not any(map(is_float, jax.tree.leaves(a[name]))):
            raise ValueError(f"{name!r} is in diff or bf16 but is not floating point")
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), call) for call in (a, b)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"make gives other shapes or dtypes for another key: {shapes[0]} and {shapes[1]}")
    for name in a:
        floats = [leaf for leaf in jax.tree.leaves((a[name], b[name])) if is_float(leaf)]
        half = len(floats) // 2  # small integers and masks may be drawn alike
        if half and all(map(np.array_equal, floats[:half], floats[half:])):
            raise ValueError(f"make gives the same {name!r} for two keys: put it in static, or draw it from the key")
    lengths = {leaf.shape[:1] for name in row.batch for leaf in jax.tree.leaves(a[name])}
    if len(lengths) > 1:
        raise ValueError(f"the batch arguments have different leading axes: {lengths}")


def batch_length(row: Row, call: Call) -> int:
    """The length of the shared leading axis."""
    return jax.tree.leaves(call[row.batch[0]])[0].shape[0]


def _on(call: Call, names: tuple[str, ...], change: Callable[[Any], Any]) -> Call:
    return call | {name: jax.tree.map(change, call[name]) for name in names}


def _on_floats(call: Call, names: tuple[str, ...], change: Callable[[Any], Any]) -> Call:
    return _on(call, names, lambda leaf: change(leaf) if is_float(leaf) else leaf)


def take(leaf: Any, index: np.ndarray) -> Any:
    """Rows of a leaf; keys too."""
    if is_key(leaf):
        return jax.random.wrap_key_data(np.asarray(jax.random.key_data(leaf))[index])
    return leaf[index]


def take2(a: Any, b: Any, chosen: np.ndarray) -> Any:
    """Rows of ``a`` where chosen, else of ``b``."""
    index = np.where(chosen, np.arange(len(chosen)), len(chosen) + np.arange(len(chosen)))
    return take(_concatenate([a, b]), index)


def _concatenate(leaves: list[Any]) -> Any:
    if is_key(leaves[0]):
        return jax.random.wrap_key_data(np.concatenate([np.asarray(jax.random.key_data(leaf)) for leaf in leaves]))
    return np.concatenate(leaves)


def stack(calls: list[Call]) -> Call:
    """One call with a new leading axis."""
    return jax.tree.map(lambda *leaves: _concatenate([leaf[None] for leaf in leaves]), *calls)


def pad(call: Call, names: tuple[str, ...], poison: str) -> Call:
    """The call with rows appended to its batch arguments that hold the poison, and that ``where`` hides."""
    number, whole = POISONS[poison]

    def longer(leaf: Any) -> Any:
        if is_key(leaf):
            return take(leaf, np.r_[np.arange(leaf.shape[0]), np.zeros(PADDING, int)])
        fill = number if is_float(leaf) else whole if leaf.dtype != np.bool_ else poison == "nan"
        return np.concatenate([leaf, np.full((PADDING, *leaf.shape[1:]), fill, leaf.dtype)])

    padded = _on(call, names, longer)
    padded["where"] = padded["where"].copy()
    padded["where"][-PADDING:] = False
    return padded


# Running


def _eager(row: Row, a: Call, b: Call) -> tuple[dict[str, Any], dict[str, int]]:
    fn = function(row)

    def run(call: Call) -> Any:
        return host(fn(**on_device(call)))

    eager, compiles = {"a": run(a)}, {}
    for name, call in {"again": a, "b": b}.items():
        before = _Compiles.total
        eager[name] = run(call)
        compiles[name] = _Compiles.total - before
    if "where" in row.batch:
        eager["unmasked"] = run({name: value for name, value in a.items() if name != "where"})
    return eager, compiles


def on_device(call: Call) -> Call:
    """The call with JAX arrays for leaves."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else jnp.asarray(leaf), call)


def host(tree: Any) -> Any:
    """The tree with numpy leaves; keys become their data."""
    return jax.tree.map(lambda leaf: np.asarray(jax.random.key_data(leaf)) if is_key(leaf) else as_host(leaf), tree)


class _Compiles:
    """Counts compilations in this process (a loop whose body is a new closure compiles on every eager call)."""

    total = 0


def _count(event: str, _seconds: float, **_: Any) -> None:
    _Compiles.total += event == "/jax/core/compile/backend_compile_duration"


jax.monitoring.register_event_duration_secs_listener(_count)


def _parts(row: Row, calls: dict[str, Call]) -> tuple[dict[str, Callable[[Call], Any]], dict[str, Call]]:
    fn = function(row)
    if not jax.tree.leaves(calls["a"]):  # nothing to trace: the one call is the program
        given = {"plain": {"once": np.zeros(len(calls))}}
        return {"plain": lambda once: jax.lax.map(lambda _: (fn(), {}), once["once"])}, given
    parts = {"plain": _mapped(row), "vmap": lambda call: jax.vmap(lambda each: fn(**each))(call)}
    given = {"plain": stack(list(calls.values())), "vmap": stack([calls["a"], calls["b"]])}
    if "where" in row.batch:
        parts["padded"] = _mapped(row)
        given["padded"] = stack([pad(calls["a"], row.batch, poison) for poison in POISONS])
    if row.bf16:
        parts["bf16"] = lambda call: fn(**call)
        given["bf16"] = _on_floats(calls["a"], row.bf16, lambda leaf: leaf.astype(jnp.bfloat16))
    return parts, given


def _mapped(row: Row) -> Callable[[Call], Any]:
    return lambda calls: jax.lax.map(functools.partial(_outcome, row), calls)


def _outcome(row: Row, call: Call) -> tuple[Any, Any]:
    """The result, and the gradient of a fixed weighted sum over it."""
    fn = function(row)
    if not row.diff:
        return fn(**call), {}
    leaves, tree = jax.tree.flatten({name: call[name] for name in row.diff})
    rest = {name: value for name, value in call.items() if name not in row.diff}

    def run(floats: list[Any]) -> Any:
        given = iter(floats)
        filled = [next(given) if is_float(leaf) else leaf for leaf in leaves]
        return fn(**tree.unflatten(filled), **rest)

    out, pullback = jax.vjp(run, [leaf for leaf in leaves if is_float(leaf)])
    results, shape = jax.tree.flatten(out)
    grads = iter(pullback(shape.unflatten(map(_weights, results, itertools.count())))[0])
    return out, tree.unflatten([next(grads) if is_float(leaf) else jnp.zeros(jnp.shape(leaf)) for leaf in leaves])


def _weights(leaf: Any, number: int) -> Any:
    # A function of the index alone, so that padded and unpadded results weigh the same rows alike.
    if not is_float(leaf):
        return np.zeros(leaf.shape, jax.dtypes.float0)
    phase = sum((0.7 + axis) * index for axis, index in enumerate(np.indices(leaf.shape)))
    return jnp.asarray(np.cos(1.0 + number + phase), leaf.dtype)


def _run(
    parts: Mapping[str, Callable[[Call], Any]], given: Mapping[str, Call]
) -> tuple[dict[str, Any], dict[str, Exception]]:
    """All parts as one program; if that fails, each by itself, to learn which one is at fault."""
    whole = jax.jit(lambda inputs: {name: part(inputs[name]) for name, part in parts.items()})
    try:
        return host(whole(given)), {}
    except Exception as error:
        if len(parts) == 1:
            return {}, dict.fromkeys(parts, error)
    results: dict[str, Any] = {}
    errors: dict[str, Exception] = {}
    for name, part in parts.items():
        found, failed = _run({name: part}, {name: given[name]})
        results |= found
        errors |= failed
    return results, errors


def _named(stacked: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: jax.tree.map(lambda leaf, at=at: leaf[at], stacked) for at, name in enumerate(names)}
