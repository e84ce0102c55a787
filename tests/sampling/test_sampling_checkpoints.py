"""Sampling on disk: nothing computed is lost, and a continued run ends in the same
bytes."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tree_equal

import ebmjax as eb
from ebmjax.diagnostics import streaming
from ebmjax.io import run_directory as folder
from ebmjax.io.checkpoint import CheckpointError
from ebmjax.io.chunk_store import Interrupted
from ebmjax.io.code_digest import code_digest
from ebmjax.sampling import _chunks

KEY = jax.random.key(4)
ENERGY = lambda x: 0.5 * jnp.sum(x**2)
KERNEL = eb.underdamped_langevin(
    ENERGY, 0.3
)  # its state holds a gradient and a momentum
START = jnp.ones((3, 2))
PIPES = {"capture_output": True, "text": True, "check": True}


def run(path=None, kernel=KERNEL, key=KEY, start=START, num_steps=60, **options):
    options = {"num_warmup": 20, "thin": 2, "num_chunks": 6, **options}
    return eb.sample(key, kernel, start, num_steps, checkpoint=path, **options)


def content(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


def stop_after(number, how):
    def progress(done, total, text):
        if done >= number:
            how()

    return progress


def test_a_checkpoint_changes_no_number(tmp_path):
    assert tree_equal(run(tmp_path), run())
    before = content(tmp_path)
    assert len(before) == 11
    assert tree_equal(run(tmp_path), run()) and content(tmp_path) == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_after_the_chunk_and_the_run_continues_exactly(how, tmp_path):
    reported = stop_after(30, lambda: os.kill(os.getpid(), how))
    with pytest.raises(
        Interrupted,
        match="stopped after step 30 of 80, saved in .*; make the same call again",
    ):
        run(tmp_path, progress=reported)
    assert max(folder.steps(tmp_path)) == 30
    asked = []
    samples = run(tmp_path, progress=lambda done, total, text: asked.append(done))
    assert tree_equal(samples, run()) and asked[-1] == 80
    assert signal.getsignal(how) is not None


def test_stored_chunks_are_not_computed_again(tmp_path):
    run(tmp_path)
    ages = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    (tmp_path / "000000050.npz").unlink()
    assert tree_equal(run(tmp_path), run())
    assert [
        p.name for p in tmp_path.iterdir() if p.stat().st_mtime_ns != ages[p.name]
    ] == ["000000050.npz"]


def test_a_damaged_chunk_is_named_and_computed_again(tmp_path):
    run(tmp_path)
    before = content(tmp_path)
    path = tmp_path / "000000050.npz"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.warns(
        RuntimeWarning,
        match="000000050.npz is damaged: .*; its chunk is computed again",
    ):
        assert tree_equal(run(tmp_path), run())
    assert content(tmp_path) == before


def test_without_collected_draws_the_last_three_checkpoints_are_kept(tmp_path):
    options = {"collect": eb.discard, "thin": 1, "num_chunks": 12}
    whole = run(**options)
    with pytest.raises(Interrupted):
        run(
            tmp_path,
            progress=stop_after(50, lambda: os.kill(os.getpid(), signal.SIGTERM)),
            **options,
        )
    assert folder.steps(tmp_path) == [50, 45, 40]
    path = folder.file_of(tmp_path, 50)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match="000000050.npz is damaged"):
        assert tree_equal(run(tmp_path, **options), whole)
    assert folder.steps(tmp_path) == [80, 75, 70]


OTHER = {
    "key": ({"key": jax.random.key(5)}, "belongs to another call: key was "),
    "positions": ({"start": START + 1}, "belongs to another call: positions was "),
    "length": ({"num_steps": 120}, "num_steps was 60, is 120"),
    "energy": ({"kernel": eb.underdamped_langevin(lambda x: 1 + ENERGY(x), 0.3)}, "the code of a function in kernel or collect has changed"),
    "kernel": ({"kernel": eb.mala(ENERGY, 0.3)}, "kernel was 'UnderdampedLangevin"),
    "collect": ({"collect": lambda state, info: state.energy}, "collect was 'position_of', is '<lambda>'"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_another_call_is_refused_and_files_are_kept(name, tmp_path):
    options, message = OTHER[name]
    run(tmp_path)
    before = content(tmp_path)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **options)
    assert content(tmp_path) == before


BOX = [1.0]  # plain numbers in a list may be counters: the digest leaves them out


def boxed(x):
    return BOX[0] * ENERGY(x)


def test_an_energy_that_reads_another_number_is_refused(tmp_path):
    """Found by the energies of the states that were loaded."""
    run(tmp_path, kernel=eb.mala(boxed, 0.3))
    BOX[0] = 5.0
    jax.clear_caches()  # as in another process
    try:
        with pytest.raises(ValueError, match="of another energy: where chain"):
            run(tmp_path, kernel=eb.mala(boxed, 0.3))
    finally:
        BOX[0] = 1.0


def test_two_runs_in_one_folder(tmp_path):
    with (
        folder.lock(tmp_path),
        pytest.raises(folder.FolderError, match="another run is writing in"),
    ):
        run(tmp_path)
    run(tmp_path)


def test_a_read_only_folder_raises_before_the_run():
    with pytest.raises(folder.FolderError, match="/proc/none cannot be written"):
        run("/proc/none")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    replace, left = os.replace, [7]

    def full(*paths):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        replace(*paths)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        CheckpointError,
        match="No space left on device; what was saved before is intact",
    ):
        run(tmp_path)
    assert len(folder.steps(tmp_path)) == 7
    monkeypatch.undo()
    assert tree_equal(run(tmp_path), run())


def test_sampling_outside_the_main_thread_works_without_signals(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(run(tmp_path)))
    thread.start()
    thread.join()
    assert tree_equal(found[0], run())


def test_concurrent_checks_of_a_folder_leave_no_file(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda _: folder.check_writable(tmp_path / "shared"), range(2000))
        )
    assert not list((tmp_path / "shared").iterdir())


def test_an_ignored_hangup_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with folder.postponed_stop() as is_stopped:
            os.kill(os.getpid(), signal.SIGHUP)
            assert (
                signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and not is_stopped()
            )
            os.kill(os.getpid(), signal.SIGTERM)
            assert is_stopped()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (eb.mala(ENERGY, 0.3), "kernel was 'UnderdampedLangevin.*, is 'MALA"),
        (eb.underdamped_langevin(ENERGY, 0.2), "numbers was"),
        (eb.underdamped_langevin(ENERGY, 0.3, friction=2.0), "friction=2.0"),
    ],
    ids=["another kernel", "another step size", "another friction"],
)
def test_a_checkpoint_of_another_kernel_is_refused(tmp_path, kernel, message):
    """Also where only the second half is to be computed again."""
    run(tmp_path)
    sorted(tmp_path.glob("*.npz"))[-1].unlink()
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path, kernel=kernel)
    again = run(tmp_path)  # the same kernel, made again, continues
    assert tree_equal(again.draws, run().draws)


def proposal(scale):
    return lambda key, x: x + scale * jax.random.normal(key, x.shape)


def walk(scale=0.5, weight=1.0):
    energy = lambda x: weight * ENERGY(x)
    return eb.metropolis(energy, proposal(scale), symmetric=True)


COLLECT = lambda power: lambda state, info: state.position**power
CHANGED = {
    "proposal": {"kernel": walk(scale=2.0)},
    "energy": {"kernel": walk(weight=1.005)},
    "collect": {"kernel": walk(), "collect": COLLECT(2)},
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_checkpoint_records_the_numbers_in_closures(name, tmp_path):
    """They print alike.  Where the second half is missing, the same call computes it."""
    first = {"kernel": walk(), "collect": COLLECT(1)}
    before = run(tmp_path, **first)
    sorted(tmp_path.glob("*.npz"))[-1].unlink()
    with pytest.raises(CheckpointError, match="the code of a function in kernel or"):
        run(tmp_path, **{**first, **CHANGED[name]})
    again = {"kernel": walk(), "collect": COLLECT(1)}
    assert tree_equal(run(tmp_path, **again).draws, before.draws)


OFFSET = {"energy": 0.0}


def test_an_energy_that_changes_where_its_code_does_not_is_refused(tmp_path):
    make = lambda: eb.random_walk(lambda x: ENERGY(x) + OFFSET["energy"], 0.5)
    run(tmp_path, kernel=make())
    try:
        OFFSET["energy"] = 1.0
        with pytest.raises(ValueError, match="is a run of another energy: where chain"):
            run(tmp_path, kernel=make())
    finally:
        OFFSET["energy"] = 0.0


def test_the_digest_of_code_depends_on_what_it_computes_alone():
    """Equal in another process, for counters in a list, and for another line."""
    counts = []
    make = lambda scale: lambda x: counts.append(1) or jnp.sum(x) * scale
    first = code_digest(make(2.0))
    counts.append(1)
    assert code_digest(make(2.0)) == first
    assert code_digest(make(jnp.float32(2.0))) != first != code_digest(make(3.0))
    assert code_digest(lambda x: x * 2.0) != code_digest(lambda x: x * 3.0)
    assert code_digest(eb.collect_stats) != code_digest(eb.discard)
    text = "f = lambda x, s={{1, 'a'}}: (lambda y: y in ('b', 2))(x) * {0}"
    two = [text.format(3), "\n\n" + text.format(3), text.format(4)]
    script = "import sys; from ebmjax.io.code_digest import code_digest as d\n"
    script += "for text in sys.argv[1:]:\n  exec(text, s := {}); print(d(s['f']))"
    command = [sys.executable, "-c", script, *two]
    found = [
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, **PIPES)
        for seed in "12"
    ]
    a, b = (f.stdout.split() for f in found)
    assert a == b and a[0] == a[1] != a[2] and len(a) == 3


@pytest.mark.parametrize(
    "collect", [eb.position_of, streaming.moments()], ids=["draws", "sum"]
)
def test_ctrl_c_without_a_checkpoint_returns_the_draws_so_far(collect):
    """And a run that goes on from there ends in the numbers of one run."""
    options = {"num_warmup": 0, "collect": collect}
    stop = stop_after(30, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match="after step 30 of 60: the draws") as caught:
        run(**options, progress=stop)
    found = caught.value.result
    assert found is not None
    assert tree_equal(found, run(**options, num_steps=30)) and found.num_steps == 30
    if collect is eb.position_of:
        options = {"num_warmup": 0, "start": found.num_steps, "thin": 2}
        rest = eb.sample(KEY, KERNEL, found.state, 30, **options)
        draws = np.concatenate([found.draws, rest.draws])
        assert tree_equal(draws, run(num_warmup=0).draws)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_warm_up_and_by_a_handler_of_the_user():
    stop = stop_after(10, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match="after step 12 of 80") as caught:
        run(progress=stop)
    assert caught.value.result is None
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        assert tree_equal(run(progress=stop_after(80, stop_now)), run()) and calls == [
            1
        ]
    finally:
        signal.signal(signal.SIGINT, before)


def stop_now():
    signal.raise_signal(signal.SIGINT)


def test_a_long_run_is_divided_and_changes_no_number(monkeypatch):
    """60 chunks of 10 steps; the draws are written in place."""
    monkeypatch.setattr(_chunks, "WORTH", 1.0)
    numbers = _chunks.work(_chunks._step, KERNEL, *begun(), loops=1)
    monkeypatch.setitem(_chunks.CHUNK_WORK, "cpu", 10.5 * numbers)
    ends = []
    report = lambda done, total, text: ends.append(done)
    options = {"num_steps": 600, "num_warmup": 40}
    found = run(**options, num_chunks=None, progress=report)
    assert ends == [*range(2, 41, 2), *range(50, 641, 10)]
    whole = run(**options, num_chunks=1)
    assert tree_equal((found.draws, found.state), (whole.draws, whole.state))
    monkeypatch.setattr(_chunks, "FEWEST", 65)
    ends.clear()
    run(**options, num_chunks=None, progress=report)  # too short to be divided
    assert ends == [*range(2, 41, 2), *range(70, 641, 30)]


def begun():
    keys = eb.chain_keys(KEY, len(START))
    return keys, eb.parallel(KERNEL).init(START)


def test_chunks_are_short_enough_and_have_nearly_one_length():
    for num, longest in [
        (1000, 400),
        (1009, 400),
        (31, 5),
        (60, 7),
        (10, 100),
        (22, 6),
        (10, 3),
    ]:
        found = _chunks.num_even_chunks(num, longest)
        length = -(-num // found)
        assert 1 < length <= longest and found <= 2 * -(-num // longest)
        assert num % length != 1
    assert (
        _chunks.num_even_chunks(1000, 300) == 4 and _chunks.num_even_chunks(62, 7) == 9
    )


def test_loops_of_unknown_length_count_as_many_steps():
    """64 rounds each: Ctrl-C in NUTS waits no longer than in others."""
    kernel, keys = eb.nuts(ENERGY, 0.3), eb.chain_keys(KEY, 3)
    state = eb.parallel(kernel).init(START)
    once = _chunks.work(_chunks._step, kernel, keys, state)
    assert _chunks.work(_chunks._step, kernel, keys, state, loops=64) > 10 * once
