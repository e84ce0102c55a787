"""Seeded bugs of energies given a condition."""

from killing import Mutant

IN = "test_conditional:"
MEANS = IN + "test_each_condition_has_its_own_mean_within_standard_errors"
SIZES = IN + "test_each_condition_has_its_own_step_size"
LOOP = IN + "test_many_conditions_are_a_loop_over_them"
SHARED = IN + "test_parameters_shared_by_conditions_are_stored_once"
LEAF = IN + "test_an_energy_given_its_condition_is_a_value_with_the_condition_as_leaf"
EXACT = IN + "test_the_gradient_is_that_of_the_conditional_likelihood"
STAYS = IN + "test_persistent_chains_stay_with_their_condition"
WHERE = IN + "test_chains_run_at_the_conditions_of_the_batch"
NOISE = IN + "test_noise_of_training_is_on_points_alone"
OVER = IN + "test_objectives_over_pairs_are_means_given_each_condition"
LOOPS, RUNS = "test_user_loops:", "test_conditional_runs:"
SHIFTS = LOOPS + "test_shifts_are_equally_likely_and_move_whole_images"
CHAINS = LOOPS + "test_a_share_of_the_chains_is_shifted_before_they_run"
TRACKER = LOOPS + "test_a_tracker_gets_plain_dictionaries_a_row_an_update"
COLUMNS = RUNS + "test_columns_and_labels_become_conditions"
FILLS = RUNS + "test_imputed_values_have_the_conditional_distribution"
OTHER = RUNS + "test_images_of_another_data_set_take_the_shape_and_units_of_the_run"
OBJECTIVE, EACH = "objectives/conditional.py", "adaptation/each.py"
OWN = IN + "test_chains_near_the_data_begin_near_their_own_point"
PAIRS = "objectives/conditional_chains.py"
MUTANTS = [
    Mutant("conditional energies at temperature 1", "experiments/conditional.py", "temper(lambda y: energy(y, c), temperature)", "temper(lambda y: energy(y, c), 1.0)", "test_conditional_runs:test_the_energy_at_a_temperature_is_that_of_the_network_over_it"),
    Mutant("chains of pairs begin near any point", PAIRS, "self.fresh.at(key, slots)", "self.fresh(key, len(slots))", OWN),
    Mutant("chains of pairs restart in order of the data", PAIRS, "self._begin(key_fresh, slots)", "self._begin(key_fresh, jnp.arange(num_chains))", OWN),
    Mutant("lost chains of pairs begin in order of the data", PAIRS, "batch.row[:num_chains].astype(jnp.int32))", "jnp.arange(num_chains))", OWN),
    Mutant("chains of a condition interleaved", EACH, "jnp.repeat(next(own), num_chains, axis=0)", "jnp.tile(x := next(own), (num_chains, *[1] * (x.ndim - 1)))", MEANS),
    Mutant("one key for all conditions", EACH, "fold_in(key, b))(jnp.arange(num))", "fold_in(key, 0 * b))(jnp.arange(num))", LOOP),
    Mutant("all conditions tuned at the first", EACH, "given: Energy = condition(energy, c)", "given: Energy = condition(energy, jax.tree.map(lambda x: x[0], conditions))", SIZES),
    Mutant("parameters repeated for each chain", EACH, "isinstance(x, jax.core.Tracer) for x in leaves)", "True for x in leaves)", SHARED, "StopIteration|TypeError|ValueError"),
    Mutant("draws divided the wrong way", "diagnostics/each.py", "x.reshape(len(x), num, -1, *x.shape[2:])", "x.reshape(len(x), -1, num, *x.shape[2:]).swapaxes(1, 2)", IN + "test_draws_are_divided_by_condition"),
    Mutant("whole conditions become floats", "energies/conditional.py", "return jax.tree.map(jnp.asarray, condition)", "return jax.tree.map(lambda c: jnp.asarray(c, jnp.float32), condition)", LEAF, "TypeError"),
    Mutant("the condition of another row", "kernels/conditional.py", "given = condition(energy, conditions)", "given = condition(energy, jax.tree.map(lambda c: c[::-1], conditions))", WHERE),
    Mutant("data at other conditions than the chains", OBJECTIVE, "data = of_pairs(_of_chains(batch.point, chains), c)", "data = of_pairs(_of_chains(batch.point, chains), c[::-1])", EXACT),
    Mutant("energies of chains at other conditions", OBJECTIVE, "return data, of_pairs(chains, c)", "return data, of_pairs(chains, c[::-1])", EXACT),
    Mutant("persistent chains in order of the batch", "objectives/conditional_chains.py", "slots = batch.row[:num_chains].astype(jnp.int32)", "slots = jnp.arange(num_chains)", STAYS),
    Mutant("of a row drawn twice the last chain stays", "objectives/conditional_chains.py", "k=-1)", "k=-1).T", STAYS),
    Mutant("noise on the points forgotten", "objectives/batches.py", "point = noisy(key, batch.point, noise)", "point = batch.point", NOISE),
    Mutant("all points given the first condition", OBJECTIVE, "self.at(c).loss", "self.at(batch.condition[0]).loss", OVER),
    Mutant("objectives that are no means taken", OBJECTIVE, "if not isinstance(made, MEANS):", "if False:", OVER),
    Mutant("labels shifted by one", "objectives/batches.py", "jax.nn.one_hot(labels, int", "jax.nn.one_hot(labels - 1, int", IN + "test_labels_become_one_hot_rows_and_pairs_are_checked"),
    Mutant("a network that forgets its condition", "energies/conditional_networks.py", "return h + shift(e)", "return h + 0 * shift(e)", IN + "test_a_network_takes_labels_and_one_hot_rows_alike"),
    Mutant("shifts to one side alone", "training/augmentation.py", "0, size)", "0, self.most + 1)", SHIFTS),
    Mutant("zeros at the edge of a shift", "training/augmentation.py", 'mode="edge"', 'mode="constant"', SHIFTS),
    Mutant("all chains shifted", "training/augmentation.py", "rows(is_shifted, self.shift(key_shift, points), points)", "self.shift(key_shift, points)", CHAINS),
    Mutant("the tracker a step behind", "training/_log.py", "step = int(state.step) - length + i + 1", "step = int(state.step) - length + i", TRACKER),
    Mutant("rows of a tracker as arrays", "training/_log.py", "name: float(x[i])", "name: x[i]", TRACKER),
    Mutant("the augmented batch forgotten", "training/_updates.py", "batch = with_points(batch, augment(key_augment, points_of(batch)))", "with_points(batch, augment(key_augment, points_of(batch)))", LOOPS + "test_the_batches_of_fit_are_augmented_and_their_labels_are_not"),
    Mutant("columns numbered from 0", "experiments/data/conditions.py", "return int(name) - 1", "return int(name) % x.shape[1]", COLUMNS),
    Mutant("columns of a condition in the order of the file", "experiments/data/conditions.py", "x[:, columns]", "x[:, sorted(columns)]", COLUMNS),
    Mutant("the next label", "experiments/data/conditions.py", "np.eye(int(labels.max()) + 1)[labels]", "np.eye(int(labels.max()) + 1)[labels - 1]", COLUMNS),
    Mutant("known values are filled in", "experiments/inpainting.py", "unknown = jnp.asarray(np.flatnonzero(~is_known))", "unknown = jnp.asarray(np.flatnonzero(is_known)[:1])", FILLS),
    Mutant("known values of another point", "experiments/inpainting.py", "kernel = conditioned(make_kernel, given, flat(points))", "kernel = conditioned(make_kernel, given, flat(start))", FILLS),
    Mutant("other images in their own units", "experiments/ood.py", "x = (x - low) / max(high - low, 1e-12)", "x = x - low", OTHER),
    Mutant("chains of all labels for one", "experiments/conditional.py", "return order[: num_same if num_same >= LEAST_SAME else NEAREST]", "return order[:NEAREST]", RUNS + "test_the_run_at_a_label_has_the_data_and_chains_of_that_label"),
    Mutant("the energy of another class", "experiments/experiment.py", "return of_classes(x)[label]", "return of_classes(x)[label - 1]", RUNS + "test_the_run_of_one_class_is_that_of_its_energy"),
    Mutant("conditions in the extent of the data", "training/divergence.py", "data = data.point if isinstance(data, Pairs) else data", "pass", IN + "test_the_divergence_monitor_of_pairs_uses_points_alone"),
]  # fmt: skip
