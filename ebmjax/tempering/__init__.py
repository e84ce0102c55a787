"""Tempering: paths between densities, log Z, and chains that cross between modes.

bases                 densities with a sampler, to start from
paths                 geometric paths, and the user's own
ais                   annealed importance sampling, forward and reverse
bennett               both together: Bennett's acceptance ratio
schedule              levels of equal thermodynamic length, from a pilot
smc                   sequential Monte Carlo with adaptive temperatures
parallel_tempering    replicas that swap, non-reversibly; replicas: its iteration
replica_exchange      the same as one kernel of all replicas
annealed_langevin     down a ladder of noise
"""
