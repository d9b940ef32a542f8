"""Low-rank changes of weights: LoRA, alone and in groups."""

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
