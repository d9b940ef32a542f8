"""``python -m experiments all``: every question in turn, each in a process of its own.

What is done is written down after every question, so that ``--resume`` goes on where a run was interrupted. A question
that fails costs no other one; the table at the end says which did.
"""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import tyro
from rich.console import Console
from rich.table import Table

from experiments import ledger, report
from experiments.errors import INTERRUPTED, UserError, exit_code

__all__ = ["Common", "Outcome", "answer_all", "child_environment", "load_progress"]

PROGRESS, LOGS, LOCK = "progress.json", "logs", "run.lock"


@dataclasses.dataclass(frozen=True)
class Common:
    """The options of a run of all questions."""

    quick: bool = False
    """Small runs, to see that everything works; they judge no claim."""
    seeds: int | None = None
    """How many seeds; five unless given, two in a quick run. The claims need two or more."""
    first: int | None = None
    """Only the first so many rows of every question."""
    questions: str | None = None
    """Which questions, separated by commas; all unless given."""
    jobs: int | None = None
    """How many questions at a time; one, so that the seconds mean something, and in a quick run one a core."""
    out: pathlib.Path = pathlib.Path("out/all")
    """Folder of the results, a folder in it per question."""
    resume: bool = False
    """Keep the questions and the rows that an earlier run has finished in that folder."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a question ended: the exit code of its process, and the seconds from its start to its end."""

    code: int
    seconds: float


def answer_all(argv: Sequence[str], known: Sequence[str], command: Sequence[str] | None = None) -> int:
    """Answers all questions.

    Args:
      argv: the options.
      known: the names of the questions.
      command: what answers one; its name and options are appended.
    Returns:
      0, or 1 if a question failed or a row of it broke, 2 if the user has to change something, 130 if interrupted.
    """

    def run() -> int:
        common = tyro.cli(
            Common, prog="python -m experiments all", args=list(argv), config=(tyro.conf.FlagCreatePairsOff,)
        )
        names = _selected(common, known)
        with _alone(common.out):
            return _answer_all(common, names, command or (sys.executable, "-m", "experiments"))

    return exit_code(run, "Interrupted: what is finished is kept, --resume goes on from there.")


def _selected(common: Common, known: Sequence[str]) -> list[str]:
    for name in ("seeds", "jobs", "first"):
        if (number := getattr(common, name)) is not None and number < 1:
            raise UserError(f"--{name} must be at least 1, got {number}.")
    if common.questions is None:
        return list(known)
    names = list(dict.fromkeys(name for part in common.questions.split(",") if (name := part.strip())))
    if not names or (unknown := [name for name in names if name not in known]):
        problem = f"Unknown question {', '.join(unknown)}" if names else "--questions names no question"
        raise UserError(f"{problem}: choose from {', '.join(known)}.")
    return names


