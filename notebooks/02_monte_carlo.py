# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Monte Carlo
#
# *Section 2.1 of the [notes](../docs/course.md#the-lecture-notes), equation 11. You
# need: expectation and variance. Runs in half a minute.*
#
# $$I = \int P(x) f(x)\,dx \;\approx\; \hat I = \frac1n \sum_{i=1}^n f(x_i),
# \qquad x_i \sim P .$$
# The notes make three claims about $\hat I$: it is unbiased, its standard error is
# $\sqrt{\mathbb{D} f / n}$ ($\mathbb{D}$ is the variance), and the error does not
# depend on the dimension. The first two are correct. The third is correct for the
# *rate* but not for the constant. This notebook derives and measures both.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ebmjax as eb
from ebmjax import plotting, targets

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)

# %% [markdown]
# ## Unbiased, with a standard error
#
# Let $P$ be the two Gaussians of the last notebook and $f(x) = x^2$. Its mean and
# variance are known in closed form. We compute 2,000 estimates for each size $n$:

# %%
target = targets.two_modes()
weights, means, scales = (
    np.array([0.3, 0.7]),
    np.array([-2.0, 1.5]),
    np.array([0.6, 0.8]),
)
truth = weights @ (means**2 + scales**2)
fourth = weights @ (means**4 + 6 * means**2 * scales**2 + 3 * scales**4)
sd = np.sqrt(fourth - truth**2)
REPEATS = 2000
sizes = np.array([10, 40, 160, 640, 2560])
estimates = {}
for n, k in zip(sizes, jax.random.split(key, len(sizes)), strict=True):
    draws = target.sample(k, int(REPEATS * n)).reshape(REPEATS, n)
    estimates[n] = np.asarray(jnp.mean(draws**2, axis=1), np.float64)

spread = np.array([estimates[n].std() for n in sizes])
slope = np.polyfit(np.log(sizes), np.log(spread), 1)[0]
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained")
axes[0].loglog(
    sizes, spread, "o", color=plotting.MODEL, label=f"measured, slope {slope:.3f}"
)
axes[0].loglog(
    sizes,
    sd / np.sqrt(sizes),
    color=plotting.GREY,
    lw=1,
    label="$\\sqrt{\\mathbb{D}f/n}$",
)
axes[0].set(title="standard error", xlabel="$n$", ylabel="deviation of $\\hat I$")
axes[0].legend()
for n, colour in ((10, plotting.DATA), (640, plotting.MODEL)):
    scaled = (estimates[n] - truth) / (sd / np.sqrt(n))
    axes[1].hist(
        scaled,
        40,
        range=(-4, 4),
        density=True,
        histtype="step",
        color=colour,
        label=f"$n = {n}$",
    )
    assert abs(scaled.mean()) < 4 / np.sqrt(REPEATS)  # unbiased, at every n
bell = np.linspace(-4, 4, 200)
axes[1].plot(
    bell,
    np.exp(-(bell**2) / 2) / np.sqrt(2 * np.pi),
    color=plotting.GREY,
    lw=1,
    label="$N(0, 1)$",
)
axes[1].set(
    title="central limit",
    xlabel="$(\\hat I - I) / \\sqrt{\\mathbb{D}f/n}$",
    ylabel="density",
)
axes[1].legend()
assert abs(slope + 0.5) < 0.02

# %% [markdown]
# ## Three rates
#
# On the cube $[0,1]^d$ with $n$ nodes in total, a product rule has $m = n^{1/d}$
# intervals per axis, of width $h = n^{-1/d}$. The error of the trapezoidal rule is
# $O(h^2)$ and that of Simpson's rule is $O(h^4)$. This gives the rates of the notes,
# $n^{-2/d}$ and $n^{-4/d}$ (for functions with two or four continuous derivatives). The
# rate of Monte Carlo is $n^{-1/2}$. So the trapezoidal rule loses its advantage at
# $d = 4$ and Simpson's rule at $d = 8$.
#
# We integrate $f(x) = \prod_i e^{x_i}/(e-1)$, whose integral is 1. The result of a
# product rule is the product of the one-dimensional sums. If their error is
# $\epsilon_1$, the error of the product is $(1+\epsilon_1)^d - 1$.


