"""Seeded bugs of values, of kernels for Gaussian priors, of warm-up and of what the public
record of bugs found."""

from killing import Mutant

# fmt: off

V, K, RECORD = "_value/values.py", "test_values", "test_bug_reports"
FUNCTIONS, NUMBERS = "_value/functions.py", "_value/numbers.py"
STRUCTURE = "_value/structure.py"
PRIOR = "test_gaussian_prior"
ESS, PCN = "elliptical_slice", "pcn"
FILE = "kernels/gaussian_prior.py"

MUTANTS = [
    # values
    Mutant(
        "whole numbers of a partial are leaves",
        FUNCTIONS,
        "is_leaf = tuple(is_number(x) or isinstance(x, float) for x in leaves)",
        "is_leaf = tuple(is_number(x) or isinstance(x, float | int) for x in leaves)",
        f"{K}:test_arrays_and_floats_of_a_partial_are_leaves",
    ),
    Mutant(
        "floats of a partial are structure",
        FUNCTIONS,
        "is_leaf = tuple(is_number(x) or isinstance(x, float) for x in leaves)",
        "is_leaf = tuple(is_number(x) for x in leaves)",
        f"{K}:test_arrays_and_floats_of_a_partial_are_leaves",
    ),
    Mutant(
        "methods are compared by identity",
        STRUCTURE,
        'return "method", item.__func__, _key(item.__self__)',
        'return "method", id(item)',
        f"{K}:test_methods_of_equal_objects_are_one_structure_and_others_are_not",
    ),
    Mutant(
        "all methods of a class are equal",
        STRUCTURE,
        'return "method", item.__func__, _key(item.__self__)',
        'return "method", item.__func__',
        f"{K}:test_methods_of_equal_objects_are_one_structure_and_others_are_not",
    ),
    Mutant(
        "energies without a hash are all equal",
        STRUCTURE,
        'return "identity", id(item)',
        'return "identity", 0',
        f"{K}:test_an_energy_without_a_hash_is_structure_by_identity",
    ),
    Mutant(
        "another number is another structure",
        V,
        'elif kind == "static" or (kind == "count" and not is_number(item)):',
        'elif kind in ("static", "number"):',
        f"{K}:test_flatten_and_unflatten_give_the_kernel:mala",
        r"^(TypeError|ValueError|AttributeError):",
    ),
    Mutant(
        "equal fields are not compared",
        NUMBERS,
        "return all(_same(v, w) for v, w in zip(x, y, strict=True))",
        "return True",
        f"{K}:test_equal_construction_is_equal_and_another_structure_is_not",
    ),
    Mutant(
        "replaced numbers are not checked",
        V,
        "        self.check()\n",
        "",
        f"{K}:test_replace_checks_and_keeps_the_rest",
    ),
    Mutant(
        "a stack in the reverse order",
        "kernels/chains.py",
        "jnp.stack(row) if is_own",
        "jnp.stack(row[::-1]) if is_own",
        f"{K}:test_a_stack_of_kernels_equals_a_loop_over_them",
    ),
    Mutant(
        "draw sees values",
        "_tree.py",
        "return jax.tree.map(lambda x: Shape(x.shape, x.dtype), tree)",
        "return tree",
        f"{K}:test_a_draw_that_reads_values_raises_everywhere",
    ),
    Mutant(
        "parameters baked into the program of a run",
        "sampling/_chunked_run.py",
        "functools.partial(program, self.kernel, what, self.keys, **sizes)",
        "(lambda *a: jax.jit(lambda s, t, r: program(self.kernel, what, self.keys, s, t, r, **sizes))(*a))",
        f"{K}:test_a_sweep_of_step_sizes_and_parameters_compiles_once_in_flat_memory",
    ),
    Mutant(
        "a learning rate is structure",
        "training/optimizer.py",
        "    if isinstance(item, float) or is_number(item):\n        return item\n",
        "",
        f"{K}:test_fit_compiles_nothing_for_other_numbers",
    ),
    Mutant(
        "a cycle rejects non-finite energies if one part does",
        "kernels/combinators.py",
        "return all(k.rejects_nonfinite for k in self.kernels)",
        "return self.kernels[0].rejects_nonfinite",
        f"{K}:test_promises_are_fields",
    ),
    Mutant(
        "kernels of two state spaces are combined",
        "kernels/combinators.py",
        "    if len(set(spaces)) > 1:",
        "    if False:",
        f"{K}:test_promises_are_fields",
    ),
    # Gaussian priors, Barker
    Mutant(
        "pCN without its contraction",
        FILE,
        "cos = jnp.sqrt(1 - jnp.square(self.beta))",
        "cos = 1.0",
        f"{PRIOR}:test_the_posterior_is_invariant:pcn",
    ),
    Mutant(
        "pCN forgets the prior in its ratio",
        FILE,
        "return new, prior(new.position) - prior(state.position)",
        "return new, jnp.zeros_like(state.energy)",
        f"{PRIOR}:test_the_posterior_is_invariant:pcn",
    ),
    Mutant(
        "the mean of the prior is not subtracted",
        FILE,
        "step = lambda x, m, n: (m + cos * (x - m) + sin * n).astype(x.dtype)",
        "step = lambda x, m, n: (cos * x + sin * n).astype(x.dtype)",
        f"{PRIOR}:test_the_posterior_is_invariant:elliptical_slice",
    ),
    Mutant(
        "the level of the slice is that of the posterior",
        FILE,
        "level = likelihood(state.position) + exponential",
        "level = state.energy + exponential",
        f"{PRIOR}:test_the_posterior_is_invariant:elliptical_slice",
    ),
    Mutant(
        "the slice without its level",
        FILE,
        "level = likelihood(state.position) + exponential",
        "level = likelihood(state.position)",
        f"{PRIOR}:test_the_posterior_is_invariant:elliptical_slice",
    ),
    Mutant("points above the level are taken", FILE, "likelihood(point(angle)) <= level", "likelihood(point(angle)) <= level + 0.5", f"{PRIOR}:test_the_posterior_is_invariant:elliptical_slice"),
    Mutant(
        "Barker against the gradient",
        "kernels/barker.py",
        "jnp.where(u < -z * g, z, -z)",
        "jnp.where(u < z * g, z, -z)",
        f"{PRIOR}:test_the_sign_of_barker_follows_the_gradient",
    ),
    Mutant(
        "Barker without its ratio",
        "kernels/barker.py",
        "terms = jax.nn.softplus(v * g) - jax.nn.softplus(-v * g_new)",
        "terms = 0.0 * v",
        f"{PRIOR}:test_barker_on_a_target_with_steep_boundaries",
    ),
    Mutant(
        "Barker's ratio with one gradient",
        "kernels/barker.py",
        "jax.nn.softplus(-v * g_new)",
        "jax.nn.softplus(-v * g)",
        f"{PRIOR}:test_barker_on_a_target_with_steep_boundaries",
    ),
    # the public record
    Mutant(
        "flip with a period",
        "kernels/flip.py",
        "jax.random.randint(inlined(key), (), 0, num + 1)",
        "jax.random.randint(inlined(key), (), 0, num)",
        f"{RECORD}:test_flip_has_no_period_on_a_flat_energy:1",
    ),
    Mutant(
        "within takes any start for bits",
        "kernels/within.py",
        "is_refused = (inner.energy == jnp.inf) & (state.energy != jnp.inf)",
        "is_refused = jnp.bool_(False)",
        f"{RECORD}:test_spins_are_refused_by_a_kernel_of_bits",
    ),
    Mutant(
        "models of bits go on between bits",
        "energies/boltzmann.py",
        "jnp.where(jnp.all((x == 0) | (x == 1)), energy, jnp.inf)",
        "energy",
        f"{RECORD}:test_a_kernel_of_real_numbers_does_not_leave_the_bits",
    ),
    Mutant(
        "bfloat16 positions are not rounded",
        "base/energy.py",
        "return jax.lax.reduce_precision(x, info.nexp, info.nmant)",
        "return x",
        f"{RECORD}:test_positions_in_bfloat16_have_their_own_energy:make1",
    ),
    Mutant(
        "a repeated key passes",
        "sampling/sample.py",
        "    check_not_repeated(key, positions, (start, steps.end))\n",
        "",
        "test_laws:test_1000_steps_equal_600_and_then_400_bit_for_bit:make0",
    ),
    Mutant(
        "batch statistics are trained",
        "_validation/arrays.py",
        'if isinstance(params, dict) and "batch_stats" in params:',
        "if False:",
        f"{RECORD}:test_batch_statistics_modules_and_counts_are_no_parameters",
    ),
    Mutant(
        "the average in bfloat16",
        "training/step.py",
        "jnp.promote_types(x.dtype, jnp.float32), copy=True",
        "x.dtype, copy=True",
        f"{RECORD}:test_the_average_of_bfloat16_parameters_moves",
    ),
    Mutant("the divergence monitor keeps one chunk only", "training/divergence.py", "end - int(self._pending[0][0].step) >= SETTLED", "end - int(self._pending[0][0].step) >= 0", "test_divergence:test_the_distance_of_a_roll_back_does_not_depend_on_chunks"),
    # warm-up
    Mutant(
        "lost chains influence the tuning",
        "adaptation/schedule.py",
        "return (energies <= middle + limit).astype(jnp.float32)",
        "return jnp.ones_like(energies)",
        "test_warmup:test_lost_chains_do_not_affect_the_tuning",
    ),
    Mutant("rank of a matrix by its largest scale", "_validation/numbers.py", "rank = np.linalg.matrix_rank(balanced)", "rank = np.linalg.matrix_rank(matrix)", "test_base:test_the_rank_of_a_matrix_does_not_depend_on_its_scales", "^ValueError:"),
    Mutant(
        "gradients of starts are not checked",
        "sampling/initialization.py",
        '    if len(bad):\n        raise ValueError(\n            f"the gradient',
        '    if False:\n        raise ValueError(\n            f"the gradient',
        "test_warmup:test_a_start_whose_gradient_is_nan_is_named",
    ),

]
