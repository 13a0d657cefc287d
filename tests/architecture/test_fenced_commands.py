"""Every fenced command of docs/*.md is typed by a test, or is listed with the reason why none does."""

from __future__ import annotations

import pytest

from tests.architecture.fenced_commands import NOT_TYPED, TYPED_BY, exception, typed
from tests.architecture.guide_pages import DOCS, Block, Handover, blocks, steps
from tests.architecture.named_tests import exists

PAGES = {f"docs/{page.name}": page for page in sorted(DOCS.glob("*.md")) if blocks(page)}


def test_a_new_fenced_command_needs_a_test_or_a_reason() -> None:
    orphans = [
        f"{block.page}:{block.line}: {command}"
        for name, page in PAGES.items()
        for block in blocks(page)
        for command in block.commands
        if name not in TYPED_BY and exception(name, command) is None
    ]
    assert orphans == []


def test_the_tables_name_pages_and_commands_that_exist() -> None:
    assert set(TYPED_BY) | set(NOT_TYPED) == set(PAGES)
    for name, entries in NOT_TYPED.items():
        found = [command for block in blocks(PAGES[name]) for command in block.commands]
        for entry in entries:
            assert [command for command in found if command.startswith(entry.begins)], f"{name}: {entry.begins}"
            assert entry.reason
    for name in TYPED_BY:
        assert list(typed(PAGES[name])), f"{name}: nothing is left for its test to type"


@pytest.mark.parametrize(
    "test", sorted({*TYPED_BY.values(), *(entry.instead for entries in NOT_TYPED.values() for entry in entries)})
)
def test_every_test_of_the_tables_exists(test: str) -> None:
    assert exists(test)


def test_the_consortiums_guide_sends_hospitals_to_every_part_of_theirs_in_its_order() -> None:
    sent = [
        section for step in steps(DOCS / "consortium.md") if isinstance(step, Handover) for section in step.sections
    ]
    assert sent == list(dict.fromkeys(block.section for block in blocks(DOCS / "site-it.md")))


@pytest.mark.parametrize("page", ["consortium.md", "site-it.md"])
def test_every_block_of_the_two_guides_says_who_types_it(page: str) -> None:
    roles = {"site"} if page == "site-it.md" else {"everybody", "officer", "host", "lead"}
    assert {step.role for step in steps(DOCS / page) if isinstance(step, Block)} == roles


def test_the_hospitals_guide_is_short_and_has_its_five_parts() -> None:
    text = (DOCS / "site-it.md").read_text(encoding="utf-8")
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    parts = iter(headings)
    # In this order, with others between them.
    assert all(part in parts for part in ("Data flow and ports", "Install", "Day to day", "Troubles")), headings
    assert "Inbound ports" in text
    assert len(text.splitlines()) <= 160
