"""Smaller data and smaller models.

- ``coding``: lossless coding
- ``low_rank``: changes of weights as products of thin matrices
"""

from jaxlab.compress import coding, low_rank

__all__ = ["coding", "low_rank"]
