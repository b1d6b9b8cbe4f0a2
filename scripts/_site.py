"""What mkdocs is taught for the site: the hooks that mkdocs.yml names.

They are called by their names (https://www.mkdocs.org/user-guide/configuration/#hooks).

H1  The page of the commands is made of the command itself, so that it cannot be wrong: `commands` replaces the marker.
H2  A picture ``assets/NAME.svg`` becomes a part of its page, so that it takes the colours of the page, dark or light.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import typer

MARKER: Final = "<!-- commands -->"
_PICTURE: Final = re.compile(r'<img alt="(?P<alt>[^"]*)" src="(?:\.\./)*(?P<name>assets/[\w-]+\.svg)"\s*/?>')
_SVG: Final = "http://www.w3.org/2000/svg"


def on_page_markdown(markdown: str, **_of_the_page: Any) -> str:  # noqa: ANN401 - mkdocs passes its own objects
    """Put the commands in the place of the marker (H1)."""
    return markdown.replace(MARKER, commands()) if MARKER in markdown else markdown


def on_page_content(html: str, config: Any, **_of_the_page: Any) -> str:  # noqa: ANN401 - as above
    """Put pictures into their page (H2)."""
    docs = Path(config.docs_dir)
    return _PICTURE.sub(lambda found: picture(docs / found["name"], found["alt"]), html)


def picture(path: Path, alt: str) -> str:
    """Return the SVG at *path* as a part of a page, read aloud as *alt*."""
    ET.register_namespace("", _SVG)
    # Of this project's own files: nothing hostile is parsed.
    root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314
    for style in root.findall(f"{{{_SVG}}}style"):
        root.remove(style)  # the site's own sheet has the same classes
    root.set("role", "img")
    root.set("aria-label", alt.replace("&amp;", "&").replace("&quot;", '"'))
    root.set("class", "picture")
    return f'<span class="scroll">{ET.tostring(root, encoding="unicode")}</span>'


def commands() -> str:
    """Return a section of Markdown for each command of ``onewriter``."""
    from onewriter.cli import app  # noqa: PLC0415 - so that the page of a plain import needs no extra

    group: Any = typer.main.get_command(app)
    with typer.Context(group, info_name="onewriter") as context:
        return "\n\n".join(
            _section(context, name, group.get_command(context, name)) for name in group.list_commands(context)
        )


def _section(parent: Any, name: str, command: Any) -> str:  # noqa: ANN401 - of the parser's own classes
    context = typer.Context(command, info_name=name, parent=parent)
    usage = " ".join(["onewriter", name, *command.collect_usage_pieces(context)])
    records = [each.get_help_record(context) for each in command.get_params(context)]
    rows = [f"| `{names}` | {_plain(told)} |".replace("\n", " ") for names, told in filter(None, records)]
    return "\n\n".join(
        (
            f"## onewriter {name}",
            f"```text\n{usage}\n```",
            _plain(command.help or ""),
            "| | |\n|---|---|\n" + "\n".join(rows),
            _plain(command.epilog or ""),
        )
    )


def _plain(text: str) -> str:
    """Return *text* without the indentation of a docstring, and with signs that Markdown would take for its own."""
    return re.sub(
        r"(?<!\\)([<|])(?=\w)", r"\\\1", "\n".join(line.strip() for line in text.splitlines())
    ).strip()
