"""Low-rank changes of a kernel, alone and in groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.compress import low_rank
from jaxlab.compress.low_rank import LoRA

RNG = np.random.default_rng(0)
I, O, N, R = 6, 5, 3, 2
WEIGHT = RNG.normal(size=(I, O)).astype(np.float32)
X = RNG.normal(size=(4, I)).astype(np.float32)
GROUP = LoRA(RNG.normal(size=(N, I, R)).astype(np.float32), RNG.normal(size=(N, R, O)).astype(np.float32))


def test_start_changes_nothing_and_learns():
    for params, apply in (
        (low_rank.grouped_lora_init(jax.random.key(0), WEIGHT, num=N, rank=R), low_rank.grouped_lora_apply),
        (
            low_rank.lora_init(jax.random.key(0), I, O, rank=R),
            lambda params, weight, x: x @ low_rank.lora_merge(weight, *params),
        ),
    ):
        np.testing.assert_allclose(apply(params, WEIGHT, X), X @ WEIGHT, rtol=1e-5)
        grads = jax.grad(lambda params: jnp.sum(jnp.sin(apply(params, WEIGHT, X))))(params)  # noqa: B023
        assert np.abs(grads.b).max() > 0.1
        np.testing.assert_array_equal(grads.a, 0)
        a = np.asarray(params.a)
        assert np.abs(a).max() <= 1 / np.sqrt(I)
        assert len(np.unique(a)) == a.size  # every change starts elsewhere
        assert a.std() == pytest.approx(1 / np.sqrt(3 * I), rel=0.5)


def test_delta_and_its_scale():
    a, b = GROUP.a[0], GROUP.b[0]
    np.testing.assert_allclose(low_rank.lora_delta(a, b), a @ b, rtol=1e-5)
    np.testing.assert_allclose(low_rank.lora_delta(a, b, alpha=8.0), 8 / R * a @ b, rtol=1e-5)
    np.testing.assert_allclose(low_rank.lora_delta(a, b, alpha=8.0, rank=4), 2 * a @ b, rtol=1e-5)
    np.testing.assert_allclose(low_rank.lora_delta(a, b, rank=4), R / 4 * (4 / R) * a @ b, rtol=1e-5)
    np.testing.assert_allclose(low_rank.lora_delta(*GROUP), np.einsum("nir,nro->nio", *GROUP), rtol=1e-4)


def test_merging_is_applying():
    merged = low_rank.lora_merge(WEIGHT, GROUP.a[0], GROUP.b[0], alpha=1.0)
    np.testing.assert_allclose(
        X @ np.asarray(merged), X @ WEIGHT + X @ GROUP.a[0] @ GROUP.b[0] / R, rtol=1e-4, atol=1e-5
    )
    wanted = X @ WEIGHT + sum(X @ a @ b for a, b in zip(*GROUP, strict=True))
    np.testing.assert_allclose(low_rank.grouped_lora_apply(GROUP, WEIGHT, X), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(X @ np.asarray(low_rank.grouped_lora_merge(GROUP, WEIGHT)), wanted, rtol=1e-4, atol=1e-5)


def test_a_group_is_one_change_of_the_whole_rank():
    whole = LoRA(np.concatenate(list(GROUP.a), axis=1), np.concatenate(list(GROUP.b), axis=0))

    def loss(params, apply):
        return jnp.sum(jnp.sin(apply(params)))

    grouped = jax.grad(loss)(GROUP, lambda p: low_rank.grouped_lora_apply(p, WEIGHT, X))
    single = jax.grad(loss)(whole, lambda p: X @ low_rank.lora_merge(WEIGHT, *p))
    np.testing.assert_allclose(np.concatenate(list(grouped.a), axis=1), single.a, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.concatenate(list(grouped.b), axis=0), single.b, rtol=1e-3, atol=1e-4)


def test_dtypes():
    narrow = WEIGHT.astype(jnp.bfloat16)
    assert low_rank.lora_merge(narrow, GROUP.a[0], GROUP.b[0]).dtype == jnp.bfloat16
    assert low_rank.grouped_lora_merge(GROUP, narrow).dtype == jnp.bfloat16
    assert low_rank.grouped_lora_init(jax.random.key(0), narrow).a.dtype == jnp.bfloat16
    assert low_rank.lora_delta(jnp.ones((2, 1), jnp.bfloat16), jnp.ones((1, 2), jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: low_rank.lora_init(jax.random.key(0), I, O, rank=0), ValueError, "rank"),
        (lambda: low_rank.lora_init(jax.random.key(0), 2.0, O, rank=1), TypeError, "d_in"),
        (lambda: low_rank.lora_delta(GROUP.a, GROUP.b[0]), ValueError, "a and b"),
        (lambda: low_rank.lora_delta(GROUP.a[0], GROUP.b[0].T), ValueError, "a and b"),
        (lambda: low_rank.lora_delta(GROUP.a[0], GROUP.b[0], rank=0), ValueError, "rank"),
        (lambda: low_rank.lora_delta(np.ones((2, 1), int), GROUP.b[0]), TypeError, "a must be floating"),
        (lambda: low_rank.lora_merge(WEIGHT.T, GROUP.a[0], GROUP.b[0]), ValueError, "same shape"),
        (lambda: low_rank.grouped_lora_init(jax.random.key(0), WEIGHT[0]), ValueError, "weight"),
        (lambda: low_rank.grouped_lora_init(jax.random.key(0), WEIGHT, num=0), ValueError, "num"),
        (lambda: low_rank.grouped_lora_apply(GROUP, WEIGHT, X[:, :2]), ValueError, "x must have shape"),
        (lambda: low_rank.grouped_lora_apply(GROUP, WEIGHT.T, X), ValueError, "params must hold"),
        (lambda: low_rank.grouped_lora_merge(LoRA(GROUP.a[0], GROUP.b[0]), WEIGHT), ValueError, "a must have"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
