"""The catalogue fits the code as it is: every fault can be planted, and names tests that exist."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.catalogue import CATALOGUE
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.runner import NEEDED


@pytest.mark.parametrize("mutant", CATALOGUE, ids=lambda mutant: mutant.name)
def test_fault_can_be_planted(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    changed = mutant.applied(text)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), "the fault must change the code, not its layout"
    assert mutant.file.split("/")[0] in NEEDED
    assert mutant.tests
    for test in mutant.tests:
        name, _, function = test.partition("::")
        assert f"def {function.split('[')[0]}" in (ROOT / name).read_text(encoding="utf-8")


def test_there_are_many_and_none_twice() -> None:
    assert len(CATALOGUE) >= 60
    assert len({mutant.name for mutant in CATALOGUE}) == len(CATALOGUE)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in CATALOGUE}) == len(CATALOGUE)


def test_a_stale_fault_is_an_error() -> None:
    mutant = Mutant("stale", "federation/errors.py", "no such text", "", ("tests/conftest.py",))
    with pytest.raises(ValueError, match="0 times"):
        mutant.applied("some text")
    with pytest.raises(ValueError, match="2 times"):
        Mutant("twice", "x.py", "a", "b", ()).applied("a a")
