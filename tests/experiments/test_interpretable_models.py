"""The question of models that can be read: its data, its radii and units, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import interpretable_models as question
from experiments.command_line import answer
from experiments.data import load
from jaxlab import nn

CONFIG = question.Config()


def test_images_keep_their_pixels_and_features_are_standardised_by_training_rows():
    wine = load("wine")
    x, _, test_x, test_y, prototypes = question.split(CONFIG, wine, 0)
    np.testing.assert_allclose(x.mean(0), np.zeros(13), atol=1e-4)
    np.testing.assert_allclose(x.std(0), np.ones(13), rtol=1e-4)
    assert np.abs(test_x.mean(0)).max() > 0.01  # not by the test rows
    assert len(test_y) == pytest.approx(0.3 * len(wine.y), abs=2)
    assert prototypes.shape == (6, 13)
    digits = load("digits")
    x, y, *_, prototypes = question.split(CONFIG, digits, 0)
    assert (x.min(), x.max()) == (0, 1)
    nearest = ((prototypes[:, None] - x) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(y[nearest], np.repeat(np.arange(10), 2))
    assert question.scaled(np.ones((4, 2)), np.arange(2), "features").tolist() == [[0, 0]] * 4


def seed(rng):
    """Three classes in the plane."""
    centers = np.float32([[0, 0], [4, 0], [0, 3]])
    y = np.arange(30) % 3
    x = (centers[y] + 0.5 * rng.normal(size=(30, 2))).astype(np.float32)
    tests = rng.uniform(-1, 4, size=(6, 2)).astype(np.float32)
    truth = ((tests[:, None] - centers) ** 2).sum(-1).argmin(1)
    parts = (x, y, tests, truth, centers)
    return question.Seed(jax.random.key(0), *map(jnp.asarray, parts))


def test_radius_of_the_nearest_mean_reaches_the_border():
    one = seed(np.random.default_rng(0))
    made = question.nearest_mean(CONFIG, 3, one)
    angles = np.linspace(0, 2 * np.pi, 400)
    rays = np.stack([np.cos(angles), np.sin(angles)], 1)
    for factor, expected in ((0.99, False), (1.02, True)):
        moved = one.test_x[:, None] + factor * made.radius[:, None, None] * rays
        wrong = jnp.argmax(made.scores(moved), -1) != one.test_y[:, None]
        right = np.asarray(made.radius) > 0
        np.testing.assert_array_equal(np.asarray(wrong.any(1))[right], np.full(right.sum(), expected))


def test_accuracy_by_units_is_that_of_networks_cut_short():
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    network = nn.SmallMLP(draw(2, 4), draw(4), draw(4, 3), draw(3))
    x, y, bias = draw(50, 2), rng.integers(3, size=50), draw(5, 3)
    found = question.by_units(*jax.tree.map(jnp.asarray, (network, bias, x, y)))
    for kept in range(5):
        cut = nn.SmallMLP(network.weight_in[:, :kept], network.bias_in[:kept], network.weight_out[:kept], bias[kept])
        expected = np.mean(np.argmax(np.asarray(nn.small_mlp(cut, x)), -1) == y)
        assert float(found[kept]) == pytest.approx(expected, abs=1e-6)


def test_one_logit_becomes_two_classes():
    np.testing.assert_array_equal(question.class_logits(jnp.array([[2.0], [-1.0]])), [[0, 2], [0, -1]])
    assert question.class_logits(jnp.ones((2, 3))).shape == (2, 3)


def test_quick_run(quick_run):
    found = quick_run(question, "--dataset", "wine")
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(question.CLAIMS)
    rows = found["rows"]
    assert list(rows["accuracy"]) == [method.name for method in question.METHODS]
    assert min(map(min, rows["accuracy"].values())) > 0.6
    certified = ["nearest_mean", "rbf", "cbc", "cbc_small_margin"]
    assert list(rows["certified_radius"]) == certified
    for name in certified:
        assert rows["flipped_inside"][name] == [0, 0]
        assert min(rows["certified_radius"][name]) > 0
    assert {name: kept[0] for name, kept in rows["units"].items()} == {
        "mlp": 12,
        "boosted": 12,
        "boosted_half": 6,
        "boosted_quarter": 3,
    }
    whole, half = (found["curves"]["by_units"][name] for name in ("boosted", "boosted_half"))
    np.testing.assert_allclose(np.array(whole)[:, :7], half)
    np.testing.assert_allclose(np.array(whole)[:, -1], rows["accuracy"]["boosted"])


def test_settings_that_cannot_be(capsys):
    assert answer(question, ["--dataset", "wine", "--units", "3"]) == 2
    assert "units must be at least 4" in capsys.readouterr().err
    assert answer(question, ["--dataset", "wine", "--test-share", "1"]) == 2
    assert "test_share must lie in (0, 1)" in capsys.readouterr().err
