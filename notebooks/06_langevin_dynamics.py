# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Langevin dynamics
#
# *Section 2.1.4 of the [notes](../docs/course.md#the-lecture-notes), which is empty
# there. You need: Metropolis-Hastings, Hamiltonian dynamics. Runs in a minute.*
#
# A particle in a heat bath with so much friction that its momentum can be neglected
# follows
# $$dX_t = -\tfrac12 \nabla E(X_t)\,dt + dW_t .$$
# Its stationary density is $p = e^{-E}/Z$, because the probability flux
# $-\tfrac12 (p \nabla E + \nabla p)$ vanishes there. One Euler-Maruyama step over a
# time $\epsilon^2$ is the *unadjusted Langevin algorithm* (ULA),
# $$x' = x - \tfrac{\epsilon^2}{2} \nabla E(x) + \epsilon\,\xi,
# \qquad \xi \sim N(0, I).$$
# This is gradient descent with added noise, and the step size fixes the scale of the
# noise. It is also one leapfrog step of size $\epsilon$ with a fresh momentum.

# %%
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ebmjax as eb
from ebmjax import plotting, targets, verify

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)
CHAINS = 20_000

# %% [markdown]
# ## The bias of ULA
#
# On $N(0, 1)$ the step is an autoregression,
# $x' = (1 - \epsilon^2/2)\, x + \epsilon \xi$. Its stationary variance solves
# $v = (1-\epsilon^2/2)^2 v + \epsilon^2$, so $v = 1/(1 - \epsilon^2/4)$ instead of 1.
# For $\epsilon \ge 2$ there is no stationary distribution (Roberts & Tweedie 1996).
# Shorter steps reduce the bias; more steps do not. `verify.ula_law` is the biased
# distribution as a target: ULA leaves it invariant.

# %%
normal = targets.standard_normal(1)
eps = np.array([0.2, 0.4, 0.8, 1.2, 1.6])
measured, error = [], []
for e in eps:
    samples = eb.sample(
        key,
        eb.ula(normal.energy, e),
        normal.sample(key, CHAINS),
        20,
        num_warmup=200,
        thin=5,
    )
    x = np.asarray(samples.draws)[..., 0]
    measured.append(np.mean(x**2))
    error.append((x**2).mean(axis=0).std() / np.sqrt(CHAINS))
measured, error = np.array(measured), np.array(error)
law = 1 / (1 - eps**2 / 4)
assert np.all(np.abs(measured - law) < 4.5 * error)
assert verify.invariance(
    key, eb.ula(normal.energy, 0.8), verify.ula_law([1.0], 0.8)
).is_passed
assert not verify.invariance(key, eb.ula(normal.energy, 0.8), normal).is_passed

# %% [markdown]
# The rate is the same where there is no closed form. In a shallow double well we
# compute the stationary distribution of ULA from its transition density on a grid,
# without samples. The line in the right panel is the bias of $\mathbb{E} x^2$. The dots
# are chains of ULA and of *underdamped* Langevin dynamics, which has a momentum,
# $dX = P\,dt,\ dP = -\nabla E\,dt - \gamma P\,dt + \sqrt{2\gamma}\,dW$, discretised as
# BAOAB (Leimkuhler & Matthews 2013). It is also unadjusted and uses one gradient per
# step, and its bias is much smaller.

# %%
well = targets.double_well(1, height=0.5)
grid = np.linspace(-3.2, 3.2, 1601)
at_grid = jnp.asarray(grid[:, None], jnp.float32)
mass = np.exp(-np.asarray(jax.vmap(well.energy)(at_grid), np.float64))
slopes = np.asarray(jax.vmap(jax.grad(well.energy))(at_grid), np.float64)[:, 0]
truth = (grid**2 @ mass) / mass.sum()


def ula_second_moment(e):
    """E[x^2] under the stationary distribution of ULA, from its transition matrix."""
    transition = np.exp(
        -(((grid[None] - grid[:, None] + e**2 / 2 * slopes[:, None]) / e) ** 2) / 2
    )
    transition /= transition.sum(axis=1, keepdims=True)
    balance = transition.T - np.eye(len(grid))
    balance[-1] = 1.0  # the distribution sums to one
    return np.linalg.solve(balance, np.eye(len(grid))[-1]) @ grid**2


