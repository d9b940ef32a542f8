"""Luck or skill: what does conditioning on a high return imitate where the world is stochastic?

A bandit has an arm that pays with probability .9 and one that pays with .1, and the data pull the bad arm with
probability q. Told to get the best return, imitation repeats what came before it: at q = .9 the bad arm was lucky as
often as the good one. Dichotomy of control conditions on a latent of the future that may hold decisions but no luck. A
frozen lake asks for many decisions: rows of (cell, action, was the goal reached in the end?) from a walker whose moves
are mostly random. The latent may know nothing of the last beyond the first two, so the walker's own later choices count
as luck too: it promises what a good step and random ones after it get, and earns more, as all its steps are good.
Values are exact: computed from the probabilities of the world, not sampled.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments import plots
from experiments.runner import Claim, Method, Result, Run, over_seeds
from experiments.training import cosine_adam, fit
from jaxlab import envs, losses
from jaxlab.typing import Array, PyTree

DATASETS = ()
SEED_SCOPE = "pulls and walks in the data, tables at the start, batches"

SHARES = (0.1, 0.5, 0.7, 0.9, 0.99)  # of the bad arm in the data
ARMS = (0.1, 0.9)
SLIPS = (0.0, 1 / 3, 2 / 3)
# (share of the bad arm, what the arms pay); the last one has no luck.
BANDITS = (*((share, ARMS) for share in SHARES), (0.9, (0.0, 1.0)))
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    pulls: int = 1000
    """Pulls in the data of a bandit."""
    walks: int = 4000
    """Walks in the data of a lake."""
    length: int = 100
    """Steps of a walk, and of the walks that a policy is judged by."""
    random_share: float = 0.7
    """Share of the walker's moves that are random; the others are optimal."""
    energy_weight: float = 3.0
    """Weight of the constraint; above 1, or what a latent gains by knowing luck outweighs it."""
    train_steps: int = 10_000
    """Steps of Adam, batches of 64; the rate falls from .01 to zero as a cosine."""
    bandit_min_count: float = 1.0
    """Pulls that must stand behind a latent before it is acted on."""
    lake_min_count: float = 20.0
    """Steps in a cell that must stand behind a latent before it is acted on."""


QUICK = {"pulls": 500, "walks": 300, "length": 40, "train_steps": 1500}


class Data(NamedTuple):
    """Steps that were taken in a world, and how often each kind came."""

    states: Array  # int [N]
    actions: Array  # int [N]
    returns: Array  # int [N], 1 where the episode ends well
    where: Array  # bool [N]
    counts: Array  # [S, A, 2]
    expected: Array  # [S, A, 2], the counts of infinite data, up to a factor in every state


class World(NamedTuple):
    """A world of one seed: its data, and its probabilities to judge a policy by."""

    data: Data
    transitions: Array  # [S, A, S + 2], the last two: the end without and with a reward
    start: Array


def counted(states: Array, actions: Array, returns: Array, where: Array, like: Array) -> Array:
    """How often an action was followed by a return, in every state."""
    return jnp.zeros_like(like).at[states, actions, returns].add(where.astype(jnp.float32))


def bandit(config: Config, share: Array, arms: Array, key: Array) -> World:
    """A bandit with pulls of a behaviour that takes the bad arm with this probability."""
    behaviour = jnp.stack([share, 1.0 - share])
    pull = lambda key: envs.rollout(key, envs.bernoulli_bandit(arms), behaviour[None], num_steps=1)  # noqa: E731
    pulls = jax.vmap(pull)(jax.random.split(key, config.pulls))
    rows = (pulls.observations[:, 0], pulls.actions[:, 0], pulls.rewards[:, 0].astype(jnp.int32), pulls.where[:, 0])
    chances = jnp.stack([1.0 - arms, arms], axis=-1)[None]
    data = Data(*rows, counted(*rows, chances), behaviour[None, :, None] * chances)
    return World(data, jnp.concatenate([jnp.zeros((1, 2, 1)), chances], axis=-1), jnp.int32(0))


