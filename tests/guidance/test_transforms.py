"""What each rule does to the direction, against plain numpy written from the formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import guidance
from jaxlab.guidance import cfg, chain, guide

B, SHAPE, STEPS = 3, (4, 5), 4
rng = np.random.default_rng(1)
CONDS, UNCONDS = (rng.normal(size=(STEPS, B, *SHAPE)).astype(np.float32) for _ in range(2))
ONE = jnp.asarray(CONDS[0]), jnp.asarray(UNCONDS[0])


def predictions(rule, conds=CONDS, unconds=UNCONDS):
    state, out = rule.init(jnp.asarray(conds[0])), []
    for step, (cond, uncond) in enumerate(zip(conds, unconds, strict=True)):
        cond, uncond = jnp.asarray(cond), jnp.asarray(uncond)
        prediction, state = guide(rule, state, cond, uncond, x=cond, t=0.5, step=step, num_steps=STEPS)
        out.append(prediction)
    return np.stack(out)


def adaptive_projected_guidance(conds, unconds, *, scale, eta, radius, beta):
    """Written from the paper's algorithm, one sample at a time, in float64."""
    out = np.zeros(conds.shape)
    for b in range(conds.shape[1]):
        running = 0.0
        for step in range(conds.shape[0]):
            c, u = conds[step, b].astype(np.float64), unconds[step, b].astype(np.float64)
            running = (c - u) + beta * running
            d = running * min(1.0, radius / np.linalg.norm(running))
            unit = c / np.linalg.norm(c)
            parallel = np.sum(d * unit) * unit
            out[step, b] = c + (scale - 1.0) * (d - parallel + eta * parallel)
    return out


@pytest.mark.parametrize(("scale", "eta", "radius", "beta"), [(7.5, 0.0, 2.5, -0.5), (3.0, 0.3, 4.0, -0.75)])
def test_apg_is_the_papers_algorithm(scale, eta, radius, beta):
    rule = chain(guidance.momentum(beta), guidance.clip_norm(radius), guidance.project(eta), cfg(scale))
    expected = adaptive_projected_guidance(CONDS, UNCONDS, scale=scale, eta=eta, radius=radius, beta=beta)
    np.testing.assert_allclose(predictions(rule), expected, rtol=1e-4, atol=1e-5)
    # The form that starts from the unconditional prediction is another one.
    assert not np.allclose(expected, expected - CONDS + UNCONDS, atol=0.1)


def test_projection_leaves_what_is_orthogonal_to_the_condition():
    cond, uncond = ONE
    prediction = predictions(chain(guidance.project(0.0), cfg(5.0)))[0]
    inner = np.sum((prediction - CONDS[0]) * CONDS[0], axis=(1, 2))
    np.testing.assert_allclose(inner, 0.0, atol=1e-4)
    parallel, orthogonal = guidance.project_onto(cond - uncond, cond)
    np.testing.assert_allclose(parallel + orthogonal, cond - uncond, rtol=1e-5, atol=1e-6)
    squares = lambda x: np.sum(np.asarray(x) ** 2, axis=(1, 2))  # noqa: E731
    np.testing.assert_allclose(squares(prediction), squares(cond) + 16.0 * squares(orthogonal), rtol=1e-4)


def test_projection_of_a_parallel_direction_is_the_condition():
    np.testing.assert_allclose(
        predictions(chain(guidance.project(0.0), cfg(9.0)), CONDS, 0.3 * CONDS), CONDS, rtol=1e-4, atol=1e-5
    )


def test_projection_on_a_zero_condition_keeps_the_direction():
    zero = jnp.zeros_like(ONE[0])
    rule = chain(guidance.project(0.0), cfg(3.0))
    prediction = guide(rule, ((), ()), zero, ONE[1], x=zero, t=0.5)[0]
    np.testing.assert_allclose(prediction, -2.0 * ONE[1], rtol=1e-6)
    grad = jax.grad(lambda c: jnp.sum(guide(rule, ((), ()), c, ONE[1], x=zero, t=0.5)[0]))(zero)
    assert bool(jnp.all(jnp.isfinite(grad)))
    parallel, orthogonal = guidance.project_onto(ONE[1], zero)
    np.testing.assert_array_equal(parallel, 0.0)
    np.testing.assert_array_equal(orthogonal, ONE[1])


