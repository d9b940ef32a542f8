"""Learning from a stream of tasks.

- ``Learner``, ``run_stream``: what a learner is, and the loop that fills the accuracy matrix
- ``class_stats_learner``, ``nearest_class_mean``, ``teen``, ``analytic_class_incremental``: learners on statistics
- ``fetril``, with ``translate_features`` and ``fetril_assign``
- ``mahalanobis_add_class``: a class at a time
- ``prototype_hardness``, ``sample_prototypes``: old classes rehearsed from their prototypes
- ``key_value_bottleneck``, ``fit_keys``: frozen keys, values that only their own rows move
- ``experts_update``, ``loss_monitor_update``, ``select_expert``: experts for a stream without task boundaries
- ``block_diagonal_logits``: one pathway per task; ``transfer_stream``: a stream of different tasks
- ``task_classes``: for a softmax over the classes of one task
"""

from jaxlab.continual.codebooks import BottleneckState, fit_keys, key_value_bottleneck
from jaxlab.continual.discovery import prototype_hardness, sample_prototypes
from jaxlab.continual.experts import (
    ExpertChoice,
    ExpertPool,
    LossMonitor,
    experts_init,
    experts_prune,
    experts_update,
    loss_monitor_init,
    loss_monitor_update,
    select_expert,
)
from jaxlab.continual.fetril import FetrilState, fetril, fetril_assign, translate_features
from jaxlab.continual.heads import block_diagonal_logits
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
from jaxlab.continual.regularizers import task_classes
from jaxlab.continual.stream import Learner, StreamResult, run_stream
from jaxlab.continual.streams import TransferStream, transfer_stream

__all__ = [
    "AnalyticHead",
    "AnalyticState",
    "BottleneckState",
    "ExpertChoice",
    "ExpertPool",
    "FetrilState",
    "Learner",
    "LossMonitor",
    "MahalanobisState",
    "PrototypeHead",
    "StreamResult",
    "TransferStream",
    "analytic_class_incremental",
    "block_diagonal_logits",
    "class_stats_learner",
    "experts_init",
    "experts_prune",
    "experts_update",
    "fetril",
    "fetril_assign",
    "fit_keys",
    "key_value_bottleneck",
    "loss_monitor_init",
    "loss_monitor_update",
    "mahalanobis_add_class",
    "nearest_class_mean",
    "prototype_hardness",
    "run_stream",
    "sample_prototypes",
    "select_expert",
    "task_classes",
    "teen",
    "transfer_stream",
    "translate_features",
]
