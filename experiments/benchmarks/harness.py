"""Races: the same work done by several contestants in turn, and what the seconds say.

A benchmark module holds a docstring (its first line is the question), a frozen ``Config``, ``QUICK`` (a dict of
overrides) and ``run(config, say) -> Report``; see ``experiments.benchmarks.analytic``.
"""

import dataclasses
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

import jaxlab
from experiments import ledger
from experiments.machine import machine

__all__ = [
    "Entry",
    "Found",
    "Race",
    "Ratio",
    "Report",
    "Result",
    "Say",
    "Target",
    "Timing",
    "as_json",
    "as_set",
    "busy",
    "check_contests",
    "compare",
    "contests",
    "growth",
    "growths",
    "machine",
    "print_report",
    "race",
    "relative_errors",
    "verdict",
    "versions",
]

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-learn")
PEERS = ("dcor", "diffusers", "pytorch-metric-learning", "torch", "torchvision", "vendi-score")


class Entry(NamedTuple):
    """A contestant: ``prepare()`` compiles and returns ``run``, and ``run()`` does the whole work and returns it.

    A warm-up is a run that is not counted; what neither compiles nor caches can do without.
    """

    name: str
    prepare: Callable[[], Callable[[], Any]]
    warmup: bool = True


class Race(NamedTuple):
    """Entries that do the same work at one size. The first is the peer that the others are compared with."""

    size: int
    work: str  # how much there is to do, for a reader
    entries: Sequence[Entry]


class Timing(NamedTuple):
    """What one entry took, and what came out; ``facts`` is what the benchmark found out about the outcome."""

    name: str
    compile: float
    seconds: tuple[float, ...]
    cores: float  # processor seconds per second: below what the machine has, others were busy or the entry idle
    output: Any
    facts: Mapping[str, float] = {}

    @property
    def median(self) -> float:
        """Seconds of the run in the middle."""
        return statistics.median(self.seconds)


class Result(NamedTuple):
    """A race that was run, the peer first; ``facts`` is what holds for the whole of it."""

    size: int
    work: str
    timings: Sequence[Timing]
    facts: Mapping[str, float] = {}


class Target(NamedTuple):
    """A bound that was set beforehand; ``value`` is None where this run says nothing about it."""

    sentence: str
    value: float | None
    op: str  # "<=" or ">="
    bound: float


class Report(NamedTuple):
    """Everything that a benchmark found; ``size_name`` says what the size of a race counts."""

    size_name: str
    results: Sequence[Result]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()


class Ratio(NamedTuple):
    """How many times faster than the peer: of the medians, and of the least and the most favourable pair of runs."""

    median: float
    low: float
    high: float


# --- contests and targets

Say = Callable[[str], None]
"""Is told what is going on."""
Found = tuple[list[Result], list[Target]]
"""What a contest gives."""


def check_contests(wanted: Sequence[str], known: Sequence[str]) -> None:
    """Raises ``ValueError`` unless at least one contest is wanted, and all that are wanted are known."""
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ValueError(f"--contests must be among {', '.join(known)}, got {', '.join(unknown) or 'none'}.")


def contests(held: Mapping[str, Callable[[Any, Say], Found]], config: Any, say: Say) -> Found:
    """Holds those that ``config.contests`` names, in its order and each once."""
    results: list[Result] = []
    targets: list[Target] = []
    for name in dict.fromkeys(config.contests):
        found, judged = held[name](config, say)
        results += found
        targets += judged
    return results, targets


def as_set(config: Any, *free: str) -> bool:
    """Whether a configuration is the one that the targets were set for, but for the fields named in ``free``."""
    return config == dataclasses.replace(type(config)(), **{name: getattr(config, name) for name in free})


# --- measuring


def settle(longest: float = 1.0) -> None:
    """Waits until the threads of this process rest, at most so many seconds.

    The threads of a library spin for a while after its work is done, and would take the next entry's cores.
    """
    window = 0.02
    for _ in range(round(longest / window)):
        before = time.process_time()
        time.sleep(window)
        if time.process_time() - before < 0.1 * window:
            return


