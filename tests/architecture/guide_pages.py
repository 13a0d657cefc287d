"""The fenced shell blocks of the pages, as text: whose they are, in which order, and what is typed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.source_tree import ROOT

DOCS = ROOT / "docs"
_SHELLS = ("bash", "sh", "shell", "console")
_FENCE = re.compile(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$")
_HANDOVER = re.compile(r"^▶ Every hospital: .*$")
_LINK = re.compile(r"\]\(site-it\.md#([\w-]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced shell block.

    Args:
        page: Path from the repository's root.
        line: On which its first command stands, counted from one.
        section: Anchor of the heading above it.
        role: Who types it: the first word after the language; empty if the page does not say.
        for_each: Whether it is typed once for each hospital.
        commands: Its lines, continuations joined, comments left out.
    """

    page: str
    line: int
    section: str
    role: str
    for_each: bool
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Handover:
    """Where the consortium's guide says that it is the hospitals' turn.

    Args:
        sections: Anchors of the hospitals' guide, in order.
    """

    sections: tuple[str, ...]


def anchor(heading: str) -> str:
    """The anchor that a heading has on a rendered page."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def steps(page: Path) -> Iterator[Block | Handover]:
    """Blocks and hand-overs of a page, in its order."""
    text, label = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    section, at = "", 0
    for fence in _FENCE.finditer(text):
        for line in text[at : fence.start()].splitlines():
            if heading := _HEADING.match(line):
                section = anchor(heading[1])
            if _HANDOVER.match(line):
                yield Handover(tuple(_LINK.findall(line)))
        at = fence.end()
        language, info, body = fence.groups()
        if language in _SHELLS:
            role, _, rest = info.partition(" ")
            first = text.count("\n", 0, fence.start(3)) + 1
            yield Block(label, first, section, role, rest == "for each hospital", tuple(logical_lines(body)))
    for line in text[at:].splitlines():
        if _HANDOVER.match(line):
            yield Handover(tuple(_LINK.findall(line)))


def blocks(page: Path) -> tuple[Block, ...]:
    """The shell blocks of a page."""
    return tuple(step for step in steps(page) if isinstance(step, Block))


def logical_lines(body: str) -> Iterator[str]:
    """What is typed: continued lines joined, comments and empty lines left out."""
    for line in re.sub(r"\\\n\s*", "", body).splitlines():
        command = re.sub(r"(^|\s+)#\s.*$", "", line.removeprefix("$ ")).rstrip()
        if command:
            yield command


def tables(page: Path, *, columns: int) -> Iterator[tuple[str, ...]]:
    """Rows of the tables with so many columns, headings and rulers left out."""
    last_was_row = False
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split(" | "))
        is_row = line.startswith("|") and len(cells) == columns and not set(line) <= set("|-: ")
        if is_row and last_was_row:
            yield cells
        last_was_row = line.startswith("|")
