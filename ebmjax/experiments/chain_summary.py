"""R-hat and effective sample sizes of the chains of a run, in units of its data."""

import re

import numpy as np

from ebmjax.diagnostics.summary import Summary, summary
from ebmjax.experiments.chains import Chains
from ebmjax.experiments.experiment import Run

MOST_TABLED, NUM_TABLED = 50, 20  # coordinates in a table of effective sample sizes


def summary_of(run: Run, chains: Chains) -> tuple[Summary, str]:
    """Table of R-hat and effective sample sizes, and a note on its coordinates.

    Rows are the energy and the coordinates in units of the data; of more than 50
    coordinates, 20 at equal distances.
    """
    num_steps, num_chains = chains.energies.shape
    z = chains.positions.reshape(num_steps, num_chains, -1)
    center, spread = (
        np.broadcast_to(part, run.facts.shape).ravel()
        for part in (run.standard.center, run.standard.spread)
    )
    dim, index, what = z.shape[2], np.arange(z.shape[2]), ""
    if dim > MOST_TABLED:
        index = np.unique(np.linspace(0, dim - 1, NUM_TABLED).astype(int))
        what = f"the energy and {len(index)} of {dim} coordinates, spread evenly"
    found = summary({"energy": chains.energies, "x": z[..., index]})
    scale = np.concatenate([[1.0], spread[index]])
    shift = np.concatenate([[0.0], center[index]])
    columns = {
        name: x if name.startswith(("ess", "rhat")) else x * scale
        for name, x in found.columns.items()
    }
    for name in ("mean", "5%", "95%"):
        columns[name] = columns[name] + shift
    names = {f"x[{i}]": name for i, name in enumerate(_names(run, index))}
    renamed = lambda text: re.sub(r"x\[\d+\]", lambda m: names[m[0]], text)
    return (
        Summary(  # type: ignore[call-arg]
            [renamed(n) for n in found.names],
            columns,
            [renamed(w) for w in found.warnings],
        ),
        what,
    )


def _names(run, index) -> list[str]:
    columns, varying = run.dataset.columns, run.standard.varying
    if columns is not None and len(run.facts.shape) == 1:
        all_names = np.array(columns)[slice(None) if varying is None else varying]
        return [str(all_names[i]) for i in index]
    if varying is not None:
        return [f"x[{np.flatnonzero(varying)[i]}]" for i in index]
    where = (np.unravel_index(i, run.facts.shape) for i in index)
    return [f"x[{', '.join(map(str, w))}]" for w in where]
