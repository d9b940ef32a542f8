"""Rules of AND and NOT that vote, beside naive Bayes, a tree and linear models, on data of true and false.

Three tasks: the data set of the question as booleans; exclusive or of two of twelve features, whose labels are wrong in
four of ten training rows; and paragraphs of Python's manual, on special methods or on compound statements.
"""

import dataclasses
import functools
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.errors import UserError
from experiments.runner import Claim, Measured, Method, over_seeds
from experiments.streams import stratified_split
from jaxlab import analytic, metrics, text
from jaxlab.typing import Array

__all__ = ["RULE_CLAIMS", "RULE_METHODS", "TOPICS", "Rules", "Task", "boolean_task", "text_task", "xor_task"]

TOPICS = {"specialnames": "special methods", "compound": "compound statements"}
SHOWN, LONGEST = 5, 6  # rules kept for the figure, and literals of each
LEAST_GAIN = 0.05  # by how much of its rows more a rule must hold in its class than elsewhere


@dataclasses.dataclass(frozen=True)
class Rules:
    """Settings of the rule learners."""

    epochs: int = 25
    """Rounds through the training rows."""
    clauses: int = 40
    """Clauses of every class, half of them against it; 10 on exclusive or."""
    threshold: int = 15
    """Votes at which a class is learned."""
    s: float = 3.9
    """Specificity of the clauses."""
    text_s: float = 2.0
    """The same on text, where most words are absent."""
    words: int = 150
    """Words and pairs of words, those with the largest chi-square."""
    xor_rows: int = 5000
    """Training rows of exclusive or."""


class Task(NamedTuple):
    """Boolean rows and their labels, to train and to test on."""

    x: Any
    y: Any
    test_x: Any
    test_y: Any


def boolean_task(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, *, kind: str) -> Task:
    """Pixels above 0.3 of their range; features above each of the three quartiles of the training rows."""
    cuts = np.full((1, x.shape[1]), 0.3) if kind == "images" else np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    train, test = (np.concatenate([rows > cut for cut in cuts], axis=1) for rows in (x, test_x))
    return Task(train, y, test, test_y)


def xor_task(rows: int, seed: int) -> Task:
    """Exclusive or of the first two of twelve features; wrong labels in training only."""
    rng = np.random.default_rng([seed, 45])
    x, tests = rng.random((rows, 12)) < 0.5, rng.random((2000, 12)) < 0.5
    y, truth = x[:, 0] ^ x[:, 1], tests[:, 0] ^ tests[:, 1]
    return Task(x, (y ^ (rng.random(rows) < 0.4)).astype(np.int32), tests, truth.astype(np.int32))


