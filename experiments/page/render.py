"""The page itself: one HTML file that needs neither a network nor a server."""

import collections
import pathlib
import re
import sys
from collections.abc import Collection, Iterable, Sequence

import jinja2
import tyro
from markupsafe import Markup, escape

from experiments import ledger
from experiments.errors import UserError, exit_code
from experiments.page.collect import Answer, ClaimLine, Page, collect

__all__ = ["VERDICTS", "agree", "render", "tally", "write_page"]

VERDICTS = ("holds", "fails", "undecided", "not run", "not judged")
PAGE = "index.html"


def write_page(argv: Sequence[str], known: Sequence[tuple[str, str]]) -> int:
    """Writes ``index.html`` beside the results.

    Args:
      argv: the options.
      known: names and first lines of all questions.
    Returns:
      0, or 2 if the user has to change something.
    """
    return exit_code(lambda: _write_page(argv, known))


def _write_page(argv: Sequence[str], known: Sequence[tuple[str, str]]) -> int:
    out = tyro.cli(_options, prog="python -m experiments report", args=list(argv)).expanduser()
    page = collect(out, known)
    try:
        (out / PAGE).write_text(render(page), encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {out / PAGE}: {error.strerror or error}.") from error
    for folder in page.damaged:
        print(f"warning: {out / folder} is damaged and left out.", file=sys.stderr)
    claims = sum(len(answer.claims) for answer in page.answers)
    print(f"{len(page.answers)} answers, {claims} claims: {out / PAGE}")
    return 0


def _options(out: pathlib.Path = pathlib.Path("out/all")) -> pathlib.Path:
    """One page with every result, claim, paper and function.

    Args:
      out: Folder that holds the folders of results; the page is written into it.
    """
    return out


def render(page: Page) -> str:
    """The whole HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = pathlib.Path(__file__).parent
    titles = {paper.id: paper for paper in page.papers}
    asked = [claim for answer in page.answers for claim in answer.claims]
    return environment.get_template("page.html.j2").render(
        page=page,
        titles=titles,
        claims=asked,
        tally=tally,
        agree=agree,
        front=_front,
        anchor=anchor,
        style=(folder / "style.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        results=ledger.RESULTS,
    )


def anchor(answer: Answer) -> str:
    """The id of a question's part of the page: a question may have been put to several data sets."""
    return "-".join(filter(None, ("question", answer.name, answer.dataset)))


def tally(claims: Iterable[ClaimLine]) -> dict[str, int]:
    """How many claims there are of every verdict that occurs."""
    counts = collections.Counter(claim.verdict for claim in claims)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}


def agree(verdict: str, count: int) -> str:
    """The verdict as it is said of so many claims."""
    return {"holds": "hold", "fails": "fail"}.get(verdict, verdict) if count != 1 else verdict


def _front(text: str, namespace: str, names: Collection[str]) -> Markup:
    """A front page as HTML: paragraphs and one list, with links to the functions of its namespace and to papers.

    Args:
      text: paragraphs, and items that begin with "- " and go on in indented lines.
      namespace: whose functions are meant.
      names: which of them the page shows.
    """

    def line(words: str) -> str:
        words = str(escape(" ".join(words.split())))
        words = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", words)
        words = re.sub(r"\[\d+(?:, \d+)*\]", lambda found: re.sub(r"(\d+)", paper, found[0]), words)
        return re.sub(r"`([\w.]+)`", function, words)

    def function(found: re.Match[str]) -> str:
        code = f"<code>{found[1]}</code>"
        return f'<a href="#function-{namespace}.{found[1]}">{code}</a>' if found[1] in names else code

    paper = r'<a href="#paper-\1">\1</a>'
    html = []
    for block in re.split(r"\n\s*\n", text.strip()):
        items = re.split(r"^- ", block, flags=re.MULTILINE)
        if items[0].strip():
            html.append(f"<p>{line(items[0])}</p>")
        if items[1:]:
            html.append("<ul>" + "".join(f"<li>{line(item)}</li>" for item in items[1:]) + "</ul>")
    return Markup("".join(html))
