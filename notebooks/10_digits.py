# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Digits
#
# *Section 2 of the [notes](../docs/course.md#the-lecture-notes) on real data. You need:
# training by maximum likelihood, Langevin dynamics. Runs in two minutes.*
#
# The data are 5,000 images of MNIST with 784 pixels each. The energy is a multilayer
# perceptron; there is no decoder and no second network. This single function $E_\theta$
# generates images, denoises them, detects out-of-distribution inputs, and completes
# images with hidden pixels.
#
# Images lie near a low-dimensional manifold, where the density can become arbitrarily
# large. So the model learns the density of images *with noise*, $y = x + \sigma \xi$,
# which is smooth. The same energy recovers the clean image:
# $\mathbb{E}[x \mid y] = y - \sigma^2 \nabla E(y)$, `ebmjax.denoise` (Robbins 1956;
# Saremi & Hyvarinen 2019). More noise makes the recovered images blurrier and the moves
# between digits easier. Here $\sigma = 0.35$, and the pixels lie in $[0, 1]$.
#
# All updates here are those of maximum likelihood, so that we see what chains learn:
# 700 of them, of a network with 256 units per layer. `make demo` has 512 units, and most
# of its updates are denoising score matching, which reaches a higher likelihood.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

import ebmjax as eb
from ebmjax import plotting
from ebmjax.evaluation import classifier
from ebmjax.experiments import data, experiment, report

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)
NOISE = 0.35
mnist = data.load("mnist")
seen, held = mnist.x[:4000], mnist.x[4000:]
labels_held = mnist.labels[4000:]


def show(ax, images, columns=None, title=None):
    """Images ``[R, C, H, W]`` as a table, with a label over each column."""
    num_rows, num_columns, height, width = images.shape
    ax.imshow(
        np.moveaxis(images, 2, 1).reshape(num_rows * height, -1),
        cmap="gray_r",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    ax.spines[:].set_visible(False)
    ax.set(yticks=[], xticks=[])
    if columns is not None:
        ax.set_xticks(width * (np.arange(num_columns) + 0.5), columns, fontsize=8)
        ax.tick_params(
            length=0, top=False, labeltop=True, bottom=False, labelbottom=False
        )
    if title is not None:
        ax.set_title(title)


# %% [markdown]
# ## Training, and the buffer over time
#
# The replay buffer has 1,024 chains. Each update runs 128 of them for fifteen steps of
# MALA. We train on the first 4,000 images and record eight chains of the buffer,
# denoised with the parameters of that update.

# %%
training = data.Dataset("mnist", seen, mnist.labels[:4000], mnist.range)
config = experiment.preset(
    training,
    features=(256, 256),
    noise=NOISE,
    num_updates=700,
    denoising_updates=0,
    buffer_size=1024,
)
run = experiment.build(config, training)
frames = {0: (run.init().ema, np.asarray(run.init().buffer[:8]))}
FRAMES = (25, 50, 100, 150, 200, 300, 400, 550, 700)


def save_frame(state, metrics):
    if int(state.step) in FRAMES:
        frames[int(state.step)] = state.ema, np.asarray(state.buffer[:8])


state, metrics = run.fit(run.init(), on_chunk=save_frame)
energy = run.trained(state)
clean = report.clean(run, energy)

strip = [
    report.clean(run, partial(run.energy, params))(chains) if step else chains
    for step, (params, chains) in frames.items()
]
fig, ax = plt.subplots(figsize=(7.2, 5.9), layout="constrained")
show(ax, np.stack(strip, axis=1), [f"{step}" for step in frames])
_ = ax.set_title("eight chains of the buffer, by update", pad=18)

# %%
fig, axes = plt.subplots(1, 2, figsize=(8.4, 2.8), layout="constrained")
axes[0].plot(metrics["energy_data"], color=plotting.DATA, lw=1, label="data")
axes[0].plot(metrics["energy_model"], color=plotting.MODEL, lw=1, label="chains")
axes[0].set(title="mean energy", xlabel="update", ylabel="$E$ [nat]", ylim=(250, 800))
axes[0].legend()
axes[1].plot(metrics["acceptance_rate"], color=plotting.THIRD, lw=1)
axes[1].set(title="acceptance rate of the chains", xlabel="update", ylim=(0, 1.02))
gap = np.mean(metrics["energy_data"][-100:] - metrics["energy_model"][-100:])
print(
    f"step size {float(state.step_size):.3f}, "
    f"data above the chains by {gap:.0f} nats at the end"
)
assert int(state.num_skipped) == 0 and int(state.num_restarted) == 0
# the step size is tuned to an acceptance rate of 0.574
assert abs(metrics["acceptance_rate"][-100:].mean() - 0.574) < 0.02
gaps = metrics["energy_data"] - metrics["energy_model"]
assert 0 < gap < gaps[300:400].mean() < gaps[100:200].mean()

# %% [markdown]
# The gap shows that the model has not reached its maximum likelihood, where the two
# means agree (eq. 9). The gap is still closing at the end of the run.
#
# ## Samples and a classifier
#
# A classifier trained on the real images measures whether the samples look like digits
# and whether all ten classes appear. The distance to the nearest training image shows
# whether the samples are copies.

# %%
predict = classifier.train_classifier(key, seen, mnist.labels[:4000])
accuracy = np.mean(np.asarray(predict(held)).argmax(axis=1) == labels_held)
noisy = lambda x, i: x + NOISE * jax.random.normal(jax.random.key(i), x.shape)
groups = {
    "real, held out": held,
    "real, held out, with noise and denoised": clean(noisy(held, 1)),
    "chains of training, denoised": clean(state.buffer),
}
print(f"accuracy of the classifier on held-out images: {accuracy:.3f}\n")
print(f"{'':40s} confidence  above 0.9  classes  nearest")
quality = {}
for name, images in groups.items():
    v = quality[name] = classifier.classifier_metrics(predict, images, seen)
    print(
        f"{name:40s} {v.mean_confidence:10.3f} {v.share_confident:9.0%} "
        f"{v.num_classes:7d}  {v.nearest:7.3f}"
    )
v = quality["chains of training, denoised"]
assert accuracy > 0.93
assert v.mean_confidence > 0.85 and v.num_classes == 10 and v.class_shares.max() < 0.2
# the samples are not copies
assert v.nearest > 0.7 * quality["real, held out, with noise and denoised"].nearest

panels = {
    "data": held[:64],
    "chains, as they are": state.buffer[:64],
    "the same, denoised": clean(state.buffer[:64]),
}
fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.4), layout="constrained")
for ax, (name, images) in zip(axes, panels.items(), strict=True):
    show(ax, np.asarray(images).reshape(8, 8, 28, 28), title=name)

