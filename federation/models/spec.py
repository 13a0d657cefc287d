"""Tasks and networks described as frozen data; :mod:`federation.models.build` turns them into modules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

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


class Cnn1dSpec(Document):
    """Small convolutional network over signals of ``channels x samples`` values, flattened in that order."""

    kind: Literal["cnn1d"]
    signal_shape: tuple[Width, Width]
    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=6)] = (8, 16)
    """Output channels of each convolution; each is followed by max pooling."""
    kernel: Annotated[int, Field(ge=1, le=63)] = 7
    """Samples that a convolution sees; odd, so that it keeps the length."""
    pooling: Annotated[int, Field(ge=1, le=16)] = 2
    """Samples of each maximum; 1: none."""
    hidden: Width = 32
    activation: Activation = "relu"
    normalisation: Normalisation = "none"
    """``batch`` mixes patients: refused when training is private."""

    @field_validator("kernel")
    @classmethod
    def _check_odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            message = f"expected an odd kernel, got {kernel}"
            raise ValueError(message)
        return kernel


class GruSpec(Document):
    """Gated recurrent unit over signals of ``channels x samples`` values; its last state goes through a linear layer."""

    kind: Literal["gru"]
    signal_shape: tuple[Width, Width]
    hidden: Annotated[int, Field(ge=1, le=1024)] = 16
    step_samples: Annotated[int, Field(ge=1, le=4096)] = 1
    """Successive samples that enter one step together; the number of samples is a multiple of it."""


ModelSpec = Annotated[LinearSpec | MlpSpec | CnnSpec | UnetSpec | Cnn1dSpec | GruSpec, Field(discriminator="kind")]
