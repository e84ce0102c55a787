"""Seeded bugs of ``ebmjax.verify``."""

from killing import Mutant

R = "test_wrong_kernels"
S, F, P = "verify/statistics.py", "verify/families.py", "verify/products.py"
WRONG, RIGHT = (
    f"{R}:test_a_wrong_kernel_is_rejected",
    f"{R}:test_a_right_kernel_is_not_rejected",
)
REPORT = "test_verify:test_a_report_prints_its_findings_and_raises"
DENSITY = f"{R}:test_a_proposal_density_keeps_its_level_in_any_dimension:1"
STOPPED = "test_check_energy:test_an_issue_is_found_with_a_suggestion"

MUTANTS = [
    # statistics
    Mutant("no bound on rare events", S, "c = np.abs(t), np.maximum(allowance, 1e-300)", "c = np.abs(t), np.maximum(0 * allowance, 1e-300)", f"{RIGHT}:x + 1e-5 mod 1"),
    Mutant("two-sided p-values halved", S, "return 2 * special.ndtr", "return 1e-9 * special.ndtr", f"{RIGHT}:turns"),
    Mutant("the start compared and not the end", S, "t = mean_k - b * mean_0", "t = mean_0 - b * mean_0", f"{R}:test_the_sequential_test_rejects_a_small_bias"),
    Mutant("atoms counted in the exact draws", S, "values, counts = np.unique(a, return_counts=True)", "values, counts = np.unique(b, return_counts=True)", f"{R}:test_an_atom_of_the_distribution_is_rejected"),
    Mutant("no triple products", F, "chosen = [*_monomials(draws.dim, 3, rng), *_monomials(draws.dim, 4, rng)]", "chosen = [*_monomials(draws.dim, 4, rng)]", f"{WRONG}:a sign that is a product"),
    Mutant("angles of low order only", F, "HARMONICS = range(1, 9)", "HARMONICS = range(1, 4)", f"{WRONG}:angles of density 1 + sin 4a"),
    Mutant("only pairs of neighbours", P, "is_new = self.left[:, -1:] < np.arange(size)", "is_new = self.left[:, -1:] + 1 == np.arange(size)", f"{WRONG}:two distant coordinates"),
    Mutant("chains compared with themselves", P, "for lag in (1, len(u) // 2):", "for lag in ():", f"{R}:test_chains_that_share_their_noise_are_rejected", "ZeroDivisionError|ValueError"),
    Mutant("constant coordinates are passed over", "verify/trial.py", "is_stuck = ~self.moved & ~self.is_constant", "is_stuck = self.moved & ~self.moved", f"{WRONG}:a coordinate that never moves"),
    Mutant("no check that a chain moved", "verify/trial.py", 'untested="" if round_.moved.any() else "no chain ever moved"', 'untested=""', f"{R}:test_a_kernel_that_accepts_nothing_is_inconclusive"),
    Mutant("the pair is never checked", "verify/invariance.py", "if not is_of_library(target):", "if False:", f"{R}:test_a_mismatch_of_energy_and_sample_is_reported_as_such"),
    Mutant("no further rounds when undecided", "verify/sequential.py", "doubt=0.0 if is_last else beta + gamma", "doubt=0.0", f"{R}:test_the_sequential_test_rejects_a_small_bias"),
    # verdicts
    Mutant("p-values not adjusted", "verify/report.py", "share = finding.share or 1 / len(self.findings)", "share = finding.share or 1.0", REPORT),
    Mutant("INCONCLUSIVE passes for PASSED", "verify/report.py", 'return self.verdict == "PASSED"', 'return self.verdict != "FAILED"', "test_verify:test_chains_that_never_move_are_inconclusive"),
    # reversibility, adaptation, finite spaces
    Mutant("no test in the tails", "verify/reversibility.py", "both = tails.beyond(*new[:2])", "both = ~tails.beyond(*new[:2])", f"{R}:test_the_rank_test_rejects_a_bias_in_the_tails"),
    Mutant("a constant gain vanishes", "verify/adaptive.py", "FALL = 0.85", "FALL = 1.85", f"{R}:test_adaptation_must_diminish"),
    Mutant("flows not compared backwards", "verify/finite.py", "z = z_values(flow - flow.T,", "z = z_values(flow - flow,", f"{R}:test_transition_matrices_are_counted"),
    Mutant("reached in one direction is enough", "verify/finite.py", "(forward < 0) | (backward < 0)", "(forward < 0) & (backward < 0)", f"{R}:test_unreachable_states_and_periods_are_reported"),
    Mutant("rejects_nonfinite is not read", "verify/promises.py", "isinstance(kernel, Kernel) and bool(kernel.rejects_nonfinite)", "False", f"{R}:test_the_declaration_rejects_nonfinite_is_verified"),
    # proposals, integrators, pairs
    Mutant("shifts of y left out", "verify/proposals.py", "findings.append(_in_y(", "(_in_y(", DENSITY),
    Mutant("overlap seen from one side", "verify/proposals.py", "z = draw(key, near)", "z = draw(key, x)", DENSITY),
    Mutant("the mass not compared", "verify/integrators.py", "elif gap > 1e-4:", "elif gap > 1e4:", f"{R}:test_integrators_with_masses"),
    Mutant("bits moved as numbers", "verify/pair.py", "if len(few):", "if False:", f"{R}:test_pairs_of_bits_and_on_circles"),
    # the checker of energies
    Mutant("gradients not compared", "verify/energy_gradients.py", "DISAGREE = 0.05", "DISAGREE = 50.0", f"{STOPPED}:wrong sign"),
    Mutant("coordinates behind stop_gradient passed over", "verify/energy_gradients.py", "if (np.abs(slopes) > 10 * errors + 1e-6).any():", "if False:", f"{STOPPED}:stopped on a part"),
    Mutant("jumps that shrink", "verify/energy_smoothness.py", "is_left = np.abs(e_m - e_a) > np.abs(e_b - e_m)", "is_left = np.abs(e_m - e_a) < np.abs(e_b - e_m)", f"{STOPPED}:a jump"),
    Mutant("logarithms grow fast enough", "verify/energy_tails.py", "growth < dim + 0.02", "growth < 0.02", f"{STOPPED}:logarithmic growth"),
    Mutant("rounding of the largest probe", "verify/check_energy.py", "noise = abs(values[0]) *", "noise = np.nanmax(np.abs(values)) *", "test_check_energy:test_the_rounding_error_is_that_of_the_energy_at_the_position"),
]  # fmt: skip
