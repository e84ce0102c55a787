# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Markov chains
#
# *Section 2.1.1 of the [notes](../docs/course.md#the-lecture-notes), equations 12 to
# 15. You need: matrices and conditional probability. Runs in half a minute.*
#
# A homogeneous chain draws $x_{t+1} \sim P(\cdot \mid x_t)$ with the same $P$ at each
# step. On a finite set of states, $P$ is a matrix whose rows sum to one, and the
# marginal after $t$ steps is $p_t = p_0 P^t$ (eq. 14).

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import ebmjax as eb
from ebmjax import plotting, verify

plt.rcParams.update({**plotting.STYLE, "figure.dpi": 90})
key = jax.random.key(0)


def stationary(matrix):
    """The left eigenvector of eigenvalue one."""
    values, vectors = np.linalg.eig(matrix.T)
    v = np.real(vectors[:, np.argmax(np.real(values))])
    return v / v.sum()


def simulate(key, matrix, start, num_steps):
    """Shares of the states along ``len(start)`` chains, [T + 1, K]."""
    log_p = jnp.log(jnp.asarray(matrix, jnp.float32))

    def step(state, key):
        state = jax.random.categorical(key, log_p[state])
        return state, state

    _, path = jax.lax.scan(step, start, jax.random.split(key, num_steps))
    path = np.concatenate([np.asarray(start)[None], np.asarray(path)])
    return np.stack([(path == k).mean(axis=1) for k in range(len(matrix))], axis=1)


# %% [markdown]
# ## The marginals converge
#
# All chains start in the first state. Lines are $p_0 P^t$, dots are the shares among
# 20,000 simulated chains. The right panel shows the distance to the stationary
# distribution. It falls like $|\lambda_2|^t$, where $\lambda_2$ is the eigenvalue with
# the second largest modulus.

# %%
matrix = np.array([[0.90, 0.08, 0.02], [0.05, 0.85, 0.10], [0.02, 0.18, 0.80]])
pi = stationary(matrix)
steps, chains = 60, 20_000
marginals = np.stack(
    [np.eye(3)[0] @ np.linalg.matrix_power(matrix, t) for t in range(steps + 1)]
)
shares = simulate(key, matrix, jnp.zeros(chains, jnp.int32), steps)
distance = 0.5 * np.abs(marginals - pi).sum(axis=1)
second = np.sort(np.abs(np.linalg.eigvals(matrix)))[-2]
rate = np.exp(np.polyfit(np.arange(30, steps + 1), np.log(distance[30:]), 1)[0])

fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), layout="constrained")
for k, colour in enumerate((plotting.DATA, plotting.MODEL, plotting.THIRD)):
    axes[0].plot(marginals[:, k], color=colour, lw=1.2, label=f"state {k + 1}")
    axes[0].plot(np.arange(0, steps + 1, 3), shares[::3, k], "o", ms=3, color=colour)
    axes[0].axhline(pi[k], color=colour, lw=0.6, ls=":")
axes[0].set(title="marginals", xlabel="step $t$", ylabel="probability")
axes[0].legend()
axes[1].semilogy(distance, color="black", lw=1.2, label=f"measured, rate {rate:.4f}")
axes[1].semilogy(
    distance[0] * second ** np.arange(steps + 1),
    color=plotting.GREY,
    ls="--",
    lw=1,
    label=f"$|\\lambda_2|^t$, $|\\lambda_2| = {second:.4f}$",
)
axes[1].set(
    title="distance to the stationary law", xlabel="step $t$", ylabel="total variation"
)
axes[1].legend()
assert np.abs(shares - marginals).max() < 5 * np.sqrt(0.25 / chains)
assert abs(rate - second) < 2e-3

# %% [markdown]
# ## When they do not converge
#
# A chain is *irreducible* if every state can be reached from every other. It is
# *aperiodic* if the return times to a state have no common divisor larger than one. The
# notes ask that all transition probabilities be positive. This is sufficient for both
# but not necessary: the second chain has zeros and converges. The other three fail in
# different ways. The islands have infinitely many stationary distributions, the
# mixtures of one for each island. The ring has a single stationary distribution and
# does not converge to it. The two swaps are neither irreducible nor aperiodic.

