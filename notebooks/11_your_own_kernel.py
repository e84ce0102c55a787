# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Your own kernel
#
# *A new proposal in twelve lines, combined with another kernel, verified, and run on a
# neural energy. You need: Metropolis-Hastings. Runs in a minute.*
#
# ## The proposal
#
# Local moves cannot cross between distant modes. A *mode jump* reflects a point through
# a centre $c$ and adds a little noise, $x^* = 2c - x + \epsilon \xi$. It is symmetric:
# $q(x^* \mid x) = N(x^* + x \mid 2c, \epsilon^2)$ does not change when $x$ and $x^*$
# are exchanged. So the ratio of the proposal densities is one.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import ebmjax as eb
from ebmjax import plotting, targets, verify
from ebmjax.experiments import data

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)


def jump(energy, centre, noise):
    """Mode jump: reflect through a centre and add noise."""

    def draw(key, position):
        return jax.random.normal(key, position.shape)

    def propose(xi, state):
        position = 2 * centre - state.position + noise * xi
        return eb.base.moved(energy, state, position), jnp.zeros_like(state.energy)

    return eb.metropolis(energy, eb.Proposal(draw, propose))


# %% [markdown]
# ## Combination
#
# The jump alone does not explore a mode, and MALA alone does not leave one. `cycle`
# applies one step of each.

# %%
far = targets.mixture([0.3, 0.7], [[-6.0, 0.0], [6.0, 0.0]], 0.7, name="two far modes")
local = eb.mala(far.energy, 0.8)
kernel = eb.cycle(jump(far.energy, jnp.zeros(2), 0.3), local)

# %% [markdown]
# ## Verification

# %%
report = verify.invariance(key, kernel, far, name="jump and MALA").require()
print(report)
_ = verify.rank(key, jump(far.energy, jnp.zeros(2), 0.3), far).require()


# %% [markdown]
# As a negative control we change the proposal: the noise grows with the distance from
# the centre, and we still claim that the proposal is symmetric. The test must fail.


# %%
def asymmetric(key, x):
    return -x + 0.4 * jnp.linalg.norm(x) * jax.random.normal(key, x.shape)


wrong = eb.metropolis(far.energy, asymmetric, symmetric=True)
report = verify.invariance(key, wrong, far, name="an asymmetric proposal")
print(report)
assert not report.is_passed

# %% [markdown]
# ## Comparison
#
# All chains start in the *left* mode, which has a weight of 0.3.

# %%
start = jnp.array([-6.0, 0.0]) + 0.1 * jax.random.normal(key, (2000, 2))
fig, ax = plt.subplots(figsize=(5.4, 3.0), layout="constrained")
for name, each, colour in (
    ("MALA alone", local, plotting.GREY),
    ("jump and MALA", kernel, plotting.MODEL),
):
    draws = np.asarray(eb.sample(key, each, start, 60).draws)
    share = (draws[..., 0] < 0).mean(axis=1)
    ax.plot(share, color=colour, label=name)
    if name != "MALA alone":
        assert abs(share[-1] - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)
ax.axhline(0.3, color=plotting.DATA, ls="--", lw=1, label="truth")
ax.set(xlabel="step", ylabel="share of chains in the left mode", ylim=(0, 1.02))
_ = ax.legend()

# %% [markdown]
# ## On a neural energy
#
# The two moons are symmetric about $(1/2, 1/4)$, so this is the centre of the
# reflection. We train an energy by denoising score matching for half a minute and then
# sample it with and without the jump.

# %%
from ebmjax.objectives import score_matching

x = jnp.asarray(data.load("two_moons").x)
network, adam, chain_init = (
    eb.MLP((128, 128), confinement=4.0),
    optax.adam(2e-3),
    eb.from_data(),
)
loss = score_matching.denoising(network.apply, 0.1)
state = eb.init_state(key, network.init(key, x[0]), adam, chain_init, 0.1)
state, _ = eb.fit(
    key, loss, adam, state, x, chain_init, num_updates=1500, batch_size=512
)
trained = lambda x: network.apply(state.ema, x)

tuned = eb.tune_step_size(key, eb.mala, trained, x[:256], target=0.574)
langevin = eb.mala(trained, tuned.step_size)
crossing = eb.cycle(jump(trained, jnp.array([0.5, 0.25]), 0.05), langevin)
is_lower = lambda x: x[..., 1] < 0.25 - 0.6 * (x[..., 0] - 0.5)
moons, share = {}, {}
for name, each in (("MALA alone", langevin), ("jump and MALA", crossing)):
    draws = np.asarray(eb.sample(key, each, x[:200], 300).draws)
    moons[name] = draws
    changes = (np.diff(is_lower(draws).astype(int), axis=0) != 0).mean()
    print(f"{name:14s} crosses between the moons in {changes:.1%} of the steps")
    share[name] = changes
assert share["jump and MALA"] > 3 * share["MALA alone"] > 0

fig, axes = plt.subplots(
    1, 2, figsize=(8.2, 3.2), sharex=True, sharey=True, layout="constrained"
)
for ax, (name, draws) in zip(axes, moons.items(), strict=True):
    ax.scatter(
        *np.asarray(x[:3000]).T, s=2, color=plotting.GREY, alpha=0.3, linewidths=0
    )
    ax.plot(*draws[:80, 0].T, ".-", ms=3, lw=0.5, color=plotting.MODEL)
    ax.set(title=f"{name}: 80 steps of one chain", xlabel="$x_1$")
_ = axes[0].set_ylabel("$x_2$")
