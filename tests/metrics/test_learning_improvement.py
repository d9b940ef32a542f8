"""How far a learner comes along a sequence."""

import numpy as np
import pytest

from jaxlab import metrics


def test_it_is_last_minus_first():
    correct = np.random.default_rng(0).random((6, 9)) < 0.5
    where = np.array([True, True, False, True, False, True])
    np.testing.assert_allclose(
        metrics.learning_improvement(correct, where=where), np.mean(correct[where, -1] * 1.0 - correct[where, 0])
    )
    assert metrics.learning_improvement(correct[:, :1]) == 0
    assert metrics.learning_improvement(correct, where=np.zeros(6, bool)) == 0


def test_bad_shapes():
    with pytest.raises(ValueError, match="correct must"):
        metrics.learning_improvement(np.ones(3))
    with pytest.raises(ValueError, match="the length T of correct"):
        metrics.learning_improvement(np.ones((3, 0)))
