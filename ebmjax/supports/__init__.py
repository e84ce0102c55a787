"""Supports: the sets that leaves of a position lie in, for :func:`ebmjax.constrain`.

    real, or None           all real numbers
    positive                x > 0
    greater_than(low)       x > low;  less_than(high), interval(low, high)
    periodic(period)        coordinates on a circle
    simplex                 positive numbers with sum 1
    ordered                 increasing numbers;  positive_ordered
    unit_vector             vectors of norm 1
    cholesky_correlation    Cholesky factors of correlation matrices

Bijectors of distrax, NumPyro and TensorFlow Probability are supports, too
(:mod:`ebmjax.supports.bijectors`), and so is a subclass of
:class:`~ebmjax.supports.base.Support`.
"""

from ebmjax.supports.base import Support, real
from ebmjax.supports.matrices import cholesky_correlation
from ebmjax.supports.scalars import (
    greater_than,
    interval,
    less_than,
    periodic,
    positive,
)
from ebmjax.supports.vectors import ordered, positive_ordered, simplex, unit_vector

__all__ = [
    "Support",
    "cholesky_correlation",
    "greater_than",
    "interval",
    "less_than",
    "ordered",
    "periodic",
    "positive",
    "positive_ordered",
    "real",
    "simplex",
    "unit_vector",
]
