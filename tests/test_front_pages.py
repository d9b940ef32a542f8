"""The reference: every namespace has a front page of needs and papers, and every formula is one that pdoc renders."""

import importlib
import inspect
import pkgutil
import re

import pytest
from pdoc.docstrings import convert

import jaxlab
from jaxlab import papers

NAMESPACES = [
    module.name.removeprefix("jaxlab.")
    for module in pkgutil.walk_packages(jaxlab.__path__, "jaxlab.")
    if module.ispkg and not any(part.startswith("_") for part in module.name.split("."))
]


def page_of(namespace):
    module = importlib.import_module(f"jaxlab.{namespace}")
    things = {name: getattr(module, name) for name in module.__all__}
    return module.__doc__ or "", {name for name, thing in things.items() if not inspect.ismodule(thing)}


def behind(namespace):
    """Ids of the papers that name a function of the namespace itself."""
    return {
        paper.id
        for paper in papers.load()
        for primitive in paper.primitives
        if primitive.rpartition(".")[0] == namespace
    }


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_front_page_names_every_function_and_every_paper(namespace):
    page, names = page_of(namespace)
    assert names <= set(re.findall(r"`(\w+)`", page)), "functions without a need"
    told = {int(number) for found in re.findall(r"\[([\d, ]+)\]", page) for number in found.split(",")}
    assert behind(namespace) <= told, "papers that are not told"
    assert told <= {paper.id for paper in papers.load()}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_front_page_names_nothing_else(namespace):
    """A word in backticks in a list of needs is a public function, or says where it lives."""
    page, names = page_of(namespace)
    listed = [line for line in page.splitlines() if line.startswith(("- ", "  "))]
    words = {word for line in listed for word in re.findall(r"(?<![.`])`(\w+)`", line)}
    assert words <= names, "not public here"


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_pdoc_renders_every_text_and_formula(namespace):
    module = importlib.import_module(f"jaxlab.{namespace}")
    for name in page_of(namespace)[1]:
        text = inspect.getdoc(getattr(module, name)) or ""
        assert text, f"{namespace}.{name} has no text"
        page = convert(text, "google", None)
        assert ":math:" not in page.replace("`:math:`", ""), name
        assert ".. " not in page.replace("...", ""), f"{namespace}.{name}: a directive is left"
        assert page.count("$$") == 2 * text.count(".. math::"), name
        for formula in re.findall(r"\$\$(.*?)\$\$", page, flags=re.DOTALL):
            assert formula.count("{") == formula.count("}"), f"{namespace}.{name}: {formula}"
            assert not re.search(r"\\q?quad[A-Za-z]", formula), f"{namespace}.{name}: lines of a formula ran together"
