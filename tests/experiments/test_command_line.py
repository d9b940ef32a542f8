"""A whole run of a small question from its command line: what is printed, what is on disk, and the exit code."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from coin import BAD, GOOD, Config, call, difference, results, score

import experiments.__main__ as main_module
from experiments.command_line import answer, parse
from experiments.runner import Claim, Result, over_seeds

ROOT = pathlib.Path(__file__).parents[2]


# --- one run


def test_a_run_from_end_to_end(question, capsys):
    question.CLAIMS = (
        Claim(70, "high is above low", difference("high", "low"), ">", 0.3),
        Claim(70, "high is low", difference("high", "low"), "within", 0.1),
    )
    assert call(question, "--seeds", "3", "--width", "5") == 0
    found = results()
    assert (found["question"], found["dataset"], found["seeds"]) == ("coin", "mine", 3)
    assert found["seed_scope"] == "the coin only"
    assert found["versions"].keys() == {"jaxlab", "jax", "python"}
    assert found["errors"] == {}
    wanted = [float(score(Config(), jax.random.key(i), 0.9)[0]["accuracy"]) for i in range(3)]
    np.testing.assert_allclose(found["rows"]["accuracy"]["high"], wanted, rtol=1e-6)
    assert np.shape(found["curves"]["curve"]["low"]) == (3, 2)
    assert found["timings"]["compile"].keys() == found["timings"]["run"].keys() == {"high", "low"}
    assert [claim["verdict"] for claim in found["claims"]] == ["holds", "fails"]
    low, high = found["claims"][0]["interval"]
    assert low <= found["claims"][0]["effect"] <= high

    config = json.loads(pathlib.Path("out/coin-mine/config.json").read_text())
    assert config["config"] == {"width": 5, "ridge": 0.1}
    assert (config["seeds"], config["quick"], len(config["digest"])) == (3, False, 64)

    printed = capsys.readouterr().out
    for part in ("Which coin is best?", "making the coins", "[1/2] high: accuracy 0.9", "± 0.0", "the [best] one"):
        assert part in printed
    assert "holds      [70] high is above low: effect 0.400 [0.400, 0.400], claimed > 0.3" in printed
    assert "fails      [70] high is low" in printed
    assert printed.index("high  ") < printed.index("low  ")


def test_rows_that_break_do_not_stop_the_others(question, capsys):
    question.METHODS = (GOOD[0], *BAD, GOOD[1])
    question.CLAIMS = (
        Claim(22, "raises wins", difference("raises", "low"), ">", 0.0),
        Claim(18, "undefined wins", difference("undefined", "low"), ">", 0.0),
        Claim(70, "high wins", difference("high", "low"), ">", 0.0),
    )
    assert call(question) == 1
    found = results()
    assert question.calls == ["high", "raises", "undefined", "low"]
    assert found["errors"]["raises"]["type"] == "RuntimeError"
    assert "second line" in found["errors"]["raises"]["message"]
    assert "Traceback" in found["errors"]["raises"]["traceback"]
    assert found["errors"]["undefined"]["message"] == "NaN or infinite: accuracy (seeds 1)"
    assert found["rows"]["accuracy"]["undefined"] == [0.5, None, 0.5, 0.5, 0.5]
    assert list(found["rows"]["accuracy"]) == ["high", "undefined", "low"]
    assert [claim["verdict"] for claim in found["claims"]] == ["not run", "not run", "holds"]
    printed = capsys.readouterr().out
    assert "raises broke: RuntimeError: no [bold]luck" in printed
    assert "(row undefined broke)" in printed


def test_every_row_broken(question):
    question.METHODS = BAD
    question.plot = lambda result: pytest.fail("nothing to draw")
    assert call(question, "--seeds", "2") == 1
    assert results()["errors"].keys() == {"raises", "undefined"}


def test_a_row_that_the_question_forgets_is_an_error(question):
    question.run = lambda config, run: run.rows(
        question.METHODS[:1], lambda method: over_seeds(lambda k: {"a": 1.0}, run.seed_keys())
    )
    assert call(question) == 1
    assert results()["errors"]["low"]["type"] == "NotMeasured"


def test_quick_and_single_seed_judge_nothing(question, capsys):
    question.CLAIMS = (Claim(70, "high wins", difference("high", "low"), ">", 0.0),)
    assert call(question, "--quick") == 0
    assert results()["claims"][0]["verdict"] == "not judged"
    assert json.loads(pathlib.Path("out/coin-mine/config.json").read_text())["config"]["width"] == 2
    assert "not judged" in capsys.readouterr().out
    assert call(question, "--seeds", "1") == 0
    assert (
        results()["claims"][0] | {"interval": None, "reason": "one seed", "verdict": "not judged"}
        == results()["claims"][0]
    )


def test_selected_methods(question):
    question.CLAIMS = (Claim(70, "high wins", difference("high", "low"), ">", 0.0),)
    assert call(question, "--methods", "low") == 0
    assert question.calls == ["low"]
    assert results()["claims"][0]["verdict"] == "not run"


def test_the_figure(question, capsys):
    def plot(result: Result):
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(2, 2))
        axes.plot(result.rows["accuracy"]["high"])
        assert "undefined" not in result.rows["accuracy"]  # half a row would look like a whole one
        return figure

    question.METHODS = (*GOOD, BAD[1])
    question.plot = plot
    assert call(question) == 1
    assert pathlib.Path("out/coin-mine/figure.png").read_bytes()[:4] == b"\x89PNG"
    assert call(question, "--methods", "low") == 0  # the plot does without nothing: a warning, and no stale picture
    assert not pathlib.Path("out/coin-mine/figure.png").exists()
    assert "No figure: KeyError: 'high'" in capsys.readouterr().out


# --- what the user has to change: one sentence, exit code 2, no work done


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--methods", "high,best"], "Unknown method best: choose from high, low."),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--dataset", "digits", "--data", "mine.npz"], "not both"),
        (["--dataset", "cifar"], "Unknown data set cifar: choose from digits"),
        (["--data", "absent.npz"], "There is no file absent.npz"),
        (["--data", "bad.npz"], "lacks y"),
        (["--data", "mine.npz", "--out", "mine.npz"], "Cannot write results to mine.npz"),
        (["--data", "mine.npz", "--out", "full"], "not empty and no results folder of ours"),
        (["--data", "mine.npz", "--out", "full", "--resume"], "not empty and no results folder of ours"),
        (["--data", "mine.npz", "--width", "0"], "width must be at least 1, got 0"),
        (["--data", "mine.npz", "--mesh", "0"], "--mesh must be at least 1"),
        (["--data", "mine.npz", "--mesh", "4096"], "--mesh 4096 needs 4096 devices"),
        (["--widht", "3"], "--width"),
        (["--width", "wide"], "--width"),
    ],
)
def test_user_errors(question, argv, sentence, capsys):
    jax.devices()
    np.savez("bad.npz", x=np.eye(3))
    pathlib.Path("full").mkdir()
    pathlib.Path("full/config.json").write_text('{"model_type": "theirs"}')
    assert answer(question, argv) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert question.calls == []
    assert not pathlib.Path("out").exists()
    assert os.listdir("full") == ["config.json"]


def test_a_question_that_makes_its_own_data(question, capsys):
    question.DATASETS = ()
    question.run = lambda config, run: run.rows(
        GOOD, lambda m: over_seeds(lambda k: {"accuracy": 1.0}, run.seed_keys())
    )
    assert call(question) == 2
    assert "makes its own data" in capsys.readouterr().err
    assert answer(question, []) == 0
    assert results("out/coin")["dataset"] == ""


def test_values_on_the_command_line_win_over_quick(question):
    assert parse(question, ["--quick"])[1] == Config(width=2)
    assert parse(question, ["--quick", "--width", "6", "--ridge", "1"])[1] == Config(6, 1.0)
    assert parse(question, [])[1] == Config()
    given = ([], ["--quick"], ["--quick", "--seeds", "3"])
    assert [parse(question, options)[0].seeds for options in given] == [5, 2, 3]


@pytest.mark.parametrize(
    ("option", "chosen", "light"), [([], None, False), (["--quick"], None, True), (["--quick"], "0", False)]
)
def test_a_quick_run_compiles_lightly_unless_the_environment_says_otherwise(
    question, monkeypatch, option, chosen, light
):
    name, seen = "jax_disable_most_optimizations", []
    monkeypatch.delenv(name.upper(), raising=False)
    if chosen is not None:
        monkeypatch.setenv(name.upper(), chosen)
    question.run = lambda config, run: seen.append(jax.config.read(name))
    before = jax.config.read(name)
    assert answer(question, option) == 1  # nothing was measured
    assert (seen, jax.config.read(name)) == ([light], before)


def test_help_names_the_question_and_both_kinds_of_options(question, capsys):
    assert answer(question, ["--help"]) == 0
    printed = capsys.readouterr().out
    for part in ("Which coin is best?", "python -m experiments coin", "--methods", "--resume", "--width", "How wide."):
        assert part in printed


def test_names_that_clash(question):
    question.Config = dataclasses.make_dataclass("Config", [("seeds", int, 3)])
    with pytest.raises(ValueError, match="must not name seeds"):
        answer(question, [])


# --- the list and the name


def test_the_list_reads_sources_and_imports_nothing(tmp_path):
    (tmp_path / "first.py").write_text('"""Is it?\n\nMore."""\nimport no_such\nMETHODS = (1, 2, f(3))\nCLAIMS = [1]\n')
    (tmp_path / "second.py").write_text('"""Or not?"""\nMETHODS: tuple = (*a, 1)\n')
    (tmp_path / "helper.py").write_text("def f():\n  METHODS = ()\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("METHODS = ()\n")
    assert main_module.questions([str(tmp_path)]) == [("first", "Is it?", 3, 1), ("second", "Or not?", None, 0)]


def test_listing_does_not_start_jax():
    code = "import sys; from experiments.__main__ import main; main([]); assert 'jax' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m experiments NAME" in done.stdout


@pytest.fixture
def listed(question, monkeypatch):
    known = [
        main_module.Question("coin", "Which coin is best?", 2, 1),
        main_module.Question("long_tail", "Rare?", None, 0),
    ]
    monkeypatch.setattr(main_module, "questions", lambda: known)
    monkeypatch.setitem(sys.modules, "experiments.coin", question)
    return question


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_main_lists(listed, argv, capsys):
    assert main_module.main(argv) == 0
    printed = capsys.readouterr().out
    assert "coin       Which coin is best? (2 methods, 1 claim)" in printed
    assert "long_tail  Rare? (? methods, 0 claims)" in printed


def test_main_answers(listed):
    assert main_module.main(["coin", "--data", "mine.npz", "--methods", "low"]) == 0
    assert listed.calls == ["low"]
    assert main_module.main(["coin", "--methods", "lower"]) == 2


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("long-tial", "There is no question 'long-tial': did you mean long_tail?"),
        ("xyz", "There is no question 'xyz': choose from coin, long_tail."),
        ("--quick", "There is no question '--quick': choose from"),
    ],
)
def test_unknown_question(listed, name, sentence, capsys):
    assert main_module.main([name]) == 2
    assert sentence in capsys.readouterr().err


def test_a_missing_package_is_named(listed, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    monkeypatch.delitem(sys.modules, "experiments.command_line")
    assert main_module.main(["coin"]) == 2
    assert "tyro is not installed. Run: pip install -e '.[experiments]'" in capsys.readouterr().err


def test_a_missing_module_of_our_own_is_a_bug(listed, monkeypatch):
    monkeypatch.delitem(sys.modules, "experiments.coin")
    with pytest.raises(ModuleNotFoundError, match=r"experiments\.coin"):
        main_module.main(["coin"])


# --- several devices


MESH = """
import sys, types
sys.path[:0] = [{root!r}, {tests!r}]
import jax, coin as t
from experiments.command_line import answer
from experiments.runner import Claim, Method, over_seeds
module = types.ModuleType("experiments.coin")
module.__doc__ = "Q"
module.Config, module.QUICK, module.DATASETS, module.METHODS, module.CLAIMS = t.Config, {{}}, ("digits",), t.GOOD, ()
def run(config, run):
    x = run.shard(run.data().x)
    assert len(x.sharding.device_set) == run.common.mesh
    def one(key, x):
        return {{"accuracy": x.mean() + 0 * jax.random.uniform(key), "devices": len(jax.devices())}}
    run.rows(t.GOOD, lambda method: over_seeds(one, run.seed_keys(), shared=(x,)))
module.run = run
print([answer(module, ["--data", "mine.npz", "--seeds", "2", "--mesh", n]) for n in ("3", "2", "4", "9")])
"""


@pytest.mark.scale
def test_mesh_of_virtual_devices(question):
    code = MESH.format(root=str(ROOT), tests=str(pathlib.Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.splitlines()[-1] == "[0, 0, 2, 2]", done.stdout + done.stderr
    np.testing.assert_allclose(results()["rows"]["accuracy"]["high"], 1 / 6, rtol=1e-6)
    assert "--mesh 4 needs 4 devices, but jax sees 3" in done.stderr
