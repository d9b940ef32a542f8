"""Optimisation inside a computation: inner loops on fixed data, and attacks on inputs."""

from jaxlab.optim.attacks import projected_gradient_attack
from jaxlab.optim.curvature import fisher_diagonal
from jaxlab.optim.inner import Result, minimize

__all__ = [
    "Result",
    "fisher_diagonal",
    "minimize",
    "projected_gradient_attack",
]
