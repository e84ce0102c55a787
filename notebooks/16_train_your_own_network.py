# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Train your own network
#
# *You need: notebook 7 (maximum likelihood). Runs in two minutes.*
#
# An energy that trains is a function `energy(params, x)` of one point. This notebook
# trains three of them on images of digits, 8 by 8 pixels: one of the library in a loop
# of our own, one of Flax NNX and one of Equinox by `fit`. Then it saves one, loads it,
# samples from it, fills in hidden pixels and scores inputs that are no digits.

# %%
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

import ebmjax as eb
from ebmjax import plotting
from ebmjax.evaluation.classification import auroc
from ebmjax.experiments import data as datasets
from ebmjax.io import checkpoint

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)
NOISE = 0.25
digits = datasets.load("digits")
pixels = jnp.asarray(digits.x, jnp.float32) / digits.x.max()  # [N, 8, 8] in [0, 1]
train, held = pixels[:1400], pixels[1400:]
print(train.shape, held.shape)

# %% [markdown]
# ## A loop of our own
#
# The gradient of the log-likelihood is a difference of two means,
# $$\nabla_\theta \log p_\theta(x) = -\nabla_\theta E_\theta(x)
# + \mathbb{E}_{x' \sim p_\theta} \nabla_\theta E_\theta(x')$$
# (notes, eq. 9), the second over chains. `maximum_likelihood` runs them; `train_step`
# is one update as a pure function. The monitor is one more line: where energies run
# apart, chains freeze or gradients explode, it returns the last healthy state with
# smaller steps, and warns.
#
# Data get Gaussian noise of standard deviation 0.25, so that their density is smooth.

# %%
centre = train.mean(axis=0)
network = eb.MLP(
    (128, 128),
    confinement=NOISE,
    gain=1 / NOISE**2,
    center=float(train.mean()),
    spread=0.4,
)
adam = optax.chain(
    optax.scale_by_adam(b1=0.0),
    optax.scale_by_learning_rate(
        optax.warmup_cosine_decay_schedule(0.0, 1e-3, 50, 600)
    ),
)
draw = lambda key, n: centre + 0.3 * jax.random.normal(key, (n, 8, 8))
chains = eb.replay_buffer(draw, 512)
objective = eb.maximum_likelihood(
    network.apply, eb.mala, num_steps=15, acceptance_target=0.574
)
step = eb.train_step(objective, adam, chains, num_chains=64)
params = network.init(jax.random.key(1), train[0])
state = eb.init_state(jax.random.key(2), params, adam, chains, step_size=0.1)
monitor = eb.DivergenceMonitor(train)


@jax.jit
def update(step, key, state):
    key_batch, key_noise, key_step = jax.random.split(key, 3)
    batch = train[jax.random.choice(key_batch, len(train), (64,))]
    batch = batch + NOISE * jax.random.normal(key_noise, batch.shape)
    return step(key_step, state, batch)


gaps = []
for t in range(600):
    new, metrics = update(step, jax.random.fold_in(key, t), state)
    state = monitor(new, metrics)
    gaps.append(float(metrics["energy_data"] - metrics["energy_model"]))
print(state)
assert int(state.step) == 600
assert int(state.num_skipped) == 0
assert abs(np.mean(gaps[-50:])) < 0.1 * abs(np.mean(gaps[5:25]))

# %% [markdown]
# At the maximum of the likelihood data and chains have the same mean energy. The gap
# closes as the learning rate falls.

# %%
fig, ax = plt.subplots(figsize=(5.6, 2.8), layout="constrained")
ax.plot(gaps, lw=0.7, color=plotting.DATA)
ax.axhline(0, color=plotting.GREY, lw=0.8)
_ = ax.set(xlabel="update", ylabel="E(data) - E(chains) [nat]", yscale="symlog")

# %% [markdown]
# ## Another network: Flax NNX
#
# Split the module into its graph and its parameters; the energy merges them. The tail
# $|x - c|^2 / 2\sigma^2$, with the noise of the data, makes $e^{-E}$ integrable (a
# network alone grows at most linearly) and starts training from a density of about the
# width of the data. The network works in the units of $x / \sigma$.
# `fit` is the same loop with checks, compiled chunks and the monitor built in.

# %%


def tail(x):
    return 0.5 * jnp.sum((x - centre) ** 2) / NOISE**2


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(64, 128, rngs=rngs)
        self.second = nnx.Linear(128, 128, rngs=rngs)
        self.last = nnx.Linear(128, 1, rngs=rngs)

    def __call__(self, x):
        h = jax.nn.swish(self.first((x - centre).ravel() / 0.4))
        h = self.last(jax.nn.swish(self.second(h)))[0]
        return h / NOISE**2 + tail(x)


def fitted(energy, params, num_updates=600):
    objective = eb.maximum_likelihood(
        energy, eb.mala, num_steps=15, acceptance_target=0.574
    )
    state = eb.init_state(jax.random.key(2), params, adam, chains, step_size=0.1)
    options = {"num_updates": num_updates, "batch_size": 64, "data_noise": NOISE}
    return eb.fit(key, objective, adam, state, train, chains, **options)


def gap_of(history):
    gap = history["energy_data"] - history["energy_model"]
    return gap[5:25].mean(), gap[-50:].mean()


