"""Training recommenders: factors of users and items from clicks with false ones, and items known by their text."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.training import cosine_adam, fit
from jaxlab import kernels, losses, metrics, optim, retrieval, selection
from jaxlab.numerics import masked_mean
from jaxlab.typing import Array, PyTree

__all__ = [
    "Clicks",
    "Cold",
    "Recipe",
    "by_distance",
    "cold_recall",
    "dirty_clicks",
    "factorized",
    "metric_vectors",
    "purchase_gap",
    "unit_ball",
]


class Clicks(NamedTuple):
    """Lists of each of U users, padded: items [U, L] to train on, which are real and which false; and other items."""

    items: Array
    real: Array
    false: Array  # [U, L]
    others: Array  # [U, J], the items not in the list, from the left
    num_others: Array  # [U]
    listed: Array  # bool [U, J]
    test: Array  # bool [U, J], true items that were held back


def dirty_clicks(users: np.ndarray, *, noise: float, test_share: float, length: int, seed: int) -> Clicks:
    """Holds back a share of every user's items, and adds false ones: ``noise`` times as many as are left.

    Args:
      users: bool [U, J].
      noise: of false over true items in a list.
      test_share: of each user's items.
      length: L, of the padded lists.
      seed: of everything; the items that are held back do not depend on the noise.
    """
    rng, lies = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    count, num_items = users.shape
    items, false = np.zeros((2, count, length), int)
    real, test = np.zeros((count, length), bool), np.zeros_like(users)
    others = np.zeros((count, num_items), int)
    for user, row in enumerate(users):
        own = rng.permutation(np.flatnonzero(row))
        cut = round(test_share * len(own))
        test[user, own[:cut]] = True
        wrong = lies.permutation(np.flatnonzero(~row))[: round(noise * (len(own) - cut))]
        rows = np.concatenate([own[cut:], wrong])
        items[user, : len(rows)], real[user, : len(rows)] = rows, True
        false[user, len(own) - cut : len(rows)] = 1
        rest = np.setdiff1d(np.arange(num_items), rows)
        others[user, : len(rest)] = rest
    listed = np.zeros_like(users)
    np.put_along_axis(listed, np.where(real, items, items[:, :1]), True, axis=1)
    number = num_items - listed.sum(1)
    return Clicks(*map(jnp.asarray, (items, real, false.astype(bool), others, number, listed, test)))


class Recipe(NamedTuple):
    """What is the row's own, traced: whether items are drawn by their loss, and whether the largest are left out."""

    personal: Array
    truncated: Array


def _factor_loss(
    config: Any, params: PyTree, state: PyTree, batch: dict[str, Array], key: Array
) -> tuple[Array, PyTree]:
    """Ranks one item of each user over one that is not in the list; which, the recipe says."""
    recipe, step = state["recipe"], state["step"]
    candidate_key, negative_key, sample_key = jax.random.split(key, 3)
    noise = jnp.where(batch["real"], jax.random.gumbel(candidate_key, batch["real"].shape), -jnp.inf)
    _, place = jax.lax.top_k(noise, config.candidates)
    there = jnp.take_along_axis(batch["real"], place, axis=1)
    items = jnp.take_along_axis(batch["items"], place, axis=1)
    draw = jax.random.uniform(negative_key, batch["index"].shape) * batch["num_others"]
    negative = jnp.take_along_axis(batch["others"], draw.astype(jnp.int32)[:, None], axis=1)[:, 0]
    user = params["users"][batch["index"]]
    other = params["items"][negative]
    frozen = jax.lax.stop_gradient((user, params["items"][items], other))
    scores = jnp.einsum("bd,bkd->bk", frozen[0], frozen[1])
    costs = losses.bayesian_personalized_ranking(scores, jnp.sum(frozen[0] * frozen[2], -1)[:, None] + 0 * scores)
    picked = selection.personal_loss_sample(sample_key, costs, temperature=config.temperature, where=there)
    late = step >= config.warm_up * config.steps
    picked = jnp.where(recipe.personal & late, picked, 0)[:, None]  # the first candidate is a random one
    chosen = params["items"][jnp.take_along_axis(items, picked, axis=1)[:, 0]]
    terms = losses.bayesian_personalized_ranking(jnp.sum(user * chosen, -1), jnp.sum(user * other, -1))
    largest, _ = jax.lax.top_k(jax.lax.stop_gradient(terms), max(1, round(config.truncated * len(terms))))
    kept = (terms < largest[-1]) | ~(recipe.truncated & late)
    false = jnp.take_along_axis(jnp.take_along_axis(batch["false"], place, axis=1), picked, axis=1)[:, 0]
    drawn = state["drawn"] + late * jnp.stack([jnp.sum(false & kept), jnp.sum(kept)])
    squares = jnp.sum(jnp.square(user) + jnp.square(chosen) + jnp.square(other), axis=-1)
    loss = jnp.sum(jnp.where(kept, terms, 0.0)) / jnp.sum(kept) + config.penalty * jnp.mean(squares)
    return loss, {"recipe": recipe, "step": step + 1, "drawn": drawn}


