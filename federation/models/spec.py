"""Tasks and networks described as frozen data; :mod:`federation.models.build` turns them into modules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.documents import Document

Activation = Literal["relu", "tanh", "gelu"]
Normalisation = Literal["none", "layer", "group", "batch"]
Width = Annotated[int, Field(ge=1, le=65_536)]


class LinearSpec(Document):
    """Logistic, multinomial or linear regression, by the task."""

    kind: Literal["linear"]
    bias: bool = True


class MlpSpec(Document):
    """Fully connected network."""

    kind: Literal["mlp"]
    hidden: Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)]
    activation: Activation = "tanh"
    normalisation: Literal["none", "layer", "batch"] = "none"
    """``batch`` mixes patients: refused when training is private."""


class CnnSpec(Document):
    """Small convolutional network for images of ``channels x height x width`` values, flattened in that order."""

    kind: Literal["cnn"]
    image_shape: tuple[Width, Width, Width]
    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=4)] = (16, 32)
    """Output channels of each 3x3 convolution; each is followed by 2x2 max pooling."""
    hidden: Width = 64
    activation: Activation = "relu"
    normalisation: Normalisation = "none"
    """``batch`` mixes patients: refused when training is private."""


class UnetSpec(Document):
    """Small U-Net: a mask of ``height x width`` pixels for an image of ``channels x height x width`` values."""

    kind: Literal["unet"]
    image_shape: tuple[Width, Width, Width]
    channels: Annotated[tuple[Width, ...], Field(min_length=2, max_length=5)] = (8, 16, 32)
    """Width of each level; every level but the first has half the height and width of the one above it."""
    activation: Activation = "relu"
    normalisation: Literal["none", "layer", "group"] = "group"


ModelSpec = Annotated[LinearSpec | MlpSpec | CnnSpec | UnetSpec, Field(discriminator="kind")]
