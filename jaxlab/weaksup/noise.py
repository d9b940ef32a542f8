"""Labels that lie: matrices of how they do, and drawing from them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.metrics import confusion_matrix
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "corrupt_labels",
    "estimate_transition",
    "refine_correspondence",
    "transition_biased",
    "transition_noisy",
    "transition_uniform",
]


def transition_uniform(num_classes: int, *, rate: ArrayLike = 1.0) -> Array:
    r"""Labels that are wrong at one rate, every wrong class as likely as any other (symmetric noise).

    .. math:: T_{cc} = 1 - \rho, \qquad T_{ct} = \frac{\rho}{C - 1} \text{ for } t \ne c

    Args:
      num_classes: C >= 2, static.
      rate: rho in [0, 1], how often a label is wrong; 1 leaves no label right, as in relabelling to unlearn. The other
        convention, in which a redrawn label may be right by chance, is ``rate * (C - 1) / C`` here.
    Returns:
      float32 [C, C], rows sum to 1.
    Raises:
      ValueError: num_classes < 2, or a static rate outside [0, 1].
      TypeError: num_classes is not a static integer.

    >>> print(transition_uniform(3, rate=0.5))
    [[0.5  0.25 0.25]
     [0.25 0.5  0.25]
     [0.25 0.25 0.5 ]]

    Reference: standard.
    """
    checks.size(num_classes, "num_classes", 2)
    checks.in_range(rate, "rate", 0.0, 1.0)
    wrong = jnp.asarray(rate, jnp.float32)
    same = jnp.eye(num_classes, dtype=bool)
    return jnp.where(same, 1.0 - wrong, wrong / (num_classes - 1))


def corrupt_labels(key: Array, labels: ArrayLike, transition: ArrayLike) -> Array:
    r"""Noisy labels: each drawn from the row of its class.

    .. math:: P(\tilde y = t \mid y = c) = T_{ct}

    Args:
      key: typed PRNG key.
      labels: int [...]; a label outside [0, C) stays as it is.
      transition: float [C, C], >= 0, rows sum to 1, such as ``transition_uniform``.
    Returns:
      int32 (wider if labels are) [...].
    Raises:
      ValueError: transition is not square.
      TypeError: labels are not integers, or transition is not floating point.

    >>> print(corrupt_labels(jax.random.key(0), jnp.array([0, 1, -1]), transition_uniform(2)))
    [ 1  0 -1]

    Reference: standard.
    """
    labels, table = checks.integer(labels, "labels"), checks.floating(transition, "transition")
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(f"transition must have shape [C, C], got {list(table.shape)}")
    known = (labels >= 0) & (labels < table.shape[0])
    logits = jnp.log(table.astype(jnp.promote_types(table.dtype, jnp.float32)))
    drawn = jax.random.categorical(key, logits[jnp.where(known, labels, 0)])
    return jnp.where(known, drawn.astype(labels.dtype), labels)


def transition_biased(
    key: Array, num_classes: int, *, levels: ArrayLike | Sequence[float] = (0.75, 0.24, 0.01)
) -> Array:
    r"""Labels that are always wrong, some wrong classes much more often than others.

    .. math:: T_{cc} = 0, \qquad \{T_{ct}\}_{t \ne c} = \text{a shuffle of } a_{i \bmod L} / Z, \; i < C - 1

    The levels are repeated until every wrong class has one, and dealt to them anew for every row.

    Args:
      key: typed PRNG key of the shuffles.
      num_classes: C >= 2, static.
      levels: float [L], >= 0, not all 0 among the first C - 1; (0.75, 0.24, 0.01) is the "strong" bias of the
        benchmark, (0.45, 0.30, 0.25) its "weak" one.
    Returns:
      float32 [C, C], rows sum to 1, the diagonal is 0.
    Raises:
      ValueError: num_classes < 2, levels is not [L] with L >= 1, or static levels are negative or all 0.
      TypeError: num_classes is not a static integer, or levels are not floating point.

    >>> print(jnp.sort(transition_biased(jax.random.key(0), 4), axis=1)[0])
    [0.   0.01 0.24 0.75]

    Reference: Wang et al., "CLImage: Human-Annotated Datasets for Complementary-Label Learning" (2025), checked against
    the benchmark's code, which knows 10 classes only.
    """
    checks.size(num_classes, "num_classes", 2)
    level = checks.rank(checks.floating(jnp.asarray(levels), "levels"), "levels", 1, layout="[L]").astype(jnp.float32)
    if level.shape[0] == 0:
        raise ValueError("levels must have shape [L] with L >= 1, got [0]")
    wrong = num_classes - 1
    if not isinstance(level, jax.core.Tracer) and (jnp.any(level < 0) or jnp.sum(level[:wrong]) == 0):
        raise ValueError(f"levels must be >= 0 and not all 0 among the first {wrong}, got {level.tolist()}")
    dealt = level[jnp.arange(wrong) % level.shape[0]]
    order = jnp.argsort(jax.random.uniform(key, (num_classes, wrong)), axis=1)
    rows = (dealt / jnp.sum(dealt))[order]
    place = jnp.arange(num_classes)
    # Entry t of row c is the one before it where t lies behind the diagonal.
    source = place - (place > place[:, None])
    return jnp.where(jnp.eye(num_classes, dtype=bool), 0.0, jnp.take_along_axis(rows, source % wrong, axis=1))


def transition_noisy(base: ArrayLike, *, noise: ArrayLike) -> Array:
    r"""A transition matrix in which a share of the labels is drawn blindly instead.

    .. math:: (1 - \eta)\, T + \eta / C

    Complementary labels that follow it name the true class now and then.

    Args:
      base: float [C, C], T, rows sum to 1.
      noise: eta in [0, 1].
    Returns:
      float32 or wider [C, C], rows sum to 1.
    Raises:
      ValueError: base is not square, or a static noise outside [0, 1].
      TypeError: base is not floating point.

    >>> print(transition_noisy(1.0 - jnp.eye(2), noise=0.5))
    [[0.25 0.75]
     [0.75 0.25]]

    Reference: Wang et al., "CLImage: Human-Annotated Datasets for Complementary-Label Learning" (2025), checked against
    the benchmark's code.
    """
    table = checks.floating(base, "base")
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(f"base must have shape [C, C], got {list(table.shape)}")
    checks.in_range(noise, "noise", 0.0, 1.0)
    table = table.astype(jnp.promote_types(table.dtype, jnp.float32))
    return (1.0 - jnp.asarray(noise)) * table + noise / jnp.asarray(table.shape[0], table.dtype)


def estimate_transition(
    labels: ArrayLike, given: ArrayLike, *, num_classes: int, where: ArrayLike | None = None
) -> Array:
    r"""How often each class was given each label (couples the batch).

    .. math:: \hat T_{ct} = \frac{|\{i : y_i = c,\, \tilde y_i = t\}|}{|\{i : y_i = c\}|}

    Args:
      labels: int [...], the true classes.
      given: int [...], the labels that came, noisy or complementary.
      num_classes: C, static. An example with a class or a label outside [0, C) is left out.
      where: bool [...], True where an example counts.
    Returns:
      float32 [C, C], rows sum to 1; the row of a class without examples is uniform.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: labels or given are not integers, num_classes not static, or where not boolean.

    >>> print(estimate_transition(jnp.array([0, 0, 1]), jnp.array([1, 0, 0]), num_classes=2))
    [[0.5 0.5]
     [1.  0. ]]

    Reference: standard.
    """
    truth, told = checks.integer(labels, "labels"), checks.integer(given, "given")
    checks.same_shape(truth, "labels", told, "given")
    table = confusion_matrix(told, truth, num_classes=num_classes, where=where).astype(jnp.float32)
    number = jnp.sum(table, axis=1, keepdims=True)
    return jnp.where(number > 0, table / jnp.maximum(number, 1.0), 1.0 / num_classes)


def refine_correspondence(clean: ArrayLike, steady: ArrayLike, label: ArrayLike, steady_label: ArrayLike) -> Array:
    r"""How surely a pair belongs together, from two suspicions: of its loss and of its changing prediction.

    .. math:: l = w\, l_w + (1 - w)\, o\, l_o

    A pair that the loss calls clean keeps its label; otherwise it gets the other label, as far as its prediction has
    been steady.

    Args:
      clean: float [...], w in [0, 1], the chance that the pair's loss is that of a clean one.
      steady: float [...], o in [0, 1], the chance that its pseudo-class stays where it was.
      label: float [...], l_w in [0, 1], its correspondence if clean.
      steady_label: float [...], l_o in [0, 1], its correspondence if not.
    Returns:
      float32 or wider [...], in [0, 1].
    Raises:
      ValueError: shapes do not broadcast.
      TypeError: an argument is not floating point.

    >>> print(refine_correspondence(jnp.array(0.25), jnp.array(0.5), jnp.array(1.0), jnp.array(1.0)))
    0.625

    Reference: Duan et al., "PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in
    Cross-Modal Retrieval" (2024). Checked against the authors' code.
    """
    named = (("clean", clean), ("steady", steady), ("label", label), ("steady_label", steady_label))
    arrays = [checks.floating(value, name) for name, value in named]
    dtype = jnp.result_type(jnp.float32, *(a.dtype for a in arrays))
    try:
        w, o, first, second = jnp.broadcast_arrays(*(a.astype(dtype) for a in arrays))
    except ValueError as error:
        shapes = ", ".join(f"{name} {list(a.shape)}" for (name, _), a in zip(named, arrays, strict=True))
        raise ValueError(f"the arguments must broadcast, got {shapes}") from error
    return w * first + (1.0 - w) * o * second
