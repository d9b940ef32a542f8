"""The race of losses, in small: every entry finds what its peer finds."""

import json

import jax
import numpy as np
import pytest

from experiments.benchmarks import __main__ as command
from experiments.benchmarks import losses


@pytest.mark.parametrize(
    ("contest", "package", "races"),
    [
        ("pairs", "pytorch_metric_learning", 2),
        ("margin", "pytorch_metric_learning", 1),
        ("z_loss", "torch", 2),
        ("detection", "torchvision", 2),
    ],
)
def test_losses_in_small(contest, package, races, capsys):
    pytest.importorskip(package)
    assert command.main(["losses", "--quick", "--json", "--contests", contest]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["races"]) == races
    errors = [row["error"] for race in found["races"] for row in race["rows"] if "error" in row]
    assert len(errors) == {"pairs": 4, "margin": 3, "z_loss": 0, "detection": 4}[contest]
    assert max(errors, default=0) < 1e-5
    assert {target["verdict"] for target in found["targets"]} == {"not judged"}


def test_a_peer_that_would_not_fit_is_left_out(capsys):
    pytest.importorskip("pytorch_metric_learning")
    assert command.main(["losses", "--quick", "--json", "--contests", "pairs", "--most-bytes", "1000"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(race["rows"]) for race in found["races"]] == [1, 2]


def test_statistics_give_the_loss_of_all_logits():
    rng = np.random.default_rng(0)
    hidden, weight, labels = rng.normal(size=(5, 3)), rng.normal(size=(11, 3)), rng.integers(11, size=5)
    value = losses._from_statistics(hidden, weight.sum(0), weight.T @ weight, weight, labels)
    logits = hidden @ weight.T
    z = (logits - logits.mean(1, keepdims=True)) / logits.std(1, keepdims=True)
    own = np.sqrt(10) / 2 - z[np.arange(5), labels]
    np.testing.assert_allclose(value, np.mean(np.log1p(np.exp(own))), rtol=1e-5)


def test_gradients_are_asked_for():
    """By the embeddings; of an ArcFace head by its prototypes too."""
    x, prototypes, labels = np.ones((2, 3), np.float32), np.eye(3, dtype=np.float32), np.array([0, 1])
    pairs = losses._compiled(losses._nt_xent, x, labels)()
    head = losses._compiled(losses._arcface, x, prototypes, labels)()
    shapes = [[gradient.shape for gradient in gradients] for _, gradients in (pairs, head)]
    assert shapes == [[(2, 3)], [(2, 3), (3, 3)]]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((pairs, head)))


def test_sizes_are_checked(capsys):
    assert command.main(["losses", "--batches", "7"]) == 2
    assert "--batches must be even" in capsys.readouterr().err
    assert command.main(["losses", "--contests", "nothing"]) == 2
    assert "--contests must be among pairs, margin, z_loss, detection" in capsys.readouterr().err
