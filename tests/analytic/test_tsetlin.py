"""The Tsetlin machine: its feedback table, the authors' loop written out, exclusive or, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import analytic
from jaxlab.analytic import TsetlinState

RNG = np.random.default_rng(0)


def machine(automata, num_states):
    return TsetlinState(jnp.asarray(automata, jnp.int16), jnp.asarray(num_states, jnp.int16))


def clause_by_loop(include, x):
    literals = np.concatenate([x, ~x])
    return all(literal for literal, taken in zip(literals, include, strict=True) if taken)


def test_start_is_next_to_the_border():
    state = analytic.tsetlin_init(jax.random.key(0), num_classes=3, clauses_per_class=4, num_features=50, num_states=9)
    assert state.automata.shape == (3, 4, 100)
    assert state.automata.dtype == jnp.int16
    values, counts = np.unique(state.automata, return_counts=True)
    assert values.tolist() == [9, 10]
    assert counts.min() > 0.4 * counts.sum()


def test_votes_are_those_of_clauses_read_one_by_one():
    include = RNG.random((3, 6, 10)) < 0.2
    include[1, 2] = False
    state, x = machine(1 + include, 1), RNG.random((20, 5)) < 0.5
    sign = np.array([1, -1, 1, -1, 1, -1])
    holds = np.array([[[clause_by_loop(c, row) and c.any() for c in k] for k in include] for row in x])
    np.testing.assert_array_equal(analytic.tsetlin_clauses(state), include)
    np.testing.assert_array_equal(analytic.tsetlin_predict(state, x), holds @ sign)
    limited = analytic.tsetlin_predict(state, x, threshold=1)
    np.testing.assert_array_equal(limited, np.clip(holds @ sign, -1, 1))


# Two classes, two clauses each (for, against), one feature. Literals: x, not x. T = 1 and no votes: feedback always
# reaches no clause or every one with probability 1/2, so many keys show both.
update = jax.jit(analytic.tsetlin_update, static_argnames=("boost", "batched"))
X1, ONE = np.ones((1, 1), bool), np.array([1])


@functools.cache
def many(boost, s, automata=(3, 3), label=1, threshold=1):
    """Changes [keys, class, clause, literal] by one example with x true."""
    state = machine(np.broadcast_to(np.array(automata), (2, 2, 2)), 3)
    keys = jax.random.split(jax.random.key(0), 200)
    run = jax.vmap(lambda key: update(state, X1, np.array([label]), key, threshold=threshold, s=s, boost=boost))
    return np.asarray(run(keys).automata) - np.asarray(state.automata)


def test_type_one_without_boost_at_s_one_never_rewards_and_always_forgets():
    change = many(False, 1.0)
    first = change[:, 1, 0]  # the right class, a clause for it: it holds, as it is empty
    assert set(first[:, 0].tolist()) == {0}
    assert set(first[:, 1].tolist()) == {0, -1}
    boosted = many(True, 1.0)[:, 1, 0]
    assert set(boosted[:, 0].tolist()) == {0, 1}
    assert set(map(tuple, boosted.tolist())) == {(0, 0), (1, -1)}  # whoever gets feedback gets it whole


def test_chances_are_those_of_the_table():
    change = many(False, 4.0)[:, 1, 0]
    assert np.mean(change[:, 0] == 1) == pytest.approx(0.5 * 0.75, abs=0.1)
    assert np.mean(change[:, 1] == -1) == pytest.approx(0.5 * 0.25, abs=0.1)


def test_type_two_takes_in_false_literals_and_nothing_else():
    change = many(False, 4.0)
    for second in (change[:, 1, 1], change[:, 0, 0]):  # against the right class, for the other
        assert set(map(tuple, second.tolist())) == {(0, 0), (0, 1)}
    # Taken in already, the false literal makes the clause fail: type II is silent, type I forgets.
    change = many(False, 1.0, automata=(4, 4))
    assert (change[:, 1, 1] == 0).all()
    assert (change[:, 0, 0] == 0).all()
    assert set(map(tuple, change[:, 1, 0].tolist())) == {(0, 0), (-1, -1)}


def test_no_feedback_to_a_class_that_has_its_votes():
    automata = np.full((2, 2, 2), 1)
    automata[1, 0, 0] = 6  # the clause for class 1 says: x; the one against says nothing and holds while learning
    automata[1, 1, 1] = 6  # the one against says: not x
    keys = jax.random.split(jax.random.key(1), 50)
    state = machine(automata, 3)
    after = jax.vmap(lambda key: update(state, X1, ONE, key, threshold=1, s=2.0))(keys).automata
    np.testing.assert_array_equal(after[:, 1], np.broadcast_to(automata[1], (50, 2, 2)))


@pytest.mark.parametrize("batched", [False, True])
def test_states_stay_in_range_and_rows_that_do_not_count_teach_nothing(batched):
    state = analytic.tsetlin_init(jax.random.key(0), num_classes=2, clauses_per_class=4, num_features=3, num_states=2)
    x, y = RNG.random((60, 3)) < 0.5, RNG.integers(2, size=60)
    after = update(state, x, y, jax.random.key(1), threshold=3, s=1.5, batched=batched)
    assert after.automata.dtype == jnp.int16
    assert (np.asarray(after.automata) >= 1).all()
    assert (np.asarray(after.automata) <= 4).all()
    assert (np.asarray(after.automata) != np.asarray(state.automata)).any()
    nothing, everything = np.zeros(60, bool), np.ones(60, bool)
    for labels, where in ((y + 2, everything), (y - 2, everything), (y, nothing)):
        same = update(state, x, labels, jax.random.key(1), threshold=3, s=1.5, batched=batched, where=where)
        np.testing.assert_array_equal(same.automata, state.automata)


def test_one_example_is_the_same_in_order_and_at_once():
    state = analytic.tsetlin_init(jax.random.key(2), num_classes=2, clauses_per_class=4, num_features=3, num_states=2)
    x, y = RNG.random((1, 3)) < 0.5, np.array([0])
    pair = [update(state, x, y, jax.random.key(3), threshold=3, s=1.5, batched=flag) for flag in (False, True)]
    np.testing.assert_array_equal(pair[0].automata, pair[1].automata)


def authors_update(automata, n, x, y, threshold, s, rng):
    """One example as in the authors' code, loop by loop, for two classes."""
    clauses = automata.shape[1]
    literals = np.concatenate([x, ~x])
    holds = np.array([[not (c[~literals] > n).any() for c in k] for k in automata])
    sign = np.where(np.arange(clauses) % 2 == 0, 1, -1)
    votes = np.clip(holds @ sign, -threshold, threshold)
    for k, side in ((y, 1), (1 - y, -1)):
        for j in range(clauses):
            if rng.random() > (threshold - side * votes[k]) / (2 * threshold):
                continue
            for i, literal in enumerate(literals):
                if side * sign[j] > 0 and holds[k, j] and literal:
                    automata[k, j, i] += automata[k, j, i] < 2 * n and rng.random() <= (s - 1) / s
                elif side * sign[j] > 0:
                    automata[k, j, i] -= automata[k, j, i] > 1 and rng.random() <= 1 / s
                elif side * sign[j] < 0 and holds[k, j] and not literal and automata[k, j, i] <= n:
                    automata[k, j, i] += 1


