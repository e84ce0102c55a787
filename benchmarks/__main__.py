"""``python -m benchmarks COMMAND``: a table, a file of all repetitions, pictures."""

import jax
import typer

from benchmarks.commands import sampling, speed, training

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured, too
for command in (
    speed.throughput,
    speed.checkout,
    speed.floor,
    speed.memory,
    training.training,
    speed.scaling,
    speed.roofline,
    training.objectives,
    training.learning_curves,
    sampling.efficiency,
    speed.cold,
    speed.accelerator,
    speed.precision,
    sampling.log_z,
    sampling.modes,
    training.likelihood,
    sampling.lattice,
    training.binary_digits,
    training.class_visits,
):
    app.command(command.__name__)(command)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
