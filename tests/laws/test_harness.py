"""The laws catch what they are there to catch: each broken function below breaks exactly the law it should."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import numerics
from tests.laws import families, laws
from tests.laws.row import D, N, Row, inputs, mask, normal, prng, uniform

X = inputs(x=normal(N, D))
X_WHERE = inputs(x=normal(N, D), where=mask(N))


def masked(x, where):
    return x if where is None else jnp.where(where[:, None], x, 0.0)


def count(x, where):
    return x.shape[0] if where is None else jnp.sum(where)


# Functions that keep all laws, so that a law that always fails is noticed too.


def good_loss(x, where=None):
    x = masked(x.astype(jnp.float32), where)
    return jnp.sum(jnp.tanh(x) * x, axis=-1)


def good_mean(x, where=None):
    x = masked(x.astype(jnp.float32), where)
    return jnp.sum(x, axis=0) / jnp.maximum(count(x, where), 1)


def good_noise(key, x):
    return x + jax.random.normal(key, x.shape)


ALL = {"batch": ("x", "where"), "diff": ("x",), "bf16": ("x",)}
GOOD = {
    "per row": Row(good_loss, X_WHERE, **ALL),
    "coupled": Row(good_mean, X_WHERE, couples=True, **ALL),
    "key": Row(good_noise, inputs(key=prng(), x=normal(N, D)), diff=("x",)),
    "no arguments": Row(lambda size: jnp.zeros(size), inputs(), static={"size": 3}),
    "arguments in order": Row(lambda x, scale: x * scale, lambda key: tuple(X(key).values()), static={"scale": 2.0}),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_functions_keep_all_laws(name):
    assert laws.check(GOOD[name]) == {}


# Broken functions.


def needs_values(x):
    return x * float(x[0, 0])


def nan_result(x):
    return jnp.log(-jnp.abs(x))


@jax.custom_batching.custom_vmap
def wrong_batching_rule(x):
    return 2.0 * x


@wrong_batching_rule.def_vmap
def _(axis_size, in_batched, x):
    return 3.0 * x, True


def nan_gradient_behind_where(x):
    return jnp.where(x < 0, x, jnp.sqrt(x + 0.1))


def no_reverse_mode(x):
    return jax.lax.while_loop(lambda carry: carry[0] < 2, lambda carry: (carry[0] + 1, carry[1] * 2.0), (0, x))[1]


def masks_its_output_only(x, where=None):
    loss = jnp.sum(jnp.tanh(x), axis=-1)
    return loss if where is None else jnp.where(where, loss, 0.0)


def counts_hidden_rows(x, where=None):
    return jnp.sum(masked(x, where), axis=0) / x.shape[0]


def without_mask_is_something_else(x, where=None):
    return 2.0 * good_loss(x) if where is None else good_loss(x, where)


def mean_of_nothing(x, where=None):
    return jnp.sum(masked(x, where), axis=0) / count(x, where)


def centres_on_the_batch(x):
    return x - jnp.mean(x, axis=0)


def sums_in_bfloat16(x):
    return jnp.cumsum(x, axis=-1).astype(jnp.float32) ** 2


def overflows_in_bfloat16(x):
    small = jnp.finfo(x.dtype).eps
    return x * jnp.where(small < 1e-3, 1.0, jnp.inf)


@functools.partial(jax.jit, static_argnames="scale")
def scaled(x, scale):
    return x * scale


def compiles_for_every_value(x):
    if isinstance(x, jax.core.Tracer):
        return x * jnp.max(x)
    return scaled(x, float(jnp.max(x)))


def eigenvalues(x):
    return jnp.sort(jnp.linalg.eig(x)[0].real)


def calls_back(x):
    return jax.pure_callback(np.tanh, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")


def ignores_its_key(key, x):
    return x + jax.random.normal(jax.random.key(0), x.shape)


def remembers_its_calls():
    calls = []

    def fn(key, x):
        calls.append(key)
        return x + jax.random.normal(key, x.shape) + (1.0 if len(calls) == 2 else 0.0)

    return fn


BATCH = {"batch": ("x",)}
KEY_X = inputs(key=prng(), x=normal(N, D))
BROKEN = {
    "cannot be traced": ("jit", Row(needs_values, X)),
    "NaN for a valid call": ("jit", Row(nan_result, X)),
    "wrong batching rule": ("vmap", Row(wrong_batching_rule, X)),
    "NaN gradient": ("grad", Row(nan_gradient_behind_where, X, diff=("x",))),
    "no gradient": ("grad", Row(jax.lax.stop_gradient, X, diff=("x",))),
    "no reverse mode": ("grad", Row(no_reverse_mode, X, diff=("x",))),
    "NaN gradient at zero": ("zeros", Row(lambda x: jnp.linalg.norm(x, axis=-1), X, diff=("x",), **BATCH)),
    "masks its output only": ("mask", Row(masks_its_output_only, X_WHERE, diff=("x",), batch=("x", "where"))),
    "counts hidden rows": ("mask", Row(counts_hidden_rows, X_WHERE, batch=("x", "where"), couples=True)),
    "without a mask": ("mask", Row(without_mask_is_something_else, X_WHERE, batch=("x", "where"))),
    "mask not given": ("mask", Row(good_loss, X, **BATCH)),
    "mean of nothing": ("empty", Row(mean_of_nothing, X_WHERE, diff=("x",), batch=("x", "where"), couples=True)),
    "depends on the order": ("permute", Row(lambda x: jnp.cumsum(x, axis=0), X, couples=True, **BATCH)),
    "depends on other rows": ("rows", Row(centres_on_the_batch, X, **BATCH)),
    "no batch axis": ("rows", Row(lambda x: jnp.sum(x), X, **BATCH)),
    "sums in bfloat16": ("bf16", Row(sums_in_bfloat16, X, bf16=("x",))),
    "overflows in bfloat16": ("bf16", Row(overflows_in_bfloat16, X, bf16=("x",))),
    "compiles for every value": ("recompile", Row(compiles_for_every_value, inputs(x=uniform(N, low=0.5)))),
    "nonsymmetric eigenvalues": ("export", Row(eigenvalues, inputs(x=normal(D, D)))),
    "calls back to the host": ("export", Row(calls_back, X)),
    "ignores its key": ("key", Row(ignores_its_key, KEY_X)),
    "same key, other result": ("key", Row(remembers_its_calls(), KEY_X)),
    "key not given": ("key", Row(good_noise, X, static={"key": jax.random.key(0)})),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_functions_break_their_law_only(name):
    law, row = BROKEN[name]
    assert laws.check(row).keys() == {law}


def test_a_skipped_law_may_be_broken_and_needs_a_reason():
    law, row = BROKEN["mean of nothing"]
    assert laws.check(row._replace(skip={law: "documented: the mean of nothing is NaN"})) == {}
    assert laws.check(GOOD["per row"]._replace(skip={law: "not needed"})).keys() == {law}
    with pytest.raises(ValueError, match="skip must map laws to reasons"):
        laws.check(row._replace(skip={law: ""}))
    with pytest.raises(ValueError, match="skip must map laws to reasons"):
        laws.check(row._replace(skip={"commutes": "no such law"}))


BAD_ROWS = {
    "batch names 'y', but make gives x": Row(good_loss, X, batch=("y",)),
    "'where' is in diff or bf16 but is not floating point": Row(good_loss, X_WHERE, diff=("where",)),
    "other shapes or dtypes for another key": Row(
        good_loss, lambda key: {"x": np.ones((int(jax.random.key_data(key)[1]) + 1, 2), np.float32)}
    ),
    "the same 'x' for two keys": Row(good_loss, lambda key: {"x": np.ones((N, D), np.float32)}),
    "different leading axes": Row(good_loss, inputs(x=normal(N, D), where=mask(D)), batch=("x", "where")),
}


@pytest.mark.parametrize("message", BAD_ROWS)
def test_wrong_rows_are_refused(message):
    with pytest.raises(ValueError, match=message):
        laws.check(BAD_ROWS[message])


# Families


class Sums(NamedTuple):
    count: jax.Array
    total: jax.Array


def init(size):
    return Sums(jnp.zeros((), jnp.int32), jnp.zeros(size))


def update(state, x, *, where=None):
    return Sums(state.count + count(x, where), state.total + jnp.sum(masked(x, where), axis=0))


def merge(a, b):
    return jax.tree.map(jnp.add, a, b)


def forget(a, b):
    return jax.tree.map(jnp.subtract, a, b)


def counts_all(state, x, *, where=None):
    return update(state, x, where=where)._replace(count=state.count + x.shape[0])


def chunk_mean(state, x, *, where=None):
    mean = jnp.sum(masked(x, where), axis=0) / jnp.maximum(count(x, where), 1)
    return Sums(state.count + count(x, where), state.total + mean)


SUMS = families.Family(
    init=Row(init, inputs(), static={"size": D}),
    update=Row(update, inputs(state=lambda rng: init(D), x=normal(N, D), where=mask(N)), batch=("x", "where")),
    merge=merge,
    forget=forget,
)


def updating(fn):
    return SUMS._replace(update=SUMS.update._replace(fn=fn))


BROKEN_FAMILIES = {
    "merge forgets to add the counts": (
        {"update", "chunks", "commutes", "identity", "forget"},
        SUMS._replace(merge=lambda a, b: Sums(a.count, a.total + b.total)),
    ),
    "merge averages": (
        {"update", "chunks", "associates", "identity", "forget"},
        SUMS._replace(merge=lambda a, b: Sums(a.count + b.count, (a.total + b.total) / 2)),
    ),
    "merge keeps an offset": (
        {"identity", "update", "chunks", "forget"},
        SUMS._replace(merge=lambda a, b: Sums(a.count + b.count, a.total + b.total + 1.0)),
    ),
    "forget adds": ({"forget"}, SUMS._replace(forget=merge)),
    "update counts hidden rows": ({"idle"}, updating(counts_all)),
    "update adds the mean of a chunk": ({"update"}, updating(chunk_mean)),
    "the state changes its type": (
        {"stable"},
        updating(lambda state, x, *, where=None: update(state, x, where=where)._replace(count=jnp.float32(0))),
    ),
}


def test_a_good_family_keeps_all_laws():
    assert families.check(SUMS) == {}


@pytest.mark.parametrize("name", BROKEN_FAMILIES)
def test_broken_families_break_their_laws(name):
    broken, family = BROKEN_FAMILIES[name]
    assert families.check(family).keys() == broken


def test_families_are_found_by_name(monkeypatch):
    monkeypatch.setattr(numerics, "sums_merge", merge, raising=False)
    rows = {"numerics.sums_init": SUMS.init, "numerics.sums_update": SUMS.update, "numerics.other_init": SUMS.init}
    found = families.find(rows | {"numerics.sums_init/wide": SUMS.init}, {"numerics.sums": sum})
    assert found.keys() == {"numerics.sums", "numerics.sums/wide"}
    assert found["numerics.sums"].merge is merge
    assert found["numerics.sums"].forget is None
    assert found["numerics.sums/wide"].meaning is sum
