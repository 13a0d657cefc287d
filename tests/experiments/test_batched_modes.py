"""`batched` gives what `inline` gives where more than training is released, or sums are made in another way.

Noise in shares, noise on the sites' updates, robust rules, and the paid counts before, between and after the rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from experiments.engines.batched.coverage import reason_against_batching
from experiments.engines.inline import InlineTransport
from federation.identifiers import TaskKind
from federation.privacy.calibration import calibrate_noise_multiplier
from federation.privacy.site_level import MINIMUM_SITES
from federation.study.manifest import StudyManifest
from site_client.patients import SiteData
from site_client.site_folder import write_patients
from tests.experiments.batched_study import (
    ALGORITHMS,
    CHAINS,
    CLOSE,
    MODELS,
    Run,
    batched,
    data_of,
    furthest,
    inline,
    run_engine,
    steps_taken,
    study,
)
from tests.masked_study import SITES as MASKED_SITES
from tests.masked_study import agents as masked_agents
from tests.masked_study import masked_manifest
from tests.paid_study import paid_manifest, records_of
from tests.small_study import private

SIX = {f"site-{number}": 9 + 7 * number for number in range(6)}
MANY = {f"site-{number:02}": 12 for number in range(MINIMUM_SITES)}
RULES = {
    "trimmed_mean": {"kind": "trimmed_mean"},
    "median": {"kind": "median"},
    "krum": {"kind": "krum"},
    "geometric_median": {"kind": "geometric_median"},
    "fltrust": {"kind": "fltrust", "root": "site-0"},
}
SERVER_ONLY = ("fedavg", "fedavgm", "fedadagrad", "fedadam", "fedyogi")
"""Those without a part at the sites: what noise in shares and robust rules allow."""


def _same_rounds(ours: Run, theirs: Run) -> None:
    """Parameters as promised, and who was in them, left out and charged what."""
    assert furthest(ours, theirs) < CLOSE
    for mine, other in zip(ours.result.rounds, theirs.result.rounds, strict=True):
        assert mine.contributors == other.contributors
        assert mine.exclusions == other.exclusions
        assert mine.epsilon_spent == other.epsilon_spent


def _both(manifest: StudyManifest, data: list[SiteData], folder: Path) -> tuple[Run, Run]:
    assert reason_against_batching(manifest) is None
    ours, theirs = batched(manifest, data, folder, num_workers=1), inline(manifest, data, folder)
    _same_rounds(ours, theirs)
    return ours, theirs


def _with_noise_in_shares(folder: Path, *, model: str, algorithm: str) -> None:
    in_terms = study(model=model)
    manifest = masked_manifest(
        folder,
        contract=in_terms.contract.as_data(),
        model=MODELS[model],
        algorithm=ALGORITHMS[algorithm],
        privacy=private(epsilon=20.0, probability=0.5, steps=3) | {"noise": "distributed"},
        schedule={"rounds": 3, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.5}},
        evaluation={"release": "none"},
    )
    assert manifest.noise_share() is not None
    assert reason_against_batching(manifest) is None
    data = data_of(manifest, sizes=dict.fromkeys(MASKED_SITES, 40), most=2)
    for site in data:  # the agents find these, and make none of their own
        write_patients(folder / "patients" / f"{site.site}.safetensors", site)
    handlers = {site: agent.handle for site, agent in masked_agents(folder, manifest).items()}
    _same_rounds(
        batched(manifest, data, folder, num_workers=1),
        run_engine(manifest, InlineTransport(handlers), folder / "inline"),
    )


@pytest.mark.parametrize("model", MODELS)
def test_noise_in_shares(model: str, tmp_path: Path) -> None:
    _with_noise_in_shares(tmp_path, model=model, algorithm="fedavg")


@pytest.mark.parametrize("algorithm", SERVER_ONLY[1:])
def test_noise_in_shares_and_the_aggregators_own_steps(algorithm: str, tmp_path: Path) -> None:
    _with_noise_in_shares(tmp_path, model="deep", algorithm=algorithm)


@pytest.mark.parametrize("model", MODELS)
def test_noise_on_the_sites_updates(model: str, tmp_path: Path) -> None:
    noise = calibrate_noise_multiplier(epsilon=500.0, delta=1e-3, sampling_numerator=2**53, steps=1, rounds=4)
    promise = {"kind": "site_level", "epsilon": 500.0, "delta": 1e-3, "clipping_norm": 0.1, "noise_multiplier": noise}
    aggregation = {"quorum": MINIMUM_SITES}
    manifest = study(model=model, privacy=promise, sizes=MANY, aggregation=aggregation, evaluation={"release": "none"})
    with steps_taken() as steps:
        batched(manifest, data_of(manifest, sizes=MANY), tmp_path / "watched", num_workers=1)
    assert set(steps) == {"chain" if model in CHAINS else "kernels"}
    _both(manifest, data_of(manifest, sizes=MANY), tmp_path)


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("rule", RULES)
def test_robust_rules(rule: str, privacy: str, tmp_path: Path) -> None:
    robust = {"rule": RULES[rule], "byzantine": 1, "norm_bound": 10.0}
    aggregation = {"mode": "open_robust", "quorum": 5, "robust": robust}
    manifest = study(model="deep", privacy=privacy, sizes=SIX, aggregation=aggregation)
    _both(manifest, data_of(manifest, sizes=SIX), tmp_path)


@pytest.mark.parametrize("algorithm", SERVER_ONLY[1:])
def test_robust_rules_and_the_aggregators_own_steps(algorithm: str, tmp_path: Path) -> None:
    aggregation = {
        "mode": "open_robust",
        "quorum": 5,
        "robust": {"rule": RULES["trimmed_mean"], "byzantine": 1, "norm_bound": 10.0},
    }
    manifest = study(model="gelu", algorithm=ALGORITHMS[algorithm], sizes=SIX, aggregation=aggregation)
    _both(manifest, data_of(manifest, sizes=SIX), tmp_path)


def _paid_data(manifest: StudyManifest) -> list[SiteData]:
    return [
        SiteData(
            site=entry.site,
            training=records_of(manifest, [1] * 40, seed=10 + number),
            test=records_of(manifest, [1, 3, 2, 1, 5] * 4, seed=20 + number),
        )
        for number, entry in enumerate(manifest.roster)
    ]


def _noisy_figures(run: Run) -> list[Mapping[str, object]]:
    """Everything that was paid for: made of whole numbers, it differs a lot or not at all."""
    return [
        {
            "metrics": entry.metrics,
            "by site": entry.site_metrics,
            "errors": entry.metric_errors,
            "performance": entry.paid_performance,
        }
        for entry in run.result.rounds
    ]


@pytest.mark.parametrize("model", ["linear", "deep", "mlp"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_paid_evaluation(task: TaskKind, model: str, tmp_path: Path) -> None:
    manifest = paid_manifest(task, records=2, model=MODELS[model])
    ours, theirs = _both(manifest, _paid_data(manifest), tmp_path)
    assert ours.result.rounds[-1].metrics
    assert ours.result.rounds[-1].paid_performance
    assert _noisy_figures(ours) == _noisy_figures(theirs)


@pytest.mark.parametrize(("model", "most"), [("linear", 1), ("deep", 1), ("gelu", 3), ("mlp", 3), ("cnn", 1)])
def test_paid_preparation_with_paid_evaluation(model: str, most: int, tmp_path: Path) -> None:
    promise = private(epsilon=20.0, steps=21) | {"epsilon": 1000.0}  # room for the counts
    manifest = study(
        model=model,
        privacy=promise,
        preparation={"variance": 4, "levels": 4, "quantiles_of": ["x0", "x1"]},
        schedule={
            "rounds": 3,
            "local_steps": 3,
            "batch_size": 16,
            "evaluate_every": 3,
            "optimiser": {"learning_rate": 0.5},
        },
        evaluation={"release": "per_site", "score_bins": 10, "noise": {"variance": 4, "max_records_per_patient": 1}},
    )
    ours, theirs = _both(manifest, data_of(manifest, most=most), tmp_path)
    assert ours.result.prepared == theirs.result.prepared
    assert np.ptp(ours.result.prepared.spread) > 0, "the map is of the counts, not of the public ranges"
    assert ours.result.rounds[-1].metrics
    assert _noisy_figures(ours) == _noisy_figures(theirs)
