"""Low-rank changes of weights: LoRA, alone and in groups.

A change of a kernel is a product of two thin factors; it starts at zero, so the network starts as it was.

- **A frozen kernel, tuned with few numbers**: `lora_init` (the factors), `lora_delta` (the change they make),
  `lora_merge` (kernel and change in one); [243]
- **Several changes of one kernel that should differ**: `grouped_lora_init` (the factors of all), `grouped_lora_apply`
  (outputs, with no kernel built), `grouped_lora_merge` (kernel and changes in one); `losses.pego` keeps them apart;
  [197]

Types: `LoRA`.
"""

from jaxlab.compress.low_rank.groups import grouped_lora_apply, grouped_lora_init, grouped_lora_merge
from jaxlab.compress.low_rank.lora import LoRA, lora_delta, lora_init, lora_merge

__all__ = [
    "LoRA",
    "grouped_lora_apply",
    "grouped_lora_init",
    "grouped_lora_merge",
    "lora_delta",
    "lora_init",
    "lora_merge",
]
