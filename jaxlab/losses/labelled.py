"""Logits with an integer label each, checked and fit to compute with: what losses of one example begin and end with."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["Labelled", "labelled", "of_label"]


class Labelled(NamedTuple):
    """Examples that are fit to compute with: those that do not count are zeros with label 0."""

    logits: Array  # [..., K]
    labels: Array  # [...], in [0, K)
    known: Array  # [...], False where a counted label was none
    counts: Array  # [...]

    def losses(self, values: Array) -> Array:
        """The losses of the examples: 0 where one does not count, NaN where its label is none."""
        return jnp.where(self.counts, jnp.where(self.known, values, jnp.nan), 0.0)


def labelled(
    logits: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike | None,
    *,
    names: tuple[str, str] = ("logits", "labels"),
    fewest: int = 2,
) -> Labelled:
    """Checked logits [..., K] of at least ``fewest`` classes in float32 or wider, and labels that can be looked up."""
    logits, labels = checks.floating(logits, names[0]), checks.integer(labels, names[1])
    if logits.ndim != labels.ndim + 1 or logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"{names[0]} must have shape {[*labels.shape, 'K']} to match {names[1]}, got {list(logits.shape)}"
        )
    if logits.shape[-1] < fewest:
        least = f"at least {fewest} class{'es' if fewest > 1 else ''}"
        raise ValueError(f"{names[0]} must have shape [..., K] with {least}, got {list(logits.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    known = (labels >= 0) & (labels < logits.shape[-1])
    clean = jnp.where((counts & known)[..., None], logits.astype(accumulation_dtype(logits)), 0.0)
    return Labelled(clean, jnp.where(counts & known, labels, 0), known, counts)


def of_label(values: Array, labels: Array) -> Array:
    """The entry [...] of values [..., K] that belongs to the label."""
    return jnp.take_along_axis(values, labels[..., None], axis=-1)[..., 0]
