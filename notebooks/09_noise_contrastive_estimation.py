# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Noise contrastive estimation, and a comparison of all methods
#
# *The [notes](../docs/course.md#the-lecture-notes) name this method without describing
# it; this notebook follows Song & Kingma 2021, section 4. You need: maximum likelihood,
# score matching. Runs in two minutes.*
#
# Mix the data with noise from a known density $q$, $\nu$ noise points per data point,
# and train a classifier to tell them apart. The optimal classifier has the log-odds
# $\log p_{data}(x) - \log q(x) - \log \nu$. So write the log-odds with an energy,
# $$h(x) = -E_\theta(x) - c - \log q(x) - \log \nu ,$$
# and fit $\theta$ and $c$ by logistic regression. At the optimum $e^{-E-c}$ is the
# density of the data, so the parameter $c$ estimates $\log Z$ (Gutmann & Hyvarinen
# 2012). The method needs no chains and no derivatives in $x$, but it works well only if
# the noise resembles the data.

# %%
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ebmjax as eb
from ebmjax import plotting
from ebmjax.evaluation import quadrature
from ebmjax.experiments import data, experiment, report
from ebmjax.objectives import noise_contrastive, score_matching

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)

# %% [markdown]
# ## A known density
#
# The model is $E(x) = \tfrac12 a x^2 - b x$ with
# $\log Z = b^2/2a + \tfrac12 \log(2\pi/a)$. The data follow $N(1, 1/4)$, so $a = 4$ and
# $b = 4$. The noise has twice their standard deviation. With fixed random numbers the
# objective is a smooth function of two or three parameters, and Newton's method finds
# its minimum in 25 steps.


# %%
def parabola(params, x):
    return 0.5 * params[0] * x[0] ** 2 - params[1] * x[0]


def normal_noise(mean, scale):
    return noise_contrastive.Noise(
        lambda key, n: mean + scale * jax.random.normal(key, (n, 1)),
        lambda x: jnp.sum(
            -0.5 * ((x - mean) / scale) ** 2
            - jnp.log(scale)
            - 0.5 * jnp.log(2 * jnp.pi)
        ),
    )


def newton(loss, start, num_steps=10):
    """Minimum of a convex function of a few parameters; steps have norm at most one."""

    def step(w, _):
        move = jnp.linalg.solve(jax.hessian(loss)(w), jax.grad(loss)(w))
        return w - move / jnp.maximum(1.0, jnp.linalg.norm(move)), None

    return jax.lax.scan(step, start, length=num_steps)[0]


def as_parameters(w):
    return noise_contrastive.Normalised(w[:2], w[2])


points = 1 + 0.5 * jax.random.normal(jax.random.key(1), (20_000, 1))
noise = noise_contrastive.fitted_normal(points, widen=2.0)
objectives = {
    "binary": lambda w: noise_contrastive.binary(parabola, noise, 4)(
        as_parameters(w), key, points, None
    )[0],
    "ranking": lambda w: noise_contrastive.ranking(parabola, noise, 8)(
        w, key, points, None
    )[0],
    "conditional": lambda w: noise_contrastive.conditional(parabola, 0.5)(
        w, key, points, None
    )[0],
}
found = {
    name: np.asarray(
        jax.jit(lambda w, f=f: newton(f, w, 25))(jnp.ones(3 if name == "binary" else 2))
    )
    for name, f in objectives.items()
}
for name, w in found.items():
    print(
        f"{name:12s} a = {w[0]:.3f}, b = {w[1]:.3f}"
        + (f", log Z = {w[2]:.4f}" if len(w) == 3 else "")
    )
    assert np.abs(w[:2] - 4).max() < 0.15
a, b, c = found["binary"]
exact = b**2 / (2 * a) + 0.5 * np.log(2 * np.pi / a)
print(f"exact log Z for the a and b of binary: {exact:.4f}")
assert abs(c - exact) < 0.01

