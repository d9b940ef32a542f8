"""Algebra of pytrees of arrays."""

from jaxlab.trees.algebra import average

__all__ = ["average"]
