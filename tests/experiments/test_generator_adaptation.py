"""The question of adapted generators: what each adaptation trains, its measures, and a quick run from end to end."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import adapted_generators as generators
from experiments import generator_adaptation as question
from experiments.assets import decoders, denoiser
from experiments.command_line import light_compiler


def test_the_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = quick_run(question)
    assert {claim["verdict"] for claim in result["claims"]} == {"not judged"}
    assert {claim["paper"] for claim in result["claims"]} == {38, 210, 215, 249}
    rows = result["rows"]
    names = {method.name for method in question.METHODS}
    assert set(rows["diversity"]) == names - question.TOKEN
    assert set(rows["cluster_diversity"]) == set(rows["frechet"]) == question.FEW
    assert set(rows["accuracy"]) == question.TOKEN
    np.testing.assert_allclose(rows["accuracy"]["mean_embedding"], 0.1, rtol=1e-6)  # of the same images for ten classes
    images = {name: np.array(x, float) for name, x in result["curves"]["adapted"].items()}
    for group in question.GROUPS.values():  # every method of a group does something of its own
        shown = [images[method.name] for method in group]
        assert not any(np.allclose(shown[i], shown[j]) for i in range(len(shown)) for j in range(i))


CONFIG = question.Config(
    samples=30, steps=3, shots=4, few_steps=2, text_steps=3, direct_steps=3, one_steps=2, one_batch=4, token_steps=2
)
NETS = generators.Networks(
    denoiser.DenoiserConfig(dim=16, sizes=(3,), hidden=8),
    decoders.DecoderConfig(dim=16, latent=2, hidden=8),
    denoiser.ClassifierConfig(dims=(16, 32, 3)),  # with few units an embedding may not change at all
    denoiser.ClassifierConfig(dims=(16, 6, 3)),
)


def task(**change):
    keys = jax.random.split(jax.random.key(0), 5)
    init, _ = denoiser.network(NETS.denoiser)
    eye, judge = (denoiser.classifier(net).init(key) for net, key in zip(NETS[2:], keys[:2], strict=True))
    x = jnp.tanh(jax.random.normal(keys[2], (40, 16)))
    setting = generators.Setting(
        init(keys[3]), decoders._init(NETS.decoder, keys[4]), eye, judge, x, jnp.arange(40) % 3
    )
    config = question.dataclasses.replace(CONFIG, **change)
    return generators.Task(config, NETS, setting)


def made(maker, *, seed=1, **options):
    change = options.pop("change", {})
    return jax.tree.map(np.asarray, jax.jit(lambda key: maker(task(**change), key, **options))(jax.random.key(seed)))


def test_a_turn_and_back():
    x = jnp.arange(32.0).reshape(2, 16)
    np.testing.assert_array_equal(generators.turned(x)[0].reshape(4, 4), np.rot90(np.arange(16.0).reshape(4, 4)))
    np.testing.assert_array_equal(generators.turned(generators.turned(x), back=True), x)


def test_a_decoder_is_moved_to_where_it_should_go():
    change = {"direct_steps": 60, "direct_rate": 3e-2, "moment_weight": 0.0}
    one, several = (made(generators.direct, moment=moment, change=change) for moment in (False, True))
    assert one.more["cosine"] > 0.5
    assert several.more["cosine"] > 0.5
    held = made(generators.direct, moment=False, keep=True, change=change | {"ewc_weight": 1e9})
    gaps = [np.abs(now.adapted - now.source).mean() for now in (held, one)]
    assert gaps[0] < gaps[1]


@pytest.mark.parametrize("moment", [False, True])
def test_rounding_does_not_decide_how_a_copy_starts(moment):
    """A copy has changed nothing: its first step follows the noise on its images, whatever the compiler rounds."""
    found = []
    for light in (False, True):
        with light_compiler() if light else contextlib.nullcontext():
            found.append(made(generators.direct, moment=moment, change={"direct_steps": 1}))
    moved = np.abs(found[1].adapted - found[1].source).mean()
    assert moved > 1e-3
    np.testing.assert_allclose(found[0].adapted, found[1].adapted, atol=1e-3 * moved)


def test_the_adaptor_maps_latents_and_leaves_the_decoder():
    """One latent coordinate after the other: what the adaptor makes, the frozen decoder makes of other latents."""
    adapted = made(generators.one_shot, adaptor=True, psi=0.7, change={"one_rate": 0.1, "one_steps": 3})
    now = task()
    latents = jax.random.normal(jax.random.split(jax.random.key(1), 3)[2], (30, 2))
    np.testing.assert_allclose(now.decode(now.setting.decoder["decoder"], latents), adapted.source, atol=1e-6)
    assert np.abs(adapted.adapted - adapted.source).max() > 1e-2
    grid = jnp.stack(jnp.meshgrid(*[jnp.linspace(-5, 5, 201)] * 2), axis=-1).reshape(-1, 2)
    reachable = np.asarray(now.decode(now.setting.decoder["decoder"], grid))
    gaps = np.abs(adapted.adapted[:, None] - reachable).max(-1).min(1)
    free = made(generators.one_shot, adaptor=False, psi=0.7, change={"one_rate": 0.1, "one_steps": 3})
    assert gaps.max() < 0.05
    stopped = made(generators.one_shot, adaptor=True, stop=True, change={"attribute": 0.0})
    np.testing.assert_array_equal(stopped.adapted, stopped.source)
    assert np.abs(free.adapted[:, None] - reachable).max(-1).min(1).max() > 0.1


def test_clusters_are_of_the_nearest_example():
    examples = jnp.array([[0.0], [10.0], [99.0]])
    x = jnp.array([[0.0], [1.0], [3.0], [9.0], [11.0], [98.0]])
    np.testing.assert_allclose(question.cluster_diversity(x, examples), (2.0 + 2.0) / 2, rtol=1e-5)
    assert question.cluster_diversity(examples, examples) == 0.0


@pytest.mark.parametrize(("change", "message"), [({"samples": 5}, "samples"), ({"shots": 2}, "shots")])
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        question.Config(**change)
