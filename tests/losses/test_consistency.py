"""Joint labels of class and transformation: layout, limits, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from jaxlab import distill, losses, vision

B, M, K = 5, 4, 3
RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((B, M, K * M)).astype(np.float32)
LABELS = np.array([2, 0, 1, 1, 2])
STUDENT = RNG.standard_normal((B, K)).astype(np.float32)


def published(logits, labels):
    """The loop of the paper: flat rows b M + i, joint label y M + i; every M-th row and column belong together."""
    flat = logits.reshape(-1, K * M)
    joint = np.stack([labels * M + i for i in range(M)], 1).reshape(-1)
    each = -log_softmax(flat, -1)[np.arange(len(flat)), joint]
    return each.reshape(-1, M).mean(1), sum(flat[i::M, i::M] for i in range(M)) / M


def test_equals_the_published_loop():
    loss, aggregated = published(LOGITS, LABELS)
    np.testing.assert_allclose(losses.sla(LOGITS, LABELS), loss, rtol=1e-5)
    np.testing.assert_allclose(losses.aggregate_joint_logits(LOGITS), aggregated, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(losses.joint_labels(LABELS, M), LABELS[:, None] * M + np.arange(M))


def test_one_transformation_is_cross_entropy():
    logits = LOGITS[:, :1, :K]
    expected = -log_softmax(logits[:, 0], -1)[np.arange(B), LABELS]
    np.testing.assert_allclose(losses.sla(logits, LABELS), expected, rtol=1e-5)
    np.testing.assert_array_equal(losses.aggregate_joint_logits(logits), logits[:, 0])


def test_an_invariant_network_is_told_only_its_classes():
    joint = np.broadcast_to(np.repeat(STUDENT, M, axis=1)[:, None], (B, M, K * M))
    np.testing.assert_allclose(losses.aggregate_joint_logits(joint), STUDENT, rtol=1e-6)
    # It cannot know which transformation it saw: log M more than the cross entropy of the classes.
    plain = -log_softmax(STUDENT, -1)[np.arange(B), LABELS]
    np.testing.assert_allclose(losses.sla(joint, LABELS), plain + np.log(M), rtol=1e-5)


def test_the_order_of_the_transformations_counts():
    """Flat copies of distinct images, put back side by side, name their own image and turn."""
    images = np.arange(B * 4, dtype=np.float32).reshape(B, 2, 2, 1)
    flat = vision.rotations(images).reshape(-1, 4)
    images = images.reshape(B, 4)
    turns = np.array([[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0], [2, 0, 3, 1]])  # where each pixel comes from
    told = np.zeros((len(flat), K * M), np.float32)
    for row, seen in enumerate(np.asarray(flat)):
        match = [(b, i) for b in range(B) for i in range(M) if (images[b][turns[i]] == seen).all()]
        (b, i) = match[0]
        told[row, LABELS[b] * M + i] = 30.0
    np.testing.assert_allclose(losses.sla(told.reshape(B, M, K * M), LABELS), 0, atol=1e-5)
    assert losses.sla(told.reshape(M, B, K * M).swapaxes(0, 1), LABELS).max() > 1


def test_labels_out_of_range():
    np.testing.assert_array_equal(np.isnan(losses.sla(LOGITS, np.array([0, K, -1, 2**29, 2]))), [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(losses.joint_labels(np.array([-1, 2**30]), M), -np.ones((2, M)))
    unknown = distill.sla_self_distillation(STUDENT, LOGITS, np.array([0, K, -1, 1, 2]))
    np.testing.assert_array_equal(np.isnan(unknown), [0, 1, 1, 0, 0])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_self_distillation(temperature):
    loss, aggregated = published(LOGITS, LABELS)
    teacher, student = (log_softmax(z / temperature, -1) for z in (aggregated, STUDENT))
    divergence = temperature**2 * (np.exp(teacher) * (teacher - student)).sum(-1)
    named = -log_softmax(STUDENT, -1)[np.arange(B), LABELS]
    found = distill.sla_self_distillation(STUDENT, LOGITS, LABELS, temperature=temperature)
    np.testing.assert_allclose(found, loss + named + divergence, rtol=1e-4)
    # The student teaches the joint head nothing.
    ours = jax.grad(lambda z: distill.sla_self_distillation(STUDENT, z, LABELS).sum())(LOGITS)
    np.testing.assert_allclose(ours, jax.grad(lambda z: losses.sla(z, LABELS).sum())(LOGITS), atol=1e-6)


def test_hidden_examples():
    where = np.array([True, False, True, True, False])
    dirty = np.where(where[:, None, None], LOGITS, np.nan)

    def total(z, u, y, mask):
        return jnp.sum(losses.sla(z, y, where=mask) + distill.sla_self_distillation(u, z, y, where=mask))

    arguments = dirty, np.where(where[:, None], STUDENT, np.inf), np.where(where, LABELS, 99)
    hidden = jax.grad(total, (0, 1))(*arguments, where)
    kept = jax.grad(total, (0, 1))(LOGITS[where], STUDENT[where], LABELS[where], None)
    for found, expected in zip(hidden, kept, strict=True):
        np.testing.assert_allclose(found[where], expected, atol=1e-6)
        assert (np.asarray(found)[~where] == 0).all()
    np.testing.assert_allclose(total(*arguments, where), total(LOGITS[where], STUDENT[where], LABELS[where], None))
    assert total(*arguments, np.zeros(B, bool)) == 0


def test_bfloat16_gives_float32():
    narrow = jnp.asarray(LOGITS, jnp.bfloat16)
    found = losses.sla(narrow, LABELS)
    assert found.dtype == losses.aggregate_joint_logits(narrow).dtype == jnp.float32
    np.testing.assert_allclose(found, published(np.asarray(narrow, np.float32), LABELS)[0], rtol=1e-5)


def test_many_batch_axes():
    both = np.stack([LOGITS, LOGITS[::-1]])
    np.testing.assert_allclose(
        losses.sla(both, np.stack([LABELS, LABELS[::-1]]))[1], losses.sla(LOGITS, LABELS)[::-1], rtol=1e-6
    )
    single = optax.losses.softmax_cross_entropy_with_integer_labels(LOGITS[0], jnp.array(LABELS[0] * M + np.arange(M)))
    np.testing.assert_allclose(losses.sla(LOGITS[0], LABELS[0]), single.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.joint_labels(LOGITS[0, 0], 2), TypeError, "labels must hold integers"),
        (lambda: losses.joint_labels(LABELS, 0), ValueError, "num_transforms"),
        (lambda: losses.joint_labels(LABELS, 2.0), TypeError, "num_transforms"),
        (lambda: losses.aggregate_joint_logits(LOGITS[:, :, :-1]), ValueError, r"logits must have shape \[..., M, K M"),
        (lambda: losses.aggregate_joint_logits(LOGITS[0, 0]), ValueError, "logits must have shape"),
        (lambda: losses.aggregate_joint_logits(LOGITS[:, :0]), ValueError, "logits must have shape"),
        (lambda: losses.sla(LABELS, LABELS), TypeError, "logits must be floating"),
        (lambda: losses.sla(LOGITS, LABELS[:2]), ValueError, r"labels must have shape \[5\]"),
        (lambda: losses.sla(LOGITS, LABELS, where=np.ones(B)), TypeError, "where must be boolean"),
        (lambda: distill.sla_self_distillation(STUDENT[:, :2], LOGITS, LABELS), ValueError, "student_logits and"),
        (lambda: distill.sla_self_distillation(STUDENT, LOGITS, LABELS[:2]), ValueError, "labels must have shape"),
        (
            lambda: distill.sla_self_distillation(STUDENT, LOGITS, LABELS, temperature=0.0),
            ValueError,
            "temperature must be > 0",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
