"""Neural architecture search without training, and searches over policies.

Scores take an untrained network as `apply_fn(params, x)`, or what it computes on one batch, and larger is better
unless the docstring says otherwise. Searches take integers that number or encode the architectures.

- **A guess of accuracy from how inputs are told apart**: `activation_code_logdet` (ReLU patterns, NASWOT),
  `relu_input_logdet` (what enters the ReLUs instead), `jacobian_covariance` (input gradients of all examples),
  `input_jacobian` (those gradients themselves), `correlation_logdet` (any rows that should differ); [25, 34, 48]
- **A guess from the weights and their gradients**: `saliency_scores` (gradient norm, SNIP, GraSP and others),
  `log_synflow` (no data needed, any depth), `tangent_scores` (tangent kernel: size and condition); [25]
- **The same for recurrent networks and transformers**: `hidden_covariance` (hidden states of a layer),
  `cosine_jacobian_score` (angles between examples' gradients), `attention_confidence` (how peaked the heads are),
  `synaptic_diversity` (nuclear norms, weights and gradients); [34]
- **A student that its teacher will distil well**: `diswot_score` (relations alike before any training); [48]
- **Several scores, and a few real evaluations**: `robot_init` (room for a budget), `robot_propose` (weights and
  architecture to try), `robot_update` (what it was worth), `robot_exploit` (the final picks), `gaussian_process` (the
  model behind the proposals); [25]
- **The best of a space too large to list**: `evolve` (genetic, with any fitness); [48, 180, 211]
- **One super-network for all sizes**: `slice_subnetwork` (small arrays, for use), `mask_subnetwork` (one program, for
  training), `sandwich_sample` (which to train this step), `partition_space` (sub-spaces of similar cost); [180]
- **An ensemble out of one super-network**: `operator_scores` (good and diverse operators), `shrink` (drops the worst of
  them), `shared_stem_ensemble` (first layers computed once); [211]
- **Guidance only at the steps that need it**: `soft_guidance_policy` (the mixture to train), `expected_policy_cost`
  (its price in the loss), `discrete_policy` (the choices it ends with); [0]

Types: `TangentScores`, `DiswotScore`, `RobotState`, `GaussianProcess`, `Evolution`.
"""

from jaxlab.nas.bayesian import (
    GaussianProcess,
    RobotState,
    gaussian_process,
    robot_exploit,
    robot_init,
    robot_propose,
    robot_update,
)
from jaxlab.nas.evolution import Evolution, evolve
from jaxlab.nas.policy import discrete_policy, expected_policy_cost, soft_guidance_policy
from jaxlab.nas.proxies import (
    TangentScores,
    activation_code_logdet,
    correlation_logdet,
    input_jacobian,
    jacobian_covariance,
    relu_input_logdet,
    tangent_scores,
)
from jaxlab.nas.recurrent import (
    attention_confidence,
    cosine_jacobian_score,
    hidden_covariance,
    synaptic_diversity,
)
from jaxlab.nas.saliency import log_synflow, saliency_scores
from jaxlab.nas.similarity import DiswotScore, diswot_score
from jaxlab.nas.supernet import (
    mask_subnetwork,
    operator_scores,
    partition_space,
    sandwich_sample,
    shared_stem_ensemble,
    shrink,
    slice_subnetwork,
)

__all__ = [
    "DiswotScore",
    "Evolution",
    "GaussianProcess",
    "RobotState",
    "TangentScores",
    "activation_code_logdet",
    "attention_confidence",
    "correlation_logdet",
    "cosine_jacobian_score",
    "discrete_policy",
    "diswot_score",
    "evolve",
    "expected_policy_cost",
    "gaussian_process",
    "hidden_covariance",
    "input_jacobian",
    "jacobian_covariance",
    "log_synflow",
    "mask_subnetwork",
    "operator_scores",
    "partition_space",
    "relu_input_logdet",
    "robot_exploit",
    "robot_init",
    "robot_propose",
    "robot_update",
    "saliency_scores",
    "sandwich_sample",
    "shared_stem_ensemble",
    "shrink",
    "slice_subnetwork",
    "soft_guidance_policy",
    "synaptic_diversity",
    "tangent_scores",
]
