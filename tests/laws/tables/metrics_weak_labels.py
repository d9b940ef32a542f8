"""Rows of jaxlab.metrics: scores without true labels, and of images."""

from jaxlab import metrics
from tests.laws.row import C, N, Row, inputs, integers, mask, normal, positive_definite, probabilities, uniform

IMAGES = {"make": inputs(a=uniform(N, 5, 6, 2), b=uniform(N, 5, 6, 2)), "batch": ("a", "b"), "tol": 1e-4}

ROWS = {
    "complementary_unbiased_risk": Row(
        metrics.complementary_unbiased_risk,
        inputs(
            logits=normal(N, C),
            comp_labels=integers(N, high=C),
            transition_inverse=positive_definite(C, C),
            where=mask(N),
        ),
        batch=("logits", "comp_labels", "where"),
        couples=True,
        diff=("logits",),
        bf16=("logits",),
    ),
    "complementary_surrogate_score": Row(
        metrics.complementary_surrogate_score,
        inputs(logits=normal(N, C), comp_labels=integers(N, high=C), transition=probabilities(C, C), where=mask(N)),
        batch=("logits", "comp_labels", "where"),
        couples=True,
        diff=("logits",),
        bf16=("logits",),
    ),
    "complementary_mixup_noise": Row(
        metrics.complementary_mixup_noise,
        inputs(labels=integers(N, high=3), comp_labels=integers(N, high=3), partner=integers(N, high=N), where=mask(N)),
        batch=("labels", "comp_labels", "partner", "where"),
        couples=True,
        skip={"permute": "partners are row numbers, which permuting does not rename"},
    ),
    "prediction_oscillation": Row(
        metrics.prediction_oscillation,
        inputs(current=probabilities(N, C), banked=probabilities(N, C), where=mask(N)),
        batch=("current", "banked", "where"),
        diff=("banked",),
        bf16=("current", "banked"),
    ),
    "ssim": Row(metrics.ssim, static={"window": 4}, diff=("a", "b"), bf16=("a", "b"), **IMAGES),
    "ssim/map": Row(
        metrics.ssim,
        static={"window": 3, "stride": 2, "padding": 0, "reduce": False},
        diff=("a", "b"),
        bf16=("a", "b"),
        **IMAGES,
    ),
}
