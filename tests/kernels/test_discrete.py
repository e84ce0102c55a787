"""Kernels of discrete states: transition matrices computed where they are small,
exact starts on states that can be listed, tori with known energies, wrong kernels
rejected."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import standard_error
from scipy import special

import ebmjax as eb
from ebmjax.energies import enumeration, lattice
from ebmjax.energies.differences import differences, first_order
from ebmjax.energies.lattice import ISING_CRITICAL, ising, potts
from ebmjax.energies.lattice_exact import (
    ising_energy,
    ising_log_z,
    onsager_energy,
    potts_energy,
    potts_log_z,
)
from ebmjax.energies.local import Local, of_one_hot, with_difference
from ebmjax.energies.pairwise import colouring, pairwise
from ebmjax.energies.transforms import temper
from ebmjax.kernels.cluster import labels, swendsen_wang, wolff
from ebmjax.kernels.discrete_langevin import dmala, dula
from ebmjax.kernels.flip import flip
from ebmjax.kernels.gibbs import gibbs, pick
from ebmjax.kernels.locally_balanced import gibbs_with_gradients, locally_balanced
from ebmjax.sampling import _chunk_programs
from ebmjax.spaces import BITS, SPINS, levels

NUM = 20_000
RNG = np.random.default_rng(3)
GRAPH = np.triu(RNG.normal(size=(7, 7)) * (RNG.random((7, 7)) < 0.5), 1)
GRAPH = 0.8 * (GRAPH + GRAPH.T)
FIELDS = 0.4 * RNG.normal(size=(7, 3))
WEIGHTS = jnp.asarray(0.6 * RNG.normal(size=(12, 5)), jnp.float32)


def curved(z):
    """Of one-hot vectors [4, 3]; not linear in any of them."""
    return jnp.sum(jnp.tanh(z.ravel() @ WEIGHTS)) + 0.3 * jnp.sum(z[:-1] * z[1:])


def curved_bits(x):
    return jnp.sum(jnp.tanh((2 * x - 1) @ WEIGHTS[:6])) + 0.5 * x[0] * x[1]


ISING = ising(0.3, jnp.asarray(0.2 * RNG.normal(size=(2, 4)), jnp.float32))
POTTS = potts(3, 0.5, np.array([0.3, 0.0, -0.2]))
CASES = {  # an energy and the shape of a position
    "ising": (ISING, (2, 4)),
    "potts": (POTTS, (2, 4)),
    "graph of spins": (pairwise(GRAPH, FIELDS[:, 0]), (7,)),
    "graph of bits": (pairwise(GRAPH, FIELDS[:, 0], BITS), (7,)),
    "graph of levels": (pairwise(GRAPH, FIELDS, levels(3)), (7,)),
    "curved levels": (of_one_hot(curved, 3), (4,)),
    "tempered": (temper(ISING, 1.7), (2, 4)),
    "curved bits": (Local(curved_bits, lambda x, i, v: curved_bits(
        x.at[i].set(v)) - curved_bits(x), BITS), (6,)),
}  # fmt: skip
KERNELS = {
    "gibbs": gibbs,
    "flip": flip,
    "locally_balanced": locally_balanced,
    "barker": functools.partial(locally_balanced, balancing="barker"),
    "gibbs_with_gradients": gibbs_with_gradients,
    "dmala": lambda e: dmala(e, 0.7),
    "swendsen_wang": swendsen_wang,
    "wolff": wolff,
}
PAIRS = [
    *(("gibbs", case) for case in CASES),
    ("flip", "potts"),
    ("locally_balanced", "graph of levels"),
    ("barker", "ising"),
    *(
        ("gibbs_with_gradients", c)
        for c in ("curved levels", "curved bits", "tempered")
    ),
    *(("dmala", c) for c in ("curved levels", "curved bits", "ising")),
    *(
        (k, c)
        for k in ("swendsen_wang", "wolff")
        for c in ("ising", "potts", "tempered")
    ),
]


@functools.cache
def exact(case):
    """The states, their probabilities, and 20,000 exact draws as numbers of states."""
    energy, shape = CASES[case]
    space = eb.spaces.space_of(energy)
    p = enumeration.distribution(energy, space, shape)
    draws = np.random.default_rng(5).choice(len(p), NUM, p=p)
    return enumeration.grid(space, shape), p, draws


def number_of(space, x):
    """The number of each state in the order of the grid."""
    digits = np.asarray(space.index(x)).reshape(len(x), -1)
    return digits @ space.num_values ** np.arange(digits.shape[1])


def excess(kernel, case, *, start=None, steps=3, wants=None):
    """Of the states after three steps from exact draws, (chi2 - df) / sqrt(2 df);
    states of few expected draws are one class."""
    states, p, draws = exact(case)
    start = states[draws] if start is None else start
    x = eb.sample(jax.random.key(7), kernel, start, steps, thin=steps).draws[0]
    counts = np.bincount(number_of(kernel.state_space, x), minlength=len(p))
    wants = NUM * (p if wants is None else wants)
    big = wants > 8
    counts = np.append(counts[big], counts[~big].sum())
    wants = np.append(wants[big], max(wants[~big].sum(), 1e-9))
    return (np.sum((counts - wants) ** 2 / wants) - big.sum()) / np.sqrt(2 * big.sum())


@pytest.mark.parametrize(("kernel", "case"), PAIRS)
def test_exact_draws_stay_exact(kernel, case):
    assert excess(KERNELS[kernel](CASES[case][0]), case) < 5  # standard errors


@pytest.mark.parametrize("kernel", ["gibbs", "dmala", "swendsen_wang", "wolff"])
def test_the_kernel_of_another_energy_is_rejected(kernel):
    other = ising(0.36, CASES["ising"][0].field)
    assert excess(KERNELS[kernel](other), "ising") > 8


def test_the_bias_of_dula_falls_with_its_step_size():
    energy = CASES["curved bits"][0]
    found = [excess(dula(energy, a), "curved bits", steps=20) for a in (2.0, 0.15)]
    assert found[0] > 20 and found[1] < found[0] / 5


# --- transition matrices ------------------------------------------------------------


def by_hand(energy, space, shape, log_q):
    """P of Metropolis with a proposal matrix q [S, S], in float64."""
    states = enumeration.grid(space, shape)
    e = np.asarray(jax.vmap(energy)(states), np.float64)
    q = np.exp(log_q)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.exp(np.minimum(0, e[:, None] - e[None] + np.log(q.T / q)))
    matrix = q * np.nan_to_num(rate)
    np.fill_diagonal(matrix, 0)
    return matrix + np.diag(1 - matrix.sum(axis=1))


def one_step(kernel, states, start):
    """The share of chains in each state after one step from one state."""
    x = jnp.broadcast_to(states[start], (NUM, *states.shape[1:]))
    x = eb.sample(jax.random.key(start), kernel, x, 1).draws[0]
    counts = np.bincount(number_of(kernel.state_space, x), minlength=len(states))
    return counts / NUM


def first_order_by_hand(energy, space, states):
    """d of all sites and values of bits, [S, N, 2], by central differences."""
    grads = jax.vmap(jax.grad(energy))(states)
    return np.asarray(grads, np.float64)[..., None] * (
        np.array(space.values) - np.asarray(states)[..., None]
    )


@pytest.mark.parametrize("name", ["gibbs_with_gradients", "locally_balanced", "dmala"])
def test_the_transition_matrix_is_that_of_the_paper(name):
    """All entries of six rows within five standard errors, and detailed balance of the
    matrix by hand."""
    energy, shape = curved_bits, (6,)
    states = enumeration.grid(BITS, shape)
    e = np.asarray(jax.vmap(energy)(states), np.float64)
    d = first_order_by_hand(energy, BITS, states)
    bits = np.asarray(states, int)
    moved = bits[:, None] != bits[None]  # [S, S, N]
    distance, site = moved.sum(axis=2), moved.argmax(axis=2)
    to = np.take_along_axis(d, (1 - bits)[..., None], 2)[..., 0]  # of the flip, [S, N]
    if name == "dmala":
        flips = -to / 2 - 1 / (2 * 0.7)
        log_q = (moved * flips[:, None]).sum(2) - np.logaddexp(0, flips).sum(1)[:, None]
    else:
        gap = np.take_along_axis(to, site, 1)
        gap = gap if name == "gibbs_with_gradients" else e[None] - e[:, None]
        log_w = np.where(distance == 1, -gap / 2, -np.inf)
        log_w[distance == 0] = 0.0
        log_q = log_w - special.logsumexp(log_w, axis=1, keepdims=True)
    matrix = by_hand(energy, BITS, shape, log_q)
    p = enumeration.distribution(energy, BITS, shape)
    flow = p[:, None] * matrix
    assert np.abs(flow - flow.T).max() < 1e-7
    kernel = KERNELS[name](energy)
    for start in (0, 11, 22, 33, 44, 63):
        found, error = one_step(kernel, states, start), matrix[start]
        error = np.sqrt(error * (1 - error) / NUM) + 1e-4
        assert (np.abs(found - matrix[start]) < 5 * error).all()


def test_discrete_langevin_proposes_levels_by_their_energies():
    """Of four levels, each with its own energy, from each of them; |v - x|^2 = 2."""
    energies = np.array([0.0, 2.0, -0.5, 1.0])
    energy = of_one_hot(lambda z: z[0] @ jnp.asarray(energies, jnp.float32), 4)
    kernel, states = dula(energy, 1.5), jnp.arange(4.0)[:, None]
    for start in range(4):
        log_q = -(energies - energies[start]) / 2 - (np.arange(4) != start) / 1.5
        q = special.softmax(log_q)
        error = np.sqrt(q * (1 - q) / NUM)
        assert (np.abs(one_step(kernel, states, start) - q) < 5 * error).all()


def test_gibbs_of_a_chain_of_blocks_has_the_matrix_of_its_conditionals():
    """Black given white, then white given black, on a torus of 2 x 2 levels."""
    energy = potts(3, 0.7, jnp.array([0.4, 0.0, -0.3]))
    space, shape = levels(3), (2, 2)
    states = np.asarray(enumeration.grid(space, shape))
    p = enumeration.distribution(energy, space, shape)
    matrix = np.eye(len(p))
    for black in (True, False):
        is_site = (np.indices(shape).sum(axis=0) % 2 == 0) == black
        same = (states[:, None] == states[None])[:, :, ~is_site].all(axis=2)
        given = same * p[None]
        matrix = matrix @ (given / given.sum(axis=1, keepdims=True))
    assert np.abs(p @ matrix - p).max() < 1e-6
    for start in (5, 40, 77):
        found = one_step(gibbs(energy), states, start)
        error = np.sqrt(matrix[start] * (1 - matrix[start]) / NUM) + 1e-4
        assert (np.abs(found - matrix[start]) < 5 * error).all()


# --- tori ---------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", [0.3, ISING_CRITICAL, 0.6])
def test_kaufmans_solution_equals_the_sum_over_all_states(coupling):
    states = np.asarray(enumeration.grid(SPINS, (4, 4)), np.int8)
    bonds = states * (np.roll(states, -1, 1) + np.roll(states, -1, 2))
    exponent = coupling * bonds.sum(axis=(1, 2))
    assert ising_log_z((4, 4), coupling) == pytest.approx(
        special.logsumexp(exponent), abs=1e-9
    )
    assert onsager_energy(coupling) == pytest.approx(
        ising_energy((2048, 2048), coupling), abs=5e-4
    )


@pytest.mark.parametrize(
    "make", [gibbs, swendsen_wang, wolff], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("coupling", [0.35, ISING_CRITICAL, 0.5])
def test_the_energy_of_the_ising_torus_equals_kaufmans_solution(key, make, coupling):
    """16 x 16; standard errors from independent chains."""
    side, num_chains = 16, 64
    kernel, start = make(ising(coupling)), jnp.ones((num_chains, side, side))
    steps = 400 if make is gibbs else 150
    found = eb.sample(
        key,
        kernel,
        start,
        steps,
        num_warmup=200 if make is gibbs else 50,
        collect=lambda s, i: s.energy,
    )
    means = np.asarray(found.draws).mean(axis=0) / side**2
    error = standard_error(means)
    assert abs(means.mean() - ising_energy((side, side), coupling)) < 4.5 * error
    assert error < 0.004
    # the control: a coupling nearby
    assert abs(means.mean() - ising_energy((side, side), coupling + 0.03)) > 6 * error


@pytest.mark.parametrize(
    "make", [gibbs, swendsen_wang, wolff], ids=lambda f: f.__name__
)
def test_the_energy_of_a_potts_strip_is_that_of_its_transfer_matrix(key, make):
    shape, coupling, num_chains = (12, 4), 0.9, 128
    kernel = make(potts(3, coupling))
    found = eb.sample(
        key,
        kernel,
        jnp.zeros((num_chains, *shape)),
        300,
        num_warmup=100,
        collect=lambda s, i: s.energy,
    )
    means = np.asarray(found.draws).mean(axis=0) / 48
    error = standard_error(means)
    assert abs(means.mean() - potts_energy(shape, 3, coupling)) < 4.5 * error
    assert error < 0.006
    assert abs(means.mean() - potts_energy(shape, 3, coupling + 0.04)) > 6 * error


def test_the_transfer_matrix_is_the_sum_over_all_states():
    states = np.asarray(enumeration.grid(levels(3), (2, 4)), np.int8)
    equal = sum((states == np.roll(states, -1, axis)).sum((1, 2)) for axis in (1, 2))
    assert potts_log_z((2, 4), 3, 0.7) == pytest.approx(
        special.logsumexp(0.7 * equal), abs=1e-9
    )


# --- parts --------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_differences_are_those_of_the_energy(case):
    energy, shape = CASES[case]
    space = eb.spaces.space_of(energy)
    states = enumeration.grid(space, shape)[:: 1 + len(exact(case)[0]) // 40]
    state = lambda x: eb.State(x, energy(x))
    found = jax.vmap(lambda x: differences(energy, space, state(x)))(states)
    plain = lambda x: energy(x)
    wants = jax.vmap(lambda x: differences(plain, space, state(x)))(states)
    assert np.abs(found - wants).max() < 1e-5
    blocks = (
        energy.energy.blocks if case == "tempered" else getattr(energy, "blocks", 0)
    )
    if blocks:
        x = states[7]
        assert (blocks.join(blocks.split(x)) == x).all()


def test_first_order_is_exact_where_the_energy_is_linear_in_each_site():
    for case in ("ising", "potts"):
        kernel = gibbs_with_gradients(CASES[case][0])
        state = jax.vmap(kernel.init)(exact(case)[0][5:25])
        space = kernel.state_space
        found = jax.vmap(functools.partial(first_order, space))(state)
        wants = jax.vmap(CASES[case][0].differences)(state.position)
        assert np.abs(found - wants).max() < 1e-5
    state = jax.vmap(gibbs_with_gradients(curved_bits).init)(jnp.eye(6))
    found = jax.vmap(functools.partial(first_order, BITS))(state)
    wants = jax.vmap(functools.partial(differences, curved_bits, BITS))(state)
    assert np.abs(found - wants).max() > 0.1  # the control: not linear


def test_a_graph_has_the_energy_of_its_matrix():
    x = np.asarray(exact("graph of spins")[0][10:20], np.float64)
    wants = -0.5 * np.einsum("si,ij,sj->s", x, GRAPH, x) - x @ FIELDS[:, 0]
    found = jax.vmap(CASES["graph of spins"][0])(jnp.asarray(x, jnp.float32))
    assert np.abs(found - wants).max() < 1e-5
    x = np.asarray(exact("graph of levels")[0][700:710], int)
    equal = x[:, :, None] == x[:, None]
    wants = -0.5 * (GRAPH * equal).sum((1, 2)) - FIELDS[np.arange(7), x].sum(axis=1)
    found = jax.vmap(CASES["graph of levels"][0])(jnp.asarray(x, jnp.float32))
    assert np.abs(found - wants).max() < 1e-5


def test_blocks_have_the_energies_of_the_lattice():
    """On sides that are not the same when rolled either way."""
    x = jnp.asarray(RNG.integers(0, 3, (4, 6)), jnp.float32)
    spins, field = jnp.sign(x - 0.5), jnp.asarray(RNG.normal(size=(4, 6)), jnp.float32)
    coloured = potts(3, 0.7, jnp.arange(3.0))
    for energy, point in ((ising(0.4, field), spins), (coloured, x)):
        blocks, d = energy.blocks, energy.differences(point)
        parts = blocks.split(point)
        assert np.abs(blocks.energy(parts) - energy(point)) < 1e-5
        for i in (0, 1):
            gaps = [d[..., k] - d[..., 0] for k in range(1, d.shape[-1])]
            wants = jnp.stack([blocks.split(g)[i] for g in gaps])
            assert np.abs(blocks.conditional(parts, i) - wants).max() < 1e-5


def test_clusters_are_the_components_of_the_graph(key):
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    shape = (12, 10)
    index = np.arange(120).reshape(shape)
    for i, share in enumerate((0.3, 0.5, 0.7)):
        bonds = jax.random.bernoulli(jax.random.fold_in(key, i), share, (2, *shape))
        down, right = np.asarray(bonds)
        rows = np.concatenate([index[down], index[right]])
        ends = np.roll(index, -1, 0)[down], np.roll(index, -1, 1)[right]
        columns = np.concatenate(ends)
        graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(120, 120))
        _, wants = connected_components(graph, directed=False)
        found = np.asarray(labels(*bonds))
        smallest = np.array([np.flatnonzero(wants == w)[0] for w in wants])
        assert (found == smallest).all()


def test_colours_of_a_graph():
    rows, columns = np.nonzero(GRAPH)
    colour = colouring(rows, columns, 7)
    assert (colour[rows] != colour[columns]).all() and colour.max() < 6
    assert lattice.potts_critical(2) == pytest.approx(2 * ISING_CRITICAL)


def test_a_sweep_of_a_dense_graph_goes_by_differences(key):
    """More colours than blocks are made for; a user's difference does as well."""
    w = np.ones((40, 40)) - np.eye(40)
    dense = pairwise(-0.02 * w, np.full(40, 0.3))
    assert dense.blocks is None
    plain = with_difference(lambda x: dense(x), dense.difference, SPINS)
    x = jax.random.rademacher(key, (5, 40), jnp.float32)
    draws = [eb.sample(key, gibbs(e), x, 3).draws for e in (dense, plain)]
    full = eb.sample(key, gibbs(lambda x: dense(x), SPINS), x, 3).draws
    assert (draws[0] == draws[1]).all() and (draws[0] == full).all()


