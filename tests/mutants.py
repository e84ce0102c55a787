"""Seeded bugs, and the test that detects each.

    python tests/mutants.py            runs all and writes docs/mutants.md
    python tests/mutants.py ula        runs those whose name contains the word

A mutant is one file of the library with one piece of text replaced.  ``killing.py``
imports it and calls its killer, a test of ``tests/``.  For comparison each mutant also
runs under a typical test: long chains on a Gaussian, mean and standard deviation within
10 %.
"""

import importlib
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from killing import ROOT, Mutant, TextIsGone, mutated, verdict


def invariant(kernel, place="correlated_gaussian"):
    return f"test_invariance:test_verification_case:{kernel} on {place}"


RING = "test_laws:test_metropolis_has_detailed_balance_and_without_its_ratio_has_not"
ACCEPT = (
    "test_metropolis:test_it_accepts_when_minus_the_exponential_is_below_the_log_ratio"
)
BROKEN = "test_metropolis:test_nan_and_minus_infinity_are_rejected_and_counted"
ULA = "test_invariance:test_verification_case:ula against its own law"
BAOAB = "test_samplers:test_baoab_has_exact_positions_and_a_known_momentum"
ORDER = "test_invariance:test_verification_case:leapfrog, an integrator"
CD = "test_objectives:test_the_gradient_of_cd_k_by_ula_is_its_closed_form"
EQ9 = "test_objectives:test_the_gradient_with_exact_samples_is_equation_9"
SPLIT = "test_laws:test_sample_of_1000_is_600_and_then_400_bit_for_bit:make0"
CHUNKS = "test_laws:test_chunks_and_thinning_change_no_number"

ED = "test_energy_discrepancy:test_it_is_the_gap_to_the_contrastive_potential"
THROUGH = (
    "test_improved:test_the_gradient_through_one_of_three_steps_is_its_closed_form"
)
GAME = "test_flows:test_energy_and_flow_each_have_their_own_finite_differences"
NUTS_TREE = "test_nuts:test_the_tree_is_the_one_grown_by_recursion:0.25"
NUTS_WEIGHT = "test_nuts:test_points_are_drawn_by_their_weight"
DENSE = "test_warmup:test_correlations_are_as_dense_as_the_points_can_tell"
MOMENTS = "test_warmup:test_moments_are_those_of_all_finite_points"
ROOT_OF = "test_warmup:test_the_scale_is_a_root_and_falls_back_where_nothing_moved"
CHEES = "test_warmup:test_the_criterion_of_a_length_is_that_of_a_rotation"
CLIMBS = "test_warmup:test_a_length_climbs_to_the_top_and_not_where_it_does_not_pay"

