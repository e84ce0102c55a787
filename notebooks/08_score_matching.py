# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Score matching
#
# *Announced by the notes; after Song & Kingma 2021, section 3. You need: Langevin dynamics. Runs in two minutes.*
#
# The score $s(x) = \nabla \log P(x) = -\nabla E(x)$ does not know $Z$. Fit it: the Fisher divergence
# $\tfrac12 \mathbb{E}_{data} |s_\theta - s_{data}|^2$ contains the unknown $s_{data}$, and integration by parts removes it
# (Hyvarinen 2005):
# $$J(\theta) = \mathbb{E}_{data}\left[\tfrac12 |\nabla E_\theta|^2 - \Delta E_\theta\right] .$$
# No chains, no $Z$. The price is a second derivative, `explicit`; a random direction in its place, `sliced` (Song et al.
# 2019); or noise on the data, `denoising` (Vincent 2011), which needs neither.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import ebmjax as eb
from ebmjax import plotting, targets
from ebmjax.evaluation import quadrature
from ebmjax.experiments import data, experiment, report
from ebmjax.objectives import score_matching

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)

# %% [markdown]
# ## A density that is known
#
# On $E = \tfrac12 (x-\mu)^T P (x-\mu)$ the optimum is in closed form: the mean of the data, and $P = S^{-1}$ with $S$ their
# covariance; with denoising $(S + \sigma^2 I)^{-1}$, because it learns the density *of data with noise*.

# %%
gaussian = targets.correlated_gaussian(2, 0.8)
points = gaussian.sample(key, 2000)
S = np.cov(np.asarray(points).T, bias=True)
SIGMA = 0.5


def quadratic(params, x):
    z = params["root"] @ (x - params["mean"])
    return 0.5 * z @ z


def minimise(loss, params, batch, num_updates=200):
    """By L-BFGS, the randomness of the objective held fixed."""
    value = lambda p: loss(p, key, batch, None)[0]
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(value)

    def update(carry, _):
        params, state = carry
        v, g = value_and_grad(params, state=state)
        updates, state = optimizer.update(
            g, state, params, value=v, grad=g, value_fn=value
        )
        return (optax.apply_updates(params, updates), state), v

    return jax.lax.scan(update, (params, optimizer.init(params)), length=num_updates)[
        0
    ][0]


start = {"root": jnp.eye(2), "mean": jnp.zeros(2)}
many = jnp.tile(points, (50, 1))  # so that noise and directions average out
fits = {
    "explicit": (minimise(score_matching.explicit(quadratic), start, points), S),
    "sliced": (minimise(score_matching.sliced(quadratic), start, many), S),
    "denoising": (
        minimise(score_matching.denoising(quadratic, SIGMA), start, many),
        S + SIGMA**2 * np.eye(2),
    ),
}
angle = np.linspace(0, 2 * np.pi, 200)
circle = np.stack([np.cos(angle), np.sin(angle)])
fig, ax = plt.subplots(figsize=(4.2, 3.9), layout="constrained")
ax.scatter(*np.asarray(points).T, s=2, color=plotting.GREY, alpha=0.3, linewidths=0)
for (name, (params, covariance)), colour, style in zip(
    fits.items(),
    (plotting.DATA, plotting.MODEL, plotting.THIRD),
    ("-", "--", "-"),
    strict=True,
):
    precision = np.asarray(params["root"]).T @ np.asarray(params["root"])
    error = np.abs(precision @ covariance - np.eye(2)).max()
    print(f"{name:10s} |P C - I| = {error:.1e}")
    assert error < {"explicit": 2e-3, "sliced": 0.02, "denoising": 0.05}[name]
    ellipse = (
        2 * np.linalg.cholesky(np.linalg.inv(precision)) @ circle
        + np.asarray(params["mean"])[:, None]
    )
    ax.plot(*ellipse, style, color=colour, lw=1.5, label=name)
