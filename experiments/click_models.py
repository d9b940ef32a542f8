"""Models of clicks on tables of categories: one number a category, and networks that cross embedded fields."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.training import cosine_adam, fit
from jaxlab import losses, metrics, nn
from jaxlab.typing import Array, PyTree

__all__ = ["MODELS", "Table", "clicked"]


class Table(NamedTuple):
    """Categories [N, F] and whether each row was clicked, [N]; which rows to train and to test on."""

    categories: Array
    labels: Array
    train: Array  # bool [N]
    test: Array  # bool [N]


def _entropy(logits: Array, labels: Array) -> Array:
    return jnp.mean(optax.losses.sigmoid_binary_cross_entropy(logits, labels))


MODELS = ("lr", "dcn_v2", "lcn", "ecn", "fcn", "fcn_tri")


def _logits(params: PyTree, categories: Array) -> dict[str, Array]:
    """Of every model: together they compile faster than as branches."""
    fields = jnp.arange(categories.shape[1])
    x = nn.split_heads(params["embedding"][fields, categories], num_heads=1)[:, 0]
    both = nn.fusing_cross_network(params, x)
    return {
        "lr": jnp.sum(params["weights"][fields, categories], axis=1) + params["bias"],
        "dcn_v2": nn.cross_network_v2(params["plain"], x),
        "lcn": both.shallow,
        "ecn": both.deep,
        "fcn": both.fused,
        "fcn_tri": both.fused,
    }


def _initial(config: Any, key: Array, fields: int) -> PyTree:
    """Parameters of all models: those that a model does not use stay as they are."""
    keys = jax.random.split(key, 4)
    network = functools.partial(nn.cross_network_init, dim=fields * config.embedding, depth=config.depth)
    return {
        "embedding": 0.1 * jax.random.normal(keys[0], (fields, config.buckets, config.embedding)),
        "weights": jnp.zeros((fields, config.buckets)),
        "bias": jnp.zeros(()),
        "plain": network(keys[1], masked=False),
        "shallow": network(keys[2]),
        "deep": network(keys[3]),
    }


def _loss(params: PyTree, state: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
    """The loss of the model with that number; the others get no gradient."""
    logits, labels = _logits(params, batch["categories"]), batch["labels"]
    all_losses = [_entropy(logits[name], labels) for name in MODELS[:-1]]
    all_losses.append(losses.tri_bce(logits["fcn"], logits["ecn"], logits["lcn"], labels))
    return jnp.stack(all_losses)[state], state


def clicked(config: Any, seed: tuple[Table, Array], index: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Trains the model of that number and ranks the test rows; ``config`` is that of the question."""
    table, key = seed
    first_key, key = jax.random.split(key)
    params = _initial(config, first_key, table.categories.shape[1])
    labels = table.labels.astype(jnp.float32)
    fitted = fit(
        _loss,
        params,
        index,
        cosine_adam(config.click_rate, config.click_steps),
        {"categories": table.categories, "labels": labels},
        key,
        num_steps=config.click_steps,
        batch_size=config.click_batch,
        where=table.train,
    )
    logits = jnp.stack(list(_logits(fitted.params, table.categories).values()))[index]
    terms = optax.losses.sigmoid_binary_cross_entropy(logits, labels)
    return {
        "auroc": metrics.auroc(logits, table.labels.astype(jnp.int32), where=table.test),
        "log_loss": jnp.sum(jnp.where(table.test, terms, 0.0)) / jnp.sum(table.test),
    }, {}
