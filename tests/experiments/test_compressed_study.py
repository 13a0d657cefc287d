"""Whole studies with compressed updates: they learn, and their rounds say how many bytes travelled."""

from __future__ import annotations

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.engines.inline import InlineTransport
from federation.study.compression import CompressionSpec
from site_client.agent import SiteAgent
from tests.small_study import SITES, manifest, private, site_folders


def run(tmp_path, **changes):
    study = manifest(**changes)
    folder = tmp_path / study.digest[-8:]
    transport = InlineTransport({site: SiteAgent(path).handle for site, path in site_folders(folder, study).items()})
    return run_study(
        study,
        transport,
        NullTracker(),
        checkpoints=CheckpointStore(folder / "checkpoints", study=study.digest),
        clock=lambda: 0.0,
        on_round=lambda result: None,
    )


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_rounded_updates_give_nearly_the_same_model_with_fewer_bytes(tmp_path, precision):
    whole, small = run(tmp_path), run(tmp_path, compression={"precision": precision})
    np.testing.assert_allclose(small.parameters, whole.parameters, rtol=0.05, atol=0.02)
    pairs = list(zip(small.rounds, whole.rounds, strict=True))
    assert pairs
    for mine, others in pairs:
        assert 0 < mine.bytes_received < others.bytes_received
        assert mine.bytes_sent == others.bytes_sent > 0  # requests hold the model, which is not compressed


@pytest.mark.parametrize("compression", [{"precision": "float16"}, {"kept_fraction": 0.1}])
def test_a_round_saves_the_bytes_that_the_specification_says(tmp_path, compression):
    changes = {"model": {"kind": "mlp", "hidden": [64]}, "evaluation": {"release": "none"}}
    whole, small = run(tmp_path, **changes), run(tmp_path, **changes, compression=compression)
    size = len(whole.parameters)
    saved = len(SITES) * (4 * size - CompressionSpec(**compression).num_bytes(size))
    assert saved > 1000
    for mine, others in zip(small.rounds, whole.rounds, strict=True):
        # Headers name another type of number and another length: a few bytes a site.
        assert others.bytes_received - mine.bytes_received == pytest.approx(saved, abs=16 * len(SITES))


def test_held_back_coordinates_catch_up_with_the_whole_updates(tmp_path):
    schedule = {"rounds": 30, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}
    whole = run(tmp_path, schedule=schedule)
    small = run(tmp_path, schedule=schedule, compression={"kept_fraction": 0.4})
    away = np.linalg.norm(small.parameters - whole.parameters) / np.linalg.norm(whole.parameters)
    assert away < 0.2


def test_a_private_study_spends_what_it_spends_without_compression(tmp_path):
    changes = {"privacy": private(), "evaluation": {"release": "none"}}
    whole, small = run(tmp_path, **changes), run(tmp_path, **changes, compression={"kept_fraction": 0.4})
    assert small.rounds[-1].epsilon_spent == whole.rounds[-1].epsilon_spent
