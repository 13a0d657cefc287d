"""Small studies of sites of unequal size, run by either engine with the same seed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.engines.batched.blocks import plan_blocks
from experiments.engines.batched.chain_steps import ChainStep
from experiments.engines.batched.sites import BatchedSites
from experiments.engines.inline import InlineTransport
from federation.models.stacked.network import StackedNetwork
from federation.privacy.randomness import seeded_streams
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.agent import SiteAgent
from site_client.patients import PatientDataset, SiteData
from site_client.site_folder import SiteFolder, write_patients
from tests.objectives import HAZARDS, QUANTILES
from tests.small_study import manifest_data, private

SEED = 7
CLOSE = 1e-5
"""What `batched` promises: of the largest parameter of a round."""
FEATURES = 16
SIZES = {"north": 41, "south": 17, "west": 64}
"""Training patients of each site."""
OUTCOMES = {
    "binary": {"name": "died", "kind": "binary"},
    "multiclass": {"name": "care", "kind": "categorical", "levels": ["a", "b", "c"]},
    "regression": {"name": "stay", "kind": "continuous", "unit": "d", "minimum": -1, "maximum": 1},
    "count": {"name": "days", "kind": "integer", "unit": "d", "minimum": 0, "maximum": 9},
    "quantile": {"name": "stay", "kind": "continuous", "unit": "d", "minimum": -1, "maximum": 1},
    "survival": {"name": "t", "kind": "time_to_event", "unit": "d", "maximum": 9, "event": "died"},
}
TERMS = {"quantile": QUANTILES, "survival": HAZARDS["proportional cloglog"]}
MODELS = {
    "linear": {"kind": "linear"},
    "unbiased": {"kind": "linear", "bias": False},
    "mlp": {"kind": "mlp", "hidden": [8], "activation": "tanh", "normalisation": "layer"},
    "deep": {"kind": "mlp", "hidden": [9, 5], "activation": "relu"},
    "gelu": {"kind": "mlp", "hidden": [9, 5], "activation": "gelu"},
    "cnn": {"kind": "cnn", "image_shape": [1, 4, 4], "channels": [3], "hidden": 4, "normalisation": "group"},
}
CHAINS = ("linear", "unbiased", "deep", "gelu")
"""Those whose steps have a fast path: linear layers with activations between them, and nothing else."""
ALGORITHMS = {
    "fedavg": {"kind": "fedavg"},
    "fedprox": {"kind": "fedprox", "mu": 0.3},
    "scaffold": {"kind": "scaffold"},
    "fedavgm": {"kind": "fedavgm", "momentum": 0.7},
    "fedadagrad": {"kind": "fedadagrad", "server_learning_rate": 0.05, "tau": 0.01},
    "fedadam": {"kind": "fedadam", "server_learning_rate": 0.05, "tau": 0.01},
    "fedyogi": {"kind": "fedyogi", "server_learning_rate": 0.05, "tau": 0.01},
}
"""Where updates are shorter than tau, the adaptive ones multiply float32's last bits by server_learning_rate / tau: by 5 here."""
OPTIMISERS = {
    "adam": {"learning_rate": 0.05, "kind": "adam"},
    "momentum": {"learning_rate": 0.3, "momentum": 0.5},
    "decay": {"learning_rate": 0.3, "weight_decay": 0.1},
}
PRIVACY: dict[str, dict] = {
    "plain": {"kind": "none"},
    "private": private(probability=0.25, steps=21),
}


def study(
    *,
    model: str = "mlp",
    task: str = "binary",
    privacy: str | dict = "plain",
    sizes: dict[str, int] = SIZES,
    **changes,
) -> StudyManifest:
    """A manifest of three sites, or of those of ``sizes``; ``privacy`` is a name of ``PRIVACY``, or a promise in full."""
    data = manifest_data(
        model=MODELS[model],
        task=task,
        task_terms=TERMS[task].as_data() if task in TERMS else None,
        privacy=PRIVACY[privacy] if isinstance(privacy, str) else privacy,
        roster=[{"site": site, "weight": float(number), "training_patients": number} for site, number in sizes.items()],
        **changes,
    )
    data["contract"] = data["contract"] | {
        "variables": [
            {"name": f"x{n}", "kind": "continuous", "unit": "dimensionless", "minimum": -1, "maximum": 1}
            for n in range(FEATURES)
        ],
        "outcome": OUTCOMES[task],
    }
    return StudyManifest.from_data(data)


