"""Rows of jaxlab.optim."""

import jax.numpy as jnp
import numpy as np
import optax

from jaxlab import optim
from tests.laws.row import C, D, N, Row, inputs, integers, mask, normal, prng, uniform


def bowl(params):
    return jnp.sum((params["w"] - 1.0) ** 2) + jnp.sum(jnp.cos(params["b"]))


def cubic(x):
    """Its Hessian is full, and changes with x."""
    return jnp.sum(x) ** 3 + jnp.sum(jnp.arange(1.0, x.size + 1.0) * x**2)


def loss_per_example(x):
    return jnp.sum(jnp.sin(2.0 * x), axis=-1)


def pull(params, batch):
    """The gradient of a loss that is not quadratic."""
    return jnp.sin(params - batch)


def recorded(rng):
    """A run of N steps that need not be one."""
    return optim.Trajectory(normal(N, D)(rng), optax.sgd(0.1).init(np.zeros(D)), normal(D)(rng))


ATTACK = {"loss_fn": loss_per_example, "eps": 0.3, "step": 0.1, "num_iters": 3, "bounds": (-1.0, 1.0)}


def mix(matrix, v):
    """A product near the identity, far from symmetric."""
    return 3.0 * v + jnp.roll(v, 1) + jnp.tanh(matrix) * v


SYSTEM = {"restart": 4, "max_restarts": 2, "tol": 1e-3}
KEPT = inputs(
    b=normal(N),
    recycle=lambda rng: optim.Recycle(*(normal(2, N)(rng) for _ in range(2))),
    x0=normal(N),
)

