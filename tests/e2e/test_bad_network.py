"""Acceptance test 29: messages are lost, late, doubled and out of order, and links are cut one way; the study comes to its end.

Simulated and seeded, with real agents and secure sums: a delay beyond the deadline is a lost answer that arrives later, when
nobody waits for it any more. ``COHORTIUM_NETWORK_ROUNDS=10000`` makes the slow test as long as the acceptance test.

Whenever the study gives up, as many sites as open a secret can be reached for a while, and no more: it must get on. Which sites these
are is drawn from all. To get on is to open the sum of a round: within the runs of two minutes, at 30 seconds from one to the next.
If the survivors of a round are among those who can be reached, it is that round; otherwise it is left and the next one is opened.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from aggregator.transport import SiteReply
from federation.errors import QuorumError
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult, StudyResult
from site_client.agent import SiteAgent
from site_client.ledger.ledger import Ledger
from tests.masked_study import MASKED, SITES, Lossy, agents, masked_manifest, run
from tests.small_study import private

pytestmark = [pytest.mark.e2e]

LOSS, LATE, DOUBLE, CUT = 0.3, 0.2, 0.3, 0.05
CUT_LASTS = 6
RUNS_IN_TWO_MINUTES = 4
ROUNDS, ROUNDS_OF_A_STUDY = int(os.environ.get("COHORTIUM_NETWORK_ROUNDS", "300")), 500
STUDIES = -(-ROUNDS // ROUNDS_OF_A_STUDY)


class BadNetwork(Lossy):
    """A transport that behaves as badly as its seed says.

    Args:
        found: The agents.
        seed: Of everything that goes wrong.
    """

    def __init__(self, found: Mapping[str, SiteAgent], seed: int) -> None:
        super().__init__(found)
        self._random = random.Random(seed)
        self._past: dict[str, list[bytes]] = {site: [] for site in found}
        self._cut: dict[str, tuple[str, int]] = {}
        self._calm = False
        self._reachable: frozenset[str] = frozenset(found)
        self.lost, self.doubled, self.late, self.cuts = 0, 0, 0, 0

    def calm_down(self) -> None:
        """Until :meth:`storm`, just enough sites can be reached, all the time; the others cannot be reached at all."""
        self._calm = True
        self._reachable = frozenset(self._random.sample(SITES, MASKED["threshold"]))

    def storm(self) -> None:
        """The network is as bad as it was."""
        self._calm = False

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        for site in self._random.sample(sorted(requests), len(requests)):
            if self._calm and site not in self._reachable:
                yield SiteReply(site, None, "deadline")
                continue
            reply = self._deliver(site, requests[site], is_spared=self._calm)
            self._past[site] = [*self._past[site][-5:], requests[site]]
            yield reply

    def _deliver(self, site: str, content: bytes, *, is_spared: bool) -> SiteReply:
        if self._past[site] and self._random.random() < LATE:
            self.late += 1
            list(self.inline.exchange({site: self._random.choice(self._past[site])}))
        to_site, from_site = self._is_open(site) if not is_spared else (True, True)
        if not to_site:
            return SiteReply(site, None, "deadline")
        (reply,) = self.inline.exchange({site: content})
        if self._random.random() < DOUBLE:
            self.doubled += 1
            (again,) = self.inline.exchange({site: content})
            assert again.content == reply.content
        return reply if from_site else SiteReply(site, None, "deadline")

    def _is_open(self, site: str) -> tuple[bool, bool]:
        """Whether this request arrives, and whether its answer does."""
        if site not in self._cut and self._random.random() < CUT:
            self.cuts += 1
            self._cut[site] = (self._random.choice(["to", "from"]), CUT_LASTS)
        way, left = self._cut.pop(site, ("", 0))
        if left > 1:
            self._cut[site] = (way, left - 1)
        lost = self._random.random() < LOSS
        self.lost += lost
        on_its_way_there = self._random.random() < 1 / 2
        return way != "to" and not (lost and on_its_way_there), way != "from" and not (lost and not on_its_way_there)


def _agreed(folder: Path, rounds: int) -> StudyManifest:
    schedule = {"rounds": rounds, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.1}}
    privacy = private(epsilon=8.0, steps=rounds)
    return masked_manifest(folder, schedule=schedule, privacy=privacy, evaluation={"release": "none"})


def _to_its_end(study: StudyManifest, folder: Path, network: BadNetwork) -> StudyResult:
    opened = OpenedRounds(network)
    while True:
        try:
            return run(study, folder, network, on_round=opened.note)
        except QuorumError:
            network.calm_down()
            before, result = opened.number, None
            for _ in range(RUNS_IN_TWO_MINUTES):
                with contextlib.suppress(QuorumError):
                    result = run(study, folder, network, on_round=opened.note)
                if result is not None or opened.number > before:
                    break
            else:
                pytest.fail("no progress although enough sites could be reached for two minutes")
            if result is not None:
                return result


class OpenedRounds:
    """Counts rounds whose sum was opened. The first of them ends a calm.

    Args:
        network: That is calm until then.
    """

    def __init__(self, network: BadNetwork) -> None:
        self._network = network
        self.number = 0

    def note(self, result: RoundResult) -> None:
        if not result.unopened:
            self.number += 1
            self._network.storm()


def _check(folder: Path, rounds: int, seed: int) -> None:
    study = _agreed(folder, rounds)
    network = BadNetwork(agents(folder, study), seed)
    result = _to_its_end(study, folder, network)
    assert min(network.lost, network.doubled, network.late, network.cuts) > rounds // 20
    assert [entry.round_number for entry in result.rounds] == list(range(1, rounds + 1))
    left = [entry for entry in result.rounds if entry.unopened]
    assert len(left) <= rounds // 4
    assert all(not entry.contributors and len(entry.exclusions) >= study.aggregation.quorum for entry in left)
    opened = [entry for entry in result.rounds if not entry.unopened]
    assert all(len(entry.contributors) >= study.aggregation.quorum for entry in opened)
    for site in SITES:
        with Ledger.open(folder / "sites" / site / "ledger.sqlite", clock=lambda: dt.datetime.now(tz=dt.UTC)) as ledger:
            assert ledger.verify().intact
            # Reserved and computed once, whatever was asked how often: a second charge of a release is not possible in the file.
            for entry in result.rounds:
                if site in entry.contributors:
                    found = ledger.find(study.digest, f"train/{entry.round_number}")
                    assert found is not None
                    assert found.state == "sent"


@pytest.mark.parametrize("seed", [1, 2])
def test_a_study_over_a_bad_network_ends(tmp_path: Path, seed: int) -> None:
    _check(tmp_path, 8, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("study", range(STUDIES))
def test_a_long_study_over_a_bad_network_ends(tmp_path: Path, study: int) -> None:
    _check(tmp_path, min(ROUNDS, ROUNDS_OF_A_STUDY), seed=3 + study)
