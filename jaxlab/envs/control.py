"""Worlds in which luck looks like skill: a bandit and a frozen lake, rollouts, and policies read off counts.

An ``Environment`` is two pure functions, ``reset(key) -> state`` and ``step(state, action) -> (state, reward, done)``;
the state carries its own key. After the end of an episode nothing changes and every reward is 0, so rollouts have a
fixed length and ``vmap`` over keys gives many.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses import DocParams
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "LAKE",
    "ControlState",
    "DocPolicy",
    "Environment",
    "Trajectory",
    "bernoulli_bandit",
    "doc_policy",
    "frozen_lake",
    "frozen_lake_transitions",
    "return_conditioned_policy",
    "rollout",
]

LAKE = ("SFFF", "FHFH", "FFFH", "HFFG")  # start, frozen, hole, goal
_MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))  # left, down, right, up, as (row, column)


class ControlState(NamedTuple):
    """Where an episode stands."""

    key: Array  # for what is still to come
    observation: Array  # int32 scalar
    done: Array  # bool scalar


class Environment(NamedTuple):
    """A world with numbered observations and actions."""

    reset: Callable[[Array], Any]
    step: Callable[[Any, ArrayLike], tuple[Any, Array, Array]]
    num_observations: int
    num_actions: int


class Trajectory(NamedTuple):
    """What happened in an episode of at most T steps."""

    observations: Array  # int32 [T], before the action
    actions: Array  # int32 [T]
    rewards: Array  # float32 [T]
    where: Array  # bool [T], True until the episode has ended


def bernoulli_bandit(success: ArrayLike) -> Environment:
    r"""One decision between arms that pay 1 with their probabilities, else 0.

    Args:
      success: float [A], in [0, 1], the probability of every arm.
    Returns:
      Environment with the one observation 0; an episode is one step. An action that is no arm is taken as the nearest.
    Raises:
      ValueError: success is not [A] with A >= 1.
      TypeError: success is not floating point.

    >>> bandit = bernoulli_bandit(jnp.array([0.0, 1.0]))
    >>> print(*bandit.step(bandit.reset(jax.random.key(0)), 1)[1:])
    1.0 True

    Reference: Yang et al., "Dichotomy of Control: Separating What You Can Control from What You Cannot" (2023), paper
    text.
    """
    arms = checks.rank(checks.floating(success, "success"), "success", 1, layout="[A]")
    num_arms = checks.at_least(arms.shape[0], "the number of arms A in success", 1)

    def step(state: ControlState, action: ArrayLike) -> tuple[ControlState, Array, Array]:
        key, draw = jax.random.split(state.key)
        pays = jax.random.bernoulli(draw, arms[jnp.clip(action, 0, num_arms - 1)])
        reward = jnp.where(state.done, 0.0, pays.astype(jnp.float32))
        done = jnp.ones_like(state.done)
        return ControlState(key, state.observation, done), reward, done

    return Environment(lambda key: ControlState(key, jnp.int32(0), jnp.array(False)), step, 1, num_arms)


def frozen_lake_transitions(slip: ArrayLike, *, layout: Sequence[str] = LAKE) -> Array:
    r"""Probabilities of the next cell on a frozen lake.

    .. math:: P(s' \mid s, a) = (1 - p)\,[s' = s \oplus a] + \tfrac p2 \sum_{a' \perp a} [s' = s \oplus a']

    Args:
      slip: p, in [0, 1]: the move goes to one of the two sides of the intended direction; 2/3 is Gymnasium's slippery
        lake. A float or a scalar array.
      layout: rows of one length of the letters S (start, exactly one), F (frozen), H (hole), G (goal), static.
    Returns:
      float32 [S, 4, S]: cells row by row; actions left, down, right, up. Moves into the edge stay; holes and goals are
      never left.
    Raises:
      ValueError: a static slip outside [0, 1], or a layout that is not as above.

    >>> print(frozen_lake_transitions(0.5, layout=("SF", "FG"))[0, 1])
    [0.25 0.25 0.5  0.  ]

    Reference: Gymnasium's FrozenLake, standard.
    """
    checks.in_range(slip, "slip", 0.0, 1.0)
    cells = _cells(layout)
    rows, columns = len(layout), len(layout[0])
    target = []
    for cell, kind in enumerate(cells):
        row, column = divmod(cell, columns)
        moved = (
            (min(max(row + down, 0), rows - 1), min(max(column + right, 0), columns - 1)) for down, right in _MOVES
        )
        target.append([cell if kind in "HG" else y * columns + x for y, x in moved])
    lands = jax.nn.one_hot(jnp.array(target), len(cells))  # [S, 4, S]
    p = jnp.asarray(slip, jnp.float32)
    return (1.0 - p) * lands + 0.5 * p * (jnp.roll(lands, 1, axis=1) + jnp.roll(lands, -1, axis=1))


def frozen_lake(slip: ArrayLike, *, layout: Sequence[str] = LAKE) -> Environment:
    r"""A walk over ice that may slip: 1 at a goal, 0 everywhere else; a hole ends the episode.

    Args:
      slip: p, in [0, 1], as in ``frozen_lake_transitions``.
      layout: letters S, F, H, G, static, as in ``frozen_lake_transitions``.
    Returns:
      Environment: observations are the cells row by row, actions left, down, right, up; there is no time limit. An
      action that does not exist is taken as the nearest.
    Raises:
      ValueError: as ``frozen_lake_transitions``.

    >>> lake = frozen_lake(0.0, layout=("SG",))
    >>> print(*lake.step(lake.reset(jax.random.key(0)), 2)[1:])
    1.0 True

    Reference: Gymnasium's FrozenLake, standard.
    """
    transitions, cells = frozen_lake_transitions(slip, layout=layout), _cells(layout)
    ends, goal = (jnp.array([kind in kinds for kind in cells]) for kinds in ("HG", "G"))

    def step(state: ControlState, action: ArrayLike) -> tuple[ControlState, Array, Array]:
        key, draw = jax.random.split(state.key)
        chances = transitions[state.observation, jnp.clip(action, 0, len(_MOVES) - 1)]
        cell = jax.random.categorical(draw, jnp.log(chances)).astype(jnp.int32)  # an end is never left
        reward = jnp.where(~state.done & goal[cell], 1.0, 0.0)
        done = state.done | ends[cell]
        return ControlState(key, cell, done), reward, done

    def reset(key: Array) -> ControlState:
        return ControlState(key, jnp.int32(cells.index("S")), jnp.array(False))

    return Environment(reset, step, len(cells), len(_MOVES))


def _cells(layout: Sequence[str]) -> str:
    cells = "".join(layout)
    if len({len(row) for row in layout}) != 1 or not set(cells) <= set("SFHG") or cells.count("S") != 1:
        raise ValueError(f"layout must be rows of one length of the letters S (once), F, H, G, got {tuple(layout)!r}")
    return cells


def rollout(key: Array, env: Environment, policy: ArrayLike, *, num_steps: int) -> Trajectory:
    r"""One episode, in one ``lax.scan``.

    Args:
      key: PRNG key; ``vmap`` over keys for many episodes.
      env: Environment, static.
      policy: float [S, A], >= 0, the probabilities of the actions after every observation, up to a factor.
      num_steps: T, static, >= 1; a longer episode is cut off.
    Returns:
      Trajectory; ``jnp.sum(rewards)`` is the return.
    Raises:
      ValueError: policy is not [S, A] of this environment, or num_steps < 1.
      TypeError: policy is not floating point.

    >>> episode = rollout(jax.random.key(0), frozen_lake(0.0, layout=("SFG",)), jnp.eye(4)[jnp.full(3, 2)], num_steps=4)
    >>> print(episode.observations, episode.rewards, episode.where)
    [0 1 2 2] [0. 1. 0. 0.] [ True  True False False]

    Reference: standard.
    """
    table = checks.floating(policy, "policy")
    if table.shape != (env.num_observations, env.num_actions):
        raise ValueError(f"policy must have shape [{env.num_observations}, {env.num_actions}], got {list(table.shape)}")
    checks.size(num_steps, "num_steps")
    start_key, action_key = jax.random.split(key)
    logits = jnp.log(table.astype(jnp.promote_types(table.dtype, jnp.float32)))

    def step(state: ControlState, key: Array) -> tuple[ControlState, Trajectory]:
        action = jax.random.categorical(key, logits[state.observation]).astype(jnp.int32)
        following, reward, _ = env.step(state, action)
        return following, Trajectory(state.observation, action, reward, ~state.done)

    return jax.lax.scan(step, env.reset(start_key), jax.random.split(action_key, num_steps))[1]


def return_conditioned_policy(counts: ArrayLike) -> Array:
    r"""What imitation learns when it is told the return: the actions that came before it.

    .. math:: \pi(a \mid s, r) = \frac{n(s, a, r)}{\sum_{a'} n(s, a', r)}

    With exact probabilities :math:`\beta(a \mid s)\, p(r \mid s, a)` for counts it is the limit of infinite data. On a
    bandit :math:`\pi(a \mid r = 1) \propto \beta(a)\, \mu(a)`: an arm that was pulled often had its luck often.

    Args:
      counts: float [..., A, R], >= 0, how often an action was followed by each of R returns.
    Returns:
      float32 or wider [..., R, A], probabilities. Where a return never came the actions are those of all returns
      together, and uniform where nothing did.
    Raises:
      ValueError: counts have fewer than two axes, or no action.
      TypeError: counts are not floating point.

    >>> counts = jnp.array([[0.9 * 0.9, 0.9 * 0.1], [0.1 * 0.1, 0.1 * 0.9]])  # the bad arm nine times out of ten
    >>> print(jnp.round(return_conditioned_policy(counts)[1], 3))
    [0.5 0.5]

    Reference: Yang et al., "Dichotomy of Control: Separating What You Can Control from What You Cannot" (2023), paper
    text.
    """
    table = checks.floating(counts, "counts")
    if table.ndim < 2 or table.shape[-2] < 1:
        raise ValueError(f"counts must have shape [..., A, R] with A >= 1, got {list(table.shape)}")
    by_return = jnp.swapaxes(table.astype(accumulation_dtype(table)), -1, -2)
    together = jnp.broadcast_to(jnp.sum(by_return, axis=-2, keepdims=True), by_return.shape)
    chosen = jnp.where(jnp.sum(by_return, axis=-1, keepdims=True) > 0, by_return, together)
    total = jnp.sum(chosen, axis=-1, keepdims=True)
    return jnp.where(total > 0, chosen / jnp.where(total > 0, total, 1.0), 1.0 / table.shape[-2])


class DocPolicy(NamedTuple):
    """How dichotomy of control acts, and what it promises."""

    probs: Array  # [S, A]
    promise: Array  # [S], the probability of the best return that its latent predicts


def doc_policy(params: DocParams, counts: ArrayLike, *, min_count: ArrayLike = 1.0) -> DocPolicy:
    r"""How dichotomy of control acts: by the latent that promises the best return.

    .. math:: \pi(a \mid s, z^*), \qquad z^* = \arg\max_{z:\, n_z \ge n_0} V(r_{\max} \mid s, z),
              \quad n_z = \sum_{a, r} n(s, a, r)\, q(z \mid s, a, r)

    Args:
      params: DocParams trained by ``losses.doc_tabular``, tables over S states, A actions, R returns, Z latents; the
        last return is the best.
      counts: float [S, A, R], >= 0, of the training data.
      min_count: n_0 >= 0, how many examples must stand behind a latent: one that nothing fell on promises whatever its
        random start says.
    Returns:
      DocPolicy, float32 or wider; ties go to the lower latent. Where no latent has enough behind it (a state that was
      not visited), the one with the most behind it is taken.
    Raises:
      ValueError: counts are not [S, A, R] of these params, or a static min_count < 0.
      TypeError: counts are not floating point.

    >>> from jaxlab import losses
    >>> params = losses.doc_tabular_init(jax.random.key(0), num_states=1, num_actions=2, num_returns=2)
    >>> print(doc_policy(params, jnp.ones((1, 2, 2))).probs.shape)
    (1, 2)

    Reference: Yang et al., "Dichotomy of Control: Separating What You Can Control from What You Cannot" (2023). Checked
    against the authors' code, which takes all latents.
    """
    table = checks.floating(counts, "counts")
    if table.shape != params.posterior.shape[:3]:
        raise ValueError(f"counts must have shape {list(params.posterior.shape[:3])}, got {list(table.shape)}")
    checks.at_least(min_count, "min_count", 0)
    dtype = accumulation_dtype(table, *params)
    posterior = jax.nn.softmax(params.posterior.astype(dtype), axis=-1)
    behind = jnp.einsum("sar,sarz->sz", table.astype(dtype), posterior)
    promised = jax.nn.softmax(params.value.astype(dtype), axis=-1)[..., -1]
    enough = behind >= jnp.asarray(min_count, dtype)
    score = jnp.where(jnp.any(enough, axis=-1, keepdims=True), jnp.where(enough, promised, -1.0), behind)
    best = jnp.argmax(score, axis=-1)[:, None]
    policy = jax.nn.softmax(params.policy.astype(dtype), axis=-1)
    probs = jnp.take_along_axis(policy, best[..., None], axis=1)[:, 0]
    return DocPolicy(probs, jnp.take_along_axis(promised, best, axis=1)[:, 0])
