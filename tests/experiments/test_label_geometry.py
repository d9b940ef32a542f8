"""The question of label geometry: its label spaces, its choices, and a quick run from end to end."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import label_geometry as question
from experiments.command_line import answer
from experiments.errors import UserError
from jaxlab import kernels, zeroshot

CONFIG = question.Config()


def test_patients_fill_the_bins_alike_and_in_order():
    from sklearn.datasets import load_diabetes

    records, progress = question.load_patients(24)
    assert records.shape == (442, 10)
    counts = np.bincount(progress)
    assert len(counts) == 24
    assert counts.min() >= 15
    target = load_diabetes().target
    assert all(target[progress == low].max() < target[progress == low + 1].min() for low in range(23))


def test_hierarchy_joins_the_nearest():
    parent = question.hierarchy(np.array([[0.0], [10.0], [0.5], [11.0], [100.0]]))
    assert parent.shape == (9,)
    assert parent[-1] == -1
    distances = np.asarray(kernels.tree_distance(jnp.asarray(parent)))
    assert distances[0, 2] == distances[1, 3] == 2
    assert distances[0, 1] == distances[0, 4] == 4


def test_choices_add_one_class_at_a_time():
    rng = np.random.default_rng(0)
    parent = jnp.asarray(question.hierarchy(rng.normal(size=(10, 3))))
    seed = question.Seed(None, None, parent, jnp.asarray(rng.permutation(10)))
    sets = {choice: np.asarray(question.observed_sets(CONFIG, seed, choice)) for choice in question.CHOICES}
    for observed in sets.values():
        assert observed.sum(1).tolist() == [3, 4, 5, 6, 7, 8]
        assert (observed[1:] >= observed[:-1]).all()
        np.testing.assert_array_equal(np.flatnonzero(observed[0]), np.sort(seed.order[:3]))
    np.testing.assert_array_equal(np.flatnonzero(sets["random"][-1]), np.sort(seed.order[:8]))
    reach = jax.jit(jax.vmap(lambda mask: jnp.sum(zeroshot.locus_mask(parent, jnp.zeros(19, bool).at[:10].set(mask)))))
    assert (reach(sets["active"])[1] >= reach(sets["random"])[1]).all()  # one step ahead it cannot be beaten


def test_rules():
    line = jnp.square(jnp.arange(5.0)[:, None] - jnp.arange(5.0))
    probs, observed = jnp.array([[0.45, 0.55]]), jnp.array([0, 4])
    classes = jnp.array([True, True, False, True, True])
    rules = (question.argmax, question.loki, question.loki_classes, question.soft)
    chosen = [rule(probs, observed, line, classes) for rule in rules]
    assert [int(each.argmax()) for each in chosen] == [4, 2, 3, 2]
    distance, accuracy = question.scores(chosen[0], jnp.array([2]), line, jnp.ones(1, bool))
    assert (float(distance), float(accuracy)) == (4.0, 0.0)
    np.testing.assert_allclose(chosen[3].sum(), 1.0, rtol=1e-6)


def test_quick_run(quick_run):
    found = quick_run(question, "--dataset", "digits")
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(question.CLAIMS)
    rows = found["rows"]
    for metric in ("bins_3", "bins_6", "accuracy_3", "tree_random", "tree_accuracy_active", "locus_active"):
        assert list(rows[metric]) == [method.name for method in question.METHODS]
    assert max(rows["bins_3"]["loki"]) < min(rows["bins_3"]["argmax"])
    assert np.all(np.less(rows["tree_random"]["loki"], rows["tree_random"]["argmax"]))
    assert rows["bins_6"]["loki"] == rows["bins_6"]["loki_classes"]  # there all labels are classes


def test_what_cannot_be_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("three.npz", x=np.eye(9), y=np.arange(9) % 3)
    assert answer(question, ["--data", "three.npz"]) == 2
    assert "needs at least 4 of them, three has 3" in capsys.readouterr().err
    assert answer(question, ["--bins", "4"]) == 2
    assert "bins must be at least 6, got 4" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[experiments\]'"):
        question.load_patients(24)
