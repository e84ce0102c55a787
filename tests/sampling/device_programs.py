"""Programs that ``test_devices.py`` runs in separate processes, with several devices.

    python tests/sampling/device_programs.py sample|train|temper|all OUT.npz NUM      on NUM devices

With JAX_NUM_PROCESSES set, one of several processes.
"""

import os
import shutil
import sys
from pathlib import Path

if os.environ.get("NUM_DEVICES"):
    os.environ["XLA_FLAGS"] = (
        f"--xla_force_host_platform_device_count={os.environ['NUM_DEVICES']}"
    )
sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ebmjax as eb
from ebmjax import targets
from ebmjax._value import as_function
from ebmjax.io import run_directory as folder
from ebmjax.sampling import _chunk_programs, devices
from ebmjax.sampling import initialization as beginning
from ebmjax.tempering.bases import gaussian
from ebmjax.tempering.parallel_tempering import parallel_tempering
from ebmjax.tempering.paths import geometric
from ebmjax.training.fit import placed

MESH = (
    devices.connect() if "JAX_NUM_PROCESSES" in os.environ else None
)  # before any other use of JAX
SCALES = jnp.array([0.5, 1.0, 2.0])
ENERGY = lambda x: (
    0.5 * jnp.sum((x / SCALES) ** 2) + jnp.sum(jnp.cos(x))
)  # no matrix product: same bits
KEY = jax.random.key(8)
KERNELS = {
    "hmc": eb.hmc(ENERGY, 0.3, 4),
    "langevin": eb.underdamped_langevin(ENERGY, 0.3),
    "cycle": eb.cycle(eb.random_walk(ENERGY, 0.7), eb.mala(ENERGY, 0.5)),
}


BACKENDS = {"hmc": "npz", "langevin": "orbax"}


def sample(mesh, path):
    found = {}
    for name, kernel in KERNELS.items():
        options = {"num_chunks": 4, "devices": mesh}
        if name in BACKENDS:
            options |= {"checkpoint": path / name, "backend": BACKENDS[name]}
        samples = eb.sample(KEY, kernel, jnp.ones((16, 3)), 64, **options)
        if name in BACKENDS:  # missing chunks are computed again, others are read
            lose_newest(path / name)
            samples = eb.sample(KEY, kernel, jnp.ones((16, 3)), 64, **options)
        found[name] = devices.to_host(samples.draws)
        found[name + " rate"] = samples.acceptance_rate
    return found


def lose_newest(path):
    devices.wait("read")
    if devices.is_main():
        for file in folder.files(path, folder.steps(path)[0]):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    devices.wait("lost")


def train(mesh, path, num_updates=60):
    energy = lambda params, x: (
        0.5 * jnp.sum((params["root"] @ (x - params["mean"])) ** 2)
    )
    data = targets.correlated_gaussian(3, 0.6).sample(KEY, 500)
    chain_init = eb.replay_buffer(
        lambda key, n: 2 * jax.random.normal(key, (n, 3)), 64, 0.01
    )
    loss = eb.maximum_likelihood(energy, eb.mala, 5, acceptance_target=0.574)
    params, adam = {"root": jnp.eye(3), "mean": jnp.ones(3)}, optax.adam(0.02)
    state = eb.init_state(KEY, params, adam, chain_init, 0.5)
    path.mkdir(parents=True, exist_ok=True)

    def keep(state, metrics):
        if int(state.step) == 50:
            folder.save(path, 50, state, backend="orbax")

    def fit(state, **more):
        options = {
            "num_updates": num_updates,
            "batch_size": 64,
            "num_chains": 32,
            "devices": mesh,
        }
        state, _ = eb.fit(KEY, loss, adam, state, data, chain_init, **options, **more)
        found = {k: np.asarray(v) for k, v in devices.to_host(state.params).items()}
        return found | {"buffer": np.asarray(devices.to_host(state.buffer))}, state

    found, last = fit(state, on_chunk=keep)
    _, back = folder.newest(path, placed(jax.eval_shape(lambda: state), mesh))
    if mesh is not None:
        shards = [
            s.data.shape[0]
            for s in last.buffer.addressable_shards + back.buffer.addressable_shards
        ]
        assert set(shards) == {64 // mesh.size}, shards
    again, _ = fit(back)
    assert all(np.array_equal(found[name], again[name]) for name in found)
    return found


def temper(mesh, path):
    """Replicas of parallel tempering divided over the devices; no matrix product."""
    path = geometric(gaussian(jnp.zeros(3), 3.0), ENERGY)
    options = {"num_ladders": 2, "num_replicas": 8, "num_adapt": 40, "devices": mesh}
    found = parallel_tempering(KEY, path, eb.mala, 60, 0.5, **options)
    names = ("draws", "positions", "betas", "step_sizes", "rejection_rate")
    return {f"temper {name}": np.asarray(getattr(found, name)) for name in names}


def buffer(mesh):
    """Reading and writing a sharded buffer gives the bits of an unsharded one."""
    chain_init = eb.replay_buffer(
        lambda key, n: jax.random.normal(key, (n, 3)), 64, 0.1
    )
    buffer = chain_init.init(KEY).at[:, 0].set(-0.0)

    def exchange(key, buffer):
        chains, slots = chain_init.draw(
            key, devices.constrain_as(buffer, devices.divided(buffer, mesh)), None, 16
        )
        return chains, devices.constrain(
            chain_init.update(buffer, slots, chains + 1), mesh
        )

    whole = jax.jit(
        lambda key, buffer: chain_init.update(
            buffer, (t := chain_init.draw(key, buffer, None, 16))[1], t[0] + 1
        )
    )
    divided = jax.jit(exchange)(KEY, devices.spread(buffer, mesh))
    assert np.array_equal(divided[1], whole(KEY, buffer))
    assert np.array_equal(divided[0], chain_init.draw(KEY, buffer, None, 16)[0])


def text(mesh, collect):
    """The compiled sampling loop."""
    kernel = KERNELS["hmc"]
    state = beginning._init(kernel, devices.spread(jnp.ones((16, 3)), mesh))
    keys = devices.spread(eb.chain_keys(KEY, 16), mesh)
    return (
        _chunk_programs.chunk.lower(
            kernel, as_function(collect), keys, state, 0, None, num_steps=64, thin=2
        )
        .compile()
        .as_text()
    )


if __name__ == "__main__":
    what, out, *number = sys.argv[1:]
    mesh = MESH or devices.mesh_of(int(number[0]))
    out = Path(out)
    jobs = {
        "sample": [sample],
        "train": [train],
        "temper": [temper],
        "all": [sample, train],
    }[what]
    found = {
        name: x
        for job in jobs
        for name, x in job(
            mesh, out.with_suffix("") / "train" if job is train else out.with_suffix("")
        ).items()
    }
    if devices.is_main():
        np.savez(out, **found)
    if what == "all" and jax.process_count() == 1:
        buffer(mesh)
        out.with_suffix(".txt").write_text(text(mesh, eb.position_of))
        mean = lambda state, info: jnp.mean(state.position)
        out.with_suffix(".control.txt").write_text(text(mesh, mean))
