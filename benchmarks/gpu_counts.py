"""What can be counted in a program of a GPU: launches, bytes, collectives.

A launch is a fusion, a copy, a call of a library or an update of a slice outside of a
fusion; what is in the body of a loop counts as often as the loop turns, with one more
for its condition where XLA knows the number of turns, and a row of its own where it
does not.
"""

import collections
import re
from typing import Any, NamedTuple

BANDWIDTH, LAUNCH = 3.35e12, 2e-6  # bytes a second of an H100 SXM; seconds of a launch
_LAUNCHED = ("fusion", "custom-call", "copy", "copy-start", "dynamic-update-slice")
_LAUNCHED += ("dynamic-slice", "sort", "reduce", "broadcast", "concatenate", "iota")
_LAUNCHED += ("transpose", "slice", "convert", "select", "add", "dot", "pad", "gather")
_COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute")
_COLLECTIVES += ("reduce-scatter",)


class Counts(NamedTuple):
    """Of one run of a program."""

    launches: float
    unknown_loops: dict[str, float]  # launches a turn of loops of unknown length
    bytes: float  # read and written by the launches of the known loops
    temporary: int  # bytes
    collectives: dict[str, float]

    def bound(self) -> float:
        """Seconds below which a run does not come: the larger of launches of two
        microseconds each and bytes over the bandwidth.  A bound, not a measurement."""
        return max(self.launches * LAUNCH, self.bytes / BANDWIDTH)


def counts(program: Any) -> Counts:
    """Of a compiled program."""
    bodies = _computations(program.as_text())
    total: collections.Counter = collections.Counter()
    unknown: dict[str, float] = {}
    entry = next(name for name, body in bodies.items() if body.is_entry)
    _walk(bodies, entry, 1.0, total, unknown)
    memory = program.memory_analysis()
    return Counts(
        total["launches"],
        unknown,
        total["bytes"],
        int(memory.temp_size_in_bytes),
        {name: total[name] for name in _COLLECTIVES if total[name]},
    )


class _Body(NamedTuple):
    is_entry: bool
    lines: list[str]
    sizes: dict[str, float]  # bytes of each instruction


def _computations(text: str) -> dict[str, _Body]:
    bodies: dict[str, _Body] = {}
    body = None
    for line in text.splitlines():
        start = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
        if start and not line.startswith(" "):
            body = bodies[start.group(2)] = _Body(bool(start.group(1)), [], {})
        elif body is not None and " = " in line:
            body.lines.append(line)
            name = line.split(" = ")[0].replace("ROOT", "").strip().lstrip("%")
            body.sizes[name] = _bytes(_type(line))
    return bodies


def _walk(bodies, name, times, total, unknown):
    body = bodies[name]
    for line in body.lines:
        kind = _kind(line)
        called = dict(re.findall(r"(body|condition|calls|to_apply)=%?([\w.\-]+)", line))
        base = kind.removesuffix("-start")
        if base in _COLLECTIVES:
            total[base] += times
            total["launches"] += times
        elif kind == "while":
            turns = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            if turns:
                number = int(turns.group(1)) * times
                _walk(bodies, called["body"], number, total, unknown)
                _walk(bodies, called["condition"], number, total, unknown)
                total["launches"] += number
            else:
                inner: collections.Counter = collections.Counter()
                _walk(bodies, called["body"], 1.0, inner, unknown)
                _walk(bodies, called["condition"], 1.0, inner, unknown)
                unknown[called["body"]] = inner["launches"] + 1
        elif kind == "conditional":
            names = re.findall(r"branch_computations=\{([^}]*)\}", line)
            branches = names[0].replace("%", "").split(", ") if names else []
            branches += re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", line)
            found = []
            for branch in branches:  # the larger of the branches
                inner = collections.Counter()
                _walk(bodies, branch, times, inner, unknown)
                found.append(inner)
            total += max(found, key=lambda c: c["launches"], default={})
            total["launches"] += times
        elif kind == "call":
            _walk(bodies, called["to_apply"], times, total, unknown)
        elif kind in _LAUNCHED:
            total["launches"] += times
            total["bytes"] += times * _moved(bodies, body, line, kind, called)


def _moved(bodies, body, line, kind, called) -> float:
    """Bytes that a launch reads and writes; of a fusion that updates a slice in place,
    the slice and not the whole."""
    result = _bytes(_type(line))
    operands = [
        body.sizes.get(name, 0.0)
        for name in re.findall(r"%([\w.\-]+)", line.split(" = ", 1)[1].split("), ")[0])
    ]
    inner = bodies.get(called.get("calls", ""))
    if kind == "dynamic-update-slice":
        return 2 * min(operands[1:2] or [result])
    if inner is not None:
        for inside in inner.lines:
            if _kind(inside) in ("dynamic-update-slice", "dynamic-slice"):
                whole = _bytes(_type(inside))
                names = re.findall(r"%([\w.\-]+)", inside.split(" = ", 1)[1])
                if _kind(inside) == "dynamic-slice":
                    source = inner.sizes.get(names[0], 0.0)
                    operands = [whole if o == source else o for o in operands]
                else:
                    update = inner.sizes.get(names[1], 0.0)
                    operands = [update if o == whole else o for o in operands]
                    result = max(result - whole, 0.0) + update
    return result + sum(operands)


def _kind(line: str) -> str:
    found = re.search(r" = .*?[\])}] ([a-z][a-z\-]*)\(", line)
    return found.group(1) if found else ""


def _type(line: str) -> str:
    found = re.search(r" = (.*?) [a-z][a-z\-]*\(", line)
    return found.group(1) if found else ""


_WIDTH = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "bf16": 2,
    "f16": 2,
    "s64": 8,
    "u64": 8,
    "f64": 8,
}


def _bytes(text: str) -> float:
    total = 0.0
    for kind, shape in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", text):
        size = 1
        for length in filter(None, shape.split(",")):
            size *= int(length)
        total += size * _WIDTH.get(kind, 4)
    return total
