"""A scale per condition, against the arithmetic on arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion, guidance


def draws(*shape):
    return jax.random.normal(jax.random.key(0), shape)


def test_it_is_the_nested_combination():
    p0, p1, p2 = draws(3, 2, 4)
    scales = (4.0, jnp.array([2.9, 1.5]))
    got, _ = guidance.guide(guidance.multi_condition(scales), (), p2, p0, x=p0, t=0.5, extras=(p1,))
    wanted = guidance.combine_nested(jnp.stack([p0, p1, p2]), jnp.stack([jnp.full(2, 4.0), scales[1]]))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_equal_scales_are_cfg_and_ones_are_the_condition():
    p0, p1, p2 = draws(3, 2, 4)
    for scale in (1.0, 3.0):
        got, _ = guidance.guide(guidance.multi_condition([scale, scale]), (), p2, p0, x=p0, t=0.5, extras=(p1,))
        np.testing.assert_allclose(got, guidance.combine(p2, p0, scale=scale), rtol=1e-6, atol=1e-6)
    one, _ = guidance.guide(guidance.multi_condition([3.0]), (), p2, p0, x=p0, t=0.5)
    np.testing.assert_allclose(one, guidance.combine(p2, p0, scale=3.0), rtol=1e-6)


def test_in_the_sampler_an_interval_skips_all_of_it():
    keys, ts = jax.random.split(jax.random.key(0), 2), diffusion.time_grid(4, low=0.0)
    rule = guidance.chain(guidance.interval(0.0, 0.6), guidance.multi_condition([3.0, 2.0]))
    result = diffusion.sample(
        keys,
        jnp.zeros((2, 1)),
        ts,
        cond_fn=lambda x, t: x + 3.0,
        uncond_fn=lambda x, t: (x, (x + 1.0,)),
        uncond_cost=2,
        rule=rule,
        step=diffusion.euler(diffusion.linear_flow(), kind="v"),
    )
    assert result.evaluations.tolist() == [4 + 2 * 2] * 2
    # Two steps of a quarter with the velocity x + 3, then two with x + 3 + 2 * 1 + 1 * 2.
    x = 0.0
    for extra in (0.0, 0.0, 4.0, 4.0):
        x -= 0.25 * (x + 3.0 + extra)
    np.testing.assert_allclose(result.x, np.full((2, 1), x), rtol=1e-5)


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 2, 3, 1)])
def test_any_shape_and_many_scales_at_once(shape):
    p0, p1, p2 = draws(3, *shape)
    scales = jnp.array([[1.0, 1.0], [4.0, 2.0]])

    def guided(scales):
        rule = guidance.multi_condition([scales[0], scales[1]])
        return guidance.guide(rule, (), p2, p0, x=p0, t=0.5, extras=(p1,))[0]

    together = jax.vmap(guided)(scales)
    np.testing.assert_array_equal(together[0], p2)
    np.testing.assert_allclose(together[1], p0 + 4.0 * (p1 - p0) + 2.0 * (p2 - p1), rtol=1e-4, atol=1e-5)


def test_bad_input():
    zero = jnp.zeros((2, 1))
    with pytest.raises(ValueError, match="at least one scale"):
        guidance.multi_condition([])
    with pytest.raises(ValueError, match="must return 1 predictions"):
        guidance.guide(guidance.multi_condition([2.0, 3.0]), (), zero, zero, x=zero, t=0.5)
    rule = guidance.multi_condition([jnp.ones(3), 3.0])
    with pytest.raises(ValueError, match="a scale must"):
        guidance.guide(rule, (), zero, zero, x=zero, t=0.5, extras=(zero,))