# %% [markdown]
# ## Chains that move between digits
#
# A chain that stays in one digit yields only one independent draw. At this noise level
# the chains move between digits, slowly. We continue 64 chains for 2,000 steps of MALA
# at temperature one and classify them every 50 steps. A digit counts as visited if the
# classifier has a confidence above 0.9.

# %%
step_size = float(state.step_size)
samples = eb.sample(key, eb.mala(energy, step_size), state.buffer[:64], 2000, thin=50)
along = np.stack([clean(x) for x in np.asarray(samples.draws)])  # [T, C, 28, 28]
probability = np.stack([np.asarray(predict(x)) for x in along])
digit, is_sure = probability.argmax(axis=-1), probability.max(axis=-1) > 0.9
visited = np.array([len(set(d[s])) for d, s in zip(digit.T, is_sure.T, strict=True)])
stayed = np.mean(digit[-1] == digit[0])
print(
    f"digits visited by a chain, mean {visited.mean():.1f}; "
    f"first and last digit equal {stayed:.0%}"
)
assert visited.mean() > 2 and stayed < 0.6

changes = (np.diff(digit, axis=0) != 0).sum(axis=0)
shown = np.argsort(-visited, kind="stable")[:8]
fig, axes = plt.subplots(
    1, 2, figsize=(10.4, 4.6), width_ratios=[2.3, 1], layout="constrained"
)
show(
    axes[0],
    np.moveaxis(along[3::4, shown], 0, 1),
    [f"{50 * (t + 1)}" for t in range(3, 40, 4)],
)
axes[0].set_title("the eight that travelled most, by step", pad=18)
flow = np.zeros((10, 10))
np.add.at(flow, (digit[:-10].ravel(), digit[10:].ravel()), 1)
flow /= flow.sum(axis=1, keepdims=True)
image = axes[1].imshow(flow, cmap="cividis", vmin=0, vmax=1)
axes[1].set(
    title="where it is 500 steps later",
    xlabel="to",
    ylabel="from",
    xticks=range(10),
    yticks=range(10),
)
_ = fig.colorbar(image, ax=axes[1], label="share of the chains", shrink=0.6)
assert flow[4, 9] + flow[9, 4] > 5 * (flow[0, 1] + flow[1, 0])

# %% [markdown]
# Chains cross between digits of similar shape, such as 4 and 9, and hardly ever between
# 0 and 1.
#
# ## Energies of images that are not digits
#
# All images get the same noise as in training, because the energy is that of images
# with noise. The number is the share of pairs in which the out-of-distribution image
# has a higher energy than a held-out digit. This is the area under the ROC curve of a
# detector that thresholds the energy; 0.5 is chance.

# %%
order = np.random.default_rng(0).permutation(784)
ood_inputs = {
    "training digits": seen[:1000],
    "mean of two digits": (held + held[::-1]) / 2,
    "blank": np.zeros_like(held),
    "mirrored": held[:, :, ::-1],
    "upside down": held[:, ::-1],
    "shifted by six pixels": np.roll(held, 6, axis=2),
    "pixels shuffled": held.reshape(-1, 784)[:, order].reshape(-1, 28, 28),
    "uniform noise": np.random.default_rng(1).random(held.shape, np.float32),
    "negative": 1 - held,
}
energy_of = jax.jit(jax.vmap(energy))
usual = np.asarray(energy_of(noisy(jnp.asarray(held), 2)))
detected, energies = {}, {"held-out digits": usual}
for i, (name, images) in enumerate(ood_inputs.items()):
    energies[name] = e = np.asarray(energy_of(noisy(jnp.asarray(images), 3 + i)))
    detected[name] = np.mean(e[:, None] > usual[None])

