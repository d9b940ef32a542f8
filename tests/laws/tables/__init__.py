"""The law table: ``ROWS`` of every file here, by dotted public name ("numerics.normalize").

A file may also hold ``MEANINGS``: how to read the states of a family ("gram") where two states that differ entry by
entry may mean the same.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from tests.laws.row import Row

ROWS: dict[str, Row] = {}
MEANINGS: dict[str, Callable[[Any], Any]] = {}

for module in pkgutil.iter_modules(__path__):
    namespace = module.name.replace("_", ".")  # compress_pruning.py holds the rows of jaxlab.compress.pruning
    table = importlib.import_module(f"{__name__}.{module.name}")
    ROWS |= {f"{namespace}.{name}": row for name, row in table.ROWS.items()}
    MEANINGS |= {f"{namespace}.{name}": meaning for name, meaning in getattr(table, "MEANINGS", {}).items()}
