"""The index of papers: its rows, the names in them, and the command line."""

import importlib
import json
import pathlib
import subprocess
import sys
import types

import pytest

import jaxlab
from jaxlab import papers

ROOT = pathlib.Path(__file__).parent.parent
GOOD = 'id = 7\nkey = "seven"\ntitle = "Seven"\nyear = 2020\nfamily = "losses"\nkind = "method"\n'
OPEN = GOOD + 'status = "open"\nfidelity = "checked"\n'
DONE = GOOD + 'status = "done"\nfidelity = "checked"\nprimitives = ["numerics.normalize"]\nexperiment = "fake:row"\n'


def index(tmp_path, *rows):
    path = tmp_path / "index.toml"
    path.write_text("".join(f"[[paper]]\n{row}\n" for row in rows), encoding="utf-8")
    return path


def primitive_problem(dotted):
    """What keeps the name from being a public function of jaxlab, or None."""
    value, path = jaxlab, "jaxlab"
    for part in dotted.split("."):
        if part not in getattr(value, "__all__", ()):
            return f"{part} is not in {path}.__all__"
        value, path = getattr(value, part), f"{path}.{part}"
    return None if callable(value) else f"{path} is not callable"


def experiment_problem(place, paper_id):
    """What keeps "module:row" from being a row of an experiment that also judges a claim of the paper, or None."""
    name, row = place.split(":", 1)
    try:
        module = importlib.import_module(f"experiments.{name}")
    except ModuleNotFoundError as error:
        return f"experiments.{name} cannot be imported: {error}"
    if row not in [method.name for method in module.METHODS]:
        return f"experiments.{name}.METHODS has no row {row}"
    if paper_id not in [claim.paper for claim in module.CLAIMS]:
        return f"experiments.{name}.CLAIMS has no claim of paper {paper_id}"
    return None


@pytest.fixture
def fake_experiment(monkeypatch):
    module = types.ModuleType("experiments.fake")
    module.METHODS = (types.SimpleNamespace(name="row"),)
    module.CLAIMS = (
        types.SimpleNamespace(paper=7, sentence="Seven beats six."),
        types.SimpleNamespace(paper=8, sentence="Eight beats seven."),
    )
    monkeypatch.setitem(sys.modules, "experiments.fake", module)


@pytest.fixture
def one_done_paper(tmp_path, monkeypatch):
    rows = papers.load(index(tmp_path, DONE + 'outside = "eight"\n', OPEN.replace("7", "8").replace("seven", "eight")))
    monkeypatch.setattr(papers, "load", lambda: rows)
    return rows


# --- the rows ---------------------------------------------------------------------------------------------------


def test_every_paper_is_there_once():
    rows = papers.load()
    assert sorted(paper.id for paper in rows) == list(range(291))
    assert len({paper.key for paper in rows}) == 291
    assert len({paper.title for paper in rows}) == 291
    assert len({paper.family for paper in rows}) == 8
    assert all(2010 <= paper.year <= 2030 for paper in rows)


def test_every_row_has_the_fields_in_one_order():
    """So that the file stays easy to edit by hand, and a change shows as the lines that changed."""
    order = list(papers.Paper._fields)
    for block in (ROOT / "jaxlab" / "papers.toml").read_text(encoding="utf-8").split("[[paper]]\n")[1:]:
        fields = [line.split(" = ")[0] for line in block.splitlines() if " = " in line and line[0].isalpha()]
        assert fields == sorted(fields, key=order.index), block
        assert fields[:8] == order[:8], block


def test_done_papers_resolve():
    problems = []
    for paper in papers.load():
        if paper.status == "done":
            found = [primitive_problem(name) for name in paper.primitives]
            found += [experiment_problem(place, paper.id) for place in paper.experiment]
            problems += [f"{paper.key}: {problem}" for problem in found if problem]
    assert not problems, "\n".join(problems)


def test_names_that_do_not_resolve_are_found(fake_experiment):
    assert primitive_problem("numerics.normalize") is None
    assert "jaxlab.numerics.__all__" in primitive_problem("numerics.no_such_function")
    assert "jaxlab.__all__" in primitive_problem("no_such_namespace.f")
    assert "jaxlab.numerics.__all__" in primitive_problem("numerics.norms.normalize")  # public names only
    assert "not callable" in primitive_problem("numerics")
    assert experiment_problem("fake:row", 7) is None
    assert "no row other" in experiment_problem("fake:other", 7)
    assert "no claim of paper 9" in experiment_problem("fake:row", 9)
    assert "cannot be imported" in experiment_problem("no_such_question:row", 7)


def test_readme_holds_the_coverage(capsys):
    assert papers.main(["--markdown"]) == 0
    table = capsys.readouterr().out.strip()
    page = ROOT / "README.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    _, _, rest = text.partition("<!-- coverage -->")
    held, closed, _ = rest.partition("<!-- /coverage -->")
    mend = "put what `python -m jaxlab.papers --markdown` prints into README.md, between the lines {} and {}"
    mend = mend.format("<!-- coverage -->", "<!-- /coverage -->")
    assert closed, mend
    assert held.strip() == table, mend


# --- reading ----------------------------------------------------------------------------------------------------


