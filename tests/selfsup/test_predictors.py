"""Predictors set from a correlation: the published arithmetic, invariances, and the dynamics of linear networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses, selfsup
from jaxlab.selfsup import LinearDynamics

RNG = np.random.default_rng(0)
F = RNG.normal(size=(3, 8, 4)).astype(np.float32)
CORR = (F[0].T @ F[0] / 8).astype(np.float32)


def published(corr, *, eps, power=0.5, inside=False):
    """The authors' steps, by a general eigendecomposition in float64."""
    values, vectors = np.linalg.eig(corr.astype(np.float64))
    scaled = np.clip(values, 0, None) / values.max()
    own = np.clip(scaled + eps, 1e-4, None) ** power if inside else np.clip(scaled**power + eps, 1e-4, None)
    return vectors @ np.diag(own) @ vectors.T


def test_running_correlation():
    state = selfsup.correlation_ema_init(4)
    for batch in F:
        state = selfsup.correlation_ema_update(state, batch, decay=0.3)
    each = [f.T @ f / 8 for f in F]
    wanted = 0.3 * (0.3 * each[0] + 0.7 * each[1]) + 0.7 * each[2]
    np.testing.assert_allclose(state.corr, wanted, atol=1e-5)
    assert state.count == 3


def test_running_correlation_of_masked_and_split_rows():
    start = selfsup.correlation_ema_update(selfsup.correlation_ema_init(4), F[0])
    where = np.arange(8) < 5
    spoiled = np.where(where[:, None], F[1], np.nan)
    wanted = selfsup.correlation_ema_update(start, F[1, :5]).corr
    np.testing.assert_allclose(selfsup.correlation_ema_update(start, spoiled, where=where).corr, wanted, atol=1e-6)
    nothing = selfsup.correlation_ema_update(start, spoiled, where=np.zeros(8, bool))
    jax.tree.map(np.testing.assert_array_equal, nothing, start)

    def part(rows, mask):
        return selfsup.correlation_ema_update(start, rows, where=mask, axis_name="d").corr

    split = jax.vmap(part, axis_name="d")(F[1].reshape(2, 4, 4), where.reshape(2, 4))
    np.testing.assert_allclose(split, np.stack([wanted, wanted]), atol=1e-6)


def test_no_gradient_reaches_the_encoder_through_the_predictor():
    def loss(features, through):
        state = selfsup.correlation_ema_update(selfsup.correlation_ema_init(4), features)
        w = selfsup.direct_pred_update(state.corr) + selfsup.direct_copy(state.corr)
        w = w if through else jax.lax.stop_gradient(w)
        return losses.feature_alignment(features @ w, F[1]).mean()

    np.testing.assert_array_equal(*(jax.grad(loss)(jnp.asarray(F[0]), through) for through in (True, False)))


def test_eigenvalues_by_hand():
    diagonal = jnp.diag(jnp.array([4.0, 1.0, 0.0]))
    np.testing.assert_allclose(selfsup.direct_pred_update(diagonal, eps=0.2), np.diag([1.2, 0.7, 0.2]), atol=1e-5)
    inside = selfsup.direct_pred_update(diagonal, eps=0.2, eps_inside=True)
    np.testing.assert_allclose(inside, np.diag(np.sqrt([1.2, 0.45, 0.2])), atol=1e-5)
    lowest = selfsup.direct_pred_update(diagonal, eps=-0.6)
    np.testing.assert_allclose(lowest, np.diag([0.4, 1e-4, 1e-4]), atol=1e-6)


@pytest.mark.parametrize("inside", [False, True])
def test_equals_the_published_steps(inside):
    found = selfsup.direct_pred_update(CORR, eps=0.05, eps_inside=inside)
    np.testing.assert_allclose(found, published(CORR, eps=0.05, inside=inside), atol=1e-4)


def test_shape_of_the_predictor():
    w = np.asarray(selfsup.direct_pred_update(CORR))
    np.testing.assert_allclose(w, w.T, atol=1e-6)
    assert np.linalg.eigvalsh(w).min() > 0.09
    np.testing.assert_allclose(w @ CORR, CORR @ w, atol=1e-4)
    np.testing.assert_allclose(selfsup.direct_pred_update(37.0 * CORR), w, atol=1e-4)
    largest = np.linalg.eigvalsh(CORR).max()
    np.testing.assert_allclose(selfsup.direct_pred_update(CORR, eps=0.0, power=1.0), CORR / largest, atol=1e-4)
    np.testing.assert_allclose(selfsup.direct_copy(CORR, eps=0.3), CORR + 0.3 * np.eye(4), atol=1e-6)


