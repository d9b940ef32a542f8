"""FeTrIL against LinearSVC and a softmax by scipy on the same rows, and what translation promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.svm import LinearSVC

from jaxlab import analytic
from jaxlab.continual import fetril, fetril_assign, translate_features
from tests.analytic import formulas
from tests.analytic.formulas import blobs, close, twins

KEY = jax.random.key(0)
NUM_CLASSES, DIM, LENGTH = 5, 4, 40
COUNTS = (12, 9, 10, 7, 11)


def compiled(num_classes=NUM_CLASSES, dim=DIM, **options):
    learner = fetril(num_classes, dim, **options)
    return learner._replace(update=jax.jit(learner.update), predict=jax.jit(learner.predict))


@pytest.fixture(scope="module")
def svm():
    return compiled(num_iters=40)


@pytest.fixture(scope="module")
def softmax():
    return compiled(classifier="softmax", weight_decay=0.02, num_iters=40)


def chunk(x, labels):
    """Rows padded with junk to one length, so that every update is the same program."""
    pad = LENGTH - len(x)
    rows = np.pad(x.astype(np.float32), ((0, pad), (0, 0)), constant_values=np.nan)
    return {"x": rows, "labels": np.pad(labels, (0, pad)), "where": np.arange(LENGTH) < len(x)}


def stream(learner, x, labels, groups):
    """The state after a chunk for each group of classes."""
    state = learner.init(KEY)
    for group in groups:
        index = np.isin(labels, group)
        state = learner.update(state, **chunk(x[index], labels[index]))
    return state


assign = jax.jit(fetril_assign, static_argnames="similarity")


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def training_rows(x, labels, old, new, similarity="cosine"):
    """The matrix that FeTrIL trains on: the new rows as they are, and for every old class translated ones."""
    x = x.astype(np.float64)
    mean = {c: x[labels == c].mean(0) for c in (*old, *new)}
    rows, names = [x[np.isin(labels, new)]], [labels[np.isin(labels, new)]]
    for p in old:
        if similarity == "cosine":
            source = max(new, key=lambda n: unit(mean[p]) @ unit(mean[n]))
        else:
            source = min(new, key=lambda n: np.linalg.norm(mean[p] - mean[n]))
        rows.append(x[labels == source] - mean[source] + mean[p])
        names.append(np.full(len(rows[-1]), p))
    return np.concatenate(rows), np.concatenate(names)


def linear_svc(rows, names, cost=1.0):
    peer = LinearSVC(C=cost, dual=False, loss="squared_hinge", intercept_scaling=1, tol=1e-10, max_iter=100_000)
    return peer.fit(unit(rows.astype(np.float64)), names)


def close_to_svc(head, peer):
    classes = peer.classes_
    close(head.weight[:, classes], peer.coef_.T, 2e-3)
    close(head.bias[classes], peer.intercept_, 2e-3)


# --- translation ------------------------------------------------------------------------------------------------


def test_translation_moves_the_mean_and_keeps_the_covariance():
    x, _ = blobs(0, (12,), dim=DIM)
    target = np.array([5.0, -3.0, 0.0, 100.0])
    with jax.enable_x64(True):
        moved = np.asarray(translate_features(x.astype(np.float64), x.mean(0, dtype=np.float64), target))
    close(moved.mean(0), target, 1e-14)
    close(np.cov(moved.T), np.cov(x.T.astype(np.float64)), 1e-12)
    # On integers nothing is rounded.
    rows = np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]], np.float32)
    moved = translate_features(rows, np.array([3.0, 3.0]), np.array([-7.0, 50.0]))
    np.testing.assert_array_equal(moved, rows + np.array([-10, 47]))


def test_a_class_translated_to_itself_stays():
    x, _ = blobs(1, (12,), dim=DIM)
    mean = x.mean(0)
    np.testing.assert_array_equal(translate_features(x, mean, mean), x)


def test_translation_takes_rows_of_any_shape_and_the_wider_dtype():
    x, mean = np.ones((2, 3, DIM), np.float32), np.zeros(DIM, np.float32)
    assert translate_features(x, mean, mean).shape == (2, 3, DIM)
    narrow = jnp.asarray(x, jnp.bfloat16)
    assert translate_features(narrow, mean, mean).dtype == jnp.float32
    assert translate_features(narrow, narrow[0, 0], narrow[0, 0]).dtype == jnp.bfloat16


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_the_source_is_the_most_similar_new_class(similarity):
    rng = np.random.default_rng(2)
    past, new = rng.normal(size=(8, DIM)).astype(np.float32), rng.normal(size=(5, DIM)).astype(np.float32)
    if similarity == "cosine":
        scores = unit(past) @ unit(new).T
    else:
        scores = -np.linalg.norm(past[:, None] - new, axis=-1)
    exists = np.array([True, False, True, False, True])
    for where, junk in ((np.ones(5, bool), 0), (exists, np.nan)):
        result = assign(past, np.where(where[:, None], new, np.float32(junk)), similarity=similarity, where=where)
        assert result.dtype == jnp.int32
        np.testing.assert_array_equal(result, np.where(where, scores, -np.inf).argmax(1))
    np.testing.assert_array_equal(assign(past, new, similarity=similarity, where=np.zeros(5, bool)), 0)
    np.testing.assert_array_equal(fetril_assign(past, new, similarity=similarity), scores.argmax(1))


def test_the_two_similarities_differ_and_ties_go_to_the_lower_index():
    past = np.array([[1.0, 1.0], [0.0, 0.0]])  # the second has no direction: all its cosines are 0
    new = np.array([[10.0, 10.0], [1.0, 0.5], [1.0, 0.5]])
    np.testing.assert_array_equal(assign(past, new), [0, 0])
    np.testing.assert_array_equal(assign(past, new, similarity="euclidean"), [1, 1])


# --- the classifier ---------------------------------------------------------------------------------------------


def test_a_first_chunk_is_a_linear_svm(svm):
    x, labels = blobs(3, COUNTS)
    state = stream(svm, x, labels, [(0, 1, 2)])
    kept = labels < 3
    close_to_svc(svm.solve(state), linear_svc(x[kept], labels[kept]))
    scores = np.asarray(svm.predict(svm.solve(state), x))
    assert (scores[:, 3:] == -np.inf).all()
    close(scores[:, :3], linear_svc(x[kept], labels[kept]).decision_function(unit(x.astype(np.float64))), 2e-3)


def test_later_chunks_are_a_linear_svm_on_new_and_translated_rows(svm):
    x, labels = blobs(31, COUNTS)
    state = stream(svm, x, labels, [(0, 1, 2), (3, 4)])
    close_to_svc(svm.solve(state), linear_svc(*training_rows(x, labels, (0, 1, 2), (3, 4))))


def test_two_streams_by_vmap_of_bfloat16_rows_by_the_other_similarity_at_another_cost():
    streams = [blobs(seed, COUNTS) for seed in (30, 31)]
    for x, labels in streams:
        x[labels == 3] *= 3  # so that the nearest class is not the most similar one
        x[:] = jnp.asarray(x, jnp.bfloat16).astype(jnp.float32)
        sizes = [np.bincount(training_rows(x, labels, (0, 1, 2), (3, 4), s)[1]) for s in ("cosine", "euclidean")]
        assert (sizes[0] != sizes[1]).any()
    learner = fetril(NUM_CLASSES, DIM, num_iters=40, similarity="euclidean", cost=0.1)
    update = jax.jit(jax.vmap(lambda state, part: learner.update(state, **part)))
    states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), learner.init(KEY))
    for group in ((0, 1, 2), (3, 4)):
        parts = [chunk(x[np.isin(labels, group)], labels[np.isin(labels, group)]) for x, labels in streams]
        stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        states = update(states, {**stacked, "x": jnp.asarray(stacked["x"], jnp.bfloat16)})
    assert states.head.weight.dtype == jnp.float32
    for i, (x, labels) in enumerate(streams):
        head = jax.tree.map(lambda leaf: leaf[i], states.head)  # noqa: B023
        close_to_svc(head, linear_svc(*training_rows(x, labels, (0, 1, 2), (3, 4), "euclidean"), 0.1))
    narrow = jnp.asarray(streams[0][0], jnp.bfloat16)
    assert learner.predict(head, narrow).dtype == jnp.float32


def test_three_chunks_translate_every_past_class(svm):
    x, labels = blobs(6, COUNTS)
    state = stream(svm, x, labels, [(0, 1), (2, 3), (4,)])
    rows, names = training_rows(x, labels, (0, 1, 2, 3), (4,))
    assert np.bincount(names).tolist() == [11] * 5  # pseudo sets inherit the size of their source
    close_to_svc(svm.solve(state), linear_svc(rows, names))


def test_softmax_trains_on_features_as_they_are(softmax):
    x, labels = blobs(7, COUNTS)
    state = stream(softmax, x, labels, [(0, 1, 2), (3, 4)])
    rows, names = training_rows(x, labels, (0, 1, 2), (3, 4))
    design, targets = np.c_[rows, np.ones(len(rows))], np.eye(5)[names]

    def objective(flat):
        w = flat.reshape(DIM + 1, 5)
        probs = special.softmax(design @ w, -1)
        loss = -np.mean(special.log_softmax(design @ w, -1)[np.arange(len(names)), names]) + 0.01 * np.sum(w**2)
        return loss, (design.T @ (probs - targets) / len(names) + 0.02 * w).ravel()

    best = optimize.minimize(objective, np.zeros((DIM + 1) * 5), jac=True, method="BFGS", options={"gtol": 1e-9})
    head = softmax.solve(state)
    close(np.concatenate([head.weight, head.bias[None]]), best.x.reshape(DIM + 1, 5), 2e-3)


def test_unseen_classes_take_no_probability(softmax):
    x, labels = blobs(8, COUNTS)
    state = stream(softmax, x, labels, [(1,), (3,)])
    scores = np.asarray(softmax.predict(softmax.solve(state), x))
    assert (scores[:, [0, 2, 4]] == -np.inf).all()
    assert np.isfinite(scores[:, [1, 3]]).all()
    assert (np.asarray(softmax.predict(softmax.solve(softmax.init(KEY)), x)) == -np.inf).all()


# --- what is kept of the past -----------------------------------------------------------------------------------


def test_only_counts_and_means_of_the_past_are_read(svm):
    x, labels = blobs(9, COUNTS)
    x = np.round(8 * x)  # so that both streams have the same means, bit for bit
    past = labels < 3
    total = np.stack([x[labels == c].sum(0) for c in range(3)])
    mirrored = x.copy()
    for c in range(3):
        index = np.flatnonzero(labels == c)
        mirrored[index] = np.roll(x[index], 1, axis=1) * 0  # other rows altogether ...
        mirrored[index[0]] = total[c]  # ... with the same sum
    first, other = (stream(svm, rows[past], labels[past], [(0, 1, 2)]) for rows in (x, mirrored))
    jax.tree.map(np.testing.assert_array_equal, first.stats, other.stats)
    assert np.abs(first.head.weight - other.head.weight).max() > 1e-3
    new = chunk(x[~past], labels[~past])
    after, same = svm.update(first, **new), svm.update(first._replace(stats=other.stats), **new)
    jax.tree.map(np.testing.assert_array_equal, after, same)
    close(svm.update(other, **new).head.weight, after.head.weight, 2e-3)  # the old head is a starting point only


def test_the_state_is_means_and_a_head():
    sizes = jax.tree.map(jnp.size, fetril(NUM_CLASSES, DIM).init(KEY))
    assert sum(jax.tree.leaves(sizes)) == NUM_CLASSES + NUM_CLASSES * DIM + DIM + (DIM + 1) * NUM_CLASSES


def test_translated_classes_of_one_covariance_are_the_lost_ones():
    """Equal covariances and counts: pseudo rows and new rows have the statistics of all rows, so LDA is joint."""
    x, labels, _ = twins(10, 5, 8)
    rows, names = training_rows(x, labels, (0, 1, 2), (3, 4))
    heads = []
    with jax.enable_x64(True):
        for a, b in ((x, labels), (rows, names)):
            stats = analytic.class_stats_init(5, DIM, second="shared", dtype="float64")
            stats = analytic.class_stats_update(stats, a, b)
            heads.append((*analytic.lda(stats, ridge=0.1), stats.shared))
    for joint, pseudo in zip(*heads, strict=True):
        close(pseudo, joint, 1e-10)
    assert not np.allclose(rows, x)


def test_for_such_classes_the_learner_forgets_nothing(svm):
    x, labels, _ = twins(11, 5, 8)
    joint = stream(svm, x, labels, [(0, 1, 2, 3, 4)])
    incremental = stream(svm, x, labels, [(0, 1), (2,), (3, 4)])
    close(incremental.head.weight, joint.head.weight, 2e-3)
    close(incremental.head.bias, joint.head.bias, 2e-3)


def test_a_returning_class_trains_on_its_real_rows(svm):
    x, labels = blobs(12, COUNTS)
    early = (labels < 3) & (np.arange(len(x)) % 2 == 0)
    late = (labels > 0) & ~early & (labels != 2)  # class 1 returns with other rows, 3 and 4 are new
    state = svm.init(KEY)
    for part in (early, late):
        state = svm.update(state, **chunk(x[part], labels[part]))
    both = early | late
    np.testing.assert_array_equal(state.stats.count, np.bincount(labels[both], minlength=5))
    close(analytic.class_stats_means(state.stats), formulas.means(x[both], labels[both], 5))
    # Classes 0 and 2 are translated; the means of sources are those of the chunk.
    rows, names = training_rows(
        np.concatenate([x[early & np.isin(labels, (0, 2))], x[late]]),
        np.concatenate([labels[early & np.isin(labels, (0, 2))], labels[late]]),
        (0, 2),
        (1, 3, 4),
    )
    close_to_svc(svm.solve(state), linear_svc(rows, names))


def test_new_classes_are_their_own_sources_whatever_their_means(svm):
    """A mean without direction is as similar to one class as to another, and parallel means are to each other."""
    rng = np.random.default_rng(19)
    half = rng.normal(size=(5, DIM))
    line = rng.normal(size=(6, DIM))
    line += np.eye(DIM)[0] - line.mean(0)
    x = np.concatenate([line, 2 * line[::-1] ** 3, half, -half])
    x[6:12] += 2 * np.eye(DIM)[0] - x[6:12].mean(0)
    labels = np.repeat([0, 1, 2], (6, 6, 10))
    close_to_svc(svm.solve(stream(svm, x, labels, [(0, 1, 2)])), linear_svc(x, labels))


def test_nothing_new_changes_nothing(svm):
    x, labels = blobs(13, COUNTS)
    state = stream(svm, x, labels, [(0, 1), (2, 3)])
    nothing = chunk(x[:0], labels[:0])
    jax.tree.map(np.testing.assert_array_equal, svm.update(state, **nothing), state)
    outside = {**chunk(x[:20], labels[:20]), "labels": np.where(np.arange(LENGTH) % 2, -1, NUM_CLASSES)}
    jax.tree.map(np.testing.assert_array_equal, svm.update(state, **outside), state)
    blank = svm.update(svm.init(KEY), **nothing)
    jax.tree.map(np.testing.assert_array_equal, blank, svm.init(KEY))


def test_rows_outside_are_ignored(svm):
    x, labels = blobs(14, COUNTS)
    kept = labels < 3
    given = chunk(x[kept], labels[kept])
    outside = {
        "x": np.where(given["where"][:, None], given["x"], 1e30).astype(np.float32),
        "labels": np.where(given["where"], given["labels"], 99),
        "where": np.ones(LENGTH, bool),
    }
    expected, result = (svm.update(svm.init(KEY), **part) for part in (given, outside))
    jax.tree.map(lambda a, b: close(a, b, 1e-4), result, expected)


def test_one_row_of_a_new_class_gives_pseudo_classes_without_spread(svm):
    x, labels = blobs(15, (10, 8, 6, 0, 1))
    state = stream(svm, x, labels, [(0, 1, 2), (4,)])
    scores = np.asarray(svm.predict(svm.solve(state), formulas.means(x, labels, 5)[[0, 1, 2, 4]].astype(np.float32)))
    np.testing.assert_array_equal(scores.argmax(1), [0, 1, 2, 4])


def test_translation_beats_means_alone_and_rows_left_in_place(svm):
    """Digits 0 to 2 and then 3 and 4, in four principal components: what the translated rows are worth."""
    x, labels = load_digits(n_class=5, return_X_y=True)
    x = PCA(DIM).fit_transform(x / 16)
    train = np.concatenate([np.flatnonzero(labels == c)[:13] for c in range(5)])
    test = np.setdiff1d(np.arange(len(x)), train)
    rows, names = x[train], labels[train]
    head = svm.solve(stream(svm, rows, names, [(0, 1, 2), (3, 4)]))
    translated = np.mean(svm.predict(head, x[test].astype(np.float32)).argmax(-1) == labels[test])
    new, means = names > 2, formulas.means(rows, names, 5)
    source = np.asarray(fetril_assign(means[:3], means[3:])) + 3
    in_place = np.concatenate([rows[names == s] for s in source])
    rivals = {
        "means alone": (np.concatenate([rows[new], means[:3]]), np.r_[names[new], :3]),
        "left in place": (np.concatenate([rows[new], in_place]), np.r_[names[new], np.repeat(np.arange(3), 13)]),
    }
    for name, rival in rivals.items():
        assert translated > linear_svc(*rival).score(unit(x[test]), labels[test]) + 0.1, name


# --- what is refused --------------------------------------------------------------------------------------------

X, Y = np.zeros((6, DIM), np.float32), np.zeros(6, int)
MEAN = np.zeros(DIM, np.float32)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"num_classes": 0}, ValueError, "num_classes must be .*at least 1"),
        ({"dim": 0}, ValueError, "dim must be .*at least 1"),
        ({"classifier": "forest"}, ValueError, "classifier must be one of 'svm', 'softmax', got 'forest'"),
        ({"similarity": "dot"}, ValueError, "similarity must be one of 'cosine', 'euclidean', got 'dot'"),
        ({"cost": 0.0}, ValueError, "cost must be > 0, got 0.0"),
        ({"weight_decay": 0.0}, ValueError, "weight_decay must be > 0, got 0.0"),
        ({"num_iters": 0}, ValueError, "num_iters must be .*at least 1"),
    ],
)
def test_bad_options(change, error, words):
    with pytest.raises(error, match=words):
        fetril(**{"num_classes": NUM_CLASSES, "dim": DIM, **change})


@pytest.mark.parametrize(
    ("x", "labels", "where", "error", "words"),
    [
        (X.astype(int), Y, None, TypeError, "x must be floating point"),
        (X[:, :2], Y, None, ValueError, r"x must have shape \[N, 4\]"),
        (X[0], Y, None, ValueError, r"x must have shape \[N, D\]"),
        (X[:3], Y, None, ValueError, "x and labels must agree"),
        (X, Y.astype(float), None, TypeError, "labels must hold integers"),
        (X, Y, np.ones(5, bool), ValueError, r"where must have shape \[6\]"),
        (X, Y, np.ones(6), TypeError, "where must be boolean"),
    ],
)
def test_bad_chunks(x, labels, where, error, words):
    learner = fetril(NUM_CLASSES, DIM)
    with pytest.raises(error, match=words):
        learner.update(learner.init(KEY), x, labels, where=where)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: translate_features(X.astype(int), MEAN, MEAN), TypeError, "features must be floating point"),
        (lambda: translate_features(X, MEAN.astype(int), MEAN), TypeError, "source_mean must be floating point"),
        (lambda: translate_features(X, MEAN, MEAN.astype(int)), TypeError, "target_mean must be floating point"),
        (lambda: translate_features(X, MEAN, MEAN[:2]), ValueError, "source_mean and target_mean must have the same"),
        (lambda: translate_features(X[:, :2], MEAN, MEAN), ValueError, "features must have shape"),
        (lambda: fetril_assign(X, X, similarity="dot"), ValueError, "similarity must be one of"),
        (lambda: fetril_assign(MEAN, X), ValueError, r"past_means must have shape \[P, D\]"),
        (lambda: fetril_assign(X, X[:, :2]), ValueError, "must have shape"),
        (lambda: fetril_assign(X.astype(int), X), TypeError, "must be floating point"),
        (lambda: fetril_assign(X, X, where=np.ones(6)), TypeError, "where must be boolean"),
    ],
)
def test_bad_means(call, error, words):
    with pytest.raises(error, match=words):
        call()
