"""The page of all results: what stands in it, and how it answers in a real browser."""

import html.parser
import json
import pathlib
import re
import shutil
import tempfile
import warnings

import pytest
from coin import BAD, GOOD, call, difference

import experiments.__main__ as main_module
from experiments.page.collect import functions, read_answer
from experiments.page.render import _front, write_page
from experiments.runner import Claim
from jaxlab import papers

KNOWN = (("coin", "Which coin is best?"), ("long_tail", "Long tail and an unknown test prior"))


@pytest.fixture
def folder(question):
    """Results of a small question whose second row broke, and the page beside them."""
    question.METHODS = (*GOOD, BAD[0])
    question.CLAIMS = (
        Claim(70, "high is above low <by far>", difference("high", "low"), ">", 0.3),
        Claim(70, "high is low", difference("high", "low"), "within", 0.1),
        Claim(22, "raises wins", difference("raises", "low"), ">", 0.0),
    )
    question.plot = lambda result: _figure()
    assert call(question, "--seeds", "3") == 1
    assert write_page(["--out", "out"], KNOWN) == 0
    return pathlib.Path("out")


def _figure():
    from matplotlib.figure import Figure

    return Figure(figsize=(1, 1))


class Reader(html.parser.HTMLParser):
    """Ids, links and whatever would load something from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        if tag == "a":
            self.links.append(given["href"])
        elif tag in ("script", "img", "link", "iframe"):
            self.loaded += [given[name][:11] for name in ("src", "href") if name in given]


def test_everything_stands_in_one_file_and_every_link_leads_somewhere(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    reader = Reader(text)
    assert set(reader.loaded) == {"data:image/"}
    assert "http://" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
    assert len(set(reader.ids)) == len(reader.ids)
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    for part in (
        "Which coin is best?",
        "0.9",
        "± 0.0",
        "high is above low &lt;by far&gt;",
        "0.4 [0.4, 0.4]",
        "&gt; 0.3",
    ):
        assert part in text
    assert "raises broke: RuntimeError: no [bold]luck" in text
    assert "Long tail and an unknown test prior" in text  # not run yet
    assert "width = 8, ridge = 0.1" in text
    assert "Label distributions" not in text


def test_an_answer_is_read_as_it_was_measured(folder):
    (answer,) = [read_answer(path.parent) for path in folder.rglob("results.json")]
    assert [(row.name, row.paper, bool(row.error)) for row in answer.rows] == [
        ("high", 70, False),
        ("low", None, False),
        ("raises", 22, True),
    ]
    assert [table.metrics for table in answer.tables] == [["accuracy", "gap"]]
    assert [(claim.verdict, claim.methods) for claim in answer.claims] == [
        ("holds", ["high"]),
        ("fails", ["high"]),
        ("not run", ["raises"]),
    ]
    assert answer.made["Command"] == "python -m experiments coin --seeds 3 --dataset mine"
    assert answer.figure.startswith("data:image/png;base64,")


def test_damaged_results_are_left_out_and_none_at_all_is_said(folder, capsys):
    (path,) = folder.rglob("results.json")
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"rows": 3}))
    assert write_page(["--out", "out"], KNOWN) == 2
    said = capsys.readouterr().err
    assert "There are no results in out: all that is there is damaged: out/coin-mine; run python -m exp" in said
    shutil.copytree(path.parent, path.parents[1] / "whole")
    (path.parents[1] / "whole" / "results.json").write_text(json.dumps(found))
    assert write_page(["--out", "out"], KNOWN) == 0
    assert "warning: out/coin-mine is damaged and left out." in capsys.readouterr().err
    assert "are damaged and left out: coin-mine." in (folder / "index.html").read_text()
    assert write_page(["--out", "nowhere"], KNOWN) == 2
    assert "There are no results in nowhere: run python -m experiments all --out nowhere" in capsys.readouterr().err
    assert main_module.main(["report", "--nothing"]) == 2


def test_every_public_function_has_its_text_and_its_papers():
    found = functions(papers.load())
    entries = {entry.name: entry for namespace in found.values() for entry in namespace}
    named = {name for paper in papers.load() for name in paper.primitives}
    assert named <= entries.keys()
    assert 219 in entries["metrics.vendi_score"].papers
    assert not [entry.name for entry in entries.values() if not entry.line]


def test_front_pages_link_to_functions_and_papers():
    text = "A first <line>.\n\n- **A need**: `one` (when it\n  fits), `other`; [18, 7]\n\nTypes: `one`."
    link = '<a href="#function-losses.one"><code>one</code></a>'
    assert _front(text, "losses", {"one"}) == (
        f"<p>A first &lt;line&gt;.</p><ul><li><strong>A need</strong>: {link} (when it fits), <code>other</code>; "
        f'[<a href="#paper-18">18</a>, <a href="#paper-7">7</a>]</li></ul><p>Types: {link}.</p>'
    )


# --- in a browser


@pytest.fixture
def browser():
    """Headless Chromium, driven by Selenium."""
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not (program and driver):
        reason = "NO BROWSER: the page was not tried. Install Debian's chromium and chromium-driver."
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for word in (
            "headless=new",
            "no-sandbox",
            "disable-gpu",
            "disable-quic",
            "no-first-run",
            "disable-background-networking",
            "disable-component-update",
            "disable-sync",
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{word}")
        driven = webdriver.Chrome(options=options, service=Service(driver))
        yield driven
        driven.quit()


def test_a_reader_finds_what_they_came_for(folder, browser):
    from selenium.webdriver.common.keys import Keys

    def all_of(selector):
        return browser.find_elements("css selector", selector)

    def shown(selector):
        return [element for element in all_of(selector) if element.is_displayed()]

    def first_found(words):
        field = browser.find_element("id", "query")
        field.clear()
        field.send_keys(words)
        return [entry.text for entry in shown("#found li")[:8]]

    browser.set_window_size(390, 800)
    browser.get((folder / "index.html").resolve().as_uri())
    assert any("long_tail" in entry for entry in first_found("which loss for a long tail with an unknown test prior"))
    assert any("[282]" in entry for entry in first_found("how do I run APG"))
    assert "[219]" in first_found("does the claim of [219] hold")[0]
    assert "jaxlab.metrics.vendi_score" in " ".join(first_found("vendi score"))
    assert first_found("zzzz") == []
    assert browser.find_element("id", "found-count").text == "Nothing found"

    # From the words to the reference by the keyboard alone.
    first_found("vendi_score_from_embeddings")
    (link,) = [link for link in shown("#found a") if link.text == "jaxlab.metrics.vendi_score_from_embeddings"]
    link.send_keys(Keys.ENTER)
    opened = browser.find_element("id", "function-metrics.vendi_score_from_embeddings")
    assert opened.get_property("open")
    assert browser.switch_to.active_element == opened.find_element("css selector", "summary")
    assert "ignores the weights" in opened.text

    # The claims, filtered by verdict, paper, method and words, and shown again.
    def filtered(field, value):
        browser.find_element("id", f"claim-{field}").send_keys(value)
        rows, said = shown("#claim-table tbody tr"), browser.find_element("id", "claim-count").text
        browser.find_element("css selector", "#claim-filters button").click()
        return len(rows), said

    assert filtered("verdict", "holds") == (1, "1 of 3 claims")
    assert filtered("paper", "70") == (2, "2 of 3 claims")
    assert filtered("method", "raises") == (1, "1 of 3 claims")
    assert filtered("words", "by far") == (1, "1 of 3 claims")
    assert filtered("question", "coin") == (3, "3 claims")
    assert len(shown("#claim-table tbody tr")) == 3

    # On a phone nothing is wider than the screen.
    wide = """
    return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll *, .skip, thead') &&
      e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 200))
    """
    assert browser.execute_script(wide) == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.get_log("browser") == []
    unnamed = "return [...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length"
    assert browser.execute_script(unnamed) == 0
