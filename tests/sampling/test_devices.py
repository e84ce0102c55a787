"""Many devices and many processes: equal numbers, no communication in the sampling
loop, and clear errors."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import device_programs as programs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import FourDevices

import ebmjax as eb
from ebmjax.experiments import runs
from ebmjax.io import run_directory as folder
from ebmjax.sampling import devices

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)


def start(what, out, **environment):
    command = [
        sys.executable,
        str(Path(programs.__file__)),
        what,
        str(out),
        environment.pop("number", "1"),
    ]
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """On one device, in this process."""
    folder = tmp_path_factory.mktemp("alone")
    return programs.sample(None, folder / "sample"), programs.train(
        None, folder / "train"
    )


def agree(alone, out):
    sampled, trained = alone
    with np.load(out) as file:
        for name in sampled:
            assert np.array_equal(file[name], sampled[name]), name
        for name in trained:  # sums over devices round in another order
            assert np.allclose(file[name], trained[name], atol=2e-5), name
            assert np.abs(trained[name]).max() > 0.1


def test_four_devices_give_the_bits_of_one_and_do_not_communicate(alone, tmp_path):
    finish(start("all", tmp_path / "out.npz", number="4", NUM_DEVICES="4"))
    agree(alone, tmp_path / "out.npz")
    text = (tmp_path / "out.txt").read_text()
    assert "num_partitions=4" in text and "while" in text
    assert not [word for word in COLLECTIVES if word in text]
    assert [
        word
        for word in COLLECTIVES
        if word in (tmp_path / "out.control.txt").read_text()
    ]


@pytest.mark.filterwarnings("ignore:swaps between")
def test_replicas_divided_over_devices_are_those_of_one(tmp_path):
    finish(start("temper", tmp_path / "out.npz", number="4", NUM_DEVICES="4"))
    alone = programs.temper(None, None)
    with np.load(tmp_path / "out.npz") as file:
        for name, values in alone.items():
            assert np.allclose(file[name], values, rtol=1e-4, atol=1e-4), name
    assert (
        np.ptp(alone["temper draws"]) > 1 and (alone["temper rejection_rate"] > 0).all()
    )


def test_replicas_are_a_multiple_of_the_devices():
    with pytest.raises(ValueError, match="num_replicas must be a multiple"):
        devices.check_divides(10, FourDevices(), "num_replicas")


def test_two_processes_give_the_bits_of_one(alone, tmp_path):
    port = {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
        "JAX_NUM_PROCESSES": "2",
        "NUM_DEVICES": "1",
    }
    finish(
        *(
            start("all", tmp_path / "out.npz", JAX_PROCESS_ID=str(i), **port)
            for i in range(2)
        )
    )
    agree(alone, tmp_path / "out.npz")
    assert len(list((tmp_path / "out" / "hmc").glob("*.npz"))) == 4
    written = sorted((tmp_path / "out" / "langevin").glob("*.orbax"))
    assert (
        len(written) == 4
    )  # each process its own chains, and one process reads them all
    assert all(len(list(p.glob("state/ocdbt.process_[01]"))) == 2 for p in written)
    kernel, folder = programs.KERNELS["langevin"], tmp_path / "out" / "langevin"
    read = eb.sample(
        programs.KEY, kernel, jnp.ones((16, 3)), 64, num_chunks=4, checkpoint=folder
    )
    assert np.array_equal(read.draws, alone[0]["langevin"])


TINY = {"features": "8", "num-chains": "16", "buffer-size": "32", "batch-size": "16", "chain-steps": "2", "num-updates": "50"}  # fmt: skip


def test_train_by_two_processes_at_the_command_line_is_the_training_of_one(tmp_path):
    """One process reads their checkpoints, written by Orbax."""
    options = [f"--{name}={value}" for name, value in TINY.items()]
    command = [
        sys.executable,
        "-m",
        "ebmjax",
        "train",
        "--data",
        "two_moons",
        "--out",
        str(tmp_path / "two"),
    ]
    environment = {
        **os.environ,
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
        "JAX_NUM_PROCESSES": "2",
    }
    processes = [
        subprocess.Popen(
            [*command, *options, "--distributed", "--checkpoints", "orbax"],
            env={**environment, "JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    finish(*processes)
    run, two = runs.load(tmp_path / "two")
    one = runs.train(run, tmp_path / "one", progress=False)
    assert (
        int(two.step) == int(one.step) == 50
        and folder.backend_of(tmp_path / "two/checkpoints") == "orbax"
    )
    for a, b in zip(jax.tree.leaves(two), jax.tree.leaves(one), strict=True):
        assert np.allclose(a, b, atol=2e-5)  # sums over devices round in another order
    assert not np.allclose(
        jax.tree.leaves(two.params)[0], jax.tree.leaves(run.init().params)[0], atol=1e-3
    )
    names = {p.name for p in (tmp_path / "two").iterdir()}
    assert {"config.json", "metrics.csv", "checkpoints"} <= names and any(
        n.endswith(".png") for n in names
    )


BAD = {
    "more than there are": (9999, ValueError, "devices must be at most the number there are, 1, got 9999"),
    "none": (0, ValueError, "devices must be at least 1, got 0"),
    "an empty list": ([], TypeError, "devices must be a mesh, a number, or a list of devices"),
    "names": (["cpu"], TypeError, "devices must be a mesh, a number, or a list of devices"),
    "another axis": (jax.make_mesh((1,), ("data",)), ValueError, "must have an axis 'chains', got axes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_devices_are_named(name):
    wrong, error, message = BAD[name]
    with pytest.raises(error, match=message):
        eb.sample(
            jax.random.key(0),
            programs.KERNELS["hmc"],
            jnp.ones((4, 3)),
            8,
            devices=wrong,
        )


def test_an_indivisible_number_of_chains_raises_with_both_numbers():
    with pytest.raises(
        ValueError, match="got 10 on 4 devices; the nearest are 8 and 12"
    ):
        devices.check_divides(10, FourDevices(), "num_chains")
    devices.check_divides(12, FourDevices(), "num_chains")


def test_one_of_two_environment_variables_is_refused(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(
        ValueError,
        match="JAX_NUM_PROCESSES and JAX_PROCESS_ID must be set both or neither",
    ):
        devices.connect()
    monkeypatch.setenv("JAX_PROCESS_ID", "2")
    with pytest.raises(
        ValueError, match="must be a number below JAX_NUM_PROCESSES, got '2' of '2'"
    ):
        devices.connect()


def test_keys_whose_numbers_depend_on_how_many_are_drawn_are_warned_of():
    """With rbg the numbers of a chain depend on the number of chains; with threefry
    not."""

    def alone_and_beside(impl):
        keys = jax.random.split(jax.random.key(0, impl=impl), 4)
        draw = jax.vmap(lambda k: jax.random.normal(k, (3,)))
        return np.array_equal(draw(keys[2:3])[0], draw(keys)[2])

    assert alone_and_beside("threefry2x32") and not alone_and_beside("rbg")
    devices.check_key(jax.random.key(0))
    for impl in ("rbg", "unsafe_rbg"):
        with pytest.warns(UserWarning, match=f"keys of {impl} give other numbers"):
            devices.check_key(jax.random.key(0, impl=impl))
