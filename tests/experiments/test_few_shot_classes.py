"""New classes from a few examples: the quick run end to end, and the parts it is made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from experiments import few_shot_classes as question
from experiments.data import load
from experiments.episodes import draw_task
from experiments.errors import UserError
from experiments.shots import Episode, Examples, draw_shots, first_shots, pixels_of, texts_of
from experiments.two_gaussians import SAMPLES, excess_error
from jaxlab.analytic import Head

SMALL = ["--trials", "2", "--train-steps", "60", "--episodes", "4"]


def test_the_quick_run(quick_run):
    result = quick_run(question, "--dataset", "digits", *SMALL)
    rows = {metric: {name: np.array(v) for name, v in row.items()} for metric, row in result["rows"].items()}
    assert {claim["verdict"] for claim in result["claims"]} == {"not judged"}

    few_shot = {"nmc", "nmc_cosine", "gda_pinv", "gda_ks", "naive_bayes", "logistic_regression", "gda_zero_shot"}
    expected = {f"accuracy_{k}": few_shot for k in (1, 4, 8, 16)} | {"accuracy_0": {"zero_shot", "gmm"}}
    for name in ("harmonic_mean_1", "harmonic_mean_5", "new_to_base_1", "new_to_base_5"):
        expected[name] = {"nmc_cosine", "teen", "gda_ks"}
    for name in ("samples_32", "samples_128"):
        expected[name] = {"naive_bayes", "logistic_regression"}
    expected["unseen_accuracy"] = {"zero_shot", "gda_zero_shot"}
    for name in ("episode_1", "episode_5"):
        expected[name] = {"nmc", "laplacian_shot", "clusters", "laplacian_clusters"}
    assert {metric: set(row) for metric, row in rows.items()} == expected
    order = list(rows)
    assert order.index("accuracy_8") < order.index("accuracy_16")

    # With one shot there is no scatter: both discriminants are the nearest mean, and all methods see the same shots.
    for name in ("gda_ks", "gda_pinv"):
        np.testing.assert_array_equal(rows["accuracy_1"][name], rows["accuracy_1"]["nmc"])
    assert (rows["accuracy_16"]["gda_ks"] > rows["accuracy_1"]["gda_ks"] + 0.1).all()
    assert (rows["new_to_base_1"]["teen"] < rows["new_to_base_1"]["nmc_cosine"]).all()
    assert (rows["samples_32"]["naive_bayes"] < rows["samples_32"]["logistic_regression"]).all()
    assert (rows["accuracy_0"]["zero_shot"] > 0.3).all()
    assert (rows["episode_5"]["clusters"] > rows["episode_1"]["clusters"] - 0.05).all()
    assert (rows["episode_1"]["clusters"] > 0.5).all()


def test_shots_are_different_training_rows_of_their_class():
    labels, train = np.arange(60) % 3, np.arange(60) % 5 > 0
    rows = draw_shots(labels, train, trials=4, per_class=6, seed=0)
    assert rows.shape == (4, 3, 6)
    assert train[rows].all()
    assert (labels[rows] == np.arange(3)[:, None]).all()
    assert all(len(set(group)) == 6 for group in rows.reshape(12, 6))
    assert not np.array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows, draw_shots(labels, train, trials=4, per_class=6, seed=0))
    with pytest.raises(UserError, match="Class 0 has 16 training rows: 17 of every class"):
        draw_shots(labels, train, trials=1, per_class=17, seed=0)


def test_the_first_shots_count():
    x, labels = np.arange(12.0)[:, None], np.arange(12) % 2
    known = first_shots(jnp.asarray(x), jnp.asarray(labels), jnp.array([[4, 0, 2], [1, 3, 5]]), 2)
    np.testing.assert_array_equal(known.x[:, 0], [4, 0, 2, 1, 3, 5])
    np.testing.assert_array_equal(known.y, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(known.where, [True, True, False, True, True, False])


def test_images_become_rows_and_other_digits_become_texts():
    digits = load("digits")
    pixels = pixels_of(digits)
    np.testing.assert_allclose(pixels, digits.x.reshape(-1, 64), atol=1e-6)  # they have 8 x 8 pixels already
    assert texts_of(dataclasses.replace(digits, name="mine")) is None
    assert texts_of(dataclasses.replace(digits, kind="features")) is None
    colours = np.random.default_rng(0).random((4, 16, 16, 3)).astype(np.float32)
    assert pixels_of(dataclasses.replace(digits, x=colours)).shape == (4, 64)
    features = np.array([[2.0, -4.0], [1.0, 0.0]], np.float32)
    scaled = pixels_of(dataclasses.replace(digits, x=features, kind="features"))
    np.testing.assert_allclose(scaled, features / 4)


def episode(shots=3, classes=4, dim=6):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(classes), shots + 1)
    x = (2 * rng.normal(size=(classes, dim))[y] + rng.normal(size=(len(y), dim))).astype(np.float32)
    where = np.tile(np.arange(shots + 1) < shots, classes)
    support = Examples(jnp.asarray(x), jnp.asarray(y), jnp.asarray(where))
    return Episode(support, support, None, classes), x[where].astype(np.float64), y[where]


def test_the_discriminant_with_the_pseudo_inverse():
    known, x, y = episode(shots=2, dim=12)  # 4 degrees of freedom in 12 dimensions
    means = np.stack([x[y == c].mean(0) for c in range(4)])
    precision = np.linalg.pinv((x - means[y]).T @ (x - means[y]) / (len(x) - 1), rcond=1e-6, hermitian=True)
    logits = x @ precision @ means.T - 0.5 * np.einsum("cd,de,ce->c", means, precision, means)
    ours = question.gda_pinv(question.Config(), known, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(ours, logits, rtol=2e-3, atol=2e-3 * np.abs(logits).max())


@pytest.mark.parametrize("classes", [2, 10])
def test_logistic_regression_is_scikit_learns(classes):
    x, y = load_digits(return_X_y=True)
    x, y = (x[y < classes] / 16).astype(np.float32)[:80], y[y < classes][:80]
    where = np.arange(80) < 60
    rows = Examples(jnp.asarray(x), jnp.asarray(y), jnp.asarray(where))
    ridge = 2.0 if classes == 2 else 1.0  # of two opposite weights, each is half of scikit-learn's one
    head = jax.jit(lambda rows: question.logistic_head(rows, classes, ridge=ridge, num_steps=30))(rows)
    peer = LogisticRegression(C=1.0, max_iter=1000).fit(x[where], y[where])
    ours = np.asarray(jax.nn.softmax(x[60:] @ head.weight + head.bias))
    np.testing.assert_allclose(ours, peer.predict_proba(x[60:]), atol=5e-3)


def test_alpha_is_the_best_on_the_validation_rows():
    text = jnp.eye(2)[::-1]  # each text names the other class
    rows = Examples(jnp.eye(2), jnp.arange(2), jnp.ones(2, bool))
    good, useless = Head(jnp.eye(2) * 30, jnp.zeros(2)), Head(jnp.zeros((2, 2)), jnp.zeros(2))
    assert question.choose_alpha(good, text, rows) == 10.0  # 30 alpha must beat 100
    assert question.choose_alpha(useless, text, rows) == question.ALPHAS[0]
    hidden = rows._replace(y=1 - rows.y, where=jnp.zeros(2, bool))
    assert question.choose_alpha(good, text, hidden) == question.ALPHAS[0]


@pytest.mark.parametrize("dim", [2, 32])
def test_errors_of_simulated_heads_are_exact(dim):
    keys = jax.random.split(jax.random.key(0), 2)
    variance = np.where(np.arange(128) < dim // 2, dim, 1.0)
    exists = np.arange(128) < dim

    def fixed(direction, offset):
        weight = np.stack([-direction, direction], axis=1).astype(np.float32) / 2
        return lambda rows: Head(jnp.asarray(weight), jnp.array([0.0, offset]))

    best = excess_error(fixed(exists / variance, 0.0), keys, dim)
    assert best.shape == (len(SAMPLES),)
    np.testing.assert_allclose(best, 0.0, atol=1e-6)
    # All coordinates alike, with an offset; weights on coordinates that do not exist change nothing.
    spread = np.sqrt(variance[exists].sum())
    error = 0.5 * (norm.cdf((-dim - 0.5) / spread) + norm.cdf((-dim + 0.5) / spread))
    bayes = norm.cdf(-np.sqrt((1 / variance[exists]).sum()))
    np.testing.assert_allclose(excess_error(fixed(np.ones(128), 0.5), keys, dim), error - bayes, atol=1e-6)


def test_known_classes_leave_one_to_come():
    assert question.Config().num_base(10) == 6
    assert question.Config(base_share=0.99).num_base(3) == 2
    with pytest.raises(ValueError, match="base_share must lie in"):
        question.Config(base_share=1.0)


def test_episodes_hold_five_classes_with_their_shots_and_queries():
    labels = np.arange(400) % 8
    train = np.arange(400) < 200
    x = np.arange(400.0, dtype=np.float32)[:, None]
    task = draw_task(
        jax.random.key(0),
        jnp.asarray(x),
        jnp.asarray(labels),
        jnp.asarray(train),
        ~jnp.asarray(train),
        num_classes=8,
        shots=2,
    )
    support, queries = np.asarray(task.support[:, 0], int), np.asarray(task.queries[:, 0], int)
    assert train[support].all()
    assert not train[queries].any()
    assert len(set(support)) == 10
    assert len(set(queries)) == 75
    assert np.asarray(task.where).all()
    for way in range(5):
        assert len(set(labels[support[task.labels == way]]) | set(labels[queries[task.truth == way]])) == 1
    few = draw_task(
        jax.random.key(0),
        jnp.asarray(x),
        jnp.asarray(labels),
        jnp.asarray(train),
        jnp.asarray(np.arange(400) >= 360),
        num_classes=8,
        shots=2,
    )
    np.testing.assert_array_equal(few.where, np.tile(np.arange(15) < 5, 5))
