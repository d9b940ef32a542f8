"""Optimisation inside a computation: inner loops on fixed data, boosting of units, and attacks on inputs."""

from jaxlab.optim.attacks import projected_gradient_attack
from jaxlab.optim.boosting import (
    BoostedFit,
    boosting_init,
    boosting_newton_step,
    fit_small_mlp,
    gradient_boosted_network,
)
from jaxlab.optim.curvature import fisher_diagonal
from jaxlab.optim.inner import Result, minimize
from jaxlab.optim.krylov import SolveInfo, gmres
from jaxlab.optim.recycling import Recycle, gcrodr, gcrodr_sequence

__all__ = [
    "BoostedFit",
    "Recycle",
    "Result",
    "SolveInfo",
    "boosting_init",
    "boosting_newton_step",
    "fisher_diagonal",
    "fit_small_mlp",
    "gcrodr",
    "gcrodr_sequence",
    "gmres",
    "gradient_boosted_network",
    "minimize",
    "projected_gradient_attack",
]
