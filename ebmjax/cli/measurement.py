"""Measurements of a trained run: log Z, likelihoods and tests."""

import json
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax._value import as_function
from ebmjax.base import Energy
from ebmjax.cli import evaluation as shown
from ebmjax.cli.app import console
from ebmjax.evaluation import two_sample
from ebmjax.evaluation.likelihood import log_likelihood
from ebmjax.evaluation.log_z import WIDEN, bracket_log_z
from ebmjax.experiments import conditional, data, ood, runs
from ebmjax.experiments.chains import Chains, kernel_of, run_chains, step_size_for
from ebmjax.experiments.registry import space_of_config
from ebmjax.experiments.spurious import warn_of_spurious
from ebmjax.kernels.registry import KERNELS
from ebmjax.spaces import BITS, REAL
from ebmjax.tempering.bases import Base, bits, fit_gaussian
from ebmjax.tempering.parallel_tempering import parallel_tempering
from ebmjax.tempering.paths import geometric
from ebmjax.tempering.schedule import Schedule

MOST_POINTS = 10_000  # points of a data set in the likelihood
MOST_TESTED = 500  # points of each sample in a test
LEAST_PROBABILITY = 0.02  # smallest probability of a bit of the base
SHORTER = (16, 4)  # bounds are also shown for fewer levels, by these factors


def evaluate_run(
    folder: Path,
    data_file: str,
    out: Path | None,
    seed: int,
    condition: str = "",
    label: str = "",
    other: tuple[str, ...] = (),
    **options: Any,
) -> None:
    """Measure, print the table, write pictures and numbers."""
    run, state = runs.load(folder)
    if condition or label or run.config.condition_on:
        run, state = conditional.at(run, state, condition, label)
    target = out or folder / "evaluation"
    runs.check_new(target)
    points = held_out(run, data_file)
    name = exact_kernel_of(run)
    key = jax.random.key(seed)
    found, _ = measure(key, run, state, name, points, **options)
    found = found._replace(detection=tuple(ood.rows(run, state, other)))
    console.print(shown.table(folder, found))
    paths = shown.pictures(found, target)
    text = json.dumps(shown.numbers(found), indent=1)
    (target / "evaluation.json").write_text(text)
    written = ", ".join(str(p) for p in [target / "evaluation.json", *paths])
    console.print(f"wrote {written}", highlight=False)


def exact_kernel_of(run: Any) -> str:
    """The name of the kernel of training, or of an exact one where that is biased.

    Raises:
      ValueError: the points are neither real numbers nor bits.
    """
    space, entry = space_of_config(run.config), KERNELS[run.config.kernel]
    if space not in (REAL, BITS):
        raise ValueError(
            f"log Z is estimated for real numbers and bits, and the run is of {space}"
        )
    exact = "gibbs" if space == BITS else "mala"
    return run.config.kernel if entry.is_exact and not entry.example else exact


# --- measurements ---------------------------------------------------------------------