def test_degenerate_correlations():
    np.testing.assert_allclose(selfsup.direct_pred_update(jnp.zeros((3, 3)), eps=0.1), 0.1 * np.eye(3), atol=1e-6)
    np.testing.assert_allclose(selfsup.direct_pred_update(jnp.eye(3), eps=0.1), 1.1 * np.eye(3), atol=1e-5)
    low = F[0][:2].T @ F[0][:2]  # two rows in four dimensions
    assert np.linalg.eigvalsh(selfsup.direct_pred_update(low, eps=0.1)).min() > 0.09
    negative = jnp.diag(jnp.array([1.0, -1e-3]))  # as rounding leaves it
    np.testing.assert_allclose(selfsup.direct_pred_update(negative), np.diag([1.1, 0.1]), atol=1e-6)


# --- linear networks ----------------------------------------------------------------------------------------------


def follow(state, *, steps=4000, dt=0.01, **rates):
    def step(now, _):
        change = selfsup.byol_linear_dynamics(now, **rates)
        new = jax.tree.map(lambda x, d: x + dt * d, now, change)
        return new, new

    return jax.lax.scan(step, state, length=steps)


def start(p, s, tau=1.0):
    return LinearDynamics(*(jnp.full(1, x) for x in (p, s, tau)))


def test_rates_are_gradients_of_the_loss():
    p, w, tau, noise = 0.7, 1.3, 0.8, 0.2

    def loss(p, w, target):  # one direction of a linear network: views are x + n with variance of n = noise
        return 0.5 * ((p * w - target) ** 2 + noise * (p**2 * w**2 + target**2))

    state = start(p, w**2, tau)
    d_p, d_w = jax.grad(loss, argnums=(0, 1))(p, w, tau * w)
    found = selfsup.byol_linear_dynamics(state, noise=noise, predictor_rate=2.0)
    np.testing.assert_allclose(found.predictor, -2.0 * d_p, rtol=1e-5)
    np.testing.assert_allclose(found.features, -2 * w * d_w, rtol=1e-5)
    both = jax.grad(lambda w: loss(p, w, w))(w)
    joint = selfsup.byol_linear_dynamics(state, noise=noise, stop_gradient=False)
    np.testing.assert_allclose(joint.features, -2 * w * both, rtol=1e-5)


def test_what_decays_exactly():
    alpha, eta, dt = 0.5, 0.05, 1e-3
    _, path = follow(start(0.3, 0.6), steps=2000, dt=dt, predictor_rate=alpha, weight_decay=eta)
    invariant = np.asarray(path.features - path.predictor**2 / alpha)[:, 0]
    wanted = (0.6 - 0.3**2 / alpha) * np.exp(-2 * eta * dt * np.arange(1, 2001))
    np.testing.assert_allclose(invariant, wanted, atol=2e-3)


def test_what_collapses():
    rates = {"noise": 0.1, "target_rate": 1.0}
    alive, _ = follow(start(0.5, 0.5), weight_decay=0.01, predictor_rate=1.0, **rates)
    assert alive.features[0] > 0.3
    large_decay, _ = follow(start(0.5, 0.5), weight_decay=0.5, predictor_rate=1.0, **rates)
    joint, path = follow(start(0.5, 0.5), weight_decay=0.01, predictor_rate=1.0, stop_gradient=False, **rates)
    no_predictor, _ = follow(start(1.0, 0.5), predictor_rate=0.0, **rates)
    for gone in (large_decay, joint, no_predictor):
        assert gone.features[0] < 0.01
    assert (np.diff(path.features[:, 0]) <= 0).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: selfsup.correlation_ema_init(0), ValueError, "dim"),
        (lambda: selfsup.correlation_ema_update(selfsup.correlation_ema_init(3), F[0]), ValueError, r"\[B, 3\]"),
        (lambda: selfsup.correlation_ema_update(selfsup.correlation_ema_init(4), F[0], decay=2.0), ValueError, "decay"),
        (lambda: selfsup.direct_pred_update(F[0]), ValueError, r"\[D, D\]"),
        (lambda: selfsup.direct_pred_update(CORR, power=0.0), ValueError, "power"),
        (lambda: selfsup.direct_copy(np.eye(2, dtype=int)), TypeError, "corr must be floating"),
        (lambda: selfsup.byol_linear_dynamics(start(1.0, 1.0), noise=-1.0), ValueError, "noise"),
        (
            lambda: selfsup.byol_linear_dynamics(LinearDynamics(jnp.ones(2), jnp.ones(3), jnp.ones(2))),
            ValueError,
            "same shape",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
