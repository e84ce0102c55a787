"""What is stored of a run: a value of every kept step, or a running statistic."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ebmjax._value import Value, function, number, value
from ebmjax.base import Array, Info, Position, State

Collect = Callable[[State, Info], Any]


def position_of(state: State, info: Info) -> Position:
    """The position: what is stored by default."""
    return state.position


class Record(NamedTuple):
    """A step and what is known of it; see :func:`collect_stats`."""

    position: Position
    energy: Array
    info: Info


def collect_stats(state: State, info: Info) -> Record:
    """Store position, energy and info: what diagnostics of the sampler and
    ``ebmjax.io.arviz`` can use."""
    return Record(state.position, state.energy, info)


def discard(state: State, info: Info) -> None:
    """Store nothing, where only the last state is wanted."""


@value
class Reducer(Value):
    """A running statistic to give as ``collect``: what is stored does not grow with the
    number of steps.

    ``init(state, info)`` is called before any step, for states and infos of these
    shapes; ``update(reduced, state, info)`` after each.  See
    :mod:`ebmjax.diagnostics.streaming`.
    """

    init: Callable[[State, Info], Any] = function()
    update: Callable[[Any, State, Info], Any] = function()

    def continued(self, reduced: Any) -> "Reducer":
        """The same statistic, going on from what an earlier run returned."""
        return Reducer(_Constant(reduced), self.update)


@value
class _Constant(Value):
    """A function that returns one and the same."""

    result: Any = number()

    def __post_init__(self):  # kept as it is, whole numbers too
        object.__setattr__(self, "_static_names", frozenset())

    def __call__(self, *arguments: Any) -> Any:
        return self.result