@functools.cache
def paragraphs() -> tuple[tuple[str, ...], np.ndarray]:
    """Paragraphs of at least eight words, and which of the topics each is from."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UserError("This Python comes without its manual (the package pydoc_data).") from error
    parts = [[part for part in re.split(r"\n\s*\n", topics[name]) if len(part.split()) >= 8] for name in TOPICS]
    return tuple(part for topic in parts for part in topic), np.repeat(np.arange(len(parts)), list(map(len, parts)))


def text_task(words: int, seed: int) -> tuple[Task, tuple[str, ...]]:
    """A split of the paragraphs, and the words that training paragraphs choose."""
    from sklearn.feature_selection import chi2

    documents, labels = paragraphs()
    train, test = stratified_split(labels, test_fraction=0.3, rng=np.random.default_rng([seed, 46]))
    found = text.boolean_ngrams([documents[row] for row in train], n=2, min_count=5)
    scores, _ = chi2(np.asarray(found.present), labels[train])
    chosen = np.sort(np.argsort(-scores, kind="stable")[:words])
    if len(chosen) < words:
        raise UserError(f"The manual has {len(chosen)} frequent words and pairs, words asks for {words}.")
    vocabulary = tuple(found.vocabulary[place] for place in chosen)
    tests = text.boolean_ngrams([documents[row] for row in test], n=2, vocabulary=vocabulary)
    y = labels.astype(np.int32)
    return Task(np.asarray(found.present)[:, chosen], y[train], np.asarray(tests.present), y[test]), vocabulary


def tasks(config: Any, context: Any, seeds: Any) -> dict[str, list[Task]]:
    """All tasks of all seeds."""
    rows = [tuple(map(np.asarray, (s.x, s.y, s.test_x, s.test_y))) for s in _apart(seeds)]
    numbers = range(len(rows))
    return {
        "accuracy": [boolean_task(*row, kind=context.kind) for row in rows],
        "xor_accuracy": [xor_task(config.rules.xor_rows, seed) for seed in numbers],
        "text_accuracy": [text_task(config.rules.words, seed)[0] for seed in numbers],
    }


def _apart(seeds: Any) -> list[Any]:
    return [jax.tree.map(lambda leaf, place=place: leaf[place], seeds) for place in range(seeds.y.shape[0])]


# Rows


def tsetlin_row(config: Any, context: Any, seeds: Any) -> Measured:
    """Tsetlin machines on all three tasks, and what they say about text."""
    rules = config.rules
    settings = {
        "accuracy": {"clauses": rules.clauses, "s": rules.s},
        "xor_accuracy": {"clauses": 10, "s": rules.s},
        "text_accuracy": {"clauses": rules.clauses, "s": rules.text_s, "boost": True},
    }
    found: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    timings = {"compile": 0.0, "run": 0.0}
    for name, parts in tasks(config, context, seeds).items():
        stacked = Task(*(jnp.asarray(np.stack(part)) for part in zip(*parts, strict=True)))
        classes = context.num_classes if name == "accuracy" else 2
        learn = functools.partial(_learn, rules, classes, **settings[name])
        measured, include, spent = over_seeds(learn, seeds.key, stacked)
        found[name] = measured["accuracy"]
        timings = {key: timings[key] + spent[key] for key in timings}
        if name != "accuracy":
            kind = name.removesuffix("_accuracy")
            found[f"{kind}_literals"] = measured["literals"]
            each = zip(include["include"], parts, strict=True)
            curves[f"{kind}_rules"] = np.stack([strongest(table, task) for table, task in each])
    curves["words"] = np.full((seeds.y.shape[0], 1), rules.words)
    return Measured(found, curves, timings)


def _learn(
    rules: Rules, num_classes: int, key: Array, task: Task, *, clauses: int, s: float, boost: bool = False
) -> tuple[dict[str, Array], dict[str, Array]]:
    init_key, order_key, learn_key = jax.random.split(key, 3)
    rows = task.x.shape[0]
    state = analytic.tsetlin_init(
        init_key, num_classes=num_classes, clauses_per_class=clauses, num_features=task.x.shape[1]
    )

    def epoch(state: analytic.TsetlinState, own: tuple[Array, Array]) -> tuple[analytic.TsetlinState, None]:
        order = jnp.argsort(jax.random.uniform(own[0], (rows,)))
        both, limit = (task.x[order], task.y[order]), rules.threshold
        return analytic.tsetlin_update(state, *both, own[1], threshold=limit, s=s, boost=boost), None

    rounds = jax.random.split(order_key, rules.epochs), jax.random.split(learn_key, rules.epochs)
    state, _ = jax.lax.scan(epoch, state, rounds)
    include = analytic.tsetlin_clauses(state)
    literals = jnp.sum(include, axis=-1)
    votes = analytic.tsetlin_predict(state, task.test_x)
    found = {
        "accuracy": metrics.accuracy(votes.astype(jnp.float32), task.test_y),
        "literals": jnp.sum(literals) / jnp.maximum(jnp.sum(literals > 0), 1),
    }
    return found, {"include": include}


def strongest(include: np.ndarray, task: Task) -> np.ndarray:
    """The clauses for each class that most set its training rows apart, those that are short enough to read first.

    Returns:
      int [K, SHOWN, 1 + LONGEST]: the number of literals of a clause, then the first of them, those that are not
      negated before the others; -1 where there is none.
    """
    literals = np.concatenate([task.x, ~task.x], axis=1)
    table = np.full((len(include), SHOWN, 1 + LONGEST), -1)
    for label, clauses in enumerate(include):
        own = np.asarray(task.y) == label
        rules = sorted({tuple(np.flatnonzero(clause)) for clause in clauses[::2].astype(bool) if clause.any()})
        holds = [np.asarray(literals[:, rule].all(axis=1)) for rule in rules]
        gain = np.array([held[own].mean() - held[~own].mean() for held in holds])
        long = np.array([len(rule) > LONGEST for rule in rules])
        order = [place for place in np.lexsort((-gain, long)) if gain[place] > LEAST_GAIN]
        for place, best in enumerate(order[:SHOWN]):
            first = rules[best][:LONGEST]
            table[label, place, : 1 + len(first)] = [len(rules[best]), *first]
    return table


def baseline_row(make: Callable[[int], Any], config: Any, context: Any, seeds: Any) -> Measured:
    """A classifier of scikit-learn on the same booleans."""
    start, found = time.perf_counter(), {}
    for name, parts in tasks(config, context, seeds).items():
        models = [make(seed).fit(task.x, task.y) for seed, task in enumerate(parts)]
        found[name] = np.array([m.score(task.test_x, task.test_y) for m, task in zip(models, parts, strict=True)])
    return Measured(found, {}, {"compile": 0.0, "run": time.perf_counter() - start})


def _naive_bayes(seed: int) -> Any:
    from sklearn.naive_bayes import BernoulliNB

    return BernoulliNB()


def _tree(seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(random_state=seed)


def _linear_svm(seed: int) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC(random_state=seed, max_iter=5000)


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _baseline(make: Callable[[int], Any]) -> Callable[..., Measured]:
    return functools.partial(baseline_row, make)


RULE_METHODS = (
    Method("tsetlin", 45, tsetlin_row, note="rules of AND and NOT that vote"),
    Method("bernoulli_bayes", None, _baseline(_naive_bayes), note="the same booleans, as all below"),
    Method("tree", None, _baseline(_tree), note="grown to the end"),
    Method("linear_svm", None, _baseline(_linear_svm)),
    Method("logistic", None, _baseline(_logistic)),
)


def _against(metric: str, *others: str) -> Callable[[Any], Any]:
    return lambda rows: rows[metric]["tsetlin"] - np.max([rows[metric][name] for name in others], axis=0)


RULE_CLAIMS = (
    Claim(
        45,
        "Rules learn exclusive or from labels of which four in ten are wrong (accuracy)",
        lambda rows: rows["xor_accuracy"]["tsetlin"],
        ">",
        0.95,
    ),
    Claim(
        45,
        "They learn it better than naive Bayes, a tree and linear models",
        _against("xor_accuracy", "bernoulli_bayes", "tree", "linear_svm", "logistic"),
        ">",
        0.0,
    ),
    Claim(
        45,
        "On text rules are as accurate as naive Bayes and a tree, but for 2 points",
        _against("text_accuracy", "bernoulli_bayes", "tree"),
        ">",
        -0.02,
    ),
    Claim(
        45,
        "On the data set as booleans too",
        _against("accuracy", "bernoulli_bayes", "tree"),
        ">",
        -0.02,
    ),
)
