"""Runs of other libraries (:mod:`benchmarks.peers_torch`) in a separate interpreter."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import densities
from ebmjax.experiments import data
from ebmjax.experiments.experiment import Run

PEERS = {
    "torchebm": ("pcd", "sliced", "denoising"),
    "ebmkit": ("pcd", "sliced", "denoising", "nce"),
}
RESOLUTION, REACH = 600, 6.0  # of the quadrature, in standardised units
Row = dict[str, Any]


def peer(
    python: str, library: str, objective: str, like: Run, limit_s: float
) -> tuple[Row, np.ndarray | None]:
    """A run of another library; one that is not finite or exceeds its time limit counts
    as diverged."""
    found: Row = {
        "log-likelihood": None,
        "seconds": None,
        "rollbacks": 0,
        "gradients": None,
    }
    with tempfile.TemporaryDirectory() as folder:
        problem, answer = Path(folder) / "problem.npz", Path(folder) / "answer.npz"
        _write(problem, like)
        script = Path(__file__).with_name("peers_torch.py")
        command = [python, script, problem, answer, library, objective, *_options(like)]
        try:
            subprocess.run(
                command, check=True, timeout=limit_s, capture_output=True, text=True
            )
        except subprocess.CalledProcessError as error:
            raise RuntimeError(
                f"{library} {objective} failed:\n{error.stderr[-2000:]}"
            ) from None
        except subprocess.TimeoutExpired:
            return found, None
        with np.load(answer) as file:
            grid, held, shown = (
                file[k].astype(np.float64) for k in ("grid", "held", "shown")
            )
            found["seconds"] = float(file["seconds"])
    if not (np.isfinite(grid).all() and np.isfinite(held).all()):
        return found, None
    cell = 2 * np.log(2 * REACH / RESOLUTION)
    log_z = -grid.min() + np.log(np.exp(grid.min() - grid).sum()) + cell
    log_scale = np.log(like.standard.spread).sum()
    found["log-likelihood"] = float(-held.mean() - log_z - log_scale)
    return found, shown


def _write(path: Path, like: Run) -> None:
    """Training points, held-out points, and the points of quadrature and picture."""
    config = like.config
    held = like.standard.forward(data.load(config.data, seed=config.seed + 1).x)
    np.savez(
        path,
        x=np.asarray(like.z),
        held=held.astype(np.float32),
        grid=densities.grid(RESOLUTION, REACH).astype(np.float32),
        shown=densities.grid().astype(np.float32),
    )


def _options(like: Run) -> list[str]:
    config = like.config
    return [
        f"--seed={config.seed}",
        f"--num-updates={config.num_updates}",
        f"--batch-size={config.batch_size}",
        f"--chain-steps={config.chain_steps}",
        f"--learning-rate={config.learning_rate}",
        f"--noise={config.noise}",
        f"--noise-ratio={config.noise_ratio}",
    ]
