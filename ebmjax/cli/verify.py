"""``selftest`` and ``verify``: whether kernels leave their targets invariant."""

import functools
import time
from pathlib import Path
from typing import Annotated

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
from ebmjax.targets import TARGETS


@app.command()
def selftest(
    is_full: Annotated[
        bool, typer.Option("--full", help="Every kernel on every target.")
    ] = False,
    num_chains: Annotated[
        int, typer.Option(help="Of a first round.", min=1000, max=10**7)
    ] = 20_000,
    alpha: Annotated[
        float,
        typer.Option(help="Rate of false alarms, of all together.", min=0, max=1),
    ] = 1e-4,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="By default, of the clock."),
    ] = None,
) -> None:
    """Verify the kernels of this library on this machine.

    Chains start from exact draws of a target and must still follow it.  Kernels that
    are wrong on purpose run beside, and must be rejected.  Exit code 1 otherwise.
    """
    with one_line():
        seed = time.time_ns() % 2**32 if seed is None else seed
        device = jax.devices()[0]
        say(
            f"jax {jax.__version__} on {device.device_kind} ({device.platform}), "
            f"seed {seed}"
        )
        begin, wrong = time.perf_counter(), []
        # imported here: its table holds arrays, which would start JAX's devices
        from ebmjax.verify.suite import run_suite

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
                Text.assemble(
                    f"{number:3d}/{total} ",
                    (f"{verdict:8s} ", colour),
                    f"{name:42s} p={report.p_value:<8.2g} {seconds:3.1f} s",
                )
            )
            if not is_right:
                wrong.append(report)
        for report in wrong:
            say(f"\n{report}")
        took = time.perf_counter() - begin
        summary = f"{total - len(wrong)} of {total} as they should be, {took:.0f} s"
        say(summary, f"bold {'red' if wrong else 'green'}")
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
    num_chains: Annotated[int, typer.Option(min=1000, max=10**7)] = 50_000,
    num_steps: Annotated[int, typer.Option(min=1, max=2**31 - 1)] = 20,
    alpha: Annotated[
        float, typer.Option(help="Rate of false alarms.", min=0, max=1)
    ] = 1e-5,
    is_reversible: Annotated[
        bool, typer.Option("--reversible", help="Test that, too.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Where to draw the result, a .png.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
) -> None:
    """Test a kernel of yours: anything with init(position) and step(key, state).

    BlackJAX's kernels are such.

        python -m ebmjax verify mykernels:my_hmc --target rosenbrock

    Exit code 1 if it is rejected.
    """
    with one_line():
        if target not in TARGETS:
            fail(f"target must be one of {', '.join(TARGETS)}; got {target!r}", 2)
        if picture is not None:
            require("matplotlib", "demo")
        place = TARGETS[target]()
        made = load_attribute(factory)
        try:
            kernel = made(place.energy)
        except (TypeError, ValueError) as error:
            if in_user_code(error):
                raise
            fail(
                f"{factory} must make a kernel of an energy; given one, it raised: "
                f"{error}",
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
            say(f"{reports[-1]}\n")
        if picture is not None:
            from ebmjax import plotting

            plotting.save(plotting.verification(reports[0]), picture)
            say(f"wrote {picture}")
    if not all(r.is_passed for r in reports):
        raise typer.Exit(1)
