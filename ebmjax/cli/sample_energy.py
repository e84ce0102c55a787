"""Sampling a user's energy: options, a tuned kernel, chains, the table and the
files."""

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax

from ebmjax.adaptation.tuning import warm_up
from ebmjax.base import Kernel
from ebmjax.cli.app import fail, load_attribute, say, warn
from ebmjax.cli.sampling import MIN_DRAWS, Request, end_early, shown
from ebmjax.cli.starts import initial_positions
from ebmjax.cli.stoppable import sample_until_stopped
from ebmjax.diagnostics.summary import summary as summary_of
from ebmjax.experiments import runs
from ebmjax.io import arviz as export
from ebmjax.kernels import registry
from ebmjax.kernels.barker import barker
from ebmjax.kernels.hamiltonian import hmc
from ebmjax.kernels.langevin import mala
from ebmjax.kernels.nuts import nuts
from ebmjax.kernels.random_walk import random_walk
from ebmjax.sampling.collect import collect_stats
from ebmjax.sampling.samples import Samples
from ebmjax.spaces import REAL
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


def sample_energy(
    name: str,
    request: Request,
    *,
    num_warmup: int | None,
    leapfrog_steps: int | None,
    is_dense: bool,
    dim: int | None,
    start: Path | None,
) -> None:
    """Tune, sample, summarise, and write a folder; invalid options are refused
    first."""
    kernel_name, step_size = request.kernel or "nuts", request.step_size
    _check_options(request, kernel_name, num_warmup, leapfrog_steps, is_dense)
    energy = load_attribute(name)
    key = jax.random.key(request.seed)
    key_start, key_check, key_warm, key_run = jax.random.split(key, 4)
    make = (KERNELS | DISCRETE)[kernel_name]
    space = make(energy, 1.0).state_space if kernel_name in DISCRETE else REAL
    positions = initial_positions(
        key_start, name, energy, request.num_chains, dim, start, space
    )
    file_name = f"{name.replace(':', '-')}-{kernel_name}-{request.seed}"
    folder = request.out or Path("samples") / file_name
    runs.check_new(folder)
    if space == REAL:  # the checks move to points near by
        one = jax.tree.map(lambda x: x[0], positions)
        for issue in check(energy, one, key_check).issues:
            warn(f"{issue.message}; {issue.suggestion}")
    if leapfrog_steps is not None:
        make = partial(hmc, num_steps=leapfrog_steps)
    kernel, positions, how = _tuned(
        key_warm, kernel_name, make, energy, positions, step_size, num_warmup, is_dense
    )
    num_steps, thin = request.num_steps, request.thin or 1
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


def _check_options(request, kernel_name, num_warmup, leapfrog_steps, is_dense) -> None:
    """Raise unless the kernel is known and uses all options that are given."""
    step_size = request.step_size
    request.check_thin()
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


def _tuned(key, name, make, energy, positions, step_size, num_warmup, is_dense):
    """A kernel with fixed parameters, the positions of its chains, and how it was
    tuned."""
    if step_size is not None or _has_no_step(name):
        return make(energy, step_size or 1.0), positions, "no warm-up"
    covariance: str | None = "dense" if is_dense else "auto"
    if name in DISCRETE:
        covariance = None
    say("warm-up", "dim")
    try:
        tuned = warm_up(
            key, make, energy, positions, num_steps=num_warmup, covariance=covariance
        )
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


def _written(samples: Samples, folder: Path) -> list[Path]:
    """Write table, draws and pictures to a folder; print the table and its warnings."""
    if jax.tree.leaves(samples.draws)[0].shape[0] < MIN_DRAWS:
        export.save(samples, folder / "draws.npz")
        warn("too few draws for R-hat: more steps, or a lower --thin")
        return [folder / "draws.npz"]
    summary = summary_of(samples)
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
