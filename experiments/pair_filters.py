"""Two networks that tell each other which pairs belong together, without and with pseudo-classes."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.networks import Network, mlp
from experiments.training import cosine_adam, fit
from jaxlab import analytic, losses, metrics, retrieval, weaksup
from jaxlab.kernels import cosine_similarity
from jaxlab.numerics import masked_mean, min_max
from jaxlab.typing import Array, PyTree

__all__ = ["CoTrained", "co_train"]


class Trust(NamedTuple):
    """What a network is told about every pair."""

    clean: Array  # [N], chance that the pair belongs together, by its loss
    steady: Array  # [N], chance that its pseudo-class stays
    level: Array  # [N], correspondence
    lender: Array  # int [N], whose right half a mismatched pair borrows
    borrowed: Array  # [N], the correspondence of the borrowed one


class CoTrained(NamedTuple):
    """Both networks, and what they thought of the pairs before the last round (mean of both)."""

    params: tuple[PyTree, PyTree]
    clean: Array  # [N]
    steady: Array  # [N]


def low_component(values: Array) -> Array:
    """The chance that each of the numbers belongs to the lower of two Gaussians."""
    scaled = min_max(values)
    init = jnp.stack([1 - scaled, scaled], axis=1)
    return analytic.gmm_em(scaled[:, None], init, covariance="diag", num_iters=10, ridge=5e-4).posterior[:, 0]


class Towers(NamedTuple):
    """What a network consists of: an encoder for each half, and a head that tells pseudo-classes."""

    encoder: Network
    head: Network

    def init(self, key: Array) -> PyTree:
        """Random parameters."""
        keys = jax.random.split(key, 3)
        return {"encoders": [self.encoder.init(keys[0]), self.encoder.init(keys[1])], "head": self.head.init(keys[2])}

    def embed(self, params: PyTree, left: Array, right: Array) -> tuple[Array, Array]:
        """Both halves of pairs, embedded."""
        first, second = params["encoders"]
        return self.encoder.logits(first, left), self.encoder.logits(second, right)


def judge(config: Any, towers: Towers, left: Array, right: Array, params: PyTree, bank: Array) -> tuple[Trust, Array]:
    """What a network thinks of all pairs, and its pseudo-classes of the left halves; bank holds those of before."""
    a, b = towers.embed(params, left, right)
    size = left.shape[0]
    costs = losses.soft_margin_hinge(cosine_similarity(a, b), jnp.ones(size), margin=config.margin, hard=False)
    clean = low_component(costs)
    of_left = jax.nn.softmax(towers.head.logits(params["head"], a))
    steady = low_component(metrics.prediction_oscillation(of_left, bank))
    ones = jnp.ones(size)
    level = weaksup.refine_correspondence(clean, steady, ones, ones)
    # As published, left halves choose among left halves: whose is most alike lends its right half.
    lender, borrowed = retrieval.pseudo_caption(of_left, of_left, where=clean > 0.5)
    return Trust(clean, steady, level, lender, borrowed), of_left


def co_train(config: Any, key: Array, left: Array, right: Array, pseudo: Array) -> CoTrained:
    """Trains both networks in rounds; before each of them all pairs are judged, by the other network.

    In the first half of the rounds every pair is trusted, and the hinge is the mean over negatives. Then pairs that the
    other network trusts are learned from by a hinge whose margin is their correspondence, and by their pseudo-classes;
    the others, in the last quarter, with the right half of their lender. Where pseudo is 0 only the hinge on trusted
    pairs is left.
    """
    size, warm = left.shape[0], config.rounds // 2
    encoder = mlp((left.shape[1], config.hidden, config.width))
    head = mlp((config.width, config.head, config.pseudo_classes))
    towers, optimizer = Towers(encoder, head), cosine_adam(config.learning_rate, config.steps)

    def loss_fn(params: PyTree, state: tuple[Array, Trust], batch: dict[str, Array], key: Array) -> tuple[Array, Any]:
        number, trust = state
        told: Trust = jax.tree.map(lambda x: x[batch["index"]], trust)
        a, b = towers.embed(params, batch["left"], batch["right"])
        scores = cosine_similarity(a, b)
        warming = number < warm
        gentle = losses.soft_margin_hinge(scores, jnp.ones_like(told.level), margin=config.margin, hard=False)
        trusted = told.clean > 0.5
        level = jnp.where(pseudo > 0, told.level, 1.0)
        hinge = losses.soft_margin_hinge(scores, level, margin=config.margin, where=trusted)
        classes = losses.pseudo_classification(head.logits(params["head"], a), head.logits(params["head"], b))
        lent = encoder.logits(params["encoders"][1], right[told.lender])
        other = losses.soft_margin_hinge(
            cosine_similarity(a, lent), told.borrowed, margin=config.margin, where=~trusted
        )
        late = number >= config.rounds - config.rounds // 4
        # Hinges are summed over the batch and cross entropies averaged, as published: the hinge leads.
        warm_loss = jnp.sum(gentle) + pseudo * jnp.mean(classes)
        loss = jnp.sum(hinge) + pseudo * (masked_mean(classes, trusted) + late * jnp.sum(other))
        return jnp.where(warming, warm_loss, loss), state

    def round_(carry: Any, inputs: tuple[Array, Array]) -> tuple[Any, tuple[Array, Array]]:
        params, opt_state, banks = carry
        number, key = inputs
        trust, banks = jax.vmap(functools.partial(judge, config, towers, left, right))(params, banks)
        swapped = jax.tree.map(lambda x: x[::-1], trust)
        sizes = {"num_steps": config.steps // config.rounds, "batch_size": min(config.batch_size, size)}

        def train(params: PyTree, opt_state: PyTree, trust: Trust, key: Array) -> tuple[PyTree, PyTree]:
            data = {"left": left, "right": right}
            done = fit(loss_fn, params, (number, trust), optimizer, data, key, opt_state=opt_state, **sizes)
            return done.params, done.opt_state

        params, opt_state = jax.vmap(train)(params, opt_state, swapped, jax.random.split(key))
        return (params, opt_state, banks), (jnp.mean(trust.clean, axis=0), jnp.mean(trust.steady, axis=0))

    init_key, key = jax.random.split(key)
    params = jax.vmap(towers.init)(jax.random.split(init_key))
    banks = jnp.full((2, size, config.pseudo_classes), 1.0 / config.pseudo_classes)
    start = (params, jax.vmap(optimizer.init)(params), banks)
    keys = jax.random.split(key, config.rounds)
    (params, _, _), (clean, steady) = jax.lax.scan(round_, start, (jnp.arange(config.rounds), keys))
    first, second = (jax.tree.map(lambda x, i=i: x[i], params) for i in range(2))
    return CoTrained((first, second), clean[-1], steady[-1])
