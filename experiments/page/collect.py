"""What the page shows, gathered from the folders of results, the index of papers and the library."""

import base64
import importlib
import inspect
import json
import pathlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import jaxlab
from experiments import ledger
from experiments.errors import UserError
from experiments.report import spread
from jaxlab import papers

__all__ = [
    "Answer",
    "ClaimLine",
    "Function",
    "Page",
    "Row",
    "Table",
    "collect",
    "functions",
    "read_answer",
    "read_answers",
]


class Row(NamedTuple):
    """A method of a question: its cells by metric, its seconds, what went wrong."""

    name: str
    paper: int | None
    note: str
    cells: Mapping[str, str]
    seconds: float | None
    error: str


class Table(NamedTuple):
    """Metrics that the same methods have, and those methods."""

    metrics: Sequence[str]
    rows: Sequence[Row]


class ClaimLine(NamedTuple):
    """A claim and its verdict; ``methods`` are the rows of its paper."""

    question: str
    paper: int
    sentence: str
    wanted: str
    effect: str
    verdict: str
    reason: str
    methods: Sequence[str]


class Answer(NamedTuple):
    """A question as one run answered it."""

    name: str
    sentence: str
    dataset: str
    seeds: int
    seed_scope: str
    tables: Sequence[Table]
    rows: Sequence[Row]
    claims: Sequence[ClaimLine]
    figure: str  # a data URI, or empty
    made: Mapping[str, str]
    quick: bool


class Function(NamedTuple):
    """A public function or type of the library."""

    name: str
    signature: str
    line: str
    text: str
    papers: Sequence[int]


class Page(NamedTuple):
    """Everything."""

    version: str
    answers: Sequence[Answer]
    damaged: Sequence[str]  # folders of results that could not be read
    unanswered: Sequence[tuple[str, str]]
    papers: Sequence[papers.Paper]
    coverage: Mapping[str, tuple[int, int]]
    functions: Mapping[str, Sequence[Function]]
    fronts: Mapping[str, str]  # of every namespace, its docstring


def collect(out: pathlib.Path, known: Iterable[tuple[str, str]]) -> Page:
    """The results in the folders of ``out``.

    Args:
      out: a folder of results, or one that holds such folders, at any depth.
      known: names and first lines of all questions; those without results are listed as such.
    Raises:
      UserError: there are no results.
    """
    sentences = dict(known)
    read, damaged = read_answers(out)
    answers = [answer._replace(sentence=answer.sentence or sentences.get(answer.name, "")) for answer in read.values()]
    answers.sort(key=lambda answer: (answer.name, answer.dataset))
    found = {answer.name for answer in answers}
    listed = papers.load()
    library = functions(listed)
    return Page(
        jaxlab.__version__,
        answers,
        [folder.relative_to(out).as_posix() for folder in damaged],
        [(name, sentence) for name, sentence in sentences.items() if name not in found],
        listed,
        papers.coverage(listed),
        library,
        {name: inspect.getdoc(importlib.import_module(f"jaxlab.{name}")) or "" for name in library},
    )


def read_answers(out: pathlib.Path) -> tuple[dict[pathlib.Path, Answer], list[pathlib.Path]]:
    """The answers by folder, anywhere in ``out``, and the folders whose results are damaged.

    Raises:
      UserError: there are no results.
    """
    folders = sorted({path.parent for path in out.rglob(ledger.RESULTS)})
    read = {folder: read_answer(folder) for folder in folders}
    answers = {folder: answer for folder, answer in read.items() if answer is not None}
    damaged = [folder for folder in folders if folder not in answers]
    if not answers:
        left = f"all that is there is damaged: {', '.join(map(str, damaged))}; " if damaged else ""
        raise UserError(f"There are no results in {out}: {left}run python -m experiments all --out {out}")
    return answers, damaged


