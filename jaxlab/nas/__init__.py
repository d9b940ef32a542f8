"""Neural architecture search without training, and searches over policies."""

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
