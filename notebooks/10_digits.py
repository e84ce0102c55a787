# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Digits
#
# *All of section 2 of the notes on real data. You need: training by maximum likelihood, Langevin dynamics. Runs in two
# minutes.*
#
# 5,000 images of MNIST, 784 pixels each, an energy that is a perceptron, and nothing else: no decoder, no second
# network. What comes out of one function $E_\theta$ is a sampler, a denoiser, a judge of what is strange, and a
# painter of what is missing.
#
# Images lie on a thin sheet in a large space, and a density on a sheet has an energy without bounds. So we learn the
# density of images *with noise*, $y = x + \sigma \xi$, which is smooth everywhere, and get the clean image back from the same
# energy: $\mathbb{E}[x \mid y] = y - \sigma^2 \nabla E(y)$, `ebmjax.denoise` (Robbins 1956; Saremi & Hyvarinen 2019). The
# more noise, the blurrier the image and the easier the way from digit to digit. Here $\sigma = 0.35$, where pixels span
# $[0, 1]$; this is a run of reduced size, 700 updates of a network of 256 units a layer where `make demo` has 1,800 and 512.

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
    """Images ``[R, C, H, W]`` as a table, with a word over each column."""
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
# ## Training, and a film of the buffer
#
# A replay buffer of 1,024 chains, of which 128 run fifteen steps of MALA an update. We train on the first 4,000 images,
# and look at eight of the buffer's chains as they go, each time through the denoiser of the moment.

# %%
training = data.Dataset("mnist", seen, mnist.labels[:4000], mnist.range)
config = experiment.preset(
    training, features=(256, 256), noise=NOISE, num_updates=700, buffer_size=1024
)
run = experiment.build(config, training)
frames = {0: (run.init().ema, np.asarray(run.init().buffer[:8]))}
FRAMES = (25, 50, 100, 150, 200, 300, 400, 550, 700)


def film(state, metrics):
    if int(state.step) in FRAMES:
        frames[int(state.step)] = state.ema, np.asarray(state.buffer[:8])


state, metrics = run.fit(run.init(), on_chunk=film)
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
    f"step size {float(state.step_size):.3f}, data above the chains by {gap:.0f} nat at the end"
)
assert int(state.num_skipped) == 0 and int(state.num_restarted) == 0
assert (
    abs(metrics["acceptance_rate"][-100:].mean() - 0.574) < 0.02
)  # what the step size was tuned to
gaps = metrics["energy_data"] - metrics["energy_model"]
assert 0 < gap < gaps[300:400].mean() < gaps[100:200].mean()

# %% [markdown]
# The gap says that the model is not at its maximum likelihood yet, where the two means agree (eq. 9). It is still
# closing when the run ends.
#
# ## Samples, and a judge
#
# A classifier that learned on the real images says whether samples look like a digit and whether all ten appear; the
# distance to the nearest training image, whether they are copies.

# %%
predict = classifier.train_classifier(key, seen, mnist.labels[:4000])
accuracy = np.mean(np.asarray(predict(held)).argmax(axis=1) == labels_held)
noisy = lambda x, i: x + NOISE * jax.random.normal(jax.random.key(i), x.shape)
groups = {
    "real, held out": held,
    "real, held out, with noise and denoised": clean(noisy(held, 1)),
    "chains of training, denoised": clean(state.buffer),
}
print(f"accuracy of the judge on images it has not seen: {accuracy:.3f}\n")
print(f"{'':40s} confidence  above 0.9  classes  nearest")
verdicts = {}
for name, images in groups.items():
    v = verdicts[name] = classifier.classifier_metrics(predict, images, seen)
    print(
        f"{name:40s} {v.mean_confidence:10.3f} {v.share_confident:9.0%} {v.num_classes:7d}  {v.nearest:7.3f}"
    )
v = verdicts["chains of training, denoised"]
assert accuracy > 0.93
assert v.mean_confidence > 0.85 and v.num_classes == 10 and v.class_shares.max() < 0.2
assert (
    v.nearest > 0.7 * verdicts["real, held out, with noise and denoised"].nearest
)  # no copies

