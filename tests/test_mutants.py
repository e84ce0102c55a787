"""Every seeded bug is killed by the test that is named for it, and by what it asserts."""

import datetime
import itertools
import os
import random

import jax
import killing
import mutants
import pytest
from killing import Mutant

COUNT = itertools.count(1)
# all, or with SAMPLE=60 that many, others each day
SAMPLE = int(os.environ.get("SAMPLE", 0))
CHOSEN = random.Random(datetime.date.today().toordinal()).sample(
    mutants.MUTANTS, min(SAMPLE or len(mutants.MUTANTS), len(mutants.MUTANTS))
)
KILLERS = sorted({m.killer for m in mutants.MUTANTS})
SAME = "States of a chain, and statistics of its steps"
RING = "test_laws:test_metropolis_has_detailed_balance_and_without_its_ratio_has_not"
ACCEPT = (
    "test_metropolis:test_it_accepts_when_minus_the_exponential_is_below_the_log_ratio"
)
SPLIT = "test_laws:test_1000_steps_equal_600_and_then_400_bit_for_bit:make0"


@pytest.mark.parametrize("mutant", CHOSEN, ids=lambda m: m.name)
def test_the_mutant_is_killed(mutant):
    assert killing.verdict(mutant) == "killed"
    if next(COUNT) % 20 == 0:  # what the programs of twenty mutants hold of memory
        jax.clear_caches()


def test_the_table_has_no_bug_twice():
    assert len(mutants.MUTANTS) >= 200
    assert len({m.name for m in mutants.MUTANTS}) == len(mutants.MUTANTS)
    assert len({(m.file, m.old, m.new, m.killer) for m in mutants.MUTANTS}) == len(
        mutants.MUTANTS
    )


def test_each_killer_is_a_test_that_pytest_runs_with_the_same_arguments(request):
    """On the library as it is, where it passes as all tests do."""
    modules = {killer.split(":")[0] for killer in KILLERS}
    files = [
        pytest.Module.from_parent(request.session, path=path)
        for path in sorted(killing.TESTS.rglob("test_*.py"))
        if path.stem in modules
    ]
    items = {
        f"{i.path.stem}:{i.name}": i
        for file in files
        for i in request.session.genitems(file)
    }
    for killer in KILLERS:
        module, name, *case = killer.split(":", 2)
        item = items[f"{module}:{name}{''.join(f'[{c}]' for c in case)}"]
        theirs = item.callspec.params if case else {}
        _, ours = killing.find(killer)
        assert {n: repr(v) for n, v in ours.items()} == {
            n: repr(v) for n, v in theirs.items()
        }
        assert not list(item.iter_markers("skip")) + list(item.iter_markers("xfail"))


def wrong(new, killer=ACCEPT, error=""):
    old = "return ~jnp.isnan(log_ratio) & (proposed.energy > -jnp.inf)"
    return Mutant("none", "kernels/metropolis.py", old, new, killer, error)


def test_an_accidental_error_is_no_kill_unless_the_row_names_it():
    assert killing.verdict(wrong("return log_ratio + None")).startswith(
        "died of TypeError"
    )
    assert killing.verdict(wrong("raise ValueError('so')")) == "died of ValueError: so"
    assert (
        killing.verdict(wrong("raise ValueError('so')", error="ValueError: other"))
        == "died of ValueError: so"
    )
    assert (
        killing.verdict(wrong("raise ValueError('so')", error="ValueError: so"))
        == "killed"
    )


def test_a_killer_that_pytest_does_not_run_is_an_error():
    for killer in (
        "test_laws:test_magic",
        "test_invariance:test_verification_case",
        "test_invariance:test_verification_case:magic",
    ):
        with pytest.raises(killing.NoSuchTest, match=killer):
            killing.verdict(wrong("return True", killer))


@pytest.mark.parametrize("killer", [RING, SPLIT, killing.invariant("random_walk")])
def test_the_killer_passes_the_library_as_it_is(killer):
    assert (
        killing.verdict(Mutant("none", "base/states.py", SAME, SAME, killer))
        == "survives"
    )


def test_a_mutant_whose_text_is_gone_is_an_error():
    with pytest.raises(killing.TextIsGone, match="stands 0 times"):
        killing.verdict(Mutant("none", "base/states.py", "no such text", "", RING))
