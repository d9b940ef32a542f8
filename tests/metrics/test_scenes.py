"""Where boxes lie, what counts, and marks with a bottleneck."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import metrics

LEFT, RIGHT, ABOVE, BELOW = np.eye(4, dtype=bool)
CENTRE = np.array([4.0, 4.0, 6.0, 6.0], np.float32)


def moved(dx, dy):
    return CENTRE + np.array([dx, dy, dx, dy], np.float32)


@pytest.mark.parametrize(
    ("dx", "dy", "wanted"),
    [
        (-5, 0, LEFT),
        (5, 0, RIGHT),
        (0, -5, ABOVE),
        (0, 5, BELOW),
        (5, 5, RIGHT | BELOW),
        (5, 2, RIGHT),  # 1.6 / 5.4 on the second axis is below one half
        (0.3, 0.0, ~(RIGHT | ~RIGHT)),  # inside the threshold of 0.1 * (2 + 2)
        (0, 0, ~(RIGHT | ~RIGHT)),
    ],
)
def test_position(dx, dy, wanted):
    got = metrics.relative_position(moved(dx, dy), CENTRE)
    np.testing.assert_array_equal(got, wanted)
    swapped = metrics.relative_position(CENTRE, moved(dx, dy))
    np.testing.assert_array_equal(swapped, wanted[[1, 0, 3, 2]])


def test_the_threshold_is_a_share_of_the_sizes():
    assert metrics.relative_position(moved(0.9, 0.0), CENTRE)[1]
    assert not metrics.relative_position(moved(0.9, 0.0), CENTRE, threshold=0.25)[1]


def test_exactly_two_is_two_and_not_three():
    counts = jnp.arange(5)
    both = metrics.clause_correct(counts, 2) & metrics.clause_correct(counts, 3, kind="exclude")
    np.testing.assert_array_equal(both, np.arange(5) == 2)


def test_the_worse_of_two_marks_counts():
    low, high, looks = jnp.array([2.0]), jnp.array([9.0]), jnp.array([5.0])
    np.testing.assert_allclose(metrics.bottleneck_score(low, high, looks), 0.8 * 2.0 + 0.2 * 5.0)
    np.testing.assert_allclose(metrics.bottleneck_score(high, low, looks), 0.8 * 2.0 + 0.2 * 5.0)
    np.testing.assert_allclose(metrics.bottleneck_score(high, high, high), 9.0, rtol=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match="box must have"):
        metrics.relative_position(jnp.ones(3), jnp.ones(4))
    with pytest.raises(ValueError, match="kind"):
        metrics.clause_correct(jnp.array([1]), 1, kind="about")
    with pytest.raises(TypeError, match="counts"):
        metrics.clause_correct(jnp.array([1.0]), 1)
