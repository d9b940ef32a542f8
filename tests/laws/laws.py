"""The laws that every public function keeps. ``check(row)`` says which ones a row breaks.

- jit: the same result under jit as without, with no NaN for a valid call.
- vmap: vmap over two stacked calls gives the two results.
- grad: the gradient by every ``diff`` argument is finite, and not always zero.
- zeros: so is it (finite) where all ``diff`` arguments are zero.
- mask: rows appended to the batch that ``where`` hides change neither results nor gradients, be they NaN or 1e30, and
  get no gradient themselves; no ``where`` means that every row counts.
- empty: a mask that hides every row gives finite results, and no gradient to any row.
- permute: permuting the batch permutes the result, or leaves it alone where it has no batch axis.
- rows: unless the row says ``couples``, a result depends on its own row of the batch only.
- bf16: bfloat16 arguments give a finite result, that of the same numbers in float32 up to the rounding of the result.
- recompile: a second eager call with other values compiles nothing that the same values would not.
- export: lowers for cpu, cuda and tpu.
- key: the same key gives the same result, another key another one.

A law that does not concern a row (no batch, no key) holds by itself. One that does not hold on purpose is skipped by
name, with the reason: ``skip={"empty": "the mean of nothing is documented as NaN"}``. A skipped law that holds is an
error too.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.laws import observe
from tests.laws.observe import Observed
from tests.laws.row import Row, function, parameters

PLATFORMS = ("cpu", "cuda", "tpu")
SMALLEST_SCALE = 0.1  # differences are judged against the largest entry of a result, or this


def check(row: Row) -> dict[str, str]:
    """law -> what is wrong, for every law that the row breaks."""
    unknown = set(row.skip) - set(LAWS)
    if unknown or not all(row.skip.values()):
        raise ValueError(f"skip must map laws to reasons, got {dict(row.skip)}")
    seen = observe.observe(row)
    broken = {}
    for name, law in LAWS.items():
        try:
            law(seen)
        except AssertionError as error:
            broken[name] = str(error)
    held = {name: "holds, so it must not be skipped" for name in row.skip if name not in broken}
    return held | {name: what for name, what in broken.items() if name not in row.skip}


# Laws


def jit(seen: Observed) -> None:
    _ran(seen, "plain")
    for name in ("a", "b"):
        _no_nan(seen.eager[name], f"result of call {name!r}")
        if "plain" not in seen.errors:
            _close(seen, seen.values[name], seen.eager[name], f"jit and eager differ on call {name!r}")


def vmap(seen: Observed) -> None:
    _ran(seen, "vmap")
    if seen.stacked is not None:
        expected = jax.tree.map(lambda x, y: np.stack([x, y]), seen.eager["a"], seen.eager["b"])
        _close(seen, seen.stacked, expected, "vmap and single calls differ")


def grad(seen: Observed) -> None:
    _ran(seen, "grad")
    if "plain" in seen.errors:
        return
    for name in seen.row.diff:
        given = [seen.grads[call][name] for call in ("a", "b")]
        _finite(given, f"gradient by {name!r}")
        if not any(np.any(leaf) for leaf in jax.tree.leaves(given)):
            raise AssertionError(f"gradient by {name!r} is always zero: it does not belong in diff")


def zeros(seen: Observed) -> None:
    if seen.row.diff and not {"plain", "grad"} & seen.errors.keys():
        _finite(seen.grads["zeros"], f"gradient where {', '.join(seen.row.diff)} are zero")


def mask(seen: Observed) -> None:
    row = seen.row
    if "where" not in row.batch:
        if "where" in parameters(row):
            raise AssertionError("takes `where`: let make give one, and name it in batch")
        return
    _ran(seen, "padded")
    if {"plain", "padded"} & seen.errors.keys():
        return
    _close(seen, seen.values["all"], seen.eager["unmasked"], "a mask of True and no mask differ")
    n = observe.batch_length(row, seen.calls["a"])
    hidden = ~_any_trailing(seen.padded_where)
    for poison, result in seen.padded.items():
        what = f"with hidden rows of {poison}"
        _no_nan(result, f"result {what}")
        _close(seen, _cut(result, seen.values["a"]), seen.values["a"], f"result changes {what}")
        if "grad" in seen.errors:
            continue
        for name in row.diff:
            padded, plain = seen.padded_grads[poison][name], seen.grads["a"][name]
            if name in row.batch:
                rows = jax.tree.map(lambda leaf: leaf[hidden], padded)
                _exactly_zero(rows, f"gradient by hidden rows of {name!r} {what}")
                padded = jax.tree.map(lambda leaf: leaf[:n], padded)
            _close(seen, padded, plain, f"gradient by {name!r} changes {what}")


def empty(seen: Observed) -> None:
    row = seen.row
    if "where" not in row.batch or "plain" in seen.errors:
        return
    _finite(seen.values["none"], "result where nothing counts")
    if "grad" in seen.errors:
        return
    for name in row.diff:
        gradient = seen.grads["none"][name]
        _finite(gradient, f"gradient by {name!r} where nothing counts")
        if name in row.batch:
            _exactly_zero(gradient, f"gradient by {name!r} where nothing counts")


def permute(seen: Observed) -> None:
    if seen.row.batch and "plain" not in seen.errors:
        n, order = len(seen.order), seen.order

        def permuted(leaf: Any) -> Any:
            for axis in range(leaf.ndim):
                leaf = leaf.take(order, axis) if leaf.shape[axis] == n else leaf
            return leaf

        expected = jax.tree.map(permuted, seen.values["a"])
        _close(seen, seen.values["permuted"], expected, "permuting the batch changes the result")


def rows(seen: Observed) -> None:
    if not seen.row.batch or seen.row.couples or "plain" in seen.errors:
        return
    n = len(seen.chosen)

    def mixed(a: Any, other: Any) -> Any:
        if n not in a.shape:
            raise AssertionError(f"a result of shape {list(a.shape)} has no batch axis: set couples=True")
        axis = a.shape.index(n)
        chosen = seen.chosen.reshape([n if at == axis else 1 for at in range(a.ndim)])
        return np.where(chosen, a, other)

    expected = jax.tree.map(mixed, seen.values["a"], seen.values["other"])
    _close(seen, seen.values["mixed"], expected, "a result depends on other rows of the batch")


def bf16(seen: Observed) -> None:
    _ran(seen, "bf16")
    if seen.bf16 is None or "plain" in seen.errors:
        return
    wanted = seen.values["rounded"]
    for got, want in zip(jax.tree.leaves(seen.bf16), jax.tree.leaves(wanted), strict=True):
        if not np.all(np.isfinite(_wide(got)) | ~np.isfinite(_wide(want))):
            raise AssertionError("result of bfloat16 arguments is not finite")
        tol = 2.0**-7 if got.dtype == jnp.bfloat16 else seen.row.tol
        _close_leaf(_wide(got), _wide(want), tol, "bfloat16 arguments are not computed in float32")


def recompile(seen: Observed) -> None:
    again, other = seen.compiles["again"], seen.compiles["b"]
    if other > again:
        raise AssertionError(f"other values compile {other} programs, the same values {again}")


def export(seen: Observed) -> None:
    fn = jax.jit(lambda call: function(seen.row)(**call))
    try:
        jax.export.export(fn, platforms=PLATFORMS)(seen.calls["a"])
    except Exception as error:
        if "plain" not in seen.errors:  # else it cannot be traced at all, and jit says so
            raise AssertionError(f"does not lower for {', '.join(PLATFORMS)}: {error}") from error


def key(seen: Observed) -> None:
    if "key" not in parameters(seen.row):
        return
    if "key" not in seen.calls["a"]:
        raise AssertionError("takes `key`: let make give one")
    first, again = (jax.tree.leaves(seen.eager[name]) for name in ("a", "again"))
    if not all(np.array_equal(x, y) for x, y in zip(first, again, strict=True)):
        raise AssertionError("the same key gives another result")
    if "plain" in seen.errors:
        return
    pairs = zip(jax.tree.leaves(seen.values["a"]), jax.tree.leaves(seen.values["rekeyed"]), strict=True)
    if all(np.array_equal(x, y) for x, y in pairs):
        raise AssertionError("another key gives the same result")


LAWS = {law.__name__: law for law in (jit, vmap, grad, zeros, mask, empty, permute, rows, bf16, recompile, export, key)}


# What laws are made of


def _ran(seen: Observed, part: str) -> None:
    error = seen.errors.get(part)
    # Where the function cannot be traced at all, the law jit alone reports it.
    if error is not None and (part == "plain" or "plain" not in seen.errors):
        raise AssertionError(f"{type(error).__name__}: {error}") from error


def _wide(leaf: Any) -> Any:
    return leaf.astype(np.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def _any_trailing(where: np.ndarray) -> np.ndarray:
    return where.reshape(len(where), -1).any(1)


def _cut(padded: Any, like: Any) -> Any:
    """The part of a padded result that the result on the unpadded batch has too."""
    return jax.tree.map(lambda x, y: x[tuple(map(slice, y.shape))], padded, like)


def _no_nan(tree: Any, what: str) -> None:
    if any(np.isnan(_wide(leaf)).any() for leaf in jax.tree.leaves(tree)):
        raise AssertionError(f"{what} is NaN")


def _finite(tree: Any, what: str) -> None:
    if not all(np.isfinite(_wide(leaf)).all() for leaf in jax.tree.leaves(tree)):
        raise AssertionError(f"{what} is not finite")


def _exactly_zero(tree: Any, what: str) -> None:
    if any(np.isnan(_wide(leaf)).any() or np.any(leaf) for leaf in jax.tree.leaves(tree)):
        raise AssertionError(f"{what} is not exactly 0")


def _close(seen: Observed, got: Any, want: Any, what: str) -> None:
    close_trees(got, want, tol=seen.row.tol, what=what)


def close_trees(got: Any, want: Any, *, tol: float, what: str) -> None:
    """Raises AssertionError unless two results agree in structure, shape, dtype and (to rounding) in value."""
    if jax.tree.structure(got) != jax.tree.structure(want):
        raise AssertionError(f"{what}: {jax.tree.structure(got)} and {jax.tree.structure(want)}")
    for (path, x), y in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True):
        if x.shape != y.shape or x.dtype != y.dtype:
            raise AssertionError(f"{what}: {x.dtype}{list(x.shape)} and {y.dtype}{list(y.shape)}")
        bound = max(tol, 2.0**-7) if x.dtype == jnp.bfloat16 else tol
        _close_leaf(_wide(x), _wide(y), bound, what + jax.tree_util.keystr(path))


def _close_leaf(x: Any, y: Any, tol: float, what: str) -> None:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        same = np.array_equal(x, y)
        worst = "entries are not equal"
    else:
        finite = np.isfinite(y)
        bound = tol * max(SMALLEST_SCALE, np.abs(y[finite]).max(initial=0.0))
        gap = np.abs(np.where(finite, x, 0.0) - np.where(finite, y, 0.0)).max(initial=0.0)
        same = gap <= bound and np.array_equal(x[~finite], y[~finite], equal_nan=True)
        worst = f"{gap:.2g} apart, allowed {bound:.2g}"
    if not same:
        raise AssertionError(f"{what}: {worst}")
