"""Seeded bugs of runs in two launches."""

from killing import Mutant

# fmt: off

T = "test_fused"
SAME = f"{T}:test_a_fused_run_equals_run"

MUTANTS = [
    Mutant("fused: two tables of NUTS are held", "kernels/nuts_tree.py", "tree.waiting if IN_REGISTERS.get() else waiting", "waiting", f"{T}:test_the_tree_of_nuts_is_held_once_in_registers"),
    Mutant("fused: noise of the step before", "fused/launches.py", "noise = jax.vmap(draw)(first + jnp.arange(length))", "noise = jax.vmap(draw)(first - 1 + jnp.arange(length))", f"{SAME}:mala"),
    Mutant("fused: a piece begins again", "fused/launches.py", "noise = jax.tree.leaves(self.noise(start + done,", "noise = jax.tree.leaves(self.noise(start + 0 * done,", f"{T}:test_noise_in_pieces_changes_no_number"),
    Mutant("fused: the start is forgotten", "fused/launches.py", "self.noise(start + done, length", "self.noise(0 * start + done, length", f"{T}:test_trees_thinning_starts_and_records"),
    Mutant("fused: the first step of a kept one is stored", "fused/kernel.py", "jax.lax.fori_loop(0, thin - 1, skip, flat)", "jax.lax.fori_loop(0, thin - 2, skip, flat)", f"{T}:test_trees_thinning_starts_and_records"),
    Mutant("fused: sums in the place of means", "fused/step.py", "gain = (info.acceptance_rate - total.acceptance_rate) / (num_before + 1)", "gain = info.acceptance_rate + 0 * num_before", f"{SAME}:hmc"),
    Mutant("fused: one kernel for all chains", "fused/kernel.py", "_read(ref, (rows,) if is_own else (), x)", "_read(ref, (0,) if is_own else (), x)", f"{T}:test_one_kernel_a_chain"),
    Mutant("fused: anything is collected", "fused/run.py", "if collect not in COLLECTED:", "if False:", f"{T}:test_bad_arguments_are_named"),
    Mutant("fused: free coordinates are collected", "fused/step.py", "kept = collected(Parallel(kernel), collect)(longer(state), longer(info))", "kept = collect(longer(state), longer(info))", f"{T}:test_sample_collects_constrained_values"),
    Mutant("fused: cases the wrong way round", "fused/program.py", "return jax.lax.select_n(which, no, yes)", "return jax.lax.select_n(which, yes, no)", f"{T}:test_functions_by_rows_equal_vmap:branches"),
    Mutant("fused: a reduction forgets the odd one", "fused/program.py", "last = items[-1:] if len(items) % 2 else []", "last = []", f"{T}:test_functions_by_rows_equal_vmap:reductions"),
    Mutant("fused: a product with one is one", "fused/program.py", "if (name, b) in ((\"add\", 0), (\"mul\", 1)):", "if (name, b) in ((\"add\", 0), (\"mul\", 0)):", f"{T}:test_products_with_zero_and_one_equal_vmap"),
    Mutant("fused: no limit of size", "fused/program.py", "if self.size > self.largest:", "if False:", f"{T}:test_unsupported_energies_are_refused_by_name:a large product"),
    Mutant("fused: stacked in the order of a reverse loop", "fused/control_rules.py", "by_step = np.argsort(order)", "by_step = range(length)", f"{T}:test_functions_by_rows_equal_vmap:scan in reverse"),
    Mutant("fused: chains that are done go on", "fused/control_rules.py", "new = [program.select(filled(on, x.shape), x, y) for x, y in pairs]", "new = [y for x, y in pairs]", f"{T}:test_functions_by_rows_equal_vmap:loop until"),
    Mutant("fused: a loop ends with its first chain", "fused/control_rules.py", "return jnp.max(on.astype(jnp.int32)) > 0 if on.ndim else on", "return jnp.min(on.astype(jnp.int32)) > 0 if on.ndim else on", f"{T}:test_functions_by_rows_equal_vmap:loop until"),
    Mutant("fused: the second branch for all", "fused/control_rules.py", "which = which != 0", "which = which != 7", f"{T}:test_functions_by_rows_equal_vmap:branches"),
    Mutant("fused: cumulative the other way", "fused/array_rules.py", "step = -1 if equation.params[\"reverse\"] else 1", "step = 1 if equation.params[\"reverse\"] else -1", f"{T}:test_functions_by_rows_equal_vmap:cumulative"),
    Mutant("fused: a slice that does not clamp", "fused/array_rules.py", "clipped = jnp.clip(start, 0, last)", "clipped = start", f"{T}:test_functions_by_rows_equal_vmap:update"),
    Mutant("fused: the last of the largest", "fused/array_rules.py", "larger = number > best if is_max else number < best", "larger = number >= best if is_max else number < best", f"{T}:test_argmax_and_argmin_of_ties_and_nan_equal_vmap"),
    Mutant("fused: a batch is summed, too", "fused/array_rules.py", "free_b = [i for i in range(b.ndim) if i not in (*sum_b, *batch_b)]", "free_b = [i for i in range(b.ndim) if i not in (*sum_b, *batch_b)][::-1]", f"{T}:test_functions_by_rows_equal_vmap:products"),
    Mutant("fused: words of a key in one", "fused/key_rules.py", "return [entries([first ^ second for first, second in pairs], shape)]", "return [entries([first for first, second in pairs], shape)]", f"{T}:test_random_numbers_are_those_of_jax"),
    Mutant("fused: every split key is the first", "fused/key_rules.py", "return [_hashed(program, key, np.uint32(i)) for i in range(num)]", "return [_hashed(program, key, np.uint32(0)) for i in range(num)]", f"{T}:test_random_numbers_are_those_of_jax"),
    Mutant("products in few digits on a GPU", "base/energy.py", "if is_chosen or jax.default_backend() == \"cpu\":", "if True:", f"{T}:test_products_are_in_full_precision_on_a_gpu"),
    Mutant("the user's precision is ignored", "base/energy.py", "if is_chosen or jax.default_backend() == \"cpu\":", "if jax.default_backend() == \"cpu\":", f"{T}:test_products_are_in_full_precision_on_a_gpu"),
]
