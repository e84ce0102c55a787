# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Discrete energies
#
# *You need: notebook 4 (Metropolis-Hastings) and notebook 7 (maximum likelihood).
# Runs in two minutes.*
#
# A state may be a set of bits, spins or levels in place of real numbers. The density is
# still $p(x) = e^{-E(x)} / Z$, now with a sum over states in $Z$. What changes is the
# move: there is no small step, and what a gradient says holds for large ones only
# approximately.

# %%
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import ebmjax as eb
from ebmjax import plotting
from ebmjax.diagnostics.convergence import ess_bulk
from ebmjax.energies import boltzmann, enumeration
from ebmjax.energies.lattice import ISING_CRITICAL, ising
from ebmjax.energies.lattice_exact import ising_energy
from ebmjax.kernels.cluster import swendsen_wang
from ebmjax.kernels.discrete_langevin import dmala, dula
from ebmjax.kernels.flip import flip
from ebmjax.kernels.gibbs import gibbs
from ebmjax.kernels.locally_balanced import gibbs_with_gradients
from ebmjax.spaces import BITS, SPINS, levels

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)

# %% [markdown]
# ## State spaces
#
# Positions are arrays of floats whose entries are values of the space. An energy may
# name its space, and kernels of real numbers refuse it.

# %%
for space in (BITS, SPINS, levels(3)):
    print(f"{space!s:10} {space.values}")
try:
    eb.hmc(ising(0.4), 0.1, 5)
except TypeError as error:
    print(error)
    refused = str(error)
assert "HMC is a kernel of real points, and its energy is of spins" in refused

# %% [markdown]
# ## The Ising model
#
# $E(s) = -J \sum_{\langle ij \rangle} s_i s_j$ on a torus. A site needs its four
# neighbours alone, so that all black sites of a checkerboard are independent given the
# white ones: `gibbs` draws each colour at once. The mean energy is known exactly
# (Kaufman 1949), also at the critical coupling $J = \log(1 + \sqrt 2) / 2$.

# %%
side, num_chains = 32, 32
couplings = {"disordered": 0.35, "critical": ISING_CRITICAL, "ordered": 0.5}
start = jnp.ones((num_chains, side, side))
fig, axes = plt.subplots(1, 3, figsize=(7.0, 2.5), layout="constrained")
deviations = {}
for ax, (name, coupling) in zip(axes, couplings.items(), strict=True):
    kernel = swendsen_wang(ising(coupling))
    found = eb.sample(
        key, kernel, start, 200, num_warmup=50, collect=lambda s, i: s.energy
    )
    means = np.asarray(found.draws).mean(axis=0) / side**2
    error = means.std(ddof=1) / np.sqrt(num_chains)
    exact = ising_energy((side, side), coupling)
    deviations[name] = (means.mean() - exact) / error
    print(
        f"{name:10} J {coupling:.4f}: energy a site {means.mean():.4f} +- {error:.4f}, "
        f"exact {exact:.4f}"
    )
    ax.imshow(found.state.position[0], cmap="gray_r", interpolation="nearest")
    ax.set(title=f"{name}, J = {coupling:.3f}", xticks=[], yticks=[])
plt.show()
assert max(abs(d) for d in deviations.values()) < 4.5  # standard errors

# %% [markdown]
# ## Local moves and clusters
#
# At the critical point domains have all sizes, and a move of single sites changes a
# large one only at its edge. Swendsen and Wang (1987) join equal neighbours with
# probability $1 - e^{-2J}$ and give each cluster a new spin. Both leave the same law
# invariant; the clusters need far fewer steps for an independent value of $|m|$, the
# magnetisation.

# %%
magnetisation = lambda state, info: jnp.abs(jnp.mean(state.position, axis=(1, 2)))
steps = {}
for make, num_steps in ((gibbs, 4000), (swendsen_wang, 400)):
    kernel = make(ising(ISING_CRITICAL))
    run = eb.sample(
        key, kernel, start[:8], num_steps, num_warmup=500, collect=magnetisation
    )
    size = ess_bulk(np.asarray(run.draws)[..., None])[0]
    steps[make.__name__] = 8 * num_steps / size
    print(f"{make.__name__:14} {steps[make.__name__]:6.1f} steps an effective sample")
assert steps["gibbs"] > 8 * steps["swendsen_wang"]

