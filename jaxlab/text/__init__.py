"""Token sequences: decoding, scores of strings."""

from jaxlab.text.decoding import Decoded, greedy_decode, sample_logits

__all__ = ["Decoded", "greedy_decode", "sample_logits"]
