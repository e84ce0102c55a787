"""The rank test of reversibility (Gandy & Scott 2020, arXiv:2001.06465, section 2.2).

An exact draw is placed at the index j ~ U(0..L) of a chain, which runs L - j steps
forward and j steps backward with the same kernel.  For a reversible kernel j is
independent of the chain, and the rank of f(x_j) in it is uniform.

In addition, from starts in the tails: a reversible step makes (x_0, x_1) exchangeable,
also among pairs with both points in the tails, so that the score of x_1 is above that
of x_0 as often as below.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import special

from ebmjax import _validation as checks
from ebmjax.base import Key
from ebmjax.verify.features import Features, labels_of
from ebmjax.verify.rare import Tails
from ebmjax.verify.report import Finding, Report
from ebmjax.verify.running import Chains, Meter, chain_keys, name_of

IRREVERSIBLE = (
    "The kernel is not reversible with respect to its target.  Usual causes: a "
    "Hastings ratio that is missing or has its arguments swapped, a sign in the "
    "energy, noise that is used twice, no Metropolis correction; or a kernel that is "
    "not meant to be reversible; test that by invariance."
)
TAIL_BATCHES, BATCH = 25, 20_000


def rank(
    key: Key,
    kernel: Any,
    target: Any,
    *,
    num_chains: int = 20_000,
    num_steps: int = 15,
    alpha: float = 1e-6,
    name: str | None = None,
) -> Report:
    """Test whether the kernel is reversible with respect to the target.

    Args:
      key: one key.
      kernel, target, alpha, name: as of :func:`ebmjax.verify.invariance`.
      num_chains: at least ``20 (num_steps + 1)``.
      num_steps: L, the length of a chain.
    """
    checks.count(num_steps, "num_steps")
    checks.count(num_chains, "num_chains", least=20 * (num_steps + 1))
    keys = jax.random.split(checks.key(key), 6)
    chains, meter = Chains(kernel), Meter(target)
    start = meter.sample(keys[0], num_chains)
    place = np.asarray(jax.random.randint(keys[3], (num_chains,), 0, num_steps + 1))
    program = chains.compiled(partial(_path, chains, num_steps), "path", num_steps)
    paths = [
        np.asarray(program(chain_keys(k, 0, num_chains), start), np.float64)
        for k in keys[1:3]
    ]
    origin, energies, _ = meter(start)
    labels = labels_of(jax.tree.map(lambda leaf: leaf[0], start))
    uniform = np.asarray(jax.random.uniform(keys[4], (num_chains,)))
    findings, histograms = [], {}
    for label, f in _functions(origin, labels):
        counts = _ranks(f, origin, paths, place, uniform, num_steps)
        mean = num_chains / (num_steps + 1)
        distance = float(((counts - mean) ** 2 / mean).sum())
        p_value = float(special.chdtrc(num_steps, distance))
        findings.append(Finding(f"rank of {label}", distance, num_steps, p_value))
        histograms[label] = counts
    if num_chains >= BATCH:
        rng = np.random.default_rng(0)
        features = Features(origin, energies, labels, ("means",), rng)
        findings += _in_tails(chains, meter, Tails(features, meter, keys[5]), keys[5])
    moved = bool((paths[0] != origin).any())
    return Report(
        f"reversibility of {name or name_of(kernel)} on {name_of(target)}",
        f"{num_chains} chains of {num_steps} steps around an exact draw",
        tuple(findings),
        alpha,
        {"ranks": histograms, "kind": "rank"},
        IRREVERSIBLE,
        untested="" if moved else "no chain ever moved",
    )


def _path(chains: Chains, num_steps: int, kernel, keys, positions):
    """Positions ``[T, N, D]``."""
    states = jax.vmap(chains.start_one, (None, 0, 0))(kernel, keys, positions)

    def one(states, t):
        states, _ = jax.vmap(lambda k, s: kernel.step(jax.random.fold_in(k, t), s))(
            keys, states
        )
        return states, jax.vmap(lambda x: ravel_pytree(x)[0])(states.position)

    return jax.lax.scan(one, states, jnp.arange(num_steps))[1]


def _functions(origin, labels):
    chosen = range(min(origin.shape[1], 6))
    found = [(labels[i], lambda x, i=i: x[..., i]) for i in chosen]
    middle = np.median(origin, axis=0)
    found.append(("|x - median|^2", lambda x: ((x - middle) ** 2).sum(axis=-1)))
    return found


def _ranks(f, origin, paths, place, uniform, num_steps) -> np.ndarray:
    """Counts of the ranks of the exact draw; ties are broken at random."""
    value, times = f(origin), np.arange(1, num_steps + 1)[:, None]
    is_used = (times <= num_steps - place, times <= place)
    below, ties = np.zeros(len(value), int), np.zeros(len(value), int)
    for path, used in zip(paths, is_used, strict=True):
        other = f(path)
        below += ((other < value) & used).sum(axis=0)
        ties += ((other == value) & used).sum(axis=0)
    ranks = below + np.floor(uniform * (ties + 1)).astype(int)
    return np.bincount(ranks, minlength=num_steps + 1)


def _in_tails(chains, meter, tails, key) -> list[Finding]:
    """Sign tests of scores, of pairs with both points in the tails."""
    up, down = np.zeros(2), np.zeros(2)
    kept, num, first = [], 0, 0
    for b in range(TAIL_BATCHES):
        positions = meter.sample(jax.random.fold_in(key, b), BATCH)
        is_far = tails.beyond(*meter(positions)[:2])
        kept.append(jax.tree.map(lambda leaf, f=is_far: np.asarray(leaf)[f], positions))
        num += int(is_far.sum())
    start = jax.tree.map(
        lambda *leaves: np.resize(
            np.concatenate(leaves), (BATCH, *leaves[0].shape[1:])
        ),
        *kept,
    )
    num = min(num, BATCH)  # the rest of the batch repeats starts and is omitted
    if num == 0:
        return []
    old = meter(start)
    new = meter(chains.single(chain_keys(key, first, BATCH), start))
    both = tails.beyond(*new[:2])
    both[num:] = False
    change = tails.scores(*new[:2])[both] - tails.scores(*old[:2])[both]
    up, down = (change > 0).sum(axis=0), (change < 0).sum(axis=0)
    names = ("largest |coordinate|", "energy")
    return [
        Finding(
            f"steps up of the {n}, in the tails", u / max(u + d, 1), 0.5, _sign(u, d)
        )
        for n, u, d in zip(names, up, down, strict=True)
    ]


def _sign(up: int, down: int) -> float:
    """Two-sided, exact: of Binomial(up + down, 1/2)."""
    most, least = max(up, down), min(up, down)
    if up + down == 0:
        return 1.0
    return min(1.0, 2 * float(special.betainc(most, least + 1, 0.5)))
