"""Evaluation of trained energies.

log_z           log Z between bounds, by annealed importance sampling
likelihood      log-likelihood of points, in nats and bits per dimension
two_sample      tests with p-values: MMD, kernel Stein discrepancy, a classifier
classification  calibration, out-of-distribution scores
classifier      image samples, measured by a classifier
quadrature      log Z in one or two dimensions

``bracket_log_z`` and ``log_likelihood`` are here, too.
"""

import importlib

_MODULE_OF = {"bracket_log_z": "log_z", "log_likelihood": "likelihood"}


def __getattr__(name):
    if name in _MODULE_OF:
        module = importlib.import_module(f"ebmjax.evaluation.{_MODULE_OF[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