x = np.linspace(-3, 5, 400)
log_q = np.asarray(jax.vmap(noise.log_prob)(jnp.asarray(x[:, None], jnp.float32)))
log_p = -0.5 * ((x - 1) / 0.5) ** 2 - np.log(0.5) - 0.5 * np.log(2 * np.pi)
learned = -(0.5 * a * x**2 - b * x) - c
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained")
axes[0].plot(x, np.exp(log_q), color=plotting.GREY, lw=1.2, label="noise $q$")
axes[0].plot(x, np.exp(log_p), color=plotting.DATA, lw=3.5, alpha=0.4, label="data")
axes[0].plot(
    x,
    np.exp(learned),
    "--",
    color=plotting.MODEL,
    lw=1.2,
    label="$e^{-E-c}$, not normalised by us",
)
axes[0].set(title="densities", xlabel="$x$", ylabel="density", ylim=(0, 1.25))
axes[0].legend(fontsize=8)
odds = lambda log_ratio: 1 / (1 + np.exp(-(log_ratio - np.log(4))))
axes[1].plot(
    x, odds(log_p - log_q), color=plotting.DATA, lw=3.5, alpha=0.4, label="Bayes"
)
axes[1].plot(
    x, odds(learned - log_q), "--", color=plotting.MODEL, lw=1.2, label="learned"
)
axes[1].set(
    title="probability of being data",
    xlabel="$x$",
    ylabel="$\\sigma(h(x))$",
    ylim=(0, 1),
)
_ = axes[1].legend(fontsize=8)

# %% [markdown]
# ## The cost of noise
#
# Let $g = \nabla_\theta h$ and $s = \sigma(h)$ at the true parameters. The estimate
# from $N$ points has the asymptotic covariance $\frac1N H^{-1} V H^{-1}$. Here
# $H = \int p\,(1-s)\, g g^T$ is the Hessian of the loss, and
# $V = \mathrm{Cov}_p[(1-s) g] + \nu\, \mathrm{Cov}_q[s g]$ is $N$ times the covariance
# of its gradient; the second term is the contribution of the noise points. We compute
# this on a grid and measure it in 300 estimates from 1,000 points of $N(0,1)$ each
# (bars: three standard errors). The dashed line is the asymptotic variance of maximum
# likelihood, $\mathrm{Var}(\hat a) = 2/N$.

# %%
NUM, REPEATS = 1000, 300
grid = np.linspace(-12, 12, 6001)
features = np.stack([-0.5 * grid**2, grid, -np.ones_like(grid)])  # g: of a, b and c
p = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)


def theory(scale, ratio):
    """N Var(a)."""
    q = np.exp(-0.5 * (grid / scale) ** 2) / np.sqrt(2 * np.pi) / scale
    s = p / (p + ratio * q)
    cell = grid[1] - grid[0]

    def covariance(density, f):
        mean = (f * density).sum(axis=1) * cell
        return (f * density) @ f.T * cell - np.outer(mean, mean)

    inverse_hessian = np.linalg.inv((features * p * (1 - s)) @ features.T * cell)
    of_data, of_noise = covariance(p, (1 - s) * features), covariance(q, s * features)
    covariance_of_gradient = of_data + ratio * of_noise
    return (inverse_hessian @ covariance_of_gradient @ inverse_hessian)[0, 0]


def measured(key, scale, ratio):
    """N times the variance of a over the repeats, and its standard error."""
    loss = noise_contrastive.binary(parabola, normal_noise(0.0, scale), ratio)
    truth = jnp.array([1.0, 0.0, 0.5 * np.log(2 * np.pi)])

    def estimate(key):
        key_data, key_noise = jax.random.split(key)
        batch = jax.random.normal(key_data, (NUM, 1))
        return newton(
            lambda w: loss(as_parameters(w), key_noise, batch, None)[0], truth, 6
        )[0]

    a = np.asarray(
        jax.jit(lambda keys: jax.lax.map(estimate, keys))(
            jax.random.split(key, REPEATS)
        )
    )
    squares = NUM * (a - a.mean()) ** 2
    return squares.mean(), squares.std() / np.sqrt(REPEATS)


