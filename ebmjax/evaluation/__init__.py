"""Evaluation of trained energies.

log_z           log Z between bounds, by annealed importance sampling
likelihood      log-likelihood of points, in nats and bits per dimension
two_sample      tests with p-values: MMD, kernel Stein discrepancy, a classifier
classification  calibration, out-of-distribution scores
classifier      image samples, measured by a classifier
quadrature      log Z in one or two dimensions
"""
