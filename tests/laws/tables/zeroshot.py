"""Rows of jaxlab.zeroshot."""

import jax.numpy as jnp
import numpy as np

from jaxlab import zeroshot
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform


def parents(rng):
    """A spec: the parent of every node of a random tree, the root first."""
    return np.array([-1, *(rng.integers(0, node) for node in range(1, M))], np.int32)


ROWS = {
    "ensemble_logits": Row(
        zeroshot.ensemble_logits,
        inputs(a=normal(N, C), b=normal(N, C), alpha=uniform(low=0.5)),
        batch=("a", "b"),
        diff=("a", "b", "alpha"),
        bf16=("a", "b"),
    ),
    "gda_new_class_classifier": Row(
        zeroshot.gda_new_class_classifier,
        inputs(features=normal(N, D), text=normal(M, D), where=mask(N)),
        static={"k": 3, "copies": 2},
        batch=("features", "where"),
        couples=True,
        diff=("features", "text"),
        bf16=("features", "text"),
    ),
    "semantic_targets": Row(
        zeroshot.semantic_targets, inputs(texts=normal(N, D), where=mask(N)), batch=("texts", "where"), bf16=("texts",)
    ),
    "semantic_targets/centred": Row(
        zeroshot.semantic_targets,
        inputs(texts=normal(N, D), where=mask(N)),
        static={"center": True},
        batch=("texts", "where"),
        couples=True,
        bf16=("texts",),
    ),
    "semantic_variations": Row(
        zeroshot.semantic_variations,
        inputs(text=normal(D), key=prng(), diversity=uniform()),
        static={"k": 3, "num_iters": 3},
        diff=("text",),
        bf16=("text",),
    ),
    "frechet_costs": Row(
        zeroshot.frechet_costs,
        inputs(probs=probabilities(N, C), sq_dist=uniform(C, D)),
        batch=("probs",),
        diff=("probs", "sq_dist"),
        bf16=("probs", "sq_dist"),
    ),
    "frechet_mean_predict": Row(
        zeroshot.frechet_mean_predict,
        inputs(probs=probabilities(N, C), sq_dist=uniform(C, D)),
        batch=("probs",),
        bf16=("probs", "sq_dist"),
    ),
    "tree_frechet_costs": Row(
        zeroshot.tree_frechet_costs,
        inputs(probs=probabilities(N, C), parent=parents, observed=integers(C, high=M), length=uniform(M, low=0.5)),
        batch=("probs",),
        diff=("probs", "length"),
        bf16=("probs", "length"),
    ),
    "embedding_frechet_costs": Row(
        zeroshot.embedding_frechet_costs,
        inputs(probs=probabilities(N, C), embeddings=normal(M, D), observed=integers(C, high=M)),
        batch=("probs",),
        diff=("probs", "embeddings"),
        bf16=("probs", "embeddings"),
    ),
    "locus_mask": Row(zeroshot.locus_mask, inputs(parent=parents, observed=mask(M))),
}

ROWS |= {
    "greedy_prompt_search": Row(
        zeroshot.greedy_prompt_search,
        inputs(beta=uniform(low=0.1)),
        static={
            "error_fn": lambda tokens, where: jnp.mean(jnp.sin(tokens + 1.0) * where),
            "log_prior_fn": lambda tokens, where: -jnp.sum(tokens * where * 0.1),
            "vocabulary": 4,
            "length": 3,
        },
    ),
}
