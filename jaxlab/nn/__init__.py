"""Layers and their parts as pure functions of parameters and arrays."""

from jaxlab.nn.adapters import (
    affine_adaptor,
    cross_attention_adapter,
    cross_attention_adapter_init,
    offset_adapter,
    offset_adapter_init,
)
from jaxlab.nn.attention import gated_linear_attention_step, hybrid_chunk_attention
from jaxlab.nn.convolution import (
    attention_entropy_scale,
    disperse_kernel,
    dispersion_matrix,
    progressive_dilation,
    redilate_conv,
)
from jaxlab.nn.embeddings import fourier_features, sinusoidal_embedding

__all__ = [
    "affine_adaptor",
    "attention_entropy_scale",
    "cross_attention_adapter",
    "cross_attention_adapter_init",
    "disperse_kernel",
    "dispersion_matrix",
    "fourier_features",
    "gated_linear_attention_step",
    "hybrid_chunk_attention",
    "offset_adapter",
    "offset_adapter_init",
    "progressive_dilation",
    "redilate_conv",
    "sinusoidal_embedding",
]
