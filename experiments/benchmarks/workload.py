"""The work that is measured: ten synthetic hospitals of two thousand patients, and a small network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.documents import Json
from federation.privacy.calibration import calibrate_noise_multiplier, sampling_numerator_of
from federation.privacy.randomness import seeded_streams
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.patients import PatientDataset, SiteData
from site_client.site_folder import SiteFolder, write_patients

SEED: Final = 1
LEARNING_RATE: Final = 0.1


@dataclass(frozen=True)
class Workload:
    """Sizes of the measured study; the defaults are a small network at ten hospitals, one epoch a round."""

    num_sites: int = 10
    num_patients: int = 2000
    num_features: int = 30
    hidden: int = 64
    batch_size: int = 64
    rounds: int = 3
    data: tuple[SiteData, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", tuple(self._site_data(site) for site in self.sites))

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        return tuple(f"site-{number}" for number in range(self.num_sites))

    @property
    def local_steps(self) -> int:
        """One epoch."""
        return -(-self.num_patients // self.batch_size)

    def _site_data(self, site: str) -> SiteData:
        return SiteData(site=site, training=self._patients(site, "training"), test=self._patients(site, "test"))

    def _patients(self, site: str, part: str) -> PatientDataset:
        number = self.num_patients if part == "training" else 50
        generator = seeded_streams(SEED, provenance="synthetic").stream(site, part)
        features = generator.uniform(-1, 1, size=(number, self.num_features)).astype(np.float32)
        risk = 1 / (1 + np.exp(-2 * features[:, 0] + 3 * features[:, 1] * features[:, 2]))
        return PatientDataset(
            features=features,
            outcomes=(generator.uniform(size=number) < risk).astype(np.float32),
            patient_index=np.arange(number, dtype=np.int64),
            feature_names=tuple(f"x{n}" for n in range(self.num_features)),
        )

    def manifest(self, *, private: bool = False) -> StudyManifest:
        """The study, without evaluation: training is what is measured."""
        names = [f"x{number}" for number in range(self.num_features)]
        variables: list[Json] = [
            {"name": name, "kind": "continuous", "unit": "dimensionless", "minimum": -1, "maximum": 1} for name in names
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
                "model": {"kind": "mlp", "hidden": [self.hidden]},
                "schedule": {
                    "rounds": self.rounds,
                    "local_steps": self.local_steps,
                    "batch_size": self.batch_size,
                    "optimiser": {"learning_rate": LEARNING_RATE},
                },
                "algorithm": {"kind": "fedavg"},
                "privacy": self._privacy() if private else {"kind": "none"},
                "evaluation": {"release": "none"},
                "roster": [
                    {"site": site, "weight": 1.0, "training_patients": self.num_patients} for site in self.sites
                ],
            }
        )

    def _privacy(self) -> dict[str, Json]:
        numerator = sampling_numerator_of(self.batch_size / self.num_patients)
        epsilon, delta = 4.0, 1e-5
        return {
            "kind": "patient_level",
            "epsilon": epsilon,
            "delta": delta,
            "clipping_norm": 1.0,
            "sampling_numerator": numerator,
            "noise_multiplier": calibrate_noise_multiplier(
                epsilon=epsilon,
                delta=delta,
                sampling_numerator=numerator,
                steps=self.local_steps,
                rounds=self.rounds,
            ),
        }

    def agents(self, manifest: StudyManifest, folder: Path) -> dict[str, SiteAgent]:
        """Real agents in fresh folders."""
        agents: dict[str, SiteAgent] = {}
        for data in self.data:
            patients = folder / f"{data.site}.safetensors"
            write_patients(patients, data)
            agents[data.site] = SiteAgent(
                SiteFolder.create(folder / data.site, site=data.site, manifest=manifest, patients=patients, seed=SEED)
            )
        return agents

    def order(self, site: str, epoch: int) -> NDArray[np.int64]:
        """A shuffled order of a site's patients."""
        return seeded_streams(SEED, provenance="synthetic").stream("order", site, epoch).permutation(self.num_patients)
