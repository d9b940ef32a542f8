"""Relations of inputs and of channels as losses: their matrices, invariances, masks."""

import jax
import numpy as np
import pytest

from jaxlab import distill

RNG = np.random.default_rng(0)
STUDENT, TEACHER = (RNG.standard_normal((5, 2, d)).astype(np.float32) for d in (3, 6))
MAPS, OTHER = (RNG.standard_normal((5, p, 4)).astype(np.float32) for p in (6, 9))
inputs, channels = jax.jit(distill.similarity_preserving), jax.jit(distill.channel_correlation)


def rows_gram(x):
    gram = x @ x.T
    return gram / np.linalg.norm(gram, axis=1, keepdims=True)


def test_equals_numpy():
    flat = [x.reshape(5, -1) for x in (STUDENT, TEACHER)]
    gap = rows_gram(flat[0]) - rows_gram(flat[1])
    np.testing.assert_allclose(inputs(STUDENT, TEACHER).mean(), (gap**2).sum() / 25, rtol=1e-4)
    each = [((rows_gram(a.T) - rows_gram(b.T)) ** 2).sum() / 4 for a, b in zip(MAPS, OTHER, strict=True)]
    np.testing.assert_allclose(channels(MAPS, OTHER), each, rtol=1e-4)


def test_rotations_and_scales_cost_nothing():
    turn, _ = np.linalg.qr(RNG.standard_normal((6, 6)))
    np.testing.assert_allclose(inputs((2 * STUDENT.reshape(5, 6) @ turn).astype(np.float32), STUDENT), 0, atol=1e-5)
    moved = np.einsum("pq,bqc->bpc", turn, -3 * MAPS).astype(np.float32)
    np.testing.assert_allclose(channels(moved, MAPS), 0, atol=1e-5)
    assert inputs(STUDENT[::-1], STUDENT).mean() > 1e-3
    assert channels(MAPS[:, :, ::-1], MAPS).min() > 1e-3


def test_masks_and_gradients():
    where = np.array([True, True, False, True, False])
    dirty = [np.where(where[:, None, None], x, np.float32(np.nan)) for x in (STUDENT, TEACHER)]
    found = distill.similarity_preserving(*dirty, where=where)
    np.testing.assert_allclose(found[where], distill.similarity_preserving(STUDENT[where], TEACHER[where]), rtol=1e-4)
    assert (found[~where] == 0).all()
    for loss, pair in ((inputs, (STUDENT, TEACHER)), (channels, (MAPS, OTHER))):
        ours, theirs = jax.jit(jax.grad(lambda s, t: loss(s, t).sum(), argnums=(0, 1)))(*pair)  # noqa: B023
        assert np.abs(ours).max() > 1e-3
        assert (theirs == 0).all()


@pytest.mark.parametrize(
    ("loss", "match", "pair"),
    [
        (inputs, r"student must have shape \[B, ...\]", (STUDENT[:, 0, 0], TEACHER)),
        (inputs, "must agree in their first 1 axes", (STUDENT[:2], TEACHER)),
        (channels, "with places", (MAPS[:, 0], OTHER)),
        (channels, "teacher must have the student's 4 channels", (MAPS, OTHER[..., :3])),
    ],
)
def test_bad_input(loss, match, pair):
    with pytest.raises(ValueError, match=match):
        loss(*pair)
