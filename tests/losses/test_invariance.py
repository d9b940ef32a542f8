"""Losses over domains, and changes of a weight that keep apart, against loops and published arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)
E, B, K, N, R, D, O = 2, 3, 4, 3, 2, 6, 5
OWN, COMMON = RNG.normal(size=(2, E, B, K)).astype(np.float32)
LABELS = RNG.integers(0, K, (E, B))
A = RNG.normal(size=(N, D, R)).astype(np.float32)
OUT = RNG.normal(size=(N, R, O)).astype(np.float32)
WEIGHT = RNG.normal(size=(D, O)).astype(np.float32)


def test_alignment_is_a_squared_distance_to_a_constant():
    mean = OWN[0, 0]
    found = losses.alignment_penalty(OWN[0], mean)
    np.testing.assert_allclose(found, np.sum((OWN[0] - mean) ** 2, axis=1), rtol=1e-5)
    by_mean = jax.grad(lambda m: losses.alignment_penalty(OWN[0], m).sum())(mean)
    np.testing.assert_array_equal(by_mean, 0)
    where = np.array([True, False, True])
    spoiled = np.where(where[:, None], OWN[0], np.nan)
    value, gradient = jax.value_and_grad(lambda v: losses.alignment_penalty(v, mean, where=where).sum())(spoiled)
    np.testing.assert_allclose(value, found[where].sum(), rtol=1e-6)
    np.testing.assert_array_equal(gradient[1], 0)


def test_drm_is_the_mean_of_two_cross_entropies():
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    wanted = (entropy(OWN, LABELS) + entropy(COMMON, LABELS)) / 2
    np.testing.assert_allclose(losses.drm(OWN, COMMON, LABELS), wanted, rtol=1e-6)
    np.testing.assert_allclose(losses.drm(OWN[0], COMMON[0], LABELS[0]), wanted[0], rtol=1e-6)  # one domain


def test_drm_of_wrong_labels_and_hidden_examples():
    labels = LABELS.copy()
    labels[0, 1] = K
    found = losses.drm(OWN, COMMON, labels)
    assert np.isnan(found[0, 1])
    assert np.isfinite(found).sum() == E * B - 1
    where = labels < K
    spoiled = np.where(where[..., None], OWN, np.nan)
    value, gradient = jax.value_and_grad(lambda z: losses.drm(z, COMMON, labels, where=where).sum())(spoiled)
    np.testing.assert_allclose(value, losses.drm(OWN, COMMON, LABELS)[where].sum(), rtol=1e-6)
    np.testing.assert_array_equal(gradient[0, 1], 0)


def test_orthogonality_of_orthogonal_and_other_rows():
    q = np.linalg.qr(RNG.normal(size=(D, D)))[0].astype(np.float32)
    for norm, power in (("l1", 1), ("squared", 2)):
        assert losses.cross_orthogonality(q[:2], q[2:5], norm=norm) < 1e-5
        wanted = np.sum(np.abs(A[0].T @ A[1]) ** power)
        np.testing.assert_allclose(losses.cross_orthogonality(A[0].T, A[1].T, norm=norm), wanted, rtol=1e-5)
    start = losses.cross_orthogonality
    np.testing.assert_array_equal(jax.grad(start)(jnp.ones((2, 3)), jnp.zeros((2, 3))), 0.0)
    np.testing.assert_array_equal(jax.grad(start, argnums=1)(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])), 0.0)
    stacked = losses.cross_orthogonality(A.swapaxes(1, 2), A[::-1].swapaxes(1, 2))
    np.testing.assert_allclose(stacked[0], losses.cross_orthogonality(A[0].T, A[2].T), rtol=1e-5)


def published(a, b, weight):
    """The loops of the authors' code, whose weights are [out, in]."""
    w, keep, apart = weight.T, 0.0, 0.0
    deltas = [b[n].T @ a[n].T for n in range(len(a))]
    for n, delta in enumerate(deltas):
        keep += np.abs(w @ delta.T).sum()
        for other in deltas[n + 1 :]:
            apart += np.abs(delta @ other.T).sum()
    return keep, apart


def test_pego_is_the_published_arithmetic():
    keep, apart = published(A.astype(np.float64), OUT.astype(np.float64), WEIGHT.astype(np.float64))
    for preserve, diversify in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 2.0)):
        found = losses.pego(A, OUT, WEIGHT, preserve=preserve, diversify=diversify)
        np.testing.assert_allclose(found, preserve * keep + diversify * apart, rtol=1e-5)


def test_pego_is_zero_for_changes_that_look_elsewhere():
    q = np.linalg.qr(RNG.normal(size=(D, D)))[0].astype(np.float32)
    a = np.stack([q[:, 1:3], q[:, 3:5]])  # the kernel looks along the first column of q alone
    kernel = q[:, :1] @ RNG.normal(size=(1, O)).astype(np.float32)
    for norm in ("l1", "squared"):
        assert losses.pego(a, OUT[:2], kernel, norm=norm) < 1e-4
        assert losses.pego(a[[0, 0]], OUT[:2], kernel, norm=norm) > 1
        assert losses.pego(a, 0 * OUT[:2], kernel, norm=norm) == 0
    alone = losses.pego(A[:1], OUT[:1], WEIGHT, preserve=0.0)
    assert alone == 0  # one change has nothing to differ from


def test_pego_of_hidden_changes_and_of_the_frozen_kernel():
    where = np.array([True, False, True])
    spoiled = np.where(where[:, None, None], A, np.nan)
    np.testing.assert_allclose(
        losses.pego(spoiled, OUT, WEIGHT, where=where), losses.pego(A[where], OUT[where], WEIGHT), rtol=1e-5
    )
    np.testing.assert_array_equal(jax.grad(losses.pego, argnums=2)(A, OUT, WEIGHT), 0)
    assert np.abs(jax.grad(losses.pego, argnums=1)(A, OUT, WEIGHT)).max() > 0.1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.alignment_penalty(OWN[0], OWN[0]), ValueError, "mean"),
        (lambda: losses.alignment_penalty(OWN[0], OWN[0, 0, :2]), ValueError, "one number per column"),
        (lambda: losses.alignment_penalty(LABELS, OWN[0, 0]), TypeError, "values"),
        (lambda: losses.alignment_penalty(OWN[0], OWN[0, 0], where=np.ones(2, bool)), ValueError, "where"),
        (lambda: losses.drm(OWN, COMMON[:1], LABELS), ValueError, "same shape"),
        (lambda: losses.drm(OWN, COMMON, LABELS[0]), ValueError, "labels"),
        (lambda: losses.drm(OWN, COMMON, OWN[..., 0]), TypeError, "labels"),
        (lambda: losses.drm(LABELS, LABELS, LABELS), TypeError, "domain_logits"),
        (lambda: losses.cross_orthogonality(A[0], A[0][:, :1]), ValueError, "u and v"),
        (lambda: losses.cross_orthogonality(A[0], A[0], norm="l2"), ValueError, "norm must be one of"),
        (lambda: losses.pego(A, OUT[:2], WEIGHT), ValueError, "a, b, weight"),
        (lambda: losses.pego(A, OUT, WEIGHT.T), ValueError, "a, b, weight"),
        (lambda: losses.pego(A, OUT, WEIGHT, preserve=-1.0), ValueError, "preserve"),
        (lambda: losses.pego(A, OUT, WEIGHT, norm="l2"), ValueError, "norm must be one of"),
        (lambda: losses.pego(A, OUT, jnp.ones((D, O), int)), TypeError, "weight"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
