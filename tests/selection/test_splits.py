"""Folds that hide known classes."""

import jax
import numpy as np
import pytest

from jaxlab import selection


def folds(seed, num_known, num_hidden, num_folds):
    key = jax.random.key(seed)
    return np.asarray(selection.hidden_class_folds(key, num_known, num_hidden=num_hidden, num_folds=num_folds))


@pytest.mark.parametrize(("num_known", "num_hidden", "num_folds"), [(6, 2, 3), (5, 2, 4), (7, 3, 1), (3, 2, 5)])
def test_every_fold_hides_as_many_and_a_round_no_class_twice(num_known, num_hidden, num_folds):
    hidden = folds(0, num_known, num_hidden, num_folds)
    assert hidden.shape == (num_folds, num_known)
    assert hidden.dtype == bool
    assert (hidden.sum(1) == num_hidden).all()
    per_round = num_known // num_hidden
    for start in range(0, num_folds, per_round):
        assert hidden[start : start + per_round].sum(0).max() == 1


def test_a_round_that_fits_hides_every_class_once():
    np.testing.assert_array_equal(folds(1, 6, 2, 3).sum(0), 1)
    np.testing.assert_array_equal(folds(1, 6, 2, 6).sum(0), 2)


def test_keys_and_rounds_differ():
    assert (folds(0, 6, 2, 3) != folds(1, 6, 2, 3)).any()
    two = folds(0, 6, 2, 6)
    assert (two[:3] != two[3:]).any()


def test_all_classes_are_equally_likely():
    key = jax.random.split(jax.random.key(2), 2000)
    drawn = jax.vmap(lambda k: selection.hidden_class_folds(k, 5, num_hidden=2, num_folds=1))(key)
    np.testing.assert_allclose(drawn.mean((0, 1)), 0.4, atol=0.04)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1, 1), "num_known"),
        ((4, 4, 1), "num_hidden must be at most"),
        ((4, 0, 1), "num_hidden"),
        ((4, 2, 0), "num_folds"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        folds(0, *arguments)
