"""Learning where labels are few, wrong or missing: novel classes, transduction, label shift, noise.

Most functions are one part (a loss, a target, an estimate) of a training loop of your own.

- **Unlabelled rows to train on next to a few labelled ones**: `pseudo_label` (one label per row, if sure enough),
  `swapped_prediction` (two or more views teach each other); [138, 252, 254]
- **A few examples per class, and all queries at hand at once**: `transductive_clustering` (from features to
  predictions), `laplacian_assignments` (from costs of your own), `knn_affinity` (which queries should agree),
  `laplacian_energy` (what falls on the way); [122]
- **Objects to segment in an image, from a few images with masks**: `repri_adapt` (fits a classifier of pixels),
  `repri_probs` (reads its mask), `repri_init` and `repri_loss` (the parts, for a loop of your own); [274]
- **Unlabelled rows of new and of known classes, to go on training**: `init_novel_heads` (class vectors to start the new
  classes), `local_entropy_regularization` (known classes are not to be forgotten), `class_prior_init` and
  `class_prior_update` (the running prior it needs); [252, 257]
- **New classes in tables**: `pbn_loss` (trains the space to look in), `ncd_kmeans` (clusters seeded away from known
  classes), `spectral_embedding` (before k-means, for groups that are no balls), `mst_bandwidth` (the width of its
  kernel); [280]
- **How many new classes there are**: `estimate_num_classes`; [280]
- **No labels, but domains that hold the classes in different shares**: `domain_cluster_matrix` (what `analytic.nmf` is
  to factor), `normalize_nmf` (makes probabilities of the factors), `label_posterior_from_domains` (classes of a row),
  `domain_adjusted_posterior` (the same, its domain known); [186]
- **Several heads or experts, and a test set unlike the training data**: `select_head` (the surest, row by row),
  `entropy_weights` (the sure ones count more), `expert_agreement` (what to raise, over one weight per expert, on
  unlabelled views), `aggregate_heads` (mixes by any such weights); [60, 254]
- **Wrong labels to try a method on**: `transition_uniform` (all mistakes equally likely), `corrupt_labels` (draws
  labels by any transition); [223]
- **Labels that say what a row is not**: `transition_biased` (makes such labels, some oftener), `transition_noisy` (some
  of them false), `decode_complementary` (from predicted labels back to a class), `intra_cluster_partners` (rows to mix
  without false labels); the losses are `losses.complementary_forward` and those beside it; [108, 109]
- **How often each class gets which label**: `estimate_transition` (from rows with both labels); [108]
- **Pairs of which some do not belong together**: `refine_correspondence` (a soft label from two suspicions); [104]

Types: `ClassCount`, `ClassPrior`, `LatentClasses`, `PixelClassifier`, `PseudoLabels`, `TransductiveClusters`.
"""

from jaxlab.weaksup.adaptation import aggregate_heads, entropy_weights, expert_agreement, select_head
from jaxlab.weaksup.complementary import decode_complementary, intra_cluster_partners
from jaxlab.weaksup.discovery import (
    ClassPrior,
    class_prior_init,
    class_prior_update,
    init_novel_heads,
    local_entropy_regularization,
    swapped_prediction,
)
from jaxlab.weaksup.label_shift import (
    LatentClasses,
    domain_adjusted_posterior,
    domain_cluster_matrix,
    label_posterior_from_domains,
    normalize_nmf,
)
from jaxlab.weaksup.noise import (
    corrupt_labels,
    estimate_transition,
    refine_correspondence,
    transition_biased,
    transition_noisy,
    transition_uniform,
)
from jaxlab.weaksup.pseudo_labels import PseudoLabels, pseudo_label
from jaxlab.weaksup.segmentation import PixelClassifier, repri_adapt, repri_init, repri_loss, repri_probs
from jaxlab.weaksup.tabular_discovery import (
    ClassCount,
    estimate_num_classes,
    mst_bandwidth,
    ncd_kmeans,
    pbn_loss,
    spectral_embedding,
)
from jaxlab.weaksup.transduction import (
    TransductiveClusters,
    knn_affinity,
    laplacian_assignments,
    laplacian_energy,
    transductive_clustering,
)

__all__ = [
    "ClassCount",
    "ClassPrior",
    "LatentClasses",
    "PixelClassifier",
    "PseudoLabels",
    "TransductiveClusters",
    "aggregate_heads",
    "class_prior_init",
    "class_prior_update",
    "corrupt_labels",
    "decode_complementary",
    "domain_adjusted_posterior",
    "domain_cluster_matrix",
    "entropy_weights",
    "estimate_num_classes",
    "estimate_transition",
    "expert_agreement",
    "init_novel_heads",
    "intra_cluster_partners",
    "knn_affinity",
    "label_posterior_from_domains",
    "laplacian_assignments",
    "laplacian_energy",
    "local_entropy_regularization",
    "mst_bandwidth",
    "ncd_kmeans",
    "normalize_nmf",
    "pbn_loss",
    "pseudo_label",
    "refine_correspondence",
    "repri_adapt",
    "repri_init",
    "repri_loss",
    "repri_probs",
    "select_head",
    "spectral_embedding",
    "swapped_prediction",
    "transductive_clustering",
    "transition_biased",
    "transition_noisy",
    "transition_uniform",
]
