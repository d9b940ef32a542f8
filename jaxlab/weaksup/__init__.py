"""Learning where labels are few, wrong or missing: novel classes, transduction, label shift, noise."""

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
