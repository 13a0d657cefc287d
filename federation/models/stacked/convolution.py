"""Convolutions of many sites.

On a CPU each site's images go through the library's own convolution, which is faster than any stacking; a pixel's channels lie
together in memory. On an accelerator all sites' patches are multiplied at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from federation.models.stacked.layers import Cache, pixels_together
from federation.models.stacked.sinks import GradientSink, Span

_ATEN = torch.ops.aten
_MOST_VALUES = 2**19
"""Values of patches that are made at once on a CPU: 2 MiB."""


@dataclass(frozen=True)
class ConvolutionLayer:
    """A square convolution of stride 1 over images ``[S, B, C, H, W]`` that keeps their size.

    Args:
        weight: ``[out, C, size, size]``.
        bias: ``[out]``, or ``None``.
        size: Odd side of the window.
    """

    weight: Span
    bias: Span | None
    size: int

    @property
    def _padding(self) -> int:
        return self.size // 2

    def forward(self, theta: Tensor, inputs: Tensor) -> tuple[Tensor, Cache]:
        """``[S, B, C, H, W]`` to ``[S, B, out, H, W]``."""
        weights = self.weight.view(theta)
        if inputs.is_cuda:
            patches = self._unfolded(inputs)
            outputs = torch.matmul(weights.flatten(2).unsqueeze(1), patches)
            if self.bias is not None:
                outputs += self.bias.view(theta)[:, None, :, None]
            return outputs.unflatten(3, inputs.shape[3:]), patches
        biases = [None] * len(weights) if self.bias is None else list(self.bias.view(theta))
        images = pixels_together(inputs.flatten(0, 1))
        parts = [
            functional.conv2d(some, pixels_together(weight), bias, padding=self._padding)
            for some, weight, bias in zip(images.split(inputs.shape[1]), weights, biases, strict=True)
        ]
        return _joined(parts), images.unflatten(0, inputs.shape[:2])

    def _unfolded(self, images: Tensor) -> Tensor:
        """``[S, B, C size^2, H W]``: what every pixel of the output sees, as the library gives it."""
        flat = images.flatten(0, 1)
        return functional.unfold(flat, self.size, padding=self._padding).unflatten(0, images.shape[:2])

    def _patches(self, images: Tensor) -> Tensor:
        """``[S, B, H W, size^2 C]``: the same with a pixel's channels together, where lines of a window are copied whole."""
        height, width = images.shape[3:]
        flat = pixels_together(images.flatten(0, 1)).permute(0, 2, 3, 1)
        padded = functional.pad(flat, [0, 0] + [self._padding] * 4)
        record, line, pixel, _ = padded.stride()
        windows = padded.as_strided(
            (len(flat), height, width, self.size, self.size * flat.shape[3]), (record, line, pixel, line, 1)
        )
        return windows.reshape(*images.shape[:2], height * width, -1)

    def backward(
        self, theta: Tensor, cache: Cache, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        """The gradient of a record is written out: the window's weights are few, whatever the image's size."""
        if gradient.is_cuda:
            flat = gradient.flatten(3)
            if self.bias is not None:
                sink.rows(self.bias, flat.sum(dim=3))
            sink.rows(self.weight, torch.matmul(flat, cache.transpose(2, 3)))
            return self._input_gradient(theta, gradient) if wants_input else None
        gradient = pixels_together(gradient.flatten(0, 1)).unflatten(0, gradient.shape[:2])
        if sink.per_record:
            self._hand_over(cache, gradient, sink)
            return self._input_gradient(theta, gradient) if wants_input else None
        return self._summed(theta, cache, gradient, sink, wants_input=wants_input)

    def _hand_over(self, images: Tensor, gradient: Tensor, sink: GradientSink) -> None:
        flat = gradient.flatten(3).transpose(2, 3)
        if self.bias is not None:
            sink.rows(self.bias, flat.sum(dim=2))
        # Some records at a time: patches are as large as nine images, and memory that is new for every step is dear.
        at_once = max(1, _MOST_VALUES // (images[0, 0].numel() * self.size**2 * len(images)))
        parts = [
            torch.matmul(some.transpose(2, 3), self._patches(seen))
            for some, seen in zip(flat.split(at_once, dim=1), images.split(at_once, dim=1), strict=True)
        ]
        windows = torch.cat(parts, dim=1).unflatten(3, (self.size, self.size, images.shape[2]))
        sink.rows(self.weight, windows.permute(0, 1, 2, 5, 3, 4))

    def _input_gradient(self, theta: Tensor, gradient: Tensor) -> Tensor:
        weights = self.weight.view(theta)
        if gradient.is_cuda:
            columns = torch.matmul(weights.flatten(2).transpose(1, 2).unsqueeze(1), gradient.flatten(3))
            images = functional.fold(columns.flatten(0, 1), gradient.shape[3:], self.size, padding=self._padding)
            return images.unflatten(0, gradient.shape[:2])
        parts = [
            functional.conv_transpose2d(images, pixels_together(weight), padding=self._padding)
            for images, weight in zip(gradient, weights, strict=True)
        ]
        return _joined(parts)

    def _summed(
        self, theta: Tensor, images: Tensor, gradient: Tensor, sink: GradientSink, *, wants_input: bool
    ) -> Tensor | None:
        found: list[tuple[Tensor | None, Tensor, Tensor]] = [
            _ATEN.convolution_backward(
                grad,
                image,
                weight,
                bias_sizes=[len(weight)],
                stride=[1, 1],
                padding=[self._padding] * 2,
                dilation=[1, 1],
                transposed=False,
                output_padding=[0, 0],
                groups=1,
                output_mask=[wants_input, True, self.bias is not None],
            )
            for grad, image, weight in zip(gradient, images, self.weight.view(theta), strict=True)
        ]
        sink.total(self.weight, _stacked([weight for _, weight, _ in found]))
        if self.bias is not None:
            sink.total(self.bias, _stacked([bias for _, _, bias in found]))
        return _joined([image for image, _, _ in found if image is not None]) if wants_input else None


def _joined(parts: list[Tensor]) -> Tensor:
    """``[S, B, ...]`` of the sites' images, with the memory that they have; of a single site without copying."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.cat(parts).unflatten(0, (len(parts), -1))


def _stacked(parts: list[Tensor]) -> Tensor:
    """``[S, ...]``; of a single site without copying."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