M, L, H, B = (
    "kernels/metropolis.py",
    "kernels/langevin.py",
    "kernels/hamiltonian.py",
    "base/energy.py",
)
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
    Mutant("log of a uniform that can be zero", "_random.py", "np.float32(0.5)) * np.float32(2.0**-31)", "np.float32(0.0)) * np.float32(2.0**-31)", "test_noise:test_numbers_are_the_inverse_of_the_normal_distribution"),
    Mutant("one block for proposal and accept", "_random.py", "ACCEPT = 0xFFFFFFFF", "ACCEPT = 0", "test_noise:test_the_number_of_the_accept_is_exponential_and_independent_of_the_proposal"),
    Mutant("accepted and rejected swapped", M, "num_grads=jnp.int32(state.grad is not None),\n        )\n        return select(is_accepted, proposed, state), info", "num_grads=jnp.int32(state.grad is not None),\n        )\n        return select(is_accepted, state, proposed), info", ACCEPT),
    Mutant("energy of the old point kept", M, "num_grads=jnp.int32(state.grad is not None),\n        )\n        return select(is_accepted, proposed, state), info", "num_grads=jnp.int32(state.grad is not None),\n        )\n        return select(is_accepted, proposed, state)._replace(energy=state.energy), info", invariant("random_walk")),
    Mutant("acceptance rate above one", M, "jnp.exp(jnp.minimum(log_ratio, 0.0))", "jnp.exp(log_ratio)", "test_metropolis:test_rates_are_probabilities"),
    Mutant("unadjusted step to nowhere kept", "kernels/unadjusted.py", "return select(is_finite, proposed, state), info", "return proposed, info", "test_metropolis:test_unadjusted_reverts_a_step_to_nowhere"),
    Mutant("independence weighs the old point", "kernels/proposal.py", "ratio = self.log_density(state.position) - self.log_density(proposed.position)", "ratio = self.log_density(proposed.position) - self.log_density(state.position)", invariant("independence")),
    Mutant("arguments of log_q swapped", "kernels/proposal.py", "self.log_q(to=x, given=x_new) - self.log_q(to=x_new, given=x)", "self.log_q(to=x_new, given=x) - self.log_q(to=x, given=x_new)", invariant("metropolis, asymmetric")),
    # random numbers
    Mutant("rotation mistyped", "_random.py", "(13, 15, 26, 6)", "(13, 15, 26, 7)", "test_noise:test_it_is_the_hash_of_jax_to_the_bit"),
    Mutant("last bit not the sign", "_random.py", "(bits & np.uint32(1)) == 0", "(bits & np.uint32(2)) == 0", "test_noise:test_numbers_are_the_inverse_of_the_normal_distribution"),
    Mutant("both words the same", "_random.py", "jnp.concatenate(threefry(words, (jnp.uint32(0), low)))", "jnp.concatenate(threefry(words, (jnp.uint32(0), low))[:1] * 2)", "test_noise:test_normal_numbers_over_chains_are_normal_and_independent:2"),
    # random walk
    Mutant("drifted walk without its ratio", "kernels/random_walk.py", "axpy(1.0, scale(self.step_size, xi), state.position)", "axpy(1.0, scale(self.step_size, xi), 0.97 * state.position)", invariant("random_walk", "banana")),
    Mutant("walk that never moves", "kernels/random_walk.py", "axpy(1.0, scale(self.step_size, xi), state.position)", "axpy(0.0, scale(self.step_size, xi), state.position)", invariant("random_walk")),
    Mutant("covariance in place of its root", "base/step_size.py", "jnp.linalg.cholesky(jnp.asarray(covariance))", "jnp.asarray(covariance)", "test_samplers:test_the_walk_has_its_covariance"),
    Mutant("step size ignored beside a covariance", "base/step_size.py", "return Dense(step_size * jnp", "return Dense(jnp", "test_samplers:test_the_walk_has_its_covariance"),
    # Langevin
    Mutant("drift of half size", L, "half = axpy(-0.5, scale(eps, state.grad, transpose=True), xi)", "half = axpy(-0.25, scale(eps, state.grad, transpose=True), xi)", ULA),
    Mutant("drift of half size, adjusted", L, "half = axpy(-0.5, scale(eps, state.grad, transpose=True), xi)", "half = axpy(-0.25, scale(eps, state.grad, transpose=True), xi)", invariant("mala", "rosenbrock")),
    Mutant("drift of twice the size: noise eps for sqrt(2) eps", L, "half = axpy(-0.5, scale(eps, state.grad, transpose=True), xi)", "half = axpy(-1.0, scale(eps, state.grad, transpose=True), xi)", ULA),
    Mutant("drift uphill", L, "half = axpy(-0.5, scale(eps, state.grad, transpose=True), xi)", "half = axpy(0.5, scale(eps, state.grad, transpose=True), xi)", ULA),
    Mutant("gradient of the wrong point in the ratio", L, "scale(eps, proposed.grad, transpose=True), half)", "scale(eps, state.grad, transpose=True), half)", invariant("mala", "rosenbrock")),
    Mutant("MALA's ratio upside down", L, "half_square(xi) - half_square(back)", "half_square(back) - half_square(xi)", invariant("mala")),
    Mutant("MALA without its ratio", L, "return proposed, half_square(xi) - half_square(back)", "return proposed, jnp.zeros_like(state.energy)", invariant("mala", "rosenbrock")),
    Mutant("friction heats: 1 - c for 1 - c^2", L, "jnp.sqrt(1.0 - c**2)", "jnp.sqrt(1.0 - c)", BAOAB),
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
    Mutant("root of the covariance transposed", "base/step_size.py", "jnp.linalg.cholesky(jnp.asarray(covariance))", "jnp.linalg.cholesky(jnp.asarray(covariance)).T", "test_samplers:test_the_covariance_of_the_target_whitens"),
    Mutant("variances for standard deviations", "base/step_size.py", "step_size * jnp.sqrt(jnp.asarray(covariance))", "step_size * jnp.asarray(covariance)", "test_samplers:test_a_covariance_is_a_step_size"),
    Mutant("McLachlan's number mistyped", FLOW, "_a = 0.1931833275037836", "_a = 0.25", "test_samplers:test_mclachlan_beats_two_leapfrogs"),
    Mutant("Yoshida's number mistyped", FLOW, "_w = 1 / (2 - 2 ** (1 / 3))", "_w = 1 / (2 - 2 ** (1 / 4))", "test_invariance:test_verification_case:yoshida, an integrator"),
    # trees and states
    Mutant("kinetic energy without its half", "_tree.py", "return 0.5 * sum(leaves[1:], leaves[0])", "return sum(leaves[1:], leaves[0])", invariant("hmc")),
    Mutant("one key for all leaves", "_tree.py", "jax.random.split(key, len(leaves)) if len(leaves) > 1 else [key]", "[key] * len(leaves)", "test_base:test_noise_of_leaves_is_independent"),
    Mutant("matrix step not transposed in the kick", "base/step_size.py", "matrix.T if transpose else matrix", "matrix", "test_samplers:test_the_inverse_covariance_as_mass_whitens"),
    Mutant("rows for columns of a small matrix", "base/step_size.py", "[matrix[:, i] * flat[i]", "[matrix[i] * flat[i]", "test_base:test_a_matrix_acts_from_the_left:3"),
    Mutant("a singular matrix of positive numbers", "base/step_size.py", "checks.full_rank(self.matrix, \"step_size\")", "pass", "test_checks:test_bad_input_is_named:singular step"),
    Mutant("gradient not moved with the point", B, "new = evaluate(energy, position, with_grad=state.grad is not None)", "new = evaluate(energy, position, with_grad=False)._replace(grad=state.grad)", invariant("mala", "rosenbrock")),
    # functions of energies and kernels
    Mutant("temperature upside down", "energies/transforms.py", "return energy / jnp.asarray", "return energy * jnp.asarray", "test_laws:test_temper_multiplies_the_variance"),
    Mutant("denoised uphill", "energies/transforms.py", "v - square(v) * g", "v + square(v) * g", "test_energy:test_denoise_is_the_posterior_mean"),
    Mutant("energy carried over a change of the rest", "kernels/within.py", "return state._replace(position=position, energy=inner.energy), info", "return state._replace(position=position), info", "test_invariance:test_verification_case:within, a sweep over a tree"),
    Mutant("weights of a mixture ignored", "kernels/combinators.py", "jnp.log(jnp.asarray(self.weights))", "0 * jnp.log(jnp.asarray(self.weights))", "test_combinators:test_mixture_takes_each_as_often_as_its_weight"),
    Mutant("mixture chooses by the place, not by chance", "kernels/combinators.py", "return jax.lax.switch(choice, branches, noise, state)", "return jax.lax.switch((state.energy > 1).astype(int), branches, noise, state)", invariant("mixture")),
    Mutant("repeat with one noise", "kernels/combinators.py", "fold = lambda i: jax.random.fold_in(key, i)", "fold = lambda i: jax.random.fold_in(key, 0 * i)", invariant("repeat")),
    Mutant("cycle with one key", "kernels/combinators.py", "keys = jax.random.split(key, len(self.kernels))", "keys = [key] * len(self.kernels)", invariant("cycle", "two_modes")),
    # chains
    Mutant("one key for all chains", "sampling/loop.py", "fold_on_host(key, chains)", "fold_on_host(key, 0 * chains)", "test_chains:test_chains_are_different"),
    Mutant("one key for all chains inside jit", "sampling/loop.py", "jax.vmap(lambda c: fold(key, c))", "jax.vmap(lambda c: fold(key, 0 * c))", "test_chains:test_keys_of_chains_inside_jit_are_those_of_the_host"),
    Mutant("a later run begins at step 0", "sampling/loop.py", "begin = jnp.asarray(start)", "begin = jnp.asarray(0 * start)", SPLIT),
    Mutant("the noise of a block used again", "sampling/loop.py", "return (first + block * thin, carry), kept", "return (first, carry), kept", "test_chains:test_every_step_has_its_own_noise"),
    Mutant("one noise for all steps of a block", "sampling/loop.py", "jax.vmap(draw)(first + jnp.arange(length * thin))", "jax.vmap(draw)(first + 0 * jnp.arange(length * thin))", "test_chains:test_every_step_has_its_own_noise"),
    Mutant("acceptance of the first step for that of all", "sampling/loop.py", "info = merge(infos)", "info = jax.tree.map(lambda x: x[0], infos)", CHUNKS),
    Mutant("the end of the run begins again", "sampling/loop.py", "carry, last = averaged_steps(carry, first, rest,", "carry, last = averaged_steps(carry, begin, rest,", "test_chains:test_every_step_has_its_own_noise"),
    # training
    Mutant("loss upside down", "objectives/likelihood.py", "value = of_data(data) - of_model(model)", "value = of_model(model) - of_data(data)", EQ9),
    Mutant("samples of the start, not of the end", "objectives/likelihood.py", "without_broken(state.position, is_finite)", "without_broken(chains.position, is_finite)", CD),
    Mutant("a step too many", "objectives/likelihood.py", "state, _, info = run(keys, kernel, state, self.num_steps, collect=discard)", "state, _, info = run(keys, kernel, state, self.num_steps + 1, collect=discard)", CD),
    Mutant("gradient through the samples", "objectives/likelihood.py", "jax.lax.stop_gradient(params)", "params", "test_objectives:test_no_gradient_flows_through_the_samples"),
    Mutant("NaN times zero", "objectives/likelihood.py", "without_broken(state.position, is_finite)", "state.position", "test_training:test_chains_that_are_not_finite_are_restarted_and_counted"),
    Mutant("step shrinks when all is accepted", "objectives/likelihood.py", "+ rate * (acceptance - target)", "+ rate * (target - acceptance)", "test_objectives:test_the_step_size_follows_the_acceptance"),
    Mutant("only the data regularised", "objectives/likelihood.py", "(of_data(data**2) + of_model(model**2))", "of_data(data**2)", "test_objectives:test_regularisation_is_of_the_squared_energies"),
    Mutant("a slot of the buffer twice", "training/chain_init.py", "(begin + stride * jnp.arange(num_chains) + within) % size", "jax.random.randint(key_slots, (num_chains,), 0, size)", "test_starts:test_all_slots_of_a_buffer_run_equally_often:10-4"),
    Mutant("the end of a buffer never runs", "training/chain_init.py", "begin = jax.random.randint(key_begin, (), 0, size)", "begin = 0", "test_starts:test_all_slots_of_a_buffer_run_equally_often:10-4"),
    Mutant("log 2 mistyped in the logarithm", "_random.py", "np.float32(math.log(2))", "np.float32(0.6932)", "test_noise:test_numbers_are_the_inverse_of_the_normal_distribution"),
    Mutant("chains put into other slots", "training/chain_init.py", "x.at[slots].set(c)", "x.at[jnp.arange(len(c))].set(c)", "test_starts:test_a_buffer_returns_what_was_put_no_slot_twice"),
    Mutant("kept and restarted swapped", "training/chain_init.py", "return rows(is_restarted, self.fresh(key_fresh, num_chains), old), slots", "return rows(is_restarted, old, self.fresh(key_fresh, num_chains)), slots", "test_starts:test_restarts_have_their_probability"),
    Mutant("updates that are NaN are made", "training/step.py", "return select(is_finite, after, before)", "return select(jnp.bool_(True), after, before)", "test_training:test_an_update_that_is_not_finite_is_skipped_and_counted", "TrainingDiverged: .* not finite"),
    Mutant("average turned around", "training/step.py", "decay * e + (1 - decay) * p", "(1 - decay) * e + decay * p", "test_training:test_ema_is_the_moving_average"),
    Mutant("every update sees the same batch", "training/_updates.py", "jax.random.fold_in(key, state.step)", "jax.random.fold_in(key, 0)", "test_training:test_every_update_sees_another_batch"),
    Mutant("roll-back without smaller steps", "training/divergence.py", "lr_scale=state.lr_scale * np.float32(self.learning_rate_factor)", "lr_scale=state.lr_scale", "test_watch:test_a_run_that_diverges_goes_back_and_reaches_its_target", "TrainingDiverged: .* after 6 roll-backs"),
    Mutant("roll-backs not counted", "training/divergence.py", "num_rollbacks=state.num_rollbacks + np.int32(1)", "num_rollbacks=state.num_rollbacks", "test_watch:test_a_run_that_diverges_goes_back_and_reaches_its_target"),
    Mutant("a spread is believed however large", "training/diagnosis.py", "min(spread, dim**0.5)", "spread", "test_watch:test_each_way_to_diverge_has_its_sentence:changed5-no longer follow the energy"),
    Mutant("a gap as in many dimensions", "training/diagnosis.py", "GAP + GAP_PER_DIM * dim", "GAP * GAP_PER_DIM * 100", "test_watch:test_each_way_to_diverge_has_its_sentence:changed3-the energies of data and model are 200 apart (limit 120)"),
    Mutant("back by the length of a chunk", "training/divergence.py", "SETTLED = 25", "SETTLED = 0", "test_watch:test_one_goes_back_as_far_however_short_the_chunks"),
    Mutant("back to a state that is not healthy", "training/divergence.py", "before = self.healthy if self.healthy is not None else new", "before = self._pending[-1][0] if self._pending else self.healthy", "test_watch:test_what_on_chunk_saw_last_goes_on_to_the_same_end_bit_for_bit"),
    Mutant("learning rate that stays", "training/step.py", "(lr_scale * c * u).astype(u.dtype)", "u", "test_watch:test_another_learning_rate_or_step_size_compiles_nothing"),
    Mutant("chains of training at temperature 1", "objectives/likelihood.py", "self.make_kernel(tempered, chains.step_size)", "self.make_kernel(fixed, chains.step_size)", "test_watch:test_the_density_that_is_learned_at_a_temperature_is_that_of_the_tempered_energy"),
    Mutant("temperature of separate noise upside down", "kernels/langevin.py", "sigma**2 / (2 * alpha)\n", "2 * alpha / sigma**2\n", "test_watch:test_separate_noise_is_a_step_size_and_a_temperature"),
    Mutant("temperature of a run forgotten", "experiments/experiment.py", "temper(energy, self.config.temperature)", "energy", "test_watch:test_a_run_stores_its_temperature"),
    # other objectives
    Mutant("sign of the trace", "objectives/score_matching.py", "return half_square(grad(x)) - trace(grad, x)", "return half_square(grad(x)) + trace(grad, x)", "test_score_matching:test_explicit_is_its_closed_form"),
    Mutant("sign of the sliced trace", "objectives/score_matching.py", "return square - quadratic_form(grad, x, v)", "return square + quadratic_form(grad, x, v)", "test_score_matching:test_sliced_equals_explicit_in_expectation:True-rademacher"),
    Mutant("score without its half", "objectives/score_matching.py", "return half_square(grad(x)) - trace(grad, x)", "return 2 * half_square(grad(x)) - trace(grad, x)", "test_score_matching:test_explicit_is_its_closed_form"),
    Mutant("squared slope without its half", "objectives/score_matching.py", "else 0.5 * slope**2", "else slope**2", "test_score_matching:test_sliced_equals_explicit_in_expectation:False-rademacher"),
    Mutant("signs of a variance above 1", "objectives/_gradients.py", "jax.tree.map(jnp.sign, normal_like(key, x))", "jax.tree.map(lambda n: 1.1 * jnp.sign(n), normal_like(key, x))", "test_score_matching:test_sliced_equals_explicit_in_expectation:True-rademacher"),
    Mutant("noise not scaled in the target", "objectives/score_matching.py", "n / noise - g", "n - g", "test_score_matching:test_denoising_is_explicit_on_smoothed_data_and_a_constant:0.3"),
    Mutant("score uphill in denoising", "objectives/score_matching.py", "n / noise - g", "n / noise + g", "test_score_matching:test_denoising_is_explicit_on_smoothed_data_and_a_constant:0.3"),
    Mutant("clean point for the noisy one", "objectives/score_matching.py", "grad = jax.grad(energy)(axpy(noise, xi, x))", "grad = jax.grad(energy)(x)", "test_score_matching:test_denoising_is_explicit_on_smoothed_data_and_a_constant:0.3"),
    Mutant("levels not weighed", "objectives/score_matching.py", "return noise**2 * denoising_error(", "return denoising_error(", "test_score_matching:test_each_level_counts_alike"),
    Mutant("step not scaled by the noise", "tempering/annealed_langevin.py", "step_size * levels[i])", "step_size)", "test_annealed_langevin:test_each_level_is_its_linear_recursion"),
    Mutant("the last level's energy at all levels", "tempering/annealed_langevin.py", "energy(x, levels[i])", "energy(x, levels[-1])", "test_annealed_langevin:test_each_level_is_its_linear_recursion"),
    Mutant("the same noise at each level", "tempering/annealed_langevin.py", "i * num_steps", "0 * i", "test_annealed_langevin:test_levels_draw_noise_of_their_own"),
    Mutant("overlap counted from one side", "tempering/annealed_langevin.py", "normal(shift - 3 * ratio)", "normal(shift - 3)", "test_annealed_langevin:test_neighbours_overlap_by_one_half"),
    Mutant("step of a ladder of variances", "tempering/annealed_langevin.py", "(ratio**2 - rest)", "(ratio - rest)", "test_annealed_langevin:test_the_step_leaves_the_variance_that_the_next_level_expects"),
    Mutant("noise-conditional, its Gaussian without the noise", "energies/networks.py", "radius = jnp.sqrt(self.spread**2 + noise**2)", "radius = jnp.float32(self.spread)", "test_annealed_langevin:test_a_noise_conditional_network_of_zero_weights_is_a_gaussian_of_the_right_size"),
    Mutant("marginal of the wrong sign", "objectives/joint.py", "-jax.nn.logsumexp(-self.class_energies(params, x))", "jax.nn.logsumexp(self.class_energies(params, x))", "test_joint:test_at_the_truth_the_losses_of_the_classifier_are_those_of_bayes_and_log_z_is_0"),
    Mutant("energies for logits", "objectives/joint.py", "logits = -jax.vmap(", "logits = jax.vmap(", "test_joint:test_at_the_truth_the_losses_of_the_classifier_are_those_of_bayes_and_log_z_is_0"),
    Mutant("generative weight forgotten", "objectives/joint.py", "cross_entropy + self.generative_weight * value", "cross_entropy + value", "test_joint:test_the_joint_gradient_is_that_of_the_likelihood_of_points_and_labels"),
    Mutant("class-conditional without the class", "objectives/joint.py", "return jnp.vdot(x.label, energies)", "return -jax.nn.logsumexp(-energies)", "test_joint:test_the_class_conditional_gradient_is_that_of_the_likelihood_given_labels"),
    Mutant("labels of chains all alike probable", "objectives/chain_inits.py", "categorical(key_label, self.log_shares,", "categorical(key_label, 0 * self.log_shares,", "test_joint:test_fresh_chains_have_the_shares_of_the_data"),
    Mutant("gaps of bins cancel", "evaluation/classification.py", "np.nansum(np.abs(right - confidence) * share)", "np.abs(np.nansum((right - confidence) * share))", "test_classification:test_the_calibration_error_of_four_rows_by_hand"),
    Mutant("bins closed below", "evaluation/classification.py", "np.ceil(confidence * num_bins).astype(int) - 1", "np.floor(confidence * num_bins).astype(int)", "test_classification:test_the_calibration_error_of_four_rows_by_hand"),
    Mutant("ties count whole", "evaluation/classification.py", 'side="left"', 'side="right"', "test_classification:test_auroc_is_the_count_of_pairs_and_ties_are_half"),
    Mutant("outside ranked above", "evaluation/classification.py", "return -np.asarray(jax.jit(jax.vmap(energy))", "return np.asarray(jax.jit(jax.vmap(energy))", "test_classification:test_auroc_of_wider_normals_is_fishers_f"),
    Mutant("recovery, the energy of the noisier level", "objectives/recovery.py", "partial(_at_noise, energy, fixed, lower[i])", "partial(_at_noise, energy, fixed, upper[i])", "test_recovery:test_the_gradient_with_k_langevin_steps_is_its_closed_form"),
    Mutant("recovery, tau the noise of z", "objectives/recovery.py", "tau = jnp.sqrt(upper[i] ** 2 - lower[i] ** 2)\n        y =", "tau = upper[i]\n        y =", "test_recovery:test_the_gradient_with_k_langevin_steps_is_its_closed_form"),
    Mutant("recovery, gradient through the chain", "objectives/recovery.py", "partial(_at_noise, energy, fixed, lower[i])", "partial(_at_noise, energy, params, lower[i])", "test_recovery:test_the_gradient_with_k_langevin_steps_is_its_closed_form"),
    Mutant("recovery, clean points for noisy ones", "objectives/recovery.py", "y = axpy(lower[i], normal_like(key_clean, x), x)", "y = x", "test_recovery:test_the_gradient_with_k_langevin_steps_is_its_closed_form"),
    Mutant("recovery, twice the pull to z", "objectives/recovery.py", "self.energy(y) + half_square(scaled)", "self.energy(y) + 2 * half_square(scaled)", "test_recovery:test_from_exact_draws_the_sampler_returns_exact_draws"),
    Mutant("recovery, sampled at the noisier level", "objectives/recovery.py", "lambda y: energy(y, lower[i])", "lambda y: energy(y, upper[i])", "test_recovery:test_from_exact_draws_the_sampler_returns_exact_draws"),
    Mutant("log ratio of noise and data swapped", "objectives/noise_contrastive.py", "- log_q - jnp.log(ratio)", "- log_q + jnp.log(ratio)", "test_noise_contrastive:test_it_finds_the_newton_solution_of_the_logistic_regression:4"),
    Mutant("density of the noise forgotten", "objectives/noise_contrastive.py", " - log_q - jnp.log(ratio)", " - jnp.log(ratio)", "test_noise_contrastive:test_it_finds_the_newton_solution_of_the_logistic_regression:1"),
    Mutant("noise counted once", "objectives/noise_contrastive.py", "+ ratio * jnp.mean(jax.nn.softplus(of_noise))", "+ jnp.mean(jax.nn.softplus(of_noise))", "test_noise_contrastive:test_it_finds_the_newton_solution_of_the_logistic_regression:4"),
    Mutant("data and noise swapped", "objectives/noise_contrastive.py", "missed = jnp.mean(jax.nn.softplus(-of_data))\n        value = missed + ratio * jnp.mean(jax.nn.softplus(of_noise))", "missed = jnp.mean(jax.nn.softplus(of_data))\n        value = missed + ratio * jnp.mean(jax.nn.softplus(-of_noise))", "test_noise_contrastive:test_it_finds_the_newton_solution_of_the_logistic_regression:1"),
    Mutant("noise normalised wrongly", "objectives/_noise.py", "np.log(np.diag(root)).sum() + 0.5", "-np.log(np.diag(root)).sum() + 0.5", "test_noise_contrastive:test_fitted_normal_is_normalised_and_draws_what_it_says"),
    Mutant("ranking without the data point", "objectives/noise_contrastive.py", "jax.nn.logsumexp(rivals, axis=1) - of_data", "jax.nn.logsumexp(rivals[:, 1:], axis=1) - of_data", "test_noise_contrastive:test_at_the_truth_with_the_noise_of_the_data_the_loss_is_2_log_2"),
    Mutant("conditional upside down", "objectives/noise_contrastive.py", "jnp.mean(jax.nn.softplus(gap))", "jnp.mean(jax.nn.softplus(-gap))", "test_noise_contrastive:test_conditional_with_small_noise_is_score_matching"),
    Mutant("draws about the data point", "objectives/energy_discrepancy.py", "normal_like(k, x), noisy)", "normal_like(k, x), x)", ED),
    Mutant("energy discrepancy turned around", "objectives/energy_discrepancy.py", "gaps = energy(x) - jax.vmap(energy)(draws)", "gaps = jax.vmap(energy)(draws) - energy(x)", ED),
    Mutant("a sum over draws for their mean", "objectives/energy_discrepancy.py", " - jnp.log(self.num_draws)", "", ED),
    Mutant("stabiliser of every draw", "objectives/energy_discrepancy.py", "jnp.log(jnp.asarray(self.stabiliser", "jnp.log(self.num_draws * jnp.asarray(self.stabiliser", "test_energy_discrepancy:test_of_a_flat_energy_it_is_the_logarithm_of_1_and_w_over_m"),
    Mutant("entropy of the chains minimised", "objectives/improved.py", "of_sampler -= self.entropy_weight * spread", "of_sampler += self.entropy_weight * spread", THROUGH),
    Mutant("energy not stopped where the sampler moves", "objectives/improved.py", "jax.vmap(stopped)(moving)", "of_params(moving)", THROUGH),
    Mutant("gradient through every step", "objectives/improved.py", "advance(stopped, position, first)", "advance(functools.partial(energy, params), position, first)", THROUGH),
    Mutant("noise of the first steps again", "objectives/improved.py", "num, start=start, collect", "num, start=0, collect", "test_improved:test_without_its_sampler_terms_it_is_contrastive_divergence"),
    Mutant("entropy without its dimension", "objectives/improved.py", "log_ball + dim * mean", "log_ball + mean", "test_improved:test_the_entropy_of_a_normal_is_half_log_det_2_pi_e_sigma"),
    Mutant("determinant of the couplings forgotten", "energies/flows.py", "z, added = coupling(z)\n            log_det += added", "z, added = coupling(z)", "test_flows:test_the_maps_are_inverse_and_their_determinants_those_of_the_jacobian"),
    Mutant("scale of the flow undone with its sign", "energies/flows.py", "log_det = -jnp.sum(self.log_scale)", "log_det = jnp.sum(self.log_scale)", "test_flows:test_the_maps_are_inverse_and_their_determinants_those_of_the_jacobian"),
    Mutant("the same half moves in every coupling", "energies/flows.py", "parity=i % 2", "parity=0", "test_flows:test_every_coordinate_moves_with_every_other"),
    Mutant("energy of a flow with minus its log Z", "energies/flows.py", "jnp.asarray(-log_z - flow", "jnp.asarray(log_z - flow", "test_flows:test_the_density_is_normalised_and_that_of_the_draws"),
    Mutant("flow that minimises the loss of the energy", "objectives/flow_contrastive.py", "value += stop(of_flow) - of_flow", "value += of_flow - stop(of_flow)", GAME),
    Mutant("energy moves by the flow's game", "objectives/flow_contrastive.py", "confusion(stop(player), flow", "confusion(player, flow", GAME),
    Mutant("no gradient through the draws", "objectives/flow_contrastive.py", "flow, batch, draws)\n        value += stop", "flow, batch, stop(draws))\n        value += stop", GAME),
    Mutant("likelihood of the flow turned around", "objectives/flow_contrastive.py", "(stop(log_q) - log_q)", "(log_q - stop(log_q))", GAME),
    Mutant("the last chunk of states forgotten", "energies/enumeration.py", "for first in range(0, 2**num_bits, size)", "for first in range(0, 2**num_bits - size + (num_bits < 15), size)", "test_binary:test_two_to_the_twenty_states"),
    Mutant("gradient of log Z not weighed", "energies/enumeration.py", "jnp.sum(w * jax.vmap", "jnp.mean(jax.vmap", "test_binary:test_the_gradient_of_log_z_is_that_of_its_finite_differences"),
    Mutant("exact draws one state late", "energies/enumeration.py", 'side="right")', 'side="right") + 1', "test_binary:test_exact_draws_have_the_probabilities"),
    Mutant("spins counted twice", "energies/boltzmann.py", "-0.5 * s @ (pairs @ s)", "-1.0 * s @ (pairs @ s)", "test_binary:test_the_ring_has_the_z_of_its_transfer_matrix:0.3"),
    Mutant("hidden units without their bias", "energies/boltzmann.py", "jax.nn.softplus(params.hidden + v @ params.weights)", "jax.nn.softplus(v @ params.weights)", "test_binary:test_z_of_an_rbm_from_either_layer_and_from_both"),
    Mutant("layers swapped, biases not", "energies/boltzmann.py", "RBM(params.weights.T, params.hidden, params.visible)", "RBM(params.weights.T, params.hidden, params.visible[::-1])", "test_binary:test_z_of_an_rbm_from_either_layer_and_from_both"),
    Mutant("visible units without their bias in block Gibbs", "kernels/rbm_gibbs.py", "of_visible.ravel() < visible + weights @ h", "of_visible.ravel() < weights @ h", "test_binary:test_block_gibbs_and_sweeps_leave_the_model_alone"),
    Mutant("heat bath upside down", "kernels/gibbs.py", "jax.vmap(difference)(others)", "-jax.vmap(difference)(others)", "test_binary:test_block_gibbs_and_sweeps_leave_the_model_alone"),
    Mutant("flip that claims a ratio", "kernels/flip.py", "return proposed, jnp.zeros_like(state.energy)", "return proposed, 0.1 * (2 * x[0] - 1)", "test_binary:test_flip_has_detailed_balance"),
    Mutant("pseudo-likelihood of the flipped bit", "objectives/binary_data.py", "return energy(params, x) - jax.vmap(flipped)(sites)", "return jax.vmap(flipped)(sites) - energy(params, x)", "test_binary_data:test_independent_bits_have_a_closed_form:pseudo_likelihood"),
    Mutant("ratios not squared", "objectives/binary_data.py", "jax.nn.sigmoid(gap) ** 2", "jax.nn.sigmoid(gap)", "test_binary_data:test_the_truth_is_a_stationary_point_and_a_minimum:ratio_matching"),
    Mutant("a few sites not scaled up", "objectives/binary_data.py", "size / len(sites) * jnp.sum", "jnp.sum", "test_binary_data:test_a_few_sites_are_right_in_the_mean:pseudo_likelihood"),
    Mutant("sign of the mixed derivative of the kernel", "objectives/stein.py", "- 2 * x.shape[1] * slope - 4 * t * bend", "+ 2 * x.shape[1] * slope + 4 * t * bend", "test_stein:test_the_pair_values_are_the_definition:rbf"),
    Mutant("curvature of the kernel forgotten", "objectives/stein.py", " - 4 * t * bend", "", "test_stein:test_between_shifted_gaussians_it_is_the_closed_form:3-1.5"),
    Mutant("scores without their turn", "objectives/stein.py", "- 2 * slope * turn", "+ 2 * slope * turn", "test_stein:test_the_pair_values_are_the_definition:imq"),
    Mutant("pairs of a point with itself counted", "objectives/stein.py", "(jnp.sum(pairs) - jnp.trace(pairs)) / (num * (num - 1))", "jnp.sum(pairs) / num**2", "test_stein:test_it_is_zero_on_average_only_at_the_truth:rbf"),
    Mutant("critic that minimises", "objectives/learned_stein.py", "value = found - of_critic", "value = found + of_critic", "test_stein:test_the_best_critic_is_the_difference_of_the_scores:0.5"),
    Mutant("critic without its trace", "objectives/learned_stein.py", "return along_score + self.divergence(key, f, x)", "return along_score", "test_stein:test_the_best_critic_is_the_difference_of_the_scores:0.5"),
    Mutant("penalty counted twice", "objectives/learned_stein.py", "value = found - of_critic + self.penalty * size", "size = 2 * size\n        value = found - of_critic + self.penalty * size", "test_stein:test_the_best_critic_is_the_difference_of_the_scores:2.0"),
    Mutant("energy moved by the term of the critic", "objectives/learned_stein.py", "Players(fixed.energy, params.other)", "params", "test_stein:test_the_best_critic_is_the_difference_of_the_scores:0.5"),
    Mutant("entropy of the wrong sign", "objectives/adversarial.py", "jnp.mean(of_sampler) + jnp.mean(log_q)", "jnp.mean(of_sampler) - jnp.mean(log_q)", "test_adversarial:test_the_gradients_are_their_closed_forms_and_each_player_has_its_own"),
    Mutant("gradient of the energy through the draws", "objectives/adversarial.py", "of_points(params.energy, fixed_x)", "of_points(params.energy, x)", "test_adversarial:test_the_gradients_are_their_closed_forms_and_each_player_has_its_own"),
    Mutant("log determinant with the wrong sign", "objectives/adversarial.py", "_log_standard_normal(z) - log_det", "_log_standard_normal(z) + log_det", "test_adversarial:test_affine_draws_have_their_mean_covariance_and_density"),
    Mutant("affine density without its scale", "objectives/adversarial.py", "log_q - jnp.sum(params.log_diagonal)", "log_q", "test_adversarial:test_the_bound_is_log_z_where_the_sampler_is_the_model_and_less_elsewhere"),
    Mutant("a mixture of which one normal counts", "objectives/adversarial.py", "jax.nn.logsumexp(of_all, axis=1)", "jnp.max(of_all, axis=1)", "test_adversarial:test_a_mixture_of_normals_has_its_density_and_draws_from_it"),
    Mutant("shares of a mixture forgotten", "objectives/adversarial.py", " - math.log(count)", "", "test_adversarial:test_a_mixture_of_normals_has_its_density_and_draws_from_it"),
    Mutant("penalty on the slope at the draws", "objectives/adversarial.py", "jax.vmap(slope)(batch)", "jax.vmap(slope)(fixed_x)", "test_adversarial:test_the_gradient_penalty_is_half_the_squared_slope_at_the_data"),
    Mutant("constants of classes of the wrong sign", "experiments/classes.py", "jax.nn.softmax(c - energies)", "jax.nn.softmax(c + energies)", "test_labelled_runs:test_constants_of_classes_are_their_shares_over_their_z"),
    Mutant("points held out and trained on", "experiments/classes.py", "take(dataset, order[~is_held[order]])", "dataset", "test_labelled_runs:test_what_is_held_out_is_never_trained_on"),
    Mutant("rows shuffled in place of coordinates", "experiments/labelled.py", "jax.random.uniform(key_shuffle, flat.shape)", "jnp.tile(jax.random.uniform(key_shuffle, (num, 1)), flat.shape[1])", "test_labelled_runs:test_ood_inputs_keep_their_margins_or_their_box"),
    # the no-U-turn sampler
    Mutant("NUTS draws its points evenly", "kernels/nuts_tree.py", "-within < -error - log_new", "-within < -jnp.log(i + 1.0)", invariant("nuts")),
    Mutant("NUTS prefers high energies", "kernels/nuts_tree.py", "-jnp.inf, tree.log_new), -error)", "-jnp.inf, tree.log_new), error)", NUTS_WEIGHT),
    Mutant("NUTS always takes the new half", "kernels/nuts_tree.py", "is_taken & (-between < log_new - tree.log_weight)", "is_taken", NUTS_WEIGHT),
    Mutant("NUTS forgets the inner stretches", "kernels/nuts_tree.py", "has_turned |= ~is_first & tree.has_turned", "has_turned = is_whole & False", NUTS_TREE),
    Mutant("NUTS keeps a doubling that turned", "kernels/nuts_tree.py", "is_taken = is_whole & is_good", "is_taken = is_whole & is_finite & ~tree.has_ended", NUTS_TREE),
    Mutant("NUTS closes one stretch only", "kernels/nuts_tree.py", "row + 1, close, start)", "row + 1, close, start) & (num_closed == 1)", NUTS_TREE),
    Mutant("NUTS leaves the momentum flipped", "kernels/nuts_tree.py", "n_tip = sign * ravel_pytree(n_tip)[0]", "n_tip = ravel_pytree(n_tip)[0]", NUTS_TREE),
    Mutant("NUTS goes on where it diverged", "kernels/nuts_tree.py", "is_good = is_finite & ~errors_new.is_wide()", "is_good = is_finite | ~errors_new.is_wide()", "test_nuts:test_divergences_are_reported_and_the_chain_stays"),
    Mutant("NUTS sums momenta without the start", "kernels/nuts_tree.py", "rho = tree.rho + rho_new", "rho = tree.rho - n_left + rho_new", NUTS_TREE),
    Mutant("step jitter to one side only", H, "(2 * uniform(key_size) - 1)", "uniform(key_size)", "test_samplers:test_step_jitter_is_even_and_keeps_the_length"),
    # warm-up
    Mutant("step size moves the wrong way", "adaptation/step_size.py", "log_size = self.center - jnp.sqrt(count)", "log_size = self.center + jnp.sqrt(count)", "test_adaptation:test_it_finds_the_target_acceptance_rate:mala"),
    Mutant("step size remembers its first guess", "adaptation/step_size.py", "weight = count**-KAPPA", "weight = 0 * count", "test_warmup:test_dual_averaging_finds_the_root_of_a_known_curve:100"),
    Mutant("variances for deviations", "adaptation/mass_matrix.py", "log_sd = 0.5 * jnp.log", "log_sd = jnp.log", ROOT_OF),
    Mutant("scales where nothing moved", "adaptation/mass_matrix.py", "scale = jnp.where(is_known, jnp.exp(log_scale), last)", "scale = jnp.exp(log_scale)", ROOT_OF),
    Mutant("correlations taken as they come", "adaptation/mass_matrix.py", "(1 - jnp.minimum(noise, 1.0)) * r", "r", DENSE),
    Mutant("correlations drawn the wrong way", "adaptation/mass_matrix.py", "(1 - jnp.minimum(noise, 1.0)) * r", "jnp.minimum(noise, 1.0) * r", DENSE),
    Mutant("deviations forgotten beside correlations", "adaptation/mass_matrix.py", "factor = scale[:, None] * cholesky", "factor = cholesky", ROOT_OF),
    Mutant("spread between parts forgotten", "adaptation/mass_matrix.py", "centred**2, axis=0) + delta**2 * self.num * share", "centred**2, axis=0)", MOMENTS),
    Mutant("points that are NaN counted", "adaptation/mass_matrix.py", "num = jnp.sum(is_used)", "num = jnp.sum(is_used | True)", MOMENTS),
    Mutant("ChEES downhill", "adaptation/trajectory_length.py", "self.log_length + RATE * slope / size", "self.log_length - RATE * slope / size", CLIMBS),
    Mutant("longer at any price", "adaptation/trajectory_length.py", "self.gain / square - jnp.maximum(1 - square / most, 0.0) ** 2", "self.gain / square", CLIMBS),
    Mutant("a price that is too high", "adaptation/trajectory_length.py", "self.gain / square - jnp.maximum(1 - square / most, 0.0) ** 2", "self.gain / square - 1", CLIMBS),
    Mutant("ChEES without its square", "adaptation/trajectory_length.py", "share @ (2 * change * rate * time)", "share @ (2 * rate * time)", CHEES),
    Mutant("ends refused counted", "adaptation/trajectory_length.py", "share @ change**2", "jnp.mean(change**2)", CHEES),
    Mutant("ChEES of the start", "adaptation/trajectory_length.py", "rate = jnp.sum(y * velocity, axis=1)", "rate = jnp.sum(x * velocity, axis=1)", CHEES),
    Mutant("scales never renewed", "adaptation/mass_matrix.py", "scale = state.scale(tuning.scale)", "scale = tuning.scale", "test_warmup:test_dense_mass_whitens"),
    Mutant("no step size of one's own in the tails", "adaptation/approach.py", "log_size + info.acceptance_rate - target", "log_size", "test_warmup:test_starts_in_far_tails:4-nuts"),
    Mutant("the approach never goes on", "adaptation/approach.py", "is_on & (num + 1 < MOST_ROUNDS)", "is_on & (num + 1 < LEAST_ROUNDS)", "test_warmup:test_starts_in_far_tails:1-mala"),
    Mutant("chains that lag are left behind", "adaptation/step_size.py", "lag = harmonic_mean(ema, weight) / weighted_mean(ema, weight)", "lag = 1.0", "test_warmup:test_slow_chains_determine_the_step_size"),
    Mutant("trajectories judged by the mean of the chains", "adaptation/step_size.py", "rate = harmonic_mean(rates, weight)", "rate = weighted_mean(rates, weight)", "test_warmup:test_a_bent_target_gets_the_steps_that_its_narrow_places_want"),
    Mutant("lengths always rounded down", "adaptation/trajectory_length.py", "return (t * GOLDEN) % 1.0", "return 0.0 * t", "test_warmup:test_lengths_are_right_on_the_average"),
    Mutant("gradients of trajectories counted once", "kernels/hamiltonian.py", "num_grads = jnp.int32((len(self.integrator) // 2) * length)", "num_grads = info.num_grads", "test_warmup:test_gradients_of_a_free_length_are_counted"),
    Mutant("chains not split", "diagnostics/_coordinate.py", "jnp.concatenate([draws[:half], draws[-half:]], axis=1)", "draws", "test_diagnostics:test_agrees_with_arviz:walk-rhat"),
    Mutant("ranks not normalised", "diagnostics/_coordinate.py", "return ndtri((rank - 0.375) / (x.size + 0.25)).reshape(x.shape)", "return rank.reshape(x.shape)", "test_diagnostics:test_agrees_with_arviz:walk-rhat"),
    Mutant("pairs not monotone", "diagnostics/_coordinate.py", "jnp.where(place < end, jax.lax.cummin(pairs), 0.0)", "jnp.where(place < end, pairs, 0.0)", "test_diagnostics:test_agrees_with_arviz:mala-ess_tail"),
    Mutant("chains that disagree count in full", "diagnostics/_coordinate.py", "(x.mean(axis=0).var(ddof=1) if num_chains > 1 else 0.0)", "0.0", "test_diagnostics:test_agrees_with_arviz:shifted-ess_mean"),
    Mutant("standard error of a variance for that of a deviation", "diagnostics/convergence.py", "/ ess_of(halves(squares)) / variance) / 2", "/ ess_of(halves(squares)))", "test_diagnostics:test_agrees_with_arviz:walk-mcse_sd"),
    Mutant("the beta of a quantile without its prior", "diagnostics/convergence.py", "beta_interval(ess * probability + 1,", "beta_interval(ess * probability,", "test_diagnostics:test_agrees_with_arviz:walk-mcse_quantile 0.1"),
    Mutant("weights not centred", "diagnostics/expectation.py", "mcse_mean(w * (values - value))", "mcse_mean(w * values)", "test_monte_carlo:test_standard_error_with_importance_weights_covers"),
    Mutant("weights forgotten in the error", "diagnostics/expectation.py", "mcse_mean(w * (values - value))", "mcse_mean(values)", "test_monte_carlo:test_standard_error_with_importance_weights_covers"),
    Mutant("E-BFMI against zero", "diagnostics/_chain_health.py", "/ jnp.sum(centred**2, axis=0)", "/ jnp.sum(hamiltonian**2, axis=0)", "test_health:test_bfmi_is_that_of_arviz"),
    Mutant("hamiltonian of the end", "kernels/hamiltonian.py", "start = state.energy + half_square(momentum)", "start = new.energy + half_square(momentum)", "test_health:test_the_hamiltonian_is_that_of_each_start"),
    Mutant("hamiltonian of the first of many steps", "base/states.py", "jnp.broadcast_to(infos.hamiltonian, shape)[-1]", "jnp.broadcast_to(infos.hamiltonian, shape)[0]", "test_base:test_merge_and_add_agree"),
    Mutant("infinite errors no divergence", "diagnostics/_chain_health.py", "~(info.energy_error <= DIVERGENT)", "(info.energy_error > DIVERGENT) & jnp.isfinite(info.energy_error)", "test_health:test_an_error_that_is_no_number_is_a_divergence"),
    Mutant("a copy by one print of bits alone", "diagnostics/_chain_health.py", "is_same = (a[1:] == a[:-1]) & (b[1:] == b[:-1])", "is_same = (a[1:] & 0xFF) == (a[:-1] & 0xFF)", "test_health:test_thousands_of_chains_are_compared_in_no_time"),
    Mutant("stuck by the last draw alone", "diagnostics/_chain_health.py", "jnp.any(x != x[:1], axis=axes)", "jnp.any(x[:2] != x[:1], axis=axes)", "test_health:test_chains_that_move_or_differ_at_all_are_not_named"),
    Mutant("Welford with the new mean twice", "diagnostics/_moments.py", "two.add(squares, distance * two.subtract(x, shift))", "two.add(squares, two.subtract(x, shift) ** 2)", "test_streaming:test_moments_are_those_of_the_draws"),
    Mutant("a half-full batch counts", "diagnostics/_batch_means.py", "< self.place", "<= self.place", "test_streaming:test_batches_join_wherever_the_run_ends:9"),
    Mutant("batches joined and not longer", "diagnostics/_batch_means.py", "exponent = b.exponent + is_crowded", "exponent = b.exponent", "test_streaming:test_batches_join_wherever_the_run_ends:9"),
    Mutant("chains that disagree are averaged over", "diagnostics/_batch_means.py", "sigma2 = jnp.maximum(sigma2,", "_ = jnp.maximum(sigma2,", "test_streaming:test_chains_that_disagree_and_chains_that_stand_still"),
    Mutant("a statistic begins again with each chunk", "sampling/_chunk_programs.py", "collect = collect.continued(reduced)", "collect = collect.continued(jax.tree.map(jnp.zeros_like, reduced))", "test_streaming:test_100_are_60_and_then_40_bit_for_bit"),
    Mutant("draws before chains", "io/arviz.py", "return np.swapaxes(array, 0, 1)", "return array", "test_export:test_draws_alone_have_no_stats"),
    Mutant("their key for the start used for the step", "kernels/blackjax.py", "algorithm.step(key_step, fresh)", "algorithm.step(key_init, fresh)", "test_adapters:test_the_kernel_that_theirs_gives_without_a_cycle_is_theirs"),
    Mutant("their step with the energy of before", "kernels/blackjax.py", "new = moved(self.energy, state, theirs.position)", "new = state._replace(position=theirs.position)", "test_adapters:test_theirs_runs_in_ours_with_an_info"),
    Mutant("their divergences dropped", "kernels/blackjax.py", "error = jnp.where(is_divergent, largest,", "error = jnp.where(False, largest,", "test_adapters:test_a_divergence_with_a_rate_is_one_all_the_same"),
    Mutant("a constant has the size of its length", "diagnostics/_coordinate.py", "size / jnp.maximum(tau, 1 / np.log10(size)), 0.0)", "size / jnp.maximum(tau, 1 / np.log10(size)), size)", "test_diagnostics:test_constant_chains_are_worth_nothing"),
    # what is kept, and what breaks
    Mutant("seal not looked at", "io/checkpoint.py", "if file.read() != seal:", "if False:", "test_checkpoint:test_every_corruption_is_detected"),
    Mutant("digests of leaves not looked at", "io/checkpoint.py", 'if _digest(array) != entry["sha256"]:', "if False:", "test_checkpoint:test_exchanged_members_under_a_new_seal_are_noticed_by_their_own_digests"),
    Mutant("files of Orbax not looked at", "io/orbax.py", "    if wrong:", "    if False:", "test_sharded:test_every_file_is_sealed"),
    Mutant("manifest of Orbax not looked at", "io/orbax.py", "encode()) != seal:", "encode()) == '':", "test_sharded:test_every_file_is_sealed"),
    Mutant("the old checkpoint removed before the new one is named", "io/orbax.py", "                os.replace(path, old)", "                shutil.rmtree(path)", "test_sharded:test_a_disk_that_fails_leaves_the_older_one", "FileNotFoundError: there is no checkpoint"),
    Mutant("a loaded chunk forgets its totals", "sampling/_chunked_run.py", "is_loaded = True\n", "is_loaded, found = True, (*found[:2], self.totals)\n", "test_journal:test_a_checkpoint_changes_no_number"),
    Mutant("another call not noticed", "io/chunk_store.py", "        if differences:", "        if False:", "test_journal:test_another_call_is_refused_and_files_are_kept:key"),
    Mutant("another energy not noticed", "sampling/initialization.py", "    if not abs(now[worst] - then[worst]) <= 1e-2 * (1 + abs(then[worst])):", "    if False:", "test_journal:test_another_call_is_refused_and_files_are_kept:energy"),
    Mutant("a broken step kept", "kernels/combinators.py", "return select(is_finite, new, state), info", "return new, info", "test_faults:test_a_kernel_that_does_not_look_is_looked_after_and_counted_by_chain"),
    Mutant("every kernel taken to reject non-finite points", "kernels/combinators.py", "return kernel if kernel.rejects_nonfinite else RejectNonfinite(kernel)", "return kernel", "test_faults:test_a_kernel_that_does_not_look_is_looked_after_and_counted_by_chain"),
    Mutant("kernels that reject non-finite points wrapped again", "kernels/combinators.py", "return kernel if kernel.rejects_nonfinite else RejectNonfinite(kernel)", "return RejectNonfinite(kernel)", "test_faults:test_our_kernels_are_guarded_for_nothing_and_others_are_guarded"),
    Mutant("one kernel that rejects is enough for a cycle", "kernels/combinators.py", "return all(k.rejects_nonfinite for k in self.kernels)", "return any(k.rejects_nonfinite for k in self.kernels)", "test_faults:test_our_kernels_are_guarded_for_nothing_and_others_are_guarded"),
    Mutant("the kernel of a part not wrapped", "kernels/within.py", "return reject_nonfinite(kernel)", "return kernel", "test_faults:test_within_looks_after_the_kernel_of_a_part"),
    Mutant("heat bath that falls into minus infinity", "kernels/gibbs.py", "jnp.where(is_valid, gaps, jnp.inf)", "gaps", "test_faults:test_a_sweep_of_gibbs_stays_out_of_the_hole:-inf"),
    Mutant("lost chains left where they are", "sampling/nonfinite.py", "jnp.where(jnp.asarray(is_lost), donors,", "jnp.where(jnp.asarray(~is_lost), donors,", "test_faults:test_a_chain_that_never_moves_is_put_where_another_one_is_and_counted"),
    # targets and their laws
    Mutant("Rosenbrock drawn too narrow", "targets.py", "x1**2 + math.sqrt(w) * x2", "x1**2 + 0.95 * math.sqrt(w) * x2", "test_targets:test_rosenbrock_is_a_normal_and_a_conditional_normal"),
    Mutant("funnel without its normaliser", "targets.py", " + (dim - 1) * x[0] / 2", "", "test_targets:test_draws_belong_to_the_energy:funnel"),
    Mutant("law of ULA with a half for a quarter", "verify/stationary_laws.py", "1 / (a * (1 - step_size**2 * a / 4))", "1 / (a * (1 - step_size**2 * a / 8))", "test_verify:test_the_law_of_ula_is_stationary"),
    # what fresh eyes found
    Mutant("a class counts as often as it has chains", "objectives/joint.py", "weight = of_chain @ (share / jnp.maximum(num, 1)) / jnp.sum(share)", "weight = is_finite / jnp.sum(is_finite)", "test_joint:test_the_class_conditional_gradient_is_that_of_the_likelihood_given_labels"),
    Mutant("points of a class without chains count", "objectives/joint.py", "batch.label @ (num > 0) / len(batch.label) / jnp.sum(share)", "jnp.ones(len(batch.label)) / len(batch.label)", "test_joint:test_constants_of_classes_have_no_gradient_where_a_class_has_no_chain_or_too_few"),
    Mutant("no chain left, and the data alone move the energy", "objectives/base.py", "/ jnp.sum(is_finite)", "/ jnp.maximum(jnp.sum(is_finite), 1)", "test_objectives:test_an_update_without_a_chain_left_is_skipped"),
    Mutant("broken chains count as zero", "objectives/base.py", "jnp.sum(jnp.where(is_finite, chains, 0.0)) / jnp.sum(is_finite)", "jnp.mean(jnp.where(is_finite, chains, 0.0))", "test_objectives:test_nonfinite_chains_do_not_count_and_are_returned_as_nan"),
    Mutant("broken chains of the improved objective count as zero", "objectives/improved.py", "weight = is_finite / jnp.sum(is_finite)", "weight = is_finite / is_finite.size", "test_improved:test_nonfinite_chains_do_not_count_and_are_returned_as_nan"),
    Mutant("broken chains of recovery count as zero", "objectives/recovery.py", "jnp.sum(gap) / jnp.sum(is_finite)", "jnp.mean(gap)", "test_recovery:test_a_chain_that_breaks_does_not_count"),
    Mutant("broken chains of recovery not counted", "training/step.py", 'metrics.get("num_broken", 0)', "0", "test_recovery:test_chains_that_broke_are_counted_by_the_loop"),
    Mutant("normals take turns from the first", "objectives/adversarial.py", "jax.random.randint(key_turn, (), 0, count)", "0", "test_adversarial:test_fewer_draws_than_normals_are_still_of_the_mixture:3"),
    Mutant("squares of points far away", "objectives/stein.py", "return x - jax.lax.stop_gradient(jnp.mean(x, axis=0))", "return x", "test_stein:test_points_far_from_the_origin_keep_their_digits:imq"),
    Mutant("lower bits not drawn", "energies/enumeration.py", "u, v = jax.random.uniform(key, (2, n))", "u, v = jax.random.uniform(key, (2, n)) * jnp.array([[1.0], [0.0]])", "test_binary:test_draws_of_twenty_four_bits_have_their_last_bit"),
    Mutant("NaN hides frozen chains", "training/diagnosis.py", 'known_mean(metrics["acceptance_rate"])', 'metrics["acceptance_rate"].mean()', "test_watch:test_one_value_that_is_nan_hides_nothing"),
    Mutant("skipped updates judged by the chunk", "training/divergence.py", "np.concatenate(skips)[-max(SETTLED, length) :]", "np.concatenate(skips)[-length:]", "test_watch:test_a_few_skipped_updates_are_no_divergence_however_short_the_chunks:1", "^TrainingDiverged: "),
    Mutant("units of the data turned around", "experiments/likelihood.py", "_log_z(energy, dim[0]) - log_spread", "_log_z(energy, dim[0]) + log_spread", "test_report:test_the_log_likelihood_is_that_of_the_density_in_the_units_of_the_data:1.0"),
    Mutant("mass outside the box", "experiments/likelihood.py", "> inside + 0.01:", "> inside + 1e9:", "test_report:test_the_log_likelihood_is_that_of_the_density_in_the_units_of_the_data:20.0"),
    Mutant("a wall is a fault of NUTS", "kernels/nuts_tree.py", "(counts & ~is_finite & ~is_wall)", "(counts & ~is_finite)", "test_nuts:test_a_hard_boundary_is_not_counted", "^ChainFault: "),
    Mutant("every report is true", "verify/report.py", "    def __bool__(self) -> bool:\n        return self.is_passed", "    def __bool__(self) -> bool:\n        return True", "test_verify:test_a_report_is_true_where_it_passed"),
    Mutant("carry of the wrong type under x64", "adaptation/step_size.py", "return cast_like((log_size, way, num + 1, is_on & (num < MOST_TRIES)), carry)", "return log_size, way, num + 1, is_on & (num < MOST_TRIES)", "test_x64:test_warm_up_and_its_kernel:mala-float32", "^TypeError: "),
    Mutant("noise on labels", "objectives/batches.py", "return batch._replace(point=noisy(key, batch.point, noise))", "pass", "test_joint:test_noise_is_added_to_the_points_alone"),
    Mutant("bits without a tail", "diagnostics/_coordinate.py", "jnp.where(is_edge, x.size,", "jnp.where(is_edge, 0,", "test_health:test_bits_are_healthy"),
    Mutant("a last pair cut off", "diagnostics/_coordinate.py", "jnp.where(pairs[end] > 0, even[end], jnp.maximum(even[end], 0.0))", "jnp.maximum(even[end], 0.0)", "test_diagnostics:test_agrees_with_arviz:drifting-ess_mean"),
    Mutant("folded about all draws", "diagnostics/convergence.py", "jnp.abs(split - jnp.median(split))", "jnp.abs(split - jnp.median(draws))", "test_diagnostics:test_agrees_with_arviz:scaled-rhat"),
    Mutant("digits of draws far away", "diagnostics/convergence.py", "centred = one - one[0, 0]", "centred = one", "test_diagnostics:test_agrees_with_arviz:far-ess_mean"),
    Mutant("a momentum lost within", "kernels/within.py", "if shapes.momentum is not None:", "if False:", "test_combinators:test_within_refuses_a_kernel_that_would_lose_its_momentum"),
    Mutant("sums as narrow as the positions", "diagnostics/_moments.py", "jnp.zeros(x.shape[1], jnp.promote_types(x.dtype, jnp.float32))", "jnp.zeros(x.shape[1], x.dtype)", "test_streaming:test_sums_of_narrow_positions_are_wide"),
    Mutant("an error that is NaN is none", "base/states.py", "jnp.where(jnp.isnan(error), jnp.inf, jnp.abs(error))", "jnp.where(jnp.isnan(error), 0.0, jnp.abs(error))", "test_health:test_a_divergence_that_is_nan_is_seen_however_thin_the_draws"),
]  # fmt: skip

