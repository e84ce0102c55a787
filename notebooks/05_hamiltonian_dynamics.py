# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Hamiltonian dynamics
#
# *Section 2.1.3 of the [notes](../docs/course.md#the-lecture-notes), equations 16 to
# 20. You need: Metropolis-Hastings. Runs in a minute.*
#
# Hamiltonian Monte Carlo (HMC) adds a momentum $p$ to the position $x$. The pair has
# the energy $H(x, p) = E(x) + \tfrac12 p^T M^{-1} p$. The motion $\dot x = M^{-1} p$,
# $\dot p = -\nabla E(x)$ conserves $H$, preserves volume, and is reversed when $p$
# changes sign. A proposal that follows it moves far and is nearly always accepted.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ebmjax as eb
from ebmjax import base, plotting, targets, verify
from ebmjax.diagnostics import convergence

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)

# %% [markdown]
# ## Figure 2: the particle and the random variable
#
# In the double well $E(x) = 3 (x^2 - 1)^2$ a particle of total energy $H = 2$ is
# confined to the region where $E(x) \le 2$. The random variable with density $e^{-E}/Z$
# has most of its mass in the same region.

# %%
well = targets.double_well(1)
grid = np.linspace(-1.8, 1.8, 400)
potential = np.asarray(jax.vmap(well.energy)(jnp.asarray(grid[:, None], jnp.float32)))
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained")
axes[0].plot(grid, potential, color="black", lw=1.2)
axes[0].fill_between(
    grid, potential, 2.0, where=potential < 2.0, color=plotting.MODEL, alpha=0.35
)
axes[0].axhline(2.0, color=plotting.MODEL, lw=1, label="$H = 2$")
axes[0].set(
    title="particle: low potential", xlabel="$x$", ylabel="$E(x)$ [nat]", ylim=(0, 6)
)
axes[0].legend()
axes[1].hist(
    np.asarray(well.sample(key, 50_000))[:, 0],
    120,
    density=True,
    color=plotting.DATA,
    alpha=0.4,
)
axes[1].plot(grid, np.exp(-potential - well.log_z), color="black", lw=1.2)
_ = axes[1].set(title="random variable: high density", xlabel="$x$", ylabel="density")

# %% [markdown]
# ## Three integrators
#
# Euler's method spirals outwards. Symplectic Euler and the leapfrog (eq. 20) preserve
# volume and stay near the level line of $H$. The leapfrog is of second order: its error
# falls by a factor of four when the step is halved.

# %%
oscillator = lambda x: 0.5 * jnp.sum(x**2)
grad = jax.grad(oscillator)


def euler(x, p, h):
    return x + h * p, p - h * grad(x)


def symplectic_euler(x, p, h):
    p = p - h * grad(x)
    return x + h * p, p


def leapfrog(x, p, h):
    state = base.evaluate(oscillator, x, with_grad=True)
    state, p = eb.trajectory(oscillator, state, p, h, 1)
    return state.position, p


fig, axes = plt.subplots(
    1, 3, figsize=(9.6, 3.3), sharex=True, sharey=True, layout="constrained"
)
angle = np.linspace(0, 2 * np.pi, 200)
for ax, step in zip(axes, (euler, symplectic_euler, leapfrog), strict=True):
    x, p, path = jnp.array([1.0]), jnp.array([0.0]), []
    for _ in range(40):
        path.append((float(x[0]), float(p[0])))
        x, p = step(x, p, 0.3)
    ax.plot(np.cos(angle), np.sin(angle), color=plotting.GREY, lw=1)
    ax.plot(*np.array(path).T, "o-", ms=2.5, lw=0.7, color=plotting.MODEL)
    name = step.__name__.replace("_", " ").replace("euler", "Euler")
    ax.set(
        title=name[0].upper() + name[1:],
        xlabel="$x$",
        aspect="equal",
        xlim=(-3, 3),
        ylim=(-3, 3),
    )
_ = axes[0].set_ylabel("$p$")

# %% [markdown]
# We measure the order on the double well: the largest error of $H$ along a trajectory
# of length one. `verify.integrator` does this for the leapfrog and for Yoshida's
# integrator, and tests reversibility and volume preservation, too. Symplectic Euler is
# of first order. It preserves volume but is not reversible, so it is not a valid
# Metropolis proposal without a further correction.