def test_the_mean_walk_is_that_of_the_authors_loop():
    """Means over many runs of eight examples: the random numbers differ, the process does not."""
    start = RNG.integers(3, 6, (2, 4, 4))
    x, y = RNG.random((8, 2)) < 0.5, np.arange(8) % 2
    state, runs = machine(start, 4), 3000
    run = jax.jit(jax.vmap(lambda key: analytic.tsetlin_update(state, x, y, key, threshold=3, s=2.5).automata))
    found = np.asarray(run(jax.random.split(jax.random.key(0), runs)), float)
    rng, loops = np.random.default_rng(4), []
    for _ in range(600):
        automata = start.copy()
        for row, label in zip(x, y, strict=True):
            authors_update(automata, 4, row, label, 3, 2.5, rng)
        loops.append(automata)
    expected = np.mean(loops, axis=0)
    error = np.std(loops, axis=0) / np.sqrt(600) + found.std(0) / np.sqrt(runs)
    assert (np.abs(found.mean(0) - expected) <= 4.5 * error + 1e-9).all()


def exclusive_or(rng, rows, features, noise):
    x = rng.random((rows, features)) < 0.5
    y = x[:, 0] ^ x[:, 1]
    return x, y ^ (rng.random(rows) < noise), y


def fitted(rng, x, y, *, epochs, clauses, threshold, s, batch=None):
    state = analytic.tsetlin_init(jax.random.key(0), num_classes=2, clauses_per_class=clauses, num_features=x.shape[1])
    order = np.stack([rng.permutation(len(y)) for _ in range(epochs)])
    order = order if batch is None else order.reshape(-1, batch)

    @jax.jit
    def train(state, x, y):
        def epoch(state, inputs):
            rows, key = inputs
            options = {"threshold": threshold, "s": s, "batched": batch is not None}
            return analytic.tsetlin_update(state, x[rows], y[rows], key, **options), None

        keys = jax.random.split(jax.random.key(1), len(order))
        return jax.lax.scan(epoch, state, (jnp.asarray(order), keys))[0]

    return train(state, jnp.asarray(x), jnp.asarray(y, jnp.int32))


