"""Every namespace's docstring is its front page: which function answers which need, and which papers stand behind it."""

import importlib
import inspect
import pkgutil
import re

import pytest

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
