"""Token sequences: decoding, scores of strings, runs of words and models of them."""

from jaxlab.text.decoding import Decoded, greedy_decode, sample_logits
from jaxlab.text.ngrams import BooleanNgrams, boolean_ngrams, ngram_log_prob, ngram_model
from jaxlab.text.overlap import Rouge, lcs_length, rouge_l, tag_set_similarity

__all__ = [
    "BooleanNgrams",
    "Decoded",
    "Rouge",
    "boolean_ngrams",
    "greedy_decode",
    "lcs_length",
    "ngram_log_prob",
    "ngram_model",
    "rouge_l",
    "sample_logits",
    "tag_set_similarity",
]