panels = {
    "data": held[:64],
    "chains, as they are": state.buffer[:64],
    "the same, denoised": clean(state.buffer[:64]),
}
fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.4), layout="constrained")
for ax, (name, images) in zip(axes, panels.items(), strict=True):
    show(ax, np.asarray(images).reshape(8, 8, 28, 28), title=name)

# %% [markdown]
# ## Chains that cross between digits
#
# Chains that sit in their digit are worth one draw each. At this noise they do cross, slowly: 64 chains go on for
# 2,000 steps of MALA at temperature one, and the judge names what it sees every 50 steps. A digit counts as visited
# where the judge is surer than 0.9.

# %%
step_size = float(state.step_size)
samples = eb.sample(key, eb.mala(energy, step_size), state.buffer[:64], 2000, thin=50)
along = np.stack([clean(x) for x in np.asarray(samples.draws)])  # [T, C, 28, 28]
probability = np.stack([np.asarray(predict(x)) for x in along])
digit, is_sure = probability.argmax(axis=-1), probability.max(axis=-1) > 0.9
visited = np.array([len(set(d[s])) for d, s in zip(digit.T, is_sure.T, strict=True)])
stayed = np.mean(digit[-1] == digit[0])
print(
    f"digits visited by a chain, mean {visited.mean():.1f}; still (or again) where it began {stayed:.0%}"
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
# They cross where the shapes are near, between 4 and 9, and hardly ever between 0 and 1.
#
# ## What the energy says of images that are no digits
#
# All with the same noise, as the energy is that of images with noise. The number is the share of pairs in which the
# stranger has more energy than a held-out digit (the area under the curve of a detector by energy); one half is chance.

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
of = jax.jit(jax.vmap(energy))
usual = np.asarray(of(noisy(jnp.asarray(held), 2)))
detected, energies = {}, {"held-out digits": usual}
for i, (name, images) in enumerate(ood_inputs.items()):
    energies[name] = e = np.asarray(of(noisy(jnp.asarray(images), 3 + i)))
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
assert (
    abs(detected["training digits"] - 0.5) < 0.05
)  # it has not learned its images by heart
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
# What a digit cannot be, it knows: noise, negatives, shuffled or shifted pixels. Mirrored and upside-down digits it
# finds strange in four pairs of five, as some of them are digits. But a faint average of two digits has *less* energy than
# either, and a blank page as much as a digit. That is no bug. Energy is minus log density at a *point*, and a point can
# be dense without being typical: the mode of a standard normal, too, has less energy than all of its samples. Energies
# alone are a poor detector of what is too smooth (Nalisnick et al. 2019 on other likelihoods).
#
# ## Inpainting, with frozen pixels
#
# To paint what is missing is to sample the conditional density of the hidden pixels given the seen. It has the same
# energy, read as a function of the hidden ones. `within` makes the kernel: a position of two parts, of which one moves.
# The upper half of ten held-out digits, seen through the noise; six chains each from fresh noise.

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
assert np.array_equal(
    painted["seen"], start["seen"]
)  # not one bit of what was seen has moved
completed = clean(np.concatenate([painted["seen"], painted["hidden"]], axis=1))
named = np.asarray(predict(completed)).argmax(axis=1).reshape(10, CHAINS)
right = np.mean(named == np.arange(10)[:, None])

lower = completed.reshape(10, CHAINS, 28, 28)[:, :, 14:]
rms = lambda x: np.sqrt(np.mean((x - np.asarray(originals)[:, 14:]) ** 2))
print(f"the judge names the digit in {right:.0%} of the completions")
print(
    f"error of a hidden pixel: mean of the six {rms(lower.mean(axis=1)):.3f}, mean digit {rms(seen.mean(axis=0)[14:]):.3f}"
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
# Six completions agree where the upper half decides, and differ where it does not: the posterior is a
# distribution, and this is a sample of it.
