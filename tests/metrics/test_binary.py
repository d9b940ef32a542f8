"""AUROC, average precision and TPR at an FPR against scikit-learn, with ties, infinities, masks; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from jaxlab.metrics import auroc, average_precision, tpr_at_fpr


def sample(seed, n=60, levels=None):
    """Scores with many ties if ``levels`` is given."""
    rng = np.random.default_rng(seed)
    labels = (rng.uniform(size=n) < 0.4).astype(np.int32)
    scores = rng.normal(size=n) + labels
    scores = scores if levels is None else np.round(scores * levels) / levels
    return scores.astype(np.float32), labels


def tpr_by_curve(scores, labels, fpr):
    false_rates, true_rates, _ = roc_curve(labels, scores, drop_intermediate=False)
    return true_rates[false_rates <= fpr + 1e-9].max()


FUNCTIONS = {
    "auroc": (auroc, lambda scores, labels: roc_auc_score(labels, scores)),
    "average_precision": (average_precision, lambda scores, labels: average_precision_score(labels, scores)),
    **{
        f"tpr_at_fpr {fpr}": (
            lambda scores, labels, fpr=fpr, **options: tpr_at_fpr(scores, labels, fpr=fpr, **options),
            lambda scores, labels, fpr=fpr: tpr_by_curve(scores, labels, fpr),
        )
        for fpr in (0.0, 0.05, 0.3, 1.0)
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("levels", [None, 2])
def test_equals_scikit_learn(name, levels):
    ours, theirs = FUNCTIONS[name]
    for seed in range(3):
        scores, labels = sample(seed, levels=levels)
        np.testing.assert_allclose(ours(scores, labels), theirs(scores, labels), rtol=1e-5, err_msg=str(seed))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_and_other_labels_are_the_same_as_leaving_out(name):
    ours, _ = FUNCTIONS[name]
    scores, labels = sample(0, levels=2)
    where = np.arange(60) % 3 > 0
    expected = ours(scores[where], labels[where])
    np.testing.assert_allclose(ours(np.where(where, scores, np.nan), labels, where=where), expected, rtol=1e-6)
    np.testing.assert_allclose(ours(np.where(where, scores, np.nan), np.where(where, labels, -1)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_undefined_is_nan(name):
    ours, _ = FUNCTIONS[name]
    scores = jnp.array([0.1, 0.2, 0.3])
    assert np.isnan(ours(scores, jnp.zeros(3, int)))
    assert np.isnan(ours(scores, jnp.ones(3, int)))
    assert np.isnan(ours(scores.at[0].set(jnp.nan), jnp.array([0, 1, 0])))
    assert np.isnan(ours(jnp.zeros(0), jnp.zeros(0, int)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_infinite_scores_order_like_any_other(name):
    ours, theirs = FUNCTIONS[name]
    scores = np.array([-np.inf, 0.5, np.inf, -np.inf, 2.0, np.inf], np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1])
    finite = np.clip(scores, -9, 9)
    np.testing.assert_allclose(ours(scores, labels), theirs(finite, labels), rtol=1e-6)


def test_auroc_of_reversed_scores_and_of_constant_scores():
    scores, labels = sample(0)
    np.testing.assert_allclose(auroc(-scores, labels), 1 - auroc(scores, labels), rtol=1e-6)
    np.testing.assert_allclose(auroc(scores, 1 - labels), 1 - auroc(scores, labels), rtol=1e-6)
    assert auroc(jnp.ones(60), labels) == 0.5


def test_boolean_labels():
    scores, labels = sample(0)
    assert auroc(scores, labels.astype(bool)) == auroc(scores, labels)


def test_a_whole_number_of_false_alarms_is_allowed_in_spite_of_rounding():
    """0.07 * 100 is a little more or less than 7 in float32 and float64; seven false alarms must pass for each k."""
    scores, allowed = jnp.arange(101, dtype=jnp.float32), jnp.arange(1, 100)
    labels = jax.nn.one_hot(100 - allowed, 101, dtype=jnp.int32)  # exactly `allowed` negatives score higher
    rate = jax.vmap(lambda y, fpr: tpr_at_fpr(scores, y, fpr=fpr))
    assert (rate(labels, jnp.float32(allowed / 100)) == 1).all()
    assert (rate(labels, jnp.float32((allowed - 0.5) / 100)) == 0).all()


def test_large_samples_count_exactly_enough():
    n = 60_000
    scores, labels = sample(1, n=n)
    np.testing.assert_allclose(auroc(scores, labels), roc_auc_score(labels, scores), rtol=1e-5)


SCORES, LABELS = jnp.zeros(4), jnp.zeros(4, int)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"scores": jnp.zeros((4, 1))}, ValueError, "scores must have shape"),
        ({"scores": jnp.zeros(3)}, ValueError, "scores and labels"),
        ({"scores": LABELS}, TypeError, "scores must be floating point"),
        ({"labels": jnp.zeros(4)}, TypeError, "labels must hold integers"),
        ({"where": jnp.ones(4, int)}, TypeError, "where must be boolean"),
        ({"where": jnp.ones(3, bool)}, ValueError, "where must have shape"),
    ],
)
def test_bad_input(name, change, error, words):
    with pytest.raises(error, match=words):
        FUNCTIONS[name][0](**{"scores": SCORES, "labels": LABELS, **change})


@pytest.mark.parametrize(("fpr", "error"), [(-0.1, ValueError), (1.1, ValueError), (None, TypeError)])
def test_bad_fpr(fpr, error):
    with pytest.raises(error, match="fpr must"):
        tpr_at_fpr(SCORES, LABELS, fpr=fpr)
