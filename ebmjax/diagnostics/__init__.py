"""Diagnostics of chains: convergence and running statistics, expectations,
summaries."""

from ebmjax.diagnostics.convergence import (
    ess_bulk,
    ess_mean,
    ess_quantile,
    ess_tail,
    mcse_mean,
    mcse_quantile,
    mcse_sd,
    nested_rhat,
    rhat,
)

__all__ = [
    "ess_bulk",
    "ess_mean",
    "ess_quantile",
    "ess_tail",
    "mcse_mean",
    "mcse_quantile",
    "mcse_sd",
    "nested_rhat",
    "rhat",
]
