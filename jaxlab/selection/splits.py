"""Ways to set a part aside."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["hidden_class_folds", "semantic_difficulty_split"]


def hidden_class_folds(key: Array, num_known: int, *, num_hidden: int, num_folds: int) -> Array:
    r"""Known classes that stand in for novel ones, fold by fold.

    A method for classes without labels is tuned on classes with labels: every fold hides some of them, the method looks
    for those, and the score is averaged over the folds. The labels of the classes that are really novel are not needed.

    .. math:: \text{fold } f \text{ hides } \pi_{f h}, \dots, \pi_{f h + h - 1}, \quad \pi \text{ a random permutation}

    Args:
      key: typed PRNG key.
      num_known: K, classes with labels, static.
      num_hidden: h, classes hidden per fold, static, 1 <= h <= K - 1.
      num_folds: folds, static. The first K // h of them are disjoint; then another permutation begins.
    Returns:
      bool [num_folds, num_known], True where a class is hidden; every row holds h of them.
    Raises:
      ValueError: num_known < 2, num_hidden outside [1, num_known - 1], or num_folds < 1.

    >>> folds = hidden_class_folds(jax.random.key(0), 6, num_hidden=2, num_folds=3)
    >>> print(folds.sum(1), folds.sum(0))
    [2 2 2] [1 1 1 1 1 1]

    Reference: Troisemaine et al., "A Practical Approach to Novel Class Discovery in Tabular Data" (2024), recalled.
    """
    checks.size(num_known, "num_known", 2)
    if checks.size(num_hidden, "num_hidden") >= num_known:
        raise ValueError(f"num_hidden must be at most num_known - 1 = {num_known - 1}, got {num_hidden}")
    checks.size(num_folds, "num_folds")
    per_round = num_known // num_hidden
    drawn = jax.random.uniform(key, (-(-num_folds // per_round), num_known))
    # The place of a class in its round's permutation says in which fold of the round it is hidden.
    place = jnp.argsort(jnp.argsort(drawn, axis=1), axis=1) // num_hidden
    folds = place[:, None, :] == jnp.arange(per_round)[:, None]
    return folds.reshape(-1, num_known)[:num_folds]


def semantic_difficulty_split(distances: ArrayLike, *, hard_share: float = 0.5) -> Array:
    r"""Which unknown classes are hard to tell from the known ones: those that are like one of them.

    .. math:: \text{hard} = \text{the share of unknown classes } u \text{ with the smallest } \min_c d(c, u)

    Args:
      distances: float [C, U], of known from unknown classes: attributes that differ, or steps in a hierarchy.
      hard_share: share of the unknown classes that is called hard, static, in [0, 1]; rounded to whole classes.
    Returns:
      bool [U], True for a hard class; of equal distances the lower index is the harder.
    Raises:
      ValueError: distances are not [C, U] with C, U >= 1, or hard_share outside [0, 1].
      TypeError: distances are not floating point.

    >>> print(semantic_difficulty_split(jnp.array([[1.0, 5.0], [7.0, 4.0]])))
    [ True False]

    Reference: the Semantic Shift Benchmark of Vaze et al., "Open-Set Recognition: a Good Closed-Set Classifier is All
    You Need?" (2022), inferred from its description.
    """
    table = checks.rank(checks.floating(distances, "distances"), "distances", 2, layout="[C, U]")
    if 0 in table.shape:
        raise ValueError(f"distances must have shape [C, U] with C and U of at least 1, got {list(table.shape)}")
    checks.in_range(hard_share, "hard_share", 0.0, 1.0)
    nearest = jnp.min(table, axis=0)
    rank = jnp.argsort(jnp.argsort(nearest, stable=True), stable=True)
    return rank < round(hard_share * table.shape[1])
