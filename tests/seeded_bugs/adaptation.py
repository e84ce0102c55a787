"""Seeded bugs of warm-up."""

from killing import Mutant

# fmt: off

DENSE = "test_warmup:test_correlations_are_shrunk_by_the_formula_of_schaefer_and_strimmer"
MOMENTS = "test_warmup:test_moments_are_those_of_all_finite_points"
ROOT_OF = "test_warmup:test_the_scale_is_a_root_and_stays_for_constant_coordinates"
CHEES = "test_warmup:test_the_criterion_of_a_length_is_that_of_a_rotation"
CLIMBS = "test_warmup:test_a_length_reaches_the_maximum_and_stays_short_where_the_gain_is_small"

MUTANTS = [
    # warm-up
    Mutant("step size moves the wrong way", "adaptation/step_size.py", "log_size = self.center - jnp.sqrt(count)", "log_size = self.center + jnp.sqrt(count)", "test_adaptation:test_adaptation_finds_the_target_acceptance_rate:mala"),
    Mutant("step size remembers its first guess", "adaptation/step_size.py", "weight = count**-KAPPA", "weight = 0 * count", "test_warmup:test_dual_averaging_finds_the_root_of_a_known_curve:100"),
    Mutant("variances for deviations", "adaptation/mass_matrix.py", "log_sd = 0.5 * jnp.log", "log_sd = jnp.log", ROOT_OF),
    Mutant("scales of constant coordinates estimated", "adaptation/mass_matrix.py", "scale = jnp.where(is_known, jnp.exp(log_scale), last)", "scale = jnp.exp(log_scale)", ROOT_OF),
    Mutant("correlations taken as they come", "adaptation/mass_matrix.py", "(1 - jnp.minimum(noise, 1.0)) * r", "r", DENSE),
    Mutant("correlations drawn the wrong way", "adaptation/mass_matrix.py", "(1 - jnp.minimum(noise, 1.0)) * r", "jnp.minimum(noise, 1.0) * r", DENSE),
    Mutant("deviations forgotten beside correlations", "adaptation/mass_matrix.py", "factor = scale[:, None] * cholesky", "factor = cholesky", ROOT_OF),
    Mutant("spread between parts forgotten", "adaptation/mass_matrix.py", "centred**2, axis=0) + delta**2 * self.num * share", "centred**2, axis=0)", MOMENTS),
    Mutant("points that are NaN counted", "adaptation/mass_matrix.py", "num = jnp.sum(is_used)", "num = jnp.sum(is_used | True)", MOMENTS),
    Mutant("ChEES downhill", "adaptation/trajectory_length.py", "self.log_length + RATE * slope / size", "self.log_length - RATE * slope / size", CLIMBS),
    Mutant("cost of a longer trajectory ignored", "adaptation/trajectory_length.py", "self.gain / square - jnp.maximum(1 - square / most, 0.0) ** 2", "self.gain / square", CLIMBS),
    Mutant("cost of a longer trajectory too high", "adaptation/trajectory_length.py", "self.gain / square - jnp.maximum(1 - square / most, 0.0) ** 2", "self.gain / square - 1", CLIMBS),
    Mutant("ChEES without its square", "adaptation/trajectory_length.py", "share @ (2 * change * rate * time)", "share @ (2 * rate * time)", CHEES),
    Mutant("rejected ends counted", "adaptation/trajectory_length.py", "share @ change**2", "jnp.mean(change**2)", CHEES),
    Mutant("ChEES at the start of the trajectory", "adaptation/trajectory_length.py", "rate = jnp.sum(y * velocity, axis=1)", "rate = jnp.sum(x * velocity, axis=1)", CHEES),
    Mutant("scales never renewed", "adaptation/mass_matrix.py", "scale = state.scale(tuning.scale)", "scale = tuning.scale", "test_warmup:test_dense_mass_whitens"),
    Mutant("one step size for all in the tails", "adaptation/approach.py", "log_size + info.acceptance_rate - target", "log_size", "test_warmup:test_starts_in_far_tails:4-nuts"),
    Mutant("the approach stops after the least number of rounds", "adaptation/approach.py", "is_on & (num + 1 < MOST_ROUNDS)", "is_on & (num + 1 < LEAST_ROUNDS)", "test_warmup:test_starts_in_far_tails:1-mala"),
    Mutant("slow chains have no influence on the step size", "adaptation/step_size.py", "lag = harmonic_mean(ema, weight) / weighted_mean(ema, weight)", "lag = 1.0", "test_warmup:test_slow_chains_determine_the_step_size"),
    Mutant("acceptance of trajectories by the mean over chains", "adaptation/step_size.py", "rate = harmonic_mean(rates, weight)", "rate = weighted_mean(rates, weight)", "test_warmup:test_the_step_size_suits_the_narrow_places_of_a_curved_target"),
    Mutant("lengths always rounded down", "adaptation/trajectory_length.py", "return (jnp.asarray(t, float) * GOLDEN) % 1.0", "return 0.0 * t", "test_warmup:test_fractional_lengths_are_right_on_average"),
    Mutant("carry of the wrong type under x64", "adaptation/step_size.py", "return cast_like((log_size, way, num + 1, is_on & (num < MOST_TRIES)), carry)", "return log_size, way, num + 1, is_on & (num < MOST_TRIES)", "test_x64:test_warm_up_and_its_kernel:mala-float32", "^TypeError: "),
]
