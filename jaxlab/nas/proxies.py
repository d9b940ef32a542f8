"""Scores of an untrained network that guess how good it will be; larger is better unless a name says otherwise.

Networks enter as ``apply_fn(params, x) -> logits``, a pure function that treats every row of x by itself. A population
of one search space is scored by one program: encode it as masks on a largest network, and ``jax.lax.map`` over them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks, numerics
from jaxlab.nas.saliency import Select, selected
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import ApplyFn, Array, ArrayLike, PyTree

__all__ = [
    "TangentScores",
    "activation_code_logdet",
    "correlation_logdet",
    "input_jacobian",
    "jacobian_covariance",
    "relu_input_logdet",
    "tangent_scores",
]


def correlation_logdet(
    rows: ArrayLike,
    *,
    eps: float = 1e-5,
    row_where: ArrayLike | None = None,
    column_where: ArrayLike | None = None,
) -> Array:
    r"""How far rows are from being copies of each other, by the spectrum of their correlations (larger is better).

    .. math:: S = -\sum_{i=1}^R \Big[\log(\lambda_i + \varepsilon) + \frac1{\lambda_i + \varepsilon}\Big], \quad
              \lambda = \operatorname{eig}\big(\operatorname{corr}(x_1, \dots, x_R)\big)

    At most -R, which only rows without any correlation come near. A row that does not vary correlates with nothing: it
    counts as the eigenvalue 1. Fewer columns than rows leave eigenvalues of 0, each of which costs 1 / eps.

    Args:
      rows: float [..., R, C]; C >= 2.
      eps: > 0. An eigenvalue of 0 carries rounding of about 1e-6 in float32.
      row_where: bool [R], True for the rows that exist.
      column_where: bool [C], True for the columns that do.
    Returns:
      float32 or wider [...], finite for finite rows.
    Raises:
      ValueError: fewer than two axes, a row of fewer than two numbers, a mask of another shape, or eps <= 0.
      TypeError: rows are not floating point, or a mask is not boolean.

    >>> print(correlation_logdet(jnp.array([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])).round(3))
    -2.0

    Reference: Mellor et al., "Neural Architecture Search without Training" (2020, first version), as in the code of He
    et al., "Robustifying and Boosting Training-Free Neural Architecture Search" (2024), checked. That code takes the
    eigenvalues of a general matrix and gives NaN for a row that does not vary.
    """
    rows = checks.floating(rows, "rows")
    if rows.ndim < 2 or rows.shape[-2] < 1 or rows.shape[-1] < 2:
        raise ValueError(f"rows must have shape [..., R, C] with R >= 1 and C >= 2, got {list(rows.shape)}")
    checks.positive(eps, "eps")
    number = rows.shape[-2]
    checks.mask(row_where, "row_where", (number,))
    checks.mask(column_where, "column_where", rows.shape[-1:])
    exists, columns = (True if some is None else jnp.asarray(some) for some in (row_where, column_where))
    counts = jnp.broadcast_to(jnp.reshape(exists, (-1, 1)) & jnp.asarray(columns), rows.shape)
    wide = jnp.where(counts, rows.astype(accumulation_dtype(rows)), 0.0)
    away = jnp.where(counts, wide - numerics.masked_mean(wide, counts, axis=-1)[..., None], 0.0)
    # What is left of equal numbers after their mean is taken off is rounding.
    noise = 10 * jnp.finfo(wide.dtype).eps * jnp.max(jnp.abs(wide), axis=-1, keepdims=True)
    varies = jnp.max(jnp.abs(away), axis=-1, keepdims=True) > noise
    unit = numerics.normalize(jnp.where(varies, away, 0.0), eps=0.0)
    spectrum = numerics.gram_spectrum(unit)  # descending; rows that do not vary add zeros at its end
    spectrum = jnp.pad(spectrum, [(0, 0)] * (spectrum.ndim - 1) + [(0, number - spectrum.shape[-1])])
    place, alive = jnp.arange(number), jnp.sum(varies, axis=(-2, -1))[..., None]
    shifted = jnp.where(place < alive, spectrum, 1.0) + eps
    return -jnp.sum(jnp.log(shifted) + 1.0 / shifted, axis=-1, where=place < jnp.sum(jnp.broadcast_to(exists, number)))


def activation_code_logdet(codes: ArrayLike, *, unit_where: ArrayLike | None = None) -> Array:
    r"""NASWOT: how differently a network's units switch on for different inputs (larger is better; couples the batch).

    .. math:: S = \log \det K, \quad K_{nm} = \#\{u : c_{nu} = c_{mu}\} = C C^\top + (1 - C)(1 - C)^\top

    Args:
      codes: [N, U], N >= 1, of all units together: True or > 0 where a unit is on. Pre-activations will do.
      unit_where: bool [U], True where a unit exists.
    Returns:
      float32 (wider if codes are) []; -inf where K is singular to rounding, as with two inputs of the same code. No
      gradient.
    Raises:
      ValueError: codes are not [N, U], or unit_where not [U].
      TypeError: codes are complex or no numbers, or unit_where is not boolean.

    >>> print(activation_code_logdet(jnp.array([[True, False, True], [True, True, True]])).round(2))
    1.61

    Reference: Mellor et al., "Neural Architecture Search without Training" (2021), checked against the code of Dong et
    al., "DisWOT: Student Architecture Search for Distillation WithOut Training" (2023).
    """
    codes = checks.rank(codes, "codes", 2, layout="[N, U]")
    if jnp.issubdtype(codes.dtype, jnp.complexfloating):
        raise TypeError(f"codes must be real numbers or booleans, got {codes.dtype}")
    if codes.shape[0] < 1:
        raise ValueError(f"codes must hold at least one row, got {list(codes.shape)}")
    mask = checks.mask(unit_where, "unit_where", codes.shape[1:])
    dtype = accumulation_dtype(codes)
    exists = jnp.ones(codes.shape[1], dtype) if mask is None else mask.astype(dtype)
    signs = jnp.where(codes > 0, 1.0, -1.0).astype(dtype) * exists
    agree = 0.5 * (jnp.sum(exists) + jnp.matmul(signs, signs.T, precision="highest"))  # whole numbers
    twins = jnp.any(jnp.triu(agree >= jnp.sum(exists), 1))  # elimination would leave their pivot to rounding
    return jnp.where(twins, -jnp.inf, _positive_logdet(agree))


def relu_input_logdet(inputs: ArrayLike) -> Array:
    r"""The volume that the inputs of all ReLUs span, a variant of NASWOT (larger is better; couples the batch).

    .. math:: S = \log \det \textstyle\sum_l X_l X_l^\top = \log \det X X^\top

    Args:
      inputs: float [N, U], of all units together; a unit that does not exist may be 0.
    Returns:
      float32 or wider []; -inf where X X' is singular to rounding, as with fewer units than inputs or with two
      inputs alike. No gradient.
    Raises:
      ValueError: inputs are not [N, U].
      TypeError: inputs are not floating point.

    >>> print(relu_input_logdet(jnp.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])).round(4))
    1.3863

    Reference: the "naswot" of the code of He et al., "Robustifying and Boosting Training-Free Neural Architecture
    Search" (2024), checked; the published score takes binary codes, ``activation_code_logdet``.
    """
    inputs = checks.rank(checks.floating(inputs, "inputs"), "inputs", 2, layout="[N, U]")
    wide = inputs.astype(accumulation_dtype(inputs))
    if inputs.shape[0] > inputs.shape[1]:
        return jnp.array(-jnp.inf, wide.dtype)
    return _positive_logdet(jnp.matmul(wide, wide.T, precision="highest"))


def _positive_logdet(matrix: Array) -> Array:
    """log det of a matrix that is positive semi-definite up to rounding; -inf where it is singular."""
    pivots = jnp.diagonal(jnp.linalg.cholesky(jax.lax.stop_gradient(matrix))) ** 2  # NaN where elimination fails
    rounding = matrix.shape[0] * jnp.finfo(matrix.dtype).eps * jnp.max(jnp.diagonal(matrix))
    regular = pivots > rounding
    return jnp.where(jnp.all(regular), jnp.sum(jnp.log(jnp.where(regular, pivots, 1.0))), -jnp.inf)


def input_jacobian(apply_fn: ApplyFn, params: PyTree, x: ArrayLike) -> Array:
    r"""Gradient of the summed outputs by the input, a row per example, from one backward pass.

    .. math:: J_n = \frac{\partial}{\partial x_n} \sum_c f_c(x_n)

    Args:
      apply_fn: ``apply_fn(params, x) -> [N, ...]``, each row by itself.
      params: pytree of floats.
      x: float [N, ...].
    Returns:
      [N, D] in the dtype of x, D the numbers of one example.
    Raises:
      TypeError: x is not floating point.

    >>> print(input_jacobian(lambda w, x: x @ w, jnp.array([[1.0, 2.0], [0.0, 5.0]]), jnp.ones((1, 2))))
    [[3. 5.]]

    Reference: as in the code of He et al., "Robustifying and Boosting Training-Free Neural Architecture Search" (2024),
    checked.
    """
    x = checks.floating(x, "x")
    gradient = jax.grad(lambda x: jnp.sum(apply_fn(params, x).astype(accumulation_dtype(x))))(x)
    return gradient.reshape(x.shape[0], -1)


def jacobian_covariance(apply_fn: ApplyFn, params: PyTree, x: ArrayLike, *, eps: float = 1e-5) -> Array:
    """How differently the network's output moves with its input at different examples (larger is better).

    ``correlation_logdet`` of the rows of ``input_jacobian``.

    Args:
      apply_fn: ``apply_fn(params, x) -> [N, ...]``, each row by itself.
      params: pytree of floats.
      x: float [N, ...], N >= 2.
      eps: > 0.
    Returns:
      float32 or wider []. A linear network, whose rows are all alike, gets the least possible score.
    Raises:
      ValueError: fewer than two examples, or eps <= 0.
      TypeError: x is not floating point.

    >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> bool(jacobian_covariance(lambda w, x: jnp.tanh(x) @ w, jnp.ones((2, 1)), x) < -1e4)
    True

    Reference: as ``correlation_logdet``.
    """
    x = checks.floating(x, "x")
    if x.ndim < 2 or x.shape[0] < 2:
        raise ValueError(f"x must have shape [N, ...] with N >= 2, got {list(x.shape)}")
    return correlation_logdet(input_jacobian(apply_fn, params, x), eps=eps)


class TangentScores(NamedTuple):
    """Two numbers of the tangent kernel of the true classes' logits, and its spectrum.

    Attributes:
      trace: sqrt(tr K / N); larger is better.
      condition: largest over smallest eigenvalue, +inf where K is singular; SMALLER is better.
      spectrum: [N], descending, >= 0.
    """

    trace: Array
    condition: Array
    spectrum: Array


def tangent_scores(
    apply_fn: ApplyFn, params: PyTree, x: ArrayLike, labels: ArrayLike, *, select: Select | None = None
) -> TangentScores:
    r"""Size and condition number of the neural tangent kernel on one batch (couples the batch).

    .. math:: K_{nm} = \Big\langle \frac{\partial f_{y_n}(x_n)}{\partial\theta},
              \frac{\partial f_{y_m}(x_m)}{\partial\theta} \Big\rangle, \qquad
              \sqrt{\operatorname{tr} K / N}, \quad \lambda_1 / \lambda_N

    Args:
      apply_fn: ``apply_fn(params, x) -> logits [N, C]``, each row by itself.
      params: pytree of floats.
      x: float [N, ...], N >= 1.
      labels: int [N] in [0, C); outside takes part as zero.
      select: which leaves count, as in ``trees.path_mask``; None takes all.
    Returns:
      TangentScores in float32 or wider.
    Raises:
      ValueError: x and labels do not agree or are empty, or no leaf is selected.
      TypeError: x is not floating point, or labels are not integers.

    >>> x, labels = jnp.array([[3.0, 0.0], [0.0, 1.0]]), jnp.array([0, 0])
    >>> found = tangent_scores(lambda w, x: x @ w, jnp.zeros((2, 2)), x, labels)
    >>> print(found.trace.round(4), found.condition)
    2.2361 9.0

    Reference: as in the code of He et al., "Robustifying and Boosting Training-Free Neural Architecture Search" (2024),
    checked; the condition number after Chen et al., "Neural Architecture Search on ImageNet in Four GPU Hours" (2021).
    """
    x, labels = checks.floating(x, "x"), checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.batch_match(x, "x", labels, "labels")
    number = labels.shape[0]
    if number < 1:
        raise ValueError("x must hold at least one example, got none")
    chosen = [True] * len(jax.tree.leaves(params)) if select is None else selected(params, select)
    if not any(chosen):
        raise ValueError("select must choose at least one leaf of params")

    def own_logit(params: PyTree, x: Array, label: Array) -> Array:
        logits = apply_fn(params, x[None])[0]
        return jnp.sum(jnp.where(jnp.arange(logits.shape[-1]) == label, logits, 0.0))

    slopes = jax.vmap(jax.grad(own_logit), in_axes=(None, 0, 0))(params, x, labels)
    flat = [leaf.reshape(number, -1) for leaf, used in zip(jax.tree.leaves(slopes), chosen, strict=True) if used]
    wide = jnp.concatenate([leaf.astype(accumulation_dtype(leaf)) for leaf in flat], axis=1)
    spectrum = numerics.gram_spectrum(wide)
    spectrum = jnp.pad(spectrum, (0, number - spectrum.shape[0]))
    # Eigenvalues this small are rounding.
    smallest = jnp.where(spectrum[-1] > number * jnp.finfo(wide.dtype).eps * spectrum[0], spectrum[-1], 0.0)
    condition = jnp.where(smallest > 0, spectrum[0] / jnp.where(smallest > 0, smallest, 1.0), jnp.inf)
    return TangentScores(jnp.sqrt(jnp.sum(spectrum) / number), condition, spectrum)
