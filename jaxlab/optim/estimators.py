"""Gradient estimators that carry a running statistic from step to step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.density import energies, log_mean_weight, mean_over
from jaxlab.numerics.norms import state_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = ["MecoState", "meco_init", "meco_surrogate"]


class MecoState(NamedTuple):
    """The running estimate of a density's normaliser."""

    log_u: Array  # float32 or float64 [], its logarithm
    count: Array  # type: ignore[assignment]  # int32 [], steps taken


def meco_init(*, dtype: DTypeLike | None = None) -> MecoState:
    """No estimate yet: the first step takes the mean of its own draws.

    Args:
      dtype: of the estimate; None is float32.
    Returns:
      MecoState of zeros.
    Raises:
      TypeError: dtype is narrower than float32, or not a float.

    >>> print(meco_init().count)
    0

    Reference: as ``meco_surrogate``.
    """
    return MecoState(jnp.zeros((), state_dtype(dtype)), jnp.int32(0))


def meco_surrogate(
    state: MecoState,
    data_energy: ArrayLike,
    noise_energy: ArrayLike,
    noise_log_q: ArrayLike,
    *,
    beta: ArrayLike = 0.1,
    where: ArrayLike | None = None,
    noise_where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> tuple[Array, MecoState]:
    r"""A scalar whose gradient estimates that of an unnormalised density's likelihood (couples the batch).

    .. math:: u_t = (1 - \beta)\, u_{t-1} + \frac{\beta}{M} \sum_z \frac{e^{-E(z)}}{q(z)}, \qquad
              \ell = \frac1B \sum_x E(x) + \frac1M \sum_z \frac{e^{-E(z)}}{q(z)\, \bar u_t}

    where u-bar takes no gradient: the loss is log Z's gradient with the inner mean averaged over steps, so that few
    draws a step are enough. Its value means nothing; :math:`\frac1B \sum E + \log u_t` estimates the negative
    log-likelihood. No weight exceeds M / beta. The averages of the gradient are those of the optimiser (its momentum).

    Args:
      state: from ``meco_init`` or the last step; keep it with the parameters.
      data_energy: float [B], E of the data; the model's density is exp(-E) / Z.
      noise_energy: float [M], E of draws from the noise, which must cover the model.
      noise_log_q: float [M], their log-density.
      beta: weight of this step's draws, in (0, 1], a number; 1 has the gradient of ``losses.monte_carlo_nll``.
      where: bool [B], True where a datum counts; the others give no gradient.
      noise_where: bool [M], True where a draw counts; without any the estimate stays as it was.
      axis_name: the mapped axis over which data and noise are split; the means run over all its members.
    Returns:
      (float32 or wider scalar, MecoState).
    Raises:
      ValueError: shapes do not agree, or a static beta outside (0, 1].
      TypeError: an array is not floating point or wider than the state, or a mask not boolean.

    >>> zeros = jnp.zeros(2)
    >>> loss, state = meco_surrogate(meco_init(), jnp.ones(1), zeros, zeros - jnp.log(3.0))
    >>> print(f"{loss:.4f}, Z is {jnp.exp(state.log_u):.4f}")
    2.0000, Z is 3.0000

    Reference: Jiang et al., "Learning Unnormalized Statistical Models via Compositional Optimization" (2023). The
    objective derived from the abstract, the moving average recalled; the default of beta is ours.
    """
    checks.in_range(checks.positive(beta, "beta"), "beta", 0, 1)
    data, _, counts = energies(data_energy, where, "data_energy")
    noise, log_q, drawn = energies(noise_energy, noise_where, "noise_energy", noise_log_q, "noise_log_q")
    log_weights = -noise - log_q
    for array, name in ((data, "data_energy"), (log_weights, "noise_energy")):
        checks.not_wider(array, name, state.log_u.dtype)
    some = jnp.any(drawn)
    if axis_name is not None:
        some = jax.lax.pmax(some.astype(jnp.int32), axis_name) > 0
    now = jax.lax.stop_gradient(log_mean_weight(log_weights, drawn, axis_name))
    weight = jnp.asarray(beta, now.dtype)
    mixed = jnp.logaddexp(jnp.log1p(-weight) + state.log_u, jnp.log(weight) + now)
    log_u = jnp.where(some, jnp.where(state.count == 0, now, mixed), state.log_u)
    ratios = jnp.exp(jnp.where(drawn, log_weights - log_u, 0.0))
    loss = mean_over(data, counts, axis_name) + mean_over(ratios, drawn, axis_name)
    return loss, MecoState(log_u.astype(state.log_u.dtype), state.count + some.astype(jnp.int32))