for path in sorted(Path(__file__).parent.glob("mutants_*.py")):
    MUTANTS += importlib.import_module(path.stem).MUTANTS


# --- the matrix -------------------------------------------------------------------------------------------


def usual_test() -> None:
    """What one usually finds: 100 long chains on a Gaussian, mean and standard deviation within 10 %."""
    import jax
    import numpy as np

    import ebmjax as eb

    target = eb.targets.gaussian([1.0, -1.0], [[1.0, 0.5], [0.5, 2.0]])
    energy = target.energy
    kernels = [
        eb.random_walk(energy, 1.5),
        eb.mala(energy, 0.9),
        eb.hmc(energy, 0.4, 5),
        eb.ula(energy, 0.4),
    ]
    for kernel in [
        *kernels,
        eb.cycle(*kernels[:3]),
        eb.underdamped_langevin(energy, 0.3),
    ]:
        start = jax.numpy.zeros((100, 2))
        draws = np.asarray(
            eb.sample(jax.random.key(0), kernel, start, 1000, num_warmup=200).draws
        ).reshape(-1, 2)
        assert np.allclose(draws.mean(axis=0), target.mean, atol=0.1)
        assert np.allclose(
            draws.std(axis=0), np.sqrt(np.diag(target.covariance)), rtol=0.1
        )


