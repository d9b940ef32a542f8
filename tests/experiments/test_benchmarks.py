"""The races' bookkeeping with a clock made of numbers, and small runs from their command line; no real seconds."""

import json
import math

import numpy as np
import pytest

from experiments.benchmarks import __main__ as command
from experiments.benchmarks import analytic, guidance, harness, kernels
from experiments.benchmarks.harness import Entry, Race, Report, Result, Target, Timing


class Clock:
    """Stands still except where an entry says how long it takes."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def __call__(self):
        return self.now

    def entry(self, name, seconds, *, compile=0.0, warmup=True):
        left = list(seconds)

        def run():
            self.log.append(name)
            self.now += left.pop(0)
            return name.upper()

        def prepare():
            self.log.append(f"prepare {name}")
            self.now += compile
            return run

        return Entry(name, prepare, warmup)


@pytest.fixture
def clock():
    return Clock()


def run_race(clock, *entries, **options):
    return harness.race(Race(7, "", entries), clock=clock, processor_clock=lambda: 2 * clock.now, **options)


def timing(name, *seconds, **facts):
    return Timing(name, 0.5, seconds, 1.0, None, facts)


# --- the race


def test_entries_run_in_turn_and_the_warm_up_does_not_count(clock):
    a = clock.entry("a", [100.0, 1.0, 5.0, 2.0], compile=3.0)
    b = clock.entry("b", [4.0, 6.0, 8.0], warmup=False)
    said = []
    first, second = run_race(clock, a, b, repeats=3, say=said.append)
    assert clock.log == ["prepare a", "a", "prepare b", "a", "b", "a", "b", "a", "b"]
    assert (first.seconds, second.seconds) == ((1.0, 5.0, 2.0), (4.0, 6.0, 8.0))
    assert (first.compile, second.compile) == (3.0, 0.0)
    assert (first.median, second.median) == (2.0, 6.0)
    assert (first.output, second.output) == ("A", "B")
    assert first.cores == second.cores == 2.0
    assert said[1] == "7, turn 1 of 3: b 4 s"


def test_an_entry_that_takes_long_is_not_run_again(clock):
    slow = clock.entry("slow", [60.0, 60.0], warmup=False)
    quick = clock.entry("quick", [1.0] * 3, warmup=False)
    first, second = run_race(clock, slow, quick, repeats=3, patience=100.0)
    assert (first.seconds, second.seconds) == ((60.0, 60.0), (1.0, 1.0, 1.0))
    assert clock.log[2:] == ["slow", "quick", "slow", "quick", "quick"]


def test_what_an_entry_returns_is_waited_for(clock):
    class Later:
        def block_until_ready(self):
            clock.now += 10.0
            return self

    (only,) = run_race(clock, Entry("later", lambda: Later, warmup=False), repeats=1)
    assert only.seconds == (10.0,)


def test_a_race_that_makes_no_sense(clock):
    with pytest.raises(ValueError, match="different names, got a, a"):
        run_race(clock, clock.entry("a", []), clock.entry("a", []), repeats=1)
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        run_race(clock, clock.entry("a", []), repeats=0)


# --- what the seconds say


def test_the_ratio_is_of_medians_and_its_spread_of_the_extremes():
    ratio = harness.compare(timing("peer", 8.0, 10.0, 30.0), timing("own", 4.0, 1.0, 2.0))
    assert ratio == (5.0, 2.0, 30.0)


def test_growth_is_the_exponent():
    sizes = [1000, 2000, 4000]
    assert harness.growth(sizes, [1e-9 * size**2.5 for size in sizes]) == pytest.approx(2.5)
    assert harness.growth([10, 100], [1.0, 1.0]) == pytest.approx(0.0)
    assert math.isnan(harness.growth([10], [1.0]))
    results = [Result(size, "", [timing("a", 1.0, size, 1e9), timing("b", size**3)]) for size in sizes]
    assert harness.growths(results) == pytest.approx({"a": 1.0, "b": 3.0})


def test_errors_are_relative():
    found = harness.relative_errors(np.float32([[3.0, 5.0]]), np.array([[3.0, 4.0]]))
    assert found == pytest.approx({"error": 0.2, "error (max)": 0.25})


@pytest.mark.parametrize(
    ("value", "op", "word"),
    [
        (1.0, "<=", "met"),
        (1.1, "<=", "not met"),
        (1.0, ">=", "met"),
        (0.9, ">=", "not met"),
        (math.nan, "<=", "not met"),
        (math.nan, ">=", "not met"),
        (None, "<=", "not judged"),
    ],
)
def test_verdicts(value, op, word):
    assert harness.verdict(Target("", value, op, 1.0)) == word


def test_facts_of_the_machine():
    facts = harness.machine()
    assert facts["cores"] >= 1
    assert facts["cpu"]
    assert harness.versions()["numpy"] == np.__version__
    assert harness.busy({"load": 0.1, "cores": 2}) == harness.busy({"load": None, "cores": 2}) == ()
    assert "load 1.5 on 2 cores" in harness.busy({"load": 1.5, "cores": 2})[0]


# --- what is printed

REPORT = Report(
    "width",
    [
        Result(10, "ten rows", [timing("peer", 4.0), timing("own", 1.0, 2.0, 3.0, error=math.nan)], {"condition": 5.0}),
        Result(20, "more rows", [timing("peer", 32.0), timing("own", 2.0, error=1e-7)]),
    ],
    (Target("speed", 16.0, ">=", 10.0), Target("error", None, "<=", 0.1)),
    ("a remark",),
)


def test_json_is_strict_and_whole():
    found = json.loads(harness.as_json("name", {"ridge": 0.1}, REPORT, {"quick": True}), parse_constant=pytest.fail)
    assert (found["benchmark"], found["config"], found["quick"]) == ("name", {"ridge": 0.1}, True)
    first = found["races"][0]
    assert (first["size"], first["work"], first["condition"]) == (10, "ten rows", 5.0)
    peer, own = first["rows"]
    assert peer["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert own["ratio"] == {"median": 2.0, "low": pytest.approx(4 / 3), "high": 4.0}
    assert (own["seconds"], own["median"], own["min"], own["max"]) == ([1.0, 2.0, 3.0], 2.0, 1.0, 3.0)
    assert (own["compile"], own["cores"], own["error"]) == (0.5, 1.0, None)
    assert found["growth"] == {"peer": pytest.approx(3.0), "own": pytest.approx(0.0)}
    assert [target["verdict"] for target in found["targets"]] == ["met", "not judged"]


def test_the_table_says_it_all(capsys):
    from rich.console import Console

    wide = Console(width=200, highlight=False, markup=False, emoji=False)  # whatever the terminal of the test session
    harness.print_report(wide, REPORT, {"Machine": {"cores": 2}})
    printed = capsys.readouterr().out
    for part in (
        "width 10: ten rows, condition 5",
        "1.33 to 4",
        "1 to 3",
        "1e-07",
        "peer  p = 3.00",
        "Machine: cores 2",
    ):
        assert part in printed
    assert "met         speed: 16, wanted >= 10" in printed
    assert "not judged  error: wanted <= 0.1" in printed


# --- the command line


def test_the_list_and_what_is_unknown(capsys):
    assert command.main([]) == 0
    printed = capsys.readouterr().out
    assert set(command.names()) == {"analytic", "attention", "guidance", "heads", "kernels", "krylov", "losses", "nas"}
    for question in command.names().values():
        assert question.endswith("?")
        assert question in printed
    assert command.main(["analitic"]) == 2
    assert "did you mean analytic" in capsys.readouterr().err
    assert command.main(["analytic", "--no-such-option"]) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rows", "550"], "--rows must be a multiple of both chunks, got 550"),
        (["--widths", "1"], "--widths must be at least 2"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--dataset", "nothing"], "There is no data set 'nothing'"),
        (["--dataset", "digits", "--rows", "2000"], "more than the 1797 rows of digits"),
    ],
)
def test_options_that_make_no_sense(options, sentence, capsys):
    assert command.main(["analytic", "--quick", *options]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.out == ""


# --- the benchmarks

SMALL = ["--dataset", "digits", "--rows", "200", "--chunk", "50", "--large-chunk", "100", "--repeats", "2"]


def test_analytic_in_small(capsys):
    """Every entry solves the same problem, each to what its arithmetic gives."""
    assert command.main(["analytic", "--quick", "--json", *SMALL, "--widths", "12", "24"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [race["size"] for race in found["races"]] == [12, 24]
    bounds = {
        "float64 recursion, published order, chunks of 50": 1e-9,
        "float64 recursion, X R first, chunks of 50": 1e-9,
        "jaxlab plain, chunks of 50": 1e-3,
        "jaxlab plain, chunks of 100": 1e-3,
        "jaxlab compensated, chunks of 100": 1e-6,
        "jaxlab rls_update float32, chunks of 50": 1e-2,
    }
    for race in found["races"]:
        assert [row["name"] for row in race["rows"]] == list(bounds)
        for row in race["rows"]:
            assert 0 < row["error"] < bounds[row["name"]]
            assert len(row["seconds"]) == 2
    assert found["growth"].keys() == bounds.keys()
    assert {target["verdict"] for target in found["targets"]} == {"not judged"}
    assert found["config"]["widths"] == [12, 24]
    assert found["quick"] is True


def test_the_problem_of_analytic():
    config = analytic.Config(dataset="digits", rows=100, widths=(10,), large_chunk=100, ridge=0.5)
    problem = analytic.make_problem(config, 10)
    gram = problem.wide_x.T @ problem.wide_x + 0.5 * np.eye(10)
    np.testing.assert_allclose(gram @ problem.exact, problem.wide_x.T @ problem.wide_y, atol=1e-9)
    assert problem.condition == pytest.approx(np.linalg.cond(gram), rel=1e-2)
    assert problem.x.dtype == np.float32
    assert np.array_equal(problem.x, problem.wide_x)
    assert problem.x.min() == 0.0  # the features are rectified
    assert problem.y.sum(0).min() > 0  # and every class is there


def test_targets_are_judged_at_their_own_size_only():
    config = analytic.Config(widths=(4000,), repeats=1)
    names = analytic._names(config)
    seconds = {"published": 100.0, "plain": 9.0, "compensated": 11.0}
    errors = {"plain": 2e-2, "compensated": 1e-7}
    timings = [timing(name, seconds.get(key, 1.0), error=errors.get(key, 0.0)) for key, name in names.items()]
    results = [Result(4000, "", timings)]
    words = [harness.verdict(target) for target in analytic._targets(config, results)]
    assert words == ["not met", "met", "met", "not met"]
    others = (analytic.Config(rows=4000), analytic.Config(dataset="digits", rows=1000), analytic.Config(ridge=1.0))
    for other in others:
        assert all(target.value is None for target in analytic._targets(other, results))
    assert all(target.value is None for target in analytic._targets(config, [Result(2000, "", timings)]))


def test_heads_in_small(capsys):
    """Both sides fit the same model: their weights agree with the formula, so they race over the same work."""
    pytest.importorskip("sklearn")
    assert command.main(["heads", "--quick", "--json", "--widths", "8"]) == 0
    report = json.loads(capsys.readouterr().out)
    *races, clusters = report["races"]
    assert [race["work"].partition(",")[0] for race in races] == ["linear discriminant analysis", "ridge regression"]
    for race in races:
        assert len(race["rows"]) == 2
        assert all(row["error"] < 1e-4 for row in race["rows"])
    peer, own = (row["inertia"] for row in clusters["rows"])
    assert own == pytest.approx(peer, rel=0.2)  # each from a seeding of its own


def test_guidance_in_small(capsys):
    """A call that is not needed is not made, and both forms of the score lead to the mixture."""
    assert command.main(["guidance", "--quick", "--json", "--contests", "skipping"]) == 0
    (race,) = json.loads(capsys.readouterr().out)["races"]
    assert [row["calls"] for row in race["rows"]] == [20, 11]
    assert race["share of calls saved"] == pytest.approx(9 / 20)
    config = guidance.Config(particles=400, particle_steps=100)
    for score in (guidance._score, guidance._score_in_turn):
        x = np.asarray(guidance._particles_jaxlab(config, score)())
        assert guidance._spread(x) == pytest.approx(guidance.WIDTH * np.sqrt(np.pi / 2), rel=0.15)


def test_guidance_does_the_work_of_its_peer(capsys):
    pytest.importorskip("diffusers")
    assert command.main(["guidance", "--quick", "--json", "--contests", "apg"]) == 0
    (race,) = json.loads(capsys.readouterr().out)["races"]
    assert [row["error"] < 1e-5 for row in race["rows"]] == [True, True]


def test_contests_are_named(capsys):
    assert command.main(["guidance", "--contests", "nothing"]) == 2
    assert "--contests must be among apg, particles, skipping, got nothing" in capsys.readouterr().err


def test_krylov_in_small(capsys):
    """All three solve the same systems to the same residual, and GMRES is the same GMRES."""
    assert command.main(["krylov", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [race["size"] for race in found["races"]] == [6, 8]
    for race in found["races"]:
        scipy_row, ours, recycled = race["rows"]
        assert max(row["residual"] for row in race["rows"]) < 1.01e-8
        assert ours["residual"] == pytest.approx(scipy_row["residual"], rel=1e-4)  # so they took the same steps
        assert ours["products"] <= scipy_row["products"] < 1.2 * ours["products"]
        assert recycled["products"] < ours["products"]
    assert {target["verdict"] for target in found["targets"]} == {"not judged"}


@pytest.mark.parametrize(("contest", "package"), [("vendi", "vendi_score"), ("dcov", "dcor"), ("divprune", "numpy")])
def test_kernels_in_small(contest, package, capsys):
    """Every entry finds what its peer finds, and a block's memory grows with the rows, not with their pairs."""
    pytest.importorskip(package)
    assert command.main(["kernels", "--quick", "--json", "--contests", contest]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["races"]) == {"vendi": 3, "dcov": 2, "divprune": 1}[contest]
    errors = [row["error"] for race in found["races"] for row in race["rows"] if "error" in row]
    assert len(errors) == {"vendi": 8, "dcov": 3, "divprune": 1}[contest]
    assert max(errors) < 1e-4
    assert {target["verdict"] for target in found["targets"]} == {"not judged"}
    if contest == "dcov":
        whole, half = found["races"][1]["MB"], found["races"][1]["MB for half the rows"]
        assert 0 < whole < 3 * half


