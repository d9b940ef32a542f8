"""Optimisation inside a computation: inner loops on fixed data, boosting of units, and attacks on inputs."""

from jaxlab.optim.adaptation import DistanceState, dadapt_adamw, prodigy
from jaxlab.optim.alignment import hgp_alignment, hutchinson_alignment
from jaxlab.optim.attacks import distilled_features, projected_gradient_attack
from jaxlab.optim.boosting import (
    BoostedFit,
    boosting_init,
    boosting_newton_step,
    fit_small_mlp,
    gradient_boosted_network,
)
from jaxlab.optim.budget import lr_free_state, size_iteration_adjustment
from jaxlab.optim.curvature import (
    fisher_diagonal,
    hessian_gradient_product,
    hessian_top_eigenvalue,
    hessian_vector_product,
    hutchinson_diagonal,
    hutchinson_trace,
)
from jaxlab.optim.estimators import MecoState, meco_init, meco_surrogate
from jaxlab.optim.inner import EarlyStop, Result, early_stop_init, early_stop_update, minimize
from jaxlab.optim.krylov import SolveInfo, gmres
from jaxlab.optim.recycling import Recycle, gcrodr, gcrodr_sequence
from jaxlab.optim.replay import Trajectory, random_projection, record_trajectory, replay_order
from jaxlab.optim.sharpness import (
    GradientMoments,
    ascent_step,
    head_gradient_variance,
    input_sharpness_ascent,
    perturbed_gradient,
    udim_inconsistency,
)
from jaxlab.optim.surrogates import IgniteState, NormGradient, ignite_gradient, ignite_init, norm_gradient

__all__ = [
    "BoostedFit",
    "DistanceState",
    "EarlyStop",
    "GradientMoments",
    "IgniteState",
    "MecoState",
    "NormGradient",
    "Recycle",
    "Result",
    "SolveInfo",
    "Trajectory",
    "ascent_step",
    "boosting_init",
    "boosting_newton_step",
    "dadapt_adamw",
    "distilled_features",
    "early_stop_init",
    "early_stop_update",
    "fisher_diagonal",
    "fit_small_mlp",
    "gcrodr",
    "gcrodr_sequence",
    "gmres",
    "gradient_boosted_network",
    "head_gradient_variance",
    "hessian_gradient_product",
    "hessian_top_eigenvalue",
    "hessian_vector_product",
    "hgp_alignment",
    "hutchinson_alignment",
    "hutchinson_diagonal",
    "hutchinson_trace",
    "ignite_gradient",
    "ignite_init",
    "input_sharpness_ascent",
    "lr_free_state",
    "meco_init",
    "meco_surrogate",
    "minimize",
    "norm_gradient",
    "perturbed_gradient",
    "prodigy",
    "projected_gradient_attack",
    "random_projection",
    "record_trajectory",
    "replay_order",
    "size_iteration_adjustment",
    "udim_inconsistency",
]
