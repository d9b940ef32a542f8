"""The question of negative guidance: its programs, its comparison at equal rates, and a quick run from end to end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import negative_guidance as question
from experiments import negative_prompts as prompts
from experiments.assets import token_denoiser
from experiments.assets.denoiser import ClassifierConfig
from experiments.assets.token_denoiser import StudentConfig, TokenDenoiserConfig


def test_the_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = quick_run(question)
    assert {claim["verdict"] for claim in result["claims"]} == {"not judged"}
    names = {method.name for method in question.METHODS}
    measured = ("attribute", "frechet", "accuracy", "diversity")
    assert set(result["rows"]) == {f"{metric}_{steps}" for metric in measured for steps in (1, 20)}
    assert all(set(row) == names for row in result["rows"].values())
    distance = {name: np.array(values) for name, values in result["rows"]["frechet_20"].items()}
    for name in names - {"none"}:
        assert (distance[name] != distance["none"]).all()


TEACHER = TokenDenoiserConfig(side=4, sizes=(3, 3), width=8, heads=2, layers=1)
NETS = prompts.Networks(
    TEACHER, StudentConfig(teacher=TEACHER), ClassifierConfig(dims=(16, 5, 3)), ClassifierConfig(dims=(16, 5, 3))
)
CONFIG = question.Config(merge_threshold=-2.0)
LABELS = jnp.repeat(jnp.arange(2), prompts.GROUP)


@pytest.fixture(scope="module")
def predict():
    """The two predictions of a program, jitted once for each."""
    params = jax.jit(token_denoiser.init, static_argnums=0)(TEACHER, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (len(LABELS), 16))

    @jax.jit
    def plain(conditions):
        return token_denoiser.model(TEACHER, params, conditions, kind="x0")(x, jnp.ones(len(LABELS)))

    @functools.partial(jax.jit, static_argnums=0)
    def run(program, knobs, t):
        guided = program(prompts.Task(CONFIG, NETS, LABELS, params, knobs))
        return [None if fn is None else fn(x, jnp.full(len(LABELS), t)) for fn in guided]

    def both(program, t=1.0, **numbers):
        return run(program, jax.tree.map(jnp.asarray, prompts.Knobs(**({"scale": 1.0} | numbers))), t)

    return both, plain


def asked(digits, bins):
    return jnp.stack([digits, jnp.full_like(LABELS, bins)], axis=1)


def test_programs_without_guidance_are_the_plain_prediction(predict):
    both, plain = predict
    expected = plain(asked(LABELS, prompts.BINS))
    for program in (prompts.nasa, prompts.sun):
        np.testing.assert_allclose(both(program, scale=0.0)[0], expected, atol=1e-5)
        assert np.abs(both(program, scale=0.5)[0] - expected).max() > 1e-3
    np.testing.assert_allclose(both(prompts.cfg)[0], expected, atol=1e-5)


def test_the_reference_is_no_prompt_or_the_negative_one(predict):
    both, plain = predict
    nothing = jnp.full_like(LABELS, 3)
    np.testing.assert_allclose(both(prompts.cfg)[1], plain(asked(nothing, prompts.BINS)), atol=1e-5)
    negative = plain(asked(nothing, prompts.THICK))
    np.testing.assert_allclose(both(prompts.cfg, negative=True)[1], negative, atol=1e-5)
    assert np.abs(both(prompts.cfg)[1] - negative).max() > 1e-3
    same = both(prompts.cfg, negative=True, same=True)[1]
    np.testing.assert_allclose(same, plain(asked(LABELS, prompts.THICK)), atol=1e-5)
    assert np.abs(same - negative).max() > 1e-3
    thin = both(prompts.cfg, negative=True, prompt=prompts.THIN)[1]
    np.testing.assert_allclose(thin, plain(asked(nothing, prompts.THIN)), atol=1e-5)


def test_merging_leaves_the_first_of_every_group_alone(predict):
    both, _ = predict
    for plain, moved in zip(both(prompts.cfg), both(prompts.cfg, alpha=0.9), strict=True):
        difference = np.abs(moved - plain).max(1).reshape(-1, prompts.GROUP)
        np.testing.assert_allclose(difference[:, 0], 0.0, atol=1e-5)
        assert (difference[:, 1:] > 1e-4).all()
    late = both(prompts.cfg, t=0.3, alpha=0.9, share=0.2)
    np.testing.assert_allclose(late[0], both(prompts.cfg, t=0.3)[0], atol=1e-6)  # no longer in the first fifth
    assert np.abs(both(prompts.cfg, t=0.3, alpha=0.9)[0] - late[0]).max() > 1e-4


def test_rows_have_their_numbers():
    config = question.Config(merge_alpha=0.4, merge_share=0.3)
    assert question.knobs_of("none", config) == prompts.Knobs(0.0)
    assert question.knobs_of("nasa_0.5", config) == prompts.Knobs(0.5)
    assert question.knobs_of("negative_cfg_3", config) == prompts.Knobs(3.0, negative=True)
    assert question.knobs_of("nasa_thin", config) == prompts.Knobs(0.5, prompt=0)
    assert question.knobs_of("contrast_cfg_1.5", config) == prompts.Knobs(1.5, negative=True, same=True)
    assert question.knobs_of("negtome", config) == prompts.Knobs(question.HIGH, alpha=0.4, share=0.3)
    assert question.knobs_of("negtome_always", config).share == 1.0


def test_distances_are_compared_at_an_equal_rate():
    rates, distances = [0.8, 0.6, 0.4, 0.2, 0.1], np.exp([0.0, 1.0, 2.0, 3.0, 4.0])
    line = question.LINES["negative_cfg"]
    rows = {"attribute_1": {n: np.array([r, r]) for n, r in zip(line, rates, strict=True)}}
    rows["frechet_1"] = {n: np.array([d, d]) for n, d in zip(line, distances, strict=True)}
    rows["attribute_1"]["nasa_0.5"] = np.array([0.5, 0.05])
    rows["frechet_1"]["nasa_0.5"] = np.exp(np.array([1.0, 4.5]))
    effect = question._distance_at_equal_rate(1, "nasa_0.5", "negative_cfg")(rows)
    np.testing.assert_allclose(effect, np.exp([1.0 - 1.5, 4.5 - 4.0]), rtol=1e-6)


def test_beyond_the_lowest_rate_the_nearest_row_that_has_it_within_a_standard_error_counts():
    """A rate of .1 among 400 images has a standard error of .015: .114 is the same rate, .116 is not."""
    line = question.LINES["nasa"]
    rates, distances = [0.8, 0.116, 0.114, 0.1, 0.11], np.exp([0.0, 1.0, 2.0, 4.0, 3.0])
    own, distance = {"other": np.array([0.05, 0.112, 0.458])}, {"other": np.exp(np.full(3, 2.0))}
    rows = {"attribute_1": {n: np.full(3, r) for n, r in zip(line, rates, strict=True)} | own}
    rows["frechet_1"] = {n: np.full(3, d) for n, d in zip(line, distances, strict=True)} | distance
    effect = question._distance_at_equal_rate(1, "other", "nasa")(rows)
    np.testing.assert_allclose(effect, np.exp([0.0, 0.0, 2.0 - 0.5]), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"), [({"samples": 42}, "samples"), ({"steps": (4, 4)}, "steps"), ({"merge_share": 0.0}, "share")]
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        question.Config(**change)
