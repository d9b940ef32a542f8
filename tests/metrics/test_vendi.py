"""Vendi scores: samples whose score is known, numpy's eigenvalues, the authors' package, and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import metrics

ORDERS = (0.1, 0.5, 1, 2, 3, np.inf)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 5)).astype(np.float32)
UNIT = X / np.linalg.norm(X, axis=1, keepdims=True)
KERNEL = np.exp(2 * (UNIT @ UNIT.T - 1))
WEIGHTS = RNG.uniform(0.5, 2.0, 12).astype(np.float32)


@functools.cache
def compiled(q):
    """Both functions at one order; every argument is given, so that one program does for one shape."""

    @jax.jit
    def score(kernel, weights, where):
        return metrics.vendi_score(kernel, q=q, weights=weights, where=where)

    @jax.jit
    def of_embeddings(x, weights, where):
        return metrics.vendi_score_from_embeddings(x, q=q, weights=weights, where=where)

    return score, of_embeddings


SIZE = 24


def score(kernel, q, weights=None, where=None):
    """Every kernel is padded to one size, with members that do not count."""
    rest = SIZE - len(kernel)
    weights = np.ones(len(kernel)) if weights is None else weights
    where = np.ones(len(kernel), bool) if where is None else where
    padded = np.pad(np.float32(kernel), (0, rest), constant_values=np.nan)
    return float(compiled(q)[0](padded, np.pad(np.float32(weights), (0, rest)), np.pad(where, (0, rest))))


def from_embeddings(x, q, weights=None, where=None):
    weights = np.ones(len(x)) if weights is None else weights
    where = np.ones(len(x), bool) if where is None else where
    return float(compiled(q)[1](np.float32(x), np.float32(weights), where))


def formula(kernel, q, p=None):
    """In float64 from the definition."""
    p = np.full(len(kernel), 1 / len(kernel)) if p is None else np.float64(p) / np.sum(np.float64(p))
    values = np.linalg.eigvalsh(np.float64(kernel) * np.sqrt(np.outer(p, p)))
    values = values[values > 1e-6]
    if q == 1:
        return np.exp(-np.sum(values * np.log(values)))
    return 1 / values.max() if q == np.inf else np.sum(values**q) ** (1 / (1 - q))


def blocks(*sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.float32(labels[:, None] == labels)


@pytest.mark.parametrize("q", ORDERS)
def test_samples_whose_score_is_known(q):
    assert score(np.eye(12), q) == pytest.approx(12, rel=1e-5)
    assert score(np.ones((12, 12)), q) == pytest.approx(1, rel=1e-5)
    assert score(blocks(4, 4, 4), q) == pytest.approx(3, rel=1e-5)
    shares = np.array([9, 3]) / 12
    assert score(blocks(9, 3), q) == pytest.approx(formula(np.eye(2), q, shares), rel=1e-5)
    likeness = 0.6  # two members: the eigenvalues are (1 +- s) / 2
    pair = np.array([[1, likeness], [likeness, 1]])
    expected = np.exp(float(metrics.renyi_entropy(np.float32([0.5 + likeness / 2, 0.5 - likeness / 2]), q=q)))
    assert score(pair, q) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("q", ORDERS)
def test_numpy_gives_the_same(q):
    assert score(KERNEL, q) == pytest.approx(formula(KERNEL, q), rel=1e-5)
    assert score(KERNEL, q, WEIGHTS) == pytest.approx(formula(KERNEL, q, WEIGHTS), rel=1e-5)
    where = np.arange(12) % 3 > 0
    part = KERNEL[where][:, where]
    dirty = np.where(where[:, None] & where, KERNEL, np.nan)
    assert score(dirty, q, WEIGHTS, where) == pytest.approx(formula(part, q, WEIGHTS[where]), rel=1e-5)


@pytest.mark.parametrize("q", ORDERS)
def test_both_grams_give_the_same(q):
    cosine = UNIT @ UNIT.T
    for weights in (None, WEIGHTS):
        expected = formula(cosine, q, weights)
        assert from_embeddings(3 * X, q, weights) == pytest.approx(expected, rel=1e-5)  # 5 x 5
        assert from_embeddings(np.pad(X, ((0, 0), (0, 15))), q, weights) == pytest.approx(expected, rel=1e-5)  # 12 x 12
        assert score(cosine, q, weights) == pytest.approx(expected, rel=1e-5)
    rotation, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    assert from_embeddings(X @ rotation, q) == pytest.approx(formula(cosine, q), rel=1e-5)


@pytest.mark.parametrize("q", ORDERS)
def test_copies_change_nothing_and_weigh_as_often_as_they_come(q):
    once = score(KERNEL, q)
    assert score(np.kron(np.ones((2, 2)), KERNEL), q) == pytest.approx(once, rel=1e-4)
    times = np.array([1, 2, 3, 1])
    index = np.repeat(np.arange(4), times)
    part = KERNEL[:4, :4]
    assert score(part[index][:, index], q) == pytest.approx(score(part, q, times), rel=1e-4)


def test_the_score_falls_with_the_order():
    scores = [score(KERNEL, q) for q in (*ORDERS[:-1], np.inf)]
    assert (np.diff(scores) < 0).all()


def test_the_authors_package_gives_the_same():
    vendi = pytest.importorskip("vendi_score.vendi")
    for q in ORDERS:
        order = "inf" if q == np.inf else q
        shares = np.float64(WEIGHTS) / np.float64(WEIGHTS).sum()
        wide = np.float64(KERNEL)
        assert score(KERNEL, q) == pytest.approx(vendi.score_K(wide, q=order), rel=1e-5)
        assert score(KERNEL, q, WEIGHTS) == pytest.approx(vendi.score_K(wide, q=order, p=shares), rel=1e-5)
        assert from_embeddings(X, q) == pytest.approx(vendi.score_dual(np.float64(X), q=order), rel=1e-5)
        if q == int(min(q, 1e9)):
            assert float(metrics.internal_diversity(KERNEL, q=int(q))) == pytest.approx(
                vendi.intdiv_K(wide, q=int(q)), rel=1e-5
            )


# --- gradients


def gradient(q):
    return jax.jit(jax.grad(lambda kernel: metrics.vendi_score(kernel, q=q)))


@pytest.mark.parametrize("q", ORDERS)
def test_gradients_are_those_of_the_eigenvalues(q):
    found = np.asarray(gradient(q)(KERNEL))
    direction = RNG.normal(size=(12, 12))
    direction = direction + direction.T
    step = 1e-4
    ends = [formula(KERNEL + sign * step * direction, q) for sign in (1, -1)]
    assert np.sum(found * direction) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-2)


def test_order_two_has_the_gradient_that_is_known():
    n = len(KERNEL)
    expected = -2 * KERNEL / (n**2 * np.sum((KERNEL / n) ** 2) ** 2)
    np.testing.assert_allclose(gradient(2)(KERNEL), expected, rtol=1e-4)


@pytest.mark.parametrize("q", [0.5, 1, 3])
def test_gradients_survive_repeated_eigenvalues(q):
    """Eigenvalues 1/3 (three times) and 0 (nine): along the blocks the gradient is h'(1/3) times the projector."""
    kernel = blocks(4, 4, 4)
    found = np.asarray(gradient(q)(kernel))
    share = 1 / 3
    slope = -(1 + np.log(share)) if q == 1 else q * share ** (q - 1) / ((1 - q) * 3 * share**q)
    np.testing.assert_allclose(found, 3 * slope * kernel / 4 / 12, rtol=1e-4, atol=1e-6)
    of_rows = jax.grad(lambda x: metrics.vendi_score_from_embeddings(x, q=q))(jnp.tile(jnp.eye(3), (2, 1)))
    assert np.isfinite(np.asarray(of_rows)).all()