def factorized(config: Any, seed: tuple[Clicks, Array], recipe: Recipe) -> tuple[dict[str, Array], dict[str, Array]]:
    """Factors of users and items, and what they recommend; ``config`` is that of the question."""
    clicks, key = seed
    first_key, key = jax.random.split(key)
    shapes = {"users": len(clicks.items), "items": clicks.test.shape[1]}
    params = {
        name: 0.1 * jax.random.normal(jax.random.fold_in(first_key, place), (rows, config.dim))
        for place, (name, rows) in enumerate(shapes.items())
    }
    data = {name: getattr(clicks, name) for name in ("items", "real", "false", "others", "num_others")}
    state = {"recipe": recipe, "step": jnp.zeros((), jnp.int32), "drawn": jnp.zeros(2)}
    fitted = fit(
        functools.partial(_factor_loss, config),
        params,
        state,
        cosine_adam(config.learning_rate, config.steps),
        data,
        key,
        num_steps=config.steps,
        batch_size=min(config.batch, len(clicks.items)),
    )
    scores = fitted.params["users"] @ fitted.params["items"].T
    unseen = jnp.where(clicks.listed, -jnp.inf, scores)
    share = jnp.sum(clicks.false) / jnp.sum(clicks.real)
    return {
        "recall": jnp.mean(metrics.recall_at_k(unseen, clicks.test, k=config.best)),
        "ndcg": jnp.mean(metrics.ndcg_at_k(unseen, clicks.test, k=config.best)),
        "false_drawn": fitted.state["drawn"][0] / fitted.state["drawn"][1],
        "false_share": share,
    }, {}


# Items that nobody has chosen yet, known by their text


class Cold(NamedTuple):
    """Who chose what, bool [U, J], which items have been on offer, bool [J], and their texts [J, F]."""

    chosen: Array
    warm: Array
    texts: Array


def unit_ball(x: Array) -> Array:
    """Vectors that are longer than 1 cut to 1."""
    return x / jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1.0))


def _item_vectors(params: PyTree, texts: Array) -> Array:
    hidden = jax.nn.relu(texts @ params["first"] + params["bias"])
    return unit_ball(hidden @ params["second"] + texts @ params["straight"])


