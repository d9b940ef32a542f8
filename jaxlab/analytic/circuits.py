"""A tractable density of discrete data: a tree of hidden variables, one below every observed one.

Likelihoods, marginals and the conditionals that a coder needs are exact, by passes over the tree in its depth-first
order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels.rooted_trees import path_sum, rooted, subtree_sum
from jaxlab.numerics.norms import masked_mean
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "HiddenTree",
    "PrefixState",
    "hclt_em_step",
    "hclt_init",
    "hclt_log_prob",
    "hclt_next_log_probs",
    "hclt_observe",
    "hclt_prefix_init",
    "hclt_prefix_log_marginals",
]


class HiddenTree(NamedTuple):
    """D observed variables with V values, a hidden variable with h states above each, and a tree over the hidden ones.

    Conditionals are logarithms and sum to 1 over their last axis. Depth-first ``order`` visits parents before children.
    """

    parent: Array  # int32 [D], D above the root
    order: Array  # int32 [D]
    log_transition: Array  # [D, h, h]: of the node's state given its parent's; the root uses row 0
    log_emission: Array  # [D, h, V]: of the value given the state


class PrefixState(NamedTuple):
    """What is known of N examples after the first ``step`` variables in depth-first order."""

    step: Array  # int32 []
    below: Array  # [N, D, h], log-probability of what has been seen at a node and in its finished subtrees
    above: Array  # [N, D, h], joint log-probability of a node's state and what was seen before the node


def hclt_init(key: Array, parent: ArrayLike, *, num_states: int, num_values: int) -> HiddenTree:
    r"""A hidden Chow-Liu tree with random conditionals, for ``hclt_em_step``.

    .. math:: p(x) = \sum_z \prod_i p(z_i \mid z_{\mathrm{pa}(i)})\, p(x_i \mid z_i)

    Args:
      key: PRNG key, which breaks the symmetry of the states.
      parent: int [D], a tree over the variables; the root is its own parent, or has -1. Chow and Liu's tree is
        ``kernels.minimum_spanning_tree(-metrics.pairwise_mutual_information(x)).parent``.
      num_states: h >= 1, static; 1 makes the variables independent.
      num_values: V >= 1, static.
    Returns:
      HiddenTree in float32; NaN throughout where a traced parent is no tree.
    Raises:
      ValueError: parent is not one tree, or a size is below 1.
      TypeError: parent does not hold integers.

    >>> tree = hclt_init(jax.random.key(0), jnp.array([-1, 0, 0, 1]), num_states=2, num_values=3)
    >>> print(tree.order, tree.log_emission.shape)
    [0 1 3 2] (4, 2, 3)

    Reference: Liu, Mandt and Van den Broeck, "Lossless Compression with Probabilistic Circuits" (2022), after Liu and
    Van den Broeck, "Tractable Regularization of Probabilistic Circuits" (2021). Recalled.
    """
    tree = rooted(parent)
    checks.size(num_states, "num_states")
    checks.size(num_values, "num_values")
    dim = tree.parent.shape[0]
    size = subtree_sum(tree.parent, jnp.ones(dim, jnp.int32))
    siblings = (tree.parent[:, None] == tree.parent[None, :]) & (jnp.arange(dim)[None, :] < jnp.arange(dim)[:, None])
    # A node comes after its ancestors and after the subtrees of its elder siblings and of theirs.
    place = path_sum(tree.parent, 1 + jnp.sum(jnp.where(siblings, size, 0), axis=1)) - 1
    order = jnp.zeros(dim, jnp.int32).at[place].set(jnp.arange(dim, dtype=jnp.int32))

    def draw(key: Array, width: int) -> Array:
        return jax.nn.log_softmax(0.5 * jax.random.normal(key, (dim, num_states, width)), axis=-1)

    first, second = jax.random.split(key)
    conditionals = draw(first, num_states), draw(second, num_values)
    return HiddenTree(tree.parent, order, *(jnp.where(tree.valid, table, jnp.nan) for table in conditionals))


def hclt_log_prob(tree: HiddenTree, x: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Log-likelihood of every example, or the marginal of a part of its variables, in one pass up the tree.

    .. math:: \log p(x_S) = \log \sum_{x_{\bar S}} p(x)

    Args:
      tree: HiddenTree of D variables.
      x: int [N, D], values in [0, V); others make the example NaN where they count.
      where: bool [N, D], True where a variable is given; the others are summed out and may hold anything.
    Returns:
      float32 (wider if the tree is) [N] in nats, <= 0; 0 where nothing is given. The cost is D h^2 per example.
    Raises:
      ValueError: x is not [N, D], or where has another shape.
      TypeError: x does not hold integers, or where is not boolean.

    >>> tree = hclt_init(jax.random.key(0), jnp.array([-1, 0]), num_states=2, num_values=3)
    >>> every = jnp.stack(jnp.meshgrid(jnp.arange(3), jnp.arange(3)), -1).reshape(9, 2)
    >>> print(jnp.exp(hclt_log_prob(tree, every)).sum().round(4))
    1.0

    Reference: Liu, Mandt and Van den Broeck (2022), as in ``hclt_init``. Standard.
    """
    x = _values(tree, x)
    mask = checks.mask(where, "where", x.shape)
    upward = _evidence(tree, x, mask)

    def climb(upward: Array, node: Array) -> tuple[Array, None]:
        message = _to_parent(upward[:, node], tree.log_transition[node])
        return upward.at[:, tree.parent[node]].add(message, mode="drop"), None

    upward, _ = jax.lax.scan(climb, upward, tree.order[:0:-1])
    root = tree.order[0]
    return _to_parent(upward[:, root], tree.log_transition[root])[:, 0]


