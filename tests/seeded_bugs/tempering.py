"""Seeded bugs of tempering and evaluation, and the test that kills each."""

from killing import Mutant

AIS, SMC = "tempering/annealing.py", "tempering/particles.py"
RESAMPLING, PT = "tempering/resampling.py", "tempering/ladder.py"
PATHS, BASES_PY = "tempering/paths.py", "tempering/bases.py"
WEIGHTS, REPLICAS = "tempering/weights.py", "tempering/swaps.py"
BENNETT, TESTS = "tempering/bennett.py", "evaluation/two_sample.py"
LIKELIHOOD = "evaluation/likelihood.py"

GAP = "test_ais:test_with_perfect_transitions_the_gap_is_the_sum_of_kls"
RATIO = "test_ais:test_the_mean_weight_is_the_ratio_for_every_kernel:mala"
BITS = "test_ais:test_bits_forward_and_reverse_hold_the_enumerated_log_z"
BAR = "test_ais:test_bennetts_ratio_and_its_error_on_normal_works"
BOUND = "test_ais:test_the_bound_is_below_with_its_confidence"
BASES = "test_ais:test_bases_are_normalised_and_their_draws_have_their_law"
WALL = "test_ais:test_trees_a_user_path_and_an_infinite_energy"
RESAMPLE = (
    "test_smc:test_systematic_resampling_has_floor_or_ceil_children_and_their_mean"
)
STAYS = "test_smc:test_with_a_kernel_that_stays_it_is_importance_sampling"
SMC_Z = "test_smc:test_log_z_and_its_error_over_repeats"
JOINT = "test_parallel_tempering:test_the_joint_kernel_leaves_all_replicas_invariant"
SWAPS = (
    "test_parallel_tempering:test_swaps_are_of_one_parity_and_have_their_probabilities"
)
LADDER = (
    "test_parallel_tempering:test_the_ladder_has_equal_rejections_and_replicas_travel"
)
FIXED = (
    "test_parallel_tempering:test_a_path_without_a_base_starts_at_the_given_positions"
)
LOG_Z = "test_parallel_tempering:test_log_z_by_stepping_stones_and_by_integration"
HEAVY = (
    "test_parallel_tempering:"
    "test_log_z_where_the_weights_of_one_direction_have_an_infinite_variance"
)
SUPPORT = "test_parallel_tempering:test_log_z_of_a_target_of_smaller_support"
SPREAD = "test_parallel_tempering:test_the_error_is_the_spread_over_repeats"
PARTS = "tempering/annealing_programs.py"
ANNEALED = "test_tempering_progress:test_annealing_in_parts_is_annealing"
TEMPERED = "test_tempering_progress:test_tempering_in_parts_is_tempering"
P = "test_two_sample:test_p_values_are_uniform_under_the_null_and_small_otherwise"
TURNED = "test_likelihood:test_log_likelihood_turns_the_bounds_around"
UNITS = "test_likelihood:test_bits_per_dimension_in_units_of_the_data"

