"""``selftest`` and ``verify``."""

import functools
import time
from pathlib import Path
from typing import Annotated

import jax
import typer

from ebmjax import plotting, verify
from ebmjax.cli.app import app, console, fail, load_attribute, one_line
from ebmjax.targets import TARGETS


@app.command()
def selftest(
    is_full: Annotated[
        bool, typer.Option("--full", help="Every kernel on every target.")
    ] = False,
    num_chains: Annotated[
        int, typer.Option(help="Of a first round.", min=1000)
    ] = 20_000,
    alpha: Annotated[
        float, typer.Option(help="Rate of false alarms, of all together.")
    ] = 1e-4,
    seed: Annotated[
        int | None, typer.Option(min=0, help="By default, of the clock.")
    ] = None,
) -> None:
    """Prove the kernels of this library on this machine.

    Chains start from exact draws of a target and must still follow it.  Kernels that are wrong on purpose
    run beside, and must be rejected.  Exit code 1 if anything is not as it should be.
    """
    with one_line():
        seed = time.time_ns() % 2**32 if seed is None else seed
        device = jax.devices()[0]
        console.print(
            f"jax {jax.__version__} on {device.device_kind} ({device.platform}), seed {seed}"
        )
        begin, wrong = time.perf_counter(), []
        from ebmjax.verify.suite import (
            run_suite,  # its table holds arrays, which would wake JAX too early
        )

        outcomes = run_suite(
            jax.random.key(seed),
            is_quick=not is_full,
            num_chains=num_chains,
            alpha=alpha,
        )
        for number, total, (name, report, is_right, seconds) in outcomes:
            verdict = "passed" if report.is_passed else "rejected"
            colour = "green" if is_right else "red"
            console.print(
                f"{number:3d}/{total} [{colour}]{verdict:8s}[/] {name:42s} "
                f"p={report.p_value:<8.2g} {seconds:3.1f} s",
                highlight=False,
            )
            if not is_right:
                wrong.append(report)
        for report in wrong:
            console.print(f"\n{report}", highlight=False, markup=False)
        summary = f"{total - len(wrong)} of {total} as they should be, {time.perf_counter() - begin:.0f} s"
        console.print(f"[bold {'red' if wrong else 'green'}]{summary}[/]")
    if wrong:
        raise typer.Exit(1)


@app.command("verify")
def verify_kernel(
    factory: Annotated[
        str, typer.Argument(metavar="MODULE:FACTORY", help="factory(energy) -> kernel.")
    ],
    target: Annotated[
        str, typer.Option(help=f"One of {', '.join(TARGETS)}.")
    ] = "rosenbrock",
    num_chains: Annotated[int, typer.Option(min=1000)] = 50_000,
    num_steps: Annotated[int, typer.Option(min=1)] = 20,
    alpha: Annotated[float, typer.Option(help="Rate of false alarms.")] = 1e-5,
    is_reversible: Annotated[
        bool, typer.Option("--reversible", help="Test that, too.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Where to draw the result, a .png.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Test a kernel of yours: anything with init(position) and step(key, state), BlackJAX's for instance.

        python -m ebmjax verify mykernels:my_hmc --target rosenbrock

    Exit code 1 if it is rejected.
    """
    with one_line():
        if target not in TARGETS:
            fail(f"target must be one of {', '.join(TARGETS)}; got {target!r}", 2)
        place = TARGETS[target]()
        try:
            kernel = load_attribute(factory)(place.energy)
        except (TypeError, ValueError) as error:
            fail(
                f"{factory} must make a kernel of an energy; given one, it said: {error}",
                2,
            )
        tests = [verify.invariance] + [verify.rank] * is_reversible
        reports = []
        for i, test in enumerate(tests):
            bound = functools.partial(test, kernel=kernel, target=place, name=factory)
            if test is verify.invariance:
                bound = functools.partial(bound, num_steps=num_steps)
            key = jax.random.fold_in(jax.random.key(seed), i)
            reports.append(
                verify.sequential(
                    bound, key, num_chains=num_chains, alpha=alpha / len(tests)
                )
            )
            console.print(f"{reports[-1]}\n", highlight=False, markup=False)
        if picture is not None:
            plotting.save(plotting.verification(reports[0]), picture)
            console.print(f"wrote {picture}", highlight=False)
    if not all(r.is_passed for r in reports):
        raise typer.Exit(1)
