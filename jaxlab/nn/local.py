"""Layers that are trained one by one: blocks that denoise a label, physics that is only evaluated, sweeps of labels."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "PhysicalLayer",
    "label_sweep_predict",
    "noprop_block",
    "noprop_block_init",
    "physical_layer_init",
    "physical_response",
]


def noprop_block_init(key: Array, *, inputs: int, embedding: int, width: int, num_classes: int) -> PyTree:
    """Parameters of ``noprop_block``; ``vmap`` over keys stacks the blocks, which are trained in parallel.

    Args:
      key: PRNG key.
      inputs: D, static.
      embedding: E, length of the label's embedding, static.
      width: W, static.
      num_classes: K, outputs of the block, static.
    Returns:
      Nested dict of float32 arrays: "x", "z", "fused" and "head", each of kernel and bias.
    Raises:
      ValueError: a size is below 1.
      TypeError: a size is no static integer.

    >>> params = noprop_block_init(jax.random.key(0), inputs=8, embedding=3, width=4, num_classes=3)
    >>> print(params["fused"]["kernel"].shape)
    (8, 4)

    Reference: as ``noprop_block``.
    """
    d, e = checks.size(inputs, "inputs"), checks.size(embedding, "embedding")
    w, k = checks.size(width, "width"), checks.size(num_classes, "num_classes")
    shapes = {"x": (d, w), "z": (e, w), "fused": (2 * w, w), "head": (w, k)}

    def dense(key: Array, shape: tuple[int, int]) -> dict[str, Array]:
        return {"kernel": jax.random.normal(key, shape) * (2.0 / shape[0]) ** 0.5, "bias": jnp.zeros(shape[1])}

    keys = jax.random.split(key, len(shapes))
    return {name: dense(one, shape) for one, (name, shape) in zip(keys, shapes.items(), strict=True)}


def noprop_block(params: PyTree, x: ArrayLike, z: ArrayLike) -> Array:
    r"""One block of NoProp: what class the input and a noisy embedding of its label speak for.

    .. math:: f = W_o^\top\, r\big(W_f^\top [\, r(W_x^\top x) \,\|\, r(W_z^\top z)\,]\big), \qquad
              \hat u = \operatorname{softmax}(f)\, W_{embed}

    with r the rectifier, and biases that are not written. The guess u-hat of the embedding, a mixture of embeddings, is
    the caller's; a block with as many outputs as the embedding is long can be a velocity instead.

    Args:
      params: of ``noprop_block_init``.
      x: float [..., D]; append an embedding of the time where one block serves all times.
      z: float [..., E], the state.
    Returns:
      float32 or wider [..., K], logits.
    Raises:
      ValueError: widths do not agree with params.
      TypeError: x or z is not floating point.

    >>> params = noprop_block_init(jax.random.key(0), inputs=2, embedding=3, width=4, num_classes=3)
    >>> print(noprop_block(params, jnp.zeros((5, 2)), jnp.zeros((5, 3))).shape)
    (5, 3)

    Reference: Li et al., "NoProp: Training Neural Networks without Back-propagation or Forward-propagation" (2025),
    paper text, with dense layers where the paper has convolutions.
    """
    x, z = checks.floating(x, "x"), checks.floating(z, "z")
    for name, value in (("x", x), ("z", z)):
        wanted = params[name]["kernel"].shape[0]
        if value.ndim < 1 or value.shape[-1] != wanted:
            raise ValueError(f"{name} must have shape [..., {wanted}] as params do, got {list(value.shape)}")
    dtype = accumulation_dtype(x, z, *jax.tree.leaves(params))

    def dense(name: str, value: Array) -> Array:
        return value.astype(dtype) @ params[name]["kernel"].astype(dtype) + params[name]["bias"].astype(dtype)

    seen, state = jnp.broadcast_arrays(jax.nn.relu(dense("x", x)), jax.nn.relu(dense("z", z)))
    return dense("head", jax.nn.relu(dense("fused", jnp.concatenate([seen, state], axis=-1))))


class PhysicalLayer(NamedTuple):
    """A medium that mixes D waves into W: a complex matrix in two parts [D, W], and a phase [W]."""

    real: Array
    imaginary: Array
    phase: Array


def physical_layer_init(key: Array, inputs: int, width: int) -> PhysicalLayer:
    r"""A medium drawn at random, as a scattering medium is.

    .. math:: M_{ij} \sim \mathcal{CN}(0, 1 / D), \qquad \phi_j \sim U[0, 2 \pi)

    Args:
      key: PRNG key.
      inputs: D, static.
      width: W, static.
    Returns:
      PhysicalLayer of float32.
    Raises:
      ValueError: a size is below 1.
      TypeError: a size is no static integer.

    >>> print(physical_layer_init(jax.random.key(0), 3, 5).real.shape)
    (3, 5)

    Reference: standard.
    """
    shape = (checks.size(inputs, "inputs"), checks.size(width, "width"))
    first, second, third = jax.random.split(key, 3)
    part = (0.5 / shape[0]) ** 0.5
    phase = jax.random.uniform(third, shape[1:], maxval=2.0 * jnp.pi)
    return PhysicalLayer(part * jax.random.normal(first, shape), part * jax.random.normal(second, shape), phase)


def physical_response(
    layer: PhysicalLayer, x: ArrayLike, *, kind: str = "intensity", differentiable: bool = False
) -> Array:
    r"""What detectors behind a random medium measure.

    .. math:: |x M|^2, \qquad \sin(\sqrt2\, x \operatorname{Re} M + \phi), \qquad
              \tanh(\sqrt2\, x \operatorname{Re} M + \cos \phi)

    for "intensity" (light on a camera), "cavity" (a chaotic cavity) and "tanh" (saturating amplifiers).

    Args:
      layer: of ``physical_layer_init``.
      x: float [..., D].
      kind: "intensity", "cavity" or "tanh", static.
      differentiable: False for physics, which can only be evaluated: no gradient passes, by x or by layer. True for a
        digital twin. Static.
    Returns:
      float32 or wider [..., W].
    Raises:
      ValueError: x does not fit the layer, or an unknown kind.
      TypeError: x is not floating point.

    >>> layer = PhysicalLayer(jnp.ones((2, 1)), jnp.zeros((2, 1)), jnp.zeros(1))
    >>> print(physical_response(layer, jnp.array([1.0, 2.0])))
    [9.]

    Reference: Momeni et al., "Backpropagation-free Training of Deep Physical Neural Networks" (2023), recalled; the
    authors' code holds a measured optical matrix and fitted models of an acoustic and a microwave device instead.
    """
    x = checks.floating(x, "x")
    checks.one_of(kind, "kind", ("intensity", "cavity", "tanh"))
    if x.ndim < 1 or x.shape[-1] != layer.real.shape[0]:
        raise ValueError(f"x must have shape [..., {layer.real.shape[0]}] as layer does, got {list(x.shape)}")
    dtype = accumulation_dtype(x, *layer)
    wide, phase = x.astype(dtype), layer.phase.astype(dtype)
    mixed = wide @ layer.real.astype(dtype)
    if kind == "intensity":
        response = mixed**2 + (wide @ layer.imaginary.astype(dtype)) ** 2
    elif kind == "cavity":
        response = jnp.sin(2.0**0.5 * mixed + phase)
    else:
        response = jnp.tanh(2.0**0.5 * mixed + jnp.cos(phase))
    return response if differentiable else jax.lax.stop_gradient(response)


def label_sweep_predict(goodness_fn: Callable[[Array, Array], Array], x: ArrayLike, *, num_classes: int) -> Array:
    r"""Classes by trial: the label under which a network finds the input best.

    .. math:: \hat y = \arg\max_c G(x, c)

    Args:
      goodness_fn: from (x [B, ...], labels int32 [B]) to goodness [B].
      x: array [B, ...].
      num_classes: C, static.
    Returns:
      int32 [B]; ties go to the lower label.
    Raises:
      ValueError: x has no axis, num_classes < 1, or goodness_fn returns another shape.
      TypeError: num_classes is no static integer.

    >>> print(label_sweep_predict(lambda x, labels: -jnp.abs(x - labels), jnp.array([0.2, 1.9]), num_classes=3))
    [0 2]

    Reference: Hinton, "The Forward-Forward Algorithm: Some Preliminary Investigations" (2022), standard.
    """
    rows = jnp.asarray(x)
    if rows.ndim < 1:
        raise ValueError("x must have shape [B, ...], got []")
    classes = checks.size(num_classes, "num_classes")

    def goodness(label: Array) -> Array:
        found = goodness_fn(rows, jnp.full(rows.shape[:1], label, jnp.int32))
        if found.shape != rows.shape[:1]:
            raise ValueError(f"goodness_fn must return shape {list(rows.shape[:1])}, got {list(found.shape)}")
        return found

    return jnp.argmax(jax.vmap(goodness)(jnp.arange(classes)), axis=0).astype(jnp.int32)
