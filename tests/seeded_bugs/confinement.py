"""Mutants of the trained confinement of energy networks, and of the preset with it."""

from killing import Mutant

FILE = "energies/networks.py"
KILLER = "test_networks:test_a_trained_confinement_starts_at_the_fixed_one"
SCALED = "test_networks:test_a_trained_scale_is_a_factor_of_the_whole_energy"

MUTANTS = [
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
        "{**PRESETS.get(named, {}), **choices}",
        "{**choices, **PRESETS.get(named, {})}",
        "test_preset:test_a_preset_replaces_defaults_and_a_given_option_replaces_it",
    ),
]
