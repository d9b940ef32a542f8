"""Operating curves, their spread over classes, and utilization, against loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import metrics

RNG = np.random.default_rng(0)
N, C = 24, 4
LABELS = RNG.integers(0, 3, size=N)
LABELS[0] = 3  # a class with one member: no pair of its own
X = (RNG.normal(size=(N, 3)) * (1 + LABELS[:, None])).astype(np.float32)
DISTANCES = np.linalg.norm(X[:, None] - X, axis=-1).astype(np.float32)
RANGE = {"far_range": (0.05, 0.3), "num_thresholds": 40}


def rates(d, y, t):
    tar, far = np.zeros((2, C, len(t)))
    for c in range(C):
        near = [d[i, j] for i in range(len(y)) for j in range(len(y)) if i != j and y[i] == y[j] == c]
        away = [d[i, j] for i in range(len(y)) for j in range(len(y)) if y[i] == c != y[j]]
        if near and away:
            tar[c], far[c] = (np.mean(np.array(v)[:, None] <= t, axis=0) for v in (near, away))
    return tar, far


def utilities(d, y, c=1.0):
    away = np.sort([d[i, j] for i in range(len(y)) for j in range(len(y)) if y[i] != y[j]])
    ends = [away[int(np.ceil(f * len(away) * (1 - 1e-6))) - 1] for f in RANGE["far_range"]]
    t = np.linspace(*np.float32(ends), RANGE["num_thresholds"], dtype=np.float32)
    tar, far = rates(d, y, t)
    return t, ((1 + c**2) * (1 - far) * tar / np.maximum(c**2 * (1 - far) + tar, 1e-12))[:3]


def test_curves_equal_a_loop():
    t = np.sort(RNG.choice(DISTANCES.ravel(), 15))  # ties with distances included
    found = metrics.class_operating_curves(DISTANCES, LABELS, t, num_classes=C)
    for name, expected in zip(("tar", "far"), rates(DISTANCES, LABELS, t), strict=True):
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-6)
        assert (np.diff(getattr(found, name), axis=1) >= 0).all()
    assert found.class_where.tolist() == [True, True, True, False]


def test_opis_equals_a_loop():
    t, u = utilities(DISTANCES, LABELS)
    integral = lambda values: np.trapezoid(values, t) / (t[-1] - t[0])  # noqa: E731
    found = metrics.opis(DISTANCES, LABELS, num_classes=C, **RANGE)
    np.testing.assert_allclose(found, integral(np.mean((u - u.mean(0)) ** 2, axis=0)), rtol=1e-3)
    order = np.argsort(integral(u))
    extremes = metrics.opis_extremes(DISTANCES, LABELS, num_classes=C, **RANGE)
    np.testing.assert_allclose(extremes, integral((u[order[-1]] - u[order[0]]) ** 2), rtol=1e-3)
    renamed = np.array([2, 0, 1, 3])[LABELS]
    np.testing.assert_allclose(metrics.opis(DISTANCES, renamed, num_classes=C, **RANGE), found, rtol=1e-5)
    assert found > 0.01


def test_opis_of_nothing_and_what_weighs_more():
    nothing = jnp.zeros((0, 0)), jnp.zeros(0, int)
    assert metrics.opis(*nothing, num_classes=3) == metrics.opis_extremes(*nothing, num_classes=3) == 0
    found = metrics.opis(DISTANCES, LABELS, num_classes=C, c=3.0, **RANGE)
    t, u = utilities(DISTANCES, LABELS, c=3.0)
    np.testing.assert_allclose(
        found, np.trapezoid(np.mean((u - u.mean(0)) ** 2, axis=0), t) / (t[-1] - t[0]), rtol=1e-3
    )


def test_opis_of_classes_that_are_alike():
    x = np.concatenate([10 * c + np.array([0.0, 1.0, 2.5]) for c in range(3)])
    # Equally far from each other, so that all classes have the same distances.
    d = np.where(np.repeat(np.arange(3), 3)[:, None] == np.repeat(np.arange(3), 3), np.abs(x[:, None] - x), 7.0)
    y = np.repeat(np.arange(3), 3)
    assert metrics.opis(np.float32(d), y, num_classes=3, **RANGE) == 0
    assert metrics.opis_extremes(np.float32(d), y, num_classes=3, **RANGE) == 0
    # One threshold: the variance of the utility there.
    once = metrics.opis(DISTANCES, LABELS, num_classes=C, far_range=(0.1, 0.1), num_thresholds=2)
    away = np.sort(DISTANCES[LABELS[:, None] != LABELS])
    tar, far = rates(DISTANCES, LABELS, away[[int(np.ceil(0.1 * len(away) * (1 - 1e-6))) - 1]])
    u = (2 * (1 - far) * tar / np.maximum(1 - far + tar, 1e-12))[:3, 0]
    np.testing.assert_allclose(once, u.var(), rtol=1e-4)


def test_hidden_rows_and_columns():
    where = np.arange(N) % 4 > 0
    dirty = np.where(where[:, None] & where, DISTANCES, np.nan)
    part = (DISTANCES[np.ix_(where, where)], LABELS[where])
    for fn in (metrics.opis, metrics.opis_extremes):
        np.testing.assert_allclose(
            fn(dirty, LABELS, num_classes=C, where=where, **RANGE), fn(*part, num_classes=C, **RANGE), rtol=1e-5
        )
        assert fn(dirty, LABELS, num_classes=C, where=np.zeros(N, bool), **RANGE) == 0
        one = np.where(LABELS == 1, 1, -1)  # a label outside leaves the row out: one class is left
        assert fn(DISTANCES, one, num_classes=C, **RANGE) == 0
    t = np.float32([1.0, 2.0])
    found = metrics.class_operating_curves(dirty, LABELS, t, num_classes=C, where=where)
    np.testing.assert_allclose(found.tar, metrics.class_operating_curves(*part, t, num_classes=C).tar, rtol=1e-6)


def test_utilization():
    q, x = RNG.normal(size=(5, 3)).astype(np.float32), X[:9]
    expected = np.mean([min(np.sum((a - b) ** 2) for b in x) for a in q])
    np.testing.assert_allclose(metrics.utilization(q, x), expected, rtol=1e-5)
    np.testing.assert_allclose(metrics.utilization(x[:4], x), 0.0, atol=1e-5)
    assert metrics.utilization(q, X) <= metrics.utilization(q, x)
    some = np.arange(9) < 5
    np.testing.assert_allclose(
        metrics.utilization(q, np.where(some[:, None], x, np.nan), reference_where=some),
        metrics.utilization(q, x[:5]),
        rtol=1e-5,
    )
    assert np.isinf(metrics.utilization(q, x, reference_where=np.zeros(9, bool)))


BAD = {
    "square": (lambda: metrics.opis(DISTANCES[:3], LABELS, num_classes=C), ValueError, r"must have shape \[24, 24\]"),
    "classes": (lambda: metrics.opis(DISTANCES, LABELS, num_classes=0), ValueError, "num_classes must be"),
    "range": (
        lambda: metrics.opis(DISTANCES, LABELS, num_classes=C, far_range=(0.2, 0.1)),
        ValueError,
        "far_range must be 0 < low <= high <= 1",
    ),
    "fraction": (
        lambda: metrics.opis_extremes(DISTANCES, LABELS, num_classes=C, fraction=0.0),
        ValueError,
        "fraction must lie in",
    ),
    "thresholds": (
        lambda: metrics.class_operating_curves(DISTANCES, LABELS, LABELS, num_classes=C),
        TypeError,
        "thresholds must be floating point",
    ),
    "references": (lambda: metrics.utilization(X, X[:0]), ValueError, r"references must have shape \[N >= 1, 3\]"),
    "labels": (lambda: metrics.opis(DISTANCES, DISTANCES[0], num_classes=C), TypeError, "labels must hold integers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
