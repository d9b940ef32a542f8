"""Rows of jaxlab.optim: steps to where a loss is larger, and curvature that domains share."""

import jax.numpy as jnp

from jaxlab import optim
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform


def bend(params, batch):
    """A scalar loss that is not quadratic."""
    return jnp.mean(jnp.sin(batch @ params) + 0.3 * jnp.sum(params**3))


def bend_each(params, batch):
    """The same, one per example."""
    return jnp.sin(batch @ params) + jnp.sum(batch**2, axis=-1)


def bend_images(params, batch):
    return jnp.sin(jnp.sum(batch * params, axis=(1, 2)))


def head(params, batch):
    return jnp.mean(jnp.cos(batch @ params) * batch[..., 0])


TREE = lambda rng: {"w": normal(D)(rng), "b": normal(2)(rng)}  # noqa: E731

ROWS = {
    "ascent_step": Row(
        optim.ascent_step,
        inputs(params=TREE, grads=TREE, rho=uniform(low=0.1)),
        diff=("params", "grads", "rho"),
        bf16=("params", "grads"),
    ),
    "perturbed_gradient": Row(
        optim.perturbed_gradient,
        inputs(params=normal(D), batch=normal(M, D), rho=uniform(low=0.1), weight=uniform()),
        static={"loss_fn": bend},
        diff=("params", "batch", "weight"),
        bf16=("params",),
    ),
    "perturbed_gradient/shifted": Row(
        optim.perturbed_gradient,
        inputs(params=normal(D), batch=normal(M, D), shifted_batch=normal(M, D), rho=uniform(low=0.1)),
        static={"loss_fn": bend, "weight": 0.7},
        diff=("params", "batch", "shifted_batch"),
        bf16=("params",),
    ),
    "input_sharpness_ascent": Row(
        optim.input_sharpness_ascent,
        inputs(params=normal(D), x=normal(N, D), step=uniform(low=0.1), rho=uniform(), where=mask(N)),
        static={"loss_fn": bend_each},
        batch=("x", "where"),
        couples=True,
        diff=("x",),
        bf16=("params",),
    ),
    "input_sharpness_ascent/style": Row(
        optim.input_sharpness_ascent,
        inputs(params=normal(D), x=normal(N, M, D), step=uniform(low=0.1), where=mask(N)),
        static={"loss_fn": bend_images, "form": "style"},
        batch=("x", "where"),
        couples=True,
        diff=("x",),
    ),
    "head_gradient_variance": Row(
        optim.head_gradient_variance,
        inputs(
            features=normal(N, D),
            probs=probabilities(N, C),
            labels=integers(N, high=C),
            center=normal(D + 1, C, scale=0.1),
            where=mask(N),
        ),
        batch=("features", "probs", "labels", "where"),
        couples=True,
        diff=("features", "probs", "center"),
        bf16=("features", "probs"),
    ),
    "udim_inconsistency": Row(
        optim.udim_inconsistency,
        inputs(
            features=normal(N, D),
            logits=normal(N, C),
            shifted_features=normal(N, D),
            shifted_logits=normal(N, C),
            labels=integers(N, high=C),
            where=mask(N),
        ),
        batch=("features", "logits", "shifted_features", "shifted_logits", "labels", "where"),
        couples=True,
        diff=("features", "logits", "shifted_features", "shifted_logits"),
        bf16=("features", "logits", "shifted_features", "shifted_logits"),
    ),
    "hessian_gradient_product": Row(
        optim.hessian_gradient_product,
        inputs(params=normal(D)),
        static={"loss_fn": lambda x: jnp.sum(x) ** 3 + jnp.sum(jnp.arange(1.0, x.size + 1.0) * x**2)},
        diff=("params",),
        bf16=("params",),
    ),
    "hgp_alignment": Row(
        optim.hgp_alignment,
        inputs(params=normal(D), batches=normal(N, M, D), alpha=uniform(), beta=uniform(), where=mask(N)),
        static={"loss_fn": head},
        batch=("batches", "where"),
        couples=True,
        diff=("params", "batches", "alpha", "beta"),
        bf16=("params",),
        tol=1e-4,
    ),
    "hutchinson_alignment": Row(
        optim.hutchinson_alignment,
        inputs(key=prng(), params=normal(D), batches=normal(N, M, D), alpha=uniform(), beta=uniform(), where=mask(N)),
        static={"loss_fn": head, "num_probes": 2},
        batch=("batches", "where"),
        couples=True,
        diff=("params", "batches", "alpha", "beta"),
        bf16=("params",),
        tol=1e-4,
    ),
}
