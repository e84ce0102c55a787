"""Tests without randomness, or nearly: detailed balance on a finite space, integrators in double precision.

On a finite space the transition matrix of a Metropolis kernel is a finite sum over the noise of its proposal,

    P_ij = sum_noise w(noise) a(i, noise) 1[candidate = j]  +  1[i = j] (rejected),

computed here through the kernel's own ``move``; ``pi_i P_ij = pi_j P_ji`` then holds to rounding or not at
all.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import special

from ebmjax import _validation as checks
from ebmjax.base import Energy, Kernel, Key, evaluate
from ebmjax.kernels.hamiltonian import Integrator, leapfrog, trajectory
from ebmjax.verify.report import Finding, Report, exact

REFERENCES = (
    0.3,
    0.5,
    0.7,
)  # quantiles of the proposal at which a reference density sits


def transition_matrix(
    kernel: Kernel, states: Any, noises: Any, weights: Any
) -> np.ndarray:
    """P of a Metropolis kernel on a finite space, ``[K, K]``.

    Args:
      kernel: made by ``metropolis`` from a proposal.
      states: the points of the space, ``[K, ...]``; the proposal must stay among them.
      noises: every value that the noise of the proposal can take, ``[R, ...]``.
      weights: their probabilities, ``[R]``.
    """
    always = jnp.inf  # the exponential that accepts anything of positive probability

    def one(position, noise):
        proposed, info = kernel.move((noise, always), kernel.init(position))
        return proposed.position, info.acceptance_rate

    candidates, accepted = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(
        states, noises
    )
    points, candidates = np.asarray(states), np.asarray(candidates)
    matrix = np.zeros((len(points), len(points)))
    weights, accepted = (
        np.asarray(weights, np.float64),
        np.asarray(accepted, np.float64),
    )
    for i in range(len(points)):
        for r in range(len(weights)):
            j = int(
                np.argmin(
                    np.abs(points - candidates[i, r])
                    .reshape(len(points), -1)
                    .sum(axis=1)
                )
            )
            matrix[i, j] += weights[r] * accepted[i, r]
            matrix[i, i] += weights[r] * (1 - accepted[i, r])
    return matrix


def detailed_balance(
    kernel: Kernel,
    energy: Energy,
    states: Any,
    noises: Any,
    weights: Any,
    *,
    tolerance: float = 1e-6,
) -> Report:
    """pi_i P_ij = pi_j P_ji, sum_i pi_i P_ij = pi_j, and rows that sum to one, on a finite space.

    Args: as :func:`transition_matrix`; ``energy`` is that of the target.
    """
    matrix = transition_matrix(kernel, states, noises, weights)
    energies = np.asarray(jax.vmap(energy)(states), np.float64)
    pi = np.exp(energies.min() - energies)
    pi /= pi.sum()
    flow = pi[:, None] * matrix
    off_diagonal = matrix - np.diag(np.diag(matrix))
    findings = (
        exact(
            "largest |pi_i P_ij - pi_j P_ji|", np.abs(flow - flow.T).max(), tolerance
        ),
        exact("largest |pi P - pi|", np.abs(pi @ matrix - pi).max(), tolerance),
        exact("largest |row sum - 1|", np.abs(matrix.sum(axis=1) - 1).max(), tolerance),
        exact("states that cannot be left", (off_diagonal.sum(axis=1) == 0).sum(), 0),
    )
    return Report(
        "detailed balance",
        f"{len(pi)} states, exact to {tolerance:g}",
        findings,
        evidence={"flow": flow, "pi": pi, "kind": "flow"},
        suggestion="The ratio of the densities is wrong: log_q must be of q(x | x*) over q(x* | x).",
    )


def proposal_density(
    key: Key,
    q: Callable[[Key, Any], Any],
    log_q: Callable[..., Any],
    positions: Any,
    *,
    num_draws: int = 50_000,
    alpha: float = 1e-6,
) -> Report:
    """Does a proposal have the density that it claims, up to a constant?

    At each position x, draws y ~ q(. | x) weigh a normal density r by  r(y) / exp log_q(y | x).  The mean
    weight is one over the constant of log_q, and must be the same at every x and for every r.  With the
    arguments swapped, or a Jacobian forgotten, it is not.

    Args:
      key: one key.
      q: the proposal.
      log_q: its log density, ``log_q(to=, given=)``.
      positions: some points ``[K, ...]``, at least two, where the proposal differs.
    """
    count = checks.num_chains(positions)
    if count < 2:
        raise ValueError(f"positions must be at least 2 points, got {count}")
    labels: list[str] = []
    log_means: list[float] = []
    deviations: list[float] = []
    for i in range(count):
        x = jax.tree.map(lambda leaf, i=i: leaf[i], positions)
        for j, quantile in enumerate(REFERENCES):
            keys = jax.random.split(
                jax.random.fold_in(key, len(REFERENCES) * i + j), num_draws
            )
            y = jax.vmap(lambda k, x=x: q(k, x))(keys)
            log_density = np.asarray(
                jax.vmap(lambda y, x=x: log_q(to=y, given=x))(y), np.float64
            )
            flat = np.asarray(jax.vmap(lambda t: ravel_pytree(t)[0])(y), np.float64)
            low, middle, high = np.quantile(flat, [0.25, quantile, 0.75], axis=0)
            width = np.maximum(0.25 * (high - low), 1e-9)
            square = ((flat - middle) / width) ** 2
            log_r = -(0.5 * square + np.log(width) + 0.5 * np.log(2 * np.pi)).sum(
                axis=1
            )
            value, error = _log_mean(log_r - log_density)
            labels.append(
                f"log constant at point {i}, from its {quantile:.0%} quantile"
            )
            log_means.append(value)
            deviations.append(error + 1e-6)  # densities come in float32
    values, errors = np.array(log_means), np.array(deviations)
    pooled: float = np.average(values, weights=1 / errors**2)
    p_values = 2 * special.ndtr(-np.abs(values - pooled) / errors)
    return Report(
        "density of the proposal",
        f"{num_draws} draws at each of {count} points, {len(REFERENCES)} reference densities",
        tuple(
            Finding(label, float(v), float(pooled), float(p), f"{6 * e:.2g} nat")
            for label, v, p, e in zip(labels, values, p_values, errors, strict=True)
        ),
        alpha,
        suggestion="log_q is not the density of q: are its arguments swapped, or a Jacobian missing?",
    )


def _log_mean(log_weight) -> tuple[float, float]:
    """The log of a mean and its standard error."""
    top = log_weight.max()
    weight = np.exp(log_weight - top)
    return top + np.log(weight.mean()), weight.std() / weight.mean() / np.sqrt(
        len(weight)
    )


# --- integrators ------------------------------------------------------------------------------------------

Flow = Callable[
    [Any, Any, float, int], tuple[Any, Any]
]  # (x, n, step_size, num_steps) -> (x, n)


def flow_of(energy: Energy, integrator: Integrator = leapfrog) -> Flow:
    """The library's own trajectory as a flow of position and momentum."""

    def flow(x, n, step_size, num_steps):
        state = evaluate(energy, x, with_grad=True)
        state, n = trajectory(
            energy, state, n, step_size, num_steps, integrator=integrator
        )
        return state.position, n

    return flow