def hclt_em_step(
    tree: HiddenTree,
    x: ArrayLike,
    *,
    where: ArrayLike | None = None,
    smoothing: ArrayLike = 0.1,
    step_size: ArrayLike = 1.0,
) -> tuple[HiddenTree, Array]:
    r"""One step of expectation maximisation on a batch.

    .. math:: \theta \leftarrow (1 - \eta)\, \theta + \eta\, \frac{n(\theta) + \alpha / V}{\sum (n + \alpha / V)},
              \qquad n(\theta) = \frac{\partial \sum_n \log p(x_n)}{\partial \log \theta}

    The derivatives by the logarithms are the expected counts.

    Args:
      tree: HiddenTree.
      x: int [N, D], values in [0, V).
      where: bool [N, D], True where a variable is given; an example of which nothing is takes no part.
      smoothing: alpha >= 0, pseudo-counts that every conditional shares among its outcomes. With 0 and a step of 1 the
        likelihood of the batch never falls.
      step_size: eta in (0, 1]; below 1 for mini-batches.
    Returns:
      (HiddenTree, mean log-likelihood of the batch BEFORE the step).
    Raises:
      ValueError: shapes do not agree, a static smoothing < 0, or a static step_size outside (0, 1].
      TypeError: x does not hold integers, or where is not boolean.

    >>> x = jnp.array([[0, 0], [1, 1], [1, 1]])
    >>> tree = hclt_init(jax.random.key(0), jnp.array([-1, 0]), num_states=2, num_values=2)
    >>> for _ in range(40):
    ...     tree, fit = hclt_em_step(tree, x, smoothing=0.0)
    >>> [f"{value:.2f}" for value in jnp.exp(hclt_log_prob(tree, x))]
    ['0.33', '0.67', '0.67']

    Reference: as ``hclt_init``. Recalled: mini-batches with smoothing; the counts by derivatives are standard.
    """
    checks.at_least(smoothing, "smoothing", 0.0)
    checks.positive(step_size, "step_size")
    checks.in_range(step_size, "step_size", 0.0, 1.0)

    # An example of which nothing is given would still count what the model expects of it.
    given = jnp.any(checks.broadcast_mask(where, "where", jnp.shape(x)), axis=-1)

    def total(tables: tuple[Array, Array]) -> tuple[Array, Array]:
        each = hclt_log_prob(tree._replace(log_transition=tables[0], log_emission=tables[1]), x, where=where)
        return jnp.sum(jnp.where(given, each, 0.0)), each

    tables = tree.log_transition, tree.log_emission
    counts, each = jax.grad(total, has_aux=True)(tables)

    def blend(table: Array, count: Array) -> Array:
        count = count + smoothing / table.shape[-1]
        mass = jnp.sum(count, axis=-1, keepdims=True)
        # A state that explains nothing keeps what it has.
        new = jnp.where(mass > 0, count / jnp.where(mass > 0, mass, 1.0), jnp.exp(table))
        return jnp.log((1.0 - step_size) * jnp.exp(table) + step_size * new)

    transition, emission = (blend(table, count) for table, count in zip(tables, counts, strict=True))
    return tree._replace(log_transition=transition, log_emission=emission), masked_mean(each, given)


