"""Learning from a stream of tasks.

A learner is a handful of pure functions (init, update, solve, predict) on rows of features, often those of a frozen
network; start with the nearest class mean, the baseline to beat.

- **Running and scoring a stream**: `run_stream` (accuracy matrix of a learner), `transfer_stream` (different tasks, a
  choice of starts); [40, 208]
- **New classes on frozen features**: `nearest_class_mean` (nothing to tune), `class_stats_learner` (any head on class
  statistics), `analytic_class_incremental` (ridge regression, equals joint training), `teen` (few examples per new
  class), `mahalanobis_add_class` (rare classes weigh as much); [18, 40, 70, 119, 271]
- **New classes, and the old data are gone**: `fetril` (new features stand in), `fetril_assign` (which new class stands
  in), `translate_features` (moves them to old means), `sample_prototypes` (rehearses noisy prototypes),
  `prototype_hardness` (which classes need it most); [22, 252]
- **Learning without disturbing other inputs**: `key_value_bottleneck` (local values, no task boundaries),
  `fit_keys` (its keys, before the stream); [156]
- **Nobody says when the task changes**: `experts_update` (one batch: detect, choose, learn), `experts_init` (the pool
  before it), `experts_prune` (sparser experts), `select_expert` (the choice alone), `loss_monitor_update` (detection
  alone), `loss_monitor_init` (a fresh monitor); [152]
- **A network trained task after task**: `task_classes` (softmax over one task's classes),
  `block_diagonal_logits` (one pathway per task); penalties are `losses.ewc_penalty` and `distill.kd`; [188, 191]

Types: `Learner`, `StreamResult`, `TransferStream`, `PrototypeHead`, `AnalyticHead`, `AnalyticState`,
`MahalanobisState`, `FetrilState`, `BottleneckState`, `ExpertPool`, `ExpertChoice`, `LossMonitor`.
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
