"""Unlearning: objectives and methods that make a trained model forget."""

from jaxlab.unlearn.preference import npo

__all__ = ["npo"]
