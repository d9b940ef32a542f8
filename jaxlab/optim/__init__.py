"""Optimisation inside a computation: inner loops on fixed data, boosting of units, and attacks on inputs.

Most losses enter as functions from a pytree of parameters to a scalar, with the data inside; optimisers are those of
optax. Call what loops inside a `jit` of your own.

- **A fit on fixed data, start to end**: `minimize` (any optax optimiser, L-BFGS too), `early_stop_init` and
  `early_stop_update` (when a statistic stops improving); [121]
- **No learning rate to tune**: `prodigy` (Adam scaled by estimated distance), `dadapt_adamw` (by a lower bound of it),
  `lr_free_state` (the estimate it has reached); [30]
- **Model size against training tokens**: `size_iteration_adjustment` (one epoch, budget given); [159]
- **How curved a loss is**: `hessian_top_eigenvalue` (sharpness as one number), `hutchinson_trace` (the sum of all
  eigenvalues), `hutchinson_diagonal` (per parameter, from random signs), `hessian_vector_product` (exact, any vector),
  `hessian_gradient_product` (along its own gradient); [222, 235]
- **Which parameters a loss minds**: `fisher_diagonal` (squared gradients, never negative); [191, 215]
- **A flat minimum**: `perturbed_gradient` (sharpness-aware, or gradient norm penalised), `ascent_step` (its first half
  alone); [243, 244]
- **Several training domains**: `hgp_alignment` (Hessians along the gradient alike), `hutchinson_alignment` (Hessian
  diagonals alike); [222]
- **Domains that were never seen**: `input_sharpness_ascent` (moves inputs towards one), `head_gradient_variance` (how a
  head learns there), `udim_inconsistency` (penalty on the difference); [244]
- **Inputs that fool a network**: `projected_gradient_attack` (a larger loss nearby), `distilled_features` (another
  input's features, same looks); [229, 271]
- **A surrogate that will be searched**: `ignite_init` and `ignite_gradient` (bounded sharpness of its mean),
  `norm_gradient` (gradient of a gradient's length); [102]
- **A density without its normaliser**: `meco_init` and `meco_surrogate` (few noise draws a step); [234]
- **A network grown by boosting**: `gradient_boosted_network` (all stages in one call), `boosting_init`,
  `boosting_newton_step` and `fit_small_mlp` (the parts of a stage); [278]
- **Another order of the same batches**: `record_trajectory` (train once, keep every step), `replay_order` (estimated
  end of another order), `random_projection` (long vectors made short); [51]
- **Linear systems known by their products**: `gmres` (one system), `gcrodr` (hands its search space on),
  `gcrodr_sequence` (many alike systems, one loop); [287]

Types: `Result`, `EarlyStop`, `DistanceState`, `GradientMoments`, `IgniteState`, `NormGradient`, `MecoState`,
`BoostedFit`, `Trajectory`, `SolveInfo`, `Recycle`.
"""

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
