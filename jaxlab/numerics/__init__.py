"""Stable operations that every family uses.

- **Means of some of the numbers**: `masked_mean` (entries marked True), `segment_mean` (mean and count per group)
- **Numbers on a common scale**: `normalize` (unit vectors; zero stays zero), `min_max` (from 0 to 1)
- **How undecided a softmax is**: `entropy` (of logits, in nats)
- **A hard decision inside a gradient**: `straight_through` (hard value, soft gradient); [16]
- **Soft clusters of equal size**: `sinkhorn` (rows exact, columns nearly so); [138]
- **A symmetric positive definite system**: `solve_spd` (by Cholesky, with a ridge)
- **Eigenvalues of a Gram matrix of rows**: `gram_spectrum` (by its smaller form)
- **Where an increasing function is zero**: `bisect` (a fixed number of halvings)
"""

from jaxlab.numerics.linear import gram_spectrum, sinkhorn, solve_spd
from jaxlab.numerics.norms import masked_mean, normalize, segment_mean
from jaxlab.numerics.scalars import bisect, min_max
from jaxlab.numerics.selection import straight_through
from jaxlab.numerics.softmax import entropy

__all__ = [
    "bisect",
    "entropy",
    "gram_spectrum",
    "masked_mean",
    "min_max",
    "normalize",
    "segment_mean",
    "sinkhorn",
    "solve_spd",
    "straight_through",
]