scales, ratios = np.array([0.7, 1.0, 1.5, 2.0, 3.0, 5.0]), np.array([1, 3, 10])
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained")
for ax, values, smooth, case_of in (
    (axes[0], scales, np.geomspace(0.6, 6, 60), lambda scale: (scale, 1)),
    (axes[1], ratios, np.geomspace(1, 30, 60), lambda ratio: (1.5, ratio)),
):
    cases, between = [case_of(v) for v in values], [case_of(v) for v in smooth]
    spread, error = np.array([measured(key, *case) for case in cases]).T
    computed = np.array([theory(*case) for case in cases])
    ax.plot(
        smooth,
        [theory(*case) for case in between],
        color=plotting.MODEL,
        lw=1,
        label="computed",
    )
    ax.errorbar(
        values, spread, 3 * error, fmt="o", ms=4, color=plotting.MODEL, label="measured"
    )
    ax.axhline(2.0, color=plotting.DATA, lw=1, ls="--", label="maximum likelihood")
    ax.set(
        xscale="log",
        yscale="log",
        ylabel="$N\\, \\mathrm{Var}(\\hat a)$",
        ylim=(1.5, 40),
    )
    # the theory holds for large N
    assert np.all(np.abs(spread - computed) < 4 * error + 0.05 * computed)
    assert np.all(computed > 2.0)
axes[0].set(
    title="one noise point a data point", xlabel="deviation of the noise / of the data"
)
axes[0].set_xticks([0.7, 1, 2, 5], ["0.7", "1", "2", "5"])
axes[1].set(title="noise 1.5 times as wide", xlabel="noise points a data point $\\nu$")
axes[1].set_xticks([1, 3, 10, 30], ["1", "3", "10", "30"])
for ax in axes:
    ax.set_yticks([2, 5, 10, 20], ["2", "5", "10", "20"])
    ax.xaxis.set_minor_formatter(plt.NullFormatter())
    ax.yaxis.set_minor_formatter(plt.NullFormatter())
axes[0].legend(fontsize=8)
best = min(np.geomspace(0.6, 6, 200), key=lambda s: theory(s, 1))
print(f"optimal noise: sd {best:.2f}, N Var(a) = {theory(best, 1):.2f}")
print(
    f"noise with the density of the data {theory(1.0, 1):.2f}, "
    f"a third as wide {theory(1 / 3, 1):.0f}, three times as wide {theory(3, 1):.2f}"
)
print(f"thirty noise points per data point {theory(1.5, 30):.2f}, maximum likelihood 2")
assert best > 1.5 and theory(1, 1) > 1.3 * theory(best, 1) and theory(1.5, 30) < 2.1
assert theory(1 / 3, 1) > 10 * theory(3, 1)

# %% [markdown]
# The optimal noise is *not* the density of the data but wider. Noise that is too narrow
# is much worse than noise that is too wide. With many noise points the variance
# approaches that of maximum likelihood. For images no simple noise density resembles
# the data; methods that learn the noise address this.
#
# ## Two moons
#
# The network and the data are those of notebooks 7 and 8. *Ranking* identifies the data
# point among $K$ noise points (Ma & Collins 2018). *Conditional* distinguishes a data
# point from a copy with a little noise, so the noise always resembles the data (Ceylan
# & Gutmann 2018). This cell trains all nine methods of the course; the figure shows the
# three new ones. The upper limit of the log-likelihood is computed as in notebook 7.

# %%
moons = data.load("two_moons")
new = data.load("two_moons", seed=1).x.astype(np.float64)


def true_log_density(x, noise=0.1, num_angles=2000):
    """Log-density of two half circles with noise, ``[N]``."""
    angle = np.pi * (np.arange(num_angles) + 0.5) / num_angles
    upper = np.stack([np.cos(angle), np.sin(angle)])
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)])
    density = sum(
        np.exp(
            -((x[:, :1] - c[0]) ** 2 + (x[:, 1:] - c[1]) ** 2) / (2 * noise**2)
        ).mean(axis=1)
        for c in (upper, lower)
    )
    return np.log(density / 2 / (2 * np.pi * noise**2))


UPPER_LIMIT = true_log_density(new).mean()
print(f"upper limit {UPPER_LIMIT:.4f} nats")
METHODS = {
    "chains from data": {"chain_init": "data"},
    "chains from a buffer": {"chain_init": "buffer"},
    "chains from noise": {"chain_init": "noise"},
    "explicit": {"objective": "explicit"},
    "sliced": {"objective": "sliced"},
    "denoising": {"objective": "denoising", "noise": 0.05},
    "binary": {"objective": "nce"},
    "ranking": {"objective": "ranking"},
    "conditional": {"objective": "conditional"},
}
SNAPSHOTS = (100, 200, 400, 800, 1500, 3000, 6000)
runs, states, seconds, snapshots = {}, {}, {}, {}
for name, choices in METHODS.items():
    run = runs[name] = experiment.build(experiment.preset(moons, **choices), moons)
    saved = snapshots[name] = {}

    def save(state, metrics, run=run, saved=saved):
        if int(state.step) in SNAPSHOTS:
            saved[int(state.step)] = run.trained(state).args[0]

    start_time = time.perf_counter()
    states[name], _ = run.fit(run.init(), on_chunk=save)
    seconds[name] = time.perf_counter() - start_time