ax.set(title="two standard deviations", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
ax.legend()

# %% [markdown]
# ## Two moons
#
# The same network and data as in notebook 7. Density, score field and the samples of MALA chains that start from noise.
# The ceiling is the likelihood of the density that the points come from: two half circles with noise of 0.1, by
# quadrature over the angle.

# %%
moons = data.load("two_moons")
new = data.load("two_moons", seed=1).x.astype(
    np.float64
)  # on which the likelihood is measured
angle = np.pi * (np.arange(2000) + 0.5) / 2000
arcs = (
    np.stack([np.cos(angle), np.sin(angle)]),
    np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)]),
)
squares = (
    ((new[:, :1] - arc[0]) ** 2 + (new[:, 1:] - arc[1]) ** 2) / (2 * 0.1**2)
    for arc in arcs
)
CEILING = np.log(
    sum(np.exp(-s).mean(axis=1) for s in squares) / (4 * np.pi * 0.1**2)
).mean()
choices = {"explicit": {}, "sliced": {}, "denoising": {"noise": 0.05}}
axis = np.linspace(-3, 3, 160)
mesh = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1), jnp.float32)
coarse = jnp.asarray(
    np.stack(
        np.meshgrid(np.linspace(-2.7, 2.7, 19), np.linspace(-2.7, 2.7, 19)), axis=-1
    ),
    jnp.float32,
)
fig, axes = plt.subplots(
    3, 3, figsize=(8.6, 8.4), sharex=True, sharey=True, layout="constrained"
)
likelihood = {}
for row, (name, options) in zip(axes, choices.items(), strict=True):
    run = experiment.build(experiment.preset(moons, objective=name, **options), moons)
    state, _ = run.fit(run.init())
    energy = run.trained(state)
    likelihood[name] = report.log_likelihood(run, state)
    log_z = quadrature.log_z(energy, [-6, -6], [6, 6], resolution=600)
    values = np.exp(-np.asarray(jax.vmap(jax.vmap(energy))(mesh)) - log_z)
    row[0].imshow(
        values, origin="lower", extent=(-3, 3, -3, 3), cmap="cividis", vmax=0.6
    )
    field = -np.asarray(jax.vmap(jax.vmap(jax.grad(energy)))(coarse))
    length = np.linalg.norm(field, axis=-1, keepdims=True)
    field = field / length * np.log1p(length)
    row[1].quiver(
        coarse[..., 0],
        coarse[..., 1],
        field[..., 0],
        field[..., 1],
        color=plotting.DATA,
        width=0.005,
    )
    start = run.draw(key, 2000)
    step = eb.tune_step_size(key, eb.mala, energy, start, target=0.574).step_size
    ends = eb.sample(key, eb.mala(energy, step), start, 1, num_warmup=500).draws[-1]
    row[2].scatter(*np.asarray(ends).T, s=1.5, color=plotting.MODEL, alpha=0.5)
    row[0].set(
        ylabel=f"{name}, {likelihood[name]:.3f} nat\n$x_2$", xlim=(-3, 3), ylim=(-3, 3)
    )
    print(f"{name:10s} {likelihood[name]:+.3f} nat, ceiling {CEILING:.3f}")
assert all(
    CEILING - 0.06 < likelihood[name] < CEILING + 0.02
    for name in ("explicit", "sliced")
)
assert CEILING - 0.25 < likelihood["denoising"] < likelihood["explicit"]
for ax, title in zip(
    axes[0],
    ("density", "score, length as $\\log(1 + |s|)$", "samples of MALA"),
    strict=True,
):
    ax.set_title(title)
for ax in axes[-1]:
    ax.set_xlabel("$x_1$")

# %% [markdown]
# Denoising is the cheapest and the least exact: at so little noise its targets $\xi/\sigma$ are large and random where
# the score is small.

# %% [markdown]
# ## What it cannot see
#
# The score inside a mode does not depend on the weight of the mode. Take two normals at $\pm m/2$ with weights 0.3 and 0.7,
# and a model with weight $w$: the Fisher divergence between them, against the Kullback-Leibler divergence that
# likelihood minimises. As the modes part, score matching goes blind to $w$; likelihood does not.

# %%
line = np.linspace(-12, 12, 4001)
shares = np.linspace(0.05, 0.95, 61)


def mixture_density(w, gap):
    left, right = (
        np.exp(-((line - c) ** 2) / 2) / np.sqrt(2 * np.pi) for c in (-gap / 2, gap / 2)
    )
    return w * left + (1 - w) * right, -(
        w * left * (line + gap / 2) + (1 - w) * right * (line - gap / 2)
    )


fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained")
blind = {}
for gap, colour in ((3, plotting.DATA), (6, plotting.MODEL), (9, plotting.THIRD)):
    truth, slope = mixture_density(0.3, gap)
    fisher, kl = [], []
    for w in shares:
        p, p_slope = mixture_density(w, gap)
        fisher.append(
            np.trapezoid(truth * (p_slope / p - slope / truth) ** 2 / 2, line)
        )
        kl.append(np.trapezoid(truth * np.log(truth / p), line))
    blind[gap] = max(fisher), max(kl)
    axes[0].plot(
        shares, fisher, color=colour, lw=1.2, label=f"modes {gap} deviations apart"
    )
    axes[1].plot(shares, kl, color=colour, lw=1.2)
