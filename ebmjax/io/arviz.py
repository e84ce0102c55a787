"""Draws for ArviZ, on disk and in pictures, by the names of its schema.

    posterior      a variable a leaf of the position, ``[chain, draw, ...]``
    sample_stats   lp = -E, acceptance_rate, diverging, energy_error, is_accepted; with momenta, energy (of
                   the pair x and p) and n_steps; step_size where given

``sample(..., collect=collect_stats)`` keeps what the second group needs. ArviZ is imported when it is needed;
from 0.x comes an ``InferenceData``, from 1.x an xarray ``DataTree``. Of the two files, netCDF is for ArviZ,
and ``.npz`` opens with NumPy alone: its arrays are named ``posterior/x``.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Position
from ebmjax.diagnostics.summary import is_divergent
from ebmjax.sampling.loop import Record
from ebmjax.sampling.sample import Samples

Groups = dict[str, dict[str, np.ndarray]]
MOST_SHOWN, MOST_CHAINS = 6, 8  # coordinates and chains in a picture


def groups(samples: Samples | Record | Position, *, step_size: Any = None) -> Groups:
    """The two groups as arrays ``[C, T, ...]``.

    Args:
      samples: what ``sample`` returned, or its draws ``[T, C, ...]``.
      step_size: of all steps, a number, to be written beside them.

    Raises:
      TypeError: what was collected are not draws; ValueError: a step size that is not one number.
    """
    draws = samples.draws if isinstance(samples, Samples) else samples
    record = draws if isinstance(draws, Record) else None
    draws = checks.position(draws if record is None else record.position, "draws")
    leaves = jax.tree_util.tree_leaves_with_path(draws)
    found: Groups = {
        "posterior": {_name(path): _by_chain(leaf) for path, leaf in leaves}
    }
    shape = next(iter(found["posterior"].values())).shape[:2]
    stats = {} if record is None else _stats(record)
    if step_size is not None:
        if np.ndim(step_size):
            raise ValueError(
                f"step_size must be one number, got shape {np.shape(step_size)}"
            )
        stats["step_size"] = np.full(shape, float(step_size))
    return {**found, "sample_stats": stats} if stats else found


def to_arviz(samples: Samples | Record | Position, *, step_size: Any = None) -> Any:
    """``InferenceData`` (ArviZ 0.x) or ``DataTree`` (1.x); arguments as :func:`groups`.  Needs ArviZ.

    >>> data = to_arviz(sample(key, kernel, start, 1000, collect=collect_stats))  # doctest: +SKIP
    """
    return _to_arviz(groups(samples, step_size=step_size))


def save(
    samples: Samples | Record | Position, path: str | Path, *, step_size: Any = None
) -> None:
    """Write a new file, ``.nc`` (needs ArviZ) or ``.npz``; raises where there is one, or another suffix."""
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; nothing is overwritten")
    found = groups(samples, step_size=step_size)
    if _suffix(path) == ".nc":
        _to_arviz(found).to_netcdf(str(path))
    else:
        arrays: dict[str, Any] = {
            f"{group}/{name}": x
            for group, members in found.items()
            for name, x in members.items()
        }
        np.savez(path, **arrays)


def load(path: str | Path) -> Any:
    """What :func:`save` wrote, either file, as :func:`to_arviz` gives it."""
    path = Path(path)
    if _suffix(path) == ".nc":
        return _arviz().from_netcdf(str(path))
    found: Groups = {}
    with np.load(path) as file:
        for name in file.files:
            group, _, member = name.partition("/")
            found.setdefault(group, {})[member] = file[name]
    return _to_arviz(found)


def pictures(samples: Samples | Record | Position, folder: str | Path) -> list[Path]:
    """ArviZ's traces, ranks and autocorrelations, and its picture of the energy where there is one, as
    ``.png`` in the folder: of the first six coordinates, and of eight chains at most."""
    import matplotlib.pyplot

    az, found, folder = _arviz(), groups(samples), Path(folder)
    num_chains = len(next(iter(found["posterior"].values())))
    rows = np.unique(
        np.linspace(0, num_chains - 1, min(MOST_CHAINS, num_chains)).astype(int)
    )
    found["posterior"] = _coordinates(found["posterior"])
    data = _to_arviz(
        {g: {n: x[rows] for n, x in members.items()} for g, members in found.items()}
    )
    names = ["trace", "rank", "autocorr"] + ["energy"] * (
        "energy" in found.get("sample_stats", {})
    )
    options = {"autocorr": {"combined": True}} if _is_old(az) else {}
    paths = []
    for name in names:
        paths.append(folder / f"{name}.png")
        drawn = getattr(az, f"plot_{name}")(data, **options.get(name, {}))
        if hasattr(drawn, "savefig"):  # 1.x
            drawn.savefig(paths[-1])
        else:
            figure = np.ravel(drawn)[0].figure
            figure.set_layout_engine("tight")
            figure.savefig(paths[-1], dpi=120)
        matplotlib.pyplot.close("all")
    return paths


def _stats(record) -> dict[str, np.ndarray]:
    info = record.info
    stats = {
        "lp": -record.energy,
        "acceptance_rate": info.acceptance_rate,
        "diverging": is_divergent(info),
        "energy_error": info.energy_error,
        "is_accepted": info.is_accepted,
    }
    for name, value in (("energy", info.hamiltonian), ("n_steps", info.num_grads)):
        if np.any(value):
            stats[name] = value
    return {name: _by_chain(value) for name, value in stats.items()}


def _coordinates(posterior):
    """The first coordinates, a variable each."""
    found = {}
    for name, x in posterior.items():
        for i in np.ndindex(*x.shape[2:]):
            if len(found) < MOST_SHOWN:
                found[name + (str(list(i)) if i else "")] = x[
                    (slice(None), slice(None), *i)
                ]
    return found


def _by_chain(x):
    if np.ndim(x) < 2:
        raise TypeError(f"draws must be [T, C, ...], got {checks.describe(x)}")
    return np.swapaxes(np.asarray(x), 0, 1)


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".") or "x"


def _suffix(path) -> str:
    if path.suffix not in (".nc", ".npz"):
        raise ValueError(f"path must end in .nc or .npz, got {path}")
    return path.suffix


def _to_arviz(found) -> Any:
    az = _arviz()
    data = az.from_dict(**found) if _is_old(az) else az.from_dict(found)
    for group in found:
        data[group].attrs.update(inference_library="ebmjax")
    return data


def _is_old(az) -> bool:
    return int(az.__version__.split(".")[0]) < 1


def _arviz():
    try:
        import arviz
    except ImportError as error:
        raise ImportError("this needs ArviZ: pip install 'ebmjax[export]'") from error
    return arviz
