"""Token sequences: decoding, scores of strings, runs of words and models of them.

Sequences are arrays of integer tokens; only the features of documents are read off strings, on the host.

- **Text from a model of the next token**: `greedy_decode` (always the likeliest, a whole loop), `sample_logits` (one
  draw, with top-k and top-p); [21]
- **How likely a sequence is, without a network**: `ngram_model` (from counts), `ngram_log_prob` (the score of a
  sequence); [56]
- **Documents as features for rules and trees**: `boolean_ngrams` (which words and runs occur); [45]
- **How alike two texts are**: `rouge_l` (shares of candidate and reference), `lcs_length` (the bare length behind it),
  `tag_set_similarity` (items described by sets of tags); [116]

Types: `BooleanNgrams`, `Decoded`, `Rouge`.
"""

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
