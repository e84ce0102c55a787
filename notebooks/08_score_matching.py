# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Score matching
#
# *The [notes](../docs/course.md#the-lecture-notes) name this method without describing
# it; this notebook follows Song & Kingma 2021, section 3. You need: Langevin dynamics.
# Runs in two minutes.*
#
# The score $s(x) = \nabla \log P(x) = -\nabla E(x)$ does not depend on $Z$. Score
# matching minimises the Fisher divergence
# $\tfrac12 \mathbb{E}_{data} |s_\theta - s_{data}|^2$. Integration by parts removes the
# unknown $s_{data}$ (Hyvarinen 2005):
# $$J(\theta) =
# \mathbb{E}_{data}\left[\tfrac12 |\nabla E_\theta|^2 - \Delta E_\theta\right] .$$
# This needs neither chains nor $Z$, but second derivatives. `explicit` computes the
# Laplacian, `sliced` replaces it by a second derivative in a random direction (Song et
# al. 2019), and `denoising` adds noise to the data and needs first derivatives only
# (Vincent 2011).

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
# ## A known density
#
# For the model $E = \tfrac12 (x-\mu)^T P (x-\mu)$ the optimum is in closed form: $\mu$
# is the mean of the data and $P = S^{-1}$, where $S$ is their covariance. Denoising
# learns the density of the data *with noise*, so its optimum is
# $(S + \sigma^2 I)^{-1}$.

# %%
gaussian = targets.correlated_gaussian(2, 0.8)
points = gaussian.sample(key, 2000)
S = np.cov(np.asarray(points).T, bias=True)
SIGMA = 0.5


def quadratic(params, x):
    z = params["scale"] @ (x - params["mean"])
    return 0.5 * z @ z


def minimise(loss, params, batch, num_updates=200):
    """Minimise by L-BFGS, with the same random numbers at each update."""
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


start = {"scale": jnp.eye(2), "mean": jnp.zeros(2)}
many = jnp.tile(points, (50, 1))  # averages over noise and directions
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
    precision = np.asarray(params["scale"]).T @ np.asarray(params["scale"])
    error = np.abs(precision @ covariance - np.eye(2)).max()
    print(f"{name:10s} |P C - I| = {error:.1e}")
    assert error < {"explicit": 2e-3, "sliced": 0.02, "denoising": 0.05}[name]
    ellipse = (
        2 * np.linalg.cholesky(np.linalg.inv(precision)) @ circle
        + np.asarray(params["mean"])[:, None]
    )
    ax.plot(*ellipse, style, color=colour, lw=1.5, label=name)
ax.set(title="two standard deviations", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
_ = ax.legend()

# %% [markdown]
# ## Two moons
#
# The network and the data are those of notebook 7. The columns are the density, the
# score field, and samples of MALA chains that start from noise. The upper limit of the
# log-likelihood is computed as in notebook 7.

# %%
moons = data.load("two_moons")
new = data.load("two_moons", seed=1).x.astype(np.float64)  # held-out points
angle = np.pi * (np.arange(2000) + 0.5) / 2000
arcs = (
    np.stack([np.cos(angle), np.sin(angle)]),
    np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)]),
)
squares = (
    ((new[:, :1] - arc[0]) ** 2 + (new[:, 1:] - arc[1]) ** 2) / (2 * 0.1**2)
    for arc in arcs
)
UPPER_LIMIT = np.log(
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
    print(f"{name:10s} {likelihood[name]:+.3f} nats, upper limit {UPPER_LIMIT:.3f}")
assert all(
    UPPER_LIMIT - 0.06 < value < UPPER_LIMIT + 0.02 for value in likelihood.values()
)
for ax, title in zip(
    axes[0],
    ("density", "score, length as $\\log(1 + |s|)$", "samples of MALA"),
    strict=True,
):
    ax.set_title(title)
for ax in axes[-1]:
    ax.set_xlabel("$x_1$")

# %% [markdown]
# Denoising is the cheapest of the three. At this noise level its regression targets
# $\xi/\sigma$ are large and random, also where the score is small. `denoising` takes each
# noise with its negative, and the largest random term, $s \cdot \xi/\sigma$, cancels.
# With one noise for each point (`is_antithetic=False`) it is less accurate than the
# others, by about 0.02 nats.

# %% [markdown]
# ## Weights of modes
#
# Inside a mode the score does not depend on the weight of the mode. The true density
# has two normals at $\pm m/2$ with weights 0.3 and 0.7, and the model has the weights
# $w$ and $1 - w$. We compare the Fisher divergence between them with the
# Kullback-Leibler divergence, which maximum likelihood minimises. As the distance $m$
# grows, the Fisher divergence becomes insensitive to $w$; the Kullback-Leibler
# divergence does not.

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
largest = {}
for gap, colour in ((3, plotting.DATA), (6, plotting.MODEL), (9, plotting.THIRD)):
    truth, slope = mixture_density(0.3, gap)
    fisher, kl = [], []
    for w in shares:
        p, p_slope = mixture_density(w, gap)
        fisher.append(
            np.trapezoid(truth * (p_slope / p - slope / truth) ** 2 / 2, line)
        )
        kl.append(np.trapezoid(truth * np.log(truth / p), line))
    largest[gap] = max(fisher), max(kl)
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
assert largest[9][0] < 1e-2 * largest[9][1]
assert largest[3][0] > 0.1 * largest[3][1]

# %% [markdown]
# ## Many levels of noise
#
# With enough noise the modes overlap and the score depends on their weights. So
# `multi_scale` learns the energies of all noise levels with one network. Annealed
# Langevin dynamics (Song & Ermon 2019) samples them from the largest noise level to the
# smallest, and each level starts from the chains of the one before. The target has four
# modes with weights 0.1 to 0.4, at least sixteen standard deviations apart. For
# comparison we train denoising at the smallest level alone and run its chains from the
# same initial points.

# %%
weights = np.array([0.1, 0.2, 0.3, 0.4])
centers = 2.0 * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
four = targets.mixture(weights, centers, 0.25)
# the largest level is about the distance between the modes; the ratio is constant
levels = np.geomspace(3.0, 0.1, 12)
network = eb.MLP((128, 128))


def noisy_energy(params, x, noise):
    """Energy at a noise level; the input is scaled to a spread of order one."""
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
distance = {}
panels = {
    "data": four.sample(key, 4000),
    "annealed Langevin": chains,
    "one level": alone,
}
for ax, (name, x), colour in zip(
    axes, panels.items(), (plotting.DATA, plotting.MODEL, plotting.THIRD), strict=True
):
    found = shares_of(x)
    distance[name] = 0.5 * np.abs(found - weights).sum()
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
        title=f"{name}, off by {distance[name]:.2f}",
        xlabel="$x_1$",
        xlim=(-4, 4),
        ylim=(-4, 4),
        aspect="equal",
    )
axes[0].set_ylabel("$x_2$")
print(
    {name: round(float(v), 3) for name, v in distance.items()},
    "total variation distance of the four weights",
)
assert distance["annealed Langevin"] < 0.06
assert distance["one level"] > 2 * distance["annealed Langevin"]