def hclt_prefix_init(tree: HiddenTree, num_examples: int) -> PrefixState:
    r"""The state of ``hclt_next_log_probs`` before anything is seen.

    .. math:: p(x_{o_1}, \ldots, x_{o_t}), \quad t = 0

    Args:
      tree: HiddenTree.
      num_examples: N >= 1, static.
    Returns:
      PrefixState.
    Raises:
      ValueError: num_examples < 1.

    >>> tree = hclt_init(jax.random.key(0), jnp.array([-1, 0]), num_states=2, num_values=3)
    >>> print(hclt_prefix_init(tree, 5).below.shape)
    (5, 2, 2)

    Reference: as ``hclt_prefix_log_marginals``. Inferred.
    """
    checks.size(num_examples, "num_examples")
    dim, states = tree.log_emission.shape[:2]
    zeros = jnp.zeros((num_examples, dim, states), tree.log_emission.dtype)
    return PrefixState(jnp.int32(0), zeros, zeros)


def hclt_next_log_probs(tree: HiddenTree, state: PrefixState) -> tuple[Array, PrefixState]:
    r"""The conditional of the next variable given those before it in depth-first order.

    .. math:: p(x_{o_t} \mid x_{o_1}, \ldots, x_{o_{t - 1}})

    All D of them cost no more than a few passes over the tree, because depth-first order finishes a subtree before it
    goes on: its message to the parent is taken along once.

    Args:
      tree: HiddenTree.
      state: PrefixState; its ``step`` counts the variables seen, fewer than D.
    Returns:
      (log-probabilities [N, V] of variable ``tree.order[step]``, the state for ``hclt_observe``).

    >>> tree = hclt_init(jax.random.key(0), jnp.array([-1, 0]), num_states=2, num_values=3)
    >>> log_probs, state = hclt_next_log_probs(tree, hclt_prefix_init(tree, 1))
    >>> log_probs, _ = hclt_next_log_probs(tree, hclt_observe(tree, state, jnp.array([2])))
    >>> print(jnp.exp(log_probs).sum().round(4))
    1.0

    Reference: as ``hclt_prefix_log_marginals``. Inferred.
    """
    dim = tree.order.shape[0]
    node = tree.order[state.step]
    parent = tree.parent[node]
    before = tree.order[jnp.maximum(state.step - 1, 0)]

    def finish(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, below = carry
        up = tree.parent[done]
        return up, below.at[:, up].add(_to_parent(below[:, done], tree.log_transition[done]), mode="drop")

    is_root = parent >= dim
    start = jnp.where(is_root, parent, before), state.below
    _, below = jax.lax.while_loop(lambda carry: carry[0] != parent, finish, start)
    safe = jnp.where(is_root, 0, parent)
    belief = state.above[:, safe] + below[:, safe]
    from_parent = _product(belief, tree.log_transition[node])
    above = jnp.where(is_root, tree.log_transition[node, 0], from_parent)
    log_probs = _product(above, tree.log_emission[node])
    state = PrefixState(state.step, below, state.above.at[:, node].set(above))
    return jax.nn.log_softmax(log_probs, axis=-1), state


def hclt_observe(tree: HiddenTree, state: PrefixState, values: ArrayLike) -> PrefixState:
    r"""Takes the values of the next variable into the state.

    .. math:: t \leftarrow t + 1

    Args:
      tree: HiddenTree.
      state: PrefixState that ``hclt_next_log_probs`` returned.
      values: int [N] in [0, V), of variable ``tree.order[step]``; others make the example NaN.
    Returns:
      PrefixState, one step on.
    Raises:
      ValueError: values are not [N].
      TypeError: values are not integers.

    >>> tree = hclt_init(jax.random.key(0), jnp.array([-1, 0]), num_states=2, num_values=3)
    >>> _, state = hclt_next_log_probs(tree, hclt_prefix_init(tree, 1))
    >>> print(hclt_observe(tree, state, jnp.array([2])).step)
    1

    Reference: as ``hclt_prefix_log_marginals``. Inferred.
    """
    values = checks.integer(values, "values")
    if values.shape != state.below.shape[:1]:
        raise ValueError(f"values must have shape [{state.below.shape[0]}], got {list(values.shape)}")
    node = tree.order[state.step]
    known = (values >= 0) & (values < tree.log_emission.shape[-1])
    seen = tree.log_emission[node][:, jnp.where(known, values, 0)].T
    seen = jnp.where(known[:, None], seen, jnp.nan)
    return state._replace(step=state.step + 1, below=state.below.at[:, node].add(seen))


def hclt_prefix_log_marginals(tree: HiddenTree, x: ArrayLike) -> Array:
    r"""The conditionals of all variables given those before them in depth-first order.

    .. math:: \log p(X_{o_t} = v \mid x_{o_1}, \ldots, x_{o_{t-1}}), \qquad
              \sum_t \log p(x_{o_t} \mid \cdot) = \log p(x)

    Args:
      tree: HiddenTree.
      x: int [N, D], values in [0, V); others make what comes after them NaN.
    Returns:
      float32 (wider if the tree is) [N, D, V]; entry t is about variable ``tree.order[t]``. The cost is D h^2 per
      example, not D times that.
    Raises:
      ValueError: x is not [N, D].
      TypeError: x does not hold integers.

    >>> tree = hclt_init(jax.random.key(0), jnp.array([-1, 0]), num_states=2, num_values=3)
    >>> print(hclt_prefix_log_marginals(tree, jnp.array([[2, 1]])).shape)
    (1, 2, 3)

    Reference: Liu, Mandt and Van den Broeck, "Lossless Compression with Probabilistic Circuits" (2022): a pass per
    prefix only over what changed. The order by a balanced vtree, recalled, becomes the depth-first order of the tree.
    """
    x = _values(tree, x)

    def visit(state: PrefixState, values: Array) -> tuple[PrefixState, Array]:
        log_probs, state = hclt_next_log_probs(tree, state)
        return hclt_observe(tree, state, values), log_probs

    _, log_probs = jax.lax.scan(visit, hclt_prefix_init(tree, x.shape[0]), x[:, tree.order].T)
    return jnp.swapaxes(log_probs, 0, 1)


def _values(tree: HiddenTree, x: ArrayLike) -> Array:
    x = checks.rank(checks.integer(x, "x"), "x", 2, layout="[N, D]")
    if x.shape[1] != tree.order.shape[0]:
        raise ValueError(f"x must have shape [N, {tree.order.shape[0]}] to match tree, got {list(x.shape)}")
    return x


def _evidence(tree: HiddenTree, x: Array, mask: Array | None) -> Array:
    """Log-probability of every value given its hidden state, [N, D, h]; 0 where it is not given."""
    known = (x >= 0) & (x < tree.log_emission.shape[-1])
    values = jnp.where(known, x, 0)
    seen = jnp.take_along_axis(tree.log_emission[None], values[:, :, None, None], axis=-1)[..., 0]
    seen = jnp.where(known[..., None], seen, jnp.nan)
    return seen if mask is None else jnp.where(mask[..., None], seen, 0.0)


def _product(log_x: Array, log_matrix: Array) -> Array:
    """log(exp(log_x) @ exp(log_matrix)) of [N, h] and [h, K], by a product of probabilities."""
    top = jax.lax.stop_gradient(jnp.max(log_x, axis=-1, keepdims=True))
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    total = jnp.matmul(jnp.exp(log_x - top), jnp.exp(log_matrix), precision="highest")
    some = total > 0
    return jnp.where(some | jnp.isnan(total), jnp.log(jnp.where(some, total, 1.0)) + top + 0.0 * total, -jnp.inf)


def _to_parent(log_x: Array, log_transition: Array) -> Array:
    """What a node's subtree says about its parent's state, [N, h]."""
    return _product(log_x, log_transition.T)
