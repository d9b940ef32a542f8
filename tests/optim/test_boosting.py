"""Boosting of hidden units: starts, Newton steps, the fit of a stage, the whole loop, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier, MLPRegressor

from jaxlab.losses import pseudo_residuals
from jaxlab.nn import SmallMLP, assemble_boosted, boosted_prefix, small_mlp
from jaxlab.optim import boosting_init, boosting_newton_step, fit_small_mlp, gradient_boosted_network
from jaxlab.optim.boosting import _glorot, _subsample

RNG = np.random.default_rng(0)
N, D, C = 60, 3, 3
X = RNG.normal(size=(N, D)).astype(np.float32)
NUMBERS = (np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]).astype(np.float32)
LABELS = np.digitize(X[:, 0] + X[:, 1] ** 2, [0.3, 1.5])
TARGETS = {"squared": NUMBERS, "binary": (NUMBERS > 0).astype(np.int32), "multiclass": LABELS}
MEAN_LOSS = {
    "squared": lambda f, y: jnp.mean(0.5 * (y - f) ** 2),
    "binary": lambda f, y: jnp.mean(optax.losses.sigmoid_binary_cross_entropy(2 * f, y)),
    "multiclass": lambda f, y: jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(f, y)),
}


OPTIONS = {
    "squared": {"subsample": 1.0, "ridge": 0.0, "num_stages": 8},
    "binary": {"subsample": 1.0, "learning_rate": 0.5, "num_stages": 4},
    "multiclass": {"subsample": 0.5, "width": 2, "num_classes": C, "num_stages": 4},
}
BOOST = {
    loss: jax.jit(functools.partial(gradient_boosted_network, loss=loss, num_steps=50, **options))
    for loss, options in OPTIONS.items()
}


@functools.cache
def fitted(loss):
    return BOOST[loss](jax.random.key(0), X, TARGETS[loss])


# The start


@pytest.mark.parametrize("loss", ["squared", "binary"])
def test_start_minimises_the_loss_over_constants(loss):
    y = TARGETS[loss]
    start = float(boosting_init(y, loss=loss))
    slope = jax.grad(lambda f: MEAN_LOSS[loss](jnp.full(N, f), y))(start)
    assert abs(float(slope)) < 1e-6
    best = optimize.minimize_scalar(lambda f: float(MEAN_LOSS[loss](jnp.full(N, f), y)), bounds=(-3, 3))
    assert start == pytest.approx(best.x, abs=2e-3)
    assert abs(start) > 0.01


def test_published_start_for_many_classes_is_best_where_they_are_equally_frequent():
    start = boosting_init(LABELS, loss="multiclass", num_classes=C)
    np.testing.assert_array_equal(start, np.zeros(C))
    slope = jax.grad(lambda f, y: MEAN_LOSS["multiclass"](jnp.broadcast_to(f, (len(y), C)), y))
    np.testing.assert_allclose(slope(start, np.arange(30) % C), np.zeros(C), atol=1e-6)
    assert np.abs(slope(start, LABELS)).max() > 0.05


def test_start_without_two_classes_is_nan():
    for y in ([0, 0], [1, 1], [0, 2], [-1, 1]):
        assert np.isnan(boosting_init(np.array(y), loss="binary"))
    y, where = np.array([0, 1, 1, 7]), np.array([True, True, True, False])
    assert boosting_init(y, loss="binary", where=where) == pytest.approx(0.5 * np.log(2))
    assert boosting_init(y, loss="binary", where=~where & (y < 7)) == 0


# The step


@pytest.mark.parametrize("loss", ["binary", "multiclass"])
def test_newton_step_is_slope_over_curvature(loss):
    """Along the line F + rho h; for many classes the curvature between classes is left out."""
    y = TARGETS[loss]
    shape = (N, C) if loss == "multiclass" else (N,)
    scores, h = (RNG.normal(size=shape).astype(np.float32) for _ in range(2))
    along = lambda rho: N * MEAN_LOSS[loss](scores + rho * h, y)  # noqa: E731
    slope, bend = jax.grad(along)(0.0), jax.grad(jax.grad(along))(0.0)
    if loss == "multiclass":
        p = jax.nn.softmax(scores)
        between = jnp.sum(jnp.sum(p * h, 1) ** 2 - jnp.sum(p**2 * h**2, 1))
        assert abs(float(between)) > 1
        bend = bend + between
    found = boosting_newton_step(h, pseudo_residuals(scores, y, loss=loss), loss=loss)
    np.testing.assert_allclose(found, -slope / bend, rtol=1e-4)


def test_newton_step_follows_what_correlates_and_is_bounded():
    residuals = pseudo_residuals(jnp.zeros((N, C)), LABELS, loss="multiclass")
    assert boosting_newton_step(residuals, residuals, loss="multiclass") > 1
    assert boosting_newton_step(-residuals, residuals, loss="multiclass") < -1
    step = functools.partial(boosting_newton_step, loss="binary", max_step=50.0)
    fitted_rows = pseudo_residuals(
        jnp.array([4.0, 4.0]), np.array([1, 1]), loss="binary"
    )  # 7e-4: a stage predicts little
    assert boosting_newton_step(fitted_rows, fitted_rows, loss="binary", max_step=1e6) > 500
    assert step(fitted_rows, fitted_rows) == 50
    assert step(-fitted_rows, fitted_rows) == -50
    assert step(jnp.zeros(2), jnp.array([0.5, -0.5])) == 0
    assert step(jnp.ones(2), jnp.array([0.5, -0.5])) == 0  # a constant, where the constant is fitted
    assert step(jnp.ones(2), jnp.zeros(2)) == 0
    assert boosting_newton_step(jnp.ones(2), jnp.ones(2), loss="squared") == 1


# The fit of one stage


def objective(flat, x, y, ridge):
    """What the fit of one unit to the columns of y minimises, in float64."""
    w, b, v, c = np.split(flat, [D, D + 1, D + 1 + y.shape[1]])
    errors = v / (1 + np.exp(-(x @ w + b)))[:, None] + c - y
    return 0.5 * np.mean(errors**2) + 0.5 * ridge * (np.sum(w**2) + np.sum(v**2)) / len(x)


@pytest.fixture(scope="module")
def unit():
    """Numbers that one sigmoid unit gives, and three fits of one unit to them."""
    y = 3 * np.tanh(X @ [1.0, -2.0, 0.5] + 0.3) - 1
    keys = jax.random.split(jax.random.key(0), 3)
    fit = functools.partial(fit_small_mlp, x=X, targets=y[:, None].astype(np.float32), ridge=0.1)
    return y, keys, jax.jit(jax.vmap(fit))(keys)


def test_fit_reaches_what_scipy_reaches_from_the_same_start(unit):
    y, keys, fits = unit
    for at, key in enumerate(keys):
        start = np.concatenate([np.ravel(leaf) for leaf in _glorot(key, D, 1, 1, jnp.float32)])
        found = np.concatenate([np.ravel(leaf[at]) for leaf in fits])
        best = optimize.minimize(objective, start, (X.astype(float), y[:, None], 0.1), method="L-BFGS-B")
        assert objective(found, X, y[:, None], 0.1) == pytest.approx(best.fun, rel=1e-3)
        assert best.fun < 0.1 * objective(start, X, y[:, None], 0.1)


def test_fit_of_two_outputs_reaches_what_scipy_reaches(unit):
    """The squares are means over the outputs, the penalty is not: with a large one the place of 1 / O decides."""
    y, keys, _ = unit
    both, ridge = np.stack([y, -0.5 * y], axis=1), 5.0
    fit = jax.jit(functools.partial(fit_small_mlp, x=X, targets=both.astype(np.float32), ridge=ridge))(keys[0])
    start = np.concatenate([np.ravel(leaf) for leaf in _glorot(keys[0], D, 1, 2, jnp.float32)])
    found = np.concatenate([np.ravel(leaf) for leaf in fit])
    best = optimize.minimize(objective, start, (X.astype(float), both, ridge), method="L-BFGS-B")
    assert objective(found, X, both, ridge) == pytest.approx(best.fun, rel=1e-4)
    np.testing.assert_allclose(found, best.x, atol=0.02)


def test_fit_is_as_good_as_that_of_scikit_learn(unit):
    y, _, fits = unit
    peer = MLPRegressor(hidden_layer_sizes=(1,), activation="logistic", solver="lbfgs", alpha=0.1, random_state=0)
    reference = np.mean((peer.fit(X, y).predict(X) - y) ** 2)
    errors = np.mean((np.asarray(jax.vmap(lambda p: small_mlp(p, X))(fits))[..., 0] - y) ** 2, axis=1)
    assert reference < 0.1 * np.var(y)
    np.testing.assert_allclose(errors.min(), reference, rtol=0.05)


# The loop


@pytest.mark.parametrize("loss", TARGETS)
def test_assembled_network_and_prefixes_are_the_staged_model(loss):
    fit, y = fitted(loss), TARGETS[loss]
    scores = small_mlp(assemble_boosted(fit.model), X)
    np.testing.assert_allclose(scores, fit.scores, rtol=1e-5, atol=1e-5)
    width = OPTIONS[loss].get("width", 1)
    for stop in (1, 3, OPTIONS[loss]["num_stages"]):
        scores = small_mlp(assemble_boosted(boosted_prefix(fit.model, stop * width)), X)
        scores = scores if loss == "multiclass" else scores[:, 0]
        np.testing.assert_allclose(MEAN_LOSS[loss](scores, y), fit.losses[stop - 1], rtol=1e-4)
    assert fit.losses[-1] < 0.7 * MEAN_LOSS[loss](jnp.full(scores.shape, 0.0), y)


def test_stages_fit_the_residuals_of_those_before():
    """The loop again in plain Python, with the parts checked above."""
    fit, y = fitted("binary"), TARGETS["binary"]
    scores = jnp.full(N, boosting_init(y, loss="binary"))
    for t in range(4):
        residuals = pseudo_residuals(scores, y, loss="binary")
        h = small_mlp(SmallMLP(*(leaf[t] for leaf in fit.model.stages)), X)[:, 0]
        assert jnp.mean((residuals - h) ** 2) < 0.95 * jnp.mean((residuals - residuals.mean()) ** 2)
        step = 0.5 * boosting_newton_step(h, residuals, loss="binary")
        np.testing.assert_allclose(fit.model.steps[t], step, rtol=1e-4)
        scores = scores + step * h
    np.testing.assert_allclose(fit.scores[:, 0], scores, rtol=1e-4, atol=1e-5)


def test_squared_loss_never_rises_on_all_rows():
    losses = np.asarray(fitted("squared").losses)
    assert (np.diff(losses) <= 1e-6).all()
    assert losses[-1] < 0.6 * losses[0]


def test_rows_of_a_stage_are_drawn_without_replacement():
    where = jnp.arange(20) % 4 > 0  # 15 count
    draw = jax.jit(jax.vmap(lambda key: _subsample(key, where, 0.5)))
    index, used = map(np.asarray, draw(jax.random.split(jax.random.key(0), 200)))
    assert index.shape == (200, 10)
    assert (used.sum(1) == 7).all()
    drawn = [rows[mask] for rows, mask in zip(index, used, strict=True)]
    assert all(len(set(rows)) == 7 and where[rows].all() for rows in drawn)
    frequency = np.bincount(np.concatenate(drawn), minlength=20)[np.asarray(where)] / 200
    np.testing.assert_allclose(frequency, 7 / 15, atol=0.15)
    everything, used = _subsample(jax.random.key(0), jnp.ones(5, bool), 1.0)
    assert sorted(everything.tolist()) == [0, 1, 2, 3, 4]
    assert used.all()


def test_data_of_one_class_and_labels_out_of_range_are_loud():
    for y in (np.ones(N), np.zeros(N), np.arange(N) % 3):
        assert np.isnan(BOOST["binary"](jax.random.key(0), X, y.astype(np.int32)).losses).all()
    assert np.isnan(BOOST["multiclass"](jax.random.key(0), X, np.arange(N, dtype=np.int32) % 4).losses).all()


def test_close_to_a_jointly_trained_network():
    data = load_breast_cancer()
    x, y = ((data.data - data.data.mean(0)) / data.data.std(0)).astype(np.float32), data.target.astype(np.int32)
    train, test = np.arange(400), np.arange(400, 569)
    options = {"loss": "binary", "num_stages": 50, "learning_rate": 0.5, "num_steps": 50}
    fit = jax.jit(functools.partial(gradient_boosted_network, **options))(jax.random.key(0), x[train], y[train])
    accuracy = {}
    for units in (25, 50):
        logits = small_mlp(assemble_boosted(boosted_prefix(fit.model, units), scale=2.0), x[test])[:, 0]
        accuracy[units] = np.mean((logits > 0) == y[test])
    joint = MLPClassifier(hidden_layer_sizes=(50,), activation="logistic", solver="lbfgs", max_iter=500, random_state=0)
    assert accuracy[50] > joint.fit(x[train], y[train]).score(x[test], y[test]) - 0.02
    assert accuracy[25] > accuracy[50] - 0.02


KEY = jax.random.key(0)
binary = functools.partial(gradient_boosted_network, KEY, loss="binary")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: boosting_init(LABELS, loss="hinge"), ValueError, "loss must be one of"),
        (lambda: boosting_init(LABELS, loss="multiclass"), ValueError, "num_classes must be given"),
        (lambda: boosting_init(LABELS[None], loss="binary"), ValueError, r"targets must have shape \[N\]"),
        (lambda: boosting_init(NUMBERS, loss="binary"), TypeError, "targets must hold integers"),
        (lambda: boosting_newton_step(X, X, loss="binary"), ValueError, r"direction must have shape \[N\]"),
        (lambda: boosting_newton_step(X, X[:, :2], loss="multiclass"), ValueError, "direction and residuals must have"),
        (lambda: boosting_newton_step(X, X, loss="multiclass", max_step=0), ValueError, "max_step must be > 0"),
        (lambda: fit_small_mlp(KEY, X, NUMBERS), ValueError, r"targets must have shape \[N, O\]"),
        (lambda: fit_small_mlp(KEY, X, NUMBERS[:5, None]), ValueError, "x and targets must agree"),
        (lambda: fit_small_mlp(KEY, X, NUMBERS[:, None], width=0), ValueError, "width must be an integer"),
        (lambda: fit_small_mlp(KEY, X, NUMBERS[:, None], ridge=-1.0), ValueError, "ridge must be at least 0"),
        (lambda: binary(X, LABELS[:5], num_stages=2), ValueError, "x and targets must agree"),
        (lambda: binary(X, LABELS, num_stages=2, subsample=0.0), ValueError, r"subsample must lie in \(0, 1\]"),
        (lambda: binary(X, LABELS, num_stages=0), ValueError, "num_stages must be an integer"),
        (lambda: binary(X, NUMBERS, num_stages=2), TypeError, "targets must hold integers"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
