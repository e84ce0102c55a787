"""Seeded bugs of discrete states: lattices, graphs, Gibbs by blocks, informed proposals,
cluster moves."""

from killing import Mutant

D, RUNS = "test_discrete", "test_discrete_runs"
DRAWS = f"{D}:test_exact_draws_stay_exact"
MATRIX = f"{D}:test_the_transition_matrix_is_that_of_the_paper"
LATTICE, SITES = "energies/lattice.py", "energies/lattice_sites.py"
LOCAL, DIFFERENCES = "energies/local.py", "energies/differences.py"
GRAPH = "energies/pairwise.py"
GIBBS, CLUSTER = "kernels/gibbs.py", "kernels/cluster.py"
BALANCED, EXACT = "kernels/locally_balanced.py", "energies/lattice_exact.py"
LANGEVIN = "kernels/discrete_langevin.py"

MUTANTS = [
    Mutant(
        "the neighbour of the other parity",
        SITES,
        "is_left = _even_rows(len(other)) == is_black",
        "is_left = _even_rows(len(other)) != is_black",
        f"{D}:test_blocks_have_the_energies_of_the_lattice",
    ),
    Mutant(
        "a lattice without its upper neighbour",
        SITES,
        "return [wide[:-2, 1:-1], wide[2:, 1:-1],",
        "return [wide[2:, 1:-1],",
        f"{D}:test_the_energy_of_a_potts_strip_is_that_of_its_transfer_matrix:gibbs",
    ),
    Mutant(
        "Gibbs on spins with half the local field",
        LATTICE,
        "return -2 * (self.coupling * around + field)[None]",
        "return -(self.coupling * around + field)[None]",
        f"{DRAWS}:gibbs-ising",
    ),
    Mutant(
        "all sites of a lattice at once",
        GIBBS,
        "u, blocks.conditional(tuple(sites), i)",
        "u, blocks.conditional(blocks.split(state.position), i)",
        f"{DRAWS}:gibbs-ising",
    ),
    Mutant(
        "the energy of blocks counts half of the bonds",
        LATTICE,
        "local = self.coupling * sum(across(black, 1)) + of_white",
        "local = self.coupling * sum(across(black, 1)[:2]) + of_white",
        f"{D}:test_the_energy_of_the_ising_torus_equals_kaufmans_solution:0.35-gibbs",
    ),
    Mutant(
        "the temperature does not reach the blocks",
        LOCAL,
        "conditional=lambda b, i: inner.conditional(b, i) / T,",
        "conditional=lambda b, i: inner.conditional(b, i),",
        f"{DRAWS}:gibbs-tempered",
    ),
    Mutant(
        "the last level is never drawn by its weight",
        GIBBS,
        "weights = [jnp.exp(lowest), *jnp.exp(lowest - gaps)]",
        "weights = [jnp.exp(-lowest), *jnp.exp(lowest - gaps)]",
        f"{D}:test_pick_has_the_probabilities",
    ),
    Mutant(
        "the same number for all blocks",
        GIBBS,
        "            start += site.size\n",
        "",
        f"{DRAWS}:gibbs-potts",
    ),
    Mutant(
        "coupled sites of one colour",
        GRAPH,
        "colour[site] = next(c for c in range(num) if c not in taken)",
        "colour[site] = site % 2",
        f"{D}:test_colours_of_a_graph",
    ),
    Mutant(
        "neighbours in the order of the sites",
        GRAPH,
        "place[columns], w",
        "columns, w",
        f"{DRAWS}:gibbs-graph of spins",
    ),
    Mutant(
        "fields in the order of the sites",
        GRAPH,
        "(weights, fields[order])",
        "(weights, fields)",
        f"{D}:test_a_graph_has_the_energy_of_its_matrix",
    ),
    Mutant(
        "a pair of a graph counted twice",
        GRAPH,
        "-(0.5 * jnp.sum(self.weights * pairs)",
        "-(jnp.sum(self.weights * pairs)",
        f"{D}:test_differences_are_those_of_the_energy:graph of levels",
    ),
    Mutant(
        "differences of levels against the first",
        DIFFERENCES,
        "    return grad - here\n",
        "    return grad - grad[..., :1]\n",
        f"{D}:test_first_order_is_exact_where_the_energy_is_linear_in_each_site",
    ),
    Mutant(
        "informed by the whole difference",
        BALANCED,
        '"sqrt": lambda d: -0.5 * d,',
        '"sqrt": lambda d: -d,',
        f"{MATRIX}:gibbs_with_gradients",
    ),
    Mutant(
        "no probability of the way back",
        BALANCED,
        "return new, backward - forward[choice]",
        "return new, -forward[choice] + forward[choice]",
        f"{DRAWS}:gibbs_with_gradients-curved levels",
    ),
    Mutant(
        "the way back of levels by the same shift",
        BALANCED,
        "back = (space.num_values - shift - 1) * x.size + site",
        "back = (shift - 1) * x.size + site",
        f"{DRAWS}:locally_balanced-graph of levels",
    ),
    Mutant(
        "discrete Langevin with a whole gradient",
        LANGEVIN,
        "return (0.5 * d + distance)",
        "return (d + distance)",
        f"{MATRIX}:dmala",
    ),
    Mutant(
        "discrete Langevin that forgets its distance",
        LANGEVIN,
        "self.space.square_distance / (2 * jnp",
        "self.space.square_distance / (1 * jnp",
        f"{MATRIX}:dmala",
    ),
    Mutant(
        "discrete Langevin back by the same shift",
        LANGEVIN,
        "back = (space.num_values - shift) % space.num_values",
        "back = shift",
        f"{DRAWS}:dmala-curved levels",
    ),
    Mutant(
        "dmala always accepts",
        LANGEVIN,
        "return new, _log_q(self.costs(new), back) - _log_q(costs, shift)",
        "return new, new.energy - state.energy",
        f"{DRAWS}:dmala-curved bits",
    ),
    Mutant(
        "bonds of half the strength",
        LATTICE,
        "return 2 * self.coupling",
        "return self.coupling",
        f"{DRAWS}:swendsen_wang-ising",
    ),
    Mutant(
        "bonds between unequal sites",
        CLUSTER,
        "e & (u < probability)",
        "(u < probability)",
        f"{DRAWS}:swendsen_wang-potts",
    ),
    Mutant(
        "bonds without the temperature",
        CLUSTER,
        "-jnp.expm1(-model.bond_strength / temperature)",
        "-jnp.expm1(-model.bond_strength)",
        f"{DRAWS}:swendsen_wang-tempered",
    ),
    Mutant(
        "a cluster feels the field of one site",
        CLUSTER,
        "jnp.zeros_like(cost).at[label].add(cost)",
        "cost",
        f"{DRAWS}:swendsen_wang-potts",
    ),
    Mutant(
        "Wolff takes any move against the field",
        CLUSTER,
        "is_cluster & (u <= rate)",
        "is_cluster",
        f"{DRAWS}:wolff-ising",
    ),
    Mutant(
        "clusters stop at the edge",
        CLUSTER,
        "new, jnp.any(new != f)",
        "new, jnp.bool_(False)",
        f"{D}:test_clusters_are_the_components_of_the_graph",
    ),
    Mutant(
        "a coupling below zero joins nothing and draws all",
        CLUSTER,
        "jnp.isfinite(new.energy) & (model.coupling >= 0)",
        "jnp.isfinite(new.energy)",
        f"{D}:test_a_coupling_below_zero_in_compiled_code_is_counted",
    ),
    Mutant(
        "Kaufman below and above alike",
        EXACT,
        "1.0 if first else float(np.sign(half[0]))",
        "1.0 if first else 1.0",
        f"{D}:test_kaufmans_solution_equals_the_sum_over_all_states:0.3",
    ),
    Mutant(
        "a row of Potts without its wrap",
        EXACT,
        "rows == np.roll(rows, -1, 1)",
        "rows == np.roll(rows, 0, 1)",
        f"{D}:test_the_transfer_matrix_is_the_sum_over_all_states",
    ),
    Mutant(
        "positions outside their space are sampled",
        "sampling/initialization.py",
        "        kernel.state_space.check(positions)\n",
        "",
        f"{D}:test_sampling_refuses_positions_outside_the_space",
    ),
    Mutant(
        "kernels take energies of any space",
        "spaces.py",
        "if own is not None and own != space:",
        "if False:",
        f"{D}:test_kernels_refuse_energies_of_another_space",
    ),
    # training
    Mutant(
        "levels cut at their lower edge",
        "experiments/data/dataset.py",
        "np.ceil(share * num_levels) - 1",
        "np.floor(share * num_levels)",
        f"{RUNS}:test_data_are_quantised_to_levels",
    ),
    Mutant(
        "the temperature does not reach the gradient of levels",
        LOCAL,
        "return inner and (lambda z: inner(z) / T)",
        "return inner",
        f"{RUNS}:test_a_trainable_energy_of_levels_keeps_its_methods",
    ),
    Mutant(
        "block Gibbs of an RBM at any temperature",
        "kernels/rbm_gibbs.py",
        "jnp.where(self.temperature == 1.0, energy, jnp.inf)",
        "energy",
        f"{RUNS}:test_block_gibbs_of_an_rbm_in_training_has_its_parameters",
    ),
    Mutant(
        "a kernel of real numbers trains on bits",
        "experiments/config_checks.py",
        "if entry.properties().state_space == REAL:",
        "if False:",
        f"{RUNS}:test_kernels_of_real_numbers_do_not_train_on_bits",
    ),
]