def integrator(
    energy: Energy,
    position: Any,
    *,
    flow: Flow | None = None,
    coefficients: Integrator = leapfrog,
    step_size: float = 0.1,
    num_steps: int = 10,
    order: int = 2,
    tolerance: float = 1e-10,
) -> Report:
    """Reversal, volume, symplecticity and order of an integrator, in double precision.

    Flip, flow, flip, flow is the identity; the Jacobian J of the flow has det J = 1 and
    J^T Omega J = Omega; the error in the energy at the end of a fixed time falls as step_size^order.

    Args:
      energy: smooth, of one point.
      position: one point, a flat array ``[D]``.
      flow: ``(x, n, step_size, num_steps) -> (x, n)`` with momentum n in standard normal units; by default
        the library's with ``coefficients``.
      order: what the slope should be, within 0.1.
    """
    flow = flow or flow_of(energy, coefficients)
    with jax.enable_x64(True):
        x = jnp.asarray(np.asarray(position), jnp.float64)
        n = jnp.asarray(np.random.default_rng(0).normal(size=x.shape))
        dim = x.size

        def phase(z, step_size=step_size, num_steps=num_steps):
            return jnp.concatenate(flow(z[:dim], z[dim:], step_size, num_steps))

        def hamiltonian(z):
            return energy(z[:dim]) + 0.5 * jnp.sum(z[dim:] ** 2)

        z = jnp.concatenate([x, n])
        flip = jnp.concatenate([jnp.ones(dim), -jnp.ones(dim)])
        back = flip * phase(flip * phase(z))
        jacobian = np.asarray(jax.jacfwd(phase)(z))
        omega = np.block(
            [[np.zeros((dim, dim)), np.eye(dim)], [-np.eye(dim), np.zeros((dim, dim))]]
        )
        halvings = np.arange(1, 6)
        errors = np.array(
            [
                _energy_error(hamiltonian, phase, z, step_size, num_steps, h)
                for h in halvings
            ]
        )
        slope = -np.polyfit(halvings, np.log2(np.maximum(errors, 1e-300)), 1)[0]
        findings = (
            exact(
                "reversal, largest |z - z''|", float(jnp.abs(back - z).max()), tolerance
            ),
            exact("volume, |det J - 1|", abs(np.linalg.det(jacobian) - 1), tolerance),
            exact(
                "symplecticity",
                np.abs(jacobian.T @ omega @ jacobian - omega).max(),
                tolerance,
            ),
            Finding(
                "order", float(slope), order, 1.0 if abs(slope - order) < 0.1 else 0.0
            ),
        )
    return Report(
        "integrator",
        f"{num_steps} steps of {step_size:g} in {dim} dimensions, double precision",
        findings,
        evidence={
            "step_sizes": step_size / 2.0**halvings,
            "errors": errors,
            "kind": "order",
        },
        suggestion="A kick or drift is missing, doubled, or uses a gradient of another point.",
    )


def _energy_error(hamiltonian, phase, z, step_size, num_steps, halving) -> float:
    """Largest change of H along a fixed time, in steps of ``step_size / 2^halving``."""
    parts: Sequence[int] = range(1, 2 * num_steps + 1)
    scale, worst, start = 2**halving, 0.0, hamiltonian(z)
    advance = jax.jit(lambda z: phase(z, step_size / scale, scale // 2))
    for _ in parts:
        z = advance(z)
        worst = max(worst, abs(float(hamiltonian(z) - start)))
    return worst
