"""Partition functions of lattices in closed form, in double precision.

    ising_log_z      Ising torus [H, W] without a field    (Kaufman 1949, Phys. Rev. 76)
    ising_energy     its mean energy, -J d log Z / dJ, a site
    onsager_energy   that of the infinite lattice          (Onsager 1944, Phys. Rev. 65)
    potts_log_z      Potts torus [H, W] with a short side, by its transfer matrix

Kaufman, with K = J and cosh g_l = cosh 2K coth 2K - cos(pi l / W) for l > 0 and
g_0 = 2K + log tanh K, which changes its sign at the critical point:

    Z = 1/2 (2 sinh 2K)^(H W / 2) (C_odd + S_odd + C_even + S_even),
    C = prod 2 cosh(H g_l / 2),   S = prod 2 sinh(H g_l / 2)

over odd and even l of 0, ..., 2 W - 1; S_even is negative below the critical
coupling.
"""

import itertools
import math

import numpy as np
from scipy import special

from ebmjax import _validation as checks

MAX_STATES = 4096  # of a row of a Potts torus
STEP = 1e-4  # of the central difference in J


def ising_log_z(shape: tuple[int, int], coupling: float) -> float:
    """log Z of the Ising torus, J above zero, without a field.

    >>> round(ising_log_z((2, 2), 0.5), 4)  # log(2 e^4 + 12 + 2 e^-4)
    4.7977
    """
    height, width = (checks.count(n, "shape", least=2) for n in shape)
    checks.positive(coupling, "coupling")
    K = float(coupling)
    ell = np.arange(2 * width)
    gamma = np.arccosh(
        np.maximum(np.cosh(2 * K) / np.tanh(2 * K) - np.cos(np.pi * ell / width), 1.0)
    )
    gamma[0] = 2 * K + math.log(math.tanh(K))
    logs, signs = [], []
    for first in (1, 0):
        half = height * gamma[first::2] / 2
        with np.errstate(divide="ignore"):
            sinh = np.log(np.abs(1 - np.exp(-2 * np.abs(half)))) + np.abs(half)
        logs += [np.sum(np.logaddexp(half, -half)), np.sum(sinh)]
        signs += [1.0, 1.0 if first else float(np.sign(half[0]))]
    total = _log_sum(logs, signs)
    return float(
        total - math.log(2) + height * width / 2 * math.log(2 * math.sinh(2 * K))
    )


def ising_energy(shape: tuple[int, int], coupling: float) -> float:
    """The mean energy of a site of the Ising torus, -J d log Z / dJ / (H W)."""
    h = STEP * coupling
    up, down = (ising_log_z(shape, coupling + s * h) for s in (1, -1))
    return -coupling * (up - down) / (2 * h) / math.prod(shape)


def onsager_energy(coupling: float) -> float:
    """The mean energy of a site of the infinite Ising lattice,

    -J coth 2J [1 + 2/pi (2 tanh^2 2J - 1) K(k)],  k = 2 sinh 2J / cosh^2 2J.

    >>> critical = math.log(1 + math.sqrt(2)) / 2
    >>> round(onsager_energy(critical) / critical, 4)
    -1.4142
    """
    checks.positive(coupling, "coupling")
    J = float(coupling)
    k = 2 * math.sinh(2 * J) / math.cosh(2 * J) ** 2
    factor = 2 * math.tanh(2 * J) ** 2 - 1
    integral = 0.0 if abs(factor) < 1e-12 else factor * special.ellipk(min(k * k, 1.0))
    return -J / math.tanh(2 * J) * (1 + 2 / math.pi * integral)


def potts_log_z(shape: tuple[int, int], num_levels: int, coupling: float) -> float:
    """log Z of the Potts torus without a field, of at most 4096 states a row of W
    sites.

    >>> round(potts_log_z((4, 4), 2, 0.8) - ising_log_z((4, 4), 0.4) - 32 * 0.4, 6)
    0.0
    """
    height, width = (checks.count(n, "shape", least=2) for n in shape)
    num_levels = checks.count(num_levels, "num_levels", least=2)
    if num_levels**width > MAX_STATES:
        raise ValueError(
            f"a row must have at most {MAX_STATES} states, got {num_levels}^{width}"
        )
    rows = np.array(list(itertools.product(range(num_levels), repeat=width)))
    within = (rows == np.roll(rows, -1, 1)).sum(axis=1)
    between = (rows[:, None] == rows[None]).sum(axis=2)
    log_t = coupling * (between + (within[:, None] + within[None]) / 2)
    eigenvalues = np.linalg.eigvalsh(np.exp(log_t - log_t.max()))
    with np.errstate(divide="ignore"):
        terms = height * np.log(np.abs(eigenvalues))
    signs = np.sign(eigenvalues) ** height
    return float(_log_sum(terms, signs) + height * log_t.max())


def potts_energy(shape: tuple[int, int], num_levels: int, coupling: float) -> float:
    """The mean energy of a site of the Potts torus, -J d log Z / dJ / (H W)."""
    h = STEP * coupling
    up, down = (potts_log_z(shape, num_levels, coupling + s * h) for s in (1, -1))
    return -coupling * (up - down) / (2 * h) / math.prod(shape)


def _log_sum(logs, signs) -> float:
    """log sum_i signs_i exp(logs_i)."""
    logs = np.asarray(logs)
    return float(np.log(np.sum(signs * np.exp(logs - logs.max()))) + logs.max())
