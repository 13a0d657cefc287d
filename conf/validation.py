"""From a composed tree to a frozen document, with one line for every mistake.

The document's own validators decide; this module only says what they found in the words of the command line: the dotted
path as it would be typed, the value that came, and an example of one that fits.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from conf.groups import dotted_keys
from conf.suggestions import did_you_mean
from federation.documents import Document, Json
from federation.errors import ConfigurationError

Tree = dict[str, Json]
DocumentT = TypeVar("DocumentT", bound=Document)

_EXAMPLES: Final = {
    "float": "0.5",
    "int": "10",
    "bool": "true",
    "tuple": "[1,2]",
    "list": "[1,2]",
    "dict": "{key: value}",
}
_PASSWORD: Final = re.compile(r"://[^/\s@]*:[^/\s@]+@")


def build(kind: type[DocumentT], tree: Tree) -> DocumentT:
    """Validate a composed tree strictly.

    Args:
        kind: The document the tree must be.
        tree: Plain data, as composed.

    Raises:
        ConfigurationError: Naming path, value and fix of every mistake, one line each.
    """
    refuse_unsafe(tree)
    try:
        return kind.model_validate_json(json.dumps(tree, allow_nan=False))
    except ValidationError as failure:
        problems = failure.errors(include_url=False)
        lines = [_explain(problem, tree) for problem in problems]
        raise ConfigurationError("\n".join(lines), remedy=_remedy(problems, tree), problems=len(lines)) from failure


def refuse_unsafe(tree: Tree) -> None:
    """Refuse what could run code, read the environment or carry a secret into a record, wherever it is in the tree.

    Raises:
        ConfigurationError: For a ``_target_`` key, an interpolation, a number that is not finite, or a password in an
            address. Never shows the password.
    """
    for path, value in _leaves(tree, ""):
        if re.search(r"(^|\.)_\w+_$", path):
            raise ConfigurationError(f"{path}: expected a setting, got a key that names code to run; it is refused")
        if isinstance(value, str) and "${" in value:
            raise ConfigurationError(
                f"{path}: expected a plain value, got an interpolation ('${{'); write the value itself"
            )
        if isinstance(value, str) and _PASSWORD.search(value):
            raise ConfigurationError(
                f"{path}: expected an address without a password, got one with it; settings are recorded",
                remedy="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment instead",
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"{path}: expected a finite number, got {value!r}")


def _leaves(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")


def _explain(problem: ErrorDetails, tree: Tree) -> str:
    path = _path(problem["loc"], tree)
    got = _short(problem["input"])
    match problem["type"]:
        case "missing":
            return f"missing setting {path!r}{_choose_option(path, tree)}"
        case "extra_forbidden":
            return f"unknown setting {path!r}{did_you_mean(path, set(dotted_keys(tree)) - {path}, listed=0)}"
        case "union_tag_invalid":
            context = problem.get("ctx", {})
            return f"{path}.kind: expected one of {context.get('expected_tags')}, got {context.get('tag')!r}"
        case "value_error":
            message = problem["msg"].removeprefix("Value error, ")
            return f"{path}: {message}" if path else message
        case _:
            expected = re.sub(r"^Input should (be|have) ?", "", problem["msg"])
            expected = expected.replace("valid array", "list").replace("an object", "a mapping")
            return f"{path}: expected {expected}, got {got}"


def _path(location: Sequence[int | str], tree: Tree) -> str:
    """The dotted path, without the tags that pydantic adds for tagged unions: they are not in the tree."""
    path = ""
    here: object = tree
    for position, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list) and part < len(here) else None
            continue
        last = position == len(location) - 1
        if isinstance(here, dict) and part not in here and (not last or here.get("kind") == part):
            continue
        path += f".{part}" if path else part
        here = here.get(part) if isinstance(here, dict) else None
    return path


def _choose_option(path: str, tree: Tree) -> str:
    group, _, _ = path.partition(".")
    node = tree.get(group)
    if isinstance(node, dict) and "kind" in node:
        return f": choose {group}={node['kind']} as a whole, which brings every setting it needs"
    return ""


def _remedy(problems: Sequence[ErrorDetails], tree: Tree) -> str:
    for problem in problems:
        example = _EXAMPLES.get(problem["type"].partition("_")[0])
        if example is not None:
            return f"write for example {_path(problem['loc'], tree)}={example}"
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004
