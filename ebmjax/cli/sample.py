"""``sample``: chains of a trained run, or of an energy function of the user."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

from ebmjax.cli import energy
from ebmjax.cli.app import app, one_line, require, say, warn
from ebmjax.cli.stoppable import sample_until_stopped
from ebmjax.experiments import runs
from ebmjax.experiments.facts import write_npz
from ebmjax.kernels.registry import KERNELS

KernelName = StrEnum("KernelName", list(KERNELS))
OF_A_RUN = "of a trained run"
OF_AN_ENERGY = "of an energy MODULE:NAME"


@app.command()
def sample(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN or MODULE:ENERGY",
            help="The folder of a trained run, or an energy.",
        ),
    ],
    kernel: Annotated[
        KernelName | None,
        typer.Option(help="nuts by default; of a run, the one of training."),
    ] = None,
    num_chains: Annotated[
        int | None, typer.Option(help="4; of a run, 100.", min=1, max=2**31 - 1)
    ] = None,
    num_warmup: Annotated[
        int | None,
        typer.Option(
            help="Steps that tune step size and mass; fewer for more chains.",
            min=20,
            max=2**31 - 1,
        ),
    ] = None,
    num_steps: Annotated[
        int,
        typer.Option(help="Of each chain, after the warm-up.", min=6, max=2**31 - 1),
    ] = 1000,
    thin: Annotated[
        int | None,
        typer.Option(
            help="Keep every so many steps; 1, or of a run what fits in 256 MiB.", min=1
        ),
    ] = None,
    step_size: Annotated[
        float | None, typer.Option(help="Fixed, in place of the warm-up.")
    ] = None,
    leapfrog_steps: Annotated[
        int | None,
        typer.Option(
            help="Of hmc in each step; tuned by default.", min=1, max=2**31 - 1
        ),
    ] = None,
    dense: Annotated[
        bool, typer.Option("--dense", help="A dense mass beyond 64 coordinates, too.")
    ] = False,
    dim: Annotated[
        int | None,
        typer.Option(help="Start at random points of so many coordinates.", min=1),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Start at the rows of this .npy file, [C, ...].")
    ] = None,
    from_noise: Annotated[
        bool,
        typer.Option(
            "--from-noise", help="Of a run: start fresh, not from the buffer."
        ),
    ] = False,
    condition: Annotated[
        str,
        typer.Option(
            help="Of a run with --condition-on: values of its columns, 1.5,2."
        ),
    ] = "",
    label: Annotated[
        str, typer.Option(help="Of a run with labels: the class to sample.")
    ] = "",
    mask: Annotated[
        Path | None,
        typer.Option(
            help="Of a run: fill in held-out points, or those of --start, where this "
            ".npy of a point's shape is 0."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 1,
    data_name: Annotated[
        str | None, typer.Option("--data", help="Of a run: where its data are now.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A new folder.")] = None,
) -> None:
    """Run chains of a trained energy, or of an energy function of yours.

        python -m ebmjax sample runs/moons --kernel nuts
        python -m ebmjax sample mymodel:energy --dim 10

    The energy is a function of one point.  Chains start at random points (--dim), at
    the rows of a file (--start), or where its module says: a function initial(key, n),
    or a point start.  Starts and draws of constrain(energy, support) are constrained
    values.  Step size and mass are tuned, the table of R-hat and effective sample
    sizes comes with warnings, and draws are written for NumPy (draws.npz) and for ArviZ
    (draws.nc), with its pictures.

    Of a run: samples.npz in units of the data, summary.txt, and pictures; its data need
    not be there.  Ctrl-C ends the chains early and writes what there is.
    """
    with one_line():
        name = kernel and kernel.value
        if ":" in what and not Path(what).exists():
            given: dict[str, Any] = {"--from-noise": from_noise, "--data": data_name}
            given |= {"--condition": condition, "--label": label, "--mask": mask}
            _refuse(OF_A_RUN, given)
            energy.sample_energy(
                what,
                name or "nuts",
                num_chains=num_chains,
                num_warmup=num_warmup,
                num_steps=num_steps,
                thin=thin or 1,
                step_size=step_size,
                leapfrog_steps=leapfrog_steps,
                is_dense=dense,
                dim=dim,
                start=start,
                seed=seed,
                out=out,
            )
            return
        given = {
            "--num-warmup": num_warmup,
            "--leapfrog-steps": leapfrog_steps,
            "--dense": dense,
        }
        given |= {"--dim": dim, "--start": None if mask else start}
        _refuse(OF_AN_ENERGY, given)
        require("matplotlib", "demo")
        _of_run(
            Path(what),
            name,
            num_chains or 100,
            num_steps,
            thin,
            step_size,
            from_noise,
            seed,
            out,
            data_name,
            condition,
            label,
            mask,
            start,
        )


def _refuse(whose: str, given: dict) -> None:
    for option, value in given.items():
        if value:
            raise ValueError(f"{option} is an option {whose}")


def _of_run(
    folder,
    name,
    num_chains,
    num_steps,
    thin,
    step_size,
    is_fresh,
    seed,
    out,
    data_name,
    condition,
    label,
    mask,
    start,
) -> None:
    """Draws in samples.npz, in units of the data, with a table and pictures."""
    from ebmjax.experiments import report  # needs matplotlib

    run, state = runs.load(folder, data_name)
    if condition or label or run.config.condition_on:
        from ebmjax.experiments import conditional

        run, state = conditional.at(run, state, condition, label)
    name = name or run.config.kernel
    _check_run_options(report, run, name, num_steps, thin, step_size)
    if mask is not None:
        _fill(
            run, state, name, mask, start, num_chains, num_steps, step_size, seed, out
        )
        return
    where = "".join(f"-{x}" for x in (condition, label) if x)
    target = out or folder / f"samples-{name}-{seed}{where}"
    runs.check_new(target)
    of_run = run.trained(state)
    key_tune, key_run = jax.random.split(jax.random.key(seed))
    if step_size is None:
        step_size = report.step_size_for(key_tune, run, state, name)
    thin = thin or report.thinning(run, num_chains, num_steps)
    chains = report.run_chains(
        key_run,
        run,
        state,
        report.kernel_of(run, of_run, step_size, name),
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
        denoised=report.clean(run, of_run)(chains.positions[-1]),
    )
    _judge_run(report, run, chains, target)
    paths = report.pictures(run, state, chains, target, folder)
    done, rate = chains.samples.num_steps, chains.samples.acceptance_rate.mean()
    every = "all kept" if thin == 1 else f"every {thin}th kept, {len(chains.energies)}"
    say(
        f"{num_chains} chains, {done} steps of {name} with step size {step_size:.3g}, "
        f"{every}: acceptance {rate:.2f}, energy {chains.energies[-1].mean():+.2f} nat"
    )
    text = [target / "summary.txt"] if (target / "summary.txt").exists() else []
    say("wrote " + ", ".join(map(str, [target / "samples.npz", *text, *paths])))
    energy.end_early(done, num_steps // thin * thin)


def _fill(
    run, state, name, mask, start, num_chains, num_steps, step_size, seed, out
) -> None:
    """Points filled in where a mask is 0, in filled.npz, with a picture."""
    from ebmjax import plotting
    from ebmjax.experiments import inpainting, report
    from ebmjax.experiments.data.arrays import read_array

    if out is None:
        raise ValueError("--mask needs --out, a new folder")
    shape = run.dataset.x.shape[1:]
    is_known = inpainting.read_mask(mask, shape)
    points = run.held.x if run.held is not None else run.kept.x
    if start is not None:
        points = read_array(start)
    points = points[:num_chains].astype(run.dataset.x.dtype)
    if points.shape[1:] != shape:
        raise ValueError(
            f"--start must hold points of shape {shape}, got {points.shape[1:]}"
        )
    runs.check_new(out)
    key_tune, key_run = jax.random.split(jax.random.key(seed))
    if step_size is None:
        step_size = report.step_size_for(key_tune, run, state, name)
    found = inpainting.inpaint(
        key_run,
        run,
        state,
        is_known,
        points,
        step_size,
        name=name,
        num_steps=num_steps,
    )
    paths = [out / "filled.npz"]
    write_npz(paths[0], x=found.filled, mean=found.mean, given=found.given)
    if run.facts.is_image:
        paths.append(out / "filled.png")
        plotting.save(inpainting.picture(run, is_known, found), paths[1])
    for what, value in inpainting.rows(run, is_known, found):
        say(f"{what}: {value}")
    say("wrote " + ", ".join(map(str, paths)))


def _check_run_options(report, run, name, num_steps, thin, step_size) -> None:
    if name not in report.SAMPLERS:
        raise ValueError(
            f"--kernel of a run must be one of {', '.join(report.SAMPLERS)}, got {name}"
        )
    if _space(report, name) != _space(report, run.config.kernel):
        raise ValueError(
            f"--kernel {name} is of {_space(report, name)} points, and "
            f"{run.config.objective} trains on {_space(report, run.config.kernel)} ones"
        )
    if step_size is not None and not report.SAMPLERS[name].has_step_size:
        raise ValueError(f"--step-size has no effect on the kernel {name}")
    if thin is not None and num_steps % thin:
        raise ValueError(
            f"--num-steps must be a multiple of --thin, got {num_steps} and {thin}"
        )


def _space(report, name) -> str:
    return report.SAMPLERS[name].properties().state_space


def _judge_run(report, run, chains, target) -> None:
    """The table of R-hat and effective sample sizes, printed and in summary.txt."""
    if len(chains.energies) < 6:
        num = len(chains.energies)
        warn(f"{num} draws a chain are kept, too few for R-hat: lower --thin")
        return
    summary, what = report.summary_of(run, chains)
    text = f"{summary}\n" + (f"{what}\n" if what else "")
    (target / "summary.txt").write_text(text)
    say(energy.shown(summary))
    if what:
        say(f"the table has {what}")
    for warning in summary.warnings:
        warn(warning)
