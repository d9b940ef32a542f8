"""Diffusion and flow models: processes, one sampler and its steps, training targets, likelihood, particles.

- ``Process``: ``vp``, ``sub_vp``, ``ve``, ``ou_ve``, ``mean_reverting``, ``linear_flow``, ``cosine_flow``
- ``convert``: between noise, score, data and velocity predictions
- ``sample``, ``time_grid``, ``inpaint``: the loop
- ``Step``: ``euler``, ``heun``, ``ddim``, ``dpm_solver_pp``, ``euler_maruyama``, ``reverse_diffusion``, ``ancestral``,
  ``langevin``, ``predictor_corrector``
- ``denoising_loss``, ``flow_matching``, ``condition_dropout``: training
- ``log_likelihood``, ``bits_per_dim``, ``solve_ode``
- ``fkc_sample``, ``fkc_log_weight``, ``fkc_anneal_coeffs``, ``systematic_resample``, ``ess``: particles
"""

from jaxlab.diffusion.conversions import KINDS, convert
from jaxlab.diffusion.likelihood import Likelihood, bits_per_dim, log_likelihood, solve_ode
from jaxlab.diffusion.objectives import condition_dropout, denoising_loss, flow_matching
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
from jaxlab.diffusion.steps import Moved, Step, ddim, dpm_solver_pp, euler, heun
from jaxlab.diffusion.stochastic import ancestral, euler_maruyama, langevin, predictor_corrector, reverse_diffusion

__all__ = [
    "KINDS",
    "Likelihood",
    "Moved",
    "Particles",
    "Process",
    "Sample",
    "Step",
    "ancestral",
    "bits_per_dim",
    "condition_dropout",
    "convert",
    "cosine_flow",
    "ddim",
    "denoising_loss",
    "dpm_solver_pp",
    "ess",
    "euler",
    "euler_maruyama",
    "fkc_anneal_coeffs",
    "fkc_log_weight",
    "fkc_sample",
    "flow_matching",
    "heun",
    "inpaint",
    "langevin",
    "linear_flow",
    "log_likelihood",
    "mean_reverting",
    "ou_ve",
    "predictor_corrector",
    "reverse_diffusion",
    "sample",
    "solve_ode",
    "sub_vp",
    "systematic_resample",
    "time_grid",
    "ve",
    "vp",
]
