"""Measurements of robustness.

python -m benchmarks.robustness kill [NUM]     NUM SIGKILLs at random moments, in
                                               sampling and in training
python -m benchmarks.robustness soak [STEPS]   memory and compilations of a long run
python -m benchmarks.robustness guard          cost of rejecting non-finite steps
"""

import functools
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import jax
import jax.numpy as jnp

import ebmjax as eb
from ebmjax.diagnostics import streaming
from ebmjax.experiments import data, experiment, runs
from ebmjax.kernels import combinators

KEY = jax.random.key(11)
ENERGY = lambda x: 0.5 * jnp.sum(x**2) + jnp.sum(jnp.cos(x))
CHOICES = {
    "features": (16, 16),
    "num_chains": 64,
    "buffer_size": 128,
    "batch_size": 64,
    "chain_steps": 4,
}


def work(what: str, folder: Path) -> None:
    """Start or continue a run."""
    if what == "sample":
        kernel, start = eb.hmc(ENERGY, 0.3, 5), jnp.ones((8, 2))
        eb.sample(
            KEY,
            kernel,
            start,
            3_000,
            num_warmup=300,
            thin=10,
            num_chunks=60,
            checkpoint=folder,
        )
    elif (folder / "config.json").exists():
        runs.train(
            runs.load(folder)[0], folder, is_resumed=True, progress=False, save_every=25
        )
    else:
        moons = data.load("two_moons")
        config = experiment.preset(moons, num_updates=500, **CHOICES)
        runs.train(
            experiment.build(config, moons), folder, progress=False, save_every=25
        )


def kill(number: int, *whats: str) -> int:
    """SIGKILL at random moments until ``num`` have hit a process; then compare the
    bytes."""
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        for what in whats or ("sample", "train"):
            rng, kills, finished, same, begin = (
                random.Random(what),
                0,
                0,
                0,
                time.perf_counter(),
            )
            whole = Path(scratch) / f"{what}-whole"
            _spawn(what, whole).wait()  # and compiled
            seconds = time.perf_counter()
            _spawn(what, Path(scratch) / f"{what}-warm").wait()
            seconds = time.perf_counter() - seconds
            while kills < number:
                part = Path(scratch) / f"{what}-part"
                shutil.rmtree(part, ignore_errors=True)
                while True:
                    process = _spawn(what, part)
                    try:
                        process.wait(
                            rng.uniform(1.0, max(0.9 * seconds, 2.0))
                            if kills < number
                            else None
                        )
                    except subprocess.TimeoutExpired:
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                        kills += 1
                        continue
                    if process.returncode:
                        raise SystemExit(f"{what} ended with {process.returncode}")
                    break
                finished += 1
                same += content(part) == content(whole)
                print(
                    f"{what}: {kills} kills in {finished} runs, of which {same} ended "
                    "in the bytes of a run without kills "
                    f"({time.perf_counter() - begin:.0f} s)",
                    flush=True,
                )
            failures += finished - same
    return failures


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def soak(num_steps: int) -> None:
    """Resident memory, compilations and files, from a tenth of the way to the end."""
    traces, memory = [], []

    def energy(x):
        traces.append(1)
        return ENERGY(x)

    def watch(done, total, text):
        memory.append((resident(), len(traces), len(jax.live_arrays())))

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        eb.sample(
            KEY,
            eb.random_walk(energy, 0.7),
            jnp.ones((64, 2)),
            num_steps,
            num_chunks=1000,
            collect=streaming.moments(),
            checkpoint=folder,
            progress=watch,
        )
        left = len(list(Path(folder).iterdir()))
    tenth, last = memory[len(memory) // 10], memory[-1]
    print(
        f"soak: {num_steps:,} steps of 64 chains, {len(memory)} checkpoints ({left} "
        f"left), {time.perf_counter() - begin:.0f} s; resident memory {tenth[0]:.1f} "
        f"MB after a tenth, {last[0]:.1f} MB at the end; energy traced {memory[0][1]} "
        f"times in the first chunk, {last[1] - memory[0][1]} after it; "
        f"live arrays {tenth[2]} and {last[2]}"
    )


def resident() -> float:
    """Resident memory in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def guard(num_rounds: int = 201) -> None:
    """CPU seconds with over without the wrapper, for kernels without the mark:
    quartiles of alternating pairs."""
    cases = {
        "random walk": eb.random_walk(ENERGY, 0.7),
        "MALA": eb.mala(ENERGY, 0.5),
        "HMC": eb.hmc(ENERGY, 0.3, 10),
    }
    for name, marked in cases.items():
        kernel = marked._replace(
            move=functools.partial(marked.move)
        )  # like a user's kernel, without the mark
        for num_chains, dim in ((64, 2), (1024, 2), (64, 100)):
            start, keys = jnp.ones((num_chains, dim)), eb.chain_keys(KEY, num_chains)
            num_steps = max(
                50, 400_000 // (num_chains * dim * (10 if name == "HMC" else 1))
            )
            timed = []
            for wrap in (combinators.reject_nonfinite, lambda k: k):
                both = eb.parallel(wrap(kernel))
                call = jax.jit(functools.partial(_steps, both, num_steps))
                state = both.init(start)
                jax.block_until_ready(call(keys, state))
                timed.append(functools.partial(_seconds, call, keys, state))
            pairs = (
                _both(*timed, is_second_first=i % 2 == 1) for i in range(num_rounds)
            )
            low, middle, high = statistics.quantiles((a / b for a, b in pairs), n=4)
            print(
                f"guard: {name}, {num_chains} chains, {dim}-d: {middle:.3f} ({low:.3f} "
                f"to {high:.3f}), load {os.getloadavg()[0]:.1f}",
                flush=True,
            )


def _steps(kernel, num_steps, keys, state):
    return eb.run(keys, kernel, state, num_steps, collect=eb.discard)


def _both(first, second, *, is_second_first):
    if is_second_first:
        after = second()
        return first(), after
    return first(), second()


def _seconds(call, *arguments):
    begin = time.process_time()
    jax.block_until_ready(call(*arguments))
    return time.process_time() - begin


def _spawn(what, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.robustness", "work", what, str(folder)]
    )


if __name__ == "__main__":
    job, *rest = sys.argv[1:] or ["help"]
    if job == "work":
        work(rest[0], Path(rest[1]))
    elif job in ("kill", "soak", "guard"):
        print(
            f"jax {jax.__version__}, Python {platform.python_version()}, "
            f"{jax.devices()[0].device_kind}",
            date.today(),
        )
        jobs = {
            "kill": lambda n=25, *_: kill(int(n), *rest[1:]),
            "soak": lambda n=10**6: soak(int(n)),
            "guard": guard,
        }
        sys.exit(jobs[job](*rest))
    else:
        sys.exit(__doc__)
