"""The columns of a summary for coordinates on a circle, in NumPy, on the host.

Of theta = 2 pi x / P over all draws (Mardia & Jupp 2000, "Directional Statistics",
sections 2.2 to 2.3), s = sin(theta - m), c = cos(theta - m):

    mean       m = arg mean exp(i theta), in the range of the support
    sd         sqrt(-2 log R),  R = mean c = |mean exp(i theta)|
    mcse_mean  mcse(mean s) / R;   mcse_sd   mcse(mean c) / (R sd)       (delta method)
    5%, 95%    of theta - m in [-pi, pi), about m; they may lie beyond the range
    ess_bulk   the smaller of those of s and c;   rhat   the larger
    ess_tail   of the quantiles above

All in units of x.  s and c are continuous on the circle, so that a chain that crosses
an end of the range does not jump.
"""

import numpy as np

from ebmjax.diagnostics import _host


def table(
    x: np.ndarray, period: np.ndarray, low: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], tuple[_host.Spread, _host.Spread]]:
    """Draws ``[T, C, D]`` about their means, columns, and spreads of s and c."""
    unit = period / (2 * np.pi)
    theta = x.astype(np.float64) / unit
    centre = np.angle(np.exp(1j * theta).mean(axis=(0, 1)))
    distance = np.angle(np.exp(1j * (theta - centre)))
    sine, cosine = np.sin(distance), np.cos(distance)
    columns = _host.table(distance * unit)[0]
    of_sine, of_cosine = _host.table(sine), _host.table(cosine)
    length = np.clip(cosine.mean(axis=(0, 1)), 1e-12, 1 - 1e-12)
    sd = np.sqrt(-2 * np.log(length))
    mean = low + np.mod(centre * unit - low, period)
    parts = of_sine[0], of_cosine[0]
    columns |= {
        "mean": mean,
        "sd": unit * sd,
        "mcse_mean": unit * parts[0]["mcse_mean"] / length,
        "mcse_sd": unit * parts[1]["mcse_mean"] / (length * sd),
        "5%": mean + columns["5%"],
        "95%": mean + columns["95%"],
        "ess_bulk": np.fmin(*(p["ess_bulk"] for p in parts)),
        "rhat": np.fmax(*(p["rhat"] for p in parts)),
    }
    return mean + distance * unit, columns, (of_sine[1][0], of_cosine[1][0])


def merge(
    x: np.ndarray, period: np.ndarray, low: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], tuple[_host.Spread, _host.Spread]]:
    """The table of coordinates; those of a positive period are on circles."""
    columns, spreads = _host.table(x)
    on = np.flatnonzero(period > 0)
    if not len(on):
        return x, columns, spreads
    about, of_circles, theirs = table(x[:, :, on], period[on], low[on])
    x = x.astype(np.float64)
    x[:, :, on] = about
    for name, values in of_circles.items():
        columns[name][on] = values
    for spread, new in zip(spreads, theirs, strict=True):
        for array, values in zip(spread, new, strict=True):
            array[..., on] = values
    return x, columns, spreads
