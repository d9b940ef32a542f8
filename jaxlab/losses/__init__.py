"""Losses: one value per example, larger is worse; the mean is the caller's."""

from jaxlab.losses.robust import squared_hinge_ovr
from jaxlab.losses.supervised_contrastive import prototypical

__all__ = ["prototypical", "squared_hinge_ovr"]
