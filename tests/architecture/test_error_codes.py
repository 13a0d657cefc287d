"""Every error class has an exit code of its own, and a section of docs/error-codes.md."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from federation import errors
from federation.errors import CohortiumError
from tests.architecture.source_tree import ROOT, dotted, modules

PAGE = (ROOT / "docs" / "error-codes.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (\d+) · (\w+)$", PAGE, flags=re.MULTILINE)
CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CohortiumError)]


def test_no_error_class_lives_elsewhere() -> None:
    names = {kind.__name__ for kind in CLASSES}
    elsewhere = [
        f"{module.label}:{node.lineno} {node.name}"
        for module in modules()
        if module.name != "federation.errors"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        and any(
            dotted(base).split(".")[-1] in names | {"Exception", "BaseException", "ValueError", "RuntimeError"}
            for base in node.bases
        )
    ]
    assert elsewhere == []


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_has_a_section(kind: type[CohortiumError]) -> None:
    assert (str(kind.exit_code), kind.__name__) in SECTIONS
    section = PAGE.split(f"## {kind.exit_code} · {kind.__name__}\n")[1].split("\n## ")[0]
    assert len(section.split()) >= 15, "a section says what it means and what to do"


def test_every_section_has_a_class_and_they_are_in_order() -> None:
    assert {name for _, name in SECTIONS} == {kind.__name__ for kind in CLASSES}
    codes = [int(code) for code, _ in SECTIONS]
    assert codes == sorted(set(codes))


def test_exit_codes_are_distinct_and_fit_in_a_byte() -> None:
    codes = [kind.exit_code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(1 <= code <= 255 for code in codes)


def test_the_tree_on_the_page_is_the_tree() -> None:
    tree = PAGE.split("```")[1]
    drawn = dict(re.findall(r"(\w+Error)\s+(?:exit code )?(\d+)", tree))
    assert drawn == {kind.__name__: str(kind.exit_code) for kind in CLASSES}
    depths = {name: len(prefix) for prefix, name in re.findall(r"^([ │├└─]*)(\w+Error) ", tree, re.MULTILINE)}
    for kind in CLASSES:
        parent = kind.__mro__[1]
        if kind is not CohortiumError:
            assert depths[kind.__name__] == depths[parent.__name__] + 4, kind.__name__


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_survives_the_way_between_processes(kind: type[CohortiumError]) -> None:
    rebuild, arguments = kind("expected a, got b", remedy="do c").__reduce__()[:2]
    again = rebuild(*arguments)  # type: ignore[operator]
    assert type(again) is kind
    assert (again.message, again.remedy) == ("expected a, got b", "do c")
