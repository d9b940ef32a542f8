"""All benchmarks in one table: what is left out, what broke. A small script stands for the benchmarks."""

import json
import sys

import pytest

from experiments.benchmarks import __main__ as command
from experiments.benchmarks.together import run_all

SCRIPT = """
import json, sys
name = sys.argv[1]
assert sys.argv[2] == "--json"
if name == "lonely":
    print("error: The package torch is not installed. Run: pip install", file=sys.stderr)
    sys.exit(2)
if name == "bad":
    raise RuntimeError("no luck")
row = lambda name, median: {"name": name, "median": median, "compile": 0.5,
                            "ratio": {"median": 6.0 / median, "low": 1.0, "high": 9.0}}
races = [{"size": 7, "work": "some work", "rows": [row("peer", 6.0), row("ours", 2.0)]},
         {"size": 9, "work": "alone", "rows": [row("ours", 3.0)]}]
print(json.dumps({"races": races, "growth": {"ours": 1.61}, "size_name": "rows", "quick": "--quick" in sys.argv,
                  "targets": [{"sentence": "faster", "value": 3.0, "op": ">=", "bound": 2, "verdict": "met"}],
                  "machine": {"cpu": "box", "load": 1}, "versions": {"torch": "2"}}))
"""


def run(tmp_path, *argv, known):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return run_all(argv, known, (sys.executable, str(script)))


def test_one_table_of_all_races(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")
    assert run(tmp_path, known=("good", "lonely")) == 0
    printed = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if "│" in line]
    assert lines == [
        ["good", "7 rows", "some work", "peer", "6", "", "", "", "0.50"],
        ["", "", "", "ours", "2", "3", "1 to 9", "1.61", "0.50"],
        ["good", "9 rows", "alone", "ours", "3", "", "", "1.61", "0.50"],
    ]
    assert "met         good: faster: 3, wanted >= 2" in printed
    assert "left out: lonely: The package torch is not installed." in printed
    assert "Versions: torch 2" in printed


def test_one_that_breaks_costs_no_other(tmp_path, capsys):
    assert run(tmp_path, "--json", "--quick", known=("bad", "good")) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["broken"] == {"bad": "RuntimeError: no luck"}
    assert found["benchmarks"]["good"]["quick"] is True


def test_an_earlier_run_is_shown(tmp_path, capsys):
    run(tmp_path, "--json", known=("good", "lonely"))
    kept = tmp_path / "kept.json"
    kept.write_text(capsys.readouterr().out)
    run(tmp_path, known=("good", "lonely"))
    printed = capsys.readouterr().out
    assert run(tmp_path, "--show", str(kept), known=("bad",)) == 0
    assert capsys.readouterr().out == printed
    kept.write_text("{}")
    assert run(tmp_path, "--show", str(kept), known=("bad",)) == 2
    assert "holds no benchmarks (KeyError): write it with --json." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["all", "al"])
def test_the_command_knows_it(name, monkeypatch):
    monkeypatch.setattr("experiments.benchmarks.together.run_all", lambda argv, known: len(known))
    assert command.main([name]) == (len(command.names()) if name == "all" else 2)
