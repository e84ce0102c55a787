# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What an energy is
#
# *Section 1 of the [notes](../docs/course.md#the-lecture-notes), equations 1 to 5. You
# need: densities. Runs in half a minute.*
#
# A model is a function $E_\theta(x)$. Its density is
# $$P_\theta(x) = \frac{e^{-E_\theta(x)}}{Z_\theta}, \qquad
# Z_\theta = \int e^{-E_\theta(x)}\,dx .$$
# In `ebmjax` an energy is a Python function of *one* point that returns a scalar, in
# nats. There is no other requirement.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import ebmjax as eb
from ebmjax import plotting, targets
from ebmjax.evaluation import quadrature

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)
target = targets.two_modes()  # 0.3 N(-2, 0.6^2) + 0.7 N(1.5, 0.8^2)
low, high = -8.0, 8.0
grid = jnp.linspace(low, high, 2001)[:, None]
x = np.asarray(grid)[:, 0]


def density(energy):
    """exp(-E) / Z on the grid, and log Z."""
    log_z = quadrature.log_z(energy, low, high, resolution=2000)
    return np.exp(-np.asarray(jax.vmap(energy)(grid), np.float64) - log_z), log_z


# %% [markdown]
# ## Temperature
#
# The Boltzmann distribution at temperature $T$ is $e^{-E/T}/Z_T$ (eq. 4). A low
# temperature concentrates the mass where the energy is lowest, a high temperature
# spreads it out. The ratio of two probabilities does not depend on $Z$:
# $P(a)/P(b) = e^{-(E(a)-E(b))/T}$.

# %%
temperatures = (0.25, 1.0, 4.0)
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained")
axes[0].plot(x, np.asarray(jax.vmap(target.energy)(grid)), color="black", lw=1.2)
axes[0].set(
    title="energy", xlabel="$x$", ylabel="$E(x)$ [nat]", xlim=(-5, 5), ylim=(0, 10)
)
mass_right = {}
for temperature, colour in zip(
    temperatures, (plotting.DATA, plotting.MODEL, plotting.THIRD), strict=True
):
    p, log_z = density(eb.temper(target.energy, temperature))
    mass_right[temperature] = np.trapezoid(np.where(x > 0, p, 0), x)
    axes[1].plot(
        x,
        p,
        color=colour,
        lw=1.2,
        label=f"$T = {temperature:g}$: {mass_right[temperature]:.2f} on the right",
    )
    a, b = 700, 1200
    gap = float(target.energy(grid[a]) - target.energy(grid[b]))
    assert abs(np.log(p[a] / p[b]) + gap / temperature) < 1e-4
axes[1].set(title="density", xlabel="$x$", ylabel="density", xlim=(-7, 7))
axes[1].legend()
# a low temperature favours the deeper mode
assert mass_right[0.25] > mass_right[1.0] > mass_right[4.0]

# %% [markdown]
# The numerator can be any positive function $F$ (eq. 5); its energy is $-\log F$. An
# example is the Cauchy density, with $Z = \pi$:

# %%
cauchy = eb.from_log_density(lambda x: -jnp.log1p(jnp.sum(x**2)))
z = np.exp(quadrature.log_z(cauchy, -3000.0, 3000.0, resolution=200_000))
print(f"Z = {z:.4f}, pi = {np.pi:.4f}; outside of +-3000 lie 2/3000 = {2 / 3000:.4f}")
assert abs(z - (np.pi - 2 / 3000)) < 2e-4

# %% [markdown]
# ## Z by quadrature, and its limits
#
# In one or two dimensions $Z$ is a sum over a grid. If the density is smooth and
# vanishes at the edges, the error falls faster than any power of the resolution.
# `quadrature.log_z` computes this sum. The course therefore measures every model of the
# plane by its exact likelihood.

# %%
plane = targets.banana(2)
resolutions = np.array([6, 8, 12, 16, 24, 32, 48, 64])
box = (np.array([-16.0, -16.0]), np.array([16.0, 22.0]))
errors = {
    "1-d, two modes": [
        abs(
            quadrature.log_z(target.energy, low, high, resolution=int(n)) - target.log_z
        )
        for n in resolutions
    ],
    "2-d, banana": [
        abs(quadrature.log_z(plane.energy, *box, resolution=int(n)) - plane.log_z)
        for n in resolutions
    ],
}
assert errors["1-d, two modes"][-1] < 1e-5
assert abs(quadrature.log_z(plane.energy, *box, resolution=400) - plane.log_z) < 1e-3

# %% [markdown]
# A grid of $m$ nodes per axis has $m^d$ nodes. We give the standard normal in $d$
# dimensions a *million* nodes, $m = 10^{6/d}$ per axis. The sum over the grid is the
# $d$-th power of the sum in one dimension, so we can compute its error for any $d$.

# %%
NODES = 10**6
dims = np.arange(1, 20)


def error_of_log_z(d):
    m = max(1, int(np.floor(NODES ** (1 / d) + 1e-9)))
    nodes = -6 + 12 * (np.arange(m) + 0.5) / m
    return d * abs(
        np.log(np.exp(-(nodes**2) / 2).sum() * 12 / m) - 0.5 * np.log(2 * np.pi)
    )


