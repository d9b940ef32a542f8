"""Submodules that load on first use (PEP 562)."""

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType


def attach(package: str, submodules: Sequence[str]) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package whose submodules load on first use."""

    def load(name: str) -> ModuleType:
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def listing() -> list[str]:
        return sorted(submodules)

    return load, listing