# %%
def simpson_or_trapezoid(m, rule):
    """The error of the rule with m intervals in one dimension."""
    x = np.linspace(0, 1, m + 1)
    weight = np.full(m + 1, 2.0)
    if rule == "Simpson":
        weight[1::2] = 4.0
    weight[[0, -1]] = 1.0
    return weight @ (np.exp(x) / (np.e - 1)) / weight.sum() - 1


def product_rule_errors(d, rule, budget=1e9):
    """(intervals, error) of grids of at most ``budget`` nodes, errors above 1e-12."""
    even = 2 if rule == "Simpson" else 1
    most = min(int(budget ** (1 / d)) - 1, 10_000)
    intervals = np.unique(np.geomspace(even, most, 25).astype(int) // even * even)
    intervals = intervals[intervals > 0]
    errors = np.abs(
        [np.expm1(d * np.log1p(simpson_or_trapezoid(m, rule))) for m in intervals]
    )
    return intervals[errors > 1e-12], errors[errors > 1e-12]


def monte_carlo_errors(key, d, sizes, repeats=200):
    """Root-mean-square errors, and the constant sqrt(D f)."""
    f = lambda u: jnp.prod(jnp.exp(u) / (np.e - 1), axis=-1)
    rms = [
        np.sqrt(
            np.mean(
                (
                    np.asarray(
                        jnp.mean(f(jax.random.uniform(k, (repeats, n, d))), axis=1)
                    )
                    - 1
                )
                ** 2
            )
        )
        for k, n in zip(jax.random.split(key, len(sizes)), sizes, strict=True)
    ]
    second = (np.e**2 - 1) / 2 / (np.e - 1) ** 2  # E f^2 in one dimension
    return np.array(rms), np.sqrt(second**d - 1)


# %%
dimensions = (1, 2, 4, 8)
mc_sizes = (100, 400, 1600, 6400)
fig, axes = plt.subplots(1, 4, figsize=(12, 3.2), sharey=True, layout="constrained")
slopes, constants = {}, {}
for ax, d, k in zip(axes, dimensions, jax.random.split(key, 4), strict=True):
    for rule, colour, order in (
        ("trapezoid", plotting.DATA, 2),
        ("Simpson", plotting.THIRD, 4),
    ):
        m, errors = product_rule_errors(d, rule)
        fine = m >= np.sqrt(m.max())  # the rate holds for fine grids
        slope = slopes[rule, d] = np.polyfit(
            d * np.log(m[fine]), np.log(errors[fine]), 1
        )[0]
        ax.loglog(
            (m + 1.0) ** d,
            errors,
            "o-",
            ms=3,
            lw=0.8,
            color=colour,
            label=f"{rule} {slope:.3f}",
        )
        assert abs(slope + order / d) < 0.01 * order / d
    rms, constants[d] = monte_carlo_errors(k, d, mc_sizes)
    slopes["Monte Carlo", d] = np.polyfit(np.log(mc_sizes), np.log(rms), 1)[0]
    ax.loglog(
        mc_sizes,
        rms,
        "s",
        ms=3,
        color=plotting.MODEL,
        label=f"Monte Carlo {slopes['Monte Carlo', d]:.2f}",
    )
    reach = np.array([1e1, 1e9])
    ax.loglog(reach, constants[d] / np.sqrt(reach), color=plotting.MODEL, lw=0.8)
    assert abs(slopes["Monte Carlo", d] + 0.5) < 0.06
    assert np.all(np.abs(rms * np.sqrt(mc_sizes) / constants[d] - 1) < 0.3)
    ax.set(
        title=f"$d = {d}$", xlabel="evaluations $n$", ylim=(1e-12, 1e5), xlim=(2, 2e9)
    )
    ax.legend(title="slope", fontsize=7, title_fontsize=7, loc="upper right")
axes[0].set_ylabel("error of the integral")
for d in dimensions:
    m, errors = product_rule_errors(d, "trapezoid")
    monte_carlo = constants[d] / np.sqrt((m[-1] + 1.0) ** d)
    print(
        f"d = {d}: trapezoid {errors[-1]:.1e}, "
        f"Monte Carlo with as many evaluations {monte_carlo:.1e}"
    )
    # at d = 4 both have the same rate and the constants decide
    assert d == 4 or (errors[-1] < monte_carlo) == (d < 4)

# %% [markdown]
# The exponents of the grids fall with the dimension; the exponent of Monte Carlo does
# not. The product formula needs no grid in memory, so we can fit the exponents for
# grids of up to $10^{18}$ nodes, in each dimension up to twelve (left). The right panel
# shows the errors after $10^9$ evaluations. The lines cross where $2/d$ and $4/d$ fall
# below one half.

# %%
many = np.arange(1, 13)
orders = {"trapezoid": 2, "Simpson": 4}
fitted, error_at_budget = {}, {}
for rule in orders:
    for d in many:
        m, errors = product_rule_errors(d, rule, budget=1e18)
        fine = m >= np.sqrt(m.max())
        fitted[rule, d] = -np.polyfit(d * np.log(m[fine]), np.log(errors[fine]), 1)[0]
        most = int(1e9 ** (1 / d) + 1e-9) - 1  # intervals, m + 1 nodes
        most -= most % 2 if rule == "Simpson" else 0
        error_at_budget[rule, d] = (
            abs(np.expm1(d * np.log1p(simpson_or_trapezoid(most, rule))))
            if d > 1
            else 1e-12
        )
second = (np.e**2 - 1) / 2 / (np.e - 1) ** 2
error_monte_carlo = np.sqrt(second**many - 1) / np.sqrt(1e9)
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
for rule, colour in (("trapezoid", plotting.DATA), ("Simpson", plotting.THIRD)):
    axes[0].plot(
        many, orders[rule] / many, color=colour, lw=1, label=f"${orders[rule]}/d$"
    )
    axes[0].plot(
        many,
        [fitted[rule, d] for d in many],
        "o",
        ms=4,
        color=colour,
        label=f"{rule}, fitted",
    )
    axes[1].semilogy(
        many[1:],
        [error_at_budget[rule, d] for d in many[1:]],
        "o-",
        ms=4,
        lw=1,
        color=colour,
        label=rule,
    )
axes[0].axhline(0.5, color=plotting.MODEL, lw=1)
axes[0].plot(
    dimensions,
    [-slopes["Monte Carlo", d] for d in dimensions],
    "s",
    ms=4,
    color=plotting.MODEL,
    label="Monte Carlo, fitted",
)
axes[1].semilogy(
    many[1:],
    error_monte_carlo[1:],
    "s-",
    ms=4,
    lw=1,
    color=plotting.MODEL,
    label="Monte Carlo, $\\sqrt{\\mathbb{D}f/n}$",
)
axes[0].set(
    title="error $\\sim n^{-r}$",
    xlabel="dimension $d$",
    ylabel="exponent $r$",
    ylim=(0, 4.2),
    xticks=[1, 4, 8, 12],
)
axes[1].set(
    title="$10^9$ evaluations",
    xlabel="dimension $d$",
    ylabel="error of the integral",
    xticks=[2, 4, 6, 8, 10, 12],
    ylim=(1e-12, 1),  # rounding is below
)
for ax in axes:
    ax.legend(fontsize=8)
assert all(abs(fitted[rule, d] * d / orders[rule] - 1) < 0.02 for rule, d in fitted)
for rule, crossing in (("trapezoid", 4), ("Simpson", 8)):
    for d in many[1:]:
        is_near = abs(d - crossing) <= 2  # close exponents: the constants decide
        is_better = error_at_budget[rule, d] < error_monte_carlo[d - 1]
        assert is_near or is_better == (d < crossing)

# %% [markdown]
# The rates of the grids hold for *smooth* functions. A kink, $f(x) = |x - t|$, limits
# both rules to $h^2$, and Simpson's rule is no better than the trapezoidal rule. We
# measure the root mean square error over 500 positions $t$ of the kink. Monte Carlo
# needs only a finite variance.

# %%
places = np.random.default_rng(0).uniform(0.1, 0.9, 500)
kinked = {}
for rule in orders:
    rms = []
    for m in (8, 16, 32, 64, 128, 256):
        x = np.linspace(0, 1, m + 1)
        weight = (
            np.where(np.arange(m + 1) % 2, 4.0, 2.0)
            if rule == "Simpson"
            else np.full(m + 1, 2.0)
        )
        weight[[0, -1]] = 1.0
        sums = np.abs(x - places[:, None]) @ weight / weight.sum()
        rms.append(np.sqrt(np.mean((sums - (places**2 + (1 - places) ** 2) / 2) ** 2)))
    kinked[rule] = np.polyfit(np.log([8, 16, 32, 64, 128, 256]), np.log(rms), 1)[0]
    print(f"{rule} with a kink: error ~ n^{kinked[rule]:.2f}")
    assert abs(kinked[rule] + 2) < 0.1

# %% [markdown]
# The third claim holds in part. The exponent of Monte Carlo is $-1/2$ in every
# dimension, for any $f$ of finite variance, smooth or not. The constant
# $\sqrt{\mathbb{D} f}$ is a property of the function and *may* grow with $d$. For this
# product it is $\sqrt{c^d - 1}$ with $c = (e+1)/(2(e-1)) \approx 1.08$, because the
# second moment of a product of independent factors is the product of their second
# moments:

# %%
print(
    {d: float(f"{constants[d]:.3g}") for d in dimensions},
    "and at d = 100:",
    f"{np.sqrt(((np.e + 1) / (2 * (np.e - 1))) ** 100 - 1):.0f}",
)
assert constants[8] > 3 * constants[1]

# %% [markdown]
# For a mean over independent coordinates, $f = \frac1d \sum_i g(x_i)$, the constant
# falls with $d$ instead. The statement "does not depend on the dimension" is true only
# for the rate.
#
# ## When the draws are not independent
#
# The draws of a Markov chain are correlated, so $n$ draws carry less information. With
# autocorrelations $\rho_k$ the variance of the mean is
# $\frac{\mathbb{D} f}{n} (1 + 2 \sum_k \rho_k)$, the same as for
# $n / (1 + 2\sum_k \rho_k)$ independent draws. This number is the *effective sample
# size* (ESS). `ebmjax.expectation` estimates the ESS of $f$ and returns the corrected
# standard error $\sqrt{\mathbb{D} f / \mathrm{ESS}}$. We compare it with the naive
# error $\sqrt{\mathbb{D} f / n}$ on 400 groups of four chains.

# %%
kernel = eb.random_walk(target.energy, 1.0)
chain_init = target.sample(key, 1600)
draws = np.asarray(eb.sample(key, kernel, chain_init, 1000).draws)[..., 0]  # [T, C]
groups = draws.reshape(1000, 400, 4).swapaxes(0, 1)
corrected, naive, deviations = [], [], []
for group in groups:
    estimate = eb.expectation(lambda x: x[0] ** 2, jnp.asarray(group)[..., None])
    deviations.append(float(estimate.value) - truth)
    corrected.append(float(estimate.standard_error))
    naive.append((group**2).std() / np.sqrt(group.size))
deviations = np.array(deviations)
coverage = {
    name: np.mean(np.abs(deviations) < 1.96 * np.array(e))
    for name, e in (("corrected", corrected), ("naive", naive))
}
print(
    f"true error {deviations.std():.3f}, "
    f"corrected {np.mean(corrected):.3f}, naive {np.mean(naive):.3f}"
)
print(
    f"95 % intervals that cover: "
    f"corrected {coverage['corrected']:.0%}, naive {coverage['naive']:.0%}"
)
assert abs(np.mean(corrected) / deviations.std() - 1) < 0.15
assert coverage["corrected"] > 0.88 and coverage["naive"] < 0.75
