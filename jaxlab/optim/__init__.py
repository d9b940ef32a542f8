"""Optimisation inside a computation: inner loops on fixed data, boosting of units, and attacks on inputs."""

from jaxlab.optim.adaptation import DistanceState, dadapt_adamw, prodigy
from jaxlab.optim.attacks import projected_gradient_attack
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
    hessian_top_eigenvalue,
    hessian_vector_product,
    hutchinson_diagonal,
    hutchinson_trace,
)
from jaxlab.optim.inner import EarlyStop, Result, early_stop_init, early_stop_update, minimize
from jaxlab.optim.krylov import SolveInfo, gmres
from jaxlab.optim.recycling import Recycle, gcrodr, gcrodr_sequence
from jaxlab.optim.replay import Trajectory, random_projection, record_trajectory, replay_order

__all__ = [
    "BoostedFit",
    "DistanceState",
    "EarlyStop",
    "Recycle",
    "Result",
    "SolveInfo",
    "Trajectory",
    "boosting_init",
    "boosting_newton_step",
    "dadapt_adamw",
    "early_stop_init",
    "early_stop_update",
    "fisher_diagonal",
    "fit_small_mlp",
    "gcrodr",
    "gcrodr_sequence",
    "gmres",
    "gradient_boosted_network",
    "hessian_top_eigenvalue",
    "hessian_vector_product",
    "hutchinson_diagonal",
    "hutchinson_trace",
    "lr_free_state",
    "minimize",
    "prodigy",
    "projected_gradient_attack",
    "random_projection",
    "record_trajectory",
    "replay_order",
    "size_iteration_adjustment",
]
