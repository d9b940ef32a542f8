"""Lossless coding: a stack coder, and examples through a tractable density."""

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