# fmt: off
MUTANTS = [
    Mutant("a Gaussian base on a circle", "tempering/circles.py", "    if of is None:\n        return fit_gaussian", "    if True:\n        return fit_gaussian", "test_circles:test_bounds_hold_log_z_of_a_mode_at_the_seam", "ValueError: base must lie"),
    Mutant("bases beyond a period are accepted", "tempering/circles.py", "    if num:\n", "    if False:\n", "test_circles:test_bases_that_reach_beyond_a_period_are_refused"),
    Mutant("circles of length 1", "tempering/circles.py", "jnp.where(periods > 0, periods, 1.0)", "jnp.ones_like(periods)", "test_circles:test_a_fitted_base_is_normalised_and_uniform_on_circles"),
    Mutant("rounding is a scale", "tempering/particles.py", "variance > rounding**2", "variance > 0", "test_smc:test_scales_are_the_weighted_deviations_over_their_geometric_mean"),
    Mutant("annealing weighs by the wrong sign", AIS, "-work(below, beta, c.positions)", "work(below, beta, c.positions)", f"{GAP}:False"),
    Mutant("annealing moves at the level before", AIS, "to_level(keys, c.positions, beta, size", "to_level(keys, c.positions, below, size", RATIO),
    Mutant("annealing back does not turn the levels", AIS, "levels[::-1]])", "levels])", BITS),
    Mutant("annealing back weighs forward", AIS, "-work(beta, to, positions)", "-work(to, beta, positions)", f"{GAP}:True"),
    Mutant("parts of annealing repeat the first levels", PARTS, "x[begin : begin + length]", "x[: len(x[begin : begin + length])]", f"{ANNEALED}:False"),
    Mutant("annealing in parts forgets the steps at the target", PARTS, 'how = {"num_relax": num_relax,', 'how = {"num_relax": 0,', f"{ANNEALED}:True"),
    Mutant("parts of tempering repeat their steps", "tempering/parallel_tempering.py", "steps = np.arange(done, min(done + length, num_iterations))", "steps = np.arange(min(length, num_iterations - done))", TEMPERED),
    Mutant("annealing back forgets its sign", WEIGHTS, "return -1.0 if np.all(self.is_reversed)", "return 1.0 if np.all(self.is_reversed)", BITS),
    Mutant("path from target to base", PATHS, "inside = e0 + beta * (e1 - e0)", "inside = e1 + beta * (e0 - e1)", RATIO, "ValueError: path at beta = 0 must be"),
    Mutant("Gaussian base without its determinant", BASES_PY, "jnp.sum(jnp.log(scales)) - 0.5 * square", "-0.5 * square", BASES),
    Mutant("outside the support at no cost", PATHS, "jnp.where(after == jnp.inf, jnp.inf, stays)", "jnp.where(after == jnp.inf, 0.0, stays)", WALL),
    Mutant("box base with its side upside down", BASES_PY, "-jnp.sum(jnp.log(high - low))", "jnp.sum(jnp.log(high - low))", BASES),
    Mutant("Bennett without the number of runs", BENNETT, "np.log(len(forward) / len(reverse))", "0.0", BAR),
    Mutant("Bennett balances means, not sums", BENNETT, "special.logsumexp(ahead) - special.logsumexp(back)", "weights.log_mean_exp(ahead) - weights.log_mean_exp(back)", BAR),
    Mutant("Bennett's error of one run", BENNETT, "variance += float", "variance = float", BAR),
    Mutant("bound without its error", WEIGHTS, "means.mean() - quantile * means", "means.mean() - 0 * means", BOUND),
    Mutant("bound by the mean of all weights", WEIGHTS, "float(means.mean() - quantile", "float(log_mean_exp(x) - 0 * quantile", BOUND),
    Mutant("SMC sums weights", SMC, "jax.nn.logsumexp(log_w) - jnp.log(len(log_w))", "jax.nn.logsumexp(log_w)", SMC_Z),
    Mutant("SMC does not resample", SMC, "x = jax.tree.map(lambda leaf: leaf[rows], s.positions)", "x = jax.tree.map(lambda leaf: leaf[: len(moves.keys)], s.positions)", STAYS),
    Mutant("SMC divides by the number resampled", SMC, "jax.nn.logsumexp(log_w) - jnp.log(len(log_w))", "jax.nn.logsumexp(log_w) - jnp.log(len(moves.keys))", SMC_Z),
    Mutant("SMC keeps the starts alone", SMC, "jnp.concatenate([x[None], y])", "jnp.concatenate([x[None], 0 * y + x[None]])", "test_smc:test_all_states_of_the_transitions_are_particles"),
    Mutant("resampling without its random number", RESAMPLING, "jax.random.uniform(key)) / num", "0.0) / num", RESAMPLE),
    Mutant("sign of the swap ratio", REPLICAS, "log_ratio = up + down", "log_ratio = -(up + down)", JOINT),
    Mutant("swaps without their ratio", REPLICAS, "is_turn & (-exponential < log_ratio)", "is_turn", JOINT),
    Mutant("swap ratio of one side", REPLICAS, "log_ratio = up + down", "log_ratio = up", JOINT),
    Mutant("replicas copied, not swapped", REPLICAS, "order = here + goes_up - goes_down", "order = here + goes_up", JOINT),
    Mutant("swaps of even pairs only", REPLICAS, "% 2 == parity", "% 2 == 0", SWAPS),
    Mutant("Bennett of neighbours in the wrong direction", PT, "acceptance_ratio(up.ravel(), down.ravel())", "acceptance_ratio(down.ravel(), up.ravel())", SUPPORT),
    Mutant("log Z by stepping stones from the target", PT, "log_z, _ = acceptance_ratio(up.ravel(), down.ravel())", "log_z = -weights.log_mean_exp(down.ravel())", SUPPORT),
    Mutant("error of a ladder without its slope", PT, "return log_z + share / slope", "return log_z + share", SPREAD),
    Mutant("gradients of tempering overflow", PT, "np.asarray(energies.num_grads).sum(dtype=np.int64)", "np.asarray(energies.num_grads).sum(dtype=np.int32)", HEAVY),
    Mutant("draws outside the base are not reported", PT, "if is_outside:\n        checks.warn(", "if False:\n        checks.warn(", "test_parallel_tempering:test_a_base_of_smaller_support_and_stuck_replicas_are_reported"),
    Mutant("SMC does not check the support", "tempering/smc.py", 'check_support(path, found.positions, "final positions")', "pass", "test_smc:test_bad_input_is_named"),
    Mutant("SMC drops weights that are NaN", SMC, "s.num_nan + num_nan", "s.num_nan", "test_smc:test_bad_input_is_named"),
    Mutant("reverse weights of a part of the base are averaged in", BENNETT, "np.isneginf(forward.log_weights).any()", "False", "test_ais:test_both_directions_of_kernels_that_are_not_reversible"),
    Mutant("weights of both directions exchanged", BENNETT, "(1 - share) * forward.log_z + share * reverse.log_z", "share * forward.log_z + (1 - share) * reverse.log_z", "test_ais:test_both_directions_of_kernels_that_are_not_reversible"),
    Mutant("the drift of few chains as of many", AIS, "-special.stdtrit(num_chains - 1, special.ndtr(-DRIFT))", "DRIFT", "test_ais:test_the_limit_of_the_drift_has_the_same_false_alarms_for_few_chains"),
    Mutant("annealing changes its types with x64", AIS, "return cast_like(c, start), jnp", "return c, jnp", "test_x64:test_annealed_importance_sampling", "TypeError: scan body function carry"),
    Mutant("a p-value of a statistic that is NaN", TESTS, "is_number = jnp.isfinite(statistic) & jnp.all(jnp.isfinite(null))", "is_number = jnp.bool_(True)", "test_two_sample:test_a_statistic_that_is_not_a_number_has_no_p_value"),
    Mutant("equal samples that differ by rounding", TESTS, "(jnp.abs(statistic) + scale)", "jnp.abs(statistic)", "test_two_sample:test_samples_that_are_equal_have_a_p_value_of_one"),
    Mutant("warnings point into the library", "_validation/arguments.py", "stacklevel=level + 1", "stacklevel=level", "test_validation:test_a_warning_points_at_the_line_of_the_caller"),
    Mutant("parallel tempering on one device whatever is asked", "tempering/parallel_tempering.py", "mesh = dev.mesh_of(devices)", "mesh = None", "test_parallel_tempering:test_replicas_are_divided_over_the_devices"),
    Mutant("ladders divided over devices, not replicas", "tempering/parallel_tempering.py", "x = dev.constrain_as(x, dev.divided(x, mesh, axis=1))", "x = dev.constrain_as(x, dev.divided(x, mesh, axis=0))", "test_parallel_tempering:test_replicas_are_divided_over_the_devices"),
    Mutant("scales of particles without their weights", "tempering/particles.py", "weights = jax.nn.softmax(log_w)", "weights = jax.nn.softmax(0 * log_w)", "test_smc:test_scales_are_the_weighted_deviations_over_their_geometric_mean"),
    Mutant("scales are variances", "tempering/particles.py", "rounding**2, 0.5 * jnp.log(variance)", "rounding**2, jnp.log(variance)", "test_smc:test_scales_are_the_weighted_deviations_over_their_geometric_mean"),
    Mutant("one step size for all coordinates whatever is asked", "tempering/smc.py", "is_scaled=covariance is not None", "is_scaled=False", "test_smc:test_steps_in_the_ratio_of_the_scales_are_longer_and_log_z_is_right"),
    Mutant("trapezoid corrected the wrong way", PT, "found -= (np.diff", "found += (np.diff", LOG_Z),
    Mutant("round trips counted without reaching the other end", REPLICAS, "state.last_end[rows, bottom] == 1", "state.last_end[rows, bottom] != 0", LADDER),
    Mutant("p-values of the other tail", TESTS, "null >= statistic - slack", "null <= statistic + slack", f"{P}:mmd"),
    Mutant("bootstrap with signs of 0 and 1", TESTS, "1.0 - 2.0 * (jnp.cumsum", "1.0 - 1.0 * (jnp.cumsum", f"{P}:kernel_stein"),
    Mutant("classifier tested on what it learned", TESTS, "x[:half], y[:rest], num_features", "x, y, num_features", f"{P}:classifier"),
    Mutant("likelihood bounds not turned around", LIKELIHOOD, "float(mean - log_z.upper)", "float(mean - log_z.lower)", TURNED),
    Mutant("likelihood in units of the energy", LIKELIHOOD, "-energies.mean() - log_scale", "-energies.mean()", UNITS),
]