# %% [markdown]
# ## Kernels for any energy
#
# Without a lattice there remain `flip`, which proposes a site blindly, and `gibbs`,
# which computes the energy once a site. A gradient estimates all differences at once,
#
# $$E(x \text{ with } x_i = v) - E(x) \approx g_i (v - x_i), \qquad g = \nabla E(x).$$
#
# `gibbs_with_gradients` chooses one site by it (Grathwohl et al. 2021), `dmala` moves
# all sites at once (Zhang, Liu and Liu 2022); Metropolis corrects the approximation.
# `dula` leaves the correction out. On ten bits all 1024 probabilities are known.

# %%
weights = jax.random.normal(jax.random.key(1), (10, 6))
energy = lambda x: (
    jnp.sum(jnp.tanh((2 * x - 1) @ weights)) + 0.5 * jnp.sum(x[1:] * x[:-1])
)
exact = enumeration.distribution(energy, BITS, (10,))
starts = jax.random.bernoulli(key, 0.5, (2000, 10)).astype(jnp.float32)
kernels = {
    "flip": flip(energy),
    "gibbs": gibbs(energy),
    "gibbs_with_gradients": gibbs_with_gradients(energy),
    "dmala": dmala(energy, 0.5),
    "dula": dula(energy, 0.5),
}
distance = {}
for name, kernel in kernels.items():
    x = eb.sample(key, kernel, starts, 400, num_warmup=200, thin=10).draws
    number = np.asarray(x, int).reshape(-1, 10) @ 2 ** np.arange(10)
    shares = np.bincount(number, minlength=1024) / number.size
    distance[name] = 0.5 * np.abs(shares - exact).sum()
    print(f"{name:22} total variation distance {distance[name]:.3f}")
assert max(v for k, v in distance.items() if k != "dula") < 0.05
assert distance["dula"] > 0.08  # biased

# %% [markdown]
# ## Training on bits
#
# Bars and stripes: images of 3 x 3 bits whose rows are all equal, or whose columns are.
# There are 14. A restricted Boltzmann machine is trained by persistent chains of
# `gibbs_with_gradients`, with the same `fit` as any other energy; its likelihood is a
# sum over 512 states. The best possible is $-\log 14$.

# %%
rows = [
    np.tile(np.array(b)[:, None], (1, 3)) for b in itertools.product((0, 1), repeat=3)
]
images = np.unique([x for r in rows for x in (r, r.T)], axis=0).reshape(-1, 9)
points = jnp.asarray(images, jnp.float32)
network = boltzmann.RBMNetwork(16)
objective = eb.maximum_likelihood(
    network.apply, lambda energy, step_size: gibbs_with_gradients(energy), 20
)
draw = lambda key, n: jax.random.bernoulli(key, 0.5, (n, 9)).astype(jnp.float32)
chain_init = eb.replay_buffer(draw, 256, 0.02)
optimizer = optax.adam(optax.linear_schedule(0.03, 0.003, 1500))
params = network.init(jax.random.key(2), points[0])
state = eb.init_state(jax.random.key(3), params, optimizer, chain_init, 1.0)
state, history = eb.fit(
    jax.random.key(4),
    objective,
    optimizer,
    state,
    jnp.tile(points, (16, 1)),
    chain_init,
    num_updates=1500,
    batch_size=112,
    num_chains=256,
)
trained = partial(network.apply, state.ema)
likelihood = enumeration.log_likelihood(trained, points)
before = enumeration.log_likelihood(partial(network.apply, params), points)
share = enumeration.distribution(trained, BITS, (9,))[images @ 2 ** np.arange(9)].sum()
print(f"log-likelihood {likelihood:.3f}, before {before:.3f}, best {-np.log(14):.3f}")
print(f"probability of the 14 images {share:.3f}, of {14 / 512:.3f} before")
assert likelihood > -np.log(14) - 0.5 and share > 0.7

# %%
draws = eb.sample(key, gibbs(trained), draw(key, 24), 200, thin=200).draws[0]
fig, axes = plt.subplots(2, 12, figsize=(7.0, 1.4), layout="constrained")
for ax, x in zip(axes.ravel(), draws, strict=True):
    ax.imshow(x.reshape(3, 3), cmap="gray_r", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
plt.show()
known = {tuple(i) for i in images}
right = np.mean([tuple(np.asarray(x, int)) in known for x in draws])
print(f"{right:.0%} of 24 new samples are bars or stripes")
assert right > 0.5

# %% [markdown]
# ## Exercises
#
# 1. Give the Ising model a field. Which kernels still apply, and what happens to the
#    critical point?
# 2. Write `difference(x, site, value)` for an energy of yours and compare the time of a
#    sweep with and without it (`ebmjax.energies.local.with_difference`).
# 3. Train the bars and stripes by `pseudo_likelihood`. How far is it from the maximum?
