"""Mutants of the trained confinement of energy networks, and of the preset with it."""

from killing import Mutant

FILE = "energies/networks.py"
KILLER = "test_networks:test_a_trained_confinement_starts_at_the_fixed_one"
STAGES = "test_stages:"
NEAR = "test_chain_init:test_draws_near_the_data_are_rows_with_noise_of_this_size"
SPURIOUS = "test_report:test_chains_count_as_spurious_far_below_the_data_alone"
SCALED = "test_networks:test_a_trained_scale_is_a_factor_of_the_whole_energy"

WIDE = "test_networks:test_the_first_layer_has_the_initial_spread_that_was_asked_for"
OF_FEW = "test_preset:test_the_first_layer_is_wide_for_points_of_few_coordinates"

MUTANTS = [
    Mutant(
        "all units of the first layer at its largest scale",
        FILE,
        "jnp.geomspace(1.0, most, width) if",
        "jnp.full(width, most) if",
        WIDE,
    ),
    Mutant(
        "biases of the first layer that are as wide as its weights",
        FILE,
        "_multiplied(biases, scales - 1)",
        "_multiplied(biases, scales)",
        WIDE,
    ),
    Mutant(
        "weights of the first layer of their variances",
        FILE,
        "_multiplied(weights, scales)",
        "_multiplied(weights, jnp.sqrt(scales))",
        WIDE,
    ),
    Mutant(
        "every layer is as wide as the first",
        FILE,
        "if index or most == 1:",
        "if most == 1:",
        WIDE,
    ),
    Mutant(
        "a wide first layer of ten coordinates",
        "experiments/presets.py",
        "MOST_COORDINATES = 3",
        "MOST_COORDINATES = 10",
        OF_FEW,
    ),
    Mutant(
        "a wide first layer for every objective",
        "experiments/presets.py",
        'values.get("objective", Config.objective) == "maximum_likelihood"\n        and values.get("network", Config.network) == "mlp"',
        'values.get("network", Config.network) == "mlp"',
        OF_FEW,
    ),
    Mutant(
        "a trained confinement that is no factor",
        FILE,
        "quadratic *= jnp.exp(log_scale)",
        "quadratic += jnp.exp(log_scale) - 1",
        KILLER,
    ),
    Mutant(
        "a trained confinement squared",
        FILE,
        "quadratic *= jnp.exp(log_scale)",
        "quadratic *= jnp.exp(2 * log_scale)",
        KILLER,
    ),
    Mutant(
        "a trained scale of the quadratic term alone",
        FILE,
        "value *= jnp.exp(SCALE_RATE * log_scale)",
        "value += (jnp.exp(SCALE_RATE * log_scale) - 1) * quadratic",
        SCALED,
    ),
    Mutant(
        "a trained scale at the rate of a weight",
        FILE,
        "value *= jnp.exp(SCALE_RATE * log_scale)",
        "value *= jnp.exp(log_scale)",
        SCALED,
    ),
    Mutant(
        "a preset that replaces given options",
        "experiments/presets.py",
        "values |= {**_stages(values, choices), **choices}",
        "values = {**choices, **values}",
        "test_preset:test_a_preset_replaces_defaults_and_a_given_option_replaces_it",
    ),
    Mutant(
        "the optimiser of denoising goes on with the objective",
        "experiments/trainer.py",
        "state._replace(params=params, opt_state=stage.optimizer.init(params))",
        "state._replace(params=params)",
        STAGES + "test_the_second_stage_begins_at_the_average_with_a_new_optimiser",
    ),
    Mutant(
        "the objective begins at the last parameters of denoising",
        "experiments/trainer.py",
        "jax.tree.map(cast, state.ema, state.params)",
        "state.params",
        STAGES + "test_the_second_stage_begins_at_the_average_with_a_new_optimiser",
    ),
    Mutant(
        "a stage begins again where a run goes on",
        "experiments/trainer.py",
        "if before is not None and int(state.step) == before.end:",
        "if before is not None:",
        STAGES + "test_a_run_goes_on_bit_for_bit_from_either_stage:50",
    ),
    Mutant(
        "energies of no chains are zero",
        "experiments/trainer.py",
        'np.full(len(metrics["loss"]), np.nan)',
        'np.zeros(len(metrics["loss"]))',
        STAGES + "test_a_folder_holds_one_table_of_both_stages",
    ),
    Mutant(
        "the objective from the first update",
        "experiments/stages.py",
        "return first, Stage(objective, optimizer, num, chain_init)",
        "return (Stage(objective, optimizer, num, chain_init),)",
        STAGES
        + "test_chains_move_after_the_stage_of_denoising_and_metrics_say_which_it_was",
    ),
    Mutant(
        "denoising of points that have the noise already",
        "experiments/trainer.py",
        "data_noise=0.0 if stage.objective.adds_noise else config.noise",
        "data_noise=config.noise",
        STAGES + "test_the_first_stage_is_denoising_score_matching",
    ),
    Mutant(
        "chains after denoising begin far from the data",
        "experiments/build.py",
        "        if config.denoising_updates:\n            draw = near_data(batches, ",
        "        if not config.denoising_updates:\n            draw = near_data(batches, ",
        STAGES + "test_chains_after_denoising_begin_at_training_points_with_noise",
    ),
    Mutant(
        "chains of a label after denoising begin far from the data",
        "experiments/build.py",
        "            if config.denoising_updates:\n                draw = near",
        "            if not config.denoising_updates:\n                draw = near",
        STAGES + "test_chains_of_a_label_begin_at_their_own_training_points",
    ),
    Mutant(
        "draws near the data leave out the last point",
        "training/chain_init.py",
        "jax.random.randint(key_row, (n,), 0, num)",
        "jax.random.randint(key_row, (n,), 0, num - 1)",
        NEAR,
    ),
    Mutant(
        "draws near the data with one noise in all leaves",
        "training/chain_init.py",
        "axpy(self.noise, normal_like(key, x), x)",
        "jax.tree.map(lambda y: y + self.noise * normal_like(key, y), x)",
        NEAR,
    ),
    Mutant(
        "draws near the data with the variance in the place of the deviation",
        "training/chain_init.py",
        "axpy(self.noise, normal_like(key, x), x)",
        "axpy(self.noise**2, normal_like(key, x), x)",
        NEAR,
    ),
    Mutant(
        "images shifted in every stage",
        "experiments/stages.py",
        "return first, Stage(objective, optimizer, num, chain_init)",
        "return first, Stage(objective, optimizer, num, chain_init, config.shift)",
        STAGES + "test_images_are_shifted_during_denoising_alone_if_there_is_any",
    ),
    Mutant(
        "images shifted in no stage",
        "experiments/stages.py",
        "return Stage(objective, optimizer, num, shift=config.shift)",
        "return Stage(objective, optimizer, num)",
        STAGES + "test_images_are_shifted_during_denoising_alone_if_there_is_any",
    ),
    Mutant(
        "spurious modes only below the least point",
        "experiments/spurious.py",
        "min(np.min(of_data), middle - SPREADS * spread) - NATS",
        "np.min(of_data) - NATS",
        SPURIOUS,
    ),
    Mutant(
        "spurious modes below the spreads alone",
        "experiments/spurious.py",
        "min(np.min(of_data), middle - SPREADS * spread) - NATS",
        "middle - SPREADS * spread - NATS",
        SPURIOUS,
    ),
    Mutant(
        "a spread without its factor",
        "experiments/spurious.py",
        "spread = 1.4826 *",
        "spread =",
        SPURIOUS,
    ),
]
