"""Sampling a user's energy: initial positions, a tuned kernel, the table, the files."""

import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from ebmjax import _validation as checks
from ebmjax.adaptation.tuning import warm_up
from ebmjax.base import Energy, Kernel, Key, Position
from ebmjax.cli.app import STOPPED, fail, load_attribute, say, warn
from ebmjax.cli.stoppable import sample_until_stopped
from ebmjax.diagnostics import summary as health
from ebmjax.energies.constrained import Constrained, supports_of
from ebmjax.experiments import runs
from ebmjax.experiments.data.arrays import check_fits, read_array
from ebmjax.io import arviz as export
from ebmjax.kernels import registry
from ebmjax.kernels.barker import barker
from ebmjax.kernels.hamiltonian import hmc
from ebmjax.kernels.langevin import mala
from ebmjax.kernels.nuts import nuts
from ebmjax.kernels.random_walk import random_walk
from ebmjax.sampling.collect import collect_stats
from ebmjax.sampling.coordinates import constrained_of
from ebmjax.sampling.initialization import random_positions
from ebmjax.sampling.samples import Samples
from ebmjax.spaces import REAL, Space
from ebmjax.verify.check_energy import check

KERNELS: dict[str, Callable[..., Kernel]] = {
    "nuts": nuts,
    "hmc": hmc,
    "mala": mala,
    "random_walk": random_walk,
    "barker": barker,
}
# of bits, spins and levels; those of a lattice refuse other energies
DISCRETE: dict[str, Callable[..., Kernel]] = {
    name: entry.training_kernel
    for name, entry in registry.KERNELS.items()
    if entry.properties().state_space != REAL and name != "rbm_gibbs"
}
REACH = 2.0  # random starts are uniform on (-REACH, REACH), as in Stan
MOST_ROWS = 20
MIN_DRAWS = 6  # draws per chain, for R-hat


def sample_energy(
    name: str,
    kernel_name: str,
    *,
    num_chains: int | None,
    num_warmup: int | None,
    num_steps: int,
    thin: int,
    step_size: float | None,
    leapfrog_steps: int | None,
    is_dense: bool,
    dim: int | None,
    start: Path | None,
    seed: int,
    out: Path | None,
) -> None:
    """Tune, sample, summarise, and write a folder; invalid options are refused
    first."""
    if num_steps % thin:
        raise ValueError(
            f"--num-steps must be a multiple of --thin, got {num_steps} and {thin}"
        )
    if kernel_name not in KERNELS | DISCRETE:
        raise ValueError(
            f"--kernel of an energy must be one of {', '.join(KERNELS | DISCRETE)}, "
            f"got {kernel_name}"
        )
    is_tuned = step_size is not None or num_warmup is not None or is_dense
    if _has_no_step(kernel_name) and is_tuned:
        raise ValueError(
            f"--kernel {kernel_name} has nothing to tune: omit --step-size, "
            "--num-warmup and --dense"
        )
    if leapfrog_steps is not None and kernel_name != "hmc":
        raise ValueError("--leapfrog-steps is an option of --kernel hmc")
    if step_size is not None and (num_warmup is not None or is_dense):
        raise ValueError(
            "--step-size replaces the warm-up: omit --num-warmup and --dense"
        )
    if step_size is not None and kernel_name == "hmc" and leapfrog_steps is None:
        raise ValueError("--kernel hmc with a --step-size needs its --leapfrog-steps")
    energy = load_attribute(name)
    key_start, key_check, key_warm, key_run = jax.random.split(jax.random.key(seed), 4)
    make = (KERNELS | DISCRETE)[kernel_name]
    space = make(energy, 1.0).state_space if kernel_name in DISCRETE else REAL
    positions = _starts(key_start, name, energy, num_chains, dim, start, space)
    folder = out or Path("samples") / f"{name.replace(':', '-')}-{kernel_name}-{seed}"
    runs.check_new(folder)
    one = jax.tree.map(lambda x: x[0], positions)
    if space == REAL:  # the checks move to points near by
        for issue in check(energy, one, key_check).issues:
            warn(f"{issue.message}; {issue.suggestion}")
    if leapfrog_steps is not None:
        make = partial(hmc, num_steps=leapfrog_steps)
    kernel, positions, how = _tuned(
        key_warm,
        kernel_name,
        make,
        energy,
        positions,
        step_size,
        num_warmup,
        is_dense,
    )
    samples = sample_until_stopped(
        key_run, kernel, positions, num_steps, thin=thin, collect=collect_stats
    )
    paths = _written(samples, folder)
    num_chains, done = len(samples.acceptance_rate), samples.num_steps
    every = "" if thin == 1 else f", every {thin}th kept,"
    say(
        f"{num_chains} chains, {done} steps of {kernel_name}{every} after {how}: "
        f"acceptance {samples.acceptance_rate.mean():.2f}"
    )
    say("wrote " + ", ".join(str(p) for p in paths))
    end_early(done, num_steps)


