"""``python -m experiments.benchmarks`` lists the races, ``... NAME`` runs one, ``... all`` every one of them."""

import ast
import dataclasses
import difflib
import importlib
import os
import pathlib
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from experiments import WIDE_POOL, benchmarks
from experiments.errors import UserError, exit_code, missing_package

__all__ = ["main", "names"]


def names() -> dict[str, str]:
    """The modules that define ``Config`` and ``run``, with their questions; nothing is imported for that."""
    found = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        path = pathlib.Path(benchmarks.__path__[0]) / f"{module.name}.py"
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        if {"Config", "run"} <= defined:
            found[module.name] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main(argv: Sequence[str]) -> int:
    """Runs the command line; the exit code is 0, or 2 where there is something for the user to change."""
    known = names()
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m experiments.benchmarks NAME [--json] [--quick] [options]; NAME --help shows them")
        print("       python -m experiments.benchmarks all [--json] [--quick]\n")
        width = max(map(len, known))
        for name, question in known.items():
            print(f"  {name:<{width}}  {question}")
        return 0
    return exit_code(lambda: _dispatch(argv, known))


def _dispatch(argv: Sequence[str], known: Mapping[str, str]) -> int:
    if argv[0] not in (*known, "all"):
        close = difflib.get_close_matches(argv[0], known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(known)}."
        raise UserError(f"There is no benchmark {argv[0]!r}: {hint}")
    try:
        if argv[0] == "all":
            from experiments.benchmarks.together import run_all

            return run_all(argv[1:], list(known))
        return _run(importlib.import_module(f"experiments.benchmarks.{argv[0]}"), argv[0], argv[1:])
    except ModuleNotFoundError as error:
        raise missing_package(error) from error


def _run(module: ModuleType, name: str, argv: Sequence[str]) -> int:
    from experiments.benchmarks import harness
    from experiments.command_line import parse
    from experiments.report import make_console

    common, config = parse(module, argv, common=Common, prog="python -m experiments.benchmarks")
    facts = {"Machine": harness.machine(), "Versions": harness.versions()}
    report = module.run(config, lambda text: print(f"... {text}", file=sys.stderr, flush=True))
    report = report._replace(notes=(*report.notes, *harness.busy(facts["Machine"])))
    if common.json:
        lower = {title.lower(): values for title, values in facts.items()}
        print(harness.as_json(name, config, report, lower | {"quick": common.quick}))
    else:
        console = make_console()
        console.print((module.__doc__ or name).partition("\n")[0], soft_wrap=True)
        harness.print_report(console, report, facts)
    return 0


@dataclasses.dataclass(frozen=True)
class Common:
    """The options that every benchmark takes."""

    json: bool = False
    """Print strict JSON instead of tables."""
    quick: bool = False
    """A small run, to see that everything works; it judges no target."""


if __name__ == "__main__":
    # What an earlier process compiled must not pass for compiled in no time; jax reads this once, when it starts.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    # One thread a core again: the wide pool makes matrix products half as fast on two cores. A user's own choice stays.
    if os.environ["NPROC"] == WIDE_POOL:
        del os.environ["NPROC"]
    streams: Any = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.reconfigure(errors="replace")
    sys.exit(main(sys.argv[1:]))
