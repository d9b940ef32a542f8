"""The rules of the house: who imports whom, what is public, what a docstring holds, what stays out."""

import ast
import collections
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
import textwrap
import types
import typing

import pytest

import jaxlab

ROOT = pathlib.Path(__file__).parent.parent

# A module imports from the rows above its own, and in its own row from the modules to its left.
ROWS = (
    "typing checks numerics trees",
    "kernels metrics losses nn",
    "optim envs analytic compress nas guidance diffusion",
    "text vision selection retrieval detect distill selfsup weaksup zeroshot continual unlearn",
)
ORDER = " ".join(ROWS).split()
GROUND = ROWS[0].split()
GROUND_ONLY = ("deploy", "papers")  # they serve every family, so they know none
FREE = ("_lazy", "_version")

# What a user imports: the packages on disk, and the index. `checks` and `typing` are the library's own tools.
NAMESPACES = [*sorted(path.parent.name for path in (ROOT / "jaxlab").glob("*/__init__.py")), "papers"]
LIBRARY = sorted((ROOT / "jaxlab").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.py"))


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def submodules():
    return [path for path in LIBRARY if path.name != "__init__.py" and not path.name.startswith("_")]


def imported(tree, package):
    """Absolute dotted names of everything that the source imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def assigned(tree):
    """Names that the module assigns at its top level."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            yield from (part.id for part in ast.walk(target or ast.Pass()) if isinstance(part, ast.Name))


# --- imports ----------------------------------------------------------------------------------------------------


def reachable(home):
    """The members of jaxlab that a module of this home may import."""
    if home in FREE:
        return set()
    if home in GROUND_ONLY:
        return {home, *FREE, *GROUND}
    assert home in ORDER, f"jaxlab.{home} has no place in the import order: give it one in ROWS"
    return {*FREE, *ORDER[: ORDER.index(home) + 1]}


def import_problems(module, package, tree):
    allowed = reachable(module.split(".")[1])
    for name in imported(tree, package):
        top, *rest = name.split(".")
        if top == "experiments":
            yield f"{module} imports {name}: the library does not know the experiments"
        elif top == "jaxlab" and (not rest or rest[0] not in allowed):
            yield f"{module} imports {name}, which is not below it"


def test_imports_run_downward():
    problems = []
    for path in LIBRARY:
        module = module_name(path)
        if module == "jaxlab":  # it names every namespace and loads none; test_import_is_lazy watches that
            continue
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        problems += import_problems(module, package, parse(path))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("module", "line", "fine"),
    [
        ("jaxlab.losses.a", "from jaxlab.kernels import f", True),
        ("jaxlab.losses.a", "from jaxlab import checks", True),
        ("jaxlab.losses.a", "from jaxlab.losses.b import f", True),
        ("jaxlab.losses.a", "from . import b", True),
        ("jaxlab.losses.a", "from jaxlab._version import __version__", True),
        ("jaxlab.losses.a", "import jax, optax", True),
        ("jaxlab.losses.a", "from jaxlab.nn import f", False),
        ("jaxlab.losses.a", "from jaxlab import analytic", False),
        ("jaxlab.losses.a", "from ..analytic import gram_init", False),
        ("jaxlab.losses.a", "def f():\n  import jaxlab.optim.sam", False),
        ("jaxlab.losses.a", "import jaxlab", False),
        ("jaxlab.losses.a", "from jaxlab.deploy import f", False),
        ("jaxlab.losses.a", "from experiments import runner", False),
        ("jaxlab.numerics.a", "from jaxlab import trees", False),
        ("jaxlab.deploy.a", "from jaxlab import trees", True),
        ("jaxlab.deploy.a", "from jaxlab import metrics", False),
        ("jaxlab._lazy", "from jaxlab import checks", False),
        ("jaxlab.continual.a", "from jaxlab import analytic, metrics, zeroshot", True),
        ("jaxlab.continual.a", "from jaxlab import unlearn", False),
    ],
)
def test_the_import_rule_itself(module, line, fine):
    assert (not list(import_problems(module, module.rpartition(".")[0], ast.parse(line)))) == fine


def test_no_question_imports_another():
    trees = {module_name(path): parse(path) for path in EXPERIMENTS}
    questions = {name for name, tree in trees.items() if "METHODS" in assigned(tree)}
    problems = [
        f"{module} imports {name}"
        for module in sorted(questions)
        for name in imported(trees[module], module.rpartition(".")[0])
        if any(f"{name}.".startswith(f"{other}.") for other in questions - {module})
    ]
    assert not problems, "\n".join(problems)


