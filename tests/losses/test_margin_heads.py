"""Margin heads, UNPG and MadaCos against numpy, at the edges of the cosine, and on split batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)
B, K, D = 8, 5, 3
X, W = (RNG.normal(size=(n, D)).astype(np.float32) for n in (B, K))
Y = np.array([0, 1, 2, 3, 4, 0, 1, 2])
WHERE = np.array([True, False, True, True, True, True, False, True])
HEADS = {"cosface": losses.cosface_logits, "arcface": losses.arcface_logits, "magface": losses.magface_logits}
COS = np.float32(RNG.uniform(-1, 1, size=(B, K)))
ce = optax.losses.softmax_cross_entropy_with_integer_labels
unpg = jax.jit(losses.unpg)
parameters = jax.jit(losses.mada_cos_parameters, static_argnames="average")


def cosines(x, w):
    x, w = (a.astype(np.float64) / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, w))
    return x @ w.T


def test_heads_equal_numpy():
    c = cosines(X, W)
    rows, angle = np.arange(B), np.arccos(c[np.arange(B), Y])
    length = np.clip(np.linalg.norm(X, axis=1), 0.5, 3.0)
    grown = 0.45 + 0.35 * (length - 0.5) / 2.5
    targets = {
        "cosface": np.cos(angle) - 0.35,
        "arcface": np.cos(angle + 0.5),
        "magface": np.where(np.cos(angle) > 0, np.cos(angle + grown), np.cos(angle)),
    }
    for name, target in targets.items():
        expected = c.copy()
        expected[rows, Y] = target
        options = {"lengths": (0.5, 3.0)} if name == "magface" else {}
        found = HEADS[name](X, W, Y, scale=16.0, **options)
        np.testing.assert_allclose(found, 16.0 * expected, rtol=1e-4, atol=2e-5, err_msg=name)
    zero = HEADS["arcface"](X, W, Y, margin=0.0)
    np.testing.assert_allclose(zero, HEADS["cosface"](X, W, Y, margin=0.0), atol=1e-3)


@pytest.mark.parametrize("name", HEADS)
def test_edges_are_finite(name):
    """Cosines of 1 and -1, zero vectors and zero prototypes, also in bfloat16."""
    x = np.concatenate([W, -W, np.zeros((1, D))]).astype(np.float32)
    labels = np.concatenate([np.arange(K), np.arange(K), [0]])
    w = np.where(np.arange(K)[:, None] == 4, 0.0, W)
    for dtype in (np.float32, jnp.bfloat16):
        loss = lambda x, w: ce(HEADS[name](x, w, labels), labels).sum()  # noqa: E731
        value, slopes = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(x.astype(dtype), w.astype(dtype))
        assert np.isfinite(value)
        for slope in slopes:
            assert slope.dtype == dtype
            assert np.isfinite(np.asarray(slope, np.float32)).all()


@pytest.mark.parametrize("name", HEADS)
def test_hidden_rows_and_unknown_labels(name):
    dirty = np.where(WHERE[:, None], X, np.nan)
    labels = np.where(WHERE, Y, 99)
    found = HEADS[name](dirty, W, labels, where=WHERE)
    np.testing.assert_array_equal(found[~WHERE], 0.0)
    np.testing.assert_allclose(found[WHERE], HEADS[name](X[WHERE], W, Y[WHERE]), rtol=1e-5)
    unknown = np.asarray(HEADS[name](X, W, np.where(np.arange(B) == 2, K, Y)))
    assert np.isnan(unknown[2]).all()
    assert np.isfinite(np.delete(unknown, 2, 0)).all()


def test_no_table_of_labels_is_built():
    """Only the target entries are touched: nothing compares labels with all classes."""
    jaxpr = str(jax.make_jaxpr(lambda x, w: losses.arcface_logits(x, w, Y))(X, W))
    assert f"bool[{B},{K}]" not in jaxpr
    assert f"i32[{B},{K}]" not in jaxpr


def whiskers(values, whisker):
    ordered, n = np.sort(values), len(values)
    low, high = ordered[int(0.25 * n)], ordered[int(0.75 * n)]
    return (values >= low - whisker * (high - low)) & (values <= high + whisker * (high - low))


def test_whisker_mask_equals_numpy():
    for n in (4, 5, 6, 7, 30):
        values = RNG.standard_t(2, size=n).astype(np.float32)
        found = losses.whisker_mask(np.append(values, np.nan), np.arange(n + 1) < n, whisker=0.5)
        np.testing.assert_array_equal(found, np.append(whiskers(values, 0.5), False))
        assert not found.all()
    assert losses.whisker_mask(np.float32([0, 1, 99])).all()  # too few to tell
    assert losses.whisker_mask(np.float32([1, 1, 1, 1, 9]), whisker=np.inf).all()
    assert losses.whisker_mask(np.float32([])).shape == (0,)


def test_unpg_equals_a_loop():
    logits, labels = losses.cosface_logits(X, W, Y, scale=4.0), Y
    c = cosines(X, X)
    pairs = np.array([c[i, j] for i in range(B) for j in range(i + 1, B) if Y[i] != Y[j]], np.float32)
    for whisker in (0.3, np.inf):
        kept = pairs[whiskers(pairs, whisker)] if np.isfinite(whisker) else pairs
        assert (len(kept) < len(pairs)) == np.isfinite(whisker)
        columns = np.concatenate([np.asarray(logits, np.float64), np.tile(4.0 * kept, (B, 1))], axis=1)
        expected = np.log(np.exp(columns).sum(1)) - np.take_along_axis(columns, Y[:, None], 1)[:, 0]
        found = unpg(logits, labels, X, scale=4.0, whisker=whisker)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert (np.asarray(found) > np.asarray(ce(logits, Y))).all()
    same = np.zeros(B, int)
    np.testing.assert_allclose(unpg(logits, same, X, scale=4.0), ce(logits, same), rtol=1e-5)


def test_unpg_masks_and_splits():
    logits = losses.cosface_logits(X, W, Y)
    found = unpg(np.where(WHERE[:, None], logits, np.nan), Y, np.where(WHERE[:, None], X, np.nan), where=WHERE)
    np.testing.assert_array_equal(found[~WHERE], 0.0)
    np.testing.assert_allclose(found[WHERE], unpg(logits[WHERE], Y[WHERE], X[WHERE]), rtol=1e-4)
    parts = [np.reshape(a, (2, 4, *np.shape(a)[1:])) for a in (logits, Y, X)]
    split = jax.vmap(lambda *part: losses.unpg(*part, axis_name="i"), axis_name="i")(*parts)
    np.testing.assert_allclose(split.ravel(), unpg(logits, Y, X), rtol=1e-4)
    assert np.isnan(unpg(logits, np.where(np.arange(B) == 1, -1, Y), X)[1])


def published(cosine, labels, rho, average):
    """The authors' forward pass, in numpy: scale, margin."""
    rows = np.arange(len(labels))
    target = cosine[rows, labels]
    place = np.argsort(target, kind="stable")[(len(labels) - 1) // 2]
    median = target[place]
    scale = max(32.0, np.log(9999999 * (1 - rho) / rho) / (1 - median))
    b = np.where(np.arange(cosine.shape[1]) == labels[:, None], 0.0, np.exp(scale * cosine)).sum(1)
    chosen = {"median_example": b[place], "median": np.sort(b)[(len(b) - 1) // 2], "mean": b.mean()}[average]
    return scale, max(0.0, median - np.log(chosen * rho / (1 - rho)) / scale)


@pytest.mark.parametrize("average", ["median_example", "median", "mean"])
def test_mada_cos_of_an_empty_batch(average):
    found = losses.mada_cos_parameters(jnp.zeros((0, 3)), jnp.zeros(0, int), min_scale=32.0, average=average)
    assert tuple(map(float, found)) == (32.0, 0.0)
    assert losses.mada_cos(jnp.zeros((0, 3)), jnp.zeros(0, int), average=average).shape == (0,)


@pytest.mark.parametrize("average", ["median_example", "median", "mean"])
def test_mada_cos_parameters_equal_the_published_ones(average):
    for shift in (0.0, 0.6):  # at the floor of the scale, and above it
        cosine = np.where(np.arange(K) == Y[:, None], np.clip(COS + shift, -1, 0.9), 0.3 * COS).astype(np.float64)
        for count in (7, 8):
            scale, margin = published(cosine[:count], Y[:count], 0.02, average)
            found = parameters(np.float32(cosine[:count]), Y[:count], average=average)
            np.testing.assert_allclose(found, (scale, margin), rtol=1e-4, atol=1e-5)
            split = jax.vmap(
                lambda c, y: losses.mada_cos_parameters(c, y, average=average, axis_name="i"), axis_name="i"
            )
            if count == 8:
                both = split(np.float32(cosine).reshape(2, 4, K), Y.reshape(2, 4))
                np.testing.assert_allclose(both, np.tile(found, (2, 1)).T, rtol=1e-5)


def test_the_median_example_has_probability_rho():
    for shift in (0.2, 0.6):
        cosine = np.where(np.arange(K) == Y[:, None], np.clip(COS + shift, 0.2, 0.9), 0.3 * COS).astype(np.float32)
        scale, margin = parameters(cosine, Y, rho=0.1)
        assert margin > 0
        target = cosine[np.arange(B), Y]
        median = np.argsort(target)[(B - 1) // 2]
        of_median = lambda c, at: losses.mada_cos(c, Y, rho=0.1)[at]  # noqa: E731
        loss, slope = jax.value_and_grad(of_median)(cosine, median)
        np.testing.assert_allclose(np.exp(-loss), 0.1, rtol=1e-3)
        # Neither scale nor margin passes a gradient: it is s (p - 1) at the target.
        np.testing.assert_allclose(slope[median, Y[median]], scale * (0.1 - 1), rtol=1e-3)
        np.testing.assert_array_equal(np.delete(slope, median, 0), 0.0)
    assert parameters(COS, Y).scale >= 32
    wrong = np.where(np.arange(K) == Y[:, None], -1, 1).astype(np.float32)
    assert parameters(wrong, Y).margin == 0
    assert np.isfinite(parameters(np.ones((B, K), np.float32), Y)).all()  # the median cosine is 1
    np.testing.assert_array_equal(parameters(COS, Y, where=np.zeros(B, bool)), (32.0, 0.0))


def test_mada_cos_masks_and_splits():
    dirty = np.where(WHERE[:, None], COS, np.nan)
    found = losses.mada_cos(dirty, Y, where=WHERE)
    np.testing.assert_array_equal(found[~WHERE], 0.0)
    np.testing.assert_allclose(found[WHERE], losses.mada_cos(COS[WHERE], Y[WHERE]), rtol=1e-5)
    split = jax.vmap(lambda c, y: losses.mada_cos(c, y, axis_name="i"), axis_name="i")
    np.testing.assert_allclose(split(COS.reshape(2, 4, K), Y.reshape(2, 4)).ravel(), losses.mada_cos(COS, Y), rtol=1e-5)
    unknown = losses.mada_cos(COS, np.where(np.arange(B) == 3, K, Y))
    assert np.isnan(unknown[3])
    known = np.arange(B) != 3
    np.testing.assert_allclose(unknown[known], losses.mada_cos(COS[known], Y[known]), rtol=1e-5)


BAD = {
    "width": (lambda: losses.cosface_logits(X, W[:, :2], Y), ValueError, r"prototypes must have shape \[K >= 1, 3\]"),
    "classes": (lambda: losses.arcface_logits(X, W[:0], Y), ValueError, "prototypes must have shape"),
    "scale": (lambda: losses.cosface_logits(X, W, Y, scale=0.0), ValueError, "scale must be > 0"),
    "labels": (lambda: losses.arcface_logits(X, W, np.ones(B)), TypeError, "labels must hold integers"),
    "batch": (lambda: losses.magface_logits(X, W, Y[:3]), ValueError, "embeddings and labels must agree"),
    "lengths": (lambda: losses.magface_logits(X, W, Y, lengths=(3.0, 1.0)), ValueError, "lengths must rise"),
    "integers": (lambda: losses.cosface_logits(X > 0, W, Y), TypeError, "embeddings must be floating point"),
    "whisker": (lambda: losses.whisker_mask(X[0], whisker=-1.0), ValueError, "whisker must be at least 0"),
    "values": (lambda: losses.whisker_mask(X), ValueError, r"values must have shape \[N\]"),
    "pairs": (lambda: losses.unpg(COS, Y, X[:4]), ValueError, "embeddings and labels must agree"),
    "one class": (lambda: losses.mada_cos(COS[:, :1], Y), ValueError, "at least two classes"),
    "rho": (lambda: losses.mada_cos(COS, Y, rho=1.0), ValueError, r"rho must lie in \(0, 1\)"),
    "average": (lambda: losses.mada_cos(COS, Y, average="max"), ValueError, "average must be one of"),
    "where": (lambda: losses.mada_cos(COS, Y, where=np.ones(3, bool)), ValueError, r"where must have shape \[8\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
