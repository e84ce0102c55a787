"""``selftest`` and ``verify``."""

import functools
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.text import Text

from ebmjax import verify
from ebmjax.cli.app import (
    app,
    console,
    fail,
    in_user_code,
    load_attribute,
    one_line,
    require,
    say,
)
from ebmjax.cli.options import Seed
from ebmjax.targets import TARGETS
from ebmjax.verify.pair import as_target


@app.command()
def selftest(
    is_full: Annotated[
        bool, typer.Option("--full", help="Test every kernel on every target.")
    ] = False,
    num_chains: Annotated[
        int,
        typer.Option(help="Number of chains in the first round.", min=1000, max=10**7),
    ] = 20_000,
    alpha: Annotated[
        float,
        typer.Option(help="False-alarm rate of all tests together.", min=0, max=1),
    ] = 1e-4,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**32 - 1,
            help="Seed of all random numbers; from the clock by default.",
        ),
    ] = None,
) -> None:
    """Verify the kernels of this library on this machine.

    Chains start from exact draws of a target and must still follow it.  Kernels that
    are wrong on purpose must be rejected.  Exit code 1 if any outcome is not as
    expected.
    """
    with one_line():
        seed = time.time_ns() % 2**32 if seed is None else seed
        device = jax.devices()[0]
        where = f"{device.device_kind} ({device.platform})"
        say(f"jax {jax.__version__} on {where}, seed {seed}")
        begin = time.perf_counter()
        # its tables hold arrays, which would initialise JAX too early
        from ebmjax.verify.suite import run_suite

        outcomes = run_suite(
            jax.random.key(seed),
            is_quick=not is_full,
            num_chains=num_chains,
            alpha=alpha,
        )
        total, wrong = _listed(outcomes)
        for report in wrong:
            say(f"\n{report}")
        seconds = time.perf_counter() - begin
        summary = f"{total - len(wrong)} of {total} as expected, {seconds:.0f} s"
        say(summary, f"bold {'red' if wrong else 'green'}")
    if wrong:
        raise typer.Exit(1)


def _listed(outcomes) -> tuple[int, list[verify.Report]]:
    """Print a line an outcome; their number, and the reports that are not as
    expected."""
    total, wrong = 0, []
    for number, total, (name, report, is_right, seconds) in outcomes:
        verdict = "passed" if report.is_passed else "rejected"
        colour = "green" if is_right else "red"
        console.print(
            Text.assemble(
                f"{number:3d}/{total} ",
                (f"{verdict:8s} ", colour),
                f"{name:42s} p={report.p_value:<8.2g} {seconds:3.1f} s",
            )
        )
        if not is_right:
            wrong.append(report)
    return total, wrong


@app.command("verify")
def verify_kernel(
    factory: Annotated[
        str, typer.Argument(metavar="MODULE:FACTORY", help="factory(energy) -> kernel.")
    ],
    target: Annotated[
        str,
        typer.Option(
            help=f"One of {', '.join(TARGETS)}; or your own MODULE:TARGET, a pair "
            "(energy, sample), which is checked first."
        ),
    ] = "rosenbrock",
    num_chains: Annotated[
        int | None,
        typer.Option(min=1000, max=10**7, help="Number of chains in the first round."),
    ] = None,
    num_steps: Annotated[
        int | None,
        typer.Option(min=1, max=2**31 - 1, help="1, 20 and 200 by default."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="False-alarm rate.", min=0, max=1)
    ] = 1e-5,
    is_reversible: Annotated[
        bool, typer.Option("--reversible", help="Test that, too.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Path of a picture of the result, a .png.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a page with table, pictures, versions and power."
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Test a kernel: anything with init(position) and step(key, state), or BlackJAX's.

        python -m ebmjax verify mykernels:my_hmc --target rosenbrock --report page

    Exit code 1 unless it passed.
    """
    with one_line():
        if picture is not None or report is not None:
            require("matplotlib", "demo")
        place = _target(target)
        kernel = _kernel(factory, place)
        found = _tested(
            jax.random.key(seed),
            kernel,
            place,
            factory,
            num_chains=num_chains,
            num_steps=num_steps,
            alpha=alpha / (1 + is_reversible),
            is_reversible=is_reversible,
        )
        if picture is not None:
            from ebmjax import plotting

            plotting.save(plotting.verification(found[0]), picture)
            say(f"wrote {picture}")
        if report is not None:
            say(f"wrote {_page(found, report, factory, target, seed)}")
    if not all(r.is_passed for r in found):
        raise typer.Exit(1)


def _tested(
    key, kernel, place, name, *, num_chains, num_steps, alpha, is_reversible
) -> list[verify.Report]:
    """Print the reports of the tests: of invariance, and, if it passed, of
    reversibility."""
    options: dict[str, Any] = {} if num_steps is None else {"num_steps": num_steps}
    found = [
        verify.invariance(
            jax.random.fold_in(key, 0),
            kernel,
            place,
            num_chains=num_chains,
            alpha=alpha,
            name=name,
            **options,
        )
    ]
    say(f"{found[0]}\n")
    if is_reversible and found[0].is_passed:
        test = functools.partial(verify.rank, kernel=kernel, target=place, name=name)
        found.append(verify.sequential(test, jax.random.fold_in(key, 1), alpha=alpha))
        say(f"{found[1]}\n")
    return found


def _page(found, folder, factory, target, seed) -> Path:
    """Write the page of a report, with the command that makes it."""
    settings = {
        "kernel": factory,
        "target": target,
        "seed": seed,
        "command": " ".join(["python -m ebmjax", *sys.argv[1:]]),
    }
    title = f"Verification of {factory}"
    return verify.write_page(found, folder, title=title, settings=settings)


def _target(name: str) -> Any:
    """A target of the library, or of ``module:attribute``."""
    if name in TARGETS:
        return TARGETS[name]()
    if ":" not in name:
        fail(
            f"target must be one of {', '.join(TARGETS)}, or module:attribute; "
            f"got {name!r}",
            2,
        )
    found = load_attribute(name)
    try:
        return as_target(found)
    except TypeError:
        if not callable(found):
            raise
    return as_target(found())


def _kernel(factory: str, place: Any) -> Any:
    make = load_attribute(factory)
    try:
        return make(place.energy)
    except (TypeError, ValueError) as error:
        if in_user_code(error):
            raise
        message = f"{factory} must make a kernel of an energy; given one, it raised: "
        fail(f"{message}{error}", 2)
