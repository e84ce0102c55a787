"""The runs of :mod:`benchmarks.likelihood`: data and options of ``train``.

``digits`` and ``mnist`` are the defaults: denoising score matching, then maximum
likelihood; so are the next two.  In the others it is maximum likelihood alone:

    mnist-long        the longer preset
    mnist-long-conv   and the network is convolutional
    digits-alone      and the factor of the quadratic term is fixed
    mnist-alone
    mnist-scale       that factor and the scale of the energy are trained (stored as
                      mnist-factor: the factor alone)
    mnist-chains      all chains run in every update, about ten steps for one
    mnist-trained     and the same two are trained
    mnist-256, -128   and the network is smaller
    ...-shift         and images are shifted by a pixel
    ...-noise         and more noise is added
    ...-rate          and the learning rate is three times as large
    mnist-conv        and the network is convolutional
"""

from typing import Any, NamedTuple

OPTIONS = {"named": "preset"}  # an argument of ``preset`` as an option of ``train``


class Case(NamedTuple):
    """A row of the table: a data set, options of ``train``, a number of seeds."""

    data: str
    options: dict[str, Any]
    num_seeds: int = 1

    @property
    def command(self) -> str:
        names = {n: OPTIONS.get(n, n.replace("_", "-")) for n in self.options}
        given = [f"--{names[n]} {_text(v)}" for n, v in self.options.items()]
        return " ".join(["train", f"--data {self.data}", *given])


ALONE: dict[str, Any] = {"denoising_updates": 0}
# all chains run in every update
MANY = {
    **ALONE,
    "num_chains": 1024,
    "buffer_size": 1024,
    "batch_size": 256,
    "num_updates": 5000,
}
TRAINED = {**MANY, "confinement": "trained"}
SMALL = {**TRAINED, "features": (256, 256)}
CASES = {
    "digits": Case("digits", {}, 20),
    "mnist": Case("mnist", {}, 5),
    "mnist-long": Case("mnist", {"named": "long"}, 5),
    "mnist-long-conv": Case("mnist", {"named": "long", "network": "conv"}),
    "digits-alone": Case("digits", ALONE, 20),
    "mnist-alone": Case("mnist", ALONE, 5),
    "mnist-scale": Case("mnist", {**ALONE, "confinement": "trained"}, 5),
    "mnist-scale-shift": Case("mnist", {**ALONE, "confinement": "trained", "shift": 1}),
    "mnist-chains": Case("mnist", MANY),
    "mnist-trained": Case("mnist", TRAINED),
    "mnist-256": Case("mnist", SMALL, 5),
    "mnist-128": Case("mnist", {**TRAINED, "features": (128, 128)}),
    "mnist-shift": Case("mnist", {**TRAINED, "shift": 1}),
    "mnist-256-shift": Case("mnist", {**SMALL, "shift": 1}),
    "mnist-256-noise": Case("mnist", {**SMALL, "noise": 0.4}),
    "mnist-256-rate": Case("mnist", {**SMALL, "learning_rate": 3e-3}),
    "mnist-conv": Case("mnist", {**TRAINED, "network": "conv", "num_updates": 2000}),
}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
