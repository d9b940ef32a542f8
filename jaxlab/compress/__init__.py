"""Smaller data and smaller models.

- ``coding``: lossless coding
"""

from jaxlab.compress import coding

__all__ = ["coding"]
