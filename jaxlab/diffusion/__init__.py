"""Diffusion and flow models: processes, one sampler and its steps, training targets, likelihood, particles.

Three choices make a sampler: a process, a step built for it, and a grid of times; one loop runs them all, with rules of
`jaxlab.guidance` if wanted. Time is 0 at the data and 1 at the noise; flows of tokens and blocks trained without
backpropagation count the other way.

- **Turning data into noise**: `vp` (DDPM, variance preserving), `sub_vp` (same mean, less variance),
  `ve` (data stay, noise explodes), `linear_flow` (straight paths: flow matching),
  `cosine_flow` (circular paths: cosine schedule); [6, 260]
- **Restoring what was degraded**: `mean_reverting` (data decay to the observation), `ou_ve` (pulled to it while noise
  explodes), `mr_solver` (few steps, orders up to 3), `lambda_grid` (times even in log signal-to-noise); [259, 266]
- **Drawing samples**: `sample` (the loop that runs every step), `time_grid` (its times, even or crowded)
- **Steps without noise**: `euler` (order 1, the simplest), `heun` (order 2, two calls a step),
  `ddim` (order 1, noise if asked for), `dpm_solver_pp` (order 2, one call a step); [35, 260]
- **Steps that draw noise**: `euler_maruyama` (reverse SDE, any noise level), `reverse_diffusion` (reverses the discrete
  forward kernel), `ancestral` (the chain of DDPM), `langevin` (corrects without moving in time),
  `predictor_corrector` (joins a corrector and a step); [6, 259, 260]
- **Filling in what is missing**: `inpaint` (a projection for the sampler); [260]
- **Editing what is there**: `flow_edit` (the whole edit, no inversion), `flow_edit_step` (for a loop of one's own); [1]
- **Sequences longer than the model takes**: `window_average` (calls the model per window), `blend_windows` (joins
  windows already computed), `crossfade_weights` (its weights, for soft seams); [1, 11]
- **Training a denoiser**: `denoising_loss` (any process and prediction), `flow_matching` (velocities of straight
  paths); [29, 260]
- **Training for guidance**: `condition_dropout` (one condition, or several together),
  `joint_condition_dropout` (text and image of an editor); [91]
- **Noise, score, data or velocity**: `convert` (one prediction into another), `KINDS` (the names it knows); [6]
- **Samples in one call**: `mean_flow_times` (stretches to train on), `mean_flow_target` (what to regress on),
  `mean_flow_guided_velocity` (trains guidance in), `mean_flow_sample` (one call per stretch); [7]
- **A model that remembers its path**: `sorted_times` (noise levels of training sequences), `same_class_batch` (their
  examples), `ar_flow_sample` (sampling with a memory); [9]
- **How likely data are**: `log_likelihood` (exact or estimated divergence), `bits_per_dim` (for comparing with papers),
  `solve_ode` (the solver underneath); [260]
- **Sampling the density that guidance promises**: `fkc_sample` (products and powers of densities),
  `fkc_anneal_coeffs` (lower temperatures), `fkc_log_weight` (weights in a loop of one's own), `ess` (how many particles
  count), `systematic_resample` (which particles survive); [67]
- **Token sequences**: `gumbel_interpolant` (noisy states to train on), `gumbel_tau` (their temperature),
  `gumbel_velocity` (where a state moves), `simplex_euler_sample` (sampling, guided or not); [16]
- **Spectrograms**: `spec_compress` (raises what is quiet), `spec_decompress` (its inverse); [259]
- **Training block by block, without backpropagation**: `noprop_schedule` (fixed noise levels), `noprop_noise` (learned
  ones), `noprop_noise_init` (their parameters), `noprop_step_coefficients` (the steps at inference); [29]

Types: `Process`, `Step`, `Moved`, `Sample`, `Likelihood`, `Particles`, `SimplexSample`, `NoPropSchedule`,
`NoPropSteps`, `NoPropNoise`.
"""

from jaxlab.diffusion.autoregressive import ar_flow_sample, same_class_batch, sorted_times
from jaxlab.diffusion.conversions import KINDS, convert
from jaxlab.diffusion.discrete import (
    SimplexSample,
    gumbel_interpolant,
    gumbel_tau,
    gumbel_velocity,
    simplex_euler_sample,
)
from jaxlab.diffusion.editing import flow_edit, flow_edit_step
from jaxlab.diffusion.likelihood import Likelihood, bits_per_dim, log_likelihood, solve_ode
from jaxlab.diffusion.mean_flow import (
    mean_flow_guided_velocity,
    mean_flow_sample,
    mean_flow_target,
    mean_flow_times,
)
from jaxlab.diffusion.mean_reversion import lambda_grid, mr_solver
from jaxlab.diffusion.noprop import (
    NoPropNoise,
    NoPropSchedule,
    NoPropSteps,
    noprop_noise,
    noprop_noise_init,
    noprop_schedule,
    noprop_step_coefficients,
)
from jaxlab.diffusion.objectives import condition_dropout, denoising_loss, flow_matching, joint_condition_dropout
from jaxlab.diffusion.particles import (
    Particles,
    ess,
    fkc_anneal_coeffs,
    fkc_log_weight,
    fkc_sample,
    systematic_resample,
)
from jaxlab.diffusion.processes import Process, cosine_flow, linear_flow, mean_reverting, ou_ve, sub_vp, ve, vp
from jaxlab.diffusion.sampling import Sample, inpaint, sample, time_grid
from jaxlab.diffusion.spectrograms import spec_compress, spec_decompress
from jaxlab.diffusion.steps import Moved, Step, ddim, dpm_solver_pp, euler, heun
from jaxlab.diffusion.stochastic import ancestral, euler_maruyama, langevin, predictor_corrector, reverse_diffusion
from jaxlab.diffusion.windows import blend_windows, crossfade_weights, window_average

__all__ = [
    "KINDS",
    "Likelihood",
    "Moved",
    "NoPropNoise",
    "NoPropSchedule",
    "NoPropSteps",
    "Particles",
    "Process",
    "Sample",
    "SimplexSample",
    "Step",
    "ancestral",
    "ar_flow_sample",
    "bits_per_dim",
    "blend_windows",
    "condition_dropout",
    "convert",
    "cosine_flow",
    "crossfade_weights",
    "ddim",
    "denoising_loss",
    "dpm_solver_pp",
    "ess",
    "euler",
    "euler_maruyama",
    "fkc_anneal_coeffs",
    "fkc_log_weight",
    "fkc_sample",
    "flow_edit",
    "flow_edit_step",
    "flow_matching",
    "gumbel_interpolant",
    "gumbel_tau",
    "gumbel_velocity",
    "heun",
    "inpaint",
    "joint_condition_dropout",
    "lambda_grid",
    "langevin",
    "linear_flow",
    "log_likelihood",
    "mean_flow_guided_velocity",
    "mean_flow_sample",
    "mean_flow_target",
    "mean_flow_times",
    "mean_reverting",
    "mr_solver",
    "noprop_noise",
    "noprop_noise_init",
    "noprop_schedule",
    "noprop_step_coefficients",
    "ou_ve",
    "predictor_corrector",
    "reverse_diffusion",
    "same_class_batch",
    "sample",
    "simplex_euler_sample",
    "solve_ode",
    "sorted_times",
    "spec_compress",
    "spec_decompress",
    "sub_vp",
    "systematic_resample",
    "time_grid",
    "ve",
    "vp",
    "window_average",
]
