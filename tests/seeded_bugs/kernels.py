"""Seeded bugs of kernels."""

from killing import Mutant, invariant

# fmt: off

RING = "test_laws:test_metropolis_has_detailed_balance_and_without_its_ratio_has_not"
ACCEPT = "test_metropolis:test_it_accepts_when_minus_the_exponential_is_below_the_log_ratio"
BROKEN = "test_metropolis:test_nan_and_minus_infinity_are_rejected_and_counted"
ULA = "test_invariance:test_verification_case:ula against its own law"
BAOAB = "test_samplers:test_baoab_has_exact_positions_and_a_known_momentum"
ORDER = "test_invariance:test_verification_case:leapfrog, an integrator"
NUTS_TREE = "test_nuts:test_the_tree_is_the_one_grown_by_recursion:0.25"
NUTS_WEIGHT = "test_nuts:test_points_are_drawn_by_their_weight"
M = "kernels/metropolis.py"
L = "kernels/langevin.py"
H = "kernels/hamiltonian.py"
FLOW = "kernels/integrators.py"
RATIO = "log_ratio = state.energy - proposed.energy + log_q_ratio"

MUTANTS = [
    # the one accept
    Mutant("energies of the ratio swapped", M, RATIO, "log_ratio = proposed.energy - state.energy + log_q_ratio", RING),
    Mutant("Hastings ratio forgotten", M, RATIO, "log_ratio = state.energy - proposed.energy", RING),
    Mutant("Hastings ratio upside down", M, RATIO, RATIO.replace("+ log_q", "- log_q"), RING),
    Mutant("1.02 times the log ratio", M, RATIO, RATIO + "\n        log_ratio = 1.02 * log_ratio", RING),
    Mutant("half the log ratio", M, RATIO, RATIO + "\n        log_ratio = 0.5 * log_ratio", RING),
    Mutant("1.02 times, in the comparison only", M, "(-exponential < log_ratio)", "(-exponential < 1.02 * log_ratio)", ACCEPT),
    Mutant("always accept", M, "is_valid & (-exponential < log_ratio)", "is_valid", ACCEPT),
    Mutant("never accept", M, "is_valid & (-exponential < log_ratio)", "is_valid & False", ACCEPT),
    Mutant("accept when worse", M, "(-exponential < log_ratio)", "(-exponential > log_ratio)", ACCEPT),
    Mutant("NaN accepted", M, "return ~jnp.isnan(log_ratio) & (proposed.energy > -jnp.inf)", "return log_ratio == log_ratio", BROKEN),
    Mutant("NaN not counted", M, "num_nonfinite=jnp.int32(~is_valid)", "num_nonfinite=jnp.int32(0)", BROKEN),
    Mutant("accepted and rejected swapped", M, "num_grads=jnp.int32(state.grad is not None),\n        )\n        return select(is_accepted, proposed, state), info", "num_grads=jnp.int32(state.grad is not None),\n        )\n        return select(is_accepted, state, proposed), info", ACCEPT),
    Mutant("energy of the old point kept", M, "num_grads=jnp.int32(state.grad is not None),\n        )\n        return select(is_accepted, proposed, state), info", "num_grads=jnp.int32(state.grad is not None),\n        )\n        return select(is_accepted, proposed, state)._replace(energy=state.energy), info", invariant("random_walk")),
    Mutant("acceptance rate above one", M, "jnp.exp(jnp.minimum(log_ratio, 0.0))", "jnp.exp(log_ratio)", "test_metropolis:test_rates_are_probabilities"),
    Mutant("unadjusted step to a non-finite energy kept", "kernels/unadjusted.py", "return select(is_finite, proposed, state), info", "return proposed, info", "test_metropolis:test_unadjusted_rejects_a_step_to_a_nonfinite_energy"),
    Mutant("independence weighs the old point", "kernels/proposal.py", "ratio = self.log_density(state.position) - self.log_density(proposed.position)", "ratio = self.log_density(proposed.position) - self.log_density(state.position)", invariant("independence")),
    Mutant("arguments of log_q swapped", "kernels/proposal.py", "self.log_q(to=x, given=x_new) - self.log_q(to=x_new, given=x)", "self.log_q(to=x_new, given=x) - self.log_q(to=x, given=x_new)", invariant("metropolis, asymmetric")),
    # random walk
    Mutant("drifted walk without its ratio", "kernels/random_walk.py", "axpy(1.0, scale(self.step_size, xi), state.position)", "axpy(1.0, scale(self.step_size, xi), 0.97 * state.position)", invariant("random_walk", "banana")),
    Mutant("walk that never moves", "kernels/random_walk.py", "axpy(1.0, scale(self.step_size, xi), state.position)", "axpy(0.0, scale(self.step_size, xi), state.position)", invariant("random_walk")),
    # Langevin
    Mutant("drift of half size", L, "half = axpy(-0.5, scale(eps, state.grad, transpose=True), xi)", "half = axpy(-0.25, scale(eps, state.grad, transpose=True), xi)", ULA),
    Mutant("drift of half size, adjusted", L, "half = axpy(-0.5, scale(eps, state.grad, transpose=True), xi)", "half = axpy(-0.25, scale(eps, state.grad, transpose=True), xi)", invariant("mala", "rosenbrock")),
    Mutant("drift of twice the size: noise eps for sqrt(2) eps", L, "half = axpy(-0.5, scale(eps, state.grad, transpose=True), xi)", "half = axpy(-1.0, scale(eps, state.grad, transpose=True), xi)", ULA),
    Mutant("drift uphill", L, "half = axpy(-0.5, scale(eps, state.grad, transpose=True), xi)", "half = axpy(0.5, scale(eps, state.grad, transpose=True), xi)", ULA),
    Mutant("gradient of the wrong point in the ratio", L, "scale(eps, proposed.grad, transpose=True), half)", "scale(eps, state.grad, transpose=True), half)", invariant("mala", "rosenbrock")),
    Mutant("MALA's ratio upside down", L, "half_square(xi) - half_square(back)", "half_square(back) - half_square(xi)", invariant("mala")),
    Mutant("MALA without its ratio", L, "return proposed, half_square(xi) - half_square(back)", "return proposed, jnp.zeros_like(state.energy)", invariant("mala", "rosenbrock")),
    Mutant("BAOAB noise with 1 - c for 1 - c^2", L, "jnp.sqrt(1.0 - c**2)", "jnp.sqrt(1.0 - c)", BAOAB),
    Mutant("BAOAB without its last kick", L, "p = axpy(-0.5, scale(eps, new.grad), p_new)  # B", "p = p_new", BAOAB),
    Mutant("BAOAB's last kick with the old gradient", L, "scale(eps, new.grad), p_new)", "scale(eps, state.grad), p_new)", BAOAB),
    Mutant("BAOAB without its second drift", L, "x = axpy(0.5, scale(eps, p_new), x)  # A", "pass", BAOAB),
    Mutant("half the friction", L, "jnp.exp(-self.friction * h)", "jnp.exp(-0.5 * self.friction * h)", "test_samplers:test_friction_is_the_decay_of_a_free_momentum"),
    # Hamiltonian
    Mutant("missing half-kick", FLOW, "carry = state, kick(first, state, momentum)", "carry = state, momentum", ORDER),
    Mutant("full kicks", FLOW, "leapfrog = Integrator((0.5, 1.0, 0.5))", "leapfrog = tuple.__new__(Integrator, (1.0, 1.0, 0.0))", ORDER, "ValueError: integrator must be"),
    Mutant("kicks with the gradient of the start", FLOW, "return moved(energy, state, axpy(c, scale(step_size, n), state.position))", "return moved(energy, state, axpy(c, scale(step_size, n), state.position))._replace(grad=state.grad)", ORDER),
    Mutant("kicks with the gradient of the start, adjusted", FLOW, "return moved(energy, state, axpy(c, scale(step_size, n), state.position))", "return moved(energy, state, axpy(c, scale(step_size, n), state.position))._replace(grad=state.grad)", invariant("hmc", "rosenbrock")),
    Mutant("kicks uphill", FLOW, "return axpy(-c,", "return axpy(c,", "test_samplers:test_leapfrog_is_equation_20"),
    Mutant("momentum scaled by 1.05", H, "return Noise(normal_like(key, shapes), None, None)", "return Noise(jax.tree.map(lambda n: 1.05 * n, normal_like(key, shapes)), None, None)", invariant("hmc")),
    Mutant("no kinetic energy in the ratio", H, "return proposed, half_square(momentum) - half_square(end)", "return proposed, jnp.zeros_like(state.energy)", invariant("hmc")),
    Mutant("kinetic energies swapped", H, "half_square(momentum) - half_square(end)", "half_square(end) - half_square(momentum)", invariant("hmc")),
    Mutant("a step too few", FLOW, "fori_loop(0, num_steps", "fori_loop(1, num_steps", "test_samplers:test_leapfrog_is_equation_20"),
    Mutant("half a kick between steps", FLOW, "end = jnp.where(i + 1 < num_steps, last + first, last)", "end = last", "test_samplers:test_leapfrog_is_equation_20"),
    Mutant("a whole kick at the end", FLOW, "jnp.where(i + 1 < num_steps, last + first, last)", "last + first", "test_samplers:test_leapfrog_is_equation_20"),
    Mutant("jitter from 0 to L", H, "(), 1, self.num_steps + 1)", "(), 0, self.num_steps + 1)", "test_samplers:test_jitter_draws_every_length"),
    Mutant("jitter never takes L", H, "(), 1, self.num_steps + 1)", "(), 1, self.num_steps)", "test_samplers:test_jitter_draws_every_length"),
    Mutant("McLachlan's number mistyped", FLOW, "_a = 0.1931833275037836", "_a = 0.25", "test_samplers:test_mclachlan_beats_two_leapfrogs"),
    Mutant("Yoshida's number mistyped", FLOW, "_w = 1 / (2 - 2 ** (1 / 3))", "_w = 1 / (2 - 2 ** (1 / 4))", "test_invariance:test_verification_case:yoshida, an integrator"),
    Mutant("energy carried over a change of the rest", "kernels/within.py", "return state._replace(position=position, energy=inner.energy), info", "return state._replace(position=position), info", "test_invariance:test_verification_case:within, a sweep over a tree"),
    Mutant("weights of a mixture ignored", "kernels/combinators.py", "jnp.log(jnp.asarray(self.weights))", "0 * jnp.log(jnp.asarray(self.weights))", "test_combinators:test_mixture_takes_each_as_often_as_its_weight"),
    Mutant("mixture chooses by the energy, not by the key", "kernels/combinators.py", "return jax.lax.switch(choice, branches, noise, state)", "return jax.lax.switch((state.energy > 1).astype(int), branches, noise, state)", invariant("mixture")),
    Mutant("repeat with one noise", "kernels/combinators.py", "fold = lambda i: fold_in(key, i)", "fold = lambda i: fold_in(key, 0 * i)", invariant("repeat")),
    Mutant("cycle with one key", "kernels/combinators.py", "keys = split(key, len(self.kernels))", "keys = [key] * len(self.kernels)", invariant("cycle", "two_modes")),
    Mutant("temperature of separate noise upside down", "kernels/langevin.py", "sigma**2 / (2 * alpha)\n", "2 * alpha / sigma**2\n", "test_divergence:test_separate_noise_is_a_step_size_and_a_temperature"),
    Mutant("visible units without their bias in block Gibbs", "kernels/rbm_gibbs.py", "of_visible.ravel() < visible + weights @ h", "of_visible.ravel() < weights @ h", "test_boltzmann:test_block_gibbs_and_sweeps_are_invariant"),
    Mutant("heat bath upside down", "kernels/gibbs.py", "jax.vmap(difference)(others)", "-jax.vmap(difference)(others)", "test_boltzmann:test_block_gibbs_and_sweeps_are_invariant"),
    Mutant("flip that claims a ratio", "kernels/flip.py", "return proposed, jnp.zeros_like(state.energy)", "return proposed, 0.1 * (2 * x[0] - 1)", "test_boltzmann:test_flip_has_detailed_balance"),
    # the no-U-turn sampler
    Mutant("NUTS draws its points evenly", "kernels/nuts_tree.py", "-within < -error - log_new", "-within < -jnp.log(i + 1.0)", invariant("nuts")),
    Mutant("NUTS prefers high energies", "kernels/nuts_tree.py", "-jnp.inf, tree.log_new), -error)", "-jnp.inf, tree.log_new), error)", NUTS_WEIGHT),
    Mutant("NUTS always takes the new half", "kernels/nuts_tree.py", "is_taken & (-between < log_new - tree.log_weight)", "is_taken", NUTS_WEIGHT),
    Mutant("NUTS without the turns of inner subtrees", "kernels/nuts_tree.py", "has_turned |= ~is_first & tree.has_turned", "has_turned = is_whole & False", NUTS_TREE),
    Mutant("NUTS keeps a doubling that turned", "kernels/nuts_tree.py", "is_taken = is_whole & is_good", "is_taken = is_whole & is_finite & ~tree.has_ended", NUTS_TREE),
    Mutant("NUTS checks one completed subtree only", "kernels/nuts_tree.py", "row + 1, close, start)", "row + 1, close, start) & (num_closed == 1)", NUTS_TREE),
    Mutant("NUTS leaves the momentum flipped", "kernels/nuts_tree.py", "n_tip = sign * ravel_pytree(n_tip)[0]", "n_tip = ravel_pytree(n_tip)[0]", NUTS_TREE),
    Mutant("NUTS goes on where it diverged", "kernels/nuts_tree.py", "is_good = is_finite & ~errors_new.is_wide()", "is_good = is_finite | ~errors_new.is_wide()", "test_nuts:test_a_trajectory_ends_at_the_leaf_that_diverges"),
    Mutant("a fall of the energy is no divergence", "kernels/nuts_tree.py", "jnp.where(errors.is_wide(), errors.high - errors.low, largest)", "largest", "test_nuts:test_a_fall_of_the_energy_diverges_and_is_counted"),
    Mutant("NUTS sums momenta without the start", "kernels/nuts_tree.py", "rho = tree.rho + rho_new", "rho = tree.rho - n_left + rho_new", NUTS_TREE),
    Mutant("a trajectory that has ended sees more points", "kernels/nuts_tree.py", "errors_new = select(counts, errors_new, tree.errors_new)", "errors_new = errors_new", "test_nuts:test_a_trajectory_that_has_ended_sees_no_more_points"),
    Mutant("an odd leaf of NUTS is kept as an even one", "kernels/nuts_tree.py", "place = jnp.where(is_odd == 0, row, len(tree.waiting[0]) - 1)", "place = row", NUTS_TREE),
    Mutant("one draw for all leaves of NUTS", "kernels/nuts_tree.py", "within = exponential(growth.key, count)", "within = exponential(growth.key, 0)", invariant("nuts")),
    Mutant("step jitter to one side only", H, "(2 * uniform(key_size) - 1)", "uniform(key_size)", "test_samplers:test_step_jitter_is_even_and_keeps_the_length"),
    Mutant("gradients of trajectories counted once", "kernels/hamiltonian.py", "num_grads = jnp.int32((len(self.integrator) // 2) * length)", "num_grads = info.num_grads", "test_warmup:test_gradients_of_a_free_length_are_counted"),
    Mutant("hamiltonian of the end", "kernels/hamiltonian.py", "start = state.energy + half_square(momentum)", "start = new.energy + half_square(momentum)", "test_summary:test_the_hamiltonian_is_that_of_each_start"),
    Mutant("key of BlackJAX's init used for its step", "kernels/blackjax.py", "algorithm.step(key_step, fresh)", "algorithm.step(key_init, fresh)", "test_blackjax:test_one_step_equals_the_step_of_blackjax"),
    Mutant("step of BlackJAX with the old energy", "kernels/blackjax.py", "new = moved(self.energy, state, theirs.position)", "new = state._replace(position=theirs.position)", "test_blackjax:test_a_blackjax_kernel_runs_in_sample_with_an_info"),
    Mutant("divergences of BlackJAX dropped", "kernels/blackjax.py", "error = jnp.where(is_divergent, largest,", "error = jnp.where(False, largest,", "test_blackjax:test_a_divergent_step_with_an_acceptance_rate_is_a_divergence"),
    Mutant("a non-finite step kept", "kernels/combinators.py", "return select(is_finite, new, state), info", "return new, info", "test_nonfinite:test_nonfinite_proposals_of_a_user_kernel_are_rejected_and_counted"),
    Mutant("every kernel taken to reject non-finite points", "kernels/combinators.py", "return kernel if kernel.rejects_nonfinite else RejectNonfinite(kernel)", "return kernel", "test_nonfinite:test_nonfinite_proposals_of_a_user_kernel_are_rejected_and_counted"),
    Mutant("kernels that reject non-finite points wrapped again", "kernels/combinators.py", "return kernel if kernel.rejects_nonfinite else RejectNonfinite(kernel)", "return RejectNonfinite(kernel)", "test_nonfinite:test_reject_nonfinite_wraps_only_kernels_that_do_not_reject"),
    Mutant("one kernel that rejects is enough for a cycle", "kernels/combinators.py", "return all(k.rejects_nonfinite for k in self.kernels)", "return any(k.rejects_nonfinite for k in self.kernels)", "test_nonfinite:test_reject_nonfinite_wraps_only_kernels_that_do_not_reject"),
    Mutant("the kernel of a part not wrapped", "kernels/within.py", "return reject_nonfinite(kernel)", "return kernel", "test_nonfinite:test_within_rejects_nonfinite_moves_of_a_part"),
    Mutant("heat bath moves to minus infinity", "kernels/gibbs.py", "jnp.where(is_valid, gaps, jnp.inf)", "gaps", "test_nonfinite:test_a_gibbs_sweep_never_moves_to_a_nonfinite_energy:-inf"),
    Mutant("a hard boundary counts as a non-finite step of NUTS", "kernels/nuts_tree.py", "(counts & ~is_finite & ~is_wall)", "(counts & ~is_finite)", "test_nuts:test_a_hard_boundary_is_not_counted", "^ChainFault: "),
    Mutant("a momentum lost within", "kernels/within.py", "if shapes.momentum is not None:", "if False:", "test_combinators:test_within_refuses_a_kernel_that_would_lose_its_momentum"),
]
