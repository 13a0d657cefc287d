"""What can be chosen: the config groups, their options and the settings of each, read from the packaged YAML files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

import yaml

from federation.documents import Json
from federation.errors import InternalError

GROUPS: Final = (
    "study",
    "cohort",
    "model",
    "privacy",
    "algorithm",
    "schedule",
    "aggregation",
    "compression",
    "engine",
    "tracking",
    "experiment",
    "debug",
)
"""The groups that a user chooses from. ``tuned`` is chosen by study and option."""


def option_names(group: str) -> tuple[str, ...]:
    """The options of a group, sorted.

    Raises:
        InternalError: If there is no such group.
    """
    folder = files("conf") / group
    if group not in GROUPS or not folder.is_dir():
        raise InternalError(f"expected one of {GROUPS}, got {group!r}")
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in _yaml_files(folder)))


def option_summary(group: str, option: str) -> str:
    """The first comment of an option's file: what it is, in one line; empty if there is none."""
    text = (files("conf") / group / f"{option}.yaml").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            return ""
        if "@package" not in line:
            return line.removeprefix("#").strip()
    return ""


@cache
def settings_by_option(group: str) -> Mapping[str, frozenset[str]]:
    """For each option of a group, the dotted keys that its own file sets."""
    keys: dict[str, frozenset[str]] = {}
    for option in option_names(group):
        text = (files("conf") / group / f"{option}.yaml").read_text(encoding="utf-8")
        tree: dict[str, Json] = yaml.safe_load(text) or {}
        tree.pop("defaults", None)
        tree.pop("hydra", None)
        keys[option] = frozenset(
            dotted_keys(tree) if "@package _global_" in text else (f"{group}.{key}" for key in dotted_keys(tree))
        )
    return keys


def dotted_keys(tree: Mapping[str, Json]) -> Iterator[str]:
    """Every key of a tree as a dotted path, inner nodes included.

    >>> list(dotted_keys({"privacy": {"kind": "none"}}))
    ['privacy', 'privacy.kind']
    """
    for key, value in tree.items():
        yield key
        if isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in dotted_keys(value))


def _yaml_files(folder: Traversable) -> Iterator[Traversable]:
    return (entry for entry in folder.iterdir() if entry.name.endswith(".yaml"))