axes[0].set(
    title="Fisher divergence",
    xlabel="weight of the left mode $w$",
    yscale="log",
    ylim=(1e-7, 10),
)
axes[0].set_ylabel("$\\frac{1}{2} \\mathbb{E}|s_w - s|^2$")
axes[1].set(
    title="Kullback-Leibler divergence",
    xlabel="weight of the left mode $w$",
    ylabel="[nat]",
)
axes[0].legend(fontsize=8)
assert blind[9][0] < 1e-2 * blind[9][1] and blind[3][0] > 0.1 * blind[3][1]

# %% [markdown]
# ## Many levels of noise
#
# With enough noise the modes overlap and their weights show. So learn the energies of all levels with one network,
# `multi_scale`, and sample from the noisiest down, each level handing its chains to the next: annealed Langevin (Song &
# Ermon 2019). Four modes of weights 0.1 to 0.4, eight deviations and more apart; beside it, denoising at the lowest
# level alone, by chains from the same starts.

# %%
weights = np.array([0.1, 0.2, 0.3, 0.4])
centers = 2.0 * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
four = targets.mixture(weights, centers, 0.25)
levels = np.geomspace(
    3.0, 0.1, 12
)  # the largest about the distance of the modes, a fixed ratio between
network = eb.MLP((128, 128))


def noisy_energy(params, x, noise):
    """In units in which data with noise have a spread of order one."""
    unit = jnp.sqrt(4.0 + noise**2)
    features = jnp.append(x / unit, jnp.log(noise))
    return network.apply(params, features) / noise + 0.5 * jnp.sum(x**2) / unit**2


def shares_of(points):
    nearest = np.argmin(
        ((np.asarray(points)[:, None] - centers) ** 2).sum(axis=-1), axis=1
    )
    return np.bincount(nearest, minlength=4) / len(nearest)


def train(energy, loss, params, num_updates=4000):
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, num_updates))
    chain_init = eb.from_data()
    state = eb.init_state(key, params, optimizer, chain_init, 0.1)
    state, _ = eb.fit(
        key,
        loss,
        optimizer,
        state,
        four.sample(key, 20_000),
        chain_init,
        num_updates=num_updates,
        batch_size=256,
    )
    return state.ema


params = network.init(key, jnp.zeros(3))
many_levels = train(
    noisy_energy, score_matching.multi_scale(noisy_energy, levels), params
)
lowest = lambda params, x: noisy_energy(params, x, levels[-1])
one_level = train(lowest, score_matching.denoising(lowest, levels[-1]), params)

chains = levels[0] * jax.random.normal(key, (4000, 2))
for i, noise in enumerate(levels):
    kernel = eb.ula(
        lambda x, noise=noise: noisy_energy(many_levels, x, noise), 0.5 * noise
    )
    chains = eb.sample(
        jax.random.fold_in(key, i), kernel, chains, 1, num_warmup=40
    ).draws[-1]
kernel = eb.ula(lambda x: lowest(one_level, x), 0.5 * levels[-1])
alone = levels[0] * jax.random.normal(key, (4000, 2))
alone = eb.sample(key, kernel, alone, 1, num_warmup=40 * len(levels)).draws[-1]

fig, axes = plt.subplots(
    1, 3, figsize=(9.4, 3.2), sharex=True, sharey=True, layout="constrained"
)
off = {}
panels = {
    "data": four.sample(key, 4000),
    "annealed Langevin": chains,
    "one level": alone,
}
for ax, (name, x), colour in zip(
    axes, panels.items(), (plotting.DATA, plotting.MODEL, plotting.THIRD), strict=True
):
    found = shares_of(x)
    off[name] = 0.5 * np.abs(found - weights).sum()
    ax.scatter(*np.asarray(x).T, s=1.5, color=colour, alpha=0.4)
    for center, share in zip(centers, found, strict=True):
        ax.annotate(
            f"{share:.2f}",
            center * 1.05,
            xytext=(0, 18),
            textcoords="offset points",
            ha="center",
        )
    ax.set(
        title=f"{name}, off by {off[name]:.2f}",
        xlabel="$x_1$",
        xlim=(-4, 4),
        ylim=(-4, 4),
        aspect="equal",
    )
axes[0].set_ylabel("$x_2$")
print(
    {name: round(float(v), 3) for name, v in off.items()},
    "in total variation of the four weights",
)
assert off["annealed Langevin"] < 0.06
assert off["one level"] > 2 * off["annealed Langevin"]
