"""Mutants of the trained confinement of energy networks."""

from killing import Mutant

FILE = "energies/networks.py"
KILLER = "test_networks:test_a_trained_confinement_starts_at_the_fixed_one"

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
]
