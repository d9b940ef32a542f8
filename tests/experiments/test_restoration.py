"""The question of restoration: its noise, its networks, its times, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import restoration as question
from experiments.assets import restorers
from experiments.assets.restorers import RestorerConfig


def test_the_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = quick_run(question)
    assert {claim["verdict"] for claim in result["claims"]} == {"not judged"}
    rows = {metric: {name: np.array(v) for name, v in row.items()} for metric, row in result["rows"].items()}
    assert set(rows["white_psnr_few"]) == set(question.WHITE)
    assert set(rows["coloured_si_sdr_many"]) == set(question.COLOURED)
    assert set(rows["white_flow_error_some"]) == {name for name in question.WHITE if "ode" in name}
    # Noise of standard deviation 1/4 is 12 dB below the peak; clipping to the range halves it on the black ground.
    for task in ("white", "coloured"):
        assert (np.abs(rows[f"{task}_psnr_few"]["degraded"] - 14.4) < 0.8).all()
    assert len({round(float(values[0]), 4) for values in rows["white_psnr_few"].values()}) >= 8
    # In three steps both variants of order 3 are of orders 1, 2, 1 ...
    for name in ("mr_ode_3", "mr_ode_3_exact"):
        np.testing.assert_allclose(rows["white_psnr_few"][name], rows["white_psnr_few"]["mr_ode_2"], rtol=1e-5)
    # ... and an order is something.
    assert (np.abs(rows["white_psnr_few"]["mr_ode_2"] - rows["white_psnr_few"]["mr_ode_1"]) > 1e-3).all()


@pytest.mark.parametrize(("kind", "correlation"), [("white", 0.0), ("coloured", 0.9)])
def test_the_noise_is_what_it_is_called(kind, correlation):
    config = RestorerConfig(dim=16, noise=kind, level=0.3)
    noise = np.asarray(restorers.degrade(config, jnp.full((4000, 16), 2.0), jax.random.key(0))) - 2.0
    np.testing.assert_allclose(noise.std(axis=0), 0.3, rtol=0.06)
    for lag in (1, 3):
        got = np.mean(noise[:, lag:] * noise[:, :-lag]) / 0.3**2
        np.testing.assert_allclose(got, correlation**lag, atol=0.03)


@pytest.mark.parametrize("form", restorers.FORMS)
def test_networks_deal_in_unit_variance(form):
    """c_skip is the best linear estimate of Gaussian data from the state, c_out the error it leaves."""
    config = RestorerConfig(dim=3, form=form, level=0.5)
    t = np.array([0.05, 0.3, 0.9], np.float32)
    process = restorers.process_of(config, jnp.zeros((3, 3)))
    variance = 1.0 if form == "vp" else 0.25
    alpha, std = np.asarray(process.alpha(t)), np.asarray(process.std(t))
    c_in, c_skip, c_out = (np.asarray(scale)[:, 0] for scale in restorers._scales(config, jnp.asarray(t)))
    np.testing.assert_allclose(c_in**2 * (alpha**2 * variance + std**2), 1.0, rtol=1e-5)
    np.testing.assert_allclose(c_skip, np.linalg.solve(np.diag(alpha**2 * variance + std**2), alpha * variance), 1e-5)
    np.testing.assert_allclose(c_out**2, (1 - c_skip * alpha) ** 2 * variance + (c_skip * std) ** 2, rtol=1e-4)


@pytest.mark.parametrize("form", ["ou_ve", "vp"])
def test_a_restorer_learns_the_only_image_there_is(form):
    image = jnp.array([[0.5, -1.0, 1.0, 0.0]])
    config = RestorerConfig(dim=4, form=form, hidden=16, num_steps=300, batch_size=64, learning_rate=1e-2)
    params = restorers.train_restorer(config, jnp.tile(image, (64, 1)))
    y = image + 0.5 * jax.random.normal(jax.random.key(1), (32, 4))
    x, t = 0.4 * jax.random.normal(jax.random.key(2), (32, 4)) + (0.0 if form == "vp" else y), jnp.full(32, 0.95)
    got = restorers.model(config, params, y)(x, t)
    assert float(jnp.mean((got - image) ** 2)) < 0.2 * float(jnp.mean((y - image) ** 2))


def test_times():
    for name in restorers.FORMS:
        for count in (1, 2, 15):
            ts = np.asarray(restorers.times(name, count))
            assert ts.shape == (count + 1,)
            assert ts[0] == 1.0
            assert (np.diff(ts) < 0).all()
    published = np.append(np.linspace(1.0, 0.03, 30), 0.0)
    np.testing.assert_allclose(restorers.times("ou_ve", 30), published, atol=1e-6)


def test_a_case_starts_where_it_should():
    config = question.Config(images=400, flow_steps=2, hidden=8)
    clean = jax.random.uniform(jax.random.key(0), (400, 4), minval=-1.0, maxval=1.0)
    nets = question.networks(config, 4)
    params = {name: restorers._network(4, 8)[0](jax.random.key(1)) for name in nets}
    case = jax.jit(lambda key: question.draw(config, key, question.Setting(clean, params)))(jax.random.key(2))
    assert set(case.degraded) == {"white", "coloured"}
    ends = {"mean_reverting": ("white", 100 / 255), "ou_ve": ("coloured", 0.389)}
    for name, (kind, std) in ends.items():
        apart = np.asarray(case.starts[name] - case.degraded[kind])
        np.testing.assert_allclose(apart.std(), std, rtol=0.06)
        np.testing.assert_allclose(apart.mean(), 0.0, atol=0.03)
    np.testing.assert_allclose(case.starts["vp"].std(), 1.0, rtol=0.06)
    assert abs(np.corrcoef(case.starts["vp"].ravel(), case.degraded["coloured"].ravel())[0, 1]) < 0.1


def test_claims_compare_what_they_say():
    values = {"few": 18.0, "some": 19.0, "many": 19.2}
    rows = {
        f"white_psnr_{at}": {"mr_ode_2": np.array([v]), "euler_ode": np.array([v - 2.0])} for at, v in values.items()
    }
    np.testing.assert_allclose(question._both("mr_ode_2", "euler_ode")(rows), [18.0 - 17.2])
    np.testing.assert_allclose(question._gain("white_psnr", "euler_ode", "euler_ode", "many", "few")(rows), [1.2])
    assert question.places((5, 10, 20, 100)) == {"few": 1, "some": 2, "many": 3}
    assert question.places((5, 15, 30)) == {"few": 1, "some": 1, "many": 2}
    assert {claim.paper for claim in question.CLAIMS} == {266, 259}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 5}, "images must be"),
        ({"level": 0.0}, "level > 0"),
        ({"steps": (5, 3)}, "steps must be rising"),
        ({"evaluations": ()}, "evaluations must be rising"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        question.Config(**change)
    for name in ("form", "noise"):
        with pytest.raises(ValueError, match=f"{name} must be one of"):
            RestorerConfig(**{name: "other"})
