"""The tasks of the rule learners, and how rules are chosen and written."""

import numpy as np
import pytest

from experiments.rule_learners import LONGEST, Task, boolean_task, paragraphs, strongest, text_task, xor_task
from experiments.rule_plots import in_words


def test_features_are_cut_at_training_quartiles_and_pixels_at_a_level():
    x, test_x = np.arange(8.0)[:, None], np.array([[-5.0], [3.6], [100.0]])
    task = boolean_task(x, np.arange(8), test_x, np.arange(3), kind="features")
    np.testing.assert_array_equal(task.x.sum(0), [6, 4, 2])
    np.testing.assert_array_equal(task.test_x, [[0, 0, 0], [1, 1, 0], [1, 1, 1]])
    task = boolean_task(np.array([[0.2, 0.4]]), np.arange(1), np.array([[0.31, 0.3]]), np.arange(1), kind="images")
    np.testing.assert_array_equal(task.x, [[False, True]])
    np.testing.assert_array_equal(task.test_x, [[True, False]])


def test_exclusive_or_has_wrong_labels_in_training_only():
    task = xor_task(4000, 3)
    np.testing.assert_array_equal(task.test_x[:, 0] ^ task.test_x[:, 1], task.test_y)
    assert np.mean((task.x[:, 0] ^ task.x[:, 1]) != task.y) == pytest.approx(0.4, abs=0.03)
    assert (xor_task(50, 4).x != task.x[:50]).any()


def test_words_are_chosen_by_training_paragraphs():
    documents, labels = paragraphs()
    assert len(documents) == len(labels) > 300
    assert np.bincount(labels).min() > 100
    task, vocabulary = text_task(40, 0)
    assert task.x.shape == (len(task.y), 40)
    assert len(vocabulary) == 40
    assert len(task.y) + len(task.test_y) == len(labels)
    assert len(task.test_y) == pytest.approx(0.3 * len(labels), abs=2)
    assert task.x.sum(0).min() >= 1
    assert "object" in vocabulary


def test_the_strongest_rules_come_first_once_and_positive_literals_before_the_others():
    x = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    include = np.zeros((2, 6, 4), bool)
    include[0, 0, [0]] = True  # x1: half right
    include[0, 2, [0, 3]] = True  # x1 and not x2: exactly class 0
    include[0, 4] = include[0, 2]
    include[1, 1, [2]] = True  # a clause against the class is not shown
    table = strongest(include, Task(x, np.array([1, 0, 1, 1]), x, np.zeros(4, int)))
    assert table.shape == (2, 5, 1 + LONGEST)
    assert table[0, 0, :3].tolist() == [2, 0, 3]
    assert table[0, 1, :2].tolist() == [1, 0]
    assert (table[0, 2:] == -1).all()
    assert (table[1] == -1).all()


def test_rules_in_words():
    assert in_words(np.array([2, 0, 3, -1]), ("a", "b")) == "  a and not b"
    assert in_words(np.array([9, 0, 3]), ("a", "b")) == "  a and not b (+7 more)"
    assert in_words(np.array([2, 0, 1]), ("a" * 30, "b" * 30)).endswith("a (+1 more)")
