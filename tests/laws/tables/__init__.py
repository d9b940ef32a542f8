"""The law table: ``ROWS`` of every file here, by dotted public name ("numerics.normalize").

A file is named after its namespace: ``compress_pruning.py`` holds the rows of jaxlab.compress.pruning. A long table is
split by concept with one more word: ``losses_matching.py`` holds rows of jaxlab.losses.

A file may also hold ``MEANINGS``: how to read the states of a family ("gram") where two states that differ entry by
entry may mean the same.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import Any

from tests.laws.row import Row

ROWS: dict[str, Row] = {}
MEANINGS: dict[str, Callable[[Any], Any]] = {}



def namespace_of(table: str) -> str:
    """The namespace whose rows a file holds: the longest leading part of its name that is a package of jaxlab."""
    words = table.split("_")
    while len(words) > 1:
        spec = importlib.util.find_spec(f"jaxlab.{'.'.join(words)}")
        if spec is not None and spec.submodule_search_locations is not None:
            break
        words.pop()
    return ".".join(words)


for module in pkgutil.iter_modules(__path__):
    namespace = namespace_of(module.name)
    table = importlib.import_module(f"{__name__}.{module.name}")
    ROWS |= {f"{namespace}.{name}": row for name, row in table.ROWS.items()}
    MEANINGS |= {f"{namespace}.{name}": meaning for name, meaning in getattr(table, "MEANINGS", {}).items()}
