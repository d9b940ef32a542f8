"""Weights of classes against their formula in float64, their limits, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.losses import class_balanced_weights

COUNTS = np.array([200000, 5000, 100, 3, 1])


def by_formula(counts, beta):
    effective = (1 - beta ** counts.astype(np.float64)) / (1 - beta)
    return len(counts) / effective / (1 / effective).sum()


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.9999, 0.999999])
def test_effective_numbers(beta):
    found = class_balanced_weights(COUNTS, beta=beta)
    np.testing.assert_allclose(found, by_formula(COUNTS, beta), rtol=1e-5)
    np.testing.assert_allclose(found.mean(), 1, rtol=1e-6)


def test_from_all_alike_to_by_size():
    np.testing.assert_array_equal(class_balanced_weights(COUNTS, beta=0.0), 1)
    np.testing.assert_allclose(class_balanced_weights(COUNTS, beta=jnp.zeros(())), 1, rtol=1e-6)
    inverse = class_balanced_weights(COUNTS, kind="inverse")
    np.testing.assert_allclose(inverse, 5 / COUNTS / (1 / COUNTS).sum(), rtol=1e-5)
    few = COUNTS[2:]
    near = class_balanced_weights(few, beta=0.9999999)
    np.testing.assert_allclose(near, class_balanced_weights(few, kind="inverse"), rtol=1e-4)


@pytest.mark.parametrize("kind", ["effective", "inverse"])
def test_equal_and_empty_classes(kind):
    np.testing.assert_allclose(class_balanced_weights(np.full(3, 7), kind=kind), 1, rtol=1e-6)
    found = class_balanced_weights(np.array([[4, 0, 1], [0, 0, 0]]), kind=kind)
    np.testing.assert_allclose(found[0, [0, 2]], class_balanced_weights(np.array([4, 1]), kind=kind), rtol=1e-6)
    assert found[0, 1] == 0
    np.testing.assert_array_equal(found[1], 0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"counts": np.ones(3, bool)}, TypeError, "counts must hold numbers"),
        ({"counts": 3}, ValueError, "counts must have shape"),
        ({"counts": np.zeros(0)}, ValueError, "counts must have shape"),
        ({"kind": "square"}, ValueError, "kind must be one of"),
        ({"beta": 1.0}, ValueError, r"beta must lie in \[0, 1\)"),
        ({"beta": -0.1}, ValueError, r"beta must lie in \[0, 1\)"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        class_balanced_weights(**{"counts": COUNTS, **change})