def measure(
    key: Any,
    run: Any,
    state: Any,
    name: str,
    held_out: Any,
    *,
    num_replicas: int,
    num_relax: int,
    shorter: tuple[int, ...] = SHORTER,
    progress: Any = True,
    **options: Any,
) -> tuple[shown.Evaluation, Chains]:
    """Bounds, likelihoods and tests, and the chains on which they are based.

    ``name`` is the name of a kernel; ``held_out`` are points in units of training, or
    ``None``; ``shorter`` are the factors by which bounds of fewer levels have fewer.
    """
    keys = jax.random.split(key, 6)
    energy: Energy = run.trained(state)
    step_size = step_size_for(keys[0], run, state, name)
    chains = run_chains(
        keys[1],
        run,
        state,
        kernel_of(run, energy, step_size, name),
        num_chains=options["num_chains"],
        num_steps=num_relax,
        progress=progress,
    )
    positions = jnp.asarray(chains.positions[-1])
    z = noisy(keys[2], run, run.z[:MOST_POINTS])
    warn_of_spurious(chains.energies[-1], np.asarray(jax.jit(jax.vmap(energy))(z)))
    late = chains.positions[len(chains.positions) // 2 :]
    base = base_of(run, jnp.asarray(late.reshape(-1, *positions.shape[1:])))
    brackets = _brackets(
        keys[3], energy, positions, base, name, step_size, shorter, options, progress
    )
    best = brackets[options["num_levels"]].log_z
    log_scale = float(np.sum(np.log(np.broadcast_to(run.standard.spread, z.shape[1:]))))
    groups = {"training data": z}
    if held_out is not None:
        groups["held out"] = noisy(jax.random.fold_in(keys[2], 1), run, held_out)
    likelihoods = {
        label: log_likelihood(energy, x, best, log_scale=log_scale)
        for label, x in groups.items()
    }
    tests = _tests(keys[4], energy, positions, groups, is_binary(run))
    tempered = None
    if num_replicas:
        tempered = parallel_tempering(
            keys[5],
            geometric(base, energy),
            KERNELS[name].training_kernel,
            options["num_levels"],
            step_size,
            num_replicas=checks.count(num_replicas, "num_replicas", least=2),
            progress=progress,
        )
    return shown.Evaluation(brackets, likelihoods, tests, tempered), chains


def _brackets(
    key, energy, positions, base, name, step_size, shorter, options, progress
):
    """Bounds for all numbers of levels, the largest first; all use its pilot."""
    num_levels = options["num_levels"]
    options = {
        "base": base,
        "make_kernel": KERNELS[name].training_kernel,
        "num_chains": options["num_chains"],
        "num_steps": options["num_steps"],
        "progress": progress,
    }
    key, key_best = jax.random.split(key)
    best = bracket_log_z(
        key_best,
        energy,
        positions,
        step_size=step_size,
        num_levels=num_levels,
        **options,
    )
    found = {num_levels: best}
    for factor in shorter:
        schedule = _thinned(best.schedule, factor)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning is expected for few levels
            found[num_levels // factor] = bracket_log_z(
                jax.random.fold_in(key, factor),
                energy,
                positions,
                schedule=schedule,
                **options,
            )
    return found


def _thinned(schedule: Schedule, factor: int) -> Schedule:
    """The same path with fewer levels."""
    num = len(schedule.betas) - 1
    at, places = np.arange(num + 1), np.linspace(0, num, num // factor + 1)
    betas, sizes = (np.interp(places, at, x) for x in schedule)
    return Schedule(betas, sizes.astype(np.float32))


# compiled, which is faster than one operation at a time
_mmd = jax.jit(two_sample.mmd)
_classifier = jax.jit(two_sample.classifier)
_kernel_stein = jax.jit(two_sample.kernel_stein)


def _tests(key, energy, positions, groups, is_discrete):
    found, keys = {}, iter(jax.random.split(key, 3 * len(groups)))
    x, energy = positions[:MOST_TESTED], as_function(energy)
    for label, y in groups.items():
        y = y[:MOST_TESTED]
        if (fewest := min(len(x), len(y))) < two_sample.LEAST:
            checks.warn(
                f"no test of chains and {label}: they need {two_sample.LEAST} points "
                f"of each, got {fewest}"
            )
            continue
        found[f"MMD, chains and {label}"] = _mmd(next(keys), x, y)
        found[f"classifier, chains and {label}"] = _classifier(next(keys), x, y)
        if not is_discrete:
            found[f"kernel Stein, {label}"] = _kernel_stein(next(keys), energy, y)
    return found


def is_binary(run: Any) -> bool:
    return space_of_config(run.config) == BITS


def noisy(key: Any, run: Any, z: Any) -> Any:
    """Points with the noise of training, whose density the energy describes."""
    if is_binary(run) or not run.config.noise:
        return z
    return z + run.config.noise * jax.random.normal(key, z.shape)


def base_of(run: Any, z: Any) -> Base:
    """A Gaussian fitted to chains ``[N, ...]``, or bits with their means."""
    if is_binary(run):
        low = LEAST_PROBABILITY
        return bits(jnp.clip(jnp.mean(z, axis=0), low, 1 - low))
    return fit_gaussian(z, widen=WIDEN)


def held_out(run: Any, name: str) -> Any:
    """Points ``[N, ...]`` in units of training; by default those that the run held out.

    For a toy set these are new points.
    """
    if name:
        x, shape = data.load(name, levels=run.config.levels).x, run.kept.x.shape[1:]
        if x.shape[1:] != shape:
            raise ValueError(
                f"--data must hold points of shape {shape}, as the run, "
                f"got {x.shape[1:]}"
            )
    elif run.held is not None:
        x = run.held.x
    else:
        return None
    return jnp.asarray(run.standard.forward(x[:MOST_POINTS]), jnp.float32)