def test_one_vector_is_projected_as_one_vector():
    v, onto = np.array([1.0, 2.0, 2.0], np.float32), np.array([0.0, 3.0, 4.0], np.float32)
    parallel, _ = guidance.project_onto(v, onto)
    np.testing.assert_allclose(parallel, onto * (v @ onto) / (onto @ onto), rtol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "rms"])
def test_clipping_shortens_long_directions_and_only_those(norm):
    direction = CONDS - UNCONDS
    lengths = np.sqrt(np.sum(direction**2, axis=(2, 3), keepdims=True))
    lengths = lengths / np.sqrt(np.prod(SHAPE)) if norm == "rms" else lengths
    radius = float(np.median(lengths))
    expected = CONDS + direction * np.minimum(1.0, radius / lengths)
    rule = chain(guidance.clip_norm(radius, norm=norm), cfg(2.0))
    np.testing.assert_allclose(predictions(rule), expected, rtol=1e-4, atol=1e-5)
    assert (lengths < radius).any()
    assert (lengths > radius).any()


def test_rms_does_not_depend_on_the_resolution_and_l2_does():
    tall = np.repeat(CONDS, 4, axis=2), np.repeat(UNCONDS, 4, axis=2)
    for norm, same in (("rms", True), ("l2", False)):
        rule = chain(guidance.clip_norm(0.8, norm=norm), cfg(2.0))
        coarse, fine = predictions(rule), predictions(rule, *tall)
        assert np.allclose(np.repeat(coarse, 4, axis=2), fine, atol=1e-5) == same


def test_equal_predictions_have_finite_gradients():
    cond = ONE[0]
    for member in (guidance.clip_norm(1.0), guidance.clip_norm(jnp.inf), guidance.clip_norm(1.0, norm="rms")):
        rule = chain(member, cfg(3.0))
        grad = jax.grad(lambda u, rule=rule: jnp.sum(guide(rule, ((), ()), cond, u, x=cond, t=0.5)[0] ** 2))(cond)
        assert bool(jnp.all(jnp.isfinite(grad)))


def test_momentum_of_a_constant_direction_is_a_geometric_sum():
    beta, conds = -0.75, np.repeat(CONDS[:1], STEPS, axis=0)
    got = predictions(chain(guidance.momentum(beta), cfg(2.0)), conds, np.zeros_like(conds))
    factors = (1 - beta ** np.arange(1, STEPS + 1)) / (1 - beta)
    np.testing.assert_allclose(got, conds * (1 + factors[:, None, None, None]), rtol=1e-5)


@pytest.mark.parametrize("mix", [0.7, 1.0])
def test_rescaling_is_that_of_the_library_with_unbiased_deviations(mix):
    guided = UNCONDS + 5.0 * (CONDS - UNCONDS)
    deviation = lambda x: np.std(x, axis=(2, 3), keepdims=True, ddof=1)  # noqa: E731
    expected = mix * guided * deviation(CONDS) / deviation(guided) + (1 - mix) * guided
    got = predictions(chain(cfg(5.0), guidance.rescale_std(mix)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_rescaling_leaves_constant_predictions():
    flat = jnp.ones((1, 4))
    rule = chain(cfg(3.0), guidance.rescale_std(1.0))
    prediction = guide(rule, ((), ()), flat, 0.5 * flat, x=flat, t=0.5)[0]
    np.testing.assert_allclose(prediction, 2.0)
    grad = jax.grad(lambda c: jnp.sum(guide(rule, ((), ()), c, 0.5 * flat, x=flat, t=0.5)[0]))(flat)
    assert bool(jnp.all(jnp.isfinite(grad)))


def test_cosine_agreement_of_scaled_and_zero_predictions():
    a, b = ONE
    expected = [
        np.sum(x * y) / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(CONDS[0], UNCONDS[0], strict=True)
    ]
    np.testing.assert_allclose(guidance.cosine_agreement(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(guidance.cosine_agreement(3.0 * a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(guidance.cosine_agreement(a, 1e-20 * a), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(guidance.cosine_agreement(a, jnp.zeros_like(a)), 1.0)
    assert float(guidance.cosine_agreement(a, a).max()) <= 1.0


def test_bad_shapes():
    with pytest.raises(ValueError, match="same shape"):
        guidance.project_onto(jnp.ones((2, 3)), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="same shape"):
        guidance.cosine_agreement(jnp.ones((2, 3)), jnp.ones((3, 3)))
    with pytest.raises(TypeError, match="v must be floating"):
        guidance.project_onto(jnp.ones((2, 3), int), jnp.ones((2, 3)))