def test_questions_are_recognised():
    assert "METHODS" in assigned(ast.parse("METHODS = (1,)"))
    assert "METHODS" in assigned(ast.parse("METHODS: tuple[int, ...] = (1,)"))
    assert "METHODS" not in assigned(ast.parse("def f():\n  METHODS = (1,)\nprint(METHODS)"))


LAZY = """
import sys, jaxlab
heavy = {"jax", "numpy", "flax", "optax", "orbax", "chex"} & set(sys.modules)
assert not heavy, f"import jaxlab loaded {sorted(heavy)}"
assert "jaxlab.NAMESPACE" not in sys.modules
assert "NAMESPACE" in dir(jaxlab)
assert jaxlab.NAMESPACE is sys.modules["jaxlab.NAMESPACE"]
assert not hasattr(jaxlab, "no_such_namespace")
"""


def test_import_is_lazy():
    """That `import jaxlab` costs no more than `import jax` follows: it loads nothing."""
    code = LAZY.replace("NAMESPACE", NAMESPACES[0])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- public names -----------------------------------------------------------------------------------------------


def test_jaxlab_lists_its_namespaces():
    assert sorted(jaxlab.__all__) == sorted(NAMESPACES)


def test_submodules_say_what_they_offer():
    missing = [module_name(path) for path in submodules() if "__all__" not in assigned(parse(path))]
    assert not missing, f"no __all__: {missing}"