SAMPLERS = (
    M,
    "kernels/proposal.py",
    "kernels/unadjusted.py",
    "kernels/random_walk.py",
    L,
    H,
    FLOW,
    B,
    "base/step_size.py",
    "base/states.py",
    "kernels/combinators.py",
    "sampling/loop.py",
)


def is_seen_by_the_usual_test(mutant: Mutant) -> bool:
    """Whether the usual test fails or raises."""
    with mutated(mutant), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            usual_test()
        except TextIsGone:
            raise
        except Exception:
            return True
    return False


def classifier_metrics(mutant: Mutant) -> tuple[str, str]:
    """The verdict of the killer, and whether the usual test detects the mutant."""
    import conftest  # noqa: F401  (the cache of compiled programs)

    usual = is_seen_by_the_usual_test(mutant) if mutant.file in SAMPLERS else None
    return verdict(mutant), {True: "yes", False: "**no**", None: "not applicable"}[
        usual
    ]


def page(results: list[tuple[Mutant, str, str]]) -> str:
    """The page of docs/: a row for each mutant with its verdicts."""
    import jax

    num_killed = sum(found == "killed" for _, found, _ in results)
    missed = sum(seen == "**no**" for _, _, seen in results)
    judged = sum(seen != "not applicable" for _, _, seen in results)
    rows = []
    for mutant, found, seen in results:
        _, test, *case = mutant.killer.split(":", 2)
        rows.append(
            f"| {mutant.name} | `{mutant.file}` | `{test}`{''.join(', ' + c for c in case)} | {found} | {seen} |"
        )
    return "\n".join([
        "# Seeded bugs",
        "",
        f"{len(results)} bugs in the library, one at a time, and the test that detects each: {num_killed} killed,",
        f"{len(results) - num_killed} not. A mutant is killed if an assertion fails; an accidental error does not count. The last",
        "column is a typical test: six samplers on a 2-d Gaussian, mean and standard deviation within 10 %.",
        f"It misses {missed} of the {judged} bugs in kernels, states and chains, to which it applies.",
        "",
        f"Made by `python tests/mutants.py` (jax {jax.__version__}, {jax.devices()[0].platform}, {time.strftime('%Y-%m-%d')}). CI runs every killer on its mutant",
        "(`tests/test_mutants.py`) and fails if one survives.",
        "",
        "| bug | file | killed by | | usual test |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def main(word: str = "") -> int:
    begin = time.perf_counter()
    mutants, results = [m for m in MUTANTS if word in m.name], []
    with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=20) as pool:
        for mutant, (found, seen) in zip(
            mutants, pool.map(classifier_metrics, mutants), strict=True
        ):
            results.append((mutant, found, seen))
            print(
                f"{len(results):3d}/{len(mutants)}  usual test: {seen:16s}  {found}: {mutant.name}",
                flush=True,
            )
    if not word:
        (ROOT / "docs" / "mutants.md").write_text(page(results))
    num_killed = sum(found == "killed" for _, found, _ in results)
    print(f"{num_killed} of {len(results)} killed, {time.perf_counter() - begin:.0f} s")
    return len(results) - num_killed


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
