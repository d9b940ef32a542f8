"""Longest common subsequences and ROUGE-L."""

import functools

import numpy as np
import pytest

from jaxlab import text

RNG = np.random.default_rng(0)


def longest(a, b):
    """By definition: the longest common subsequence, one token at a time."""

    @functools.cache
    def of(i, j):
        if i == len(a) or j == len(b):
            return 0
        return 1 + of(i + 1, j + 1) if a[i] == b[j] else max(of(i + 1, j), of(i, j + 1))

    return of(0, 0)


@pytest.mark.parametrize("letters", [1, 2, 4, 30])
def test_lcs_equals_its_definition(letters):
    a, b = RNG.integers(0, letters, (20, 9)), RNG.integers(0, letters, (20, 7))
    where_a, where_b = RNG.random((20, 9)) < 0.7, RNG.random((20, 7)) < 0.7
    found = text.lcs_length(a, b, where_a=where_a, where_b=where_b)
    expected = [
        longest(tuple(x[p].tolist()), tuple(y[q].tolist())) for x, y, p, q in zip(a, b, where_a, where_b, strict=True)
    ]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, text.lcs_length(b, a, where_a=where_b, where_b=where_a))


def test_rouge_of_known_pairs():
    same = text.rouge_l(np.array([3, 1, 2]), np.array([3, 1, 2]))
    np.testing.assert_array_equal(np.asarray(same), 1.0)
    np.testing.assert_array_equal(np.asarray(text.rouge_l(np.array([1, 2]), np.array([3, 4, 5]))), 0.0)
    part = text.rouge_l(np.array([1, 9, 2, 8]), np.array([1, 2, 7]))
    np.testing.assert_allclose(np.asarray(part), [2 / 4, 2 / 3, 4 / 7], rtol=1e-6)


def test_empty_texts_score_zero():
    empty = np.zeros(0, int)
    assert text.lcs_length(empty, np.array([1])) == 0
    assert text.lcs_length(np.array([1]), empty) == 0
    np.testing.assert_array_equal(np.asarray(text.rouge_l(empty, empty)), 0.0)
    none = text.rouge_l(np.array([1, 2]), np.array([1, 2]), where_a=np.zeros(2, bool))
    np.testing.assert_array_equal(np.asarray(none), 0.0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"candidate": np.ones((2, 3), int)}, ValueError, r"candidate and reference must be .* got \[2, 3\] and \[3\]"),
        ({"candidate": 1}, ValueError, "candidate and reference must be"),
        ({"reference": np.ones(3)}, TypeError, "reference must hold integers"),
        ({"where_a": np.ones(2, bool)}, ValueError, "where_a must have shape"),
        ({"where_b": np.ones(3)}, TypeError, "where_b must be boolean"),
    ],
)
def test_bad_input(arguments, error, words):
    with pytest.raises(error, match=words):
        text.rouge_l(**({"candidate": np.arange(3), "reference": np.arange(3)} | arguments))