def lake(config: Config, slip: Array, key: Array) -> World:
    """A frozen lake with walks of a behaviour that is optimal some of the time and random otherwise."""
    moves, world = envs.frozen_lake_transitions(slip), envs.frozen_lake(slip)
    cells = "".join(envs.LAKE)
    hole, goal = (jnp.array([cell == kind for cell in cells]) for kind in "HG")
    lost, won = (jnp.sum(moves * ends, axis=-1, keepdims=True) for ends in (hole, goal))
    transitions = jnp.concatenate([moves * ~(hole | goal), lost, won], axis=-1)
    # Discounted, so that of ways that all lead to the goal the shortest is taken.
    best = jnp.argmax(optimal_values(transitions, discount=0.99), axis=-1)
    share = config.random_share
    behaviour = share / 4 + (1.0 - share) * jax.nn.one_hot(best, 4)
    walk = lambda key: envs.rollout(key, world, behaviour, num_steps=config.length)  # noqa: E731
    walks = jax.vmap(walk)(jax.random.split(key, config.walks))
    later = jnp.cumsum(walks.rewards[:, ::-1], axis=1)[:, ::-1].astype(jnp.int32)  # return to go
    states, actions, returns, where = (
        part.reshape(-1) for part in (walks.observations, walks.actions, later, walks.where)
    )
    reach = action_values(transitions, behaviour, length=config.length)
    expected = behaviour[:, :, None] * jnp.stack([1.0 - reach, reach], axis=-1)
    counts = counted(states, actions, returns, where, expected)
    data = Data(states, actions, returns, where, counts, expected)
    return World(data, transitions, jnp.int32(cells.index("S")))


def backed_up(transitions: Array, values: Array) -> Array:
    """Values of actions [S, A], from those of the states that follow."""
    return transitions[..., -1] + transitions[..., :-2] @ values


def optimal_values(transitions: Array, *, discount: float) -> Array:
    """Values of actions [S, A] for whoever acts best from then on."""
    step = lambda _, q: backed_up(transitions, discount * jnp.max(q, axis=-1))  # noqa: E731
    return jax.lax.fori_loop(0, 500, step, jnp.zeros(transitions.shape[:2]))


def action_values(transitions: Array, policy: Array, *, length: int) -> Array:
    """Probability [S, A] of a reward within that many steps, after an action, under the policy [S, A]."""
    step = lambda _, q: backed_up(transitions, jnp.sum(policy * q, axis=-1))  # noqa: E731
    return jax.lax.fori_loop(0, length, step, jnp.zeros(transitions.shape[:2]))


# A method makes a policy [S, A] from the data, and says what it promises [S], or None.
Made = tuple[Array, Array | None]
Policy = Callable[[Config, Data, Array], Made]


def by_share(table: Array) -> Array:
    """Probabilities of actions [S, A] as they were taken in a table [S, A], uniform in states that it does not know."""
    return envs.return_conditioned_policy(table[..., None])[:, 0]


def imitate(config: Config, data: Data, key: Array) -> Made:
    return by_share(jnp.sum(data.counts, axis=-1)), None


def imitate_good(config: Config, data: Data, key: Array) -> Made:
    """From episodes that ended well alone, whatever came before."""
    return by_share(data.counts[..., 1]), None


def condition(config: Config, data: Data, key: Array, *, exact: bool = False) -> Made:
    """The actions that came before the best return, which is what it promises."""
    policy = envs.return_conditioned_policy(data.expected if exact else data.counts)[:, 1]
    return policy, jnp.ones(len(policy))


def doc_loss(
    params: losses.DocParams, state: PyTree, batch: dict[str, Any], key: Array, *, adversarial: bool
) -> tuple[Array, PyTree]:
    steps = (batch["states"], batch["actions"], batch["returns"])
    each = losses.doc_tabular(
        params, *steps, key, reward_prior=state["prior"], energy_weight=state["weight"], adversarial=adversarial
    )
    return jnp.mean(each), state


# One object each, so that calls compile once.
LOSS = {flag: functools.partial(doc_loss, adversarial=flag) for flag in (True, False)}


