"""Class-relation distillation: the published numbers, its weight, what its temperature leaves alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxlab import distill

RNG = np.random.default_rng(0)
NEW, OLD = (RNG.uniform(-1, 1, (6, c)).astype(np.float32) for c in (5, 3))

kd = jax.jit(distill.class_relation_kd)


def by_numpy(new, old, temperature=4.0, tau=0.1):
    soft = temperature * tau
    new, old = np.asarray(new, np.float64), np.asarray(old, np.float64)
    known = old.shape[1]
    mass = special.softmax(new / soft, -1)[:, :known].sum(-1)
    gap = -(special.softmax(old / soft, -1) * special.log_softmax(new[:, :known] / soft, -1)).sum(-1)
    return temperature**2 * mass / mass.mean() * gap


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_equals_numpy(temperature):
    np.testing.assert_allclose(kd(NEW, OLD, temperature=temperature), by_numpy(NEW, OLD, temperature), rtol=1e-4)


def test_weights_have_mean_one():
    """With uniform relations every row costs T^2 log K times its weight."""
    novel = np.concatenate([np.zeros((6, 3), np.float32), NEW[:, 3:]], 1)
    found = kd(novel, np.zeros((6, 3), np.float32))
    np.testing.assert_allclose(np.mean(found), 16 * np.log(3), rtol=1e-5)
    assert np.ptp(found) > 0.5  # rows that look novel weigh less
    assert np.argmin(found) == np.argmax(special.logsumexp(NEW[:, 3:] / 0.4, -1))


def test_equal_relations_leave_only_the_weight_to_learn():
    fixed = jax.grad(lambda known: kd(jnp.concatenate([known, NEW[:, 3:]], 1), OLD).sum())(OLD)
    # The factor by factor gradient: with the weight held still there is none.
    weight = np.asarray(kd(np.concatenate([OLD, NEW[:, 3:]], 1), OLD)) / np.asarray(
        16 * -(special.softmax(OLD / 0.4, -1) * special.log_softmax(OLD / 0.4, -1)).sum(-1)
    )
    cross_entropy = lambda known: jnp.sum(  # noqa: E731
        weight * -(special.softmax(OLD / 0.4, -1) * jax.nn.log_softmax(known / 0.4)).sum(-1)
    )
    np.testing.assert_allclose(jax.grad(cross_entropy)(OLD), 0, atol=1e-5)
    assert np.abs(fixed).max() > 0.01  # and so the weight passes gradients


def test_the_old_model_learns_nothing():
    assert (jax.grad(lambda old: distill.class_relation_kd(NEW, old).sum())(OLD) == 0).all()


def test_temperature_keeps_the_size_of_the_gradient():
    """To first order in small logits the gradient of T^2 CE is that of centred logits, whatever T."""
    new, old = 0.02 * NEW, 0.02 * OLD
    size = [np.linalg.norm(jax.grad(lambda z: kd(z, old, temperature=t).sum())(new)[:, :3]) for t in (4.0, 8.0)]  # noqa: B023
    assert 1 / 1.3 < size[0] / size[1] < 1.3


def test_only_novel_rows_count():
    novel = np.array([True, False, True, True, False, True])
    for junk in (np.nan, 1e30):
        dirty = [np.where(novel[:, None], z, np.float32(junk)) for z in (NEW, OLD)]
        found = kd(*dirty, where=novel)
        np.testing.assert_allclose(found[novel], by_numpy(NEW[novel], OLD[novel]), rtol=1e-4)
        assert (found[~novel] == 0).all()
    assert (kd(NEW, OLD, where=np.zeros(6, bool)) == 0).all()


def test_rows_split_over_a_mapped_axis():
    split = jax.vmap(functools.partial(distill.class_relation_kd, axis_name="i"), axis_name="i")
    found = split(NEW.reshape(2, 3, 5), OLD.reshape(2, 3, 3)).ravel()
    np.testing.assert_allclose(found, by_numpy(NEW, OLD), rtol=1e-4)


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "old_logits must have from 1 to 4 columns", {"old_logits": NEW}),
        (ValueError, "must agree in their first 1 axes", {"old_logits": OLD[:2]}),
        (ValueError, "logit_temperature must be > 0", {"logit_temperature": 0.0}),
        (TypeError, "where must be boolean", {"where": np.ones(6)}),
    ],
)
def test_bad_input(error, match, arguments):
    with pytest.raises(error, match=match):
        distill.class_relation_kd(**{"logits": NEW, "old_logits": OLD} | arguments)