by_dimension = np.array([error_of_log_z(d) for d in dims])
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained")
for (name, values), colour in zip(
    errors.items(), (plotting.DATA, plotting.MODEL), strict=True
):
    axes[0].semilogy(
        resolutions,
        np.maximum(values, 1e-8),
        "o-",
        ms=4,
        lw=1,
        color=colour,
        label=name,
    )
axes[0].set(
    title="few dimensions", xlabel="nodes an axis", ylabel="error of $\\log Z$ [nat]"
)
axes[0].legend()
axes[1].semilogy(
    dims, np.maximum(by_dimension, 1e-16), "o-", ms=4, lw=1, color=plotting.MODEL
)
axes[1].axhline(1.0, color=plotting.GREY, lw=0.8)
axes[1].set(
    title="a million nodes in $d$ dimensions",
    xlabel="$d$",
    ylabel="error of $\\log Z$ [nat]",
)
axes[1].set_xticks([1, 5, 10, 15, 19])
print(
    {
        int(d): float(f"{e:.2g}")
        for d, e in zip(dims, by_dimension, strict=True)
        if d in (5, 6, 7, 8, 10, 13)
    }
)
assert (
    by_dimension[5] < 1e-4
    and by_dimension[7] > 0.1
    and by_dimension[9] > 1
    and by_dimension[12] > 30
)

# %% [markdown]
# Up to six dimensions the error is negligible. At eight it is larger than most
# differences between models. From thirteen on the grid has two nodes per axis, and its
# result is useless. An image of 28 by 28 pixels has 784 dimensions, and a grid of two
# nodes per axis has $2^{784} \approx 10^{236}$ nodes. *The following notebooks avoid
# $Z$*: the gradient of $E$ in $x$ does not depend on it (sampling, score matching); the
# gradient of $\log Z$ in $\theta$ is an expectation under the model (maximum
# likelihood); and a classifier can estimate it (noise contrastive estimation).

# %% [markdown]
# ## One density, three energies
#
# The energy may have any form. Here the density above is written as a mixture, as a
# polynomial of degree eight, and as a network. The last two are fitted by exact maximum
# likelihood: they minimise $\mathbb{E}_P[E_\theta] + \log Z_\theta$, where $Z_\theta$
# is the sum over the grid.

# %%
truth, _ = density(target.energy)
weight = jnp.asarray(truth * (x[1] - x[0]), jnp.float32)


def polynomial(params, x):
    """The leading coefficient is positive, so that Z is finite."""
    t = x[0] / 3
    powers = t ** jnp.arange(1, 8)
    return params["low"] @ powers + jax.nn.softplus(params["lead"]) * t**8


network = eb.MLP((64, 64), confinement=6.0)
models = {
    "polynomial": (polynomial, {"low": jnp.zeros(7), "lead": jnp.float32(0.0)}),
    "network": (network.apply, network.init(key, grid[0])),
}


def fit_exactly(energy, params, num_updates=500):
    def negative_log_likelihood(params):
        energies = jax.vmap(lambda x: energy(params, x))(grid)
        return (
            weight @ energies
            + jax.nn.logsumexp(-energies)
            + jnp.log(grid[1, 0] - grid[0, 0])
        )

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(negative_log_likelihood)

    def update(carry, _):
        params, state = carry
        value, grad = value_and_grad(params, state=state)
        updates, state = optimizer.update(
            grad,
            state,
            params,
            value=value,
            grad=grad,
            value_fn=negative_log_likelihood,
        )
        return (optax.apply_updates(params, updates), state), value

    (params, _), _ = jax.lax.scan(
        update, (params, optimizer.init(params)), length=num_updates
    )
    return lambda x: energy(params, x)


energies = {"mixture": target.energy}
for name, (energy, params) in models.items():
    energies[name] = fit_exactly(energy, params)

fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained")
divergence = {}
for (name, energy), colour, style in zip(
    energies.items(),
    ("0.8", plotting.DATA, plotting.MODEL),
    ("-", "--", ":"),
    strict=True,
):
    p, log_z = density(energy)
    divergence[name] = np.trapezoid(
        np.where(truth > 0, truth * np.log(truth / np.maximum(p, 1e-300)), 0), x
    )
    label = (
        f"{name}, KL {max(divergence[name], 0):.1g} nat" if name != "mixture" else name
    )
    axes[0].plot(
        x, p, style, color=colour, lw=4 if name == "mixture" else 1.4, label=label
    )
    axes[1].plot(
        x,
        -np.log(np.maximum(p, 1e-30)),
        style,
        color=colour,
        lw=4 if name == "mixture" else 1.4,
    )
axes[0].set(
    title="density", xlabel="$x$", ylabel="density", xlim=(-5, 5), ylim=(0, 0.46)
)
axes[0].legend(loc="upper left")
axes[1].set(
    title="energy",
    xlabel="$x$",
    ylabel="$E(x) + \\log Z$ [nat]",
    xlim=(-6, 6),
    ylim=(0, 16),
)
assert divergence["polynomial"] < 0.02
assert divergence["network"] < 1e-3

# %% [markdown]
# The three energies agree where the density has mass. They differ in the tails, which
# the data do not constrain. Chains do visit the tails, and notebook 7 shows what this
# means for training.
