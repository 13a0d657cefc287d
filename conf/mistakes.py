"""What is wrong with an override, in one line, with the nearest right one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from conf.groups import GROUPS, dotted_keys, option_names, settings_by_option
from conf.suggestions import did_you_mean, nearest
from conf.validation import Tree
from federation.errors import ConfigurationError


def refuse_unsafe_override(line: str) -> None:
    """Refuse an override that names code, reads the environment, or adds a folder of foreign settings.

    Args:
        line: As typed.

    Raises:
        ConfigurationError: If it does.
    """
    key, _, value = line.partition("=")
    if re.search(r"_(target|partial|args|recursive|convert)_", line):
        raise ConfigurationError(f"{line!r}: keys such as '_target_' name code to run; they are refused")
    if "${" in line and (not key.startswith("hydra.") or "${oc." in value):
        raise ConfigurationError(f"{line!r}: interpolation ('${{...}}') is refused; write the value itself")
    if key.lstrip("+~").startswith("hydra.searchpath"):
        raise ConfigurationError(f"{line!r}: settings come from the installed package only; a search path is refused")
    if key.lstrip("+~").startswith("hydra.callbacks"):
        raise ConfigurationError(f"{line!r}: callbacks are code to run; they are refused")


def wrong_choice(group: str, value: object, *, prefix: str = "") -> str | None:
    """The line for ``group=value``, or ``None`` if there is such an option.

    Args:
        group: One of :data:`conf.groups.GROUPS`.
        value: What was chosen; ``None`` for ``null``.
        prefix: ``+``, ``++`` or ``~`` before the group, which is a mistake by itself.
    """
    options = option_names(group)
    choices = f"one of: {', '.join(options)}"
    if prefix == "~":
        return f"'~{group}': a group cannot be removed; choose {group}=OPTION ({choices})"
    if isinstance(value, dict):
        return f"'{group}={{...}}': choose {group}=OPTION ({choices}), then set single keys such as {group}.KEY=VALUE"
    if prefix:
        return f"'{prefix}{group}={value}': write '{group}={value}'; every group is there already"
    if value in options:
        return None
    if value is None:
        return f"{group} cannot be null: leave it out, or choose {choices}"
    return f"unknown {group} {str(value)!r}{did_you_mean(str(value), options)}"


def kind_by_itself(key: str) -> str | None:
    """The line for ``model.kind=mlp``, which would mix the settings of two options; ``None`` for every other key."""
    group, _, rest = key.partition(".")
    if rest == "kind" and group in GROUPS and group != "tracking":
        return f"{key!r} cannot be set by itself: choose '{group}=OPTION' (one of: {', '.join(option_names(group))})"
    return None


def unknown_setting(key: str, tree: Tree, choices: Mapping[str, str]) -> str | None:
    """The line for a key that the composed settings do not have, or ``None`` if they have it.

    Args:
        key: Dotted, without prefix.
        tree: The settings composed from the chosen options alone.
        choices: The chosen option of every group.
    """
    known = set(dotted_keys(tree))
    if key in known:
        return None
    parent = key.rpartition(".")[0]
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    if parent and _value_at(parent, tree) is None:
        return f"unknown setting {key!r}: {parent!r} is null; write it as a whole, such as '{parent}={{KEY: VALUE}}'"
    group = key.partition(".")[0]
    if group in GROUPS:
        others = [option for option, keys in settings_by_option(group).items() if key in keys]
        if others:
            chosen = choices.get(group, "null")
            wanted = " or ".join(f"{group}={option}" for option in sorted(others, key=len))
            return f"unknown setting {key!r} with {group}={chosen}: choose {wanted}"
    best = nearest(key, known | set(GROUPS))
    if best is None or (group in GROUPS and not best.startswith(group)):
        elsewhere = {each for name in GROUPS for keys in settings_by_option(name).values() for each in keys}
        best = nearest(key, elsewhere) or best
    if best is not None:
        return f"unknown setting {key!r}: did you mean {best!r}?"
    top = set(tree) - {"hydra"}
    return f"unknown setting {key!r}{did_you_mean(key, top, listed=30)}"


def first_line(failure: BaseException) -> str:
    """The first line of an error's text, for the rare mistake that has no line of ours."""
    text = str(failure).strip()
    return text.splitlines()[0].strip() if text else type(failure).__name__


def _value_at(path: str, tree: Tree) -> object:
    here: object = tree
    for part in path.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return here