makers = {
    "ULA": eb.ula,
    "BAOAB": lambda energy, e: eb.underdamped_langevin(energy, e, 2.0),
}
steps = np.array([0.15, 0.2, 0.3, 0.4])
computed = np.array([ula_second_moment(e) for e in steps]) - truth
short = np.array([0.05, 0.1])
slope = np.diff(np.log(truth - np.array([ula_second_moment(e) for e in short])))[
    0
] / np.log(2)
bias = {}
for name, make in makers.items():
    for e in steps:
        thin = int(2 / e)
        chain_init = well.sample(key, CHAINS)
        samples = eb.sample(
            key,
            make(well.energy, e),
            chain_init,
            20 * thin,
            num_warmup=20 * thin,
            thin=thin,
        )
        square = np.asarray(samples.draws)[..., 0] ** 2
        bias[name, e] = (
            square.mean() - truth,
            square.mean(axis=0).std() / np.sqrt(CHAINS),
        )
assert abs(slope - 2) < 0.05
assert all(
    abs(bias["ULA", e][0] - c) < 4 * bias["ULA", e][1]
    for e, c in zip(steps, computed, strict=True)
)
assert all(
    abs(bias["BAOAB", e][0]) < 0.4 * abs(c)
    for e, c in zip(steps[2:], computed[2:], strict=True)
)

# %%
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.1), layout="constrained")
smooth = np.linspace(0.05, 1.9, 200)
axes[0].plot(
    smooth,
    1 / (1 - smooth**2 / 4),
    color=plotting.GREY,
    lw=1,
    label="$1/(1-\\epsilon^2/4)$",
)
axes[0].errorbar(
    eps, measured, 3 * error, fmt="o", ms=4, color=plotting.MODEL, label="ULA"
)
axes[0].set(
    title="variance of ULA on $N(0,1)$",
    xlabel="$\\epsilon$",
    ylabel="variance",
    ylim=(0.9, 4),
)
axes[0].legend()
axes[1].plot(
    steps,
    computed,
    color=plotting.MODEL,
    lw=1,
    label=f"ULA computed, $\\epsilon^{{{slope:.2f}}}$ at the origin",
)
for name, colour in (("ULA", plotting.MODEL), ("BAOAB", plotting.DATA)):
    values, errors = np.array([bias[name, e] for e in steps]).T
    axes[1].errorbar(
        steps,
        values,
        3 * errors,
        fmt="o",
        ms=4,
        lw=0.8,
        color=colour,
        label=f"{name}, chains",
    )
axes[1].axhline(0, color=plotting.GREY, lw=0.8)
axes[1].set(
    title="bias of $\\mathbb{E}x^2$ in a double well",
    xlabel="$\\epsilon$",
    ylabel="bias",
)
_ = axes[1].legend(fontsize=8)

# %% [markdown]
# ULA can also be unstable. Where the gradient grows faster than linearly, a step from
# far out overshoots, each time further, and the chain diverges. In a deeper well with
# $\epsilon = 0.3$ this happens to some of a thousand chains. `sample` rejects the
# non-finite proposals, keeps the last finite position, and warns.

