"""Adjusted cross entropy and the experts made of it against numpy, their identities, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxlab import losses
from jaxlab.numerics import masked_mean

COUNTS = np.array([50, 20, 7, 2])
PRIOR = (COUNTS / COUNTS.sum()).astype(np.float32)
BALANCED = np.full(4, 0.25, np.float32)


def drawn(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, 5, 4)).astype(np.float32), rng.integers(0, 4, 5)


def cross_entropy(logits, labels):
    return -special.log_softmax(np.asarray(logits, np.float64), axis=-1)[np.arange(len(labels)), labels]


@pytest.mark.parametrize("shape", [(4,), (5, 4), (5, 1), ()])
def test_adjusted_is_the_cross_entropy_of_the_sum(shape):
    logits, labels = drawn()
    adjustment = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    found = losses.logit_adjusted_cross_entropy(logits, labels, adjustment)
    np.testing.assert_allclose(found, cross_entropy(logits + adjustment, labels), rtol=1e-5)


def test_logits_of_balanced_classes_minimise_the_balanced_softmax():
    """At z = log p(x | y) its gradient vanishes, and argmax z is right where classes are as likely as each other."""
    given = np.random.default_rng(0).dirichlet(np.ones(6), 4).T.astype(np.float32)  # p(x | y), [6, 4]
    joint = jnp.asarray(given * PRIOR)

    def expected(z):
        each = [losses.logit_adjusted_cross_entropy(z, jnp.full(6, y), jnp.log(PRIOR)) for y in range(4)]
        return jnp.sum(joint * jnp.stack(each, axis=1))

    z = jnp.log(given)
    np.testing.assert_allclose(jax.grad(expected)(z), 0, atol=1e-6)
    assert np.abs(jax.grad(expected)(z + jnp.log(PRIOR))).max() > 0.01
    posterior = special.softmax(np.asarray(z + np.log(PRIOR)), axis=1)
    loss = losses.logit_adjusted_cross_entropy(z, jnp.zeros(6, int), jnp.log(PRIOR))
    np.testing.assert_allclose(loss, -np.log(posterior[:, 0]), rtol=1e-5)


def test_minus_infinity_takes_a_class_out():
    logits, _ = drawn()
    away = jnp.array([0.0, 0.0, -jnp.inf, 0.0])
    labels = jnp.array([0, 1, 3, 0, 1])
    total = lambda z: jnp.sum(losses.logit_adjusted_cross_entropy(z, labels, away))  # noqa: E731
    kept = np.delete(logits, 2, axis=1)
    np.testing.assert_allclose(total(logits), cross_entropy(kept, np.array([0, 1, 2, 0, 1])).sum(), rtol=1e-5)
    gradient = np.asarray(jax.grad(total)(logits))
    assert np.isfinite(gradient).all()
    assert (gradient[:, 2] == 0).all()


def test_shares_of_classes():
    np.testing.assert_allclose(losses.class_prior(COUNTS), COUNTS / COUNTS.sum(), rtol=1e-6)
    np.testing.assert_array_equal(losses.class_prior(np.zeros(3, int)), 0)


def test_reverse_prior():
    prior = np.array([0.1, 0.4, 0.2, 0.3], np.float32)
    np.testing.assert_array_equal(losses.reverse_prior(prior), np.float32([0.4, 0.1, 0.3, 0.2]))
    np.testing.assert_array_equal(losses.reverse_prior(PRIOR), PRIOR[::-1])  # it falls
    np.testing.assert_array_equal(losses.reverse_prior(losses.reverse_prior(prior)), prior)
    np.testing.assert_array_equal(losses.reverse_prior(BALANCED), BALANCED)
    ties = np.array([0.2, 0.2, 0.6], np.float32)  # the first of two equal shares ranks lower
    np.testing.assert_array_equal(losses.reverse_prior(ties), np.float32([0.6, 0.2, 0.2]))


def test_sade_equals_numpy():
    logits, labels = drawn(3)
    log, reverse = np.log(PRIOR.astype(np.float64)), np.log(PRIOR[::-1].astype(np.float64))
    expected = sum(
        cross_entropy(z + a, labels) for z, a in zip(logits, (0 * log, log, log - 1.5 * reverse), strict=True)
    )
    np.testing.assert_allclose(losses.sade(logits, labels, PRIOR, tau=1.5), expected, rtol=1e-5)


def test_sade_with_equal_classes_or_without_tau():
    logits, labels = drawn(3)
    plain = sum(cross_entropy(z, labels) for z in logits)
    np.testing.assert_allclose(losses.sade(logits, labels, BALANCED), plain, rtol=1e-5)
    same = np.stack([logits[0]] * 3)
    parts = [cross_entropy(same[0], labels), *[cross_entropy(same[0] + np.log(PRIOR), labels)] * 2]
    np.testing.assert_allclose(losses.sade(same, labels, PRIOR, tau=0.0), sum(parts), rtol=1e-5)
    gradient = jax.grad(lambda z: jnp.sum(losses.sade(z, labels, PRIOR)))(logits)
    np.testing.assert_allclose(gradient[0], special.softmax(logits[0], -1) - np.eye(4)[labels], atol=1e-5)


def test_the_third_expert_leans_to_rare_classes():
    """Trained to the same posterior, its plain logits favour the rarest class most."""
    level = jnp.zeros((3, 4, 4))
    gradient = jax.grad(lambda z: jnp.sum(losses.sade(z, jnp.arange(4), PRIOR)))(level)
    push = -gradient.sum(1)  # [3, 4]: where a step would move each expert's logits
    assert push[2, 3] > push[1, 3] > push[0, 3]
    assert push[2, 0] < push[1, 0] < push[0, 0]


def test_mdcs_equals_numpy():
    logits, labels = drawn(3)
    adjustments = [np.log(COUNTS.astype(float) ** power + 1e-9) for power in (-0.5, 1.0, 2.5)]
    expected = sum(cross_entropy(z + a, labels) for z, a in zip(logits, adjustments, strict=True))
    np.testing.assert_allclose(losses.mdcs_diversity(logits, labels, COUNTS), expected, rtol=1e-5)
    np.testing.assert_allclose(
        losses.mdcs_diversity(logits[:1], labels, COUNTS, powers=(1.0,)),
        losses.logit_adjusted_cross_entropy(logits[0], labels, jnp.log(PRIOR)),
        rtol=1e-5,
    )
    equal = losses.mdcs_diversity(logits, labels, np.full(4, 9))
    np.testing.assert_allclose(equal, sum(cross_entropy(z, labels) for z in logits), rtol=1e-5)


def test_mdcs_with_an_empty_class():
    logits, _ = drawn(3)
    labels = jnp.zeros(5, int)
    total = lambda z: jnp.sum(losses.mdcs_diversity(z, labels, jnp.array([5, 3, 0, 0])))  # noqa: E731
    value, gradient = jax.value_and_grad(total)(logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[..., 2:]).max() < 1e-6  # nothing pushes a class that nobody saw


def test_consistency_on_what_the_teacher_knows():
    student, labels = drawn()
    teacher, _ = drawn(seed=3)
    teacher[np.arange(3), labels[:3]] += 9
    teacher[np.arange(3, 5), labels[3:]] -= 9
    loss, kept = losses.confident_consistency(student, teacher, labels, temperature=2.0)
    np.testing.assert_array_equal(kept, [True, True, True, False, False])
    logs = [special.log_softmax(z.astype(float) / 2, axis=-1) for z in (teacher, student)]
    expected = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1)
    np.testing.assert_allclose(loss, np.where(kept, expected, 0), rtol=1e-4)
    np.testing.assert_allclose(losses.confident_consistency(teacher, teacher, labels)[0], 0, atol=1e-6)

    def mean(student, teacher, labels):
        return masked_mean(*losses.confident_consistency(student, teacher, labels))

    own, others = jax.grad(mean, (0, 1))(student, teacher, labels)
    assert (np.asarray(others) == 0).all()
    assert (np.abs(own).max(1) > 0).tolist() == kept.tolist()
    wrong = (np.argmax(teacher, -1) + 1) % 4
    value, gradient = jax.value_and_grad(mean)(student, teacher, wrong)
    assert value == 0
    assert (np.asarray(gradient) == 0).all()


LOSSES = {
    "adjusted": lambda z, y, where=None: losses.logit_adjusted_cross_entropy(z[0], y, jnp.log(PRIOR), where=where),
    "sade": lambda z, y, where=None: losses.sade(z, y, PRIOR, where=where),
    "mdcs": lambda z, y, where=None: losses.mdcs_diversity(z, y, COUNTS, where=where),
    "consistency": lambda z, y, where=None: losses.confident_consistency(z[0], z[1], y, where=where)[0],
}


@pytest.mark.parametrize("name", LOSSES)
def test_where_hides_examples_from_values_and_gradients(name):
    logits, labels = drawn(3)
    logits[1, np.arange(5), labels] += 5  # so that the teacher of the consistency knows every example
    where = np.array([True, False, True, True, False])
    dirty = np.where(where[:, None], logits, np.nan)
    loss = LOSSES[name]
    found = loss(dirty, np.where(where, labels, 99), where)
    np.testing.assert_allclose(found, np.where(where, loss(logits, labels), 0), rtol=1e-5)
    gradient = np.asarray(jax.grad(lambda z: jnp.sum(loss(z, labels, where)))(dirty))
    plain = np.asarray(jax.grad(lambda z: jnp.sum(loss(z, labels)[where]))(logits))
    np.testing.assert_allclose(gradient, plain, rtol=1e-5, atol=1e-7)
    assert (gradient[:, ~where] == 0).all()
    assert (np.asarray(loss(dirty * np.nan, labels, np.zeros(5, bool))) == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_unknown_labels_give_nan_for_that_example(name):
    logits, _ = drawn(3)
    logits[1, :, 0] += 9
    found = LOSSES[name](logits, jnp.array([0, 4, 0, -1, 0]))
    np.testing.assert_array_equal(np.isnan(found), [False, True, False, True, False])


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16_gives_float32(name):
    logits, labels = drawn(3)
    narrow = jnp.asarray(logits, jnp.bfloat16)
    found = LOSSES[name](narrow, labels)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, LOSSES[name](narrow.astype(jnp.float32), labels), rtol=1e-5)


ONE, THREE, LABELS = jnp.zeros((5, 4)), jnp.zeros((3, 5, 4)), jnp.zeros(5, int)
CALLS = {
    "logit_adjusted_cross_entropy": {"logits": ONE, "labels": LABELS, "adjustment": jnp.zeros(4)},
    "class_prior": {"counts": jnp.ones(4, int)},
    "reverse_prior": {"prior": jnp.ones(4)},
    "sade": {"expert_logits": THREE, "labels": LABELS, "prior": jnp.ones(4)},
    "mdcs_diversity": {"expert_logits": THREE, "labels": LABELS, "counts": jnp.ones(4, int)},
    "confident_consistency": {"student_logits": ONE, "teacher_logits": ONE, "labels": LABELS},
}


@pytest.mark.parametrize(
    ("name", "change", "error", "words"),
    [
        ("logit_adjusted_cross_entropy", {"logits": jnp.zeros((4, 4))}, ValueError, "logits must have shape"),
        ("logit_adjusted_cross_entropy", {"logits": jnp.zeros((5, 0))}, ValueError, "logits must have shape"),
        ("logit_adjusted_cross_entropy", {"logits": jnp.zeros((5, 4), int)}, TypeError, "logits must be floating"),
        ("logit_adjusted_cross_entropy", {"labels": jnp.zeros(5)}, TypeError, "labels must hold integers"),
        ("logit_adjusted_cross_entropy", {"adjustment": jnp.zeros(3)}, ValueError, "adjustment must broadcast"),
        ("logit_adjusted_cross_entropy", {"adjustment": jnp.zeros((2, 5, 4))}, ValueError, "adjustment must broadcast"),
        ("logit_adjusted_cross_entropy", {"adjustment": jnp.zeros(4, int)}, TypeError, "adjustment must be floating"),
        ("logit_adjusted_cross_entropy", {"where": jnp.ones(4, bool)}, ValueError, "where must have shape"),
        ("logit_adjusted_cross_entropy", {"where": jnp.ones(5)}, TypeError, "where must be boolean"),
        ("class_prior", {"counts": jnp.ones(4, bool)}, TypeError, "counts must hold numbers"),
        ("class_prior", {"counts": jnp.ones(())}, ValueError, "counts must have shape"),
        ("reverse_prior", {"prior": jnp.ones(4, int)}, TypeError, "prior must be floating"),
        ("reverse_prior", {"prior": jnp.ones(0)}, ValueError, "prior must have shape"),
        ("sade", {"expert_logits": jnp.zeros((2, 5, 4))}, ValueError, r"\[3, \.\.\., K\]"),
        ("sade", {"prior": jnp.ones(3)}, ValueError, r"prior must have shape \[4\]"),
        ("sade", {"prior": jnp.ones(4, int)}, TypeError, "prior must be floating"),
        ("sade", {"tau": -1.0}, ValueError, "tau must be at least 0"),
        ("mdcs_diversity", {"powers": (1.0, 2.0)}, ValueError, r"\[2, \.\.\., K\]"),
        ("mdcs_diversity", {"powers": ()}, ValueError, "powers must hold"),
        ("mdcs_diversity", {"counts": jnp.ones(5)}, ValueError, r"counts must have shape \[4\]"),
        ("confident_consistency", {"teacher_logits": jnp.zeros((5, 3))}, ValueError, "same shape"),
        ("confident_consistency", {"student_logits": jnp.zeros((4, 4))}, ValueError, "student_logits must have shape"),
        ("confident_consistency", {"temperature": 0.0}, ValueError, "temperature must be > 0"),
    ],
)
def test_bad_input(name, change, error, words):
    with pytest.raises(error, match=words):
        getattr(losses, name)(**{**CALLS[name], **change})
