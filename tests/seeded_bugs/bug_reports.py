"""Seeded bugs of what inputs like those of the public record found: keys used twice,
interrupted runs, the code in a checkpoint, functions made in loops, state spaces."""

from killing import Mutant

# fmt: off

RECORD, JOURNAL = "test_bug_reports", "test_sampling_checkpoints"
AGAIN = f"{RECORD}:test_a_key_is_used_again_by_a_part_of_the_chains_or_in_another_dtype"
DISCRETE = f"{RECORD}:test_an_energy_of_discrete_states_is_infinite_elsewhere"
CLOSURES = f"{JOURNAL}:test_a_checkpoint_records_the_numbers_in_closures"
CTRL_C = f"{JOURNAL}:test_ctrl_c_without_a_checkpoint_returns_the_draws_so_far:draws"
DIVIDED = f"{JOURNAL}:test_a_long_run_is_divided_and_changes_no_number"
DIGEST = f"{JOURNAL}:test_the_digest_of_code_depends_on_what_it_computes_alone"

MUTANTS = [
    Mutant(
        "positions in float64 are others",
        "sampling/provenance.py",
        "return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))",
        "return array",
        AGAIN,
    ),
    Mutant(
        "only all chains are a repetition",
        "sampling/provenance.py",
        "num = min(len(self.rows), len(other.rows))\n        return",
        "num = max(len(self.rows), len(other.rows))\n        return",
        AGAIN,
    ),
    Mutant(
        "a part of few bits is a repetition",
        "sampling/provenance.py",
        "is_all = earlier.end.num_chains == start.num_chains or start.is_real",
        "is_all = True",
        AGAIN,
        "ValueError: key was used",
    ),
    Mutant(
        "chains that meet are not reported",
        "sampling/provenance.py",
        "and earlier.end.is_met(last):",
        "and earlier.end == first:",
        f"{RECORD}:test_chains_from_elsewhere_with_the_same_key_that_meet_are_reported",
    ),
    Mutant(
        "all draws are positions",
        "sampling/provenance.py",
        "if last is not None and last.is_real and earlier.end == last:",
        "if last is not None and earlier.start == last:",
        f"{RECORD}:test_samples_and_all_draws_are_no_positions",
    ),
    Mutant(
        "numbers in closures are not in the checkpoint",
        "io/code_digest.py",
        "for cell in f.__closure__ or ():",
        "for cell in ():",
        f"{CLOSURES}:proposal",
    ),
    Mutant(
        "the code of collect is not in the checkpoint",
        "sampling/sample.py",
        '"code": code_digest(kernel, collect)',
        '"code": code_digest(kernel)',
        f"{CLOSURES}:collect",
    ),
    Mutant(
        "counters are in the checkpoint",
        "io/code_digest.py",
        "if not isinstance(entry, PLAIN):",
        "if True:",
        DIGEST,
    ),
    Mutant(
        "constants of inner functions are not in the checkpoint",
        "io/code_digest.py",
        "digest.update(repr(constant).encode())",
        "pass",
        DIGEST,
    ),
    Mutant(
        "Ctrl-C loses the draws",
        "sampling/_chunked_run.py",
        "found = None if chunk.is_warmup else self._samples(chunk.end)",
        "found = None",
        CTRL_C,
    ),
    Mutant(
        "draws of an interrupted run are in the wrong place",
        "sampling/_kept_draws.py",
        "self.filled += len(leaves[0]) if leaves else 0",
        "self.filled += 1",
        DIVIDED,
    ),
    Mutant(
        "a long run is one chunk",
        "sampling/sample.py",
        "longest = longest_chunk(kernel, keys, state, steps.total)",
        "longest = None",
        DIVIDED,
    ),
    Mutant(
        "a last chunk of a single step",
        "sampling/_chunks.py",
        "return next(even, next(rest, least))",
        "return next(even, least)",
        f"{JOURNAL}:test_chunks_are_short_enough_and_have_nearly_one_length",
    ),
    Mutant(
        "loops of unknown length count once",
        "_jaxpr.py",
        'loops**is_open',
        "1",
        f"{JOURNAL}:test_loops_of_unknown_length_count_as_many_steps",
    ),
    Mutant(
        "Ctrl-C in training loses the state",
        "training/fit.py",
        "            found(kept),\n",
        "",
        "test_training:test_ctrl_c_returns_the_last_healthy_state_and_its_history",
        "TypeError",
    ),
    Mutant(
        "spins are continuous inside a function",
        "energies/lattice.py",
        "return SPINS.only(x, energy)",
        "return energy",
        f"{DISCRETE}:ising",
    ),
    Mutant(
        "levels are continuous inside a function",
        "energies/local.py",
        "return self.state_space.only(x, energy)",
        "return energy",
        f"{DISCRETE}:one-hot",
    ),
    Mutant(
        "a product has no state space",
        "energies/transforms.py",
        "return next((space for space in named if space is not None), None)",
        "return next(named, None)",
        f"{DISCRETE}:ising",
    ),
    Mutant(
        "functions made in a loop are not reported",
        "sampling/recompiled.py",
        "found = _seen.setdefault(f.__code__, set())",
        "found = _seen.setdefault(id(f), set())",
        f"{RECORD}:test_functions_made_in_a_loop_are_reported_and_partials_are_not",
    ),
    Mutant(
        "a hard boundary is not named",
        "adaptation/checks.py",
        "is_wall = np.isposinf(errors)",
        "is_wall = np.isnan(errors)",
        "test_warmup:test_a_hard_boundary_that_lowers_the_acceptance_is_named",
    ),
    Mutant(
        "lookahead inside a chain is accepted",
        "training/optimizer.py",
        "found.add(item.__qualname__)",
        "pass",
        f"{RECORD}:test_optimisers_that_cannot_work_are_refused_by_name",
        "AttributeError",
    ),
    Mutant(
        "a row of years is a point, silently",
        "experiments/data/dialect.py",
        "elif not is_header and _may_be_header(first, rest):",
        "elif is_header and _may_be_header(first, rest):",
        "test_text_tables:test_a_header_can_be_requested",
    ),
    Mutant(
        "codes of missing values are points, silently",
        "experiments/data/suspects.py",
        "if abs(code - others.mean()) > FAR_CODE * reach:",
        "if abs(code - others.mean()) > FAR_CODE * code:",
        "test_text_tables:test_codes_of_missing_values_are_named:99999.0-csv",
    ),
    Mutant(
        "every 999 is the code of a missing value",
        "experiments/data/suspects.py",
        "if abs(code - others.mean()) > FAR_CODE * reach:",
        "if True:",
        "test_text_tables:test_codes_of_missing_values_are_named:-999.0-csv",
        "UserWarning",
    ),
]
