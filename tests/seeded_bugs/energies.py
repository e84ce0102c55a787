"""Seeded bugs of energies."""

from killing import Mutant

# fmt: off

MUTANTS = [
    # functions of energies and kernels
    Mutant("temperature upside down", "energies/transforms.py", "return energy / jnp.asarray", "return energy * jnp.asarray", "test_laws:test_temper_multiplies_the_variance"),
    Mutant("denoised uphill", "energies/transforms.py", "v - square(v) * g", "v + square(v) * g", "test_transforms:test_denoise_is_the_posterior_mean"),
    Mutant("noise-conditional, its Gaussian without the noise", "energies/networks.py", "radius = jnp.sqrt(self.spread**2 + noise**2)", "radius = jnp.float32(self.spread)", "test_annealed_langevin:test_a_noise_conditional_network_of_zero_weights_is_a_gaussian_of_the_right_size"),
    Mutant("determinant of the couplings forgotten", "energies/flows.py", "z, added = coupling(z)\n            log_det += added", "z, added = coupling(z)", "test_flows:test_the_maps_are_inverse_and_their_determinants_those_of_the_jacobian"),
    Mutant("scale of the flow undone with its sign", "energies/flows.py", "log_det = -jnp.sum(self.log_scale)", "log_det = jnp.sum(self.log_scale)", "test_flows:test_the_maps_are_inverse_and_their_determinants_those_of_the_jacobian"),
    Mutant("the same half moves in every coupling", "energies/flows.py", "parity=i % 2", "parity=0", "test_flows:test_every_coordinate_moves_with_every_other"),
    Mutant("energy of a flow with minus its log Z", "energies/flows.py", "jnp.asarray(-log_z - flow", "jnp.asarray(log_z - flow", "test_flows:test_the_density_is_normalised_and_that_of_the_draws"),
    Mutant("the last chunk of states forgotten", "energies/enumeration.py", "for first in range(0, 2**num_bits, size)", "for first in range(0, 2**num_bits - size + (num_bits < 15), size)", "test_boltzmann:test_log_z_of_a_million_states"),
    Mutant("gradient of log Z not weighed", "energies/enumeration.py", "jnp.sum(w * jax.vmap", "jnp.mean(jax.vmap", "test_boltzmann:test_the_gradient_of_log_z_equals_finite_differences"),
    Mutant("exact draws one state late", "energies/enumeration.py", 'side="right")', 'side="right") + 1', "test_boltzmann:test_exact_draws_have_the_probabilities"),
    Mutant("spins counted twice", "energies/boltzmann.py", "-0.5 * s @ (pairs @ s)", "-1.0 * s @ (pairs @ s)", "test_boltzmann:test_the_ring_has_the_z_of_its_transfer_matrix:0.3"),
    Mutant("hidden units without their bias", "energies/boltzmann.py", "jax.nn.softplus(params.hidden + v @ params.weights)", "jax.nn.softplus(v @ params.weights)", "test_boltzmann:test_z_of_an_rbm_from_either_layer_and_from_both"),
    Mutant("layers swapped, biases not", "energies/boltzmann.py", "RBM(params.weights.T, params.hidden, params.visible)", "RBM(params.weights.T, params.hidden, params.visible[::-1])", "test_boltzmann:test_z_of_an_rbm_from_either_layer_and_from_both"),
    Mutant("lower bits not drawn", "energies/enumeration.py", "u, v = jax.random.uniform(key, (2, n))", "u, v = jax.random.uniform(key, (2, n)) * jnp.array([[1.0], [0.0]])", "test_boltzmann:test_draws_of_twenty_four_bits_have_their_last_bit"),
]