graph, nnx_params = nnx.split(Net(nnx.Rngs(0)))
of_nnx = lambda params, x: nnx.merge(graph, params)(x)
found = fitted(of_nnx, nnx_params)
early, late = gap_of(found.history)
print(f"E(data) - E(chains): {early:.1f} nats early, {late:.2f} at the end")
assert int(found.state.num_skipped) == 0
assert abs(late) < 0.1 * early

# %% [markdown]
# ## Equinox
#
# Partition the module into its arrays and the rest; the energy combines them.

# %%
mlp = eqx.nn.MLP(64, "scalar", 128, 2, jax.nn.swish, key=jax.random.key(3))
eqx_params, rest = eqx.partition(mlp, eqx.is_inexact_array)


def of_eqx(params, x):
    network = eqx.combine(params, rest)
    return network((x - centre).ravel() / 0.4) / NOISE**2 + tail(x)


of_equinox = fitted(of_eqx, eqx_params)
early, late = gap_of(of_equinox.history)
print(f"E(data) - E(chains): {early:.1f} nats early, {late:.2f} at the end")
assert abs(late) < 0.1 * early

# %% [markdown]
# ## Save, load, sample
#
# A checkpoint holds any tree of arrays, with digests. `found.state.ema` is the moving
# average of the parameters; with them bound the energy is one of a point again, and
# everything of the library takes it. `partial` keeps the parameters as leaves: other
# parameters compile nothing.

# %%
checkpoint.save(Path("net.npz"), found.state.ema)
ema = checkpoint.load(Path("net.npz"), jax.eval_shape(lambda: nnx_params))
energy = partial(of_nnx, ema)
kernel = eb.mala(energy, float(found.state.step_size))
run = eb.sample(key, kernel, found.state.buffer[:64], 500, thin=100)
denoised = jax.vmap(eb.denoise(energy, NOISE))(run.draws[-1])
print(f"acceptance {run.acceptance_rate.mean():.2f}")
assert all(
    np.array_equal(a, b)
    for a, b in zip(jax.tree.leaves(ema), jax.tree.leaves(found.state.ema), strict=True)
)


def show(ax, images, num_columns=16, title=None):
    rows = np.pad(np.asarray(images), ((0, 0), (1, 1), (1, 1)))  # a border each
    rows = rows.reshape(-1, num_columns, 10, 10)
    page = np.moveaxis(rows, 2, 1).reshape(len(rows) * 10, -1)
    ax.imshow(page, cmap="gray_r", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)


fig, axes = plt.subplots(2, 1, figsize=(6.4, 3.8), layout="constrained")
show(axes[0], train[:64], title="data")
show(axes[1], denoised, title="chains, denoised: $y - \\sigma^2 \\nabla E(y)$")

# %% [markdown]
# ## Inpainting
#
# To fill in hidden pixels is to sample their density given the others. The energy is
# the same, as a function of the hidden half: `within` moves one part of a position and
# leaves the rest.

# %%
originals = held[:8]
noisy = originals + NOISE * jax.random.normal(key, originals.shape)
parts = {
    "seen": jnp.repeat(noisy[:, :4], 4, axis=0),
    "hidden": draw(key, 32)[:, 4:],
}
whole = lambda parts: jnp.concatenate([parts["seen"], parts["hidden"]])
within = eb.within(
    lambda parts: energy(whole(parts)),
    "hidden",
    partial(eb.mala, step_size=float(found.state.step_size)),
)
filled = eb.sample(key, within, parts, 600, thin=600).draws
last = jax.tree.map(lambda x: x[-1], filled)
assert np.array_equal(last["seen"], parts["seen"])
clean = jax.vmap(eb.denoise(energy, NOISE))(jax.vmap(whole)(last))
hidden = clean.reshape(8, 4, 8, 8)[:, :, 4:].mean(axis=1)
error = float(jnp.sqrt(jnp.mean((hidden - originals[:, 4:]) ** 2)))
of_mean = float(jnp.sqrt(jnp.mean((centre[4:] - originals[:, 4:]) ** 2)))
print(f"error of a hidden pixel {error:.3f}, of the mean digit {of_mean:.3f}")
assert error < of_mean

page = jnp.concatenate([originals[:, None], clean.reshape(8, 4, 8, 8)], axis=1)
fig, ax = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
columns = jnp.moveaxis(page, 0, 1).reshape(-1, 8, 8)
show(ax, columns, num_columns=8, title="held out (first row), four completions")

# %% [markdown]
# ## Inputs that are no digits
#
# A score for what is out of distribution: the energy. The area under the curve is the
# share of pairs in which the other input has more energy than a held-out digit. All
# get the noise of training, since the energy is that of noisy images.

# %%
scores = jax.jit(jax.vmap(energy))
add = lambda x, i: x + NOISE * jax.random.normal(jax.random.key(i), x.shape)
others = {
    "training digits": train[:400],
    "upside down": held[:, ::-1],
    "negative": 1 - held,
    "pixels shuffled": held.reshape(-1, 64)[
        :, np.random.default_rng(0).permutation(64)
    ].reshape(-1, 8, 8),
    "uniform": jax.random.uniform(key, held.shape),
}
usual = scores(add(held, 10))
areas = {
    name: auroc(-usual, -scores(add(x, 11 + i)))
    for i, (name, x) in enumerate(others.items())
}
for name, area in areas.items():
    print(f"{name:16} {area:.3f}")
assert abs(areas["training digits"] - 0.5) < 0.1
assert min(areas[n] for n in ("negative", "pixels shuffled", "uniform")) > 0.9
