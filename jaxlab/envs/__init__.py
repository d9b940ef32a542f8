"""Small stochastic environments as pure functions (reset with a key, step with an action), and tasks to learn.

Observations and actions are numbered, so a policy is a table of probabilities and `vmap` over keys runs many episodes.

- **A small world to act in**: `bernoulli_bandit` (one decision, no state), `frozen_lake` (many steps on slippery ice),
  `frozen_lake_transitions` (its probabilities, for exact answers), `LAKE` (its usual map); [285]
- **What a policy does there**: `rollout` (one episode in one scan); [285]
- **A policy that aims at a return**: `return_conditioned_policy` (imitation, which takes luck for skill), `doc_policy`
  (tells them apart, after `losses.doc_tabular`); [285]
- **Boolean functions to learn from examples**: `boolean_task` (a random function, labelled points), `BOOLEAN_KINDS`
  (the classes it knows), `teaching_sequence` (few points that settle a conjunction); [154]
- **Endless classification tasks from one data set**: `random_projection_task` (inputs projected, labels permuted);
  [194]

Types: `BooleanTask`, `ControlState`, `DocPolicy`, `Environment`, `Trajectory`.
"""

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
