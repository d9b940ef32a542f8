"""A streaming run that is killed at random moments ends with the bits of a run that is not."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
KILLS, CHUNKS = 20, 100


def start(folder, log, cache):
    # A compile cache of its own: a process killed while it writes there must not spoil that of the other tests.
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "tests.scale._resume", str(folder), str(CHUNKS)]
    with log.open("w") as file:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.DEVNULL)


def kill(process, log, seconds, *, from_first_chunk):
    """SIGKILL some seconds after the start of a process, or after its first chunk. False if it was done before."""
    deadline = time.monotonic() + 60
    while from_first_chunk and log.read_text().count("\n") < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    process.wait()
    return process.returncode == -signal.SIGKILL


@pytest.mark.scale
def test_twenty_kills_leave_no_trace(tmp_path):
    cache, log, rng = tmp_path / "cache", tmp_path / "log", random.Random(0)
    assert start(tmp_path / "whole", log, cache).wait(timeout=120) == 0
    expected = log.read_text().split("result ")[1]
    results, kills, done = [], 0, 0
    while kills < KILLS or done:  # the last run goes on to its end
        process = start(tmp_path / f"run{len(results)}", log, cache)
        try:
            if kills < KILLS:
                # Mostly while chunks are folded and saved; every fifth at any moment from the start of the process.
                anywhere = kills % 5 == 4
                seconds = rng.uniform(0, 1.5 if anywhere else 0.3)
                killed = kill(process, log, seconds, from_first_chunk=not anywhere)
            else:
                assert process.wait(timeout=120) == 0
                killed = False
        finally:
            process.kill()
        lines = log.read_text().splitlines()
        reported = [int(line) for line in lines if line.isdigit()]
        if reported:
            # Every finished chunk was saved before it was reported; the next one may have been saved too.
            assert done <= reported[0] <= done + 1
        if killed:
            kills, done = kills + 1, max([done, *reported])
        else:
            results.append(lines[-1].removeprefix("result "))
            done = 0
    assert results
    assert {*results} == {expected.strip()}
