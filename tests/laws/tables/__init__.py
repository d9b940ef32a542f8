"""The law table: ``ROWS`` of every file here, by dotted public name ("numerics.normalize").

A file is named after its namespace: ``compress_pruning.py`` holds the rows of jaxlab.compress.pruning. A long table is
split by concept with one more word: ``losses_matching.py`` holds rows of jaxlab.losses.

A file may also hold ``MEANINGS``: how to read the states of a family ("gram") where two states that differ entry by
entry may mean the same.
"""

import importlib
import pathlib
import pkgutil
from collections.abc import Callable
from typing import Any

import jaxlab
from tests.laws.row import Row

ROWS: dict[str, Row] = {}
MEANINGS: dict[str, Callable[[Any], Any]] = {}


def namespace_of(table: str) -> str:
    """The namespace whose rows a file holds: the longest leading part of its name that is a package of jaxlab."""
    words, path = table.split("_"), [pathlib.Path(jaxlab.__file__).parent]
    while True:
        deeper = [n for n in range(1, len(words) + 1) if (path[-1] / "_".join(words[:n]) / "__init__.py").exists()]
        if not deeper:
            return ".".join(folder.name for folder in path[1:]) or table
        path.append(path[-1] / "_".join(words[: deeper[-1]]))  # low_rank is one package of two words
        words = words[deeper[-1] :]


for module in pkgutil.iter_modules(__path__):
    namespace = namespace_of(module.name)
    table = importlib.import_module(f"{__name__}.{module.name}")
    ROWS |= {f"{namespace}.{name}": row for name, row in table.ROWS.items()}
    MEANINGS |= {f"{namespace}.{name}": meaning for name, meaning in getattr(table, "MEANINGS", {}).items()}
