"""Diffusion and flow models: processes, one sampler and its steps, training targets, likelihood, particles.

- ``Process``: ``vp``, ``sub_vp``, ``ve``, ``ou_ve``, ``mean_reverting``, ``linear_flow``, ``cosine_flow``
- ``convert``: between noise, score, data and velocity predictions
- ``sample``, ``time_grid``, ``inpaint``: the loop
- ``Step``: ``euler``, ``heun``, ``ddim``, ``dpm_solver_pp``, ``euler_maruyama``, ``reverse_diffusion``, ``ancestral``,
  ``langevin``, ``predictor_corrector``; ``mr_solver`` and its times ``lambda_grid``
- ``denoising_loss``, ``flow_matching``, ``condition_dropout``, ``joint_condition_dropout``: training
- ``flow_edit``, ``flow_edit_step``: editing without inversion
- ``window_average``, ``blend_windows``, ``crossfade_weights``: long sequences by overlapping windows
- ``mean_flow_times``, ``mean_flow_guided_velocity``, ``mean_flow_target``, ``mean_flow_sample``: one call for a path
- ``sorted_times``, ``same_class_batch``, ``ar_flow_sample``: flows that see their own past
- ``log_likelihood``, ``bits_per_dim``, ``solve_ode``
- ``spec_compress``, ``spec_decompress``: spectrograms
- ``fkc_sample``, ``fkc_log_weight``, ``fkc_anneal_coeffs``, ``systematic_resample``, ``ess``: particles
- ``noprop_schedule``, ``noprop_step_coefficients``, ``noprop_noise``: labels denoised block by block
- ``gumbel_interpolant``, ``gumbel_velocity``, ``simplex_euler_sample``: flows of tokens on the simplex
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
