"""What a run leaves behind: ``config.json`` (what was asked) and ``results.json`` (what came), both strict JSON.

``results.json`` is rewritten after every row, by an atomic rename, so a run that is killed has lost one row at most.
"""

import copy
import dataclasses
import json
import math
import os
import pathlib
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.errors import UserError

__all__ = [
    "Measured",
    "Result",
    "drop",
    "load_result",
    "open_folder",
    "order",
    "plain",
    "record",
    "record_error",
    "save",
    "without_broken",
]

CONFIG, RESULTS, FIGURE = "config.json", "results.json", "figure.png"


class Measured(NamedTuple):
    """One row: metrics [S] and curves [S, ...] by name, seconds by ``compile`` and ``run``."""

    metrics: Mapping[str, Any]
    curves: Mapping[str, Any] = {}
    timings: Mapping[str, float] = {}


@dataclasses.dataclass
class Result:
    """Everything measured: ``rows[metric][method]`` [S], ``curves[name][method]`` [S, ...], ``timings[kind][method]``.

    ``errors[method]`` holds type, message and traceback of a row that broke. ``seed_scope`` says what a seed varies.
    """

    question: str
    dataset: str
    seeds: int
    seed_scope: str = ""
    rows: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    curves: dict[str, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    timings: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    errors: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    @property
    def finished(self) -> list[str]:
        """The methods with a whole row."""
        names = dict.fromkeys(name for row in self.rows.values() for name in row)
        return [name for name in names if name not in self.errors]


def record(result: Result, method: str, measured: Measured) -> None:
    """Adds a row; one that is not finite is kept and marked as an error.

    Raises:
      ValueError: there is no metric, or a metric is not [S], or a curve not [S, ...].
    """
    metrics = {name: np.asarray(value, dtype=np.float64) for name, value in measured.metrics.items()}
    curves = {name: np.asarray(value, dtype=np.float64) for name, value in measured.curves.items()}
    if not metrics:
        raise ValueError("the row has no metrics")
    for name, value in metrics.items():
        if value.shape != (result.seeds,):
            raise ValueError(f"metric {name} must have shape [{result.seeds}], one per seed, got {list(value.shape)}")
    for name, value in curves.items():
        if value.shape[:1] != (result.seeds,):
            raise ValueError(f"curve {name} must have shape [{result.seeds}, ...], got {list(value.shape)}")
    tables: Any = ((result.rows, metrics), (result.curves, curves), (result.timings, measured.timings))
    for table, row in tables:
        for name, value in row.items():
            table.setdefault(name, {})[method] = value
    broken = {name: np.flatnonzero(~np.isfinite(value)).tolist() for name, value in metrics.items()}
    if where := [f"{name} (seeds {', '.join(map(str, seeds))})" for name, seeds in broken.items() if seeds]:
        result.errors[method] = {"type": "NotFinite", "message": f"NaN or infinite: {', '.join(where)}"}


def record_error(result: Result, method: str, error: Exception) -> None:
    """Marks a row as broken by an exception."""
    result.errors[method] = {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def drop(result: Result, method: str) -> None:
    """Forgets a row."""
    tables: Any = (*result.rows.values(), *result.curves.values(), *result.timings.values(), result.errors)
    for table in tables:
        table.pop(method, None)


def without_broken(result: Result) -> Result:
    """A copy with the whole rows only."""
    whole = copy.deepcopy(result)
    for method in result.errors:
        drop(whole, method)
    return whole


def order(result: Result, methods: Iterable[str]) -> None:
    """Puts the rows into the order of ``methods``, whichever was measured first; others and empty metrics go."""
    names = list(methods)

    def ordered(table: dict[str, Any]) -> dict[str, Any]:
        return {name: table[name] for name in names if name in table}

    for field in ("rows", "curves", "timings"):
        tables = {key: ordered(table) for key, table in getattr(result, field).items()}
        setattr(result, field, {key: table for key, table in tables.items() if table})
    result.errors = ordered(result.errors)


def plain(value: Any) -> Any:
    """The value in JSON's own types; NaN and infinities become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def save(path: pathlib.Path, value: Any) -> None:
    """Writes strict JSON; the file is either the old one or the whole new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(plain(value), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def _load(path: pathlib.Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def open_folder(out: pathlib.Path, identity: Mapping[str, Any], *, resume: bool) -> bool:
    """Makes the folder ready and writes ``config.json``; True if there are rows to go on from.

    Args:
      out: the folder; a new one, an empty one, or one that an earlier run wrote.
      identity: what must agree for rows of two runs to stand in one table.
      resume: keep the rows of the earlier run; otherwise they are removed.
    Raises:
      UserError: the folder holds something else, or on resume the results of another configuration.
    """
    identity = plain(identity)
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
    except OSError as error:
        raise UserError(f"Cannot write results to {out}: {error.strerror or error}.") from error
    if used:
        before = _load(out / CONFIG)
        if before is None or not before.keys() >= {"question", "digest", "seeds"}:
            raise UserError(f"{out} is not empty and no results folder of ours: choose another --out.")
        if resume:
            if differing := _differences(before, identity):
                raise UserError(
                    f"Cannot resume {out}: it was written with {'; '.join(differing)}. "
                    "Give the same options, choose another --out, or leave --resume out to start over."
                )
            return (out / RESULTS).exists()
        for name in (RESULTS, FIGURE):
            (out / name).unlink(missing_ok=True)
    save(out / CONFIG, identity)
    return False


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new)
        elif old != new:
            found.append(f"{key} = {json.dumps(old)} where this run has {json.dumps(new)}")
    return found


def load_result(out: pathlib.Path, result: Result) -> None:
    """Fills ``result`` with the rows of an earlier run.

    Raises:
      UserError: ``results.json`` is damaged.
    """
    stored = _load(out / RESULTS) or {}
    try:
        for name in ("rows", "curves"):
            for key, table in stored[name].items():
                arrays = {method: np.array(value, dtype=np.float64) for method, value in table.items()}
                getattr(result, name)[key] = arrays
        result.timings.update(stored["timings"])
        result.errors.update(stored["errors"])
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"{out / RESULTS} is damaged: leave --resume out to start over.") from error
