"""A small question for the tests of the runner; the fixture ``question`` makes a module of it."""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp

from experiments.command_line import answer
from experiments.runner import Method


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 8
    """How wide."""
    ridge: float = 0.1

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")


def score(config, key, offset):
    value = offset + 0.01 * jax.random.normal(key) + 0 * config.width
    return {"accuracy": value, "gap": -value}, {"curve": value * jnp.ones(2)}


def raises(config, key):
    raise RuntimeError("no [bold]luck\nsecond line")


def sometimes_nan(config, key):
    return {"accuracy": jnp.where(jax.random.key_data(key)[-1] == 1, jnp.nan, 0.5)}


def difference(first, second):
    return lambda rows: rows["accuracy"][first] - rows["accuracy"][second]


GOOD = (
    Method("high", 70, functools.partial(score, offset=0.9), note="the [best] one"),
    Method("low", None, functools.partial(score, offset=0.5)),
)
BAD = (Method("raises", 22, raises), Method("undefined", 18, sometimes_nan))


def results(folder="out/coin-mine"):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads((pathlib.Path(folder) / "results.json").read_text(), parse_constant=refuse)


def call(question, *argv):
    question.calls.clear()
    return answer(question, ["--data", "mine.npz", *argv])
