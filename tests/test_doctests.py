"""The example in every public docstring, and in the README and BUILD.md, runs and prints what it says."""

import doctest
import importlib
import pathlib
import pkgutil

import jax
import jax.numpy as jnp
import pytest

import jaxlab

ROOT = pathlib.Path(__file__).parent.parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = sorted(m.name for m in pkgutil.walk_packages(jaxlab.__path__, "jaxlab.") if not m.name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    names = {"jax": jax, "jnp": jnp}
    failed, _ = doctest.testmod(importlib.import_module(name), extraglobs=names, optionflags=FLAGS)
    assert failed == 0


@pytest.mark.parametrize("page", ["README.md", "BUILD.md"])
def test_page_examples(page):
    failed, attempted = doctest.testfile(str(ROOT / page), module_relative=False, optionflags=FLAGS)
    assert failed == 0
    assert attempted > 0 or page == "BUILD.md"