@contextlib.contextmanager
def _alone(out: pathlib.Path) -> Iterator[None]:
    """Makes the folder and holds its lock, which the processes of the questions hold too.

    So a question that goes on after this process was killed keeps others from writing beside it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise UserError(f"Cannot write results to {out}: {error.strerror or error}.") from error
    try:
        os.set_inheritable(descriptor, True)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"Another run is at work in {out}: wait for its end, or choose another --out.") from error
        yield
    finally:
        os.close(descriptor)


def _answer_all(common: Common, names: Sequence[str], command: Sequence[str]) -> int:
    console = report.make_console()
    jobs = common.jobs or (len(os.sched_getaffinity(0)) if common.quick else 1)
    options = {"quick": common.quick, "seeds": common.seeds, "first": common.first}
    outcomes = _resumed(common, options)
    todo = [name for name in names if outcomes.get(name, Outcome(1, 0.0)).code != 0]
    console.print(f"{len(todo)} of {len(names)} questions to answer, {jobs} at a time", soft_wrap=True)
    (common.out / LOGS).mkdir(exist_ok=True)
    start = time.monotonic()

    def done(name: str, outcome: Outcome) -> None:
        outcomes[name] = outcome
        ledger.save(common.out / PROGRESS, {"options": options, "jobs": jobs, "questions": outcomes})
        finished = sum(other in outcomes and outcomes[other].code == 0 for other in names)
        console.print(
            f"[{finished}/{len(names)}] {name}: {_summary(common.out / name, outcome)}, "
            f"{outcome.seconds:.0f} s ({(time.monotonic() - start) / 60:.1f} min in all)",
            soft_wrap=True,
        )
        console.file.flush()

    interrupted = _run_all(common, todo, command, jobs, done)
    _print_outcomes(console, common, names, outcomes)
    if interrupted:
        raise KeyboardInterrupt
    return int(any(name not in outcomes or outcomes[name].code != 0 for name in names))


def _resumed(common: Common, options: Mapping[str, Any]) -> dict[str, Outcome]:
    """What an earlier run has finished; nothing without ``--resume``.

    Raises:
      UserError: it had other options.
    """
    if not common.resume:
        (common.out / PROGRESS).unlink(missing_ok=True)
        return {}
    before = load_progress(common.out)
    if before and before.get("options") != options:
        raise UserError(
            f"Cannot resume {common.out}: it was begun with {before.get('options')}, this run has {dict(options)}. "
            "Give the same options, or choose another --out."
        )
    return before.get("questions", {})


def load_progress(out: pathlib.Path) -> dict[str, Any]:
    """What a run of all has written down in that folder: its options, and how the questions ended that it finished."""
    try:
        found = json.loads((out / PROGRESS).read_text(encoding="utf-8"))
        return found | {"questions": {name: Outcome(**outcome) for name, outcome in found["questions"].items()}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _run_all(
    common: Common, todo: Sequence[str], command: Sequence[str], jobs: int, done: Callable[[str, Outcome], None]
) -> bool:
    """Runs the questions; True if the user interrupted one of them."""
    stopped = False

    def one(name: str) -> Outcome | None:
        return None if stopped else _run_one(common, name, command)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(one, name): name for name in todo}
        try:
            for future in concurrent.futures.as_completed(futures):
                outcome = future.result()
                if outcome is None or outcome.code == INTERRUPTED:
                    stopped = True
                else:
                    done(futures[future], outcome)
        except KeyboardInterrupt:  # the terminal has told the processes too: they end by themselves
            stopped = True
    return stopped


def child_environment() -> dict[str, str]:
    """The environment of a process that imports what this one does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _run_one(common: Common, name: str, command: Sequence[str]) -> Outcome:
    folder = common.out / name
    options = [f"--out={folder}"]
    options += ["--quick"] if common.quick else []
    options += [f"--seeds={common.seeds}"] if common.seeds else []
    options += [f"--first={common.first}"] if common.first else []
    options += ["--resume"] if common.resume and (folder / ledger.CONFIG).exists() else []
    start = time.monotonic()
    log: IO[str]
    with (common.out / LOGS / f"{name}.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [*command, name, *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            close_fds=False,  # the lock of the folder
            env=child_environment(),
            check=False,
        )
    return Outcome(done.returncode, time.monotonic() - start)


# --- what a person reads


def _counts(folder: pathlib.Path) -> dict[str, int]:
    """How many rows are whole, how many broke, and how many claims there are of every verdict."""
    try:
        found = json.loads((folder / ledger.RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    rows = {name for row in found["rows"].values() for name in row} - found["errors"].keys()
    counts = {"rows": len(rows), "broken": len(found["errors"])}
    for claim in found["claims"]:
        counts[claim["verdict"]] = counts.get(claim["verdict"], 0) + 1
    return counts


def _summary(folder: pathlib.Path, outcome: Outcome) -> str:
    counts = _counts(folder)
    if outcome.code not in (0, 1) or not counts:
        return f"FAILED with exit code {outcome.code}, see {folder.parent / LOGS / folder.name}.txt"
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def _print_outcomes(console: Console, common: Common, names: Sequence[str], outcomes: Mapping[str, Outcome]) -> None:
    table = Table(header_style="bold")
    columns = ("rows", "broken", "holds", "fails", "undecided", "not run", "not judged")
    table.add_column("question", no_wrap=True)
    for column in (*columns, "seconds", "exit code"):
        table.add_column(column, justify="right")
    total: dict[str, int] = {}
    for name in names:
        counts = _counts(common.out / name) if name in outcomes else {}
        for what, number in counts.items():
            total[what] = total.get(what, 0) + number
        ending = [f"{outcomes[name].seconds:.0f}", str(outcomes[name].code)] if name in outcomes else ["", "not run"]
        bad = name in outcomes and outcomes[name].code != 0
        table.add_row(name, *(str(counts.get(column, "")) for column in columns), *ending, style="red" if bad else None)
    seconds = sum(outcomes[name].seconds for name in names if name in outcomes)
    table.add_row("all", *(str(total.get(column, "")) for column in columns), f"{seconds:.0f}", "", style="bold")
    console.print(table)
    console.print(f"Results: {common.out}", soft_wrap=True)
