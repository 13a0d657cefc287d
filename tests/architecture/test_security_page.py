"""docs/security.md claims what tests prove: each of them exists, each threat has one, and each acceptance test is accounted for."""

from __future__ import annotations

import re

import pytest

from tests.architecture.guide_pages import DOCS, tables
from tests.architecture.named_tests import NAMED, exists
from tests.architecture.source_tree import ROOT

PAGE = DOCS / "security.md"
DEPLOYMENT = (*range(1, 9), *range(18, 22), *range(26, 30))
"""Numbers of the acceptance tests that concern a deployment."""
_FILES = re.compile(r"`(tests/[\w/]+\.py)`")
_THREATS = list(tables(PAGE, columns=3))
_ACCEPTANCE = list(tables(PAGE, columns=4))


@pytest.mark.parametrize("test", sorted(set(NAMED.findall(PAGE.read_text(encoding="utf-8")))))
def test_every_test_of_the_page_exists(test: str) -> None:
    assert exists(test)


def test_every_file_of_the_page_exists_and_holds_tests() -> None:
    for file in _FILES.findall(PAGE.read_text(encoding="utf-8")):
        assert "def test_" in (ROOT / file).read_text(encoding="utf-8"), file


@pytest.mark.parametrize("row", _THREATS, ids=lambda row: row[0])
def test_every_threat_has_a_defence_and_a_test(row: tuple[str, ...]) -> None:
    _, defence, tests = row
    assert defence
    assert NAMED.findall(tests) or _FILES.findall(tests)


def test_there_are_threats() -> None:
    assert len(_THREATS) > 15


def test_every_acceptance_test_of_the_deployment_is_accounted_for() -> None:
    assert [int(number) for number, *_ in _ACCEPTANCE] == list(DEPLOYMENT)
    for number, what, covered, tests in _ACCEPTANCE:
        assert what, number
        assert covered.startswith("whole") or len(covered.split()) > 5, f"{number}: say what is not covered"
        assert NAMED.findall(tests), number


def test_a_test_that_does_not_exist_is_noticed() -> None:
    assert exists("tests/architecture/test_security_page.py::test_there_are_threats")
    assert not exists("tests/architecture/test_security_page.py::test_of_nothing")
    assert not exists("tests/architecture/test_nothing.py::test_there_are_threats")
