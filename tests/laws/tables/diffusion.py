"""Rows of jaxlab.diffusion."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxlab import diffusion, guidance
from tests.laws.row import D, N, Row, inputs, mask, normal, prng, uniform

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


LIKELIHOOD = {"ts": UP, "process": VP, "model_fn": lambda x, t: -jnp.tanh(x) * t[:, None], "method": "heun"}
LOG_WEIGHTS = {"log_weights": normal(N)}

ROWS = {
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
}
