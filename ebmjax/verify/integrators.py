"""Integrators in double precision: reversal, volume, symplecticity and order.

A flow ``(x, n, step_size, num_steps) -> (x, n)`` solves

    x' = A n,    n' = -C grad E(x),

with the energy ``E(x) + 1/2 n^T K n``, ``K = C^-T A``, and is symplectic for the form
``dx ^ C^-1 dn``.  A and C are estimated from tiny steps, so that momenta may be in any
units: ``n`` standard normal (``K = I``; as in this library), or ``p`` with a mass
(``A = M^-1``, ``C = I``).  They are then compared with the claim of the caller.

A flow of another Hamiltonian, implicit or not separable, needs ``hamiltonian(x, n)``
and is tested in canonical units.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Energy, evaluate
from ebmjax.kernels.integrators import Integrator, leapfrog, trajectory
from ebmjax.verify.report import Finding, Report, exact

Flow = Callable[[Any, Any, float, int], tuple[Any, Any]]
TINY = 1e-5  # the step from which A and C are estimated
HALVINGS = np.arange(1, 6)
MISSING = "A kick or drift is missing, doubled, or uses a gradient of another point."


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
    mass: Any = None,
    hamiltonian: Callable[[Any, Any], Any] | None = None,
) -> Report:
    """Test an integrator.

    Flip, flow, flip, flow is the identity; the Jacobian J of the flow has det J = 1 and
    keeps the symplectic form; the error in H at a fixed time falls as step_size^order.

    Args:
      energy: smooth, of one point.
      position: one point, a flat array ``[D]``.
      flow: ``(x, n, step_size, num_steps) -> (x, n)``; by default the library's with
        ``coefficients``.
      order: the expected slope, within 0.1.
      mass: M, ``[D]`` or ``[D, D]``, of a flow whose momentum p has the kinetic energy
        ``1/2 p^T M^-1 p``; without it momenta are standard normal.
      hamiltonian: ``H(x, n)``, for a flow of another form.

    Returns:
      A report; INCONCLUSIVE if the flow is correct for a mass that was not given.
    """
    checks.function(energy, "energy")
    flow = flow or flow_of(energy, coefficients)
    if mass is not None:
        checks.covariance(mass, "mass")
    with jax.enable_x64(True):
        phase = _Phase(energy, flow, position, mass, hamiltonian)
        findings = phase.findings(step_size, num_steps, tolerance)
        errors = np.array(
            [phase.energy_error(step_size, num_steps, h) for h in HALVINGS]
        )
    slope = -np.polyfit(HALVINGS, np.log2(np.maximum(errors, 1e-300)), 1)[0]
    is_order = abs(slope - order) < 0.1 or errors.max() < 1e-12
    findings.append(
        Finding("order", float(slope), order, float(is_order), family="check")
    )
    return Report(
        "integrator",
        f"{num_steps} steps of {step_size:g} in {phase.dim} dimensions, "
        f"double precision; {phase.units}",
        tuple(findings),
        evidence={
            "step_sizes": step_size / 2.0**HALVINGS,
            "errors": errors,
            "kind": "order",
        },
        suggestion=MISSING,
        untested=phase.unclaimed,
    )


class _Phase:
    """A flow on ``z = (x, n)``, its symplectic form and its Hamiltonian."""

    def __init__(self, energy, flow, position, mass, hamiltonian):
        self.flow, self.energy = flow, energy
        self.x = jnp.asarray(np.asarray(position), jnp.float64)
        rng = np.random.default_rng(0)
        self.n = jnp.asarray(rng.normal(size=self.x.shape))
        self.dim, self.unclaimed, self.claims = self.x.size, "", []
        one = np.eye(self.dim)
        if hamiltonian is not None:
            self.form, self.hamiltonian = one, hamiltonian
            self.units = "the Hamiltonian of the caller"
            return
        drift, kick = self._read(rng)
        self.form, kinetic = np.linalg.inv(kick), np.linalg.solve(kick.T, drift)
        claimed, self.units = one, "momenta standard normal"
        if mass is not None:
            m = np.asarray(mass, np.float64)
            claimed = np.linalg.inv(np.diag(m) if m.ndim == 1 else m)
            self.units = "momenta with the mass that was given"
        gap = np.abs(kinetic - claimed).max() / np.abs(claimed).max()
        is_physical = np.abs(kick - one).max() < 1e-4
        is_mass = np.allclose(kinetic, kinetic.T, atol=1e-4) and (
            np.linalg.eigvalsh(kinetic + kinetic.T)[0] > 0
        )
        if gap > 1e-4 and mass is None and is_physical and is_mass:
            read = np.round(np.linalg.inv(kinetic), 4).tolist()
            self.unclaimed = f"this is the flow of a mass {read}; pass it as mass="
        elif gap > 1e-4:
            self.claims = [("kinetic energy, relative |K - K claimed|", gap)]
        if gap < 1e-4:  # as claimed, to the accuracy of a tiny step
            kinetic = claimed
        if is_physical:
            self.form = one
        matrix = jnp.asarray(kinetic)
        self.hamiltonian = lambda x, n: energy(x) + 0.5 * n @ matrix @ n

    def _read(self, rng):
        """A and C, of x' = A n and n' = -C grad E, from tiny steps at some points."""
        points = self.x + jnp.asarray(rng.normal(size=(4 * self.dim, self.dim)))
        at_rest = jnp.zeros_like(self.x)

        def kicked(x):
            return (self.flow(x, at_rest, TINY, 1)[1]) / TINY

        grads = np.asarray(jax.vmap(jax.grad(self.energy))(points))
        kicks = np.asarray(jax.lax.map(kicked, points))
        is_usable = np.isfinite(grads).all(axis=1) & np.isfinite(kicks).all(axis=1)
        solved, _, rank, _ = np.linalg.lstsq(
            grads[is_usable], -kicks[is_usable], rcond=1e-8
        )
        kick = solved.T if rank == self.dim else np.eye(self.dim)
        drift = jax.jacfwd(lambda n: self.flow(self.x, n, TINY, 1)[0])(at_rest)
        return np.asarray(drift) / TINY, kick

    def __call__(self, z, step_size, num_steps):
        d = self.dim
        return jnp.concatenate(self.flow(z[:d], z[d:], step_size, num_steps))

    def findings(self, step_size, num_steps, tolerance) -> list[Finding]:
        d = self.dim
        z = jnp.concatenate([self.x, self.n])
        flip = jnp.concatenate([jnp.ones(d), -jnp.ones(d)])
        back = flip * self(flip * self(z, step_size, num_steps), step_size, num_steps)
        jacobian = np.asarray(jax.jacfwd(lambda z: self(z, step_size, num_steps))(z))
        zero = np.zeros((d, d))
        omega = np.block([[zero, self.form], [-self.form.T, zero]])
        change = np.abs(jacobian.T @ omega @ jacobian - omega).max()
        # the form is estimated from a tiny step, to eight digits, unless it is
        # canonical
        wide = max(tolerance, 0.0 if np.array_equal(self.form, np.eye(d)) else 1e-4)
        volume = abs(np.linalg.det(jacobian) - 1)
        found = [
            exact("reversal, |z - z''|", float(jnp.abs(back - z).max()), tolerance),
            exact("volume, |det J - 1|", volume, tolerance),
            exact("symplecticity", change / np.abs(omega).max(), wide),
        ]
        return found + [exact(name, gap, 1e-4) for name, gap in self.claims]

    def energy_error(self, step_size, num_steps, halving) -> float:
        """Largest change of H along a fixed time, in steps of step_size / 2^halving."""
        scale, d = 2 ** int(halving), self.dim
        advance = jax.jit(lambda z: self(z, step_size / scale, scale // 2))
        h = jax.jit(lambda z: self.hamiltonian(z[:d], z[d:]))
        z = jnp.concatenate([self.x, self.n])
        start, worst = h(z), 0.0
        for _ in range(2 * num_steps):
            z = advance(z)
            worst = max(worst, abs(float(h(z) - start)))
        return worst
