"""Layers and their parts as pure functions of parameters and arrays.

Parameters are nested dicts or NamedTuples of arrays; a function ending in `_init` makes them for the functions that
stand beside it.

- **A frozen network that is to follow a guidance scale, or a new attribute**: `offset_adapter` (one shift for all
  tokens), `cross_attention_adapter` (every token asks the scale), `affine_adaptor` (scales and shifts a generator's
  latents), `offset_adapter_init`, `cross_attention_adapter_init`; [2, 210]
- **A frozen transformer, prompted**: `soft_prompt` (learned vectors before the sequence), `prefix_attention` (learned
  keys and values, no longer sequence), `summarize_tokens` (many tokens to few means), `pathway_block` (each task's
  cheap way through), `transformer_block` (the frozen block itself), `transformer_block_init`; [20, 188]
- **Attention that is linear in the tokens**: `softmax_free_attention` (a Gaussian kernel over landmarks),
  `softmax_free_block` (the same as a whole block), `newton_inverse` (its inverse, by matrix products),
  `softmax_free_block_init`; [283]
- **A sequence of chunks with a memory**: `hybrid_chunk_attention` (softmax inside, memory across),
  `gated_linear_attention_step` (the memory of one chunk); [9]
- **Examples that learn from their batch**: `batch_former` (rows of features), `batch_former_tokens` (every place of
  dense tokens), `batch_former_pair` (both versions, so that tests need none), `batch_former_init`; [106]
- **Weights for channels and places of a feature map**: `squeeze_excitation` (channels), `coordinate_attention` (rows
  and columns), `fused_attention` (both, in a learned mixture), `squeeze_excitation_init`, `coordinate_attention_init`,
  `fused_attention_init`; [233]
- **Images larger than in training, without training**: `redilate_conv` (taps further apart), `progressive_dilation`
  (how far, at each sampling step), `dispersion_matrix` (spreads a kernel, by least squares), `disperse_kernel` (applies
  that matrix), `attention_entropy_scale` (logits over more tokens); [5]
- **Depth without memory for activations**: `reversible_columns` (many columns in one scan), `reversible_column_forward`
  (a single column, or the first), `reversible_column_inverse` (its input from its output), `clamp_magnitude` (keeps
  divisors away from 0); [258]
- **Clicks from products of fields**: `fusing_cross_network` (both kinds below, for `losses.tri_bce`),
  `exponential_cross_network` (the degree doubles per layer), `linear_cross_network` (it grows by one),
  `cross_network_v2` (the plain DCNv2), `cross_network_init`, `split_heads` (embedded fields for several heads),
  `exponential_cross_layer` and `linear_cross_layer` (one layer alone), `self_mask` (what halves their parameters);
  [111]
- **Times, positions and coordinates as inputs**: `sinusoidal_embedding` (fixed wavelengths), `fourier_features` (random
  projections, a stationary kernel); [35, 85]
- **Layers trained without backpropagation through the network**: `noprop_block` (denoises a label, with
  `losses.noprop_dt`), `embed_label` (writes a label into inputs), `label_sweep_predict` (tries every label),
  `physical_response` (a medium that is only measured), `noprop_block_init`, `physical_layer_init`; [29, 81]
- **Learning from the examples in a sequence**: `in_context_tokens` (inputs beside earlier labels), `in_context_logits`
  (a causal model on them); [194]
- **Classical learners to compare such a model with**: `nearest_neighbor_icl` (votes of earlier examples),
  `averaged_perceptron` (linear), `conjunction_elimination` (conjunctions, disjunctions), `parity_elimination`
  (parities), `gf2_solve` (equations modulo 2); [154]
- **Noise against overfitting**: `mixup` (mixes pairs of rows), `mixed_loss` (the loss of such rows), `drop_block`
  (square holes in feature maps); [109, 199, 233]
- **A matrix that stays orthogonal in training**: `cayley` (rotations, from a square matrix), `householder_product`
  (reflections, from any vectors); [261, 270]
- **A classifier that shows its reasons**: `rbf_detections` (how strongly prototypes are seen), `median_bandwidth`
  (their width at the start), `component_reasoning` (weights of presence and absence), `cbc_probabilities` (classes from
  both); [279]
- **Discrete codes for vectors**: `vector_quantize` (the nearest code), `codebook_init`, `codebook_update` (codes follow
  the data), `codebook_replace_dead` (unused codes start again); [156]
- **Learning that leaves other inputs alone**: `kv_bottleneck_logits` (the whole key-value bottleneck),
  `random_projection_heads` (views of a feature), `nearest_keys` (keys of each view), `kv_lookup` (their values); [156]
- **Kernels that may not grow large**: `compander_init` (a network in bounded form), `weight_compander` (back to its
  weights), `weight_compander_inverse` (from weights); [239]
- **One network out of boosted stages**: `assemble_boosted` (all hidden units together), `boosted_prefix` (the first
  stages only), `small_mlp` (what such a network computes); `optim.gradient_boosted_network` trains them; [278]

Types: `Boosted`, `Codebook`, `CompanderScales`, `FusedLogits`, `GF2Solution`, `PhysicalLayer`, `SmallMLP`.
"""