ROWS = {
    "norm_gradient": Row(
        optim.norm_gradient,
        inputs(params=normal(N), step=uniform(low=0.1)),
        static={"fn": cubic},
        diff=("params",),
        bf16=("params",),
    ),
    "norm_gradient/exact": Row(
        optim.norm_gradient,
        inputs(params=normal(N)),
        static={"fn": cubic, "step": None},
        diff=("params",),
        bf16=("params",),
        tol=1e-4,
    ),
    "ignite_init": Row(optim.ignite_init, inputs(multiplier=uniform())),
    "ignite_gradient": Row(
        optim.ignite_gradient,
        inputs(
            state=lambda rng: optim.IgniteState(uniform(low=0.5)(rng)),
            fit_grads=normal(N),
            params=normal(N),
            rho=uniform(low=0.1),
            step=uniform(low=0.1),
            threshold=uniform(),
            multiplier_rate=uniform(high=0.01),
        ),
        static={"surrogate_mean_fn": cubic},
        bf16=("fit_grads", "params"),
    ),
    "boosting_init": Row(
        optim.boosting_init,
        inputs(targets=lambda rng: rng.permutation([0, 0, 0, 1, 1, 1, 1]), where=lambda rng: np.arange(N) > 1),
        static={"loss": "binary"},
        batch=("targets", "where"),
        couples=True,
    ),
    "boosting_init/squared": Row(
        optim.boosting_init,
        inputs(targets=normal(N), where=mask(N)),
        static={"loss": "squared"},
        batch=("targets", "where"),
        couples=True,
        diff=("targets",),
        bf16=("targets",),
    ),
    "boosting_newton_step": Row(
        optim.boosting_newton_step,
        inputs(direction=normal(N, C), residuals=uniform(N, C, low=-0.9, high=0.9), where=mask(N)),
        static={"loss": "multiclass"},
        batch=("direction", "residuals", "where"),
        couples=True,
        diff=("direction", "residuals"),
        bf16=("direction", "residuals"),
    ),
    "boosting_newton_step/binary": Row(
        optim.boosting_newton_step,
        inputs(direction=normal(N), residuals=uniform(N, low=-1.9, high=1.9), where=mask(N)),
        static={"loss": "binary"},
        batch=("direction", "residuals", "where"),
        couples=True,
        diff=("direction", "residuals"),
        bf16=("direction", "residuals"),
    ),
    "fit_small_mlp": Row(
        optim.fit_small_mlp,
        inputs(key=prng(), x=normal(N, D), targets=normal(N, 2), ridge=uniform(), where=mask(N)),
        static={"num_steps": 2},
        batch=("x", "targets", "where"),
        couples=True,
        bf16=("x", "targets"),
    ),
    "gradient_boosted_network": Row(
        optim.gradient_boosted_network,
        inputs(key=prng(), x=normal(N, D), targets=integers(N, high=C), where=mask(N)),
        static={"loss": "multiclass", "num_classes": C, "num_stages": 2, "num_steps": 2},
        batch=("x", "targets", "where"),
        couples=True,
        bf16=("x",),
        skip={"permute": "the rows of a stage are drawn by position"},
    ),
    "minimize": Row(
        optim.minimize,
        inputs(params=lambda rng: {"w": normal(D)(rng), "b": normal(2)(rng)}),
        static={"loss_fn": bowl, "optimizer": optax.sgd(0.1, momentum=0.9), "num_steps": 3},
        diff=("params",),
    ),
    "projected_gradient_attack": Row(
        optim.projected_gradient_attack,
        inputs(x=normal(N, D, scale=0.3), key=prng()),
        static=ATTACK | {"momentum": 0.5},
        batch=("x",),
        diff=("x",),
        bf16=("x",),
        skip={"permute": "the random start is drawn by position in the batch"},
    ),
    "projected_gradient_attack/l2": Row(
        optim.projected_gradient_attack,
        inputs(x=normal(N, D, scale=0.3)),
        static=ATTACK | {"norm": "l2"},
        batch=("x",),
        diff=("x",),
        skip={"key": "no random start in this row"},
    ),
    "fisher_diagonal": Row(
        optim.fisher_diagonal,
        inputs(params=normal(D), batch=normal(N, D), where=mask(N)),
        static={"loss_fn": lambda w, x: jnp.sum(jnp.sin(w * x), axis=-1), "block": 4},
        batch=("batch", "where"),
        couples=True,
        diff=("params",),
    ),
    "fisher_diagonal/batch": Row(
        optim.fisher_diagonal,
        inputs(params=normal(D), batch=normal(N, D), where=mask(N)),
        static={"loss_fn": lambda w, x: jnp.sum(jnp.sin(w * x), axis=-1), "per": "batch"},
        batch=("batch", "where"),
        couples=True,
        diff=("params",),
    ),
    "hessian_vector_product": Row(
        optim.hessian_vector_product,
        inputs(params=normal(D), vector=normal(D)),
        static={"loss_fn": cubic},
        diff=("params", "vector"),
        bf16=("params", "vector"),
    ),
    "hutchinson_diagonal": Row(
        optim.hutchinson_diagonal,
        inputs(key=prng(), params=normal(D)),
        static={"loss_fn": cubic, "num_probes": 2},
        diff=("params",),
        bf16=("params",),
    ),
    "hutchinson_trace": Row(
        optim.hutchinson_trace,
        inputs(key=prng(), params=normal(D)),
        static={"loss_fn": cubic, "num_probes": 2},
        diff=("params",),
        bf16=("params",),
    ),
    "hessian_top_eigenvalue": Row(
        optim.hessian_top_eigenvalue,
        inputs(key=prng(), params=normal(D)),
        static={"loss_fn": cubic, "num_iters": 3},
        bf16=("params",),
        tol=1e-4,
    ),
    "lr_free_state": Row(
        optim.lr_free_state,
        inputs(opt_state=lambda rng: optax.contrib.dog().init(normal(D)(rng))),
    ),
    "gmres": Row(
        optim.gmres,
        inputs(b=normal(N), x0=normal(N)),
        static=SYSTEM | {"matvec": lambda v: mix(1.0, v), "precond": lambda v: v / 3.0},
        bf16=("b",),
        tol=1e-4,
    ),
    "gcrodr": Row(
        optim.gcrodr,
        KEPT,
        static=SYSTEM | {"matvec": lambda v: mix(1.0, v), "num_recycle": 2},
        tol=1e-3,
    ),
    "gcrodr_sequence": Row(
        optim.gcrodr_sequence,
        inputs(params=normal(3, N), bs=normal(3, N), order=lambda rng: rng.permutation(3)),
        static=SYSTEM | {"matvec": mix, "num_recycle": 2, "ritz": "singular"},
        tol=1e-3,
    ),
    "record_trajectory": Row(
        optim.record_trajectory,
        inputs(params=normal(D), batches=normal(N, D)),
        static={"grad_fn": pull, "optimizer": optax.sgd(0.1)},
        diff=("params", "batches"),
    ),
    "replay_order": Row(
        optim.replay_order,
        inputs(trajectory=recorded, batches=normal(N, D), order=lambda rng: rng.permutation(N).astype(np.int32)),
        static={"grad_fn": pull, "optimizer": optax.sgd(0.1)},
        diff=("trajectory", "batches"),
    ),
    "random_projection": Row(optim.random_projection, inputs(key=prng()), static={"dim": D, "k": 2}),
    "size_iteration_adjustment": Row(
        optim.size_iteration_adjustment,
        inputs(budget=uniform(N, low=0.5), ratio=uniform(N, low=0.5)),
        batch=("budget", "ratio"),
        diff=("budget", "ratio"),
        bf16=("budget",),
        skip={"zeros": "a budget is positive"},
    ),
}

ROWS |= {
    "early_stop_init": Row(optim.early_stop_init, inputs()),
    "early_stop_update": Row(
        optim.early_stop_update,
        inputs(
            state=lambda rng: optim.EarlyStop(
                *(normal()(rng) for _ in range(2)), np.asarray(1, np.int32), np.asarray(2, np.int32), np.asarray(False)
            ),
            value=normal(),
            tolerance=uniform(),
            momentum=uniform(),
        ),
        static={"patience": 2},
        bf16=("value",),
    ),
}
