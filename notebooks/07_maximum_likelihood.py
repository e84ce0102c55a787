# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Training by maximum likelihood
#
# *Section 2 of the [notes](../docs/course.md#the-lecture-notes), equations 6 to 11. You
# need: Langevin dynamics, a little Optax. Runs in two minutes.*
#
# The gradient of the log-likelihood does not contain $Z$ (eq. 9):
# $$\frac{\partial L}{\partial \theta} =
# - \mathbb{E}_{P_{data}} \frac{\partial E_\theta}{\partial \theta}
# + \mathbb{E}_{P_\theta} \frac{\partial E_\theta}{\partial \theta} .$$
# An ascent step lowers the energy at the data and raises it at the samples of the
# model. It stops when the two expectations agree. The samples come from Markov chains,
# and the gradient is biased as long as the chains have not converged.

# %%
import time
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import ebmjax as eb
from ebmjax import plotting, targets
from ebmjax.evaluation import quadrature
from ebmjax.experiments import data, experiment, report

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)

# %% [markdown]
# ## Equation 9, checked
#
# In one dimension $Z$ is a sum over a grid, so both sides of the equation can be
# computed. The left side is the derivative of $-\mathbb{E} E_\theta - \log Z_\theta$
# through that sum. The right side is the difference of two expectations. We compute the
# second expectation on the grid, and then with the objective of the library, whose
# chains start from exact samples of the model.

# %%
target = targets.two_modes()
network = eb.MLP((32, 32), confinement=4.0)
params = network.init(key, jnp.zeros(1))
grid = jnp.linspace(-12, 12, 6001)[:, None]
batch = target.sample(key, 4096)


def log_likelihood(params):
    log_z = jax.nn.logsumexp(
        -jax.vmap(lambda x: network.apply(params, x))(grid)
    ) + jnp.log(grid[1, 0] - grid[0, 0])
    return -jnp.mean(jax.vmap(lambda x: network.apply(params, x))(batch)) - log_z


left = jax.grad(log_likelihood)(params)
probability = jax.nn.softmax(-jax.vmap(lambda x: network.apply(params, x))(grid))
gradients = jax.vmap(jax.grad(network.apply), (None, 0))
right = jax.tree.map(
    lambda of_data, of_model: (
        -of_data.mean(axis=0) + jnp.tensordot(probability, of_model, 1)
    ),
    gradients(params, batch),
    gradients(params, grid),
)
scale = optax.tree.norm(left)
difference = optax.tree.norm(optax.tree.sub(left, right))
print(f"|left| = {scale:.4f}, |left - right| = {difference:.1e}")
assert difference < 1e-4 * scale

exact = jax.random.choice(key, grid, (65_536,), p=probability)
objective = eb.maximum_likelihood(network.apply, eb.mala, num_steps=5)
by_chains = jax.grad(
    lambda p: -objective(p, key, batch, eb.Chains(exact, jnp.float32(0.5)))[0]
)(params)
error = optax.tree.norm(optax.tree.sub(by_chains, left)) / scale
print(f"with chains, relative error {error:.3f}")
assert error < 0.03

# %% [markdown]
# ## Where the chains start
#
# Exact samples of the model are not available in practice. There are three common
# initialisations: at the data of the batch (*contrastive divergence*, Hinton 2002),
# where the last update left the chains (*persistent*, Tieleman 2008, here a buffer of
# four times as many chains), or at noise (*short runs*, Nijkamp et al. 2019). The
# objective is the same. The data are the two moons, with ten steps of MALA per update
# and the same network. We measure the exact log-likelihood of new points by quadrature.
# Its upper limit is the expected log-density of the true distribution: two half circles
# with Gaussian noise of standard deviation 0.1, computed by quadrature over the angle.
# It is $-1.007$ nats.

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
print(f"upper limit {UPPER_LIMIT:.4f} nats")
assert abs(UPPER_LIMIT + 1.007) < 0.01
runs, trained, metrics, seconds = {}, {}, {}, {}
for chain_init in ("data", "buffer", "noise"):
    config = experiment.preset(moons, chain_init=chain_init)
    runs[chain_init] = experiment.build(config, moons)
    start_time = time.time()
    trained[chain_init], metrics[chain_init] = runs[chain_init].fit(
        runs[chain_init].init()
    )
    seconds[chain_init] = time.time() - start_time
