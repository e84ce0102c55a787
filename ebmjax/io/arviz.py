"""Draws for ArviZ, on disk and in pictures, by the names of its schema.

    posterior      a variable for each leaf of the position, ``[chain, draw, ...]``
    sample_stats   lp = -E, acceptance_rate, diverging, energy_error, is_accepted; with
                   momenta, energy (of the pair x and p) and n_steps; step_size where
                   given

``sample(..., collect=collect_stats)`` collects the second group.  A leaf whose name is
taken (``draw``, ``chain``, a dimension, that of another leaf) is renamed with a
warning. bfloat16 becomes float32.  ArviZ is imported when it is needed; version 0.x
returns an ``InferenceData``, 1.x an xarray ``DataTree``.  netCDF files are for ArviZ;
``.npz`` files need only NumPy, and their arrays are named ``posterior/x``.
"""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ebmjax import _validation as checks
from ebmjax.base import Position
from ebmjax.diagnostics.summary import is_divergent
from ebmjax.io import archive, files
from ebmjax.sampling.collect import Record
from ebmjax.sampling.samples import Samples

Groups = dict[str, dict[str, np.ndarray]]
MOST_SHOWN, MOST_CHAINS = 6, 8  # coordinates and chains in a picture
HEADROOM = 2**20  # bytes of a netCDF file beside its arrays
RESERVED = {"chain", "draw", "sample"}  # dimensions of ArviZ


def groups(samples: Samples | Record | Position, *, step_size: Any = None) -> Groups:
    """The two groups as arrays ``[C, T, ...]``.

    Args:
      samples: the result of ``sample``, or its draws ``[T, C, ...]``.
      step_size: of all steps, one number, stored in the second group.

    Raises:
      TypeError: the collected values are not draws.
      ValueError: a step size that is not one number.

    Warns:
      if a leaf is renamed.
    """
    draws = samples.draws if isinstance(samples, Samples) else samples
    record = draws if isinstance(draws, Record) else None
    draws = checks.position(draws if record is None else record.position, "draws")
    found: Groups = {"posterior": _posterior(draws)}
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
    """``InferenceData`` (ArviZ 0.x) or ``DataTree`` (1.x); arguments as :func:`groups`.

    >>> data = to_arviz(  # doctest: +SKIP
    ...     sample(key, kernel, start, 1000, collect=collect_stats)
    ... )
    """
    return _to_arviz(groups(samples, step_size=step_size))


