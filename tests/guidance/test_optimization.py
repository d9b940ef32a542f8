"""Conditions and latents that are moved."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import diffusion, guidance

rng = np.random.default_rng(9)
W = rng.normal(size=(50, 3)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), 2)
PROCESS = diffusion.vp()
X = rng.normal(size=(2, 3)).astype(np.float32)


def test_truncation_shrinks_towards_the_mean():
    mean = W.mean(0)
    np.testing.assert_array_equal(guidance.truncate(W, mean, psi=1.0), W)
    np.testing.assert_allclose(guidance.truncate(W, mean, psi=0.0), np.tile(mean, (50, 1)), atol=1e-6)
    np.testing.assert_allclose(guidance.truncate(W, mean).var(0), 0.49 * W.var(0), rtol=1e-4)
    np.testing.assert_allclose(guidance.truncate(W, mean).mean(0), mean, atol=1e-5)


def run(step, condition, keys, x, ts):
    """Data predictions that follow the condition, and x."""
    return diffusion.sample(keys, x, ts, cond_fn=lambda x, t: jnp.tanh(condition + 0.3 * x), step=step).x


DDIM = diffusion.ddim(PROCESS, kind="x0")


def test_the_value_is_the_samplers_and_the_gradient_that_of_its_last_step():
    ts, condition = jnp.array([1.0, 0.6, 0.3, 0.1]), jnp.array([0.5, -1.0, 0.2])

    @jax.jit
    def both(condition):
        sample = lambda c: guidance.last_step_grad_sample(  # noqa: E731
            lambda *a: run(DDIM, *a), c, KEYS, X, ts
        )
        before = run(DDIM, condition, KEYS, X, ts[:-1])
        last = lambda c: run(DDIM, c, KEYS, jax.lax.stop_gradient(before), ts[-2:])  # noqa: E731
        whole = lambda c: run(DDIM, c, KEYS, X, ts)  # noqa: E731
        return [(fn(condition), jax.jacobian(fn)(condition)) for fn in (sample, last, whole)]

    (value, slope), (_, of_last), (plain, of_all) = both(condition)
    np.testing.assert_allclose(value, plain, atol=1e-6)
    np.testing.assert_allclose(slope, of_last, atol=1e-6)
    assert np.abs(slope - of_all).max() > 1e-2


def test_with_one_step_it_is_the_whole_gradient():
    ts, condition = jnp.array([1.0, 0.3]), jnp.array([0.5, -1.0, 0.2])
    sample = lambda c: guidance.last_step_grad_sample(lambda *a: run(DDIM, *a), c, KEYS, X, ts)  # noqa: E731
    got, expected = (jax.jit(jax.jacobian(f))(condition) for f in (sample, lambda c: run(DDIM, c, KEYS, X, ts)))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_the_last_step_has_the_noise_of_the_last_step():
    seen = []
    guidance.last_step_grad_sample(
        lambda c, keys, x, ts: seen.append((keys, ts)) or x, 1.0, KEYS, X, jnp.array([1.0, 0.5, 0.2, 0.0])
    )
    assert [list(map(float, ts)) for _, ts in seen] == [[1.0, 0.5, pytest.approx(0.2)], [pytest.approx(0.2), 0.0]]
    assert (seen[0][0] == KEYS).all()
    assert (seen[1][0] == jax.vmap(lambda key: jax.random.fold_in(key, 2))(KEYS)).all()


def test_a_linear_generator_learns_its_class_and_stays_frozen():
    weights, head = rng.normal(size=(8, 4)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    kept = weights.copy()

    def loss_fn(e):
        logits = (e @ weights) @ head
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, 2)

    found = guidance.optimize_condition(loss_fn, jnp.zeros(8), optimizer=optax.sgd(0.005), num_steps=40)
    assert (np.diff(found.losses) < 0).all()
    np.testing.assert_array_equal(weights, kept)
    np.testing.assert_allclose(found.loss, found.losses[-1])
    assert found.num_steps == 40
    default = guidance.optimize_condition(loss_fn, jnp.ones(8), num_steps=2)
    # The first step of Adam has the size of the learning rate, beside the decay.
    np.testing.assert_allclose(np.abs(default.condition - 1.0), 1.25e-3, atol=5e-5)


def bumpy(c):
    """Falls to 0 at c = 3, rises to 5 at c = 5, and lies lower still beyond c = 9."""
    return jnp.where(c < 9.0, (c - 3.0) ** 2 + 1.0, 0.0)


def walk(num_steps, **stop):
    """Goes up by 1 at every step, whatever the gradient."""
    optimizer = optax.stateless(lambda updates, params: jax.tree.map(jnp.ones_like, updates))
    return guidance.optimize_condition(bumpy, jnp.array(0.0), optimizer=optimizer, num_steps=num_steps, **stop)


def test_the_best_is_kept_not_the_last():
    found = walk(9)
    np.testing.assert_allclose(found.losses, [10.0, 5.0, 2.0, 1.0, 2.0, 5.0, 10.0, 17.0, 26.0])
    assert (found.condition, found.loss, found.num_steps) == (3.0, 1.0, 9)
    assert walk(12).condition == 9.0


def test_it_stops_without_progress_and_at_the_target():
    patient = walk(12, patience=2)
    assert (patient.condition, patient.num_steps) == (3.0, 6)  # the third loss that is no better ends it
    np.testing.assert_allclose(patient.losses[6:], patient.losses[6])
    assert patient.losses[6] > patient.losses[5]
    hit = walk(12, target=2.0)
    assert (hit.condition, hit.loss, hit.num_steps) == (2.0, 2.0, 2)


def test_a_loss_of_nan_is_never_the_best():
    loss_fn = lambda c: jnp.where(c > 1.5, jnp.nan, -c)  # noqa: E731
    optimizer = optax.stateless(lambda updates, params: jax.tree.map(jnp.ones_like, updates))
    found = guidance.optimize_condition(loss_fn, jnp.array(0.0), optimizer=optimizer, num_steps=4)
    assert (found.condition, found.loss) == (1.0, -1.0)


def sampled(**change):
    given = {"condition": 1.0, "keys": KEYS, "x_init": X, "ts": jnp.array([1.0, 0.0])} | change
    return guidance.last_step_grad_sample(lambda c, keys, x, ts: x, **given)


BAD = {
    "mean": (lambda: guidance.truncate(W, jnp.ones(2)), ValueError, "broadcast"),
    "latents": (lambda: guidance.truncate(jnp.ones(3, int), jnp.ones(3)), TypeError, "w must be floating"),
    "one time": (lambda: sampled(ts=jnp.ones(1)), ValueError, "at least two times"),
    "keys": (lambda: sampled(keys=jnp.ones((2, 2), jnp.uint32)), TypeError, "typed keys"),
    "no steps": (lambda: walk(0), ValueError, "num_steps must be at least 1"),
    "patience": (lambda: walk(2, patience=-1), ValueError, "patience must be at least 0"),
    "loss": (lambda: guidance.optimize_condition(lambda c: c, jnp.ones(2)), ValueError, "loss_fn must return one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
