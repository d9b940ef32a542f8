"""Every public function has a row in the law table, and every row a public function."""

import importlib
import pathlib
import typing

import pytest

import jaxlab
from tests.laws.laws import LAWS
from tests.laws.tables import ROWS

# Public functions without a row, and why.
EXEMPT: dict[str, str] = {
    "compress.coding.circuit_decode": "takes bytes, on the host; proofs in tests/compress",
    "compress.coding.circuit_encode": "gives bytes, on the host; proofs in tests/compress",
    "compress.coding.rans_decode": "takes bytes, on the host; proofs in tests/compress",
    "compress.coding.rans_encode": "gives bytes, on the host; proofs in tests/compress",
    "compress.coding.rans_open": "takes bytes, on the host; proofs in tests/compress",
    "deploy.export_function": "gives bytes, not arrays; proofs in tests/deploy",
    "deploy.load_function": "takes bytes, not arrays; proofs in tests/deploy",
    "deploy.mesh": "gives a mesh of devices; proofs in tests/deploy",
    "deploy.reduce_state": "needs several devices; proofs in tests/deploy",
    "deploy.replicate": "places arrays on a mesh; proofs in tests/deploy",
    "deploy.restore": "reads files; proofs in tests/deploy",
    "deploy.resumable_fold": "reads and writes files; proofs in tests/deploy",
    "deploy.save": "writes files; proofs in tests/deploy",
    "deploy.shard_batch": "places arrays on a mesh; proofs in tests/deploy",
    "text.boolean_ngrams": "takes and gives strings; proofs in tests/text",
}

# What returns one of these only puts functions together: the laws are those of the functions.
FACTORIES = {"Environment", "GradientTransformation", "GradientTransformationExtraArgs", "Process", "Rule", "Step"}


def namespaces():
    root = pathlib.Path(jaxlab.__file__).parent
    packages = (path.parent.relative_to(root).parts for path in root.rglob("__init__.py"))
    return sorted(".".join(parts) for parts in packages if parts)


def needs_row(value):
    return callable(value) and not isinstance(value, type) and returned(value) not in FACTORIES


def returned(function):
    return getattr(typing.get_type_hints(function).get("return"), "__name__", None)


def public():
    modules = {namespace: importlib.import_module(f"jaxlab.{namespace}") for namespace in namespaces()}
    return {
        f"{namespace}.{name}"
        for namespace, module in modules.items()
        for name in module.__all__
        if needs_row(getattr(module, name))
    }


def with_rows():
    return {name.partition("/")[0] for name in ROWS}


def test_every_public_function_has_a_row():
    missing = public() - with_rows() - EXEMPT.keys()
    assert not missing, f"no row in tests/laws/tables for {', '.join(sorted(missing))}"


def test_every_row_is_of_a_public_function():
    unknown = with_rows() - public()
    assert not unknown, f"rows of no public function: {', '.join(sorted(unknown))}"


def test_exemptions_are_needed_and_explained():
    assert EXEMPT.keys() <= public() - with_rows()
    assert all(EXEMPT.values())


@pytest.mark.parametrize("name", ROWS)
def test_row_is_of_the_function_it_names(name):
    namespace, _, function = name.partition("/")[0].rpartition(".")
    row, named = ROWS[name], getattr(importlib.import_module(f"jaxlab.{namespace}"), function)
    assert named is (row.static["learner"].func if returned(named) == "Learner" else row.fn)
    assert row.skip.keys() <= LAWS.keys()
    assert all(len(reason) > 10 for reason in row.skip.values())
