"""Infinitely wide networks: their kernels at any depth through the dual of the activation, and what depth does to them.

Inputs are on the unit sphere and biases absent. With the dual scaled to 1 at t = 1, the value and the slope of the dual
decide what infinite depth makes of the neural tangent kernel classifier: the majority class where the dual does not
vanish at 0, the nearest neighbour where its slope vanishes there too, a singular kernel classifier otherwise.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "InfiniteWidthKernels",
    "dual_activation",
    "hermite_coefficients",
    "infinite_width_kernels",
    "majority_class",
    "optimal_activation",
    "relu_dual",
    "singular_kernel",
]

# dual(t) -> (value, slope): what the layer makes of a correlation, and the derivative of that.
Dual = Callable[[Array], tuple[Array, Array]]


class InfiniteWidthKernels(NamedTuple):
    """Of an infinitely wide network: ``nngp`` is the covariance of its initial outputs, ``ntk`` the tangent kernel."""

    nngp: Array
    ntk: Array


def hermite_coefficients(
    activation: Callable[[Array], Array], *, degree: int, scale: ArrayLike = 1.0, nodes: int = 100
) -> Array:
    r"""Coefficients of an activation in normalised Hermite polynomials, by Gauss-Hermite quadrature.

    .. math:: a_i = \mathbb E_{u \sim \mathcal N(0, 1)} \big[ \phi(\sigma u) \, h_i(u) \big],
              \quad h_0 = 1, \; h_1 = u, \; h_{i+1} = \frac{u h_i - \sqrt i \, h_{i-1}}{\sqrt{i + 1}}

    ``numerics.normalize`` of the result gives the sum of squares 1 that infinite depth asks for.

    Args:
      activation: elementwise; static. Quadrature is exact for polynomials with degree + ``degree`` < 2 ``nodes`` and
        good to 1e-6 for smooth activations, to about 1 / ``nodes`` where there is a kink.
      degree: of the last polynomial, static, >= 0.
      scale: sigma >= 0, the standard deviation of what goes into the activation.
      nodes: static, more than ``degree`` and at most 180.
    Returns:
      float32 or wider [degree + 1]; what is no more than rounding beside the largest (2e-6 of it) is exactly 0, as deep
      networks tell the two apart.
    Raises:
      ValueError: degree < 0, or nodes are not in (degree, 180].

    >>> print(hermite_coefficients(lambda u: u**2, degree=2).round(4))
    [1.     0.     1.4142]

    Reference: standard.
    """
    checks.size(degree, "degree", 0)
    checks.size(nodes, "nodes", degree + 1)
    if nodes > 180:
        raise ValueError(
            f"nodes must be at most 180, beyond which their weights leave the range of floats, got {nodes}"
        )
    places, weights = np.polynomial.hermite_e.hermegauss(nodes)
    basis = [np.ones_like(places), places]
    for i in range(1, degree):
        basis.append((places * basis[i] - np.sqrt(i) * basis[i - 1]) / np.sqrt(i + 1))
    table = np.stack(basis[: degree + 1]) * (weights / np.sqrt(2 * np.pi))
    dtype = accumulation_dtype(jnp.asarray(scale))
    values = activation(jnp.asarray(scale, dtype) * jnp.asarray(places, dtype))
    found = jnp.matmul(jnp.asarray(table, dtype), values.astype(dtype), precision="highest")
    largest = jnp.max(jnp.abs(found))
    return jnp.where(jnp.abs(found) < 16 * jnp.finfo(dtype).eps * largest, 0.0, found)


def dual_activation(t: ArrayLike, coefficients: ArrayLike, *, log: bool = False) -> tuple[Array, Array]:
    r"""Dual of an activation, from its Hermite coefficients, and the slope of the dual.

    .. math:: \hat\phi(t) = \mathbb E[\phi(u) \phi(v)] = \sum_i a_i^2 t^i, \qquad
              \hat\phi'(t) = \sum_{i \ge 1} i \, a_i^2 \, t^{i - 1}

    for standard normal u and v with correlation t.

    Args:
      t: float [...], correlations in [-1, 1]; with ``log`` their logarithms, <= 0, so that t is positive.
      coefficients: float [I], a.
      log: logarithms in and out, static: what is left of t after many layers underflows otherwise.
    Returns:
      (value, slope), float32 or wider [...]; logarithms of them with ``log``.
    Raises:
      ValueError: coefficients are not [I].
      TypeError: t or coefficients are not floating point.

    >>> value, slope = dual_activation(jnp.array(0.5), jnp.array([0.0, 0.6, 0.8]))
    >>> print(f"{value:.2f} {slope:.2f}")
    0.34 1.00

    Reference: Daniely, Frostig and Singer, "Toward Deeper Understanding of Neural Networks" (2016). Standard.
    """
    t = checks.floating(t, "t")
    coefficients = checks.rank(checks.floating(coefficients, "coefficients"), "coefficients", 1, layout="[I]")
    dtype = accumulation_dtype(t, coefficients)
    t, squares = t.astype(dtype), coefficients.astype(dtype) ** 2
    powers = jnp.arange(squares.shape[0], dtype=dtype)
    slopes = (powers * squares)[1:]
    if not log:
        return jnp.polyval(squares[::-1], t), jnp.polyval(slopes[::-1], t)

    def summed(weights: Array) -> Array:
        # Weights of 0 keep out of the sum, and so do their infinite logarithms out of its gradient.
        some = weights > 0
        logs = jnp.where(some, jnp.log(jnp.where(some, weights, 1.0)), -jnp.inf)
        return jax.nn.logsumexp(logs + powers[: weights.shape[0]] * t[..., None], axis=-1)

    return summed(squares), summed(slopes)


def relu_dual(t: ArrayLike) -> tuple[Array, Array]:
    r"""Dual of the rectifier scaled to unit variance, :math:`\sqrt 2 \max(u, 0)` (arc-cosine kernel), and its slope.

    .. math:: \hat\phi(t) = \frac{\sqrt{1 - t^2} + (\pi - \arccos t) \, t}{\pi}, \qquad
              \hat\phi'(t) = \frac{\pi - \arccos t}{\pi}

    Args:
      t: float [...], correlations; beyond [-1, 1] (by rounding) they count as -1 or 1.
    Returns:
      (value, slope), float32 or wider [...] in [0, 1]. At t = -1 and 1 the gradient of the slope, infinite there, is 0.
    Raises:
      TypeError: t is not floating point.

    >>> value, slope = relu_dual(jnp.array([0.0, 1.0]))
    >>> print([f"{v:.4f}" for v in value], slope)
    ['0.3183', '1.0000'] [0.5 1. ]

    Reference: Cho and Saul, "Kernel Methods for Deep Learning" (2009). Standard.
    """
    t = checks.floating(t, "t")
    t = t.astype(accumulation_dtype(t))
    return _relu_value(t), _relu_slope(t)


@jax.custom_jvp
def _relu_value(t: Array) -> Array:
    t = jnp.clip(t, -1.0, 1.0)
    # (1 - t) (1 + t) keeps what 1 - t^2 loses near 1.
    return jnp.sqrt((1 - t) * (1 + t)) / jnp.pi + _relu_slope(t) * t


@_relu_value.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # By the formula: differentiated as it is written, two infinite terms cancel at t = 1.
    return _relu_value(*primals), _relu_slope(*primals) * tangents[0]


def _relu_slope(t: Array) -> Array:
    inside = jnp.abs(t) < 1
    return jnp.where(inside, 1 - jnp.arccos(jnp.where(inside, t, 0.0)) / jnp.pi, (t > 0).astype(t.dtype))


def infinite_width_kernels(
    gram: ArrayLike, dual: Dual, *, depth: int | Array, log: bool = False
) -> InfiniteWidthKernels:
    r"""NNGP and neural tangent kernel of an infinitely wide network without biases, by recursion over its layers.

    .. math:: \Sigma_0 = \Theta_0 = t, \qquad \Sigma_l = \hat\phi(\Sigma_{l-1}), \qquad
              \Theta_l = \Theta_{l-1} \, \hat\phi'(\Sigma_{l-1}) + \Sigma_l

    Args:
      gram: float [...], correlations of inputs; beyond [-1, 1] (by rounding) they count as -1 or 1. An input with
        itself must be exactly 1: what rounding takes off grows with depth like any other distance.
      dual: ``dual(t) -> (value, slope)``, with value 1 at t = 1: ``relu_dual``, or ``dual_activation`` with its
        coefficients filled in; static.
      depth: hidden layers, >= 0; static, or traced where no gradient is wanted.
      log: logarithms in and out, static; ``dual`` has to take and give logarithms too, and correlations are positive.
        Numbers beyond the range of floats after many layers keep their order so.
    Returns:
      InfiniteWidthKernels(nngp, ntk), float32 or wider [...].
    Raises:
      ValueError: a static depth < 0.
      TypeError: gram is not floating point.

    >>> nngp, ntk = infinite_width_kernels(jnp.array([1.0, 0.0]), relu_dual, depth=2)
    >>> print(nngp.round(4), ntk.round(4))
    [1.     0.4937] [3.     0.6857]

    Reference: Jacot et al., "Neural Tangent Kernel: Convergence and Generalization in Neural Networks" (2018).
    Standard.
    """
    gram = checks.floating(gram, "gram")
    start = gram.astype(accumulation_dtype(gram))
    if not hasattr(depth, "dtype"):
        checks.size(depth, "depth", 0)
    top = 0.0 if log else 1.0

    def correlation(value: Array) -> Array:
        # Selections, not minima: those would halve the gradient of every entry that is exactly 1.
        value = jnp.where(value > top, top, value)
        return value if log else jnp.where(value < -1.0, -1.0, value)

    def layer(_: int, kernels: tuple[Array, Array]) -> tuple[Array, Array]:
        nngp, ntk = kernels
        value, slope = dual(nngp)
        # The dual of 1 is 1: with a slope of 2 there, sixty layers would make a distance of what rounding takes off.
        value = correlation(value + jax.lax.stop_gradient(jnp.where(nngp == top, top - value, 0.0)))
        return value, jnp.logaddexp(ntk + slope, value) if log else ntk * slope + value

    start = correlation(start)
    return InfiniteWidthKernels(*jax.lax.fori_loop(0, depth, layer, (start, start)))


def singular_kernel(gram: ArrayLike, coefficients: ArrayLike, *, depth: int | Array = 60) -> Array:
    r"""Logarithm of the singular kernel that an infinitely deep and wide network classifies by.

    .. math:: \kappa(t) = \lim_{L \to \infty} \frac{\Sigma_L(t)}{\hat\phi'(0)^L}, \qquad
              \kappa(t) \sim \|x - x'\|^{-\alpha} \;\; (x' \to x), \quad
              \alpha = -2 \, \frac{\log \hat\phi'(0)}{\log \hat\phi'(1)}

    ``jax.nn.softmax(singular_kernel(...)) @ one_hot`` are the votes of the classifier. Where the first coefficient
    vanishes there is no such limit, and the result is that of a division by 1: its largest entry is the nearest
    neighbour's.

    Args:
      gram: float [...], correlations of inputs; those of inputs without negative entries are not negative.
      coefficients: float [I], Hermite coefficients of the activation, with sum of squares 1; a_0 counts as 0.
      depth: hidden layers, >= 0, static or traced. Correlations closer to 1 than :math:`\hat\phi'(1)^{-L}` have not
        reached the limit; from about 125 layers on float32 cannot hold the logarithms where a_1 = 0.
    Returns:
      float32 or wider [...], log kappa; -inf with gradient 0 where gram <= 0.
    Raises:
      ValueError: coefficients are not [I] with I >= 2, or a static depth < 0.
      TypeError: gram or coefficients are not floating point.

    >>> a = hermite_coefficients(lambda u: optimal_activation(u, dim=2), degree=3)
    >>> [f"{value:.3f}" for value in singular_kernel(jnp.array([0.5, 0.9]), a)]
    ['-0.337', '1.721']

    Reference: Radhakrishnan, Belkin and Uhler, "Wide and Deep Neural Networks Achieve Optimality for Classification"
    (2023). The theorem is recalled, its limits are checked numerically.
    """
    gram = checks.floating(gram, "gram")
    coefficients = checks.rank(checks.floating(coefficients, "coefficients"), "coefficients", 1, layout="[I]")
    if coefficients.shape[0] < 2:
        raise ValueError(f"coefficients must hold a_0 and a_1 at least, got {list(coefficients.shape)}")
    wide = gram.astype(accumulation_dtype(gram, coefficients))
    positive = wide > 0

    def dual(log_t: Array) -> tuple[Array, Array]:
        return dual_activation(log_t, coefficients.at[0].set(0.0), log=True)

    logs = jnp.log(jnp.where(positive, wide, 1.0))
    nngp = infinite_width_kernels(logs, dual, depth=depth, log=True).nngp
    first = coefficients[1].astype(wide.dtype) ** 2
    first = jnp.where(first > 0, first, 1.0)
    return jnp.where(positive, nngp - depth * jnp.log(first), -jnp.inf)


def optimal_activation(x: ArrayLike, *, dim: ArrayLike) -> Array:
    r"""The activation with which an infinitely wide and deep network reaches the Bayes error, as data grow.

    .. math:: \phi(x) = 2^{-d/4} h_3(x) + \sqrt{1 - 2 \cdot 2^{-d/2}} \; h_2(x) + 2^{-d/4} h_1(x)

    with h the normalised Hermite polynomials. Its dual has value 0, 1 and slope :math:`2^{-d/2}`, 2 at t = 0, 1, which
    makes the singular kernel's exponent d.

    Args:
      x: float [...].
      dim: d >= 2, the dimension of the manifold on which the inputs lie.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: a static dim < 2.
      TypeError: x is not floating point.

    >>> print(optimal_activation(jnp.array([0.0, 1.0]), dim=4).round(4))
    [-0.5    0.0918]

    Reference: Radhakrishnan, Belkin and Uhler, "Wide and Deep Neural Networks Achieve Optimality for Classification"
    (2023). Recalled; its constants are checked numerically.
    """
    x = checks.floating(x, "x")
    checks.at_least(dim, "dim", 2)
    x = x.astype(accumulation_dtype(x))
    outer = jnp.exp2(-jnp.asarray(dim, x.dtype) / 4)
    inner = jnp.sqrt(-jnp.expm1(np.log(2) * (1 - jnp.asarray(dim, x.dtype) / 2)))  # exactly 0 for d = 2
    return outer * (x**3 - 3 * x) / np.sqrt(6) + inner * (x**2 - 1) / np.sqrt(2) + outer * x


def majority_class(labels: ArrayLike, *, num_classes: int, where: ArrayLike | None = None) -> Array:
    r"""The class that most training labels name: what the constant classifier always answers.

    .. math:: \arg\max_c \; |\{ n : y_n = c \}|

    Args:
      labels: int [N]; a label outside [0, num_classes) has no vote.
      num_classes: static, >= 1.
      where: bool [N], True where a label counts.
    Returns:
      int32, a tie goes to the lower class; 0 if nothing counts.
    Raises:
      ValueError: labels are not [N], where is not shaped like them, or num_classes < 1.
      TypeError: labels are not integers, or where is not boolean.

    >>> print(majority_class(jnp.array([2, 0, 2]), num_classes=3))
    2

    Reference: standard; what infinite depth makes of a network whose activation has a mean, Radhakrishnan, Belkin and
    Uhler, "Wide and Deep Neural Networks Achieve Optimality for Classification" (2023).
    """
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.size(num_classes, "num_classes")
    mask = checks.mask(where, "where", labels.shape)
    votes = (labels[:, None] == jnp.arange(num_classes)) & (True if mask is None else mask[:, None])
    return jnp.argmax(jnp.sum(votes, axis=0)).astype(jnp.int32)
