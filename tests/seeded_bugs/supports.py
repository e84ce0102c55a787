"""Seeded bugs of supports, constrained energies and periodic coordinates."""

from killing import Mutant

# fmt: off

T, C, O = "test_supports", "test_constrained", "test_periodic"
JACOBIAN = f"{T}:test_the_log_determinant_is_that_of_the_jacobian_by_autodiff"
ROUND = f"{T}:test_free_coordinates_and_values_are_inverse_to_each_other"
SCALARS, VECTORS = "supports/scalars.py", "supports/vectors.py"
MATRICES, BASE = "supports/matrices.py", "supports/base.py"
ENERGY, CHARTS = "energies/constrained.py", "adaptation/charts.py"
CIRCULAR, SUMMARY = "diagnostics/_circular.py", "diagnostics/summary.py"

MUTANTS = [
    Mutant("the Jacobian has the wrong sign", ENERGY, "scalar(self.energy)(x) - log_det", "scalar(self.energy)(x) + log_det", f"{T}:test_an_energy_of_free_coordinates_is_the_density_of_its_values"),
    Mutant("no Jacobian", ENERGY, "scalar(self.energy)(x) - log_det", "scalar(self.energy)(x)", f"{C}:test_kernels_are_verified_in_free_coordinates"),
    Mutant("the Jacobian of the first leaf alone", ENERGY, "sum(log_dets[1:], log_dets[0])", "log_dets[0]", f"{T}:test_one_support_is_of_all_leaves_below_it"),
    Mutant("an interval without its width", SCALARS, "jnp.sum(jnp.log(width) + log_slope)", "jnp.sum(log_slope)", f"{JACOBIAN}:interval"),
    Mutant("an interval with half its slope", SCALARS, "jax.nn.log_sigmoid(free) + jax.nn.log_sigmoid(-free)", "jax.nn.log_sigmoid(free)", f"{JACOBIAN}:interval"),
    Mutant("the wrong end of an interval", SCALARS, "above = high - width * jax.nn.sigmoid(-free)", "above = high - width * jax.nn.sigmoid(free)", f"{ROUND}:interval"),
    Mutant("an interval from its far end", SCALARS, "jnp.where(free < 0, below, above)", "jnp.where(free < 0, above, above)", f"{T}:test_scalars_make_the_round_trip_to_the_ends_of_float32:support4-values4"),
    Mutant("a bound from below", SCALARS, "x = like(self.high, free) - bounded_exp(free)", "x = like(self.high, free) + bounded_exp(free)", f"{ROUND}:less"),
    Mutant("softplus without its scale", SCALARS, "jnp.sum(jnp.log(scale) + jax.nn.log_sigmoid(free))", "jnp.sum(jax.nn.log_sigmoid(free))", f"{JACOBIAN}:softplus"),
    Mutant("values on the end of their support", SCALARS, "x = strictly(jnp.where(free < 0, below, above), low, high)", "x = jnp.where(free < 0, below, above)", f"{T}:test_values_are_strictly_inside_and_gradients_finite_far_out:87.0-interval"),
    Mutant("exp of any number", BASE, "return jnp.exp(jnp.clip(u, least + 1e-5, most - 1e-5))", "return jnp.exp(u)", f"{T}:test_values_are_strictly_inside_and_gradients_finite_far_out:10000.0-positive"),
    Mutant("a start on the end of its support", SCALARS, "(x > _as(self.low, x)) & np.isfinite(x)", "(x >= _as(self.low, x)) & np.isfinite(x)", f"{T}:test_a_value_outside_names_leaf_chain_and_support:positive"),
    Mutant("a simplex without its constant", VECTORS, "jnp.sum(log_x) + 0.5 * num * np.log(size)", "jnp.sum(log_x)", f"{JACOBIAN}:simplex"),
    Mutant("a simplex without its last entry", VECTORS, "jnp.sum(log_x) + 0.5", "jnp.sum(log_x[..., :-1]) + 0.5", f"{JACOBIAN}:simplex"),
    Mutant("a start of any sum", VECTORS, "(x > 0).all(axis=-1) & is_sum & (x.shape[-1] > 1)", "(x > 0).all(axis=-1) & (x.shape[-1] > 1)", f"{T}:test_a_value_outside_names_leaf_chain_and_support:simplex"),
    Mutant("the first entry counts as a gap", VECTORS, "num = 0 if self.is_positive else 1", "num = 0", f"{ROUND}:ordered"),
    Mutant("equal numbers are in order", VECTORS, "(np.diff(x, axis=-1) > 0)", "(np.diff(x, axis=-1) >= 0)", f"{T}:test_a_value_outside_names_leaf_chain_and_support:ordered"),
    Mutant("the radius of a unit vector has any scale", VECTORS, "return x, -0.5 * jnp.sum(free**2)", "return x, -jnp.sum(free**2)", f"{T}:test_a_unit_vector_is_uniform_where_the_energy_is_constant"),
    Mutant("a correlation loses one slope of tanh", MATRICES, "(before + 2 * log_sech)", "(before + log_sech)", f"{JACOBIAN}:cholesky"),
    Mutant("a correlation without what is left of its row", MATRICES, "(before + 2 * log_sech)", "(2 * log_sech)", f"{JACOBIAN}:cholesky"),
    Mutant("partial correlations are correlations", MATRICES, "jnp.tanh(u) * norm", "jnp.tanh(u)", f"{ROUND}:cholesky"),
    Mutant("an upper triangle is a start", MATRICES, "(np.triu(x, 1) == 0)", "(np.triu(x, 2) == 0)", f"{T}:test_a_value_outside_names_leaf_chain_and_support:upper triangle"),
    Mutant("what never changes is in the table", MATRICES, "is_fixed[0, 0] = True", "is_fixed[0, 0] = False", f"{T}:test_entries_that_never_change_are_known"),
    Mutant("one log-determinant of many", "supports/bijectors.py", "return x, jnp.sum(log_det)", "return x, jnp.mean(log_det)", f"{T}:test_bijectors_are_known_by_their_methods:bijector0"),
    Mutant("a value of no free coordinates is inside", "supports/bijectors.py", "return np.asarray(is_finite) & agrees", "return agrees | ~np.asarray(is_finite)", f"{T}:test_bijectors_are_known_by_their_methods:bijector0"),
    Mutant("numbers of a bijector are structure", "supports/bijectors.py", "is_leaf = tuple(is_number(x) or isinstance(x, float) for x in leaves)", "is_leaf = tuple(False for x in leaves)", f"{T}:test_the_numbers_of_a_numpyro_transform_compile_nothing"),
    # the borders of sample and warm-up
    Mutant("starts are free coordinates", "sampling/initialization.py", "positions = checks.position(to_free(kernel, positions))", "positions = checks.position(positions)", f"{C}:test_starts_are_where_the_chains_begin"),
    Mutant("draws are free coordinates", "sampling/_chunk_programs.py", "collect = collected(chains, collect)\n", "collect = collect\n", f"{C}:test_draws_are_constrained_and_the_state_is_free_and_goes_on_bit_for_bit"),
    Mutant("statistics of free coordinates", "sampling/coordinates.py", "collect.update(reduced, seen(state), info)", "collect.update(reduced, state, info)", f"{C}:test_what_is_collected_sees_constrained_values"),
    Mutant("a warm-up ends in free coordinates", "adaptation/tuning.py", "position = constrained_of(constrained, position)", "position = position", f"{C}:test_a_warm_up_takes_and_gives_constrained_values"),
    Mutant("a warm-up starts in free coordinates", "adaptation/tuning.py", "positions = free_of(constrained, positions)", "positions = positions", f"{C}:test_a_warm_up_takes_and_gives_constrained_values"),
    Mutant("all chains of a stack have the bounds of the first", "sampling/coordinates.py", "own = [x[chain] if is_own else x for x, is_own in pairs]", "own = [x[0] if is_own else x for x, is_own in pairs]", f"{C}:test_a_stack_of_kernels_has_bounds_of_its_own", "^ValueError: positions of chain 1"),
    Mutant("supports of a kernel may differ", ENERGY, "if structure != structures[0]:", "if False:", f"{C}:test_supports_that_differ_within_a_kernel_are_refused"),
    Mutant("the end of a run with constrained starts is forgotten", "sampling/sample.py", "remember(key, positions, last, taken)", "None", f"{C}:test_draws_are_constrained_and_the_state_is_free_and_goes_on_bit_for_bit"),
    # circles
    Mutant("nothing is wrapped", "kernels/free_coordinates.py", "if energy is None or not energy.is_periodic:", "if True:", f"{O}:test_coordinates_stay_in_their_range_after_any_number_of_turns"),
    Mutant("wrapped by one turn at most", SCALARS, "x = free - period * jnp.floor((free - low) / period)", "x = free", f"{T}:test_a_periodic_coordinate_is_wrapped_into_its_range"),
    Mutant("trajectories around a circle never end", "kernels/nuts_turns.py", "return _turns(rho, n_first, n_last) | jnp.any(is_past)", "return _turns(rho, n_first, n_last)", f"{O}:test_a_trajectory_around_a_circle_ends_after_half_a_turn"),
    Mutant("the moments of a warm-up are not moved with the chart", "adaptation/schedule.py", "seen = seen._replace(before=before, after=after)", "pass", f"{O}:test_the_mass_does_not_depend_on_the_ends_of_the_range:8"),
    Mutant("charts stay where they were", CHARTS, "Chart(self.period, self.flat(self.centre + shift), zero, zero)", "Chart(self.period, self.centre, zero, zero)", f"{O}:test_a_chart_is_continuous_around_the_chains"),
    Mutant("a chart without wrapping", CHARTS, "jnp.where(self.period > 0, self.centre + distance, x)", "self.centre + distance", f"{O}:test_a_chart_is_continuous_around_the_chains"),
    Mutant("a linear mean of angles", CIRCULAR, "np.angle(np.exp(1j * theta).mean(axis=(0, 1)))", "theta.mean(axis=(0, 1))", f"{O}:test_circular_means_and_deviations_have_their_standard_errors:5.0"),
    Mutant("the deviation forgets the logarithm", CIRCULAR, "np.sqrt(-2 * np.log(length))", "np.sqrt(2 - 2 * length)", f"{O}:test_circular_means_and_deviations_have_their_standard_errors:0.7"),
    Mutant("the error of a mean forgets the length", CIRCULAR, 'unit * parts[0]["mcse_mean"] / length', 'unit * parts[0]["mcse_mean"]', f"{O}:test_circular_means_and_deviations_have_their_standard_errors:0.7"),
    Mutant("the error of a deviation forgets the deviation", CIRCULAR, "(length * sd)", "length", f"{O}:test_circular_means_and_deviations_have_their_standard_errors:5.0"),
    Mutant("R-hat of the sine alone", CIRCULAR, 'np.fmax(*(p["rhat"] for p in parts))', 'parts[0]["ess_bulk"] * 0 + 1', f"{O}:test_rhat_of_chains_at_other_angles_and_across_the_end_of_the_range"),
    Mutant("means outside of their range", CIRCULAR, "low + np.mod(centre * unit - low, period)", "centre * unit", f"{O}:test_means_lie_in_the_range_of_the_support"),
    Mutant("check requires growth in periodic coordinates", "verify/energy_probes.py", "        is_periodic,\n    )", "        np.zeros(flat.size, bool),\n    )", f"{O}:test_check_accepts_a_periodic_energy_without_growth"),
]