def test_the_published_choice_of_tokens():
    distances = [kernels.published_choice(np.float32([[1, 0], [1, 0.1], [0, 1], [-1, 0]]), keep) for keep in (2, 3)]
    assert [found.tolist() for found in distances] == [[0, 3], [0, 2, 3]]


def test_attention_in_small(capsys):
    assert command.main(["attention", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [race["size"] for race in found["races"]] == [64, 128]
    names = [row["name"] for row in found["races"][0]["rows"]]
    assert len(names) == 3
    scratch = {name: [race["rows"][i]["scratch (MB)"] for race in found["races"]] for i, name in enumerate(names)}
    assert all(small < large for small, large in scratch.values())
    assert sum("Memory of" in note for note in found["notes"]) == 3
    assert {target["verdict"] for target in found["targets"]} == {"not judged"}


def test_attention_of_all_pairs_is_left_out_where_it_would_not_fit(capsys):
    arguments = ["attention", "--quick", "--json", "--most-pairs", "10000"]
    assert command.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(race["rows"]) for race in found["races"]] == [3, 1]


def test_tangent_kernels_in_small(capsys):
    assert command.main(["kernels", "--quick", "--json", "--contests", "ntk"]) == 0
    found = json.loads(capsys.readouterr().out)
    (contest,) = found["races"]
    assert len(contest["rows"]) == 3
    assert max(row["error"] for row in contest["rows"]) < 1e-4
    assert {target["verdict"] for target in found["targets"]} == {"not judged"}
