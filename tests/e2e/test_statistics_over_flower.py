"""Exact statistics through real Flower processes: the same tables as in one process, also when a site's agent is killed on the way."""

from __future__ import annotations

import itertools
import os
import signal
import socket

import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.engines.flower import run_with_flower
from federation.protocol.messages import StatisticsRequest, read_envelope
from tests.e2e.flower_study import pids
from tests.masked_study import Lossy, run
from tests.statistics_study import SITES, agents, statistics_manifest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or not hasattr(os, "fork"), reason="needs Unix sockets and fork"),
    pytest.mark.filterwarnings("ignore"),  # Flower's own
]


class KillsOnce:
    """Passes requests on, and kills a site's agent just before the third sum."""

    def __init__(self, transport, folder):
        self.transport, self.folder, self.killed = transport, folder, []

    def exchange(self, requests):
        header = read_envelope(next(iter(requests.values()))).header
        if isinstance(header, StatisticsRequest) and header.number == 3 and not self.killed:
            self.killed.append(pids(self.folder)["agent-south"])
            os.kill(self.killed[0], signal.SIGKILL)
        yield from self.transport.exchange(requests)

    def close(self):
        self.transport.close()


def test_a_study_over_flower_finds_what_one_in_this_process_finds(tmp_path):
    names = ("ages", "deaths", "curves")
    study = statistics_manifest(tmp_path / "inline", *names)
    expected = run(study, tmp_path / "inline", Lossy(agents(tmp_path / "inline", study)))
    assert statistics_manifest(tmp_path / "flower", *names).digest == study.digest
    agents(tmp_path / "flower", study)  # makes the sites' folders
    killers = []

    def coordinate(transport):
        killers.append(KillsOnce(transport, tmp_path / "flower"))
        return run_study(
            study,
            killers[0],
            NullTracker(),
            checkpoints=CheckpointStore(tmp_path / "flower" / "coordinator", study=study.digest),
            clock=itertools.count().__next__,
            on_round=lambda _: None,
        )

    found = run_with_flower(
        {site: tmp_path / "flower" / "sites" / site for site in SITES},
        coordinate,
        folder=tmp_path / "flower" / "flower",
        deadline_seconds=240.0,
    )
    assert killers[0].killed
    assert [analysis.result.sites for analysis in found.analyses] == [SITES] * 3
    assert found.analyses == expected.analyses
