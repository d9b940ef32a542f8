"""A fold that goes on where it stopped. (tests/scale/test_resume.py kills it at random moments.)"""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import deploy

CHUNKS = [{"x": jnp.full(3, float(i))} for i in range(6)]


def init():
    return {"total": jnp.zeros(3), "key": jax.random.key(0)}


def step(state, chunk):
    key, now = jax.random.split(state["key"])
    return {"total": 0.9 * state["total"] + chunk["x"] * jax.random.normal(now, (3,)), "key": key}


def expected(count=6):
    state = init()
    for chunk in CHUNKS[:count]:
        state = jax.jit(step)(state, chunk)
    return np.asarray(state["total"])


class Stop(Exception):
    pass


def until(count):
    """A reader of chunks that breaks before the count-th, as a run that ends early does."""

    def read(index):
        if index == count:
            raise Stop
        return CHUNKS[index]

    return read


def test_one_run_is_the_plain_fold(tmp_path):
    state = init()
    result = deploy.resumable_fold(step, state, CHUNKS, tmp_path / "run")
    np.testing.assert_array_equal(result["total"], expected())
    assert state["total"].tolist() == [0, 0, 0]  # the caller's state was not donated


@pytest.mark.parametrize("stops", [[3], [1, 4], [0, 0, 5, 5]])
def test_resumed_run_is_bit_identical_and_reads_no_chunk_twice(tmp_path, stops):
    read = []
    for stop in stops:
        with pytest.raises(Stop):
            deploy.resumable_fold(step, init(), until(stop), tmp_path, num_chunks=6)
    chunk = lambda i: read.append(i) or CHUNKS[i]  # noqa: E731
    result = deploy.resumable_fold(step, init(), chunk, tmp_path, num_chunks=6)
    assert read == list(range(stops[-1], 6))
    np.testing.assert_array_equal(result["total"], expected())


def test_finished_run_returns_its_result(tmp_path):
    done = []
    first = deploy.resumable_fold(step, init(), CHUNKS, tmp_path)
    again = deploy.resumable_fold(step, init(), until(0), tmp_path, num_chunks=6, progress=lambda *x: done.append(x))
    np.testing.assert_array_equal(first["total"], again["total"])
    assert done == [(6, 6)]


def test_every_saves_less_and_always_the_end(tmp_path):
    done = []
    with pytest.raises(Stop):
        deploy.resumable_fold(step, init(), until(3), tmp_path, num_chunks=5, every=2)
    result = deploy.resumable_fold(step, init(), CHUNKS[:5], tmp_path, every=2, progress=lambda *x: done.append(x))
    assert done == [(2, 5), (3, 5), (4, 5), (5, 5)]
    np.testing.assert_array_equal(result["total"], expected(5))
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [3, 4]


def test_repeated_leaves_may_be_in_the_state(tmp_path):
    """Donating one buffer twice would end the process."""
    one = jnp.zeros(3)
    total = deploy.resumable_fold(lambda s, c: (s[0] + c["x"], s[1]), (one, one), CHUNKS[:2], tmp_path)
    assert total[0].tolist() == [1, 1, 1]


def test_numbers_in_the_state_become_arrays(tmp_path):
    for _ in range(2):
        count = deploy.resumable_fold(lambda n, chunk: n + 1, 0, CHUNKS, tmp_path)
        assert int(count) == 6


def test_no_chunks(tmp_path):
    assert deploy.resumable_fold(step, init(), [], tmp_path)["total"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("damage", ["_METADATA cut", "array gone", "folder empty", "left by a kill"])
def test_damaged_latest_state_falls_back_to_the_one_before(tmp_path, damage):
    with pytest.raises(Stop):
        deploy.resumable_fold(step, init(), until(4), tmp_path, num_chunks=6)
    latest = tmp_path / "3" / "default"
    if damage == "_METADATA cut":
        (latest / "_METADATA").write_bytes((latest / "_METADATA").read_bytes()[:-10])
    elif damage == "array gone":
        for file in latest.rglob("d/*"):
            file.unlink()
    elif damage == "folder empty":
        shutil.rmtree(tmp_path / "3")
        (tmp_path / "3").mkdir()
    else:  # the name that orbax writes under before its rename
        (tmp_path / "3").rename(tmp_path / "3.orbax-checkpoint-tmp")
    read = []
    chunk = lambda i: read.append(i) or CHUNKS[i]  # noqa: E731
    result = deploy.resumable_fold(step, init(), chunk, tmp_path, num_chunks=6)
    np.testing.assert_array_equal(result["total"], expected())
    assert read == [3, 4, 5]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["4", "5"]


def test_all_states_damaged(tmp_path):
    deploy.resumable_fold(step, init(), CHUNKS, tmp_path)
    for file in tmp_path.rglob("_METADATA"):
        file.write_text("{")
    with pytest.raises(ValueError, match=f"no state in {tmp_path} can be read; delete it to start again"):
        deploy.resumable_fold(step, init(), CHUNKS, tmp_path)


def test_directory_of_another_run(tmp_path):
    deploy.resumable_fold(step, init(), CHUNKS, tmp_path)
    with pytest.raises(ValueError, match=r"holds another tree:\n  total: dtype float32 in the checkpoint, bfloat16"):
        deploy.resumable_fold(step, init() | {"total": jnp.zeros(3, jnp.bfloat16)}, CHUNKS, tmp_path)
    with pytest.raises(ValueError, match="more: missing in the checkpoint"):
        deploy.resumable_fold(step, init() | {"more": jnp.zeros(3)}, CHUNKS, tmp_path)
    with pytest.raises(ValueError, match=r"holds a run over more chunks \(6 done\) than the 4 given now"):
        deploy.resumable_fold(step, init(), CHUNKS[:4], tmp_path)


@pytest.mark.parametrize(
    ("chunks", "options", "error", "message"),
    [
        (iter(CHUNKS), {}, TypeError, "chunks must be a sequence or a function of the index, got list_iterator"),
        (until(9), {}, ValueError, "num_chunks must be given"),
        (CHUNKS, {"num_chunks": 3}, ValueError, "num_chunks is 3, but chunks has 6"),
        (CHUNKS, {"every": 0}, ValueError, "every must be at least 1, got 0"),
    ],
)
def test_bad_input(tmp_path, chunks, options, error, message):
    with pytest.raises(error, match=message):
        deploy.resumable_fold(step, init(), chunks, tmp_path, **options)


def test_state_that_changes_its_shape(tmp_path):
    with pytest.raises(
        ValueError, match=r"step must return a state like its first argument.*float32\[3\].*float32\[6\]"
    ):
        deploy.resumable_fold(lambda s, c: jnp.concatenate([s, s]), jnp.zeros(3), CHUNKS, tmp_path)
