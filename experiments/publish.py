"""``python -m experiments publish``: what a run of all questions found, small enough to be committed.

Of every question stay the numbers per seed, the configuration and the figure in few colours; curves and tracebacks go.
``README.md`` beside them is the table of all claims, written from those files alone.
"""

import functools
import json
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from experiments import ledger
from experiments.all_questions import load_progress
from experiments.errors import UserError, exit_code
from experiments.page.collect import Answer, ClaimLine, read_answers
from experiments.page.render import agree, tally
from jaxlab import papers

__all__ = ["RUN", "TABLE", "claims_table", "publish"]

TABLE, RUN = "README.md", "run.json"
WIDTH, COLOURS = 1400, 64


def publish(argv: Sequence[str], known: Sequence[tuple[str, str]]) -> int:
    """Writes the small copy and its table.

    Args:
      argv: the options.
      known: names and first lines of all questions.
    Returns:
      0, or 2 if the user has to change something.
    """
    return exit_code(lambda: _publish(argv, dict(known)))


def _publish(argv: Sequence[str], sentences: Mapping[str, str]) -> int:
    out, to = tyro.cli(_options, prog="python -m experiments publish", args=list(argv))
    answers, damaged = read_answers(out)
    if damaged:
        raise UserError(f"Damaged results: {', '.join(map(str, damaged))}. Run those questions again.")
    if quick := [answer.name for answer in answers.values() if answer.quick]:
        raise UserError(f"Quick runs judge no claim and are not published: {', '.join(quick)}.")
    if twice := [name for name, count in Counter(answer.name for answer in answers.values()).items() if count > 1]:
        raise UserError(f"More than one answer to {', '.join(twice)} in {out}: publish one data set of each question.")
    try:
        for folder, answer in answers.items():
            _copy(folder, to / answer.name)
        _note_run(out, to)
        (to / TABLE).write_text(claims_table(to, sentences), encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot publish to {to}: {error.strerror or error}.") from error
    print(f"{len(answers)} answers: {to / TABLE}")
    return 0


def _options(
    out: pathlib.Path = pathlib.Path("out/all"), to: pathlib.Path = pathlib.Path("experiments/results")
) -> tuple[pathlib.Path, pathlib.Path]:
    """A small copy of the results, and a table of their claims.

    Args:
      out: Folder that holds the folders of results.
      to: Where the copy goes; answers of the same questions there are replaced, others stay.
    """
    return out, to


def _copy(folder: pathlib.Path, to: pathlib.Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    found = json.loads((folder / ledger.RESULTS).read_text(encoding="utf-8"))
    found.pop("curves", None)
    for error in found["errors"].values():
        error.pop("traceback", None)
    ledger.save(to / ledger.RESULTS, found)
    ledger.save(to / ledger.CONFIG, json.loads((folder / ledger.CONFIG).read_text(encoding="utf-8")))
    (to / ledger.FIGURE).unlink(missing_ok=True)
    if (folder / ledger.FIGURE).exists():
        from PIL import Image  # comes with matplotlib

        with Image.open(folder / ledger.FIGURE) as image:
            small = image.convert("RGB")
        small.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        small.quantize(COLOURS).save(to / ledger.FIGURE, optimize=True)


def _note_run(out: pathlib.Path, to: pathlib.Path) -> None:
    """How long every question took, and in which run."""
    progress = load_progress(out)
    noted = json.loads((to / RUN).read_text(encoding="utf-8")) if (to / RUN).exists() else {}
    words = ["python -m experiments all"]
    words += [f"--jobs {progress['jobs']}"] if "jobs" in progress else []
    words += [f"--seeds {seeds}"] if (seeds := progress.get("options", {}).get("seeds")) else []
    for name, outcome in progress.get("questions", {}).items():
        if (to / name).is_dir():
            noted[name] = {"command": " ".join(words), "seconds": round(outcome.seconds)}
    ledger.save(to / RUN, dict(sorted(noted.items())))


def claims_table(to: pathlib.Path, sentences: Mapping[str, str]) -> str:
    """The table of all claims in the folders of ``to``, in Markdown.

    Args:
      to: a folder that ``publish`` wrote.
      sentences: first lines of the questions, for results that do not hold them.
    """
    found, _ = read_answers(to)
    answers = sorted(found.values(), key=lambda answer: answer.name)
    runs: dict[str, Any] = json.loads((to / RUN).read_text(encoding="utf-8"))
    claims = sorted(
        (claim for answer in answers for claim in answer.claims), key=lambda claim: (claim.paper, claim.question)
    )
    counts = tally(claims)
    lines = [
        "# Claims",
        "",
        f"{len(claims)} claims of {len({claim.paper for claim in claims})} papers in {len(answers)} questions: "
        + ", ".join(f"{count} {agree(verdict, count)}" for verdict, count in counts.items())
        + ".",
        ABOUT,
        *(f"- `{command}`" for command in dict.fromkeys(run["command"] for run in runs.values())),
        *(f"- {machine}" for machine in dict.fromkeys(answer.made["Machine"] for answer in answers)),
        *(f"- {versions}" for versions in dict.fromkeys(answer.made["Versions"] for answer in answers)),
        "",
        "## Questions",
        "",
        _line("question", "", "rows", *(agree(verdict, 2) for verdict in counts), "minutes"),
        _line("---", "---", *["---:"] * (len(counts) + 2)),
        *(_question_line(answer, sentences, runs, tuple(counts)) for answer in answers),
        "",
        "## Claims by paper",
        "",
        _line("paper", "claim", "measured", "claimed", "verdict", "question"),
        _line(*["---"] * 6),
        *(_claim_line(claim) for claim in claims),
    ]
    return "\n".join(lines) + "\n"


ABOUT = """
A claim holds where the whole 95 % interval of its mean effect over seeds (Student t) lies beyond the threshold that was
fixed before the run, fails where the whole interval lies outside, and is undecided otherwise. These are small models on
small real data: a verdict says what happened at this size.

Written by `python -m experiments publish`, not by hand. `python -m experiments report --out experiments/results` makes
one page of it, with every table and figure. The run, the machine, the versions:
"""


def _question_line(
    answer: Answer, sentences: Mapping[str, str], runs: Mapping[str, Any], verdicts: Sequence[str]
) -> str:
    own = tally(answer.claims)
    told = [str(own.get(verdict, 0)) for verdict in verdicts]
    minutes = f"{runs[answer.name]['seconds'] / 60:.1f}" if answer.name in runs else ""
    sentence = answer.sentence or sentences.get(answer.name, "")
    return _line(f"[{answer.name}]({answer.name})", sentence, str(len(answer.rows)), *told, minutes)


def _claim_line(claim: ClaimLine) -> str:
    paper = f"[{claim.paper}] {_keys().get(claim.paper, '')}".rstrip()
    measured = claim.effect or claim.reason
    place = f"[{claim.question}]({claim.question})"
    return _line(paper, claim.sentence, measured, claim.wanted, f"**{claim.verdict}**", place)


@functools.cache
def _keys() -> dict[int, str]:
    return {paper.id: paper.key for paper in papers.load()}


def _line(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
