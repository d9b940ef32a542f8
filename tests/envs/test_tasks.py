"""Boolean functions against their definitions, teaching sequences by brute force, projected tasks by statistics."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import envs, nn

D, N = 6, 400


def draw(kind, count=6, **options):
    keys = jax.random.split(jax.random.key(1), count)
    make = jax.jit(jax.vmap(lambda key: envs.boolean_task(key, kind, num_dims=D, num_points=N, **options)))
    return jax.tree.map(np.asarray, make(keys))


def conjunction(x, w):
    return all(x[j] == w[j] for j in range(D) if w[j])


def disjunction(x, w):
    return any(x[j] == w[j] for j in range(D) if w[j])


RULES = {
    "conjunction": conjunction,
    "monotone_conjunction": conjunction,
    "taught_conjunction": conjunction,
    "taught_monotone_conjunction": conjunction,
    "disjunction": disjunction,
    "dnf": lambda x, w: any(conjunction(x, clause) for clause in w),
    "cnf": lambda x, w: all(disjunction(x, clause) for clause in w),
    "majority": lambda x, w: x @ w >= 0.5,
    "sparse_parity": lambda x, w: ((x + 1) / 2 @ w) % 2 == 1,
    "parity": lambda x, w: ((x + 1) / 2 @ w) % 2 == 1,
}


@pytest.mark.parametrize("kind", RULES)
def test_labels_are_those_of_the_definition(kind):
    task = draw(kind)
    assert set(np.unique(task.x)) == {-1.0, 1.0}
    for x, y, w in zip(*task, strict=True):
        expected = [1.0 if RULES[kind](point, w) else -1.0 for point in x]
        np.testing.assert_array_equal(y, expected)
    if "monotone" in kind or kind in ("majority", "parity", "sparse_parity"):
        assert set(np.unique(task.w)) <= {0.0, 1.0}
    if kind == "sparse_parity":
        np.testing.assert_array_equal(task.w.sum(1), 2)


@pytest.mark.parametrize(
    ("kind", "share", "negative"),
    [
        ("conjunction", 0.3, False),
        ("monotone_conjunction", 0.3, False),
        ("taught_conjunction", 0.4, False),
        ("taught_monotone_conjunction", 0.4, False),
        ("disjunction", 0.3, True),
        ("dnf", 0.35, False),
        ("cnf", 0.3, True),
    ],
)
def test_the_share_of_points_made_to_agree(kind, share, negative):
    rates, expected = [], []
    for _, y, w in zip(*draw(kind, count=40), strict=True):
        clauses = w.reshape(-1, D)
        if not clauses.any(axis=1).all():
            continue
        corners = np.array(list(itertools.product([-1.0, 1.0], repeat=D)))
        truth = np.array([RULES[kind](corner, w) for corner in corners])
        base = np.mean(~truth if negative else truth)
        taught = int(np.abs(w).sum()) + 2 if kind.startswith("taught") else 0  # points of the teaching sequence
        rates.append(np.mean(y[taught:] == (-1.0 if negative else 1.0)))
        expected.append(share + (1 - share) * base)
    assert len(rates) > 10
    np.testing.assert_allclose(np.mean(rates), np.mean(expected), atol=4 * 0.5 / np.sqrt(N * len(rates)))


def test_an_empty_function_is_constant():
    keys = jax.random.split(jax.random.key(0), 60)
    for kind, constant in (("conjunction", 1.0), ("disjunction", -1.0), ("majority", -1.0)):
        task = jax.vmap(lambda key, kind=kind: envs.boolean_task(key, kind, num_dims=2, num_points=5))(keys)
        empty = ~np.any(np.asarray(task.w), axis=1)
        assert empty.any()
        np.testing.assert_array_equal(np.asarray(task.y)[empty], constant)


def test_nearest_neighbors_label_each_other():
    task = draw("nearest_neighbor", num_given=10)
    first = []
    for x, y in zip(task.x, task.y, strict=True):
        for i in range(1, 60):
            nearest = np.argmax(x[:i] @ x[i])
            if i >= 10 or x[:i] @ x[i] @ np.eye(i)[nearest] == D:
                assert y[i] == y[nearest]
            else:
                first.append(y[i])
    assert set(first) == {-1.0, 1.0}


def weight_table(monotone):
    return np.array(list(itertools.product([0, 1] if monotone else [0, 1, -1], repeat=4)), np.float32)


@pytest.mark.parametrize("monotone", [False, True])
def test_a_teaching_sequence_leaves_one_conjunction(monotone):
    table = weight_table(monotone)
    teach = jax.jit(jax.vmap(lambda w: envs.teaching_sequence(w, monotone=monotone)))
    points, where = map(np.asarray, teach(table))
    np.testing.assert_array_equal(where.sum(1), np.abs(table).sum(1) + (1 if monotone else 2))
    for w, x, shown in zip(table, points, where, strict=True):
        x = x[shown]
        labels = (x @ table.T == np.abs(table).sum(1)).T  # every conjunction on every point
        own = labels[(table == w).all(1).argmax()]
        assert own.tolist() == [True] * (1 if monotone else 2) + [False] * int(np.abs(w).sum())
        assert [tuple(other) for other in table[(labels == own).all(1)]] == [tuple(w)]
        for leave_out in range(own.sum(), len(x)):  # none of the negatives is too many
            kept = np.arange(len(x)) != leave_out
            assert (labels[:, kept] == own[kept]).all(1).sum() > 1
        np.testing.assert_array_equal(points[(table == w).all(1)][0][~shown], 0)


def test_elimination_knows_the_function_after_the_teaching_sequence():
    for kind in ("taught_conjunction", "taught_monotone_conjunction"):
        task = draw(kind, count=20)
        predicted = np.asarray(jax.vmap(nn.conjunction_elimination)(task.x, task.y))
        taught = np.abs(task.w).sum(1).astype(int) + (2 if kind == "taught_conjunction" else 1)
        if kind == "taught_conjunction":
            for y, guess, length in zip(task.y, predicted, taught, strict=True):
                np.testing.assert_array_equal(guess[length:], y[length:])
        assert not ((predicted > 0) & (task.y < 0)).any()


def test_bad_tasks_are_refused():
    with pytest.raises(ValueError, match="kind must be one of 'conjunction'"):
        envs.boolean_task(jax.random.key(0), "circuit")
    with pytest.raises(ValueError, match="num_dims must be an integer of at least 2"):
        envs.boolean_task(jax.random.key(0), "parity", num_dims=1)
    with pytest.raises(ValueError, match="w must"):
        envs.teaching_sequence(jnp.ones((2, 2)))
    short = envs.boolean_task(jax.random.key(0), "taught_conjunction", num_dims=5, num_points=1)
    assert short.x.shape == (1, 5)
    assert short.y[0] == 1


rng = np.random.default_rng(0)
ROWS = rng.normal(size=(50, 16)).astype(np.float32)
LABELS = rng.integers(0, 4, 50)


def project(key, **options):
    return envs.random_projection_task(key, ROWS, LABELS, num_classes=4, seq_len=60, **options)


def test_a_projected_task_is_the_data_under_other_names():
    tokens, labels = map(np.asarray, project(jax.random.key(3)))
    assert tokens.shape == (60, 20)
    np.testing.assert_array_equal(tokens[0, 16:], 0)
    np.testing.assert_array_equal(tokens[1:, 16:], np.eye(4)[labels[:-1]])
    # The inputs are a linear map of rows: the rows can be told from it, and the names are a permutation of theirs.
    drawn = jax.random.randint(jax.random.split(jax.random.key(3))[0], (60,), 0, 50)
    matrix = np.linalg.lstsq(ROWS[drawn], tokens[:, :16], rcond=None)[0]
    np.testing.assert_allclose(ROWS[drawn] @ matrix, tokens[:, :16], atol=1e-4)
    names = {(int(old), int(new)) for old, new in zip(LABELS[drawn], labels, strict=True)}
    assert sorted(old for old, _ in names) == sorted(new for _, new in names) == [0, 1, 2, 3]


def test_a_task_key_fixes_the_task_and_not_the_rows():
    keys = jax.random.split(jax.random.key(5), 2)
    (a, _), (b, _) = (project(key, task_key=jax.random.key(9)) for key in keys)
    assert np.abs(a - b).max() > 0.1
    rows = [np.asarray(jax.random.randint(jax.random.split(key)[0], (60,), 0, 50)) for key in keys]
    maps = [np.linalg.lstsq(ROWS[r], np.asarray(t)[:, :16], rcond=None)[0] for r, t in zip(rows, (a, b), strict=True)]
    np.testing.assert_allclose(*maps, atol=1e-3)


def test_projection_keeps_squared_lengths_on_average_and_the_first_label_is_a_coin():
    many = jax.jit(jax.vmap(project))(jax.random.split(jax.random.key(7), 2000))
    tokens, labels = map(np.asarray, many)
    np.testing.assert_allclose(np.mean(np.sum(tokens[..., :16] ** 2, -1)), np.mean(np.sum(ROWS**2, 1)), rtol=0.02)
    np.testing.assert_allclose(np.bincount(labels[:, 0]) / 2000, 0.25, atol=0.05)
    # Inputs say nothing about the label of their own step before any label was shown.
    by_label = [tokens[labels[:, 0] == c, 0, :16].mean() for c in range(4)]
    np.testing.assert_allclose(by_label, 0, atol=0.05)


def test_labels_outside_the_range_show_nothing():
    tokens, labels = envs.random_projection_task(
        jax.random.key(0), ROWS, np.full(50, 9), num_classes=4, seq_len=5, task_key=jax.random.key(1)
    )
    np.testing.assert_array_equal(labels, -1)
    np.testing.assert_array_equal(tokens[:, 16:], 0)
    with pytest.raises(ValueError, match="the number of rows of x"):
        envs.random_projection_task(jax.random.key(0), ROWS[:0], LABELS[:0], num_classes=4)
    with pytest.raises(ValueError, match="x and y must agree"):
        envs.random_projection_task(jax.random.key(0), ROWS, LABELS[:3], num_classes=4)