def _metric_loss(config: Any, params: PyTree, state: PyTree, batch: dict[str, Array], key: Array) -> Any:
    """Pulls a chosen item to its user, who is the mean of the other chosen ones, and pushes sampled ones away."""
    positive_key, negative_key = jax.random.split(key)
    cold: Cold = state["cold"]
    own = batch["chosen"] & cold.warm
    noise = jax.random.gumbel(positive_key, own.shape)
    positive = jnp.argmax(jnp.where(own, noise, -jnp.inf), axis=1)
    free = jnp.where(cold.warm & ~own, jax.random.gumbel(negative_key, own.shape), -jnp.inf)
    _, negatives = jax.lax.top_k(free, config.negatives)
    vectors = _item_vectors(params, cold.texts)
    history = own & (jnp.arange(own.shape[1]) != positive[:, None])
    users = retrieval.history_embedding(vectors, history)
    counts = jnp.sum(own, axis=1) > 1
    hinge = losses.collaborative_metric_hinge(
        users,
        vectors[positive],
        vectors[negatives],
        margin=config.margin,
        num_items=jnp.sum(cold.warm),
        where=counts,
    )
    spread = losses.off_diagonal_covariance(vectors, where=cold.warm)
    return jnp.sum(hinge) / jnp.sum(counts) + state["decorrelate"] * spread, state


def metric_vectors(config: Any, cold: Cold, key: Array, decorrelate: Array) -> Array:
    """Vectors [J, D] of all items, those too that nobody has chosen, from their texts."""
    keys, width = jax.random.split(key, 4), cold.texts.shape[1]
    draw = lambda key, rows, columns: jax.random.normal(key, (rows, columns)) / jnp.sqrt(rows)  # noqa: E731
    params = {
        "first": draw(keys[0], width, config.hidden),
        "bias": jnp.zeros(config.hidden),
        "second": 0.1 * draw(keys[1], config.hidden, config.dim),
        "straight": 0.3 * draw(keys[2], width, config.dim),
    }
    fitted = fit(
        functools.partial(_metric_loss, config),
        params,
        {"cold": cold, "decorrelate": decorrelate},
        cosine_adam(config.metric_rate, config.metric_steps),
        {"chosen": cold.chosen},
        keys[3],
        num_steps=config.metric_steps,
        batch_size=min(config.metric_batch, len(cold.chosen)),
    )
    return _item_vectors(fitted.params, cold.texts)


def cold_recall(config: Any, seed: tuple[Cold, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """How well scores [U, J] rank the items that were not on offer, for users who chose some of them."""
    cold, scores = seed
    wanted = cold.chosen & ~cold.warm
    some = jnp.any(wanted, axis=1)
    recall = metrics.recall_at_k(jnp.where(cold.warm, -jnp.inf, scores), wanted, k=config.best)
    return {"cold_recall": jnp.sum(jnp.where(some, recall, 0.0)) / jnp.sum(some)}, {}


def by_distance(config: Any, seed: tuple[Cold, Array], decorrelate: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Scores [U, J] by a learned distance, how far it is off the rate of choices, how correlated coordinates are."""
    cold, key = seed
    vectors = metric_vectors(config, cold, key, decorrelate)
    users = retrieval.history_embedding(vectors, cold.chosen & cold.warm)
    squares = kernels.pairwise_sq_dists(users, vectors)
    measured = {
        "purchase_gap": purchase_gap(cold, jnp.sqrt(squares + 1e-12)),
        "covariance": losses.off_diagonal_covariance(vectors),
    }
    return measured, {"scores": -squares}


def purchase_gap(cold: Cold, distance: Array) -> Array:
    """How far the mean predicted probability of choosing a new item is from the rate; fitted on the items on offer."""
    chosen = cold.chosen.astype(jnp.float32)
    on_offer = jnp.broadcast_to(cold.warm, distance.shape)

    def loss_fn(params: PyTree) -> Array:
        logits = params["bias"] - params["scale"] * jnp.square(distance)
        return masked_mean(optax.losses.sigmoid_binary_cross_entropy(logits, chosen), on_offer)

    start = {"scale": jnp.ones(()), "bias": jnp.zeros(())}
    params = optim.minimize(loss_fn, start, optax.adam(0.3), num_steps=100).params
    probs = retrieval.purchase_probability(distance, params["scale"], params["bias"])
    return jnp.abs(masked_mean(probs - chosen, ~on_offer))