# %%
deep = targets.double_well(1, height=3.0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    samples = eb.sample(key, eb.ula(deep.energy, 0.3), deep.sample(key, 1000), 200)
for warning in caught:
    print(warning.message)
assert (
    any("NaN" in str(w.message) for w in caught)
    and int(samples.num_nonfinite.sum()) > 0
)
assert (
    int(
        eb.sample(
            key, eb.mala(deep.energy, 0.3), deep.sample(key, 1000), 200
        ).num_nonfinite.sum()
    )
    == 0
)

# %% [markdown]
# ## MALA: the step as a proposal
#
# The Metropolis-adjusted Langevin algorithm (MALA) uses the ULA step as a proposal,
# which removes the bias for any step size. The proposal is not symmetric, so the ratio
# $q(x \mid x')/q(x' \mid x)$ is needed. Its logarithm is $(|\xi|^2 - |\xi^*|^2)/2$,
# where $\xi^*$ is the noise that would lead back from $x'$ to $x$. One gradient per
# step is enough, because the gradient at the new point is stored. MALA passes the test
# that ULA fails above.

# %%
report = verify.invariance(key, eb.mala(normal.energy, 0.8), normal)
print(report)
assert report.is_passed

# %% [markdown]
# ## When the correction matters: high dimension
#
# On $N(0, I_d)$ each coordinate of ULA has a slightly too large variance. The mean
# energy is too high by $\frac{d}{2}(v - 1)$, while its standard deviation under the
# target is only $\sqrt{d/2}$. At $\epsilon = 0.8$ the bias is small for one coordinate.
# For the 784 dimensions of an image the two distributions of the energy hardly overlap.

# %%
fig, axes = plt.subplots(1, 3, figsize=(10.2, 2.9), layout="constrained")
for ax, d in zip(axes, (1, 28, 784), strict=True):
    gaussian = targets.standard_normal(d)
    start = gaussian.sample(key, 4000)
    ends = {
        name: np.asarray(eb.sample(key, kernel, start, 1, num_warmup=60).state.energy)
        for name, kernel in (
            ("ULA", eb.ula(gaussian.energy, 0.8)),
            ("MALA", eb.mala(gaussian.energy, 0.8)),
        )
    }
    exact = np.asarray(
        jax.vmap(gaussian.energy)(gaussian.sample(jax.random.key(1), 4000))
    )
    bins = np.linspace(
        min(exact.min(), ends["ULA"].min()), np.quantile(ends["ULA"], 0.995), 50
    )
    ax.hist(exact, bins, density=True, color=plotting.GREY, alpha=0.35, label="exact")
    for (name, energies), colour in zip(
        ends.items(), (plotting.MODEL, plotting.DATA), strict=True
    ):
        ax.hist(
            energies,
            bins,
            density=True,
            histtype="step",
            lw=1.2,
            color=colour,
            label=name,
        )
    ax.set(title=f"$d = {d}$", xlabel="energy [nat]", yticks=[])
    shift = d / 2 * (1 / (1 - 0.64 / 4) - 1)
    assert abs(ends["ULA"].mean() - exact.mean() - shift) < 0.05 * shift + 5 * np.sqrt(
        d / 4000
    )
    assert abs(ends["MALA"].mean() - exact.mean()) < 5 * np.sqrt(d / 4000)
axes[0].set_ylabel("density")
axes[0].legend()
assert np.mean(ends["ULA"] > np.quantile(exact, 0.99)) > 0.8  # at d = 784

# %% [markdown]
# How does the step size scale with the dimension? At a fixed acceptance rate the random
# walk needs $\epsilon \sim d^{-1/2}$ (Roberts, Gelman & Gilks 1997) and MALA $d^{-1/6}$
# (Roberts & Rosenthal 1998). ULA needs $d^{-1/4}$ at a fixed Kullback-Leibler
# divergence from the target, $\frac d2 (v - 1 - \log v) \approx d\,\epsilon^4/64$. We
# tune the first two.

# %%
dims = np.array([16, 64, 256, 1024])
tuned = {}
for name, make, rate in (
    ("random walk", eb.random_walk, 0.234),
    ("MALA", eb.mala, 0.574),
):
    for d in dims:
        gaussian = targets.standard_normal(int(d))
        found = eb.tune_step_size(
            key,
            make,
            gaussian.energy,
            gaussian.sample(key, 64),
            target=rate,
            num_steps=300,
        )
        tuned[name, d] = float(found.step_size)
fig, ax = plt.subplots(figsize=(4.6, 3.1), layout="constrained")
for name, order, colour in (
    ("MALA", -1 / 6, plotting.DATA),
    ("random walk", -1 / 2, plotting.THIRD),
):
    values = np.array([tuned[name, d] for d in dims])
    slope = np.polyfit(np.log(dims), np.log(values), 1)[0]
    ax.loglog(
        dims,
        values,
        "o",
        ms=4,
        color=colour,
        label=f"{name}, slope {slope:.2f}, theory {order:.2f}",
    )
    ax.loglog(dims, values[0] * (dims / dims[0]) ** order, color=colour, lw=0.8)
    assert abs(slope - order) < 0.04
unadjusted = (64 * 0.1 / dims) ** 0.25
ax.loglog(
    dims,
    unadjusted,
    "--",
    color=plotting.MODEL,
    lw=1,
    label="ULA, 0.1 nat off, $d^{-1/4}$",
)
ax.set(xlabel="dimension $d$", ylabel="step size $\\epsilon$")
ax.legend(fontsize=8)
assert tuned["MALA", 1024] > 1.5 * unadjusted[-1]

# %% [markdown]
# At $d = 1024$ MALA takes longer steps than ULA with a divergence of 0.1 nats, so the
# correction pays for itself. The advantage of ULA is that it always moves. Where the
# step is too long for the current energy, MALA rejects nearly every proposal and stays
# in place. This is why energy-based training often omits the correction. `ebmjax`
# adapts the step size instead.

# %% [markdown]
# ## The temperature trick
#
# Papers on image models write $x' = x - \alpha \nabla E(x) + \sigma \xi$ and choose
# $\alpha$ and $\sigma$ independently, for instance $\alpha = 10$ and $\sigma = 0.005$.
# Langevin dynamics has one parameter. Equating the noise gives $\epsilon = \sigma$, and
# equating the drift gives $\epsilon^2 / (2T) = \alpha$. So the update is ULA at
# temperature $T = \sigma^2 / (2\alpha)$. Such a run learns and samples $e^{-E/T}$ at a
# very low temperature.

# %%
target = targets.two_modes()
alpha, sigma = 0.08, 0.2
temperature = sigma**2 / (2 * alpha)
x = target.sample(key, CHAINS)
gradient = jax.vmap(jax.grad(target.energy))


def image_paper_step(x, key):
    return x - alpha * gradient(x) + sigma * jax.random.normal(key, x.shape), None


by_hand, _ = jax.lax.scan(image_paper_step, x, jax.random.split(key, 400))
cold = eb.sample(
    key, eb.ula(eb.temper(target.energy, temperature), sigma), x, 1, num_warmup=400
).draws[0]
fig, ax = plt.subplots(figsize=(5.2, 3.0), layout="constrained")
axis = jnp.linspace(-5, 5, 400)[:, None]
for t, colour in ((1.0, plotting.GREY), (temperature, plotting.MODEL)):
    p = np.exp(-np.asarray(jax.vmap(eb.temper(target.energy, t))(axis), np.float64))
    # 400 cold steps do not cross between the modes: match the mass of each mode
    right = np.asarray(axis)[:, 0] > -0.55
    for side in (right, ~right):
        share = float(np.mean((np.asarray(x)[:, 0] > -0.55) == side[-1]))
        p[side] *= share / (p[side].sum() * 10 / 399)
    ax.plot(axis, p, color=colour, lw=1.2, label=f"density at $T = {t:g}$")
ax.hist(
    np.asarray(by_hand)[:, 0],
    80,
    density=True,
    color=plotting.DATA,
    alpha=0.35,
    label="$\\alpha, \\sigma$ by hand",
)
ax.hist(
    np.asarray(cold)[:, 0],
    80,
    density=True,
    histtype="step",
    color=plotting.DATA,
    label="ula of temper",
)
ax.set(xlabel="$x$", ylabel="density")
ax.legend(fontsize=8)
sd = {
    name: np.asarray(v)[np.asarray(v)[:, 0] > 0].std()
    for name, v in (("hand", by_hand), ("ula", cold), ("T = 1", x))
}
print({k: round(float(v), 3) for k, v in sd.items()}, "standard deviation, right mode")
assert abs(sd["hand"] / sd["ula"] - 1) < 0.02
assert sd["hand"] < 0.65 * sd["T = 1"]