likelihood = {name: report.log_likelihood(runs[name], trained[name]) for name in runs}
for name in runs:
    print(f"chains from {name:7s} {likelihood[name]:+.3f} nats, {seconds[name]:.0f} s")


# %%
def density_on(ax, energy, reach=3.0, resolution=160):
    axis = np.linspace(-reach, reach, resolution)
    points = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1), jnp.float32)
    log_z = quadrature.log_z(energy, [-6, -6], [6, 6], resolution=600)
    values = np.exp(-np.asarray(jax.vmap(jax.vmap(energy))(points)) - log_z)
    ax.imshow(
        values,
        origin="lower",
        extent=(-reach, reach, -reach, reach),
        cmap="cividis",
        vmax=0.6,
    )
    ax.set(xlabel="$x_1$", xticks=[-2, 0, 2], yticks=[-2, 0, 2])


fig, axes = plt.subplots(1, 4, figsize=(11.6, 3.2), sharey=True, layout="constrained")
axes[0].scatter(
    *np.asarray(runs["data"].z[:2000]).T, s=1.5, color=plotting.DATA, alpha=0.5
)
axes[0].set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
axes[0].set(title=f"data, ceiling {UPPER_LIMIT:.3f}", xlim=(-3, 3), ylim=(-3, 3))
for ax, name in zip(axes[1:], runs, strict=True):
    density_on(ax, runs[name].trained(trained[name]))
    ax.set_title(f"chains from {name}: {likelihood[name]:.3f}")
assert UPPER_LIMIT - 0.12 < likelihood["buffer"] < UPPER_LIMIT + 0.02
assert UPPER_LIMIT - 0.12 < likelihood["data"] < UPPER_LIMIT + 0.02
assert likelihood["noise"] < likelihood["buffer"] - 0.05

# %% [markdown]
# What did each run learn? If the model matches the data, then
# $\mathbb{E}_{P_\theta} E = \mathbb{E}_{data} E$. Short runs satisfy this nearly, but
# for the distribution after *ten steps from noise*, not for the stationary
# distribution. When their chains continue, their energy falls below that of the data.
# For the other two methods the energies agree after the chains have converged.

# %%
gap = {}
for name in runs:
    energy = runs[name].trained(trained[name])
    of_data = float(jnp.mean(jax.vmap(energy)(runs[name].z)))
    kernel = eb.mala(energy, float(trained[name].step_size))
    along = eb.sample(
        key,
        kernel,
        runs[name].draw(key, 4000),
        1000,
        collect=lambda state, info: state.energy,
    )
    gap[name] = np.asarray(along.draws).mean(axis=1) - of_data
    print(
        f"chains from {name:7s} E - E data after 10 steps {gap[name][9]:+.3f} nats, "
        f"at the end {gap[name][-1]:+.3f}"
    )

fig, ax = plt.subplots(figsize=(5.2, 3.0), layout="constrained")
for (name, values), colour in zip(
    gap.items(), (plotting.DATA, plotting.MODEL, plotting.THIRD), strict=True
):
    ax.semilogx(
        np.arange(1, 1001),
        values,
        color=colour,
        lw=1.2,
        label=f"trained on chains from {name}",
    )
ax.axvline(10, color=plotting.GREY, lw=0.8, ls=":")
ax.axhline(0, color=plotting.GREY, lw=0.8)
assert (
    abs(gap["buffer"][-1]) < 0.1
    and abs(gap["data"][-1]) < 0.1
    and gap["noise"][-1] < -0.15
)
ax.set(
    xlabel="steps from noise",
    ylabel="mean energy less that of data [nat]",
    ylim=(-1, 2),
)
_ = ax.legend(fontsize=8)

# %% [markdown]
# ## Divergence of training, and roll-backs
#
# The loss of eq. 9 is a difference of energies, not a likelihood. It is near zero when
# training succeeds. When training diverges it can be far below zero, so a low loss does
# not mean a good model. The example uses a learning rate of 0.1, a hundred times the
# 0.001 of the comparison below, and a loop of `train_step` without monitoring.

