"""What every way is given, and what it hands back: the same records, orders and first parameters to all of them."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from torch import nn

from conf.received_files import read_received
from experiments.benchmarks.workload import Workload
from federation.documents import Document
from federation.durable_files import write_durably
from federation.models.build import build_model
from federation.models.parameters import initial_parameters, load

WORK_FILE: Final = "workload.json"
RECORDS_FILE: Final = "records.safetensors"
_MIB: Final = 1024
"""Kibibytes: the unit of ``ru_maxrss`` on Linux."""


class Finished(Document):
    """What one run of a way took, and how good its model is on all training patients.

    A round's time runs from the end of the round before, so the first round, and everything before it, is left out.
    """

    round_seconds: tuple[float, ...]
    loss: float
    """Mean binary cross entropy, in nats."""
    accuracy: float
    threads: int
    """Threads of one tensor operation in the main process."""
    workers: int
    """Processes beside the main one that trained, with one thread each."""
    peak_mib: float
    """Resident memory of the main process at its highest. Worker processes are not in it."""


class Missing(Document):
    """The way cannot be taken here."""

    missing: str
    """Why."""


@dataclass(frozen=True)
class Given:
    """The work of all ways.

    Args:
        workload: Sizes, model, privacy.
        features: ``[S, R, F]`` float32 for S sites of R patients.
        outcomes: ``[S, R]`` float32.
        orders: ``[S, rounds, R]``: in which order a site takes its patients in a round of plain training.
        initial: ``[D]`` float32.
    """

    workload: Workload
    features: NDArray[np.float32] = field(repr=False)
    outcomes: NDArray[np.float32] = field(repr=False)
    orders: NDArray[np.int64] = field(repr=False)
    initial: NDArray[np.float32] = field(repr=False)

    def model(self) -> nn.Module:
        """A module with the initial parameters."""
        module = empty_model(self.workload)
        load(module, self.initial)
        return module


def empty_model(workload: Workload) -> nn.Module:
    """The workload's module; its values are to be loaded."""
    return build_model(
        workload.model, task="binary", num_features=workload.num_features, num_outputs=1, private=workload.private
    )


def give(workload: Workload, folder: Path) -> None:
    """Write what :func:`read_given` reads."""
    seed = workload.manifest().initial_seed
    arrays = {
        "features": np.stack([site.training.in_memory for site in workload.data]),
        "outcomes": np.stack([site.training.known_outcomes for site in workload.data]),
        "orders": np.array(
            [[workload.order(site, epoch) for epoch in range(workload.rounds)] for site in workload.sites]
        ),
        "initial": initial_parameters(empty_model(workload), seed=seed),
    }
    write_durably(folder / RECORDS_FILE, save(arrays))
    write_durably(folder / WORK_FILE, workload.model_dump_json().encode())


def read_given(folder: Path) -> Given:
    """The work that lies in a folder.

    Raises:
        InvalidInputError: If it holds none.
    """
    workload = read_received(folder / WORK_FILE, Workload)
    arrays = load_file(folder / RECORDS_FILE)
    return Given(
        workload=workload,
        features=arrays["features"],
        outcomes=arrays["outcomes"],
        orders=arrays["orders"],
        initial=arrays["initial"],
    )


def parameters_file(folder: Path, way: str) -> Path:
    """Where a way leaves its final parameters."""
    return folder / f"{way}.safetensors"


def hand_back(
    given: Given, parameters: NDArray[np.float32], ends: Sequence[float], *, folder: Path, way: str, workers: int
) -> Finished:
    """Keep the final parameters and judge them.

    Args:
        given: The work.
        parameters: ``[D]`` after the last round.
        ends: When each round ended, in seconds of any clock.
        folder: Of the work.
        way: Name of the way.
        workers: Processes beside this one that trained.
    """
    write_durably(
        parameters_file(folder, way), save({"parameters": np.ascontiguousarray(parameters, dtype=np.float32)})
    )
    loss, accuracy = judge(given, parameters)
    return Finished(
        round_seconds=tuple(float(value) for value in np.diff(np.array(ends))),
        loss=loss,
        accuracy=accuracy,
        threads=torch.get_num_threads(),
        workers=workers,
        peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB, 1),
    )


def judge(given: Given, parameters: NDArray[np.float32]) -> tuple[float, float]:
    """Mean loss and accuracy over the training patients of all sites."""
    model = empty_model(given.workload)
    load(model, parameters)
    outcomes = torch.from_numpy(given.outcomes)
    with torch.no_grad():
        outputs = torch.stack([model(torch.from_numpy(features))[:, 0] for features in given.features])
    loss = nn.functional.binary_cross_entropy_with_logits(outputs, outcomes)
    return float(loss), float(((outputs > 0) == (outcomes > 0)).double().mean())
