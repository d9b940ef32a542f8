"""The question of guidance rules: its rules, its measures, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import guidance_effects as effects
from experiments import guidance_rules as question
from experiments import guided_sampling as rules
from experiments.assets import denoiser, token_denoiser
from experiments.claims import judge
from jaxlab import guidance

SCALES = question.SCALES


def test_the_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = quick_run(question)
    unmet = [claim for claim in result["claims"] if claim["verdict"] != "not judged"]
    assert all("a distance that both have" in claim["sentence"] and claim["verdict"] == "not run" for claim in unmet)
    rows = {metric: {name: np.array(v) for name, v in row.items()} for metric, row in result["rows"].items()}
    names = {method.name for method in question.METHODS}
    metrics = ("frechet", "frechet_clipped", "saturation", "accuracy", "recall")
    shared = {question.name_of(metric, scale) for metric in metrics for scale in SCALES}
    assert all(set(rows[name]) == names for name in shared)
    of_two = {question.name_of(metric, s) for metric in ("thickness_accuracy", "both_accuracy") for s in SCALES}
    of_three = {question.name_of(metric, s) for metric in ("frechet", "accuracy") for s in effects.SMALL_SCALES}
    assert set(rows) - shared == of_two | of_three | {"mean_share"}
    assert all(set(rows[name]) == set(question.WHOLE_CURVES) for name in of_three)
    curves = {name: np.array(values) for name, values in result["curves"]["frechet_by_scale"].items()}
    assert {curve.shape[1] for curve in curves.values()} == {len(SCALES)}
    np.testing.assert_allclose(curves["gfcg"][:, 0], rows["frechet_3"]["gfcg"], rtol=1e-6)
    assert (rows["frechet_1.1"]["cfg"] < rows["frechet_2"]["cfg"]).all()
    assert all(set(rows[name]) == {"two_joint", "two_separate"} for name in of_two)
    for scale in SCALES:
        saturation = rows[question.name_of("saturation", scale)]
        assert (saturation["apg_rms"] <= saturation["apg"]).all()
        assert (saturation["apg"] < saturation["cfg"]).all()
        np.testing.assert_array_equal(rows[question.name_of("frechet", scale)]["none"], rows["frechet_3"]["none"])
    assert (rows["frechet_15"]["cfg"] > rows["frechet_3"]["cfg"]).all()
    assert (rows["frechet_3"]["none"] < rows["frechet_3"]["cfg"]).all()


CONFIG = question.Config(samples=30, steps=4)
NETS = rules.Networks(
    denoiser.DenoiserConfig(dim=4, sizes=(3,), hidden=8),
    denoiser.DenoiserConfig(dim=4, sizes=(3,), hidden=8),
    denoiser.DenoiserConfig(dim=4, sizes=(3, 3), hidden=8),
    denoiser.ClassifierConfig(dims=(4, 5, 3)),
    denoiser.ClassifierConfig(dims=(4, 5, 3)),
)


def task(scale):
    init, _ = denoiser.network(NETS.denoiser)
    params, weak = init(jax.random.key(0)), init(jax.random.key(1))
    guide = denoiser.classifier(NETS.guide).init(jax.random.key(2))
    pair = denoiser.network(NETS.pair)[0](jax.random.key(4))
    labels, thickness, edges = jnp.arange(6) % 3, jnp.arange(6) // 3, jnp.array([-0.1, 0.1])
    setting = rules.Setting(params, weak, pair, guide, guide, labels, thickness, edges, jnp.zeros((9, 5)))
    return rules.Task(CONFIG, NETS, setting, jnp.float32(scale))


def images(name, scale):
    method = next(method for method in question.METHODS if method.name == name)

    def draw(key, scale):
        now = task(scale)
        return rules.draw(now, key, method.fn(now))

    return np.asarray(jax.jit(draw)(jax.random.key(3), scale))


def test_scale_one_is_no_guidance():
    plain, clipped = images("none", 1.0), None
    for name in ("cfg", "apg", "gfcg"):
        np.testing.assert_allclose(images(name, 1.0), plain, atol=1e-5)
        assert np.abs(images(name, 7.5) - plain).max() > 1e-3
    for name in ("autoguidance", "elucd"):  # the predictions of these are clipped
        clipped = images(name, 1.0) if clipped is None else clipped
        np.testing.assert_allclose(images(name, 1.0), clipped, atol=1e-5)


def test_a_classifier_moves_the_result_of_a_step_as_said():
    now, t, moved = task(3.0), jnp.full(6, 0.7), jnp.ones((6, 4))
    guided = rules.climb(now, lambda x, t, cond: 0.25 * moved)
    x, cond = 0.5 * moved, 0.1 * moved
    prediction, _ = guidance.guide(guided.rule, (), cond, guided.reference(x, t, cond), x=x, t=0.7)
    angle = denoiser.angle(0.7)

    def step(x0):  # DDIM to the angle that is one turn less
        eps = (x - jnp.cos(angle) * x0) / jnp.sin(angle)
        return jnp.cos(angle - now.turn) * x0 + jnp.sin(angle - now.turn) * eps

    np.testing.assert_allclose(step(prediction) - step(cond), (3.0 - 1.0) * 0.25, rtol=1e-4)


ALL = effects.SMALL_SCALES + SCALES


def rows_of(curves):
    """Rows of {metric: {method: values at no guidance or at every scale, [scales, seeds]}}."""
    return {
        f"{metric}_{scale:g}": {name: np.asarray(v[i] if len(v) == len(ALL) else v[0]) for name, v in table.items()}
        for metric, table in curves.items()
        for i, scale in enumerate(ALL)
    }


def test_distances_are_compared_at_the_same_accuracy():
    """The first rival is as accurate half way from e^1 to e^2 and again later, the second from no guidance on."""
    rival = np.exp([[1.0] * 3, [2.0] * 3, *[[5.0] * 3] * 5])
    right = np.array([[0.6, 0.9, 0.5], [0.8, 0.9, 0.7], *[[1.0, 0.1, 0.6]] * 5])
    rows = rows_of(
        {
            "frechet": {"none": [[1.0] * 3], "cfg": rival, "gfcg": np.full((7, 3), np.exp(-1.0))},
            "accuracy": {"none": [[0.5, 0.95, 0.4]], "cfg": right, "gfcg": np.full((7, 3), [0.7, 0.9, 0.9])},
        }
    )
    effect = effects.frechet_at_equal_accuracy("gfcg", "cfg")(rows)
    # The third rival never is: it counts where it is most accurate.
    np.testing.assert_allclose(np.log(effect), [-1.0 - 1.5, -1.0 - 0.0, -1.0 - 2.0], atol=1e-6)


def test_a_falling_scale_is_held_against_its_mean_throughout():
    """A rival whose distance is the square of its scale has 4 at the mean scale of 2, and 1 without guidance."""
    rival, own = np.square(ALL)[:, None], np.square(np.multiply(ALL, 2 / 3))[:, None]
    rows = rows_of({"frechet": {"none": [[1.0]], "cfg": rival, "cfg_dynamic": own * np.linspace(0.4, 1.0, 7)[:, None]}})
    rows["mean_share"] = {"cfg_dynamic": [2 / 3]}
    np.testing.assert_allclose(effects.ratio_at_mean_scale("cfg_dynamic", "cfg")(rows), [1.0], rtol=1e-6)
    now = task(2.0)
    scale = jnp.stack([guidance.cosine_power_schedule(step, 4, scale=2.0) for step in range(4)])
    np.testing.assert_allclose(rules.mean_share(now.config.steps) * 2.0, scale.mean(), rtol=1e-6)


def test_the_largest_ratio_counts():
    rows = {f"frechet_{s:g}": {"apg": np.array([s, 1.0]), "cfg": np.array([3.0, 2.0])} for s in SCALES}
    np.testing.assert_allclose(effects.worst_ratio("frechet", "apg", "cfg")(rows), [5.0, 0.5])


def test_no_guidance_does_not_pass_for_a_better_classifier():
    """It has the lowest distance and fewer images of the right class."""
    accuracy = {"classifier_naive": np.full(2, 0.99), "elucd": np.full(2, 0.98)}
    rows = {f"accuracy_{s:g}": accuracy for s in SCALES}
    claim = question._keeps_accuracy("it", "elucd", "classifier_naive")
    assert judge(claim, rows, seeds=2).verdict == "fails"
    assert judge(question._keeps_accuracy("it", "elucd", "elucd"), rows, seeds=2).verdict == "holds"


@pytest.mark.parametrize(("change", "message"), [({"samples": 5}, "samples"), ({"low": 0.9, "high": 0.1}, "low")])
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        question.Config(**change)


def test_brightness_makes_equal_bins():
    x = jax.random.uniform(jax.random.key(0), (300, 4), minval=-1.0)
    bins = token_denoiser.thickness_of(x, token_denoiser.thickness_edges(x))
    np.testing.assert_array_equal(jnp.bincount(bins, length=4), [100, 100, 100, 0])
    assert x[bins == 2].mean(1).min() > x[bins == 0].mean(1).max()


def test_two_scales_that_are_equal_are_one():
    now = task(7.5)
    x, t = jax.random.normal(jax.random.key(5), (6, 4)), jnp.full(6, 0.5)

    def prediction(guided):
        uncond, extras = guided.reference(x, t)
        return guidance.guide(guided.rule, (), guided.cond(x, t), uncond, x=x, t=0.5, extras=extras)[0]

    joint = rules.two_conditions(now, share=1.0)
    wanted = guidance.combine(joint.cond(x, t), joint.reference(x, t)[0], scale=7.5)
    np.testing.assert_allclose(prediction(joint), wanted, rtol=1e-4, atol=1e-4)
    assert np.abs(prediction(rules.two_conditions(now, share=0.5)) - wanted).max() > 1e-2
