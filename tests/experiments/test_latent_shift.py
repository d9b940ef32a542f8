"""Classes from shifted domains: how rows are dealt out, and that no classifier has seen the row it judges."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import latent_shift as shift
from experiments.data import Dataset


@dataclasses.dataclass(frozen=True)
class Config(shift.Settings):
    test_share: float = 0.2


CONFIG = Config(shift_folds=3, shift_steps=40, nmf_steps=300)
KEY = jax.random.key(0)


def problem(num_classes=3, each=40, ratio=0.3, seed=0):
    table = np.arange(num_classes * each).reshape(num_classes, each)
    return shift.in_domains(table, ratio, CONFIG.shift_folds, np.random.default_rng(seed))


def test_shares():
    spread = shift.shares(0.5, 4)
    np.testing.assert_allclose(spread.sum(0), 1)
    np.testing.assert_allclose(spread.sum(1), 1)
    np.testing.assert_allclose(spread[0, 1:] / spread[0, :-1], 0.5)
    np.testing.assert_array_equal(spread.argmax(1), np.arange(4))
    assert np.linalg.matrix_rank(spread) == 4


def test_every_row_is_dealt_out_once_and_domains_are_as_promised():
    one = problem()
    assert sorted(one.rows.tolist()) == list(range(120))
    np.testing.assert_array_equal(np.asarray(one.rows) // 40, one.label)
    counts = np.zeros((3, 3))
    np.add.at(counts, (one.label, one.domain), 1)
    np.testing.assert_allclose(counts / 40, one.marginals, atol=1 / 40)
    assert np.bincount(one.fold).tolist() == [40, 40, 40]
    other = problem(seed=1)
    assert (np.asarray(one.rows) != np.asarray(other.rows)).any()
    np.testing.assert_array_equal(one.domain, other.domain)


@pytest.fixture(scope="module")
def separate():
    """Rows of three classes that anybody tells apart, in three domains."""
    rng = np.random.default_rng(0)
    one = problem()
    x = np.eye(3)[np.asarray(one.label)] + 0.1 * rng.normal(size=(120, 3))
    return one, jnp.asarray(x, jnp.float32)


def test_no_classifier_has_seen_the_row_it_judges(separate):
    one, x = separate
    probs = jax.jit(lambda domain: shift.domain_probs(CONFIG, KEY, x, one._replace(domain=domain)))
    before = np.asarray(probs(one.domain))
    np.testing.assert_allclose(before.sum(1), 1, rtol=1e-5)
    first = np.asarray(one.fold) == 0
    after = np.asarray(probs(jnp.where(first, 2 - one.domain, one.domain)))
    np.testing.assert_array_equal(after[first], before[first])
    assert np.abs(after[~first] - before[~first]).max() > 0.01


def test_marginals_from_anchors(separate):
    one, _ = separate
    mixture = np.array([[0.8, 0, 0], [0, 0.7, 0], [0, 0, 0.9], [0.2, 0.3, 0.1]], np.float32)
    solve = jax.jit(lambda q: (shift.by_anchors(CONFIG, KEY, q, one), shift.by_nmf(CONFIG, KEY, q, one)))
    found, loose = map(np.asarray, solve(jnp.asarray(mixture @ one.marginals)))
    order = np.abs(found[:, None] - np.asarray(one.marginals)).sum(2).argmin(0)
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(found[order], one.marginals, atol=1e-3)
    np.testing.assert_allclose(loose.sum(0), 1, rtol=1e-4)


def test_rows_of_classes_that_lie_apart(separate):
    one, x = separate
    told = shift.SOLVERS.index(shift.told)
    classes, marginals = jax.jit(lambda x: shift.ddfa(CONFIG, KEY, x, one, told))(x)
    np.testing.assert_array_equal(marginals, one.marginals)
    assert np.mean(np.asarray(classes) == np.asarray(one.label)) > 0.8  # told: no matching is needed


def data(num_classes, each=10):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(num_classes), each)
    x = rng.normal(size=(len(labels), 4)).astype(np.float32)
    return Dataset(x, labels, "features", "some", num_classes, np.arange(num_classes), "")


def test_prepared_problems():
    run = SimpleNamespace(seeds=2, seed_keys=lambda: jax.random.split(KEY, 2))
    seeds, (x,) = shift.prepare(CONFIG, run, data(7))
    assert x.shape == (70, 4)
    assert {name: one.rows.shape for name, one in seeds.problems.items()} == {
        "composite": (2, 60),
        "three": (2, 30),
        "all": (2, 70),
    }
    truth = data(7).y
    for one, (name, size) in zip(range(2), (("composite", 2), ("three", 1)), strict=True):
        labels = truth[np.asarray(seeds.problems[name].rows[one])]
        for label in range(3):
            assert len({*labels[np.asarray(seeds.problems[name].label[one]) == label]}) == size


def test_data_and_numbers_that_do_not_do():
    with pytest.raises(ValueError, match="at least 6 classes, got 5"):
        shift.prepare(CONFIG, SimpleNamespace(seeds=1), data(5))
    Config().check_shift()
    for change in ({"shift_ratio": 1.0}, {"shift_folds": 1}, {"shift_steps": 0}, {"nmf_steps": 0}):
        with pytest.raises(ValueError, match=next(iter(change))):
            Config(**change).check_shift()


def test_claims_read_their_rows():
    table = {name: {"ddfa": 0.9, "shift_k_means": 0.6} for name in ("shift_composite", "shift_three", "shift_all")}
    effects = [float(claim.effect(table)) for claim in shift.GROUP.claims]
    np.testing.assert_allclose(effects, [0.3, -0.3, -0.3], atol=1e-9)
