"""The public budgets of style: they keep every file readable in one sitting."""

from __future__ import annotations

import ast
import re
import statistics

import pytest

from tests.architecture.source_tree import ROOT, dotted, files_of_tests, modules

LINES_PER_FILE = 300
MEDIAN_LINES_PER_FILE = 150
LINES_PER_FUNCTION = 60
LINES_PER_FUNCTION_OF_NINE_TENTHS = 30


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_the_tree_is_found() -> None:
    assert len(modules()) > 40
    assert len(files_of_tests()) > 10


def test_no_file_is_longer_than_the_budget() -> None:
    lengths = {module.label: module.text.count("\n") for module in modules()}
    lengths |= {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in files_of_tests()}
    assert {label: lines for label, lines in lengths.items() if lines > LINES_PER_FILE} == {}
    of_modules = [module.text.count("\n") for module in modules() if module.path.name != "__init__.py"]
    assert statistics.median(of_modules) <= MEDIAN_LINES_PER_FILE


def test_no_function_is_longer_than_the_budget() -> None:
    lengths = {
        f"{module.label}:{function.lineno} {function.name}": _length(function)
        for module in modules()
        for function in module.functions()
    }
    assert {label: lines for label, lines in lengths.items() if lines > LINES_PER_FUNCTION} == {}
    nine_tenths = sorted(lengths.values())[int(0.9 * len(lengths))]
    assert nine_tenths <= LINES_PER_FUNCTION_OF_NINE_TENTHS


def test_every_module_says_what_it_is_for() -> None:
    assert [module.label for module in modules() if not ast.get_docstring(module.tree)] == []


def test_every_dataclass_of_the_domain_is_frozen() -> None:
    thawed: list[str] = []
    for module in modules():
        if not module.name.startswith("federation"):
            continue
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for decorator in node.decorator_list:
                call = decorator if isinstance(decorator, ast.Call) else None
                if dotted(call.func if call else decorator).split(".")[-1] != "dataclass":
                    continue
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords} if call else {}
                if options.get("frozen") != "True":
                    thawed.append(f"{module.label}:{node.lineno} {node.name}")
    assert thawed == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "data2"}
    assert [module.label for module in modules() if module.path.stem in empty or module.path.parent.name in empty] == []


# Two codes need no reason: a number that stands beside its meaning, an argument that a behaviour prescribes.
SELF_EXPLAINING = {"PLR2004", "ARG002"}
SILENCED = re.compile(r"# (?:noqa|pyright: ignore|type: ignore)(?:: ?| ?\[)?([\w, ]*)\]?")


def _is_explained(line: str, above: str) -> bool:
    """Codes are named, and a reason stands at the end of the line or in a comment just above it."""
    codes = {code.strip() for found in SILENCED.findall(line) for code in found.split(",")} - {""}
    if not codes or "# type: ignore" in line:  # one type checker, one spelling
        return False
    has_reason = re.search(r"(?:^| )- \S", SILENCED.split(line, maxsplit=1)[-1]) or above.strip().startswith("#")
    return bool(has_reason) or codes <= SELF_EXPLAINING


def test_every_silenced_finding_names_its_code_and_reason() -> None:
    silent: list[str] = []
    for module in modules():
        above = ""  # the last line that silences nothing: one comment may explain several lines
        for number, line in enumerate(module.text.splitlines(), start=1):
            if not SILENCED.search(line):
                above = line
            elif not _is_explained(line, above):
                silent.append(f"{module.label}:{number}: {line.strip()}")
    assert silent == []


@pytest.mark.parametrize(
    ("line", "above", "is_explained"),
    [
        ("x = 1  # noqa: T201 - the command's output", "", True),
        ("x = 1  # noqa: ARG001, ANN401 - Flower's signature", "", True),
        ("x = 1  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public name", "", True),
        ("x = 1  # pyright: ignore[reportPrivateUsage]", "# torch has no public name for it", True),
        ("x = 1  # noqa: PLR2004", "", True),
        ("x = 1  # noqa: T201", "y = 2", False),
        ("x = 1  # noqa", "# why", False),
        ("x = 1  # pyright: ignore", "# why", False),
        ("x = 1  # type: ignore[attr] - why", "", False),
    ],
)
def test_what_counts_as_explained(line: str, above: str, is_explained: bool) -> None:
    assert _is_explained(line, above) == is_explained
