"""Label-distributionally robust losses: limits, the worst case itself, adaptive temperatures, scores, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)
LOGITS, LABELS = (2 * RNG.normal(size=(6, 5))).astype(np.float32), RNG.integers(0, 5, 6)
ROWS = np.arange(6)
OWN = np.eye(5)[LABELS]
ldr = jax.jit(losses.ldr_kl)
aldr = jax.jit(losses.aldr_kl)


def leads(logits, margin):
    return logits - logits[ROWS, LABELS][:, None] + margin * (1 - OWN)


def by_formula(logits, temperature, margin):
    d = leads(logits.astype(np.float64), margin) / np.asarray(temperature)[..., None]
    return temperature * (np.log(np.exp(d).sum(1)) - np.log(5))


def test_hand_computed():
    np.testing.assert_allclose(losses.ldr_kl(jnp.zeros(2), jnp.array(0)), 0.05124947951, rtol=1e-6)


def test_equals_the_formula_with_one_temperature_and_with_many():
    for temperature in (np.float32(0.5), np.linspace(0.3, 4, 6).astype(np.float32)):
        value = ldr(LOGITS, LABELS, temperature=temperature, margin=0.7)
        np.testing.assert_allclose(value, by_formula(LOGITS, temperature, 0.7), rtol=1e-5)
    assert losses.ldr_kl(LOGITS.reshape(2, 3, 5), LABELS.reshape(2, 3)).shape == (2, 3)


def test_limits():
    cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS)
    np.testing.assert_allclose(ldr(LOGITS, LABELS, margin=0.0), cross_entropy - np.log(5), rtol=1e-5, atol=1e-6)
    cold = ldr(LOGITS, LABELS, temperature=1e-3, margin=1.0)
    hinge = losses.crammer_singer(LOGITS, LABELS)
    assert np.all(np.abs(cold - hinge) <= 1e-3 * np.log(5) + 1e-6)
    # A large temperature loses no digits to the logarithm of K.
    np.testing.assert_allclose(ldr(LOGITS, LABELS, temperature=1e5), leads(LOGITS, 0.1).mean(1), rtol=1e-4, atol=1e-4)


def test_shifts_change_nothing_and_margins_raise_it():
    np.testing.assert_allclose(ldr(LOGITS + 3, LABELS), ldr(LOGITS, LABELS), rtol=1e-4, atol=1e-5)
    assert np.all(ldr(LOGITS, LABELS, margin=0.2) > ldr(LOGITS, LABELS, margin=0.1))
    assert np.all(ldr(LOGITS, LABELS, temperature=2.0, margin=0.0) >= -2 * np.log(5))


def test_weights_are_the_worst_case_and_the_gradient():
    options = {"temperature": 0.8, "margin": 0.5}
    worst = np.asarray(losses.ldr_weights(LOGITS, LABELS, **options), np.float64)
    gradient = jax.grad(lambda z: jnp.sum(losses.ldr_kl(z, LABELS, **options)))(jnp.asarray(LOGITS))
    np.testing.assert_allclose(gradient, worst - OWN, atol=1e-6)

    def objective(p):
        return (p * leads(LOGITS, 0.5)).sum(1) - 0.8 * (p * np.log(5 * p)).sum(1)

    value = ldr(LOGITS, LABELS, **options)
    np.testing.assert_allclose(objective(worst), value, rtol=1e-5)
    others = np.maximum(RNG.dirichlet(np.ones(5), (100, 6)), 1e-12)
    assert np.all([objective(p) <= value + 1e-5 for p in others])
    near = 0.99 * worst + 0.01 / 5
    assert np.all(objective(near) < objective(worst))


def by_code(logits, old, temperature, alpha, margin):
    """The published steps, in float64."""
    x = logits.astype(np.float64)
    p = np.exp(x / old[:, None])
    p = p / p.sum(1, keepdims=True) + 1e-5
    p /= p.sum(1, keepdims=True)
    kl = (p * np.log(5 * p)).sum(1)
    new = temperature - temperature * kl / (alpha * np.log(5))
    extra = -0.5 * alpha * np.log(5) / temperature * (new - temperature) ** 2
    return by_formula(x, new, margin) + extra, new


def test_adaptive_temperatures_follow_the_published_steps():
    old = np.linspace(0.5, 2.0, 9).astype(np.float32)
    index = np.array([8, 0, 3, 1, 7, 5])
    value, state = aldr(losses.AldrState(old), LOGITS, LABELS, index, temperature=2.0, alpha=1.5, margin=0.3)
    expected, new = by_code(LOGITS, old[index], 2.0, 1.5, 0.3)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    np.testing.assert_allclose(state.table[index], new, rtol=1e-5)
    untouched = np.setdiff1d(np.arange(9), index)
    np.testing.assert_array_equal(state.table[untouched], old[untouched])
    assert np.all((state.table[index] >= 2 * (1 - 1 / 1.5) - 1e-6) & (state.table[index] <= 2))


def test_sure_examples_get_low_temperatures_and_none_takes_a_gradient():
    logits = jnp.array([[0.0, 0.0, 0.0], [30.0, 0.0, 0.0]])
    labels, index = jnp.array([1, 1]), jnp.array([0, 1])
    value, state = aldr(losses.aldr_init(2), logits, labels, index)
    np.testing.assert_allclose(state.table, [1.0, 0.5], rtol=1e-3)
    np.testing.assert_allclose(value[0], losses.ldr_kl(logits[0], labels[0]), rtol=1e-6)
    gradient = jax.grad(lambda z: losses.aldr_kl(losses.aldr_init(2), z, labels, index)[0][1])(logits)
    weights = losses.ldr_weights(logits[1], labels[1], temperature=state.table[1])
    np.testing.assert_allclose(gradient[1], weights - jnp.eye(3)[1], atol=1e-6)


def test_rows_that_do_not_count_leave_the_table_alone():
    where = np.array([True, False, True, False, True, True])
    dirty, unknown = np.where(where[:, None], LOGITS, np.nan), np.where(where, LABELS, -1)
    index = np.array([5, 5, 0, -1, 2, 1])
    value, state = aldr(losses.aldr_init(6), dirty, unknown, index, where=where)
    part, short = aldr(losses.aldr_init(6), LOGITS[where], LABELS[where], index[where])
    np.testing.assert_allclose(value[where], part, rtol=1e-6)
    np.testing.assert_array_equal(value[~where], 0)
    np.testing.assert_allclose(state.table, short.table, rtol=1e-6)


def test_unknown_labels_and_rows_give_nan():
    labels, index = jnp.array([0, 5, -1, 1, 1, 1]), jnp.array([0, 1, 2, 6, -1, 5])
    value, state = aldr(losses.aldr_init(6), LOGITS, labels, index)
    np.testing.assert_array_equal(np.isnan(value), [False, True, True, True, True, False])
    np.testing.assert_array_equal(state.table != 1, [True, False, False, False, False, True])
    np.testing.assert_array_equal(np.isnan(ldr(LOGITS, labels)), [False, True, True, False, False, False])
    assert np.isnan(losses.ldr_weights(LOGITS, labels)[1]).all()


def test_scores_have_absolute_mean_one():
    soft = losses.normalize_scores(LOGITS)
    plus = np.logaddexp(0, LOGITS.astype(np.float64))
    np.testing.assert_allclose(soft, plus / plus.mean(1, keepdims=True), rtol=1e-5)
    plain = losses.normalize_scores(LOGITS, kind="l1")
    np.testing.assert_allclose(plain, LOGITS / np.abs(LOGITS).mean(1, keepdims=True), rtol=1e-5)
    nothing, gradient = jax.value_and_grad(lambda z: jnp.sum(losses.normalize_scores(z, kind="l1")))(jnp.zeros(3))
    assert nothing == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("fn", "change", "error", "words"),
    [
        ("ldr_kl", {"logits": jnp.zeros((5, 5))}, ValueError, "logits must have shape"),
        ("ldr_kl", {"logits": jnp.zeros((6, 1))}, ValueError, "at least 2 classes"),
        ("ldr_kl", {"logits": jnp.zeros((6, 5), int)}, TypeError, "logits must be floating point"),
        ("ldr_kl", {"labels": jnp.zeros(6)}, TypeError, "labels must hold integers"),
        ("ldr_kl", {"temperature": 0.0}, ValueError, "temperature must be > 0"),
        ("ldr_kl", {"temperature": jnp.ones(3)}, ValueError, "temperature must broadcast"),
        ("ldr_kl", {"margin": -0.1}, ValueError, "margin must be at least 0"),
        ("ldr_kl", {"where": jnp.ones(6)}, TypeError, "where must be boolean"),
        ("ldr_weights", {"temperature": -1.0}, ValueError, "temperature must be > 0"),
        ("aldr_kl", {"alpha": 1.0}, ValueError, "alpha must be above 1"),
        ("aldr_kl", {"index": jnp.zeros(5, int)}, ValueError, "index and labels must have the same shape"),
        ("aldr_kl", {"index": jnp.zeros(6)}, TypeError, "index must hold integers"),
        ("aldr_kl", {"temperature": 0}, ValueError, "temperature must be > 0"),
    ],
)
def test_bad_input(fn, change, error, words):
    given = {"logits": LOGITS, "labels": LABELS}
    if fn == "aldr_kl":
        given |= {"state": losses.aldr_init(6), "index": ROWS}
    with pytest.raises(error, match=words):
        getattr(losses, fn)(**(given | change))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.aldr_init(0), ValueError, "num_examples must be"),
        (lambda: losses.aldr_init(2.5), TypeError, "num_examples must be a static integer"),
        (lambda: losses.aldr_init(2, temperature=0.0), ValueError, "temperature must be > 0"),
        (lambda: losses.normalize_scores(jnp.zeros(())), ValueError, "logits must have shape"),
        (lambda: losses.normalize_scores(LOGITS, kind="l2"), ValueError, "kind must be one of"),
        (lambda: losses.normalize_scores(LOGITS, eps=0.0), ValueError, "eps must be > 0"),
        (lambda: losses.normalize_scores(LOGITS, where=jnp.ones(5, bool)), ValueError, "where must have shape"),
    ],
)
def test_bad_scores_and_tables(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_logits_wider_than_the_table_are_refused():
    with jax.enable_x64(True):
        wide, labels, index = jnp.asarray(LOGITS, jnp.float64), jnp.asarray(LABELS), jnp.arange(len(LABELS))
        with pytest.raises(TypeError, match="make the state with dtype=float64"):
            losses.aldr_kl(losses.aldr_init(6), wide, labels, index)
        state = losses.aldr_init(6, dtype=jnp.float64)
        assert losses.aldr_kl(state, wide, labels, index)[1].table.dtype == jnp.float64
