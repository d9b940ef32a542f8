"""The question of training aids: its networks, its measures, and a quick run from end to end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import generator_training as question
from experiments import training_aids as aids
from experiments.assets import conv_flows, denoiser, patch_flows
from experiments.assets.conv_flows import ConvFlowConfig
from experiments.assets.patch_flows import EncoderConfig, PatchConfig
from jaxlab import nn

RNG = np.random.default_rng(0)


def test_the_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = quick_run(question)
    assert {claim["verdict"] for claim in result["claims"]} == {"not judged"}
    rows = {metric: {name: np.array(v) for name, v in row.items()} for metric, row in result["rows"].items()}
    assert set(rows["frechet"]) == set(rows["validation_loss"]) == set(question.SMALL)
    assert set(rows["frechet_large"]) == set(question.LARGE)
    assert set(rows["multi_digit"]) == {*question.LARGE} - {"trained_size"}
    assert {method.name for method in question.METHODS} == {*question.SMALL, *question.LARGE}
    # Every row is another experiment: no two agree in the first seed.
    for metric, names in (("validation_loss", question.SMALL), ("frechet_large", question.LARGE)):
        assert len({float(rows[metric][name][0]) for name in names}) == len(names)
    assert (rows["frechet_large"]["real_enlarged"] < rows["frechet_large"]["twice"]).all()


FLOW = PatchConfig(num_classes=3, width=8, heads=2, depth=2, target=4)


@functools.cache
def flow_params():
    """Parameters without the zeros at the start."""
    drawn = jax.jit(functools.partial(patch_flows.init_patch_flow, FLOW))(jax.random.key(0))
    leaves, tree = jax.tree.flatten(drawn)
    return tree.unflatten([leaf + 0.2 * RNG.normal(size=leaf.shape).astype(np.float32) for leaf in leaves])


def test_patches_are_squares_and_come_back():
    images = jnp.arange(2 * 64.0).reshape(2, 64)
    tokens = np.asarray(patch_flows.patches(images))
    np.testing.assert_array_equal(tokens[0, 1].reshape(4, 4), np.arange(64).reshape(8, 8)[:4, 4:])
    np.testing.assert_array_equal(patch_flows.unpatch(tokens), images)


def test_a_sequence_is_its_images_one_after_the_other():
    x, t = RNG.normal(size=(2, 3, 64)).astype(np.float32), RNG.uniform(size=(2, 3)).astype(np.float32)
    labels = jnp.array([0, 2])

    def one_by_one(params):
        state, out = patch_flows.memory(FLOW, 2), []
        for i in range(3):
            flowed = patch_flows.patch_flow(FLOW, params, x[:, i : i + 1], t[:, i : i + 1], labels, state)
            state = flowed.memory
            out.append(flowed.velocity[:, 0])
        return jnp.stack(out, axis=1), patch_flows.patch_flow(FLOW, params, x[:, 1:2], t[:, 1:2], labels).velocity[:, 0]

    apart, alone = jax.jit(one_by_one)(flow_params())
    whole = jax.jit(lambda params: patch_flows.patch_flow(FLOW, params, x, t, labels))(flow_params())
    np.testing.assert_allclose(apart, whole.velocity, rtol=1e-3, atol=1e-4)
    assert np.abs(alone - whole.velocity[:, 1]).max() > 1e-2  # the history counts
    assert whole.aligned.shape == (2, 3, 4, 4)


def test_a_token_of_the_encoder_sees_its_patch_and_little_more():
    config = EncoderConfig(channels=4, target=3)
    params = patch_flows._encoder_init(config, jax.random.key(0))
    x = RNG.normal(size=(1, 64)).astype(np.float32)
    corner = np.zeros((8, 8), np.float32)
    corner[7, 7] = 1.0
    before, after = (patch_flows.encode(config, params, jnp.asarray(image)) for image in (x, x + corner.ravel()))
    moved = np.abs(np.asarray(after - before)).max(axis=(0, 2)) > 0
    np.testing.assert_array_equal(moved, [False, False, False, True])


CONV = ConvFlowConfig(num_classes=3, channels=4)


def test_only_the_middle_of_the_large_network_changes_and_only_when_asked():
    params = conv_flows._init(CONV, jax.random.key(0))
    params["last"]["kernel"] = jnp.asarray(RNG.normal(size=params["last"]["kernel"].shape), jnp.float32)
    x, labels = jnp.asarray(RNG.normal(size=(2, 16, 16)), jnp.float32), jnp.array([0, 1])
    without = {**params, **{name: jax.tree.map(jnp.zeros_like, params[name]) for name in conv_flows.MIDDLE}}
    late = {"changed": lambda t: t[0] > 0.5}

    def run(params, without):
        for given, t in ((params, 0.9), (params, 0.1), (without, 0.9)):
            for other in ({}, {"factor": 2, **late}, {"spread": nn.dispersion_matrix(), **late}):
                yield conv_flows.conv_flow(CONV, given, labels, **other)(x, jnp.full(2, t))

    both = jax.jit(lambda *given: list(run(*given)))(params, without)
    plain, wide, spread, plain_late, wide_late, spread_late, *still = map(np.asarray, both)
    assert np.abs(wide - plain).max() > 1e-2
    assert np.abs(spread - plain).max() > 1e-2
    np.testing.assert_allclose(wide_late, plain_late, atol=1e-5)
    np.testing.assert_allclose(spread_late, plain_late, atol=1e-5)
    np.testing.assert_allclose(still[1], still[0], atol=1e-5)
    np.testing.assert_allclose(still[2], still[0], atol=1e-5)


def setting(judge=None):
    x, y = jnp.asarray(RNG.normal(size=(40, 64)), jnp.float32), jnp.arange(40) % 3
    return aids.Setting(x, y, jnp.arange(40) < 30, jnp.zeros((1, 40, 4, 4)), None, judge, judge, jnp.zeros((9, 5)))


def test_both_kinds_of_training_see_the_same_images():
    config, seen, key = question.Config(), setting(), jax.random.key(1)
    draw = jax.jit(lambda key: [aids.draw_sequences(key, config, seen, batch=4, length=n, train=True) for n in (1, 4)])
    single, sequence = draw(key)
    np.testing.assert_array_equal(single.rows.ravel(), sequence.rows.ravel())
    assert (np.asarray(sequence.rows) < 30).all()
    np.testing.assert_array_equal(np.asarray(seen.y)[sequence.rows], np.repeat(sequence.labels[:, None], 4, axis=1))
    np.testing.assert_array_equal(np.asarray(seen.y)[single.rows[:, 0]], single.labels)
    assert (np.diff(sequence.t, axis=1) <= 0).all()
    t = np.asarray(sequence.t)[..., None]
    np.testing.assert_allclose(sequence.x, (1 - t) * sequence.clean + t * sequence.noise, rtol=1e-4, atol=1e-5)


def test_quarters_are_the_corners():
    images = jnp.arange(2 * 16 * 16.0).reshape(2, 16, 16)
    parts = np.asarray(aids.quarters(images)).reshape(2, 4, 8, 8)
    np.testing.assert_array_equal(parts[1, 1], images[1, :8, 8:])
    np.testing.assert_array_equal(parts[0, 2], images[0, 8:, :8])


def test_an_image_of_four_digits_is_found_and_a_large_one_is_not():
    """The judge here takes any bright patch for class 0, any dark one for no digit."""
    config = denoiser.ClassifierConfig(dims=(64, 2, 4))
    head = {"kernel": jnp.array([[9.0, 0, 0, 0], [0, 0, 0, 9.0]]), "bias": jnp.zeros(4)}
    ones = jnp.ones((64, 1)) / 8
    judge = {
        "hidden": {"dense0": {"kernel": jnp.concatenate([ones, -ones], axis=1), "bias": jnp.zeros(2)}},
        "head": head,
    }
    bright, dark = jnp.ones((8, 8)), -jnp.ones((8, 8))
    four, three = jnp.block([[bright, bright], [bright, bright]]), jnp.block([[bright, bright], [bright, dark]])
    nets = aids.Nets(FLOW, CONV, config, config)
    seen = setting(judge)._replace(real=jax.random.normal(jax.random.key(0), (20, 2)))
    images = jnp.stack([four, three, three, four, three])
    measured, _ = jax.jit(functools.partial(aids.measure_large, nets, seen))(images)
    np.testing.assert_allclose(measured["multi_digit"], 2 / 5, rtol=1e-6)


def test_the_claims_compare_what_they_say():
    rows = {name: {} for name in ("validation_loss", "frechet", "frechet_early", "frechet_large", "multi_digit")}
    rows["frechet"] |= {"flow": np.array([2.0]), "repa": np.array([1.0]), "repa_autoencoder": np.array([4.0])}
    rows["frechet_early"] |= {"repa": np.array([3.0])}
    rows["multi_digit"] |= {"twice": np.array([0.4]), "redilated": np.array([0.1])}
    effect = {claim.sentence: claim.effect for claim in question.CLAIMS}
    found = [next(fn for text, fn in effect.items() if start in text)(rows) for start in ("Training is", "The better")]
    np.testing.assert_allclose(np.ravel(found), [1.5, 0.25])
    fall = next(fn for text, fn in effect.items() if "four digits" in text)(rows)
    np.testing.assert_allclose(fall, [0.3])
    assert {claim.paper for claim in question.CLAIMS} == {5, 6, 9}


@pytest.mark.parametrize(("change", "message"), [({"steps": 6}, "steps"), ({"changed": 1.5}, "changed")])
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        question.Config(**change)
