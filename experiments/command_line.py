"""From the words on the command line to the exit code: parse, check, measure, report."""

import contextlib
import dataclasses
import os
import pathlib
import platform
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Annotated, Any

import jax
import tyro

import jaxlab
from experiments import data, ledger, report
from experiments.claims import Verdict, judge
from experiments.errors import UserError, exit_code
from experiments.ledger import Result
from experiments.machine import machine
from experiments.runner import Common, Run, make_mesh, select

__all__ = ["answer", "parse"]


def answer(module: ModuleType, argv: Sequence[str]) -> int:
    """Answers the question of ``module``.

    Returns:
      0, or 1 if a row broke, 2 if the user has to change something (the sentence is on standard error), 130 if
      interrupted.
    """
    return exit_code(
        lambda: _answer(module, *parse(module, argv)),
        "Interrupted: the finished rows are kept, --resume goes on from there.",
    )


def parse(
    module: ModuleType, argv: Sequence[str], *, common: Any = Common, prog: str = "python -m experiments"
) -> tuple[Any, Any]:
    """The common options (of the class ``common``) and the module's ``Config``, from one flat command line."""
    shared = {field.name for field in dataclasses.fields(common)}
    if clash := shared & {field.name for field in dataclasses.fields(module.Config)}:
        raise ValueError(f"Config of {_name(module)} must not name {', '.join(sorted(clash))}: every question has it")
    quick = "--quick" in argv
    shared_defaults = common(**getattr(common, "QUICK", {})) if quick else common()
    defaults = module.Config(**module.QUICK) if quick else module.Config()
    flat = tyro.conf.arg(name="")
    fields = [("common", Annotated[common, flat]), ("config", Annotated[module.Config, flat])]
    kind = dataclasses.make_dataclass("Arguments", fields, frozen=True)
    try:
        arguments: Any = tyro.cli(
            kind,
            prog=f"{prog} {_name(module)}",
            description=module.__doc__,
            args=list(argv),
            default=kind(shared_defaults, defaults),
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except ValueError as error:  # Config checks its own values
        raise UserError(str(error)) from error
    return arguments.common, arguments.config


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _answer(module: ModuleType, common: Common, config: Any) -> int:
    names = [method.name for method in module.METHODS]
    if len(set(names)) < len(names):
        raise ValueError(f"METHODS of {_name(module)} must have different names, got {', '.join(names)}")
    selected = select(module.METHODS, common.methods, common.first)
    if common.seeds < 1:
        raise UserError(f"--seeds must be at least 1, got {common.seeds}.")
    mesh = make_mesh(common.mesh)
    dataset = _dataset(module, common)
    label = dataset.name if dataset else ""
    out = common.out or pathlib.Path("out") / "-".join(filter(None, (_name(module), label)))
    out = out.expanduser()

    result = Result(_name(module), label, common.seeds, getattr(module, "SEED_SCOPE", ""))
    if ledger.open_folder(out, _identity(module, common, config, dataset), resume=common.resume):
        ledger.load_result(out, result)
    for method in selected:
        if method.name in result.errors:  # a broken row gets another try
            ledger.drop(result, method.name)
    todo = [method for method in selected if method.name not in result.finished]

    def write(verdicts: Sequence[Verdict] = ()) -> None:
        ledger.order(result, names)
        versions = {"jaxlab": jaxlab.__version__, "jax": jax.__version__, "python": platform.python_version()}
        about = {
            "sentence": _question(module),
            "methods": [{"name": m.name, "paper": m.paper, "note": m.note} for m in module.METHODS],
            "claims": [dataclasses.asdict(verdict) for verdict in verdicts],
            "versions": versions,
            "machine": machine(),
        }
        ledger.save(out / ledger.RESULTS, dataclasses.asdict(result) | about)

    console = report.make_console()
    console.print(f"{_question(module)} [{len(todo)} of {len(selected)} rows to measure]", soft_wrap=True)
    if todo:
        compiler = light_compiler() if common.quick else contextlib.nullcontext()
        with report.Progress(console, len(todo)) as progress, compiler:
            run = Run(common, result, todo, data=dataset, mesh=mesh, progress=progress, write=write)
            module.run(config, run)
        for method in run.todo(module.METHODS):
            result.errors[method.name] = {
                "type": "NotMeasured",
                "message": "the question passed no such row to run.rows",
            }
    verdicts = [
        judge(claim, result.rows, seeds=common.seeds, quick=common.quick, broken=result.errors.keys())
        for claim in module.CLAIMS
    ]
    write(verdicts)
    report.print_table(console, result, module.METHODS)
    report.print_claims(console, verdicts)
    if hasattr(module, "plot") and result.finished:
        report.draw(console, module.plot, result, out / ledger.FIGURE)
    console.print(f"Results: {out / ledger.RESULTS}", soft_wrap=True)
    return 1 if result.errors else 0


@contextlib.contextmanager
def light_compiler() -> Iterator[None]:
    """Compiles without most optimisations, in about half the time: small runs compile for longer than they compute.

    A choice in the environment stays. Afterwards nothing that was compiled so is left in this process.
    """
    name = "jax_disable_most_optimizations"
    if name.upper() in os.environ:
        yield
        return
    before = jax.config.read(name)
    jax.config.update(name, True)
    try:
        yield
    finally:
        jax.config.update(name, before)
        jax.clear_caches()


def _question(module: ModuleType) -> str:
    return (module.__doc__ or _name(module)).strip().splitlines()[0]


def _dataset(module: ModuleType, common: Common) -> data.Dataset | None:
    """The data that was asked for: the user's file, or one of the module's own (the first unless named)."""
    own = tuple(getattr(module, "DATASETS", ()))
    if common.data is not None and common.dataset is not None:
        raise UserError("Give --dataset or --data, not both.")
    if (common.data or common.dataset) and not own:
        raise UserError(f"{_name(module)} makes its own data: it takes neither --dataset nor --data.")
    if common.data is not None:
        return data.load(common.data)
    if common.dataset is not None and common.dataset not in own:
        raise UserError(f"Unknown data set {common.dataset}: choose from {', '.join(own)}, or bring --data file.npz.")
    return data.load(common.dataset or own[0]) if own else None


def _identity(module: ModuleType, common: Common, config: Any, dataset: data.Dataset | None) -> dict[str, Any]:
    """What two runs must share for their rows to stand in one table."""
    return {
        "question": _name(module),
        "dataset": dataset.name if dataset else "",
        "digest": dataset.digest if dataset else "",
        "config": config,
        "seeds": common.seeds,
        "quick": common.quick,
        "jaxlab": jaxlab.__version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