# %%
z, run = runs["buffer"].z, runs["buffer"]
network, optimizer = eb.MLP((128, 128), confinement=4.0), optax.adam(0.1, b1=0.0)
chain_init = eb.replay_buffer(run.draw, 1024, 0.02)
loss = eb.maximum_likelihood(network.apply, eb.mala, 10, acceptance_target=0.574)
step = jax.jit(eb.train_step(loss, optimizer, chain_init, num_chains=256))
state = eb.init_state(key, network.init(key, z[0]), optimizer, chain_init, 0.3)
unmonitored = []
for t in range(150):
    now = jax.random.fold_in(key, t)
    points = z[jax.random.randint(now, (256,), 0, len(z))]
    state, values = step(now, state, points)
    unmonitored.append(float(values["energy_data"] - values["energy_model"]))
unmonitored = np.array(unmonitored)
largest = int(np.argmax(np.abs(unmonitored)))
print(
    f"|E_data - E_model| is {abs(unmonitored[0]):.1f} nats at first "
    f"and {abs(unmonitored[largest]):.1e} at update {largest + 1}"
)
assert abs(unmonitored[0]) < 1 and abs(unmonitored[largest]) > 1000

# %% [markdown]
# `fit` monitors the gap between the energies, the chains and the gradients. When one of
# them diverges, it returns to the last healthy state, multiplies the learning rate by
# 0.3 and shortens the steps. After `max_rollbacks` roll-backs it raises
# `ebmjax.TrainingDiverged` with a message that names the cause.
#
# Here chains have local steps alone and the network starts as Flax's do. With the moves
# between modes that `preset` adds to chains of points even this learning rate does not
# diverge: they find a low energy wherever it is.

# %%
LOCAL = {"global_steps": 0, "chain_steps": 10, "first_layer_scale": 1.0}
gaps, states = {}, {}
for name, choices in {
    "0.1, no roll-backs": {"learning_rate": 0.1, "max_rollbacks": 0},
    "0.1": {"learning_rate": 0.1},
    "0.001": {"learning_rate": 1e-3},
}.items():
    config = experiment.preset(moons, num_updates=600, **LOCAL, **choices)
    run, chunks = experiment.build(config, moons), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            collect = lambda _, metrics, chunks=chunks: chunks.append(metrics)
            states[name], _ = run.fit(run.init(), chunk=5, on_chunk=collect)
            found = report.log_likelihood(run, states[name])
            outcome = f"completed, {found:+.3f} nats after 600 updates"
        except eb.TrainingDiverged as error:
            outcome, last_good = str(error), error.state
    for message in [str(warning.message) for warning in caught] + [outcome]:
        print(f"learning rate {name}: {message}")
    gaps[name] = np.concatenate([m["energy_data"] - m["energy_model"] for m in chunks])
assert set(states) == {"0.1", "0.001"}
assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(last_good.params))
assert int(last_good.step) < 600 and int(states["0.1"].num_rollbacks) > 0 == int(
    states["0.001"].num_rollbacks
)
assert np.abs(gaps["0.1"]).max() < 10 and np.abs(gaps["0.001"]).max() < 2

fig, ax = plt.subplots(figsize=(6.0, 3.2), layout="constrained")
for values, colour, name in (
    (unmonitored, plotting.MODEL, "0.1, without monitoring"),
    (gaps["0.1"], plotting.DATA, "0.1, with roll-backs"),
    (gaps["0.001"], plotting.THIRD, "0.001"),
):
    ax.plot(
        np.arange(1, len(values) + 1),
        values,
        color=colour,
        lw=1.2,
        label=f"learning rate {name}",
    )
last_step = int(last_good.step)
ax.plot(
    last_step,
    gaps["0.1"][last_step - 1],
    "o",
    ms=5,
    color=plotting.DATA,
    label="where it went back to",
)
ax.set(
    xlabel="update",
    ylabel="$E_{data} - E_{model}$ [nat]",
    xscale="log",
    yscale="symlog",
)
ax.set_yticks([-(10**7), -(10**5), -(10**3), -10, 0, 10, 10**3, 10**5])
_ = ax.legend(fontsize=8, loc="lower left")
