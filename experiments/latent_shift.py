"""Classes without any label, in domains that differ in how frequent the classes are.

Where the classes are not what the eye would group (each is several digits at once), only the domains tell them apart.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.assets.classifiers import train_classifier
from experiments.claims import difference
from experiments.data import Dataset
from experiments.discovery_splits import Group, inputs, split
from experiments.networks import mlp
from experiments.runner import Claim, Method, Run
from jaxlab import analytic, metrics, weaksup
from jaxlab.typing import Array

__all__ = ["GROUP", "QUICK", "Settings"]

COMPOSITES = 3  # classes of several classes each


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the search for shifted classes needs to know."""

    shift_ratio: float = 0.4
    """How much rarer a class is in each further domain, counted from its own."""
    shift_folds: int = 5
    """Folds of the domain classifier."""
    shift_steps: int = 400
    """Steps of each, batches of 128."""
    nmf_steps: int = 2000
    """Updates of the factorisation, from 5 starts."""

    def check_shift(self) -> None:
        """Raises ValueError where a number is out of range."""
        if not 0 < self.shift_ratio < 1:
            raise ValueError(f"shift_ratio must lie in (0, 1), got {self.shift_ratio}")
        for name, low in (("shift_folds", 2), ("shift_steps", 1), ("nmf_steps", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


QUICK = {"shift_folds": 2, "shift_steps": 60, "nmf_steps": 200}


class Problem(NamedTuple):
    """Rows in domains, of which there are as many as classes."""

    rows: Array  # int [N], their numbers in the data
    domain: Array  # int [N]
    fold: Array  # int [N]
    label: Array  # int [N], for judging alone
    marginals: Array  # [K, K], p(class | domain)


class Seed(NamedTuple):
    """One seed: the same rows as composite classes, as three single classes, as all single classes."""

    key: Array
    problems: dict[str, Problem]


def shares(ratio: float, num: int) -> np.ndarray:
    """How the rows of every class are spread over domains [K, K]; as all are alike, also p(class | domain)."""
    first = ratio ** np.arange(num)
    return np.stack([np.roll(first / first.sum(), label) for label in range(num)])


def in_domains(rows: np.ndarray, ratio: float, folds: int, rng: np.random.Generator) -> Problem:
    """The rows [K, n] of every class, dealt out to domains."""
    num_classes, size = rows.shape
    spread = shares(ratio, num_classes)
    ends = np.rint(np.cumsum(spread, axis=1) * size)
    domain = np.array([np.searchsorted(end, np.arange(size), side="right") for end in ends])
    dealt = rng.permuted(rows, axis=1).reshape(-1)
    label = np.repeat(np.arange(num_classes), size)
    fold = rng.permutation(len(dealt)) % folds
    return Problem(*map(jnp.asarray, (dealt, domain.reshape(-1), fold, label, spread.astype(np.float32))))


def prepare(config: Any, run: Run, data: Dataset) -> tuple[Seed, tuple[Array, ...]]:
    """The rows of every seed in their domains, and the data.

    Raises:
      ValueError: there are too few classes to make composites of.
    """
    if data.num_classes < 2 * COMPOSITES:
        raise ValueError(f"composite classes need at least {2 * COMPOSITES} classes, got {data.num_classes}")
    chosen = split(data, run, test_share=config.test_share)
    rows = np.concatenate([chosen.train, chosen.test], axis=2)
    seeds = []
    for seed, own in enumerate(rows):
        rng = np.random.default_rng([seed, 3])
        deal = functools.partial(in_domains, ratio=config.shift_ratio, folds=config.shift_folds, rng=rng)
        each = len(own) // COMPOSITES
        composite = own[: COMPOSITES * each].reshape(COMPOSITES, -1)
        seeds.append({"composite": deal(composite), "three": deal(own[:COMPOSITES]), "all": deal(own)})
    problems = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    return Seed(run.seed_keys(), problems), (jnp.asarray(inputs(data)),)


def domain_probs(config: Any, key: Array, x: Array, problem: Problem) -> Array:
    """p(domain | x) [N, R] of classifiers that have not seen the row: of their own rows they would be too sure."""
    num_domains = problem.marginals.shape[1]
    network = mlp((x.shape[1], 64, num_domains))

    def of_fold(fold: Array) -> Array:
        own = jax.random.fold_in(key, fold)
        options = {"num_classes": num_domains, "num_steps": config.shift_steps}
        params = train_classifier(network, x, problem.domain, own, where=problem.fold != fold, **options)
        return jax.nn.softmax(network.logits(params, x))

    each = jax.vmap(of_fold)(jnp.arange(config.shift_folds))
    return each[problem.fold, jnp.arange(x.shape[0])]


def by_nmf(config: Any, key: Array, matrix: Array, problem: Problem) -> Array:
    """p(class | domain) from factors of the matrix, whichever of the many exact ones is found."""
    rank = problem.marginals.shape[0]
    found = analytic.nmf(matrix, rank=rank, key=key, num_iters=config.nmf_steps, num_restarts=5)
    return weaksup.normalize_nmf(found.left, found.right).class_given_domain


def by_anchors(config: Any, key: Array, matrix: Array, problem: Problem) -> Array:
    """p(class | domain) from the clusters of which all others are mixtures."""
    anchors = matrix[analytic.anchor_rows(matrix, rank=problem.marginals.shape[0])]
    left = jax.vmap(lambda row: optax.nnls(anchors.T, row, iters=config.nmf_steps))(matrix)
    return weaksup.normalize_nmf(left, anchors).class_given_domain


def told(config: Any, key: Array, matrix: Array, problem: Problem) -> Array:
    """The true p(class | domain)."""
    return problem.marginals


SOLVERS = (by_nmf, by_anchors, told)


def ddfa(config: Any, key: Array, x: Array, problem: Problem, solver: Array) -> tuple[Array, Array]:
    """Classes [N] from domains alone, and the p(class | domain) that was found; ``solver`` is a number."""
    num_classes, num_domains = problem.marginals.shape
    probs = domain_probs(config, key, x, problem)
    clusters = analytic.kmeans(key, probs, k=num_classes, num_restarts=5).assignment
    matrix = weaksup.domain_cluster_matrix(clusters, problem.domain, num_clusters=num_classes, num_domains=num_domains)
    marginals = jnp.stack([solve(config, key, matrix, problem) for solve in SOLVERS])[solver]
    posterior = weaksup.label_posterior_from_domains(probs, marginals)
    adjusted = weaksup.domain_adjusted_posterior(posterior, marginals, problem.domain)
    return jnp.argmax(adjusted, axis=1), marginals


def on_pixels(config: Any, seed: Seed, x: Array) -> dict[str, Array]:
    """Clusters of the pixels, domains unheard of: accuracy on every problem."""
    measured = {}
    for name, problem in seed.problems.items():
        num_classes = problem.marginals.shape[0]
        found = analytic.kmeans(seed.key, x[problem.rows], k=num_classes, num_restarts=10)
        measured[f"shift_{name}"] = metrics.clustering_accuracy(
            problem.label, found.assignment, num_clusters=num_classes
        )
    return measured


def from_domains(config: Any, seed: Seed, x: Array, solver: Array) -> dict[str, Array]:
    """Accuracy on every problem, and the mean error of p(class | domain) once its classes have their names."""
    measured = {}
    for name, problem in seed.problems.items():
        num_classes = problem.marginals.shape[0]
        classes, marginals = ddfa(config, seed.key, x[problem.rows], problem, solver)
        match = metrics.match_clusters(problem.label, classes, num_clusters=num_classes)
        measured[f"shift_{name}"] = jnp.mean(match[classes] == problem.label)
        measured[f"shift_{name}_marginal_error"] = jnp.mean(jnp.abs(marginals - problem.marginals[match]))
    return measured


_COMPOSITE = difference("shift_composite", "ddfa", "shift_k_means")
_THREE = difference("shift_three", "shift_k_means", "ddfa")
_ALL = difference("shift_all", "shift_k_means", "ddfa")
GROUP = Group(
    rows=(
        Method("shift_k_means", None, on_pixels, note="pixels, whatever the domain"),
        Method("ddfa", 186, from_domains),
        Method("ddfa_anchors", 186, from_domains, note="anchor clusters instead of a free factorisation"),
        Method("ddfa_told", None, from_domains, note="told how frequent classes are in domains"),
    ),
    claims=(
        Claim(186, "Composite classes: domains beat pixels (DDFA above k-means) by .2", _COMPOSITE, ">", 0.2),
        Claim(186, "Three single digits: pixels are the right cue, k-means stays above DDFA", _THREE, ">", 0.0),
        Claim(186, "All single digits: k-means stays above DDFA", _ALL, ">", 0.0),
    ),
    prepare=prepare,
    mode="map",
    weights={"ddfa": 0, "ddfa_anchors": 1, "ddfa_told": 2},
)
