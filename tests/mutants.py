"""Seeded bugs, and the test that detects each.

    python tests/mutants.py            runs all and writes docs/mutants.md
    python tests/mutants.py ula        runs those whose name contains the word
    python tests/mutants.py ula usual  and the usual test, which misses many

A mutant is one file of the library with one piece of text replaced.  The rows are in
``seeded_bugs/``.  ``killing.py`` imports the mutant and calls its killer, a test of
``tests/``.  For comparison mutants of samplers can also run under a typical test: long
chains on a Gaussian, mean and standard deviation within 10 %.
"""

import importlib
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from killing import ROOT, Mutant, TextIsGone, mutated, verdict

BUGS = ROOT / "tests" / "seeded_bugs"
MUTANTS = [
    mutant
    for path in sorted(BUGS.glob("*.py"))
    for mutant in importlib.import_module(f"seeded_bugs.{path.stem}").MUTANTS
]


# --- the matrix -------------------------------------------------------------------------------------------


def usual_test() -> None:
    """A typical test: 100 long chains on a Gaussian, mean and standard deviation
    within 10 %."""
    import jax
    import numpy as np

    import ebmjax as eb

    target = eb.targets.gaussian([1.0, -1.0], [[1.0, 0.5], [0.5, 2.0]])
    energy = target.energy
    kernels = [
        eb.random_walk(energy, 1.5),
        eb.mala(energy, 0.9),
        eb.hmc(energy, 0.4, 5),
        eb.ula(energy, 0.4),
    ]
    for kernel in [
        *kernels,
        eb.cycle(*kernels[:3]),
        eb.underdamped_langevin(energy, 0.3),
    ]:
        start = jax.numpy.zeros((100, 2))
        draws = np.asarray(
            eb.sample(jax.random.key(0), kernel, start, 1000, num_warmup=200).draws
        ).reshape(-1, 2)
        assert np.allclose(draws.mean(axis=0), target.mean, atol=0.1)
        assert np.allclose(
            draws.std(axis=0), np.sqrt(np.diag(target.covariance)), rtol=0.1
        )


SAMPLERS = (
    "kernels/metropolis.py",
    "kernels/proposal.py",
    "kernels/unadjusted.py",
    "kernels/random_walk.py",
    "kernels/langevin.py",
    "kernels/hamiltonian.py",
    "kernels/integrators.py",
    "base/energy.py",
    "base/step_size.py",
    "base/states.py",
    "kernels/combinators.py",
    "sampling/loop.py",
)


def is_seen_by_the_usual_test(mutant: Mutant) -> bool:
    """Whether the usual test fails or raises."""
    with mutated(mutant), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            usual_test()
        except TextIsGone:
            raise
        except Exception:
            return True
    return False


NOT_RUN = ""


def verdicts(mutant: Mutant, is_usual: bool) -> tuple[str, str]:
    """The verdict of the killer, and whether the usual test detects the mutant."""
    import conftest  # noqa: F401  (the cache of compiled programs)

    seen = NOT_RUN
    if is_usual and mutant.file in SAMPLERS:
        seen = "yes" if is_seen_by_the_usual_test(mutant) else "**no**"
    return verdict(mutant), seen


def page(results: list[tuple[Mutant, str, str]]) -> str:
    """The page of docs/: a row for each mutant with its verdicts."""
    import jax

    num_killed = sum(found == "killed" for _, found, _ in results)
    missed = sum(seen == "**no**" for _, _, seen in results)
    judged = sum(seen != NOT_RUN for _, _, seen in results)
    rows = []
    for mutant, found, seen in results:
        _, test, *case = mutant.killer.split(":", 2)
        rows.append(
            f"| {mutant.name} | `{mutant.file}` | `{test}`{''.join(', ' + c for c in case)} | {found} | {seen} |"
        )
    return "\n".join([
        "# Seeded bugs",
        "",
        f"{len(results)} bugs in the library, one at a time, and the test that detects each: {num_killed} killed,",
        f"{len(results) - num_killed} not. A mutant is killed if an assertion fails; an accidental error does not count. The last",
        "column is a typical test: six samplers on a 2-d Gaussian, mean and standard deviation within 10 %.",
        f"It misses {missed} of the {judged} bugs in kernels, states and chains with which it was run.",
        "",
        f"Made by `python tests/mutants.py` (jax {jax.__version__}, {jax.devices()[0].platform}, {time.strftime('%Y-%m-%d')}). CI runs sixty",
        "mutants, others each day, and lists those that survive; a scheduled workflow runs all.",
        "",
        "| bug | file | killed by | | usual test |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def main(word: str = "", usual: str = "") -> int:
    begin = time.perf_counter()
    mutants, results = [m for m in MUTANTS if word in m.name], []
    with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=20) as pool:
        for mutant, (found, seen) in zip(
            mutants,
            pool.map(verdicts, mutants, [bool(usual)] * len(mutants)),
            strict=True,
        ):
            results.append((mutant, found, seen))
            print(
                f"{len(results):3d}/{len(mutants)}  {found} {seen}: {mutant.name}",
                flush=True,
            )
    if not word:
        (ROOT / "docs" / "mutants.md").write_text(page(results))
    num_killed = sum(found == "killed" for _, found, _ in results)
    print(f"{num_killed} of {len(results)} killed, {time.perf_counter() - begin:.0f} s")
    return len(results) - num_killed


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