def control(config: Config, data: Data, key: Array, *, constrained: bool = True, adversarial: bool = True) -> Made:
    """Dichotomy of control, trained on tables."""
    num_states, num_actions, num_returns = data.counts.shape
    init_key, train_key = jax.random.split(key)
    params = losses.doc_tabular_init(init_key, num_states=num_states, num_actions=num_actions, num_returns=num_returns)
    prior = jnp.sum(data.counts, axis=(0, 1))
    weight = jnp.float32(config.energy_weight if constrained else 0.0)
    rows = {"states": data.states, "actions": data.actions, "returns": data.returns}
    trained = fit(
        LOSS[adversarial],
        params,
        {"prior": prior / jnp.sum(prior), "weight": weight},
        cosine_adam(0.01, config.train_steps),
        rows,
        train_key,
        num_steps=config.train_steps,
        batch_size=BATCH,
        where=data.where,
    )
    min_count = config.bandit_min_count if num_states == 1 else config.lake_min_count
    policy = envs.doc_policy(trained.params, data.counts, min_count=min_count)
    return policy.probs, policy.promise


def worlds(config: Config, key: Array) -> dict[str, World]:
    """All bandits and all lakes of a seed, with a leading axis each."""
    bandit_key, lake_key = jax.random.split(key)
    shares, arms = jnp.array([share for share, _ in BANDITS]), jnp.array([arms for _, arms in BANDITS])
    pull, walk = functools.partial(bandit, config), functools.partial(lake, config)
    return {
        "bandit": jax.vmap(pull)(shares, arms, jax.random.split(bandit_key, len(BANDITS))),
        "lake": jax.vmap(walk)(jnp.array(SLIPS), jax.random.split(lake_key, len(SLIPS))),
    }