from jaxlab.nn.adapters import (
    affine_adaptor,
    cross_attention_adapter,
    cross_attention_adapter_init,
    offset_adapter,
    offset_adapter_init,
)
from jaxlab.nn.attention import gated_linear_attention_step, hybrid_chunk_attention
from jaxlab.nn.batch_attention import batch_former, batch_former_init, batch_former_pair, batch_former_tokens
from jaxlab.nn.blocks import (
    coordinate_attention,
    coordinate_attention_init,
    fused_attention,
    fused_attention_init,
    squeeze_excitation,
    squeeze_excitation_init,
)
from jaxlab.nn.convolution import (
    attention_entropy_scale,
    disperse_kernel,
    dispersion_matrix,
    progressive_dilation,
    redilate_conv,
)
from jaxlab.nn.cross_features import (
    FusedLogits,
    cross_network_init,
    cross_network_v2,
    exponential_cross_layer,
    exponential_cross_network,
    fusing_cross_network,
    linear_cross_layer,
    linear_cross_network,
    self_mask,
    split_heads,
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
from jaxlab.nn.noise import drop_block, mixed_loss, mixup
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
from jaxlab.nn.weights import (
    Boosted,
    CompanderScales,
    SmallMLP,
    assemble_boosted,
    boosted_prefix,
    compander_init,
    small_mlp,
    weight_compander,
    weight_compander_inverse,
)

__all__ = [
    "Boosted",
    "Codebook",
    "CompanderScales",
    "FusedLogits",
    "GF2Solution",
    "PhysicalLayer",
    "SmallMLP",
    "affine_adaptor",
    "assemble_boosted",
    "attention_entropy_scale",
    "averaged_perceptron",
    "batch_former",
    "batch_former_init",
    "batch_former_pair",
    "batch_former_tokens",
    "boosted_prefix",
    "cayley",
    "cbc_probabilities",
    "clamp_magnitude",
    "codebook_init",
    "codebook_replace_dead",
    "codebook_update",
    "compander_init",
    "component_reasoning",
    "conjunction_elimination",
    "coordinate_attention",
    "coordinate_attention_init",
    "cross_attention_adapter",
    "cross_attention_adapter_init",
    "cross_network_init",
    "cross_network_v2",
    "disperse_kernel",
    "dispersion_matrix",
    "drop_block",
    "embed_label",
    "exponential_cross_layer",
    "exponential_cross_network",
    "fourier_features",
    "fused_attention",
    "fused_attention_init",
    "fusing_cross_network",
    "gated_linear_attention_step",
    "gf2_solve",
    "householder_product",
    "hybrid_chunk_attention",
    "in_context_logits",
    "in_context_tokens",
    "kv_bottleneck_logits",
    "kv_lookup",
    "label_sweep_predict",
    "linear_cross_layer",
    "linear_cross_network",
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
    "self_mask",
    "sinusoidal_embedding",
    "small_mlp",
    "soft_prompt",
    "softmax_free_attention",
    "softmax_free_block",
    "softmax_free_block_init",
    "split_heads",
    "squeeze_excitation",
    "squeeze_excitation_init",
    "summarize_tokens",
    "transformer_block",
    "transformer_block_init",
    "vector_quantize",
    "weight_compander",
    "weight_compander_inverse",
]
