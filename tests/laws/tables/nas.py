"""Rows of jaxlab.nas."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import nas
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform


def _stem(path, x, split):
    return x * (1.0 + split)


def _branch(path, h, split):
    return h * (1.0 + path[0]) + path[1]


def _raise_one(key, genes):
    return genes.at[jax.random.randint(key, (), 0, D)].add(1)


def _network(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


def _taps(params, x, offsets):
    hidden = x @ params["a"]
    hidden = hidden if offsets is None else hidden + offsets
    return jnp.tanh(hidden) @ params["b"], hidden


def _weights(rng):
    return {"a": normal(FEATURES, M)(rng), "b": normal(M, C)(rng)}


def _tried(rng):
    weights = uniform(C, D, low=-1.0)(rng)
    return nas.RobotState(weights, integers(C, high=M)(rng), uniform(C)(rng), np.int32(C - 1), prng()(rng))


FEATURES = 12  # more than the rows of a batch: their correlations are not singular
NETWORK = {"static": {"apply_fn": _network}, "batch": ("x",), "couples": True, "bf16": ("x",)}

ROWS: dict = {
    "evolve": Row(
        nas.evolve,
        inputs(key=prng(), population=integers(M, D, high=C)),
        static={
            "fitness_fn": lambda genes: -jnp.sum((genes - 2.0) ** 2),
            "mutate_fn": _raise_one,
            "generations": 2,
            "num_parents": 2,
        },
    ),
    "correlation_logdet": Row(
        nas.correlation_logdet,
        inputs(rows=normal(N, D, FEATURES), column_where=mask(FEATURES)),
        batch=("rows",),
        diff=("rows",),
        bf16=("rows",),
    ),
    "activation_code_logdet": Row(
        nas.activation_code_logdet,
        inputs(codes=normal(N, 40), unit_where=mask(40)),
        batch=("codes",),
        couples=True,
        bf16=("codes",),
    ),
    "relu_input_logdet": Row(
        nas.relu_input_logdet, inputs(inputs=normal(N, 40)), batch=("inputs",), couples=True, bf16=("inputs",)
    ),
    "input_jacobian": Row(
        nas.input_jacobian,
        inputs(params=_weights, x=normal(N, FEATURES)),
        static={"apply_fn": _network},
        batch=("x",),
        diff=("params", "x"),
    ),
    "jacobian_covariance": Row(
        nas.jacobian_covariance,
        inputs(params=_weights, x=normal(N, FEATURES)),
        static={"apply_fn": _network, "eps": 1e-2},
        batch=("x",),
        couples=True,
        diff=("params", "x"),
        tol=1e-3,
    ),
    "tangent_scores": Row(
        nas.tangent_scores,
        inputs(params=_weights, x=normal(N, FEATURES), labels=integers(N, high=C)),
        static={"apply_fn": _network},
        batch=("x", "labels"),
        couples=True,
        tol=1e-3,
        skip={"permute": "the spectrum has the length of the batch, and no order that goes with it"},
    ),
    "saliency_scores": Row(
        nas.saliency_scores,
        inputs(params=_weights, x=normal(N, FEATURES), labels=integers(N, high=C)),
        static={"apply_fn": _network, "tap_fn": _taps, "kinds": ("grad_norm", "plain", "snip", "grasp", "fisher")},
        batch=("x", "labels"),
        couples=True,
        diff=("params", "x"),
        tol=1e-4,
    ),
    "log_synflow": Row(
        nas.log_synflow,
        inputs(params=_weights),
        static={"apply_fn": _network, "input_shape": (FEATURES,)},
        bf16=("params",),
    ),
    "hidden_covariance": Row(
        nas.hidden_covariance,
        inputs(hidden=normal(N, M, D), unit_where=mask(D)),
        batch=("hidden",),
        couples=True,
        diff=("hidden",),
        bf16=("hidden",),
    ),
    "cosine_jacobian_score": Row(
        nas.cosine_jacobian_score,
        inputs(jacobian=normal(N, D)),
        batch=("jacobian",),
        couples=True,
        diff=("jacobian",),
        bf16=("jacobian",),
    ),
    "attention_confidence": Row(
        nas.attention_confidence,
        inputs(attention=probabilities(2, 2, M, D, C)),
        diff=("attention",),
        bf16=("attention",),
    ),
    "synaptic_diversity": Row(
        nas.synaptic_diversity, inputs(params=_weights, grads=_weights), bf16=("params", "grads"), tol=1e-4
    ),
    "diswot_score": Row(
        nas.diswot_score,
        inputs(
            student_features=normal(N, D),
            teacher_features=normal(N, 2 * D),
            student_head_grad=normal(C, M),
            teacher_head_grad=normal(C, 2 * M),
            projection=normal(2 * M, M),
            channel_where=mask(M),
        ),
        batch=("student_features", "teacher_features"),
        couples=True,
        diff=("student_features", "teacher_features", "student_head_grad"),
        bf16=("student_features", "teacher_features", "student_head_grad", "teacher_head_grad"),
    ),
    "gaussian_process": Row(
        nas.gaussian_process,
        inputs(
            points=normal(N, D),
            values=normal(N),
            query=normal(M, D),
            length_scale=uniform(low=0.5),
            noise=uniform(low=0.1, high=0.2),
            where=mask(N),
        ),
        batch=("points", "values", "where"),
        couples=True,
        diff=("points", "values", "query"),
        bf16=("points", "values", "query"),
        tol=1e-4,
    ),
    "robot_init": Row(nas.robot_init, inputs(key=prng()), static={"num_metrics": D, "budget": C}),
    "robot_propose": Row(
        nas.robot_propose, inputs(state=_tried, metrics=normal(D, M)), static={"num_candidates": 16}, bf16=("metrics",)
    ),
    "robot_update": Row(
        nas.robot_update, inputs(state=_tried, weights=normal(D), index=integers(high=M), value=uniform())
    ),
    "robot_exploit": Row(nas.robot_exploit, inputs(state=_tried, metrics=normal(D, M)), static={"num_picks": 4}),
    "soft_guidance_policy": Row(
        nas.soft_guidance_policy,
        inputs(
            logits=normal(M, C),
            predictions=normal(C, N, D),
            step=integers(high=M),
            temperature=uniform(low=0.5, high=2.0),
        ),
        diff=("logits", "predictions", "temperature"),
        bf16=("predictions",),
        skip={"zeros": "a temperature of zero is outside its range"},
    ),
    "expected_policy_cost": Row(
        nas.expected_policy_cost,
        inputs(logits=normal(N, C), costs=uniform(C), temperature=uniform(low=0.5, high=2.0)),
        batch=("logits",),
        couples=True,
        diff=("logits", "costs"),
        bf16=("logits", "costs"),
    ),
    "discrete_policy": Row(nas.discrete_policy, inputs(logits=normal(N, C)), batch=("logits",), bf16=("logits",)),
    "slice_subnetwork": Row(
        nas.slice_subnetwork,
        inputs(params=lambda rng: {"kernel": normal(D, C)(rng), "bias": normal(C)(rng)}),
        static={"dims": {"kernel": (2, None), "bias": (3,)}},
        diff=("params",),
        bf16=("params",),
    ),
    "mask_subnetwork": Row(
        nas.mask_subnetwork,
        inputs(
            params=lambda rng: {"kernel": normal(D, C)(rng), "bias": normal(C)(rng)},
            dims=lambda rng: {"kernel": (None, integers(high=C)(rng)), "bias": (1 + integers(high=D)(rng),)},
        ),
        diff=("params",),
        bf16=("params",),
    ),
    "partition_space": Row(
        nas.partition_space, inputs(costs=normal(N)), static={"k": 2}, batch=("costs",), couples=True, bf16=("costs",)
    ),
    "sandwich_sample": Row(
        nas.sandwich_sample,
        inputs(key=prng(), costs=normal(M), where=mask(M)),
        static={"num_random": 64},
        skip={"mask": "it returns numbers of architectures, and n for an empty space, as documented"},
    ),
    "operator_scores": Row(
        nas.operator_scores,
        inputs(
            path_ops=lambda rng: rng.permuted(np.arange(N * D).reshape(N, D) % 2, axis=0),
            values=uniform(N),
            pair_div=uniform(N, N),
            weight=uniform(),
        ),
        static={"num_ops": 2},
        diff=("values", "pair_div", "weight"),
        bf16=("values", "pair_div"),
    ),
    "shrink": Row(nas.shrink, inputs(scores=normal(M, C), alive=mask(M, C)), static={"drop": 3}, bf16=("scores",)),
    "shared_stem_ensemble": Row(
        nas.shared_stem_ensemble,
        inputs(paths=integers(2, D, high=C), x=normal(N, C), split=integers(high=D)),
        static={"apply_stem": _stem, "apply_branch": _branch},
        batch=("x",),
        diff=("x",),
    ),
}
