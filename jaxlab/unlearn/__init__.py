"""Unlearning: objectives and methods that make a trained model forget.

- **Examples a model must forget, without falling apart**: `npo` (ascent that stops by itself; also for the errors of a
  denoiser); [11]

Relabelling at random, the other common way, takes `weaksup.corrupt_labels`; pairs of a better and a worse answer take
`losses.dpo`.
"""

from jaxlab.unlearn.preference import npo

__all__ = ["npo"]
