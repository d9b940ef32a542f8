"""Representations without labels: predictors that no gradient trains, and their dynamics."""

from jaxlab.selfsup.pairs import pair_logistic
from jaxlab.selfsup.predictors import (
    Correlation,
    LinearDynamics,
    byol_linear_dynamics,
    correlation_ema_init,
    correlation_ema_update,
    direct_copy,
    direct_pred_update,
)

__all__ = [
    "Correlation",
    "LinearDynamics",
    "byol_linear_dynamics",
    "correlation_ema_init",
    "correlation_ema_update",
    "direct_copy",
    "direct_pred_update",
    "pair_logistic",
]