@pytest.mark.parametrize("batch", [None, 10])
def test_learns_exclusive_or_with_four_clauses(batch):
    rng = np.random.default_rng(5)
    x, y, _ = exclusive_or(rng, 200, 2, 0.0)
    state = fitted(rng, x, y, epochs=30, clauses=4, threshold=4, s=3.0, batch=batch)
    np.testing.assert_array_equal(np.argmax(analytic.tsetlin_predict(state, x), -1), y)


def test_learns_exclusive_or_of_twelve_features_from_labels_of_which_four_in_ten_are_wrong():
    rng = np.random.default_rng(6)
    x, y, _ = exclusive_or(rng, 5000, 12, 0.4)
    state = fitted(rng, x, y, epochs=30, clauses=10, threshold=15, s=3.9)
    tests, _, truth = exclusive_or(rng, 2000, 12, 0.0)
    assert np.mean(np.argmax(analytic.tsetlin_predict(state, tests), -1) == truth) >= 0.95


STATE = machine(np.ones((2, 2, 6)), 5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"num_classes": 1}, ValueError, "num_classes must be an integer of at least 2"),
        ({"clauses_per_class": 3}, ValueError, "clauses_per_class must be a multiple of 2"),
        ({"num_features": 0}, ValueError, "num_features must be"),
        ({"num_states": 20_000}, ValueError, r"num_states must lie in \[1, 16000\]"),
        (lambda: analytic.tsetlin_predict(STATE, np.ones((4, 3))), TypeError, "x must be boolean"),
        (lambda: analytic.tsetlin_predict(STATE, np.ones((4, 2), bool)), ValueError, r"x must have shape \[..., 3\]"),
        (lambda: analytic.tsetlin_predict(STATE, np.ones((4, 3), bool), threshold=0), ValueError, "threshold must be"),
        (lambda: analytic.tsetlin_predict(STATE, np.ones((4, 3), bool), threshold=0.5), TypeError, "threshold must"),
    ],
)
def test_bad_input(call, error, words):
    sizes = {"num_classes": 2, "clauses_per_class": 2, "num_features": 3}
    with pytest.raises(error, match=words):
        call() if callable(call) else analytic.tsetlin_init(jax.random.key(0), **(sizes | call))


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"x": np.ones((2, 3))}, TypeError, "x must be boolean"),
        ({"x": np.ones(3, bool)}, ValueError, r"x must have shape \[B, F\]"),
        ({"labels": np.zeros(3, int)}, ValueError, "x and labels must agree"),
        ({"labels": np.zeros(2)}, TypeError, "labels must hold integers"),
        ({"threshold": 0}, ValueError, "threshold must be > 0"),
        ({"s": 0.5}, ValueError, "s must be at least 1"),
        ({"where": np.ones(3, bool)}, ValueError, r"where must have shape \[2\]"),
    ],
)
def test_bad_updates(changed, error, words):
    good = {"x": np.ones((2, 3), bool), "labels": np.zeros(2, int), "threshold": 2, "s": 3.0}
    with pytest.raises(error, match=words):
        analytic.tsetlin_update(STATE, key=jax.random.key(0), **(good | changed))


@pytest.mark.parametrize("num_features", [3, 16, 40])
def test_words_of_bits_give_what_single_literals_do(num_features):
    rng = np.random.default_rng(num_features)
    automata = rng.choice([5, 6], (3, 4, 2 * num_features), p=[0.9, 0.1]).astype(np.int16)
    state = analytic.TsetlinState(jnp.asarray(automata), jnp.asarray(5, jnp.int16))
    x = rng.random((20, num_features)) < 0.5
    literals = np.concatenate([x, ~x], axis=1)
    include = automata > 5
    holds = np.all(literals[:, None, None] | ~include, axis=-1) & include.any(-1)
    wanted = (holds * np.array([1, -1, 1, -1])).sum(-1)
    np.testing.assert_array_equal(analytic.tsetlin_predict(state, x), wanted)