def test_pick_has_the_probabilities():
    gaps = np.array([0.5, -1.0, 80.0, -np.inf], np.float32)[:3]
    u = (jnp.arange(100_000) + 0.5) / 100_000
    index = pick(u, jnp.broadcast_to(gaps[:, None], (3, len(u))))
    shares = np.bincount(np.asarray(index), minlength=4) / len(u)
    wants = np.exp(-np.array([0.0, 0.5, -1.0, 80.0]))
    assert np.abs(shares - wants / wants.sum()).max() < 2e-5


def test_bits_and_numbers_mix_through_within_and_cycle(key):
    """p(s, y) = p(s) N(y; 2 s - 1, 2) of one bit: exact draws stay exact."""
    energy = lambda x: (
        0.5 * jnp.sum((x["y"] - 2 * x["s"] + 1) ** 2) / 2.0 - 0.4 * jnp.sum(x["s"])
    )
    s = (RNG.random((NUM, 1)) < special.expit(0.4)).astype(np.float32)
    y = (2 * s - 1 + 2**0.5 * RNG.normal(size=(NUM, 1))).astype(np.float32)

    def shares(kernel):
        x = eb.sample(key, kernel, {"s": s, "y": y}, 4, thin=4).draws
        found = np.asarray(x["s"])[0, :, 0], np.asarray(x["y"])[0, :, 0]
        return np.array(
            [found[0].mean(), found[1].mean(), (found[0] * found[1]).mean()]
        )

    walk = eb.within(energy, "y", functools.partial(eb.mala, step_size=0.8))
    p = special.expit(0.4)
    wants, error = np.array([p, 2 * p - 1, p]), 5 * np.array([0.5, 1.8, 1.3]) / NUM**0.5
    for make in (gibbs, functools.partial(dmala, step_size=1.0)):
        found = shares(eb.cycle(eb.within(energy, "s", make), walk))
        assert (np.abs(found - wants) < error).all()
    wrong = eb.within(energy, "s", lambda e: gibbs(temper(e, 3.0)))
    found = shares(eb.cycle(wrong, walk))
    assert (np.abs(found - wants) > error).any()


