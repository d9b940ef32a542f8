"""The spherical family: invariances of the Z-loss, the path by statistics, its relatives, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlab import losses

RNG = np.random.default_rng(0)
LOGITS, LABELS = (2 * RNG.normal(size=(6, 5))).astype(np.float32), RNG.integers(0, 5, 6)
ROWS = np.arange(6)
WEIGHT, HIDDEN = RNG.normal(size=(50, 8)).astype(np.float32), RNG.normal(size=(6, 8)).astype(np.float32)
MANY = RNG.integers(0, 50, 6)
zloss = jax.jit(losses.z_loss)


@functools.cache
def from_statistics():
    def fn(hidden, weight, labels, **options):
        found = losses.spherical_statistics(hidden, weight.sum(0), weight.T @ weight, weight[labels])
        return losses.z_loss_from_statistics(*found, num_classes=weight.shape[0], **options)

    return jax.jit(fn)


def test_hand_computed():
    np.testing.assert_allclose(losses.z_loss(jnp.array([1.0, 0, 0]), jnp.array(0), b=0.0), 0.21762172, rtol=1e-6)


def test_equals_the_formula_and_the_default_is_half_of_the_largest_z():
    z = stats.zscore(LOGITS.astype(np.float64), axis=1)[ROWS, LABELS]
    np.testing.assert_allclose(zloss(LOGITS, LABELS, a=2.5, b=0.3), np.logaddexp(0, 2.5 * (0.3 - z)) / 2.5, rtol=1e-5)
    np.testing.assert_allclose(zloss(LOGITS, LABELS), np.logaddexp(0, 1 - z), rtol=1e-5)  # sqrt(5 - 1) / 2
    np.testing.assert_allclose(zloss(LOGITS, LABELS, a=1e3, b=0.3), np.maximum(0.3 - z, 0), atol=1e-3)


def test_shift_and_scale_change_nothing_and_the_gradient_knows():
    np.testing.assert_allclose(zloss(7 * LOGITS - 3, LABELS), zloss(LOGITS, LABELS), rtol=1e-4)
    assert np.all(np.abs(zloss(-LOGITS, LABELS) - zloss(LOGITS, LABELS)) > 1e-3)  # the sign of a scale matters
    gradient = np.asarray(jax.grad(lambda o: jnp.sum(losses.z_loss(o, LABELS)))(jnp.asarray(LOGITS)))
    np.testing.assert_allclose(gradient.sum(1), 0, atol=1e-6)
    np.testing.assert_allclose((gradient * (LOGITS - LOGITS.mean(1, keepdims=True))).sum(1), 0, atol=1e-6)
    assert np.all(np.abs(gradient).max(1) > 1e-3)


def test_logits_that_are_all_alike_have_no_gradient():
    value, gradient = jax.value_and_grad(lambda o: jnp.sum(losses.z_loss(o, LABELS, b=0.5)))(jnp.full((6, 5), 0.3))
    np.testing.assert_allclose(value, 6 * np.logaddexp(0, 0.5), rtol=1e-6)
    np.testing.assert_array_equal(gradient, 0)
    ones = jnp.ones(3)
    np.testing.assert_allclose(losses.z_loss_from_statistics(ones, 7 * ones, 7 * ones, 7, b=0.5), np.logaddexp(0, 0.5))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 2e-5), (np.float64, 1e-12)])
def test_statistics_give_value_and_gradient_without_logits(dtype, rtol):
    with jax.enable_x64(dtype is np.float64):
        hidden, weight = jnp.asarray(HIDDEN, dtype), jnp.asarray(WEIGHT, dtype)
        options = {"a": 1.5, "b": 1.0}

        def full(h):
            return losses.z_loss(h @ weight.T, MANY, **options)

        short = functools.partial(from_statistics(), weight=weight, labels=MANY, **options)
        np.testing.assert_allclose(short(hidden), full(hidden), rtol=rtol)
        of_short, of_full = (jax.grad(lambda h, fn=fn: jnp.sum(fn(h)))(hidden) for fn in (short, full))
        np.testing.assert_allclose(of_short, of_full, rtol=10 * rtol, atol=10 * rtol)


def test_statistics_are_sums_over_the_logits():
    logits = HIDDEN @ WEIGHT.T
    found = losses.spherical_statistics(HIDDEN, WEIGHT.sum(0), WEIGHT.T @ WEIGHT, WEIGHT[MANY])
    expected = (logits[ROWS, MANY], logits.sum(1), (logits**2).sum(1))
    for value, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-4)


def test_no_array_with_an_axis_of_classes_is_made():
    weight = jax.ShapeDtypeStruct((500_000, 8), jnp.float32)

    def gradient(hidden, weight_sum, weight_gram, weight, labels):
        def total(h):
            found = losses.spherical_statistics(h, weight_sum, weight_gram, weight[labels])
            return jnp.sum(losses.z_loss_from_statistics(*found, num_classes=500_000))

        return jax.value_and_grad(total)(hidden)

    vectors = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((6, 8), (8,), (8, 8))]
    program = jax.jit(gradient).lower(*vectors, weight, jax.ShapeDtypeStruct((6,), jnp.int32)).compile()
    assert program.memory_analysis().temp_size_in_bytes < 20_000


def test_relatives_equal_their_formulas():
    o = LOGITS.astype(np.float64)
    taylor = 1 + o + o**2 / 2
    assert taylor.min() >= 0.5
    expected = -np.log(taylor[ROWS, LABELS] / taylor.sum(1))
    np.testing.assert_allclose(losses.log_taylor_softmax(LOGITS, LABELS), expected, rtol=1e-5)
    expected = -np.log((o[ROWS, LABELS] ** 2 + 0.1) / (o**2 + 0.1).sum(1))
    np.testing.assert_allclose(losses.log_spherical_softmax(LOGITS, LABELS, eps=0.1), expected, rtol=1e-5)
    # Near 0 the series is the exponential up to the third order.
    small = 0.01 * LOGITS
    cross_entropy = -jax.nn.log_softmax(small)[ROWS, LABELS]
    np.testing.assert_allclose(losses.log_taylor_softmax(small, LABELS), cross_entropy, atol=1e-5)


@pytest.mark.parametrize("name", ["z_loss", "log_taylor_softmax", "log_spherical_softmax"])
def test_hidden_and_unknown_examples(name):
    loss = getattr(losses, name)
    where = np.array([True, False, True, True, False, True])
    dirty, labels = np.where(where[:, None], LOGITS, np.nan), np.where(where, LABELS, 9)
    labels[5] = -1
    value = np.asarray(loss(dirty, labels, where=where))
    np.testing.assert_array_equal(value[~where], 0)
    assert np.isnan(value[5])
    np.testing.assert_allclose(value[[0, 2, 3]], loss(LOGITS, LABELS)[jnp.array([0, 2, 3])], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.z_loss(LOGITS[:5], LABELS), ValueError, "logits must have shape"),
        (lambda: losses.z_loss(LOGITS, LABELS, a=0.0), ValueError, "a must be > 0"),
        (lambda: losses.z_loss(LOGITS, LABELS, eps=-1.0), ValueError, "eps must be at least 0"),
        (lambda: losses.z_loss(LOGITS, LABELS * 1.0), TypeError, "labels must hold integers"),
        (lambda: losses.log_spherical_softmax(LOGITS, LABELS, eps=0.0), ValueError, "eps must be > 0"),
        (lambda: losses.log_taylor_softmax(LOGITS[:, :1], LABELS), ValueError, "at least 2 classes"),
        (lambda: losses.spherical_statistics(HIDDEN, jnp.zeros(7), jnp.eye(8), HIDDEN), ValueError, "weight_sum and"),
        (lambda: losses.spherical_statistics(HIDDEN, jnp.zeros(8), jnp.eye(7), HIDDEN), ValueError, "weight_sum and"),
        (
            lambda: losses.spherical_statistics(HIDDEN, jnp.zeros(8), jnp.eye(8), HIDDEN[:5]),
            ValueError,
            "hidden and label_weight must have the same shape",
        ),
        (
            lambda: losses.spherical_statistics(1.0, jnp.zeros(8), jnp.eye(8), 1.0),
            ValueError,
            "hidden must have shape",
        ),
        (lambda: losses.z_loss_from_statistics(*jnp.ones((3, 2)), 1), ValueError, "num_classes must be"),
        (lambda: losses.z_loss_from_statistics(*jnp.ones((3, 2)), 5, a=-1.0), ValueError, "a must be > 0"),
        (
            lambda: losses.z_loss_from_statistics(jnp.ones(2), jnp.ones(3), jnp.ones(2), 5),
            ValueError,
            "logit_sum and label_logit must have the same shape",
        ),
        (
            lambda: losses.z_loss_from_statistics(*jnp.ones((3, 2)), 5, where=jnp.ones(3, bool)),
            ValueError,
            "where must have shape",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
