"""The work that is measured: synthetic hospitals of equal size, a small network, one epoch a round."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federation.documents import Document, Json
from federation.models.spec import CnnSpec, MlpSpec, ModelSpec
from federation.privacy.accounting import NOTHING, add, cost_of, epsilon_of_cost
from federation.privacy.calibration import sampling_numerator_of
from federation.privacy.events import SubsampledGaussian
from federation.privacy.randomness import seeded_streams
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.patients import PatientDataset, SiteData
from site_client.site_folder import SiteFolder, write_patients

SEED: Final = 1
LEARNING_RATE: Final = 0.1
NOISE_MULTIPLIER: Final = 1.0
CLIPPING_NORM: Final = 1.0
_DELTA: Final = 1e-5
_TEST_PATIENTS: Final = 50

SMALL_MLP: Final = MlpSpec(kind="mlp", hidden=(64,))
"""30-64-1, about two thousand parameters."""
WIDE_MLP: Final = MlpSpec(kind="mlp", hidden=(1000, 1000))
"""30-1000-1000-1, about a million parameters."""
CNN: Final = CnnSpec(kind="cnn", image_shape=(1, 28, 28))
"""Two convolutions and two matrices, about a hundred thousand parameters; reads 784 features."""
CNN_FEATURES: Final = 28 * 28


class Workload(Document):
    """Sizes of the measured study; the defaults are a small network at ten hospitals, one epoch a round.

    A document, so that another process can be told what the work is.
    """

    num_sites: Annotated[int, Field(ge=1)] = 10
    num_patients: Annotated[int, Field(ge=1)] = 2000
    num_features: Annotated[int, Field(ge=3)] = 30
    model: ModelSpec = SMALL_MLP
    batch_size: Annotated[int, Field(ge=1)] = 64
    rounds: Annotated[int, Field(ge=1)] = 3
    steps: Annotated[int, Field(ge=1)] | None = None
    """Steps of a round; ``None``: one epoch."""
    private: bool = False
    """DP-SGD with noise multiplier 1, clipping norm 1 and Poisson sampling of ``batch_size`` patients in the mean."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        return tuple(f"site-{number}" for number in range(self.num_sites))

    @property
    def local_steps(self) -> int:
        """Steps of one site in one round."""
        return -(-self.num_patients // self.batch_size) if self.steps is None else self.steps

    @property
    def sampling_probability(self) -> float:
        """Chance that a patient enters a private step."""
        return min(1.0, self.batch_size / self.num_patients)

    @cached_property
    def data(self) -> tuple[SiteData, ...]:
        """Every site's patients, drawn when they are first asked for."""
        return tuple(self._site_data(site) for site in self.sites)

    def _site_data(self, site: str) -> SiteData:
        return SiteData(site=site, training=self._patients(site, "training"), test=self._patients(site, "test"))

    def _patients(self, site: str, part: str) -> PatientDataset:
        number = self.num_patients if part == "training" else _TEST_PATIENTS
        generator = seeded_streams(SEED, provenance="synthetic").stream(site, part)
        features = generator.uniform(-1, 1, size=(number, self.num_features)).astype(np.float32)
        risk = 1 / (1 + np.exp(-2 * features[:, 0] + 3 * features[:, 1] * features[:, 2]))
        outcomes = (generator.uniform(size=number) < risk).astype(np.float32)
        return patients_of(features, outcomes)

    def manifest(self) -> StudyManifest:
        """The study, without evaluation: training is what is measured."""
        variables: list[Json] = [
            {"name": name, "kind": "continuous", "unit": "dimensionless", "minimum": -1, "maximum": 1}
            for name in _feature_names(self.num_features)
        ]
        return StudyManifest.from_data(
            {
                "study": "benchmark",
                "title": "Benchmark",
                "question": "What does a round cost?",
                "contract": {
                    "name": "benchmark",
                    "patient_key": "patient",
                    "variables": variables,
                    "outcome": {"name": "died", "kind": "binary"},
                },
                "cohort": {"provenance": "synthetic"},
                "task": "binary",
                "model": self.model.as_data(),
                "schedule": {
                    "rounds": self.rounds,
                    "local_steps": self.local_steps,
                    "batch_size": self.batch_size,
                    "optimiser": {"learning_rate": LEARNING_RATE},
                },
                "algorithm": {"kind": "fedavg"},
                "privacy": self._privacy() if self.private else {"kind": "none"},
                "evaluation": {"release": "none"},
                "roster": [
                    {"site": site, "weight": 1.0, "training_patients": self.num_patients} for site in self.sites
                ],
            }
        )

    def _privacy(self) -> dict[str, Json]:
        """A promise that the fixed noise keeps: what is measured is its cost in time."""
        numerator = sampling_numerator_of(self.sampling_probability)
        event = SubsampledGaussian(
            noise_multiplier=NOISE_MULTIPLIER, sampling_numerator=numerator, steps=self.local_steps
        )
        epsilon = epsilon_of_cost(add(NOTHING, cost_of(event), times=self.rounds), delta=_DELTA)
        return {
            "kind": "patient_level",
            "epsilon": math.ceil(10 * epsilon) / 10,
            "delta": _DELTA,
            "clipping_norm": CLIPPING_NORM,
            "sampling_numerator": numerator,
            "noise_multiplier": NOISE_MULTIPLIER,
        }

    def order(self, site: str, epoch: int) -> NDArray[np.int64]:
        """The order in which a site's agent takes its patients in an epoch, from 0: other ways take the same."""
        streams = seeded_streams(SEED, provenance="synthetic").child("training", site)
        return streams.stream("shuffle", epoch).permutation(self.num_patients)


def _feature_names(number: int) -> tuple[str, ...]:
    return tuple(f"x{place}" for place in range(number))


def patients_of(features: NDArray[np.float32], outcomes: NDArray[np.float32]) -> PatientDataset:
    """One record a patient, from ``[R, F]`` features and ``[R]`` outcomes."""
    return PatientDataset(
        features=features,
        outcomes=outcomes,
        patient_index=np.arange(len(outcomes), dtype=np.int64),
        feature_names=_feature_names(features.shape[1]),
    )


def agents_of(data: tuple[SiteData, ...], manifest: StudyManifest, folder: Path) -> dict[str, SiteAgent]:
    """Real agents in fresh folders, in test mode."""
    agents: dict[str, SiteAgent] = {}
    for site in data:
        patients = folder / f"{site.site}.safetensors"
        write_patients(patients, site)
        agents[site.site] = SiteAgent(
            SiteFolder.create(folder / site.site, site=site.site, manifest=manifest, patients=patients, seed=SEED)
        )
    return agents
