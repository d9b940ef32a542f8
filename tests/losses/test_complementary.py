"""Losses on complementary labels: identities, numpy in double precision, limits, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from jaxlab import losses

RNG = np.random.default_rng(0)
B, K = 9, 5
LOGITS = (2 * RNG.standard_normal((B, K))).astype(np.float32)
LABELS = RNG.integers(0, K, B)
UNIFORM = ((1 - np.eye(K)) / (K - 1)).astype(np.float32)
ROWS = np.arange(B)
P = special.softmax(LOGITS.astype(np.float64), axis=1)


def biased():
    table = RNG.dirichlet(np.ones(K), K) * (1 - np.eye(K))
    return (table / table.sum(1, keepdims=True)).astype(np.float32)


def published(name):
    """The formulas in numpy, double precision, as the benchmark has them."""
    p, f, own = P, LOGITS.astype(np.float64), P[ROWS, LABELS]
    if name == "negative_learning":
        return -np.log(1 - own)
    if name == "complementary_exponential":
        return np.exp(own)
    if name == "complementary_discriminative":
        s = special.softmax(1 - p, axis=1)[ROWS, LABELS]
        return -np.log(s) - (1 - own) / (K - 1) * np.log(s)
    if name == "complementary_order_preserving":
        q = special.softmax(-f, axis=1)
        weight = p * special.softmax(1 / q + 1, axis=1) + 1e-6
        return -(weight * np.log(q))[ROWS, LABELS]
    return np.sum(special.expit(-(f - f[ROWS, LABELS][:, None])), axis=1) - 0.5


NAMES = (
    "negative_learning",
    "complementary_exponential",
    "complementary_discriminative",
    "complementary_order_preserving",
    "complementary_pairwise",
)


@pytest.mark.parametrize("name", NAMES)
def test_equals_numpy(name):
    np.testing.assert_allclose(getattr(losses, name)(LOGITS, LABELS), published(name), rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_hidden_and_unknown_labels(name):
    loss = getattr(losses, name)
    labels = np.where(ROWS == 2, K, np.where(ROWS == 3, -1, LABELS))
    where = ROWS != 4
    dirty = np.where(where[:, None], LOGITS, np.nan)
    found = loss(dirty, labels, where=where)
    np.testing.assert_array_equal(np.isnan(found), (ROWS == 2) | (ROWS == 3))
    assert found[4] == 0
    gradient = jax.grad(lambda z: jnp.sum(loss(z, LABELS, where=where)))(dirty)
    assert np.isfinite(gradient).all()
    assert (gradient[4] == 0).all()


def test_forward_with_a_uniform_transition_is_negative_learning():
    found = losses.complementary_forward(LOGITS, LABELS, UNIFORM, eps=1e-12)
    np.testing.assert_allclose(found, losses.negative_learning(LOGITS, LABELS) + np.log(K - 1), rtol=1e-5)


def test_forward_with_a_biased_transition():
    table = biased()
    expected = -np.log((P @ table)[ROWS, LABELS] + 1e-6)
    np.testing.assert_allclose(losses.complementary_forward(LOGITS, LABELS, table), expected, rtol=1e-4)


def test_forward_of_two_classes_is_cross_entropy_of_the_other():
    z, labels = LOGITS[:, :2], LABELS % 2
    found = losses.complementary_forward(z, labels, 1 - np.eye(2, dtype=np.float32), eps=1e-12)
    expected = optax.losses.softmax_cross_entropy_with_integer_labels(z, 1 - labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_labels_that_the_matrix_calls_impossible_stay_finite():
    table = np.where(np.arange(K) == 1, 0, UNIFORM).astype(np.float32)

    def total(z, q):
        return jnp.sum(losses.complementary_forward(z, np.full(B, 1), q))

    value, gradients = jax.value_and_grad(total, (0, 1))(LOGITS, table)
    np.testing.assert_allclose(value, -B * np.log(1e-6), rtol=1e-5)
    assert all(np.isfinite(g).all() for g in gradients)


def test_a_trainable_transition_gets_a_gradient():
    def total(w):
        return jnp.sum(losses.complementary_forward(LOGITS, LABELS, jax.nn.softmax(w)))

    start = np.log(np.full((K, K), 1 / K))
    step = 1e-2 * jax.grad(total)(start)
    assert total(start - step) < total(start)


def test_negative_learning_where_the_probability_rounds_to_one():
    """1e-9 is left to the others: 1 - p is 0 in float32."""
    z = np.array([[20.0, 0.0, -1.0]], np.float32)
    exact = special.logsumexp([20.0, 0.0, -1.0]) - special.logsumexp([0.0, -1.0])
    np.testing.assert_allclose(losses.negative_learning(z, np.array([0])), exact, rtol=1e-6)
    gradient = jax.grad(lambda z: losses.negative_learning(z, np.array([0]))[0])(z)
    np.testing.assert_allclose(gradient[0], [1.0, -special.expit(1.0), -special.expit(-1.0)], rtol=1e-5)


def test_negative_learning_of_several_classes_adds():
    wrong = RNG.random((B, K)) < 0.5
    expected = -np.sum(np.where(wrong, np.log(1 - P), 0), axis=1)
    np.testing.assert_allclose(losses.negative_learning(LOGITS, wrong), expected, rtol=1e-4, atol=1e-6)
    one = np.arange(K) == LABELS[:, None]
    np.testing.assert_allclose(
        losses.negative_learning(LOGITS, one), losses.negative_learning(LOGITS, LABELS), rtol=1e-6
    )
    assert (losses.negative_learning(LOGITS, np.zeros((B, K), bool)) == 0).all()


def test_pairwise_of_two_classes_is_one_sigmoid():
    z, labels = LOGITS[:, :2], LABELS % 2
    expected = special.expit(z[ROWS, labels] - z[ROWS, 1 - labels])
    np.testing.assert_allclose(losses.complementary_pairwise(z, labels), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["log", "exp", "mae"])
def test_multiple_labels(kind):
    wrong = RNG.random((B, K)).argsort(1) < RNG.integers(1, K, (B, 1))
    left = np.sum(np.where(wrong, 0, P), axis=1)
    cost = {"log": -np.log(left), "exp": np.exp(-left), "mae": 1 - left}[kind]
    expected = (2 * K - 2) / wrong.sum(1) * cost
    np.testing.assert_allclose(losses.complementary_multiple(LOGITS, wrong, kind=kind), expected, rtol=1e-4)


def test_all_but_one_class_excluded_is_twice_cross_entropy():
    wrong = np.arange(K) != LABELS[:, None]
    expected = 2 * optax.losses.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS)
    np.testing.assert_allclose(losses.complementary_multiple(LOGITS, wrong), expected, rtol=1e-5)


def test_no_class_or_every_class_excluded():
    wrong = np.array([[False] * K, [True] * K])
    found = losses.complementary_multiple(LOGITS[:2], wrong)
    assert found[0] == 0
    assert np.isnan(found[1])


# Risks of a batch


def vector_by_hand(logits, labels, inverse, prior, cost=lambda p: -np.log(p)):
    parts = np.zeros((K, K))
    p = special.softmax(np.asarray(logits, np.float64), axis=1)
    for j in range(K):
        if np.any(labels == j):
            parts[j] = prior[j] * inverse[j] * cost(p[labels == j]).mean(0)
    return parts


PRIOR = RNG.dirichlet(np.ones(K)).astype(np.float32)
INVERSE = np.linalg.inv(np.asarray(biased(), np.float64)).astype(np.float32)


def test_risk_vector_by_hand():
    found = losses.complementary_risk_vector(LOGITS, LABELS, INVERSE, PRIOR)
    np.testing.assert_allclose(found, vector_by_hand(LOGITS, LABELS, INVERSE, PRIOR).sum(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss", ["log", "mae", "weighted_mae", "generalized", "symmetric"])
def test_robust_vectors_by_hand(loss):
    cost = {
        "log": lambda p: -np.log(p),
        "mae": lambda p: 2 - 2 * p,
        "weighted_mae": lambda p: (2 - 2 * p) * INVERSE.sum(0),
        "generalized": lambda p: (1 - p**0.7) / 0.7,
        "symmetric": lambda p: -0.1 * np.log(p) + 4 - p,
    }[loss]
    found = losses.complementary_risk_vector(LOGITS, LABELS, INVERSE, PRIOR, loss=loss, group="class")
    expected = vector_by_hand(LOGITS, LABELS, INVERSE, PRIOR, cost).sum(0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_the_inverse_of_the_uniform_transition():
    """J - (K - 1) I: one example with label k has the risk sum_j l_j - (K - 1) l_k."""
    inverse = np.ones((K, K)) - (K - 1) * np.eye(K)
    np.testing.assert_allclose(inverse @ UNIFORM, np.eye(K), atol=1e-6)
    ones = np.ones(K, np.float32)
    found = losses.complementary_risk_vector(LOGITS[:1], LABELS[:1], inverse.astype(np.float32), ones)
    cost = -np.log(P[0])
    np.testing.assert_allclose(found.sum(), cost.sum() - (K - 1) * cost[LABELS[0]], rtol=1e-4)


def test_the_risk_is_unbiased():
    """All labels but the true one, equally often, give the cross entropy of the true one."""
    inverse = (np.ones((K, K)) - (K - 1) * np.eye(K)).astype(np.float32)
    y = 2
    labels = np.array([k for k in range(K) if k != y])
    prior = (np.arange(K) != y).astype(np.float32) / (K - 1)
    found = losses.complementary_risk_vector(np.tile(LOGITS[:1], (K - 1, 1)), labels, inverse, prior)
    np.testing.assert_allclose(found.sum(), -np.log(P[0, y]), rtol=1e-4)


def test_corrections():
    positive, mixed = jnp.array([0.5, 0.0, 2.0]), jnp.array([0.5, -0.25, -2.0])
    assert losses.non_negative_risk(positive) == losses.gradient_ascent_risk(positive) == 2.5
    assert losses.non_negative_risk(mixed) == 0.5
    assert losses.non_negative_risk(mixed, beta=1.0) == 0.25
    assert losses.gradient_ascent_risk(mixed) == 2.25
    np.testing.assert_array_equal(jax.grad(losses.gradient_ascent_risk)(mixed), [0, -1, -1])
    np.testing.assert_array_equal(jax.grad(losses.non_negative_risk)(mixed), [1, 0, 0])
    spoiled = jnp.array([-1.0, jnp.nan])
    assert np.isnan(losses.gradient_ascent_risk(spoiled))
    assert np.isnan(losses.non_negative_risk(spoiled))


def test_scarce_by_hand():
    z = LOGITS.astype(np.float64)
    positive, negative, c = np.log1p(np.exp(-z)), np.log1p(np.exp(z)), 1 - 1 / K
    risk = 0.0
    for k in range(K):
        own = k == LABELS
        if own.any():
            risk += c * negative[own, k].mean() + abs(positive[:, k].mean() - c * positive[own, k].mean())
        else:
            risk += positive[:, k].mean()
    np.testing.assert_allclose(losses.complementary_scarce(LOGITS, LABELS), risk, rtol=1e-5)


@pytest.mark.parametrize(
    "fn",
    [
        functools.partial(losses.complementary_risk_vector, transition_inverse=INVERSE, prior=PRIOR),
        losses.complementary_scarce,
    ],
)
def test_batches_split_over_a_mapped_axis(fn):
    where = ROWS[:8] != 3
    whole = fn(LOGITS[:8], LABELS[:8], where=where)
    split = jax.vmap(lambda z, y, w: fn(z, y, where=w, axis_name="i"), axis_name="i")
    found = split(LOGITS[:8].reshape(2, 4, K), LABELS[:8].reshape(2, 4), where.reshape(2, 4))
    np.testing.assert_allclose(found, np.stack([whole, whole]), rtol=1e-4, atol=1e-5)
    kept = fn(LOGITS[:8][where], LABELS[:8][where])
    np.testing.assert_allclose(whole, kept, rtol=1e-4, atol=1e-5)


def test_unknown_labels_spoil_the_batch_unless_hidden():
    for bad in (-1, K):
        labels = np.where(ROWS == 0, bad, LABELS)
        assert np.isnan(losses.complementary_scarce(LOGITS, labels))
        assert np.isnan(losses.complementary_risk_vector(LOGITS, labels, INVERSE, PRIOR)).all()
        assert np.isfinite(losses.complementary_scarce(LOGITS, labels, where=ROWS != 0))


def test_bfloat16_gives_float32():
    narrow = LOGITS.astype(jnp.bfloat16)
    for name in NAMES:
        assert getattr(losses, name)(narrow, LABELS).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.negative_learning(LOGITS[:, :1], LABELS), ValueError, "at least 2 classes"),
        (lambda: losses.negative_learning(LOGITS[0, 0], np.array(True)), ValueError, "logits must have shape"),
        (lambda: losses.negative_learning(LOGITS, np.ones((B, K))), TypeError, "mask must be boolean"),
        (lambda: losses.negative_learning(LOGITS, np.ones((B, 2), bool)), ValueError, "mask must have shape"),
        (lambda: losses.complementary_exponential(LOGITS, LABELS[:2]), ValueError, "to match comp_labels"),
        (lambda: losses.complementary_exponential(LOGITS.astype(int), LABELS), TypeError, "logits must be floating"),
        (lambda: losses.complementary_pairwise(LOGITS, LABELS / 2), TypeError, "comp_labels must hold integers"),
        (lambda: losses.complementary_pairwise(LOGITS, LABELS, where=ROWS), TypeError, "where must be boolean"),
        (lambda: losses.complementary_forward(LOGITS, LABELS, UNIFORM[:2]), ValueError, "transition must have shape"),
        (lambda: losses.complementary_forward(LOGITS, LABELS, UNIFORM, eps=0.0), ValueError, "eps must be > 0"),
        (lambda: losses.complementary_multiple(LOGITS, LOGITS > 0, kind="x"), ValueError, "kind must be one of"),
        (lambda: losses.complementary_multiple(LOGITS, LOGITS), TypeError, "comp_mask must be boolean"),
        (lambda: losses.complementary_scarce(LOGITS[0], LABELS[:1]), ValueError, r"logits must have shape \[B, K\]"),
        (lambda: losses.complementary_scarce(LOGITS, LABELS[:2]), ValueError, "logits and comp_labels"),
        (
            lambda: losses.complementary_risk_vector(LOGITS, LABELS, UNIFORM[0], PRIOR),
            ValueError,
            "transition_inverse must have shape",
        ),
        (
            lambda: losses.complementary_risk_vector(LOGITS, LABELS, UNIFORM, PRIOR[:2]),
            ValueError,
            "prior must have shape",
        ),
        (
            lambda: losses.complementary_risk_vector(LOGITS, LABELS, UNIFORM, PRIOR, loss="x"),
            ValueError,
            "loss must be one of",
        ),
        (
            lambda: losses.complementary_risk_vector(LOGITS, LABELS, UNIFORM, PRIOR, group="x"),
            ValueError,
            "group must be one of",
        ),
        (lambda: losses.non_negative_risk(np.float32(1)), ValueError, "vector must have shape"),
        (lambda: losses.gradient_ascent_risk(np.ones(2, int)), TypeError, "vector must be floating"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
