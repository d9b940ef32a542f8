"""Neural architecture search without training, and searches over policies."""

from jaxlab.nas.policy import discrete_policy, expected_policy_cost, soft_guidance_policy

__all__ = [
    "discrete_policy",
    "expected_policy_cost",
    "soft_guidance_policy",
]
