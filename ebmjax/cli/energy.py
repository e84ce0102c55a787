"""Sampling an energy of the user's own: where chains start, a tuned kernel, the verdict, the files."""

import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.adaptation.tuning import warm_up
from ebmjax.base import Energy, Kernel, Key, Position
from ebmjax.cli.app import console, fail, load_attribute
from ebmjax.diagnostics import summary as health
from ebmjax.experiments import runs
from ebmjax.io import arviz as export
from ebmjax.kernels.hamiltonian import hmc
from ebmjax.kernels.langevin import mala
from ebmjax.kernels.nuts import nuts
from ebmjax.kernels.random_walk import random_walk
from ebmjax.sampling.loop import collect_stats
from ebmjax.sampling.sample import sample
from ebmjax.verify.check_energy import check

KERNELS: dict[str, Callable[..., Kernel]] = {
    "nuts": nuts,
    "hmc": hmc,
    "mala": mala,
    "random_walk": random_walk,
}
REACH = 2.0  # random starts are uniform on (-REACH, REACH), as Stan's
MOST_ROWS = 20


def sample_energy(
    name: str,
    kernel_name: str,
    *,
    num_chains: int | None,
    num_warmup: int | None,
    num_steps: int,
    step_size: float | None,
    leapfrog_steps: int | None,
    is_dense: bool,
    dim: int | None,
    start: Path | None,
    seed: int,
    out: Path | None,
) -> None:
    """Tune, sample, judge, and write a folder; everything that can be refused is refused first."""
    if kernel_name not in KERNELS:
        raise ValueError(
            f"--kernel of an energy must be one of {', '.join(KERNELS)}, got {kernel_name}"
        )
    if leapfrog_steps is not None and kernel_name != "hmc":
        raise ValueError("--leapfrog-steps is an option of --kernel hmc")
    if step_size is not None and (num_warmup is not None or is_dense):
        raise ValueError(
            "--step-size is in place of the warm-up: leave out --num-warmup and --dense"
        )
    if step_size is not None and kernel_name == "hmc" and leapfrog_steps is None:
        raise ValueError("--kernel hmc with a --step-size needs its --leapfrog-steps")
    energy = load_attribute(name)
    key_start, key_check, key_warm, key_run = jax.random.split(jax.random.key(seed), 4)
    positions = _starts(key_start, name, energy, num_chains, dim, start)
    folder = out or Path("samples") / f"{name.replace(':', '-')}-{kernel_name}-{seed}"
    runs.check_new(folder)
    one = jax.tree.map(lambda x: x[0], positions)
    for symptom in check(energy, one, key_check).symptoms:
        console.print(
            f"[yellow]warning:[/] {symptom.what}; {symptom.cure}", highlight=False
        )

    make = KERNELS[kernel_name]
    if leapfrog_steps is not None:
        make = partial(hmc, num_steps=leapfrog_steps)
    kernel, positions, told = _tuned(
        key_warm, make, energy, positions, step_size, num_warmup, is_dense
    )
    samples = sample(
        key_run, kernel, positions, num_steps, collect=collect_stats, progress=True
    )

    summary = health.summary(samples)
    (folder / "summary.txt").write_text(f"{summary}\n")
    export.save(samples, folder / "draws.npz")
    paths = [folder / "summary.txt", folder / "draws.npz"]
    if importlib.util.find_spec("arviz"):
        export.save(samples, folder / "draws.nc")
        paths += [folder / "draws.nc", *export.pictures(samples, folder)]
    else:
        console.print(
            "[yellow]warning:[/] neither draws.nc nor pictures: pip install 'ebmjax\\[export]'"
        )
    console.print(_shown(summary), highlight=False, markup=False, soft_wrap=True)
    for warning in summary.warnings:
        console.print(f"[yellow]warning:[/] {warning}", highlight=False)
    num_chains = len(samples.acceptance_rate)
    console.print(
        f"{num_chains} chains, {num_steps} steps of {kernel_name} after {told}: "
        f"acceptance {samples.acceptance_rate.mean():.2f}"
    )
    console.print("wrote " + ", ".join(str(p) for p in paths), highlight=False)


def _tuned(key, make, energy, positions, step_size, num_warmup, is_dense):
    """A kernel with fixed parameters, where its chains are, and what was done for it, in words."""
    if step_size is not None:
        return make(energy, step_size), positions, "no warm-up"
    mass = "dense" if is_dense else "auto"
    console.print("warm-up", style="dim")
    try:
        tuned = warm_up(key, make, energy, positions, num_steps=num_warmup, mass=mass)
    except RuntimeError as error:
        fail(str(error), 1)
    length = f", {tuned.num_steps} leapfrog steps" if tuned.num_steps else ""
    return (
        tuned.kernel,
        tuned.position,
        f"{len(tuned.acceptance_rate)} of warm-up{length}",
    )


def _starts(
    key: Key, name: str, energy: Energy, num_chains: int | None, dim, path
) -> Position:
    """Where chains start, ``[C, ...]``: a file, random points, or what the module of the energy says."""
    checks.function(energy, name)
    if dim is not None and path is not None:
        raise ValueError("give either --dim or --start")
    if path is not None:
        rows = np.load(path, allow_pickle=False)
        if rows.ndim == 0 or not np.issubdtype(rows.dtype, np.number):
            raise ValueError(
                f"{path} must hold numbers [C, ...], got {checks.describe(rows)}"
            )
        if num_chains not in (None, len(rows)):
            raise ValueError(
                f"--num-chains is {num_chains}, and {path} has {len(rows)} rows"
            )
        return checks.position(jnp.asarray(rows, float), str(path))
    num_chains = num_chains or 4
    if dim is not None:
        return jax.random.uniform(key, (num_chains, dim), minval=-REACH, maxval=REACH)
    module: Any = sys.modules[name.partition(":")[0]]
    if hasattr(module, "initial"):
        positions = checks.position(module.initial(key, num_chains), "initial(key, n)")
        if checks.num_chains(positions, "initial(key, n)") != num_chains:
            raise ValueError(
                f"initial(key, n) must return n points, got {checks.num_chains(positions)} for {num_chains}"
            )
        return positions
    if hasattr(module, "start"):
        point = checks.position(module.start, "start")
        return jax.tree.map(
            lambda x: jnp.broadcast_to(x, (num_chains, *x.shape)), point
        )
    raise ValueError(
        f"where do chains start? --dim D, --start FILE.npy, or in {module.__name__} a function "
        "initial(key, n) or a point start"
    )


def _shown(summary: health.Summary) -> str:
    """The table; of many coordinates the ones with the smallest effective sample sizes."""
    if len(summary.names) <= MOST_ROWS:
        return str(summary._replace(warnings=[]))
    rows = np.argsort(summary.columns["ess_bulk"], kind="stable")[:MOST_ROWS]
    names = [summary.names[i] for i in rows]
    worst = health.Summary(names, {n: x[rows] for n, x in summary.columns.items()}, [])
    return f"{worst}\nthe {MOST_ROWS} of {len(summary.names)} coordinates with the smallest ess_bulk"
