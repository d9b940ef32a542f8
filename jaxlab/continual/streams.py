"""Streams of different tasks: each is learned from one of the states that earlier tasks left behind."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, PyTree

__all__ = ["TransferStream", "transfer_stream"]


class TransferStream(NamedTuple):
    """Where each task started from int32 [T] (0 = the start, s = task s - 1), what choosing cost, and what was learned.

    ``costs`` float [T, T + 1] is +inf for sources that were not there yet; ``states`` [T + 1, ...] holds the start and
    the state after each task; ``results`` [T, ...] what training reported.
    """

    source: Array
    costs: Array
    states: PyTree
    results: PyTree


def transfer_stream(
    key: Array,
    start: PyTree,
    tasks: PyTree,
    train: Callable[[PyTree, PyTree, Array], tuple[PyTree, PyTree]],
    *,
    source: str | Callable[[PyTree, PyTree], Array] = "independent",
) -> TransferStream:
    r"""Learns tasks one after the other, each from the start, from the task before, or from the best source.

    .. math:: \theta_t = \mathrm{train}(\theta_{s_t}, \text{task}_t),
              \quad s_t = \arg\min_{s \le t} c(\theta_s, \text{task}_t)

    Args:
      key: PRNG key.
      start: pytree of arrays: parameters, pretrained or not, the source that is always there.
      tasks: pytree of arrays [T, ...], padded to one shape; a learner must use no test rows.
      train: ``train(state, task, key) -> (state, result)``, static.
      source: "independent" (the start, for every task), "previous" (what the task before left), or a function
        ``cost(states [T + 1, ...], task) -> [T + 1]`` such as one on ``selection.knn_transfer_cost``, whose smallest
        entry among the sources that exist is taken, ties going to the earlier one. Entries of sources that do not exist
        yet are not read (their states are copies of the start).
    Returns:
      TransferStream.
    Raises:
      ValueError: an unknown source, or tasks that do not share their leading axis.

    >>> train = lambda state, task, key: (state + task, state)
    >>> stream = transfer_stream(jax.random.key(0), jnp.zeros(()), jnp.array([1.0, 2.0]), train, source="previous")
    >>> print(stream.source, stream.states, stream.results)
    [0 1] [0. 1. 3.] [0. 1.]

    Reference: the baselines of Bornschein et al., "NEVIS'22: A Stream of 100 Tasks Sampled from 30 Years of Computer
    Vision Research" (2023). Checked against the authors' code.
    """
    if not callable(source):
        checks.one_of(source, "source", ("independent", "previous"))
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(tasks)}
    if len(lengths) != 1 or () in lengths:
        raise ValueError(f"tasks must share their leading axis, got lengths {sorted(lengths)}")
    length = lengths.pop()[0]
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (length + 1, *jnp.shape(leaf))), start)

    def learn(states: PyTree, inputs: tuple[Array, PyTree, Array]) -> tuple[PyTree, tuple[Array, Array, PyTree]]:
        number, task, key = inputs
        index = jnp.arange(length + 1)
        if callable(source):
            costs = jnp.where(index <= number, jnp.asarray(source(states, task), jnp.float32), jnp.inf)
        else:
            wanted = number if source == "previous" else 0
            costs = jnp.where(index == wanted, 0.0, jnp.inf)
        chosen = jnp.argmin(costs).astype(jnp.int32)
        state, result = train(jax.tree.map(lambda leaf: leaf[chosen], states), task, key)
        states = jax.tree.map(lambda all_, one: all_.at[number + 1].set(one), states, state)
        return states, (chosen, costs, result)

    inputs = (jnp.arange(length), tasks, jax.random.split(key, length))
    states, (chosen, costs, results) = jax.lax.scan(learn, states, inputs)
    return TransferStream(chosen, costs, states, results)