likelihood = {name: report.log_likelihood(runs[name], states[name]) for name in runs}

# %%
axis = np.linspace(-3, 3, 160)
mesh = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1), jnp.float32)
few = np.linspace(-2.7, 2.7, 19)
coarse = jnp.asarray(np.stack(np.meshgrid(few, few), axis=-1), jnp.float32)
fig, axes = plt.subplots(
    3, 3, figsize=(8.2, 8.0), sharex=True, sharey=True, layout="constrained"
)
for row, name in zip(axes, ("binary", "ranking", "conditional"), strict=True):
    energy = runs[name].trained(states[name])
    log_z = quadrature.log_z(energy, [-6, -6], [6, 6], resolution=600)
    if name == "binary":
        learned_log_z = float(states[name].ema.log_z)
        print(f"log Z learned {learned_log_z:.3f}, by quadrature {log_z:.3f}")
        assert abs(learned_log_z - log_z) < 0.1
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
        *np.moveaxis(field, -1, 0),
        color=plotting.DATA,
        width=0.005,
    )
    start = runs[name].draw(key, 2000)
    step = eb.tune_step_size(key, eb.mala, energy, start, target=0.574).step_size
    ends = eb.sample(key, eb.mala(energy, step), start, 1, num_warmup=500).draws[-1]
    row[2].scatter(
        *np.asarray(ends).T, s=1.5, color=plotting.MODEL, alpha=0.5, linewidths=0
    )
    row[0].set(
        ylabel=f"{name}, {likelihood[name]:.3f} nat\n$x_2$", xlim=(-3, 3), ylim=(-3, 3)
    )
    assert UPPER_LIMIT - 0.12 < likelihood[name] < UPPER_LIMIT + 0.02
for ax, title in zip(
    axes[0],
    ("density", "score, length as $\\log(1 + |s|)$", "samples of MALA"),
    strict=True,
):
    ax.set_title(title)
for ax in axes[-1]:
    ax.set_xlabel("$x_1$")


# %% [markdown]
# ## Log-likelihood, time and gradients
#
# All methods use the same network, 10,000 points, batches of 256 points, and their
# default settings. The cost of an update is the number of floating-point operations
# that the compiler reports, in units of one gradient of the energy of the batch in
# $\theta$. The compiler counts the body of a loop once. We add the missing iterations:
# nine of the ten steps of a chain, and the second of the two directions of `explicit`.


# %%
def operations(f, *args):
    return jax.jit(f).lower(*args).compile().cost_analysis()["flops"]


def cost_of_update(run, state):
    """Cost of an update, in gradients of the energy of a batch."""
    config, batch = run.config, run.z[: run.config.batch_size]
    params = run.trained(state).args[0]
    mean_energy = lambda p: jnp.mean(jax.vmap(lambda x: run.energy(p, x))(batch))
    one = operations(jax.grad(mean_energy), params)
    chains = eb.Chains(batch, jnp.float32(0.1))
    gradient = lambda loss, p: operations(
        jax.grad(lambda p: loss(p, key, batch, chains)[0]), p
    )
    if config.objective == "maximum_likelihood":
        in_x = operations(
            lambda p: jax.vmap(jax.grad(lambda x: run.energy(p, x)))(batch), params
        )
        return (
            gradient(eb.maximum_likelihood(run.energy, eb.mala, 10), params) + 9 * in_x
        ) / one
    if config.objective == "explicit":
        one_noise = score_matching.denoising(run.energy, 0.1, is_antithetic=False)
        of_score = gradient(one_noise, params)
        counted = gradient(score_matching.explicit(run.energy), params)
        return (counted + counted - of_score) / one
    noise = noise_contrastive.fitted_normal(run.z)
    loss = {
        "sliced": lambda: score_matching.sliced(run.energy),
        "denoising": lambda: score_matching.denoising(run.energy, 0.1),
        "nce": lambda: noise_contrastive.binary(run.energy, noise, config.noise_ratio),
        "ranking": lambda: noise_contrastive.ranking(
            run.energy, noise, config.noise_ratio
        ),
        "conditional": lambda: noise_contrastive.conditional(run.energy, 0.1),
    }[config.objective]()
    return gradient(loss, state.ema) / one


