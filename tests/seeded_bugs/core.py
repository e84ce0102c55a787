"""Seeded bugs of states, trees, random numbers, chains and targets."""

from killing import Mutant, invariant

# fmt: off

SPLIT = "test_laws:test_1000_steps_equal_600_and_then_400_bit_for_bit:make0"
CHUNKS = "test_laws:test_chunks_and_thinning_change_no_number"
B = "base/energy.py"

MUTANTS = [
    Mutant("log of a uniform that can be zero", "_random.py", "np.float32(0.5)) * np.float32(2.0**-31)", "np.float32(0.0)) * np.float32(2.0**-31)", "test_random:test_numbers_are_the_inverse_of_the_normal_distribution"),
    Mutant("one block for proposal and accept", "_random.py", "ACCEPT = 0xFFFFFFFF", "ACCEPT = 0", "test_random:test_the_accept_noise_is_exponential_and_independent_of_the_proposal"),
    # random numbers
    Mutant("rotation mistyped", "_random.py", "(13, 15, 26, 6)", "(13, 15, 26, 7)", "test_random:test_threefry_equals_jax_bit_for_bit"),
    Mutant("last bit not the sign", "_random.py", "(bits & np.uint32(1)) == 0", "(bits & np.uint32(2)) == 0", "test_random:test_numbers_are_the_inverse_of_the_normal_distribution"),
    Mutant("both words the same", "_random.py", "first, second = threefry(words, (jnp.uint32(0), low))", "first = second = threefry(words, (jnp.uint32(0), low))[0]", "test_random:test_normal_numbers_over_chains_are_normal_and_independent:2"),
    Mutant("a slice of all words, which is slow", "_random.py", "jnp.concatenate([first, second[: size - num_blocks]])", "jnp.concatenate([first, second])[:size]", "test_random:test_an_odd_number_of_coordinates_costs_what_an_even_one_does"),
    Mutant("the second words from the second block on", "_random.py", "second[: size - num_blocks]", "second[1 : size - num_blocks + 1]", "test_random:test_bits_are_the_first_words_of_all_blocks_and_then_the_second:3"),
    Mutant("one word in the numbers of jax", "_inlined.py", "(first ^ second).astype", "first.astype", "test_random:test_split_and_inlined_keys_give_the_numbers_of_jax:typed"),
    Mutant("keys of a split inlined key from the second on", "_inlined.py", "low = jax.lax.iota(np.uint32, math.prod(shape)).reshape(*shape, 1)", "low = 1 + jax.lax.iota(np.uint32, math.prod(shape)).reshape(*shape, 1)", "test_random:test_split_and_inlined_keys_give_the_numbers_of_jax:typed"),
    Mutant("several keys taken for one", "_random.py", ' != "threefry2x32" or key.shape', ' != "threefry2x32"', "test_random:test_several_keys_are_refused_as_jax_does:2"),
    Mutant("symbolic sizes compared", "_inlined.py", "is_symbolic or size >=", "size >=", "test_random:test_inlined_keys_draw_arrays_of_symbolic_shape", "InconclusiveDimensionOperation"),
    Mutant("covariance in place of its root", "base/step_size.py", "jnp.linalg.cholesky(jnp.asarray(covariance))", "jnp.asarray(covariance)", "test_samplers:test_the_walk_has_its_covariance"),
    Mutant("step size ignored beside a covariance", "base/step_size.py", "return Dense(step_size * jnp", "return Dense(jnp", "test_samplers:test_the_walk_has_its_covariance"),
    Mutant("root of the covariance transposed", "base/step_size.py", "jnp.linalg.cholesky(jnp.asarray(covariance))", "jnp.linalg.cholesky(jnp.asarray(covariance)).T", "test_samplers:test_the_covariance_of_the_target_whitens"),
    Mutant("variances for standard deviations", "base/step_size.py", "step_size * jnp.sqrt(jnp.asarray(covariance))", "step_size * jnp.asarray(covariance)", "test_samplers:test_a_covariance_is_a_step_size"),
    # trees and states
    Mutant("kinetic energy without its half", "_tree.py", "return 0.5 * sum(leaves[1:], leaves[0])", "return sum(leaves[1:], leaves[0])", invariant("hmc")),
    Mutant("one key for all leaves", "_tree.py", "split(key, len(leaves)) if len(leaves) > 1 else [key]", "[key] * len(leaves)", "test_base:test_noise_of_leaves_is_independent"),
    Mutant("matrix step not transposed in the kick", "base/step_size.py", "matrix.T if transpose else matrix", "matrix", "test_samplers:test_the_covariance_of_the_target_whitens"),
    Mutant("rows for columns of a small matrix", "base/step_size.py", "[matrix[:, i] * flat[i]", "[matrix[i] * flat[i]", "test_base:test_a_matrix_acts_from_the_left:3"),
    Mutant("a singular matrix of positive numbers", "base/step_size.py", "checks.full_rank(self.matrix, \"step_size\")", "pass", "test_validation:test_bad_input_is_named:singular step"),
    Mutant("gradient not moved with the point", B, "new = evaluate(energy, position, with_grad=state.grad is not None)", "new = evaluate(energy, position, with_grad=False)._replace(grad=state.grad)", invariant("mala", "rosenbrock")),
    # chains
    Mutant("one key for all chains", "sampling/loop.py", "fold_on_host(key, chains)", "fold_on_host(key, 0 * chains)", "test_chains:test_chains_are_different"),
    Mutant("one key for all chains inside jit", "sampling/loop.py", "jax.vmap(lambda c: fold(key, c))", "jax.vmap(lambda c: fold(key, 0 * c))", "test_chains:test_keys_of_chains_inside_jit_are_those_of_the_host"),
    Mutant("a later run begins at step 0", "sampling/loop.py", "begin = jnp.asarray(start)", "begin = jnp.asarray(0 * start)", SPLIT),
    Mutant("the noise of a block used again", "sampling/loop.py", "return (first + block * thin, carry), kept", "return (first, carry), kept", "test_chains:test_every_step_has_its_own_noise"),
    Mutant("one noise for all steps of a block", "sampling/loop.py", "jax.vmap(draw)(first + jnp.arange(length * thin))", "jax.vmap(draw)(first + 0 * jnp.arange(length * thin))", "test_chains:test_every_step_has_its_own_noise"),
    Mutant("acceptance of the first step for that of all", "sampling/loop.py", "info = merge(infos)", "info = jax.tree.map(lambda x: x[0], infos)", CHUNKS),
    Mutant("the steps after the last block repeat the first noise", "sampling/loop.py", "carry, last = averaged_steps(carry, first, rest,", "carry, last = averaged_steps(carry, begin, rest,", "test_chains:test_every_step_has_its_own_noise"),
    Mutant("log 2 mistyped in the logarithm", "_random.py", "np.float32(math.log(2))", "np.float32(0.6932)", "test_random:test_numbers_are_the_inverse_of_the_normal_distribution"),
    Mutant("hamiltonian of the first of many steps", "base/states.py", "jnp.broadcast_to(infos.hamiltonian, shape)[-1]", "jnp.broadcast_to(infos.hamiltonian, shape)[0]", "test_base:test_merge_and_add_agree"),
    Mutant("a statistic begins again with each chunk", "sampling/_chunk_programs.py", "collect = collect.continued(reduced)", "collect = collect.continued(jax.tree.map(jax.numpy.zeros_like, reduced))", "test_streaming:test_100_steps_equal_60_and_then_40_bit_for_bit"),
    Mutant("a loaded chunk forgets its totals", "sampling/_chunked_run.py", "is_loaded = True\n", "is_loaded, found = True, (*found[:2], self.totals)\n", "test_sampling_checkpoints:test_a_checkpoint_changes_no_number"),
    Mutant("a changed energy continued", "sampling/initialization.py", "    if not abs(now[worst] - then[worst]) <= 1e-2 * (1 + abs(then[worst])):", "    if False:", "test_sampling_checkpoints:test_an_energy_that_reads_another_number_is_refused"),
    Mutant("stuck chains not restarted", "sampling/nonfinite.py", "jnp.where(jnp.asarray(is_lost), donors,", "jnp.where(jnp.asarray(~is_lost), donors,", "test_nonfinite:test_a_stuck_chain_is_restarted_at_another_chain_and_counted"),
    # targets and their laws
    Mutant("Rosenbrock drawn too narrow", "targets.py", "x1**2 + math.sqrt(w) * x2", "x1**2 + 0.95 * math.sqrt(w) * x2", "test_targets:test_rosenbrock_is_a_normal_and_a_conditional_normal"),
    Mutant("funnel without its normaliser", "targets.py", " + (dim - 1) * x[0] / 2", "", "test_targets:test_draws_belong_to_the_energy:funnel"),
    Mutant("totals of a checkpoint in two precisions", "sampling/nonfinite.py", "last_rate=rate.astype(np.float64)", "last_rate=rate.astype(np.float32)", "test_x64:test_a_checkpointed_run_goes_on", "CheckpointError"),
    Mutant("changes of an adapting kernel in another precision", "verify/adaptive.py", "jnp.asarray(change, jnp.float32)", "change", "test_wrong_kernels:test_an_adapting_kernel_in_float64", "TypeError"),
    Mutant("unit vectors with the mass of their radius", "supports/vectors.py", " - num * of_radius", "", "test_supports:test_log_z_of_a_unit_vector_is_that_of_the_area_of_its_sphere:shape1"),
    Mutant("bits approach by Langevin steps", "adaptation/schedule.py", " and kernel.state_space == REAL", "", "test_warmup:test_the_step_of_a_discrete_kernel_is_tuned_without_leaving_its_space"),
    Mutant("a discrete step without end", "adaptation/tuning.py", "jnp.minimum(found.step_size, LONGEST)", "found.step_size", "test_warmup:test_the_step_of_a_discrete_kernel_is_tuned_without_leaving_its_space", "ValueError: step_size must be finite"),
    Mutant("merged counts of another type", "base/states.py", "jnp.sum(counts, axis=0, dtype=counts.dtype)", "jnp.sum(counts, axis=0)", "test_x64:test_merged_counts_have_32_bits"),
    Mutant("an error that is NaN is none", "base/states.py", "jnp.where(jnp.isnan(error), jnp.inf, jnp.abs(error))", "jnp.where(jnp.isnan(error), 0.0, jnp.abs(error))", "test_summary:test_a_divergence_of_nan_is_counted_at_any_thinning"),
]
