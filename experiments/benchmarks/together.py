"""``python -m experiments.benchmarks all``: every benchmark in a process of its own, and one table of all races."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from experiments.all_questions import child_environment
from experiments.report import make_console

__all__ = ["run_all"]


@dataclasses.dataclass(frozen=True)
class Common:
    """The options of a run of all benchmarks."""

    json: bool = False
    """Print strict JSON instead of a table."""
    quick: bool = False
    """Small runs, to see that everything works; they judge no target."""
    show: pathlib.Path | None = None
    """Run nothing: the table of an earlier run, from the file in which its JSON was kept."""


def run_all(argv: Sequence[str], known: Sequence[str], command: Sequence[str] | None = None) -> int:
    """Runs the benchmarks, one after the other; those whose peers are not installed are named and left out.

    Args:
      argv: the options.
      known: the names of the benchmarks.
      command: what runs one; its name and options are appended.
    Returns:
      0, or 1 if a benchmark broke, 2 if there is nothing to show.
    """
    common = tyro.cli(
        Common, prog="python -m experiments.benchmarks all", args=list(argv), config=(tyro.conf.FlagCreatePairsOff,)
    )
    if common.show is not None:
        return _show(common.show)
    found: dict[str, dict[str, Any]] = {}
    missing, broken = {}, {}
    for name in known:
        print(f"... {name}", file=sys.stderr, flush=True)
        done = _run_one(name, common.quick, command or (sys.executable, "-m", "experiments.benchmarks"))
        if done.returncode == 0:
            found[name] = json.loads(done.stdout)
        else:
            lines = done.stderr.strip().splitlines() or ["(it said nothing)"]
            reasons = missing if done.returncode == 2 else broken
            reasons[name] = lines[-1].removeprefix("error: ")
    if common.json:
        whole = {"quick": common.quick, "benchmarks": found, "peers missing": missing, "broken": broken}
        print(json.dumps(whole, indent=1, allow_nan=False))
    else:
        _print(make_console(), found, missing, broken)
    return 1 if broken else 0


def _show(path: pathlib.Path) -> int:
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        _print(make_console(), whole["benchmarks"], whole["peers missing"], whole["broken"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {path} holds no benchmarks ({type(error).__name__}): write it with --json.", file=sys.stderr)
        return 2
    return 0


def _run_one(name: str, quick: bool, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, name, "--json", *(["--quick"] if quick else [])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=child_environment(),
    )


def _print(
    console: Console,
    found: Mapping[str, Mapping[str, Any]],
    missing: Mapping[str, str],
    broken: Mapping[str, str],
) -> None:
    caption = "The first entry of a race is what the others are measured against."
    table = Table(header_style="bold", caption=caption, caption_justify="left")
    for column in ("benchmark", "size", "work", "entry"):
        table.add_column(column)
    for column in ("seconds", "times faster", "least to most", "grows as size^", "compile (s)"):
        table.add_column(column, justify="right")
    for name, report in found.items():
        for race in report["races"]:
            shared = [name, f"{race['size']} {report['size_name']}", race["work"]]
            for place, row in enumerate(race["rows"]):
                ratio, exponent = row["ratio"], report["growth"].get(row["name"])
                table.add_row(
                    *(shared if place == 0 else [""] * len(shared)),
                    row["name"],
                    f"{row['median']:.3g}",
                    "" if place == 0 else f"{ratio['median']:.3g}",
                    "" if place == 0 else f"{ratio['low']:.3g} to {ratio['high']:.3g}",
                    "" if exponent is None else f"{exponent:.2f}",
                    f"{row['compile']:.2f}",
                )
            table.add_section()
    console.print(table)
    for name, report in found.items():
        for target in report["targets"]:
            value = "" if target["value"] is None else f"{target['value']:.3g}, "
            line = f"  {target['verdict']:<10}  {name}: {target['sentence']}: {value}wanted {target['op']} "
            console.print(f"{line}{target['bound']:g}", soft_wrap=True)
    for title, reasons in (("left out", missing), ("BROKE", broken)):
        for name, reason in reasons.items():
            console.print(f"  {title}: {name}: {reason}", soft_wrap=True)
    machines = {
        tuple(report["machine"].items() - {("load", report["machine"].get("load"))}) for report in found.values()
    }
    for facts in machines:
        console.print("Machine: " + ", ".join(f"{key} {value}" for key, value in sorted(facts)), soft_wrap=True)
    versions = {name: version for report in found.values() for name, version in report["versions"].items()}
    console.print("Versions: " + ", ".join(f"{key} {value}" for key, value in versions.items()), soft_wrap=True)
