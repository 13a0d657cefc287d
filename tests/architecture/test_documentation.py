"""The pages say what is: links lead somewhere, commands exist, examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOT, modules, pages

REQUIRED = (
    "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md",
    "docs/glossary.md", "docs/sharp_edges.md", "docs/error-codes.md", "docs/decisions/README.md",
)  # fmt: skip


def _label(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def _commands(page: Path) -> list[list[str]]:
    """Commands in a page's shell blocks, line continuations joined, comments and outputs left out."""
    text = page.read_text(encoding="utf-8")
    found: list[list[str]] = []
    for block in re.findall(r"```(?:bash|sh|shell|console)(?: [^\n]*)?\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            if words:
                found.append(words)
    return found


@pytest.mark.parametrize("name", REQUIRED)
def test_the_pages_a_reader_expects_exist(name: str) -> None:
    assert (ROOT / name).stat().st_size > 300


@pytest.mark.parametrize("page", pages(), ids=_label)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    broken: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        is_there = path.exists() and path.is_relative_to(ROOT)
        if not is_there or (anchor and path.is_file() and anchor not in _anchors(path.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


def test_every_decision_is_listed_and_numbered_without_gaps() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    index = (folder / "README.md").read_text(encoding="utf-8")
    for name in files:
        text = (folder / name).read_text(encoding="utf-8")
        assert f"({name})" in index
        for heading in ("Status:", "## Context", "## Decision", "## Consequences"):
            assert heading in text, f"{name} has no {heading}"


@pytest.mark.parametrize("page", pages(), ids=_label)
def test_every_make_target_of_a_page_exists(page: Path) -> None:
    named = re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))
    named += [words[1] for words in _commands(page) if words[0] == "make" and len(words) > 1 and words[1].isalpha()]
    assert set(named) <= _make_targets()


def test_the_readme_opens_with_the_two_commands() -> None:
    assert [words[:2] for words in _commands(ROOT / "README.md")[:2]] == [["make", "demo"], ["make", "test"]]


def test_every_target_of_the_makefile_explains_itself() -> None:
    expected = {
        "help", "setup", "demo", "check", "test", "test-all", "bench", "mutants", "rehearsal", "container-test", "sbom",
    }  # fmt: skip
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"^([a-z-]+):[^=\n]*## \S+", text, flags=re.MULTILINE)) == expected
    shown = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    assert all(f"make {name} " in shown for name in expected)


def _subcommands() -> list[tuple[str, str]]:
    """(page, words before the first option or override) of every `cohortium ...` in a shell block."""
    found: set[tuple[str, str]] = set()
    for page in pages():
        for words in _commands(page):
            if words[0] == "cohortium":
                plain = [word for word in words[1:] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
                found.add((_label(page), " ".join(plain)))
    return sorted(found)


def test_every_cohortium_command_of_a_page_exists() -> None:
    from typer.main import get_command

    from experiments.command_tree import whole
    from experiments.main import root

    root = get_command(whole(callback=root))
    for page, words in _subcommands():
        command = root
        for word in words.split():
            children = getattr(command, "commands", None)
            if children is None:
                break
            assert word in children, f"{page}: `cohortium {words}` has no command {word!r}"
            command = children[word]


@pytest.mark.parametrize("page", pages(), ids=_label)
def test_every_option_of_a_page_s_commands_exists_and_none_that_is_needed_is_left_out(page: Path) -> None:
    import click
    from typer.main import get_command

    from experiments.command_tree import whole
    from experiments.main import root

    for words in _commands(page):
        if words[0] != "cohortium" and words[:2] != ["sudo", "cohortium"]:
            continue
        command, rest = get_command(whole(callback=root)), words[words.index("cohortium") + 1 :]
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        if "--help" in given or hasattr(command, "commands"):
            continue
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        known = {name for option in options for name in (*option.opts, *option.secondary_opts)} | {"--debug"}
        assert given <= known, f"{_label(page)}: cohortium {' '.join(words[1:])}"
        for option in options:
            assert not option.required or option.envvar or given & set(option.opts), (
                f"{shlex.join(words)}: {option.opts}"
            )


_WITH_EXAMPLES = [module.name for module in modules() if re.search(r"^\s*>>> ", module.text, flags=re.MULTILINE)]


@pytest.mark.parametrize("name", _WITH_EXAMPLES)
def test_examples_in_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


def test_start_up_imports_no_heavy_library() -> None:
    heavy = ["torch", "opacus", "mlflow", "ray", "hydra", "duckdb", "sklearn", "matplotlib", "flwr", "pandas", "scipy"]
    code = f"import sys, experiments.main; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
