"""Networks of random media with linear maps between them, trained layer by layer or through a model of the media."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.label_denoisers import (
    Row,
    Seed,
    cross_entropy,
    measured,
    of_unit_power,
    train,
    wrong_labels,
)
from jaxlab import losses, nn
from jaxlab.numerics import normalize, straight_through
from jaxlab.typing import Array, PyTree

__all__ = ["MISMATCHES", "by_goodness", "media", "reservoir", "through_model", "twins"]

Layers = list[nn.PhysicalLayer]
MISMATCHES = (0.0, 0.1, 0.2, 0.3, 0.4)


def media(config: Any, inputs: int, key: Array) -> Layers:
    """The media of one seed; methods with equally many inputs get the same."""
    sizes = [inputs, *(config.map_width,) * (config.physical_layers - 1)]
    keys = jax.random.split(key, len(sizes))
    return [nn.physical_layer_init(one, size, config.physical_width) for one, size in zip(keys, sizes, strict=True)]


def twins(layers: Layers, mismatch: Array, key: Array) -> Layers:
    """Digital models of the media that are off by this share of their amplitude."""
    rest = jnp.sqrt(1.0 - mismatch**2)

    def off(layer: nn.PhysicalLayer, key: Array) -> nn.PhysicalLayer:
        other = nn.physical_layer_init(key, *layer.real.shape)
        mix = lambda true, wrong: rest * true + mismatch * wrong  # noqa: E731
        return nn.PhysicalLayer(mix(layer.real, other.real), mix(layer.imaginary, other.imaginary), layer.phase)

    return [off(layer, one) for layer, one in zip(layers, jax.random.split(key, len(layers)), strict=True)]


def make_maps(config: Any, outputs: int, key: Array) -> list[dict[str, Array]]:
    """The linear maps behind the media; the last has that many outputs."""
    sizes = [*(config.map_width,) * (config.physical_layers - 1), outputs]
    width = config.physical_width
    keys = jax.random.split(key, len(sizes))
    return [
        {"kernel": jax.random.normal(one, (width, size)) / width**0.5, "bias": jnp.zeros(size)}
        for one, size in zip(keys, sizes, strict=True)
    ]


def responses(
    measure: Callable[[int, Array], Array], maps: list[dict[str, Array]], x: Array, *, local: bool
) -> list[Array]:
    """What comes out of every map. ``measure(layer, x)`` asks a medium; it is fed waves of unit power.

    With ``local`` no map sees the gradient of another: what is measured is taken as a number.
    """
    found, h = [], x
    for place, layer in enumerate(maps):
        seen = measure(place, of_unit_power(h))
        h = (jax.lax.stop_gradient(seen) if local else seen) @ layer["kernel"] + layer["bias"]
        found.append(h)
    return found


def by_goodness(config: Any, num_classes: int, seed: Seed, *, cosine: bool) -> Row:
    """Maps trained one by one to tell right from wrong labels: by the cosine with a direction, or by their power."""
    media_key, init_key, fit_key, _, axis_key = jax.random.split(seed.key, 5)
    layers = media(config, seed.x.shape[1] + num_classes, media_key)
    axes = jax.random.normal(axis_key, (config.physical_layers, config.map_width))
    written = functools.partial(nn.embed_label, num_classes=num_classes, scale=1.0)

    def measure(place: int, x: Array) -> Array:
        return nn.physical_response(layers[place], x, kind=config.physics)

    def answers(maps: PyTree, x: Array, y: Array) -> list[Array]:
        return responses(measure, maps, written(x, y), local=True)

    def loss(maps: PyTree, x: Array, y: Array, key: Array) -> Array:
        wrong = wrong_labels(key, y, num_classes)
        each = zip(answers(maps, x, y), answers(maps, x, wrong), axes, strict=True)
        if cosine:
            scale = config.cosine_scale
            found = [losses.contrastive_cosine(jnp.abs(a), jnp.abs(b), axis, scale=scale) for a, b, axis in each]
        else:
            found = [losses.forward_forward(jnp.mean(a**2, -1), jnp.mean(b**2, -1)) for a, b, _ in each]
        return jnp.sum(jnp.mean(jnp.stack(found), axis=1))

    maps = train(config, loss, make_maps(config, config.map_width, init_key), seed, fit_key)

    def goodness(x: Array, y: Array) -> Array:
        found = answers(maps, x, y)
        if cosine:
            along = [normalize(jnp.abs(h)) @ normalize(axis) for h, axis in zip(found, axes, strict=True)]
            return jnp.sum(jnp.stack(along), axis=0)
        return jnp.sum(jnp.stack([jnp.mean(h**2, axis=-1) for h in found]), axis=0)

    predicted = nn.label_sweep_predict(goodness, seed.test_x, num_classes=num_classes)
    return measured(predicted, seed), {}


def reservoir(config: Any, num_classes: int, seed: Seed) -> Row:
    """Random maps between the media, and a linear readout of everything that is measured."""
    media_key, init_key, map_key, fit_key = jax.random.split(seed.key, 4)
    layers = media(config, seed.x.shape[1], media_key)
    maps = make_maps(config, config.map_width, map_key)

    def states(x: Array) -> Array:
        seen = []

        def measure(place: int, x: Array) -> Array:
            seen.append(nn.physical_response(layers[place], x, kind=config.physics))
            return seen[-1]

        responses(measure, maps, x, local=True)
        return jnp.concatenate(seen, axis=-1)

    def loss(readout: PyTree, x: Array, y: Array, key: Array) -> Array:
        return jnp.mean(cross_entropy(states(x) @ readout["kernel"] + readout["bias"], y))

    width = config.physical_layers * config.physical_width
    start = {"kernel": jax.random.normal(init_key, (width, num_classes)) / width**0.5, "bias": jnp.zeros(num_classes)}
    readout = train(config, loss, start, seed, fit_key)
    return measured(states(seed.test_x) @ readout["kernel"] + readout["bias"], seed), {}


def through_model(config: Any, num_classes: int, seed: Seed, *, forward: str, exact: bool = False) -> Row:
    """Backpropagation through models of the media; the test is on the media themselves.

    In training the forward pass asks the "model", or the "media" with the model for the gradient alone. The accuracy is
    that of a model without a fault, or of the config's mismatch; the curve has all mismatches.
    """
    media_key, init_key, fit_key, twin_key = jax.random.split(seed.key, 4)
    layers = media(config, seed.x.shape[1], media_key)
    start = make_maps(config, num_classes, init_key)
    respond = functools.partial(nn.physical_response, kind=config.physics)

    def trained(mismatch: Array) -> Array:
        models = twins(layers, mismatch, twin_key)

        def measure(place: int, x: Array) -> Array:
            model = respond(jax.lax.stop_gradient(models[place]), x, differentiable=True)
            return model if forward == "model" else straight_through(respond(layers[place], x), model)

        def loss(maps: PyTree, x: Array, y: Array, key: Array) -> Array:
            return jnp.mean(cross_entropy(responses(measure, maps, x, local=False)[-1], y))

        maps = train(config, loss, start, seed, fit_key)
        real = responses(lambda place, x: respond(layers[place], x), maps, seed.test_x, local=True)[-1]
        return measured(real, seed)["accuracy"]

    if exact:
        return {"accuracy": trained(jnp.zeros(()))}, {}
    accuracy = jax.lax.map(trained, jnp.array([*MISMATCHES, config.mismatch]))
    return {"accuracy": accuracy[-1]}, {"by_mismatch": accuracy[:-1]}