def test_gibbs_and_gradients_share_a_state(key):
    """In a cycle the state carries the gradient, which Gibbs renews; also of levels."""
    for energy, shape in ((CASES["curved levels"][0], (4,)), (ISING, (2, 4))):
        kernel = eb.cycle(
            gibbs(energy), dmala(energy, 0.7), gibbs_with_gradients(energy)
        )
        x = kernel.state_space.value(jnp.zeros((5, *shape)))
        state = eb.sample(key, kernel, x, 4).state
        fresh = jax.vmap(kernel.init)(state.position)
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(fresh), strict=True):
            assert np.abs(a - b).max() < 1e-5


def test_another_coupling_compiles_nothing(key):
    x = jnp.ones((3, 4, 4))
    for make in (gibbs, swendsen_wang, lambda e: dmala(e, 0.5)):
        eb.sample(key, make(ising(0.2, 0.1)), x, 2)
        with jax.log_compiles(False):
            before = _chunk_programs.chunk._cache_size()
            eb.sample(key, make(ising(0.3, 0.2)), x, 2)
            assert _chunk_programs.chunk._cache_size() == before


X = jnp.zeros((2, 4, 4))


def test_kernels_refuse_energies_of_another_space():
    with pytest.raises(
        TypeError, match="HMC is a kernel of real points, and its energy"
    ):
        eb.hmc(ISING, 0.1, 3)


