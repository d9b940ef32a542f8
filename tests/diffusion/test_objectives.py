"""Training targets: zero at the truth, minimal at the posterior mean, and who is dropped."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion
from jaxlab.diffusion import condition_dropout, convert, denoising_loss, flow_matching
from tests.diffusion import mixtures

VP = diffusion.vp()
KEY = jax.random.key(0)


def point(process, x0, kind):
    """The exact prediction when the data are the point x0."""

    def model_fn(x, t):
        data = jnp.broadcast_to(x0, x.shape)
        return convert(data, x, t, process=process, kind_in="x0", kind_out=kind)

    return model_fn


@pytest.mark.parametrize("kind", ["eps", "score", "x0", "v", "rotation"])
@pytest.mark.parametrize("weighting", ["std", "likelihood", "uniform"])
def test_zero_for_a_point_and_its_exact_model(kind, weighting):
    x0 = jnp.array([1.0, -2.0])
    given = {"process": VP, "kind": kind, "weighting": weighting, "t_min": 0.05}
    losses = denoising_loss(point(VP, x0, kind), jnp.tile(x0, (8, 1)), KEY, **given)
    wrong = denoising_loss(point(VP, x0 + 0.5, kind), jnp.tile(x0, (8, 1)), KEY, **given)
    np.testing.assert_allclose(losses, 0.0, atol=1e-4)
    assert float(wrong.min()) > 1e-6


def test_weightings_are_the_papers():
    x0 = jax.random.normal(jax.random.key(1), (6, 4))
    seen = {}

    def model_fn(x, t):
        seen["t"], seen["x"] = t, x
        return 0.3 * x

    with jax.disable_jit():
        plain = denoising_loss(model_fn, x0, KEY, process=VP, kind="score")
        weighted = denoising_loss(model_fn, x0, KEY, process=VP, kind="score", weighting="likelihood")
    t, x = seen["t"], seen["x"]
    noise = (x - VP.alpha(t)[:, None] * x0) / VP.std(t)[:, None]
    g2, std = VP.diffusion(t) ** 2, VP.std(t)
    np.testing.assert_allclose(plain, jnp.mean((std[:, None] * 0.3 * x + noise) ** 2, 1), rtol=1e-3)
    np.testing.assert_allclose(weighted, g2 * jnp.mean((0.3 * x + noise / std[:, None]) ** 2, 1), rtol=1e-3)
    assert 1e-5 <= float(t.min()) <= float(t.max()) < 1.0


def test_the_true_score_is_a_minimum():
    data = mixtures.draw(jax.random.key(2), mixtures.TWO, 40_000)
    score = mixtures.score(mixtures.TWO, VP)

    def risk(shift):
        model_fn = lambda x, t: score(x, t) * (1 + shift[0]) + shift[1]  # noqa: E731
        return jnp.mean(denoising_loss(model_fn, data, KEY, process=VP, kind="score", t_min=0.05))

    gradient, hessian = jax.jit(jax.grad(risk))(jnp.zeros(2)), jax.jit(jax.hessian(risk))(jnp.zeros(2))
    newton = jnp.linalg.solve(hessian, gradient)  # how far the empirical minimum is
    np.testing.assert_allclose(newton, 0.0, atol=0.02)
    assert float(jnp.linalg.eigvalsh(hessian).min()) > 0


def test_a_centre_is_that_of_each_example():
    centre = jax.random.normal(jax.random.key(3), (5, 2))
    process = diffusion.ou_ve(centre)
    x0 = jax.random.normal(jax.random.key(4), (5, 2))
    model_fn = lambda x, t: convert(x0, x, t, process=process, kind_in="x0", kind_out="eps")  # noqa: E731
    np.testing.assert_allclose(denoising_loss(model_fn, x0, KEY, process=process, t_min=0.1), 0.0, atol=1e-3)


def test_flow_matching_and_its_converted_twin_agree():
    x0, noise = jax.random.normal(jax.random.key(5), (2, 4, 3))
    np.testing.assert_allclose(flow_matching(noise - x0 + 2.0, x0, noise), 4.0, rtol=1e-5)
    losses = denoising_loss(
        lambda x, t: jnp.zeros_like(x), x0, KEY, process=diffusion.linear_flow(), kind="v", weighting="uniform"
    )
    key_noise = jax.random.split(KEY)[1]
    drawn = jax.random.normal(key_noise, x0.shape)
    np.testing.assert_allclose(losses, flow_matching(jnp.zeros_like(x0), x0, drawn), rtol=1e-3, atol=1e-4)


def test_dropout_replaces_whole_conditions_at_its_rate():
    condition = {"label": jnp.arange(4000), "embedding": jnp.ones((4000, 2), jnp.bfloat16)}
    null = {"label": 9999, "embedding": jnp.array([0.0, -1.0])}
    got, dropped = condition_dropout(KEY, condition, null, rate=0.1)
    assert abs(float(dropped.mean()) - 0.1) < 0.02
    np.testing.assert_array_equal(got["label"], np.where(dropped, 9999, np.arange(4000)))
    np.testing.assert_array_equal(
        got["embedding"].astype(jnp.float32), np.where(np.asarray(dropped)[:, None], [0.0, -1.0], 1.0)
    )
    assert got["label"].dtype == jnp.int32
    assert got["embedding"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(condition_dropout(KEY, condition, null, rate=0.0)[0]["label"], condition["label"])


X0 = jnp.ones((3, 2))
BAD = {
    "kind": (lambda: denoising_loss(jnp.sin, X0, KEY, process=VP, kind="noise"), "kind must be one of"),
    "weighting": (lambda: denoising_loss(jnp.sin, X0, KEY, process=VP, weighting="snr"), "weighting must be one of"),
    "t_min": (lambda: denoising_loss(jnp.sin, X0, KEY, process=VP, t_min=1.0), "t_min must lie in [0, 1)"),
    "model": (lambda: denoising_loss(lambda x, t: x[:, :1], X0, KEY, process=VP), "model_fn must return shape [3, 2]"),
    "where": (
        lambda: denoising_loss(lambda x, t: x, X0, KEY, process=VP, where=jnp.ones(2, bool)),
        "where must have shape [3]",
    ),
    "flow": (lambda: flow_matching(X0, X0[:2], X0), "same shape"),
    "rate": (lambda: condition_dropout(KEY, X0, 0.0, rate=1.5), "rate must lie in"),
    "null": (lambda: condition_dropout(KEY, X0, jnp.ones(3), rate=0.1), "broadcast"),
    "null structure": (lambda: condition_dropout(KEY, {"a": X0}, X0, rate=0.1), "structure of condition"),
    "lengths": (lambda: condition_dropout(KEY, (X0, X0[:2]), (0.0, 0.0), rate=0.1), "condition must hold arrays"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
