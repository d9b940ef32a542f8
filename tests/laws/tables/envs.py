"""Rows of jaxlab.envs."""

import jax.numpy as jnp
import numpy as np

from jaxlab import envs
from tests.laws.row import C, D, M, Row, inputs, integers, normal, prng, uniform
from tests.laws.tables.losses_generative import doc_tables

BANDIT = envs.bernoulli_bandit(jnp.array([0.3, 0.5, 0.6]))

ROWS = {
    "rollout": Row(
        envs.rollout,
        inputs(key=prng(), policy=uniform(16, 4, low=0.5)),
        static={"env": envs.frozen_lake(0.5), "num_steps": 4},
        bf16=("policy",),
    ),
    "rollout/bandit": Row(
        envs.rollout, inputs(key=prng(), policy=uniform(1, 3, low=0.5)), static={"env": BANDIT, "num_steps": 2}
    ),
    "frozen_lake_transitions": Row(envs.frozen_lake_transitions, inputs(slip=uniform()), diff=("slip",)),
    "return_conditioned_policy": Row(
        envs.return_conditioned_policy, inputs(counts=uniform(M, C, D)), diff=("counts",), bf16=("counts",)
    ),
    "doc_policy": Row(
        envs.doc_policy,
        inputs(params=doc_tables, counts=uniform(D, C, 2, high=5.0)),
        diff=("params",),
        bf16=("counts",),
    ),
    **{
        f"boolean_task/{kind}": Row(
            envs.boolean_task, inputs(key=prng()), static={"kind": kind, "num_dims": M, "num_points": 6, "num_given": 3}
        )
        for kind in ("conjunction", "taught_conjunction", "cnf", "sparse_parity", "nearest_neighbor")
    },
    "teaching_sequence": Row(
        envs.teaching_sequence, inputs(w=lambda rng: rng.integers(-1, 2, M).astype(np.float32)), bf16=("w",)
    ),
    "random_projection_task": Row(
        envs.random_projection_task,
        inputs(key=prng(), x=normal(M, D), y=integers(M, high=C), task_key=prng()),
        static={"num_classes": C, "seq_len": 4},
        diff=("x",),
        bf16=("x",),
    ),
}