def judged(
    policy: Policy, config: Config, key: Array, made: dict[str, World]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What the policies are worth in all worlds, and what they promised."""
    curves: dict[str, Array] = {}
    for number, (name, length) in enumerate((("bandit", 1), ("lake", config.length))):

        def one(world: World, key: Array, length: int = length) -> dict[str, Array]:
            probs, promise = policy(config, world.data, key)
            value = jnp.sum(probs * action_values(world.transitions, probs, length=length), axis=-1)[world.start]
            found = {"value": value, "policy": probs}
            return found if promise is None else found | {"promise": promise[world.start]}

        world = made[name]
        keys = jax.random.split(jax.random.fold_in(key, number), len(world.start))
        curves |= {f"{name}_{what}": found for what, found in jax.vmap(one)(world, keys).items()}
    names = [f"bandit_{share:g}" for share in SHARES] + ["bandit_sure"] + [f"lake_{slip:.2g}" for slip in SLIPS]
    values = jnp.concatenate([curves["bandit_value"], curves["lake_value"]])
    measured = dict(zip(names, values, strict=True))
    if "bandit_promise" in curves:
        measured["broken_promise"] = (curves["bandit_promise"] - curves["bandit_value"])[SHARES.index(0.9)]
    return measured, curves


def _row(policy: Policy, **options: Any) -> Callable[..., Any]:
    return functools.partial(judged, functools.partial(policy, **options))


METHODS = (
    Method("imitation", None, _row(imitate), note="the behaviour in the data"),
    Method("imitation_good", None, _row(imitate_good), note="of episodes that ended well"),
    Method("conditioned", None, _row(condition), note="on the best return, by counting"),
    Method("conditioned_exact", None, _row(condition, exact=True), note="on infinite data, in closed form"),
    Method("doc", 285, _row(control)),
    Method("doc_unconstrained", None, _row(control, constrained=False), note="the latent may hold luck"),
    Method("doc_as_coded", None, _row(control, adversarial=False), note="the constraint with the authors' sign"),
)


def _gain(metric: str, other: str) -> Callable[[Any], Any]:
    return lambda rows: rows[metric]["doc"] - rows[metric][other]


CLAIMS = (
    Claim(285, "q = .9: dichotomy of control earns .85", lambda rows: rows["bandit_0.9"]["doc"], ">", 0.85),
    Claim(
        285,
        "q = .9: conditioning on return earns .55 at most",
        lambda rows: rows["bandit_0.9"]["conditioned"],
        "<",
        0.55,
    ),
    Claim(285, "q = .9: it gets what it promises", lambda rows: rows["broken_promise"]["doc"], "within", 0.05),
    Claim(285, "q = .9: without the constraint it earns .3 less", _gain("bandit_0.9", "doc_unconstrained"), ">", 0.3),
    Claim(285, "Without luck both coincide", _gain("bandit_sure", "conditioned"), "within", 0.02),
    Claim(
        285,
        "On both slippery lakes it reaches the goal more often than conditioning on return",
        lambda rows: np.min([_gain(f"lake_{slip:.2g}", "conditioned")(rows) for slip in SLIPS[1:]], axis=0),
        ">",
        0.0,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    keys = run.seed_keys()
    run.progress("pulling arms and walking on ice")
    made = jax.jit(jax.vmap(functools.partial(worlds, config)))(keys)
    run.rows(METHODS, lambda method: over_seeds(functools.partial(method.fn, config), keys, made))


def plot(result: Result) -> Figure:
    """What policies earn as the bad arm fills the data, what they promise, and where they walk."""
    figure, axes = plots.new_figure(columns=2, rows=2, title="Luck or skill")
    # Of the rows that lie on each other one is drawn.
    names = [method.name for method in METHODS if method.name not in ("imitation_good", "conditioned_exact")]
    curves = result.curves
    values = {name: np.asarray(value, float)[:, : len(SHARES)] for name, value in curves["bandit_value"].items()}
    labels = {"ylabel": "earned by a pull", "xlabel": "share of the bad arm in the data"}
    plots.curves_over_tasks(axes[0], values, names, x=SHARES, **labels)
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(fontsize=9, frameon=False, loc="lower left")
    _promises(axes[1], curves, names)
    for ax, name in zip(axes[2:], ("conditioned", "doc"), strict=True):
        policies = curves.get("lake_policy", {}).get(name)
        _walk(ax, policies, f"{name}, slip 2/3: goal reached {_mean(result.rows.get('lake_0.67', {}).get(name)):.2f}")
    return figure


def _mean(values: Any) -> float:
    return float(np.mean(np.asarray(values, float))) if values is not None else float("nan")


def _promises(ax: Axes, curves: Any, names: list[str]) -> None:
    """Promised against delivered, a point per world and method."""
    ax.plot([0, 1], [0, 1], color="0.4", linewidth=1.0, linestyle="--")
    for place, name in enumerate(names):
        pairs = [
            (
                np.mean(np.asarray(curves[f"{world}_promise"][name], float), 0),
                np.asarray(curves[f"{world}_value"][name], float),
            )
            for world in ("bandit", "lake")
            if name in curves.get(f"{world}_promise", {})
        ]
        if pairs:
            promised, earned = (np.concatenate(side) for side in zip(*((p, v.mean(0)) for p, v in pairs), strict=True))
            look = plots.style(place)
            ax.scatter(promised, earned, s=45, color=look["color"], marker=look["marker"], alpha=0.8, label=name)
    ax.set_xlabel("promised", fontsize=11)
    ax.set_ylabel("earned", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=9, frameon=False, loc="upper left")


def _walk(ax: Axes, policies: Any, title: str) -> None:
    """The lake with an arrow per action, as long as the action is probable (mean over seeds)."""
    ax.set_title(title, fontsize=11)
    ax.set_axis_off()
    if policies is None:
        return
    policy = np.mean(np.asarray(policies, float)[:, -1], axis=0)  # [16, 4]
    colours = {"S": "#CFE8F7", "F": "#EAF4FB", "H": "#55606B", "G": "#F4C95D"}
    for cell, kind in enumerate("".join(envs.LAKE)):
        row, column = divmod(cell, len(envs.LAKE[0]))
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colours[kind], edgecolor="white"))
        if kind in "HG":
            continue
        for (right, down), chance in zip(((-1, 0), (0, 1), (1, 0), (0, -1)), policy[cell], strict=True):
            if chance < 0.1:
                continue
            ax.annotate(
                "",
                (column + 0.48 * chance * right, row + 0.48 * chance * down),
                (column, row),
                arrowprops={"arrowstyle": "-|>", "color": plots.PALETTE[0], "linewidth": 0.5 + 2.0 * chance},
            )
    ax.set_xlim(-0.5, 3.5)
    ax.set_ylim(3.5, -0.5)
    ax.set_aspect("equal")
