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
from jaxlab.nn.orthogonal import cayley, householder_product
from jaxlab.nn.prompts import (
    pathway_block,
    prefix_attention,
    soft_prompt,
    summarize_tokens,
    transformer_block,
    transformer_block_init,
)
from jaxlab.nn.prototypes import cbc_probabilities, component_reasoning, median_bandwidth, rbf_detections
from jaxlab.nn.quantizers import (
    Codebook,
    codebook_init,
    codebook_replace_dead,
    codebook_update,
    kv_bottleneck_logits,
    kv_lookup,
    nearest_keys,
    random_projection_heads,
    vector_quantize,
)
from jaxlab.nn.weights import Boosted, SmallMLP, assemble_boosted, boosted_prefix, small_mlp

__all__ = [
    "Boosted",
    "Codebook",
    "SmallMLP",
    "affine_adaptor",
    "assemble_boosted",
    "attention_entropy_scale",
    "boosted_prefix",
    "cayley",
    "cbc_probabilities",
    "codebook_init",
    "codebook_replace_dead",
    "codebook_update",
    "component_reasoning",
    "cross_attention_adapter",
    "cross_attention_adapter_init",
    "disperse_kernel",
    "dispersion_matrix",
    "fourier_features",
    "gated_linear_attention_step",
    "householder_product",
    "hybrid_chunk_attention",
    "kv_bottleneck_logits",
    "kv_lookup",
    "median_bandwidth",
    "nearest_keys",
    "offset_adapter",
    "offset_adapter_init",
    "pathway_block",
    "prefix_attention",
    "progressive_dilation",
    "random_projection_heads",
    "rbf_detections",
    "redilate_conv",
    "sinusoidal_embedding",
    "small_mlp",
    "soft_prompt",
    "summarize_tokens",
    "transformer_block",
    "transformer_block_init",
    "vector_quantize",
]
