"""Two conditions dropped by one draw."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.diffusion import joint_condition_dropout

KEY = jax.random.key(0)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_each_of_the_four_cases_has_its_share(rate):
    text, image = (np.asarray(drop) for drop in joint_condition_dropout(KEY, 40_000, rate=rate))
    shares = [(text & ~image).mean(), (text & image).mean(), (~text & image).mean(), (~text & ~image).mean()]
    np.testing.assert_allclose(shares, [rate, rate, rate, 1 - 3 * rate], atol=0.008)
    # Independent draws of 2r would drop both in 4 r^2 of the cases.
    assert abs((text & image).mean() - rate) < abs((text & image).mean() - 4 * rate**2)


def test_one_draw_decides():
    u = np.asarray(jax.random.uniform(KEY, (100,)))
    text, image = joint_condition_dropout(KEY, 100, rate=jnp.float32(0.2))
    np.testing.assert_array_equal(text, u < 0.4)
    np.testing.assert_array_equal(image, (u >= 0.2) & (u < 0.6))


def test_the_ends_of_the_range():
    text, image = joint_condition_dropout(KEY, 1000, rate=1 / 3)
    assert bool((text | image).all())
    assert not any(bool(drop.any()) for drop in joint_condition_dropout(KEY, 10, rate=0.0))
    assert joint_condition_dropout(KEY, 0)[0].shape == (0,)


@pytest.mark.parametrize(("change", "message"), [({"rate": 0.4}, "rate must lie in"), ({"batch": -1}, "batch must be")])
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        joint_condition_dropout(KEY, **{"batch": 3} | change)
