"""Docstrings as Markdown: a Griffe extension.

Roles become links, doctests become code blocks, and the comment beside a field of a
class becomes its description.
"""

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).parent))
import inventory

ROLE = re.compile(r":(?:func|class|mod|meth|attr|data):`~?([\w.]+)`")
DOCTEST = re.compile(r"(?m)^(?:>>> .*|\.\.\. .*|\.\.\.)(?:\n(?!\n).*)*")


class PlainDocstrings(griffe.Extension):
    def __init__(self):
        self.exports = inventory.exports()
        self.documented = inventory.documented()
        self.paths = {f"{m}.{n}" for m, names in self.documented.items() for n in names}
        self.paths |= set(self.documented)

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = self.markdown(obj.docstring.value, obj.module.path)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        if attr.docstring or attr.lineno is None:
            return
        text = comment_of(attr)
        if not text and self.exports.get(attr.name) == attr.module.path:
            text = f"`{attr.value}`"
        if text:
            text = self.markdown(text, attr.module.path)
            attr.docstring = griffe.Docstring(text, parent=attr)

    def markdown(self, text: str, module: str) -> str:
        text = ROLE.sub(lambda match: self.link(match[1], module), text)
        text = "\n\n".join(map(columns_kept, text.split("\n\n")))
        text = "\n".join(map(stars_escaped, text.split("\n")))
        text = re.sub(r" *# doctest: [+A-Z_, ]+", "", text)
        return DOCTEST.sub(lambda match: f"```pycon\n{match[0]}\n```", text)

    def link(self, target: str, module: str) -> str:
        """A reference to where the target is described; else code alone."""
        name = target.split(".")[-1]
        places = [target, f"{module}.{target}", f"{self.exports.get(name)}.{name}"]
        for place in places:
            if place in self.paths:
                return f"[`{name if place not in self.documented else place}`][{place}]"
        return f"`{target.removeprefix('ebmjax.')}`"


def columns_kept(paragraph: str) -> str:
    """A paragraph of columns, apart by three spaces or more, as preformatted text."""
    lines = paragraph.split("\n")
    columns = sum(re.match(r"\S.*\S   +\S", line) is not None for line in lines)
    return textwrap.indent(paragraph, "    ") if 2 * columns > len(lines) else paragraph


def stars_escaped(line: str) -> str:
    """``x*`` is a candidate here, not the end of an emphasis."""
    if line.startswith(("    ", ">>>", "...")):
        return line
    parts = re.split(r"(`[^`]*`)", line)
    escaped = [re.sub(r"(?<=\w)\*(?![\w*])", r"\\*", part) for part in parts[::2]]
    parts[::2] = escaped
    return "".join(parts)


def comment_of(attr: griffe.Attribute) -> str:
    """The comment at the end of a field's lines, or on the lines before it."""
    lines = attr.lines_collection[attr.filepath]
    last = lines[attr.endlineno - 1]
    if match := re.search(r"\S.*?  ?# (?!type:|doctest|noqa|fmt)(.*)$", last):
        return shape_as_code(re.split(r"  # type:", match[1])[0])
    before = []
    for line in reversed(lines[: attr.lineno - 1]):
        if not line.strip().startswith("# ") or line.strip().startswith("# ---"):
            break
        before.insert(0, line.strip()[2:])
    return shape_as_code(textwrap.dedent("\n".join(before)))


def shape_as_code(text: str) -> str:
    return re.sub(r"(\[[^\]]*\])(?!\()", r"`\1`", text, count=1)
