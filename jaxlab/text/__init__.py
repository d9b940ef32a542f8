"""Token sequences: decoding, scores of strings, runs of words and models of them."""

from jaxlab.text.decoding import Decoded, greedy_decode, sample_logits
from jaxlab.text.ngrams import BooleanNgrams, boolean_ngrams, ngram_log_prob, ngram_model
from jaxlab.text.overlap import tag_set_similarity

__all__ = [
    "BooleanNgrams",
    "Decoded",
    "boolean_ngrams",
    "greedy_decode",
    "ngram_log_prob",
    "ngram_model",
    "sample_logits",
    "tag_set_similarity",
]
