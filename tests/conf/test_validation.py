from __future__ import annotations

import math
from typing import Annotated, Literal

import pytest
from pydantic import Field

from conf.validation import build, refuse_unsafe
from federation.documents import Document
from federation.errors import ConfigurationError


class Circle(Document):
    kind: Literal["circle"]
    radius: Annotated[float, Field(gt=0)]


class Square(Document):
    kind: Literal["square"]
    side: int


class Drawing(Document):
    name: str = ""
    shape: Annotated[Circle | Square, Field(discriminator="kind")]
    layers: tuple[int, ...] = ()
    shapes: tuple[Annotated[Circle | Square, Field(discriminator="kind")], ...] = ()


def _refused(tree: dict[str, object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        build(Drawing, tree)
    return str(caught.value)


def test_a_valid_tree_becomes_a_frozen_document() -> None:
    drawing = build(Drawing, {"shape": {"kind": "circle", "radius": 2}, "layers": [1, 2]})
    assert drawing == Drawing(shape=Circle(kind="circle", radius=2.0), layers=(1, 2))


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"shape": {"kind": "circle", "radius": "wide"}}, "shape.radius: expected a valid number, got 'wide'\n  → write for example shape.radius=0.5"),
        ({"shape": {"kind": "circle", "radius": 0}}, "shape.radius: expected greater than 0, got 0"),
        ({"shape": {"kind": "circle"}}, "missing setting 'shape.radius': choose shape=circle as a whole, which brings every setting it needs"),
        ({"shape": {"kind": "circle", "radius": 1, "radios": 1}}, "unknown setting 'shape.radios': did you mean 'shape.radius'?"),
        ({"shape": {"kind": "cirle", "radius": 1}}, "shape.kind: expected one of 'circle', 'square', got 'cirle'"),
        ({"shape": {"kind": "square", "side": 1.5}}, "shape.side: expected a valid integer, got 1.5\n  → write for example shape.side=10"),
        ({"shape": {"kind": "square", "side": 1}, "layers": [1, "x"]}, "layers[1]: expected a valid integer, got 'x'\n  → write for example layers[1]=10"),
        ({"shape": {"kind": "square", "side": 1}, "layers": 3}, "layers: expected a list, got 3\n  → write for example layers=[1,2]"),
        ({"shape": {"kind": "square", "side": 1}, "shapes": [{"kind": "circle", "radius": "x"}]}, "shapes[0].radius: expected a valid number, got 'x'\n  → write for example shapes[0].radius=0.5"),
    ],
)  # fmt: skip
def test_every_mistake_is_a_line_with_path_value_and_fix(tree: dict[str, object], expected: str) -> None:
    assert _refused(tree) == expected


def test_several_mistakes_are_several_lines() -> None:
    text = _refused({"shape": {"kind": "square", "side": "x"}, "layers": 3})
    assert [line.split(":")[0] for line in text.splitlines()[:2]] == ["shape.side", "layers"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(number: float) -> None:
    assert _refused({"shape": {"kind": "circle", "radius": number}}).startswith(
        "shape.radius: expected a finite number"
    )


@pytest.mark.parametrize("key", ["_target_", "_partial_"])
def test_keys_that_name_code_are_refused_at_any_depth(key: str) -> None:
    with pytest.raises(ConfigurationError, match="names code to run"):
        refuse_unsafe({"study": {"options": [{"deep": {key: "os.system"}}]}})


def test_interpolation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected a plain value"):
        refuse_unsafe({"name": "${oc.env:HOME}"})


def test_a_password_in_an_address_is_refused_and_never_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        refuse_unsafe({"tracking": {"uri": "https://anna:s3cret@tracking.example/x"}})
    text = str(caught.value) + repr(caught.value.as_dict())
    assert "tracking.uri" in text
    assert "s3cret" not in text


def test_ordinary_values_pass() -> None:
    refuse_unsafe({"uri": "https://tracking.example:5000/a@b", "name": "a_target_b", "n": 1.5, "none": None})
