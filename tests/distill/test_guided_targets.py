"""Targets of guided students, against the formulas as printed and against samplers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion, distill, guidance
from tests.diffusion.mixtures import ONE, TWO, predictor

rng = np.random.default_rng(5)
Z = rng.normal(size=(5, 2)).astype(np.float32)
T = np.array([0.3, 0.45, 0.6, 0.8, 0.95], np.float32)
PROCESSES = {
    "vp": diffusion.vp(),
    "ve": diffusion.ve(sigma_min=0.1, sigma_max=4.0),
    "cosine": diffusion.cosine_flow(),
    "linear": diffusion.linear_flow(),
    "reverting": diffusion.mean_reverting(jnp.asarray(0.5 + Z)),
}


def ddim(z, x0, t, s, process):
    """alpha' x + (std' / std) (z - alpha x), in float64, the centre taken out and put back."""
    centre = np.zeros_like(z, np.float64) if process.center is None else np.asarray(process.center, np.float64)
    a, b, a_next, b_next = (np.asarray(f(u), np.float64)[:, None] for u in (t, s) for f in (process.alpha, process.std))
    z, x0 = np.asarray(z, np.float64) - centre, np.asarray(x0, np.float64) - centre
    return centre + a_next * x0 + b_next / b * (z - a * x0)


def inverted(z, z_end, t, end, process):
    """The data prediction that carries z to z_end in one step, as printed."""
    centre = 0.0 if process.center is None else np.asarray(process.center, np.float64)
    a, b, a_end, b_end = (np.asarray(f(u), np.float64)[:, None] for u in (t, end) for f in (process.alpha, process.std))
    return centre + (z_end - centre - b_end / b * (z - centre)) / (a_end - b_end / b * a)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("share", [0.5, 0.3])
def test_the_progressive_target_inverts_two_steps(name, share):
    process = PROCESSES[name]
    teacher = lambda z, t: jnp.sin(3.0 * z) + t[:, None]  # noqa: E731
    dt = np.array([0.1, 0.2, 0.25, 0.3, 0.4], np.float32)
    middle, end = T - share * dt, T - dt
    z1 = ddim(Z, teacher(Z, T), T, middle, process)
    z2 = ddim(z1, teacher(jnp.asarray(z1, jnp.float32), middle), middle, end, process)
    got = distill.progressive_target(Z, T, x0_fn=teacher, process=process, dt=dt, share=share)
    np.testing.assert_allclose(got, inverted(Z, z2, T, end, process), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(ddim(Z, got, T, end, process), z2, rtol=1e-4, atol=1e-5)
    # Not the first prediction, which one long step of the teacher would use.
    assert np.abs(got - teacher(Z, T)).max() > 0.01


def test_a_constant_teacher_is_returned_and_a_step_to_the_data_gives_its_last_word():
    process = diffusion.vp()
    constant = lambda z, t: jnp.full_like(z, 0.4)  # noqa: E731
    for dt in (1e-6, 0.2, 0.95):
        got = distill.progressive_target(Z, T, x0_fn=constant, process=process, dt=dt)
        np.testing.assert_allclose(got, 0.4, rtol=1e-6)
    teacher = lambda z, t: z * t[:, None]  # noqa: E731
    got = distill.progressive_target(Z, T, x0_fn=teacher, process=process, dt=T)
    z1 = ddim(Z, teacher(Z, T), T, T / 2, process)
    np.testing.assert_allclose(got, z1 * (T / 2)[:, None], rtol=1e-5, atol=1e-6)
    beyond = distill.progressive_target(Z, T, x0_fn=teacher, process=process, dt=5.0)
    np.testing.assert_allclose(beyond, got, rtol=1e-6)


def test_a_student_with_these_targets_samples_like_its_teacher_in_half_the_steps():
    process = diffusion.vp()
    teacher, step = predictor(TWO, process, "x0"), diffusion.ddim(process, kind="x0")
    fine = diffusion.time_grid(8, low=0.04)
    dt = float((fine[0] - fine[-1]) / 4)

    def student(z, t):
        return distill.progressive_target(z, t, x0_fn=teacher, process=process, dt=dt)

    @jax.jit
    def both(keys):
        draw = lambda ts, fn: diffusion.sample(keys, jnp.asarray(Z), ts, cond_fn=fn, step=step).x  # noqa: E731
        return draw(fine[::2], student), draw(fine, teacher), draw(fine[::2], teacher)

    short, long, plain = both(jax.random.split(jax.random.key(0), 5))
    np.testing.assert_allclose(short, long, atol=2e-5)
    assert np.abs(plain - long).max() > 1e-2


def test_targets_have_no_gradient():
    teacher = lambda w: lambda z, t: w * z  # noqa: E731

    def total(w):
        process = diffusion.vp()
        ts = jnp.array([0.9, 0.5, 0.2])
        step = diffusion.ddim(process, kind="x0")
        keys = jax.random.split(jax.random.key(0), 5)
        path = distill.guided_trajectory(keys, Z, w, ts=ts, cond_fn=teacher(w), uncond_fn=teacher(0.5), step=step)
        target = distill.progressive_target(Z, T, x0_fn=teacher(w), process=process, dt=0.1)
        return jnp.sum(target) + jnp.sum(path.guided) + jnp.sum(distill.cosine_gap_weight(w * path.x, path.guided))

    assert jax.jit(jax.grad(total))(2.0) == 0.0


def test_the_trajectory_holds_what_guidance_saw():
    process, scale = diffusion.vp(), jnp.array([1.0, 2.0, 3.0, 4.0, 7.5])
    cond, uncond = predictor(ONE, process, "eps"), predictor(TWO, process, "eps")
    step, ts = diffusion.ddim(process), diffusion.time_grid(6, low=0.05)
    keys = jax.random.split(jax.random.key(1), 5)

    @jax.jit
    def run(x):
        path = distill.guided_trajectory(keys, x, scale, ts=ts, cond_fn=cond, uncond_fn=uncond, step=step)
        end = diffusion.sample(keys, x, ts, cond_fn=cond, uncond_fn=uncond, rule=guidance.cfg(scale), step=step).x
        return path, end

    path, end = run(jnp.asarray(Z))
    assert path.x.shape == path.guided.shape == path.cond.shape == (6, 5, 2)
    np.testing.assert_array_equal(path.t, ts[:-1])
    np.testing.assert_array_equal(path.x[0], Z)
    for i in range(6):
        t = jnp.full(5, ts[i])
        c, u = np.asarray(cond(path.x[i], t)), np.asarray(uncond(path.x[i], t))
        np.testing.assert_allclose(path.cond[i], c, atol=1e-5)
        np.testing.assert_allclose(path.guided[i], u + np.asarray(scale)[:, None] * (c - u), rtol=1e-3, atol=1e-4)
        # The next state is the step that the recorded prediction makes.
        x0 = (path.x[i] - process.std(t)[:, None] * path.guided[i]) / process.alpha(t)[:, None]
        after = ddim(path.x[i], x0, t, jnp.full(5, ts[i + 1]), process)
        np.testing.assert_allclose(path.x[i + 1] if i < 5 else end, after, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(path.guided[:, 0], path.cond[:, 0])


def test_the_truncated_weight():
    alpha, std = jnp.array([0.3, 0.6, 0.9]), jnp.array([0.6, 0.6, 0.3])
    np.testing.assert_allclose(distill.truncated_snr_weight(alpha, std), [1, 1, 9], rtol=1e-6)
    assert jnp.isinf(distill.truncated_snr_weight(1.0, 0.0))
    times = jnp.linspace(0.01, 1.0, 50)
    process = diffusion.cosine_flow()
    weights = distill.truncated_snr_weight(process.alpha(times), process.std(times))
    np.testing.assert_allclose(weights, np.maximum(1 / np.tan(np.pi / 2 * np.asarray(times)) ** 2, 1.0), rtol=1e-4)


def test_the_cosine_gap_runs_from_agreement_to_opposition():
    c = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    g = jnp.array([[5.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(distill.cosine_gap_weight(c, g), [0.0, 0.5, 1.0, 0.5 * (1 - 0.5**0.5)], atol=1e-6)
    images = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    assert distill.cosine_gap_weight(images[0], images[1]).shape == (3,)


EDGES = jnp.array([0.75, 0.0, 0.5, 0.25])


def consistency(x, x_next, t, s, student, process=PROCESSES["linear"], **options):
    return distill.segment_consistency(x, x_next, t, s, student_fn=student, process=process, edges=EDGES, **options)


def test_segment_consistency_is_the_gap_between_two_jumps():
    process, student = diffusion.cosine_flow(), lambda x, t: jnp.tanh(x) * (1.0 + t[:, None])
    old = lambda x, t: 0.9 * student(x, t)  # noqa: E731
    times = [[0.9, 0.7, 0.5, 0.2, 1.0], [0.8, 0.6, 0.3, 0.1, 0.75], [0.75, 0.5, 0.25, 0.0, 0.75]]
    t, s, end = np.array(times, np.float32)
    x_next = Z + 0.1 * rng.normal(size=Z.shape).astype(np.float32)
    own = ddim(Z, student(Z, t), t, end, process)
    target = ddim(x_next, old(x_next, s), s, end, process)
    target[-1] = x_next[-1]  # the step ended at the edge: nothing is left to jump
    got = consistency(Z, x_next, t, s, student, process, target_fn=old)
    np.testing.assert_allclose(got, ((own - target) ** 2).mean(1), rtol=1e-4, atol=1e-6)


def test_a_point_mass_is_consistent_and_a_student_off_the_teacher_is_not():
    exact, process = (lambda x, t: jnp.full_like(x, 0.7)), PROCESSES["vp"]
    x_next = ddim(Z, np.full_like(Z, 0.7), T, T - 0.05, process).astype(np.float32)
    np.testing.assert_allclose(consistency(Z, x_next, T, T - 0.05, exact, process), 0.0, atol=1e-10)
    off = consistency(Z, x_next, T, T - 0.05, lambda x, t: exact(x, t) + 0.3, process)
    assert (off > 0).all()


def test_only_the_longer_jump_is_trained():
    """The gradient is that with the target held fixed."""
    student = lambda w: lambda x, t: w * x  # noqa: E731
    loss = lambda w, target: jnp.sum(consistency(Z, 0.9 * Z, 1.0, 0.9, student(w), target_fn=target))  # noqa: E731
    both = jax.jit(lambda w: (jax.grad(loss)(w, None), jax.grad(loss)(w, student(0.4)), loss(w, None)))
    own, fixed, value = both(0.4)
    np.testing.assert_allclose(own, fixed, rtol=1e-6)
    assert value > 1e-4


def test_steps_across_an_edge_and_below_all_of_them_are_loud_and_masked_rows_are_silent():
    t = jnp.array([0.9, 0.9, 0.5, 0.0, jnp.nan])
    s = jnp.array([0.8, 0.7, 0.5, 0.0, 0.1])
    zero = lambda x, t: 0.1 * x  # noqa: E731
    got = consistency(Z, Z, t, s, zero)
    np.testing.assert_array_equal(np.isnan(got), [False, True, True, True, True])
    where = jnp.array([True, False, False, False, False])
    grad = jax.grad(lambda x: jnp.sum(consistency(x, Z, t, s, zero, where=where)))(jnp.asarray(Z))
    assert np.isfinite(grad).all()
    assert np.abs(grad[0]).max() > 0


same = lambda x, t: x  # noqa: E731
LINEAR = PROCESSES["linear"]
TARGET = {"x0_fn": same, "process": LINEAR, "dt": 0.1}
JUMP = {"student_fn": same, "process": LINEAR, "edges": EDGES}
BAD = {
    "dt": (lambda: distill.progressive_target(Z, 0.5, **TARGET | {"dt": 0.0}), ValueError, "dt must be > 0"),
    "share": (lambda: distill.progressive_target(Z, 0.5, **TARGET, share=1.0), ValueError, "share must lie in (0, 1)"),
    "times": (lambda: distill.progressive_target(Z, jnp.ones(3), **TARGET), ValueError, "t must be a number or have"),
    "teacher": (
        lambda: distill.progressive_target(Z, 0.5, **TARGET | {"x0_fn": lambda x, t: x[:, :1]}),
        ValueError,
        "x0_fn must return shape [5, 2], got [5, 1]",
    ),
    "process": (lambda: distill.progressive_target(Z, 0.5, **TARGET | {"process": 1}), TypeError, "diffusion.Process"),
    "integers": (
        lambda: distill.progressive_target(jnp.arange(2), 0.5, **TARGET),
        TypeError,
        "z must be float",
    ),
    "weight": (lambda: distill.truncated_snr_weight(jnp.ones(2), jnp.ones(3)), ValueError, "must broadcast"),
    "gap": (lambda: distill.cosine_gap_weight(Z, Z[:3]), ValueError, "same shape"),
    "edges": (
        lambda: distill.segment_consistency(Z, Z, 0.5, 0.4, **JUMP | {"edges": 0.25}),
        ValueError,
        "edges must have shape [K]",
    ),
    "pair": (lambda: distill.segment_consistency(Z, Z[:2], 0.5, 0.4, **JUMP), ValueError, "x and x_next must have"),
    "next time": (lambda: distill.segment_consistency(Z, Z, 0.5, jnp.ones(2), **JUMP), ValueError, "t_next must be"),
    "where": (lambda: distill.segment_consistency(Z, Z, 0.5, 0.4, **JUMP, where=jnp.ones(5)), TypeError, "where"),
    "step": (
        lambda: distill.guided_trajectory(
            jax.random.split(jax.random.key(0), 5), Z, 1.0, ts=T, cond_fn=same, uncond_fn=same, step=None
        ),
        TypeError,
        "step must be a diffusion.Step",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
