"""The question of learning without backpropagation: its parts, and a quick run from end to end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import backprop_free as question
from experiments import label_denoisers, physical_networks
from experiments.command_line import answer
from experiments.data import load
from jaxlab import diffusion, nn

CONFIG = dataclasses.replace(question.Config(), blocks=3, width=8, train_steps=5)
X = np.random.default_rng(0).random((6, 4)).astype(np.float32)
Y = np.arange(6) % 3


def test_no_gradient_crosses_from_a_block_to_another():
    blocks = label_denoisers.make_blocks(CONFIG, 3, 4, jax.random.key(0))
    each = lambda b: label_denoisers.dt_losses(CONFIG, b, jnp.eye(3), X, Y, jax.random.key(1))  # noqa: E731
    own = np.eye(3, dtype=bool)
    for slope in jax.tree.leaves(jax.jacrev(each)(blocks)):
        assert not np.any(np.asarray(slope)[~own])
        assert np.any(np.asarray(slope)[own])


@pytest.mark.parametrize("local", [True, False])
def test_no_gradient_crosses_from_a_map_to_another_in_local_training(local):
    layers = physical_networks.media(CONFIG, 4, jax.random.key(0))
    maps = physical_networks.make_maps(CONFIG, 3, jax.random.key(1))

    def last(maps):
        ask = lambda place, x: nn.physical_response(layers[place], x, kind="tanh", differentiable=True)  # noqa: E731
        return jnp.sum(physical_networks.responses(ask, maps, X, local=local)[-1])

    first, second = jax.grad(last)(maps)
    assert np.any(second["kernel"])
    assert np.any(first["kernel"]) != local


def test_blocks_one_after_the_other_get_the_gradients_of_all_at_once():
    blocks = label_denoisers.make_blocks(CONFIG, 3, 4, jax.random.key(0))
    key = jax.random.key(1)
    apart = label_denoisers.dt_gradients(CONFIG, blocks, X, Y, key)
    both = jax.grad(lambda b: jnp.sum(label_denoisers.dt_losses(CONFIG, b, jnp.eye(3), X, Y, key)))(blocks)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5), apart, both)


def test_chain_of_blocks_that_know_the_label_ends_at_its_embedding():
    blocks = label_denoisers.make_blocks(CONFIG, 3, 4, jax.random.key(0))
    # The heads say class 1 whatever comes in.
    head = {"kernel": jnp.zeros_like(blocks["head"]["kernel"]), "bias": jnp.tile(jnp.array([0.0, 30.0, 0.0]), (3, 1))}
    z = label_denoisers.chain(blocks | {"head": head}, jnp.eye(3), X, jax.random.key(2))
    last = float(diffusion.noprop_schedule(3).alpha_bar[-1])
    np.testing.assert_allclose(z, np.tile([0, last**0.5, 0], (6, 1)), atol=5 * (1 - last) ** 0.5)


def test_wrong_labels_are_wrong_and_all_others_come():
    y = np.repeat(np.arange(4), 200)
    wrong = np.asarray(label_denoisers.wrong_labels(jax.random.key(0), y, 4))
    assert (wrong != y).all()
    assert len(set(zip(y.tolist(), wrong.tolist(), strict=True))) == 12


def test_twins_are_off_by_their_mismatch():
    layers = [nn.physical_layer_init(jax.random.key(0), 200, 200)]
    assert (physical_networks.twins(layers, jnp.zeros(()), jax.random.key(1))[0].real == layers[0].real).all()
    off = physical_networks.twins(layers, jnp.array(0.6), jax.random.key(1))[0]
    assert np.corrcoef(np.ravel(off.real), np.ravel(layers[0].real))[0, 1] == pytest.approx(0.8, abs=0.02)
    assert float(jnp.std(off.imaginary)) == pytest.approx(float(jnp.std(layers[0].imaginary)), rel=0.02)


def test_memory_of_the_whole_grows_with_depth_and_that_of_blocks_does_not():
    config = dataclasses.replace(CONFIG, blocks=8)
    whole, apart = (question.memory_by_depth(config, 3, 4, whole=flag) for flag in (True, False))
    assert whole[3] > 2.5 * whole[1]
    assert apart[3] < 1.2 * apart[1]


def test_splits():
    data = load("digits")
    seeds = question.prepare(question.Config(), data, jax.vmap(jax.random.key)(jnp.arange(2)))
    assert seeds.x.shape[0] == 2
    assert (float(seeds.x.min()), float(seeds.x.max())) == (0, 1)
    assert seeds.test_y.shape[1] == pytest.approx(0.25 * len(data.y), abs=3)
    assert (seeds.test_y[0] != seeds.test_y[1]).any()


def test_quick_run(quick_run):
    found = quick_run(question)
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(question.CLAIMS)
    rows = found["rows"]
    assert list(rows["accuracy"]) == [method.name for method in question.METHODS]
    assert min(map(min, rows["accuracy"].values())) > 0.1
    assert min(rows["accuracy"]["linear"]) > 0.5
    assert rows["memory_growth"]["backprop"][0] > rows["memory_growth"]["noprop_dt"][0]
    curves = found["curves"]["by_mismatch"]
    # A model without a fault is the medium, whichever of the two is asked in training.
    np.testing.assert_allclose(curves["backprop_model"], curves["physics_aware"], atol=0.5)
    assert np.array(curves["backprop_model"])[:, 0] == pytest.approx(rows["accuracy"]["backprop_media"], abs=0.02)


def test_settings_that_cannot_be(capsys):
    assert answer(question, ["--mismatch", "0"]) == 2
    assert "mismatch must lie in (0, 1)" in capsys.readouterr().err
    assert answer(question, ["--blocks", "1"]) == 2
    assert "blocks must be at least 2" in capsys.readouterr().err
