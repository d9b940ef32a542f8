"""Losses of heads and ensembles against loops, the published code's arithmetic, identities, masks and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import mutual_info_score

from jaxlab import losses, metrics

RNG = np.random.default_rng(0)
M, B, K = 3, 6, 4
LOGITS = RNG.normal(scale=2.0, size=(M, B, K)).astype(np.float32)
LABELS = RNG.integers(0, K, B)
PROBS = softmax(LOGITS.astype(np.float64), axis=-1)
WHERE = np.array([True, True, False, True, False, True])


def mutual_information(p, q):
    joint = np.mean(p[:, :, None] * q[:, None, :], axis=0)
    return np.sum(joint * (np.log(joint) - np.log(np.outer(p.mean(0), q.mean(0)))))


# --- heads --------------------------------------------------------------------------------------------------------


def test_information_is_the_mean_over_pairs():
    pairs = [mutual_information(PROBS[g], PROBS[h]) for g in range(M) for h in range(g + 1, M)]
    np.testing.assert_allclose(losses.head_mutual_information(PROBS.astype(np.float32)), np.mean(pairs), rtol=1e-4)
    swapped = losses.head_mutual_information(PROBS[::-1].astype(np.float32))
    np.testing.assert_allclose(swapped, np.mean(pairs), rtol=1e-4)


def test_information_of_labels_is_that_of_scikit_learn():
    a, b = RNG.integers(0, 3, (2, 40))
    found = losses.head_mutual_information(np.eye(3, dtype=np.float32)[np.stack([a, b])])
    np.testing.assert_allclose(found, mutual_info_score(a, b), rtol=1e-4)


def test_information_of_constant_independent_and_equal_heads():
    sure = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    other = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    constant = np.full((4, 2), 0.5, np.float32)
    for heads, value in (([sure, sure], np.log(2)), ([sure, other], 0.0), ([sure, constant], 0.0), ([constant] * 2, 0)):
        np.testing.assert_allclose(losses.head_mutual_information(np.stack(heads)), value, atol=1e-6)
    gradient = jax.grad(losses.head_mutual_information)(jnp.stack([sure, sure]))  # zeros in it
    assert np.isfinite(gradient).all()


def test_information_over_devices():
    split = PROBS.astype(np.float32).reshape(M, 2, B // 2, K).swapaxes(0, 1)
    mask = WHERE.reshape(2, B // 2)
    found = jax.vmap(lambda p, w: losses.head_mutual_information(p, where=w, axis_name="d"), axis_name="d")(split, mask)
    np.testing.assert_allclose(found, losses.head_mutual_information(PROBS[:, WHERE].astype(np.float32)), rtol=1e-4)


def test_dbat_equals_the_loop_over_old_networks():
    old, new = PROBS[:2], PROBS[2]
    wanted = []
    for p in old:
        c = p.argmax(1)
        p_c, q_c = p[np.arange(B), c], new[np.arange(B), c]
        wanted.append(-np.log(p_c * (1 - q_c) + q_c * (1 - p_c) + 1e-7))
    np.testing.assert_allclose(losses.dbat_disagreement(LOGITS[2], LOGITS[:2]), np.mean(wanted, axis=0), rtol=1e-4)


def test_dbat_at_its_corners():
    sure = np.array([[60.0, -60.0]], np.float32)
    even = np.zeros((1, 2), np.float32)
    for new, old, value in ((sure, sure, 16.118), (-sure, sure, 0.0), (even, sure, np.log(2)), (even, even, np.log(2))):
        np.testing.assert_allclose(losses.dbat_disagreement(new, old[None]), [value], atol=1e-3)
    to_new, to_old = jax.grad(lambda a, b: losses.dbat_disagreement(a, b).sum(), argnums=(0, 1))(LOGITS[0], LOGITS[1:])
    assert (np.asarray(to_old) == 0).all()
    assert np.abs(to_new).max() > 1e-3


def test_divdis_is_the_sum_of_its_parts():
    prior, others = np.array([0.4, 0.3, 0.2, 0.1], np.float32), np.roll(LOGITS, 1, axis=1)[:, :5]
    probs = softmax(others.astype(np.float64), axis=-1)
    fit = -np.mean(log_softmax(LOGITS.astype(np.float64), axis=-1)[:, np.arange(B), LABELS])
    information = np.mean([mutual_information(probs[g], probs[h]) for g in range(M) for h in range(g + 1, M)])
    off = np.mean([np.sum(prior * np.log(prior / mean)) for mean in probs.mean(1)])
    for diversity, weight in ((0.0, 0.0), (2.0, 0.0), (0.0, 3.0), (2.0, 3.0)):
        found = losses.divdis_objective(
            LOGITS, LABELS, others, diversity_weight=diversity, prior_weight=weight, prior=prior
        )
        np.testing.assert_allclose(found, fit + diversity * information + weight * off, rtol=1e-4)


def test_divdis_takes_the_prior_of_the_labels():
    labels, others = np.array([0, 0, 1, 2, 3, 3]), LOGITS[:, :4]
    share = np.bincount(labels, minlength=K).astype(np.float32) / B
    plain = losses.divdis_objective(LOGITS, labels, others)
    np.testing.assert_allclose(plain, losses.divdis_objective(LOGITS, labels, others, prior=share), rtol=1e-5)
    assert abs(plain - losses.divdis_objective(LOGITS, labels, others, prior=np.float32([1, 0, 0, 0]))) > 0.1


@pytest.mark.parametrize("junk", [np.nan, 1e30])
def test_what_is_masked_might_as_well_not_be_there(junk):
    spoiled = np.where(WHERE[:, None], LOGITS, junk).astype(np.float32)
    kept, labels = LOGITS[:, WHERE], LABELS[WHERE]
    wrong = np.where(WHERE, LABELS, -1)

    def probs(z):
        return jax.nn.softmax(z) if np.isfinite(junk) else jnp.where(WHERE[:, None], jax.nn.softmax(z), junk)

    pairs = (
        (
            losses.head_mutual_information(probs(spoiled), where=WHERE),
            losses.head_mutual_information(softmax(kept, -1)),
        ),
        (
            losses.dbat_disagreement(spoiled[0], spoiled[1:], where=WHERE)[WHERE],
            losses.dbat_disagreement(kept[0], kept[1:]),
        ),
        (
            losses.divdis_objective(spoiled, wrong, spoiled, where=WHERE, unlabelled_where=WHERE),
            losses.divdis_objective(kept, labels, kept),
        ),
        (
            losses.diversity_regularized_ensemble(spoiled, wrong, gamma=0.5, diversity="kl", where=WHERE)[WHERE],
            losses.diversity_regularized_ensemble(kept, labels, gamma=0.5, diversity="kl"),
        ),
    )
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
    gradient = jax.grad(lambda z: losses.divdis_objective(z, wrong, z, where=WHERE, unlabelled_where=WHERE))(spoiled)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[:, ~WHERE] == 0).all()


# --- ensembles ------------------------------------------------------------------------------------------------------


def test_gap_is_what_the_mean_gains():
    own = PROBS[:, np.arange(B), LABELS]
    np.testing.assert_allclose(losses.jensen_gap(LOGITS, LABELS), np.log(own.mean(0)) - np.log(own).mean(0), rtol=1e-4)
    assert np.abs(losses.jensen_gap(np.repeat(LOGITS[:1], 3, axis=0), LABELS)).max() < 1e-6


def test_gap_of_huge_logits():
    huge = np.float32([[[1e3, -1e3]], [[-1e3, 1e3]]])
    value, gradient = jax.value_and_grad(lambda z: losses.jensen_gap(z, np.array([0])).sum())(huge)
    np.testing.assert_allclose(value, 1000 - np.log(2), rtol=1e-6)  # one member is sure and wrong: its loss is 2000
    assert np.isfinite(gradient).all()


def test_every_diversity_is_what_it_says():
    member = -log_softmax(LOGITS.astype(np.float64), axis=-1)[:, np.arange(B), LABELS].mean(0)
    logs = np.log(PROBS)
    pairs = [(g, h) for g in range(M) for h in range(M) if g != h]
    measured = {
        "jensen": np.asarray(losses.jensen_gap(LOGITS, LABELS)),
        "variance": PROBS.var(axis=0).sum(-1),
        "js": np.asarray(metrics.jensen_shannon_divergence(logs.astype(np.float32))),
        "kl": np.mean([np.sum(PROBS[g] * (logs[g] - logs[h]), axis=-1) for g, h in pairs], axis=0),
    }
    for kind, spread in measured.items():
        found = losses.diversity_regularized_ensemble(LOGITS, LABELS, gamma=0.7, diversity=kind, limit=1e9)
        np.testing.assert_allclose(found, member - 0.7 * spread, rtol=1e-4)
        same = losses.diversity_regularized_ensemble(LOGITS[[0, 0]], LABELS, gamma=0.7, diversity=kind)
        np.testing.assert_allclose(same, -logs[0][np.arange(B), LABELS], rtol=1e-4)
    assert np.max(measured["js"]) <= np.log(M)
    pairwise = metrics.pairwise_disagreement(PROBS.astype(np.float32))
    np.testing.assert_allclose(measured["kl"].mean(), pairwise.sum() / (M * (M - 1)), rtol=1e-4)


def test_the_limit_stops_kl():
    far = np.float32([[[30, -30]], [[-30, 30]]])
    found = losses.diversity_regularized_ensemble(far, np.array([0]), gamma=1.0, diversity="kl", limit=2.0)
    np.testing.assert_allclose(found, 30 - 2.0, rtol=1e-5)
    free = jax.grad(lambda z: losses.diversity_regularized_ensemble(z, np.array([0]), gamma=1.0, diversity="kl").sum())
    alone = jax.grad(lambda z: losses.diversity_regularized_ensemble(z, np.array([0]), gamma=0.0).sum())
    np.testing.assert_allclose(free(far), alone(far), atol=1e-6)  # beyond the limit only the labels pull


def test_gamma_one_is_one_network_and_gamma_zero_none():
    whole = losses.diversity_regularized_ensemble(LOGITS, LABELS, gamma=1.0)
    np.testing.assert_allclose(whole, -np.log(PROBS.mean(0)[np.arange(B), LABELS]), rtol=1e-4)

    def gradient(z, gamma):
        return jax.grad(lambda z: losses.diversity_regularized_ensemble(z, LABELS, gamma=gamma).sum())(z)

    changed = LOGITS.copy()
    changed[1:] *= -1
    np.testing.assert_allclose(gradient(LOGITS, 0.0)[0], gradient(changed, 0.0)[0], atol=1e-6)
    assert np.abs(gradient(LOGITS, 0.5)[0] - gradient(changed, 0.5)[0]).max() > 1e-2
    alone = jax.grad(lambda z: optax.losses.softmax_cross_entropy_with_integer_labels(z, LABELS).sum())(LOGITS[0])
    np.testing.assert_allclose(M * gradient(LOGITS, 0.0)[0], alone, atol=1e-5)


def test_a_label_that_is_no_class_is_loud():
    labels = np.where(np.arange(B) == 2, K, LABELS)
    for found in (
        losses.jensen_gap(LOGITS, labels),
        losses.diversity_regularized_ensemble(LOGITS, labels, gamma=0.5, diversity="js"),
    ):
        assert np.isnan(found[2])
        assert np.isfinite(np.delete(found, 2)).all()
    assert np.isnan(losses.divdis_objective(LOGITS, labels, LOGITS))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.head_mutual_information(PROBS[:1]), ValueError, "heads H in probs"),
        (lambda: losses.head_mutual_information(PROBS[0]), ValueError, r"\[H, B, K\]"),
        (lambda: losses.dbat_disagreement(LOGITS[0], LOGITS[0]), ValueError, r"\[M, B, K\]"),
        (lambda: losses.dbat_disagreement(LOGITS[0], LOGITS[1:, :2]), ValueError, "logits_old must have shape"),
        (lambda: losses.dbat_disagreement(LOGITS[0], LOGITS, eps=0.0), ValueError, "eps must be > 0"),
        (lambda: losses.divdis_objective(LOGITS, LABELS, LOGITS[:2]), ValueError, "must be"),
        (lambda: losses.divdis_objective(LOGITS, LABELS, LOGITS, prior=np.ones(2, np.float32)), ValueError, "prior"),
        (lambda: losses.divdis_objective(LOGITS, LABELS, LOGITS, prior_weight=-1.0), ValueError, "prior_weight"),
        (lambda: losses.jensen_gap(LOGITS, LABELS[:3]), ValueError, "around labels"),
        (lambda: losses.jensen_gap(LOGITS, LABELS.astype(float)), TypeError, "labels"),
        (lambda: losses.diversity_regularized_ensemble(LOGITS[:1], LABELS, gamma=0.5), ValueError, "networks M"),
        (
            lambda: losses.diversity_regularized_ensemble(LOGITS, LABELS, gamma=0.5, diversity="l2"),
            ValueError,
            "diversity must be one of",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