def test_load_gives_the_fields_as_written(tmp_path):
    several = DONE.replace('"fake:row"', '["fake:row", "other:row_2"]')
    (paper,) = papers.load(index(tmp_path, several))
    expected = (7, "seven", "Seven", 2020, "losses", "method", "done", "checked")
    assert paper == (*expected, ("numerics.normalize",), ("fake:row", "other:row_2"), "")
    (paper,) = papers.load(index(tmp_path, OPEN))
    assert paper.primitives == paper.experiment == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([OPEN, OPEN.replace("seven", "eight")], "id must be unique, got 7 twice"),
        ([OPEN, OPEN.replace("7", "8")], "key must be unique, got 'seven' twice"),
        ([OPEN.replace('"open"', '"finished"')], "status must be one of open, done, got 'finished'"),
        ([OPEN.replace('"checked"', '"guessed"')], "fidelity must be one of checked, .*, got 'guessed'"),
        ([DONE.replace('primitives = ["numerics.normalize"]\n', "")], "a done paper must name its primitives"),
        ([DONE.replace('experiment = "fake:row"\n', "")], "a done paper must name its primitives and its experiment"),
        ([DONE.replace('["numerics.normalize"]', "[]")], "a done paper must name its primitives"),
        ([DONE.replace('["numerics.normalize"]', '"numerics.normalize"')], "primitives must be a list"),
        ([DONE.replace("numerics.normalize", "normalize")], "primitives must be a list of dotted names, got 'norm"),
        ([DONE.replace("fake:row", "fake")], "experiment must be .* got 'fake'"),
        ([DONE.replace('"fake:row"', "3")], "experiment must be .* got 3"),
        ([OPEN.replace("2020", '"2020"')], "year must be an integer >= 0, got '2020'"),
        ([OPEN.replace("id = 7", "id = true")], "id must be an integer >= 0, got True"),
        ([OPEN.replace('"Seven"', '""')], "title must be text, got ''"),
        ([OPEN.replace('"seven"', '"Seven!"')], "key must be lower-case"),
        ([OPEN.replace('key = "seven"', 'name = "seven"')], "row 1: missing key; unknown name"),
        ([OPEN + "year = 2021\n"], "is not valid TOML"),
        ([], "got nothing"),
    ],
)
def test_a_bad_index_is_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        papers.load(index(tmp_path, *rows))


def test_errors_name_the_row(tmp_path):
    with pytest.raises(ValueError, match=r"index.toml, row 2 \(eight\): status"):
        papers.load(index(tmp_path, OPEN, OPEN.replace("seven", "eight").replace('"open"', '"shut"')))


def test_find():
    assert papers.find("teen") == papers.find(18) == papers.find("18")
    assert papers.find(0).id == 0
    with pytest.raises(ValueError, match=r"got 'tene'; the closest keys are teen"):
        papers.find("tene")
    with pytest.raises(ValueError, match="got 291"):
        papers.find(291)


def test_coverage(one_done_paper):
    assert papers.coverage(one_done_paper) == {"losses": (1, 2)}
    assert papers.coverage([]) == {}


# --- the command line -------------------------------------------------------------------------------------------


def test_overview(one_done_paper, capsys):
    assert papers.main([]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["family", "done", "all"],
        ["losses", "1", "2"],
        ["total", "1", "2"],
        [],
        ["done:"],
        ["seven", "7", "Seven"],
    ]


@pytest.mark.parametrize("word", ["seven", "7"])
def test_one_paper(word, one_done_paper, fake_experiment, capsys):
    assert papers.main([word]) == 0
    out = capsys.readouterr().out
    for part in ("Seven (2020)", "status done", "jaxlab.numerics.normalize", "experiments fake --methods row"):
        assert part in out
    assert "Seven beats six." in out
    assert "Eight beats seven." not in out
    assert "outside: eight" in out


def test_one_paper_without_the_experiments(one_done_paper, capsys):
    assert papers.main(["seven"]) == 0
    assert "not installed here" in capsys.readouterr().out


def test_unknown_paper(capsys):
    assert papers.main(["tene"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "teen" in err


def test_json(one_done_paper, fake_experiment, capsys):
    assert papers.main(["--json"]) == 0
    done, still_open = json.loads(capsys.readouterr().out)
    assert done == {
        "id": 7,
        "key": "seven",
        "title": "Seven",
        "status": "done",
        "fidelity": "checked",
        "primitives": ["numerics.normalize"],
        "experiment": "fake:row",
        "claims": ["Seven beats six."],
    }
    assert list(still_open) == list(done)
    assert (still_open["primitives"], still_open["experiment"], still_open["claims"]) == ([], None, [])


def test_json_without_the_experiments(one_done_paper, capsys):
    assert papers.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["claims"] == []


def test_json_of_the_index(capsys):
    assert papers.main(["--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["key"] for record in records] == [paper.key for paper in papers.load()]
    without = [record["key"] for record in records if record["status"] == "done" and not record["claims"]]
    assert not without, f"done, but no claim is printed: {without}"


def test_one_thing_at_a_time(capsys):
    with pytest.raises(SystemExit) as stop:
        papers.main(["teen", "--json"])
    assert stop.value.code == 2


def test_asking_the_index_does_not_load_jax():
    code = "import sys, jaxlab.papers; jaxlab.papers.main([]); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
