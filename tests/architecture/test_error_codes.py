"""Every error class has an exit code of its own, and a page below docs/errors that docs/error-codes.md leads to."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from federation import errors
from federation.errors import CohortiumError
from tests.architecture.error_pages import PAGES, QUESTIONS, page_of
from tests.architecture.source_tree import ROOT, dotted, modules

INDEX = (ROOT / "docs" / "error-codes.md").read_text(encoding="utf-8")
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
def test_every_class_has_a_page_that_answers_five_questions(kind: type[CohortiumError]) -> None:
    page = page_of(kind)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {kind.exit_code} · {kind.__name__}\n")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == list(QUESTIONS)
    for answer in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert len(answer.split()) >= 3
    assert f"](errors/{page.name})" in INDEX


def test_every_page_has_a_class_and_the_index_is_in_order() -> None:
    files = {path.name for path in PAGES.glob("*.md")}
    assert files == {page_of(kind).name for kind in CLASSES}
    listed = re.findall(r"^\| (\d+) \| \[`(\w+)`\]\(errors/([\w-]+\.md)\) \|", INDEX, flags=re.MULTILINE)
    assert [int(code) for code, _, _ in listed] == sorted(kind.exit_code for kind in CLASSES)
    assert {(int(code), name, file) for code, name, file in listed} == {
        (kind.exit_code, kind.__name__, page_of(kind).name) for kind in CLASSES
    }


def test_exit_codes_are_distinct_and_fit_in_a_byte() -> None:
    codes = [kind.exit_code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(1 <= code <= 255 for code in codes)


def test_the_tree_on_the_page_is_the_tree() -> None:
    tree = INDEX.split("```")[1]
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