# %%
reports = {
    "leapfrog": verify.integrator(well.energy, np.array([0.5])),
    "Yoshida": verify.integrator(
        well.energy, np.array([0.5]), coefficients=eb.yoshida, order=4
    ),
}
fig, ax = plt.subplots(figsize=(4.4, 3.2), layout="constrained")
for (name, report), colour in zip(
    reports.items(), (plotting.DATA, plotting.MODEL), strict=True
):
    slope = next(f.value for f in report.findings if f.name == "order")
    evidence = report.evidence
    ax.loglog(
        evidence["step_sizes"],
        evidence["errors"],
        "o-",
        color=colour,
        label=f"{name}, slope {slope:.2f}",
    )
    assert report.is_passed
with jax.enable_x64(True):
    hamiltonian = lambda x, p: float(well.energy(x) + 0.5 * jnp.sum(p**2))
    grad_well = jax.jit(jax.grad(well.energy))
    errors, sizes = [], 0.05 / 2 ** np.arange(4)
    for h in sizes:
        x, p = jnp.array([0.5]), jnp.array([0.8])
        start, largest = hamiltonian(x, p), 0.0
        for _ in range(round(1 / h)):
            p = p - h * grad_well(x)
            x = x + h * p
            largest = max(largest, abs(hamiltonian(x, p) - start))
        errors.append(largest)
slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
ax.loglog(
    sizes,
    errors,
    "o-",
    color=plotting.THIRD,
    label=f"symplectic Euler, slope {slope:.2f}",
)
assert abs(slope - 1) < 0.1
ax.set(xlabel="step size", ylabel="largest error of $H$ [nat]")
ax.set_xticks([0.003, 0.01, 0.03], ["0.003", "0.01", "0.03"])
ax.xaxis.set_minor_formatter(plt.NullFormatter())
_ = ax.legend()

# %% [markdown]
# ## Figure 3: Rosenbrock
#
# Both kernels start at $(-4, 5)$, where $E = 606$. We print the number of steps, and of
# energy or gradient evaluations, until three of four chains have reached the valley,
# and until they have reached its other end, $x_1 > 2$.

# %%
target = targets.rosenbrock()
start = jnp.tile(jnp.array([-4.0, 5.0]), (200, 1))
typical = np.quantile(jax.vmap(target.energy)(target.sample(key, 10_000)), 0.9)
kernels = {
    "random walk, step 0.8": (eb.random_walk(target.energy, 0.8), 1),
    "HMC, step 0.03, 80 leapfrogs": (eb.hmc(target.energy, 0.03, 80), 80),
}
found, paths = {}, {}
for name, (kernel, cost) in kernels.items():
    collect = lambda state, info: (state.position, state.energy)
    samples = eb.sample(
        key, kernel, start, 10_000 if cost == 1 else 250, collect=collect
    )
    x, energy = (np.asarray(v) for v in samples.draws)
    paths[name] = x
    for what, arrived in (("valley", energy < typical), ("other end", x[..., 0] > 2)):
        share = np.maximum.accumulate(arrived).mean(axis=1)
        steps = int(np.argmax(share > 0.75)) + 1 if share[-1] > 0.75 else None
        found[name, what] = steps
        print(
            f"{name:30s} {what:10s} after {steps} steps, "
            f"{steps and steps * cost} energies or gradients"
        )
assert found["HMC, step 0.03, 80 leapfrogs", "valley"] <= 10
assert (
    found["HMC, step 0.03, 80 leapfrogs", "other end"] * 5
    < found["random walk, step 0.8", "other end"]
)

# %%
low, high = np.array([-9.0, -4.0]), np.array([10.0, 70.0])
axis = [np.linspace(a, b, 300) for a, b in zip(low, high, strict=True)]
mesh = jnp.asarray(np.stack(np.meshgrid(*axis), axis=-1), jnp.float32)
levels = np.asarray(jax.vmap(jax.vmap(target.energy))(mesh))
fig, axes = plt.subplots(1, 2, figsize=(8.8, 3.6), sharey=True, layout="constrained")
for ax, (name, x) in zip(axes, paths.items(), strict=True):
    ax.contour(*axis, np.log1p(levels), 12, cmap="cividis", linewidths=0.6)
    ax.plot(*x[:60, 0].T, ".-", ms=3, lw=0.7, color=plotting.MODEL)
    ax.plot(-4, 5, "k*", ms=8)
    ax.set(
        title=f"{name}: 60 steps of one chain",
        xlabel="$x_1$",
        xlim=(low[0], high[0]),
        ylim=(low[1], high[1]),
    )
