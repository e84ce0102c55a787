"""Diagnoses of training, in words.

Training of energies diverges without an error.  The gap between data and chains grows,
chains leave the range of the data or freeze, the gradient of the energy grows until a
Langevin step overshoots, or the gradient of the loss explodes.  :func:`diagnose`
detects each of these in the metrics of a chunk of updates.
"""

import numpy as np

# largest difference of the mean energies of data and chains, in nats
GAP, GAP_PER_DIM = 100.0, 10.0


def diagnose(
    metrics: dict[str, np.ndarray],
    data_extent: float,
    dim: int,
    max_gap: float | None = None,
    max_grad: float = 1e8,
) -> str | None:
    """A description of the issue in a chunk of updates; ``None`` if no issue was found.

    Energies are in nats.  The energy of a normal density has a standard deviation of
    sqrt(D / 2), so the limits grow with the number of coordinates D.  They grow with
    the spread of the energies of the data up to a bound.
    """
    skipped = metrics["is_skipped"].mean()
    if skipped > 0.5:
        return (
            f"{skipped:.0%} of the updates had a gradient, loss or step that was not "
            "finite"
        )
    grad = _median(metrics.get("grad_norm"))
    if not grad < max_grad:
        return (
            f"the gradient of the loss has norm {grad:.3g} (limit {max_grad:g}); lower "
            "the learning rate"
        )
    max_gap = GAP + GAP_PER_DIM * dim if max_gap is None else max_gap
    return (
        _of_chains(metrics, data_extent, dim, max_gap)
        if "energy_model" in metrics
        else None
    )


def _of_chains(metrics, data_extent, dim, max_gap) -> str | None:
    with np.errstate(invalid="ignore"):  # inf - inf is possible
        gap = known_mean(metrics["energy_data"] - metrics["energy_model"])
    if not abs(gap) < max_gap:
        return (
            f"the energies of data and model are {gap:.3g} apart (limit {max_gap:g}); "
            "lower the learning rate or raise the regularisation"
        )
    spread = known_mean(metrics["energy_spread"])
    if -gap > 10 + 3 * min(spread, dim**0.5):
        return (
            f"the chains are {-gap:.3g} nats above the data, whose energies spread by "
            f"{spread:.3g}: they no longer follow the energy; lower the learning rate, "
            "add noise, or run more steps"
        )
    acceptance = known_mean(metrics["acceptance_rate"])
    if acceptance < 0.005:
        return (
            f"the chains froze, acceptance {acceptance:.4f} at step size "
            f"{metrics['step_size'][-1]:.3g}; lower it, or set an acceptance target"
        )
    extent = np.nanmax(metrics["chain_extent"], initial=0.0)
    if extent > 30 * max(data_extent, 1e-6):
        return (
            f"chains are at |x| = {extent:.3g} where the data reach {data_extent:.3g}; "
            "use a network with a confinement term"
        )
    drift = _median(metrics.get("drift"))
    if drift > 30 * max(data_extent, 1e-6):
        return (
            "the gradient of the energy exploded: a Langevin step drifts by "
            f"{drift:.3g} where the data reach {data_extent:.3g}; lower the learning "
            "rate or the step size"
        )
    return None


def known_mean(values) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _median(values) -> float:
    """The median of the values that are not NaN; zero if the metric is missing."""
    if values is None:
        return 0.0
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
