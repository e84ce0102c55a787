"""Every seeded bug is killed by the test that is named for it."""

import jax
import mutants
import pytest


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda m: m.name)
def test_the_mutant_is_killed(mutant):
    assert mutants.is_killed(mutant), f"{mutant.name} survives {mutant.killer}"
    jax.clear_caches()


def test_the_table_is_long_and_has_no_bug_twice():
    assert len(mutants.MUTANTS) >= 40
    assert len({m.name for m in mutants.MUTANTS}) == len(mutants.MUTANTS)
    assert len({(m.file, m.old, m.new, m.killer) for m in mutants.MUTANTS}) == len(mutants.MUTANTS)


@pytest.mark.parametrize("killer", [mutants.RING, mutants.SPLIT, mutants.invariant("random_walk")])
def test_the_killer_passes_the_library_as_it_is(killer):
    """By the same call: so that what kills is the bug and not the way of calling."""
    same = "What everything stands on"
    with mutants.mutated(mutants.Mutant("none", "base.py", same, same, killer)):
        mutants.call(killer)


def test_a_mutant_whose_text_is_gone_is_an_error():
    with pytest.raises(mutants.TextIsGone, match="stands 0 times"):
        mutants.is_killed(mutants.Mutant("none", "base.py", "no such text", "", mutants.RING))
