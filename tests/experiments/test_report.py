"""Tables that a person can read, however many metrics there are."""

import io

import numpy as np
from rich.console import Console

from experiments.ledger import Result
from experiments.report import print_table
from experiments.runner import Method

METHODS = tuple(Method(name, None, None, note=f"remark on {name}") for name in ("plain", "other"))


def printed(rows):
    result = Result("question", "data", 2)
    result.rows = {metric: {name: np.array([v, v]) for name, v in row.items()} for metric, row in rows.items()}
    result.timings = {"run": {"plain": 1.0, "other": 2.0}}
    console = Console(file=io.StringIO(), width=180)
    print_table(console, result, METHODS)
    return console.file.getvalue()


def test_few_metrics_make_one_table():
    text = printed({f"metric_{i}": {"plain": 0.1 * i, "other": 0.2} for i in range(3)})
    assert text.count("method") == 1
    assert "metric 2" in text


def test_many_metrics_make_several_and_none_is_cut():
    few = {f"few_{i}": {"plain": 0.25} for i in range(3)}
    many = {f"many_{i}": {"plain": 0.5, "other": 0.75} for i in range(12)}
    text = printed(few | many)
    assert text.count("method") == 4  # 3, 8 and 4 metrics, and the seconds
    assert "…" not in text
    for name in (*few, *many):
        assert name.replace("_", " ") in text
    first = text.partition("many 0")[0]
    assert "0.250" in first
    assert "other" not in first.partition("few 2")[2]  # a method without these metrics is not in their table
    assert text.count("remark on other") == 1
