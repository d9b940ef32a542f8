"""Small networks as pure functions: ``init(key) -> params``, ``features(params, x)``, ``logits(params, x)``.

The networks are flax NNX modules; ``functional`` turns one into a ``Network`` whose parameters are plain nested dicts
of arrays. So many seeds are one ``vmap``, and ``(network.logits, params)`` is the pair that jaxlab's functions take::

    network = mlp((64, 128, 10))
    params = jax.vmap(network.init)(jax.random.split(key, 5))
    logits = jax.vmap(network.logits, in_axes=(0, None))(params, x)
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, PyTree

__all__ = ["CNN", "MLP", "Conv2d", "Network", "cnn", "conv2d", "functional", "mlp", "pure"]

Activation = Callable[[Array], Array]


class Network(NamedTuple):
    """A network as three pure functions; ``params`` is a nested dict of arrays."""

    init: Callable[[Array], PyTree]
    features: Callable[[PyTree, Array], Array]
    logits: Callable[[PyTree, Array], Array]


def pure(make: Callable[[nnx.Rngs], Any], *methods: str) -> tuple[Callable[..., Any], ...]:
    """A module as pure functions: ``init(key) -> params``, a plain dict, and ``fn(params, *args)`` for every method.

    Args:
      make: builds the ``nnx.Module`` from ``nnx.Rngs``.
      *methods: names; ``__call__`` alone if there is none.
    Raises:
      TypeError: the module keeps anything besides parameters (batch statistics, dropout keys), which a pure function
        of (params, ...) would silently lose.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    leaves = [leaf for _, leaf in nnx.to_flat_state(state)]
    others = sorted({type(leaf).__name__ for leaf in leaves if not isinstance(leaf, nnx.Param)})
    if others:
        raise TypeError(f"make must build a module of parameters alone, got one that also keeps {', '.join(others)}")

    def init(key: Array) -> PyTree:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param))

    def calls(method: str) -> Callable[..., Any]:
        return lambda params, *args: getattr(nnx.merge(graph, params), method)(*args)

    return init, *map(calls, methods or ("__call__",))


def functional(make: Callable[[nnx.Rngs], Any]) -> Network:
    """The pure functions of a module that has ``features(x)`` and ``__call__(x)``.

    Args:
      make: builds the ``nnx.Module`` from ``nnx.Rngs``, for instance ``lambda rngs: MLP((64, 128, 10), rngs=rngs)``.
    Returns:
      Network: ``init(key)`` gives a plain dict and works under ``vmap``.
    Raises:
      TypeError: the module keeps anything besides parameters, see ``pure``.

    >>> network = functional(lambda rngs: MLP((2, 3, 4), rngs=rngs))
    >>> network.logits(network.init(jax.random.key(0)), jnp.ones((5, 2))).shape
    (5, 4)
    """
    return Network(*pure(make, "features", "__call__"))


def mlp(dims: Sequence[int], activation: Activation = nnx.relu) -> Network:
    """A fully connected network of widths ``dims``: input, hidden layers, classes."""
    return functional(lambda rngs: MLP(dims, activation, rngs=rngs))


def cnn(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    channels: Sequence[int] = (16, 32),
    hidden: int = 128,
    activation: Activation = nnx.relu,
) -> Network:
    """A convolutional network on images of ``image_shape`` (height, width, colours); see ``CNN``."""
    return functional(
        lambda rngs: CNN(image_shape, num_classes, channels=channels, hidden=hidden, activation=activation, rngs=rngs)
    )


class MLP(nnx.Module):
    """Fully connected layers; ``features`` are the last hidden layer after its activation.

    Args:
      dims: widths (input, hidden..., classes), two or more; with two, the model is linear and its features are x.
      activation: after every layer but the last.
      rngs: keys of the initial weights.
    """

    def __init__(self, dims: Sequence[int], activation: Activation = nnx.relu, *, rngs: nnx.Rngs) -> None:
        if len(dims) < 2:
            raise ValueError(f"dims must hold at least the input and the output width, got {tuple(dims)}")
        self.inputs = dims[0]
        self.activation = activation
        # A dict with string keys: parameter paths then read the same after a trip through a checkpoint.
        self.hidden = nnx.Dict({f"dense{i}": nnx.Linear(dims[i], dims[i + 1], rngs=rngs) for i in range(len(dims) - 2)})
        self.head = nnx.Linear(dims[-2], dims[-1], rngs=rngs)

    def features(self, x: Array) -> Array:
        """x: float [..., dims[0]] -> [..., dims[-2]]."""
        if x.shape[-1] != self.inputs:
            raise ValueError(f"x must have shape [..., {self.inputs}] (flatten images first), got {list(x.shape)}")
        for i in range(len(self.hidden)):
            x = self.activation(self.hidden[f"dense{i}"](x))
        return x

    def __call__(self, x: Array) -> Array:
        """x: float [..., dims[0]] -> [..., dims[-1]]."""
        return self.head(self.features(x))


