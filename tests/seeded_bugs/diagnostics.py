"""Seeded bugs of diagnostics."""

from killing import Mutant

# fmt: off

MUTANTS = [
    Mutant("chains not split", "diagnostics/_coordinate.py", "jnp.concatenate([draws[:half], draws[-half:]], axis=1)", "draws", "test_convergence:test_agrees_with_arviz:walk-rhat"),
    Mutant("ranks not normalised", "diagnostics/_coordinate.py", "return ndtri((rank - 0.375) / (x.size + 0.25)).reshape(x.shape)", "return rank.reshape(x.shape)", "test_convergence:test_agrees_with_arviz:walk-rhat"),
    Mutant("pairs not monotone", "diagnostics/_coordinate.py", "jnp.where(place < end, jax.lax.cummin(pairs), 0.0)", "jnp.where(place < end, pairs, 0.0)", "test_convergence:test_agrees_with_arviz:mala-ess_tail"),
    Mutant("chains that disagree count in full", "diagnostics/_coordinate.py", "(x.mean(axis=0).var(ddof=1) if num_chains > 1 else 0.0)", "0.0", "test_convergence:test_agrees_with_arviz:shifted-ess_mean"),
    Mutant("standard error of a variance for that of a deviation", "diagnostics/convergence.py", "/ ess_of(halves(squares)) / variance) / 2", "/ ess_of(halves(squares)))", "test_convergence:test_agrees_with_arviz:walk-mcse_sd"),
    Mutant("the beta of a quantile without its prior", "diagnostics/convergence.py", "beta_interval(ess * probability + 1,", "beta_interval(ess * probability,", "test_convergence:test_agrees_with_arviz:walk-mcse_quantile 0.1"),
    Mutant("weights not centred", "diagnostics/expectation.py", "mcse_mean(w * (values - value))", "mcse_mean(w * values)", "test_expectation:test_standard_error_with_importance_weights_covers"),
    Mutant("weights forgotten in the error", "diagnostics/expectation.py", "mcse_mean(w * (values - value))", "mcse_mean(values)", "test_expectation:test_standard_error_with_importance_weights_covers"),
    Mutant("E-BFMI against zero", "diagnostics/_chain_health.py", "/ jnp.sum(centred**2, axis=0)", "/ jnp.sum(hamiltonian**2, axis=0)", "test_summary:test_bfmi_equals_arviz"),
    Mutant("infinite energy errors are no divergence", "diagnostics/_chain_health.py", "~(info.energy_error <= DIVERGENT)", "(info.energy_error > DIVERGENT) & jnp.isfinite(info.energy_error)", "test_summary:test_an_energy_error_of_nan_is_a_divergence"),
    Mutant("copies found by one hash of few bits", "diagnostics/_chain_health.py", "is_same = (a[1:] == a[:-1]) & (b[1:] == b[:-1])", "is_same = (a[1:] & 0xFF) == (a[:-1] & 0xFF)", "test_summary:test_thousands_of_chains_are_compared_within_seconds"),
    Mutant("stuck by the last draw alone", "diagnostics/_chain_health.py", "jnp.any(x != x[:1], axis=axes)", "jnp.any(x[:2] != x[:1], axis=axes)", "test_summary:test_chains_that_move_or_differ_at_all_are_not_named"),
    Mutant("Welford with the new mean twice", "diagnostics/_moments.py", "two.add(squares, distance * two.subtract(x, shift))", "two.add(squares, two.subtract(x, shift) ** 2)", "test_streaming:test_moments_are_those_of_the_draws"),
    Mutant("a half-full batch counts", "diagnostics/_batch_means.py", "< self.place", "<= self.place", "test_streaming:test_batches_join_wherever_the_run_ends:9"),
    Mutant("batches joined and not longer", "diagnostics/_batch_means.py", "exponent = b.exponent + jnp.int32(is_crowded)", "exponent = b.exponent", "test_streaming:test_batches_join_wherever_the_run_ends:9"),
    Mutant("chains that disagree are averaged over", "diagnostics/_batch_means.py", "sigma2 = jnp.maximum(sigma2,", "_ = jnp.maximum(sigma2,", "test_streaming:test_chains_that_disagree_and_chains_that_stand_still"),
    Mutant("ESS of constant draws is their number", "diagnostics/_coordinate.py", "size / jnp.maximum(tau, 1 / np.log10(size)), 0.0)", "size / jnp.maximum(tau, 1 / np.log10(size)), size)", "test_convergence:test_constant_chains_have_an_ess_of_zero"),
    Mutant("bits without a tail", "diagnostics/_coordinate.py", "jnp.where(is_edge, x.size,", "jnp.where(is_edge, 0,", "test_summary:test_bits_are_healthy"),
    Mutant("the last pair of autocorrelations cut off", "diagnostics/_coordinate.py", "jnp.where(pairs[end] > 0, even[end], jnp.maximum(even[end], 0.0))", "jnp.maximum(even[end], 0.0)", "test_convergence:test_agrees_with_arviz:drifting-ess_mean"),
    Mutant("folded about all draws", "diagnostics/convergence.py", "jnp.abs(split - jnp.median(split))", "jnp.abs(split - jnp.median(draws))", "test_convergence:test_agrees_with_arviz:scaled-rhat"),
    Mutant("draws not centred before sums", "diagnostics/convergence.py", "centred = one - one[0, 0]", "centred = one", "test_convergence:test_agrees_with_arviz:far-ess_mean"),
    Mutant("sums as narrow as the positions", "diagnostics/_moments.py", "jnp.zeros(x.shape[1], jnp.promote_types(x.dtype, jnp.float32))", "jnp.zeros(x.shape[1], x.dtype)", "test_streaming:test_sums_of_narrow_positions_are_wide"),
]
