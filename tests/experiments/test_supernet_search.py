"""The question of shared weights: its networks, its splits, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from experiments import supernet_networks as networks
from experiments import supernet_operators as operators
from experiments import supernet_search
from experiments.command_line import answer
from jaxlab import nas

rng = np.random.default_rng(0)
TOKENS = rng.normal(size=(3, 16, 4)).astype(np.float32)
PARAMS = networks.elastic_init(jax.random.key(0), pixels=4, width=24, hidden=48, depth=3, num_classes=5)
PARAMS = PARAMS | {"head": rng.normal(size=(24, 5)).astype(np.float32)}


@pytest.mark.parametrize("sizes", [(16, 16, 2), (8, 48, 3)])
def test_masked_transformers_are_the_sliced_ones(sizes):
    masked = jax.jit(lambda w, h, d: networks.elastic_forward(networks.subnetwork(PARAMS, w, h, d), TOKENS, w))(*sizes)
    sliced = networks.elastic_forward(nas.slice_subnetwork(PARAMS, networks.sizes_of(*sizes)), TOKENS)
    np.testing.assert_allclose(masked.logits, sliced.logits, atol=2e-5)
    last = sizes[2] - 1
    np.testing.assert_allclose(masked.qkv[last, ..., : sizes[0]], sliced.qkv[last], atol=2e-5)
    # Relations count the channels that exist, however many zeros stand behind them.
    target = networks.elastic_forward(PARAMS, TOKENS).qkv[-1]
    padded = networks.relation_loss(masked.qkv[last], target, sizes[0])
    np.testing.assert_allclose(padded, networks.relation_loss(sliced.qkv[last], target, sizes[0]), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(networks.relation_loss(target, target, 24), 0.0, atol=1e-4)
    assert np.min(padded) > 1e-3


def test_the_space_counts_parameters():
    space = networks.elastic_space((8, 24), (1, 2), (1, 3))
    assert len(space.width) == 8
    for width, hidden, depth, count in zip(*space, strict=True):
        sliced = nas.slice_subnetwork(PARAMS, networks.sizes_of(int(width), int(hidden), int(depth)))
        names = ("query", "key", "value", "project", "up", "down", "scale", "shift", "bias")
        assert count == sum(sliced[name].size for name in names)


def test_patches_are_those_of_the_image():
    image = np.arange(64.0).reshape(1, 8, 8)
    assert networks.patches(image)[0, 5].tolist() == [18.0, 19.0, 26.0, 27.0]


@pytest.mark.parametrize("split", [1, 3])
def test_an_ensemble_with_weights_of_its_own(split):
    keys = jax.random.split(jax.random.key(1), 2)
    make = jax.vmap(lambda key: networks.operator_init(key, operators.SPACE, inputs=6, num_classes=3))
    params, x = make(keys), rng.normal(size=(5, 6)).astype(np.float32)
    paths = jnp.array([[0, 3, 1, 2], [2, 0, 0, 1]])
    got = networks.operator_ensemble(params, paths, jnp.int32(split), x, own=True)
    weights, own = networks.tied(params, paths, jnp.int32(split))
    assert own[1].tolist() == [*paths[0, :split].tolist(), *paths[1, split:].tolist()]
    logits = jax.vmap(networks.operator_logits, in_axes=(0, 0, None))(weights, own, x)
    expected = logsumexp(jax.nn.log_softmax(logits), axis=0) - np.log(2)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    untied = jax.vmap(networks.operator_logits, in_axes=(0, 0, None))(params, paths, x)
    assert np.abs(np.asarray(untied - logits)[1]).max() > 0.1


def test_layers_are_counted_once_if_shared():
    paths = jnp.array([[0, 3, 1, 2], [2, 0, 3, 1]])
    assert int(operators.num_weights(paths, 2)) == 1 + 2 + 1
    assert float(operators.mean_depth(paths, 2)) == (3 + 2) / 2
    alive = jnp.eye(4, dtype=bool)
    genes = operators.random_genes(jax.random.key(0), alive)
    assert genes[:-1].tolist() == [0, 1, 2, 3] * 2
    assert 1 <= int(genes[-1]) <= 3


def test_splits_are_disjoint_and_differ():
    labels = np.repeat(np.arange(10), 30)
    rows = supernet_search._split(labels, 0)
    assert len(np.unique(np.concatenate(rows))) == 300
    assert [len(part) for part in rows] == [170, 40, 90]
    assert (rows.test != supernet_search._split(labels, 1).test).any()


def test_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = quick_run(supernet_search, "--dataset", "digits")
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * 4
    rows = found["rows"]
    sizes = ["num_params", "depth", "teacher_slices", "one_space", "three_spaces"]
    shrinkings = ["no_shrinking", "random_shrinking", "accuracy_shrinking", "diversity_shrinking"]
    assert list(rows["band_tau"]) == list(rows["picked_regret"]) == sizes
    assert list(rows["tuned_accuracy"]) == sizes[2:]
    assert list(rows["ensemble_tau"]) == [*sizes[:2], *shrinkings]
    assert np.min(list(rows["picked_regret"].values())) >= 0
    # Before any shrinking all four rows are one, so that their ensembles differ by what was dropped alone.
    taus = np.array([rows["ensemble_tau"][name] for name in shrinkings])
    assert np.abs(taus).max() <= 1
    assert len({tuple(rows["sampled_accuracy"][name]) for name in shrinkings}) > 1


def test_bad_settings_and_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("rows.npz", x=np.ones((20, 3)), y=np.arange(20) % 2)
    assert answer(supernet_search, ["--data", "rows.npz"]) == 2
    assert "Patches need images with sides that are multiples of 4" in capsys.readouterr().err
    with pytest.raises(ValueError, match="widths must be multiples of 8"):
        supernet_search.Config(widths=(8, 12))
    with pytest.raises(ValueError, match="at least 6 architectures"):
        supernet_search.Config(widths=(8,), ratios=(1,))
