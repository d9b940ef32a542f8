"""Other generators whose guidance lies in their weights: what one call is worth to them.

A mean flow answers in one call, an aligned sequence model asks once per pixel instead of twice. Their images are not
those of the denoiser's full guidance, so there is no distance to it; what they share is the judge.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.assets import denoiser, flows, sequences
from experiments.assets.denoiser import ClassifierConfig
from experiments.assets.flows import MeanFlowConfig
from experiments.data import Dataset
from experiments.runner import Measured, Method, over_seeds
from jaxlab import diffusion, metrics
from jaxlab.typing import Array, PyTree

__all__ = ["GUESTS", "Bench", "measure_guest"]

LEVELS = 4
"""Grey levels of the sequence model."""
W, K = 0.3, 0.9
"""Baked-in guidance of the mean flow: scale W / (1 - K), that of the other rows."""


class Bench(NamedTuple):
    """The judge and what it sees, and where assets are kept."""

    judge: ClassifierConfig
    weights: PyTree
    real: Array
    labels: Array  # int [B], the wanted classes
    made: dict[str, Any]


class Guest(NamedTuple):
    """Calls for an image, and ``draw(params, labels, key) -> images [B, D]``."""

    params: PyTree
    calls: int
    draw: Callable[[PyTree, Array, Array], Array]


def mean_flow(config: Any, data: Dataset, bench: Bench) -> Guest:
    x = denoiser.scaled(data.x)
    steps = {"flow_steps": config.guest_flow_steps, "mean_steps": 2 * config.guest_flow_steps}
    network = MeanFlowConfig(dim=x.shape[1], classes=data.num_classes, w=W, k=K, **steps)
    params = flows.mean_flow_asset(network, x, jnp.asarray(data.y), **bench.made)
    plain = flows.unstaged(network)

    def draw(params: PyTree, labels: Array, key: Array) -> Array:
        noise = jax.random.normal(key, (labels.shape[0], x.shape[1]))
        ts = diffusion.time_grid(1, low=0.0)
        return diffusion.mean_flow_sample(noise, ts, u_fn=flows.mean_velocity(plain, params, labels)).x

    return Guest(params, 1, draw)


def sequence(config: Any, data: Dataset, bench: Bench, *, aligned: bool) -> Guest:
    tokens = sequences.grey_levels(data.x, LEVELS)
    made = {"root": bench.made["root"], "digest": f"{data.digest}-{LEVELS}"}
    base = sequences.PixelConfig(tokens.shape[1], LEVELS, data.num_classes, num_steps=config.guest_pixel_steps)
    params = sequences.pixel_asset(base, tokens, data.y, **made)
    if aligned:
        params = sequences.aligned_asset(sequences.AlignConfig(base), params, tokens, data.y, **made)

    def draw(params: PyTree, labels: Array, key: Array) -> Array:
        drawn = sequences.draw(base, params, labels, key, scale=None if aligned else 1.5)
        return sequences.as_images(drawn, LEVELS)

    return Guest(params, tokens.shape[1] * (1 if aligned else 2), draw)


GUESTS: Mapping[str, Callable[[Any, Dataset, Bench], Guest]] = {
    "mean_flow": mean_flow,
    "sequence_cfg": functools.partial(sequence, aligned=False),
    "cca": functools.partial(sequence, aligned=True),
}


def measure_guest(config: Any, data: Dataset, bench: Bench, keys: Array, method: Method) -> Measured:
    """Evaluations, Frechet distance and accuracy by the judge of the other rows."""
    guest = GUESTS[method.name](config, data, bench)

    def one(key: Array, params: PyTree, weights: PyTree, real: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        x = guest.draw(params, bench.labels, key)
        seen = denoiser.judge(bench.judge, weights, x)
        measured = {
            "frechet_3": metrics.frechet_distance(seen.features, real),
            "accuracy_3": metrics.accuracy(seen.logits, bench.labels),
        }
        return measured, {"images": x[:16]}

    found = over_seeds(one, keys, mode="map", shared=(guest.params, bench.weights, bench.real))
    calls = np.full(len(keys), float(guest.calls), np.float32)
    return found._replace(metrics={"evaluations_3": calls, "calls_3": calls, **found.metrics})
