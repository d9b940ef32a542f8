"""Users by what they have chosen."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["history_embedding", "purchase_probability"]


def history_embedding(item_vectors: ArrayLike, history_mask: ArrayLike) -> Array:
    r"""A user as the mean of the vectors of the chosen items.

    .. math:: u_b = \frac{1}{|H_b|} \sum_{j \in H_b} v_j

    The mean of vectors in the unit ball lies in it too. To predict an item, leave it out of its own user's history.

    Args:
      item_vectors: float [J, D].
      history_mask: bool [B, J], True for the items a user has chosen.
    Returns:
      float32 or wider [B, D]; 0 for a user without a history.
    Raises:
      ValueError: shapes do not agree.
      TypeError: item_vectors are not floating point, or history_mask is not boolean.

    >>> print(history_embedding(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[True, True], [False, False]])))
    [[0.5 0.5]
     [0.  0. ]]

    Reference: Campo et al., "Collaborative Metric Learning Recommendation System: Application to Theatrical Movie
    Releases" (2018), inferred.
    """
    vectors = checks.rank(checks.floating(item_vectors, "item_vectors"), "item_vectors", 2, layout="[J, D]")
    history = checks.rank(history_mask, "history_mask", 2, layout="[B, J]")
    mask = jnp.asarray(checks.mask(history, "history_mask", (history.shape[0], vectors.shape[0])))
    dtype = accumulation_dtype(vectors)
    # Items that nobody has chosen may hold anything.
    clean = jnp.where(jnp.any(mask, axis=0)[:, None], vectors.astype(dtype), 0.0)
    total = jnp.matmul(mask.astype(dtype), clean, precision="highest")
    return total / jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)


def purchase_probability(distance: ArrayLike, scale: ArrayLike, bias: ArrayLike) -> Array:
    r"""How likely a user chooses an item at some distance.

    .. math:: P = \sigma(a - b\, d^2)

    Fit a and b by logistic regression on pairs that are known.

    Args:
      distance: float [...], d >= 0.
      scale: b, a float or an array that broadcasts to distance; >= 0 where nearer is likelier.
      bias: a, a float or an array that broadcasts to distance.
    Returns:
      float32 or wider [...] in [0, 1].
    Raises:
      TypeError: distance is not floating point.

    >>> print(purchase_probability(jnp.array(0.5), 2.0, 0.5))
    0.5

    Reference: Campo et al., "Collaborative Metric Learning Recommendation System: Application to Theatrical Movie
    Releases" (2018), inferred.
    """
    d = checks.floating(distance, "distance")
    dtype = accumulation_dtype(d)
    return jax.nn.sigmoid(jnp.asarray(bias, dtype) - jnp.asarray(scale, dtype) * jnp.square(d.astype(dtype)))
