"""Novel classes as clusters: what is chosen by hiding known classes has seen no novel row."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import discovered_clusters as clusters
from experiments.data import Dataset
from experiments.discovery_splits import Split

KNOWN, NOVEL, EACH, DIM = 3, 2, 10, 6


@dataclasses.dataclass(frozen=True)
class Config(clusters.Settings):
    novel_share: float = 0.4
    test_share: float = 0.2


CONFIG = Config(hidden_folds=2, cluster_restarts=2, latent_size=3, latent_steps=30, largest_count=3)
KEY = jax.random.key(0)


def rows(num, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(size=(num, 1, DIM)) + 0.05 * rng.normal(size=(num, EACH, DIM)), jnp.float32)


def depends_on(fn, *args):
    """Which leaves of the result have an operation on the arguments among their ancestors; nothing is run."""
    closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
    touched = set(closed.jaxpr.invars)
    for equation in closed.jaxpr.eqns:
        if any(v in touched for v in equation.invars if not hasattr(v, "val")):
            touched.update(equation.outvars)
    found = [not hasattr(v, "val") and v in touched for v in closed.jaxpr.outvars]
    return jax.tree.unflatten(jax.tree.structure(shape), found)


@pytest.mark.parametrize(("row", "chosen"), [("pbn", "ncd_weight"), ("ncd_spectral", "ncd_reach")])
def test_what_is_chosen_has_seen_no_novel_row(row, chosen, monkeypatch):
    """Neither the rows of novel classes nor, as these are only their places, their labels."""
    method = next(method for method in clusters.GROUP.rows if method.name == row)
    seed = Split(KEY, jnp.arange(KNOWN + NOVEL), jnp.zeros((KNOWN + NOVEL, EACH), int), jnp.zeros((0, 0), int))

    def measured(novel):
        monkeypatch.setattr(clusters, "rows_of", lambda *_: clusters.Rows(rows(KNOWN), novel))
        weights = clusters.GROUP.weights
        return method.fn(CONFIG, seed, None, *([weights[row]] if row in weights else []))

    metrics, curves = depends_on(measured, rows(NOVEL, 1))
    assert not metrics[chosen]
    assert metrics["ncd_novel"]
    assert not curves.get("ncd_hidden_by_weight", False)


def test_the_test_of_dependence_itself():
    found = depends_on(lambda x: {"a": jnp.sin(x) + 1, "b": jnp.ones(2) * 3, "c": jax.jit(jnp.cos)(x)}, 1.0)
    assert found == {"a": True, "b": False, "c": True}


def test_folds_hide_and_leave_all_known_classes():
    hidden, left = clusters.folds_of(Config(hidden_folds=4), KEY, 5)
    assert hidden.shape == (4, 2)
    assert left.shape == (4, 3)
    for one, other in zip(np.asarray(hidden), np.asarray(left), strict=True):
        assert sorted([*one, *other]) == list(range(5))


def test_rows_are_split_by_class():
    x = jnp.arange(40.0).reshape(20, 2)
    seed = Split(KEY, jnp.arange(5), jnp.arange(20).reshape(5, 4), jnp.zeros((5, 0), int))
    known, novel = clusters.rows_of(CONFIG, seed, x)
    np.testing.assert_array_equal(jnp.concatenate([known, novel]).reshape(20, 2), x)
    assert (known.shape, novel.shape) == ((3, 4, 2), (2, 4, 2))


def test_a_trained_space_tells_its_known_classes_apart():
    config = dataclasses.replace(CONFIG, latent_steps=200)
    x = rows(KNOWN + NOVEL)
    train = jax.jit(lambda weight: clusters.trained_space(config, KEY, x, weight, jnp.arange(KNOWN + NOVEL) < KNOWN))
    space = np.asarray(train(jnp.float32(1.0)))
    assert space.shape == (KNOWN + NOVEL, EACH, 3)
    np.testing.assert_allclose(np.linalg.norm(space, axis=2), 1, rtol=1e-5)
    means = space[:KNOWN].mean(1)
    nearest = np.linalg.norm(space[:KNOWN, :, None] - means, axis=-1).argmin(-1)
    assert (nearest == np.arange(KNOWN)[:, None]).mean() > 0.9
    assert np.abs(space - np.asarray(train(jnp.float32(0.0)))).max() > 0.1


def test_hidden_classes_that_lie_apart_are_found_again():
    again = jax.jit(lambda x: clusters.found_again(CONFIG, KEY, x, jnp.array([2, 0]), jnp.array([1])))
    apart = 10 * jnp.eye(KNOWN)[:, None] + rows(KNOWN)[..., :KNOWN]
    assert again(apart) == 1
    assert again(rows(1).repeat(KNOWN, 0)[..., :KNOWN]) < 1  # the same rows in every class


def test_claims_read_their_rows():
    table = {
        "ncd_novel": {"pbn": 0.8, "classifier_space": 0.5, "k_means": 0.6, "ncd_k_means": 0.7},
        "ncd_best_weight": {"pbn": 0.81},
    }
    effects = [float(claim.effect(table)) for claim in clusters.GROUP.claims]
    np.testing.assert_allclose(effects, [0.1, 0.01, 0.3], atol=1e-9)


def test_numbers_out_of_range():
    Config().check_clusters()
    for change in ({"hidden_classes": 1}, {"hidden_folds": 0}, {"latent_size": 0}, {"largest_count": 1}):
        with pytest.raises(ValueError, match=next(iter(change))):
            Config(**change).check_clusters()


def test_too_few_known_classes_to_hide_some():
    labels = np.repeat(np.arange(4), 8)
    data = Dataset(np.zeros((32, 2), np.float32), labels, "features", "four", 4, np.arange(4), "")
    with pytest.raises(ValueError, match="below the 2 known classes, got 2"):
        clusters.prepare(Config(), SimpleNamespace(seeds=1), data)
