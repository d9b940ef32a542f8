"""Representations without labels: predictors that no gradient trains, and their dynamics.

Contrastive losses are elsewhere (`losses.info_nce` and those beside it), as are turned images (`vision.rotations`).

- **A predictor to set rather than to train, after every batch**: `direct_pred_update` (the eigenvalues reshaped),
  `direct_copy` (cheaper, without eigenvalues); [284]
- **The statistics that it is set from**: `correlation_ema_init`, `correlation_ema_update` (once per batch); [284]
- **Why features do not collapse without negatives**: `byol_linear_dynamics` (rates of a linear model, to integrate);
  [284]
- **Pairs that are known to belong together or not**: `pair_logistic` (one loss per pair); [46]

Types: `Correlation`, `LinearDynamics`.
"""

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
