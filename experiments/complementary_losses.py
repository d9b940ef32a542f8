"""The losses of complementary labels under one signature, so that one program can choose among them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import losses
from jaxlab.typing import Array

__all__ = ["LOSSES", "Labels", "Side"]


class Labels(NamedTuple):
    """What is told of some rows, and what is true."""

    told: Array
    truth: Array


class Side(NamedTuple):
    """What a loss may know besides logits and labels."""

    transition: Array
    inverse: Array
    prior: Array
    trainable: Array  # [K, K], logits of a transition matrix


Loss = Callable[[Array, Labels, Side], Array]
cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels


def simple(fn: Callable[..., Array], **options: Any) -> Loss:
    """The mean of a loss that knows the complementary label alone."""
    return lambda z, labels, side: jnp.mean(fn(z, labels.told, **options))


def risk(correct: Callable[[Array], Array], **options: Any) -> Loss:
    """An unbiased risk whose parts are kept from going negative."""

    def loss(z: Array, labels: Labels, side: Side) -> Array:
        vector = losses.complementary_risk_vector(z, labels.told, side.inverse, side.prior, **options)
        return correct(vector)

    return loss


def multiple(kind: str) -> Loss:
    """One label as a mask."""

    def loss(z: Array, labels: Labels, side: Side) -> Array:
        mask = jnp.arange(z.shape[-1]) == labels.told[:, None]
        return jnp.mean(losses.complementary_multiple(z, mask, kind=kind))

    return loss


def forward(z: Array, labels: Labels, side: Side) -> Array:
    """Through the true transition."""
    return jnp.mean(losses.complementary_forward(z, labels.told, side.transition))


def forward_trained(z: Array, labels: Labels, side: Side) -> Array:
    """Through one that is learned."""
    return jnp.mean(losses.complementary_forward(z, labels.told, jax.nn.softmax(side.trainable)))


LOSSES: dict[str, Loss] = {
    "true_labels": lambda z, labels, side: jnp.mean(cross_entropy(z, labels.truth)),
    "scl_nl": simple(losses.negative_learning),
    "scl_exp": simple(losses.complementary_exponential),
    "fwd": forward,
    "cpe_i": simple(cross_entropy),
    "cpe_t": forward_trained,
    "ure": risk(jnp.sum),
    "ure_nn": risk(losses.non_negative_risk),
    "ure_ga": risk(losses.gradient_ascent_risk),
    "rob_mae": risk(losses.gradient_ascent_risk, loss="mae", group="class"),
    "rob_gce": risk(losses.gradient_ascent_risk, loss="generalized", group="class"),
    "dm": simple(losses.complementary_discriminative),
    "op": simple(losses.complementary_order_preserving),
    "pc": simple(losses.complementary_pairwise),
    "mcl_exp": multiple("exp"),
    "mcl_mae": multiple("mae"),
    "scarce": lambda z, labels, side: losses.complementary_scarce(z, labels.told),
}
