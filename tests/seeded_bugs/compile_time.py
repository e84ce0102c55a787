"""Seeded bugs of what makes the first second short."""

from killing import Mutant

# fmt: off

T = "test_compile_time"

MUTANTS = [
    Mutant("keys of chains counted from one", "sampling/loop.py", "np.arange(checks.count(num_chains, \"num_chains\"), dtype", "1 + np.arange(checks.count(num_chains, \"num_chains\"), dtype", f"{T}:test_keys_of_chains_equal_jax_and_compile_nothing"),
    Mutant("quantiles without their far tail", "diagnostics/_normal_quantile.py", "np.where(r <= 5,", "np.where(r <= 9,", f"{T}:test_quantiles_of_the_normal_equal_scipy"),
    Mutant("a factor without its root", "adaptation/mass_matrix.py", "column / jnp.sqrt(column[j]), 0.0)", "column / column[j], 0.0)", f"{T}:test_factor_and_inverse_of_a_matrix_equal_lapack:3"),
    Mutant("an inverse without its diagonal", "adaptation/mass_matrix.py", "inverse.at[i].set(row / factor[i, i])", "inverse.at[i].set(row)", f"{T}:test_factor_and_inverse_of_a_matrix_equal_lapack:3"),
    Mutant("the median is the upper of two middles", "adaptation/base.py", "ordered[(number - 1) // 2]", "ordered[number // 2]", f"{T}:test_the_median_equals_numpy:values1"),
    Mutant("Adam without its correction", "adaptation/trajectory_length.py", "square / (1 - DECAY**count)", "square", f"{T}:test_the_trajectory_length_is_updated_by_adam"),
    Mutant("features of a convolution first in any layout", "_jaxpr.py", "shape[parameters[\"dimension_numbers\"].rhs_spec[0]]", "shape[0]", f"{T}:test_work_counts_the_numbers_of_products_and_loops"),
    Mutant("loops count once", "_jaxpr.py", "sum(inner) * parameters.get(\"length\", loops ** (name == \"while\"))", "sum(inner)", f"{T}:test_work_counts_the_numbers_of_products_and_loops"),
    Mutant("a limit on the folder of other programs", "_compilation_cache.py", "is_ours = not shared or chosen != Path(shared)", "is_ours = True", f"{T}:test_a_folder_that_other_programs_use_has_no_limit"),
    Mutant("the cache cannot be turned off", "_compilation_cache.py", "if not jax.config.jax_enable_compilation_cache:", "if False:", f"{T}:test_the_cache_is_in_the_users_folder_and_can_be_turned_off"),
    Mutant("a last kick that is whole, unrolled", "kernels/integrators.py", "end = last if i + 1 == num_steps else last + first", "end = last + first", f"{T}:test_on_a_gpu_steps_share_the_body_of_a_loop_and_move_the_chains_alike"),
    Mutant("the kernel is traced twice", "sampling/loop.py", "empty = _zeros(jax.eval_shape(move, noise, state)[1])", "empty = no_info(kernel, key, state)", f"{T}:test_a_program_of_the_kernel_traces_the_energy_few_times"),
]
