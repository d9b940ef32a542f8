"""Documents as sets of words and runs of words, against scikit-learn."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from jaxlab import text

DOCUMENTS = ("To be, or not to be: that is the question.", "Is the question to be?", "", "be be be_1 2")


@pytest.mark.parametrize(("n", "least"), [(1, 1), (2, 1), (2, 2), (3, 1)])
def test_equals_scikit_learn(n, least):
    counter = CountVectorizer(ngram_range=(1, n), token_pattern=r"\w+")
    counts = counter.fit_transform(DOCUMENTS).toarray()
    frequent = counts.sum(0) >= least
    found = text.boolean_ngrams(DOCUMENTS, n=n, min_count=least)
    assert found.vocabulary == tuple(counter.get_feature_names_out()[frequent])
    np.testing.assert_array_equal(found.present, counts[:, frequent] > 0)


def test_vocabulary_of_other_documents():
    found = text.boolean_ngrams(DOCUMENTS[1:], vocabulary=["question", "to be", "absent"])
    np.testing.assert_array_equal(found.present, [[True, True, False], [False] * 3, [False] * 3])
    assert text.boolean_ngrams([], min_count=1).present.shape == (0, 0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"documents": "to be"}, TypeError, "documents must be a sequence"),
        ({"n": 0}, ValueError, "n must be"),
        ({"min_count": 0}, ValueError, "min_count must be"),
        ({"n": 1, "vocabulary": ["to be"]}, ValueError, "runs of at most 1 words, got 'to be'"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        text.boolean_ngrams(**({"documents": DOCUMENTS} | call))
