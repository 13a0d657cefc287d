"""How the sites of a round are divided: by memory, and among the cores where a single site fills one."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import Final, Literal

import torch

from experiments.engines.batched.block_memory import bytes_ahead, most_places, site_bytes, worker_bytes
from experiments.engines.batched.draws import MOST_BYTES
from federation.errors import ConfigurationError
from federation.models.stacked.convolution import ConvolutionLayer
from federation.models.stacked.network import StackedNetwork
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from site_client.patients import SiteData

Device = Literal["auto", "cpu", "cuda"]

_SITES_OF_A_WORKER: Final = 4
"""Of small networks. With fewer the calls of a step, which are as many for one site as for all, cost more than a core gives."""
_LEAST_SITES: Final = 2
"""Of a block of small networks: a stack of one is multiplied by other code, whose last bits differ."""
_FILLS_A_CORE: Final = 2**25
"""Products of one site's step, forward and back, from which on the calls hardly count: a millisecond."""
_WORTH_A_WORKER: Final = 2**32
"""Products of a study, from which on copies of this process are made: a sixth of a second of one core. To make them, and their
first touch of everything, takes a fifth of that."""
_CALLS_OF_A_STEP: Final = 2**22
"""The time of a step's calls, in products."""
_PRIVATE: Final = 4
"""A private step's time, in plain ones: norms, noise."""


@dataclass(frozen=True)
class BlockPlan:
    """Which sites are computed together, by how many processes, on which device.

    Args:
        block_sites: Sites of a block.
        num_workers: Blocks under way at the same time.
        device: Of the tensors.
        is_even: Whether a step has as many places in every block: then a site's numbers do not hang on the blocks. Where blocks
            are single sites whatever the number of workers is, each has its own.
        needed_bytes: What the tensors of all blocks under way take, counted. More than was allowed where the fewest sites that
            are computed together need it.
        bytes_ahead: For each thing that a worker makes for several steps at once.
    """

    block_sites: int
    num_workers: int
    device: torch.device
    is_even: bool = True
    needed_bytes: int = 0
    bytes_ahead: int = MOST_BYTES

    def groups(self, sites: Sequence[SiteData]) -> list[Sequence[SiteData]]:
        """The blocks, in order, of like size."""
        number = -(-len(sites) // self.block_sites)
        ends = [len(sites) * (place + 1) // number for place in range(number)]
        return [sites[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@contextmanager
def torch_on_one_core() -> Generator[None]:
    """Sums must not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def plan_blocks(
    manifest: StudyManifest,
    network: StackedNetwork,
    sites: Sequence[SiteData],
    *,
    device: Device = "auto",
    memory_mib: int = 1024,
    num_workers: int | None = None,
) -> BlockPlan:
    """Divide the sites so that the tensors of the blocks under way fit into memory, as far as a block can be divided.

    Without ``num_workers`` there are no more of them than fit, too.

    Args:
        manifest: Of the study.
        network: Its network.
        sites: All of them.
        device: ``auto`` takes an accelerator if there is one.
        memory_mib: What the tensors of all blocks under way may take, beside the records and the row numbers of a round's draws.
        num_workers: Processes that compute blocks; ``None``: as many as there are cores and the work is worth, see
            :func:`worthwhile_workers`.

    Raises:
        ConfigurationError: If the device is not there.
    """
    chosen = _device(device)
    batch = most_places(manifest, sites)
    products = 6 * batch * network.num_parameters
    convolves = any(isinstance(layer, ConvolutionLayer) for layer in network.layers)
    private = isinstance(manifest.privacy, PatientLevelPrivacy)
    one_by_one = chosen.type == "cpu" and (convolves or products >= _FILLS_A_CORE)
    most = max(1, len(sites) // (1 if one_by_one else _LEAST_SITES))
    workers = 1
    if chosen.type == "cpu":
        steps = manifest.schedule.rounds * manifest.schedule.local_steps
        work = steps * (_CALLS_OF_A_STEP + len(sites) * products) * (_PRIVATE if private else 1)
        workers = num_workers or worthwhile_workers(len(sites), work=work, fills_a_core=one_by_one)
    of_a_site = site_bytes(
        manifest,
        network,
        num_features=len(sites[0].training.feature_names),
        places=batch,
        single=all(site.training.num_patients == site.training.num_records for site in sites),
        unfolds=chosen.type != "cpu",
    )
    memory, workers = memory_mib * 2**20, min(workers, most)
    if num_workers is None:
        workers = _fitting_workers(workers, of_a_block=(1 if one_by_one else _LEAST_SITES) * of_a_site, memory=memory)
    ahead = bytes_ahead(memory, workers=workers)
    fitting = max(1, (memory // workers - worker_bytes(ahead)) // of_a_site)
    number = len(sites) if one_by_one else min(most, max(workers, -(-len(sites) // fitting)))
    block_sites = -(-len(sites) // number)
    needed = workers * (block_sites * of_a_site + worker_bytes(ahead))
    return BlockPlan(block_sites, workers, chosen, is_even=not one_by_one, needed_bytes=needed, bytes_ahead=ahead)


def _fitting_workers(most: int, *, of_a_block: int, memory: int) -> int:
    """The most workers whose smallest blocks fit, at least one. The fewer they are, the more each makes ahead."""
    for number in range(most, 1, -1):
        if number * (of_a_block + worker_bytes(bytes_ahead(memory, workers=number))) <= memory:
            return number
    return 1


def worthwhile_workers(num_sites: int, *, work: int, fills_a_core: bool) -> int:
    """How many processes make a study faster: one for each core that this process may use.

    One in a process that another one started (a job of a sweep): its brothers have the cores already.

    Args:
        num_sites: Of the study.
        work: Products of the study, and what its calls are worth in products.
        fills_a_core: Whether a single site's step does.
    """
    if parent_process() is not None or work < _WORTH_A_WORKER:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), num_sites // (1 if fills_a_core else _SITES_OF_A_WORKER)))


def _device(wanted: Device) -> torch.device:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigurationError(
            "expected an accelerator for engine.device=cuda, got none", remedy="use engine.device=auto"
        )
    return torch.device("cuda")