cost = {name: cost_of_update(runs[name], states[name]) for name in runs}
print(
    f"{'':22s} log-likelihood   below the limit   updates"
    "   gradients per update   gradients   seconds"
)
for name in sorted(runs, key=lambda name: -likelihood[name]):
    updates = runs[name].config.num_updates
    print(
        f"{name:22s} {likelihood[name]:14.3f} {UPPER_LIMIT - likelihood[name]:17.3f}"
        f" {updates:9d} {cost[name]:22.1f} {updates * cost[name]:11,.0f}"
        f" {seconds[name]:9.1f}"
    )
for name, expected in (
    ("binary", 1 + 4),
    ("ranking", 1 + 4),
    ("conditional", 2),
    ("denoising", 2 * 2),  # each noise and its negative
):
    # a noise point costs as much as a data point
    assert abs(cost[name] / expected - 1) < 0.1
assert (
    cost["chains from data"] > 8
    and cost["explicit"] > cost["sliced"] > cost["denoising"]
)
assert all(
    UPPER_LIMIT - 0.1 < likelihood[name] < UPPER_LIMIT + 0.02
    for name in runs
    if name != "chains from noise"
)
assert (
    min(likelihood["explicit"], likelihood["sliced"], likelihood["conditional"])
    > UPPER_LIMIT - 0.06
)
for name, share in (
    ("binary", 0.6),
    ("ranking", 0.6),
    ("sliced", 0.65),
    ("conditional", 0.25),
):
    assert likelihood[name] > likelihood["chains from data"] - 0.02
    # at the same number of updates
    assert cost[name] < share * cost["chains from data"]
# ten steps from noise do not converge, and the gradient is biased
assert likelihood["chains from noise"] == min(likelihood.values())

# %% [markdown]
# The next figure shows the distance to the upper limit as a function of the work, for
# the averaged parameters at 100, 200, 400, 800, 1,500 and 3,000 updates.

# %%
nodes = np.linspace(-6, 6, 301)
square = jnp.asarray(
    np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2), jnp.float32
)
run = runs["sliced"]
at_new = jnp.asarray(run.standard.forward(new), jnp.float32)
log_cell = 2 * np.log(nodes[1] - nodes[0]) + np.log(run.standard.spread).sum()


@jax.jit
def likelihood_of(params):
    of = jax.vmap(lambda x: run.energy(params, x))
    return -jnp.mean(of(at_new)) - jax.nn.logsumexp(-of(square)) - log_cell


# chains, score matching, noise contrastive estimation
colours = (plotting.MODEL, plotting.DATA, plotting.THIRD)
fig, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
for i, name in enumerate(runs):
    values = {
        step: float(likelihood_of(params)) for step, params in snapshots[name].items()
    }
    # the coarser grid is accurate enough
    assert abs(values[max(values)] - likelihood[name]) < 5e-3
    below = UPPER_LIMIT - np.array(list(values.values()))
    work = cost[name] * np.array(list(values))
    ax.loglog(
        work,
        below,
        ("o-", "s--", "D:")[i % 3],
        ms=3.5,
        lw=1.2,
        color=colours[i // 3],
        label=name,
    )
ax.set(
    xlabel="work [gradients of a batch]", ylabel="nat below the ceiling", ylim=(0.01, 3)
)
_ = ax.legend(fontsize=7.5, ncols=3, loc="upper right")

# %% [markdown]
# In the plane, where the noise resembles the data, the contrastive methods are as good
# as the best chains or better. `conditional` needs less than a quarter of their work,
# so it is the first choice here. The score-based methods are close if a second
# derivative is cheap. This does not carry over to data with separated modes, whose
# weights the score does not determine (notebook 8), nor to images, where no simple
# noise resembles the data. There chains are worth their cost: see the next notebook.
