"""Sampling a trained run: draws in units of its data, with a table and pictures."""

from pathlib import Path
from typing import Any

import jax

from ebmjax.cli.app import say, warn
from ebmjax.cli.sampling import MIN_DRAWS, Request, end_early, shown
from ebmjax.cli.stoppable import sample_until_stopped
from ebmjax.experiments import conditional, runs
from ebmjax.experiments.chain_summary import summary_of
from ebmjax.experiments.chains import (
    SAMPLERS,
    kernel_of,
    run_chains,
    step_size_for,
    thinning,
)
from ebmjax.experiments.data.arrays import read_array
from ebmjax.experiments.facts import write_npz
from ebmjax.experiments.spurious import energies_of_points, warn_of_spurious

NUM_CHAINS = 100


def sample_run(
    folder: Path,
    request: Request,
    *,
    is_fresh: bool,
    data_name: str | None,
    condition: str,
    label: str,
    mask: Path | None,
    start: Path | None,
) -> None:
    """Draws in samples.npz, or with a mask points filled in, in filled.npz."""
    run, state = runs.load(folder, data_name)
    if condition or label or run.config.condition_on:
        run, state = conditional.at(run, state, condition, label)
    request = request._replace(
        kernel=request.kernel or run.config.kernel,
        num_chains=request.num_chains or NUM_CHAINS,
    )
    _check_options(run, request)
    if mask is not None:
        _fill(run, state, request, mask, start)
        return
    where = "".join(f"-{x}" for x in (condition, label) if x)
    name = f"samples-{request.kernel}-{request.seed}{where}"
    _draw(run, state, request, folder, request.out or folder / name, is_fresh)


def _check_options(run, request) -> None:
    name = request.kernel
    if name not in SAMPLERS:
        raise ValueError(
            f"--kernel of a run must be one of {', '.join(SAMPLERS)}, got {name}"
        )
    if _space(name) != _space(run.config.kernel):
        raise ValueError(
            f"--kernel {name} is of {_space(name)} points, and "
            f"{run.config.objective} trains on {_space(run.config.kernel)} ones"
        )
    if request.step_size is not None and not SAMPLERS[name].has_step_size:
        raise ValueError(f"--step-size has no effect on the kernel {name}")
    request.check_thin()


def _space(name: str) -> Any:
    return SAMPLERS[name].properties().state_space


def _draw(run, state, request, folder, target, is_fresh) -> None:
    """Chains of a run, their draws in samples.npz, the table and pictures."""
    from ebmjax.experiments import figures  # needs matplotlib

    runs.check_new(target)
    energy = run.trained(state)
    key_tune, key_run = jax.random.split(jax.random.key(request.seed))
    name, step_size = request.kernel, _step_size(key_tune, run, state, request)
    num_chains, num_steps = request.num_chains, request.num_steps
    thin = request.thin or thinning(run, num_chains, num_steps)
    chains = run_chains(
        key_run,
        run,
        state,
        kernel_of(run, energy, step_size, name),
        num_chains=num_chains,
        num_steps=num_steps,
        thin=thin,
        is_fresh=is_fresh,
        progress=True,
        sampler=sample_until_stopped,
    )
    write_npz(
        target / "samples.npz",
        x=run.standard.backward(chains.positions).astype(run.dataset.x.dtype),
        energy=chains.energies,
        denoised=figures.clean(run, energy)(chains.positions[-1]),
    )
    warn_of_spurious(chains.energies[-1], energies_of_points(run, state)[0])
    text = _summarise(run, chains, target)
    paths = figures.pictures(run, state, chains, target, folder)
    done, rate = chains.samples.num_steps, chains.samples.acceptance_rate.mean()
    every = "all kept" if thin == 1 else f"every {thin}th kept, {len(chains.energies)}"
    say(
        f"{num_chains} chains, {done} steps of {name} with step size {step_size:.3g}, "
        f"{every}: acceptance {rate:.2f}, energy {chains.energies[-1].mean():+.2f} nat"
    )
    say("wrote " + ", ".join(map(str, [target / "samples.npz", *text, *paths])))
    end_early(done, num_steps // thin * thin)


def _step_size(key, run, state, request) -> float:
    """That of the command line, else the last one of training or a tuned one."""
    if request.step_size is not None:
        return request.step_size
    return step_size_for(key, run, state, request.kernel)


def _summarise(run, chains, target) -> list[Path]:
    """The table of R-hat and effective sample sizes, printed and in summary.txt."""
    if len(chains.energies) < MIN_DRAWS:
        num = len(chains.energies)
        warn(f"{num} draws a chain are kept, too few for R-hat: lower --thin")
        return []
    summary, what = summary_of(run, chains)
    text = f"{summary}\n" + (f"{what}\n" if what else "")
    (target / "summary.txt").write_text(text)
    say(shown(summary))
    if what:
        say(f"the table has {what}")
    for warning in summary.warnings:
        warn(warning)
    return [target / "summary.txt"]


def _fill(run, state, request, mask, start) -> None:
    """Points filled in where a mask is 0, in filled.npz, with a picture."""
    from ebmjax import plotting  # these need matplotlib
    from ebmjax.experiments import inpainting

    out = request.out
    if out is None:
        raise ValueError("--mask needs --out, a new folder")
    shape = run.dataset.x.shape[1:]
    is_known = inpainting.read_mask(mask, shape)
    points = run.held.x if run.held is not None else run.kept.x
    if start is not None:
        points = read_array(start)
    points = points[: request.num_chains].astype(run.dataset.x.dtype)
    if points.shape[1:] != shape:
        raise ValueError(
            f"--start must hold points of shape {shape}, got {points.shape[1:]}"
        )
    runs.check_new(out)
    key_tune, key_run = jax.random.split(jax.random.key(request.seed))
    found = inpainting.inpaint(
        key_run,
        run,
        state,
        is_known,
        points,
        _step_size(key_tune, run, state, request),
        name=request.kernel,
        num_steps=request.num_steps,
    )
    paths = [out / "filled.npz"]
    write_npz(paths[0], x=found.filled, mean=found.mean, given=found.given)
    if run.facts.is_image:
        paths.append(out / "filled.png")
        plotting.save(inpainting.picture(run, is_known, found), paths[1])
    for what, value in inpainting.rows(run, is_known, found):
        say(f"{what}: {value}")
    say("wrote " + ", ".join(map(str, paths)))
