"""Ascent in parameters and inputs against optax, dense derivatives, single gradients and published arithmetic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim

RNG = np.random.default_rng(0)
B, D, K = 6, 3, 4
X = RNG.normal(size=(B, D)).astype(np.float32)
SHIFTED = (2 * X + 0.5 * RNG.normal(size=(B, D))).astype(np.float32)
Y = RNG.integers(0, K, B)
HEAD = {"kernel": RNG.normal(size=(D, K)).astype(np.float32), "bias": RNG.normal(size=K).astype(np.float32)}
WHERE = np.array([True, True, False, True, False, True])


def logits_of(head, x):
    return x @ head["kernel"] + head["bias"]


def losses_of(head, x, labels=Y):
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits_of(head, x), labels)


def mean_loss(head, x):
    return jnp.mean(losses_of(head, x))


def gradients(x, y=Y):
    """The gradient of every example, kernel above and bias below, by vmap."""
    one = lambda x, y: jax.grad(lambda head: losses_of(head, x[None], y[None])[0])(HEAD)  # noqa: E731
    found = jax.vmap(one)(jnp.asarray(x), jnp.asarray(y))
    return np.concatenate([found["kernel"], found["bias"][:, None]], axis=1).astype(np.float64)


def norm(tree):
    return float(np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(tree))))


# --- parameters ---------------------------------------------------------------------------------------------------


def test_ascent_goes_exactly_that_far_along_the_gradient():
    grads = jax.grad(mean_loss)(HEAD, X)
    for scale in (1.0, 1e30, 1e-30):
        moved = optim.ascent_step(HEAD, jax.tree.map(functools.partial(np.multiply, scale), grads), rho=0.7)
        step = jax.tree.map(lambda new, old: np.asarray(new) - old, moved, HEAD)
        assert norm(step) == pytest.approx(0.7, rel=1e-5)
        ratio = np.asarray(step["kernel"]) / np.asarray(grads["kernel"])
        np.testing.assert_allclose(ratio, 0.7 / norm(grads), rtol=1e-4)


def test_no_gradient_no_step_and_nan_is_loud():
    still = optim.ascent_step(HEAD, jax.tree.map(np.zeros_like, HEAD), rho=0.7)
    np.testing.assert_array_equal(still["kernel"], HEAD["kernel"])
    assert np.isnan(optim.ascent_step(HEAD, jax.tree.map(lambda g: g * np.nan, HEAD), rho=0.7)["bias"]).all()
    assert optim.ascent_step(jnp.ones(2, jnp.bfloat16), jnp.ones(2), rho=1.0).dtype == jnp.bfloat16


def test_weight_one_is_the_step_of_optax():
    sam = optax.contrib.sam(optax.sgd(0.1), optax.chain(optax.contrib.normalize(), optax.sgd(0.05)), opaque_mode=True)
    grad_fn = lambda params, _: jax.grad(mean_loss)(params, X)  # noqa: E731
    updates, _ = sam.update(jax.grad(mean_loss)(HEAD, X), sam.init(HEAD), HEAD, grad_fn=grad_fn)
    found = optim.perturbed_gradient(mean_loss, HEAD, X, rho=0.05)
    for name, update in updates.items():
        np.testing.assert_allclose(-0.1 * np.asarray(found[name]), update, rtol=1e-4, atol=1e-7)


def test_weight_zero_is_plain_and_so_is_rho_zero():
    plain = jax.grad(mean_loss)(HEAD, X)
    for options in ({"rho": 0.5, "weight": 0.0}, {"rho": 0.0}):
        np.testing.assert_allclose(optim.perturbed_gradient(mean_loss, HEAD, X, **options)["bias"], plain["bias"])


def test_the_gradient_norm_penalty_of_a_quadratic_is_exact():
    matrix = RNG.normal(size=(D, D)).astype(np.float32)
    matrix = matrix @ matrix.T
    quadratic = lambda w, _: 0.5 * w @ matrix @ w  # noqa: E731
    weight, rho = 0.7, 0.05
    penalised = lambda w: quadratic(w, None) + weight * rho * jnp.linalg.norm(jax.grad(quadratic)(w, None))  # noqa: E731
    found = optim.perturbed_gradient(quadratic, X[0], None, rho=rho, weight=weight)
    np.testing.assert_allclose(found, jax.grad(penalised)(X[0]), rtol=1e-4)


def test_the_second_gradient_may_see_another_batch():
    found = optim.perturbed_gradient(mean_loss, HEAD, X, rho=0.3, weight=0.7, shifted_batch=SHIFTED)
    here = jax.grad(mean_loss)(HEAD, X)
    there = jax.grad(mean_loss)(optim.ascent_step(HEAD, here, rho=0.3), SHIFTED)
    np.testing.assert_allclose(found["kernel"], 0.3 * here["kernel"] + 0.7 * there["kernel"], rtol=1e-5)
    same = optim.perturbed_gradient(mean_loss, HEAD, X, rho=0.3, weight=0.7)
    assert np.abs(found["kernel"] - same["kernel"]).max() > 1e-3


# --- inputs -------------------------------------------------------------------------------------------------------


@jax.jit
def objective(x, rho):
    loss, grads = jax.value_and_grad(mean_loss)(HEAD, x)
    return loss + rho * jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))


def test_inputs_move_by_the_step_and_raise_the_objective():
    for form in ("example", "pixel"):
        moved = jax.jit(
            lambda x, form=form: optim.input_sharpness_ascent(losses_of, HEAD, x, rho=0.5, step=0.01, form=form)
        )(X)
        axis = 1 if form == "example" else 0
        np.testing.assert_allclose(np.linalg.norm(moved - X, axis=axis), 0.01, rtol=1e-2)
        assert objective(moved, 0.5) > objective(X, 0.5)


def test_inputs_move_along_the_gradient_of_loss_and_sharpness():
    wanted = np.asarray(jax.jit(jax.grad(objective))(X, 5.0))
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    moved = optim.input_sharpness_ascent(losses_of, HEAD, X, rho=5.0, step=1.0) - X
    np.testing.assert_allclose(moved, wanted, atol=1e-4)
    plain = optim.input_sharpness_ascent(losses_of, HEAD, X, rho=0.0, step=1.0) - X
    assert np.abs(plain - moved).max() > 0.05  # the sharpness bends the way


def test_style_moves_the_mean_and_spread_of_channels():
    images = RNG.normal(size=(2, 3, 3, 2)).astype(np.float32)
    weight = RNG.normal(size=(3, 3, 2)).astype(np.float32)
    losses_fn = lambda w, x: jnp.sin(jnp.sum(x * w, axis=(1, 2, 3)))  # noqa: E731
    mean = images.mean((1, 2), keepdims=True)
    scale = np.sqrt(images.var((1, 2), keepdims=True) + 1e-5)
    unit = (images - mean) / scale

    def styled(style):
        return jnp.mean(losses_fn(weight, style[0] + unit * style[1]))

    by_mean, by_scale = jax.grad(styled)((mean, scale))
    wanted = (mean + 0.3 * by_mean) + unit * (scale + 0.3 * by_scale)
    found = optim.input_sharpness_ascent(losses_fn, weight, images, rho=0.0, step=0.3, form="style")
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_hidden_examples_count_for_nothing():
    spoiled = np.where(WHERE[:, None], X, np.nan).astype(np.float32)
    found = optim.input_sharpness_ascent(losses_of, HEAD, spoiled, rho=0.5, step=0.1, where=WHERE)
    fewer = lambda head, x: losses_of(head, x, Y[WHERE])  # noqa: E731
    np.testing.assert_allclose(
        found[WHERE], optim.input_sharpness_ascent(fewer, HEAD, X[WHERE], rho=0.5, step=0.1), rtol=1e-5
    )
    np.testing.assert_array_equal(found[~WHERE], 0)
    flat = optim.input_sharpness_ascent(lambda p, x: 0.0 * x[:, 0], HEAD, X, step=0.1)
    np.testing.assert_array_equal(flat, X)


# --- single gradients of a head -------------------------------------------------------------------------------------


def test_moments_are_those_of_single_gradients():
    probs = jax.nn.softmax(logits_of(HEAD, X))
    single = gradients(X)
    found = optim.head_gradient_variance(X, probs, Y)
    np.testing.assert_allclose(found.mean, single.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.variance, single.var(0), atol=1e-5)
    center = RNG.normal(size=(D + 1, K)).astype(np.float32)
    about = optim.head_gradient_variance(X, probs, Y, center=center)
    np.testing.assert_allclose(about.variance, np.mean((single - center) ** 2, axis=0), rtol=1e-4)


def test_inconsistency_is_the_published_arithmetic():
    known, shifted = gradients(X), gradients(SHIFTED)
    center = known.mean(0)
    spread = [((g - center) ** 2).mean(0) for g in (known, shifted)]
    middle = (spread[0] + spread[1]) / 2
    penalty = sum(np.mean((s - middle) ** 2) for s in spread) / 2
    small = (
        np.mean(np.sum(shifted[:, :-1] ** 2, axis=(1, 2))) / (D * K) + np.mean(np.sum(shifted[:, -1] ** 2, axis=1)) / K
    )
    found = optim.udim_inconsistency(X, logits_of(HEAD, X), SHIFTED, logits_of(HEAD, SHIFTED), Y)
    np.testing.assert_allclose(found, penalty + small, rtol=1e-4)
    assert penalty > 0.02 * small
    same = optim.udim_inconsistency(X, logits_of(HEAD, X), X, logits_of(HEAD, X), Y)
    square = known**2
    np.testing.assert_allclose(same, square[:, :-1].mean() + square[:, -1].mean(), rtol=1e-5)


def test_over_devices_and_with_masks():
    z, moved = np.asarray(logits_of(HEAD, X)), np.asarray(logits_of(HEAD, SHIFTED))
    spoil = lambda a: np.where(WHERE[:, None], a, np.nan).astype(np.float32)  # noqa: E731
    arrays = [spoil(a) for a in (X, z, SHIFTED, moved)]
    wanted = optim.udim_inconsistency(*(a[WHERE] for a in arrays), Y[WHERE])
    np.testing.assert_allclose(optim.udim_inconsistency(*arrays, Y, where=WHERE), wanted, rtol=1e-4)
    parts = [a.reshape(2, B // 2, *a.shape[1:]) for a in (*arrays, Y, WHERE)]
    shared = lambda *a: optim.udim_inconsistency(*a[:5], where=a[5], axis_name="d")  # noqa: E731
    np.testing.assert_allclose(jax.vmap(shared, axis_name="d")(*parts), wanted, rtol=1e-4)
    assert optim.udim_inconsistency(*arrays, Y, where=np.zeros(B, bool)) == 0
    assert np.isnan(optim.udim_inconsistency(X, z, X, z, np.full(B, K)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.ascent_step(HEAD, {"kernel": HEAD["kernel"]}, rho=0.1), ValueError, "structure and shapes"),
        (lambda: optim.ascent_step(np.arange(3), X[0], rho=0.1), TypeError, "params"),
        (lambda: optim.perturbed_gradient(mean_loss, HEAD, X, rho=-0.1), ValueError, "rho"),
        (lambda: optim.perturbed_gradient(mean_loss, np.arange(3), X, rho=0.1), TypeError, "params"),
        (lambda: optim.input_sharpness_ascent(losses_of, HEAD, X, step=-1.0), ValueError, "step"),
        (lambda: optim.input_sharpness_ascent(losses_of, HEAD, X, step=1.0, rho=-1.0), ValueError, "rho"),
        (lambda: optim.input_sharpness_ascent(losses_of, HEAD, X, step=1.0, form="batch"), ValueError, "form"),
        (
            lambda: optim.input_sharpness_ascent(losses_of, HEAD, X, step=1.0, form="style"),
            ValueError,
            "axis of pixels",
        ),
        (lambda: optim.input_sharpness_ascent(losses_of, HEAD, X[:0], step=1.0), ValueError, "B >= 1"),
        (lambda: optim.input_sharpness_ascent(mean_loss, HEAD, X, step=1.0), ValueError, "must return the losses"),
        (lambda: optim.input_sharpness_ascent(losses_of, HEAD, X, step=1.0, where=Y), TypeError, "where"),
        (lambda: optim.head_gradient_variance(X, X, Y[:2]), ValueError, "labels"),
        (lambda: optim.head_gradient_variance(X, X, Y, center=X), ValueError, "center"),
        (lambda: optim.head_gradient_variance(X, X, X[:, 0]), TypeError, "labels"),
        (lambda: optim.udim_inconsistency(X, X, X[:2], X, Y), ValueError, "shifted_features"),
        (lambda: optim.udim_inconsistency(X, Y, X, Y, Y), TypeError, "logits"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
