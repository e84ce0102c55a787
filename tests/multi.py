"""What tests/test_devices.py runs in processes of its own: several devices, and several processes.

    python tests/multi.py sample|train|all OUT.npz NUM      on NUM devices

With JAX_NUM_PROCESSES set, one of several processes.
"""

import os
import sys
from pathlib import Path

if os.environ.get("NUM_DEVICES"):
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={os.environ['NUM_DEVICES']}"
sys.path.insert(0, str(Path(__file__).parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ebmjax as eb
from ebmjax import devices, sampling, targets

MESH = devices.connect() if "JAX_NUM_PROCESSES" in os.environ else None  # before anything else of JAX
SCALES = jnp.array([0.5, 1.0, 2.0])
ENERGY = lambda x: 0.5 * jnp.sum((x / SCALES) ** 2) + jnp.sum(jnp.cos(x))  # no matrix product: same bits
KEY = jax.random.key(8)
KERNELS = {
    "hmc": eb.hmc(ENERGY, 0.3, 4),
    "langevin": eb.underdamped_langevin(ENERGY, 0.3),
    "cycle": eb.cycle(eb.random_walk(ENERGY, 0.7), eb.mala(ENERGY, 0.5)),
}


def sample(mesh, folder):
    found = {}
    for name, kernel in KERNELS.items():
        path = folder / name if name == "hmc" else None
        samples = eb.sample(KEY, kernel, jnp.ones((16, 3)), 64, num_chunks=4, devices=mesh, checkpoint=path)
        found[name] = devices.to_host(samples.draws)
        found[name + " rate"] = samples.acceptance_rate
    return found


def train(mesh, folder, num_updates=60):
    energy = lambda params, x: 0.5 * jnp.sum((params["root"] @ (x - params["mean"])) ** 2)
    data = targets.correlated_gaussian(3, 0.6).sample(KEY, 500)
    starts = eb.replay_buffer(lambda key, n: 2 * jax.random.normal(key, (n, 3)), 64, 0.01)
    loss = eb.contrastive(energy, eb.mala, 5, acceptance_target=0.574)
    params, adam = {"root": jnp.eye(3), "mean": jnp.ones(3)}, optax.adam(0.02)
    state = eb.init_state(KEY, params, adam, starts, 0.5)
    options = {"num_updates": num_updates, "batch_size": 64, "num_chains": 32, "devices": mesh}
    state, _ = eb.fit(KEY, loss, adam, state, data, starts, **options)
    return {k: np.asarray(v) for k, v in devices.to_host(state.params).items()} | {
        "store": np.asarray(devices.to_host(state.store))
    }


def text(mesh, collect):
    """The compiled sampling loop."""
    kernel = KERNELS["hmc"]
    state = sampling._init(kernel, devices.spread(jnp.ones((16, 3)), mesh))
    keys = devices.spread(eb.chain_keys(KEY, 16), mesh)
    return sampling._chunk.lower(kernel, collect, 64, 2, keys, state, 0, None).compile().as_text()


if __name__ == "__main__":
    what, out, *number = sys.argv[1:]
    mesh = MESH or devices.mesh_of(int(number[0]))
    out = Path(out)
    jobs = {"sample": [sample], "train": [train], "all": [sample, train]}[what]
    found = {name: x for job in jobs for name, x in job(mesh, out.with_suffix("")).items()}
    if devices.is_main():
        np.savez(out, **found)
    if what == "all" and jax.process_count() == 1:
        out.with_suffix(".txt").write_text(text(mesh, eb.position_of))
        mean = lambda state, info: jnp.mean(state.position)
        out.with_suffix(".control.txt").write_text(text(mesh, mean))