def test_sampling_refuses_positions_outside_the_space(key):
    kernel = gibbs(ising(0.3))
    with pytest.raises(
        ValueError, match="positions must be spins, each -1 or 1, got 0.0"
    ):
        eb.sample(key, kernel, X, 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gibbs(ISING, BITS), TypeError, "space is bits, and the energy is"),
        (lambda: gibbs(jnp.sum, "bits"), TypeError, "space must be BITS, SPINS"),
        (lambda: eb.sample(jax.random.key(0), gibbs(potts(3, 0.3)), X + 3, 1),
         ValueError,
         r"positions must be levels\(3\), each a whole number from 0 to 2, got 3.0"),
        (lambda: eb.sample(jax.random.key(0), gibbs(potts(3, 0.3)), X[:, :3], 1),
         ValueError, r"a lattice position must be \[H, W\] with even sides, got shape"),
        (lambda: swendsen_wang(jnp.sum), TypeError, "cluster moves are of ising"),
        (lambda: wolff(ising(-0.3)), ValueError, "coupling must be at least 0"),
        (lambda: ising(jnp.ones(2)), ValueError, "coupling must be a number"),
        (lambda: potts(1, 0.3), ValueError, "num_levels must be at least 2"),
        (lambda: potts(3, 0.3, jnp.ones(2)), ValueError, r"field must be \[K\]"),
        (lambda: dmala(lambda x: jnp.sum(x), 0.3, levels(3)), TypeError, "of_one_hot"),
        (lambda: dmala(jnp.sum, -1.0), ValueError, "step_size must be finite"),
        (lambda: locally_balanced(jnp.sum, balancing="max"), ValueError, "balancing"),
        (lambda: pairwise(np.ones((2, 3))), ValueError, r"couplings must be a matrix"),
        (lambda: pairwise(np.eye(3)), ValueError, "must have a zero diagonal"),
        (lambda: pairwise(np.triu(np.ones((3, 3)), 1)), ValueError, "be symmetric"),
        (lambda: pairwise(GRAPH, np.ones(3)), ValueError, "fields must have shape"),
        (lambda: with_difference(jnp.sum, jnp.sum), TypeError, "space must be BITS"),
        (lambda: eb.cycle(gibbs(jnp.sum), gibbs(ISING)), TypeError, "one state space"),
        (lambda: gibbs(jnp.sum).init({"x": X}), TypeError, "moves one array, got dict"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_coupling_below_zero_in_compiled_code_is_counted():
    make = lambda j: swendsen_wang(lattice.Ising(j))
    x = jnp.ones((4, 4))
    run = jax.jit(lambda j: make(j).step(jax.random.key(0), make(j).init(x)))
    state, info = run(-0.3)
    assert info.num_nonfinite == 1 and (state.position == x).all()
    assert run(0.3)[1].num_nonfinite == 0


def test_cases_of_the_suite_name_the_new_kernels():
    from ebmjax.verify import suite

    names = suite.verification_cases(is_quick=True)
    for name in (
        "rbm_gibbs",
        "dmala",
        "gibbs_with_gradients",
        "swendsen_wang",
        "wolff",
    ):
        assert f"{name} on 16 states" in names
    report = names["wolff on 16 states"](jax.random.key(1), alpha=1e-6)
    assert report.is_passed
