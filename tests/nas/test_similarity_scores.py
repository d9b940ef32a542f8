"""DisWOT: the definition with every matrix written out, invariances, other widths, dead networks."""

import jax
import numpy as np
import pytest

from jaxlab import nas

RNG = np.random.default_rng(0)
STUDENT, TEACHER = (RNG.standard_normal((6, d)).astype(np.float32) for d in (4, 7))
OWN, OTHER = (RNG.standard_normal((3, 5)).astype(np.float32) for _ in range(2))
score = jax.jit(nas.diswot_score)


def rows_gram(x):
    gram = x @ x.T
    return gram / np.maximum(np.linalg.norm(gram, axis=1, keepdims=True), 1e-12)


def test_equals_the_matrices():
    found = score(STUDENT, TEACHER, OWN, OTHER)
    relation = ((rows_gram(STUDENT) - rows_gram(TEACHER)) ** 2).sum() / 36
    semantic = sum(
        ((rows_gram(a[:, None]) - rows_gram(b[:, None])) ** 2).sum() for a, b in zip(OWN, OTHER, strict=True)
    )
    semantic /= 15
    np.testing.assert_allclose([found.relation, found.semantic], [-relation, -semantic], rtol=1e-4)
    np.testing.assert_allclose(found.score, -relation - semantic, rtol=1e-5)


def test_a_student_like_its_teacher():
    rotation, _ = np.linalg.qr(RNG.standard_normal((7, 7)))
    found = score((3 * TEACHER @ rotation).astype(np.float32), TEACHER, -2 * OWN, OWN)
    np.testing.assert_allclose(found, 0, atol=1e-6)
    one_sided = score(TEACHER[RNG.permutation(6)], TEACHER, OWN, OWN)
    assert float(one_sided.relation) < -1e-3


def test_one_example():
    assert float(nas.diswot_score(STUDENT[:1], TEACHER[:1], OWN, OWN).relation) == 0.0


def test_channels_that_do_not_exist():
    exists = np.arange(5) < 3
    hidden = jax.jit(lambda own, other: nas.diswot_score(STUDENT, TEACHER, own, other, channel_where=exists).semantic)
    expected = nas.diswot_score(STUDENT, TEACHER, OWN[:, :3], OTHER[:, :3]).semantic
    for junk in (7.0, np.nan):
        np.testing.assert_allclose(
            hidden(np.where(exists, OWN, junk), np.where(exists, OTHER, junk)), expected, rtol=1e-5
        )


def test_other_numbers_of_channels_need_a_projection():
    wide, projection = RNG.standard_normal((3, 8)), RNG.standard_normal((8, 5))
    found = nas.diswot_score(STUDENT, TEACHER, OWN, wide.astype(np.float32), projection=projection.astype(np.float32))
    same = nas.diswot_score(STUDENT, TEACHER, OWN, (wide @ projection).astype(np.float32))
    np.testing.assert_allclose(found.semantic, same.semantic, rtol=1e-4)
    with pytest.raises(ValueError, match="give a projection"):
        nas.diswot_score(STUDENT, TEACHER, OWN, wide.astype(np.float32))
    with pytest.raises(ValueError, match=r"projection must have shape \[5, 5\]"):
        nas.diswot_score(STUDENT, TEACHER, OWN, OTHER, projection=projection.astype(np.float32))
    with pytest.raises(ValueError, match="must agree in their first 1 axes"):
        nas.diswot_score(STUDENT[:2], TEACHER, OWN, OTHER)
    with pytest.raises(ValueError, match=r"student_features must have shape \[B, ...\]"):
        nas.diswot_score(STUDENT[:, 0], TEACHER, OWN, OTHER)


def test_a_dead_student_is_scored():
    found = score(0 * STUDENT, TEACHER, 0 * OWN, OTHER)
    np.testing.assert_allclose(found.relation, -1 / 6, rtol=1e-5)  # rows of length 1 against rows of 0
    np.testing.assert_allclose(found.semantic, -1.0, rtol=1e-5)
