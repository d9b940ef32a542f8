"""Two processes, joined by jax.distributed on this machine, give the answer of one."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.scale import _processes, _workload

ROOT = pathlib.Path(__file__).parents[2]
PROCESSES, DEVICES = 2, 2
SECONDS = 240


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_together(folder):
    """Starts the processes, and ends all of them whatever happens. Returns what each printed."""
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}",
    }
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "tests.scale._processes", address, str(PROCESSES)]
    logs = [folder / f"process{i}.log" for i in range(PROCESSES)]
    running = []
    try:
        for i, log in enumerate(logs):
            with log.open("w") as file:
                running.append(
                    subprocess.Popen([*command, str(i), str(folder)], cwd=ROOT, env=env, stdout=file, stderr=file)
                )
        codes = [process.wait(timeout=SECONDS) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    texts = [log.read_text() for log in logs]
    assert codes == [0] * PROCESSES, "\n".join(texts)
    return texts


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    printed = run_together(folder)
    line = next(line for line in reversed(printed[0].splitlines()) if line.startswith("{"))
    return json.loads(line) | {name: dict(np.load(folder / f"{name}.npz")) for name in ("auto", "manual")}


@pytest.fixture(scope="module")
def alone():
    state = _workload.init()
    for i in range(_processes.CHUNKS):
        state = jax.jit(_workload.update)(state, _workload.chunk(i))
    return _workload.numbers(state)


pytestmark = pytest.mark.scale


def test_there_are_two_processes(together):
    assert (together["processes"], together["devices"], together["local"]) == (PROCESSES, PROCESSES * DEVICES, DEVICES)


@pytest.mark.parametrize("how", ["auto", "manual"])
def test_the_answer_of_one_process(together, alone, how):
    assert _workload.distance(together[how], alone) < 1e-6
    assert together[how]["count"].sum() == _processes.CHUNKS * _workload.ROWS


def test_a_fold_over_processes_resumes_bit_for_bit(together):
    resumed, whole = together["resumed"]
    assert resumed == whole


def test_a_checkpoint_over_processes(together):
    restored, saved = together["restored"]
    assert restored == saved
    assert together["rows"]
    assert together["key"] == jax.random.key_data(jax.random.key(_processes.KEY)).tolist()
    assert "overwrite=True" in together["exists"]
