"""Pages that MkDocs makes of what lies elsewhere: the API, the course, the changelog.

Equations become MathML when the site is built, so that the pages need no network and no
script for them.
"""

import base64
import html
import json
import re
import sys
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import inventory

ROOT = inventory.ROOT
OF_MODULE = """::: {}
    options:
      members: {}
      show_root_full_path: true
"""
COPIED = {  # pages and pictures from outside of docs/
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
LINKS = {  # where links from docs/ to the rest of the repository go on the site
    "../notebooks/": "notebooks/",
    "../benchmarks/results/": "benchmarks/results/",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
}


def on_config(config):
    for section in config["nav"]:
        if "API" in section:
            pages = [{t: f"api/{n}.md"} for n, (t, _) in inventory.PAGES.items()]
            section["API"] = [{"All names": "api/index.md"}, *pages]
        if "Course" in section:
            section["Course"] = ["course.md", *(p for p, _ in notebooks())]
        if "Evidence" in section:
            section["Evidence"] += not_listed(config["nav"])
    return config


def not_listed(nav) -> list[str]:
    """Pages of docs/ that mkdocs.yml does not name."""
    listed = json.dumps(nav)
    names = sorted(p.name for p in (ROOT / "docs").glob("*.md"))
    return [name for name in names if f'"{name}"' not in listed]


def on_files(files, config):
    made = {p: (ROOT / source).read_text() for p, source in COPIED.items()}
    made |= dict(notebooks()) | {"api/index.md": index()}
    made |= {f"api/{name}.md": api_page(name) for name in inventory.PAGES}
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    for picture in sorted((ROOT / "benchmarks/results").glob("*.png")):
        path = f"benchmarks/results/{picture.name}"
        files.append(File.generated(config, path, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    if page.file.src_uri.startswith("notebooks/"):
        return markdown.replace("](../docs/", "](../")
    markdown = re.sub(r"\{\{ README block (\d) \}\}", readme_block, markdown)
    markdown = re.sub(r"(\]\(\.\./notebooks/\w+)\.ipynb\)", r"\1.md)", markdown)
    for old, new in LINKS.items():
        markdown = markdown.replace(f"]({old}", f"]({new}")
    if page.file.src_uri in COPIED:
        markdown = markdown.replace("](docs/", "](")
    return markdown


def readme_block(match: re.Match) -> str:
    """An example of the README, whose tests run it."""
    blocks = re.findall(r"```python\n.*?```", (ROOT / "README.md").read_text(), re.S)
    return blocks[int(match[1]) - 1]


def on_page_content(content, page, config, files):
    """``\\( \\)`` and ``\\[ \\]``, as arithmatex leaves them, as MathML."""
    pattern = r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>'

    def mathml(match):
        display = "block" if match[2] == "[" else "inline"
        return convert(html.unescape(match[3]), display=display)

    return re.sub(pattern, mathml, content, flags=re.S)


# --- the API ------------------------------------------------------------------------


def api_page(name: str) -> str:
    title, entries = inventory.PAGES[name]
    parts = [f"# {title}\n"]
    for entry in entries:
        found = inventory.modules(entry)
        if found != [f"ebmjax.{entry}"]:
            found = [f"ebmjax.{entry}", *found]
        for module in found:
            names = json.dumps(list(inventory.members(module)))
            parts.append(OF_MODULE.format(module, names))
    return "\n".join(parts)


def index() -> str:
    """Every name of the top level, with its first sentence."""
    lines = ["# All names of `ebmjax`\n", "| name | |", "|---|---|"]
    for name, module in inventory.exports().items():
        text = inventory.members(module).get(name, "").replace("|", "\\|")
        text = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", text)
        place = f"{module}.{name}" if inventory.is_alone(module, name) else module
        lines.append(f"| [`{name}`][{place}] | {text} |")
    return "\n".join(lines) + "\n"


# --- the course ---------------------------------------------------------------------


def notebooks() -> list[tuple[str, str]]:
    """The executed notebooks as pages."""
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    return [
        (f"notebooks/{p.stem}.md", page_of(json.loads(p.read_text()))) for p in paths
    ]


def page_of(notebook: dict) -> str:
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            # a display equation is a paragraph of its own in Markdown
            parts.append(re.sub(r"\n*\$\$(.*?)\$\$\n*", display, text, flags=re.S))
        elif cell["cell_type"] == "code" and text.strip():
            parts.append(f"```python\n{text}\n```")
            parts += [shown for o in cell["outputs"] if (shown := output(o))]
    return "\n\n".join(parts) + "\n"


def display(match: re.Match) -> str:
    return f"\n\n$$\n{match[1].strip()}\n$$\n\n"


def output(out: dict) -> str:
    data = out.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"].split())
        base64.b64decode(picture, validate=True)
        return f'<img alt="output of the cell" src="data:image/png;base64,{picture}">'
    text = "".join(out.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""
