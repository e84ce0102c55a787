"""Objectives: values with one signature, one paper per file.

    loss(params, key, batch, chains) -> (loss, (chains, metrics))

    base                the definition of an objective
    likelihood          maximum likelihood with Markov chains      notes, section 2
    improved            with a gradient through the chains         Du et al. 2021
    score_matching      explicit, sliced, denoising, multi-scale   [SK21] section 3
    noise_contrastive   binary, ranking, conditional               [SK21] section 4
    flow_contrastive    noise from a trained normalising flow      Gao et al. 2020
    energy_discrepancy  a point against its noisy neighbours       Schroeder et al. 2023
    stein               kernel Stein discrepancy                   Liu et al. 2016
    learned_stein       the same with a trained critic             Grathwohl et al. 2020
    adversarial         a trained sampler, its entropy             [SK21] section 5.3
    recovery            of points given noisier copies             Gao et al. 2021
    joint               points and labels: a classifier's energy   Grathwohl et al. 2020
    conditional         points given their conditions
    binary_data         pseudo-likelihood, ratio matching          Hyvarinen 2007

    batches             points with labels or conditions; conditional_chains: chains
                        for them
    global_moves        of chains between modes

[SK21] Song & Kingma 2021, "How to train your energy-based models", arXiv:2101.03288.
Objectives without chains return them unchanged.
"""

from ebmjax.objectives._chains import mark_broken
from ebmjax.objectives.base import (
    Chains,
    Loss,
    Metrics,
    Objective,
    Params,
    Players,
    TrainableEnergy,
    scale_updates,
)
from ebmjax.objectives.global_moves import independent_moves
from ebmjax.objectives.likelihood import maximum_likelihood

__all__ = [
    "Chains",
    "Loss",
    "Metrics",
    "Objective",
    "Params",
    "Players",
    "TrainableEnergy",
    "independent_moves",
    "mark_broken",
    "maximum_likelihood",
    "scale_updates",
]