def race(
    contest: Race,
    *,
    repeats: int,
    patience: float = float("inf"),
    clock: Callable[[], float] = time.perf_counter,
    processor_clock: Callable[[], float] = time.process_time,
    say: Callable[[str], None] = lambda text: None,
) -> list[Timing]:
    """Runs the entries in turn (A B C A B C ...), so that what disturbs the machine for a while disturbs them all.

    Every run begins when the threads of the run before it rest: users have one of the libraries, not all in turn.

    Args:
      contest: the race.
      repeats: counted runs of every entry, at least 1.
      patience: an entry whose counted runs have used up so many seconds is not run again.
      clock: gives the time in seconds.
      processor_clock: gives the processor seconds that all threads of this process have used.
      say: is told what is going on.
    Returns:
      A Timing for every entry, in order.
    Raises:
      ValueError: two entries share a name, or repeats < 1.
    """
    names = [entry.name for entry in contest.entries]
    if len(set(names)) < len(names):
        raise ValueError(f"entries must have different names, got {', '.join(names)}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    runs, compiled = {}, {}
    for entry in contest.entries:
        start = clock()
        runs[entry.name] = entry.prepare()
        compiled[entry.name] = clock() - start
        if entry.warmup:
            jax.block_until_ready(runs[entry.name]())
    seconds: dict[str, list[float]] = {name: [] for name in names}
    processor, outputs = dict.fromkeys(names, 0.0), {}
    for turn in range(repeats):
        for name in names:
            if sum(seconds[name]) > patience:
                continue
            settle()
            start, processor_start = clock(), processor_clock()
            outputs[name] = jax.block_until_ready(runs[name]())
            seconds[name].append(clock() - start)
            processor[name] += processor_clock() - processor_start
            say(f"{contest.size}, turn {turn + 1} of {repeats}: {name} {seconds[name][-1]:.3g} s")
    return [
        Timing(name, compiled[name], tuple(seconds[name]), processor[name] / sum(seconds[name]), outputs[name])
        for name in names
    ]


def compare(peer: Timing, own: Timing) -> Ratio:
    """How many times faster ``own`` is than ``peer``."""
    return Ratio(peer.median / own.median, min(peer.seconds) / max(own.seconds), max(peer.seconds) / min(own.seconds))


def growth(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent p of seconds ~ size^p, by least squares on the logarithms; NaN with fewer than two sizes."""
    if len(set(sizes)) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def growths(results: Sequence[Result]) -> dict[str, float]:
    """The exponent of every entry over the sizes of its races."""
    points: dict[str, list[tuple[int, float]]] = {}
    for result in results:
        for timing in result.timings:
            points.setdefault(timing.name, []).append((result.size, timing.median))
    return {name: growth(*zip(*found, strict=True)) for name, found in points.items()}


def relative_errors(got: Any, exact: np.ndarray) -> dict[str, float]:
    """Error of an array relative to a float64 one: by the Frobenius norm, and of the largest entries."""
    difference = np.asarray(got, np.float64) - exact
    return {
        "error": float(np.linalg.norm(difference) / np.linalg.norm(exact)),
        "error (max)": float(np.max(np.abs(difference)) / np.max(np.abs(exact))),
    }


def verdict(target: Target) -> str:
    """``met``, ``not met`` (NaN too), or ``not judged``."""
    if target.value is None:
        return "not judged"
    met = target.value <= target.bound if target.op == "<=" else target.value >= target.bound
    return "met" if met else "not met"


# --- the machine


def busy(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """A warning where the facts of ``machine`` say that others were at work before the race began."""
    load, cores = facts["load"], facts["cores"]
    if load is None or load < cores / 4:
        return ()
    return (
        f"Others were busy before the start (load {load:g} on {cores} cores). The threads of numpy's BLAS wait for "
        "each other and lose more by that than XLA's: trust a ratio only where both entries used about all cores.",
    )


def versions() -> dict[str, str | None]:
    """What took part; None for what is not installed, peers that are not installed are left out."""
    found: dict[str, str | None] = {"jaxlab": jaxlab.__version__, "python": platform.python_version()}
    for package in (*PACKAGES, *PEERS):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            if package in PACKAGES:
                found[package] = None
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    found["BLAS of numpy"] = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    return found


# --- what a person or a program reads


def as_json(name: str, config: Any, report: Report, facts: Mapping[str, Any]) -> str:
    """The whole report as strict JSON; ``facts`` (the machine, the versions) stand beside it."""
    races = []
    for result in report.results:
        rows = []
        for timing in result.timings:
            rows.append(
                {
                    "name": timing.name,
                    "compile": timing.compile,
                    "seconds": timing.seconds,
                    "median": timing.median,
                    "min": min(timing.seconds),
                    "max": max(timing.seconds),
                    "cores": timing.cores,
                    "ratio": compare(result.timings[0], timing)._asdict(),
                    **timing.facts,
                }
            )
        races.append({"size": result.size, "work": result.work, **result.facts, "rows": rows})
    whole = {
        "benchmark": name,
        "config": config,
        **facts,
        "size_name": report.size_name,
        "races": races,
        "growth": growths(report.results),
        "targets": [target._asdict() | {"verdict": verdict(target)} for target in report.targets],
        "notes": report.notes,
    }
    return json.dumps(ledger.plain(whole), indent=1, allow_nan=False)


def print_report(console: Console, report: Report, facts: Mapping[str, Mapping[str, Any]]) -> None:
    """The races, how the seconds grow, the targets, the remarks, the machine."""
    exponents = growths(report.results)
    for result in report.results:
        known = "".join(f", {name} {value:.2g}" for name, value in result.facts.items())
        console.print(f"\n{report.size_name} {result.size}: {result.work}{known}", style="bold", soft_wrap=True)
        console.print(_table(result))
    exponents = {name: exponent for name, exponent in exponents.items() if exponent == exponent}  # NaN: one size only
    if exponents:
        console.print(f"\nGrowth: seconds ~ {report.size_name}^p", style="bold")
        width = max(map(len, exponents))
        for name, exponent in exponents.items():
            console.print(f"  {name:<{width}}  p = {exponent:.2f}", soft_wrap=True)
    if report.targets:
        console.print("\nTargets", style="bold")
    for target in report.targets:
        word = verdict(target)
        style = {"met": "green", "not met": "red"}.get(word, "dim")
        value = "" if target.value is None else f"{target.value:.3g}, "
        line = Text.assemble(
            (f"  {word:<10}", style), f"  {target.sentence}: {value}wanted {target.op} {target.bound:g}"
        )
        console.print(line, soft_wrap=True)
    console.print()
    for note in report.notes:
        console.print(note, soft_wrap=True)
    for title, values in facts.items():
        console.print(f"{title}: {', '.join(f'{key} {value}' for key, value in values.items())}", soft_wrap=True)


def _table(result: Result) -> Table:
    table = Table(header_style="bold")
    table.add_column("entry", no_wrap=True)
    columns = list(dict.fromkeys(name for timing in result.timings for name in timing.facts))
    for column in (
        "runs",
        "compile (s)",
        "median (s)",
        "min to max",
        "cores used",
        "times faster",
        "least to most",
        *columns,
    ):
        table.add_column(column, justify="right")
    for timing in result.timings:
        ratio = compare(result.timings[0], timing)
        spread = "" if timing is result.timings[0] else f"{ratio.low:.3g} to {ratio.high:.3g}"
        table.add_row(
            timing.name,
            str(len(timing.seconds)),
            f"{timing.compile:.2f}",
            f"{timing.median:.3g}",
            f"{min(timing.seconds):.3g} to {max(timing.seconds):.3g}",
            f"{timing.cores:.1f}",
            f"{ratio.median:.3g}",
            spread,
            *(f"{timing.facts[name]:.2g}" if name in timing.facts else "" for name in columns),
        )
    return table
