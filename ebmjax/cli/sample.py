"""``sample``: chains of a trained run, or of an energy function of the user."""

from pathlib import Path
from typing import Any

from ebmjax.cli.app import app, one_line, require
from ebmjax.cli.options import Condition, Seed
from ebmjax.cli.options import sample as option
from ebmjax.cli.sample_energy import sample_energy
from ebmjax.cli.sample_run import sample_run
from ebmjax.cli.sampling import Request

OF_A_RUN = "of a trained run"
OF_AN_ENERGY = "of an energy MODULE:NAME"


@app.command()
def sample(
    what: option.What,
    kernel: option.Kernel = None,
    num_chains: option.NumChains = None,
    num_warmup: option.NumWarmup = None,
    num_steps: option.NumSteps = 1000,
    thin: option.Thin = None,
    step_size: option.StepSize = None,
    leapfrog_steps: option.LeapfrogSteps = None,
    dense: option.Dense = False,
    dim: option.Dim = None,
    start: option.Start = None,
    from_noise: option.FromNoise = False,
    condition: Condition = "",
    label: option.Label = "",
    mask: option.Mask = None,
    seed: Seed = 1,
    data_name: option.Data = None,
    out: option.Out = None,
) -> None:
    """Run chains of a trained energy, or of an energy function of yours.

        python -m ebmjax sample runs/moons --kernel nuts
        python -m ebmjax sample mymodel:energy --dim 10

    The energy is a function of one point.  Chains start at random points (--dim), at
    the rows of a file (--start), or where its module says: a function initial(key, n),
    or a point start.  Starts and draws of constrain(energy, support) are constrained
    values.  Step size and covariance are tuned, the table of R-hat and effective sample
    sizes comes with warnings, and draws are written for NumPy (draws.npz) and for ArviZ
    (draws.nc), with its pictures.

    Of a run: samples.npz in units of the data, summary.txt, and pictures; its data need
    not be there.  Ctrl-C ends the chains early and writes what there is.
    """
    with one_line():
        name = kernel and kernel.value
        request = Request(name, num_chains, num_steps, thin, step_size, seed, out)
        given: dict[str, Any]
        if ":" in what and not Path(what).exists():
            given = {"--from-noise": from_noise, "--data": data_name}
            given |= {"--condition": condition, "--label": label, "--mask": mask}
            _refuse(OF_A_RUN, given)
            sample_energy(
                what,
                request,
                num_warmup=num_warmup,
                leapfrog_steps=leapfrog_steps,
                is_dense=dense,
                dim=dim,
                start=start,
            )
            return
        given = {"--num-warmup": num_warmup, "--leapfrog-steps": leapfrog_steps}
        given |= {"--dense": dense, "--dim": dim, "--start": None if mask else start}
        _refuse(OF_AN_ENERGY, given)
        require("matplotlib", "demo")
        sample_run(
            Path(what),
            request,
            is_fresh=from_noise,
            data_name=data_name,
            condition=condition,
            label=label,
            mask=mask,
            start=start,
        )


def _refuse(whose: str, given: dict[str, Any]) -> None:
    for option_name, value in given.items():
        if value:
            raise ValueError(f"{option_name} is an option {whose}")
