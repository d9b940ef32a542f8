"""``python -m experiments`` lists the questions, ``... NAME`` answers one, ``... all`` every one of them.

``python -m experiments report`` writes a page with all results, ``... publish`` a small copy and a table of the claims.
"""

import ast
import difflib
import importlib
import pathlib
import pkgutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import experiments
from experiments.errors import UserError, exit_code, missing_package

__all__ = ["Question", "main", "questions"]


class Question(NamedTuple):
    """What the list shows of a module; a count is None where the source does not spell the tuple out."""

    name: str
    question: str
    methods: int | None
    claims: int | None


def questions(folders: Iterable[str] = experiments.__path__) -> list[Question]:
    """The modules that define METHODS, read from their source: nothing is imported, so that the list is quick."""
    found = []
    for module in pkgutil.iter_modules(folders):
        finder: Any = module.module_finder
        path = pathlib.Path(finder.path) / f"{module.name}.py"
        if module.ispkg or module.name.startswith("_") or not path.exists():
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        values = dict(_assigned(tree))
        if "METHODS" in values:
            first = (ast.get_docstring(tree) or "").partition("\n")[0]
            found.append(Question(module.name, first, _length(values["METHODS"]), _length(values.get("CLAIMS"))))
    return found


def _assigned(tree: ast.Module) -> list[tuple[str, ast.expr]]:
    found = []
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [(target.id, node.value) for target in targets if isinstance(target, ast.Name)]
    return found


def _length(value: ast.expr | None) -> int | None:
    if value is None:
        return 0
    if not isinstance(value, (ast.Tuple, ast.List)) or any(isinstance(entry, ast.Starred) for entry in value.elts):
        return None
    return len(value.elts)


def _print_list(known: Sequence[Question]) -> None:
    print("usage: python -m experiments NAME [options]; NAME --help shows the options")
    print("       python -m experiments all      answers every question")
    print("       python -m experiments report   writes a page with all results")
    print("       python -m experiments publish  makes a small copy of them, with a table of all claims\n")
    width = max((len(entry.name) for entry in known), default=0)
    for entry in known:
        counts = [
            f"{'?' if n is None else n} {what}{'' if n == 1 else 's'}"
            for n, what in zip(entry[2:], ("method", "claim"), strict=True)
        ]
        print(f"  {entry.name:<{width}}  {entry.question} ({', '.join(counts)})")


def main(argv: Sequence[str]) -> int:
    """Runs the command line; the exit code is 0, 1 (a row broke) or 2 (something for the user to change)."""
    known = questions()
    if not argv or argv[0] in ("-h", "--help"):
        _print_list(known)
        return 0
    return exit_code(lambda: _dispatch(argv, known))


def _dispatch(argv: Sequence[str], known: Sequence[Question]) -> int:
    name = argv[0].replace("-", "_")
    names = [entry.name for entry in known]
    if name in ("all", "report", "publish"):
        return _together(name, argv[1:], known)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(names)}."
        raise UserError(f"There is no question {argv[0]!r}: {hint}")
    try:
        from experiments.command_line import answer

        module = importlib.import_module(f"experiments.{name}")
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    return answer(module, argv[1:])


def _together(name: str, argv: Sequence[str], known: Sequence[Question]) -> int:
    """What concerns all questions: a run of every one of them, the page of their results, or a small copy."""
    try:
        if name == "all":
            from experiments.all_questions import answer_all

            return answer_all(argv, [entry.name for entry in known])
        sentences = [(entry.name, entry.question) for entry in known]
        if name == "publish":
            from experiments.publish import publish

            return publish(argv, sentences)
        from experiments.page.render import write_page

        return write_page(argv, sentences)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error


if __name__ == "__main__":
    streams: Any = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.reconfigure(errors="replace")  # a terminal without ± still gets the table
    sys.exit(main(sys.argv[1:]))