# %%
chains_of = {
    "two islands: reducible": np.array(
        [[0.6, 0.4, 0, 0], [0.3, 0.7, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.8, 0.2]]
    ),
    "lazy ring: zeros, yet fine": np.array(
        [[0.2, 0.8, 0, 0], [0, 0.2, 0.8, 0], [0, 0, 0.2, 0.8], [0.8, 0, 0, 0.2]]
    ),
    "ring: of period four": np.array(
        [[0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0], [1.0, 0, 0, 0]]
    ),
    "two swaps: neither": np.array(
        [[0, 1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1.0], [0, 0, 1.0, 0]]
    ),
}
fig, axes = plt.subplots(1, 4, figsize=(12, 2.8), sharey=True, layout="constrained")
ends = {}
for ax, (name, p) in zip(axes, chains_of.items(), strict=True):
    for start, colour in ((0, plotting.DATA), (2, plotting.MODEL)):
        first = [
            (np.eye(4)[start] @ np.linalg.matrix_power(p, t))[0] for t in range(25)
        ]
        ax.plot(
            first, ".-", ms=4, lw=0.9, color=colour, label=f"from state {start + 1}"
        )
        ends[name, start] = np.eye(4)[start] @ np.linalg.matrix_power(p, 1000)
    ones = sum(np.abs(np.linalg.eigvals(p)) > 1 - 1e-9)
    ax.set(
        title=f"{name}\n{ones} eigenvalue{'s' if ones > 1 else ''} on the unit circle",
        xlabel="step $t$",
    )
axes[0].set_ylabel("probability of state 1")
axes[0].legend()
islands, lazy, ring, swaps = chains_of
# the limit depends on the initial state
assert np.abs(ends[islands, 0] - ends[islands, 2]).max() > 0.4
assert np.abs(ends[lazy, 0] - ends[lazy, 2]).max() < 1e-9
assert np.abs(ends[ring, 0] - ends[ring, 2]).max() == 1.0  # no limit
assert np.array_equal(ends[swaps, 0], [1, 0, 0, 0]) and np.array_equal(
    ends[swaps, 2], [0, 0, 1, 0]
)
after = {
    name: np.eye(4)[0] @ np.linalg.matrix_power(p, 1001)
    for name, p in chains_of.items()
}
# change of the marginal in one more step
moved = {name: np.abs(after[name] - ends[name, 0]).max() for name in chains_of}
assert (
    moved[islands] < 1e-9 and moved[lazy] < 1e-9 and moved[ring] == moved[swaps] == 1.0
)

# %% [markdown]
# ## Detailed balance, computed
#
# If $P(x) P(x' \mid x) = P(x') P(x \mid x')$ for every pair, then $P$ is stationary
# (eq. 15); the proof sums over $x$. On a finite space this can be checked without
# samples. We take seven states on a ring and a random walk that proposes a neighbour.
# `metropolis` corrects the walk for the energy, and `verify` computes the full
# transition matrix of the kernel.

# %%
levels = jnp.array([0.0, 1.0, 0.3, 2.0, 0.5, 1.5, 0.2])
energy = lambda state: levels[state[0]]
states = np.arange(7)[:, None]
noises, weights = np.array([[-1], [1], [0]]), np.array([0.4, 0.4, 0.2])


def walk_on_ring(xi, state):
    proposed = state._replace(position=(state.position + xi) % 7)
    return proposed._replace(energy=energy(proposed.position)), jnp.float32(0.0)


draw = lambda key, position: jax.random.choice(
    key, jnp.asarray(noises), p=jnp.asarray(weights)
)
kernel = eb.metropolis(energy, eb.Proposal(draw, walk_on_ring))
report = verify.detailed_balance(kernel, energy, states, noises, weights)
print(report)
assert report.is_passed

# %% [markdown]
# The converse is false: a stationary chain can have a net probability current. A walk
# with drift on the same ring keeps the uniform distribution, because each state gains
# as much probability as it loses, but detailed balance fails for every pair of
# neighbours. So the library has a test of stationarity and a test of detailed balance.

# %%
drift = (
    0.7 * np.roll(np.eye(7), 1, axis=1)
    + 0.1 * np.roll(np.eye(7), -1, axis=1)
    + 0.2 * np.eye(7)
)
uniform = np.full(7, 1 / 7)
assert np.allclose(uniform @ drift, uniform)
matrix = verify.transition_matrix(kernel, states, noises, weights)
boltzmann = np.exp(-np.asarray(levels, np.float64))
boltzmann /= boltzmann.sum()

fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained")
for ax, (name, law, p) in zip(
    axes,
    (("Metropolis", boltzmann, matrix), ("drifting walk", uniform, drift)),
    strict=True,
):
    flow = law[:, None] * p
    current = flow - flow.T
    image = ax.imshow(current, cmap="RdBu_r", vmin=-0.1, vmax=0.1)
    stationarity = np.abs(law @ p - law).max()
    ax.set(
        title=f"{name}\nlargest net flow {np.abs(current).max():.1g}",
        xlabel="to state",
        ylabel="from state",
    )
    ax.set(xticks=range(7), yticks=range(7))
    assert stationarity < 1e-6  # both are stationary
    assert (np.abs(current).max() < 1e-6) == (name == "Metropolis")
_ = fig.colorbar(image, ax=axes, label="$\\pi_i P_{ij} - \\pi_j P_{ji}$")
