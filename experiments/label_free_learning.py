"""Learning that labels cost little: prompts with a guarantee, and representations of the largest likelihood.

Prompts: a few words per class over a fixed pair of encoders, found greedily on labelled examples; the bound on their
true error pays for their improbability under a model of captions. Networks pay for how far their weights went.
Pretraining: a mixture, a factor model or a network of pairs sees unlabelled rows, then a few labels.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.assets import captions
from experiments.networks import mlp
from experiments.training import cosine_adam, fit
from jaxlab import analytic, metrics, optim, selfsup, text, zeroshot
from jaxlab.typing import Array, PyTree

WORDS_EACH = 2  # words in the prompt of a class
BETAS = (0.0, 0.001, 0.003, 0.01, 0.03)  # weights of the prior in the search
SIGMAS = (0.01, 0.03, 0.1, 0.3)  # of the noise on a network's weights
DELTA = 0.05
LABELS = (10, 20, 50, 200)  # labelled rows
COMPONENTS, RANK = 30, 16
FLOOR = 0.01  # of a component's covariance, times the mean variance
RIDGE = 0.1
HEAD_STEPS = 40  # of L-BFGS


class Examples(NamedTuple):
    """Embeddings and pixels of labelled examples, and of test rows."""

    embeddings: Array  # [N, E]
    x: Array  # [N, D]
    y: Array  # [N]
    test: Array  # bool [N]
    key: Array


class Prompting(NamedTuple):
    """What all seeds share: the encoders and the model of captions."""

    params: PyTree
    log_probs: Array  # [V, V]


# Prompts


def search(examples: Examples, shared: Prompting, *, config: Any, num_classes: int) -> dict[str, Array]:
    """Prompts for every weight of the prior; the one of the least bound, and what the test rows say of all."""
    learned = ~examples.test

    def errors(tokens: Array, where: Array, rows: Array) -> Array:
        prompts = jnp.where(where, tokens, captions.END).reshape(num_classes, WORDS_EACH)
        scores = examples.embeddings @ captions.embed_captions(config, shared.params, prompts).T
        return 1.0 - metrics.accuracy(scores, examples.y, where=rows)

    def prior(tokens: Array, where: Array) -> Array:
        shape = (num_classes, WORDS_EACH)
        each = text.ngram_log_prob(
            shared.log_probs, tokens.reshape(shape), start=captions.START, where=where.reshape(shape)
        )
        return jnp.sum(each)

    def one(beta: Array) -> tuple[Array, ...]:
        found = zeroshot.greedy_prompt_search(
            lambda tokens, where: errors(tokens, where, learned),
            prior,
            vocabulary=len(captions.WORDS),
            length=num_classes * WORDS_EACH,
            beta=beta,
            block=len(captions.WORDS),
        )
        everything = jnp.ones_like(found.tokens, bool)
        return found.errors[-1], -found.log_priors[-1], errors(found.tokens, everything, examples.test)

    train, penalty, test = jax.lax.map(one, jnp.array(BETAS))
    num = jnp.sum(learned)
    # One of several searches is chosen by its bound: each may fail with its share of the probability.
    bound = metrics.seeger_bound(train, penalty, num, delta=DELTA / len(BETAS))
    best = jnp.argmin(bound)
    return {
        "train_error": train[best],
        "test_error": test[best],
        "bound": bound[best],
        "occam": metrics.occam_bound(train, penalty, num, delta=DELTA / len(BETAS))[best],
        "kl": penalty[best],
        "least_test_error": jnp.min(test),
    }


def parametric(
    examples: Examples, shared: Prompting, *, num_classes: int, network: bool, num_steps: int
) -> dict[str, Array]:
    """A head on the embeddings, or a network on the pixels, with the bound of noisy weights around its own."""
    x = examples.x if network else examples.embeddings
    model = mlp((x.shape[1], 64, num_classes) if network else (x.shape[1], num_classes))
    start = model.init(examples.key)
    fitted = fit(
        _cross_entropy(model),
        start,
        None,
        cosine_adam(0.005, num_steps),
        {"x": x, "y": examples.y},
        examples.key,
        num_steps=num_steps,
        batch_size=128,
        where=~examples.test,
    )
    moved = optax.tree.norm(optax.tree.sub(fitted.params, start), squared=True)

    def error(params: PyTree, rows: Array) -> Array:
        return 1.0 - metrics.accuracy(model.logits(params, x), examples.y, where=rows)

    def of_sigma(sigma: Array) -> tuple[Array, Array]:
        def draw(key: Array) -> Array:
            noise = optax.tree.random_like(key, fitted.params, jax.random.normal)
            return error(optax.tree.add_scale(fitted.params, sigma, noise), ~examples.test)

        train = jnp.mean(jax.lax.map(draw, jax.random.split(examples.key, 10)))
        penalty = moved / (2 * sigma**2)
        num = jnp.sum(~examples.test)
        return metrics.seeger_bound(train, penalty, num, delta=DELTA / len(SIGMAS)), penalty

    bounds, penalties = jax.lax.map(of_sigma, jnp.array(SIGMAS))
    best = jnp.argmin(bounds)
    return {
        "train_error": error(fitted.params, ~examples.test),
        "test_error": error(fitted.params, examples.test),
        "bound": bounds[best],
        "kl": penalties[best],
    }


@functools.cache
def _cross_entropy(model: Any) -> Any:
    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        logits = model.logits(params, batch["x"])
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"])), state

    return loss_fn


# Pretraining


class Rows(NamedTuple):
    """Rows without labels, of which the first count; labelled ones, of which the first count; and test rows."""

    unlabelled: Array  # [M, D]
    x: Array  # [max(LABELS), D]
    y: Array
    test_x: Array
    test_y: Array
    key: Array


def split(x: np.ndarray, y: np.ndarray, num_test: int, seed: int) -> Rows:
    """The rows of one seed; the labelled ones are among those without labels."""
    order = np.random.default_rng(seed).permutation(len(x))
    rest, test = order[num_test:], order[:num_test]
    few = rest[: max(LABELS)]
    unlabelled, labelled, labels, test_x, test_y = map(jnp.asarray, (x[rest], x[few], y[few], x[test], y[test]))
    return Rows(unlabelled, labelled, labels, test_x, test_y, jax.random.key(seed))


def _over_labels(fn: Any) -> dict[str, Array]:
    """Test accuracies, from ``fn(where [max(LABELS)]) -> accuracy`` of the labelled rows that count."""
    place = jnp.arange(max(LABELS))
    found = jax.lax.map(lambda number: fn(place < number), jnp.array(LABELS))
    return {f"accuracy_{number}": found[at] for at, number in enumerate(LABELS)}


def _logistic(rows: Rows, features: Array, test: Array, num_classes: int) -> dict[str, Array]:
    center = jnp.mean(features, axis=0)
    spread = jnp.sqrt(jnp.mean(jnp.var(features, axis=0)))
    train, held_out = ((part - center) / spread for part in (features, test))
    start = {"weight": jnp.zeros((train.shape[1], num_classes)), "bias": jnp.zeros(num_classes)}

    def accuracy(where: Array) -> Array:
        # The Newton steps of analytic.logistic_regression solve for all weights at once: too many here.
        def loss(params: PyTree) -> Array:
            logits = train @ params["weight"] + params["bias"]
            each = optax.losses.softmax_cross_entropy_with_integer_labels(logits, rows.y)
            return jnp.sum(each, where=where) + 0.5 * RIDGE * jnp.sum(jnp.square(params["weight"]))

        head = optim.minimize(loss, start, optax.lbfgs(), num_steps=HEAD_STEPS).params
        return metrics.accuracy(held_out @ head["weight"] + head["bias"], rows.test_y)

    return _over_labels(accuracy)


def supervised(rows: Rows, *, num_classes: int, num_unlabelled: int, num_steps: int) -> dict[str, Array]:
    """Logistic regression on the pixels."""
    return _logistic(rows, rows.x, rows.test_x, num_classes)


def factors(rows: Rows, *, num_classes: int, num_unlabelled: int, num_steps: int) -> dict[str, Array]:
    """Logistic regression on the expected factors of the factor model of the largest likelihood."""
    where = jnp.arange(len(rows.unlabelled)) < num_unlabelled
    model = analytic.ppca_fit(rows.unlabelled, rank=RANK, where=where)
    train, test = (analytic.ppca_posterior_mean(model, part) for part in (rows.x, rows.test_x))
    return _logistic(rows, train, test, num_classes)


def mixture(rows: Rows, *, num_classes: int, num_unlabelled: int, num_steps: int) -> dict[str, Array]:
    """Clusters of the largest likelihood, named by the labels that fall into them."""
    unlabelled = rows.unlabelled[:num_unlabelled]
    model = analytic.pca(unlabelled, rank=RANK)
    plain = functools.partial(analytic.pca_transform, model)
    z, train, test = (plain(part) for part in (unlabelled, rows.x, rows.test_x))
    start = analytic.kmeans(rows.key, z, k=COMPONENTS)
    init = jax.nn.one_hot(start.assignment, COMPONENTS)
    fitted = analytic.gmm_em(z, init, num_iters=30, ridge=FLOOR * jnp.mean(model.variance)).mixture
    # Both at once: triangular systems that are solved side by side can wait for each other for ever on few cores.
    both = jax.nn.softmax(analytic.gmm_log_prob(fitted, jnp.concatenate([train, test])), axis=1)
    posterior, test_posterior = both[: len(train)], both[len(train) :]
    named = jax.nn.one_hot(rows.y, num_classes)
    away = jnp.sum(jnp.square(fitted.mean[:, None] - train), axis=-1)

    def accuracy(where: Array) -> Array:
        votes = jnp.where(where[:, None], posterior, 0.0).T @ named
        # A cluster without labels takes that of the nearest labelled row.
        nearest = named[jnp.argmin(jnp.where(where, away, jnp.inf), axis=1)]
        table = votes + 1e-3 * nearest
        return metrics.accuracy(test_posterior @ (table / jnp.sum(table, axis=1, keepdims=True)), rows.test_y)

    return _over_labels(accuracy)


def contrastive(rows: Rows, *, num_classes: int, num_unlabelled: int, num_steps: int) -> dict[str, Array]:
    """Logistic regression on a network that learned which two noisy, shifted images are the same."""
    network, side = mlp((rows.x.shape[1], 64, RANK)), round(rows.x.shape[1] ** 0.5)

    def view(key: Array, x: Array) -> Array:
        shift_key, noise_key = jax.random.split(key)
        images = x.reshape(-1, side, side)
        shifts = jax.random.randint(shift_key, (len(x), 2), -1, 2)
        moved = jax.vmap(lambda image, by: jnp.roll(jnp.roll(image, by[0], 0), by[1], 1))(images, shifts)
        return moved.reshape(x.shape) + 0.1 * jax.random.normal(noise_key, x.shape)

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        one, two = (network.logits(params, view(k, batch["x"])) for k in jax.random.split(key))
        same = jnp.mean(selfsup.pair_logistic(one, two, jnp.ones(len(one), jnp.int32)))
        other = jnp.mean(selfsup.pair_logistic(one, jnp.roll(two, 1, 0), jnp.zeros(len(one), jnp.int32)))
        return same + other, state

    fitted = fit(
        loss_fn,
        network.init(rows.key),
        None,
        cosine_adam(0.003, num_steps),
        {"x": rows.unlabelled[:num_unlabelled]},
        rows.key,
        num_steps=num_steps,
        batch_size=128,
    )
    train, test = (network.features(fitted.params, part) for part in (rows.x, rows.test_x))
    return _logistic(rows, train, test, num_classes)
