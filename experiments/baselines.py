"""The references every study is compared with: pooled, local-only and cyclic training, all without privacy.

They are counterfactuals of a simulation: no consortium could run the pooled one, and a hospital that trains alone for
itself needs no privacy. Each starts from the study's own initial parameters and takes as many local steps as a site does
in the study, unless its settings say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from experiments.settings import PooledChoice
from federation.models.parameters import initial_parameters, load
from federation.privacy.randomness import RandomStreams
from federation.study.manifest import StudyManifest
from federation.study.network import network_of
from federation.study.schedule import Schedule
from site_client.arrays.streamed import StreamedRows, joined
from site_client.patients import Features, PatientDataset, SiteData
from site_client.training import train_locally

Parameters = NDArray[np.float32]


def pooled_patients(datasets: Sequence[PatientDataset]) -> PatientDataset:
    """All patients in one dataset; patients of different sites stay different patients."""
    starts = np.cumsum([0, *(dataset.num_patients for dataset in datasets)])
    return PatientDataset(
        features=_joined([dataset.features for dataset in datasets]),
        outcomes=_joined([dataset.outcomes for dataset in datasets]),
        patient_index=np.concatenate(
            [dataset.patient_index + start for dataset, start in zip(datasets, starts, strict=False)]
        ),
        feature_names=datasets[0].feature_names,
    )


def _joined(parts: Sequence[Features]) -> Features:
    streamed = [part for part in parts if isinstance(part, StreamedRows)]
    if streamed:
        return joined(streamed)
    return np.concatenate([part for part in parts if not isinstance(part, StreamedRows)])


@dataclass(frozen=True)
class ReferenceTraining:
    """Trains the references of one study and seed.

    Args:
        manifest: The study.
        sites: The sites' patients.
        streams: Randomness of the references; never that of the study.
    """

    manifest: StudyManifest
    sites: Sequence[SiteData]
    streams: RandomStreams

    def model(self) -> nn.Module:
        """The study's network without its weights."""
        return network_of(self.manifest, num_features=len(self.sites[0].training.feature_names), private=False)

    def pooled(self, choice: PooledChoice) -> Parameters:
        """Trained on all sites' training patients together."""
        dataset = pooled_patients([site.training for site in self.sites])
        schedule = self.manifest.schedule
        batch_size = choice.batch_size or schedule.batch_size
        steps = schedule.rounds * schedule.local_steps
        if choice.epochs is not None:
            steps = choice.epochs * math.ceil(dataset.num_patients / batch_size)
        changed = schedule.model_copy(
            update={
                "rounds": 1,
                "local_steps": steps,
                "batch_size": batch_size,
                "optimiser": choice.optimiser or schedule.optimiser,
            }
        )
        return self._train(self._start(), dataset, schedule=changed, name="pooled")

    def pooled_private(self) -> Parameters:
        """DP-SGD on all sites' training patients together, with the noise and steps of the study: what distributed noise equals."""
        manifest = self.manifest
        dataset = pooled_patients([site.training for site in self.sites])
        steps = manifest.schedule.rounds * manifest.schedule.local_steps
        mechanism = manifest.mechanism(self.sites[0].site).model_copy(
            update={
                "steps_per_round": steps,
                "rounds": 1,
                "divisor": math.fsum(manifest.mechanism(entry.site).divisor for entry in manifest.roster),
            }
        )
        model = self.model()
        load(model, self._start())
        return train_locally(
            model,
            dataset,
            task=manifest.objective,
            schedule=manifest.schedule.model_copy(update={"rounds": 1, "local_steps": steps}),
            round_number=1,
            mechanism=mechanism,
            streams=self.streams.child("reference", "pooled_private"),
        ).parameters

    def local_only(self, site: SiteData) -> Parameters:
        """Trained on one site's training patients alone."""
        schedule = self.manifest.schedule
        changed = schedule.model_copy(update={"rounds": 1, "local_steps": schedule.rounds * schedule.local_steps})
        return self._train(self._start(), site.training, schedule=changed, name=f"local_only/{site.site}")

    def cyclic(self) -> Parameters:
        """The model passed from site to site, once round all sites per round (Chang et al. 2018)."""
        parameters = self._start()
        for round_number, site in self._visits():
            parameters = self._train(
                parameters,
                site.training,
                schedule=self.manifest.schedule,
                name=f"cyclic/{site.site}",
                round_number=round_number,
            )
        return parameters

    def _visits(self) -> Iterator[tuple[int, SiteData]]:
        for round_number in range(1, self.manifest.schedule.rounds + 1):
            for site in self.sites:
                yield round_number, site

    def _start(self) -> Parameters:
        return initial_parameters(self.model(), seed=self.manifest.initial_seed)

    def _train(
        self, start: Parameters, dataset: PatientDataset, *, schedule: Schedule, name: str, round_number: int = 1
    ) -> Parameters:
        model = self.model()
        load(model, start)
        return train_locally(
            model,
            dataset,
            task=self.manifest.objective,
            schedule=schedule,
            round_number=round_number,
            mechanism=None,
            streams=self.streams.child("reference", name),
        ).parameters