def read_answer(folder: pathlib.Path) -> Answer | None:
    """One folder of results; None if it is damaged or holds something else."""
    try:
        found = json.loads((folder / ledger.RESULTS).read_text(encoding="utf-8"))
        config = json.loads((folder / ledger.CONFIG).read_text(encoding="utf-8"))
        values = {
            metric: {name: np.array(seeds, dtype=np.float64) for name, seeds in row.items()}
            for metric, row in found["rows"].items()
        }
        rows = _rows(found, values)
        claims = [_claim(found["question"], claim, rows) for claim in found["claims"]]
        return Answer(
            found["question"],
            found.get("sentence", ""),
            found["dataset"],
            found["seeds"],
            found["seed_scope"],
            _tables(values, rows),
            rows,
            claims,
            _figure(folder / ledger.FIGURE),
            _made(found, config),
            bool(config["quick"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _rows(found: Mapping[str, Any], values: Mapping[str, Mapping[str, np.ndarray]]) -> list[Row]:
    measured = dict.fromkeys(name for row in values.values() for name in row)
    about = {method["name"]: method for method in found.get("methods", ())}
    rows = []
    for name in dict.fromkeys((*(name for name in about if name in measured), *measured, *found["errors"])):
        error = found["errors"].get(name)
        cells = {} if error else {metric: spread(row[name]) for metric, row in values.items() if name in row}
        times = [table[name] for table in found["timings"].values() if name in table]
        method = about.get(name, {})
        problem = f"{error['type']}: {error['message']}" if error else ""
        rows.append(
            Row(name, method.get("paper"), method.get("note", ""), cells, sum(times) if times else None, problem)
        )
    return rows


def _tables(values: Mapping[str, Mapping[str, Any]], rows: Sequence[Row]) -> list[Table]:
    """Metrics that the same rows have stand side by side."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for metric in values:
        having = tuple(row.name for row in rows if metric in row.cells)
        groups.setdefault(having, []).append(metric)
    return [Table(metrics, [row for row in rows if row.name in having]) for having, metrics in groups.items() if having]


def _claim(question: str, claim: Mapping[str, Any], rows: Sequence[Row]) -> ClaimLine:
    wanted = f"{claim['op']} {claim['threshold']:g}"
    effect = "" if claim["effect"] is None else f"{claim['effect']:.3g}"
    if claim["interval"] is not None:
        effect += f" [{claim['interval'][0]:.3g}, {claim['interval'][1]:.3g}]"
    methods = [row.name for row in rows if row.paper == claim["paper"]]
    return ClaimLine(
        question, claim["paper"], claim["sentence"], wanted, effect, claim["verdict"], claim["reason"], methods
    )


def _figure(path: pathlib.Path) -> str:
    if not path.exists():
        return ""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _made(found: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """How the numbers came about: command, data, configuration, versions, machine."""
    command = ["python -m experiments", config["question"], f"--seeds {config['seeds']}"]
    command += ["--quick"] if config["quick"] else []
    command += [f"--dataset {config['dataset']}"] if config["dataset"] else []
    machine = found.get("machine", {})
    return {
        "Command": " ".join(command),
        "Data": f"{config['dataset']} (sha256 {config['digest'][:16]})"
        if config["dataset"]
        else "made by the question",
        "Configuration": ", ".join(f"{key} = {value}" for key, value in config["config"].items()),
        "Seeds": f"{config['seeds']}" + (f", {found['seed_scope']}" if found["seed_scope"] else ""),
        "Versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
        "Machine": ", ".join(f"{key} {value}" for key, value in machine.items() if key != "load") or config["device"],
        "Load": f"{machine['load']} when it ended" if machine.get("load") is not None else "",
    }


def functions(listed: Iterable[papers.Paper]) -> dict[str, list[Function]]:
    """The public functions and types of every namespace, with the papers that name them."""
    behind: dict[str, list[int]] = {}
    for paper in listed:
        for primitive in paper.primitives:
            behind.setdefault(primitive, []).append(paper.id)
    found = {}
    for namespace in _namespaces():
        module = importlib.import_module(f"jaxlab.{namespace}")
        entries = [
            _function(f"{namespace}.{name}", getattr(module, name), behind.get(f"{namespace}.{name}", ()))
            for name in module.__all__
            if not inspect.ismodule(getattr(module, name))
        ]
        if entries:
            found[namespace] = entries
    return found


def _namespaces() -> list[str]:
    """Packages of jaxlab that hand names on, in alphabetical order."""
    modules = pkgutil.walk_packages(jaxlab.__path__, "jaxlab.")
    names = [module.name.removeprefix("jaxlab.") for module in modules if module.ispkg]
    public = [name for name in names if not any(part.startswith("_") for part in name.split("."))]
    return [name for name in public if hasattr(importlib.import_module(f"jaxlab.{name}"), "__all__")]


def _function(name: str, thing: Any, behind: Sequence[int]) -> Function:
    try:
        signature = str(inspect.signature(thing)).replace("jaxlab.typing.", "")
    except (TypeError, ValueError):
        signature = ""
    text = inspect.getdoc(thing) or ""
    return Function(name, signature, text.partition("\n")[0], text, behind)
