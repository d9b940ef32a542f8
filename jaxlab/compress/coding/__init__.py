"""Lossless coding: a stack coder, and examples through a tractable density.

The coder works on the host; a stream is read with the tables (or the tree) and the precision it was written with.

- **Discrete examples in few bits, with a density for them**: `circuit_encode` (with an `analytic.HiddenTree`),
  `circuit_decode` (with the writer's tree); [277]
- **Symbols whose probabilities are known**: `quantize_cdf` (probabilities to counts, first), `rans_encode`
  (intervals of counts to bytes), `rans_open` (the beginning of a stream), `rans_decode` (the next symbols); [277]

Types: `RansState`.
"""

from jaxlab.compress.coding.circuits import circuit_decode, circuit_encode
from jaxlab.compress.coding.rans import RansState, quantize_cdf, rans_decode, rans_encode, rans_open

__all__ = [
    "RansState",
    "circuit_decode",
    "circuit_encode",
    "quantize_cdf",
    "rans_decode",
    "rans_encode",
    "rans_open",
]
