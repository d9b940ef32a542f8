"""Linear layers on free features: the objective by numpy, masks, shards, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses

rng = np.random.default_rng(2)
H = rng.normal(size=(6, 3)).astype(np.float32)
LAYERS = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 5), (5, 4))]
LABELS = np.array([0, 1, 2, 3, 3, 0])
DECAY = {"weight_decay": 0.1, "feature_decay": 0.3}


def by_numpy(h, labels):
    errors = h @ LAYERS[0] @ LAYERS[1] - np.eye(4)[labels]
    decay = 0.05 * sum(np.sum(w**2) for w in LAYERS) + 0.15 * np.sum(h**2)
    return np.sum(errors**2) / (2 * len(h)) + decay


def test_it_equals_numpy():
    got = losses.unconstrained_feature_mse(H, LAYERS, LABELS, **DECAY)
    np.testing.assert_allclose(got, by_numpy(H, LABELS), rtol=1e-5)


def test_rows_that_do_not_count_leave_no_trace():
    where = np.arange(6) < 4
    dirty, labels = np.where(where[:, None], H, np.nan), np.where(where, LABELS, -1)
    loss = lambda h: losses.unconstrained_feature_mse(h, LAYERS, labels, where=where, **DECAY)  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(dirty)
    np.testing.assert_allclose(value, by_numpy(H[:4], LABELS[:4]), rtol=1e-5)
    assert not np.any(gradient[4:])
    assert np.isnan(losses.unconstrained_feature_mse(H, LAYERS, np.full(6, 4), **DECAY))


def test_shards_sum_up():
    def shard(h, labels, where):
        return losses.unconstrained_feature_mse(h, LAYERS, labels, where=where, axis_name="i", **DECAY)

    where = np.array([[True, True, True], [True, False, False]])  # shards that count differently
    got = jax.vmap(shard, axis_name="i")(H.reshape(2, 3, 3), LABELS.reshape(2, 3), where)
    np.testing.assert_allclose(got, by_numpy(H[:4], LABELS[:4]), rtol=1e-5)


def test_bad_input():
    for weights in ([], [jnp.ones((4, 4))], [jnp.ones((3, 5)), jnp.ones((4, 4))]):
        with pytest.raises(ValueError, match="weights must be kernels"):
            losses.unconstrained_feature_mse(H, weights, LABELS, **DECAY)
    with pytest.raises(ValueError, match="labels"):
        losses.unconstrained_feature_mse(H, LAYERS, LABELS[:4], **DECAY)
    with pytest.raises(TypeError, match="weights"):
        losses.unconstrained_feature_mse(H, [np.ones((3, 4), int)], LABELS, **DECAY)
