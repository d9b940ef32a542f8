"""Machine-learning papers as pure functions for JAX.

Every namespace below is loaded when it is first used, so ``import jaxlab`` costs about what ``import jax`` costs.

- ``analytic``: statistics that add, and the classifiers that are read off them
- ``continual``: learners over a stream of tasks
- ``losses``, ``kernels``, ``metrics``: the arithmetic
- ``diffusion``: noising processes, one sampler and its steps, training targets, likelihood, particles
- ``guidance``: guidance rules as transformations of the direction cond - uncond
- ``optim``, ``nas``, ``envs``: inner loops, attacks and solvers, searches, small worlds to act in
- ``nn``, ``text``, ``vision``: layers, token sequences, images and boxes
- ``distill``, ``selection``, ``unlearn``: what to match, what to keep, what to forget
- ``detect``, ``zeroshot``, ``retrieval``: out-of-distribution scores, rules on fixed embeddings, comparable indices
- ``selfsup``: representations without labels
- ``weaksup``: novel classes, transduction, labels that lie or shift
- ``compress``: lossless ``coding``, ``low_rank`` changes of weights
- ``numerics``, ``trees``: stable operations, pytree algebra
- ``deploy``: export, sharding, checkpoints
- ``papers``: which paper is where
"""

from typing import TYPE_CHECKING

from jaxlab._lazy import attach
from jaxlab._version import __version__ as __version__

if TYPE_CHECKING:
    from jaxlab import analytic as analytic
    from jaxlab import compress as compress
    from jaxlab import continual as continual
    from jaxlab import deploy as deploy
    from jaxlab import detect as detect
    from jaxlab import diffusion as diffusion
    from jaxlab import distill as distill
    from jaxlab import envs as envs
    from jaxlab import guidance as guidance
    from jaxlab import kernels as kernels
    from jaxlab import losses as losses
    from jaxlab import metrics as metrics
    from jaxlab import nas as nas
    from jaxlab import nn as nn
    from jaxlab import numerics as numerics
    from jaxlab import optim as optim
    from jaxlab import papers as papers
    from jaxlab import retrieval as retrieval
    from jaxlab import selection as selection
    from jaxlab import selfsup as selfsup
    from jaxlab import text as text
    from jaxlab import trees as trees
    from jaxlab import unlearn as unlearn
    from jaxlab import vision as vision
    from jaxlab import weaksup as weaksup
    from jaxlab import zeroshot as zeroshot

__all__ = [
    "analytic",
    "compress",
    "continual",
    "deploy",
    "detect",
    "diffusion",
    "distill",
    "envs",
    "guidance",
    "kernels",
    "losses",
    "metrics",
    "nas",
    "nn",
    "numerics",
    "optim",
    "papers",
    "retrieval",
    "selection",
    "selfsup",
    "text",
    "trees",
    "unlearn",
    "vision",
    "weaksup",
    "zeroshot",
]

__getattr__, __dir__ = attach(__name__, __all__)