class CNN(nnx.Module):
    """Convolutions 3x3 that each halve the image, one dense layer (the features), one linear head.

    Args:
      image_shape: (height, width, colours), such as (8, 8, 1) or (28, 28, 3).
      num_classes: width of the head.
      channels: output channels of each convolution.
      hidden: width of the features.
      activation: after every layer but the head.
      rngs: keys of the initial weights.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        channels: Sequence[int] = (16, 32),
        hidden: int = 128,
        activation: Activation = nnx.relu,
        rngs: nnx.Rngs,
    ) -> None:
        height, width, colours = image_shape
        self.image_shape = tuple(image_shape)
        self.activation = activation
        widths = (colours, *channels)
        self.convolutions = nnx.Dict(
            {f"conv{i}": Conv2d(widths[i], widths[i + 1], stride=2, rngs=rngs) for i in range(len(channels))}
        )
        for _ in channels:
            height, width = -(-height // 2), -(-width // 2)
        self.dense = nnx.Linear(height * width * widths[-1], hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, num_classes, rngs=rngs)

    def features(self, x: Array) -> Array:
        """x: float [B, height, width, colours], or [B, ...] with as many numbers a row -> [B, hidden]."""
        if math.prod(x.shape[1:]) != math.prod(self.image_shape):
            raise ValueError(f"x must hold images of shape {list(self.image_shape)}, got rows of {list(x.shape[1:])}")
        x = x.reshape(-1, *self.image_shape)
        for i in range(len(self.convolutions)):
            x = self.activation(self.convolutions[f"conv{i}"](x))
        return self.activation(self.dense(x.reshape(x.shape[0], -1)))

    def __call__(self, x: Array) -> Array:
        """x as in ``features`` -> [B, num_classes]."""
        return self.head(self.features(x))


class Conv2d(nnx.Module):
    """``conv2d`` with its kernel and bias."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 3, stride: int = 1, rngs: nnx.Rngs) -> None:
        self.stride = stride
        shape = (size, size, inputs, outputs)
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: Array) -> Array:
        """x: float [B, H, W, inputs] -> [B, H / stride, W / stride, outputs], rounded up."""
        return conv2d(self.kernel[...], x, stride=self.stride) + self.bias[...]


def conv2d(
    kernel: Array,
    x: Array,
    *,
    stride: int | tuple[int, int] = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
) -> Array:
    r"""Two-dimensional convolution (cross-correlation, as in every network) by slices and one matrix product.

    .. math:: y_{n,i,j,o} = \sum_{a,b,c} K_{a,b,c,o}\, x_{n,\, s i + a,\, s j + b,\, c}

    The CPU's own convolution is several times slower inside ``lax.scan``, where all training happens; this is not.
    It holds the kernel-height x kernel-width shifted copies of x in memory, which is no matter for small images.

    Args:
      kernel: float [KH, KW, I, O].
      x: float [B, H, W, I].
      stride: step of the window, one for both axes or (rows, columns).
      padding: "SAME", "VALID", or ((top, bottom), (left, right)).
    Returns:
      [B, H', W', O], in the wider dtype of the two inputs, summed in float32 or wider.
    Raises:
      ValueError: shapes do not agree, or the window is larger than the padded image.

    >>> conv2d(jnp.ones((2, 2, 1, 1)), jnp.ones((1, 4, 4, 1)), stride=2)[0, :, :, 0].tolist()
    [[4.0, 4.0], [4.0, 4.0]]
    """
    kernel = checks.rank(kernel, "kernel", 4, layout="[KH, KW, I, O]")
    x = checks.rank(x, "x", 4, layout="[B, H, W, I]")
    rows, columns, inputs, outputs = kernel.shape
    if x.shape[-1] != inputs:
        raise ValueError(f"x must have as many channels as kernel has inputs ({inputs}), got {x.shape[-1]}")
    down, right = (stride, stride) if isinstance(stride, int) else stride
    if isinstance(padding, str):
        checks.one_of(padding, "padding", ("SAME", "VALID"))
        padding = jax.lax.padtype_to_pads(x.shape[1:3], (rows, columns), (down, right), padding)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (x.shape[1] - rows) // down + 1, (x.shape[2] - columns) // right + 1
    if height < 1 or width < 1:
        raise ValueError(f"kernel is {rows} x {columns}, larger than the padded image {x.shape[1]} x {x.shape[2]}")
    shifted = [
        x[:, a : a + down * (height - 1) + 1 : down, b : b + right * (width - 1) + 1 : right]
        for a in range(rows)
        for b in range(columns)
    ]
    patches = jnp.concatenate(shifted, axis=-1)
    y = jnp.matmul(patches, kernel.reshape(-1, outputs), preferred_element_type=accumulation_dtype(kernel, x))
    return y.astype(jnp.result_type(kernel, x))
