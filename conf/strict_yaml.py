"""YAML and JSON that people write and others rely on: one reading only.

A key that is written twice is refused, aliases are (they can unfold to gigabytes), and YAML's old habit of reading ``1e-5`` as
text is not followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from federation.errors import CohortiumError, InvalidInputError

LARGEST_FILE: Final = 16 * 2**20
"""Bytes. A manifest, contract or policy is a page or two; a file beyond this is something else."""


def read_strict(path: Path, *, what: str, error: type[CohortiumError] = InvalidInputError) -> object:
    """The data of a file in YAML or JSON.

    Args:
        path: The file, UTF-8.
        what: What it should be, with its article, such as ``a manifest``.
        error: Class of the error.

    Raises:
        CohortiumError: ``error``, if it cannot be read, is too large or does not parse; names the line.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise error(
                f"expected {what} of at most {LARGEST_FILE} bytes, got {path} with more",
                remedy="give the document's own file",
            )
        return parse_strict(content.decode(), path, error=error)
    except UnicodeDecodeError as failure:
        raise error(
            f"expected {path} to be UTF-8 text, got a byte that is not at position {failure.start}",
            remedy="save the file as UTF-8",
        ) from failure
    except OSError as failure:
        raise error(
            f"expected {what} file at {path}, got: {failure.strerror or type(failure).__name__}",
            remedy="check the path",
        ) from failure


def parse_strict(text: str, path: Path, *, error: type[CohortiumError] = InvalidInputError) -> object:
    """The data of a text in YAML or JSON.

    Args:
        text: The text.
        path: Where it is from, for messages.
        error: Class of the error.

    Raises:
        CohortiumError: ``error``, if it does not parse; names the line.
    """
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_without_repeats(error))
        except (ValueError, RecursionError):
            pass  # YAML may begin with a brace too, and says in which line it is wrong
    try:
        return _StrictLoader(text).get_single_data()
    except yaml.MarkedYAMLError as failure:
        line = failure.problem_mark.line + 1 if failure.problem_mark else 0
        raise error(
            f"expected YAML or JSON in {path}, got an error in line {line}: {failure.problem}",
            remedy="correct that line",
        ) from failure
    except (yaml.YAMLError, RecursionError) as failure:
        raise error(
            f"expected YAML or JSON in {path}, got text that does not parse", remedy="check the file's content"
        ) from failure


def _without_repeats(error: type[CohortiumError]) -> Callable[[list[tuple[str, object]]], dict[str, object]]:
    def build(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise error(f"expected every key once, got {repeated} twice", remedy="keep one of them")
        return dict(pairs)

    return build


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without repeated keys and aliases, and with the numbers of YAML 1.2."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases are not used in such a document", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the parent's
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {name!r} is written twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
