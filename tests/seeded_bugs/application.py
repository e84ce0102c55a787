"""Seeded bugs of files, tempering, evaluation, verification and runs."""

from killing import Mutant

# fmt: off

MUTANTS = [
    Mutant("samples of a few points are tested", "cli/measurement.py", "(fewest := min(len(x), len(y))) < two_sample.LEAST", "(fewest := min(len(x), len(y))) < 0", "test_cli_evaluate:test_samples_of_few_points_are_not_tested_and_it_is_said", "ValueError: y must have at least"),
    Mutant("temperature of a run forgotten", "experiments/experiment.py", "temper(energy, self.config.temperature)", "energy", "test_divergence:test_a_run_stores_its_temperature"),
    Mutant("step not scaled by the noise", "tempering/annealed_langevin.py", "step_size * levels[i])", "step_size)", "test_annealed_langevin:test_each_level_is_its_linear_recursion"),
    Mutant("the last level's energy at all levels", "tempering/annealed_langevin.py", "energy(x, levels[i])", "energy(x, levels[-1])", "test_annealed_langevin:test_each_level_is_its_linear_recursion"),
    Mutant("the same noise at each level", "tempering/annealed_langevin.py", "i * num_steps", "0 * i", "test_annealed_langevin:test_levels_draw_noise_of_their_own"),
    Mutant("overlap counted from one side", "tempering/annealed_langevin.py", "normal(shift - 3 * ratio)", "normal(shift - 3)", "test_annealed_langevin:test_neighbouring_levels_overlap_by_one_half"),
    Mutant("step of a ladder of variances", "tempering/annealed_langevin.py", "(ratio**2 - rest)", "(ratio - rest)", "test_annealed_langevin:test_the_step_leaves_the_variance_that_the_next_level_expects"),
    Mutant("gaps of bins cancel", "evaluation/classification.py", "np.nansum(np.abs(right - confidence) * share)", "np.abs(np.nansum((right - confidence) * share))", "test_classification:test_the_calibration_error_of_four_rows_by_hand"),
    Mutant("bins closed below", "evaluation/classification.py", "np.ceil(confidence * num_bins).astype(int) - 1", "np.floor(confidence * num_bins).astype(int)", "test_classification:test_the_calibration_error_of_four_rows_by_hand"),
    Mutant("ties count whole", "evaluation/classification.py", 'side="left"', 'side="right"', "test_classification:test_auroc_is_the_count_of_pairs_and_ties_are_half"),
    Mutant("outside ranked above", "evaluation/classification.py", "return -np.asarray(jax.jit(jax.vmap(energy))", "return np.asarray(jax.jit(jax.vmap(energy))", "test_classification:test_auroc_of_wider_normals_is_fishers_f"),
    Mutant("constants of classes of the wrong sign", "experiments/classes.py", "jax.nn.softmax(c - energies)", "jax.nn.softmax(c + energies)", "test_labelled_runs:test_constants_of_classes_are_their_shares_over_their_z"),
    Mutant("points held out and trained on", "experiments/classes.py", "take(dataset, order[~is_held[order]])", "dataset", "test_labelled_runs:test_what_is_held_out_is_never_trained_on"),
    Mutant("rows shuffled in place of coordinates", "experiments/labelled.py", "jax.random.uniform(key_shuffle, flat.shape)", "jnp.tile(jax.random.uniform(key_shuffle, (num, 1)), flat.shape[1])", "test_labelled_runs:test_ood_inputs_keep_their_margins_or_their_box"),
    Mutant("draws before chains", "io/arviz.py", "return np.swapaxes(array, 0, 1)", "return array", "test_arviz:test_draws_alone_have_no_stats"),
    # what is kept, and what breaks
    Mutant("digest of the file not checked", "io/checkpoint.py", "if file.read() != seal:", "if False:", "test_checkpoint:test_every_corruption_is_detected"),
    Mutant("digests of leaves not checked", "io/checkpoint.py", 'if _digest(array) != entry["sha256"]:', "if False:", "test_checkpoint:test_exchanged_leaves_under_a_new_digest_are_detected_by_their_own"),
    Mutant("files of Orbax not checked", "io/orbax.py", "    if wrong:", "    if False:", "test_orbax:test_every_file_has_a_digest"),
    Mutant("manifest of Orbax not checked", "io/orbax.py", "encode()) != seal:", "encode()) == '':", "test_orbax:test_every_file_has_a_digest"),
    Mutant("the old checkpoint removed before the new one is named", "io/orbax.py", "                os.replace(path, old)", "                shutil.rmtree(path)", "test_orbax:test_a_failing_disk_leaves_the_older_checkpoint", "FileNotFoundError: there is no checkpoint"),
    Mutant("a changed call continued", "io/chunk_store.py", "        if differences:", "        if False:", "test_sampling_checkpoints:test_another_call_is_refused_and_files_are_kept:key"),
    Mutant("law of ULA with a half for a quarter", "verify/stationary_laws.py", "1 / (a * (1 - step_size**2 * a / 4))", "1 / (a * (1 - step_size**2 * a / 8))", "test_verify:test_the_law_of_ula_is_stationary"),
    Mutant("units of the data turned around", "experiments/likelihood.py", "_log_z(energy, dim[0]) - log_spread", "_log_z(energy, dim[0]) + log_spread", "test_report:test_the_log_likelihood_is_that_of_the_density_in_the_units_of_the_data:1.0"),
    Mutant("mass outside the box", "experiments/likelihood.py", "> inside + 0.01:", "> inside + 1e9:", "test_report:test_the_log_likelihood_is_that_of_the_density_in_the_units_of_the_data:20.0"),
    Mutant("a failed report is true", "verify/report.py", "    def __bool__(self) -> bool:\n        return self.is_passed", "    def __bool__(self) -> bool:\n        return True", "test_verify:test_a_report_is_true_where_it_passed"),
]
