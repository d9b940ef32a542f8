"""The sampler's promises: one key per sample, skipped calls, honest counts, guidance in the loop."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion, guidance
from jaxlab.diffusion import sample, time_grid
from jaxlab.guidance import adaptive, cfg, chain, interval
from tests.diffusion import mixtures

B, STEPS = 6, 8
VP = diffusion.vp()
KEYS = jax.random.split(jax.random.key(7), B)
X = jax.random.normal(jax.random.key(8), (B, 2))
TS = time_grid(STEPS, high=0.9, low=0.1)
COND, UNCOND = mixtures.predictor(mixtures.ONE, VP, "eps"), mixtures.predictor(mixtures.TWO, VP, "eps")
APG = chain(guidance.momentum(-0.5), guidance.clip_norm(0.5), guidance.project(0.0), cfg(4.0))
GIVEN = {"cond_fn": COND, "uncond_fn": UNCOND, "step": diffusion.euler(VP)}


def as_data(prediction, x, t):
    return diffusion.convert(prediction, x, t, process=VP, kind_in="eps", kind_out="x0")


LATCHED = chain(adaptive(0.9, space=as_data), guidance.momentum(-0.2), cfg(2.0))
STEPPERS = {
    "euler": diffusion.euler(VP),
    "heun": diffusion.heun(VP),
    "dpm_solver_pp": diffusion.dpm_solver_pp(VP),
    "ddim": diffusion.ddim(VP, eta=1.0),
    "corrected": diffusion.predictor_corrector(
        diffusion.reverse_diffusion(VP, kind="eps"), diffusion.langevin(VP, kind="eps")
    ),
}


@pytest.mark.parametrize("name", STEPPERS)
def test_a_sample_does_not_change_with_its_batch(name):
    order = jnp.array([4, 0, 5, 2, 1, 3])

    @jax.jit
    def run(keys, x):
        given = GIVEN | {"step": STEPPERS[name]}
        whole, turned = sample(keys, x, TS, rule=APG, **given), sample(keys[order], x[order], TS, rule=APG, **given)
        return whole, turned, sample(keys[3:4], x[3:4], TS, rule=APG, **given)

    whole, turned, alone = run(KEYS, X)
    np.testing.assert_allclose(turned.x, whole.x[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alone.x[0], whole.x[3], rtol=1e-5, atol=1e-6)


def test_neither_does_what_a_latched_rule_needs():
    run = jax.jit(lambda keys, x: sample(keys, x, TS, rule=LATCHED, **GIVEN))
    whole = run(KEYS, X)
    counts = np.asarray(whole.evaluations)
    assert len(set(counts.tolist())) > 2
    assert counts.min() < int(whole.calls) == counts.max()
    order = jnp.array([4, 0, 5, 2, 1, 3])
    turned = run(KEYS[order], X[order])
    np.testing.assert_array_equal(turned.evaluations, counts[order])
    np.testing.assert_allclose(turned.x, whole.x[order], rtol=1e-5, atol=1e-6)
    for row in (0, 1):
        alone = run(KEYS[row : row + 1], X[row : row + 1])
        np.testing.assert_allclose(alone.x[0], whole.x[row], rtol=1e-5, atol=1e-6)
        assert int(alone.calls) == int(alone.evaluations[0]) == counts[row]  # alone, it pays for what it needs


def test_guided_loop_is_the_plain_loop():
    """APG in a probability-flow Euler sampler, written out in numpy."""
    got = sample(KEYS, X, TS, rule=APG, **GIVEN)
    x, running = np.asarray(X, np.float64), np.zeros((B, 2))
    times = np.asarray(TS, np.float64)
    for t, t_next in itertools.pairwise(times):
        at = jnp.full(B, t, jnp.float32)
        c, u = (np.asarray(fn(jnp.asarray(x, jnp.float32), at), np.float64) for fn in (COND, UNCOND))
        running = c - u - 0.5 * running
        length = np.linalg.norm(running, axis=1, keepdims=True)
        d = running * np.minimum(1.0, 0.5 / length)
        unit = c / np.linalg.norm(c, axis=1, keepdims=True)
        d = d - np.sum(d * unit, axis=1, keepdims=True) * unit
        eps = c + 3.0 * d
        beta, std = 0.1 + t * 19.9, float(VP.std(t))
        x = x + (t_next - t) * (-0.5 * beta * x + 0.5 * beta * eps / std)
    np.testing.assert_allclose(got.x, x, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(got.evaluations, 2 * STEPS)


def counted(calls):
    def uncond_fn(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return UNCOND(x, t)

    return uncond_fn


def test_calls_outside_an_interval_are_not_made():
    calls = []
    rule = chain(interval(0.3, 0.6), cfg(4.0))
    given = GIVEN | {"uncond_fn": counted(calls), "rule": rule}
    result = jax.jit(lambda keys, x: sample(keys, x, TS, **given))(KEYS, X)
    jax.effects_barrier()
    inside = int(np.sum((np.asarray(TS[:-1]) >= 0.3) & (np.asarray(TS[:-1]) <= 0.6)))
    assert 0 < inside < STEPS
    assert len(calls) == inside
    assert int(result.calls) == STEPS + inside
    np.testing.assert_array_equal(result.evaluations, STEPS + inside)


def test_latched_calls_are_not_made_once_all_have_latched():
    calls = []
    given = GIVEN | {"uncond_fn": counted(calls), "rule": LATCHED}
    early = jnp.array([1, 5])
    result = jax.jit(lambda keys, x: sample(keys, x, TS, **given))(KEYS[early], X[early])
    jax.effects_barrier()
    assert len(calls) == int(result.calls) - STEPS == int(result.evaluations.max()) - STEPS
    assert len(calls) < STEPS


def test_linear_ag_saves_the_calls_it_promises():
    calls, steps = [], 20
    ts = time_grid(steps, high=0.9, low=0.1)
    path = sample(KEYS, X, ts, rule=cfg(3.0), trajectory=True, **GIVEN).trajectory
    at = jax.vmap(lambda x, t: (COND(x, jnp.full(B, t)), UNCOND(x, jnp.full(B, t))), out_axes=1)
    coeffs = guidance.linear_ag_fit(*at(path[:-1], ts[:-1]))
    given = GIVEN | {"uncond_fn": counted(calls), "rule": chain(guidance.linear_ag(coeffs), cfg(3.0))}
    result = jax.jit(lambda keys, x: sample(keys, x, ts, **given))(KEYS, X)
    jax.effects_barrier()
    assert len(calls) == 5
    np.testing.assert_array_equal(result.evaluations, 25)
    full = sample(KEYS, X, ts, rule=chain(interval(float(ts[9]), 1.0), cfg(3.0)), **GIVEN)
    skipped = chain(interval(float(ts[9]), 1.0), guidance.schedule(lambda c: c.step % 2 == 0), cfg(3.0))
    without = sample(KEYS, X, ts, rule=skipped, **GIVEN)
    assert float(jnp.abs(result.x - full.x).mean()) < 0.2 * float(jnp.abs(without.x - full.x).mean())


def test_heun_counts_both_calls_and_moves_memory_once():
    seen = []

    def update(direction, state, context):
        jax.debug.callback(lambda s: seen.append(int(s)), state)
        return direction, state + 1

    rule = chain(guidance.Rule(lambda x: jnp.zeros((), jnp.int32), update), cfg(2.0))
    result = sample(KEYS, X, time_grid(3, high=0.9, low=0.1), rule=rule, **(GIVEN | {"step": diffusion.heun(VP)}))
    jax.effects_barrier()
    assert seen == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(result.evaluations, 12)


def test_declared_costs():
    rule = chain(interval(0.5, 1.0), cfg(2.0))
    result = sample(KEYS, X, TS, rule=rule, cond_cost=3, uncond_cost=2, **GIVEN)
    inside = int(np.sum(np.asarray(TS[:-1]) >= 0.5))
    assert int(result.calls) == 3 * STEPS + 2 * inside
    plain = sample(KEYS, X, TS, cond_fn=COND, step=GIVEN["step"])
    assert int(plain.calls) == STEPS


def test_no_rule_is_the_conditional_model():
    plain = sample(KEYS, X, TS, cond_fn=COND, step=GIVEN["step"])
    for given in (GIVEN, GIVEN | {"rule": chain(guidance.momentum(-0.5), cfg(1.0))}):
        np.testing.assert_array_equal(sample(KEYS, X, TS, **given).x, plain.x)


def test_sweeps_over_scales_by_vmap():
    def run(w):
        return sample(KEYS, X, TS, rule=chain(guidance.momentum(-0.5), guidance.project(0.0), cfg(w)), **GIVEN).x

    scales = jnp.array([1.0, 3.0])
    np.testing.assert_allclose(jax.vmap(run)(scales), jnp.stack([run(w) for w in scales]), rtol=1e-4, atol=1e-5)
    by_map = jax.lax.map(lambda g: sample(KEYS, X, TS, rule=chain(adaptive(g), cfg(3.0)), **GIVEN).calls, scales - 2.0)
    assert by_map.tolist() == [STEPS + 1, 2 * STEPS]


def test_extras_and_a_reference_that_depends_on_the_condition():
    def update(direction, state, context):
        return direction + context.extras["base"] - context.uncond, state

    damped = guidance.Rule(lambda x: (), update)

    def uncond_fn(x, t, cond):
        return UNCOND(x, t), {"base": 0.5 * cond}

    given = {"cond_fn": COND, "step": GIVEN["step"]}
    rule = chain(interval(0.3, 1.0), cfg(2.0), damped)
    got = sample(KEYS, X, TS, uncond_fn=uncond_fn, rule=rule, uncond_takes_cond=True, uncond_cost=2, **given)

    def by_hand(x, t):
        c, u = COND(x, t), UNCOND(x, t)
        return jnp.where(t[:, None] >= 0.3, 0.5 * c + 2.0 * (c - u), c)

    np.testing.assert_allclose(got.x, sample(KEYS, X, TS, **given | {"cond_fn": by_hand}).x, rtol=1e-4, atol=1e-5)


def test_trajectory_and_denoise():
    step = diffusion.euler_maruyama(VP, kind="eps")
    full = sample(KEYS, X, TS, cond_fn=COND, step=step, trajectory=True)
    assert full.trajectory.shape == (STEPS + 1, B, 2)
    np.testing.assert_array_equal(full.trajectory[0], X)
    np.testing.assert_array_equal(full.trajectory[-1], full.x)
    short = sample(KEYS, X, TS[: STEPS // 2 + 1], cond_fn=COND, step=step)
    np.testing.assert_allclose(short.x, full.trajectory[STEPS // 2], rtol=1e-5, atol=1e-6)
    clean = sample(KEYS, X, TS, cond_fn=COND, step=step, denoise=True).x
    variance = float((VP.diffusion(TS[-2]) ** 2) * (TS[-2] - TS[-1]))
    assert 0.2 * variance < float(jnp.mean((clean - full.x) ** 2)) < 3 * variance


def test_dtype_and_shape_are_those_of_the_start():
    seen = []

    def cond_fn(x, t):
        seen.append((x.dtype, t.shape, t.dtype))
        return -x

    start = jnp.ones((B, 2, 3), jnp.bfloat16)
    result = sample(KEYS, start, TS, cond_fn=cond_fn, step=diffusion.euler(VP))
    assert result.x.dtype == jnp.bfloat16
    assert result.x.shape == start.shape
    assert set(seen) == {(jnp.dtype(jnp.bfloat16), (B,), jnp.dtype(jnp.float32))}


def test_a_score_that_is_not_finite_spoils_its_own_sample_only():
    bad = lambda x, t: COND(x, t).at[2].set(jnp.nan)  # noqa: E731
    got = sample(KEYS, X, TS, rule=LATCHED, **GIVEN | {"cond_fn": bad}).x
    want = sample(KEYS, X, TS, rule=LATCHED, **GIVEN).x
    keep = jnp.array([0, 1, 3, 4, 5])
    np.testing.assert_allclose(got[keep], want[keep], rtol=1e-5, atol=1e-6)
    assert bool(jnp.all(jnp.isnan(got[2])))


def test_gradients_flow_through_the_loop():
    total = jax.jit(jax.value_and_grad(lambda x: jnp.sum(sample(KEYS, x, TS, rule=APG, **GIVEN).x ** 2)))
    eps = 1e-2
    above, below = (total(X.at[1, 0].add(sign * eps))[0] for sign in (1, -1))
    np.testing.assert_allclose(total(X)[1][1, 0], (above - below) / (2 * eps), rtol=0.05)


# Inpainting


def test_inpainting_draws_the_kernel_where_known_and_nothing_elsewhere():
    keys = jax.random.split(jax.random.key(9), 20_000)
    x, data = jnp.zeros((20_000, 2)), jnp.tile(jnp.array([[2.0, jnp.nan]]), (20_000, 1))
    got = diffusion.inpaint(x, 0.3, keys, process=VP, data=data, known=jnp.array([True, False]))
    np.testing.assert_array_equal(got[:, 1], 0.0)
    np.testing.assert_allclose(got[:, 0].mean(), 2.0 * VP.alpha(0.3), atol=0.03)
    np.testing.assert_allclose(got[:, 0].std(), VP.std(0.3), rtol=0.03)
    centre = jnp.ones((20_000, 2))
    process = diffusion.ou_ve(centre)
    got = diffusion.inpaint(x, 0.5, keys, process=process, data=data, known=jnp.array([True, False]))
    np.testing.assert_allclose(got[:, 0].mean(), 1 + float(process.alpha(0.5)), atol=0.02)


def test_inpainting_samples_the_conditional_distribution():
    """The unknown coordinate of a correlated Gaussian, given the known one."""
    count, rho = 2000, 0.8

    def score(x, t):
        off = rho * VP.alpha(t[0]) ** 2  # the covariance at t is [[1, off], [off, 1]]
        return -(x - off * x[:, ::-1]) / (1.0 - off**2)

    keys = jax.random.split(jax.random.key(10), count)
    data = jnp.tile(jnp.array([[1.5, 0.0]]), (count, 1))
    project = functools.partial(diffusion.inpaint, process=VP, data=data, known=jnp.array([True, False]))
    step = diffusion.predictor_corrector(
        diffusion.reverse_diffusion(VP), diffusion.langevin(VP, snr=0.3, num_steps=2), project=project
    )
    given = {"cond_fn": score, "step": step, "project": project, "denoise": True}
    x = jax.jit(lambda k, x: sample(k, x, time_grid(150), **given).x)(keys, VP.prior_sample(keys, (2,)))
    np.testing.assert_allclose(x[:, 0], 1.5, atol=0.15)
    # Replacement is only approximately conditional: the mean is close, and far from the unconditional 0.
    np.testing.assert_allclose(x[:, 1].mean(), rho * 1.5, atol=0.25)


def test_the_mean_of_an_inpainted_sample_holds_what_is_known():
    """Above time 0 the sample is noisy there, the mean is not."""
    data, ts = jnp.full((B, 2), 5.0), jnp.linspace(1.0, 0.1, 6)
    project = functools.partial(diffusion.inpaint, process=VP, data=data, known=jnp.array([True, False]))
    run = functools.partial(sample, KEYS, X, ts, cond_fn=lambda x, t: -x, step=diffusion.reverse_diffusion(VP))
    mean, noisy = (run(project=project, denoise=denoise).x for denoise in (True, False))
    np.testing.assert_allclose(mean[:, 0], 5.0 * VP.alpha(0.1), rtol=1e-6)
    assert float(jnp.abs(noisy[:, 0] - mean[:, 0]).min()) > 1e-3


def test_inpainting_in_another_basis_holds_the_sum():
    turn = jnp.array([[1.0, 1.0], [1.0, -1.0]]) / jnp.sqrt(2.0)
    basis = (lambda z: z @ turn.T, lambda z: z @ turn)
    data = jnp.full((B, 2), 3.0)
    got = diffusion.inpaint(X, 0.0, KEYS, process=VP, data=data, known=jnp.array([True, False]), basis=basis)
    np.testing.assert_allclose(got.sum(1), 6.0, rtol=1e-5)
    np.testing.assert_allclose(got[:, 0] - got[:, 1], X[:, 0] - X[:, 1], rtol=1e-4, atol=1e-5)


# Grids and bad input


def test_time_grids():
    np.testing.assert_allclose(time_grid(4, low=0.2), [1.0, 0.8, 0.6, 0.4, 0.2], rtol=1e-6)
    edm = time_grid(31, high=80.0, low=0.002, rho=7.0)
    i = np.arange(32) / 31
    np.testing.assert_allclose(edm, (80 ** (1 / 7) + i * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7, rtol=1e-4)
    assert float(time_grid(3, low=0.0)[-1]) == 0.0


RUN = functools.partial(sample, cond_fn=COND, step=diffusion.euler(VP))
BAD = {
    "one key": (lambda: RUN(jax.random.key(0), X, TS), ValueError, "keys must have shape [6]"),
    "too few keys": (lambda: RUN(KEYS[:2], X, TS), ValueError, "keys must have shape [6]"),
    "raw keys": (lambda: RUN(jax.random.key_data(KEYS), X, TS), ValueError, "keys must have shape [6]"),
    "numbers": (lambda: RUN(jnp.arange(B), X, TS), TypeError, "typed keys"),
    "equal times": (lambda: RUN(KEYS, X, jnp.array([1.0, 0.5, 0.5])), ValueError, "strictly"),
    "zigzag": (lambda: RUN(KEYS, X, jnp.array([1.0, 0.5, 0.7])), ValueError, "strictly"),
    "NaN time": (lambda: RUN(KEYS, X, jnp.array([1.0, jnp.nan, 0.5])), ValueError, "strictly"),
    "one time": (lambda: RUN(KEYS, X, jnp.array([1.0])), ValueError, "at least two times"),
    "grid shape": (lambda: RUN(KEYS, X, jnp.ones((2, 2))), ValueError, "ts must have shape"),
    "integer times": (lambda: RUN(KEYS, X, jnp.array([2, 1])), TypeError, "ts must be floating"),
    "empty batch": (lambda: RUN(KEYS[:0], X[:0], TS), ValueError, "B >= 1"),
    "integers": (lambda: RUN(KEYS, X.astype(int), TS), TypeError, "x_init must be floating"),
    "rule alone": (lambda: RUN(KEYS, X, TS, rule=cfg(2.0)), ValueError, "needs an uncond_fn"),
    "no cfg": (
        lambda: RUN(KEYS, X, TS, uncond_fn=UNCOND, rule=guidance.momentum(0.1)),
        ValueError,
        "exactly one cfg",
    ),
    "not a rule": (lambda: RUN(KEYS, X, TS, uncond_fn=UNCOND, rule=2.0), TypeError, "guidance.Rule"),
    "scales": (
        lambda: RUN(KEYS, X, TS, uncond_fn=UNCOND, rule=cfg(jnp.ones(4))),
        ValueError,
        "scale must be a number or have shape [6]",
    ),
    "step": (lambda: sample(KEYS, X, TS, cond_fn=COND, step=VP), TypeError, "step must be a diffusion.Step"),
    "model shape": (
        lambda: sample(KEYS, X, TS, cond_fn=lambda x, t: x[:, :1], step=diffusion.euler(VP)),
        ValueError,
        "cond_fn must return shape",
    ),
    "uncond shape": (
        lambda: RUN(KEYS, X, TS, uncond_fn=lambda x, t: x[:1], rule=cfg(2.0)),
        ValueError,
        "uncond_fn must return shape",
    ),
    "cost": (lambda: RUN(KEYS, X, TS, cond_cost=-1), ValueError, "cond_cost must be at least 0"),
    "grid": (lambda: time_grid(0), ValueError, "num_steps must be at least 1"),
    "grid ends": (lambda: time_grid(4, high=0.1, low=0.2), ValueError, "0 <= low < high"),
    "known": (
        lambda: diffusion.inpaint(X, 0.3, KEYS, process=VP, data=X, known=jnp.ones(3, bool)),
        ValueError,
        "known must broadcast",
    ),
    "known dtype": (
        lambda: diffusion.inpaint(X, 0.3, KEYS, process=VP, data=X, known=jnp.ones(2)),
        TypeError,
        "known must be boolean",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
