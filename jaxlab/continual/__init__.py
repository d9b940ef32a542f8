"""Learning from a stream of tasks.

- ``Learner``, ``run_stream``: what a learner is, and the loop that fills the accuracy matrix
- ``class_stats_learner``, ``nearest_class_mean``, ``teen``, ``analytic_class_incremental``: learners on statistics
- ``fetril``, with ``translate_features`` and ``fetril_assign``
- ``mahalanobis_add_class``: a class at a time
"""

from jaxlab.continual.fetril import FetrilState, fetril, fetril_assign, translate_features
from jaxlab.continual.learners import (
    AnalyticHead,
    AnalyticState,
    MahalanobisState,
    PrototypeHead,
    analytic_class_incremental,
    class_stats_learner,
    mahalanobis_add_class,
    nearest_class_mean,
    teen,
)
from jaxlab.continual.stream import Learner, StreamResult, run_stream

__all__ = [
    "AnalyticHead",
    "AnalyticState",
    "FetrilState",
    "Learner",
    "MahalanobisState",
    "PrototypeHead",
    "StreamResult",
    "analytic_class_incremental",
    "class_stats_learner",
    "fetril",
    "fetril_assign",
    "mahalanobis_add_class",
    "nearest_class_mean",
    "run_stream",
    "teen",
    "translate_features",
]
