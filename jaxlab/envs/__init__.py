"""Small stochastic environments as pure functions (reset with a key, step with an action), and tasks to learn."""

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
from jaxlab.envs.tasks import (
    BOOLEAN_KINDS,
    BooleanTask,
    boolean_task,
    random_projection_task,
    teaching_sequence,
)

__all__ = [
    "BOOLEAN_KINDS",
    "LAKE",
    "BooleanTask",
    "ControlState",
    "DocPolicy",
    "Environment",
    "Trajectory",
    "bernoulli_bandit",
    "boolean_task",
    "doc_policy",
    "frozen_lake",
    "frozen_lake_transitions",
    "random_projection_task",
    "return_conditioned_policy",
    "rollout",
    "teaching_sequence",
]
