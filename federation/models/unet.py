"""A small U-Net (Ronneberger et al. 2015) that treats every record alone: group normalisation, no batch statistics, no dropout.

Every level has two 3x3 convolutions; going down halves the image by max pooling, going up doubles it by repeating pixels, followed
by a convolution over it and the same level's features from the way down. There is no transposed convolution: repeated pixels leave
no checkerboard, and every parameter belongs to a layer whose gradient of a single record is known.

Axis names: R records, C channels, H height, W width, K = H x W outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from federation.errors import ManifestError
from federation.models.spec import UnetSpec

Make = Callable[[], nn.Module]


class Unet(nn.Module):
    """From flattened images ``[R, C * H * W]`` to logits of every pixel ``[R, H * W]``.

    Args:
        spec: Shape and widths.
        activation: Makes an activation.
        normalise: Makes a normalisation of so many channels.
    """

    def __init__(self, spec: UnetSpec, *, activation: Make, normalise: Callable[[int], list[nn.Module]]) -> None:
        super().__init__()
        depth = spec.image_shape[0]
        self.shape = spec.image_shape

        def twice(inputs: int, outputs: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for before in (inputs, outputs):
                layers += [nn.Conv2d(before, outputs, 3, padding=1), *normalise(outputs), activation()]
            return nn.Sequential(*layers)

        widths = spec.channels
        self.down = nn.ModuleList(
            [twice(before, after) for before, after in zip((depth, *widths[:-1]), widths, strict=True)]
        )
        self.up = nn.ModuleList(
            [twice(below + beside, beside) for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)]
        )
        self.pool = nn.MaxPool2d(2)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of every pixel."""
        values = features.reshape(len(features), *self.shape)
        beside: list[Tensor] = []
        for level, block in enumerate(self.down):
            values = block(values if level == 0 else self.pool(values))
            beside.append(values)
        for level, block in enumerate(self.up):
            values = block(torch.cat([beside[-2 - level], self.enlarge(values)], dim=1))
        return self.head(values).flatten(1)


def check_unet(spec: UnetSpec, *, num_features: int, num_outputs: int) -> None:
    """Check that image, mask and halvings fit.

    Raises:
        ManifestError: If they do not.
    """
    depth, height, width = spec.image_shape
    if depth * height * width != num_features or height * width != num_outputs:
        raise ManifestError(
            f"model.image_shape: expected an image of {num_features} values and a mask of {num_outputs} pixels, got "
            f"{depth} x {height} x {width}",
            remedy="give the shape of the contract's image; its mask has the same height and width",
        )
    factor = 2 ** (len(spec.channels) - 1)
    if height % factor or width % factor:
        raise ManifestError(
            f"model.channels: expected sides that {factor} divides for {len(spec.channels)} levels, got {height} x {width}",
            remedy="use fewer levels, or images of another size",
        )
