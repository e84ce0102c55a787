"""Classes that a chain of a trained run visits, with tempering and without.

Chains start in the buffer of training and take steps of its kernel, if that is exact.
Ladders of parallel tempering, from a Gaussian fitted to those chains to the energy,
take as many iterations of a swap and a step of each replica, after as many of
adaptation.  Every ``EVERY``-th position of a chain, or of a ladder at beta = 1, is
denoised and classified by the classifier of the report; one of which it is less than
90 % sure counts for no class.  Of a chain:

    classes    number of different classes
    changes    number of times that the class differs from the last one

Both chains and ladders move by one step of each kernel an iteration; a ladder of K
replicas takes K times the gradients.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ebmjax.cli import measurement
from ebmjax.evaluation.classifier import train_classifier
from ebmjax.experiments import report, runs
from ebmjax.experiments.chains import step_size_for
from ebmjax.experiments.experiment import Run
from ebmjax.kernels.registry import KERNELS
from ebmjax.tempering.parallel_tempering import parallel_tempering
from ebmjax.tempering.paths import geometric

EVERY, SURE = 10, 0.9
Row = dict[str, Any]


def rows(
    folder: Path, *, num_steps: int, num_chains: int, num_replicas: int
) -> Iterator[tuple[int, int, Row]]:
    """Without tempering, and with."""
    run, state = runs.load(folder)
    if run.kept.labels is None or not run.facts.is_image:
        raise SystemExit(f"{folder} must be a run of images with labels")
    keys = jax.random.split(jax.random.key(run.config.seed), 4)
    energy, name = run.trained(state), measurement.exact_kernel_of(run)
    size = step_size_for(keys[0], run, state, name)
    kernel = report.kernel_of(run, energy, size, name)
    chains = report.run_chains(
        keys[1],
        run,
        state,
        kernel,
        num_chains=num_chains,
        num_steps=num_steps,
        thin=EVERY,
    )
    predict = train_classifier(keys[2], run.kept.x, run.kept.labels)
    classes = lambda positions: _classes(run, energy, predict, positions)
    about = {"sampler": name, "steps": num_steps, "gradients": num_steps}
    yield 1, 2, about | _row(classes(chains.positions))
    late = chains.positions[len(chains.positions) // 2 :]
    base = measurement.base_of(run, jnp.asarray(late.reshape(-1, *late.shape[2:])))
    found = parallel_tempering(
        keys[3],
        geometric(base, energy),
        KERNELS[name].training_kernel,
        num_steps,
        size,
        num_ladders=num_chains,
        num_replicas=num_replicas,
        num_adapt=num_steps,
    )
    about |= {"sampler": f"{name}, {num_replicas} replicas"}
    about |= {"gradients": found.num_grads / num_chains}
    about |= {"barrier": found.communication_barrier}
    about |= {"round trips": found.num_round_trips / num_chains}
    yield 2, 2, about | _row(classes(np.asarray(found.draws)[EVERY - 1 :: EVERY]))


def _classes(run: Run, energy: Any, predict: Callable, positions: Any) -> np.ndarray:
    """The class of each position ``[T, C, ...]``, and -1 where it is not clear."""
    shown = report.clean(run, energy)
    probabilities = np.stack([np.asarray(predict(shown(x))) for x in positions])
    is_sure = probabilities.max(axis=-1) > SURE
    return np.where(is_sure, probabilities.argmax(axis=-1), -1)


def _row(classes: np.ndarray) -> Row:
    """Means over chains of ``classes [T, C]``."""
    of_chains = [c[c >= 0] for c in classes.T]
    numbers = np.array([len(np.unique(c)) for c in of_chains])
    changes = np.array([np.count_nonzero(np.diff(c)) for c in of_chains])
    return {
        "chains": len(numbers),
        "classes": float(numbers.mean()),
        "changes": float(changes.mean()),
        "share of chains that change": float((changes > 0).mean()),
        "share of clear images": float((classes >= 0).mean()),
    }
