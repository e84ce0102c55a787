"""Tempering: paths between densities, log Z, and chains that cross between modes.

    paths                 geometric paths, the user's own, bases
    ais                   annealed importance sampling, forward and reverse
    bennett               both together: Bennett's acceptance ratio
    schedule              levels of equal thermodynamic length, from a pilot
    smc                   sequential Monte Carlo with adaptive temperatures
    parallel_tempering    replicas that swap, non-reversibly
    annealed_langevin     down a ladder of noise
"""