fig, ax = plt.subplots(figsize=(8.0, 4.4), layout="constrained")
names = list(energies)[::-1]
parts = ax.violinplot(
    [energies[n] for n in names],
    orientation="horizontal",
    widths=0.85,
    showextrema=False,
)
for body, name in zip(parts["bodies"], names, strict=True):
    body.set(
        facecolor=plotting.DATA
        if "digits" in name and "mean" not in name
        else plotting.MODEL,
        alpha=0.7,
    )
ax.axvline(usual.mean(), color=plotting.GREY, lw=0.8, ls=":")
ax.set_yticks(
    range(1, len(names) + 1),
    [f"{n}, {detected[n]:.2f}" if n in detected else n for n in names],
)
ax.set(xlabel="energy $E(y)$ [nat]", xscale="log")
ax.set_xticks([300, 500, 1000, 2000], ["300", "500", "1000", "2000"])
ax.xaxis.set_minor_formatter(plt.NullFormatter())
examples = [held[0], *(images[0] for images in ood_inputs.values())][::-1]
for row, picture in enumerate(examples, 1):
    box = OffsetImage(picture, zoom=0.9, cmap="gray_r", norm=plt.Normalize(0, 1))
    ax.add_artist(
        AnnotationBbox(box, (1.04, row), xycoords=("axes fraction", "data"), pad=0.05)
    )
# the model does not memorise its training images
assert abs(detected["training digits"] - 0.5) < 0.05
assert (
    min(
        detected[n]
        for n in (
            "pixels shuffled",
            "uniform noise",
            "negative",
            "shifted by six pixels",
        )
    )
    > 0.95
)
assert 0.7 < detected["upside down"] < 0.95 and 0.7 < detected["mirrored"] < 0.95
assert detected["mean of two digits"] < 0.5 and detected["blank"] < 0.7

# %% [markdown]
# The energy separates noise, negatives, and shuffled or shifted pixels from digits.
# Mirrored and upside-down digits have the higher energy in four of five pairs; some of
# them are valid digits. But a mean of two digits has *less* energy than a digit, and a
# blank page about as much. This is expected: the energy is minus the log density at a
# *point*, up to a constant, and a point of high density need not be typical. The mode
# of a standard normal in many dimensions also has less energy than almost all of its
# samples. The energy alone is a poor detector of inputs that are too smooth (Nalisnick
# et al. 2019 show this for other likelihood models).
#
# ## Inpainting with fixed pixels
#
# Inpainting samples the hidden pixels given the visible ones. The conditional density
# has the same energy, as a function of the hidden pixels only. `within` makes the
# kernel: the position has two parts, and one of them moves. The visible part is the
# upper half of ten held-out digits, with noise. Six chains per digit start from fresh
# noise.

# %%
CHAINS = 6
first = np.array([np.flatnonzero(labels_held == k)[0] for k in range(10)])
originals = jnp.asarray(held[first])
upper = noisy(originals, 20)[:, :14]
start = {
    "seen": jnp.repeat(upper, CHAINS, axis=0),
    "hidden": run.draw(key, 10 * CHAINS)[:, 14:],
}
whole = lambda parts: energy(jnp.concatenate([parts["seen"], parts["hidden"]]))
kernel = eb.within(whole, "hidden", partial(eb.mala, step_size=step_size))
painted = jax.tree.map(
    lambda x: np.asarray(x[-1]), eb.sample(key, kernel, start, 800, thin=800).draws
)
# the visible pixels are bit for bit the same
assert np.array_equal(painted["seen"], start["seen"])
completed = clean(np.concatenate([painted["seen"], painted["hidden"]], axis=1))
named = np.asarray(predict(completed)).argmax(axis=1).reshape(10, CHAINS)
right = np.mean(named == np.arange(10)[:, None])

lower = completed.reshape(10, CHAINS, 28, 28)[:, :, 14:]
rms = lambda x: np.sqrt(np.mean((x - np.asarray(originals)[:, 14:]) ** 2))
print(f"the classifier recognises the digit in {right:.0%} of the completions")
print(
    f"error of a hidden pixel: mean of the six {rms(lower.mean(axis=1)):.3f}, "
    f"mean digit {rms(seen.mean(axis=0)[14:]):.3f}"
)
assert right > 0.75
assert rms(lower.mean(axis=1)) < 0.85 * rms(seen.mean(axis=0)[14:])

page = np.full((10, CHAINS + 2, 28, 28), 0.5, np.float32)
page[:, 0], page[:, 1, :14] = originals, upper
page[:, 2:] = completed.reshape(10, CHAINS, 28, 28)
fig, ax = plt.subplots(figsize=(4.9, 6.3), layout="constrained")
show(ax, page, ["whole", "seen"] + [f"{c + 1}" for c in range(CHAINS)])
_ = ax.set_title("six completions of what was seen", pad=18)

# %% [markdown]
# The six completions agree where the upper half determines the lower half, and differ
# where it does not. They are samples of the conditional distribution.