def patients(seed: list[int], number: int, *, task: str, most: int) -> PatientDataset:
    """Patients with 1 to ``most`` records each."""
    generator = np.random.default_rng(seed)
    index = np.repeat(np.arange(number), generator.integers(1, most + 1, number))
    features = generator.uniform(-1, 1, size=(len(index), FEATURES)).astype(np.float32)
    said = features[:, 0] - features[:, 1] * features[:, 2]
    match task:
        case "binary":
            outcomes = said > 0
        case "multiclass":
            outcomes = np.digitize(said, [-0.3, 0.3])
        case "count":
            outcomes = generator.poisson(np.exp(said))
        case "survival":
            outcomes = (1 + generator.exponential(np.exp(-said))) * np.where(generator.random(len(said)) < 0.6, 1, -1)
        case _:
            outcomes = np.clip(said, -1, 1)
    return PatientDataset(
        features, outcomes.astype(np.float32), index.astype(np.int64), tuple(f"x{n}" for n in range(FEATURES))
    )


def data_of(manifest: StudyManifest, *, most: int = 1, sizes: dict[str, int] = SIZES) -> list[SiteData]:
    """Every site's patients."""
    return [
        SiteData(
            site=site,
            training=patients([1, number, place], number, task=manifest.task, most=most),
            test=patients([2, number, place], 20, task=manifest.task, most=most),
        )
        for place, (site, number) in enumerate(sizes.items())
    ]


def optimised_by(name: str) -> dict:
    """A schedule with one of the ``OPTIMISERS`` and a learning rate that falls."""
    return {"rounds": 3, "local_steps": 5, "batch_size": 16, "optimiser": OPTIMISERS[name], "learning_rate_decay": 0.9}


class Run:
    """What a study gave, round by round."""

    def __init__(self) -> None:
        self.parameters: list[NDArray[np.float32]] = []
        self.result: StudyResult | None = None

    def observe(self, parameters: NDArray[np.float32], _prepared: object) -> dict[str, float]:
        """Keep a round's parameters."""
        self.parameters.append(parameters)
        return {}


def inline(manifest: StudyManifest, data: list[SiteData], folder: Path) -> Run:
    """With real agents, one after another."""
    handlers = {}
    for site in data:
        path = folder / "patients" / f"{site.site}.safetensors"
        write_patients(path, site)
        handlers[site.site] = SiteAgent(
            SiteFolder.create(folder / site.site, site=site.site, manifest=manifest, patients=path, seed=SEED)
        ).handle
    return run_engine(manifest, InlineTransport(handlers), folder / "inline")


def batched_sites(manifest: StudyManifest, data: list[SiteData], **plan) -> BatchedSites:
    """As one tensor program."""
    return BatchedSites(
        manifest,
        data,
        streams={site.site: seeded_streams(SEED, provenance="synthetic") for site in data},
        plan=lambda network: plan_blocks(manifest, network, data, **plan),
    )


def batched(manifest: StudyManifest, data: list[SiteData], folder: Path, **plan) -> Run:
    """The study by the `batched` engine."""
    return run_engine(manifest, batched_sites(manifest, data, **plan), folder / "batched")


def run_engine(manifest: StudyManifest, sites, folder: Path) -> Run:
    """Over a transport, or over sites in this process."""
    run = Run()
    run.result = run_study(
        manifest,
        sites,
        NullTracker(),
        checkpoints=CheckpointStore(folder, study=manifest.digest),
        clock=time.monotonic,
        on_round=lambda _: None,
        observe=run.observe,
        streams=seeded_streams(SEED, provenance="synthetic"),
    )
    return run


def furthest(first: Run, second: Run) -> float:
    """The largest difference of any round, relative to the largest parameter of that round."""
    assert len(first.parameters) == len(second.parameters) > 0
    return max(
        float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(first.parameters, second.parameters, strict=True)
    )


@contextmanager
def steps_taken() -> Iterator[Counter[str]]:
    """Which arithmetic the steps of this process went through meanwhile: ``chain``, or the general ``kernels``."""
    found: Counter[str] = Counter()

    def counted(name: str, method: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **terms: object) -> object:
            found[name] += 1
            return method(*args, **terms)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChainStep, "go_back", counted("chain", ChainStep.go_back))
        patch.setattr(StackedNetwork, "loss_gradients", counted("kernels", StackedNetwork.loss_gradients))
        yield found
