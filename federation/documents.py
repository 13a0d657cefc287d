"""Documents that parties agree on: frozen, strictly validated, with canonical bytes and a digest.

Every agreed document (study manifest, data contract, mapping file) derives from :class:`Document`. It is read from
plain JSON-like data in pydantic's strict JSON mode: unknown keys, missing keys and wrong types are errors, and nothing is
coerced. Canonical bytes follow RFC 8785 (JSON Canonicalization Scheme) with every float written as its shortest
decimal string, because implementations of number formatting disagree and signatures must not.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Final, Self, cast

import rfc8785
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from federation.errors import CohortiumError, ManifestError

_LONGEST_SHOWN: Final = 80

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Document(BaseModel):
    """A frozen, strictly validated value with canonical bytes.

    Two documents are the same exactly if their digests are.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        ser_json_inf_nan="strings",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema, with fields described by the texts below them.

        They are looked up here: pydantic's ``use_attribute_docstrings`` parses the source of every class when it is imported.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in _field_texts(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema

    @classmethod
    def from_data(cls, data: object, *, error: type[CohortiumError] = ManifestError) -> Self:
        """Build from JSON-like data (dict, list, str, int, float, bool, None).

        Args:
            data: What a YAML or JSON file holds.
            error: Class of the error to raise.

        Raises:
            CohortiumError: ``error``, naming each path, the value found there and the fix.
        """
        try:
            text = json.dumps(data, allow_nan=False, default=str)
        except ValueError as failure:
            raise error(
                "expected JSON-like data, got NaN, infinity or a circular structure",
                remedy="write numbers as finite decimals",
            ) from failure
        return cls.from_json(text, error=error)

    @classmethod
    def from_json(cls, text: str | bytes, *, error: type[CohortiumError] = ManifestError) -> Self:
        """Build from JSON text. See :meth:`from_data`."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as failure:
            raise error(_explain(failure, cls), remedy=_remedy(failure), problems=failure.error_count()) from failure

    def as_data(self) -> dict[str, Json]:
        """The document as JSON-like data, every default written out."""
        return self.model_dump(mode="json")

    def canonical_bytes(self) -> bytes:
        """RFC 8785 bytes with floats as shortest decimal strings."""
        return rfc8785.dumps(_canonical(self.as_data()))

    @property
    def digest(self) -> str:
        """``sha256:`` and the hexadecimal SHA-256 of :meth:`canonical_bytes`."""
        return "sha256:" + hashlib.sha256(self.canonical_bytes()).hexdigest()


def _field_texts(kind: type[BaseModel]) -> dict[str, str]:
    """By field: the text below it in its class, or in the one that it is inherited from."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not issubclass(base, Document) or base is Document:
            continue
        body = cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]).body
        for place, after in zip(body, [*body[1:], None], strict=True):
            match place, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = inspect.cleandoc(text)
                case ast.AnnAssign(target=ast.Name(id=name)), _:
                    texts.pop(name, None)
                case _:
                    pass
    return texts


def _canonical(value: Json) -> Json:
    match value:
        case bool() | None | str():
            return value
        case float():
            if not math.isfinite(value):
                raise ManifestError(f"expected a finite number in a signed document, got {value!r}")
            return "float:" + repr(value + 0.0)  # equal numbers have equal bytes: -0.0 is 0.0
        case int():
            # RFC 8785 numbers are IEEE doubles; beyond 2**53 an integer is written as text.
            return value if abs(value) < 2**53 else f"int:{value}"
        case list():
            return [_canonical(item) for item in value]
        case dict():
            return {key: _canonical(item) for key, item in value.items()}


def _explain(failure: ValidationError, kind: type[BaseModel]) -> str:
    lines: list[str] = []
    for problem in failure.errors(include_url=False):
        path = _path(problem["loc"])
        got = "" if problem["type"] == "missing" else f", got {_short(problem['input'])}"
        lines.append(f"{path or kind.__name__}: {problem['msg']}{got}{_hint(problem, kind)}")
    return "\n".join(lines)


def _path(location: Sequence[int | str]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else (f".{part}" if path else str(part))
    return path


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def _hint(problem: Mapping[str, object], kind: type[BaseModel]) -> str:
    location = problem["loc"]
    if problem["type"] != "extra_forbidden" or not isinstance(location, tuple):
        return ""
    names = _field_names(kind)
    nearest = difflib.get_close_matches(str(location[-1]), sorted(names), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def _field_names(kind: type[BaseModel]) -> set[str]:
    schema = kind.model_json_schema()
    definitions = [schema, *schema.get("$defs", {}).values()]
    return {name for definition in definitions for name in definition.get("properties", {})}


def _remedy(failure: ValidationError) -> str:
    kinds = {problem["type"] for problem in failure.errors(include_url=False)}
    if "extra_forbidden" in kinds:
        return "remove or rename the unknown key; nothing is ignored"
    if "missing" in kinds:
        return "add the missing key"
    return "correct the value at the path shown"
