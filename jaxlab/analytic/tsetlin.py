"""Tsetlin machines: rules of AND and NOT, learned by automata that are rewarded and punished."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["TsetlinState", "tsetlin_clauses", "tsetlin_init", "tsetlin_predict", "tsetlin_update"]

_MOST_STATES = 16_000  # twice that fits 16 bits


class TsetlinState(NamedTuple):
    """Automata int16 [K, C, 2 F], in 1 to 2 N, of K classes with C clauses over F features; N, int16 []."""

    automata: Array
    num_states: Array


def tsetlin_init(
    key: Array, *, num_classes: int, clauses_per_class: int, num_features: int, num_states: int = 100
) -> TsetlinState:
    r"""Automata at random on one of the two states next to the border between leaving a literal out and taking it in.

    .. math:: a \in \{N, N + 1\}

    Args:
      key: PRNG key.
      num_classes: K, static, >= 2.
      clauses_per_class: C, static, even: those at even places vote for the class, the others against it.
      num_features: F, static, >= 1.
      num_states: N, states on each side, static, in [1, 16000].
    Returns:
      TsetlinState.
    Raises:
      ValueError: a size is out of range, or clauses_per_class is odd.
      TypeError: a size is no static integer.

    >>> tsetlin_init(jax.random.key(0), num_classes=2, clauses_per_class=4, num_features=3).automata.shape
    (2, 4, 6)

    Reference: as ``tsetlin_update``.
    """
    classes = checks.size(num_classes, "num_classes", 2)
    clauses = checks.divisible(checks.size(clauses_per_class, "clauses_per_class"), "clauses_per_class", 2)
    literals = 2 * checks.size(num_features, "num_features")
    states = checks.in_range(checks.size(num_states, "num_states"), "num_states", 1, _MOST_STATES)
    side = jax.random.bernoulli(key, shape=(classes, clauses, literals))
    return TsetlinState(states + side.astype(jnp.int16), jnp.asarray(states, jnp.int16))


def tsetlin_clauses(state: TsetlinState) -> Array:
    r"""Which literals the clauses take in: the rules as they can be read.

    .. math:: C_{kj}(x) = \bigwedge_{l:\, a_{kjl} > N} \ell_l, \qquad \ell = [x, \neg x]

    Args:
      state: TsetlinState of K classes, C clauses and F features.
    Returns:
      bool [K, C, 2 F]: in the first F columns the features that must hold, in the others those that must not.

    >>> state = TsetlinState(jnp.array([[[7, 5, 5, 6], [5, 5, 5, 5]]], jnp.int16), jnp.asarray(5, jnp.int16))
    >>> print(tsetlin_clauses(state)[0, 0])  # the first feature and not the second
    [ True False False  True]

    Reference: as ``tsetlin_update``.
    """
    return state.automata > state.num_states


def tsetlin_predict(state: TsetlinState, x: ArrayLike, *, threshold: ArrayLike | None = None) -> Array:
    r"""Votes of the clauses; the class with the most votes is the prediction.

    .. math:: v_k = \operatorname{clip}\Big(\sum_j (-1)^j\, C_{kj}(x),\ -T,\ T\Big)

    A clause holds if none of its literals fails. Literals are bits of 32-bit words, so 32 of them are compared at a
    time, for all clauses and classes at once. A clause without literals does not vote.

    Args:
      state: TsetlinState of K classes and F features.
      x: bool [..., F].
      threshold: T > 0, an int or a scalar array; None counts all votes.
    Returns:
      int32 [..., K]; ``argmax`` gives ties to the lower class.
    Raises:
      ValueError: x is not [..., F], or a static threshold <= 0.
      TypeError: x is not boolean, or threshold is not an integer.

    >>> state = TsetlinState(jnp.array([[[7, 5, 5, 6], [5, 5, 5, 5]]], jnp.int16), jnp.asarray(5, jnp.int16))
    >>> print(tsetlin_predict(state, jnp.array([[True, False], [True, True]])))
    [[1]
     [0]]

    Reference: as ``tsetlin_update``.
    """
    rows = _boolean(state, x, "x")
    include = tsetlin_clauses(state)
    flat = include.reshape(-1, include.shape[-1])
    fails = jnp.any(_packed(flat) & _packed(~_literals(rows))[..., None, :] != 0, axis=-1)
    holds = ~fails & jnp.any(flat, axis=-1)
    votes = _votes(holds.reshape(*rows.shape[:-1], *include.shape[:2]))
    if threshold is None:
        return votes
    limit = checks.integer(checks.positive(threshold, "threshold"), "threshold")
    return jnp.clip(votes, -limit, limit)


def tsetlin_update(
    state: TsetlinState,
    x: ArrayLike,
    labels: ArrayLike,
    key: Array,
    *,
    threshold: ArrayLike,
    s: ArrayLike,
    boost: bool = False,
    batched: bool = False,
    where: ArrayLike | None = None,
) -> TsetlinState:
    r"""Learns from examples, one after the other.

    .. math:: P(\text{feedback}) = \frac{T - v_y}{2 T} \ \text{to clauses of } y, \qquad
              \frac{T + v_q}{2 T} \ \text{to those of another class } q

    Clauses for y and against q get feedback of type I: where the clause holds, literals that are true go a state up
    with probability (s - 1) / s (always, with boost), and all others, or all literals of a clause that fails, go a
    state down with probability 1 / s. Clauses against y and for q get type II: where the clause holds, literals that
    are false and left out go a state up, until one of them is taken in and the clause fails. While learning a clause
    without literals holds.

    Args:
      state: TsetlinState of K classes and F features.
      x: bool [B, F].
      labels: int [B], in [0, K); rows with other labels teach nothing.
      key: PRNG key.
      threshold: T > 0, an int or a scalar array; where the votes have reached it there is no more feedback.
      s: >= 1, a float or a scalar array; larger means more literals in a clause.
      boost: static, whether true literals of clauses that hold always go up.
      batched: static. True lets all examples see the state at the start and adds up what they do, an approximation
        that has no order; small batches only, as a clause may overshoot.
      where: bool [B], True where a row counts.
    Returns:
      TsetlinState, its automata within 1 to 2 N. Nothing has a gradient.
    Raises:
      ValueError: shapes do not agree, a static threshold <= 0, or a static s < 1.
      TypeError: x is not boolean, or labels are not integers.

    >>> state = tsetlin_init(jax.random.key(0), num_classes=2, clauses_per_class=4, num_features=2)
    >>> x = jnp.array([[True, True], [True, False], [False, True], [False, False]])
    >>> rows = jnp.arange(400) % 4
    >>> state = tsetlin_update(state, x[rows], (x[:, 0] ^ x[:, 1])[rows] * 1, jax.random.key(1), threshold=4, s=3.0)
    >>> print(jnp.argmax(tsetlin_predict(state, x), axis=-1))  # exclusive or
    [0 1 1 0]

    Reference: Granmo, "The Tsetlin Machine" (2018), for text Berge et al., "Using the Tsetlin Machine to Learn
    Human-Interpretable Rules for High-Accuracy Text Categorization with Medical Applications" (2018). Checked against
    the authors' code, which draws the random numbers of every automaton one by one.
    """
    rows = checks.rank(_boolean(state, x, "x"), "x", 2, layout="[B, F]")
    y = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    checks.batch_match(rows, "x", y, "labels")
    checks.positive(threshold, "threshold")
    checks.at_least(s, "s", 1)
    mask = checks.mask(where, "where", y.shape)
    num_classes = state.automata.shape[0]
    counts = (y >= 0) & (y < num_classes) & (True if mask is None else mask)
    y = jnp.clip(y, 0, num_classes - 1)
    limit, forget = jnp.asarray(threshold, jnp.float32), 1.0 / jnp.asarray(s, jnp.float32)
    # By position, so that rows appended behind the batch change none of the keys.
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(len(y)))
    highest = 2 * state.num_states

    def step(automata: Array, example: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        row, label, own, counted = example
        class_key, clause_key, literal_key = jax.random.split(own, 3)
        other = (label + 1 + jax.random.randint(class_key, (), 0, num_classes - 1)) % num_classes
        pair = jnp.stack([label, other])
        draws = (clause_key, literal_key)
        return pair, counted * _feedback(automata[pair], state.num_states, row, draws, limit, forget, boost)

    def learn(automata: Array, example: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        pair, change = step(automata, example)
        return automata.at[pair].set(jnp.clip(automata[pair] + change, 1, highest)), None

    examples = (rows, y, keys, counts)
    if not batched:
        return state._replace(automata=jax.lax.scan(learn, state.automata, examples)[0])
    pairs, changes = jax.vmap(step, in_axes=(None, 0))(state.automata, examples)
    total = state.automata.astype(jnp.int32).at[pairs].add(changes.astype(jnp.int32))
    return state._replace(automata=jnp.clip(total, 1, highest).astype(jnp.int16))


def _feedback(
    automata: Array,
    num_states: Array,
    row: Array,
    draws: tuple[Array, Array],
    limit: Array,
    forget: Array,
    boost: bool,
) -> Array:
    """Changes int16 [2, C, 2 F] of the clauses of the right class and of another, which get opposite feedback."""
    include, literals = automata > num_states, _literals(row)
    holds = ~jnp.any(include & ~literals, axis=-1)
    votes = jnp.clip(_votes(holds), -limit, limit)
    side = jnp.array([1, -1])
    chance = (limit - side * votes) / (2.0 * limit)
    chosen = jax.random.uniform(draws[0], holds.shape) < chance[:, None]
    for_right = (side[:, None] * _polarity(holds.shape[-1])) > 0
    first, second = (chosen & for_right)[..., None], (chosen & ~for_right)[..., None]
    holds = holds[..., None]

    luck = jax.random.uniform(draws[1], automata.shape)
    forgotten = luck < forget
    strengthened = jnp.ones_like(forgotten) if boost else ~forgotten
    up = (first & holds & literals & strengthened) | (second & holds & ~literals & ~include)
    down = first & ~(holds & literals) & forgotten
    return up.astype(jnp.int16) - down.astype(jnp.int16)


def _polarity(clauses: int) -> Array:
    return 1 - 2 * (jnp.arange(clauses) % 2)


def _votes(holds: Array) -> Array:
    return jnp.sum(holds * _polarity(holds.shape[-1]), axis=-1, dtype=jnp.int32)


def _literals(x: Array) -> Array:
    return jnp.concatenate([x, ~x], axis=-1)


def _packed(bits: Array) -> Array:
    """Bits [..., L] as words uint32 [..., ceil(L / 32)]; what is missing at the end is 0."""
    length = bits.shape[-1]
    filled = jnp.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, -length % 32)])
    words = filled.reshape(*bits.shape[:-1], -1, 32).astype(jnp.uint32) << jnp.arange(32, dtype=jnp.uint32)
    return jnp.sum(words, axis=-1, dtype=jnp.uint32)


def _boolean(state: TsetlinState, x: ArrayLike, name: str) -> Array:
    """The array, if it is boolean and as wide as the features of the state."""
    rows, features = jnp.asarray(x), state.automata.shape[-1] // 2
    if rows.dtype != jnp.bool_:
        raise TypeError(f"{name} must be boolean, got {rows.dtype}; compare numbers with a threshold first")
    if rows.ndim < 1 or rows.shape[-1] != features:
        raise ValueError(f"{name} must have shape [..., {features}] as state does, got {list(rows.shape)}")
    return rows
