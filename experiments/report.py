"""What a person sees: progress while it runs, one table, the claims, the figure."""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from experiments.claims import Verdict
from experiments.ledger import Result, without_broken

__all__ = ["Progress", "draw", "make_console", "number", "print_claims", "print_table", "row_line"]

COLOURS = {"holds": "green", "fails": "red", "undecided": "yellow", "not run": "dim", "not judged": "dim"}


def make_console() -> Console:
    """Standard output; wide enough for the table where it is no terminal."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 180
    return Console(width=width, highlight=False, markup=False, emoji=False)


class Progress:
    """A bar with what is going on now on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.count = console, total, 0
        self.bar = None
        if console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24))
            self.bar = Bar(*columns, MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True)
            self.task = self.bar.add_task("starting", total=total)

    def __enter__(self) -> "Progress":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def say(self, description: str) -> None:
        """What is going on now."""
        if self.bar:
            self.bar.update(self.task, description=description)
        else:
            self._line(f"... {description}")

    def advance(self, result: Result, method: str) -> None:
        """A row is done; the line that sums it up stays on the screen."""
        self.count += 1
        if self.bar:
            self.bar.advance(self.task)
        self._line(f"[{self.count}/{self.total}] {row_line(result, method)}")

    def _line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)
        self.console.file.flush()  # so that a log file can be followed


def number(value: float) -> str:
    """Three decimals where they say something, an exponent elsewhere."""
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation over seeds."""
    if len(values) == 1:
        return number(float(values[0]))
    return f"{number(float(values.mean()))} ± {number(float(values.std(ddof=1)))}"


def row_line(result: Result, method: str) -> str:
    """One finished row in a line."""
    if method in result.errors:
        return f"{method} broke: {_error(result, method)}"
    metric, row = next((metric, row) for metric, row in result.rows.items() if method in row)
    seconds = [f"{kind} {table[method]:.1f} s" for kind, table in result.timings.items() if method in table]
    return f"{method}: {metric} {spread(row[method])}" + (f" ({', '.join(seconds)})" if seconds else "")


def _error(result: Result, method: str) -> str:
    error = result.errors[method]
    lines = error.get("message", "").strip().splitlines()
    return f"{error.get('type')}: {lines[0][:300] if lines else '(no message)'}"


COLUMNS = 8
"""More metrics than fit side by side go into several tables."""


def print_table(console: Console, result: Result, methods: Sequence[Any]) -> None:
    """Rows in the order of ``methods``, a column per metric (mean ± standard deviation), the seconds, then remarks."""
    shown = [method for method in methods if method.name in result.finished or method.name in result.errors]
    scope = f", {result.seed_scope}" if result.seed_scope else ""
    seeds = f"{result.seeds} seed{'s' if result.seeds > 1 else ''}"
    title = f"{result.question} on {result.dataset}" if result.dataset else result.question
    console.print()
    groups = _groups(result)
    for place, names in enumerate(groups):
        whole = len(groups) == 1
        rows = [method for method in shown if whole or any(method.name in result.rows[name] for name in names)]
        table = _table(result, rows, names, timed=whole)
        if place == 0:
            table.title = Text(f"{title} ({seeds}{scope})")
        console.print(table)
    if len(groups) > 1:
        console.print(_table(result, shown, [], timed=True))
    for method in shown:
        if method.note:
            console.print(f"  {method.name}: {method.note}", soft_wrap=True)
    for name in result.errors:
        console.print(f"  {name} broke: {_error(result, name)}", style="red", soft_wrap=True)


def _groups(result: Result) -> list[list[str]]:
    """Metrics of one table each: all, if there are few, otherwise neighbours that the same methods have."""
    if len(result.rows) <= COLUMNS:
        return [list(result.rows)]
    groups: list[list[str]] = []
    for name, row in result.rows.items():
        if groups and len(groups[-1]) < COLUMNS and result.rows[groups[-1][0]].keys() == row.keys():
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _table(result: Result, methods: Sequence[Any], names: Sequence[str], *, timed: bool) -> Table:
    table = Table(title_justify="left", header_style="bold")
    table.add_column("method", no_wrap=True)
    table.add_column("paper", justify="right")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for kind in result.timings if timed else ():
        table.add_column(f"{kind} (s)", justify="right")
    for method in methods:
        name, whole = method.name, method.name in result.finished
        rows = [result.rows[metric] for metric in names]
        cells = [spread(row[name]) if whole and name in row else "" if whole else "broke" for row in rows]
        if timed:
            cells += [f"{seconds[name]:.2f}" if name in seconds else "" for seconds in result.timings.values()]
        paper = "" if method.paper is None else str(method.paper)
        table.add_row(Text(name), paper, *cells, style=None if whole else "red")
    return table


def print_claims(console: Console, verdicts: Sequence[Verdict]) -> None:
    """One line per claim: verdict, sentence, effect with its interval against the threshold."""
    if not verdicts:
        return
    console.print("\nClaims (95 % interval of the mean effect over seeds)", style="bold")
    for claim in verdicts:
        verdict = (f"  {claim.verdict:<11}", COLOURS[claim.verdict])
        console.print(Text.assemble(verdict, f"[{claim.paper}] {claim.sentence}: {_effect(claim)}"), soft_wrap=True)


def _effect(claim: Verdict) -> str:
    wanted = f"claimed {'within ±' if claim.op == 'within' else claim.op} {claim.threshold:g}"
    parts = [f"({claim.reason})"] if claim.reason else []
    if claim.effect is not None:
        parts.append(f"effect {number(claim.effect)}")
    if claim.interval is not None:
        parts.append(f"[{number(claim.interval[0])}, {number(claim.interval[1])}]")
    return f"{' '.join(parts)}, {wanted}"


def draw(console: Console, plot: Callable[[Result], Any], result: Result, path: pathlib.Path) -> None:
    """Saves the figure of the whole rows; a plot that cannot do without an absent one is a warning, not an end."""
    path.unlink(missing_ok=True)
    try:
        import matplotlib

        matplotlib.use("Agg")
        plot(without_broken(result)).savefig(path, dpi=120)
    except Exception as error:  # the numbers are on disk: a picture must not turn them into a failure
        console.print(f"\nNo figure: {type(error).__name__}: {error}", style="yellow", soft_wrap=True)
    else:
        console.print(f"\nFigure: {path}", soft_wrap=True)