def save(
    samples: Samples | Record | Position, path: str | Path, *, step_size: Any = None
) -> None:
    """Write a new file, ``.nc`` (needs ArviZ) or ``.npz``, via a temporary file.

    Raises:
      FileExistsError: the file exists.
      ValueError: another suffix.
      ebmjax.io.files.WriteError: a full disk or a read-only folder; no partial file is
        left, and the samples are unchanged.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; nothing is overwritten")
    suffix, found = _suffix(path), groups(samples, step_size=step_size)
    if suffix == ".nc":
        data = _to_arviz(found)
        size = sum(x.nbytes for members in found.values() for x in members.values())
        with files.replacing(path) as aside:
            files.reserve(aside, size + size // 8 + HEADROOM)
            try:
                data.to_netcdf(str(aside))
            except RuntimeError as error:  # of HDF5, where the disk is full
                raise files.WriteError(path, error) from error
        return
    arrays = {f"{g}/{n}": x for g, members in found.items() for n, x in members.items()}
    with files.replacing(path) as aside, open(aside, "x+b") as file:
        archive.write(file, arrays)


def load(path: str | Path) -> Any:
    """Read a file of :func:`save`, as the type that :func:`to_arviz` returns.

    Raises:
      FileNotFoundError, OSError: the file does not exist or is not a regular file.
      ValueError: it is damaged, or not written by :func:`save`.
    """
    path = Path(path)
    suffix = _suffix(path)
    with files.open_regular(path) as file:
        if suffix == ".nc":
            return _arviz().from_netcdf(str(path))
        try:
            arrays = archive.read(file)
        except archive.DAMAGES as error:
            raise ValueError(f"{path} is damaged, or not of save: {error}") from error
    found: Groups = {}
    for name, array in arrays.items():
        group, _, member = name.partition("/")
        found.setdefault(group, {})[member] = array
    return _to_arviz(found)


def pictures(samples: Samples | Record | Position, folder: str | Path) -> list[Path]:
    """ArviZ's plots of traces, ranks, autocorrelations and, if present, the energy.

    They are ``.png`` files in the folder, of the first six coordinates and at most
    eight chains.

    Raises:
      ebmjax.io.files.WriteError: a full disk; the listed pictures are complete.
    """
    import matplotlib.pyplot

    az, found, folder = _arviz(), groups(samples), Path(folder)
    num_chains = len(next(iter(found["posterior"].values())))
    number = min(MOST_CHAINS, num_chains)
    rows = np.unique(np.linspace(0, num_chains - 1, number).astype(int))
    found["posterior"] = _coordinates(found["posterior"])
    data = _to_arviz(
        {g: {n: x[rows] for n, x in members.items()} for g, members in found.items()}
    )
    names = ["trace", "rank", "autocorr"]
    names += ["energy"] * ("energy" in found.get("sample_stats", {}))
    options = {"autocorr": {"combined": True}} if _is_old(az) else {}
    paths = []
    for name in names:
        path = folder / f"{name}.png"
        try:
            drawn = getattr(az, f"plot_{name}")(data, **options.get(name, {}))
            with files.replacing(path) as aside:
                _draw(drawn, aside)
        finally:
            matplotlib.pyplot.close("all")
        paths.append(path)
    return paths


def _draw(drawn, path) -> None:
    if hasattr(drawn, "savefig"):  # 1.x
        drawn.savefig(path)
        return
    figure = np.ravel(drawn)[0].figure
    figure.set_layout_engine("tight")
    figure.savefig(path, dpi=120)


def _posterior(draws) -> dict[str, np.ndarray]:
    """The leaves under distinct names that are not dimensions."""
    leaves = jax.tree_util.tree_leaves_with_path(draws)
    wanted = [
        jax.tree_util.keystr(path, simple=True, separator=".") or "x"
        for path, _ in leaves
    ]
    dimensions = {
        f"{name}_dim_{i}"
        for name, (_, leaf) in zip(wanted, leaves, strict=True)
        for i in range(np.ndim(leaf) - 2)
    }
    taken, found, changed = RESERVED | dimensions, {}, []
    for name, (_, leaf) in zip(wanted, leaves, strict=True):
        plain = re.sub(r"[/\x00-\x1f]", ".", name)  # netCDF has paths
        new, number = plain, 2
        while new in taken or new in found:
            new, number = f"{plain}_{number}", number + 1
        if new != name:
            changed.append(f"{name!r} as {new!r}")
        found[new] = _by_chain(leaf)
    if changed:
        checks.warn(
            f"names that are taken or cannot be stored: {', '.join(changed)}",
            UserWarning,
        )
    return found


def _stats(record) -> dict[str, np.ndarray]:
    info = record.info
    stats = {
        "lp": -record.energy,
        "acceptance_rate": info.acceptance_rate,
        "diverging": np.asarray(is_divergent(info)) & np.any(info.hamiltonian),
        "energy_error": info.energy_error,
        "is_accepted": info.is_accepted,
    }
    for name, value in (("energy", info.hamiltonian), ("n_steps", info.num_grads)):
        if np.any(value):
            stats[name] = value
    return {name: _by_chain(value) for name, value in stats.items()}


def _coordinates(posterior) -> dict[str, np.ndarray]:
    """The first coordinates, one variable each."""
    found = {}  # type: ignore[var-annotated]
    for name, x in posterior.items():
        for i in np.ndindex(*x.shape[2:]):
            if len(found) == MOST_SHOWN:
                return found
            found[name + (str(list(i)) if i else "")] = x[:, :, *i]
    return found


def _by_chain(x) -> np.ndarray:
    if np.ndim(x) < 2:
        raise TypeError(f"draws must be [T, C, ...], got {checks.describe(x)}")
    array = np.asarray(x)
    if array.dtype.kind == "V":  # bfloat16 and similar types
        array = array.astype(np.float32)
    return np.swapaxes(array, 0, 1)


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


def _arviz() -> Any:
    try:
        import arviz
    except ImportError as error:
        raise ImportError("this needs ArviZ: pip install 'ebmjax[export]'") from error
    return arviz
