"""When a statistic no longer improves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import optim

VALUES = np.float32([1, 3, 2, 3.05, 2.9, 4, 3, 3])


def stops(**options):
    @jax.jit
    def run(values):
        step = lambda state, value: [optim.early_stop_update(state, value, **options)] * 2  # noqa: E731
        return jax.lax.scan(lambda s, v: tuple(step(s, v)), optim.early_stop_init(), values)

    return run(VALUES)


def test_patience_and_tolerance():
    state, history = stops(patience=2, tolerance=0.1)
    assert history.stop.tolist() == [False, False, False, True, True, True, True, True]
    assert state.best == 4
    _, patient = stops(patience=2)
    assert patient.stop.tolist() == [False] * 7 + [True]
    np.testing.assert_array_equal(patient.checks, [0, 0, 1, 0, 1, 0, 1, 2])


def test_the_moving_average():
    _, history = stops(patience=9, momentum=0.5)
    average = [VALUES[0]]
    for value in VALUES[1:]:
        average.append(0.5 * average[-1] + 0.5 * value)
    np.testing.assert_allclose(history.average, average, rtol=1e-6)
    np.testing.assert_allclose(history.best, np.maximum.accumulate(average), rtol=1e-6)


def test_nan_is_no_improvement():
    state = optim.early_stop_update(optim.early_stop_init(), jnp.array(jnp.nan), patience=3)
    state = optim.early_stop_update(state, jnp.array(-5.0), patience=3, momentum=0.9)
    assert (state.average, state.best, state.checks) == (-5, -5, 0)
    assert optim.early_stop_update(state, jnp.array(jnp.nan), patience=3).checks == 1


def test_bad_input():
    with pytest.raises(ValueError, match="patience must be"):
        optim.early_stop_update(optim.early_stop_init(), jnp.array(1.0), patience=0)
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\)"):
        optim.early_stop_update(optim.early_stop_init(), jnp.array(1.0), patience=1, momentum=1.0)
    with pytest.raises(ValueError, match="value must have shape"):
        optim.early_stop_update(optim.early_stop_init(), jnp.ones(2), patience=1)
    with pytest.raises(TypeError, match="value must be floating"):
        optim.early_stop_update(optim.early_stop_init(), jnp.array(1), patience=1)
