"""Small stochastic environments as pure functions: reset a state with a key, step it with an action."""

from jaxlab.envs.control import (
    LAKE,
    ControlState,
    DocPolicy,
    Environment,
    Trajectory,
    bernoulli_bandit,
    doc_policy,
    frozen_lake,
    frozen_lake_transitions,
    return_conditioned_policy,
    rollout,
)

__all__ = [
    "LAKE",
    "ControlState",
    "DocPolicy",
    "Environment",
    "Trajectory",
    "bernoulli_bandit",
    "doc_policy",
    "frozen_lake",
    "frozen_lake_transitions",
    "return_conditioned_policy",
    "rollout",
]
