"""What do guidance and decoding add to a sequence model as it is?

Three models of sequences, each trained once and guided afterwards. Digits as 64 tokens of four grey levels, written
token by token under a class: guidance of the logits costs a second call per token; can one round of training on pairs
of conditions replace it? Windows of real text over eight kinds of characters, drawn by flows on the simplex: a
classifier that has seen clean windows alone guides them towards code, by its gradient at samples (straight through) or
at the soft states. Captions of digits that say less than could be said: guidance away from the captions of no image
makes them more specific, so that the image is found, and less like what people wrote of it.

A classifier that has guided nothing judges the first two, a pair of encoders finds the images of the third.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments import decoding_plots
from experiments.claims import ratio
from experiments.guided_sequences import (
    AR_SCALES,
    FLOW_SCALES,
    name_of,
    prepare_captions,
    prepare_images,
    prepare_windows,
    row_captions,
    row_guided,
    row_images,
    row_windows,
)
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds

DATASETS = ("digits",)
SEED_SCOPE = "sampling noise, and which images are searched (every network is trained once)"
MAX_LENGTH = 100  # tokens of an image
LARGEST_FALL = 0.2  # of the bigram log likelihood


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    samples: int = 500
    """Images per row and seed; every class equally often."""
    levels: int = 4
    """Grey levels of an image."""
    sequences: int = 2000
    """Windows drawn by each flow."""
    guided: int = 500
    """Windows drawn at each scale of guidance."""
    length: int = 16
    """Characters of a window."""
    flow_steps: int = 50
    """Euler steps of a flow."""
    guide_samples: int = 10
    """Sequences that the scorer sees per step."""
    gallery: int = 100
    """Images among which a caption has to find its own."""
    captions_per_image: int = 20
    """Captions that are written of every image for training."""
    beta: float = 0.1
    """Sharpness of alignment and preference: the published 0.02, for a quarter and less of the published length."""
    prior_share: float = 0.75
    """How much less the own prior counts than the condition, where a language model replaces it."""
    pixel_steps: int = 400
    """Training of the model of images."""
    text_windows: int = 40000
    """Windows of text; three quarters are trained on."""
    denoiser_steps: int = 4000
    """Training of each flow."""
    scorer_steps: int = 2000
    """Training of each classifier of windows."""
    caption_steps: int = 1200
    """Training of the captioner."""
    judge_steps: int = 1500
    """Training of the classifier of images."""

    def __post_init__(self) -> None:
        for name in ("samples", "sequences", "guided", "gallery"):
            if getattr(self, name) < 10:
                raise ValueError(f"{name} must be at least 10, got {getattr(self, name)}")


QUICK = {
    "samples": 20,
    "sequences": 50,
    "guided": 20,
    "flow_steps": 8,
    "guide_samples": 2,
    "gallery": 20,
    "captions_per_image": 2,
    "pixel_steps": 60,
    "text_windows": 4000,
    "denoiser_steps": 100,
    "scorer_steps": 100,
    "caption_steps": 60,
    "judge_steps": 100,
}

IMAGES = (
    Method("plain", None, functools.partial(row_images, "base", None), note="the conditional model, as trained"),
    *(
        Method(name_of("cfg", scale), None, functools.partial(row_images, "base", scale), note="two calls per token")
        for scale in AR_SCALES
    ),
    Method("more_likelihood", None, functools.partial(row_images, "more_likelihood", None), note="a round more"),
    Method("dpo", 49, functools.partial(row_images, "dpo", None), note="prefers its own condition, a round"),
    Method("cca", 49, functools.partial(row_images, "cca", None), note="a round, weight 1 of the negatives"),
    Method("cca_1000", 49, functools.partial(row_images, "cca_1000", None), note="weight 1000, as for 1000 classes"),
)
WINDOWS = (
    Method("held_out", None, functools.partial(row_windows, None), note="other windows of the same text"),
    Method("linear_flow", None, functools.partial(row_windows, "linear")),
    Method("gumbel_flow", 16, functools.partial(row_windows, "gumbel")),
    Method("stg_gumbel", 16, functools.partial(row_guided, "gumbel", True), note="gradient at samples"),
    Method("stg_linear", 16, functools.partial(row_guided, "linear", True), note="the same on the other flow"),
    Method("soft_gumbel", None, functools.partial(row_guided, "gumbel", False), note="gradient at soft states"),
)
CAPTIONS = (
    Method("written", None, functools.partial(row_captions, None), note="as people write; no scale"),
    Method("caption_cfg", 21, functools.partial(row_captions, "cfg"), note="scale 1 is no guidance"),
    Method("caption_lm", 21, functools.partial(row_captions, "lm"), note="prior of a bigram model"),
)
METHODS = (*IMAGES, *WINDOWS, *CAPTIONS)


def _half_of_guidance(rows: Any) -> Any:
    """What alignment gains in accuracy, above half of what the best scale of guidance gains."""
    accuracy = rows["accuracy"]
    best = np.max([accuracy[name_of("cfg", scale)] for scale in AR_SCALES], axis=0)
    return accuracy["cca"] - accuracy["plain"] - 0.5 * (best - accuracy["plain"])


def best_rise(method: str) -> Callable[[Any], np.ndarray]:
    """The largest rise among the scales whose likelihood falls by less than ``LARGEST_FALL``; 0 if there is none."""

    def effect(rows: Any) -> np.ndarray:
        rise, fall = (
            np.stack([np.asarray(rows[name_of(m, s)][method]) for s in FLOW_SCALES]) for m in ("rise", "fall")
        )
        return np.max(np.where(fall < LARGEST_FALL, rise, 0.0), axis=0)

    return effect


def _change(metric: str, method: str, scale: float) -> Callable[[Any], Any]:
    return lambda rows: rows[name_of(metric, scale)][method] - rows[name_of(metric, 1.0)][method]


CLAIMS = (
    Claim(
        49,
        "Without guidance, at half the calls, alignment gains at least half of the accuracy that guidance gains",
        _half_of_guidance,
        ">",
        0.0,
    ),
    Claim(
        49,
        "Alignment improves the Frechet distance of samples without guidance (over the unaligned model's)",
        ratio("frechet", "cca", "plain"),
        "<",
        1.0,
    ),
    Claim(
        16,
        "The Gumbel-softmax flow is closer to the bigrams of the text than a straight flow (distance, over its)",
        ratio("bigram_distance", "gumbel_flow", "linear_flow"),
        "<",
        1.0,
    ),
    Claim(
        16,
        "Straight-through guidance raises the score by a standard deviation, bigram likelihood falling less than 20 %",
        best_rise("stg_gumbel"),
        ">",
        1.0,
    ),
    Claim(
        21,
        "At scale 2 the caption finds its image at least 10 points more often than without guidance",
        _change("recall", "caption_cfg", 2.0),
        ">",
        0.1,
    ),
    Claim(
        21,
        "At scale 2 the caption has less in common with the written one than without guidance (F1 of ROUGE-L)",
        _change("rouge", "caption_cfg", 2.0),
        "<",
        0.0,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows; only what they need is trained."""
    data = run.data()
    if data.kind != "images" or np.prod(data.x.shape[1:]) > MAX_LENGTH or data.x.ndim != 3 or data.num_classes > 10:
        raise UserError(f"This question needs grey images of {MAX_LENGTH} numbers at most, in 2 to 10 classes.")
    groups: tuple[tuple[tuple[Method, ...], Callable[..., Any]], ...] = (
        (IMAGES, prepare_images),
        (WINDOWS, prepare_windows),
        (CAPTIONS, prepare_captions),
    )
    for methods, prepare in groups:
        if names := {method.name for method in run.todo(methods)}:
            run.rows(methods, functools.partial(_measure, run, config, *prepare(config, run, names)))


def _measure(run: Run, config: Config, nets: dict[str, Any], shared: dict[str, Any], method: Method) -> Measured:
    # One seed after the other: factorisations of several seeds at once can wait for each other for ever.
    row = functools.partial(method.fn, config, nets)
    return over_seeds(row, run.seed_keys(), mode="map", shared=(shared,))


def plot(result: Result) -> Figure:
    """Images, accuracy against calls, guided text, and captions."""
    return decoding_plots.draw(result)
