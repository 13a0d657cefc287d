"""Faults of the stacked kernels that the replay must notice. Each stands in the shipped code only while its test runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from federation.models.stacked.sinks import RecordGradients
from site_client import kernel_step
from site_client.kernel_step import KernelGradients

Patch = pytest.MonkeyPatch
Fault = Callable[[Patch], None]


def no_clip_in_kernels(patch: Patch) -> None:
    patch.setattr(kernel_step, "clipping_factors", lambda norms, _bound: torch.ones_like(norms))


def clip_per_record_in_kernels(patch: Patch) -> None:
    patch.setattr(
        kernel_step, "_same_patient", lambda _owners, records: torch.eye(records, dtype=torch.float64).unsqueeze(0)
    )


def truncated_draw_in_kernels(patch: Patch) -> None:
    original = KernelGradients.clipped_sum
    patch.setattr(KernelGradients, "clipped_sum", lambda self, patients, **rest: original(self, patients[:4], **rest))


def unusable_records_in_kernels(patch: Patch) -> None:
    patch.setattr(RecordGradients, "forget", lambda _self, _records: None)


def promised_norm_in_kernels(patch: Patch) -> None:
    """Clipping at more than is promised."""
    patch.setattr(kernel_step, "working_norm", lambda clipping_norm, **_: 1.01 * clipping_norm)


KERNEL_FAULTS: dict[str, tuple[Fault, str]] = {
    "kernels: no clip": (no_clip_in_kernels, "distance"),
    "kernels: clip per record": (clip_per_record_in_kernels, "distance"),
    "kernels: truncated draw": (truncated_draw_in_kernels, "distance"),
    "kernels: unusable records in products": (unusable_records_in_kernels, "distance|finite"),
    "kernels: clipped at more than is promised": (promised_norm_in_kernels, "distance"),
}
