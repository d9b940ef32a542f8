"""The laws of statistics that add: ``x_init``, ``x_update``, and where they exist ``x_merge`` and ``x_forget``.

Families are found in the law table: every row of an ``x_init`` beside a row of the ``x_update`` of the same namespace,
and every row of a learner (its static argument ``learner`` makes one). ``check(family)`` says which laws it breaks.

- stable: update, merge and forget keep the shapes, dtypes and weak types of the state, so a loop compiles once.
- idle: a chunk whose rows are all hidden by ``where`` changes nothing.
- commutes, associates, identity: merge is a commutative monoid, with the state of init as identity.
- update: the update by two chunks together is the merge of the updates by each,
- chunks: and the update by one after the other.
- forget: undoes merge.
"""

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.laws.laws import close_trees
from tests.laws.observe import host, on_device
from tests.laws.row import Row, arguments, function, inputs, parameters


class Family(NamedTuple):
    """The functions of one family, with the rows of its init and update."""

    init: Row
    update: Row
    merge: Callable[[Any, Any], Any] | None = None
    forget: Callable[[Any, Any], Any] | None = None
    meaning: Callable[[Any], Any] = lambda state: state  # states are compared by what they mean


def find(rows: Mapping[str, Row], meanings: Mapping[str, Callable[[Any], Any]]) -> dict[str, Family]:
    """Families by dotted name, such as "analytic.gram" or "analytic.gram/compensated"."""
    found = {}
    for full, row in rows.items():
        if callable(row.static.get("learner")):
            found[full] = of_learner(row)
            continue
        name, slash, variant = full.partition("/")
        namespace, _, function_name = name.rpartition(".")
        stem = function_name.removesuffix("_init")
        if stem == function_name or f"{namespace}.{stem}_update" not in rows:
            continue
        module = importlib.import_module(f"jaxlab.{namespace}")
        update = f"{namespace}.{stem}_update"
        found[f"{namespace}.{stem}{slash}{variant}"] = Family(
            init=row,
            update=rows.get(f"{update}/{variant}", rows[update]),
            merge=getattr(module, f"{stem}_merge", None),
            forget=getattr(module, f"{stem}_forget", None),
            meaning=meanings.get(f"{namespace}.{stem}", Family._field_defaults["meaning"]),
        )
    return found


def of_learner(row: Row) -> Family:
    """The functions of a continual.Learner; its updates take the batch of the row."""
    learner = row.static["learner"]()

    def make(key: jax.Array) -> dict[str, Any]:
        return {name: value for name, value in arguments(row, key).items() if name in row.batch}

    init = Row(learner.init, inputs(), static={"key": jax.random.key(0)})
    update = Row(learner.update, make, batch=row.batch, tol=row.tol)
    return Family(init, update, learner.merge, learner.forget)


def check(family: Family) -> dict[str, str]:
    """law -> what is wrong, for every law that the family breaks."""
    row = family.update
    calls = [arguments(row, jax.random.key(seed)) for seed in (1, 2, 3)]
    state_name = parameters(row)[0]
    a, b, c = ({name: call[name] for name in call if name != state_name} for call in calls)
    start = function(family.init)(**on_device(arguments(family.init, jax.random.key(1))))
    program = functools.partial(_states, family, state_name)
    given = {"start": start, "a": a, "b": b, "c": c, "ab": _joined(row, a, b)}
    broken = _stable(jax.eval_shape(program, given), start)
    states = {name: family.meaning(state) for name, state in host(jax.jit(program)(given)).items()}
    for law, (left, right) in EQUATIONS.items():
        if left in states:
            try:
                close_trees(states[left], states[right], tol=row.tol, what=f"{left} and {right} differ")
            except AssertionError as error:
                broken[law] = str(error)
    return broken


EQUATIONS = {
    "idle": ("update(a, nothing)", "a"),
    "commutes": ("merge(b, a)", "merge(a, b)"),
    "associates": ("merge(a, merge(b, c))", "merge(merge(a, b), c)"),
    "identity": ("merge(init, a)", "a"),
    "update": ("update(init, a + b)", "merge(a, b)"),
    "chunks": ("update(a, b)", "merge(a, b)"),
    "forget": ("forget(merge(a, b), b)", "a"),
}


def _states(family: Family, state_name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    fn, start = function(family.update), given["start"]

    def update(state: Any, chunk: Mapping[str, Any]) -> Any:
        return fn(**{state_name: state}, **chunk)

    a, b, c = (update(start, given[name]) for name in "abc")
    states = {"a": a}
    if "where" in family.update.batch:
        states["update(a, nothing)"] = update(a, given["b"] | {"where": jnp.zeros_like(given["b"]["where"])})
    if family.merge is not None:
        merge = family.merge
        states |= {
            "merge(a, b)": merge(a, b),
            "merge(b, a)": merge(b, a),
            "merge(merge(a, b), c)": merge(merge(a, b), c),
            "merge(a, merge(b, c))": merge(a, merge(b, c)),
            "merge(init, a)": merge(start, a),
            "update(init, a + b)": update(start, given["ab"]),
            "update(a, b)": update(a, given["b"]),
        }
    if family.merge is not None and family.forget is not None:
        states["forget(merge(a, b), b)"] = family.forget(states["merge(a, b)"], b)
    return states


def _joined(row: Row, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """One chunk with the rows of both."""
    join = functools.partial(jax.tree.map, lambda x, y: np.concatenate([x, y]))
    return {name: join(a[name], b[name]) if name in row.batch else a[name] for name in a}


def _stable(states: Mapping[str, Any], start: Any) -> dict[str, str]:
    for name, state in states.items():
        if jax.tree.structure(state) != jax.tree.structure(start):
            return {"stable": f"{name} is {jax.tree.structure(state)}, init {jax.tree.structure(start)}"}
        for (path, now), then in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(start), strict=True):
            if _kind(now) != _kind(then):
                return {"stable": f"{name}{jax.tree_util.keystr(path)} is {_kind(now)}, in init {_kind(then)}"}
    return {}


def _kind(leaf: Any) -> str:
    return f"{'weak ' * getattr(leaf, 'weak_type', False)}{leaf.dtype}{list(leaf.shape)}"
