"""Seeded bugs of what makes the first second short."""

from killing import Mutant

# fmt: off

T = "test_compile_time"
A, S = "sampling/_any_length.py", "adaptation/stepped.py"
RUN = "test_any_length:test_a_run_of_nuts_is_bit_for_bit_that_of_a_program_of_its_length"
WARM = "test_any_length:test_a_warm_up_from_the_host_is_that_of_one_program:"

MUTANTS = [
    Mutant("keys of chains counted from one", "sampling/loop.py", "np.arange(checks.count(num_chains, \"num_chains\"), dtype", "1 + np.arange(checks.count(num_chains, \"num_chains\"), dtype", f"{T}:test_keys_of_chains_equal_jax_and_compile_nothing"),
    Mutant("quantiles without their far tail", "diagnostics/_normal_quantile.py", "np.where(r <= 5,", "np.where(r <= 9,", f"{T}:test_quantiles_of_the_normal_equal_scipy"),
    Mutant("a factor without its root", "adaptation/mass_matrix.py", "column / jnp.sqrt(column[j]), 0.0)", "column / column[j], 0.0)", f"{T}:test_factor_and_inverse_of_a_matrix_equal_lapack:3"),
    Mutant("an inverse without its diagonal", "adaptation/mass_matrix.py", "inverse.at[i].set(row / factor[i, i])", "inverse.at[i].set(row)", f"{T}:test_factor_and_inverse_of_a_matrix_equal_lapack:3"),
    Mutant("the median is the upper of two middles", "adaptation/base.py", "ordered[(number - 1) // 2]", "ordered[number // 2]", f"{T}:test_the_median_equals_numpy:values1"),
    Mutant("Adam without its correction", "adaptation/trajectory_length.py", "square / (1 - DECAY**count)", "square", f"{T}:test_the_trajectory_length_is_updated_by_adam"),
    Mutant("features of a convolution first in any layout", "_jaxpr.py", "shape[parameters[\"dimension_numbers\"].rhs_spec[0]]", "shape[0]", f"{T}:test_work_counts_the_numbers_of_products_and_loops"),
    Mutant("loops count once", "_jaxpr.py", "sum(inner) * parameters.get(\"length\", loops**is_open)", "sum(inner)", f"{T}:test_work_counts_the_numbers_of_products_and_loops"),
    Mutant("a loop in a loop counts as often as the outer one", "_jaxpr.py", "min(loops, NESTED) if is_open else loops", "loops", f"{T}:test_work_counts_the_numbers_of_products_and_loops"),
    Mutant("a limit on the folder of other programs", "_compilation_cache.py", "is_ours = not shared or chosen != Path(shared)", "is_ours = True", f"{T}:test_a_folder_that_other_programs_use_has_no_limit"),
    Mutant("the cache cannot be turned off", "_compilation_cache.py", "if not jax.config.jax_enable_compilation_cache:", "if False:", f"{T}:test_the_cache_is_in_the_users_folder_and_can_be_turned_off"),
    Mutant("a last kick that is whole, unrolled", "kernels/integrators.py", "end = last if i + 1 == num_steps else last + first", "end = last + first", f"{T}:test_on_a_gpu_steps_share_the_body_of_a_loop_and_move_the_chains_alike"),
    Mutant("the kernel is traced twice", "sampling/loop.py", "empty = zeros_like_shapes(jax.eval_shape(move, noise, state)[1])", "empty = no_info(kernel, key, state)", f"{T}:test_a_program_of_the_kernel_traces_the_energy_few_times"),
    # programs of any number of steps
    Mutant("all steps of a call with one key", A, "move(start + i, state)", "move(start, state)", RUN),
    Mutant("the end of the buffer for its beginning", A, "np.asarray(new)[:num]", "np.asarray(new)[-num:]", RUN),
    Mutant("each piece begins at the first step", A, "np.int32(start + first), np.int32(num)", "np.int32(start), np.int32(num)", RUN),
    Mutant("pieces weighted alike", A, "np.array(lengths) / sum(lengths) @", "np.full(len(lengths), 1 / len(lengths)) @", RUN),
    Mutant("the smallest error of the pieces", A, "np.argmax(size, axis=0)", "np.argmin(size, axis=0)", RUN),
    Mutant("gradients of the first piece alone", A, "all_of.num_grads.sum(axis=0)", "all_of.num_grads[0]", RUN),
    Mutant("draws of free coordinates in the buffer", A, "    collect = collected(chains, collect_stats)\n    wrap", "    collect = collect_stats\n    wrap", "test_any_length:test_constrained_values_are_stored"),
    Mutant("a run that is thinned keeps every step", A, "if thin != 1 or collect", "if collect", "test_any_length:test_it_is_used_for_trajectories_alone"),
    Mutant("windows of a warm-up never begin again", S, "if begins[t]:", "if t == 0:", WARM + "nuts"),
    Mutant("the next step has the length of this one", S, "schedule.kernel_at(progress.tuning, t + 1, is_next_first)", "schedule.kernel_at(progress.tuning, t, is_next_first)", WARM + "hmc"),
    Mutant("the kernel of the last step of a window", S, "progress, new_kernel = what(_window, progress, now, is_first[t])", "progress, first = what(_window, progress, now, is_first[t]); new_kernel = new_kernel or first", WARM + "nuts"),
    Mutant("parameters copied at each step of a warm-up", S, "known.get(id(x))", "None", "test_any_length:test_parameters_of_an_energy_are_not_copied_at_each_step"),
]
