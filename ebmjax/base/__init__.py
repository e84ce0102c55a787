"""Energies, states, and kernels as random maps.

An **energy** is a function ``energy(x) -> scalar`` of one point ``x``, any pytree of
floating arrays; the density is ``exp(-energy(x)) / Z`` (notes, eq. 1).  A Markov
**kernel** is a random map (Diaconis & Freedman 1999, "Iterated random functions"): the
noise of a step is drawn without knowing the state, and the step is a deterministic
function of both,

    noise ~ draw(key, shapes),        state' = move(noise, state).

``draw`` gets the shapes of a position and never its values, so that noise can be drawn
for many steps at once, chains can be coupled, and reversibility can be checked without
statistics.  A kernel that needs a variable amount of noise draws a key.

Kernels are values (:mod:`ebmjax._value`): frozen, printable pytrees whose leaves are
numbers.  Their properties are attributes: whether a kernel rejects non-finite points
itself, needs a gradient, is reversible, and at which acceptance rate it works best.

A :class:`State` caches the value and gradient of one energy at a position.  When
parameters change, the position is kept and ``kernel.init`` is called again.

Axes in the whole library: ``T`` steps, ``C`` chains, ``B`` data batch, ``D`` dimension.
"""

from ebmjax._tree import (
    axpy,
    cast_like,
    differs,
    half_square,
    normal_like,
    select,
    shapes_of,
)
from ebmjax.base.energy import evaluate, full_precision, moved, scalar
from ebmjax.base.kernel import CHAINS, READS_VALUES, Kernel, any_chain, draw_noise
from ebmjax.base.states import (
    Array,
    Energy,
    Info,
    Key,
    Noise,
    Position,
    State,
    add,
    merge,
)
from ebmjax.base.step_size import Dense, preconditioned, scale

__all__ = [
    "CHAINS",
    "READS_VALUES",
    "Array",
    "Dense",
    "Energy",
    "Info",
    "Kernel",
    "Key",
    "Noise",
    "Position",
    "State",
    "add",
    "any_chain",
    "axpy",
    "cast_like",
    "differs",
    "draw_noise",
    "evaluate",
    "full_precision",
    "half_square",
    "merge",
    "moved",
    "normal_like",
    "preconditioned",
    "scalar",
    "scale",
    "select",
    "shapes_of",
]
