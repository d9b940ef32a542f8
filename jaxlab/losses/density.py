"""Losses of models of a distribution: unnormalised ones, and tabular dichotomy of control with its bound."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics import straight_through
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "DocParams",
    "conditional_mi_contrastive",
    "doc_tabular",
    "doc_tabular_init",
    "gaussian_kl",
    "monte_carlo_nll",
    "nce",
]


class DocParams(NamedTuple):
    """Tables of logits over S states, A actions, R returns and Z latents; the energies are no logits."""

    posterior: Array  # [S, A, R, Z]: of z, given what happened
    value: Array  # [S, Z, R]: of the return, given z
    policy: Array  # [S, Z, A]: of the action, given z
    energy: Array  # [S, A, R, Z]


def doc_tabular_init(
    key: Array, *, num_states: int, num_actions: int, num_returns: int, num_latents: int | None = None
) -> DocParams:
    r"""Random tables for ``doc_tabular``.

    Args:
      key: PRNG key.
      num_states: S, static.
      num_actions: A, static.
      num_returns: R, how many values a return can take, static.
      num_latents: Z, static; None means A R.
    Returns:
      DocParams of float32 numbers from the standard normal, cut off at 2.
    Raises:
      ValueError: a size is below 1.
      TypeError: a size is no static integer.

    >>> print(doc_tabular_init(jax.random.key(0), num_states=1, num_actions=2, num_returns=2).value.shape)
    (1, 4, 2)

    Reference: as ``doc_tabular``.
    """
    states, actions = checks.size(num_states, "num_states"), checks.size(num_actions, "num_actions")
    returns = checks.size(num_returns, "num_returns")
    latents = actions * returns if num_latents is None else checks.size(num_latents, "num_latents")
    keys, shapes = jax.random.split(key, 4), _shapes(states, actions, returns, latents)
    return DocParams(*(jax.random.truncated_normal(k, -2.0, 2.0, shape) for k, shape in zip(keys, shapes, strict=True)))


def _shapes(states: int, actions: int, returns: int, latents: int) -> tuple[tuple[int, ...], ...]:
    happened = (states, actions, returns, latents)
    return happened, (states, latents, returns), (states, latents, actions), happened


def conditional_mi_contrastive(pos_energy: ArrayLike, all_energies: ArrayLike, log_prior: ArrayLike) -> Array:
    r"""Contrastive estimate of how little a latent says about an outcome (per example; larger means it says less).

    .. math:: \ell = -f(r) + \log \sum_{r'} \rho(r')\, e^{f(r')}

    for energies f of a latent with every outcome r'. Minimised over f its mean becomes
    :math:`-I(r; z \mid s, a)` minus a term that z has no part in, so a latent that must say nothing about r MAXIMISES
    it (``doc_tabular``).

    Args:
      pos_energy: float [...], f of the outcome that came.
      all_energies: float [..., R], f of every outcome.
      log_prior: float [R] or [..., R], log rho, -inf where an outcome never comes.
    Returns:
      float32 or wider [...], at least log rho(r); 0 where f is the same for all outcomes.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an argument is not floating point.

    >>> prior = jnp.log(jnp.array([0.5, 0.5]))
    >>> print(f"{conditional_mi_contrastive(jnp.array(3.0), jnp.array([0.0, 3.0]), prior):.3f}")
    -0.645

    Reference: Yang et al., "Dichotomy of Control: Separating What You Can Control from What You Cannot" (2023). Checked
    against the authors' code.
    """
    pos, energies = checks.floating(pos_energy, "pos_energy"), checks.floating(all_energies, "all_energies")
    prior = checks.floating(log_prior, "log_prior")
    if energies.ndim < 1 or energies.shape[:-1] != pos.shape:
        raise ValueError(f"all_energies must have shape {[*pos.shape, 'R']} as pos_energy, got {list(energies.shape)}")
    if prior.shape not in (energies.shape, energies.shape[-1:]):
        raise ValueError(f"log_prior must have shape [{energies.shape[-1]}] (one per outcome), got {list(prior.shape)}")
    dtype = accumulation_dtype(pos, energies, prior)
    return jax.nn.logsumexp(energies.astype(dtype) + prior.astype(dtype), axis=-1) - pos.astype(dtype)


def doc_tabular(
    params: DocParams,
    states: ArrayLike,
    actions: ArrayLike,
    returns: ArrayLike,
    key: Array,
    *,
    reward_prior: ArrayLike,
    energy_weight: ArrayLike = 3.0,
    adversarial: bool = True,
    where: ArrayLike | None = None,
) -> Array:
    r"""Dichotomy of control on tables: a latent of the future that holds decisions and no luck (per example).

    .. math:: \ell = -\log V(r \mid s, z) - \log \pi(a \mid s, z)
              + w \Big( -f(s, a, r)_z + \log \sum_{r'} \rho(r')\, e^{f(s, a, r')_z} \Big),
              \qquad z \sim q(z \mid s, a, r)

    z is sampled, and passes its gradient straight through. In the last term the energies f learn what z tells about r
    beyond (s, a), and the posterior q learns to tell nothing: of that term it gets the gradient with its sign reversed.
    Without it z may encode that the environment was lucky, and acting on the best z repeats what was lucky.

    The value term rewards q for every nat about r, so w must be above 1 to outweigh it.

    Args:
      params: DocParams, tables over S states, A actions, R returns, Z latents.
      states: int [B], in [0, S).
      actions: int [B], in [0, A).
      returns: int [B], in [0, R): the reward of the step, or the return to go, by number.
      key: PRNG key, for the latents.
      reward_prior: float [R], rho, how often each return comes in the data.
      energy_weight: w >= 0; 0 is conditioning on an unconstrained latent.
      adversarial: static; False minimises the last term over q too, as the authors' code does, which rewards q for
        encoding luck.
      where: bool [B], True where a step counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [B]; NaN for a counted step whose state, action or return does not exist.
    Raises:
      ValueError: shapes do not agree, or a static energy_weight < 0.
      TypeError: states, actions or returns are not integers, params or reward_prior not floating point, or where not
        boolean.

    >>> params = jax.tree.map(jnp.zeros_like, doc_tabular_init(jax.random.key(0), num_states=1, num_actions=2,
    ...                                                        num_returns=2))
    >>> step = jnp.zeros(1, int)
    >>> print(jnp.round(doc_tabular(params, step, step, step, jax.random.key(1), reward_prior=jnp.full(2, 0.5)), 4))
    [1.3863]

    Reference: Yang et al., "Dichotomy of Control: Separating What You Can Control from What You Cannot" (2023). Terms
    checked against the authors' code; the sign of the last one for q, which the paper has as a maximum over f inside
    the minimum over q, recalled, and the weight our own (theirs is 1).
    """
    _check_tables(params)
    s, a, r = (
        checks.rank(checks.integer(value, name), name, 1, layout="[B]")
        for value, name in ((states, "states"), (actions, "actions"), (returns, "returns"))
    )
    checks.same_shape(s, "states", a, "actions")
    checks.same_shape(s, "states", r, "returns")
    prior = checks.floating(reward_prior, "reward_prior")
    num_states, num_actions, num_returns, num_latents = params.posterior.shape
    if prior.shape != (num_returns,):
        raise ValueError(f"reward_prior must have shape [{num_returns}], got {list(prior.shape)}")
    checks.at_least(energy_weight, "energy_weight", 0)
    mask = checks.mask(where, "where", s.shape)
    exists = (s >= 0) & (s < num_states) & (a >= 0) & (a < num_actions) & (r >= 0) & (r < num_returns)
    s, a, r = (jnp.where(exists, value, 0) for value in (s, a, r))
    dtype = accumulation_dtype(*params)
    posterior, value, policy, energy = (table.astype(dtype) for table in params)

    logits = posterior[s, a, r]
    drawn = jax.nn.one_hot(jax.random.categorical(key, logits), num_latents, dtype=dtype)
    z = straight_through(drawn, jax.nn.softmax(logits))
    cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    losses = cross_entropy(jnp.einsum("bz,bzr->br", z, value[s]), r)
    losses += cross_entropy(jnp.einsum("bz,bza->ba", z, policy[s]), a)
    against = optax.scale_gradient(z, -1.0) if adversarial else z
    energies = jnp.einsum("bz,brz->br", against, energy[s, a])
    own = jnp.take_along_axis(energies, r[:, None], axis=1)[:, 0]
    losses += energy_weight * conditional_mi_contrastive(own, energies, jnp.log(prior.astype(dtype)))
    losses = jnp.where(exists, losses, jnp.nan)
    return losses if mask is None else jnp.where(mask, losses, 0.0)


def gaussian_kl(mean: ArrayLike, log_var: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""How far a Gaussian with a diagonal covariance is from the standard one (per example; larger is worse).

    .. math:: KL\big(N(\mu, \sigma^2) \,\|\, N(0, I)\big) =
              \tfrac12 \sum_d \big(\mu_d^2 + \sigma_d^2 - 1 - \log \sigma_d^2\big)

    Args:
      mean: float [..., D].
      log_var: logarithm of the variance, float, broadcasts to the shape of mean.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], >= 0, accurate where it is small.
    Raises:
      ValueError: mean has no axis, or log_var does not broadcast.
      TypeError: an array is not floating point.

    >>> print(gaussian_kl(jnp.array([[0.0, 2.0]]), jnp.zeros((1, 2))))
    [2.]

    Reference: Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), standard.
    """
    mean, log_var = checks.floating(mean, "mean"), checks.floating(log_var, "log_var")
    if mean.ndim < 1 or jnp.broadcast_shapes(mean.shape, log_var.shape) != mean.shape:
        raise ValueError(f"log_var must broadcast to mean [..., D], got {list(log_var.shape)} and {list(mean.shape)}")
    mask = checks.mask(where, "where", mean.shape[:-1])
    dtype = accumulation_dtype(mean, log_var)
    center, spread = mean.astype(dtype), jnp.broadcast_to(log_var.astype(dtype), mean.shape)
    if mask is not None:
        center, spread = (jnp.where(mask[..., None], value, 0.0) for value in (center, spread))
    return 0.5 * jnp.sum(center**2 + (jnp.expm1(spread) - spread), axis=-1)


def nce(
    data_energy: ArrayLike,
    data_log_q: ArrayLike,
    noise_energy: ArrayLike,
    noise_log_q: ArrayLike,
    log_z: ArrayLike,
    *,
    ratio: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    noise_where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Noise-contrastive estimation: telling data from noise by an unnormalised density (couples the batch; scalar).

    .. math:: \ell = -\frac1B \sum_x \log \sigma(G(x)) - \frac{\nu}{M} \sum_z \log \sigma(-G(z)),
              \qquad G = -E - \log Z - \log q - \log \nu

    The normaliser is one more parameter: give ``log_z`` from the parameters and it is learned with them.

    Args:
      data_energy: float [B], E of the data; the model's density is exp(-E) / Z.
      data_log_q: float [B], log-density of the noise at the data.
      noise_energy: float [M], E of draws from the noise.
      noise_log_q: float [M], their log-density.
      log_z: float scalar, log Z.
      ratio: nu > 0, how many times as much noise as data is imagined.
      where: bool [B], True where a datum counts; the others give no gradient.
      noise_where: bool [M], True where a draw counts; the others give no gradient.
      axis_name: the mapped axis over which data and noise are split; the means run over all its members.
    Returns:
      float32 or wider scalar, >= 0; a part of which nothing counts adds 0.
    Raises:
      ValueError: shapes do not agree, or a static ratio <= 0.
      TypeError: an array is not floating point, or a mask not boolean.

    >>> zeros = jnp.zeros(1)
    >>> print(nce(zeros, zeros, zeros, zeros, jnp.array(0.0)).round(4))  # 2 log 2
    1.3863

    Reference: Gutmann and Hyvarinen, "Noise-contrastive estimation" (2010), standard.
    """
    checks.positive(ratio, "ratio")
    data_energy, data_log_q, counts = energies(data_energy, where, "data_energy", data_log_q, "data_log_q")
    noise_energy, noise_log_q, drawn = energies(noise_energy, noise_where, "noise_energy", noise_log_q, "noise_log_q")
    offset = checks.rank(checks.floating(log_z, "log_z"), "log_z", 0) + jnp.log(ratio)
    data = jax.nn.softplus(data_energy + offset + data_log_q)
    noise = jax.nn.softplus(-noise_energy - offset - noise_log_q)
    return mean_over(data, counts, axis_name) + ratio * mean_over(noise, drawn, axis_name)


def monte_carlo_nll(
    data_energy: ArrayLike,
    noise_energy: ArrayLike,
    noise_log_q: ArrayLike,
    *,
    where: ArrayLike | None = None,
    noise_where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Negative log-likelihood of an unnormalised density, its normaliser from noise (couples the batch; scalar).

    .. math:: \ell = \frac1B \sum_x E(x) + \log \frac1M \sum_z \frac{e^{-E(z)}}{q(z)}

    The logarithm of a mean of few draws is biased, and where the noise is narrower than the model the weights have no
    variance: ``optim.meco_surrogate`` keeps a running mean instead.

    Args:
      data_energy: float [B], E of the data; the model's density is exp(-E) / Z.
      noise_energy: float [M], E of draws from the noise.
      noise_log_q: float [M], their log-density.
      where: bool [B], True where a datum counts; the others give no gradient.
      noise_where: bool [M], True where a draw counts; the others give no gradient.
      axis_name: the mapped axis over which data and noise are split; the means run over all its members.
    Returns:
      float32 or wider scalar; a part of which nothing counts adds 0.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point, or a mask not boolean.

    >>> print(monte_carlo_nll(jnp.ones(1), jnp.zeros(2), jnp.log(jnp.array([0.5, 0.25]))).round(4))  # 1 + log 3
    2.0986

    Reference: Geyer and Thompson, "Constrained Monte Carlo Maximum Likelihood for Dependent Data" (1992), standard.
    """
    data_energy, _, counts = energies(data_energy, where, "data_energy")
    noise_energy, noise_log_q, drawn = energies(noise_energy, noise_where, "noise_energy", noise_log_q, "noise_log_q")
    return mean_over(data_energy, counts, axis_name) + log_mean_weight(-noise_energy - noise_log_q, drawn, axis_name)


def energies(
    energy: ArrayLike, where: ArrayLike | None, name: str, log_q: ArrayLike | None = None, log_q_name: str = ""
) -> tuple[Array, Array, Array]:
    """Checked energies [B] and log-densities (zeros for None), both cleaned, and which of them count."""
    energy = checks.rank(checks.floating(energy, name), name, 1)
    log_q = jnp.zeros_like(energy) if log_q is None else checks.floating(log_q, log_q_name)
    checks.same_shape(log_q, log_q_name, energy, name)
    mask = checks.mask(where, "where" if name == "data_energy" else "noise_where", energy.shape)
    counts = jnp.ones(energy.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(energy, log_q)
    return jnp.where(counts, energy.astype(dtype), 0.0), jnp.where(counts, log_q.astype(dtype), 0.0), counts


def mean_over(values: Array, counts: Array, axis_name: str | None) -> Array:
    """The mean of what counts, over the members of a mapped axis as well; 0 of nothing."""
    total, number = jnp.sum(jnp.where(counts, values, 0.0)), jnp.sum(counts, dtype=values.dtype)
    if axis_name is not None:
        total, number = jax.lax.psum(total, axis_name), jax.lax.psum(number, axis_name)
    return total / jnp.maximum(number, 1.0)


def log_mean_weight(log_weights: Array, counts: Array, axis_name: str | None) -> Array:
    """log of the mean of exp(log_weights) over what counts, over the members of a mapped axis as well; 0 of nothing."""
    low = jnp.finfo(log_weights.dtype).min
    top = jnp.max(jax.lax.stop_gradient(jnp.where(counts, log_weights, low)), initial=low)
    if axis_name is not None:
        top = jax.lax.pmax(top, axis_name)
    mean = mean_over(jnp.exp(jnp.where(counts, log_weights, top) - top), counts, axis_name)
    return jnp.where(mean > 0, top + jnp.log(jnp.where(mean > 0, mean, 1.0)), 0.0)


def _check_tables(params: DocParams) -> None:
    for name, table in zip(params._fields, params, strict=True):
        checks.rank(checks.floating(table, name), name, 4 if name in ("posterior", "energy") else 3)
    for name, table, shape in zip(params._fields, params, _shapes(*params.posterior.shape), strict=True):
        if table.shape != shape:
            raise ValueError(f"{name} must have shape {list(shape)} to go with posterior, got {list(table.shape)}")
