"""One round of the test of invariance: chains from exact draws, and their statistics.

One run is tested after 20 and after 200 steps, the latter with fewer chains.  A single
step is tested from five times as many starts, including all points in the tails of a
much larger exact sample (:mod:`ebmjax.verify.rare`).
"""

import functools
import math

import jax
import numpy as np

from ebmjax.base import Key
from ebmjax.verify.families import some
from ebmjax.verify.features import Features, labels_of
from ebmjax.verify.products import AllProducts, Dependence, Witness
from ebmjax.verify.rare import single_step
from ebmjax.verify.report import Finding, Report
from ebmjax.verify.running import Chains, Meter, chain_keys, name_of
from ebmjax.verify.statistics import Histograms, Sums, atoms, rows_of, with_shares

BATCH = 20_000
EXACT = 4  # further exact draws per chain
SINGLE = 5  # starts of a single step per chain
BIASED = (
    "The chains left their target.  Usual causes: a Hastings ratio that is missing or "
    "has its arguments swapped, a sign in the energy, noise that is used twice, no "
    "Metropolis correction."
)


class Trial:
    """One round of the test, of any number of chains."""

    def __init__(self, chains: Chains, meter: Meter, looks, statistics, name):
        self.chains, self.meter, self.statistics = chains, meter, statistics
        self.name, self.looks = name, looks
        self.is_single = 1 in looks and len(looks) > 1  # tested by single_step
        self.long = [k for k in looks if k > 1 or not self.is_single]
        first, rest = self.long[0], self.long[1:]
        self.segment = functools.reduce(math.gcd, rest, first)

    def __call__(self, key: Key, *, num_chains: int, alpha: float) -> Report:
        keys = jax.random.split(key, 5)
        batch = min(BATCH, -(-num_chains // 2))
        num_batches = -(-num_chains // batch)
        round_ = _Round(self, keys, batch, num_batches)
        for b in range(num_batches):
            if round_.is_alive:
                round_.one_batch(b)
        others = round_.findings()
        rows = round_.rows()
        single = self.is_single and "rare" in self.statistics
        if single and round_.is_alive:
            rows += single_step(
                self.chains, self.meter, round_.features, keys[4], SINGLE * num_chains
            )
        steps = ", ".join(str(k) for k in self.looks)
        settings = f"{batch * num_batches} chains from exact draws, steps {steps}"
        return Report(
            f"invariance of {name_of(self.meter.target)} under {self.name}",
            settings,
            tuple(with_shares(rows, others, alpha)),
            alpha,
            round_.evidence,
            BIASED,
            untested="" if round_.moved.any() else "no chain ever moved",
        )


class _Round:
    """The sums of one round."""

    def __init__(self, trial: Trial, keys, batch: int, num_batches: int):
        self.trial, self.keys = trial, keys
        self.batch, self.num_batches = batch, num_batches
        first = trial.long[0]
        self.batches_of = {
            k: max(1, round(num_batches * min(1.0, 2 * first / k))) for k in trial.long
        }
        self.sums: dict[int, Sums] = {}
        self.is_alive, self.moved = True, np.zeros(0, bool)

    def one_batch(self, b: int) -> None:
        trial, keys, first = self.trial, self.keys, b * self.batch
        start = trial.meter.sample(jax.random.fold_in(keys[0], b), self.batch)
        before = trial.meter(start)
        if b == 0:
            self._prepare(start, before)
        f_before = self.features(*before)
        chain = chain_keys(keys[1], first, self.batch)
        states, time = trial.chains.start(chain, start), 0
        advance = trial.chains.segment(trial.segment)
        for k in [k for k in trial.long if b < self.batches_of[k]]:
            while time < k:
                states, moved = advance(chain, states, time)
                self.moved |= np.asarray(moved)
                time += trial.segment
            self._look(k, b, before, f_before, trial.meter(states.position))
            if not self.is_alive:
                return
        for i in range(self.num_exact):
            number = EXACT * b + i
            exact = trial.meter.sample(jax.random.fold_in(keys[2], number), self.batch)
            self._exact(trial.meter(exact))
        if self.witness and b + 1 == (self.num_batches + 1) // 2:
            self.witness.learn()

    def _prepare(self, start, before) -> None:
        x, e, extra = before
        trial = self.trial
        seed = int(jax.random.randint(self.keys[3], (), 0, 2**31 - 1))
        rng = np.random.default_rng(seed)
        labels = labels_of(jax.tree.map(lambda leaf: leaf[0], start))
        functions = trial.meter.functions
        self.features = features = Features(
            x, e, labels, trial.statistics, rng, functions, extra
        )
        self.moved = np.zeros(x.shape[1], bool)
        self.is_constant = np.ptp(x, axis=0) == 0
        size = len(features.names)
        self.sums = {k: Sums(size) for k in trial.long}
        chosen = trial.statistics
        self.columns = some(x.shape[1], rng)
        self.num_exact = EXACT if x.shape[1] <= 20 else 1
        self.histograms = {}
        if "ks" in chosen:
            values = np.concatenate([x[:, self.columns], e[:, None]], axis=1)
            self.histograms = {k: Histograms(values) for k in trial.long}
        degrees = [d for d in (2, 3) if AllProducts.is_needed(x.shape[1], d)]
        degrees = degrees if "products" in chosen else []
        self.products = {(0, d): AllProducts(features, d, rng) for d in degrees}
        for d in degrees:
            for k in trial.long[: 1 if d == 3 else None]:
                exact = self.products[0, d]
                self.products[k, d] = AllProducts(features, d, rng, exact)
        is_learned = "witness" in chosen and size > 1
        f = features(x, e, extra)
        self.witness = Witness(features, f) if is_learned else None
        self.dependence = Dependence() if "dependence" in chosen and size else None
        self.mu = f.mean(axis=0)
        self.evidence = {"kind": "invariance", "labels": labels, "before": x}
        self.checks = {"positions": 1.0, "energies": 1.0}
        self.ties: list[Finding] = []

    def _look(self, k, b, before, f_before, after) -> None:
        x, e, extra = after
        for name, values in (("positions", x), ("energies", e[:, None])):
            share = float(np.isfinite(values).all(axis=1).mean())
            self.checks[name] = min(self.checks[name], share)
        if self.checks["positions"] < 1 or self.checks["energies"] < 1:
            self.is_alive = False
            return
        f = self.features(x, e, extra)
        self.sums[k].add(f_before, f)
        if k in self.histograms:
            self.histograms[k].add(self._for_ks(x, e), 1)
        for (look, _), products in self.products.items():
            if look == k:
                products.add(x, 1)
        if k == self.trial.long[0]:
            if self.dependence:
                self.dependence.add(f_before, f, self.mu)
            if self.witness:
                self.witness.add(f_before, f)
            if b == 0:
                self.evidence["after"] = x
                if "ties" in self.trial.statistics:
                    names = [self.features.labels[i] for i in self.columns]
                    pair = (x[:, self.columns], before[0][:, self.columns])
                    self.ties = atoms(*pair, names)

    def _exact(self, exact) -> None:
        f = self.features(*exact)
        for k in self.trial.long:
            self.sums[k].add_exact(f)
            if k in self.histograms:
                self.histograms[k].add(self._for_ks(*exact[:2]), 0)
        for (look, _), products in self.products.items():
            if look == 0:
                products.add(exact[0], 0)
        if self.witness:
            self.witness.add_exact(f)

    def _for_ks(self, x, e):
        return np.concatenate([x[:, self.columns], e[:, None]], axis=1)

    def rows(self):
        if not self.is_alive:
            return []
        return [
            row
            for k, sums in self.sums.items()
            for row in rows_of(sums, self.features, _after(k))
        ]

    def findings(self) -> list[Finding]:
        share = self.checks
        found = [
            _all("chains with finite positions", share["positions"]),
            _all("chains in the support, of finite energy", share["energies"]),
        ]
        if self.moved.any() and self.is_alive:
            is_stuck = ~self.moved & ~self.is_constant
            for i in np.flatnonzero(is_stuck):
                found.append(_all(f"{self.features.labels[i]} ever moved", 0.0))
        if not self.is_alive:
            return found
        found += self.ties
        labels = [self.features.labels[i] for i in self.columns] + ["the energy"]
        for k, histograms in self.histograms.items():
            found += histograms.findings([f"KS of {n}{_after(k)}" for n in labels])
        found += [p.finding(_after(k)) for (k, _), p in self.products.items() if k]
        for extra in (self.witness, self.dependence):
            if extra:
                found.append(extra.finding(_after(self.trial.long[0])))
        return found


def _all(name: str, share: float) -> Finding:
    return Finding(name, share, 1.0, 1.0 if share == 1 else 0.0, family="check")


def _after(k: int) -> str:
    return f", {k} step{'s' if k > 1 else ''}"
