"""Sequences of one class, noisiest first, and the sampler with a memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion, nn

KEY = jax.random.key(0)
LABELS = jnp.array([0, 1, 1, 0, 2, 1, -1, -1, -1, 0, 1])


def test_times_fall_and_are_order_statistics():
    t = np.asarray(diffusion.sorted_times(KEY, 20_000, 3))
    assert (np.diff(t, axis=1) <= 0).all()
    # The k-th largest of L uniforms is Beta(L + 1 - k, k): means 3/4, 2/4, 1/4.
    np.testing.assert_allclose(t.mean(axis=0), [0.75, 0.5, 0.25], atol=0.01)
    np.testing.assert_allclose(t.var(axis=0), [0.0375, 0.05, 0.0375], atol=0.002)
    assert t.min() >= 0
    assert t.max() < 1


def test_one_time_is_that_of_ordinary_flow_matching():
    t = diffusion.sorted_times(KEY, 5, 1)
    np.testing.assert_array_equal(t, jax.random.uniform(KEY, (5, 1)))


def draw(labels=LABELS, where=None, length=3, batch=3000):
    return jax.jit(lambda where: diffusion.same_class_batch(KEY, labels, length, batch=batch, where=where))(where)


def test_sequences_hold_different_rows_of_one_class():
    index, label = map(np.asarray, draw())
    np.testing.assert_array_equal(np.asarray(LABELS)[index], np.repeat(label[:, None], 3, axis=1))
    assert all(len(set(row)) == 3 for row in index)
    # Class 2 is too small and negative labels are nobody's; 0 (three rows) and 1 (four) come equally often.
    np.testing.assert_allclose(np.bincount(label, minlength=3) / len(label), [0.5, 0.5, 0.0], atol=0.03)
    rows = np.bincount(index[label == 1].ravel(), minlength=len(LABELS)) / np.sum(label == 1)
    np.testing.assert_allclose(rows[np.asarray(LABELS) == 1], 0.75, atol=0.03)
    assert rows[np.asarray(LABELS) != 1].sum() == 0
    first = np.bincount(index[label == 0, 0], minlength=len(LABELS))[[0, 3, 9]]  # order is random as well
    np.testing.assert_allclose(first / first.sum(), 1 / 3, atol=0.05)


def test_masked_rows_are_not_drawn():
    where = np.asarray(LABELS) != 0
    where[1] = False
    index, label = map(np.asarray, draw(where=where, batch=50))
    assert (label == 1).all()
    assert (np.sort(index, axis=1) == [2, 5, 10]).all()


def test_no_class_is_large_enough():
    index, label = draw(length=5, batch=4)
    assert (np.asarray(index) == len(LABELS)).all()
    assert (np.asarray(label) == -1).all()


TS = jnp.linspace(1.0, 0.0, 6)
KEYS = jax.random.split(jax.random.key(1), 3)
X = jax.random.normal(jax.random.key(2), (3, 4))


def test_without_a_memory_it_is_the_ordinary_sampler():
    model = lambda x, t: jnp.tanh(x) * t[:, None]  # noqa: E731
    stochastic = diffusion.euler_maruyama(diffusion.linear_flow(), kind="v", diffusion=lambda t: jnp.sqrt(2.0 * t))
    cases = {None: diffusion.euler(diffusion.linear_flow(), kind="v"), stochastic: stochastic}

    def both(x):
        carry = lambda x, t, state: (model(x, t), state)  # noqa: E731
        for step, same in cases.items():
            yield (
                diffusion.ar_flow_sample(KEYS, x, TS[:-1], velocity_fn=carry, state=(), step=step),
                diffusion.sample(KEYS, x, TS[:-1], cond_fn=model, step=same),
            )

    for got, expected in jax.jit(lambda x: list(both(x)))(X):
        np.testing.assert_allclose(got.x, expected.x, rtol=1e-6)
        np.testing.assert_array_equal(got.evaluations, expected.evaluations)
        assert got.calls == 4


def attend(x, state):
    """x [B, L, 4] as two heads of one token, L chunks."""
    chunks = jnp.swapaxes(x.reshape(*x.shape[:2], 2, 2), 1, 2)[:, :, :, None]
    out, state = nn.hybrid_chunk_attention(chunks, chunks, chunks, jnp.full(chunks.shape[:-1], -0.1), state)
    return jnp.swapaxes(out[:, :, :, 0], 1, 2).reshape(x.shape), state


def test_the_memory_is_that_of_the_sequence_of_images():
    """What the model makes of the last image equals its answer when it sees all images at once, as in training."""

    def velocity(x, t, state):
        out, memory = attend(x[:, None], state["memory"])
        seen = jax.lax.dynamic_update_index_in_dim(state["seen"], x, state["at"], 1)
        made = jax.lax.dynamic_update_index_in_dim(state["made"], out[:, 0], state["at"], 1)
        return out[:, 0], {"memory": memory, "seen": seen, "made": made, "at": state["at"] + 1}

    start = {"memory": jnp.zeros((3, 2, 2, 2)), "seen": jnp.zeros((3, 5, 4)), "made": jnp.zeros((3, 5, 4)), "at": 0}

    def run(x):
        calls = []
        euler = diffusion.euler(diffusion.linear_flow(), kind="v")
        watched = diffusion.Step(euler.init, lambda *given: calls.append(1) or euler.update(*given))
        state, path = start, []
        for i in range(5):  # the loop by hand
            v, state = velocity(x, jnp.broadcast_to(TS[i], 3), state)
            x = x + (TS[i + 1] - TS[i]) * v
            path.append(x)
        sampled = diffusion.ar_flow_sample(KEYS, X, TS, velocity_fn=velocity, state=start, step=watched)
        return sampled.x, path[-1], state["made"], attend(state["seen"], None)[0]

    sampled, by_hand, made, at_once = jax.jit(run)(X)
    np.testing.assert_allclose(sampled, by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made, at_once, rtol=1e-4, atol=1e-5)
    forgetful = jax.jit(
        lambda: diffusion.ar_flow_sample(
            KEYS, X, TS, velocity_fn=lambda x, t, state: (attend(x[:, None], None)[0][:, 0], state), state=()
        )
    )()
    assert np.abs(forgetful.x - sampled).max() > 0.1


def sampled(**changes):
    given = {"keys": KEYS, "x_init": X, "ts": TS, "velocity_fn": lambda x, t, s: (x, s), "state": ()} | changes
    return diffusion.ar_flow_sample(given.pop("keys"), given.pop("x_init"), given.pop("ts"), **given)


BAD = {
    "length": (lambda: diffusion.sorted_times(KEY, 2, 0), ValueError, "length must be an integer of at least 1"),
    "float labels": (lambda: diffusion.same_class_batch(KEY, X[0], 2, batch=1), TypeError, "labels must hold integers"),
    "labels": (lambda: diffusion.same_class_batch(KEY, LABELS[None], 2, batch=1), ValueError, r"labels .* \[N\]"),
    "too long": (lambda: diffusion.same_class_batch(KEY, LABELS, 12, batch=1), ValueError, r"number of rows \(11\)"),
    "batch": (lambda: diffusion.same_class_batch(KEY, LABELS, 2, batch=0), ValueError, "batch must be an integer"),
    "where": (lambda: draw(where=jnp.ones(3, bool)), ValueError, "where must have shape"),
    "keys": (lambda: sampled(keys=KEYS[:2]), ValueError, r"keys must have shape \[3\]"),
    "scalar": (lambda: sampled(x_init=1.0), ValueError, r"x_init must have shape \[B, ...\]"),
    "grid": (lambda: sampled(ts=jnp.array([1.0, 0.2, 0.4])), ValueError, "ts must be strictly increasing or"),
    "step": (lambda: sampled(step="euler"), TypeError, "step must be a diffusion.Step"),
    "velocity": (
        lambda: sampled(velocity_fn=lambda x, t, s: (x[:, :2], s)),
        ValueError,
        "velocity_fn must return shape",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
