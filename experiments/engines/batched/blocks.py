"""How the sites of a round are divided: by memory, and among the cores where a single site fills one."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import torch

from federation.errors import ConfigurationError
from federation.models.stacked.convolution import ConvolutionLayer
from federation.models.stacked.network import StackedNetwork
from federation.study.manifest import StudyManifest
from site_client.patients import SiteData

Device = Literal["auto", "cpu", "cuda"]

_MODELS_OF_A_SITE: Final = 12
"""Float32 vectors of a model's length that a site needs at most: parameters, gradient, moments, float64 sums, a step's noise."""
_VALUES_OF_A_RECORD: Final = 6
"""Copies of a record's features and activations, forward and backward, float64 among them."""


@dataclass(frozen=True)
class BlockPlan:
    """Which sites are computed together, by how many threads, on which device.

    Args:
        block_sites: Sites of a block.
        num_threads: Blocks under way at the same time.
        device: Of the tensors.
    """

    block_sites: int
    num_threads: int
    device: torch.device

    def groups(self, sites: Sequence[SiteData]) -> list[Sequence[SiteData]]:
        """The blocks, in order."""
        return [sites[start : start + self.block_sites] for start in range(0, len(sites), self.block_sites)]

    @contextmanager
    def threads(self) -> Generator[ThreadPoolExecutor]:
        """Workers for the blocks of a round. Each computes on one core: the cores are taken already."""
        before = torch.get_num_threads()
        if self.num_threads > 1:
            torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(self.num_threads, initializer=_one_core) as pool:
                yield pool
        finally:
            torch.set_num_threads(before)


def _one_core() -> None:
    torch.set_num_threads(1)


def plan_blocks(
    manifest: StudyManifest,
    network: StackedNetwork,
    sites: Sequence[SiteData],
    *,
    device: Device = "auto",
    memory_mib: int = 1024,
    num_threads: int | None = None,
) -> BlockPlan:
    """Divide the sites so that a block's tensors fit into memory.

    Args:
        manifest: Of the study.
        network: Its network.
        sites: All of them.
        device: ``auto`` takes an accelerator if there is one.
        memory_mib: What the tensors of all blocks under way may take, beside the records.
        num_threads: Blocks at the same time; ``None``: one for each core where a site's work fills a core, else one.

    Raises:
        ConfigurationError: If the device is not there.
    """
    chosen = _device(device)
    fills_a_core = chosen.type == "cpu" and any(isinstance(layer, ConvolutionLayer) for layer in network.layers)
    cores = len(os.sched_getaffinity(0))
    threads = num_threads or (min(cores, len(sites)) if fills_a_core else 1)
    width = len(sites[0].training.feature_names)
    batch = max(
        manifest.schedule.batch_size,
        *(int(1.5 * _drawn(manifest, site)) for site in sites),
    )
    of_a_site = 4 * (_MODELS_OF_A_SITE * network.num_parameters + batch * _VALUES_OF_A_RECORD * _widest(network, width))
    fitting = max(1, memory_mib * 2**20 // max(1, of_a_site * threads))
    even = -(-len(sites) // threads)
    return BlockPlan(1 if fills_a_core else min(fitting, even), threads, chosen)


def _drawn(manifest: StudyManifest, site: SiteData) -> float:
    return manifest.mechanism(site.site).divisor if manifest.training_event() is not None else 0.0


def _widest(network: StackedNetwork, num_features: int) -> int:
    """Values of a record over all layers, roughly: its features once for each layer, and as many as there are biases."""
    return len(network.layers) * num_features + int(network.num_parameters**0.5)


def _device(wanted: Device) -> torch.device:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigurationError(
            "expected an accelerator for engine.device=cuda, got none", remedy="use engine.device=auto"
        )
    return torch.device("cuda")