def _written(samples: Samples, folder: Path) -> list[Path]:
    """Write table, draws and pictures to a folder; print the table and its warnings."""
    if jax.tree.leaves(samples.draws)[0].shape[0] < MIN_DRAWS:
        export.save(samples, folder / "draws.npz")
        warn("too few draws for R-hat: more steps, or a lower --thin")
        return [folder / "draws.npz"]
    summary = health.summary(samples)
    (folder / "summary.txt").write_text(f"{summary}\n")
    export.save(samples, folder / "draws.npz")
    paths = [folder / "summary.txt", folder / "draws.npz"]
    if importlib.util.find_spec("arviz"):
        export.save(samples, folder / "draws.nc")
        paths += [folder / "draws.nc", *export.pictures(samples, folder)]
    else:
        warn("neither draws.nc nor pictures: pip install 'ebmjax[export]'")
    say(shown(summary))
    for warning in summary.warnings:
        warn(warning)
    dim, num_chains = len(summary.names), len(samples.acceptance_rate)
    most = export.MOST_SHOWN, export.MOST_CHAINS
    if len(paths) > 2 and (dim > most[0] or num_chains > most[1]):
        say(
            f"the pictures show {min(dim, most[0])} of {dim} coordinates "
            f"({', '.join(summary.names[: most[0]])}) and "
            f"{min(num_chains, most[1])} of {num_chains} chains; the table has all"
        )
    return paths


def _tuned(key, name, make, energy, positions, step_size, num_warmup, is_dense):
    """A kernel with fixed parameters, the positions of its chains, and how it was
    tuned."""
    if step_size is not None or _has_no_step(name):
        return make(energy, step_size or 1.0), positions, "no warm-up"
    mass: str | None = "dense" if is_dense else "auto"
    if name in DISCRETE:
        mass = None
    say("warm-up", "dim")
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


def _has_no_step(name: str) -> bool:
    return name in DISCRETE and not registry.KERNELS[name].has_step_size


def _starts(
    key: Key,
    name: str,
    energy: Energy,
    num_chains: int | None,
    dim: int | None,
    path: Path | None,
    space: Space,
) -> Position:
    """Initial positions ``[C, ...]``: from a file, random, or from the user's
    module."""
    checks.function(energy, name)
    if dim is not None and path is not None:
        raise ValueError("give either --dim or --start")
    if path is not None:
        rows = read_array(path)
        if rows.ndim == 0 or rows.dtype.kind not in "fiu":
            raise ValueError(
                f"{path} must hold numbers [C, ...], got {checks.describe(rows)}"
            )
        if num_chains not in (None, len(rows)):
            raise ValueError(
                f"--num-chains is {num_chains}, and {path} has {len(rows)} rows"
            )
        return checks.position(jnp.asarray(rows, float), str(path))
    check_fits(64 * (num_chains or 4) * (dim or 1), "--num-chains times --dim")
    num_chains = num_chains or 4
    if dim is not None and space != REAL:
        index = jax.random.randint(key, (num_chains, dim), 0, space.num_values)
        return space.value(index)
    if dim is not None:
        positions, num_redrawn = random_positions(
            key,
            energy,
            num_chains,
            _num_free(energy, dim),
            reach=REACH,
            with_grad=False,
        )
        if isinstance(energy, Constrained):
            positions = constrained_of(energy, positions)
        if num_redrawn:
            warn(
                f"{num_redrawn} random starts had no finite energy and were drawn again"
            )
        return positions
    module: Any = sys.modules[name.partition(":")[0]]
    if hasattr(module, "initial"):
        positions = checks.position(module.initial(key, num_chains), "initial(key, n)")
        if checks.num_chains(positions, "initial(key, n)") != num_chains:
            raise ValueError(
                "initial(key, n) must return n points, got "
                f"{checks.num_chains(positions)} for {num_chains}"
            )
        return positions
    if hasattr(module, "start"):
        point = checks.position(module.start, "start")
        return jax.tree.map(
            lambda x: jnp.broadcast_to(x, (num_chains, *x.shape)), point
        )
    raise ValueError(
        f"initial positions are missing: --dim D, --start FILE.npy, or in {module.__name__} a "
        "function initial(key, n) or a point start"
    )


def _num_free(energy: Energy, dim: int) -> int:
    """Free coordinates of a vector of so many."""
    if not isinstance(energy, Constrained):
        return dim
    supports = supports_of(energy.support)
    if energy.support is not supports[0] or supports[0].event_ndims > 1:
        raise ValueError(
            "--dim is of an energy of one vector; for a tree of supports, or matrices, "
            "put a function initial(key, n) or a point start beside the energy"
        )
    (num,) = supports[0].free_shape((dim,))
    if num < 1:
        raise ValueError(f"--dim must be at least 2 for {supports[0]}, got {dim}")
    return num


def shown(summary: health.Summary) -> str:
    """The table; for many coordinates the rows with the smallest effective sample
    sizes."""
    if len(summary.names) <= MOST_ROWS:
        return str(summary._replace(warnings=[]))
    rows = np.argsort(summary.columns["ess_bulk"], kind="stable")[:MOST_ROWS]
    names = [summary.names[i] for i in rows]
    worst = health.Summary(names, {n: x[rows] for n, x in summary.columns.items()}, [])  # type: ignore[call-arg]
    return (
        f"{worst}\nthe {MOST_ROWS} of {len(summary.names)} rows with the smallest "
        "ess_bulk"
    )


def end_early(done: int, num_steps: int) -> None:
    """After a signal: print the number of completed steps, and exit with its code."""
    if done < num_steps:
        warn(
            f"stopped by a signal after {done} of {num_steps} steps, which are written"
        )
        raise typer.Exit(STOPPED)
