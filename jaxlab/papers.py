"""The index of papers: which paper is where.

``python -m jaxlab.papers`` prints how much is covered, ``python -m jaxlab.papers KEY`` one paper. The rows stand in
``papers.toml`` beside this file. It needs nothing but the standard library, so asking it is quick.
"""

import argparse
import difflib
import importlib
import importlib.resources
import json
import os
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

__all__ = ["Paper", "coverage", "find", "load"]

STATUSES = ("open", "done")
FIDELITIES = ("checked", "paper text", "recalled", "inferred")
_KEY = re.compile(r"[a-z][a-z0-9_]*")
_PRIMITIVE = re.compile(r"[a-z]\w*(\.[A-Za-z]\w*)+")
_EXPERIMENT = re.compile(r"[a-z]\w*:\S+")


class Paper(NamedTuple):
    """One row of the index; ``experiment`` holds "module:row" strings, and is empty, like ``primitives``, if open."""

    id: int
    key: str
    title: str
    year: int
    family: str
    kind: str
    status: str
    fidelity: str
    primitives: tuple[str, ...] = ()
    experiment: tuple[str, ...] = ()
    outside: str = ""


def load(path: str | os.PathLike[str] | None = None) -> tuple[Paper, ...]:
    """Every paper of the index, in the order of the file.

    Args:
      path: another index file of the same form; None reads the one that jaxlab carries.
    Returns:
      A tuple of ``Paper``.
    Raises:
      ValueError: the file is not TOML, a field is missing, unknown or of the wrong form, an id or a key comes twice,
        or a done paper names no primitives or no experiment.
      OSError: ``path`` cannot be read.

    >>> len(load())
    291

    Reference: standard.
    """
    source = importlib.resources.files("jaxlab") / "papers.toml" if path is None else pathlib.Path(path)
    try:
        table = tomllib.loads(source.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{source.name} is not valid TOML: {error}") from error
    rows = table.get("paper")
    if not isinstance(rows, list) or set(table) != {"paper"}:
        raise ValueError(
            f"{source.name} must hold [[paper]] rows and nothing else, got {', '.join(table) or 'nothing'}"
        )
    papers = tuple(_paper(row, f"{source.name}, row {number}") for number, row in enumerate(rows, 1))
    for field in ("id", "key"):
        seen = set()
        for value in (getattr(paper, field) for paper in papers):
            if value in seen:
                raise ValueError(f"{source.name}: {field} must be unique, got {value!r} twice")
            seen.add(value)
    return papers


def find(key_or_id: str | int) -> Paper:
    """The paper with this key or id.

    Args:
      key_or_id: a key such as "teen", an id such as 18, or the id as text.
    Returns:
      The ``Paper``.
    Raises:
      ValueError: no paper has this key or id; the message names the closest keys.

    >>> find("teen").id, find(18).key, find("18").key
    (18, 'teen', 'teen')

    Reference: standard.
    """
    papers = load()
    wanted = str(key_or_id)
    for paper in papers:
        if wanted in (paper.key, str(paper.id)):
            return paper
    close = difflib.get_close_matches(wanted.lower(), [paper.key for paper in papers], n=5, cutoff=0.4)
    hint = f"the closest keys are {', '.join(close)}" if close else "no key comes close"
    raise ValueError(f"key_or_id must be the key or the id of a paper, got {key_or_id!r}; {hint}")


def coverage(papers: Iterable[Paper]) -> dict[str, tuple[int, int]]:
    """How many papers of each family are done.

    Args:
      papers: the papers to count, such as ``load()``.
    Returns:
      A dictionary from family to (done, all), in alphabetical order.

    >>> sum(total for _, total in coverage(load()).values())
    291

    Reference: standard.
    """
    counts: dict[str, tuple[int, int]] = {}
    for paper in papers:
        done, total = counts.get(paper.family, (0, 0))
        counts[paper.family] = (done + (paper.status == "done"), total + 1)
    return dict(sorted(counts.items()))


def _paper(row: dict[str, Any], place: str) -> Paper:
    """The row as a Paper, or a ValueError that says what is wrong in it and where."""
    place = f"{place} ({row['key']})" if "key" in row else place
    unknown = set(row) - set(Paper._fields)
    missing = set(Paper._fields) - set(Paper._field_defaults) - set(row)
    if unknown or missing:
        raise ValueError(
            f"{place}: "
            + "; ".join(f"{w} {', '.join(sorted(s))}" for w, s in (("missing", missing), ("unknown", unknown)) if s)
        )
    for field in ("id", "year"):
        if type(row[field]) is not int or row[field] < 0:
            raise ValueError(f"{place}: {field} must be an integer >= 0, got {row[field]!r}")
    for field in ("title", "family", "kind", "outside"):
        if field in row and not (isinstance(row[field], str) and row[field].strip()):
            raise ValueError(f"{place}: {field} must be text, got {row[field]!r}")
    _match(row["key"], _KEY, f"{place}: key", "lower-case letters, digits and _")
    for field, allowed in (("status", STATUSES), ("fidelity", FIDELITIES)):
        if row[field] not in allowed:
            raise ValueError(f"{place}: {field} must be one of {', '.join(allowed)}, got {row[field]!r}")
    primitives = _texts(row.get("primitives", []), _PRIMITIVE, f"{place}: primitives", "a list of dotted names")
    experiment = row.get("experiment", [])
    experiment = [experiment] if isinstance(experiment, str) else experiment
    experiment = _texts(experiment, _EXPERIMENT, f"{place}: experiment", '"module:row" or a list of such')
    if row["status"] == "done" and not (primitives and experiment):
        raise ValueError(f"{place}: a done paper must name its primitives and its experiment")
    return Paper(**{**row, "primitives": primitives, "experiment": experiment})


def _match(value: Any, pattern: re.Pattern[str], name: str, expected: str) -> None:
    if not (isinstance(value, str) and pattern.fullmatch(value)):
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def _texts(values: Any, pattern: re.Pattern[str], name: str, expected: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{name} must be {expected}, got {values!r}")
    for value in values:
        _match(value, pattern, name, expected)
    return tuple(values)


def _claims(paper: Paper) -> list[str]:
    """What the paper claims, as its experiments put it; none where the experiments are not installed."""
    sentences: list[str] = []
    for name in dict.fromkeys(place.partition(":")[0] for place in paper.experiment):
        try:
            # Imported here and by name: the library stands without the experiments, which a wheel does not carry.
            module = importlib.import_module(f"experiments.{name}")
        except ImportError:
            continue
        sentences += [claim.sentence for claim in getattr(module, "CLAIMS", ()) if claim.paper == paper.id]
    return sentences


def _record(paper: Paper) -> dict[str, Any]:
    places = list(paper.experiment)
    return {
        "id": paper.id,
        "key": paper.key,
        "title": paper.title,
        "status": paper.status,
        "fidelity": paper.fidelity,
        "primitives": list(paper.primitives),
        # As in the file: one place is a string, several are a list.
        "experiment": places if len(places) > 1 else next(iter(places), None),
        "claims": _claims(paper) if paper.status == "done" else [],
    }


def _overview(papers: Sequence[Paper]) -> str:
    counts = coverage(papers)
    done = sorted((paper for paper in papers if paper.status == "done"), key=lambda paper: paper.key)
    lines = [f"{'family':<28}{'done':>6}{'all':>6}"]
    lines += [f"{family:<28}{ready:>6}{total:>6}" for family, (ready, total) in counts.items()]
    lines += [f"{'total':<28}{len(done):>6}{len(papers):>6}", "", "done:" if done else "done: none yet"]
    lines += [f"  {paper.key:<32}{paper.id:>4}  {paper.title}" for paper in done]
    return "\n".join(lines)


def _markdown(papers: Sequence[Paper]) -> str:
    counts = coverage(papers)
    ready = sum(done for done, _ in counts.values())
    lines = ["| family | done | all |", "| --- | ---: | ---: |"]
    lines += [f"| {family} | {done} | {total} |" for family, (done, total) in counts.items()]
    return "\n".join([*lines, f"| **total** | **{ready}** | **{len(papers)}** |"])


def _describe(paper: Paper) -> str:
    lines = [
        f"{paper.title} ({paper.year})",
        f"key {paper.key}, id {paper.id}, family {paper.family}, {paper.kind}",
        f"status {paper.status}, formulas {paper.fidelity}",
        "primitives:",
        *([f"  jaxlab.{name}" for name in paper.primitives] or ["  none yet"]),
        "experiment:",
    ]
    places = [place.split(":", 1) for place in paper.experiment]
    lines += [f"  python -m experiments {module} --methods {row}" for module, row in places] or ["  none yet"]
    claims = _claims(paper)
    absent = "they stand in experiments/, which is not installed here" if places else "none yet"
    lines += ["claims:", *([f"  {sentence}" for sentence in claims] or [f"  {absent}"])]
    return "\n".join([*lines, f"outside: {paper.outside}"] if paper.outside else lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
      argv: the words after ``python -m jaxlab.papers``; None takes those of the process.
    Returns:
      The exit code: 0, or 2 for a paper that is not in the index.

    >>> main(["--markdown"])  # doctest: +ELLIPSIS
    | family | done | all |
    ...
    0

    Reference: standard.
    """
    parser = argparse.ArgumentParser(prog="python -m jaxlab.papers", description="Which paper is where in jaxlab.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("key", nargs="?", metavar="KEY", help="print one paper, by its key or its id")
    choice.add_argument("--json", action="store_true", help="print every paper as one JSON list")
    choice.add_argument("--markdown", action="store_true", help="print the coverage table of the README")
    args = parser.parse_args(argv)
    papers = load()
    if args.json:
        print(json.dumps([_record(paper) for paper in papers], indent=1, ensure_ascii=False))
    elif args.markdown:
        print(_markdown(papers))
    elif args.key is None:
        print(_overview(papers))
    else:
        try:
            print(_describe(find(args.key)))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
