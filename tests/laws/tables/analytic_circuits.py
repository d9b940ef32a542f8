"""Rows of jaxlab.analytic: probabilistic circuits and Tsetlin machines."""

import numpy as np

from jaxlab import analytic
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, prng, uniform


def hidden_tree(rng):
    """A hidden Chow-Liu tree of M variables; its shape is always the same."""
    parent = np.array([M, 0, 0, 1, 1][:M], np.int32)
    order = np.array([0, 1, 3, 4, 2][:M], np.int32)
    tables = (np.log(rng.dirichlet(np.ones(width), (M, 2))).astype(np.float32) for width in (2, C))
    return analytic.HiddenTree(parent, order, *tables)


def prefix(rng):
    """What is known after the root."""
    below, above = (np.zeros((N, M, 2), np.float32) for _ in range(2))
    below[:, 0], above[:, 0] = (np.log(rng.uniform(0.1, 1.0, (N, 2))) for _ in range(2))
    return analytic.PrefixState(np.int32(1), below, above)


def automata(rng):
    """A Tsetlin machine of 4 states a side."""
    return analytic.TsetlinState(rng.integers(1, 9, (C, M - 1, 2 * D)).astype(np.int16), np.asarray(4, np.int16))


TSETLIN = {
    "make": inputs(
        state=automata,
        x=lambda rng: rng.random((N, D)) < 0.5,
        labels=integers(N, high=C),
        key=prng(),
        threshold=uniform(low=2.0, high=4.0),
        s=uniform(low=1.5, high=4.0),
        where=mask(N),
    ),
    "batch": ("x", "labels", "where"),
    "couples": True,
    "skip": {"permute": "examples come in order, and draw by their place in the batch"},
}

ROWS = {
    "hclt_init": Row(
        analytic.hclt_init,
        inputs(key=prng(), parent=lambda rng: np.array([-1, *(rng.integers(0, i) for i in range(1, M))], np.int32)),
        static={"num_states": 2, "num_values": C},
    ),
    "hclt_log_prob": Row(
        analytic.hclt_log_prob,
        inputs(tree=hidden_tree, x=integers(N, M, high=C), where=mask(N, M)),
        batch=("x", "where"),
    ),
    "hclt_em_step": Row(
        analytic.hclt_em_step,
        inputs(tree=hidden_tree, x=integers(N, M, high=C), where=mask(N, M), step_size=uniform(low=0.2, high=0.9)),
        batch=("x", "where"),
        couples=True,
    ),
    "hclt_prefix_init": Row(analytic.hclt_prefix_init, inputs(tree=hidden_tree), static={"num_examples": N}),
    "hclt_next_log_probs": Row(analytic.hclt_next_log_probs, inputs(tree=hidden_tree, state=prefix)),
    "hclt_observe": Row(analytic.hclt_observe, inputs(tree=hidden_tree, state=prefix, values=integers(N, high=C))),
    "hclt_prefix_log_marginals": Row(
        analytic.hclt_prefix_log_marginals, inputs(tree=hidden_tree, x=integers(N, M, high=C)), batch=("x",)
    ),
    "tsetlin_clauses": Row(analytic.tsetlin_clauses, inputs(state=automata)),
    "tsetlin_init": Row(
        analytic.tsetlin_init,
        inputs(key=prng()),
        static={"num_classes": C, "clauses_per_class": M - 1, "num_features": D, "num_states": 4},
    ),
    "tsetlin_predict": Row(
        analytic.tsetlin_predict, inputs(state=automata, x=lambda rng: rng.random((N, D)) < 0.5), batch=("x",)
    ),
    "tsetlin_update": Row(analytic.tsetlin_update, **TSETLIN),
    "tsetlin_update/batched": Row(analytic.tsetlin_update, **TSETLIN, static={"batched": True, "boost": True}),
}
