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
from jaxlab.nn.embeddings import embed_label, fourier_features, sinusoidal_embedding
from jaxlab.nn.in_context import (
    GF2Solution,
    averaged_perceptron,
    conjunction_elimination,
    gf2_solve,
    in_context_logits,
    in_context_tokens,
    nearest_neighbor_icl,
    parity_elimination,
)
from jaxlab.nn.local import (
    PhysicalLayer,
    label_sweep_predict,
    noprop_block,
    noprop_block_init,
    physical_layer_init,
    physical_response,
)
from jaxlab.nn.noise import mixed_loss, mixup
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
from jaxlab.nn.reversible import (
    clamp_magnitude,
    reversible_column_forward,
    reversible_column_inverse,
    reversible_columns,
)
from jaxlab.nn.softmax_free import (
    newton_inverse,
    softmax_free_attention,
    softmax_free_block,
    softmax_free_block_init,
)
from jaxlab.nn.weights import Boosted, SmallMLP, assemble_boosted, boosted_prefix, small_mlp

__all__ = [
    "Boosted",
    "Codebook",
    "GF2Solution",
    "PhysicalLayer",
    "SmallMLP",
    "affine_adaptor",
    "assemble_boosted",
    "attention_entropy_scale",
    "averaged_perceptron",
    "boosted_prefix",
    "cayley",
    "cbc_probabilities",
    "clamp_magnitude",
    "codebook_init",
    "codebook_replace_dead",
    "codebook_update",
    "component_reasoning",
    "conjunction_elimination",
    "cross_attention_adapter",
    "cross_attention_adapter_init",
    "disperse_kernel",
    "dispersion_matrix",
    "embed_label",
    "fourier_features",
    "gated_linear_attention_step",
    "gf2_solve",
    "householder_product",
    "hybrid_chunk_attention",
    "in_context_logits",
    "in_context_tokens",
    "kv_bottleneck_logits",
    "kv_lookup",
    "label_sweep_predict",
    "median_bandwidth",
    "mixed_loss",
    "mixup",
    "nearest_keys",
    "nearest_neighbor_icl",
    "newton_inverse",
    "noprop_block",
    "noprop_block_init",
    "offset_adapter",
    "offset_adapter_init",
    "parity_elimination",
    "pathway_block",
    "physical_layer_init",
    "physical_response",
    "prefix_attention",
    "progressive_dilation",
    "random_projection_heads",
    "rbf_detections",
    "redilate_conv",
    "reversible_column_forward",
    "reversible_column_inverse",
    "reversible_columns",
    "sinusoidal_embedding",
    "small_mlp",
    "soft_prompt",
    "softmax_free_attention",
    "softmax_free_block",
    "softmax_free_block_init",
    "summarize_tokens",
    "transformer_block",
    "transformer_block_init",
    "vector_quantize",
]
