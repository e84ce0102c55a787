"""Tempering: paths between densities, log Z, and chains that cross between modes.

bases                 densities with a sampler, to start from; circles: those of
                      periodic coordinates
paths                 geometric paths, and user-defined ones; validation: checks of them
ais                   annealed importance sampling, forward and reverse; annealing: its
                      program
bennett               both combined: Bennett's acceptance ratio
schedule              levels of equal thermodynamic length, from a pilot
smc                   sequential Monte Carlo with adaptive temperatures; particles: its
                      levels; resampling
parallel_tempering    non-reversible replica exchange; swaps: its iteration;
                      ladder: its estimates
replica_exchange      the same as one kernel of all replicas
annealed_langevin     sampling over decreasing levels of noise
"""
