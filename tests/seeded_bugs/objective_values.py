"""Seeded bugs of what the objectives are as values."""

from killing import Mutant

TRAINS = (
    "test_objective_values:test_what_is_trained_holds_the_parameters_of_the_energy:"
)
FIRST = "test_objective_values:test_initial_parameters_beside_the_energy_use_the_key_and_one_point"
FITTED = "test_objective_values:test_the_numbers_of_a_fitted_noise_are_leaves"
MUTANTS = [
    Mutant("energy and flow scaled the wrong way round", "objectives/flow_contrastive.py", "Players(1.0, self.flow_scale)", "Players(self.flow_scale, 1.0)", TRAINS + "flow_contrastive"),
    Mutant("scale of the critic forgotten", "objectives/learned_stein.py", "Players(1.0, self.critic_scale)", "1.0", TRAINS + "learned_stein"),
    Mutant("updates divided by their scale", "objectives/base.py", "lambda u: s * u", "lambda u: u / s", "test_objective_values:test_updates_are_multiplied_by_a_tree_prefix"),
    Mutant("log Z taken for a parameter of the energy", "objectives/flow_contrastive.py", "return params.energy.energy", "return params.energy", TRAINS + "flow_contrastive"),
    Mutant("first parameters that ignore the key", "objectives/base.py", "return make(key, ", "return make(jax.random.key(0), ", FIRST),
    Mutant("a plain zero kept as a number", "objectives/base.py", "return None if is_plain and number == 0 else number", "return number", "test_objective_values:test_a_plain_zero_switches_a_term_off_and_an_array_does_not"),
    Mutant("an array of zero switched off", "objectives/base.py", "is_plain and number == 0", "number == 0", "test_objective_values:test_a_plain_zero_switches_a_term_off_and_an_array_does_not"),
    Mutant("fitted noise as a constant of the program", "objectives/_noise.py", "partial(_log_normal, mean, whiten, log_scale)", "lambda x: _log_normal(mean, whiten, log_scale, x)", FITTED),
    Mutant("trace of the first coordinate", "objectives/_gradients.py", "jnp.arange(flat.size)", "jnp.arange(1)", "test_score_matching:test_explicit_is_its_closed_form"),
    Mutant("penalty on the gradient forgotten", "objectives/adversarial.py", "optional(gradient_penalty)", "None", "test_adversarial:test_the_gradient_penalty_is_half_the_squared_slope_at_the_data"),
    Mutant("a required function may be None", "_value/values.py", "not (item is None and f.default is None)", "item is not None", "test_objective_values:test_an_argument_that_is_no_function_is_named"),
]  # fmt: skip