def test_init_files_only_hand_names_on():
    problems = [
        f"{module_name(path)}: {node.name}"
        for path in LIBRARY
        if path.name == "__init__.py"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert not problems, f"defined in an __init__.py: {problems}"


def public(module):
    """(dotted name, value) of everything public in a namespace, nested namespaces included; value None if absent."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name, None)
        if isinstance(value, types.ModuleType):
            yield from public(value)
        else:
            yield f"{module.__name__}.{name}", value


def is_code(value):
    """A function or a class, and no constant or type alias: those say neither where they come from nor what they do."""
    return callable(value) and typing.get_origin(value) is None


def origin_problem(dotted, value):
    """What is wrong with where a public value comes from, or None."""
    if value is None:
        return f"{dotted} is in __all__ but does not exist"
    if not is_code(value):
        return None
    home = inspect.unwrap(value).__module__
    if home.split(".")[0] != "jaxlab":
        return f"{dotted} comes from {home}: import it from there, do not hand it on"
    if dotted.rpartition(".")[2] not in getattr(sys.modules[home], "__all__", ()):
        return f"{dotted} is not in {home}.__all__"
    return None


def test_the_origin_rule_itself():
    assert origin_problem("jaxlab.numerics.normalize", jaxlab.numerics.normalize) is None
    assert origin_problem("jaxlab.numerics.EPS", 1e-6) is None
    assert origin_problem("jaxlab.numerics.Alias", typing.Callable[..., int]) is None
    assert "does not exist" in origin_problem("jaxlab.numerics.f", None)
    assert "comes from textwrap" in origin_problem("jaxlab.numerics.dedent", textwrap.dedent)
    assert "is not in jaxlab._lazy.__all__" in origin_problem("jaxlab.numerics.attach", jaxlab.attach)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_public_names_exist_and_are_ours(namespace):
    module = importlib.import_module(f"jaxlab.{namespace}")
    names = getattr(module, "__all__", [])
    assert names, f"jaxlab.{namespace} has no __all__"
    assert len(set(names)) == len(names), "a name stands in __all__ twice"
    problems = [origin_problem(*item) for item in public(module)]
    assert not any(problems), "\n".join(filter(None, problems))


# --- docstrings -------------------------------------------------------------------------------------------------

PARTS = ("Args:", "Returns:", "Raises:", ">>>", "Reference:")
# How the formula is known, or the ``function`` whose Reference says so.
FIDELITY = re.compile(r"\b(checked|paper text|recalled|inferred|standard)\b|``\w+``", re.IGNORECASE)


def refuses(function):
    """Whether the function itself raises, or calls one of the argument checks."""
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "checks":
            return True
    return False


def docstring_problems(function):
    function = inspect.unwrap(function)
    doc = inspect.getdoc(function) or ""
    lines = [line.strip() for line in doc.splitlines()] or [""]
    parameters = [name for name in inspect.signature(function).parameters if not name.startswith("_")]
    required = {">>>", "Returns:", "Reference:"} | ({"Args:"} if parameters else set())
    required |= {"Raises:"} if refuses(function) else set()

    if not lines[0].endswith(".") or len(lines) < 2 or lines[1]:
        yield "begins with no sentence on a line of its own"
    at = {part: next((i for i, line in enumerate(lines) if line.startswith(part)), None) for part in PARTS}
    yield from (f"has no {part}" for part in PARTS if part in required and at[part] is None)
    order = [at[part] for part in PARTS if at[part] is not None]
    if order != sorted(order):
        yield f"has its parts out of order: {', '.join(PARTS)}"
    if at["Args:"] is not None:
        arguments = "\n".join(lines[at["Args:"] : at["Returns:"]])
        yield from (f"does not explain {name}" for name in parameters if not re.search(rf"\b{name}\b", arguments))
    if at["Reference:"] is not None and not FIDELITY.search(" ".join(lines[at["Reference:"] :])):
        yield "Reference does not say checked, paper text, recalled, inferred or standard"


def class_problems(cls):
    # A NamedTuple without a docstring is given one that repeats its fields.
    if not cls.__doc__ or cls.__doc__.startswith(f"{cls.__name__}("):
        yield "has no docstring"


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_docstrings(namespace):
    problems = []
    for dotted, value in public(importlib.import_module(f"jaxlab.{namespace}")):
        if is_code(value):
            check = class_problems if isinstance(value, type) else docstring_problems
            problems += [f"{dotted} {problem}" for problem in check(value)]
    assert not problems, "\n".join(problems)


def test_the_docstring_rule_itself():
    def good(x, *, scale=1.0):
        """Scales x.

        Args:
          x: float [N].
          scale: a factor.
        Returns:
          float [N].
        Raises:
          ValueError: scale is 0.

        >>> good(1.0)
        1.0

        Reference: standard.
        """
        if scale == 0:
            raise ValueError("scale must not be 0")
        return x * scale

    def problems(old, new):
        bad = types.FunctionType(good.__code__, globals(), "good", (), good.__closure__)
        bad.__doc__, bad.__kwdefaults__ = good.__doc__.replace(old, new), good.__kwdefaults__
        return list(docstring_problems(bad))

    assert list(docstring_problems(good)) == []
    for part in PARTS:
        assert problems(part, "Other") == [f"has no {part}"]
    assert problems("  scale: a factor.\n", "") == ["does not explain scale"]
    assert problems("standard", "somewhere")[0].startswith("Reference does not say")
    assert problems("standard", "as ``other``") == []
    assert problems("Scales x.", "Scales x")[0].startswith("begins with no sentence")
    assert problems("Args:", "Notes:\nReturns:\nArgs:")[0].startswith("has its parts out of order")


def test_the_class_rule_itself():
    assert list(class_problems(types.new_class("Bare"))) == ["has no docstring"]
    assert list(class_problems(collections.namedtuple("Bare", "x y"))) == ["has no docstring"]
    assert list(class_problems(inspect.Parameter)) == []


# --- what stays out ---------------------------------------------------------------------------------------------


def stray(path, tree):
    name = module_name(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield f"{name}:{node.lineno} global"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{name}:{node.lineno} print"
    if any(imports.split(".")[0] == "numpy" for imports in imported(tree, name)):
        yield f"{name} imports numpy"


def test_no_print_no_global_no_numpy():
    """Prints belong to programs, globals break functions, and numpy cannot see traced values."""
    excused = {
        "jaxlab.papers": "print",
        "jaxlab.deploy": "numpy",
        "jaxlab.compress.coding": "numpy",  # streams are written and read on the host
        "jaxlab.kernels.infinite_width": "numpy",  # the nodes of a quadrature, which JAX does not have
    }
    problems = [
        problem
        for path in LIBRARY
        for problem in stray(path, parse(path))
        if not any(problem.startswith(home) and problem.endswith(what) for home, what in excused.items())
    ]
    assert not problems, "\n".join(problems)


def test_strays_are_found():
    source = "import numpy as np\nfrom numpy import linalg\ndef f():\n  global x\n  print(1)\n"
    found = list(stray(ROOT / "jaxlab" / "a.py", ast.parse(source)))
    assert found == ["jaxlab.a:4 global", "jaxlab.a:5 print", "jaxlab.a imports numpy"]


MACHINE_PATH = re.compile(r"(?<![\w.~$}])/(?:work/|root/|tmp/dev\b)")


def test_no_machine_paths():
    """Nothing in the tree depends on, or speaks of, the machine it was written on."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    problems = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name in filter(None, listing.stdout.split("\0"))
        if (ROOT / name).is_file()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8", errors="ignore").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not problems, "\n".join(problems)


def test_machine_paths_are_found():
    directory = "work"
    assert MACHINE_PATH.search(f"see /{directory}/main")
    assert MACHINE_PATH.search(f"'/{'root'}/.cache'")
    assert not MACHINE_PATH.search(f"out/{directory}/a")