def test_a_step_along_the_gradient_spreads_the_members():
    both = jax.jit(jax.value_and_grad(metrics.vendi_score_from_embeddings))
    x = jnp.asarray(X) + 2.0
    value, slope = both(x)
    gain = np.sum(np.asarray(slope) ** 2)
    assert both(x + 0.1 * slope)[0] - value == pytest.approx(0.1 * gain, rel=0.3)
    _, along = jax.jvp(metrics.vendi_score_from_embeddings, (x,), (slope,))
    assert along == pytest.approx(gain, rel=1e-3)


# --- accuracy and bad input


def test_the_largest_eigenvalue_where_it_is_hard_to_find():
    """A flat spectrum, a kernel next to the identity, and many equal largest ones."""
    rows = RNG.normal(size=(300, 300))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    find = jax.jit(functools.partial(metrics.vendi_score, q=np.inf))
    for kernel in (rows @ rows.T, np.exp(20 * (rows @ rows.T - 1)), np.kron(np.eye(100), np.ones((3, 3)))):
        assert float(find(np.float32(kernel))) == pytest.approx(formula(kernel, np.inf), rel=2e-6)


def test_normalized_kernels():
    lengths = RNG.uniform(0.5, 2.0, 12)
    scaled = np.float32(KERNEL * np.outer(lengths, lengths))
    assert float(metrics.vendi_score(scaled, normalize=True)) == pytest.approx(formula(KERNEL, 1), rel=1e-5)
    with pytest.raises(ValueError, match="diagonal of 1"):
        metrics.vendi_score(scaled)
    with pytest.raises(ValueError, match="diagonal above 0"):
        metrics.vendi_score(np.zeros((3, 3), np.float32), normalize=True)


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0, np.inf])
def test_rows_of_zeros_are_no_members(q):
    """Outside of jit they are an error."""
    x = jnp.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    wanted = metrics.vendi_score_from_embeddings(x[:2], q=q)
    np.testing.assert_allclose(jax.jit(lambda x: metrics.vendi_score_from_embeddings(x, q=q))(x), wanted, rtol=1e-5)
    kernel = jax.jit(lambda x: metrics.vendi_score(x @ x.T, q=q, normalize=True))
    np.testing.assert_allclose(kernel(x), wanted, rtol=1e-5)


