"""Rows of jaxlab.weaksup: complementary and noisy labels."""

from jaxlab import weaksup
from tests.laws.row import C, N, Row, inputs, integers, mask, prng, probabilities, uniform

ROWS = {
    "decode_complementary": Row(
        weaksup.decode_complementary,
        inputs(probs=probabilities(N, C), transition=probabilities(C, C)),
        batch=("probs",),
        bf16=("probs",),
    ),
    "intra_cluster_partners": Row(
        weaksup.intra_cluster_partners,
        inputs(key=prng(), cluster_ids=lambda rng: rng.permutation([0, 0, 0, 0, 0, 0, 1]), where=mask(N)),
        batch=("cluster_ids", "where"),
        couples=True,
        skip={"permute": "partners are drawn by place"},
    ),
    "transition_biased": Row(
        weaksup.transition_biased,
        inputs(key=prng(), levels=uniform(3, low=0.1)),
        static={"num_classes": C},
        diff=("levels",),
        bf16=("levels",),
        skip={"zeros": "levels that are all zero leave nothing to share out"},
    ),
    "transition_noisy": Row(
        weaksup.transition_noisy,
        inputs(base=probabilities(C, C), noise=uniform()),
        diff=("base", "noise"),
        bf16=("base",),
    ),
    "estimate_transition": Row(
        weaksup.estimate_transition,
        inputs(labels=integers(N, high=C), given=integers(N, high=C), where=mask(N)),
        static={"num_classes": C},
        batch=("labels", "given", "where"),
        couples=True,
    ),
    "refine_correspondence": Row(
        weaksup.refine_correspondence,
        inputs(clean=uniform(N), steady=uniform(N), label=uniform(N), steady_label=uniform(N)),
        batch=("clean", "steady", "label", "steady_label"),
        diff=("clean", "steady", "label", "steady_label"),
        bf16=("clean", "steady", "label", "steady_label"),
    ),
}
