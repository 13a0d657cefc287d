"""The YAML of a mapping file: words stay words, no key is given twice, and nothing in it may be a secret."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, ClassVar, Final

import yaml

from federation.errors import MappingError

_SECRET_KEY: Final = re.compile(r"(?i)(^|_)(dsn|password|passwd|pwd|secret|token|url|uri)$")
_SECRET_VALUE: Final = re.compile(r"(?i)\b\w+://|\bpassword\s*=")


class _MappingLoader(yaml.SafeLoader):
    """Safe YAML in which `No` and `on` stay words, as local codes often are, and no key is given twice."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        keys = [str(self.construct_object(key, deep=True)) for key, _ in node.value]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise MappingError(
                f"line {node.start_mark.line + 1}: expected every key once, got {repeated} twice",
                remedy="remove one of them",
            )
        return super().construct_mapping(node, deep=deep)


_MappingLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF"))


def load_mapping_text(text: str) -> object:
    """JSON-like data of a mapping file's text.

    Raises:
        MappingError: Not YAML, a key given twice, or something that looks like a secret (never repeated).
    """
    loader = _MappingLoader(text)
    try:
        data: object = loader.get_single_data()
    except yaml.YAMLError as failure:
        mark = failure.problem_mark if isinstance(failure, yaml.MarkedYAMLError) else None
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise MappingError(
            f"expected a mapping file in YAML, got text that does not parse{where}",
            remedy="correct indentation, colons and quotes there",
        ) from failure
    finally:
        loader.dispose()
    _refuse_secrets(data, path="")
    return data


def _refuse_secrets(data: object, *, path: str) -> None:
    if isinstance(data, dict):
        for key, value in data.items():
            where = f"{path}.{key}".lstrip(".")
            if path == "source" and _SECRET_KEY.search(str(key)):
                _refuse(where)
            _refuse_secrets(value, path=where)
    elif isinstance(data, list):
        for item in data:
            _refuse_secrets(item, path=path)
    elif isinstance(data, str) and _SECRET_VALUE.search(data):
        _refuse(path)


def _refuse(path: str) -> None:
    raise MappingError(
        f"{path}: expected no address or password in a mapping file, got something that looks like one",
        remedy="put the address into an environment variable, and its name into source.dsn_environment_variable",
    )
