"""The question of what guidance costs: its rows, its students, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import guidance_cost as question
from experiments import guidance_measures as measures
from experiments import guidance_savers as savers
from experiments.assets import denoiser, students, token_denoiser, token_students
from experiments.guidance_guests import GUESTS
from jaxlab import guidance


def test_the_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = quick_run(question)
    assert {claim["verdict"] for claim in result["claims"]} == {"not judged"}
    rows = {metric: {name: np.array(v) for name, v in row.items()} for metric, row in result["rows"].items()}
    names = {method.name for method in question.METHODS}
    for metric in ("evaluations_3", "calls_3", "frechet_3"):
        assert set(rows[metric]) == names
    assert set(rows["distance_3"]) == names - set(GUESTS)  # other generators make other images
    assert set(rows["accuracy_3"]) == set(GUESTS)
    for name, calls in (("mean_flow", 1), ("cca", 64), ("sequence_cfg", 128)):
        np.testing.assert_array_equal(rows["evaluations_3"][name], calls)
    steps = question.QUICK["steps"]
    expected = {"none": steps, "cfg": 2 * steps, "cfg_half": steps, "distilled": steps, "distilled_quarter": steps / 4}
    expected |= {"first_steps": steps * 5 / 4, "linear_ag": steps * 5 / 4, "agd_noised": steps, "sun": steps}
    for name, count in expected.items():
        np.testing.assert_array_equal(rows["evaluations_3"][name], count)
        np.testing.assert_array_equal(rows["calls_3"][name], count)
    for name, distance in (("none", 1.0), ("cfg", 0.0), ("none_tokens", 1.0), ("cfg_tokens", 0.0)):
        np.testing.assert_array_equal(rows["distance_3"][name], distance)
    np.testing.assert_allclose(rows["evaluations_3"]["interval"], rows["calls_3"]["interval"])
    assert (rows["evaluations_3"]["adaptive_x0"] <= rows["calls_3"]["adaptive_x0"]).all()
    assert set(rows["first_steps_3"]) == set(measures.SWITCHED)


STEPS, SIDE = 4, 4
CONFIG = question.Config(samples=30, probes=3, steps=STEPS, fit_runs=6, low=0.5, high=0.9)
NETS = savers.networks(CONFIG, 3.0, SIDE, 3)
SMALL = token_denoiser.TokenDenoiserConfig(side=SIDE, sizes=(3, 3), width=8, heads=2)
NETS = NETS._replace(
    denoiser=denoiser.DenoiserConfig(dim=SIDE**2, sizes=(3,), hidden=8),
    tokens=SMALL,
    on_trajectory=token_students.AdapterConfig(SMALL, runs=5, steps=STEPS),
    noised=token_students.AdapterConfig(SMALL, runs=5, steps=STEPS, on_trajectory=False),
    sun=token_students.SunConfig(SMALL),
)
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, SIDE**2)), jnp.float32)
CONDITIONS = jnp.stack([jnp.arange(6) % 3, jnp.arange(6) % 2], axis=1)
T = jnp.linspace(0.1, 0.9, 6)


def louder(params):
    """Random networks hardly listen to their condition: larger weights make guidance visible."""
    return jax.tree.map(lambda leaf: 2.0 * leaf, params)


@pytest.fixture(scope="module")
def setting():
    base = louder(jax.jit(denoiser.network(NETS.denoiser)[0])(jax.random.key(0)))
    tokens = louder(jax.jit(token_denoiser.init, static_argnums=0)(SMALL, jax.random.key(1)))
    blank = guidance.LinearAGCoeffs(*(jnp.zeros((2, STEPS, STEPS)),) * 2)
    return savers.Setting(
        base,
        None,
        {},
        jnp.zeros((STEPS, 3)),
        tokens,
        None,
        None,
        None,
        None,
        blank,
        X,
        CONDITIONS[:, 0],
        CONDITIONS,
        None,
    )


def test_rules_meet_full_guidance_and_none_at_their_ends(setting):
    keys = jax.random.split(jax.random.key(2), 6)
    cfg, cond, uncond = students.CFG, students.COND, students.UNCOND

    @jax.jit
    def rows(setting):
        def at(value):
            return savers.Task(CONFIG, NETS, setting, jnp.float32(3.0), value)

        def scheduled(choices):
            return jax.lax.map(lambda row: savers.scheduled(at(row), keys), jnp.array(choices))

        linear = jax.tree.map(lambda a: jnp.stack([a, a]), exact_coefficients())
        one = jnp.float32(1.0)
        return {
            "full": savers.full(1)(at(one), keys),
            "never agree": savers.ruled(savers.adaptive_eps)(at(1.1), keys),
            "agree at once": savers.ruled(savers.adaptive_x0)(at(-1.0), keys),
            "plain": savers.sampled(at(one), keys, at(one).cond()),
            "unconditional": savers.sampled(at(one), keys, at(one).uncond()),
            "linear": savers.linear_ag(at(one)._replace(setting=setting._replace(linear=linear)), keys),
        }, scheduled([[cond] * STEPS, [cfg] * STEPS, [uncond] * STEPS, [cfg, cond, cond, cond]])

    made, table = rows(setting)
    for i, name in enumerate(("none", "cfg", "uncond", "first")):
        made[name] = jax.tree.map(lambda a, i=i: a[i], table)
    for a, b in (
        ("cfg", "full"),
        ("none", "plain"),
        ("uncond", "unconditional"),
        ("never agree", "full"),
        ("agree at once", "first"),
    ):
        np.testing.assert_allclose(made[a].x, made[b].x, rtol=1e-4, atol=1e-3)
    assert np.abs(made["cfg"].x - made["none"].x).max() > 1.0
    costs = {name: int(sample.calls) for name, sample in made.items()}
    once, twice = ("none", "plain", "uncond", "unconditional"), ("cfg", "full", "never agree")
    assert costs == dict.fromkeys(once, 4) | dict.fromkeys(twice, 8) | dict.fromkeys(
        ("first", "agree at once", "linear"), 5
    )
    # Coefficients that give the conditional prediction back guide at the first step alone.
    np.testing.assert_allclose(made["linear"].x, made["first"].x, rtol=1e-3, atol=1e-2)


def exact_coefficients():
    return guidance.LinearAGCoeffs(jnp.eye(STEPS), jnp.zeros((STEPS, STEPS)))


def test_a_student_starts_as_the_denoiser_and_listens_to_the_scale(setting):
    config = NETS.student
    start = {"denoiser": setting.denoiser, "scale": jnp.zeros((2 * config.waves, 8))}
    labels = CONDITIONS[:, 0]
    teacher = denoiser.model(NETS.denoiser, setting.denoiser, labels, kind="x0")
    plain = students.student(config, start, labels, jnp.float32(3.0))(X, T)
    np.testing.assert_allclose(plain, teacher(X, T), atol=1e-6)
    loud = {**start, "scale": jnp.ones((2 * config.waves, 8))}
    moved = [students.student(config, loud, labels, scale)(X, T) for scale in (jnp.float32(2.0), jnp.full(6, 4.5))]
    assert np.abs(moved[0] - moved[1]).max() > 1e-2


def test_adapters_and_branches_leave_the_transformer_alone_where_they_are_closed(setting):
    base = token_denoiser.model(SMALL, setting.tokens, CONDITIONS)(X, T)
    fresh = token_students._adapters_init(NETS.noised, jax.random.key(0))
    scale = jnp.linspace(1.0, 6.0, 6)
    np.testing.assert_array_equal(
        token_students.adapted(NETS.noised, setting.tokens, fresh, CONDITIONS, scale)(X, T), base
    )
    nothing = token_denoiser.null(SMALL, 6)
    start = token_students._sun_init(NETS.sun, setting.tokens)
    opened = token_students.sun_model(NETS.sun, setting.tokens, start, CONDITIONS, nothing)(X, T)
    assert np.abs(opened - base).max() > 1e-3  # gain 1 is not the plain network
    same = token_students.sun_model(NETS.sun, setting.tokens, start, CONDITIONS, CONDITIONS)(X, T)
    np.testing.assert_allclose(same, base, atol=1e-5)  # both branches are equal


def test_both_kinds_of_states_differ_in_nothing_else(setting):
    key = jax.random.key(3)
    guided, noised = (
        token_students._adapter_data(net, setting.tokens, X, CONDITIONS, key)
        for net in (NETS.on_trajectory, NETS.noised)
    )
    for name in ("t", "scale", "conditions"):
        np.testing.assert_array_equal(guided[name], noised[name])
    assert guided["x"].shape == noised["x"].shape == (STEPS * 5, SIDE**2)
    assert np.abs(guided["x"] - noised["x"]).max() > 0.1
    for data in (guided, noised):
        cond, uncond = (
            token_denoiser.model(SMALL, setting.tokens, c)(data["x"], data["t"])
            for c in (data["conditions"], token_denoiser.null(SMALL, STEPS * 5))
        )
        expected = uncond + data["scale"][:, None] * (cond - uncond)
        np.testing.assert_allclose(data["target"], expected, rtol=1e-3, atol=1e-4)


def test_the_negative_class_is_never_the_wanted_one():
    drawn = token_students.other_class(
        token_students.SunConfig(SMALL, null_rate=0.3), jnp.tile(CONDITIONS, (50, 1)), jax.random.key(0)
    )
    wanted, drawn = np.tile(CONDITIONS, (50, 1)), np.asarray(drawn)
    assert (drawn[:, 1] == 3).all()
    is_null = drawn[:, 0] == 3
    assert 0.2 < is_null.mean() < 0.4
    assert (drawn[~is_null, 0] != wanted[~is_null, 0]).all()
    assert set(drawn[~is_null, 0]) == {0, 1, 2}


def test_distances_are_shares():
    x, target, plain = jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2)), jnp.array([[0.0, 2.0]])
    assert measures.relative(x, target, plain) == 0.25


def test_images_that_are_too_good_are_no_imitation_either():
    rows = {"frechet_3": {"agd_trajectory": np.array([2.0, 0.5, 1.0]), "cfg_tokens": np.ones(3)}}
    (claim,) = [claim for claim in question.CLAIMS if "within 10 %" in claim.sentence]
    np.testing.assert_allclose(claim.effect(rows), [np.log(2.0), -np.log(2.0), 0.0])
    assert (claim.op, claim.threshold) == ("within", np.log(1.1))


def test_an_adapter_asks_for_the_input_of_the_self_attention(setting, monkeypatch):
    fed, given = [], []
    params = token_students._adapters_init(NETS.noised, jax.random.key(0))
    monkeypatch.setattr(
        token_students.nn, "cross_attention_adapter", lambda params, x, *rest: fed.append(x) or jnp.zeros_like(x)
    )
    token_students.adapted(NETS.noised, setting.tokens, params, CONDITIONS, jnp.float32(3.0))(X, T)
    keep = lambda layer, h, seen: given.append(seen) or h  # noqa: E731
    token_denoiser.model(SMALL, setting.tokens, CONDITIONS, tokens=keep)(X, T)
    np.testing.assert_array_equal(fed, given)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"samples": 5}, "samples"), ({"probes": 0}, "probes"), ({"steps": 10}, "steps"), ({"low": 0.9}, "low and high")],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        question.Config(**change)
