"""The same study in every engine gives the same model, bit for bit."""

import time
import warnings

import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.engines.inline import InlineTransport
from federation.errors import QuorumError
from site_client.agent import SiteAgent
from tests.small_study import manifest, private, site_folders

pytestmark = pytest.mark.e2e


def coordinate(study, folder, transport):
    return run_study(
        study,
        transport,
        NullTracker(),
        checkpoints=CheckpointStore(folder / "coordinator", study=study.digest),
        clock=time.monotonic,
        on_round=lambda result: None,
    )


def inline(study, folder):
    folders = site_folders(folder, study)
    return coordinate(study, folder, InlineTransport({site: SiteAgent(f).handle for site, f in folders.items()}))


def ray(study, folder, *, broken_site=None):
    from experiments.engines.ray import run_with_ray

    folders = {site: entry.path for site, entry in site_folders(folder, study).items()}
    if broken_site:
        (folders[broken_site] / "site.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's and Flower's own
        return run_with_ray(folders, lambda transport: coordinate(study, folder, transport), num_workers=2)


@pytest.mark.parametrize("algorithm", [{"kind": "scaffold"}], ids=lambda spec: spec["kind"])
def test_inline_and_ray_give_the_same_model_bit_for_bit(tmp_path, monkeypatch, algorithm):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # no cluster is joined that was not named
    study = manifest(algorithm=algorithm, privacy=private())
    one, other = inline(study, tmp_path / "inline"), ray(study, tmp_path / "ray")
    assert one.parameters.tobytes() == other.parameters.tobytes()
    assert [r.model_digest for r in one.rounds] == [r.model_digest for r in other.rounds]
    assert one.rounds[-1].metrics == other.rounds[-1].metrics
    assert one.rounds[-1].contributors == ("north", "south", "west")


@pytest.mark.slow
def test_a_site_that_cannot_start_is_a_dropout_in_ray(tmp_path):
    with pytest.raises(QuorumError, match="south: unreachable"):
        ray(manifest(), tmp_path, broken_site="south")
    study = manifest(aggregation={"quorum": 2})
    result = ray(study, tmp_path / "two", broken_site="south")
    assert result.rounds[-1].contributors == ("north", "west")


def test_another_seed_gives_another_model(tmp_path):
    study = manifest(privacy=private())
    folders = site_folders(tmp_path / "eight", study, seed=8)
    transport = InlineTransport({site: SiteAgent(f).handle for site, f in folders.items()})
    assert (
        inline(study, tmp_path / "seven").parameters.tobytes()
        != coordinate(study, tmp_path / "eight", transport).parameters.tobytes()
    )