_ = axes[0].set_ylabel("$x_2$")

# %% [markdown]
# Both kernels reach the valley quickly. HMC needs fewer steps, the random walk fewer
# evaluations. *Along* the valley the walk diffuses and needs tens of times more steps.
# To compare the value of a step we compute the effective sample size (notebook 2) of
# the worse coordinate, per energy or gradient and per step:

# %%
ess, exact = {}, target.sample(key, 100)
for name, (kernel, cost) in kernels.items():
    num_steps = 20_000 // cost  # the same cost for both, from exact draws
    draws = eb.sample(key, kernel, exact, num_steps, thin=max(1, 20 // cost)).draws
    ess[name] = float(jnp.min(convergence.ess_bulk(draws))) / 100 / num_steps
    print(
        f"{name:30s} ESS per step {ess[name]:.5f}, "
        f"per thousand energies or gradients {1000 * ess[name] / cost:.3f}"
    )
assert ess["HMC, step 0.03, 80 leapfrogs"] > 10 * ess["random walk, step 0.8"]

# %% [markdown]
# A trajectory of 80 gradients is expensive, and in two dimensions the random walk is
# competitive. The advantage of HMC grows with the dimension. On $N(0, I_d)$, each with
# its optimal step size, one step of the walk is worth $O(d^{-1})$ independent draws,
# and one gradient of HMC is worth $O(d^{-1/4})$ (Neal 2011, section 5.4.4).

# %%
ess_per_eval = {}
for d in (10, 100, 400):
    normal = targets.standard_normal(d)
    exact = normal.sample(key, 32)
    length = round(1.6 * d**0.25)
    for name, make, cost, rate, thin in (
        ("random walk", eb.random_walk, 1, 0.234, 8),
        (
            "HMC",
            lambda energy, h, n=length: eb.hmc(energy, h, n, jitter=True),
            0.5 * (length + 1),
            0.651,
            1,
        ),
    ):
        step = eb.tune_step_size(key, make, normal.energy, exact, target=rate).step_size
        draws = eb.sample(
            key, make(normal.energy, step), exact, 1000 * thin, thin=thin
        ).draws[:, :, :10]
        ess_per_eval[name, d] = (
            float(jnp.median(convergence.ess_bulk(draws))) / 32 / cost / thin
        )
    print(
        f"d = {d:4d}: ESS per thousand evaluations, "
        f"walk {ess_per_eval['random walk', d]:.3g}, HMC {ess_per_eval['HMC', d]:.3g}"
    )
ratio = {d: ess_per_eval["HMC", d] / ess_per_eval["random walk", d] for d in (10, 400)}
assert ratio[400] > 20 and ratio[400] > 5 * ratio[10]

# %% [markdown]
# ## Masses
#
# The masses in the kinetic energy $\sum_i p_i^2 / 2 m_i$ are free parameters. A
# coordinate with a small variance limits the step size. With masses equal to the
# inverse variances, all coordinates oscillate with the same period, and the step size
# is as large as for a standard normal. The example has fifty coordinates with standard
# deviations from 0.03 to 1. Both kernels are tuned to the same acceptance rate and use
# ten gradients per step.

# %%
stretched = targets.ill_conditioned_gaussian(50, condition=1000)
variances = np.diag(stretched.covariance)
exact = stretched.sample(key, 32)
best = {}
for name, c in (("unit masses", None), ("masses 1 / variance", variances)):
    make = lambda energy, h, c=c: eb.hmc(energy, h, 10, covariance=c, jitter=True)
    step = eb.tune_step_size(key, make, stretched.energy, exact, target=0.651).step_size
    draws = eb.sample(key, make(stretched.energy, step), exact, 1000).draws
    best[name] = float(jnp.min(convergence.ess_bulk(draws))) / 32
    print(
        f"{name:20s} step {float(step):.3f}, "
        f"worst ESS per thousand steps {best[name]:.1f}"
    )
assert best["masses 1 / variance"] > 20 * best["unit masses"]
