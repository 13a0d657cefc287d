"""Canaries: invented patients whose gradients point where nobody else's do.

The study's network gets one more input for every canary, added straight to its outputs with weights that start at
zero. Real patients are zero in all of them, so their gradients are what they were; canary j is zero everywhere but in
input j, so its clipped gradient is, up to one part in a million, one axis of its own (the Dirac canaries of Nasr et
al. 2023). What the attacker then sees on axis j is canary j's part and noise: no canary hides another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from federation.data.encoding import num_outputs
from federation.models.build import build_model
from federation.models.parameters import initial_parameters, load
from federation.models.task_terms import Objective
from federation.study.manifest import StudyManifest
from site_client.patients import PatientDataset

BEYOND_ANY_PREDICTION: Final = 1e9
"""A canary's outcome: no model ever predicts it, so its gradient never fades. Privacy holds for any patient, not only for
those that a contract would let in."""
_INPUT: Final = 1e6
"""A canary's input: its gradient on its own axis is so many times larger than on all shared parameters."""
_INPUT_OF_CLASSES: Final = 30.0
"""With classes an outcome cannot lie beyond prediction; a smaller input keeps the network's answer, and so the gradient, alive."""


class CanaryNetwork(nn.Module):
    """A study's network with inputs for canaries.

    Args:
        network: From ``[R, F]`` to ``[R, K]``; its parameters come first in the flat vector.
        num_features: F.
        num_canaries: m; the whole network reads ``[R, F + m]``.
        outputs: K.
    """

    def __init__(self, network: nn.Module, *, num_features: int, num_canaries: int, outputs: int) -> None:
        super().__init__()
        self.network = network
        with torch.random.fork_rng(devices=[]):
            self.canaries = nn.Linear(num_canaries, outputs, bias=False)
        nn.init.zeros_(self.canaries.weight)
        self._num_features = num_features

    def forward(self, records: Tensor) -> Tensor:
        """``[R, F + m]`` to ``[R, K]``."""
        own: Tensor = self.network(records[:, : self._num_features])
        return own + self.canaries(records[:, self._num_features :])


@dataclass(frozen=True)
class Canaries:
    """Canaries of one audit, and the network that has inputs for them.

    Args:
        dataset: A site's patients followed by the canaries whose coin said "in".
        included: ``[m]`` the coins.
        network: A :class:`CanaryNetwork` with the study's initial parameters.
        signs: ``[K, m]`` direction in which a canary pushes the weights of its own input.
    """

    dataset: PatientDataset = field(repr=False)
    included: NDArray[np.bool_] = field(repr=False)
    network: CanaryNetwork = field(repr=False)
    signs: NDArray[np.float64] = field(repr=False)

    def scores(self, moved: NDArray[np.floating]) -> NDArray[np.float64]:
        """``[m]`` how far the parameters moved the way each canary pushes.

        Args:
            moved: ``[D]`` difference of flat parameters of the network.
        """
        block = np.asarray(moved[-self.signs.size :], dtype=np.float64).reshape(self.signs.shape)
        return np.einsum("km,km->m", block, self.signs)


def with_canaries(manifest: StudyManifest, patients: PatientDataset, included: NDArray[np.bool_]) -> Canaries:
    """Add canaries to a site's training patients.

    Args:
        manifest: Sets network, task and initial parameters.
        patients: The site's training patients; each keeps its records.
        included: ``[m]`` one coin a canary.
    """
    num_canaries, num_features = included.size, patients.features.shape[1]
    outputs = num_outputs(manifest.contract, manifest.objective)
    network = build_model(
        manifest.model, task=manifest.objective, num_features=num_features, num_outputs=outputs, private=True
    )
    load(network, initial_parameters(network, seed=manifest.initial_seed))
    return Canaries(
        dataset=_dataset(patients, included, task=manifest.objective, outputs=outputs),
        included=included,
        network=CanaryNetwork(network, num_features=num_features, num_canaries=num_canaries, outputs=outputs),
        signs=_signs(num_canaries, outputs),
    )


def _dataset(patients: PatientDataset, included: NDArray[np.bool_], *, task: Objective, outputs: int) -> PatientDataset:
    chosen = np.flatnonzero(included)
    features = np.zeros((patients.num_records + chosen.size, patients.features.shape[1] + included.size), np.float32)
    features[: patients.num_records, : patients.features.shape[1]] = patients.features
    rows = patients.num_records + np.arange(chosen.size)
    features[rows, patients.features.shape[1] + chosen] = _INPUT_OF_CLASSES if task == "multiclass" else _INPUT
    outcomes = chosen % outputs if task == "multiclass" else np.full(chosen.size, BEYOND_ANY_PREDICTION)
    return PatientDataset(
        features=features,
        outcomes=np.concatenate([patients.outcomes, outcomes.astype(np.float32)]),
        patient_index=np.concatenate([patients.patient_index, patients.num_patients + np.arange(chosen.size)]),
        feature_names=(*patients.feature_names, *(f"canary-{number}" for number in range(included.size))),
    )


def _signs(num_canaries: int, outputs: int) -> NDArray[np.float64]:
    """A canary pushes its own outcome up, and with classes all others down."""
    if outputs == 1:
        return np.ones((1, num_canaries))
    own = np.arange(num_canaries) % outputs == np.arange(outputs)[:, None]
    return own - 1.0 / outputs