def test_nothing_counts():
    nothing = np.zeros(12, bool)
    for q in (0.5, 1, 2, np.inf):
        assert score(KERNEL, q, where=nothing) == 0
        assert from_embeddings(X, q, where=nothing) == 0
    assert score(np.ones((1, 1)), 1) == 1
    assert metrics.internal_diversity(KERNEL, where=nothing) == 0


def test_bad_input():
    with pytest.raises(ValueError, match="symmetric"):
        metrics.vendi_score(np.float32([[1, 0.5], [0, 1]]))
    with pytest.raises(ValueError, match="positive semidefinite"):
        metrics.vendi_score(np.float32([[1, 2], [2, 1]]))
    with pytest.raises(ValueError, match="not be zero"):
        metrics.vendi_score_from_embeddings(np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="length 1"):
        metrics.vendi_score_from_embeddings(2 * np.ones((3, 1), np.float32), normalize=False)
    with pytest.raises(ValueError, match="negative"):
        metrics.vendi_score(np.eye(2, dtype=np.float32), weights=np.float32([1, -1]))
    with pytest.raises(ValueError, match=r"weights must have shape \[12\]"):
        metrics.vendi_score(KERNEL, weights=np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"kernel must have shape \[N, N\]"):
        metrics.vendi_score(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="q must be at least 0"):
        metrics.vendi_score(KERNEL, q=-1)
    with pytest.raises(ValueError, match="q must be"):
        metrics.internal_diversity(KERNEL, q=0)
    with pytest.raises(TypeError, match="kernel must be floating"):
        metrics.vendi_score(np.eye(3, dtype=int))
