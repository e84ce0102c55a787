"""Further statistics: all products, a learned function, dependence of chains.

all products   s_i s_j of every pair, and s_i s_j s_k of every triple, as matrix
               products; the largest z, with a correction for their number
witness        the linear combination of all columns in which chains and exact draws
               differ most, w = C^-1 (mean f(x_k) - mean f), learned on one half of the
               chains and tested on the other (Fisher's discriminant; Lopez-Paz & Oquab
               2017, "Revisiting classifier two-sample tests")
dependence     u_c u_{c+1} of neighbouring chains, u = f(x_k) - b f(x_0) - (1 - b) mu
"""

import numpy as np

from ebmjax.verify.families import FEW
from ebmjax.verify.features import Features
from ebmjax.verify.report import Finding
from ebmjax.verify.statistics import Sums, moments, p_of, z_values

WEAK = 0.05  # a correlation between chains explained by a bias of their mean
MAX_PAIRS, MAX_TRIPLES = 300, 40  # coordinates up to which all are formed


class AllProducts:
    """Sums of products of all pairs, or triples, after the kernel and of exact draws.

    ``exact`` is another instance, for the exact draws.
    """

    def __init__(
        self,
        features: Features,
        degree: int,
        rng: np.random.Generator,
        exact: "AllProducts | None" = None,
    ):
        self.features, self.degree, self.exact = features, degree, exact or self
        dim = len(features.labels)
        most = MAX_PAIRS if degree == 2 else MAX_TRIPLES
        chosen = np.arange(dim) if dim <= most else rng.choice(dim, most, replace=False)
        self.chosen = np.sort(chosen)
        size = len(self.chosen)
        i, j = np.triu_indices(size, 1)
        self.left = np.arange(size)[:, None] if degree == 2 else np.stack([i, j], 1)
        is_new = self.left[:, -1:] < np.arange(size)
        self.where = np.nonzero(is_new)
        self.num = [0, 0]
        self.sums = np.zeros((2, 2, len(self.where[0])))

    @staticmethod
    def is_needed(dim: int, degree: int) -> bool:
        return dim > FEW if degree == 2 else 5 < dim

    def add(self, x: np.ndarray, which: int) -> None:
        """``which`` is 0 for exact draws, 1 after the kernel."""
        s = self.features.scaling(x)[:, self.chosen].astype(np.float32)
        s = np.clip(s, -2.5, 2.5) if self.degree == 3 else s
        left = s[:, self.left].prod(axis=2)
        self.num[which] += len(s)
        self.sums[which, 0] += (left.T @ s)[self.where]
        self.sums[which, 1] += ((left**2).T @ s**2)[self.where]

    def finding(self, suffix: str) -> Finding:
        mu, var = moments(self.exact.sums[0], self.exact.num[0])
        mean, var_k = moments(self.sums[1], self.num[1])
        num, num_exact = self.num[1], self.exact.num[0]
        error, least = np.sqrt(var_k / num + var / num_exact), min(num, num_exact)
        width = 10 if self.degree == 2 else 6
        z = z_values(mean - mu, error, width**self.degree / (2 * least))
        top = int(np.argmax(z))
        a, b = self.where[0][top], self.where[1][top]
        labels = [self.features.labels[self.chosen[c]] for c in (*self.left[a], b)]
        name = f"largest of {len(z)} means of {self.degree} coordinates"
        return Finding(
            f"{name} ({' '.join(labels)}){suffix}",
            float(mean[top]),
            float(mu[top]),
            float(min(1.0, p_of(z[top]) * len(z))),  # type: ignore[arg-type]
            family="products",
        )


class Witness:
    """Learned on the batches before :meth:`learn`, tested on the batches after it."""

    def __init__(self, features: Features, exact: np.ndarray):
        self.exact, self.weights, self.after = exact, None, np.zeros(exact.shape[1])
        self.num, self.sums = 0, Sums(1)
        scale = exact.std(axis=0)
        self.scale = np.where(scale > 1e-3, scale, np.inf)  # without rare events

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        if self.weights is None:
            self.num += len(after)
            self.after += after.sum(axis=0, dtype=np.float64)
        else:
            self.sums.add(before @ self.weights, after @ self.weights)

    def add_exact(self, exact: np.ndarray) -> None:
        if self.weights is not None:
            self.sums.add_exact(exact @ self.weights)

    def learn(self) -> None:
        values = self.exact / self.scale
        covariance = np.cov(values.T) + 1e-3 * np.eye(len(self.scale))
        gap = self.after / self.num / self.scale - values.mean(axis=0)
        weights = np.linalg.solve(covariance, gap) / self.scale  # 0 for those
        spread = max(float((self.exact @ weights).std()), 1e-30)
        self.weights = (weights / spread)[:, None]  # type: ignore[assignment]
        self.range = float(np.ptp(self.exact @ self.weights))

    def finding(self, suffix: str) -> Finding:
        t, error, _, mu, _ = (float(v[0]) for v in self.sums.shift())
        p = float(p_of(z_values(t, error, self.range / (2 * self.sums.num))))
        name = f"learned combination of all statistics{suffix}"
        return Finding(name, mu + t, mu, p, family="witness")


class Dependence:
    """Products of the residuals of neighbouring chains."""

    def __init__(self) -> None:
        self.num, self.sums = 0, np.zeros(2)

    def add(self, before: np.ndarray, after: np.ndarray, mu: np.ndarray) -> None:
        covariance = ((before - mu) * (after - mu)).mean(axis=0)
        b = np.clip(covariance / np.maximum(before.var(axis=0), 1e-30), -1, 1)
        u = after - b * before - (1 - b) * mu
        # conserved functions have no residual, and the error of mu is common to all
        # chains
        floor = (1e-2 + 30 * np.abs(1 - b) / np.sqrt(len(u))) * before.std(axis=0)
        floor = floor + 1e-12
        u = u / np.maximum(np.sqrt((u**2).mean(axis=0)), floor)
        for lag in (1, len(u) // 2):
            product = (u[lag:] * u[:-lag]).mean(axis=1)
            self.num += len(product)
            self.sums += product.sum(), (product**2).sum()

    def finding(self, suffix: str) -> Finding:
        mean, var = moments(self.sums, self.num)
        error = max(np.sqrt(var / self.num), 1e-12)
        p = float(p_of(z_values(mean, error, 5 / self.num)))
        p = p if abs(mean) > WEAK else 1.0
        name = f"correlation between chains{suffix}"
        return Finding(name, float(mean), 0.0, p, family="dependence")
