"""Rows of jaxlab.diffusion."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import diffusion, guidance
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform

VP = diffusion.vp()
TS = np.array([0.9, 0.5, 0.1], np.float32)
UP = TS[::-1].copy()


def cond_fn(x, t):
    return -0.5 * x + jnp.sin(t)[:, None]


def uncond_fn(x, t):
    return 0.3 * jnp.cos(x) - t[:, None]


APG = guidance.chain(guidance.momentum(-0.5), guidance.clip_norm(1.0), guidance.project(0.0), guidance.cfg(3.0))


def sampled(step, **static):
    return Row(
        diffusion.sample,
        inputs(keys=prng(N), x_init=normal(N, D)),
        static={"ts": TS, "cond_fn": cond_fn, "step": step} | static,
        batch=("keys", "x_init"),
        couples=True,  # only the number of calls, which is a sum over the batch, does
        diff=("x_init",),
    )


def inpainting():
    return functools.partial(
        diffusion.inpaint, process=VP, data=np.ones((N, D), np.float32), known=np.arange(D) % 2 == 0
    )


def converted(kind_in, kind_out, process=VP):
    return Row(
        diffusion.convert,
        inputs(prediction=normal(N, D), x=normal(N, D), t=uniform(N, low=0.2, high=0.8)),
        static={"process": process, "kind_in": kind_in, "kind_out": kind_out},
        batch=("prediction", "x", "t"),
        diff=("prediction", "x"),
        bf16=("prediction", "x"),
    )


def denoised(**static):
    return Row(
        diffusion.denoising_loss,
        inputs(x0=normal(N, D), key=prng(), where=mask(N)),
        static={"model_fn": lambda x, t: jnp.sin(x) * t[:, None], "process": VP, "t_min": 0.1} | static,
        batch=("x0", "where"),
        diff=("x0",),
        skip={"permute": "times and noise are drawn by position in the batch"},
    )


def mean_velocity(z, r, t):
    return jnp.sin(z) * (t + r)[:, None] - r[:, None] ** 2


LIKELIHOOD = {"ts": UP, "process": VP, "model_fn": lambda x, t: -jnp.tanh(x) * t[:, None], "method": "heun"}
LOG_WEIGHTS = {"log_weights": normal(N)}

SPECTROGRAM = {
    "x": lambda rng: (rng.normal(size=(N, D)) + 1j * rng.normal(size=(N, D))).astype(np.complex64),
    "factor": uniform(low=0.1, high=0.2),
    "exponent": uniform(low=0.4, high=0.6),
}
VELOCITIES = {"v_src_fn": cond_fn, "v_tar_fn": uncond_fn}

ROWS = {
    "noprop_schedule": Row(diffusion.noprop_schedule, inputs(), static={"num_blocks": M}),
    "noprop_step_coefficients": Row(
        diffusion.noprop_step_coefficients,
        inputs(alpha=uniform(M, high=0.9), alpha_bar=uniform(M, high=0.9)),
        diff=("alpha", "alpha_bar"),
        bf16=("alpha", "alpha_bar"),
        skip={"zeros": "the square root of a share of 0 has no finite slope"},
    ),
    "noprop_noise_init": Row(diffusion.noprop_noise_init, inputs(key=prng()), static={"hidden": M}),
    "noprop_noise": Row(
        diffusion.noprop_noise,
        inputs(params=lambda rng: diffusion.noprop_noise_init(prng()(rng), hidden=M), t=uniform(N)),
        batch=("t",),
        diff=("params", "t"),
        bf16=("t",),
    ),
    "convert": converted("eps", "x0"),
    "convert/x0": converted("x0", "score"),
    "convert/v": converted("v", "eps", diffusion.linear_flow()),
    "convert/rotation": converted("rotation", "v", diffusion.cosine_flow()),
    "denoising_loss": denoised(),
    "denoising_loss/likelihood": denoised(kind="score", weighting="likelihood"),
    "denoising_loss/uniform": denoised(kind="v", weighting="uniform"),
    "flow_matching": Row(
        diffusion.flow_matching,
        inputs(prediction=normal(N, D), x0=normal(N, D), noise=normal(N, D), where=mask(N)),
        batch=("prediction", "x0", "noise", "where"),
        diff=("prediction", "x0"),
        bf16=("prediction", "x0", "noise"),
    ),
    "joint_condition_dropout": Row(
        diffusion.joint_condition_dropout, inputs(key=prng(), rate=uniform(low=0.1, high=0.3)), static={"batch": 40}
    ),
    "flow_edit": Row(
        diffusion.flow_edit,
        inputs(keys=prng(N), x_src=normal(N, D), omega=uniform(low=1.0, high=3.0)),
        static={"ts": TS, "num_average": 3, "num_worse": 1} | VELOCITIES,
        batch=("keys", "x_src"),
        couples=True,  # only the number of calls, which is a sum over the batch, does
        diff=("x_src", "omega"),
    ),
    "flow_edit_step": Row(
        diffusion.flow_edit_step,
        inputs(
            z=normal(N, D),
            x_src=normal(N, D),
            t=uniform(low=0.5),
            t_next=uniform(high=0.5),
            keys=prng(N),
            omega=uniform(N, low=1.0, high=3.0),
            mask=uniform(D),
        ),
        static={"num_average": 3, "num_worse": 1} | VELOCITIES,
        batch=("z", "x_src", "keys", "omega"),
        diff=("z", "x_src", "omega", "mask"),
    ),
    "blend_windows": Row(
        diffusion.blend_windows,
        inputs(chunks=normal(3, 4, D), weights=uniform(3, 4, low=0.1)),
        static={"starts": np.array([0, 2, 5]), "length": 9},
        diff=("chunks", "weights"),
        bf16=("chunks",),
    ),
    "blend_windows/circular": Row(
        diffusion.blend_windows,
        inputs(chunks=normal(3, 4, D), starts=integers(3, high=9)),
        static={"length": 9, "circular": True},
        diff=("chunks",),
        bf16=("chunks",),
    ),
    "crossfade_weights": Row(
        diffusion.crossfade_weights, inputs(), static={"starts": (0, 2, 5), "window": 4, "length": 9}
    ),
    "window_average": Row(
        diffusion.window_average,
        inputs(x=normal(9, D)),
        static={"fn": lambda x: jnp.cumsum(x, axis=0), "window": 4, "stride": 2},
        diff=("x",),
    ),
    "condition_dropout": Row(
        diffusion.condition_dropout,
        inputs(key=prng(), condition=normal(N, D)),
        static={"null": 0.0, "rate": 0.5},
        batch=("condition",),
        diff=("condition",),
        bf16=("condition",),
        skip={"permute": "who is dropped is drawn by position in the batch"},
    ),
    "sample": sampled(diffusion.euler(VP), uncond_fn=uncond_fn, rule=APG),
    "sample/heun": sampled(
        diffusion.heun(VP, kind="x0"),
        uncond_fn=uncond_fn,
        rule=guidance.chain(guidance.interval(0.0, 0.6), guidance.cfg(2.0)),
    ),
    "sample/ddim": sampled(diffusion.ddim(VP, eta=0.5), trajectory=True),
    "sample/dpm_solver_pp": sampled(diffusion.dpm_solver_pp(VP)),
    "sample/euler_maruyama": sampled(diffusion.euler_maruyama(VP), denoise=True),
    "sample/ancestral": sampled(diffusion.ancestral(VP), project=inpainting()),
    "sample/predictor_corrector": sampled(
        diffusion.predictor_corrector(diffusion.reverse_diffusion(VP), diffusion.langevin(VP))
    ),
    "sample/mr_solver": sampled(diffusion.mr_solver(VP, order=3, ts=TS)),
    "sample/mr_solver_sde": sampled(diffusion.mr_solver(VP, variant="sde", parameterization="noise")),
    "lambda_grid": Row(diffusion.lambda_grid, inputs(), static={"process": VP, "num_steps": 4}),
    "lambda_grid/karras": Row(diffusion.lambda_grid, inputs(), static={"process": VP, "num_steps": 4, "rho": 7.0}),
    "spec_compress": Row(diffusion.spec_compress, inputs(**SPECTROGRAM), batch=("x",)),
    "spec_decompress": Row(
        diffusion.spec_decompress, inputs(c=SPECTROGRAM["x"], factor=uniform(low=0.5, high=1.0)), batch=("c",), tol=1e-4
    ),
    "inpaint": Row(
        diffusion.inpaint,
        inputs(x=normal(N, D), t=uniform(), keys=prng(N), data=normal(N, D)),
        static={"process": VP, "known": np.arange(D) % 2 == 0},
        batch=("x", "keys", "data"),
        diff=("x", "data"),
        bf16=("x", "data"),
    ),
    "time_grid": Row(diffusion.time_grid, inputs(), static={"num_steps": 4}),
    "solve_ode": Row(
        diffusion.solve_ode,
        inputs(y=normal(N, D)),
        static={"velocity_fn": lambda y, t: jnp.cos(y) * t, "ts": UP},
        batch=("y",),
        diff=("y",),
    ),
    "solve_ode/dopri5": Row(
        diffusion.solve_ode,
        inputs(y=normal(N, D)),
        static={"velocity_fn": lambda y, t: jnp.cos(y) * t, "ts": TS, "method": "dopri5", "rtol": 1e-4, "atol": 1e-4},
        batch=("y",),
        couples=True,
        diff=("y",),
        tol=1e-3,
    ),
    "log_likelihood": Row(
        diffusion.log_likelihood,
        inputs(x=normal(N, D)),
        static=LIKELIHOOD,
        batch=("x",),
        diff=("x",),
    ),
    "log_likelihood/hutchinson": Row(
        diffusion.log_likelihood,
        inputs(x=normal(N, D), keys=prng(N)),
        static=LIKELIHOOD,
        batch=("x", "keys"),
        diff=("x",),
    ),
    "bits_per_dim": Row(
        diffusion.bits_per_dim,
        inputs(log_prob=normal(N)),
        static={"dim": D, "levels_per_unit": 128.0},
        batch=("log_prob",),
        diff=("log_prob",),
        bf16=("log_prob",),
    ),
    "mean_flow_times": Row(diffusion.mean_flow_times, inputs(key=prng(), flow_ratio=uniform()), static={"batch": N}),
    "mean_flow_guided_velocity": Row(
        diffusion.mean_flow_guided_velocity,
        inputs(v=normal(N, D), u_cond=normal(N, D), u_null=normal(N, D), w=uniform(), k=uniform(high=0.9)),
        batch=("v", "u_cond", "u_null"),
        bf16=("v", "u_cond", "u_null"),
    ),
    "mean_flow_target": Row(
        diffusion.mean_flow_target,
        inputs(z=normal(N, D), r=uniform(N, high=0.5), t=uniform(N, low=0.5), v=normal(N, D)),
        static={"u_fn": mean_velocity},
        batch=("z", "r", "t", "v"),
        diff=("z", "r", "t"),
    ),
    "mean_flow_sample": Row(
        diffusion.mean_flow_sample,
        inputs(x_init=normal(N, D)),
        static={"u_fn": mean_velocity, "ts": TS, "trajectory": True},
        batch=("x_init",),
        couples=True,  # only the number of calls has no batch axis
        diff=("x_init",),
    ),
    "ess": Row(diffusion.ess, inputs(**LOG_WEIGHTS), batch=("log_weights",), couples=True, diff=("log_weights",)),
    "systematic_resample": Row(
        diffusion.systematic_resample,
        inputs(key=prng(), **LOG_WEIGHTS),
        batch=("log_weights",),
        couples=True,
        skip={"permute": "the comb goes through the particles in their order"},
    ),
    "fkc_anneal_coeffs": Row(
        diffusion.fkc_anneal_coeffs,
        inputs(beta=uniform(N, low=0.5, high=3.0)),
        static={"a": 0.25},
        batch=("beta",),
        bf16=("beta",),
    ),
    "fkc_log_weight": Row(
        diffusion.fkc_log_weight,
        inputs(scores=normal(2, N, D), coeffs=normal(2), g2=uniform(low=0.5), div_f=normal(N)),
        diff=("scores", "coeffs", "g2"),
        bf16=("scores",),
    ),
    "fkc_sample": Row(
        diffusion.fkc_sample,
        inputs(key=prng(), x=normal(N, D), coeffs=normal(2)),
        static={"ts": TS, "score_fns": (cond_fn, uncond_fn), "process": VP},
        batch=("x",),
        couples=True,
        skip={"permute": "noise is drawn by position, and the comb goes through the particles in their order"},
    ),
    "fkc_sample/noise_scale": Row(
        diffusion.fkc_sample,
        inputs(key=prng(), x=normal(N, D), coeffs=normal(1), noise_scale=uniform()),
        static={"ts": TS, "score_fns": (cond_fn,), "process": VP},
        batch=("x",),
        couples=True,
        skip={"permute": "noise is drawn by position, and the comb goes through the particles in their order"},
    ),
    "gumbel_tau": Row(
        diffusion.gumbel_tau,
        inputs(t=uniform(N), tau_max=uniform(low=1.0, high=9.0), decay=uniform(low=1.0, high=4.0)),
        batch=("t",),
        diff=("t", "tau_max", "decay"),
        bf16=("t",),
    ),
    "gumbel_interpolant": Row(
        diffusion.gumbel_interpolant,
        inputs(key=prng(), labels=integers(N, M, high=C), t=uniform(N), noise_scale=uniform(low=0.2)),
        static={"num_classes": C},
        batch=("labels", "t"),
        diff=("t", "noise_scale"),
        bf16=("t",),
        skip={"permute": "noise is drawn by position in the batch"},
    ),
    "gumbel_velocity": Row(
        diffusion.gumbel_velocity,
        inputs(x=probabilities(N, M, C), probs=probabilities(N, M, C), t=uniform(N)),
        batch=("x", "probs", "t"),
        diff=("x", "probs", "t"),
        bf16=("x", "probs"),
    ),
    "gumbel_velocity/exact_path": Row(
        diffusion.gumbel_velocity,
        inputs(x=probabilities(N, M, C), probs=probabilities(N, M, C), t=uniform(N)),
        static={"exact_path": True},
        batch=("x", "probs", "t"),
        diff=("x",),
        bf16=("x",),
    ),
    "simplex_euler_sample": Row(
        diffusion.simplex_euler_sample,
        inputs(keys=prng(N)),
        static={
            "shape": (M, C),
            "denoiser": lambda x, t: jnp.cumsum(x, axis=1) - t[:, None, None],
            "num_steps": 3,
            "guide_fn": lambda key, logits: jnp.cos(logits) + jax.random.normal(key, logits.shape),
            "scale": 0.5,
        },
        batch=("keys",),
        couples=True,  # only the number of calls, which is the batch's, does
    ),
    "sorted_times": Row(diffusion.sorted_times, inputs(key=prng()), static={"batch": M, "length": D}),
    "same_class_batch": Row(
        diffusion.same_class_batch,
        inputs(key=prng(), labels=integers(N, high=2), where=mask(N)),
        static={"length": 2, "batch": M},
        batch=("labels", "where"),
        couples=True,
        skip={"permute": "the result is row numbers"},
    ),
    "ar_flow_sample": Row(
        diffusion.ar_flow_sample,
        inputs(keys=prng(N), x_init=normal(N, D), state=normal(N, D)),
        static={"ts": TS, "velocity_fn": lambda x, t, state: (jnp.tanh(x) * t[:, None] + state, 0.5 * state + x)},
        batch=("keys", "x_init", "state"),
        couples=True,  # only the number of calls does
        diff=("x_init", "state"),
    ),
}
