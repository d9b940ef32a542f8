"""Rows of several classes, and the formulas of closed-form learning in numpy and float64."""

import numpy as np

COUNTS = (7, 12, 4, 0)  # unequal, and a class that never appears
NUM_CLASSES, DIM = len(COUNTS), 4


def blobs(seed, counts=COUNTS, dim=DIM, offset=0.0):
    """Correlated rows around a mean per class, in random order: x float32 [N, dim], labels [N]."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    mixing = np.eye(dim) + 0.4 * rng.normal(size=(dim, dim))
    x = 2 * rng.normal(size=(len(counts), dim))[labels] + rng.normal(size=(len(labels), dim)) @ mixing
    return (x + offset).astype(np.float32), labels


def twins(seed, num_classes=3, size=6, dim=DIM):
    """Classes that are translations of each other: equal counts, equal covariances; float64."""
    rng = np.random.default_rng(seed)
    deviations = rng.normal(size=(size, dim)) @ rng.normal(size=(dim, dim))
    deviations -= deviations.mean(0)
    means = 3 * rng.normal(size=(num_classes, dim))
    x = (means[:, None] + deviations).reshape(-1, dim)
    return x, np.repeat(np.arange(num_classes), size), means


def one_hot(labels, num_classes=NUM_CLASSES):
    return np.eye(num_classes)[labels]


def means(x, labels, num_classes=NUM_CLASSES):
    """Class means; zero for an empty class."""
    x = x.astype(np.float64)
    return np.stack([x[labels == c].mean(0) if (labels == c).any() else 0 * x[0] for c in range(num_classes)])


def scatter(x, labels, num_classes=NUM_CLASSES):
    """Scatter about the class means."""
    z = x.astype(np.float64) - means(x, labels, num_classes)[labels]
    return z.T @ z


def ridge(x, targets, gamma, prior=0.0):
    x, targets = x.astype(np.float64), targets.astype(np.float64)
    return np.linalg.solve(x.T @ x + gamma * np.eye(x.shape[1]), x.T @ targets + gamma * prior)


def discriminant(x, mean, precision, log_prior):
    """Linear discriminants log pi_c + x' P mu_c - mu_c' P mu_c / 2, [N, C]."""
    weight = precision @ mean.T
    return x.astype(np.float64) @ weight - 0.5 * np.sum(mean.T * weight, 0) + log_prior


def partition(seed, n, parts):
    """A random order of n rows, cut at random places (so that some parts may be empty)."""
    rng = np.random.default_rng(seed)
    return np.split(rng.permutation(n), np.sort(rng.integers(0, n + 1, parts - 1)))


def padded(seed, x, labels, parts, length):
    """The rows as a random partition, padded to one length with junk that ``where`` hides."""
    for index in partition(seed, len(x), parts):
        assert len(index) <= length
        rows = np.full((length, *x.shape[1:]), np.nan, x.dtype)
        names, where = np.zeros(length, int), np.arange(length) < len(index)
        rows[: len(index)], names[: len(index)] = x[index], labels[index]
        yield rows, names, where


def relative(actual, expected):
    """Frobenius error relative to the expected array."""
    actual = np.asarray(actual, np.float64)
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def close(actual, expected, tol=1e-5):
    """Equality relative to the largest entry; -inf must stand in the same places."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    size = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tol * max(size, 1e-30))
